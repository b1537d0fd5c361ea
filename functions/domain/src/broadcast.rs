//! Brings one frame to every other connection of a room.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::model::{Connection, ConnectionId, Room};
use crate::ports::{Clock, Delivery, ForgetConnection, ListRoom, PortError, SendFrame};

/// So many frames are on their way at once. More is slower: measured with HTTP/2, 512 lose to 128.
pub const IN_FLIGHT_MAX: usize = 128;

/// So often a slow peer is tried, the first time included.
pub const SLOW_ATTEMPTS_MAX: u32 = 3;

/// Before the second attempt; doubled before each further one.
const SLOW_PAUSE: Duration = Duration::from_millis(200);

/// A row this young may belong to a client whose handshake is under way: it is remembered before it is open, and until
/// then API Gateway answers "gone" for it. Removing its row would make it deaf for good.
pub const GONE_GRACE_SECONDS: u64 = 10;

/// Brings frames to rooms. One peer's trouble never keeps a frame from another.
#[derive(Clone, Debug)]
pub struct Broadcast<R, G, C> {
    /// Who is in the room.
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
    /// Dropped after [`SLOW_ATTEMPTS_MAX`] attempts.
    pub slow: usize,
    /// Not reached for another reason.
    pub failed: usize,
    /// The first of the other reasons, for the log; also that of a row that could not be removed.
    pub first_failure: Option<PortError>,
}

/// What became of one frame.
pub(crate) enum Outcome {
    Delivered,
    Gone { removal: Result<(), PortError> },
    Slow,
    Failed(PortError),
}

impl<R: ListRoom + ForgetConnection, G: SendFrame, C: Clock> Broadcast<R, G, C> {
    /// Sends `frame` to everybody in `room` except `sender`.
    ///
    /// # Errors
    ///
    /// Only when the room cannot be read. Some may have received the frame by then.
    pub async fn execute(&self, room: &Room, sender: &ConnectionId, frame: &str) -> Result<BroadcastReport, PortError> {
        let now = self.clock.now_seconds();
        // A state of `None` means that there is no further page.
        let pages = stream::try_unfold(Some(None), |after: Option<Option<ConnectionId>>| async move {
            let Some(after) = after else { return Ok(None) };
            let page = self.connections.in_room(room, after.as_ref(), None).await?;
            Ok::<_, PortError>(Some((stream::iter(page.connections).map(Ok), page.next.map(Some))))
        });
        pages
            .try_flatten()
            .try_filter(|connection| {
                let receives = connection.id != *sender && connection.expires_at > now;
                async move { receives }
            })
            // The next page is read while these are on their way.
            .map_ok(|connection| async move { Ok(self.deliver(&connection, frame).await) })
            .try_buffer_unordered(IN_FLIGHT_MAX)
            .try_fold(BroadcastReport::default(), |mut report, outcome| async move {
                report.count(outcome);
                Ok(report)
            })
            .await
    }

    /// Brings `frame` to one connection.
    pub(crate) async fn deliver(&self, to: &Connection, frame: &str) -> Outcome {
        let mut pause = SLOW_PAUSE;
        for attempt in 1..=SLOW_ATTEMPTS_MAX {
            match self.gateway.send(&to.id, frame).await {
                Ok(Delivery::Delivered) => return Outcome::Delivered,
                Ok(Delivery::Gone) => {
                    return Outcome::Gone {
                        removal: self.forget(to).await,
                    };
                }
                Ok(Delivery::Slow) if attempt < SLOW_ATTEMPTS_MAX => {
                    self.clock.sleep(pause).await;
                    pause *= 2;
                }
                Ok(Delivery::Slow) => break,
                Err(error) => return Outcome::Failed(error),
            }
        }
        Outcome::Slow
    }

    async fn forget(&self, gone: &Connection) -> Result<(), PortError> {
        if self.clock.now_seconds() < gone.connected_at + GONE_GRACE_SECONDS {
            return Ok(());
        }
        self.connections.remove(&gone.id).await.map(drop)
    }
}

