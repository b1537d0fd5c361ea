//! API Gateway v2: the control plane of WebSocket APIs. A route is live only through a deployment, which is a snapshot.

use crate::cloud::SharedCloud;
use crate::wire::{ApiError, Request, Response};

/// All APIs with their routes, integrations, authorizers, deployments and stages.
#[derive(Debug, Default)]
pub(crate) struct ApiGateway {}

/// Answers one REST JSON call, for example `POST /v2/apis`.
pub(crate) async fn handle(_cloud: &SharedCloud, _request: Request) -> Response {
    ApiError::new(501, "NotImplemented", "not yet").rest_json()
}
