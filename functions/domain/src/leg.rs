//! Runs one leg of a broadcast: reads a shard page by page and brings the frame to its connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::broadcast::{Broadcast, BroadcastReport, Effort, IN_FLIGHT_MAX};
use crate::model::{ConnectionId, Leg};
use crate::ports::{Clock, ForgetConnection, HandOver, ListRoom, PortError, SendFrame};

/// So long before its deadline an invocation begins no further post: what is on its way by then may have to be repeated
/// for slow peers, and each attempt may take as long as its time-out.
pub const RESERVE_MS: u64 = 30_000;

/// So often a leg is handed over because time was up. At 2,000 posts a second and 90 seconds each that is enough for a
/// million connections in one shard; more means that something is wrong, and it must not go on for ever.
pub const HOPS_MAX: u32 = 8;

/// An older message is news no more: who missed it finds it in the history. Lambda repeats a failed leg after one minute
/// and after two more, and after a longer throttling within hours.
/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>
pub const LEG_AGE_SECONDS_MAX: u64 = 300;

/// So often those who were not reached are tried again, all together: the leg runs for them alone, and nobody waits.
pub const ROUNDS_MAX: u32 = 3;

/// Before the first of these rounds; doubled before each further one.
pub const ROUND_PAUSE: Duration = Duration::from_secs(1);

/// So many connections are handed over by name at most: some 200 KB of the 1 MB that an asynchronous event may have.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const ONLY_MAX: usize = 4_000;

/// Runs legs.
#[derive(Clone, Debug)]
pub struct RunLeg<R, G, C, H> {
    /// The way to connections.
    pub broadcast: Broadcast<R, G, C>,
    /// The way to the next invocation.
    pub others: H,
    /// So many posts begin in a second. All posts of an account share one quota with the frames that clients send: 10,000
    /// a second, if AWS was not asked for more.
    /// <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html>
    pub posts_per_second: u64,
}

/// What became of a leg.
#[derive(Debug)]
pub struct LegReport {
    /// Of the connections that were served.
    pub report: BroadcastReport,
    /// How the leg ended.
    pub end: LegEnd,
}

/// How a leg ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegEnd {
    /// The shard's last connection was served.
    Finished,
    /// Time was up, and the next invocation goes on.
    HandedOver,
    /// It was handed over [`HOPS_MAX`] times already, or is about a message older than [`LEG_AGE_SECONDS_MAX`]. The rest
    /// of the shard does not get the message live.
    GivenUp,
}

impl<R: ListRoom + ForgetConnection, G: SendFrame, C: Clock, H: HandOver> RunLeg<R, G, C, H> {
    /// Brings the frame to the leg's connections until shortly before `deadline_ms`, and hands the rest over. Who is not
    /// reached is tried again [`ROUNDS_MAX`] times.
    ///
    /// # Errors
    ///
    /// When the shard cannot be read or the rest not be handed over. The leg may be run again from its beginning:
    /// clients then get some frames twice and know them by their ids.
    pub async fn execute(&self, leg: &Leg, deadline_ms: u64) -> Result<LegReport, PortError> {
        let clock = &self.broadcast.clock;
        if clock.now_ms() > leg.message.at_ms() + LEG_AGE_SECONDS_MAX * 1_000 {
            let report = BroadcastReport::default();
            let end = LegEnd::GivenUp;
            return Ok(LegReport { report, end });
        }
        let stop_at_ms = deadline_ms.saturating_sub(RESERVE_MS);
        let (mut report, last) = if leg.only.is_empty() {
            self.serve(leg, stop_at_ms).await?
        } else {
            let report = BroadcastReport {
                unreached: leg.only.clone(),
                ..BroadcastReport::default()
            };
            (report, None)
        };
        self.try_again(leg, &mut report, stop_at_ms).await;
        let end = if clock.now_ms() < stop_at_ms {
            LegEnd::Finished
        } else if leg.hops >= HOPS_MAX {
            LegEnd::GivenUp
        } else {
            let rest = Leg {
                hops: leg.hops + 1,
                ..leg.clone()
            };
            let unreached = report.take_unreached();
            report.left = unreached.len();
            let mut all: Vec<_> = unreached
                .chunks(ONLY_MAX)
                .map(|only| Leg {
                    only: only.to_vec(),
                    ..rest.clone()
                })
                .collect();
            // That nobody may be left is no reason to look: the next invocation finds it out.
            if leg.only.is_empty() {
                let after = last.or_else(|| leg.after.clone());
                all.push(Leg { after, ..rest });
            }
            try_join_all(all.iter().map(|leg| self.others.hand_over(leg))).await?;
            LegEnd::HandedOver
        };
        Ok(LegReport { report, end })
    }

    /// Tries those again who are unreached, after pauses, while there is time.
    async fn try_again(&self, leg: &Leg, report: &mut BroadcastReport, stop_at_ms: u64) {
        let clock = &self.broadcast.clock;
        for round in 0..ROUNDS_MAX {
            let pause = ROUND_PAUSE * 2_u32.pow(round);
            let is_late = u128::from(clock.now_ms()) + pause.as_millis() >= u128::from(stop_at_ms);
            if report.unreached.is_empty() || is_late {
                return;
            }
            clock.sleep(pause).await;
            let peers = report.take_unreached();
            report.add(self.broadcast.to(peers, &leg.frame, Effort::Full).await);
        }
    }

