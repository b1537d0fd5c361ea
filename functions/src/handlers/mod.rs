//! One handler per function: parse the event, call the use case, answer.
//!
//! They are generic over the domain's ports; `src/bin` gives them the AWS adapters, tests the ones in memory.

mod admin;
mod answer;
mod authorize;
mod broadcast;
mod connect;
mod default;
mod disconnect;
mod room;
mod send_message;
mod web;

pub use admin::{Admin, admin};
pub use authorize::authorize;
pub use broadcast::broadcast;
pub use connect::connect;
pub use default::default;
pub use disconnect::disconnect;
pub use room::{RoomActions, room};
pub use send_message::send_message;
pub use web::{UrlResponse, UrlResponseHeaders, web};

use functions_domain::{BroadcastReport, MessageId};
use serde::Serialize;

use crate::events::RequestContext;
use crate::metrics;
use crate::runtime::chain;

/// What a route's function answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// On `$connect`, anything but 2xx refuses the client with this status. On other routes nobody looks at it.
    pub status_code: u16,
    /// On `$connect`, headers of the handshake's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<ResponseHeaders>,
    /// On routes with a route response, the frame that the caller receives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// The only header that we answer with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResponseHeaders {
    /// The selected subprotocol.
    #[serde(rename = "Sec-WebSocket-Protocol")]
    pub subprotocol: &'static str,
}

impl Response {
    fn status(status_code: u16) -> Self {
        Self {
            status_code,
            headers: None,
            body: None,
        }
    }
}

/// Logs and counts what became of bringing a message to connections.
fn log_report(route: &str, message: &MessageId, report: &BroadcastReport, now_ms: u64) {
    metrics::fan_out(report, now_ms.saturating_sub(message.at_ms()));
    let BroadcastReport {
        delivered,
        gone,
        slow,
        forbidden,
        failed,
        left,
        unreached: _,
        first_failure,
    } = report;
    tracing::info!(route, messageId = %message, delivered, gone, slow, forbidden, failed, left, "brought to connections");
    if *forbidden > 0 {
        // Not a client's doing: the role or the endpoint is wrong.
        tracing::error!(route, messageId = %message, forbidden, "may not post to connections: check the role's grants");
    }
    if let Some(error) = first_failure {
        tracing::warn!(route, messageId = %message, error = chain(error), "not everybody was reached");
    }
}

/// Logs what became of telling a room who came or went, if there is anything to say.
fn log_presence(context: &RequestContext, report: &BroadcastReport) {
    if let Some(error) = &report.first_failure {
        let (route, connection) = (&context.route_key, &context.connection_id);
        tracing::warn!(route, connectionId = %connection, error = chain(error), "not everybody was told");
    }
}

#[cfg(test)]
mod testing {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde::de::DeserializeOwned;
    use serde_json::Value;

    /// Reads an event as AWS sends it, from `tests/events`, after `change`.
    pub(super) fn event<E: DeserializeOwned>(name: &str, change: impl FnOnce(&mut Value)) -> E {
        let path = format!("{}/tests/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let mut value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }
}
