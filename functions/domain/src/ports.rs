//! What the use cases need from outside, one trait each. Implementations share themselves by being cheap to clone or by
//! being used through a reference.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use crate::model::{Connection, ConnectionId, Leg, Message, MessageId, Peer, Room, Session};

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
pub trait RememberConnection: Sync {
    /// Remembers `connection`, replacing what was known under its id.
    fn put(&self, connection: &Connection) -> impl Future<Output = Result<(), PortError>> + Send;
}

/// Forgets connections.
pub trait ForgetConnection: Sync {
    /// Forgets a connection and returns what was known; an unknown one is no error.
    fn remove(&self, id: &ConnectionId) -> impl Future<Output = Result<Option<Connection>, PortError>> + Send;
}

/// Counts what connections and users do.
pub trait CountAction: Sync {
    /// Counts one more action of the user `sub` in the window that began at `window` (seconds) and ends by `expires_at`.
    /// Returns whether no more than `most` were counted in it.
    fn count_user(
        &self,
        sub: &str,
        window: u64,
        most: u64,
        expires_at: u64,
    ) -> impl Future<Output = Result<bool, PortError>> + Send;

    /// Counts one more action in the window that began at `window` (seconds), unless `most` were counted in it. Never
    /// makes a row for an unknown connection.
    fn count(
        &self,
        id: &ConnectionId,
        window: u64,
        most: u64,
    ) -> impl Future<Output = Result<Counted, PortError>> + Send;
}

/// What became of counting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Counted; this is the connection's row.
    Within(Connection),
    /// There were too many already.
    Exceeded,
    /// No such connection.
    Unknown,
}

/// Moves connections between rooms.
pub trait MoveConnection: Sync {
    /// Moves a connection and returns its row as it was before, or nothing if it is unknown; no row is made for it then.
    fn move_to(
        &self,
        id: &ConnectionId,
        room: &Room,
    ) -> impl Future<Output = Result<Option<Connection>, PortError>> + Send;
}

/// Lists rooms. A room is spread over shards, so that a large one can be read, written and served in parallel.
pub trait ListRoom: Sync {
    /// Returns how many shards each room has; at least one.
    fn shards(&self) -> u32;

    /// Returns some connections of one shard of `room`, `most` at most, in the order of their ids, beginning after
    /// `after`. They may have expired, and may be a moment behind what was put.
    fn in_shard(
        &self,
        room: &Room,
        shard: u32,
        after: Option<&ConnectionId>,
        most: Option<usize>,
    ) -> impl Future<Output = Result<Page, PortError>> + Send;

    /// Returns the same as [`ListRoom::in_shard`] for those who only receive: no more than that takes, and nobody who has
    /// expired by `now`, in seconds. A large room is read this way.
    fn peers_in_shard(
        &self,
        room: &Room,
        shard: u32,
        after: Option<&ConnectionId>,
        most: Option<usize>,
        now: u64,
    ) -> impl Future<Output = Result<Page<Peer>, PortError>> + Send;

    /// Returns whether [`ListRoom::in_shard`] shows this connection in its room by now.
    fn shows(&self, connection: &Connection) -> impl Future<Output = Result<bool, PortError>> + Send;
}

/// All verbs together, for what implements them. Use cases ask for those that they need, which are also the only ones
/// that the stack grants to their functions.
pub trait ConnectionRepository:
    RememberConnection + ForgetConnection + CountAction + MoveConnection + ListRoom
{
}

impl<R: RememberConnection + ForgetConnection + CountAction + MoveConnection + ListRoom> ConnectionRepository for R {}

/// Some of the connections of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T = Connection> {
    /// The connections; may be empty although more follow.
    pub connections: Vec<T>,
    /// What to pass as `after` for the next page; nothing after the last.
    pub next: Option<ConnectionId>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self {
            connections: Vec::new(),
            next: None,
        }
    }
}

/// Brings frames to connected clients.
pub trait SendFrame: Sync {
    /// Sends `frame`. An answer that is no [`Delivery`], or none in time, is an error.
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
    /// We may not post there (HTTP 403): our configuration is wrong, and no repetition helps. Says nothing about the client.
    Forbidden,
}

/// Ends connections.
pub trait CloseConnection: Sync {
    /// Ends a connection, after what was sent to it before.
    fn close(&self, id: &ConnectionId) -> impl Future<Output = Result<Closing, PortError>> + Send;
}

/// What became of ending a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It ends, and its `$disconnect` event follows.
    Closed,
    /// There was no such connection any more.
    Gone,
}

/// Hands parts of broadcasts over to other invocations.
pub trait HandOver: Sync {
    /// Has `leg` run by another invocation, at least once, and does not wait for it.
    fn hand_over(&self, leg: &Leg) -> impl Future<Output = Result<(), PortError>> + Send;
}

/// Records what was said.
pub trait RecordMessage: Sync {
    /// Records `message` until `expires_at` (seconds). When it returns, every [`ReadHistory`] sees it.
    fn record(&self, message: &Message, expires_at: u64) -> impl Future<Output = Result<(), PortError>> + Send;
}

/// Reads what was said.
pub trait ReadHistory: Sync {
    /// Returns at most `most` messages of `room`, in the order of their ids, without those that have expired at `now`
    /// (seconds): the first ones after `after`, or without it the last ones.
    fn read(
        &self,
        room: &Room,
        after: Option<&MessageId>,
        most: usize,
        now: u64,
    ) -> impl Future<Output = Result<Excerpt, PortError>> + Send;
}

/// Some messages of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// In the order of their ids.
    pub messages: Vec<Message>,
    /// Whether there may be more in the same direction.
    pub more: bool,
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
