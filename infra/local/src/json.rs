//! The AWS JSON protocols of Logs and SSM: `POST /` with the action in `X-Amz-Target`.
//!
//! See <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>.

use serde::de::DeserializeOwned;

use crate::wire::{ApiError, Request};

/// Returns the action of `X-Amz-Target`, for example `CreateLogGroup` of `Logs_20140328.CreateLogGroup`.
pub(crate) fn action(request: &Request) -> &str {
    request
        .headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .and_then(|target| target.rsplit('.').next())
        .unwrap_or_default()
}

/// Reads the input of a call; an empty body counts as `{}`.
///
/// # Errors
/// `ValidationException` for a missing member, `SerializationException` for anything else that is no such input.
pub(crate) fn input<T: DeserializeOwned>(request: &Request) -> Result<T, ApiError> {
    let body: &[u8] = if request.body.is_empty() { b"{}" } else { &request.body };
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        // serde_json has no kind for missing members; its text names them between backticks.
        match text
            .strip_prefix("missing field `")
            .and_then(|rest| rest.split('`').next())
        {
            Some(member) => required(member),
            None => ApiError::new(400, "SerializationException", text),
        }
    })
}

/// Refuses an action that this cloud does not have.
pub(crate) fn unknown_action(service: &str, action: &str) -> ApiError {
    ApiError::new(
        400,
        "UnknownOperationException",
        format!("the local cloud does not implement the action {action} of {service}"),
    )
}

fn required(member: &str) -> ApiError {
    let member = crate::query::lower_first(member);
    ApiError::new(
        400,
        "ValidationException",
        format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
        ),
    )
}
