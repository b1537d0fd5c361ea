//! Lambda: the control plane, and the host that runs the functions' real binaries.

use bytes::Bytes;

use crate::cloud::SharedCloud;
use crate::wire::{ApiError, Request, Response};

/// All functions: code, configuration, resource policies, and their running processes.
#[derive(Debug, Default)]
pub(crate) struct Lambda {}

impl Lambda {
    /// Kills all function processes and waits until they are gone; nothing starts any more.
    pub(crate) async fn shutdown(&self) {}
}

/// On whose behalf a function is invoked.
#[derive(Clone, Debug)]
pub(crate) enum Invoker {
    /// A caller with credentials of this account, through the Invoke API.
    Account,
    /// A service, allowed only by a statement of the function's resource policy (`AddPermission`).
    Service {
        /// For example `apigateway.amazonaws.com`.
        principal: &'static str,
        /// For example `arn:aws:execute-api:us-east-1:000000000000:abc123/dev/$connect`.
        source_arn: String,
    },
}

/// How one invocation ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The handler returned this payload.
    Success(Bytes),
    /// The handler returned an error, crashed or timed out; the payload is
    /// `{"errorMessage": …, "errorType": …}` as Lambda reports it (`X-Amz-Function-Error: Unhandled`).
    FunctionError(Bytes),
}

/// Invokes a function synchronously and waits for its outcome.
///
/// `function` is a name, a partial or a full ARN, with or without a qualifier.
///
/// # Errors
/// `ResourceNotFoundException` 404, `AccessDeniedException` 403 (no statement of the resource policy matches the
/// invoking service), `TooManyRequestsException` 429, `ResourceConflictException` 409 (the function is Pending).
pub(crate) async fn invoke(
    _cloud: &SharedCloud,
    _function: &str,
    _payload: Bytes,
    _invoker: Invoker,
) -> Result<Outcome, ApiError> {
    Err(ApiError::new(501, "NotImplemented", "not yet"))
}

/// Answers one REST JSON call, for example `POST /2015-03-31/functions`.
pub(crate) async fn handle(_cloud: &SharedCloud, _request: Request) -> Response {
    ApiError::new(501, "NotImplemented", "not yet").rest_json()
}
