//! What the use cases need from outside, one trait each. Implementations share themselves by being cheap to clone or by
//! being used through a reference.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use crate::model::{Connection, ConnectionId, MessageId, Room, Session};

/// The outside did not do what it was asked. Not the fault of a client.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation}")]
pub struct PortError {
    /// What was tried, e.g. `query the connections of room lobby`.
    pub operation: String,
    /// The cause.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

impl PortError {
    /// Returns the error of `operation`, an infinitive with its object.
    pub fn new(operation: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            operation: operation.into(),
            source: source.into(),
        }
    }
}

/// Remembers connections.
pub trait ConnectionRepository: Sync {
    /// Remembers `connection`, replacing what was known under its id.
    fn put(&self, connection: &Connection) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Forgets a connection; an unknown one is no error.
    fn remove(&self, id: &ConnectionId) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Returns one connection. It may have expired.
    fn find(&self, id: &ConnectionId) -> impl Future<Output = Result<Option<Connection>, PortError>> + Send;

    /// Returns some connections of `room`, in the order of their ids, beginning after `after`. They may have expired.
    fn in_room(
        &self,
        room: &Room,
        after: Option<&ConnectionId>,
    ) -> impl Future<Output = Result<Page, PortError>> + Send;
}

/// Some of the connections of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The connections; may be empty although more follow.
    pub connections: Vec<Connection>,
    /// What to pass as `after` for the next page; nothing after the last.
    pub next: Option<ConnectionId>,
}

/// Brings frames to connected clients.
pub trait MessageGateway: Sync {
    /// Sends `frame`. Only an answer that is neither success, gone nor slow is an error.
    fn send(&self, to: &ConnectionId, frame: &str) -> impl Future<Output = Result<Delivery, PortError>> + Send;
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The gateway took it. Whether the user saw it is not known.
    Delivered,
    /// The client left (HTTP 410), or has not finished connecting.
    Gone,
    /// The client does not read fast enough, or the account sends too much (HTTP 429). A later try may succeed.
    Slow,
}

/// Knows the time, and lets it pass.
pub trait Clock: Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;

    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;

    /// Seconds since 1970.
    fn now_seconds(&self) -> u64 {
        self.now_ms() / 1000
    }
}

/// Makes ids for messages.
pub trait MessageIds: Sync {
    /// Returns an id that was never returned before, for a message accepted at `at_ms`.
    fn next(&self, at_ms: u64) -> MessageId;
}

/// Reads tokens.
pub trait TokenVerifier: Sync {
    /// Returns who the bearer of `token` is, if it counts at `now_seconds`.
    fn verify(&self, token: &str, now_seconds: u64) -> impl Future<Output = Result<Session, TokenError>> + Send;
}

/// Why a token was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It does not count. The reason never contains any part of the token.
    #[error("{reason}")]
    Refused {
        /// The reason, for the log.
        reason: String,
    },
    /// It could not be checked: the key is out of reach.
    #[error("token cannot be checked")]
    Unavailable(#[source] PortError),
}
