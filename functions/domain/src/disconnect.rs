//! A connection ended: forget it.

use crate::model::ConnectionId;
use crate::ports::{ConnectionRepository, PortError};

/// Forgets connections. API Gateway announces most ends, not all: [`crate::Broadcast`] and the rows' expiry see to the
/// rest.
#[derive(Clone, Debug)]
pub struct Disconnect<R> {
    /// Where it was remembered.
    pub connections: R,
}

impl<R: ConnectionRepository> Disconnect<R> {
    /// Forgets the connection. Safe to repeat.
    ///
    /// # Errors
    ///
    /// When the repository cannot be reached.
    pub async fn execute(&self, id: &ConnectionId) -> Result<(), PortError> {
        self.connections.remove(id).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::testing::{FakeConnections, connection};

    #[tokio::test]
    async fn a_connection_can_be_forgotten_twice() {
        let connections = FakeConnections::of([connection("c1", "lobby")]);
        let disconnect = Disconnect {
            connections: connections.clone(),
        };
        for _ in 0..2 {
            disconnect.execute(&ConnectionId::new("c1")).await.unwrap();
        }
        assert_eq!(connections.ids(), Vec::<String>::new());
    }
}
