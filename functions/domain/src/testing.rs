//! Ports in memory, for tests of the use cases and of the handlers above them. Clones share their state.
//!
//! [`connection_repository_contract`] holds what every [`ConnectionRepository`] promises; the fake keeps it too.

#![allow(
    clippy::missing_panics_doc,
    reason = "a poisoned lock means that a test has failed already"
)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::access::Caller;
use crate::model::{Connection, ConnectionId, Identity, MessageId, Room, Session};
use crate::ports::{
    Clock, CloseConnection, Closing, ConnectionRepository, CountAction, Counted, Delivery, ForgetConnection, ListRoom,
    MessageIds, MoveConnection, Page, PortError, RememberConnection, SendFrame, TokenError, TokenVerifier,
};

/// Small, so that tests read several pages.
const PAGE_ITEMS_MAX: usize = 7;

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

/// Connections in a map.
#[derive(Clone, Debug, Default)]
pub struct FakeConnections(Arc<Mutex<Rows>>);

#[derive(Debug, Default)]
struct Rows {
    by_id: BTreeMap<ConnectionId, Connection>,
    /// Window and number of actions.
    counts: BTreeMap<ConnectionId, (u64, u64)>,
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
    async fn in_room(&self, room: &Room, after: Option<&ConnectionId>, most: Option<usize>) -> Result<Page, PortError> {
        let rows = self.rows("query")?;
        let mut rest = rows
            .by_id
            .values()
            .filter(|row| row.room == *room && after.is_none_or(|after| row.id > *after));
        let connections: Vec<_> = rest.by_ref().take(most.unwrap_or(PAGE_ITEMS_MAX)).cloned().collect();
        let next = rest.next().and_then(|_| connections.last()).map(|last| last.id.clone());
        Ok(Page { connections, next })
    }
}

/// What [`FakeGateway`] answers to one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// [`Delivery::Gone`].
    Gone,
    /// [`Delivery::Slow`].
    Slow,
    /// An error.
    Fail,
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

    /// Returns which connections were ended, in order.
    pub fn closed(&self) -> Vec<String> {
        lock(&self.0).closed.clone()
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
        let mut sent = lock(&self.0);
        sent.in_flight -= 1;
        *sent.attempts.entry(to.to_string()).or_default() += 1;
        match sent.answers.get_mut(to.as_str()).and_then(VecDeque::pop_front) {
            Some(Answer::Gone) => Ok(Delivery::Gone),
            Some(Answer::Slow) => Ok(Delivery::Slow),
            Some(Answer::Fail) => Err(failure("send")),
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
            Some(Answer::Slow | Answer::Fail) => Err(failure("close")),
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

/// A clock that stands still; sleeping is free and counted.
#[derive(Clone, Debug)]
pub struct FakeClock {
    now_ms: u64,
    slept: Arc<Mutex<Duration>>,
}

impl FakeClock {
    /// Returns a clock that shows `seconds` since 1970.
    pub fn at_seconds(seconds: u64) -> Self {
        Self {
            now_ms: seconds * 1000,
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
        self.now_ms
    }

    async fn sleep(&self, duration: Duration) {
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

/// Checks what every repository promises. `connections` must be empty.
///
/// # Errors
///
/// When a call fails.
///
/// # Panics
///
/// When a promise is broken.
pub async fn connection_repository_contract(connections: &impl ConnectionRepository) -> Result<(), PortError> {
    let room = Room::lobby();
    let first = ConnectionId::new("c00=");
    assert_eq!(
        connections.in_room(&room, None, None).await?,
        Page::default(),
        "an empty room has one empty page"
    );
    assert_eq!(connections.remove(&first).await?, None, "an unknown row can be removed");
    assert_eq!(connections.count(&first, 10, 1).await?, Counted::Unknown);
    assert_eq!(connections.move_to(&first, &room).await?, None);
    assert_eq!(
        connections.in_room(&room, None, None).await?,
        Page::default(),
        "counting and moving make no rows"
    );

    let mut expected = Vec::new();
    for number in 0..20 {
        let mut row = connection(&format!("c{number:02}="), "lobby");
        row.session = Session {
            user: Identity {
                sub: format!("user {number}"),
                name: (number % 2 == 0).then(|| "Zoë".to_owned()),
                roles: (0..number % 3).map(|role| format!("role-{role}")).collect(),
            },
            token_expires_at: 4_000_000_000,
        };
        row.connected_at = 2_000_000_000 + number;
        row.expires_at = 3_000_000_000 + number;
        connections.put(&row).await?;
        expected.push(row);
    }
    connections.put(&connection("x", "elsewhere")).await?;

    assert_eq!(
        all_in(connections, &room).await?,
        expected,
        "a room holds its connections, each once, in order"
    );

    let some = connections.in_room(&room, None, Some(3)).await?;
    assert_eq!(some.connections, expected[..3], "no more than asked for");
    assert_eq!(some.next.as_ref(), Some(&expected[2].id));

    rates_contract(connections, &expected[0]).await?;
    let other = Room::parse("other").unwrap_or_else(|_| Room::lobby());
    let before = expected.remove(0);
    let after = Connection {
        room: other.clone(),
        ..before.clone()
    };
    assert_eq!(
        connections.move_to(&first, &other).await?,
        Some(before),
        "moving tells where it was"
    );
    assert_eq!(all_in(connections, &other).await?, vec![after.clone()]);
    let renamed = Connection {
        connected_at: 1,
        ..after
    };
    connections.put(&renamed).await?;
    assert_eq!(
        all_in(connections, &other).await?,
        [renamed],
        "a second put replaces the first"
    );
    let removed = expected.remove(0);
    assert_eq!(connections.remove(&removed.id).await?, Some(removed.clone()));
    assert_eq!(connections.remove(&removed.id).await?, None);
    assert_eq!(
        all_in(connections, &room).await?,
        expected,
        "what moved or was removed has left the room"
    );
    Ok(())
}

/// Counting is exact within a window, and begins anew in the next one.
async fn rates_contract(connections: &impl ConnectionRepository, row: &Connection) -> Result<(), PortError> {
    let within = Counted::Within(row.clone());
    for (window, counted) in [
        (10, &within),
        (10, &within),
        (10, &Counted::Exceeded),
        (20, &within),
        // An instance whose clock is behind counts in the later window.
        (10, &within),
        (20, &Counted::Exceeded),
    ] {
        assert_eq!(
            &connections.count(&row.id, window, 2).await?,
            counted,
            "window {window}"
        );
    }
    Ok(())
}

async fn all_in(connections: &impl ConnectionRepository, room: &Room) -> Result<Vec<Connection>, PortError> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = connections.in_room(room, after.as_ref(), None).await?;
        all.extend(page.connections);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn the_fake_repository_keeps_the_contract() {
        connection_repository_contract(&FakeConnections::default())
            .await
            .unwrap();
    }
}
