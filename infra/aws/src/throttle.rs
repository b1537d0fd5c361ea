//! Keeps calls below the control planes' published rates, one token bucket per quota.
//!
//! Being throttled costs more than waiting: an answer "too many requests" is followed by a back-off of seconds. Knows
//! neither calls nor errors; see [`crate::Session`] for who uses it. The quotas are AWS's: behind an endpoint override
//! nothing is held back, until it throttles as well.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// After the rate was lowered it is not lowered again for so long.
const SLOWED_FOR: Duration = Duration::from_secs(1);

/// What has a quota of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// API Gateway: 10 calls/s, burst 40, for all control calls of an account together ("API Gateway quotas for
    /// creating, deploying and managing an API").
    ApiGateway,
    /// DynamoDB's control plane has quotas per operation; these are cautious.
    DynamoDb,
    /// IAM publishes no rates.
    Iam,
    /// Lambda: 15 calls/s for all control calls but the two below ("Lambda quotas").
    Lambda,
    /// Lambda's `GetFunction`: 100 calls/s.
    LambdaGetFunction,
    /// Lambda's `GetPolicy`: 15 calls/s.
    LambdaGetPolicy,
    /// CloudWatch Logs has quotas per operation, from 5 calls/s.
    Logs,
    /// Systems Manager Parameter Store.
    Ssm,
}

impl Service {
    /// Returns calls per second and the burst above them.
    const fn quota(self) -> (f64, f64) {
        match self {
            Self::ApiGateway => (10.0, 40.0),
            Self::DynamoDb | Self::Iam => (10.0, 20.0),
            Self::Lambda | Self::LambdaGetPolicy => (15.0, 15.0),
            Self::LambdaGetFunction => (100.0, 100.0),
            Self::Logs | Self::Ssm => (5.0, 10.0),
        }
    }
}

/// Waits before calls.
#[derive(Debug)]
pub(crate) struct Throttle {
    buckets: [Bucket; 8],
}

impl Throttle {
    /// Holds calls to AWS's rates.
    pub(crate) fn at_quotas() -> Self {
        Self::new(true)
    }

    /// Holds the calls of a service to AWS's rates once it has refused one.
    pub(crate) fn when_refused() -> Self {
        Self::new(false)
    }

    fn new(holds: bool) -> Self {
        use Service::{ApiGateway, DynamoDb, Iam, Lambda, LambdaGetFunction, LambdaGetPolicy, Logs, Ssm};
        // In the order of the enumeration: `bucket` indexes by it.
        let services = [
            ApiGateway,
            DynamoDb,
            Iam,
            Lambda,
            LambdaGetFunction,
            LambdaGetPolicy,
            Logs,
            Ssm,
        ];
        Self {
            buckets: services.map(|service| {
                let (rate, burst) = service.quota();
                Bucket::new(rate, burst, holds)
            }),
        }
    }

    /// Waits until a call may be made. Callers are served in the order in which they come.
    pub(crate) async fn acquire(&self, service: Service) {
        let wait = self.bucket(service).reserve(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Slows down after an answer "too many requests": others use the same account.
    pub(crate) fn throttled(&self, service: Service) {
        self.bucket(service).slow_down(Instant::now());
    }

    fn bucket(&self, service: Service) -> &Bucket {
        &self.buckets[service as usize]
    }
}

#[derive(Debug)]
struct Bucket {
    rate_max: f64,
    burst: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Whether calls are held back at all.
    holds: bool,
    /// When the rate was last lowered.
    slowed_at: Option<Instant>,
    /// Below zero: calls that wait already.
    tokens: f64,
    rate: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate_max: f64, burst: f64, holds: bool) -> Self {
        Self {
            rate_max,
            burst,
            state: Mutex::new(State {
                holds,
                slowed_at: None,
                tokens: burst,
                rate: rate_max,
                at: Instant::now(),
            }),
        }
    }

    /// Takes a token and returns how long to wait for it.
    fn reserve(&self, now: Instant) -> Duration {
        let mut state = self.refilled(now);
        if !state.holds {
            return Duration::ZERO;
        }
        state.tokens -= 1.0;
        if state.tokens >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-state.tokens / state.rate)
        }
    }

    /// Takes the burst away, and halves the rate, down to an eighth, unless calls were not held back until now.
    ///
    /// Calls that were made side by side are refused together, and are one reason to slow down.
    fn slow_down(&self, now: Instant) {
        let mut state = self.refilled(now);
        let is_news = |at: Instant| now.saturating_duration_since(at) >= SLOWED_FOR;
        if state.slowed_at.is_none_or(is_news) {
            if state.holds {
                state.rate = (state.rate / 2.0).max(self.rate_max / 8.0);
            }
            state.slowed_at = Some(now);
        }
        state.holds = true;
        state.tokens = state.tokens.min(0.0);
    }

    /// Adds what has flowed in since the last look; a lowered rate recovers fully within a minute.
    fn refilled(&self, now: Instant) -> std::sync::MutexGuard<'_, State> {
        // A panic elsewhere leaves numbers, never a half-written state.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let elapsed = now.saturating_duration_since(state.at).as_secs_f64();
        state.tokens = (state.tokens + elapsed * state.rate).min(self.burst);
        state.rate = (state.rate + elapsed * self.rate_max / 60.0).min(self.rate_max);
        state.at = now;
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_the_rate_holds() {
        let bucket = Bucket::new(10.0, 3.0, true);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(bucket.reserve(start), Duration::ZERO);
        }
        assert_eq!(bucket.reserve(start), Duration::from_millis(100));
        assert_eq!(bucket.reserve(start), Duration::from_millis(200));
        assert_eq!(bucket.reserve(start + Duration::from_secs(1)), Duration::ZERO);
    }

    #[test]
    fn throttling_slows_down_for_a_while() {
        let bucket = Bucket::new(8.0, 8.0, true);
        let start = Instant::now();
        for _ in 0..3 {
            bucket.slow_down(start);
        }
        assert_eq!(bucket.reserve(start), Duration::from_millis(250));
        let mut now = start;
        for _ in 0..10 {
            now += SLOWED_FOR;
            bucket.slow_down(now);
        }
        assert!(bucket.reserve(now) > Duration::from_millis(800));
        let later = now + Duration::from_secs(120);
        for _ in 0..8 {
            assert_eq!(bucket.reserve(later), Duration::ZERO);
        }
        assert_eq!(bucket.reserve(later), Duration::from_millis(125));
    }

    #[test]
    fn every_service_has_its_bucket() {
        let throttle = Throttle::at_quotas();
        for service in [Service::ApiGateway, Service::LambdaGetFunction, Service::Ssm] {
            let bucket = throttle.bucket(service);
            assert_eq!((bucket.rate_max, bucket.burst), service.quota());
        }
    }

    #[test]
    fn an_emulator_is_held_to_the_rates_once_it_throttles() {
        let bucket = Bucket::new(10.0, 3.0, false);
        let start = Instant::now();
        assert!((0..100).all(|_| bucket.reserve(start).is_zero()));
        for _ in 0..3 {
            bucket.slow_down(start);
        }
        assert_eq!(bucket.reserve(start), Duration::from_millis(100));
        assert_eq!(bucket.reserve(start), Duration::from_millis(200));
    }
}
