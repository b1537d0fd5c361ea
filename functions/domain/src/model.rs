//! What the chat is about. Times are seconds or milliseconds since 1970, UTC, as their names say.

use std::fmt;

/// API Gateway's name of one WebSocket connection. Opaque, unique over time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(String);

impl ConnectionId {
    /// Wraps an id as API Gateway gave it.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// Returns the id as API Gateway gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who a user is, as the token said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Stable and unique; the token's subject.
    pub sub: String,
    /// What others see, if it differs from `sub`.
    pub name: Option<String>,
    /// What the user may do beyond chatting; [`crate::Role`] says which texts mean something.
    pub roles: Vec<String>,
}

/// An identity and for how long its token vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who it is.
    pub user: Identity,
    /// The token's end, in seconds.
    pub token_expires_at: u64,
}

/// The name of a room. Rooms need no creation: one exists while somebody is in it.
///
/// Invariant: 1 to 64 of `[A-Za-z0-9_-]`, so that it is safe in URLs, keys and logs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Room(String);

/// Why a text is no [`Room`]. Does not repeat it: it came from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a room is 1 to {} letters, digits, `_` or `-`", Room::CHARACTERS_MAX)]
pub struct InvalidRoom;

impl Room {
    /// The longest name.
    pub const CHARACTERS_MAX: usize = 64;

    /// Returns the room of whoever names none.
    pub fn lobby() -> Self {
        Self("lobby".to_owned())
    }

    /// Parses a room's name.
    ///
    /// # Errors
    ///
    /// When the text breaks the invariant.
    pub fn parse(text: &str) -> Result<Self, InvalidRoom> {
        let legal = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if legal && (1..=Self::CHARACTERS_MAX).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRoom)
        }
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One client's presence in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// Where it is.
    pub room: Room,
    /// Who it is, and until when.
    pub session: Session,
    /// When it was accepted, in seconds.
    pub connected_at: u64,
    /// When it cannot exist any more, whatever happened to its `$disconnect` event, in seconds.
    pub expires_at: u64,
}

/// What receivers get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Unique; later messages have larger ids.
    pub id: MessageId,
    /// Who said it.
    pub from: Identity,
    /// Where it was said.
    pub room: Room,
    /// What was said. Never empty.
    pub data: String,
    /// When it was accepted, in milliseconds.
    pub at_ms: u64,
}

/// The id of a message: a ULID (<https://github.com/ulid/spec>), 26 characters that sort by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(String);

impl MessageId {
    /// Returns the id of 48 bits of time and the lower 80 bits of `random`.
    pub fn new(at_ms: u64, random: u128) -> Self {
        const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let bits = u128::from(at_ms) << 80 | random & ((1 << 80) - 1);
        // 26 characters of 5 bits hold 130 bits; the highest two are zero.
        let digit = |place: u32| char::from(CROCKFORD[(bits >> (place * 5) & 31) as usize]);
        Self((0..26).rev().map(digit).collect())
    }

    /// Returns the 26 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_have_plain_names() {
        for good in ["lobby", "a", "A-1_b", &"x".repeat(64)] {
            assert_eq!(Room::parse(good).map(|room| room.to_string()).as_deref(), Ok(good));
        }
        for bad in ["", " ", "a b", "ü", "a/b", "a\n", &"x".repeat(65)] {
            assert_eq!(Room::parse(bad), Err(InvalidRoom), "{bad:?}");
        }
    }

    #[test]
    fn message_ids_are_ulids() {
        // The example of the JavaScript implementation, <https://github.com/ulid/javascript>: 1469918176385 ms is `01ARYZ6S41`.
        assert_eq!(
            MessageId::new(1_469_918_176_385, 0).as_str(),
            "01ARYZ6S410000000000000000"
        );
        assert_eq!(MessageId::new(0, u128::MAX).as_str(), "0000000000ZZZZZZZZZZZZZZZZ");
    }

    #[test]
    fn message_ids_sort_by_time() {
        assert!(MessageId::new(1, u128::MAX) < MessageId::new(2, 0));
        assert!(MessageId::new(5, 1) < MessageId::new(5, 2));
    }
}
