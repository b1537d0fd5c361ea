//! Ports in memory, for tests of the use cases and of the handlers above them. Clones share their state.
//!
//! [`contracts`] holds what every implementation of a port promises; the ones here keep it, too.

#![allow(
    clippy::missing_panics_doc,
    reason = "a poisoned lock means that a test has failed already"
)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::access::Caller;
use crate::model::{Connection, ConnectionId, Identity, Leg, Message, MessageId, MessageKind, Peer, Room, Session};
use crate::ports::{
    Clock, CloseConnection, Closing, CountAction, Counted, Delivery, Excerpt, ForgetConnection, HandOver, ListRoom,
    MessageIds, MoveConnection, Page, PortError, ReadHistory, RecordMessage, RememberConnection, SendFrame, TokenError,
    TokenVerifier,
};

pub mod contracts;

/// Small, so that tests read several pages.
const PAGE_ITEMS_MAX: usize = 7;

/// Shards of each room.
const SHARDS: u32 = 3;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failure(operation: &str) -> PortError {
    PortError::new(operation, "told to fail")
}

/// Returns the session of a user without name and roles.
pub fn session(sub: &str, token_expires_at: u64) -> Session {
    Session {
        user: Identity {
            sub: sub.to_owned(),
            name: None,
            roles: Vec::new(),
        },
        token_expires_at,
    }
}

/// Returns a connection that was made long ago and never expires.
pub fn connection(id: &str, room: &str) -> Connection {
    Connection {
        id: ConnectionId::new(id),
        room: Room::parse(room).unwrap_or_else(|_| Room::lobby()),
        session: session(id, u64::MAX),
        connected_at: 0,
        expires_at: u64::MAX,
    }
}

/// Returns the user `id` at the connection `id`, without roles.
pub fn caller(id: &str, token_expires_at: u64) -> Caller {
    Caller {
        connection: ConnectionId::new(id),
        session: session(id, token_expires_at),
    }
}

/// Returns a message of "alice" that was accepted at `at_ms`.
pub fn message(room: &str, at_ms: u64) -> Message {
    Message {
        id: MessageId::new(at_ms, 1),
        kind: MessageKind::Message,
        from: session("alice", 0).user,
        room: Room::parse(room).unwrap_or_else(|_| Room::lobby()),
        data: "hello".to_owned(),
        at_ms,
    }
}

/// Returns the first leg of a message of `sender` with the frame `frame`.
pub fn leg(room: &str, sender: &str) -> Leg {
    Leg {
        message: MessageId::new(0, 0),
        room: Room::parse(room).unwrap_or_else(|_| Room::lobby()),
        shard: 0,
        after: None,
        only: Vec::new(),
        except: ConnectionId::new(sender),
        hops: 0,
        frame: "frame".to_owned(),
    }
}

/// Connections in a map.
#[derive(Clone, Debug, Default)]
pub struct FakeConnections(Arc<Mutex<Rows>>);

#[derive(Debug, Default)]
struct Rows {
    by_id: BTreeMap<ConnectionId, Connection>,
    /// Window and number of actions.
    counts: BTreeMap<ConnectionId, (u64, u64)>,
    /// By user and window.
    user_counts: BTreeMap<(String, u64), u64>,
    /// So many looks for a connection are in vain.
    behind: u32,
    all_fail: bool,
    removals_fail: bool,
}

impl FakeConnections {
    /// Returns a repository that holds `connections`.
    pub fn of(connections: impl IntoIterator<Item = Connection>) -> Self {
        let fake = Self::default();
        lock(&fake.0).by_id.extend(
            connections
                .into_iter()
                .map(|connection| (connection.id.clone(), connection)),
        );
        fake
    }

    /// Returns the ids it holds, in order.
    pub fn ids(&self) -> Vec<String> {
        lock(&self.0).by_id.keys().map(ToString::to_string).collect()
    }

    /// Returns the row of a connection.
    pub fn row(&self, id: &str) -> Option<Connection> {
        lock(&self.0).by_id.get(&ConnectionId::new(id)).cloned()
    }

    /// Adds a row, or replaces one.
    pub fn insert(&self, connection: Connection) {
        lock(&self.0).by_id.insert(connection.id.clone(), connection);
    }

    /// From now on every call fails.
    pub fn fail(&self) {
        lock(&self.0).all_fail = true;
    }

    /// From now on removals fail.
    pub fn fail_removals(&self) {
        lock(&self.0).removals_fail = true;
    }

