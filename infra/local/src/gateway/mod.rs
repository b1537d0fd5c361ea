//! The data plane of WebSocket APIs: the front door for clients, and `@connections` for functions.
//!
//! What a client meets is the deployment of its stage, never the API as it is being edited. A refusal is an HTTP answer:
//! the authorizer and `$connect` are asked before the upgrade.
//!
//! Where AWS is silent or was not measured, this gateway decides as follows:
//! - `domainName` of events is `{api}.execute-api.localhost:PORT`, so that `http://{domainName}/{stage}` is a real address.
//! - Messages use the deployment that is live when they arrive; the authorizer's decision holds as long as the connection.
//! - Pings and pongs do not count against the idle timeout, data in either direction does.
//! - Header names reach functions as browsers write them (`Sec-WebSocket-Key`); HTTP/1 headers are read without their case.
//! - Stage throttling is not applied.
//!
//! Read next: [`open`] for the front door, [`session`] for an open connection, [`management`] for `@connections`,
//! [`event`] for what functions receive.

mod access_log;
mod authorize;
mod backend;
mod connection;
mod event;
mod integration;
mod management;
mod open;
mod session;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use self::backend::Backend;
use self::connection::{Connection, Ending};
use crate::apigatewayv2;
use crate::cloud::SharedCloud;
use crate::unkind::Trouble;
use crate::wire::{ApiError, Response};

/// Where in an API a data-plane request goes: found by the front from path or host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) api_id: String,
    pub(crate) stage: String,
    /// What follows the stage, for example `/@connections/abc%3D`; empty for a client's connect.
    pub(crate) rest: String,
}

/// Limits of connections, by default those of AWS
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html>).
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// A connection without data in either direction is closed after this time.
    pub(crate) idle: Duration,
    /// No connection lives longer.
    pub(crate) duration: Duration,
    /// Largest frame from a client, in bytes.
    pub(crate) frame_bytes: usize,
    /// Largest message in either direction, in bytes.
    pub(crate) message_bytes: usize,
    /// Frames that wait for a slow client; AWS does not say how many it keeps.
    pub(crate) buffered_frames: usize,
    /// Messages of one client in work at the same time; the next ones wait in its socket.
    pub(crate) concurrent_messages: usize,
    /// How long a closed socket may take to say goodbye.
    pub(crate) close: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(10 * 60),
            duration: Duration::from_secs(2 * 60 * 60),
            frame_bytes: 32 * 1024,
            message_bytes: 128 * 1024,
            buffered_frames: 128,
            concurrent_messages: 32,
            close: Duration::from_secs(1),
        }
    }
}

/// All open connections.
#[derive(Debug)]
pub(crate) struct Gateway {
    limits: Limits,
    connections: Mutex<HashMap<String, Arc<Connection>>>,
    /// Connections whose `$disconnect` has not ended yet.
    sessions: watch::Sender<usize>,
}

impl Default for Gateway {
    fn default() -> Self {
        Self::with_limits(Limits::default())
    }
}

impl Gateway {
    /// Returns a gateway without connections.
    pub(crate) fn with_limits(limits: Limits) -> Self {
        Self {
            limits,
            connections: Mutex::default(),
            sessions: watch::Sender::new(0),
        }
    }

    /// Closes all connections with 1001 and waits for their `$disconnect`, at most for `patience`. The functions must
    /// still run.
    pub(crate) async fn shutdown(&self, patience: Duration) {
        let open: Vec<Arc<Connection>> = self.lock().values().cloned().collect();
        for connection in open {
            connection.close(Ending::going_away());
        }
        let mut sessions = self.sessions.subscribe();
        let ended = tokio::time::timeout(patience, sessions.wait_for(|count| *count == 0)).await;
        if ended.is_err() {
            tracing::warn!("connections were still open when the gateway stopped");
        }
    }

    fn register(&self, connection: &Arc<Connection>) {
        self.sessions.send_modify(|count| *count += 1);
        self.lock().insert(connection.peer.id.clone(), Arc::clone(connection));
    }

    fn find(&self, id: &str) -> Option<Arc<Connection>> {
        self.lock().get(id).cloned()
    }

    /// From here on the connection is gone for `@connections`.
    fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    fn session_ended(&self) {
        self.sessions.send_modify(|count| *count -= 1);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers a data-plane request: a WebSocket upgrade or an `@connections` call.
pub(crate) async fn handle(cloud: &SharedCloud, address: Address, request: axum::extract::Request) -> Response {
    serve(cloud, address, request).await
}

/// Returns whether a request posts a frame to a connection.
pub(crate) fn is_post(address: &Address, request: &axum::extract::Request) -> bool {
    request.method() == http::Method::POST && address.rest.starts_with("/@connections/")
}

/// Answers a post in the way that was chosen for it.
pub(crate) async fn handle_badly(
    cloud: &SharedCloud,
    address: Address,
    request: axum::extract::Request,
    trouble: Trouble,
) -> Response {
    match trouble {
        Trouble::Gone => {
            let id = address.rest.trim_start_matches("/@connections/");
            if let Some(connection) = cloud.gateway.find(&crate::query::percent_decode(id)) {
                connection.close(Ending::going_away());
                cloud.gateway.forget(&connection.peer.id);
            }
            management::gone().rest_json()
        }
        Trouble::Busy => ApiError::new(429, "LimitExceededException", "Too many posts").rest_json(),
        Trouble::Failed { happened } => {
            if happened {
                handle(cloud, address, request).await;
            }
            ApiError::new(500, "InternalServerErrorException", "Internal server error").rest_json()
        }
        Trouble::Slow { after, happened: true } => {
            let answer = handle(cloud, address, request).await;
            tokio::time::sleep(after).await;
            answer
        }
        Trouble::Slow { after, happened: false } => {
            tokio::time::sleep(after).await;
            handle(cloud, address, request).await
        }
    }
}

async fn serve<B: Backend>(backend: &Arc<B>, address: Address, request: axum::extract::Request) -> Response {
    let segments = match apigatewayv2::segments(&address.rest) {
        Ok(segments) => segments,
        Err(error) => return error.rest_json(),
    };
    match segments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [""] => open::open(backend, address, request).await,
        ["@connections", id] => management::answer(backend, &address, id, request).await,
        _ => missing_token().rest_json(),
    }
}

/// What API Gateway answers to paths it does not know and to calls without a signature.
fn missing_token() -> ApiError {
    ApiError::new(
        403,
        "MissingAuthenticationTokenException",
        "Missing Authentication Token",
    )
}
