//! A member looks around or moves to another room.

use futures_util::future::join;

use crate::access::{Action, Caller, Refusal, admit};
use crate::broadcast::BroadcastReport;
use crate::model::{Connection, Room};
use crate::ports::{Clock, CountAction, ForgetConnection, ListRoom, MoveConnection, PortError, SendFrame};
use crate::presence::{Direction, Presence, ROSTER_CONNECTIONS_MAX, Roster};

/// What members do with rooms besides talking.
#[derive(Clone, Debug)]
pub struct Rooms<R, G, C> {
    /// The way to rooms and their members.
    pub presence: Presence<R, G, C>,
}

/// A member has moved, or was there already.
#[derive(Debug)]
pub struct Joined {
    /// Who is in the new room.
    pub roster: Roster,
    /// What became of telling the old room.
    pub left: BroadcastReport,
    /// What became of telling the new room.
    pub joined: BroadcastReport,
}

/// Why a member did not move or learn anything.
#[derive(Debug, thiserror::Error)]
pub enum RoomsError {
    /// It may not.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The room could not be read or the row not be changed; our fault.
    #[error("room is out of reach")]
    Unavailable(#[source] PortError),
}

impl<R, G, C> Rooms<R, G, C>
where
    R: CountAction + MoveConnection + ListRoom + ForgetConnection,
    G: SendFrame,
    C: Clock,
{
    /// Returns who is in the caller's room.
    ///
    /// # Errors
    ///
    /// The reason why not.
    pub async fn who(&self, caller: &Caller) -> Result<Roster, RoomsError> {
        let row = self.admit(caller, Action::Who).await?;
        self.roster(&row).await
    }

    /// Moves the caller to `room` and tells both rooms. Whoever is there already stays, and nobody is told.
    ///
    /// # Errors
    ///
    /// The reason why not. After `Unavailable` it may have moved; asking again is safe.
    pub async fn join(&self, caller: &Caller, room: Room) -> Result<Joined, RoomsError> {
        let before = self.admit(caller, Action::Join).await?;
        let mut joined = Joined {
            roster: Roster {
                room: room.clone(),
                members: Vec::new(),
                more: false,
            },
            left: BroadcastReport::default(),
            joined: BroadcastReport::default(),
        };
        if before.room == room {
            joined.roster = self.roster(&before).await?;
            return Ok(joined);
        }
        let moved = self.presence.broadcast.connections.move_to(&before.id, &room).await;
        // What was the room a moment ago: two moves at once must not both leave the first room.
        let before = moved.map_err(RoomsError::Unavailable)?.ok_or(Refusal::NotConnected)?;
        let after = Connection { room, ..before.clone() };
        let crowd = self.presence.look(&after.room, ROSTER_CONNECTIONS_MAX).await;
        let crowd = crowd.map_err(RoomsError::Unavailable)?;
        joined.roster = Roster::of(&crowd, &after);
        (joined.left, joined.joined) = join(
            self.presence.tell(Direction::Left, &before),
            self.presence.tell_crowd(Direction::Joined, &after, &crowd),
        )
        .await;
        Ok(joined)
    }

    async fn admit(&self, caller: &Caller, action: Action) -> Result<Connection, RoomsError> {
        let broadcast = &self.presence.broadcast;
        Ok(admit(&broadcast.connections, &broadcast.clock, caller, action).await?)
    }

    async fn roster(&self, row: &Connection) -> Result<Roster, RoomsError> {
        let crowd = self.presence.look(&row.room, ROSTER_CONNECTIONS_MAX).await;
        Ok(Roster::of(&crowd.map_err(RoomsError::Unavailable)?, row))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::broadcast::Broadcast;
    use crate::testing::{FakeClock, FakeConnections, FakeGateway, caller, connection};

    struct Scene {
        connections: FakeConnections,
        gateway: FakeGateway,
    }

    impl Scene {
        fn of(rows: &[(&str, &str)]) -> Self {
            Self {
                connections: FakeConnections::of(rows.iter().map(|(id, room)| connection(id, room))),
                gateway: FakeGateway::default(),
            }
        }

        fn rooms(&self) -> Rooms<FakeConnections, FakeGateway, FakeClock> {
            let broadcast = Broadcast {
                connections: self.connections.clone(),
                gateway: self.gateway.clone(),
                clock: FakeClock::at_seconds(1_000),
            };
            Rooms {
                presence: Presence {
                    broadcast,
                    encode: |movement| format!("{:?} {} {}", movement.direction, movement.user.sub, movement.room),
                },
            }
        }

        async fn join(&self, room: &str) -> Result<Joined, RoomsError> {
            self.rooms()
                .join(&caller("me", u64::MAX), Room::parse(room).unwrap())
                .await
        }
    }

    fn subs(roster: &Roster) -> Vec<&str> {
        roster.members.iter().map(|member| member.sub.as_str()).collect()
    }

    #[tokio::test]
    async fn moving_is_told_to_both_rooms() {
        let scene = Scene::of(&[("me", "lobby"), ("l", "lobby"), ("r", "red")]);
        let joined = scene.join("red").await.unwrap();
        assert_eq!(subs(&joined.roster), ["me", "r"]);
        assert_eq!(scene.connections.row("me").unwrap().room.as_str(), "red");
        assert_eq!(scene.gateway.frames("l"), ["Left me lobby"]);
        assert_eq!(scene.gateway.frames("r"), ["Joined me red"]);
        assert_eq!(scene.gateway.receivers(), ["l", "r"]);
    }

    #[tokio::test]
    async fn who_is_there_already_is_no_news() {
        let scene = Scene::of(&[("me", "red"), ("r", "red")]);
        assert_eq!(subs(&scene.join("red").await.unwrap().roster), ["me", "r"]);
        assert_eq!(scene.gateway.receivers(), [""; 0]);
    }

    #[tokio::test]
    async fn each_user_is_listed_once_and_large_rooms_say_so() {
        let scene = Scene::of(&[("me", "red"), ("a", "red"), ("b", "red"), ("x", "blue")]);
        let mut second = connection("b2", "red");
        second.session.user.sub = "b".to_owned();
        scene.connections.insert(second);
        let roster = scene.rooms().who(&caller("me", u64::MAX)).await.unwrap();
        assert_eq!((subs(&roster), roster.more), (vec!["me", "a", "b"], false));
        for number in 0..ROSTER_CONNECTIONS_MAX {
            scene.connections.insert(connection(&format!("c{number:03}"), "red"));
        }
        assert!(scene.rooms().who(&caller("me", u64::MAX)).await.unwrap().more);
    }

    #[tokio::test]
    async fn an_expired_token_stays_where_it_is() {
        let scene = Scene::of(&[("me", "lobby")]);
        let red = Room::parse("red").unwrap();
        let error = scene.rooms().join(&caller("me", 1_000), red).await.unwrap_err();
        assert!(matches!(error, RoomsError::Refused(Refusal::TokenExpired)), "{error:?}");
        assert_eq!(scene.connections.row("me").unwrap().room.as_str(), "lobby");
    }

    #[tokio::test]
    async fn a_forgotten_connection_does_not_come_back_by_moving() {
        let scene = Scene::of(&[]);
        let error = scene.join("red").await.unwrap_err();
        assert!(matches!(error, RoomsError::Refused(Refusal::NotConnected)), "{error:?}");
        assert_eq!(scene.connections.ids(), [""; 0]);
    }
}
