//! IAM: roles and their inline policies.

use crate::cloud::SharedCloud;
use crate::wire::{ApiError, Request, Response};

/// All roles of the account.
#[derive(Debug, Default)]
pub(crate) struct Iam {}

impl Iam {
    /// Returns whether the role exists and its trust policy lets `service` (for example `lambda.amazonaws.com`) assume
    /// it.
    pub(crate) fn assumable_by(&self, _role_arn: &str, _service: &str) -> bool {
        true
    }
}

/// Answers one awsQuery call.
pub(crate) async fn handle(_cloud: &SharedCloud, _request: Request) -> Response {
    ApiError::new(501, "NotImplemented", "not yet").query_xml("https://iam.amazonaws.com/doc/2010-05-08/")
}
