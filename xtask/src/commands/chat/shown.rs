//! What a frame looks like to people. Frames: docs/protocol.md.

use anstyle::{AnsiColor, Style};
use serde_json::Value as Json;

use crate::ui::{BOLD, DIM, RED, YELLOW, paint};

/// Colours that tell people apart.
const COLORS: [Style; 6] = [
    AnsiColor::Cyan.on_default(),
    AnsiColor::Magenta.on_default(),
    AnsiColor::Blue.on_default(),
    AnsiColor::Green.on_default(),
    AnsiColor::BrightMagenta.on_default(),
    AnsiColor::BrightBlue.on_default(),
];

/// Returns the text, without a final line break; `None` for what nobody needs to see.
pub(super) fn human(frame: &Json) -> Option<String> {
    let text = |name: &str| clean(frame[name].as_str().unwrap_or_default());
    match frame["type"].as_str().unwrap_or_default() {
        "message" => Some(format!("{} {}  {}", time(frame), name(&frame["from"]), text("data"))),
        "announcement" => {
            let data = paint(YELLOW.bold(), text("data"));
            Some(format!("{} {}  {data}", time(frame), name(&frame["from"])))
        }
        "presence" => {
            let line = format!("{} {} {}", name(&frame["user"]), text("event"), text("room"));
            Some(format!("{} {line}", time(frame)))
        }
        "members" => {
            let members = frame["members"].as_array().into_iter().flatten().map(name);
            let members = members.collect::<Vec<_>>().join(", ");
            let more = if frame["more"] == true { " and more" } else { "" };
            Some(format!("in {BOLD}{}{BOLD:#}: {members}{more}", text("room")))
        }
        "history" => {
            let messages = frame["messages"].as_array().into_iter().flatten().filter_map(human);
            let messages = messages.collect::<Vec<_>>().join("\n");
            Some(if messages.is_empty() {
                paint(DIM, "nothing was said")
            } else {
                messages
            })
        }
        "ack" => {
            let ended = frame["connections"].as_u64()?;
            Some(paint(DIM, format_args!("{ended} connections were ended")))
        }
        "kicked" => {
            let line = format!("{} has ended your connection to {}", name(&frame["by"]), text("room"));
            Some(paint(RED, line))
        }
        "pong" => None,
        "error" => Some(paint(RED, format_args!("{}: {}", text("code"), text("message")))),
        // From API Gateway itself, or not known yet.
        _ => Some(paint(
            RED,
            clean(frame["message"].as_str().unwrap_or(&frame.to_string())),
        )),
    }
}

/// Returns a user's name in the user's colour.
fn name(user: &Json) -> String {
    let sub = user["sub"].as_str().unwrap_or_default();
    let name = user["name"].as_str().unwrap_or(sub);
    let sum: usize = sub.bytes().map(usize::from).sum();
    paint(COLORS[sum % COLORS.len()], clean(name))
}

/// Returns `14:03:07` of `2026-11-22T14:03:07.250Z`: UTC.
fn time(frame: &Json) -> String {
    let at = frame["at"].as_str().unwrap_or_default();
    paint(DIM, clean(at.get(11..19).unwrap_or(at)))
}

/// Leaves out what a terminal would obey.
fn clean(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn frames_read_well() {
        let ada = json!({"sub": "ada", "name": "Ada Lovelace"});
        let at = "2026-11-22T14:03:07.250Z";
        let message =
            json!({"type": "message", "id": "01", "from": ada, "room": "lobby", "data": "hi\u{1b}[2J", "at": at});
        let frames = [
            message.clone(),
            json!({"type": "announcement", "id": "02", "from": ada, "room": "lobby", "data": "tea", "at": at}),
            json!({"type": "presence", "event": "joined", "room": "lobby", "user": ada, "at": at}),
            json!({"type": "members", "room": "red", "members": [ada, {"sub": "bo", "name": "bo"}], "more": true}),
            json!({"type": "history", "room": "red", "messages": [message], "more": false}),
            json!({"type": "history", "room": "red", "messages": [], "more": false}),
            json!({"type": "ack", "id": "1", "connections": 2}),
            json!({"type": "ack", "id": "1", "messageId": "01"}),
            json!({"type": "pong"}),
            json!({"type": "error", "code": "bad_room", "message": "no such name"}),
            json!({"message": "Internal server error", "connectionId": "c", "requestId": "r"}),
        ];
        let lines = frames.iter().filter_map(human);
        let lines: Vec<_> = lines
            .map(|line| anstream::adapter::strip_str(&line).to_string())
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
