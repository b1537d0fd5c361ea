//! Brings one frame to connections. [`crate::FanOut`] and [`crate::RunLeg`] say to which.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::{StreamExt, stream};

use crate::model::{ConnectionId, Peer};
use crate::ports::{Clock, Delivery, ForgetConnection, PortError, SendFrame};

/// So many frames are on their way at once. More is slower: measured with HTTP/2, 512 lose to 128.
pub const IN_FLIGHT_MAX: usize = 128;

/// So often a slow peer is tried, the first time included.
pub const SLOW_ATTEMPTS_MAX: u32 = 3;

/// So long somebody who waits, such as a client that connects or has sent a message, waits for a post to another one.
pub const ONCE_WITHIN: Duration = Duration::from_secs(1);

/// How much trouble is taken over each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Tried once, for [`ONCE_WITHIN`] at most: somebody waits for the end.
    Once,
    /// Slow peers are tried [`SLOW_ATTEMPTS_MAX`] times, each time as long as the port has patience.
    Full,
}

/// Before the second attempt; doubled before each further one, and up to half as much more for each peer: were they all
/// slow because the account sends too much, they must not come back all at once.
const SLOW_PAUSE: Duration = Duration::from_millis(200);

/// A row this young may belong to a client whose handshake is under way: it is remembered before it is open, and until
/// then API Gateway answers "gone" for it. Removing its row would make it deaf for good.
pub const GONE_GRACE_SECONDS: u64 = 10;

/// Brings frames to connections. One peer's trouble never keeps a frame from another.
///
/// | the gateway says | then |
/// |---|---|
/// | gone (410) | the row is removed, unless it is too young; never tried again |
/// | slow (429) | tried a few times with growing pauses, unless somebody waits; then unreached |
/// | forbidden (403) | not tried again and the row kept: the fault is in our configuration |
/// | an error, or nothing in time | unreached; the port has repeated what may be repeated, and ids tell copies |
///
/// Who is unreached may be reached by a later attempt, see [`crate::RunLeg`]; without one there is the history.
#[derive(Clone, Debug)]
pub struct Broadcast<R, G, C> {
    /// Who is in which room.
    pub connections: R,
    /// The way to them.
    pub gateway: G,
    /// Tells which rows have expired, and waits for slow peers.
    pub clock: C,
}

/// What became of one broadcast: numbers of connections.
#[derive(Debug, Default)]
pub struct BroadcastReport {
    /// The gateway took the frame.
    pub delivered: usize,
    /// The client had left; its row is removed.
    pub gone: usize,
    /// The gateway said "later" to the last attempt, too.
    pub slow: usize,
    /// We may not post there.
    pub forbidden: usize,
    /// Not reached for another reason.
    pub failed: usize,
    /// Left to another invocation, which tries again.
    pub left: usize,
    /// Those who are counted as slow or failed.
    pub unreached: Vec<Peer>,
    /// The first of the other reasons, for the log; also that of a row that could not be removed.
    pub first_failure: Option<PortError>,
}

/// What became of one frame.
pub(crate) enum Outcome {
    Delivered,
    Gone { removal: Result<(), PortError> },
    Slow,
    Forbidden,
    Failed(PortError),
}

impl<R: ForgetConnection, G: SendFrame, C: Clock> Broadcast<R, G, C> {
    /// Brings `frame` to all of `peers`, many at once.
    pub(crate) async fn to(
        &self,
        peers: impl IntoIterator<Item = impl Into<Peer>>,
        frame: &str,
        effort: Effort,
    ) -> BroadcastReport {
        stream::iter(peers.into_iter().map(Into::into))
            .map(|peer| async move {
                let outcome = self.deliver(&peer, frame, effort).await;
                (peer, outcome)
            })
            .buffer_unordered(IN_FLIGHT_MAX)
            .fold(BroadcastReport::default(), |mut report, (peer, outcome)| async move {
                report.count(peer, outcome);
                report
            })
            .await
    }

