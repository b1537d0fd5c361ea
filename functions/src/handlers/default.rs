//! The route `$default`: everything that no other route wants. API Gateway sends frames here whose `action` has no
//! route, and those that are no JSON at all.

use super::Response;
use crate::events::WebSocketEvent;
use crate::frames::{self, ErrorCode, Rejection};
use crate::metrics;

/// Answers `ping` with `pong`, which keeps an idle connection open (API Gateway ends it after 10 minutes without a
/// frame), and all else with an error frame. Only the sender hears of it.
///
/// The answer is what the function returns: the route has a route response, which saves a call of `@connections` and the
/// permission for it.
#[must_use]
pub fn default(event: &WebSocketEvent) -> Response {
    let sender = &event.request_context.connection_id;
    let (frame, code) = match answer(event.body.as_deref().unwrap_or_default()) {
        Ok(frame) => (frame, "pong"),
        Err(rejection) => (frames::error(&rejection), rejection.code.as_str()),
    };
    metrics::message_in();
    tracing::info!(route = "$default", connectionId = %sender, code, "answered");
    Response {
        body: Some(frame),
        ..Response::status(200)
    }
}

fn answer(body: &str) -> Result<String, Rejection> {
    let frame = frames::object(body)?;
    match frame.get("action").and_then(|action| action.as_str()) {
        Some("ping") => Ok(frames::pong(frames::ping(body)?.as_deref())),
        Some(_) | None => Err(Rejection::new(
            ErrorCode::UnknownAction,
            "`action` must be `sendMessage`, `join`, `who`, `history`, `announce`, `kick` or `ping`",
            frames::client_id(&frame),
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;
    use crate::handlers::testing::event;

    fn run(body: Value) -> Value {
        let response = default(&event("message", |event| event["body"] = body));
        assert_eq!(response.status_code, 200);
        serde_json::from_str(&response.body.unwrap()).unwrap()
    }

    #[test]
    fn the_sender_hears_what_was_wrong() {
        for (body, code) in [
            (json!("hello"), "bad_json"),
            (json!("{\"action\":"), "bad_json"),
            (Value::Null, "bad_json"),
            (json!("{}"), "unknown_action"),
            (json!(r#"{"action":"dance"}"#), "unknown_action"),
            (json!(r#"{"action":5}"#), "unknown_action"),
        ] {
            let frame = run(body.clone());
            assert_eq!(
                (&frame["type"], &frame["code"]),
                (&json!("error"), &json!(code)),
                "{body}"
            );
            assert!(frame["message"].is_string());
        }
    }

    #[test]
    fn a_ping_is_answered() {
        assert_eq!(run(json!(r#"{"action":"ping"}"#)), json!({"type": "pong"}));
    }

    #[test]
    fn an_id_is_repeated() {
        let ping = run(json!(r#"{"action":"ping","id":"7"}"#));
        assert_eq!(ping, json!({"type": "pong", "id": "7"}));
        assert_eq!(run(json!(r#"{"action":"dance","id":"7","to":"x"}"#))["id"], json!("7"));
        // What is no id is not repeated: it may be as long as a frame.
        assert_eq!(run(json!(r#"{"action":"ping","id":7}"#))["code"], json!("bad_id"));
        assert!(run(json!(r#"{"action":"dance","id":7}"#)).get("id").is_none());
    }
}
