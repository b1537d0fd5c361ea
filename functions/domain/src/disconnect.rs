//! A connection ended: forget it.

use crate::broadcast::BroadcastReport;
use crate::model::{Connection, ConnectionId};
use crate::ports::{Clock, ForgetConnection, ListRoom, PortError, SendFrame};
use crate::presence::{Direction, Presence};

/// Forgets connections. API Gateway announces most ends, not all: [`crate::Broadcast`] and the rows' expiry see to the
/// rest.
#[derive(Clone, Debug)]
pub struct Disconnect<R, G, C> {
    /// Where it was remembered, and the way to who was there with it.
    pub presence: Presence<R, G, C>,
}

impl<R: ForgetConnection + ListRoom, G: SendFrame, C: Clock> Disconnect<R, G, C> {
    /// Forgets the connection and tells its room. Safe to repeat: only the first time there is something to tell.
    ///
    /// Returns what was known, and what became of telling.
    ///
    /// # Errors
    ///
    /// When the repository cannot be reached.
    pub async fn execute(&self, id: &ConnectionId) -> Result<Option<(Connection, BroadcastReport)>, PortError> {
        let Some(connection) = self.presence.broadcast.connections.remove(id).await? else {
            return Ok(None);
        };
        let told = self.presence.tell(Direction::Left, &connection).await;
        Ok(Some((connection, told)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::broadcast::Broadcast;
    use crate::testing::{FakeClock, FakeConnections, FakeGateway, connection};

    #[tokio::test]
    async fn a_connection_can_be_forgotten_twice_and_is_missed_once() {
        let connections = FakeConnections::of([connection("c1", "lobby"), connection("c2", "lobby")]);
        let gateway = FakeGateway::default();
        let disconnect = Disconnect {
            presence: Presence {
                broadcast: Broadcast {
                    connections: connections.clone(),
                    gateway: gateway.clone(),
                    clock: FakeClock::at_seconds(1_000),
                },
                encode: |movement| format!("{:?} {}", movement.direction, movement.user.sub),
            },
        };
        for first in [true, false] {
            let forgotten = disconnect.execute(&ConnectionId::new("c1")).await.unwrap();
            assert_eq!(forgotten.is_some(), first);
        }
        assert_eq!(connections.ids(), ["c2"]);
        assert_eq!(gateway.frames("c2"), ["Left c1"]);
    }
}
