//! Clock and chance, passed in so that tests can replace them.

use std::future::Future;
use std::time::{Duration, SystemTime};

/// What the engine knows of time.
pub trait Time: Send + Sync + 'static {
    /// Returns seconds since 1970.
    fn now(&self) -> u64;

    /// Returns a random number below `bound`, at least 0; 0 when `bound` is 0.
    fn random(&self, bound: u64) -> u64;

    /// Waits.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Time for SystemClock {
    fn now(&self) -> u64 {
        SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs())
    }

    fn random(&self, bound: u64) -> u64 {
        // The random bits of a version 4 UUID come from the operating system.
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        (high ^ low).checked_rem(bound).unwrap_or(0)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
