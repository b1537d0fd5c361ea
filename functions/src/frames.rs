//! The wire format between clients and the chat: JSON text frames.
//!
//! From clients: `{"action":"sendMessage","data":"…"}`, with `room`, `ack` and `id` as they like, and
//! `{"action":"ping"}`. To clients: [`message`], [`ack`], [`error`] and [`pong`]; each has a `type`.

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use functions_domain::{InvalidRoom, Message, MessageId, Room};
use serde::Serialize;
use serde_json::{Map, Value};

/// The longest `id` that a client may give its frame.
pub const CLIENT_ID_CHARACTERS_MAX: usize = 64;

/// A `sendMessage` frame.
#[derive(Clone, PartialEq, Eq)]
pub struct SendMessageFrame {
    /// What to say; may be empty.
    pub data: String,
    /// Where; the sender's room, if it is not given.
    pub room: Option<Room>,
    /// The client's own name for the frame, repeated in answers to it.
    pub id: Option<String>,
    /// Whether the client wants to hear that the message was accepted. Giving an `id` means that, too.
    pub ack: bool,
}

/// What an error frame is about. The text is part of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The frame is no JSON object.
    BadJson,
    /// `action` is absent or not one of ours.
    UnknownAction,
    /// `data` is absent, empty or no text.
    BadData,
    /// `data` does not fit into one frame to the receivers.
    DataTooLarge,
    /// `room` is no room's name.
    BadRoom,
    /// `id` is no short text.
    BadId,
    /// The token has expired; connect again with a new one.
    TokenExpired,
}

/// A frame that cannot be obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Why.
    pub code: ErrorCode,
    /// Why, for people.
    pub message: String,
    /// The client's name for the frame, if it could be read.
    pub id: Option<String>,
}

impl ErrorCode {
    /// Returns the code on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::UnknownAction => "unknown_action",
            Self::BadData => "bad_data",
            Self::DataTooLarge => "data_too_large",
            Self::BadRoom => "bad_room",
            Self::BadId => "bad_id",
            Self::TokenExpired => "token_expired",
        }
    }
}

impl Rejection {
    /// Returns a rejection of a frame that the client may have named `id`.
    pub fn new(code: ErrorCode, message: impl Into<String>, id: Option<String>) -> Self {
        Self {
            code,
            message: message.into(),
            id,
        }
    }
}

/// Parses a frame as far as every frame must go: a JSON object.
///
/// # Errors
///
/// [`ErrorCode::BadJson`].
pub fn object(body: &str) -> Result<Map<String, Value>, Rejection> {
    serde_json::from_str(body).map_err(|_| Rejection::new(ErrorCode::BadJson, "send a JSON object", None))
}

/// Parses a `sendMessage` frame.
///
/// # Errors
///
/// The rejection to send back.
pub fn send_message(body: &str) -> Result<SendMessageFrame, Rejection> {
    let mut fields = object(body)?;
    let id = match fields.remove("id") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) if (1..=CLIENT_ID_CHARACTERS_MAX).contains(&id.chars().count()) => Some(id),
        Some(_) => {
            let message = format!("`id` must be a text of 1 to {CLIENT_ID_CHARACTERS_MAX} characters");
            return Err(Rejection::new(ErrorCode::BadId, message, None));
        }
    };
    let room = match fields.remove("room") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(room)) => Room::parse(&room).map(Some),
        Some(_) => Err(InvalidRoom),
    };
    let room = room.map_err(|reason| Rejection::new(ErrorCode::BadRoom, reason.to_string(), id.clone()))?;
    let Some(Value::String(data)) = fields.remove("data") else {
        return Err(Rejection::new(ErrorCode::BadData, "`data` must be a text", id));
    };
    let ack = id.is_some() || fields.get("ack") == Some(&Value::Bool(true));
    Ok(SendMessageFrame { data, room, id, ack })
}

/// Returns the frame that receivers get:
/// `{"type":"message","id":…,"from":{"sub":…,"name":…},"room":…,"data":…,"at":…}`. `id` sorts by time, `name` is `sub`
/// if the user has none, `at` is UTC in RFC 3339 with milliseconds at most.
pub fn message(message: &Message) -> String {
    #[derive(Serialize)]
    struct Frame<'a> {
        r#type: &'static str,
        id: &'a str,
        from: From<'a>,
        room: &'a str,
        data: &'a str,
        at: String,
    }
    #[derive(Serialize)]
    struct From<'a> {
        sub: &'a str,
        name: &'a str,
    }
    let sub = &message.from.sub;
    text(&Frame {
        r#type: "message",
        id: message.id.as_str(),
        from: From {
            sub,
            name: message.from.name.as_deref().unwrap_or(sub),
        },
        room: message.room.as_str(),
        data: &message.data,
        at: rfc3339(message.at_ms),
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

/// Returns the answer to `{"action":"ping"}`: `{"type":"pong"}`.
pub fn pong() -> String {
    r#"{"type":"pong"}"#.to_owned()
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

    use functions_domain::Identity;
    use serde_json::json;

    use super::*;

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

    #[test]
    fn frames_that_are_obeyed() {
        let parse = |value: Value| send_message(&value.to_string()).ok().unwrap();
        let plain = parse(json!({"action": "sendMessage", "data": "x"}));
        assert!((plain.data.as_str(), plain.room, plain.id, plain.ack) == ("x", None, None, false));
        let full = parse(json!({"data": "x", "room": "red", "id": "7", "ack": false, "other": 1}));
        assert!((full.room, full.id.as_deref(), full.ack) == (Room::parse("red").ok(), Some("7"), true));
        assert!(parse(json!({"data": "x", "ack": true})).ack);
        assert!(!parse(json!({"data": "x", "ack": "yes", "id": null, "room": null})).ack);
    }

    #[test]
    fn frames_that_are_rejected() {
        let long = "x".repeat(65);
        for (body, code) in [
            ("", ErrorCode::BadJson),
            ("hello", ErrorCode::BadJson),
            ("[1]", ErrorCode::BadJson),
            (r#""text""#, ErrorCode::BadJson),
            (r#"{"data":"x""#, ErrorCode::BadJson),
            ("{}", ErrorCode::BadData),
            (r#"{"data":null}"#, ErrorCode::BadData),
            (r#"{"data":5}"#, ErrorCode::BadData),
            (r#"{"data":{"a":"b"}}"#, ErrorCode::BadData),
            (r#"{"data":"x","room":"no room"}"#, ErrorCode::BadRoom),
            (r#"{"data":"x","room":5}"#, ErrorCode::BadRoom),
            (r#"{"data":"x","id":5}"#, ErrorCode::BadId),
            (r#"{"data":"x","id":""}"#, ErrorCode::BadId),
            (&format!(r#"{{"data":"x","id":"{long}"}}"#), ErrorCode::BadId),
        ] {
            assert_eq!(
                send_message(body).err().map(|rejection| rejection.code),
                Some(code),
                "{body}"
            );
        }
    }
}
