//! Frames to clients. Each has a `type`; none holds a connection id, a token or a role.

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use functions_domain::{
    Direction, FRAME_BYTES_MAX, Identity, Message, MessageId, MessageKind, Movement, Pages, Room, Roster,
};
use serde::Serialize;

use super::Rejection;

/// Returns the frame that receivers get:
/// `{"type":"message","id":…,"from":{"sub":…,"name":…},"room":…,"data":…,"at":…}`; the type may also be `announcement`.
/// `id` sorts by time, `name` is `sub` if the user has none, `at` is UTC in RFC 3339 with milliseconds at most.
pub fn message(message: &Message) -> String {
    #[derive(Serialize)]
    struct Frame<'a> {
        r#type: &'static str,
        id: &'a str,
        from: User<'a>,
        room: &'a str,
        data: &'a str,
        at: String,
    }
    text(&Frame {
        r#type: match message.kind {
            MessageKind::Message => "message",
            MessageKind::Announcement => "announcement",
        },
        id: message.id.as_str(),
        from: User::of(&message.from),
        room: message.room.as_str(),
        data: &message.data,
        at: rfc3339(message.at_ms),
    })
}

/// Returns the frame with what was said: `{"type":"history","room":…,"messages":[…],"more":…,"cursor":…}`, with the
/// client's `id` if it gave one. Each message is as [`message`] writes it. As many as fit into one frame, one at least;
/// `more` says that others follow, and `cursor` where.
pub fn history(pages: &Pages, id: Option<&str>) -> String {
    // A message may fill a frame by itself; API Gateway carries up to 128 KB in several.
    let room_left = FRAME_BYTES_MAX - HISTORY_OVERHEAD_BYTES_MAX;
    let frames: Vec<_> = pages.messages.iter().map(message).collect();
    let mut bytes = 0;
    let mut fits = |frame: &&String| {
        let first = bytes == 0;
        bytes += frame.len() + 1;
        first || bytes <= room_left
    };
    let all = frames.len();
    let shown = if pages.last {
        all - frames.iter().rev().take_while(&mut fits).count()..all
    } else {
        0..frames.iter().take_while(&mut fits).count()
    };
    let more = pages.more || shown.end < all;
    let last = shown.end.checked_sub(1).map(|last| pages.messages[last].id.as_str());
    // The frames are JSON already; to parse them again would be for the library's sake only.
    let mut frame = format!(
        r#"{{"type":"history","room":"{}","messages":[{}],"more":{more}"#,
        pages.room,
        frames[shown].join(",")
    );
    for (name, value) in [("cursor", last.filter(|_| more)), ("id", id)] {
        if let Some(value) = value {
            frame.push_str(&format!(r#","{name}":{}"#, text(&value)));
        }
    }
    frame.push('}');
    frame
}

/// What a history frame has besides its messages: names, a room of 64, a client's id of 64 characters of 4 bytes or 6 when
/// escaped, a cursor.
const HISTORY_OVERHEAD_BYTES_MAX: usize = 1024;

/// Returns the frame that tells a room who came or went:
/// `{"type":"presence","event":"joined","room":…,"user":{"sub":…,"name":…},"at":…}`; `event` may also be `left`.
pub fn presence(movement: &Movement<'_>) -> String {
    #[derive(Serialize)]
    struct Frame<'a> {
        r#type: &'static str,
        event: &'static str,
        room: &'a str,
        user: User<'a>,
        at: String,
    }
    text(&Frame {
        r#type: "presence",
        event: match movement.direction {
            Direction::Joined => "joined",
            Direction::Left => "left",
        },
        room: movement.room.as_str(),
        user: User::of(movement.user),
        at: rfc3339(movement.at_ms),
    })
}

/// Returns the frame that says who is in a room: `{"type":"members","room":…,"members":[{"sub":…,"name":…}],"more":…}`,
/// with the client's `id` if it gave one. As many members as fit into one frame; `more` says that some are left out.
pub fn members(roster: &Roster, id: Option<&str>) -> String {
    #[derive(Serialize)]
    struct Frame<'a> {
        r#type: &'static str,
        room: &'a str,
        members: &'a [User<'a>],
        more: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
    }
    let users: Vec<_> = roster.members.iter().map(User::of).collect();
    let frame = |count: usize| {
        text(&Frame {
            r#type: "members",
            room: roster.room.as_str(),
            members: &users[..count],
            more: roster.more || count < users.len(),
            id,
        })
    };
    let mut room_left = FRAME_BYTES_MAX - frame(0).len();
    let fitting = users
        .iter()
        .take_while(|user| {
            // A comma belongs to each.
            let bytes = text(user).len() + 1;
            let fits = bytes <= room_left;
            room_left = room_left.saturating_sub(bytes);
            fits
        })
        .count();
    frame(fitting)
}

