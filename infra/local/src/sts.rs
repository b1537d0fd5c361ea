//! STS: who is calling.

use crate::cloud::SharedCloud;
use crate::wire::{ApiError, Request, Response};

/// Answers one awsQuery call.
pub(crate) async fn handle(_cloud: &SharedCloud, _request: Request) -> Response {
    ApiError::new(501, "NotImplemented", "not yet").query_xml("https://sts.amazonaws.com/doc/2011-06-15/")
}