    /// The next `looks` for a connection among those of its room are in vain.
    pub fn be_behind(&self, looks: u32) {
        lock(&self.0).behind = looks;
    }

    fn rows(&self, operation: &str) -> Result<MutexGuard<'_, Rows>, PortError> {
        let rows = lock(&self.0);
        if rows.all_fail {
            Err(failure(operation))
        } else {
            Ok(rows)
        }
    }
}

impl RememberConnection for FakeConnections {
    async fn put(&self, connection: &Connection) -> Result<(), PortError> {
        let mut rows = self.rows("put")?;
        rows.counts.remove(&connection.id);
        rows.by_id.insert(connection.id.clone(), connection.clone());
        Ok(())
    }
}

impl ForgetConnection for FakeConnections {
    async fn remove(&self, id: &ConnectionId) -> Result<Option<Connection>, PortError> {
        let mut rows = self.rows("remove")?;
        if rows.removals_fail {
            return Err(failure("remove"));
        }
        rows.counts.remove(id);
        Ok(rows.by_id.remove(id))
    }
}

impl CountAction for FakeConnections {
    async fn count(&self, id: &ConnectionId, window: u64, most: u64) -> Result<Counted, PortError> {
        let mut rows = self.rows("count")?;
        let Some(row) = rows.by_id.get(id).cloned() else {
            return Ok(Counted::Unknown);
        };
        let (counted, number) = rows.counts.entry(id.clone()).or_insert((window, 0));
        if *counted < window {
            (*counted, *number) = (window, 0);
        }
        if *number >= most {
            return Ok(Counted::Exceeded);
        }
        *number += 1;
        Ok(Counted::Within(row))
    }

    async fn count_user(&self, sub: &str, window: u64, most: u64, _expires_at: u64) -> Result<bool, PortError> {
        let mut rows = self.rows("count")?;
        let number = rows.user_counts.entry((sub.to_owned(), window)).or_default();
        let within = *number < most;
        *number += u64::from(within);
        Ok(within)
    }
}

impl MoveConnection for FakeConnections {
    async fn move_to(&self, id: &ConnectionId, room: &Room) -> Result<Option<Connection>, PortError> {
        let mut rows = self.rows("move")?;
        let Some(row) = rows.by_id.get_mut(id) else {
            return Ok(None);
        };
        let before = row.clone();
        row.room = room.clone();
        Ok(Some(before))
    }
}

impl ListRoom for FakeConnections {
    fn shards(&self) -> u32 {
        SHARDS
    }

    async fn in_shard(
        &self,
        room: &Room,
        shard: u32,
        after: Option<&ConnectionId>,
        most: Option<usize>,
    ) -> Result<Page, PortError> {
        let rows = self.rows("query")?;
        let mut rest = rows.by_id.values().filter(|row| {
            row.room == *room && row.id.shard(SHARDS) == shard && after.is_none_or(|after| row.id > *after)
        });
        let connections: Vec<_> = rest.by_ref().take(most.unwrap_or(PAGE_ITEMS_MAX)).cloned().collect();
        let next = rest.next().and_then(|_| connections.last()).map(|last| last.id.clone());
        Ok(Page { connections, next })
    }

    async fn peers_in_shard(
        &self,
        room: &Room,
        shard: u32,
        after: Option<&ConnectionId>,
        most: Option<usize>,
        now: u64,
    ) -> Result<Page<Peer>, PortError> {
        let Page { connections, next } = self.in_shard(room, shard, after, most).await?;
        let alive = connections.iter().filter(|row| row.expires_at > now);
        let connections = alive.map(Peer::from).collect();
        Ok(Page { connections, next })
    }

    async fn shows(&self, connection: &Connection) -> Result<bool, PortError> {
        let mut rows = self.rows("query")?;
        if rows.behind > 0 {
            rows.behind -= 1;
            return Ok(false);
        }
        let row = rows.by_id.get(&connection.id);
        Ok(row.is_some_and(|row| row.room == connection.room))
    }
}

/// Messages in a map.
#[derive(Clone, Debug, Default)]
pub struct FakeMessages(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    /// With the end of its life.
    by_id: BTreeMap<(Room, MessageId), (u64, Message)>,
    all_fail: bool,
}

impl FakeMessages {
    /// From now on every call fails.
    pub fn fail(&self) {
        lock(&self.0).all_fail = true;
    }