    /// Serves connections until there are no more or time is up. Returns the last one that was served, too: posts begin
    /// in the order of the ids, and all that have begun are awaited.
    async fn serve(&self, leg: &Leg, stop_at_ms: u64) -> Result<(BroadcastReport, Option<ConnectionId>), PortError> {
        let Broadcast { connections, clock, .. } = &self.broadcast;
        let pace = Pace::new(clock, self.posts_per_second);
        // A state of `None` means that there is no further page.
        let pages = stream::try_unfold(Some(leg.after.clone()), |after| async move {
            let Some(after) = after else { return Ok(None) };
            let page = connections.peers_in_shard(&leg.room, leg.shard, after.as_ref(), None, clock.now_seconds());
            let page = page.await?;
            Ok::<_, PortError>(Some((stream::iter(page.connections).map(Ok), page.next.map(Some))))
        });
        pages
            .try_flatten()
            .try_filter(|peer| std::future::ready(peer.id != leg.except))
            .and_then(|peer| async {
                pace.turn().await;
                Ok(peer)
            })
            .try_take_while(|_| std::future::ready(Ok(clock.now_ms() < stop_at_ms)))
            // The next page is read while these are on their way.
            .map_ok(|peer| async move {
                let outcome = self.broadcast.deliver(&peer, &leg.frame, Effort::Full).await;
                Ok((peer, outcome))
            })
            .try_buffer_unordered(IN_FLIGHT_MAX)
            .try_fold(
                (BroadcastReport::default(), None),
                |(mut report, last), (peer, outcome)| {
                    let last = last.max(Some(peer.id.clone()));
                    report.count(peer, outcome);
                    std::future::ready(Ok((report, last)))
                },
            )
            .await
    }
}

/// Lets so many begin in a second, evenly.
struct Pace<'a, C> {
    clock: &'a C,
    begun_ms: u64,
    per_second: u64,
    turns: AtomicU64,
}

impl<'a, C: Clock> Pace<'a, C> {
    fn new(clock: &'a C, per_second: u64) -> Self {
        Self {
            clock,
            begun_ms: clock.now_ms(),
            per_second: per_second.max(1),
            turns: AtomicU64::new(0),
        }
    }