impl BroadcastReport {
    pub(crate) fn count(&mut self, outcome: Outcome) {
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
                None
            }
            Outcome::Failed(error) => {
                self.failed += 1;
                Some(error)
            }
        };
        if self.first_failure.is_none() {
            self.first_failure = failure;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::testing::{Answer, FakeClock, FakeConnections, FakeGateway, connection};

    const NOW: u64 = 100_000;

    struct Scene {
        connections: FakeConnections,
        gateway: FakeGateway,
        clock: FakeClock,
    }

    impl Scene {
        fn of(ids: impl IntoIterator<Item = &'static str>) -> Self {
            let connections = FakeConnections::of(ids.into_iter().map(|id| connection(id, "lobby")));
            Self {
                connections,
                gateway: FakeGateway::default(),
                clock: FakeClock::at_seconds(NOW),
            }
        }

        async fn run(&self) -> Result<(usize, usize, usize, usize), PortError> {
            let broadcast = Broadcast {
                connections: self.connections.clone(),
                gateway: self.gateway.clone(),
                clock: self.clock.clone(),
            };
            let report = broadcast
                .execute(&Room::lobby(), &ConnectionId::new("sender"), "frame")
                .await?;
            Ok((report.delivered, report.gone, report.slow, report.failed))
        }
    }

    #[tokio::test]
    async fn everybody_else_in_the_room_receives() {
        let scene = Scene::of(["a", "b", "sender"]);
        scene.connections.insert(connection("x", "elsewhere"));
        assert_eq!(scene.run().await.unwrap(), (2, 0, 0, 0));
        assert_eq!(scene.gateway.receivers(), ["a", "b"]);
    }

    #[tokio::test]
    async fn an_empty_room_is_no_error() {
        assert_eq!(Scene::of([]).run().await.unwrap(), (0, 0, 0, 0));
    }

    #[tokio::test]
    async fn every_page_is_read() {
        let scene = Scene::of([]);
        for number in 0..1_000 {
            scene.connections.insert(connection(&format!("c{number:04}"), "lobby"));
        }
        assert_eq!(scene.run().await.unwrap(), (1_000, 0, 0, 0));
        assert_eq!(scene.gateway.receivers().len(), 1_000);
        assert!(scene.gateway.in_flight_max() > 1);
        assert!(scene.gateway.in_flight_max() <= IN_FLIGHT_MAX);
    }

    #[tokio::test]
    async fn a_gone_peer_is_removed_not_failed() {
        let scene = Scene::of(["a", "b", "c"]);
        scene.gateway.answer("b", [Answer::Gone]);
        assert_eq!(scene.run().await.unwrap(), (2, 1, 0, 0));
        assert_eq!(scene.connections.ids(), ["a", "c"]);
    }

    #[tokio::test]
    async fn a_peer_that_is_still_connecting_keeps_its_row() {
        let scene = Scene::of([]);
        for (id, age) in [("old", GONE_GRACE_SECONDS), ("young", GONE_GRACE_SECONDS - 1)] {
            scene.connections.insert(Connection {
                connected_at: NOW - age,
                ..connection(id, "lobby")
            });
            scene.gateway.answer(id, [Answer::Gone]);
        }
        assert_eq!(scene.run().await.unwrap(), (0, 2, 0, 0));
        assert_eq!(scene.connections.ids(), ["young"]);
    }

    #[tokio::test]
    async fn a_slow_peer_gets_another_chance() {
        let scene = Scene::of(["a"]);
        scene.gateway.answer("a", [Answer::Slow, Answer::Slow]);
        assert_eq!(scene.run().await.unwrap(), (1, 0, 0, 0));
        assert_eq!(scene.clock.slept(), Duration::from_millis(600));
    }

    #[tokio::test]
    async fn a_peer_that_stays_slow_is_dropped_and_counted() {
        let scene = Scene::of(["a", "b"]);
        scene.gateway.answer("a", [Answer::Slow; 3]);
        assert_eq!(scene.run().await.unwrap(), (1, 0, 1, 0));
        assert_eq!(scene.gateway.attempts("a"), 3);
        assert_eq!(scene.connections.ids(), ["a", "b"]);
    }

    #[tokio::test]
    async fn one_bad_peer_never_fails_the_others() {
        let scene = Scene::of(["a", "b", "c"]);
        scene.gateway.answer("a", [Answer::Fail]);
        assert_eq!(scene.run().await.unwrap(), (2, 0, 0, 1));
    }

    #[tokio::test]
    async fn expired_rows_are_as_good_as_removed() {
        let scene = Scene::of(["a"]);
        scene.connections.insert(Connection {
            expires_at: NOW,
            ..connection("b", "lobby")
        });
        assert_eq!(scene.run().await.unwrap(), (1, 0, 0, 0));
        assert_eq!(scene.gateway.receivers(), ["a"]);
    }

    #[tokio::test]
    async fn an_unreadable_room_is_an_error() {
        let scene = Scene::of(["a"]);
        scene.connections.fail();
        assert!(scene.run().await.is_err());
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_removed_is_only_reported() {
        let scene = Scene::of(["a", "b"]);
        scene.gateway.answer("a", [Answer::Gone]);
        scene.connections.fail_removals();
        assert_eq!(scene.run().await.unwrap(), (1, 1, 0, 0));
    }
}