/// Returns the last frame before a moderator ends the connection: `{"type":"kicked","room":…,"by":{"sub":…,"name":…}}`.
pub fn kicked(room: &Room, by: &Identity) -> String {
    #[derive(Serialize)]
    struct Frame<'a> {
        r#type: &'static str,
        room: &'a str,
        by: User<'a>,
    }
    text(&Frame {
        r#type: "kicked",
        room: room.as_str(),
        by: User::of(by),
    })
}

/// Returns the frame that tells a moderator how many connections were ended: `{"type":"ack","id":…,"connections":…}`.
/// `id` is the client's own and left out if it gave none.
pub fn kick_ack(id: Option<&str>, connections: usize) -> String {
    #[derive(Serialize)]
    struct Frame<'a> {
        r#type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        connections: usize,
    }
    text(&Frame {
        r#type: "ack",
        id,
        connections,
    })
}

/// Returns the frame that tells a sender that its message was accepted: `{"type":"ack","id":…,"messageId":…}`. `id` is
/// the client's own and left out if it gave none.
pub fn ack(id: Option<&str>, message_id: &MessageId) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Frame<'a> {
        r#type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        message_id: &'a str,
    }
    text(&Frame {
        r#type: "ack",
        id,
        message_id: message_id.as_str(),
    })
}

/// Returns the frame that tells a sender why nothing happened: `{"type":"error","code":…,"message":…}`, with the
/// client's `id` if it gave one.
pub fn error(rejection: &Rejection) -> String {
    #[derive(Serialize)]
    struct Frame<'a> {
        r#type: &'static str,
        code: &'static str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
    }
    let Rejection { code, message, id } = rejection;
    text(&Frame {
        r#type: "error",
        code: code.as_str(),
        message,
        id: id.as_deref(),
    })
}

/// Returns the answer to `{"action":"ping"}`: `{"type":"pong"}`, with the ping's `id` if it had one.
pub fn pong(id: Option<&str>) -> String {
    #[derive(Serialize)]
    struct Frame<'a> {
        r#type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
    }
    text(&Frame { r#type: "pong", id })
}

/// How clients see a user; `name` is `sub` if the user has none.
#[derive(Serialize)]
struct User<'a> {
    sub: &'a str,
    name: &'a str,
}

impl<'a> User<'a> {
    fn of(identity: &'a Identity) -> Self {
        Self {
            sub: &identity.sub,
            name: identity.name.as_deref().unwrap_or(&identity.sub),
        }
    }
}

fn text(frame: &impl Serialize) -> String {
    serde_json::to_string(frame).expect("structs of texts serialise")
}

