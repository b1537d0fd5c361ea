//! What a typed line means.

use serde_json::{Value as Json, json};

/// What can be typed.
pub(super) const HELP: &str = "\
  TEXT              say it to the room
  /join ROOM        move to another room
  /who              who is in this room
  /history [ROOM]   what was said last
  /announce TEXT    with the role admin
  /kick USER        with the role moderator or admin
  {…}               any frame, as it is
  /quit, Ctrl-D     leave";

/// A line, understood.
#[derive(Debug, PartialEq)]
pub(super) enum Typed {
    /// A frame to send.
    Frame(Json),
    /// To list what can be typed.
    Help,
    /// To leave.
    Leave,
    /// An empty line.
    Nothing,
    /// No such command; says what helps.
    Unknown(String),
}

/// Reads a line. `id` is for the answer to its frame.
pub(super) fn read(line: &str, id: &str) -> Typed {
    let line = line.trim_end();
    if line.is_empty() {
        return Typed::Nothing;
    }
    if line.starts_with('{') {
        return match serde_json::from_str(line) {
            Ok(frame) => Typed::Frame(frame),
            Err(error) => Typed::Unknown(format!("that is no JSON: {error}")),
        };
    }
    // `//` for messages that begin with a slash.
    let Some(command) = line.strip_prefix('/').filter(|rest| !rest.starts_with('/')) else {
        let text = line.strip_prefix('/').unwrap_or(line);
        return Typed::Frame(json!({"action": "sendMessage", "data": text, "id": id}));
    };
    let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
    match (name, rest.trim()) {
        ("join", room) if !room.is_empty() => Typed::Frame(json!({"action": "join", "room": room, "id": id})),
        ("who", "") => Typed::Frame(json!({"action": "who", "id": id})),
        ("history", "") => Typed::Frame(json!({"action": "history", "id": id})),
        ("history", room) => Typed::Frame(json!({"action": "history", "room": room, "id": id})),
        ("announce", text) if !text.is_empty() => Typed::Frame(json!({"action": "announce", "data": text, "id": id})),
        ("kick", user) if !user.is_empty() => Typed::Frame(json!({"action": "kick", "sub": user, "id": id})),
        ("quit" | "q", "") => Typed::Leave,
        ("help" | "h" | "?", "") => Typed::Help,
        _ => Typed::Unknown(format!("/{command} is not known; /help lists what is")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_frames() {
        for (line, frame) in [
            (
                "hello /there",
                json!({"action": "sendMessage", "data": "hello /there", "id": "1"}),
            ),
            ("//who", json!({"action": "sendMessage", "data": "/who", "id": "1"})),
            ("/join red", json!({"action": "join", "room": "red", "id": "1"})),
            ("/history", json!({"action": "history", "id": "1"})),
            ("/history red", json!({"action": "history", "room": "red", "id": "1"})),
            (
                "/announce tea is ready",
                json!({"action": "announce", "data": "tea is ready", "id": "1"}),
            ),
            ("/kick bo", json!({"action": "kick", "sub": "bo", "id": "1"})),
            (r#"{"action":"ping"}"#, json!({"action": "ping"})),
        ] {
            assert_eq!(read(line, "1"), Typed::Frame(frame), "{line}");
        }
        assert_eq!(read("  ", "1"), Typed::Nothing);
        assert_eq!(read("/quit", "1"), Typed::Leave);
        for wrong in ["/join", "/dance", "{no"] {
            assert!(matches!(read(wrong, "1"), Typed::Unknown(_)), "{wrong}");
        }
    }
}
