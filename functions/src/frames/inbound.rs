//! Frames from clients. Read strictly: a field that the action does not know is refused, since a misspelt `room` would
//! otherwise send words into the wrong one.

use functions_domain::{
    FRAME_BYTES_MAX, HISTORY_MESSAGES, HISTORY_MESSAGES_MAX, InvalidMessageId, InvalidRoom, MessageId, Place, Room,
};
use serde_json::{Map, Value};

use super::{ErrorCode, Rejection};

/// The longest `id` that a client may give its frame.
pub const CLIENT_ID_CHARACTERS_MAX: usize = 64;

/// A `sendMessage` or `announce` frame.
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

/// A `join` frame.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinFrame {
    /// Where to.
    pub room: Room,
    /// The client's own name for the frame.
    pub id: Option<String>,
}

/// A `who` frame.
#[derive(Clone, PartialEq, Eq)]
pub struct WhoFrame {
    /// The client's own name for the frame.
    pub id: Option<String>,
}

/// A `history` frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryFrame {
    /// Of which room; the caller's, if it is not given.
    pub room: Option<Room>,
    /// From where on: `after` resumes, `cursor` asks for the next page, neither for the last messages.
    pub from: Place,
    /// So many messages at most.
    pub limit: usize,
    /// The client's own name for the frame.
    pub id: Option<String>,
}

/// A `kick` frame.
#[derive(Clone, PartialEq, Eq)]
pub struct KickFrame {
    /// Whom.
    pub sub: String,
    /// From where; the caller's room, if it is not given.
    pub room: Option<Room>,
    /// The client's own name for the frame.
    pub id: Option<String>,
}

/// Parses a frame as far as every frame must go: a JSON object that is no larger than what a frame may be. Nesting beyond
/// 128 levels is no JSON to the parser.
///
/// # Errors
///
/// [`ErrorCode::BadJson`], [`ErrorCode::DataTooLarge`].
pub fn object(body: &str) -> Result<Map<String, Value>, Rejection> {
    // API Gateway joins frames to messages of up to 128 KB.
    if body.len() > FRAME_BYTES_MAX {
        let message = format!("a message has at most {FRAME_BYTES_MAX} bytes");
        return Err(Rejection::new(ErrorCode::DataTooLarge, message, None));
    }
    serde_json::from_str(body).map_err(|_| Rejection::new(ErrorCode::BadJson, "send a JSON object", None))
}

/// Parses a `sendMessage` or `announce` frame.
///
/// # Errors
///
/// The rejection to send back.
pub fn send_message(body: &str) -> Result<SendMessageFrame, Rejection> {
    let mut fields = Fields::of(body, &["data", "room", "ack"])?;
    let room = fields.room()?;
    let Some(Value::String(data)) = fields.take("data") else {
        return Err(fields.reject(ErrorCode::BadData, "`data` must be a text"));
    };
    let ack = match fields.take("ack") {
        None | Some(Value::Null | Value::Bool(false)) => fields.id.is_some(),
        Some(Value::Bool(true)) => true,
        Some(_) => return Err(fields.reject(ErrorCode::BadField, "`ack` must be true or false")),
    };
    Ok(SendMessageFrame {
        data,
        room,
        id: fields.id,
        ack,
    })
}

/// Parses a `join` frame.
///
/// # Errors
///
/// The rejection to send back.
pub fn join(body: &str) -> Result<JoinFrame, Rejection> {
    let mut fields = Fields::of(body, &["room"])?;
    match fields.room()? {
        Some(room) => Ok(JoinFrame { room, id: fields.id }),
        None => Err(fields.reject(ErrorCode::BadRoom, "`room` is missing")),
    }
}

/// Parses a `who` frame.
///
/// # Errors
///
/// The rejection to send back.
pub fn who(body: &str) -> Result<WhoFrame, Rejection> {
    let fields = Fields::of(body, &[])?;
    Ok(WhoFrame { id: fields.id })
}

