//! Keeps calls below the control planes' published rates, one token bucket per quota, and slows down when told to.
//!
//! Being throttled costs more than waiting: an answer "too many requests" is followed by a back-off of seconds. Rates
//! stay a little below the published ones, because others may use the same account; each answer "too many requests"
//! halves its service's rate, which then recovers within a minute. Behind an endpoint override nothing is held back until
//! the first such answer: the quotas are AWS's, and most emulators have none.
//!
//! Knows neither calls nor errors; see [`crate::Session`] for who uses it.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// What has a quota of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// API Gateway: 10 calls/s, burst 40, for all control calls of an account together ("API Gateway quotas for
    /// creating, deploying and managing an API").
    ApiGateway,
    /// API Gateway's `CreateDeployment`: one every 5 s (same page), counted among the calls above too.
    ApiGatewayDeployment,
    /// API Gateway's `UpdateAccount`: one every 20 s (same page), counted among the calls above too.
    ApiGatewayAccount,
    /// CloudFormation publishes no rates; polling stays far below what throttles it.
    CloudFormation,
    /// CloudWatch's alarms: `PutMetricAlarm` 3 calls/s; dashboards and reads have more ("CloudWatch service quotas").
    CloudWatch,
    /// DynamoDB's control plane: quotas are on simultaneous operations, rates are not published.
    DynamoDb,
    /// Reads and writes of the record: an on-demand table takes thousands per second.
    DynamoDbItems,
    /// IAM publishes no rates; one global endpoint serves all Regions.
    Iam,
    /// Lambda: 15 calls/s for all control calls but the two below ("Lambda quotas").
    Lambda,
    /// Lambda's `GetFunction`: 100 calls/s.
    LambdaGetFunction,
    /// Lambda's `GetPolicy`: 15 calls/s.
    LambdaGetPolicy,
    /// CloudWatch Logs has quotas per operation, from 5 calls/s.
    Logs,
    /// S3: thousands of calls per second and prefix.
    S3,
    /// Systems Manager Parameter Store.
    Ssm,
    /// STS publishes no rates.
    Sts,
}

impl Service {
    /// All of them, in the order of the enumeration: buckets are found by it.
    const ALL: [Self; 15] = [
        Self::ApiGateway,
        Self::ApiGatewayDeployment,
        Self::ApiGatewayAccount,
        Self::CloudFormation,
        Self::CloudWatch,
        Self::DynamoDb,
        Self::DynamoDbItems,
        Self::Iam,
        Self::Lambda,
        Self::LambdaGetFunction,
        Self::LambdaGetPolicy,
        Self::Logs,
        Self::S3,
        Self::Ssm,
        Self::Sts,
    ];

    /// Returns calls per second and the burst above them.
    const fn quota(self) -> (f64, f64) {
        match self {
            Self::ApiGateway => (8.0, 40.0),
            Self::ApiGatewayDeployment => (0.2, 1.0),
            Self::ApiGatewayAccount => (0.05, 1.0),
            Self::CloudWatch => (3.0, 20.0),
            Self::CloudFormation | Self::DynamoDb => (5.0, 20.0),
            Self::Iam => (5.0, 30.0),
            Self::Lambda | Self::LambdaGetPolicy => (10.0, 15.0),
            Self::DynamoDbItems | Self::LambdaGetFunction | Self::S3 => (80.0, 100.0),
            Self::Logs | Self::Ssm | Self::Sts => (5.0, 10.0),
        }
    }

    /// Returns the quota that a call counts towards beside its own.
    const fn within(self) -> Option<Self> {
        match self {
            Self::ApiGatewayDeployment | Self::ApiGatewayAccount => Some(Self::ApiGateway),
            Self::ApiGateway
            | Self::CloudFormation
            | Self::CloudWatch
            | Self::DynamoDb
            | Self::DynamoDbItems
            | Self::Iam
            | Self::Lambda
            | Self::LambdaGetFunction
            | Self::LambdaGetPolicy
            | Self::Logs
            | Self::S3
            | Self::Ssm
            | Self::Sts => None,
        }
    }
}

