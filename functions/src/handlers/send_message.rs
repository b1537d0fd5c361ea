//! The route `sendMessage`: brings a message to the others in the room.

use functions_domain::ports::{
    Clock, CloseConnection, CountAction, ForgetConnection, HandOver, ListRoom, MessageIds, RecordMessage, SendFrame,
};
use functions_domain::{ConnectionId, FRAME_BYTES_MAX, Reach, SendMessage, SendMessageError, Sending, Sent};

use super::answer::{Trouble, answer};
use super::{Response, log_report};
use crate::events::{RequestContext, WebSocketEvent};
use crate::frames::{self, ErrorCode, Rejection};
use crate::runtime::Failure;

/// Sends the message, and the sender an acknowledgement if it wants one, or an error frame. The connection stays, except
/// after errors that say so.
///
/// # Errors
///
/// [`Failure::Port`] when the room cannot be read or the sender not be answered.
pub async fn send_message<R, G, C, H, M, I>(
    use_case: &SendMessage<R, G, C, H, M, I>,
    event: WebSocketEvent,
) -> Result<Response, Failure>
where
    R: CountAction + ListRoom + ForgetConnection,
    G: SendFrame + CloseConnection,
    C: Clock,
    H: HandOver,
    M: RecordMessage,
    I: MessageIds,
{
    let context = &event.request_context;
    let outcome = send(use_case, context, event.body.as_deref().unwrap_or_default()).await;
    answer(&use_case.fan_out.broadcast.gateway, context, outcome).await
}

/// Returns the acknowledgement that the client wants, if it wants one.
pub(super) async fn send<R, G, C, H, M, I>(
    use_case: &SendMessage<R, G, C, H, M, I>,
    context: &RequestContext,
    body: &str,
) -> Result<Option<String>, Trouble>
where
    R: CountAction + ListRoom + ForgetConnection,
    G: SendFrame,
    C: Clock,
    H: HandOver,
    M: RecordMessage,
    I: MessageIds,
{
    let frame = frames::send_message(body)?;
    let reject = |code, message: String| Trouble::Rejected(Rejection::new(code, message, frame.id.clone()));
    let sending = Sending {
        sender: context.caller().map_err(|_| Trouble::no_identity(frame.id.clone()))?,
        room: frame.room,
        data: frame.data,
    };
    let sent = Box::pin(use_case.execute(sending)).await.map_err(|error| match error {
        SendMessageError::Refused(refusal) => Trouble::refused(refusal, frame.id.clone()),
        SendMessageError::Empty => reject(ErrorCode::BadData, "`data` is empty".to_owned()),
        SendMessageError::ControlCharacters => reject(
            ErrorCode::BadData,
            "`data` has control characters other than line ends and tabs".to_owned(),
        ),
        SendMessageError::TooLarge => reject(
            ErrorCode::DataTooLarge,
            format!("`data` does not fit into a frame of {FRAME_BYTES_MAX} bytes"),
        ),
        SendMessageError::Unavailable(error) => error.into(),
    })?;
    log(&context.connection_id, &sent, use_case.fan_out.broadcast.clock.now_ms());
    Ok(frame.ack.then(|| frames::ack(frame.id.as_deref(), &sent.id)))
}

