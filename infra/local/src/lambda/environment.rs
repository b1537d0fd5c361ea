//! The environment of a function process: what Lambda sets, then what the function's settings add. Nothing of our own
//! environment gets through.
//!
//! Source: Developer Guide, "Defined runtime environment variables".

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Weak};

use super::model::Version;
use crate::cloud::{Cloud, SharedCloud};
use crate::iam::Credentials;
use crate::wire::ApiError;

/// Returns all variables of a process. `stream` is its log stream.
pub(super) fn variables(
    cloud: &Cloud,
    version: &Version,
    session: &Session,
    task_root: &Path,
    runtime_api: SocketAddr,
    stream: &str,
) -> Vec<(String, String)> {
    let configuration = &version.configuration;
    let logging = &configuration.logging_config;
    let (region, task_root) = (cloud.account.region.clone(), task_root.display().to_string());
    let credentials = &session.credentials;
    let mut variables = vec![
        ("_HANDLER", configuration.handler.clone()),
        ("AWS_ACCESS_KEY_ID", credentials.access_key_id.clone()),
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
        ("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key.clone()),
        ("AWS_SESSION_TOKEN", credentials.session_token.clone()),
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

/// Credentials of a function's role, for one process; revoked when dropped.
#[derive(Debug)]
pub(super) struct Session {
    cloud: Weak<Cloud>,
    credentials: Credentials,
}

impl Session {
    /// Assumes the role of a function.
    ///
    /// # Errors
    /// `NoSuchEntity` when the role is gone.
    pub(super) fn assume(cloud: &SharedCloud, version: &Version) -> Result<Self, ApiError> {
        Ok(Self {
            cloud: Arc::downgrade(cloud),
            credentials: cloud.iam.issue(&version.configuration.role, &version.function)?,
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(cloud) = self.cloud.upgrade() {
            cloud.iam.revoke(&self.credentials.access_key_id.clone());
        }
    }
}
