//! CloudWatch Logs: groups, streams and events, the subset that a deploy and a log tail need.

use crate::cloud::SharedCloud;
use crate::wire::{ApiError, Request, Response};

/// All log groups.
#[derive(Debug, Default)]
pub(crate) struct Logs {}

impl Logs {
    /// Appends events (`(milliseconds since 1970, message)`) to a stream, which is made if absent.
    ///
    /// # Errors
    /// `ResourceNotFoundException` when the group does not exist: nothing here creates groups on the way.
    pub(crate) fn append(&self, _group: &str, _stream: &str, _events: &[(i64, String)]) -> Result<(), ApiError> {
        Ok(())
    }
}

/// Answers one AWS JSON 1.1 call, for example `X-Amz-Target: Logs_20140328.CreateLogGroup`.
pub(crate) async fn handle(_cloud: &SharedCloud, _request: Request) -> Response {
    ApiError::new(501, "NotImplemented", "not yet").aws_json()
}
