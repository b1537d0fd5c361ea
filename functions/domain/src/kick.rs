//! A moderator ends the connections of a user.

use crate::access::{Action, Caller, Refusal, admit};
use crate::model::{Connection, Identity, Room};
use crate::ports::{Clock, CloseConnection, Closing, CountAction, ForgetConnection, ListRoom, PortError, SendFrame};

/// Ends connections. Their rows go with the `$disconnect` event that follows.
#[derive(Clone, Debug)]
pub struct Kick<R, G, C> {
    /// Who is in the room.
    pub connections: R,
    /// The way to them.
    pub gateway: G,
    /// Tells the time.
    pub clock: C,
    /// Writes the last frame that the user gets: from which room, by whom.
    pub encode: fn(&Room, &Identity) -> String,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Kicked {
    /// Where.
    pub room: Room,
    /// So many connections were ended. None, if the user is not there.
    pub connections: usize,
}

/// Why nobody was kicked, or not every connection.
#[derive(Debug, thiserror::Error)]
pub enum KickError {
    /// The caller may not.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The room could not be read or a connection not be ended; our fault. Asking again is safe.
    #[error("user could not be kicked")]
    Unavailable(#[source] PortError),
}

impl<R, G, C> Kick<R, G, C>
where
    R: CountAction + ListRoom + ForgetConnection,
    G: SendFrame + CloseConnection,
    C: Clock,
{
    /// Ends all connections of the user `sub` in `room`, or in the caller's room. The caller's own connection stays.
    ///
    /// Rooms only, as there is no index by user: it would cost a write per connection for what is rarely done. Nothing
    /// keeps the user from connecting again while the token counts.
    ///
    /// # Errors
    ///
    /// The reason why not.
    pub async fn execute(&self, caller: &Caller, sub: &str, room: Option<Room>) -> Result<Kicked, KickError> {
        let own = admit(&self.connections, &self.clock, caller, Action::Kick).await?;
        let room = room.unwrap_or(own.room);
        let connections = self.end_all(caller, sub, &room).await.map_err(KickError::Unavailable)?;
        Ok(Kicked { room, connections })
    }

    async fn end_all(&self, caller: &Caller, sub: &str, room: &Room) -> Result<usize, PortError> {
        let farewell = (self.encode)(room, &caller.session.user);
        let mut ended = 0;
        // One shard after another: it is rarely done, and nobody waits for it.
        for shard in 0..self.connections.shards() {
            let mut after = None;
            loop {
                let page = self.connections.in_shard(room, shard, after.as_ref(), None).await?;
                let theirs = page.connections.iter().filter(|row| row.session.user.sub == sub);
                for row in theirs.filter(|row| row.id != caller.connection) {
                    ended += usize::from(self.end(row, &farewell).await?);
                }
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        Ok(ended)
    }

    /// Returns whether it was there to be ended.
    async fn end(&self, row: &Connection, farewell: &str) -> Result<bool, PortError> {
        // Whether the user could be told why changes nothing.
        let _ = self.gateway.send(&row.id, farewell).await;
        match self.gateway.close(&row.id).await? {
            Closing::Closed => Ok(true),
            // No event will come for it.
            Closing::Gone => {
                self.connections.remove(&row.id).await?;
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::testing::{Answer, FakeClock, FakeConnections, FakeGateway, caller, connection};

    struct Scene {
        connections: FakeConnections,
        gateway: FakeGateway,
    }

    impl Scene {
        fn new() -> Self {
            let row = |id: &str, room: &str, sub: &str| {
                let mut row = connection(id, room);
                row.session.user.sub = sub.to_owned();
                row
            };
            let rows = [
                row("mod", "red", "mod"),
                row("b1", "red", "bo"),
                row("b2", "red", "bo"),
                row("b3", "blue", "bo"),
                row("c1", "red", "cy"),
            ];
            Self {
                connections: FakeConnections::of(rows),
                gateway: FakeGateway::default(),
            }
        }

        async fn kick(&self, role: &str, sub: &str, room: Option<&str>) -> Result<usize, KickError> {
            let kick = Kick {
                connections: self.connections.clone(),
                gateway: self.gateway.clone(),
                clock: FakeClock::at_seconds(1_000),
                encode: |room, by| format!("{} {room}", by.sub),
            };
            let mut caller = caller("mod", u64::MAX);
            caller.session.user.roles = vec![role.to_owned()];
            let kicked = kick
                .execute(&caller, sub, room.map(|room| Room::parse(room).unwrap()))
                .await?;
            Ok(kicked.connections)
        }
    }

    #[tokio::test]
    async fn all_connections_of_the_user_in_the_room_end() {
        let scene = Scene::new();
        assert_eq!(scene.kick("moderator", "bo", None).await.unwrap(), 2);
        assert_eq!(scene.gateway.closed(), ["b1", "b2"]);
        assert_eq!(scene.gateway.frames("b1"), ["mod red"]);
        assert_eq!(scene.kick("admin", "bo", Some("blue")).await.unwrap(), 1);
        assert_eq!(scene.gateway.closed(), ["b1", "b2", "b3"]);
    }

    #[tokio::test]
    async fn nobody_else_may() {
        let scene = Scene::new();
        let error = scene.kick("member", "bo", None).await.unwrap_err();
        assert!(matches!(error, KickError::Refused(Refusal::Forbidden)), "{error:?}");
        assert_eq!(scene.gateway.closed(), [""; 0]);
    }

    #[tokio::test]
    async fn nobody_kicks_the_own_connection_or_who_is_not_there() {
        let scene = Scene::new();
        assert_eq!(scene.kick("admin", "mod", None).await.unwrap(), 0);
        assert_eq!(scene.kick("admin", "nobody", None).await.unwrap(), 0);
        assert_eq!(scene.gateway.closed(), [""; 0]);
    }

    #[tokio::test]
    async fn a_client_that_is_gone_loses_its_row() {
        let scene = Scene::new();
        scene.gateway.answer("b1", [Answer::Gone, Answer::Gone]);
        assert_eq!(scene.kick("admin", "bo", None).await.unwrap(), 1);
        assert_eq!(scene.connections.ids(), ["b2", "b3", "c1", "mod"]);
    }
}