    fn said(&self, operation: &str) -> Result<MutexGuard<'_, Said>, PortError> {
        let said = lock(&self.0);
        if said.all_fail {
            Err(failure(operation))
        } else {
            Ok(said)
        }
    }
}

impl RecordMessage for FakeMessages {
    async fn record(&self, message: &Message, expires_at: u64) -> Result<(), PortError> {
        let key = (message.room.clone(), message.id.clone());
        self.said("record")?.by_id.insert(key, (expires_at, message.clone()));
        Ok(())
    }
}

impl ReadHistory for FakeMessages {
    async fn read(&self, room: &Room, after: Option<&MessageId>, most: usize, now: u64) -> Result<Excerpt, PortError> {
        let said = self.said("read")?;
        let all: Vec<_> = said
            .by_id
            .iter()
            .filter(|((of, id), (expires_at, _))| {
                of == room && *expires_at > now && after.is_none_or(|after| id > after)
            })
            .map(|(_, (_, message))| message.clone())
            .collect();
        let more = all.len() > most;
        let skipped = if after.is_some() {
            0
        } else {
            all.len().saturating_sub(most)
        };
        let messages = all.into_iter().skip(skipped).take(most).collect();
        Ok(Excerpt { messages, more })
    }
}

/// Takes legs, and keeps them in order.
#[derive(Clone, Debug, Default)]
pub struct FakeLegs(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    legs: VecDeque<Leg>,
    all_fail: bool,
}

impl FakeLegs {
    /// From now on nobody takes a leg.
    pub fn fail(&self) {
        lock(&self.0).all_fail = true;
    }

    /// Returns what was handed over so far.
    pub fn taken(&self) -> Vec<Leg> {
        lock(&self.0).legs.iter().cloned().collect()
    }

    /// Adds a leg, as if it was handed over.
    pub fn give(&self, leg: Leg) {
        lock(&self.0).legs.push_back(leg);
    }

    /// Takes the first leg away.
    pub fn next(&self) -> Option<Leg> {
        lock(&self.0).legs.pop_front()
    }
}

impl HandOver for FakeLegs {
    async fn hand_over(&self, leg: &Leg) -> Result<(), PortError> {
        let mut taken = lock(&self.0);
        if taken.all_fail {
            return Err(failure("hand over"));
        }
        taken.legs.push_back(leg.clone());
        Ok(())
    }
}

/// What [`FakeGateway`] answers to one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// [`Delivery::Gone`].
    Gone,
    /// [`Delivery::Slow`].
    Slow,
    /// [`Delivery::Forbidden`].
    Forbidden,
    /// An error.
    Fail,
    /// Nothing, ever.
    Silence,
}

/// Keeps what was sent. Delivers, unless told otherwise.
#[derive(Clone, Debug, Default)]
pub struct FakeGateway(Arc<Mutex<Sent>>);

#[derive(Debug, Default)]
struct Sent {
    frames: BTreeMap<String, Vec<String>>,
    attempts: BTreeMap<String, usize>,
    answers: BTreeMap<String, VecDeque<Answer>>,
    closed: Vec<String>,
    in_flight: usize,
    in_flight_max: usize,
}

impl FakeGateway {
    /// The next attempts to reach `to` are answered so; those after them succeed.
    pub fn answer(&self, to: &str, answers: impl IntoIterator<Item = Answer>) {
        lock(&self.0).answers.entry(to.to_owned()).or_default().extend(answers);
    }

    /// Returns who received anything, in order of id.
    pub fn receivers(&self) -> Vec<String> {
        lock(&self.0).frames.keys().cloned().collect()
    }

    /// Returns what `to` received, in order.
    pub fn frames(&self, to: &str) -> Vec<String> {
        lock(&self.0).frames.get(to).cloned().unwrap_or_default()
    }

    /// Returns which connections were ended, in order of id.
    pub fn closed(&self) -> Vec<String> {
        let mut closed = lock(&self.0).closed.clone();
        closed.sort_unstable();
        closed
    }

    /// Returns how often `to` was tried.
    pub fn attempts(&self, to: &str) -> usize {
        lock(&self.0).attempts.get(to).copied().unwrap_or_default()
    }

    /// Returns how many frames were on their way at once, at most.
    pub fn in_flight_max(&self) -> usize {
        lock(&self.0).in_flight_max
    }
}

