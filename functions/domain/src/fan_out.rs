//! Brings one message to a room: small rooms at once, large ones by legs, which other invocations run.

use futures_util::future::try_join_all;

use crate::broadcast::{Broadcast, BroadcastReport, Effort};
use crate::model::Leg;
use crate::ports::{Clock, ForgetConnection, HandOver, ListRoom, PortError, SendFrame};

/// A room with so many connections, spread evenly over its shards, is still served by the sender's own invocation. To
/// post so many frames takes a small function a tenth of a second; to have others do it takes about as long to begin.
pub const INLINE_CONNECTIONS_MAX: usize = 256;

/// Reaches all of a room.
#[derive(Clone, Debug)]
pub struct FanOut<R, G, C, H> {
    /// The way to connections.
    pub broadcast: Broadcast<R, G, C>,
    /// The way to other invocations.
    pub others: H,
    /// [`INLINE_CONNECTIONS_MAX`], if the stage says nothing else.
    pub inline_max: usize,
}

/// How a room was reached.
#[derive(Debug)]
pub enum Reach {
    /// At once, by this invocation.
    Here(BroadcastReport),
    /// So many others are on it.
    HandedOver {
        /// Their number: one for each shard with anybody in it.
        legs: usize,
    },
}

impl<R: ListRoom + ForgetConnection, G: SendFrame, C: Clock, H: HandOver> FanOut<R, G, C, H> {
    /// Brings `whole.frame` to everybody in `whole.room` but `whole.except`, whatever shard `whole` names.
    ///
    /// Every shard is asked for its share of `inline_max` connections. If none has more, the room is small, and its
    /// connections are tried once: who is slow is left to another invocation, so that the sender's does not wait.
    ///
    /// # Errors
    ///
    /// When the room cannot be read or a leg not be handed over. Some may have received the frame by then.
    pub async fn start(&self, whole: &Leg) -> Result<Reach, PortError> {
        let rows = &self.broadcast.connections;
        let shards = rows.shards();
        let share = self.inline_max.div_ceil(shards as usize).max(1);
        let now = self.broadcast.clock.now_seconds();
        let pages = (0..shards).map(|shard| rows.peers_in_shard(&whole.room, shard, None, Some(share + 1), now));
        let pages = try_join_all(pages).await?;
        let small = pages
            .iter()
            .all(|page| page.connections.len() <= share && page.next.is_none());
        if small {
            let peers = pages.into_iter().flat_map(|page| page.connections);
            let receivers = peers.filter(|peer| peer.id != whole.except);
            let mut report = self.broadcast.to(receivers, &whole.frame, Effort::Once).await;
            self.leave_rest(whole, &mut report).await;
            return Ok(Reach::Here(report));
        }
        let inhabited = pages
            .iter()
            .zip(0..)
            .filter(|(page, _)| !page.connections.is_empty() || page.next.is_some());
        let legs: Vec<_> = inhabited.map(|(_, shard)| Leg { shard, ..whole.clone() }).collect();
        try_join_all(legs.iter().map(|leg| self.others.hand_over(leg))).await?;
        Ok(Reach::HandedOver { legs: legs.len() })
    }

