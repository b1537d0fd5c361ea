//! A member says something: check it, give it an id and a time, bring it to the room.

use crate::broadcast::{Broadcast, BroadcastReport};
use crate::model::{ConnectionId, Message, MessageId, Room, Session};
use crate::ports::{Clock, ConnectionRepository, MessageGateway, MessageIds, PortError};

/// The largest frame that API Gateway carries, in either direction.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html>
pub const FRAME_BYTES_MAX: usize = 32 * 1024;

/// Accepts messages and brings them to rooms.
#[derive(Clone, Debug)]
pub struct SendMessage<R, G, C, I> {
    /// The way to the room.
    pub broadcast: Broadcast<R, G, C>,
    /// Names messages.
    pub ids: I,
    /// Writes the frame that receivers get. The wire format is not the domain's business; its size is.
    pub encode: fn(&Message) -> String,
}

/// What a member wants to say.
#[derive(Clone)]
pub struct Sending {
    /// From where; this connection does not receive it.
    pub sender: ConnectionId,
    /// Who it is, and until when.
    pub session: Session,
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
    /// Whom it reached.
    pub report: BroadcastReport,
}

/// Why a message was not accepted. Nobody received it, except after `Unavailable`.
#[derive(Debug, thiserror::Error)]
pub enum SendMessageError {
    /// The token has expired since the client connected. It may connect again with a new one.
    #[error("token has expired")]
    TokenExpired,
    /// There is nothing to say.
    #[error("data is empty")]
    Empty,
    /// Receivers would need a frame larger than [`FRAME_BYTES_MAX`].
    #[error("data needs a frame of more than {FRAME_BYTES_MAX} bytes")]
    TooLarge,
    /// The room could not be read; our fault.
    #[error("message could not be sent")]
    Unavailable(#[source] PortError),
}

impl<R: ConnectionRepository, G: MessageGateway, C: Clock, I: MessageIds> SendMessage<R, G, C, I> {
    /// Brings the message to every other connection of the room.
    ///
    /// # Errors
    ///
    /// The reason why it was not accepted.
    pub async fn execute(&self, sending: Sending) -> Result<Sent, SendMessageError> {
        let Sending {
            sender,
            session,
            room,
            data,
        } = sending;
        let at_ms = self.broadcast.clock.now_ms();
        if self.broadcast.clock.now_seconds() >= session.token_expires_at {
            return Err(SendMessageError::TokenExpired);
        }
        if data.is_empty() {
            return Err(SendMessageError::Empty);
        }
        let room = match room {
            Some(room) => room,
            None => self.room_of(&sender).await.map_err(SendMessageError::Unavailable)?,
        };
        let message = Message {
            id: self.ids.next(at_ms),
            from: session.user,
            room,
            data,
            at_ms,
        };
        let frame = (self.encode)(&message);
        if frame.len() > FRAME_BYTES_MAX {
            return Err(SendMessageError::TooLarge);
        }
        let Message { id, room, .. } = message;
        let report = self
            .broadcast
            .execute(&room, &sender, &frame)
            .await
            .map_err(SendMessageError::Unavailable)?;
        Ok(Sent { id, room, report })
    }

    async fn room_of(&self, sender: &ConnectionId) -> Result<Room, PortError> {
        let connection = self.broadcast.connections.find(sender).await?;
        Ok(connection.map_or_else(Room::lobby, |connection| connection.room))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::testing::{FakeClock, FakeConnections, FakeGateway, FakeIds, connection, session};

    const NOW: u64 = 100_000;

    struct Scene {
        connections: FakeConnections,
        gateway: FakeGateway,
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
            }
        }

        async fn send(&self, change: impl FnOnce(&mut Sending)) -> Result<Sent, SendMessageError> {
            let broadcast = Broadcast {
                connections: self.connections.clone(),
                gateway: self.gateway.clone(),
                clock: FakeClock::at_seconds(NOW),
            };
            let encode = |message: &Message| format!("{} {}", message.from.sub, message.data);
            let send = SendMessage {
                broadcast,
                ids: FakeIds::default(),
                encode,
            };
            let mut sending = Sending {
                sender: ConnectionId::new("sender"),
                session: session("alice", NOW + 1),
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
        assert_eq!((sent.room.as_str(), sent.report.delivered), ("blue", 2));
        assert_eq!(scene.gateway.receivers(), ["b1", "b2"]);
        assert_eq!(scene.gateway.frames("b1"), ["alice hello"]);
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
    async fn a_sender_without_a_row_speaks_in_the_lobby() {
        let scene = Scene::new();
        scene
            .send(|sending| sending.sender = ConnectionId::new("unknown"))
            .await
            .unwrap();
        assert_eq!(scene.gateway.receivers(), ["l1"]);
    }

    #[tokio::test]
    async fn an_expired_token_stops_sending() {
        let scene = Scene::new();
        let error = scene
            .send(|sending| sending.session.token_expires_at = NOW)
            .await
            .unwrap_err();
        assert!(matches!(error, SendMessageError::TokenExpired), "{error:?}");
        assert!(scene.gateway.receivers().is_empty());
    }

    #[tokio::test]
    async fn data_is_text_that_fits_into_a_frame() {
        let scene = Scene::new();
        let error = scene.send(|sending| sending.data.clear()).await.unwrap_err();
        assert!(matches!(error, SendMessageError::Empty), "{error:?}");

        let room_for_data = FRAME_BYTES_MAX - "alice ".len();
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
        assert!(matches!(error, SendMessageError::Unavailable(_)), "{error:?}");
    }
}