impl SendFrame for FakeGateway {
    async fn send(&self, to: &ConnectionId, frame: &str) -> Result<Delivery, PortError> {
        {
            let mut sent = lock(&self.0);
            sent.in_flight += 1;
            sent.in_flight_max = sent.in_flight_max.max(sent.in_flight);
        }
        // Lets the others begin, as a network would.
        yield_once().await;
        let is_silent = |answers: &VecDeque<Answer>| answers.front() == Some(&Answer::Silence);
        if lock(&self.0).answers.get(to.as_str()).is_some_and(is_silent) {
            std::future::pending::<()>().await;
        }
        let mut sent = lock(&self.0);
        sent.in_flight -= 1;
        *sent.attempts.entry(to.to_string()).or_default() += 1;
        match sent.answers.get_mut(to.as_str()).and_then(VecDeque::pop_front) {
            Some(Answer::Gone) => Ok(Delivery::Gone),
            Some(Answer::Slow) => Ok(Delivery::Slow),
            Some(Answer::Forbidden) => Ok(Delivery::Forbidden),
            Some(Answer::Fail | Answer::Silence) => Err(failure("send")),
            None => {
                sent.frames.entry(to.to_string()).or_default().push(frame.to_owned());
                Ok(Delivery::Delivered)
            }
        }
    }
}

impl CloseConnection for FakeGateway {
    async fn close(&self, id: &ConnectionId) -> Result<Closing, PortError> {
        let mut sent = lock(&self.0);
        match sent.answers.get_mut(id.as_str()).and_then(VecDeque::pop_front) {
            Some(Answer::Gone) => Ok(Closing::Gone),
            Some(Answer::Slow | Answer::Forbidden | Answer::Fail | Answer::Silence) => Err(failure("close")),
            None => {
                sent.closed.push(id.to_string());
                Ok(Closing::Closed)
            }
        }
    }
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// A clock that goes on only by sleeping, at once.
#[derive(Clone, Debug)]
pub struct FakeClock {
    begun_ms: u64,
    slept: Arc<Mutex<Duration>>,
}

impl FakeClock {
    /// Returns a clock that shows `seconds` since 1970.
    pub fn at_seconds(seconds: u64) -> Self {
        Self {
            begun_ms: seconds * 1000,
            slept: Arc::default(),
        }
    }

    /// Returns how long everybody has slept, in all.
    pub fn slept(&self) -> Duration {
        *lock(&self.slept)
    }
}

impl Clock for FakeClock {
    fn now_ms(&self) -> u64 {
        self.begun_ms + u64::try_from(self.slept().as_millis()).unwrap_or(u64::MAX)
    }

    async fn sleep(&self, duration: Duration) {
        // What takes no time comes first.
        yield_once().await;
        yield_once().await;
        *lock(&self.slept) += duration;
    }
}

/// Ids with 1, 2, 3, … where randomness would be.
#[derive(Clone, Debug, Default)]
pub struct FakeIds(Arc<Mutex<u128>>);

impl MessageIds for FakeIds {
    fn next(&self, at_ms: u64) -> MessageId {
        let mut last = lock(&self.0);
        *last += 1;
        MessageId::new(at_ms, *last)
    }
}

/// Knows some tokens by heart.
#[derive(Clone, Debug, Default)]
pub struct FakeTokens {
    known: BTreeMap<String, Session>,
    unavailable: bool,
}

impl FakeTokens {
    /// Adds a token.
    #[must_use]
    pub fn with(mut self, token: &str, session: Session) -> Self {
        self.known.insert(token.to_owned(), session);
        self
    }

    /// Returns a verifier whose key is out of reach.
    pub fn unavailable() -> Self {
        Self {
            unavailable: true,
            ..Self::default()
        }
    }
}

impl TokenVerifier for FakeTokens {
    async fn verify(&self, token: &str, _now_seconds: u64) -> Result<Session, TokenError> {
        if self.unavailable {
            return Err(TokenError::Unavailable(failure("read the key")));
        }
        self.known.get(token).cloned().ok_or_else(|| TokenError::Refused {
            reason: "unknown token".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn the_fakes_keep_the_contracts() {
        contracts::connections(&FakeConnections::default()).await.unwrap();
        contracts::messages(&FakeMessages::default()).await.unwrap();
        let gateway = FakeGateway::default();
        let (open, gone) = (ConnectionId::new("open="), ConnectionId::new("gone="));
        gateway.answer("gone=", [Answer::Gone, Answer::Gone]);
        contracts::gateway(&gateway, &open, &gone).await.unwrap();
        assert_eq!(gateway.frames("open="), contracts::GATEWAY_FRAMES);
        assert_eq!(gateway.closed(), ["open="]);
    }
}