/// Answers this close together are one event: they were all sent at the rate that was too high.
const ONE_EVENT: Duration = Duration::from_secs(1);
/// A lowered rate is whole again after this time.
const RECOVERY_S: f64 = 60.0;
/// A rate is not lowered below this part of the quota.
const RATE_PART_MIN: f64 = 1.0 / 8.0;

/// Part of a token that counts as nothing: sums of fractions are a little off.
const ROUNDING: f64 = 1e-6;

/// Waits before calls.
#[derive(Debug)]
pub(crate) struct Throttle {
    buckets: [Bucket; Service::ALL.len()],
}

impl Throttle {
    /// Holds calls to AWS's rates.
    pub(crate) fn at_quotas() -> Self {
        Self::new(true)
    }

    /// Holds nothing back before the first answer "too many requests".
    pub(crate) fn when_told() -> Self {
        Self::new(false)
    }

    fn new(holds: bool) -> Self {
        Self {
            buckets: Service::ALL.map(|service| {
                let (rate, burst) = service.quota();
                Bucket::new(rate, burst, holds)
            }),
        }
    }

    /// Waits until a call may be made. Callers are served in the order in which they come, each at the rate of its turn.
    pub(crate) async fn acquire(&self, service: Service) {
        for counted in [Some(service), service.within()].into_iter().flatten() {
            self.bucket(counted).acquire().await;
        }
    }

    /// Slows down after an answer "too many requests": others use the same account, or the rate is not what it was.
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
    /// Held by the caller that is served next; the others stand in line.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Whether calls are held back at all.
    holds: bool,
    /// Calls that may be made at once.
    tokens: f64,
    rate: f64,
    at: Instant,
    slowed_at: Option<Instant>,
}

