//! A member says something: check it, give it an id and a time, record it, bring it to the room.

use crate::access::{Action, Caller, Refusal, admit};
use crate::broadcast::Broadcast;
use crate::fan_out::{FanOut, Reach};
use crate::history::HISTORY_SECONDS;
use crate::model::{Leg, Message, MessageId, MessageKind, Room};
use crate::ports::{
    Clock, CountAction, ForgetConnection, HandOver, ListRoom, MessageIds, PortError, RecordMessage, SendFrame,
};

/// The largest frame that API Gateway carries, in either direction.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html>
pub const FRAME_BYTES_MAX: usize = 32 * 1024;

/// Accepts messages and brings them to rooms.
#[derive(Clone, Debug)]
pub struct SendMessage<R, G, C, H, M, I> {
    /// The way to the room.
    pub fan_out: FanOut<R, G, C, H>,
    /// Where it is recorded.
    pub messages: M,
    /// As what it is said.
    pub kind: MessageKind,
    /// Names messages.
    pub ids: I,
    /// Writes the frame that receivers get. The wire format is not the domain's business; its size is.
    pub encode: fn(&Message) -> String,
}

/// What a member wants to say.
#[derive(Clone)]
pub struct Sending {
    /// Who; this connection does not receive it.
    pub sender: Caller,
    /// To which room; the one that the connection is in, if none is named.
    pub room: Option<Room>,
    /// What.
    pub data: String,
}

/// An accepted message and what became of it.
#[derive(Debug)]
pub struct Sent {
    /// Its id.
    pub id: MessageId,
    /// Where it went.
    pub room: Room,
    /// How the room was reached.
    pub reach: Reach,
}

/// Why a message was not accepted. Nobody received it, except after `Unavailable`: then it may be in the history, and
/// some may have received it.
#[derive(Debug, thiserror::Error)]
pub enum SendMessageError {
    /// The sender may not.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is nothing to say.
    #[error("data is empty")]
    Empty,
    /// There are control characters other than line ends and tabs: terminals would obey them.
    #[error("data has control characters")]
    ControlCharacters,
    /// Receivers would need a frame larger than [`FRAME_BYTES_MAX`].
    #[error("data needs a frame of more than {FRAME_BYTES_MAX} bytes")]
    TooLarge,
    /// It could not be recorded, or not be brought to all of the room; our fault.
    #[error("message could not be sent")]
    Unavailable(#[source] PortError),
}

impl<R, G, C, H, M, I> SendMessage<R, G, C, H, M, I>
where
    R: CountAction + ListRoom + ForgetConnection,
    G: SendFrame,
    C: Clock,
    H: HandOver,
    M: RecordMessage,
    I: MessageIds,
{
    /// Records the message and brings the message to every other connection of the room.
    ///
    /// # Errors
    ///
    /// The reason why it was not accepted.
    pub async fn execute(&self, sending: Sending) -> Result<Sent, SendMessageError> {
        let Sending { sender, room, data } = sending;
        if data.is_empty() {
            return Err(SendMessageError::Empty);
        }
        if data.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            return Err(SendMessageError::ControlCharacters);
        }
        let Broadcast { connections, clock, .. } = &self.fan_out.broadcast;
        let row = admit(connections, clock, &sender, self.kind.action()).await?;
        let room = room.unwrap_or(row.room);
        let at_ms = clock.now_ms();
        let message = Message {
            id: self.ids.next(at_ms),
            kind: self.kind,
            from: sender.session.user,
            room,
            data,
            at_ms,
        };
        let frame = (self.encode)(&message);
        if frame.len() > FRAME_BYTES_MAX {
            return Err(SendMessageError::TooLarge);
        }
        // Before anybody hears of it: who is not reached finds it there.
        self.messages
            .record(&message, at_ms / 1_000 + HISTORY_SECONDS)
            .await
            .map_err(SendMessageError::Unavailable)?;
        let Message { id, room, .. } = message;
        let whole = Leg {
            message: id.clone(),
            room: room.clone(),
            shard: 0,
            after: None,
            only: Vec::new(),
            except: sender.connection,
            hops: 0,
            frame,
        };
        let reach = self
            .fan_out
            .start(&whole)
            .await
            .map_err(SendMessageError::Unavailable)?;
        Ok(Sent { id, room, reach })
    }
}

