//! Keeps calls below the control planes' published rates, one token bucket per quota.
//!
//! Being throttled costs more than waiting: an answer "too many requests" is followed by a back-off of seconds. Knows
//! neither calls nor errors; see [`crate::Session`] for who uses it. Behind an endpoint override nothing is held back:
//! the quotas are AWS's, and an emulator that throttles is answered by the engine's retries.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

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
    buckets: Option<[Bucket; 8]>,
}

impl Throttle {
    /// Holds calls to AWS's rates.
    pub(crate) fn at_quotas() -> Self {
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
            buckets: Some(services.map(|service| {
                let (rate, burst) = service.quota();
                Bucket::new(rate, burst)
            })),
        }
    }

    /// Holds nothing back.
    pub(crate) const fn unlimited() -> Self {
        Self { buckets: None }
    }

    /// Waits until a call may be made. Callers are served in the order in which they come.
    pub(crate) async fn acquire(&self, service: Service) {
        if let Some(bucket) = self.bucket(service) {
            let wait = bucket.reserve(Instant::now());
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// Slows down after an answer "too many requests": others use the same account.
    pub(crate) fn throttled(&self, service: Service) {
        if let Some(bucket) = self.bucket(service) {
            bucket.slow_down(Instant::now());
        }
    }

    fn bucket(&self, service: Service) -> Option<&Bucket> {
        self.buckets.as_ref()?.get(service as usize)
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
    /// Below zero: calls that wait already.
    tokens: f64,
    rate: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate_max: f64, burst: f64) -> Self {
        Self {
            rate_max,
            burst,
            state: Mutex::new(State {
                tokens: burst,
                rate: rate_max,
                at: Instant::now(),
            }),
        }
    }

    /// Takes a token and returns how long to wait for it.
    fn reserve(&self, now: Instant) -> Duration {
        let mut state = self.refilled(now);
        state.tokens -= 1.0;
        if state.tokens >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-state.tokens / state.rate)
        }
    }

    /// Halves the rate, down to an eighth, and takes the burst away.
    fn slow_down(&self, now: Instant) {
        let mut state = self.refilled(now);
        state.rate = (state.rate / 2.0).max(self.rate_max / 8.0);
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
        let bucket = Bucket::new(10.0, 3.0);
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
        let bucket = Bucket::new(8.0, 8.0);
        let start = Instant::now();
        bucket.slow_down(start);
        assert_eq!(bucket.reserve(start), Duration::from_millis(250));
        for _ in 0..10 {
            bucket.slow_down(start);
        }
        assert_eq!(bucket.reserve(start), Duration::from_secs(2));
        let later = start + Duration::from_secs(120);
        for _ in 0..8 {
            assert_eq!(bucket.reserve(later), Duration::ZERO);
        }
        assert_eq!(bucket.reserve(later), Duration::from_millis(125));
    }

    #[test]
    fn every_service_has_its_bucket() {
        let throttle = Throttle::at_quotas();
        for service in [Service::ApiGateway, Service::LambdaGetFunction, Service::Ssm] {
            assert_eq!(
                throttle.bucket(service).map(|bucket| (bucket.rate_max, bucket.burst)),
                Some(service.quota())
            );
        }
        assert!(Throttle::unlimited().bucket(Service::Iam).is_none());
    }
}
