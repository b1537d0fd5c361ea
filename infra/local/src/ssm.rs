//! SSM Parameter Store: named values, `SecureString` among them.

use crate::cloud::SharedCloud;
use crate::wire::{ApiError, Request, Response};

/// All parameters.
#[derive(Debug, Default)]
pub(crate) struct Ssm {}

/// Answers one AWS JSON 1.1 call, for example `X-Amz-Target: AmazonSSM.PutParameter`.
pub(crate) async fn handle(_cloud: &SharedCloud, _request: Request) -> Response {
    ApiError::new(501, "NotImplemented", "not yet").aws_json()
}
