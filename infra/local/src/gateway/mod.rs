//! The data plane of WebSocket APIs: the front door for clients, and `@connections` for functions.

use crate::cloud::SharedCloud;
use crate::wire::{ApiError, Response};

/// All open connections.
#[derive(Debug, Default)]
pub(crate) struct Gateway {}

/// Where in an API a data-plane request goes: found by the front from path or host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) api_id: String,
    pub(crate) stage: String,
    /// What follows the stage, for example `/@connections/abc%3D`; empty for a client's connect.
    pub(crate) rest: String,
}

/// Answers a data-plane request: a WebSocket upgrade or an `@connections` call.
pub(crate) async fn handle(_cloud: &SharedCloud, _address: Address, _request: axum::extract::Request) -> Response {
    ApiError::new(501, "NotImplemented", "not yet").rest_json()
}
