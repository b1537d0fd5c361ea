//! A member reads what was said, most of all after a reconnect.
//!
//! Nothing is lost between history and live. A message is recorded before it is brought to anybody, so one that is not
//! in the answer is brought to the room after the answer was read; and the answer is read only once the index by which
//! rooms are served shows the caller. Clients drop what comes both ways by its id.

use std::time::Duration;

use crate::access::{Action, Caller, Refusal, admit};
use crate::model::{Connection, Message, MessageId, Room};
use crate::ports::{Clock, CountAction, Excerpt, ListRoom, PortError, ReadHistory};

/// How long a message is kept: a week.
pub const HISTORY_SECONDS: u64 = 7 * 24 * 60 * 60;

/// The largest page.
pub const HISTORY_MESSAGES_MAX: usize = 100;

/// The page of who asks for no size.
pub const HISTORY_MESSAGES: usize = 50;

/// So much before the message that a client names reading begins. An id is made a moment before its message is recorded,
/// by clocks that differ a little, so one with a smaller id may be recorded, and brought to the room, later. Recording
/// takes at most 8 seconds, or the message is not accepted.
pub const LOOK_BACK_MS: u64 = 10_000;

/// How often the index is asked for the caller; it is behind the table by milliseconds as a rule.
const LOOKS_MAX: u32 = 20;

/// Between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Reads history.
#[derive(Clone, Debug)]
pub struct History<R, M, C> {
    /// Who is in which room.
    pub connections: R,
    /// What was said.
    pub messages: M,
    /// Tells what has expired.
    pub clock: C,
}

/// What a member wants to read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Of which room; the one that the connection is in, if none is named.
    pub room: Option<Room>,
    /// From where on.
    pub from: Place,
    /// So many messages at most.
    pub most: usize,
}

/// From where on to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The last messages.
    Last,
    /// All that the bearer of this message may have missed, some that it has not missed included.
    Resume(MessageId),
    /// The messages after this one: the next page.
    Cursor(MessageId),
}

/// A page of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    /// Of which room.
    pub room: Room,
    /// In the order of their ids.
    pub messages: Vec<Message>,
    /// Whether the messages are the last ones. Otherwise they are the first ones after the asked place.
    pub last: bool,
    /// Whether there are more behind them; never for the last ones.
    pub more: bool,
}

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The caller may not.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The messages are out of reach; our fault.
    #[error("history is out of reach")]
    Unavailable(#[source] PortError),
}

impl<R: CountAction + ListRoom, M: ReadHistory, C: Clock> History<R, M, C> {
    /// Returns a page of what was said.
    ///
    /// # Errors
    ///
    /// The reason why not.
    pub async fn execute(&self, caller: &Caller, reading: Reading) -> Result<Pages, HistoryError> {
        let own = admit(&self.connections, &self.clock, caller, Action::History).await?;
        let Reading { room, from, most } = reading;
        let room = room.unwrap_or_else(|| own.room.clone());
        if room == own.room {
            self.wait_until_served(&own).await.map_err(HistoryError::Unavailable)?;
        }
        let now_ms = self.clock.now_ms();
        // What is older has expired, though it may still be there.
        let oldest = || MessageId::new(now_ms.saturating_sub(HISTORY_SECONDS * 1_000), 0);
        let after = match &from {
            Place::Last => None,
            Place::Resume(seen) => Some(MessageId::new(seen.at_ms().saturating_sub(LOOK_BACK_MS), 0).max(oldest())),
            Place::Cursor(last) => Some(last.clone().max(oldest())),
        };
        let most = most.clamp(1, HISTORY_MESSAGES_MAX);
        let excerpt = self.messages.read(&room, after.as_ref(), most, now_ms / 1_000).await;
        let Excerpt { messages, more } = excerpt.map_err(HistoryError::Unavailable)?;
        let last = from == Place::Last;
        Ok(Pages {
            room,
            messages,
            last,
            more: more && !last,
        })
    }

