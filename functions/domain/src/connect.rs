//! A connection was accepted: remember it.

use crate::broadcast::BroadcastReport;
use crate::model::{Connection, ConnectionId, Room, Session};
use crate::ports::{Clock, ForgetConnection, ListRoom, PortError, RememberConnection, SendFrame};
use crate::presence::{Direction, Presence};

/// How long a row is believed: API Gateway ends every connection after 2 hours, and clocks differ a little. Independent
/// of the token's end, which stops sending only: who was admitted may go on reading until the connection ends.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html>
pub const CONNECTION_LIFETIME_SECONDS: u64 = 2 * 60 * 60 + 15 * 60;

/// Remembers who is in which room.
#[derive(Clone, Debug)]
pub struct Connect<R, G, C> {
    /// Where it is remembered, and the way to who is there already.
    pub presence: Presence<R, G, C>,
}

impl<R, G, C> Connect<R, G, C>
where
    R: RememberConnection + ForgetConnection + ListRoom,
    G: SendFrame,
    C: Clock,
{
    /// Remembers the connection and tells its room. Returns what was remembered, and what became of telling.
    ///
    /// # Errors
    ///
    /// When it cannot be remembered; the client must then be refused, as nothing would ever reach it.
    pub async fn execute(
        &self,
        id: ConnectionId,
        room: Room,
        session: Session,
    ) -> Result<(Connection, BroadcastReport), PortError> {
        let broadcast = &self.presence.broadcast;
        let connected_at = broadcast.clock.now_seconds();
        let connection = Connection {
            id,
            room,
            session,
            connected_at,
            expires_at: connected_at + CONNECTION_LIFETIME_SECONDS,
        };
        if let Err(error) = broadcast.connections.put(&connection).await {
            // It may have happened all the same, and nobody would hear of the end of a connection that is refused.
            let _ = broadcast.connections.remove(&connection.id).await;
            return Err(error);
        }
        let told = self.presence.tell(Direction::Joined, &connection).await;
        Ok((connection, told))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::broadcast::Broadcast;
    use crate::testing::{Answer, FakeClock, FakeConnections, FakeGateway, connection, session};

    fn connect(
        connections: &FakeConnections,
        gateway: &FakeGateway,
    ) -> Connect<FakeConnections, FakeGateway, FakeClock> {
        let broadcast = Broadcast {
            connections: connections.clone(),
            gateway: gateway.clone(),
            clock: FakeClock::at_seconds(1_000),
        };
        Connect {
            presence: Presence {
                broadcast,
                encode: |movement| format!("{:?} {}", movement.direction, movement.user.sub),
            },
        }
    }

    #[tokio::test]
    async fn a_connection_is_remembered_for_as_long_as_it_can_exist() {
        let connections = FakeConnections::default();
        let connect = connect(&connections, &FakeGateway::default());
        let id = ConnectionId::new("c1=");
        let (connection, _) = connect
            .execute(id, Room::lobby(), session("alice", 1_300))
            .await
            .unwrap();
        assert_eq!((connection.connected_at, connection.expires_at), (1_000, 1_000 + 8_100));
        assert_eq!(connections.row("c1="), Some(connection));
    }

    #[tokio::test]
    async fn the_room_hears_of_it_and_its_trouble_refuses_nobody() {
        let connections = FakeConnections::of([connection("a", "lobby"), connection("b", "lobby")]);
        let gateway = FakeGateway::default();
        gateway.answer("a", [Answer::Fail]);
        let connect = connect(&connections, &gateway);
        let alice = session("alice", 1_300);
        let (_, told) = connect
            .execute(ConnectionId::new("c"), Room::lobby(), alice)
            .await
            .unwrap();
        assert_eq!((told.delivered, told.failed), (1, 1));
        assert_eq!(gateway.frames("b"), ["Joined alice"]);
    }
}
