//! The route `$default`: everything that no other route wants. API Gateway sends frames here whose `action` has no
//! route, and those that are no JSON at all.

use functions_domain::ports::MessageGateway;

use super::{Response, reply};
use crate::events::WebSocketEvent;
use crate::frames::{self, ErrorCode, Rejection};
use crate::runtime::Failure;

/// Answers `ping` with `pong`, which keeps an idle connection open (API Gateway ends it after 10 minutes without a
/// frame), and all else with an error frame. Only the sender hears of it.
///
/// # Errors
///
/// [`Failure::Port`] when the gateway cannot be reached.
pub async fn default<G: MessageGateway>(gateway: &G, event: WebSocketEvent) -> Result<Response, Failure> {
    let sender = &event.request_context.connection_id;
    let (frame, code) = match answer(event.body.as_deref().unwrap_or_default()) {
        Ok(frame) => (frame, "pong"),
        Err(rejection) => (frames::error(&rejection), rejection.code.as_str()),
    };
    tracing::info!(route = "$default", connectionId = %sender, code, "answered");
    reply(gateway, sender, &frame).await?;
    Ok(Response::status(200))
}

fn answer(body: &str) -> Result<String, Rejection> {
    match frames::object(body)?.get("action").and_then(|action| action.as_str()) {
        Some("ping") => Ok(frames::pong()),
        Some(_) | None => Err(Rejection::new(
            ErrorCode::UnknownAction,
            "`action` must be `sendMessage` or `ping`",
            None,
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use functions_domain::testing::{Answer, FakeGateway};
    use serde_json::{Value, json};

    use super::*;
    use crate::handlers::testing::event;

    async fn run(gateway: &FakeGateway, body: Value) -> Result<Response, Failure> {
        default(gateway, event("message", |event| event["body"] = body)).await
    }

    #[tokio::test]
    async fn only_the_sender_hears_what_was_wrong() {
        for (body, code) in [
            (json!("hello"), "bad_json"),
            (json!("{\"action\":"), "bad_json"),
            (Value::Null, "bad_json"),
            (json!("{}"), "unknown_action"),
            (json!(r#"{"action":"dance"}"#), "unknown_action"),
            (json!(r#"{"action":5}"#), "unknown_action"),
        ] {
            let gateway = FakeGateway::default();
            assert_eq!(run(&gateway, body.clone()).await.unwrap().status_code, 200);
            assert_eq!(gateway.receivers(), ["BFaT_fALIAMCKug="]);
            let frame: Value = serde_json::from_str(&gateway.frames("BFaT_fALIAMCKug=")[0]).unwrap();
            assert_eq!(
                (&frame["type"], &frame["code"]),
                (&json!("error"), &json!(code)),
                "{body}"
            );
            assert!(frame["message"].is_string());
        }
    }

    #[tokio::test]
    async fn a_ping_is_answered() {
        let gateway = FakeGateway::default();
        run(&gateway, json!(r#"{"action":"ping"}"#)).await.unwrap();
        assert_eq!(gateway.frames("BFaT_fALIAMCKug="), [r#"{"type":"pong"}"#]);
    }

    #[tokio::test]
    async fn a_sender_that_left_is_no_failure_but_an_unreachable_gateway_is() {
        for (answer, works) in [(Answer::Gone, true), (Answer::Slow, true), (Answer::Fail, false)] {
            let gateway = FakeGateway::default();
            gateway.answer("BFaT_fALIAMCKug=", [answer]);
            assert_eq!(run(&gateway, json!("hello")).await.is_ok(), works, "{answer:?}");
        }
    }
}
