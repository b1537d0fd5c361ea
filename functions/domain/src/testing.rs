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

use crate::model::{Connection, ConnectionId, Identity, MessageId, Room, Session};
use crate::ports::{
    Clock, ConnectionRepository, Delivery, MessageGateway, MessageIds, Page, PortError, TokenError, TokenVerifier,
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

/// Connections in a map.
#[derive(Clone, Debug, Default)]
pub struct FakeConnections(Arc<Mutex<Rows>>);

#[derive(Debug, Default)]
struct Rows {
    by_id: BTreeMap<ConnectionId, Connection>,
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

impl ConnectionRepository for FakeConnections {
    async fn put(&self, connection: &Connection) -> Result<(), PortError> {
        self.rows("put")?
            .by_id
            .insert(connection.id.clone(), connection.clone());
        Ok(())
    }

    async fn remove(&self, id: &ConnectionId) -> Result<(), PortError> {
        let mut rows = self.rows("remove")?;
        if rows.removals_fail {
            return Err(failure("remove"));
        }
        rows.by_id.remove(id);
        Ok(())
    }

    async fn find(&self, id: &ConnectionId) -> Result<Option<Connection>, PortError> {
        Ok(self.rows("find")?.by_id.get(id).cloned())
    }

    async fn in_room(&self, room: &Room, after: Option<&ConnectionId>) -> Result<Page, PortError> {
        let rows = self.rows("query")?;
        let mut rest = rows
            .by_id
            .values()
            .filter(|row| row.room == *room && after.is_none_or(|after| row.id > *after));
        let connections: Vec<_> = rest.by_ref().take(PAGE_ITEMS_MAX).cloned().collect();
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

    /// Returns how often `to` was tried.
    pub fn attempts(&self, to: &str) -> usize {
        lock(&self.0).attempts.get(to).copied().unwrap_or_default()
    }

    /// Returns how many frames were on their way at once, at most.
    pub fn in_flight_max(&self) -> usize {
        lock(&self.0).in_flight_max
    }
}

impl MessageGateway for FakeGateway {
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
        connections.find(&first).await?,
        None,
        "nothing is found in an empty repository"
    );
    assert_eq!(
        connections.in_room(&room, None).await?,
        Page::default(),
        "an empty room has one empty page"
    );
    connections.remove(&first).await?;

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
        connections.find(&first).await?.as_ref(),
        expected.first(),
        "what was put is found"
    );
    assert_eq!(
        all_in(connections, &room).await?,
        expected,
        "a room holds its connections, each once, in order"
    );

    let moved = Connection {
        room: Room::parse("other").unwrap_or_else(|_| Room::lobby()),
        ..expected.remove(0)
    };
    connections.put(&moved).await?;
    assert_eq!(
        connections.find(&first).await?,
        Some(moved),
        "a second put replaces the first"
    );
    for _ in 0..2 {
        connections.remove(&expected.remove(0).id).await?;
    }
    assert_eq!(
        all_in(connections, &room).await?,
        expected,
        "what moved or was removed has left the room"
    );
    Ok(())
}

async fn all_in(connections: &impl ConnectionRepository, room: &Room) -> Result<Vec<Connection>, PortError> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = connections.in_room(room, after.as_ref()).await?;
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
