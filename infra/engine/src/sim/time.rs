//! Time that moves on when nobody has anything to do.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::{Shared, lock};
use crate::time::Time;

/// A clock in milliseconds, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Clock {
    now_ms: AtomicU64,
    sleepers: Mutex<BTreeMap<(u64, u64), Waker>>,
    next_sleeper: AtomicU64,
}

impl Clock {
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// Moves on to the next moment that somebody waits for.
    pub(super) fn advance(&self) {
        let first = lock(&self.sleepers).pop_first();
        if let Some(((deadline, _), waker)) = first {
            self.now_ms.fetch_max(deadline, Ordering::Relaxed);
            waker.wake();
        }
    }
}

/// The simulated clock, as the engine sees it.
#[derive(Debug)]
pub(super) struct SimTime(pub(super) Arc<Shared>);

impl Time for SimTime {
    fn now(&self) -> u64 {
        self.0.clock.now_ms() / 1000
    }

    fn random(&self, bound: u64) -> u64 {
        self.0.state().random(bound)
    }

    async fn sleep(&self, duration: Duration) {
        let clock = &self.0.clock;
        let deadline = clock
            .now_ms()
            .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        let key = (deadline, clock.next_sleeper.fetch_add(1, Ordering::Relaxed));
        let _place = Place { clock, key };
        poll_fn(|context| {
            if clock.now_ms() >= deadline {
                return Poll::Ready(());
            }
            lock(&clock.sleepers).insert(key, context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Somebody's place among the sleepers; given up with the sleep, so that the clock does not stop for it.
struct Place<'a> {
    clock: &'a Clock,
    key: (u64, u64),
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(&self.clock.sleepers).remove(&self.key);
    }
}
