//! Entities, ports and use cases of the chat.
//!
//! The rules of the chat are here and nowhere else, in plain Rust: no AWS, no JSON, no clock, no randomness, no
//! runtime. What a rule needs from outside is a trait in [`ports`]; the crate `functions` implements them for AWS and
//! calls the use cases:
//!
//! | use case | is asked |
//! |---|---|
//! | [`Authorize`] | may this client connect, and who is it? |
//! | [`Connect`] | a connection was accepted: remember it |
//! | [`Disconnect`] | a connection ended: forget it |
//! | [`SendMessage`] | a member says something: check it, give it an id and a time, record it, … |
//! | [`FanOut`] | … and bring it to every other connection of the room, at once or by legs |
//! | [`RunLeg`] | one leg: a shard of a large room, until its end or the invocation's |
//! | [`Broadcast`] | one frame to many connections: what becomes of each |
//! | [`History`] | a member reads what was said |
//! | [`Rooms`] | who is here, and a move to another room |
//! | [`Presence`] | tell a small room who came or went |
//! | [`Kick`] | a moderator ends a user's connections |
//!
//! Every action of a connected client passes [`admit`]: the token, the roles, the rate.
//!
//! Start with [`model`] and [`ports`], one small trait for each verb. [`testing`] holds in-memory ports for tests, here and in the crates above.

mod access;
mod authorize;
mod broadcast;
mod connect;
mod disconnect;
mod fan_out;
mod history;
mod kick;
mod leg;
pub mod model;
pub mod ports;
mod presence;
mod rooms;
mod send_message;
pub mod testing;

pub use access::{
    Action, Allowed, Caller, RATE_ACTIONS_MAX, RATE_WINDOW_SECONDS, Refusal, Role, USER_RATE_ACTIONS_MAX, admit,
};
pub use authorize::{AllowedOrigins, Attempt, Authorize, Denial};
pub use broadcast::{
    Broadcast, BroadcastReport, Effort, GONE_GRACE_SECONDS, IN_FLIGHT_MAX, ONCE_WITHIN, SLOW_ATTEMPTS_MAX,
};
pub use connect::{CONNECTION_LIFETIME_SECONDS, Connect};
pub use disconnect::Disconnect;
pub use fan_out::{FanOut, INLINE_CONNECTIONS_MAX, Reach};
pub use history::{
    HISTORY_MESSAGES, HISTORY_MESSAGES_MAX, HISTORY_SECONDS, History, HistoryError, LOOK_BACK_MS, Pages, Place, Reading,
};
pub use kick::{Kick, KickError, Kicked};
pub use leg::{HOPS_MAX, LEG_AGE_SECONDS_MAX, LegEnd, LegReport, RESERVE_MS, ROUND_PAUSE, ROUNDS_MAX, RunLeg};
pub use model::{
    Connection, ConnectionId, Identity, InvalidMessageId, InvalidRoom, Leg, Message, MessageId, MessageKind, Peer,
    Room, Session,
};
pub use presence::{Crowd, Direction, Movement, PRESENCE_CONNECTIONS_MAX, Presence, ROSTER_CONNECTIONS_MAX, Roster};
pub use rooms::{Joined, Rooms, RoomsError};
pub use send_message::{FRAME_BYTES_MAX, SendMessage, SendMessageError, Sending, Sent};