/// Parses a `history` frame.
///
/// # Errors
///
/// The rejection to send back.
pub fn history(body: &str) -> Result<HistoryFrame, Rejection> {
    let mut fields = Fields::of(body, &["room", "after", "cursor", "limit"])?;
    let room = fields.room()?;
    let from = match (fields.message_id("after")?, fields.message_id("cursor")?) {
        (None, None) => Place::Last,
        (Some(seen), None) => Place::Resume(seen),
        (None, Some(last)) => Place::Cursor(last),
        (Some(_), Some(_)) => {
            return Err(fields.reject(ErrorCode::BadField, "give `after` or `cursor`, not both"));
        }
    };
    let limit = match fields.take("limit") {
        None | Some(Value::Null) => Some(HISTORY_MESSAGES),
        Some(limit) => limit
            .as_u64()
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| (1..=HISTORY_MESSAGES_MAX).contains(limit)),
    };
    let Some(limit) = limit else {
        let message = format!("`limit` must be a whole number from 1 to {HISTORY_MESSAGES_MAX}");
        return Err(fields.reject(ErrorCode::BadField, message));
    };
    Ok(HistoryFrame {
        room,
        from,
        limit,
        id: fields.id,
    })
}

/// Parses a `kick` frame.
///
/// # Errors
///
/// The rejection to send back.
pub fn kick(body: &str) -> Result<KickFrame, Rejection> {
    let mut fields = Fields::of(body, &["sub", "room"])?;
    let room = fields.room()?;
    match fields.take("sub") {
        Some(Value::String(sub)) if !sub.is_empty() => Ok(KickFrame {
            sub,
            room,
            id: fields.id,
        }),
        Some(_) | None => Err(fields.reject(ErrorCode::BadField, "`sub` must be a text: whom to kick")),
    }
}

/// Parses a `ping` frame; returns the client's own name for it.
///
/// # Errors
///
/// The rejection to send back.
pub fn ping(body: &str) -> Result<Option<String>, Rejection> {
    Ok(Fields::of(body, &[])?.id)
}

/// Returns the client's own name for a frame about which nothing else is known.
#[must_use]
pub fn client_id(frame: &Map<String, Value>) -> Option<String> {
    let id = frame.get("id")?.as_str().filter(|id| is_client_id(id));
    id.map(str::to_owned)
}

/// The fields of one frame besides `action`, which has chosen the route.
struct Fields {
    id: Option<String>,
    rest: Map<String, Value>,
}

impl Fields {
    fn of(body: &str, known: &[&str]) -> Result<Self, Rejection> {
        let mut rest = object(body)?;
        rest.remove("action");
        let id = match rest.remove("id") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) if is_client_id(&id) => Some(id),
            Some(_) => {
                let message = format!(
                    "`id` must be a text of 1 to {CLIENT_ID_CHARACTERS_MAX} characters without control characters"
                );
                return Err(Rejection::new(ErrorCode::BadId, message, None));
            }
        };
        let fields = Self { id, rest };
        if fields.rest.keys().all(|name| known.contains(&name.as_str())) {
            return Ok(fields);
        }
        // The unknown name is not repeated: it may be as long as a frame.
        let message = match known {
            [] => "this action has no fields but `id`".to_owned(),
            known => format!("this action has the fields `{}` and `id` only", known.join("`, `")),
        };
        Err(fields.reject(ErrorCode::BadField, message))
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.rest.remove(name)
    }

    fn room(&mut self) -> Result<Option<Room>, Rejection> {
        let room = match self.take("room") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(room)) => Room::parse(&room).map(Some),
            Some(_) => Err(InvalidRoom),
        };
        room.map_err(|reason| self.reject(ErrorCode::BadRoom, reason.to_string()))
    }

    fn message_id(&mut self, name: &str) -> Result<Option<MessageId>, Rejection> {
        let id = match self.take(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(id)) => MessageId::parse(&id).map(Some),
            Some(_) => Err(InvalidMessageId),
        };
        id.map_err(|reason| self.reject(ErrorCode::BadField, format!("`{name}`: {reason}")))
    }

    fn reject(&self, code: ErrorCode, message: impl Into<String>) -> Rejection {
        Rejection::new(code, message, self.id.clone())
    }
}