/// Years beyond 9999 have no such form; the epoch stands in for them.
fn rfc3339(at_ms: u64) -> String {
    let time = DateTime::from_millis(i64::try_from(at_ms).unwrap_or_default());
    time.fmt(Format::DateTime)
        .unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::frames::ErrorCode;

    #[test]
    fn a_message_as_receivers_see_it() {
        let from = Identity {
            sub: "u1".into(),
            name: Some("Alice".into()),
            roles: vec!["secret".into()],
        };
        let id = MessageId::new(1_800_000_000_123, 0);
        let mut said = Message {
            id,
            kind: MessageKind::Message,
            from,
            room: Room::lobby(),
            data: "\"hi\" ü".into(),
            at_ms: 1_800_000_000_123,
        };
        assert_eq!(
            message(&said),
            r#"{"type":"message","id":"01MCC5RM3V0000000000000000","from":{"sub":"u1","name":"Alice"},"room":"lobby","data":"\"hi\" ü","at":"2027-01-15T08:00:00.123Z"}"#
        );
        said.from.name = None;
        assert!(message(&said).contains(r#""from":{"sub":"u1","name":"u1"}"#));
        said.kind = MessageKind::Announcement;
        assert!(message(&said).starts_with(r#"{"type":"announcement","id""#));
    }

    #[test]
    fn answers_repeat_the_clients_id() {
        let id = MessageId::new(0, 0);
        assert_eq!(
            ack(Some("x"), &id),
            r#"{"type":"ack","id":"x","messageId":"00000000000000000000000000"}"#
        );
        assert_eq!(
            ack(None, &id),
            r#"{"type":"ack","messageId":"00000000000000000000000000"}"#
        );
        let rejection = Rejection::new(ErrorCode::BadRoom, "m", Some("x".into()));
        assert_eq!(
            error(&rejection),
            r#"{"type":"error","code":"bad_room","message":"m","id":"x"}"#
        );
    }

    fn user(sub: &str) -> Identity {
        Identity {
            sub: sub.to_owned(),
            name: None,
            roles: vec!["secret".to_owned()],
        }
    }

    #[test]
    fn rooms_as_members_see_them() {
        let (room, user) = (Room::lobby(), user("u1"));
        let mut movement = Movement {
            direction: Direction::Joined,
            room: &room,
            user: &user,
            at_ms: 0,
        };
        assert_eq!(
            presence(&movement),
            r#"{"type":"presence","event":"joined","room":"lobby","user":{"sub":"u1","name":"u1"},"at":"1970-01-01T00:00:00Z"}"#
        );
        movement.direction = Direction::Left;
        assert!(presence(&movement).contains(r#""event":"left""#));
        assert_eq!(
            kicked(&room, &user),
            r#"{"type":"kicked","room":"lobby","by":{"sub":"u1","name":"u1"}}"#
        );
        assert_eq!(kick_ack(None, 2), r#"{"type":"ack","connections":2}"#);
    }

    #[test]
    fn members_fit_into_one_frame() {
        let roster = |members: Vec<Identity>| Roster {
            room: Room::lobby(),
            members,
            more: false,
        };
        assert_eq!(
            members(&roster(vec![user("a"), user("b")]), Some("7")),
            r#"{"type":"members","room":"lobby","members":[{"sub":"a","name":"a"},{"sub":"b","name":"b"}],"more":false,"id":"7"}"#
        );
        let long = roster((0..50).map(|_| user(&"\u{1}".repeat(500))).collect());
        let frame = members(&long, None);
        assert!(
            frame.len() <= FRAME_BYTES_MAX && frame.len() > FRAME_BYTES_MAX / 2,
            "{}",
            frame.len()
        );
        assert!(frame.ends_with(r#""more":true}"#));
    }

    #[test]
    fn history_as_its_reader_sees_it() {
        use functions_domain::testing::message as said;
        let mut pages = Pages {
            room: Room::lobby(),
            messages: vec![said("lobby", 1), said("lobby", 2)],
            last: false,
            more: true,
        };
        let read = |frame: &str| -> serde_json::Value { serde_json::from_str(frame).unwrap() };
        let frame = read(&history(&pages, Some("\"7\"")));
        assert_eq!(
            (&frame["type"], &frame["room"], &frame["id"]),
            (&"history".into(), &"lobby".into(), &"\"7\"".into())
        );
        assert_eq!(frame["messages"][1], read(&message(&pages.messages[1])));
        assert_eq!(
            (&frame["more"], &frame["cursor"]),
            (&true.into(), &frame["messages"][1]["id"])
        );
        pages.more = false;
        let frame = read(&history(&pages, None));
        assert_eq!(
            (&frame["more"], frame.get("cursor"), frame.get("id")),
            (&false.into(), None, None)
        );
    }

    #[test]
    fn history_fits_into_one_frame_and_goes_on() {
        let long = |at_ms, bytes| {
            let mut said = functions_domain::testing::message("lobby", at_ms);
            said.data = "x".repeat(bytes);
            said
        };
        let mut pages = Pages {
            room: Room::lobby(),
            messages: (0..10).map(|number| long(number, 8_000)).collect(),
            last: false,
            more: false,
        };
        let read =
            |frame: String| -> (usize, serde_json::Value) { (frame.len(), serde_json::from_str(&frame).unwrap()) };
        let (bytes, frame) = read(history(&pages, None));
        assert!(bytes <= FRAME_BYTES_MAX, "{bytes}");
        assert_eq!(
            (frame["messages"].as_array().unwrap().len(), &frame["more"]),
            (3, &true.into())
        );
        assert_eq!(frame["cursor"], pages.messages[2].id.as_str());

        pages.last = true;
        let (_, frame) = read(history(&pages, None));
        assert_eq!(
            (frame["messages"].as_array().unwrap().len(), &frame["more"]),
            (3, &false.into())
        );
        assert_eq!(frame["messages"][2]["id"], pages.messages[9].id.as_str());

        pages.last = false;
        pages.messages = vec![long(0, FRAME_BYTES_MAX - 200), long(1, 1)];
        let (_, frame) = read(history(&pages, None));
        assert_eq!(
            (frame["messages"].as_array().unwrap().len(), &frame["more"]),
            (1, &true.into())
        );
    }
}
