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
//! | [`SendMessage`] | a member says something: check it, give it an id and a time, … |
//! | [`Broadcast`] | … and bring it to every other connection of the room |
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
mod kick;
pub mod model;
pub mod ports;
mod presence;
mod rooms;
mod send_message;
pub mod testing;

pub use access::{Action, Allowed, Caller, RATE_ACTIONS_MAX, RATE_WINDOW_SECONDS, Refusal, Role, admit};
pub use authorize::{AllowedOrigins, Attempt, Authorize, Denial};
pub use broadcast::{Broadcast, BroadcastReport, GONE_GRACE_SECONDS, IN_FLIGHT_MAX, SLOW_ATTEMPTS_MAX};
pub use connect::{CONNECTION_LIFETIME_SECONDS, Connect};
pub use disconnect::Disconnect;
pub use kick::{Kick, KickError, Kicked};
pub use model::{Connection, ConnectionId, Identity, InvalidRoom, Message, MessageId, Room, Session};
pub use presence::{Crowd, Direction, Movement, PRESENCE_CONNECTIONS_MAX, Presence, ROSTER_CONNECTIONS_MAX, Roster};
pub use rooms::{Joined, Rooms, RoomsError};
pub use send_message::{FRAME_BYTES_MAX, SendMessage, SendMessageError, Sending, Sent};
