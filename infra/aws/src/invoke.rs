//! Calls a function once and waits for its answer.

use aws_sdk_lambda::config::Config;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::LogType;
use aws_smithy_types::timeout::TimeoutConfig;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use infra_cdk::ALIAS;
use infra_engine::CloudError;

use crate::Session;
use crate::session::INVOKE_TIMEOUT;
use crate::throttle::Service;

/// What a function answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// `Unhandled` where the function failed, ended or took too long; the payload says more.
    pub function_error: Option<String>,
    /// The answer, or the error: JSON.
    pub payload: Vec<u8>,
    /// The version that ran.
    pub version: Option<String>,
    /// The last 4 KB of its log, line by line.
    pub log: Vec<String>,
}

/// Invokes the version of a function that its callers meet. Never repeated: a function may have done its work although the
/// answer was lost.
///
/// # Errors
/// When Lambda does not run it. A function that runs and fails is no error here.
pub async fn invoke(session: &Session, function: &str, payload: Vec<u8>) -> Result<Invocation, CloudError> {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(INVOKE_TIMEOUT)
        .build();
    let call = session
        .lambda()
        .invoke()
        .function_name(function)
        .qualifier(ALIAS)
        .log_type(LogType::Tail)
        .payload(Blob::new(payload))
        .customize()
        .config_override(Config::builder().timeout_config(timeouts));
    let answer = session
        .sdk(Service::Lambda, "lambda:InvokeFunction", call.send())
        .await?;
    let tail = answer.log_result().and_then(|tail| STANDARD.decode(tail).ok());
    let tail = String::from_utf8_lossy(tail.as_deref().unwrap_or_default()).into_owned();
    Ok(Invocation {
        function_error: answer.function_error().map(str::to_owned),
        version: answer.executed_version().map(str::to_owned),
        log: tail.lines().map(str::to_owned).collect(),
        payload: answer.payload.map(Blob::into_inner).unwrap_or_default(),
    })
}