    async fn turn(&self) {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let due_ms = self.begun_ms + turn * 1_000 / self.per_second;
        let now_ms = self.clock.now_ms();
        if due_ms > now_ms {
            self.clock.sleep(Duration::from_millis(due_ms - now_ms)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::model::{Connection, MessageId, Peer};
    use crate::testing::{Answer, FakeClock, FakeConnections, FakeGateway, FakeLegs, connection, leg};

    const NOW: u64 = 100_000;
    const FAR: u64 = (NOW + 600) * 1_000;

    struct Scene {
        connections: FakeConnections,
        gateway: FakeGateway,
        clock: FakeClock,
        others: FakeLegs,
        posts_per_second: u64,
    }

    impl Scene {
        fn of(members: usize) -> Self {
            let rows = (0..members).map(|number| connection(&format!("c{number:04}"), "lobby"));
            Self {
                connections: FakeConnections::of(rows),
                gateway: FakeGateway::default(),
                clock: FakeClock::at_seconds(NOW),
                others: FakeLegs::default(),
                posts_per_second: 1_000_000,
            }
        }

        fn leg(&self, shard: u32) -> Leg {
            Leg {
                shard,
                message: MessageId::new(NOW * 1_000, 1),
                ..leg("lobby", "c0000")
            }
        }

        async fn run(&self, leg: &Leg, deadline_ms: u64) -> Result<LegReport, PortError> {
            let run = RunLeg {
                broadcast: Broadcast {
                    connections: self.connections.clone(),
                    gateway: self.gateway.clone(),
                    clock: self.clock.clone(),
                },
                others: self.others.clone(),
                posts_per_second: self.posts_per_second,
            };
            run.execute(leg, deadline_ms).await
        }
    }

    #[tokio::test]
    async fn the_legs_of_all_shards_reach_everybody_once() {
        let scene = Scene::of(1_000);
        scene.connections.insert(connection("x", "elsewhere"));
        scene.connections.insert(Connection {
            expires_at: NOW,
            ..connection("expired", "lobby")
        });
        let mut delivered = 0;
        for shard in 0..scene.connections.shards() {
            let done = scene.run(&scene.leg(shard), FAR).await.unwrap();
            assert_eq!(done.end, LegEnd::Finished);
            delivered += done.report.delivered;
        }
        let receivers = scene.gateway.receivers();
        assert_eq!((delivered, receivers.len()), (999, 999));
        assert!(receivers.iter().all(|to| scene.gateway.frames(to) == ["frame"]));
        assert!(!receivers.iter().any(|to| to == "c0000" || to == "x" || to == "expired"));
    }

    #[tokio::test]
    async fn posts_begin_at_the_given_rate() {
        let mut scene = Scene::of(301);
        scene.posts_per_second = 100;
        let shard = ConnectionId::new("c0001").shard(scene.connections.shards());
        let done = scene.run(&scene.leg(shard), FAR).await.unwrap();
        let slept = scene.clock.slept().as_millis() as usize;
        // The first begins at once.
        assert_eq!(slept, (done.report.delivered - 1) * 10);
    }

    #[tokio::test]
    async fn what_is_left_at_the_deadline_is_handed_over_until_all_are_served() {
        let mut scene = Scene::of(301);
        scene.posts_per_second = 10;
        for shard in 0..scene.connections.shards() {
            scene.others.give(scene.leg(shard));
        }
        let mut runs = 0;
        while let Some(next) = scene.others.next() {
            assert_eq!(next.after.is_some(), next.hops > 0);
            // Time for some fifty posts.
            let deadline = scene.clock.now_ms() + RESERVE_MS + 5_000;
            let done = scene.run(&next, deadline).await.unwrap();
            assert!(done.report.delivered <= 52, "{done:?}");
            runs += 1;
        }
        assert!(runs > 6, "{runs}");
        let receivers = scene.gateway.receivers();
        assert_eq!(receivers.len(), 300);
        assert!(receivers.iter().all(|to| scene.gateway.frames(to).len() == 1));
    }

    #[tokio::test]
    async fn it_does_not_go_on_for_ever() {
        let scene = Scene::of(10);
        let late = scene.clock.now_ms() + RESERVE_MS;
        let mut leg = scene.leg(0);
        leg.hops = HOPS_MAX - 1;
        assert_eq!(scene.run(&leg, late).await.unwrap().end, LegEnd::HandedOver);
        leg = scene.others.next().unwrap();
        assert_eq!(scene.run(&leg, late).await.unwrap().end, LegEnd::GivenUp);
        assert_eq!(scene.others.next(), None);
    }

    #[tokio::test]
    async fn old_messages_are_no_news() {
        let scene = Scene::of(10);
        let mut leg = scene.leg(0);
        leg.message = MessageId::new((NOW - LEG_AGE_SECONDS_MAX) * 1_000 - 1, 0);
        assert_eq!(scene.run(&leg, FAR).await.unwrap().end, LegEnd::GivenUp);
        assert!(scene.gateway.receivers().is_empty());
    }

    #[tokio::test]
    async fn trouble_of_one_peer_is_not_that_of_the_leg() {
        let scene = Scene::of(40);
        let shard = ConnectionId::new("c0001").shard(scene.connections.shards());
        scene.gateway.answer("c0001", [Answer::Gone]);
        let done = scene.run(&scene.leg(shard), FAR).await.unwrap();
        assert_eq!((done.end, done.report.gone), (LegEnd::Finished, 1));
        assert_eq!(scene.connections.row("c0001"), None);
    }

    #[tokio::test]
    async fn who_is_slow_for_long_is_reached_in_a_later_round() {
        let scene = Scene::of(40);
        let shard = ConnectionId::new("c0001").shard(scene.connections.shards());
        scene.gateway.answer("c0001", [Answer::Slow; 7]);
        let done = scene.run(&scene.leg(shard), FAR).await.unwrap();
        assert_eq!((done.end, done.report.slow), (LegEnd::Finished, 0));
        assert_eq!(scene.gateway.frames("c0001"), ["frame"]);

        scene
            .gateway
            .answer("c0001", [Answer::Slow; 3 * (ROUNDS_MAX as usize + 1)]);
        let done = scene.run(&scene.leg(shard), FAR).await.unwrap();
        assert_eq!((done.report.slow, done.report.unreached.len()), (1, 1));
    }

    #[tokio::test]
    async fn a_leg_of_some_connections_reaches_these_alone() {
        let scene = Scene::of(5);
        let peer = |id| Peer::from(&connection(id, "lobby"));
        let leg = Leg {
            only: vec![peer("c0001"), peer("c0003")],
            ..scene.leg(0)
        };
        scene.gateway.answer("c0003", [Answer::Fail]);
        let done = scene.run(&leg, FAR).await.unwrap();
        assert_eq!((done.end, done.report.delivered), (LegEnd::Finished, 2));
        assert_eq!(scene.gateway.receivers(), ["c0001", "c0003"]);

        // Without time all of them are handed over, and nothing else.
        let late = scene.clock.now_ms() + RESERVE_MS;
        assert_eq!(scene.run(&leg, late).await.unwrap().end, LegEnd::HandedOver);
        let hops = leg.hops + 1;
        assert_eq!(scene.others.taken(), [Leg { hops, ..leg }]);
    }

    #[tokio::test]
    async fn an_unreadable_shard_and_a_rest_that_nobody_takes_are_errors() {
        let scene = Scene::of(10);
        scene.others.fail();
        let late = scene.clock.now_ms() + RESERVE_MS;
        assert!(scene.run(&scene.leg(0), late).await.is_err());
        scene.connections.fail();
        assert!(scene.run(&scene.leg(0), FAR).await.is_err());
    }
}