fn is_client_id(id: &str) -> bool {
    (1..=CLIENT_ID_CHARACTERS_MAX).contains(&id.chars().count()) && !id.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn frames_that_are_obeyed() {
        let parse = |value: Value| send_message(&value.to_string()).ok().unwrap();
        let plain = parse(json!({"action": "sendMessage", "data": "x"}));
        assert!((plain.data.as_str(), plain.room, plain.id, plain.ack) == ("x", None, None, false));
        let full = parse(json!({"data": "x", "room": "red", "id": "7", "ack": false}));
        assert!((full.room, full.id.as_deref(), full.ack) == (Room::parse("red").ok(), Some("7"), true));
        assert!(parse(json!({"data": "x", "ack": true})).ack);
        assert!(!parse(json!({"data": "x", "ack": null, "id": null, "room": null})).ack);
    }

    #[test]
    fn frames_that_are_rejected() {
        let long = "x".repeat(65);
        let deep = format!(r#"{{"data":{}1{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
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
            (r#"{"data":"x","id":"\u0007"}"#, ErrorCode::BadId),
            (r#"{"data":"x","rooom":"red"}"#, ErrorCode::BadField),
            (r#"{"data":"x","ack":"yes"}"#, ErrorCode::BadField),
            (
                &format!(r#"{{"data":"x","room":"{}"}}"#, "r".repeat(30_000)),
                ErrorCode::BadRoom,
            ),
            (&"x".repeat(FRAME_BYTES_MAX + 1), ErrorCode::DataTooLarge),
            (&deep, ErrorCode::BadJson),
            ("{\"data\":\"a\u{1}b\"}", ErrorCode::BadJson),
        ] {
            assert_eq!(
                send_message(body).err().map(|rejection| rejection.code),
                Some(code),
                "{body}"
            );
        }
    }

    #[test]
    fn frames_about_rooms_and_people() {
        let joined = join(r#"{"action":"join","room":"red","id":"1"}"#).ok().unwrap();
        assert!((joined.room.as_str(), joined.id.as_deref()) == ("red", Some("1")));
        assert!(who(r#"{"action":"who"}"#).is_ok());
        let kicked = kick(r#"{"action":"kick","sub":"bo"}"#).ok().unwrap();
        assert!((kicked.sub.as_str(), kicked.room) == ("bo", None));
        let code = |rejection: Option<Rejection>| rejection.unwrap().code;
        assert_eq!(code(join("{}").err()), ErrorCode::BadRoom);
        assert_eq!(code(join(r#"{"room":""}"#).err()), ErrorCode::BadRoom);
        assert_eq!(code(who(r#"{"room":"red"}"#).err()), ErrorCode::BadField);
        assert_eq!(code(kick("{}").err()), ErrorCode::BadField);
        assert_eq!(code(kick(r#"{"sub":5}"#).err()), ErrorCode::BadField);
        assert_eq!(code(kick(r#"{"sub":"a","room":"b c"}"#).err()), ErrorCode::BadRoom);
    }

    #[test]
    fn history_is_asked_for_in_three_ways() {
        const ID: &str = "01MCC5RM3V0000000000000000";
        let id = || MessageId::parse(ID).unwrap();
        for (frame, from, limit) in [
            (json!({}), Place::Last, HISTORY_MESSAGES),
            (json!({"after": ID, "limit": 1}), Place::Resume(id()), 1),
            (
                json!({"cursor": ID, "limit": 100, "after": null}),
                Place::Cursor(id()),
                100,
            ),
        ] {
            let parsed = history(&frame.to_string()).unwrap();
            assert_eq!((parsed.from, parsed.limit, parsed.room), (from, limit, None), "{frame}");
        }
        for (frame, code) in [
            (json!({"after": "yesterday"}), ErrorCode::BadField),
            (json!({"after": 5}), ErrorCode::BadField),
            (json!({"after": ID, "cursor": ID}), ErrorCode::BadField),
            (json!({"limit": 0}), ErrorCode::BadField),
            (json!({"limit": 101}), ErrorCode::BadField),
            (json!({"limit": "5"}), ErrorCode::BadField),
            (json!({"before": ID}), ErrorCode::BadField),
            (json!({"room": ""}), ErrorCode::BadRoom),
        ] {
            let rejection = history(&frame.to_string()).unwrap_err();
            assert_eq!(rejection.code, code, "{frame}");
        }
    }
}