    async fn wait_until_served(&self, own: &Connection) -> Result<(), PortError> {
        for _ in 0..LOOKS_MAX {
            if self.connections.shows(own).await? {
                return Ok(());
            }
            self.clock.sleep(LOOK_PAUSE).await;
        }
        let operation = format!("find the caller among the connections of room {}", own.room);
        Err(PortError::new(operation, "the index is far behind the table"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::ports::RecordMessage;
    use crate::testing::{FakeClock, FakeConnections, FakeMessages, caller, connection, message};

    const NOW: u64 = 100_000;

    struct Scene {
        connections: FakeConnections,
        messages: FakeMessages,
        clock: FakeClock,
    }

    impl Scene {
        async fn of(times_ms: impl IntoIterator<Item = u64>) -> Self {
            let messages = FakeMessages::default();
            for at_ms in times_ms {
                messages.record(&message("red", at_ms), u64::MAX).await.unwrap();
            }
            Self {
                connections: FakeConnections::of([connection("me", "red")]),
                messages,
                clock: FakeClock::at_seconds(NOW),
            }
        }

        async fn read(&self, room: Option<&str>, from: Place, most: usize) -> Result<Pages, HistoryError> {
            let history = History {
                connections: self.connections.clone(),
                messages: self.messages.clone(),
                clock: self.clock.clone(),
            };
            let room = room.map(|room| Room::parse(room).unwrap());
            history
                .execute(&caller("me", u64::MAX), Reading { room, from, most })
                .await
        }
    }

    fn times(pages: &Pages) -> Vec<u64> {
        pages.messages.iter().map(|message| message.at_ms).collect()
    }

    #[tokio::test]
    async fn the_last_messages_of_the_own_room() {
        let scene = Scene::of([1_000, 2_000, 3_000]).await;
        scene.messages.record(&message("blue", 4_000), u64::MAX).await.unwrap();
        let pages = scene.read(None, Place::Last, 2).await.unwrap();
        assert_eq!(
            (pages.room.as_str(), times(&pages), pages.more),
            ("red", vec![2_000, 3_000], false)
        );
        let pages = scene.read(Some("blue"), Place::Last, 2).await.unwrap();
        assert_eq!((pages.room.as_str(), times(&pages)), ("blue", vec![4_000]));
    }

    #[tokio::test]
    async fn who_resumes_gets_what_may_have_been_recorded_late() {
        let scene = Scene::of([80_000, 95_000, 100_000, 110_000]).await;
        let seen = message("red", 100_000).id;
        let pages = scene.read(None, Place::Resume(seen.clone()), 9).await.unwrap();
        assert_eq!((times(&pages), pages.more), (vec![95_000, 100_000, 110_000], false));
        let pages = scene.read(None, Place::Cursor(seen), 9).await.unwrap();
        assert_eq!(times(&pages), [110_000]);
    }

    #[tokio::test]
    async fn pages_follow_one_another() {
        let scene = Scene::of((0..250).map(|number| 50_000 + number)).await;
        let mut from = Place::Resume(message("red", 50_000).id);
        let mut all = Vec::new();
        loop {
            let pages = scene.read(None, from, usize::MAX).await.unwrap();
            assert!(pages.messages.len() <= HISTORY_MESSAGES_MAX);
            all.extend(times(&pages));
            if !pages.more {
                break;
            }
            from = Place::Cursor(pages.messages.last().unwrap().id.clone());
        }
        assert_eq!(all, Vec::from_iter(50_000..50_250));
    }

    #[tokio::test]
    async fn nothing_is_read_before_live_messages_reach_the_caller() {
        let scene = Scene::of([1_000]).await;
        scene.connections.be_behind(3);
        assert_eq!(scene.read(None, Place::Last, 9).await.unwrap().messages.len(), 1);
        assert_eq!(scene.clock.slept(), LOOK_PAUSE * 3);
        scene.connections.be_behind(1_000);
        let error = scene.read(None, Place::Last, 9).await.unwrap_err();
        assert!(matches!(error, HistoryError::Unavailable(_)), "{error:?}");
        // Nothing comes live from another room.
        assert!(scene.read(Some("blue"), Place::Last, 9).await.is_ok());
    }

    #[tokio::test]
    async fn who_may_not_act_may_not_read() {
        let scene = Scene::of([1_000]).await;
        scene.connections.fail();
        let error = scene.read(None, Place::Last, 9).await.unwrap_err();
        assert!(matches!(error, HistoryError::Refused(_)), "{error:?}");
    }
}