fn log(sender: &ConnectionId, sent: &Sent, now_ms: u64) {
    let Sent { id, room, reach } = sent;
    match reach {
        Reach::Here(report) => log_report("sendMessage", id, report, now_ms),
        Reach::HandedOver { legs } => {
            tracing::info!(route = "sendMessage", messageId = %id, legs, "handed over");
        }
    }
    tracing::info!(route = "sendMessage", connectionId = %sender, messageId = %id, room = %room, "sent");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use functions_domain::testing::{
        FakeClock, FakeConnections, FakeGateway, FakeIds, FakeLegs, FakeMessages, connection,
    };
    use functions_domain::{Broadcast, FanOut, MessageKind};
    use serde_json::{Value, json};

    use super::*;
    use crate::handlers::testing::event;

    const SENDER: &str = "BFaT_fALIAMCKug=";

    struct Scene {
        connections: FakeConnections,
        gateway: FakeGateway,
    }

    impl Scene {
        fn new() -> Self {
            let rows = [(SENDER, "lobby"), ("other", "lobby"), ("third", "red")];
            let connections = FakeConnections::of(rows.map(|(id, room)| connection(id, room)));
            Self {
                connections,
                gateway: FakeGateway::default(),
            }
        }

        async fn run(&self, change: impl FnOnce(&mut Value)) -> Result<Response, Failure> {
            let broadcast = Broadcast {
                connections: self.connections.clone(),
                gateway: self.gateway.clone(),
                clock: FakeClock::at_seconds(1_731_330_000),
            };
            let use_case = SendMessage {
                fan_out: FanOut {
                    broadcast,
                    others: FakeLegs::default(),
                    inline_max: 100,
                },
                messages: FakeMessages::default(),
                kind: MessageKind::Message,
                ids: FakeIds::default(),
                encode: frames::message,
            };
            send_message(&use_case, event("message", change)).await
        }

        async fn say(&self, frame: Value) {
            assert_eq!(
                self.run(|event| event["body"] = json!(frame.to_string()))
                    .await
                    .unwrap()
                    .status_code,
                200
            );
        }

        fn frames(&self, to: &str) -> Vec<Value> {
            self.gateway
                .frames(to)
                .iter()
                .map(|frame| serde_json::from_str(frame).unwrap())
                .collect()
        }
    }

    #[tokio::test]
    async fn the_others_receive_and_the_sender_hears_nothing() {
        let scene = Scene::new();
        scene.run(|_| {}).await.unwrap();
        assert_eq!(scene.gateway.receivers(), ["other"]);
        let frame = &scene.frames("other")[0];
        assert_eq!(frame["type"], "message");
        assert_eq!(frame["data"], "Hello, World!");
        assert_eq!(frame["room"], "lobby");
        assert_eq!(frame["from"], json!({"sub": "u1", "name": "Alice"}));
        assert_eq!(frame["at"], "2024-11-11T13:00:00Z");
    }

    #[tokio::test]
    async fn what_happened_is_counted() {
        let scene = Scene::new();
        scene.run(|_| {}).await.unwrap();
        let counts = crate::metrics::take();
        assert_eq!((counts.messages_in, counts.deliveries), (1, 1));
        assert_eq!(counts.fan_out_ms, Some(0));
        assert_eq!(crate::metrics::take(), crate::metrics::Counts::default());
    }

    #[tokio::test]
    async fn the_sender_is_told_if_it_asks() {
        let scene = Scene::new();
        scene.say(json!({"data": "x", "ack": true})).await;
        scene.say(json!({"data": "x", "id": "mine"})).await;
        let acks = scene.frames(SENDER);
        assert_eq!(
            acks[0],
            json!({"type": "ack", "messageId": scene.frames("other")[0]["id"]})
        );
        assert_eq!(acks[1]["id"], "mine");
    }

    #[tokio::test]
    async fn a_message_may_go_to_another_room() {
        let scene = Scene::new();
        scene.say(json!({"data": "x", "room": "red"})).await;
        assert_eq!(scene.gateway.receivers(), ["third"]);
    }

    #[tokio::test]
    async fn mistakes_are_told_to_the_sender_alone() {
        for (frame, code) in [
            (json!({}), "bad_data"),
            (json!({"data": ""}), "bad_data"),
            (json!({"data": 5}), "bad_data"),
            (json!({"data": "x", "room": "a b"}), "bad_room"),
            (json!({"data": "x".repeat(FRAME_BYTES_MAX)}), "data_too_large"),
            (json!({"data": "x".repeat(FRAME_BYTES_MAX - 100)}), "data_too_large"),
            (json!({"data": "\u{1b}[2J"}), "bad_data"),
            (json!({"data": "x", "colour": "red"}), "bad_field"),
            (json!(["x"]), "bad_json"),
        ] {
            let scene = Scene::new();
            scene.say(frame).await;
            assert_eq!(scene.gateway.receivers(), [SENDER], "{code}");
            assert_eq!(scene.frames(SENDER)[0]["code"], code);
            assert_eq!(scene.gateway.closed(), [""; 0], "{code}");
        }
    }

    #[tokio::test]
    async fn an_expired_or_absent_identity_sends_nothing() {
        for authorizer in [json!({"sub": "u1", "exp": "1731330000"}), Value::Null] {
            let scene = Scene::new();
            scene
                .run(|event| event["requestContext"]["authorizer"] = authorizer)
                .await
                .unwrap();
            assert_eq!(scene.gateway.receivers(), [SENDER]);
            assert_eq!(scene.frames(SENDER)[0]["code"], "token_expired");
            assert_eq!(scene.gateway.closed(), [SENDER]);
        }
    }

    #[tokio::test]
    async fn an_unreachable_table_fails_the_invocation() {
        let scene = Scene::new();
        scene.connections.fail();
        let failure = scene.run(|_| {}).await.unwrap_err();
        assert!(matches!(failure, Failure::Port(_)), "{failure:?}");
    }
}