    /// Leaves who is unreached to another invocation. Should nobody take them, they have the history.
    async fn leave_rest(&self, whole: &Leg, report: &mut BroadcastReport) {
        if report.unreached.is_empty() {
            return;
        }
        let only = report.unreached.clone();
        match self.others.hand_over(&Leg { only, ..whole.clone() }).await {
            Ok(()) => report.left = report.take_unreached().len(),
            Err(error) => report.note(Some(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::model::Connection;
    use crate::testing::{Answer, FakeClock, FakeConnections, FakeGateway, FakeLegs, connection, leg};

    const NOW: u64 = 100_000;

    struct Scene {
        connections: FakeConnections,
        gateway: FakeGateway,
        legs: FakeLegs,
    }

    impl Scene {
        fn of(members: usize) -> Self {
            let rows = (0..members).map(|number| connection(&format!("c{number:04}"), "lobby"));
            Self {
                connections: FakeConnections::of(rows),
                gateway: FakeGateway::default(),
                legs: FakeLegs::default(),
            }
        }

        async fn start(&self, inline_max: usize) -> Result<Reach, PortError> {
            let fan_out = FanOut {
                broadcast: Broadcast {
                    connections: self.connections.clone(),
                    gateway: self.gateway.clone(),
                    clock: FakeClock::at_seconds(NOW),
                },
                others: self.legs.clone(),
                inline_max,
            };
            fan_out.start(&leg("lobby", "c0000")).await
        }
    }

    #[tokio::test]
    async fn a_small_room_is_served_at_once() {
        let scene = Scene::of(3);
        scene.connections.insert(connection("x", "elsewhere"));
        scene.connections.insert(Connection {
            expires_at: NOW,
            ..connection("expired", "lobby")
        });
        let Reach::Here(report) = scene.start(100).await.unwrap() else {
            panic!("handed over")
        };
        assert_eq!(report.delivered, 2);
        assert_eq!(scene.gateway.receivers(), ["c0001", "c0002"]);
        assert!(scene.legs.taken().is_empty());
    }

    #[tokio::test]
    async fn the_sender_does_not_wait_for_slow_peers() {
        let scene = Scene::of(5);
        scene.gateway.answer("c0001", [Answer::Slow]);
        scene.gateway.answer("c0002", [Answer::Fail]);
        scene.gateway.answer("c0003", [Answer::Silence]);
        let Reach::Here(report) = scene.start(100).await.unwrap() else {
            panic!("handed over")
        };
        assert_eq!(
            (report.delivered, report.left, report.slow, report.failed),
            (1, 3, 0, 0)
        );
        assert_eq!(scene.gateway.attempts("c0001"), 1);
        let [rest] = &scene.legs.taken()[..] else {
            panic!("one leg")
        };
        let mut only: Vec<_> = rest.only.iter().map(|peer| peer.id.as_str()).collect();
        only.sort_unstable();
        assert_eq!((only, rest.frame.as_str()), (vec!["c0001", "c0002", "c0003"], "frame"));

        // Nobody takes them: the message was sent all the same.
        scene.legs.fail();
        scene.gateway.answer("c0001", [Answer::Slow]);
        let Reach::Here(report) = scene.start(100).await.unwrap() else {
            panic!("handed over")
        };
        assert_eq!(
            (report.delivered, report.left, report.slow, report.failed),
            (2, 0, 1, 1)
        );
        assert!(report.first_failure.is_some());
    }

    #[tokio::test]
    async fn an_empty_room_is_small() {
        let reach = Scene::of(0).start(1).await.unwrap();
        assert!(matches!(reach, Reach::Here(report) if report.delivered == 0));
    }

    #[tokio::test]
    async fn a_large_room_is_left_to_others_one_for_each_shard() {
        let scene = Scene::of(50);
        let reach = scene.start(10).await.unwrap();
        let shards = scene.connections.shards();
        assert!(matches!(reach, Reach::HandedOver { legs } if legs == shards as usize));
        let taken = scene.legs.taken();
        assert_eq!(
            taken.iter().map(|leg| leg.shard).collect::<Vec<_>>(),
            Vec::from_iter(0..shards)
        );
        assert!(
            taken
                .iter()
                .all(|leg| leg.after.is_none() && leg.hops == 0 && leg.except.as_str() == "c0000")
        );
        assert!(scene.gateway.receivers().is_empty());
    }

    #[tokio::test]
    async fn an_unreadable_room_and_a_leg_that_nobody_takes_are_errors() {
        let scene = Scene::of(50);
        scene.legs.fail();
        assert!(scene.start(10).await.is_err());
        scene.connections.fail();
        assert!(scene.start(100).await.is_err());
    }
}
