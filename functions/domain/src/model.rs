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

    /// Returns the shard of a room that the connection belongs to, below `shards`: ids are spread evenly, and whoever
    /// knows the id knows the shard.
    pub fn shard(&self, shards: u32) -> u32 {
        u32::try_from(self.digest() % u64::from(shards.max(1))).unwrap_or_default()
    }

    /// Returns a number that differs between ids and never changes: FNV-1a, <https://datatracker.ietf.org/doc/draft-eastlake-fnv/>.
    pub(crate) fn digest(&self) -> u64 {
        let digest = self.0.bytes().fold(0xcbf2_9ce4_8422_2325, |digest: u64, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        // The lowest bits of FNV are its weakest.
        digest ^ digest >> 32
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

/// As what a message is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// By a member.
    Message,
    /// By the house.
    Announcement,
}

/// What receivers get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Unique; later messages have larger ids.
    pub id: MessageId,
    /// As what it is said.
    pub kind: MessageKind,
    /// Who said it.
    pub from: Identity,
    /// Where it was said.
    pub room: Room,
    /// What was said. Never empty.
    pub data: String,
    /// When it was accepted, in milliseconds.
    pub at_ms: u64,
}

/// What it takes to bring a frame to a connection, and to judge the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which connection.
    pub id: ConnectionId,
    /// Since when it has been remembered, in seconds.
    pub connected_at: u64,
}

impl From<&Connection> for Peer {
    fn from(connection: &Connection) -> Self {
        Self {
            id: connection.id.clone(),
            connected_at: connection.connected_at,
        }
    }
}

/// Part of a broadcast: one shard of a room, from one connection on, or some connections. What one invocation hands over
/// to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The message, for the log and to tell how old it is.
    pub message: MessageId,
    /// To whom.
    pub room: Room,
    /// To which of them.
    pub shard: u32,
    /// The last connection that was served already.
    pub after: Option<ConnectionId>,
    /// Unless it is empty: these connections and no others, whatever the shard. An earlier attempt did not reach them.
    pub only: Vec<Peer>,
    /// Who does not get it: the sender.
    pub except: ConnectionId,
    /// How often it was handed over because time was up.
    pub hops: u32,
    /// What they get.
    pub frame: String,
}

/// The id of a message: a ULID (<https://github.com/ulid/spec>), 26 characters that sort by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(String);

/// Why a text is no [`MessageId`]. Does not repeat it: it came from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message's id is a ULID: 26 characters, as in its frame")]
pub struct InvalidMessageId;

/// The digits of ULIDs.
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl MessageId {
    /// Parses an id as [`MessageId::new`] writes it.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, InvalidMessageId> {
        let digits = text.len() == 26 && text.bytes().all(|byte| CROCKFORD.contains(&byte));
        // 26 digits hold 130 bits, an id 128.
        if digits && text.as_bytes()[0] <= b'7' {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidMessageId)
        }
    }

    /// Returns when the message was accepted, in milliseconds.
    pub fn at_ms(&self) -> u64 {
        let value = |byte: u8| CROCKFORD.iter().position(|digit| *digit == byte).unwrap_or_default() as u64;
        self.0.bytes().take(10).fold(0, |time, byte| time << 5 | value(byte))
    }

    /// Returns the id of 48 bits of time and the lower 80 bits of `random`.
    pub fn new(at_ms: u64, random: u128) -> Self {
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
    fn message_ids_are_read_back() {
        let id = MessageId::new(1_469_918_176_385, 7);
        assert_eq!(MessageId::parse(id.as_str()), Ok(id.clone()));
        assert_eq!(id.at_ms(), 1_469_918_176_385);
        let lower = id.as_str().to_lowercase();
        for bad in [
            "",
            "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "0000000000000000000000000U",
            &lower,
            &"ä".repeat(13),
        ] {
            assert_eq!(MessageId::parse(bad), Err(InvalidMessageId), "{bad}");
        }
    }

    #[test]
    fn shards_are_of_equal_size() {
        let mut sizes = [0; 8];
        for number in 0..8_000 {
            sizes[ConnectionId::new(format!("BFaT_fALIA{number:05}=")).shard(8) as usize] += 1;
        }
        assert!(sizes.iter().all(|size| (900..1_100).contains(size)), "{sizes:?}");
        assert_eq!(ConnectionId::new("c=").shard(0), 0);
    }

    #[test]
    fn message_ids_sort_by_time() {
        assert!(MessageId::new(1, u128::MAX) < MessageId::new(2, 0));
        assert!(MessageId::new(5, 1) < MessageId::new(5, 2));
    }
}
