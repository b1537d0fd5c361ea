//! Rates of the control planes: one token bucket per published quota.

use std::collections::BTreeMap;
use std::time::Instant;

use super::call::Call;
use crate::wire::ApiError;

/// A quota: its name, calls per second, and how many may come at once.
type Quota = (&'static str, f64, f64);

/// API Gateway's control plane ("Quotas for creating, deploying and managing an API": 10 requests per second with a
/// burst of 40 per account; `CreateDeployment` one per 5 seconds).
const API_GATEWAY: Quota = ("apigateway", 10.0, 40.0);
const CREATE_DEPLOYMENT: Quota = ("apigateway:CreateDeployment", 0.2, 1.0);
/// The same page: `UpdateAccount` one per 20 seconds.
const UPDATE_ACCOUNT: Quota = ("apigateway:UpdateAccount", 0.05, 1.0);
/// Lambda's control plane ("Lambda quotas", API requests).
const LAMBDA: Quota = ("lambda", 15.0, 15.0);
const LAMBDA_GET_FUNCTION: Quota = ("lambda:GetFunction", 100.0, 100.0);
const LAMBDA_GET_POLICY: Quota = ("lambda:GetPolicy", 15.0, 15.0);
/// IAM, Logs and Systems Manager publish few rates per call; these are as low as users have reported.
const IAM: Quota = ("iam", 10.0, 20.0);
const LOGS: Quota = ("logs", 5.0, 10.0);
/// `PutMetricAlarm` ("CloudWatch service quotas"); other calls have more.
const CLOUD_WATCH: Quota = ("monitoring", 3.0, 20.0);
const SSM: Quota = ("ssm", 5.0, 10.0);

/// How full the buckets are; one that was never used is full.
#[derive(Debug, Default)]
pub(super) struct Rates {
    buckets: BTreeMap<&'static str, (f64, Instant)>,
}

impl Rates {
    /// Counts a call.
    ///
    /// # Errors
    /// The service's own refusal when the call comes too early. It counts nothing then.
    pub(super) fn admit(&mut self, call: &Call, now: Instant) -> Result<(), ApiError> {
        let quotas = quotas(call);
        let levels: Vec<f64> = quotas.iter().map(|quota| self.level(quota, now)).collect();
        if levels.iter().any(|level| *level < 1.0) {
            return Err(refusal(call.service));
        }
        for ((name, ..), level) in quotas.iter().zip(levels) {
            self.buckets.insert(name, (level - 1.0, now));
        }
        Ok(())
    }

    fn level(&self, (name, rate, burst): &Quota, now: Instant) -> f64 {
        self.buckets.get(name).map_or(*burst, |(level, at)| {
            (level + now.saturating_duration_since(*at).as_secs_f64() * rate).min(*burst)
        })
    }
}

/// Returns all quotas that count a call. Data planes have other limits, which no deployment meets.
fn quotas(call: &Call) -> &'static [Quota] {
    match (call.service, call.operation.as_str()) {
        ("apigateway", "PATCH ") => &[API_GATEWAY, UPDATE_ACCOUNT],
        ("apigateway", "POST apis/deployments") => &[API_GATEWAY, CREATE_DEPLOYMENT],
        ("apigateway", _) => &[API_GATEWAY],
        ("iam", _) => &[IAM],
        ("lambda", "POST functions/invocations") => &[],
        ("lambda", "GET functions/*") => &[LAMBDA_GET_FUNCTION],
        ("lambda", "GET functions/policy") => &[LAMBDA_GET_POLICY],
        ("lambda", _) => &[LAMBDA],
        ("logs", "PutLogEvents" | "FilterLogEvents" | "GetLogEvents") => &[],
        ("logs", _) => &[LOGS],
        ("monitoring", _) => &[CLOUD_WATCH],
        ("ssm", "GetParameter" | "GetParameters") => &[],
        ("ssm", _) => &[SSM],
        _ => &[],
    }
}

/// Returns a service's words for "too fast".
fn refusal(service: &str) -> ApiError {
    match service {
        "apigateway" => ApiError::new(429, "TooManyRequestsException", "Too Many Requests"),
        "lambda" => ApiError::new(429, "TooManyRequestsException", "Rate exceeded"),
        "iam" => ApiError::new(400, "Throttling", "Rate exceeded"),
        _ => ApiError::new(400, "ThrottlingException", "Rate exceeded"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn call(service: &'static str, operation: &str) -> Call {
        Call {
            service,
            operation: operation.to_owned(),
            changed_api: None,
        }
    }

    /// Returns how many calls go through at once.
    fn burst(rates: &mut Rates, call: &Call, now: Instant) -> usize {
        (0..1000).take_while(|_| rates.admit(call, now).is_ok()).count()
    }

    #[test]
    fn each_quota_has_its_burst_and_its_rate() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        for (service, operation, at_once, per_second) in [
            ("apigateway", "GET apis", 40, 10),
            ("lambda", "POST functions", 15, 15),
            ("lambda", "GET functions/*", 100, 100),
            ("lambda", "GET functions/policy", 15, 15),
            ("iam", "CreateRole", 20, 10),
            ("logs", "CreateLogGroup", 10, 5),
            ("ssm", "PutParameter", 10, 5),
            ("lambda", "POST functions/invocations", 1000, 1000),
            ("dynamodb", "PutItem", 1000, 1000),
        ] {
            let (mut rates, call) = (Rates::default(), call(service, operation));
            assert_eq!(burst(&mut rates, &call, start), at_once, "{operation}");
            assert_eq!(burst(&mut rates, &call, later), per_second, "{operation}");
        }
    }

    #[test]
    fn deployments_are_rare_and_count_as_calls() {
        let start = Instant::now();
        let (mut rates, deploy) = (Rates::default(), call("apigateway", "POST apis/deployments"));
        assert_eq!(burst(&mut rates, &deploy, start), 1);
        assert_eq!(burst(&mut rates, &call("apigateway", "GET apis"), start), 39);
        assert_eq!(burst(&mut rates, &deploy, start + Duration::from_secs(4)), 0);
        assert_eq!(burst(&mut rates, &deploy, start + Duration::from_secs(5)), 1);
    }

    #[test]
    fn quotas_do_not_touch_each_other() {
        let now = Instant::now();
        let mut rates = Rates::default();
        assert_eq!(burst(&mut rates, &call("lambda", "POST functions"), now), 15);
        assert_eq!(burst(&mut rates, &call("lambda", "GET functions/*"), now), 100);
        let refused = rates.admit(&call("lambda", "POST functions"), now);
        assert_eq!(
            refused.map_err(|error| (error.status, error.code)),
            Err((429, "TooManyRequestsException".into()))
        );
    }
}
