//! When to try a failed call again.

use std::time::Duration;

use crate::provider::{Class, CloudError};
use crate::time::Time;

/// Shortest and longest pause between two attempts.
const PAUSE_MS: (u64, u64) = (200, 5_000);

/// Counts the attempts of one step and says when to give up.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    failed: u32,
    waited_ms: u64,
}

impl Attempts {
    /// Returns the pause before the next attempt, or `None` to give up.
    ///
    /// Throttled and transient calls wait exponentially longer with full jitter (AWS Builders' Library, "Timeouts, retries,
    /// and backoff with jitter"); waiting for another change or for propagation asks at a steady pace, since the end is
    /// near and independent of how often one asks.
    pub(crate) fn next_pause(&mut self, class: Class, time: &impl Time) -> Option<Duration> {
        let (shortest, longest) = PAUSE_MS;
        let exponential = shortest.saturating_mul(1 << self.failed.min(10)).min(longest);
        let (budget_ms, pause_ms) = match class {
            Class::Throttled => (300_000, shortest + time.random(exponential)),
            Class::Transient => (60_000, shortest / 2 + time.random(exponential)),
            Class::Busy => (180_000, 300 + time.random(400)),
            Class::Propagating => (120_000, 300 + time.random(200)),
            Class::Unreachable | Class::Unauthenticated | Class::Denied | Class::Quota | Class::Permanent => {
                return None;
            }
        };
        self.failed += 1;
        self.waited_ms += pause_ms;
        (self.waited_ms <= budget_ms).then(|| Duration::from_millis(pause_ms))
    }
}

/// Repeats a call as long as its errors say that it may help; `retrying` hears of each pause and may forbid it.
pub(crate) async fn persist<R, F: Future<Output = Result<R, CloudError>>>(
    time: &impl Time,
    call: impl Fn() -> F,
    retrying: impl Fn(&CloudError, Duration) -> bool,
) -> Result<R, CloudError> {
    let mut attempts = Attempts::default();
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let pause = attempts
            .next_pause(error.class, time)
            .filter(|pause| retrying(&error, *pause));
        let Some(pause) = pause else { return Err(error) };
        time.sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SystemClock;

    #[test]
    fn every_retryable_class_gives_up_in_the_end() {
        for class in [Class::Throttled, Class::Transient, Class::Busy, Class::Propagating] {
            assert!(class.is_retryable());
            let mut attempts = Attempts::default();
            let tries = std::iter::from_fn(|| attempts.next_pause(class, &SystemClock))
                .take(10_000)
                .count();
            assert!((10..10_000).contains(&tries), "{class:?}: {tries}");
        }
    }

    #[test]
    fn what_cannot_succeed_is_not_repeated() {
        for class in [
            Class::Permanent,
            Class::Denied,
            Class::Quota,
            Class::Unauthenticated,
            Class::Unreachable,
        ] {
            assert!(!class.is_retryable());
            assert_eq!(Attempts::default().next_pause(class, &SystemClock), None);
        }
    }
}
