//! DynamoDB: an embedded library does the work; this module gives it our account's ARNs.

use crate::cloud::SharedCloud;
use crate::wire::{ApiError, Request, Response};

/// The embedded database.
pub(crate) struct DynamoDb {}

/// Answers one AWS JSON 1.0 call, for example `X-Amz-Target: DynamoDB_20120810.PutItem`.
pub(crate) async fn handle(_cloud: &SharedCloud, _request: Request) -> Response {
    ApiError::new(501, "NotImplemented", "not yet").aws_json()
}