impl Bucket {
    fn new(rate_max: f64, burst: f64, holds: bool) -> Self {
        Self {
            rate_max,
            burst,
            turn: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                holds,
                tokens: burst,
                rate: rate_max,
                at: Instant::now(),
                slowed_at: None,
            }),
        }
    }

    /// Waits for a token and takes it.
    async fn acquire(&self) {
        let _turn = self.turn.lock().await;
        while let Err(wait) = self.take(Instant::now()) {
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes a token, or returns how long it will be until there is one, at the rate of now.
    fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.refilled(now);
        if state.holds {
            let missing = 1.0 - state.tokens;
            if missing > ROUNDING {
                return Err(Duration::from_secs_f64(missing / state.rate));
            }
            state.tokens -= 1.0;
        }
        Ok(())
    }

    /// Takes the burst away, and halves the rate, down to an eighth, unless calls were not held back until now.
    fn slow_down(&self, now: Instant) {
        let mut state = self.refilled(now);
        let held = std::mem::replace(&mut state.holds, true);
        state.tokens = state.tokens.min(0.0);
        let same_event = |at| now.saturating_duration_since(at) < ONE_EVENT;
        if !state.slowed_at.is_some_and(same_event) {
            state.slowed_at = Some(now);
            if held {
                state.rate = (state.rate / 2.0).max(self.rate_max * RATE_PART_MIN);
            }
        }
    }

    /// Adds what has flowed in since the last look; a lowered rate recovers steadily.
    fn refilled(&self, now: Instant) -> std::sync::MutexGuard<'_, State> {
        // A panic elsewhere leaves numbers, never a half-written state.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let elapsed = now.saturating_duration_since(state.at).as_secs_f64();
        state.tokens = (state.tokens + elapsed * state.rate).min(self.burst);
        state.rate = (state.rate + elapsed * self.rate_max / RECOVERY_S).min(self.rate_max);
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
            assert_eq!(bucket.take(start), Ok(()));
        }
        assert_eq!(bucket.take(start), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(start + Duration::from_millis(100)), Ok(()));
    }

    #[test]
    fn throttling_slows_down_once_per_event_and_recovers() {
        let bucket = Bucket::new(8.0, 8.0, true);
        let start = Instant::now();
        // Many calls were under way when the rate was too high.
        for _ in 0..10 {
            bucket.slow_down(start);
        }
        assert_eq!(bucket.take(start), Err(Duration::from_millis(250)));
        let mut at = start;
        for _ in 0..10 {
            at += ONE_EVENT;
            bucket.slow_down(at);
        }
        assert!(bucket.take(at).is_err_and(|wait| wait > Duration::from_millis(900)));
        let later = at + Duration::from_secs(120);
        for _ in 0..8 {
            assert_eq!(bucket.take(later), Ok(()));
        }
        assert_eq!(bucket.take(later), Err(Duration::from_millis(125)));
    }

    /// Sends calls, all at once, to a service that answers "too many requests" above `rate` and `burst`; returns how many
    /// such answers there were, and how long it took. Time is counted here, in steps of 10 ms.
    fn send(throttle: &Throttle, calls: usize, rate: f64, burst: f64) -> (usize, Duration) {
        const STEP: Duration = Duration::from_millis(10);
        const ROUND_TRIP: u32 = 2;
        // As the engine does between attempts.
        const PAUSE: u32 = 40;
        let began = Instant::now();
        let (bucket, service) = (throttle.bucket(Service::Lambda), Bucket::new(rate, burst, true));
        let mut refused = 0;
        let mut line = calls;
        // By the step in which they come back: answers, and calls that are tried again.
        let (mut refusals, mut again): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        let mut step = 0;
        loop {
            let now = began + STEP * step;
            for _ in refusals.extract_if(.., |due| *due == step) {
                refused += 1;
                bucket.slow_down(now);
                again.push(step + PAUSE);
            }
            line += again.extract_if(.., |due| *due == step).count();
            while line > 0 && bucket.take(now).is_ok() {
                line -= 1;
                if service.take(now).is_err() {
                    refusals.push(step + ROUND_TRIP);
                }
            }
            if line == 0 && refusals.is_empty() && again.is_empty() {
                return (refused, STEP * step);
            }
            step += 1;
        }
    }

    #[test]
    fn at_the_quota_nothing_is_refused() {
        let (refused, took) = send(&Throttle::at_quotas(), 100, 15.0, 15.0);
        assert_eq!(refused, 0);
        assert!(took <= Duration::from_secs(9), "{took:?}");
    }

    #[test]
    fn who_shares_the_account_slows_down_until_it_fits() {
        let (refused, took) = send(&Throttle::at_quotas(), 100, 5.0, 5.0);
        assert!((1..50).contains(&refused), "{refused}");
        // 95 calls at 5/s take 19 s; finding the rate costs some more.
        assert!(took < Duration::from_secs(45), "{took:?}");
    }

    #[test]
    fn an_emulator_is_held_to_nothing_before_it_says_so() {
        assert_eq!(send(&Throttle::when_told(), 100, 1e6, 1e6), (0, Duration::ZERO));
        let (refused, took) = send(&Throttle::when_told(), 100, 10.0, 15.0);
        // All of the first round were sent before any answer.
        assert!((1..170).contains(&refused), "{refused}");
        assert!(took < Duration::from_secs(30), "{took:?}");
    }

    #[tokio::test]
    async fn deployments_of_an_api_are_five_seconds_apart_and_count_as_calls_too() {
        let throttle = Throttle::at_quotas();
        throttle.acquire(Service::ApiGatewayDeployment).await;
        let now = Instant::now();
        let second = throttle.bucket(Service::ApiGatewayDeployment).take(now);
        assert!(second.is_err_and(|wait| wait > Duration::from_secs(4)), "{second:?}");
        let left = throttle.bucket(Service::ApiGateway).refilled(now).tokens;
        let (_, burst) = Service::ApiGateway.quota();
        assert!(left < burst - 0.5, "{left}");
    }

    #[test]
    fn every_service_has_its_bucket() {
        let throttle = Throttle::at_quotas();
        for (index, service) in Service::ALL.into_iter().enumerate() {
            assert_eq!(service as usize, index);
            let bucket = throttle.bucket(service);
            assert_eq!((bucket.rate_max, bucket.burst), service.quota());
        }
    }
}