    /// Brings `frame` to one connection.
    pub(crate) async fn deliver(&self, to: &Peer, frame: &str, effort: Effort) -> Outcome {
        let attempts = match effort {
            Effort::Once => 1,
            Effort::Full => SLOW_ATTEMPTS_MAX,
        };
        for attempt in 1..=attempts {
            let sent = match effort {
                Effort::Once => self.send_soon(to, frame).await,
                Effort::Full => self.gateway.send(&to.id, frame).await,
            };
            match sent {
                Ok(Delivery::Delivered) => return Outcome::Delivered,
                Ok(Delivery::Gone) => {
                    // In a box: its future is large, and each frame on its way would have room for it.
                    return Outcome::Gone {
                        removal: Box::pin(self.forget(to)).await,
                    };
                }
                Ok(Delivery::Slow) if attempt < attempts => self.clock.sleep(pause(&to.id, attempt)).await,
                Ok(Delivery::Slow) => break,
                Ok(Delivery::Forbidden) => return Outcome::Forbidden,
                Err(error) => return Outcome::Failed(error),
            }
        }
        Outcome::Slow
    }

    async fn send_soon(&self, to: &Peer, frame: &str) -> Result<Delivery, PortError> {
        let sending = pin!(self.gateway.send(&to.id, frame));
        match select(sending, pin!(self.clock.sleep(ONCE_WITHIN))).await {
            Either::Left((sent, _)) => sent,
            Either::Right(_) => Err(PortError::new("post to the connection", "no answer yet")),
        }
    }

    async fn forget(&self, gone: &Peer) -> Result<(), PortError> {
        if self.clock.now_seconds() < gone.connected_at + GONE_GRACE_SECONDS {
            return Ok(());
        }
        self.connections.remove(&gone.id).await.map(drop)
    }
}

/// The id is random enough to spread the peers.
fn pause(id: &ConnectionId, attempt: u32) -> Duration {
    let pause = SLOW_PAUSE * 2_u32.pow(attempt - 1);
    pause + pause.mul_f64((id.digest() % 1_000) as f64 / 2_000.0)
}

impl BroadcastReport {
    pub(crate) fn count(&mut self, peer: Peer, outcome: Outcome) {
        let failure = match outcome {
            Outcome::Delivered => {
                self.delivered += 1;
                None
            }
            Outcome::Gone { removal } => {
                self.gone += 1;
                removal.err()
            }
            Outcome::Slow => {
                self.slow += 1;
                self.unreached.push(peer);
                None
            }
            Outcome::Forbidden => {
                self.forbidden += 1;
                None
            }
            Outcome::Failed(error) => {
                self.failed += 1;
                self.unreached.push(peer);
                Some(error)
            }
        };
        self.note(failure);
    }

    pub(crate) fn note(&mut self, failure: Option<PortError>) {
        if self.first_failure.is_none() {
            self.first_failure = failure;
        }
    }

    /// Returns who is unreached, for another attempt: they count as nothing until then.
    pub(crate) fn take_unreached(&mut self) -> Vec<Peer> {
        (self.slow, self.failed) = (0, 0);
        std::mem::take(&mut self.unreached)
    }

