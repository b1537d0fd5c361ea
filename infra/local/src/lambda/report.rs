//! What the platform writes into a function's log: the text lines of old, or JSON events.
//!
//! Source: Developer Guide, "Monitoring functions with CloudWatch Logs" and "Lambda Telemetry API event schema".

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::model::Version;

/// How an invocation ended, as the report tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Success,
    /// The handler failed or the process ended; the type is Lambda's, if it is not the handler's own.
    Error(Option<&'static str>),
    Timeout,
}

/// The numbers of one invocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metrics {
    pub(super) duration: Duration,
    /// On the first invocation of a process.
    pub(super) init: Option<Duration>,
    /// Peak resident size; known on Linux only.
    pub(super) memory_kb_max: Option<u64>,
}

/// Returns what precedes the first output of a process.
pub(super) fn init_start(version: &Version) -> Vec<String> {
    let runtime = version.configuration.runtime.replace("provided.", "provided:");
    if !version.configuration.logging_config.is_json() {
        return vec![format!(
            "INIT_START Runtime Version: {runtime}.v1\tRuntime Version ARN: arn:aws:lambda:::runtime:local"
        )];
    }
    let record = json!({
        "initializationType": "on-demand",
        "phase": "init",
        "runtimeVersion": format!("{runtime}.v1"),
        "runtimeVersionArn": "arn:aws:lambda:::runtime:local",
        "functionName": version.function,
        "functionVersion": version.label(),
    });
    event(version, "platform.initStart", record, false)
}

/// Returns what precedes the output of an invocation.
pub(super) fn start(version: &Version, request_id: &str) -> Vec<String> {
    if version.configuration.logging_config.is_json() {
        let record = json!({ "requestId": request_id, "version": version.label() });
        return event(version, "platform.start", record, false);
    }
    vec![format!("START RequestId: {request_id} Version: {}", version.label())]
}

/// Returns what follows the output of an invocation. `note` is a line about why it ended, if Lambda ended it.
pub(super) fn end(
    version: &Version,
    request_id: &str,
    metrics: Metrics,
    status: Status,
    note: Option<String>,
) -> Vec<String> {
    let memory = version.configuration.memory_size;
    let duration_ms = metrics.duration.as_secs_f64() * 1000.0;
    let init_ms = metrics.init.map(|init| init.as_secs_f64() * 1000.0);
    // The initialisation of OS-only runtimes is billed.
    let billed_ms = (duration_ms + init_ms.unwrap_or(0.0)).ceil();
    let used_mb = metrics.memory_kb_max.map(|kb| kb.div_ceil(1024));
    if version.configuration.logging_config.is_json() {
        let mut numbers = json!({
            "durationMs": round(duration_ms),
            "billedDurationMs": billed_ms as u64,
            "memorySizeMB": memory,
        });
        if let Some(used) = used_mb {
            numbers["maxMemoryUsedMB"] = json!(used);
        }
        if let Some(init) = init_ms {
            numbers["initDurationMs"] = json!(round(init));
        }
        let mut record = json!({ "requestId": request_id, "metrics": numbers, "status": status.name() });
        if let Status::Error(Some(kind)) = status {
            record["errorType"] = json!(kind);
        }
        return event(version, "platform.report", record, status != Status::Success);
    }
    let mut report = format!(
        "REPORT RequestId: {request_id}\tDuration: {duration_ms:.2} ms\tBilled Duration: {billed_ms} ms\tMemory Size: {memory} MB\t"
    );
    if let Some(used) = used_mb {
        report.push_str(&format!("Max Memory Used: {used} MB\t"));
    }
    if let Some(init) = init_ms {
        report.push_str(&format!("Init Duration: {init:.2} ms\t"));
    }
    match status {
        Status::Success | Status::Error(None) => {}
        Status::Error(Some(kind)) => report.push_str(&format!("Status: error\tError Type: {kind}")),
        Status::Timeout => report.push_str("Status: timeout"),
    }
    let end = format!("END RequestId: {request_id}");
    note.into_iter().chain([end, report]).collect()
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error(_) => "error",
            Self::Timeout => "timeout",
        }
    }
}

/// Renders one JSON event, unless the system log level is `WARN` and the event is no failure.
fn event(version: &Version, kind: &str, record: Value, failure: bool) -> Vec<String> {
    let level = version.configuration.logging_config.system_log_level.as_deref();
    if level == Some("WARN") && !failure {
        return Vec::new();
    }
    vec![json!({ "time": now(), "type": kind, "record": record }).to_string()]
}

/// Returns the moment as Lambda prints it.
pub(super) fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn round(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}
