//! A connection was accepted: remember it.

use crate::model::{Connection, ConnectionId, Room, Session};
use crate::ports::{Clock, ConnectionRepository, PortError};

/// How long a row is believed: API Gateway ends every connection after 2 hours, and clocks differ a little. Independent
/// of the token's end, which stops sending only: who was admitted may go on reading until the connection ends.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html>
pub const CONNECTION_LIFETIME_SECONDS: u64 = 2 * 60 * 60 + 15 * 60;

/// Remembers who is in which room.
#[derive(Clone, Debug)]
pub struct Connect<R, C> {
    /// Where it is remembered.
    pub connections: R,
    /// Tells since when.
    pub clock: C,
}

impl<R: ConnectionRepository, C: Clock> Connect<R, C> {
    /// Remembers the connection and returns what was remembered.
    ///
    /// # Errors
    ///
    /// When it cannot be remembered; the client must then be refused, as nothing would ever reach it.
    pub async fn execute(&self, id: ConnectionId, room: Room, session: Session) -> Result<Connection, PortError> {
        let connected_at = self.clock.now_seconds();
        let expires_at = connected_at + CONNECTION_LIFETIME_SECONDS;
        let connection = Connection {
            id,
            room,
            session,
            connected_at,
            expires_at,
        };
        self.connections.put(&connection).await?;
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::testing::{FakeClock, FakeConnections, session};

    #[tokio::test]
    async fn a_connection_is_remembered_for_as_long_as_it_can_exist() {
        let connections = FakeConnections::default();
        let connect = Connect {
            connections: connections.clone(),
            clock: FakeClock::at_seconds(1_000),
        };
        let id = ConnectionId::new("c1=");
        let connection = connect
            .execute(id.clone(), Room::lobby(), session("alice", 1_300))
            .await
            .unwrap();
        assert_eq!((connection.connected_at, connection.expires_at), (1_000, 1_000 + 8_100));
        assert_eq!(connections.find(&id).await.unwrap(), Some(connection));
    }
}