    /// Adds what became of another attempt.
    pub(crate) fn add(&mut self, more: Self) {
        self.delivered += more.delivered;
        self.gone += more.gone;
        self.slow += more.slow;
        self.forbidden += more.forbidden;
        self.failed += more.failed;
        self.left += more.left;
        self.unreached.extend(more.unreached);
        self.note(more.first_failure);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::model::Connection;
    use crate::testing::{Answer, FakeClock, FakeConnections, FakeGateway, connection};

    const NOW: u64 = 100_000;

    struct Scene {
        rows: Vec<Connection>,
        connections: FakeConnections,
        gateway: FakeGateway,
        clock: FakeClock,
    }

    impl Scene {
        fn of(rows: Vec<Connection>) -> Self {
            Self {
                connections: FakeConnections::of(rows.clone()),
                rows,
                gateway: FakeGateway::default(),
                clock: FakeClock::at_seconds(NOW),
            }
        }

        fn in_lobby(ids: impl IntoIterator<Item = &'static str>) -> Self {
            Self::of(ids.into_iter().map(|id| connection(id, "lobby")).collect())
        }

        async fn run(&self) -> BroadcastReport {
            let broadcast = Broadcast {
                connections: self.connections.clone(),
                gateway: self.gateway.clone(),
                clock: self.clock.clone(),
            };
            broadcast.to(&self.rows, "frame", Effort::Full).await
        }
    }

    #[tokio::test]
    async fn everybody_receives_and_many_at_once() {
        let rows = (0..1_000).map(|number| connection(&format!("c{number:04}"), "lobby"));
        let scene = Scene::of(rows.collect());
        assert_eq!(scene.run().await.delivered, 1_000);
        assert_eq!(scene.gateway.receivers().len(), 1_000);
        assert!(scene.gateway.in_flight_max() > 1);
        assert!(scene.gateway.in_flight_max() <= IN_FLIGHT_MAX);
    }

    #[tokio::test]
    async fn a_gone_peer_is_removed_not_failed() {
        let scene = Scene::in_lobby(["a", "b", "c"]);
        scene.gateway.answer("b", [Answer::Gone]);
        let report = scene.run().await;
        assert_eq!((report.delivered, report.gone, report.failed), (2, 1, 0));
        assert_eq!(scene.connections.ids(), ["a", "c"]);
        assert_eq!(scene.gateway.attempts("b"), 1);
    }

    #[tokio::test]
    async fn a_peer_that_is_still_connecting_keeps_its_row() {
        let row = |id, age| Connection {
            connected_at: NOW - age,
            ..connection(id, "lobby")
        };
        let scene = Scene::of(vec![
            row("old", GONE_GRACE_SECONDS),
            row("young", GONE_GRACE_SECONDS - 1),
        ]);
        for id in ["old", "young"] {
            scene.gateway.answer(id, [Answer::Gone]);
        }
        assert_eq!(scene.run().await.gone, 2);
        assert_eq!(scene.connections.ids(), ["young"]);
    }

    #[tokio::test]
    async fn a_slow_peer_gets_another_chance() {
        let scene = Scene::in_lobby(["a"]);
        scene.gateway.answer("a", [Answer::Slow, Answer::Slow]);
        assert_eq!(scene.run().await.delivered, 1);
        let slept = scene.clock.slept().as_millis();
        assert!((600..=900).contains(&slept), "{slept}");
    }

    #[tokio::test]
    async fn slow_peers_do_not_come_back_all_at_once() {
        let pauses: Vec<_> = (0..100)
            .map(|number| pause(&ConnectionId::new(format!("c{number}")), 1))
            .collect();
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(*least >= SLOW_PAUSE && *most <= SLOW_PAUSE.mul_f64(1.5));
        assert!(*most - *least > SLOW_PAUSE / 4, "{least:?} {most:?}");
    }

    #[tokio::test]
    async fn a_peer_that_stays_slow_is_dropped_and_counted() {
        let scene = Scene::in_lobby(["a", "b"]);
        scene.gateway.answer("a", [Answer::Slow; 3]);
        let report = scene.run().await;
        assert_eq!((report.delivered, report.slow), (1, 1));
        assert_eq!(scene.gateway.attempts("a"), 3);
        assert_eq!(scene.connections.ids(), ["a", "b"]);
    }

    #[tokio::test]
    async fn what_is_forbidden_is_not_tried_again_and_costs_nobody_the_row() {
        let scene = Scene::in_lobby(["a", "b"]);
        scene.gateway.answer("a", [Answer::Forbidden]);
        let report = scene.run().await;
        assert_eq!((report.delivered, report.forbidden, report.failed), (1, 1, 0));
        assert_eq!(scene.gateway.attempts("a"), 1);
        assert_eq!(scene.connections.ids(), ["a", "b"]);
    }

    #[tokio::test]
    async fn one_bad_peer_never_fails_the_others() {
        let scene = Scene::in_lobby(["a", "b", "c"]);
        scene.gateway.answer("a", [Answer::Fail]);
        let report = scene.run().await;
        assert_eq!((report.delivered, report.failed), (2, 1));
        assert!(report.first_failure.is_some());
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_removed_is_only_reported() {
        let scene = Scene::in_lobby(["a", "b"]);
        scene.gateway.answer("a", [Answer::Gone]);
        scene.connections.fail_removals();
        let report = scene.run().await;
        assert_eq!((report.delivered, report.gone), (1, 1));
        assert!(report.first_failure.is_some());
    }
}
