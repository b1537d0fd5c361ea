//! The environment of a function process: what Lambda sets, then what the function's settings add. Nothing of our own
//! environment gets through.
//!
//! Source: Developer Guide, "Defined runtime environment variables".

use std::net::SocketAddr;
use std::path::Path;

use super::model::Version;
use crate::cloud::Cloud;

/// Returns all variables of a process. `stream` is its log stream.
pub(super) fn variables(
    cloud: &Cloud,
    version: &Version,
    task_root: &Path,
    runtime_api: SocketAddr,
    stream: &str,
) -> Vec<(String, String)> {
    let configuration = &version.configuration;
    let logging = &configuration.logging_config;
    let (region, task_root) = (cloud.account.region.clone(), task_root.display().to_string());
    let credentials = credentials(cloud, &configuration.role, &version.function);
    let mut variables = vec![
        ("_HANDLER", configuration.handler.clone()),
        ("AWS_ACCESS_KEY_ID", credentials.access_key_id),
        ("AWS_DEFAULT_REGION", region.clone()),
        // Every SDK sends its calls here; on AWS this variable does not exist.
        ("AWS_ENDPOINT_URL", cloud.endpoint.clone()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", configuration.memory_size.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", version.function.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", version.label()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_LAMBDA_LOG_FORMAT", logging.log_format.clone().unwrap_or_default()),
        (
            "AWS_LAMBDA_LOG_GROUP_NAME",
            logging.log_group.clone().unwrap_or_default(),
        ),
        ("AWS_LAMBDA_LOG_STREAM_NAME", stream.to_owned()),
        ("AWS_LAMBDA_RUNTIME_API", runtime_api.to_string()),
        ("AWS_REGION", region),
        ("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key),
        ("AWS_SESSION_TOKEN", credentials.session_token),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime".to_owned()),
        ("LAMBDA_TASK_ROOT", task_root),
        ("LANG", "en_US.UTF-8".to_owned()),
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("TZ", ":UTC".to_owned()),
    ];
    variables.extend(
        logging
            .application_log_level
            .clone()
            .map(|level| ("AWS_LAMBDA_LOG_LEVEL", level)),
    );
    let own = configuration
        .variables()
        .map(|(name, value)| (name.clone(), value.clone()));
    variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .chain(own)
        .collect()
}

struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
}

/// Returns what the function signs its calls with. `_role` and `_session` are what real credentials will be issued
/// for, so that calls can be held against the role's policies.
fn credentials(_cloud: &Cloud, _role: &str, _session: &str) -> Credentials {
    Credentials {
        access_key_id: "ASIALOCALFUNCTION000".to_owned(),
        secret_access_key: "local".to_owned(),
        session_token: "local".to_owned(),
    }
}