impl MessageKind {
    /// Returns what it takes to say it.
    fn action(self) -> Action {
        match self {
            Self::Message => Action::SendMessage,
            Self::Announcement => Action::Announce,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::ports::ReadHistory;
    use crate::testing::{
        FakeClock, FakeConnections, FakeGateway, FakeIds, FakeLegs, FakeMessages, caller, connection,
    };

    const NOW: u64 = 100_000;

    struct Scene {
        connections: FakeConnections,
        gateway: FakeGateway,
        legs: FakeLegs,
        messages: FakeMessages,
        inline_max: usize,
    }

    impl Scene {
        fn new() -> Self {
            let rows = [
                ("sender", "blue"),
                ("b1", "blue"),
                ("b2", "blue"),
                ("l1", "lobby"),
                ("r1", "red"),
            ];
            let connections = FakeConnections::of(rows.map(|(id, room)| connection(id, room)));
            Self {
                connections,
                gateway: FakeGateway::default(),
                legs: FakeLegs::default(),
                messages: FakeMessages::default(),
                inline_max: 100,
            }
        }

        async fn recorded(&self, room: &str) -> Vec<String> {
            let excerpt = self.messages.read(&Room::parse(room).unwrap(), None, 9, NOW).await;
            excerpt
                .unwrap()
                .messages
                .into_iter()
                .map(|message| message.data)
                .collect()
        }

        async fn send(&self, change: impl FnOnce(&mut Sending)) -> Result<Sent, SendMessageError> {
            let broadcast = Broadcast {
                connections: self.connections.clone(),
                gateway: self.gateway.clone(),
                clock: FakeClock::at_seconds(NOW),
            };
            let encode = |message: &Message| format!("{} {}", message.from.sub, message.data);
            let send = SendMessage {
                fan_out: FanOut {
                    broadcast,
                    others: self.legs.clone(),
                    inline_max: self.inline_max,
                },
                messages: self.messages.clone(),
                kind: MessageKind::Message,
                ids: FakeIds::default(),
                encode,
            };
            let mut sending = Sending {
                sender: caller("sender", NOW + 1),
                room: None,
                data: "hello".to_owned(),
            };
            change(&mut sending);
            send.execute(sending).await
        }
    }

    #[tokio::test]
    async fn a_message_goes_to_the_others_in_the_senders_room() {
        let scene = Scene::new();
        let sent = scene.send(|_| {}).await.unwrap();
        let Reach::Here(report) = sent.reach else {
            panic!("handed over")
        };
        assert_eq!((sent.room.as_str(), report.delivered), ("blue", 2));
        assert_eq!(scene.gateway.receivers(), ["b1", "b2"]);
        assert_eq!(scene.gateway.frames("b1"), ["sender hello"]);
        assert_eq!(scene.recorded("blue").await, ["hello"]);
    }

    #[tokio::test]
    async fn a_large_room_does_not_hold_the_sender() {
        let mut scene = Scene::new();
        scene.inline_max = 1;
        for number in 0..20 {
            scene.connections.insert(connection(&format!("c{number}"), "blue"));
        }
        let sent = scene.send(|_| {}).await.unwrap();
        assert!(matches!(sent.reach, Reach::HandedOver { .. }));
        assert!(scene.gateway.receivers().is_empty());
        for leg in scene.legs.taken() {
            assert_eq!((leg.frame.as_str(), &leg.message), ("sender hello", &sent.id));
        }
        assert_eq!(scene.recorded("blue").await, ["hello"]);
    }

    #[tokio::test]
    async fn what_cannot_be_recorded_is_not_said() {
        let scene = Scene::new();
        scene.messages.fail();
        let error = scene.send(|_| {}).await.unwrap_err();
        assert!(matches!(error, SendMessageError::Unavailable(_)), "{error:?}");
        assert!(scene.gateway.receivers().is_empty());
    }

    #[tokio::test]
    async fn a_message_may_name_its_room() {
        let scene = Scene::new();
        scene
            .send(|sending| sending.room = Room::parse("red").ok())
            .await
            .unwrap();
        assert_eq!(scene.gateway.receivers(), ["r1"]);
    }

    #[tokio::test]
    async fn who_may_not_send_reaches_nobody() {
        let scene = Scene::new();
        let error = scene
            .send(|sending| sending.sender.session.token_expires_at = NOW)
            .await
            .unwrap_err();
        assert!(
            matches!(error, SendMessageError::Refused(Refusal::TokenExpired)),
            "{error:?}"
        );
        let error = scene
            .send(|sending| sending.sender = caller("unknown", NOW + 1))
            .await
            .unwrap_err();
        assert!(
            matches!(error, SendMessageError::Refused(Refusal::NotConnected)),
            "{error:?}"
        );
        assert!(scene.gateway.receivers().is_empty());
        assert!(scene.recorded("blue").await.is_empty());
    }

    #[tokio::test]
    async fn terminals_are_given_no_orders() {
        let scene = Scene::new();
        for bad in ["a\u{1b}[2J", "\0", "\u{7f}", "\u{9b}1m"] {
            let error = scene.send(|sending| sending.data = bad.to_owned()).await.unwrap_err();
            assert!(matches!(error, SendMessageError::ControlCharacters), "{error:?}");
        }
        scene
            .send(|sending| sending.data = "a\r\n\tb ü \u{1f600}".to_owned())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn data_is_text_that_fits_into_a_frame() {
        let scene = Scene::new();
        let error = scene.send(|sending| sending.data.clear()).await.unwrap_err();
        assert!(matches!(error, SendMessageError::Empty), "{error:?}");

        let room_for_data = FRAME_BYTES_MAX - "sender ".len();
        scene
            .send(|sending| sending.data = "x".repeat(room_for_data))
            .await
            .unwrap();
        let error = scene
            .send(|sending| sending.data = "x".repeat(room_for_data + 1))
            .await
            .unwrap_err();
        assert!(matches!(error, SendMessageError::TooLarge), "{error:?}");
    }

    #[tokio::test]
    async fn an_unreachable_repository_is_our_fault() {
        let scene = Scene::new();
        scene.connections.fail();
        let error = scene.send(|_| {}).await.unwrap_err();
        assert!(
            matches!(error, SendMessageError::Refused(Refusal::Unavailable(_))),
            "{error:?}"
        );
    }
}
