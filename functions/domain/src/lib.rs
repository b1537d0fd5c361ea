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
//!
//! Start with [`model`]. [`testing`] holds in-memory ports for tests, here and in the crates above.

mod authorize;
mod broadcast;
mod connect;
mod disconnect;
pub mod model;
pub mod ports;
mod send_message;
pub mod testing;

pub use authorize::{AllowedOrigins, Attempt, Authorize, Denial};
pub use broadcast::{Broadcast, BroadcastReport, GONE_GRACE_SECONDS, IN_FLIGHT_MAX, SLOW_ATTEMPTS_MAX};
pub use connect::{CONNECTION_LIFETIME_SECONDS, Connect};
pub use disconnect::Disconnect;
pub use model::{Connection, ConnectionId, Identity, InvalidRoom, Message, MessageId, Room, Session};
pub use send_message::{FRAME_BYTES_MAX, SendMessage, SendMessageError, Sending, Sent};
