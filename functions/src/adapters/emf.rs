//! Metrics as lines of the log, in CloudWatch's embedded metric format: CloudWatch makes metrics of them, without a call
//! and without a permission. <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::io::Write as _;

use functions_domain::ports::Clock;
use serde_json::{Map, Value, json};

use super::SystemClock;
use crate::config::{Environment, METRICS_NAMESPACE, STAGE_NAME};
use crate::metrics::Counts;

/// Writes metrics to the standard output, which is the log.
#[derive(Clone, Debug)]
pub struct Emf {
    namespace: String,
    stage: String,
}

impl Emf {
    /// Returns the adapter, if the stage wants metrics.
    pub fn of(environment: &Environment) -> Option<Self> {
        Some(Self {
            namespace: environment.get(METRICS_NAMESPACE)?.to_owned(),
            stage: environment.get(STAGE_NAME).unwrap_or_default().to_owned(),
        })
    }

    /// Writes one line, unless nothing was counted.
    pub fn write(&self, counts: &Counts) {
        let Some(line) = self.line(counts, SystemClock.now_ms()) else {
            return;
        };
        // One write, so that no other line comes between; who cannot log cannot say so either.
        let _ = std::io::stdout().write_all(format!("{line}\n").as_bytes());
    }

    /// All functions share one dimension: each combination of values is a metric that is paid for.
    fn line(&self, counts: &Counts, now_ms: u64) -> Option<Value> {
        let counted = [
            ("Connections", "Count", Some(counts.connections)),
            ("MessagesIn", "Count", Some(counts.messages_in)),
            ("Deliveries", "Count", Some(counts.deliveries)),
            ("GonePeers", "Count", Some(counts.gone_peers)),
            ("SlowPeers", "Count", Some(counts.slow_peers)),
        ];
        let counted = counted.into_iter().filter(|(.., value)| *value != Some(0));
        let counted = counted.chain([("FanOutDuration", "Milliseconds", counts.fan_out_ms)]);
        let mut metrics = Vec::new();
        let mut members = Map::new();
        for (name, unit, value) in counted {
            let Some(value) = value else { continue };
            metrics.push(json!({ "Name": name, "Unit": unit }));
            members.insert(name.to_owned(), json!(value));
        }
        if metrics.is_empty() {
            return None;
        }
        let directive = json!({ "Namespace": self.namespace, "Dimensions": [["Stage"]], "Metrics": metrics });
        members.insert(
            "_aws".to_owned(),
            json!({ "Timestamp": now_ms, "CloudWatchMetrics": [directive] }),
        );
        members.insert("Stage".to_owned(), json!(self.stage));
        // For people and for Lambda's filter, which look for these in every line.
        members.insert("level".to_owned(), json!("INFO"));
        members.insert("message".to_owned(), json!("metrics"));
        Some(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn emf() -> Emf {
        Emf::of(&Environment::of([(METRICS_NAMESPACE, "chat"), (STAGE_NAME, "prod")])).unwrap()
    }

    #[test]
    fn only_what_was_counted_is_told() {
        assert_eq!(emf().line(&Counts::default(), 7), None);
        let counts = Counts {
            messages_in: 1,
            deliveries: 19,
            fan_out_ms: Some(0),
            ..Counts::default()
        };
        let metrics = [
            ("MessagesIn", "Count"),
            ("Deliveries", "Count"),
            ("FanOutDuration", "Milliseconds"),
        ];
        let metrics = metrics.map(|(name, unit)| json!({"Name": name, "Unit": unit}));
        let directive = json!({"Namespace": "chat", "Dimensions": [["Stage"]], "Metrics": metrics});
        assert_eq!(
            emf().line(&counts, 7),
            Some(json!({
                "_aws": {"Timestamp": 7, "CloudWatchMetrics": [directive]},
                "Stage": "prod", "MessagesIn": 1, "Deliveries": 19, "FanOutDuration": 0,
                "level": "INFO", "message": "metrics",
            }))
        );
    }

    #[test]
    fn a_stage_without_metrics_has_no_adapter() {
        assert!(Emf::of(&Environment::of([(STAGE_NAME, "dev")])).is_none());
    }
}
