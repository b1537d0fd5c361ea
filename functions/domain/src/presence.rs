//! Who is in a room, and who comes and goes.
//!
//! A room is read by one bounded query of each shard, so what is told is about some of a large room only, and exact in
//! small ones up to the moment by which the index is behind the table. Rows that [`crate::Broadcast`] removes because
//! their client is gone leave without a word.

use futures_util::future::try_join_all;

use crate::broadcast::{Broadcast, BroadcastReport, Effort};
use crate::model::{Connection, Identity, Room};
use crate::ports::{Clock, ForgetConnection, ListRoom, PortError, SendFrame};

/// In rooms with more connections nobody is told who comes and goes: when n people arrive, n² frames are sent. With 50
/// that is 2,500, a quarter of what an account may send in a second.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html>
pub const PRESENCE_CONNECTIONS_MAX: usize = 50;

/// So many connections are looked at to answer who is in a room, and one more in each shard: about 60 KB, 8 read units,
/// and so much for each shard at worst.
pub const ROSTER_CONNECTIONS_MAX: usize = 200;

/// Looks at rooms and tells their members.
#[derive(Clone, Debug)]
pub struct Presence<R, G, C> {
    /// The way to the members.
    pub broadcast: Broadcast<R, G, C>,
    /// Writes the frame that members get.
    pub encode: fn(&Movement<'_>) -> String,
}

/// Somebody came or went.
#[derive(Clone, Copy, Debug)]
pub struct Movement<'a> {
    /// Which of both.
    pub direction: Direction,
    /// Where.
    pub room: &'a Room,
    /// Who.
    pub user: &'a Identity,
    /// When, in milliseconds.
    pub at_ms: u64,
}

/// Into a room or out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into.
    Joined,
    /// Out of.
    Left,
}

/// The connections of a room, or the first of them.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// In order of their ids; none has expired.
    pub connections: Vec<Connection>,
    /// Whether there are more.
    pub more: bool,
}

/// Who is in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    /// Which.
    pub room: Room,
    /// Each user once, who asked first.
    pub members: Vec<Identity>,
    /// Whether there may be more.
    pub more: bool,
}

impl<R: ListRoom + ForgetConnection, G: SendFrame, C: Clock> Presence<R, G, C> {
    /// Returns the first `most` connections of a room.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn look(&self, room: &Room, most: usize) -> Result<Crowd, PortError> {
        let now = self.broadcast.clock.now_seconds();
        let rows = &self.broadcast.connections;
        let shards = (0..rows.shards()).map(|shard| rows.in_shard(room, shard, None, Some(most + 1)));
        let pages = try_join_all(shards).await?;
        let mut connections: Vec<_> = pages.into_iter().flat_map(|page| page.connections).collect();
        let more = connections.len() > most;
        connections.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        connections.truncate(most);
        connections.retain(|connection| connection.expires_at > now);
        Ok(Crowd { connections, more })
    }

    /// Tells the room of `who` that it came or went. Never fails: it is a courtesy, and the report says what became of it.
    pub async fn tell(&self, direction: Direction, who: &Connection) -> BroadcastReport {
        match self.look(&who.room, PRESENCE_CONNECTIONS_MAX).await {
            Ok(crowd) => self.tell_crowd(direction, who, &crowd).await,
            Err(error) => BroadcastReport {
                first_failure: Some(error),
                ..BroadcastReport::default()
            },
        }
    }

    /// Tells a room that was read already. Silent in a large room, and when the user is there with another connection.
    pub async fn tell_crowd(&self, direction: Direction, who: &Connection, crowd: &Crowd) -> BroadcastReport {
        let user = &who.session.user;
        let others: Vec<_> = crowd.connections.iter().filter(|other| other.id != who.id).collect();
        let small = !crowd.more && others.len() <= PRESENCE_CONNECTIONS_MAX;
        if !small || others.iter().any(|other| other.session.user.sub == user.sub) {
            return BroadcastReport::default();
        }
        let frame = (self.encode)(&Movement {
            direction,
            room: &who.room,
            user,
            at_ms: self.broadcast.clock.now_ms(),
        });
        self.broadcast.to(others, &frame, Effort::Once).await
    }
}

impl Roster {
    /// Returns who is among the connections. `asking` is listed even if the index does not show it yet.
    pub fn of(crowd: &Crowd, asking: &Connection) -> Self {
        let mut members = vec![asking.session.user.clone()];
        for connection in &crowd.connections {
            let user = &connection.session.user;
            if members.iter().all(|member| member.sub != user.sub) {
                members.push(user.clone());
            }
        }
        Self {
            room: asking.room.clone(),
            members,
            more: crowd.more,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::testing::{Answer, FakeClock, FakeConnections, FakeGateway, connection};

    fn presence(
        connections: &FakeConnections,
        gateway: &FakeGateway,
    ) -> Presence<FakeConnections, FakeGateway, FakeClock> {
        Presence {
            broadcast: Broadcast {
                connections: connections.clone(),
                gateway: gateway.clone(),
                clock: FakeClock::at_seconds(1_000),
            },
            encode: |movement| format!("{:?} {} {}", movement.direction, movement.user.sub, movement.room),
        }
    }

    async fn told(connections: &FakeConnections) -> Vec<String> {
        let gateway = FakeGateway::default();
        let who = connection("me", "red");
        presence(connections, &gateway).tell(Direction::Joined, &who).await;
        assert!(
            gateway
                .receivers()
                .iter()
                .all(|to| gateway.frames(to) == ["Joined me red"])
        );
        gateway.receivers()
    }

    #[tokio::test]
    async fn the_others_in_the_room_are_told() {
        let rows = [("a", "red"), ("b", "red"), ("me", "red"), ("x", "blue")];
        let connections = FakeConnections::of(rows.map(|(id, room)| connection(id, room)));
        assert_eq!(told(&connections).await, ["a", "b"]);
    }

    #[tokio::test]
    async fn a_second_connection_of_a_user_is_no_news() {
        let mut second = connection("second", "red");
        second.session.user.sub = "me".to_owned();
        let connections = FakeConnections::of([connection("a", "red"), second]);
        assert_eq!(told(&connections).await, [""; 0]);
    }

    #[tokio::test]
    async fn a_large_room_is_not_told() {
        let others = |count| (0..count).map(|number| connection(&format!("c{number:03}"), "red"));
        let connections = FakeConnections::of(others(PRESENCE_CONNECTIONS_MAX));
        assert_eq!(told(&connections).await.len(), PRESENCE_CONNECTIONS_MAX);
        let connections = FakeConnections::of(others(PRESENCE_CONNECTIONS_MAX + 1));
        assert_eq!(told(&connections).await, [""; 0]);
    }

    #[tokio::test]
    async fn trouble_is_reported_and_no_failure() {
        let connections = FakeConnections::of([connection("a", "red"), connection("b", "red")]);
        let gateway = FakeGateway::default();
        gateway.answer("a", [Answer::Gone]);
        let report = presence(&connections, &gateway)
            .tell(Direction::Left, &connection("me", "red"))
            .await;
        assert_eq!((report.delivered, report.gone), (1, 1));
        assert_eq!(connections.ids(), ["b"]);
        connections.fail();
        let report = presence(&connections, &gateway)
            .tell(Direction::Left, &connection("me", "red"))
            .await;
        assert!(report.first_failure.is_some());
    }
}
