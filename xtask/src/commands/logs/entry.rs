//! What a log line says, whatever its form.
//!
//! Functions log JSON or text; in between, the platform tells when invocations begin, end and what they cost (Lambda
//! Developer Guide, "JSON structured log format", "Telemetry API Event schema reference", and for text "Viewing
//! CloudWatch logs": `START`, `END`, `REPORT`).

use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::cli::Level;

/// Keys that every line has; they are shown elsewhere or not at all.
const KNOWN_KEYS: [&str; 10] = [
    "timestamp",
    "level",
    "message",
    "fields",
    "target",
    "span",
    "spans",
    "requestId",
    "request_id",
    "_aws",
];

/// One line, understood.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) level: Option<Level>,
    pub(crate) request_id: Option<String>,
    pub(crate) what: What,
}

/// What it is about.
#[derive(Debug, PartialEq)]
pub(crate) enum What {
    /// What a function said.
    Said {
        message: String,
        fields: Vec<(String, Json)>,
    },
    /// Figures for CloudWatch in the embedded metric format.
    Metrics(Vec<(String, Json)>),
    /// An invocation has ended.
    Report(Report),
    /// Something else that the platform found worth telling.
    Platform(String),
    /// What happens at each invocation.
    Routine,
}

/// What an invocation took.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// `success`, `error`, `timeout` or `failure`.
    pub(crate) status: String,
    pub(crate) duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) billed_duration_ms: Option<f64>,
    #[serde(rename = "memorySizeMB", skip_serializing_if = "Option::is_none")]
    pub(crate) memory_mb: Option<f64>,
    #[serde(rename = "maxMemoryUsedMB", skip_serializing_if = "Option::is_none")]
    pub(crate) memory_used_mb: Option<f64>,
    /// Only where a new execution environment was needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) init_duration_ms: Option<f64>,
    pub(crate) cold_start: bool,
}

impl Entry {
    /// Reads a line.
    pub(crate) fn read(line: &str) -> Self {
        match serde_json::from_str::<Json>(line) {
            Ok(Json::Object(object)) => {
                let record = object.get("record").unwrap_or(&Json::Null);
                match object.get("type").and_then(Json::as_str) {
                    Some(kind) if kind.starts_with("platform.") => Self::of_platform(kind, record),
                    _ => Self::of_object(object),
                }
            }
            Ok(_) | Err(_) => Self::of_text(line),
        }
    }

    /// Returns whether it matters at least so much.
    pub(crate) fn is_at_least(&self, level: Level) -> bool {
        self.level.unwrap_or(Level::Info) >= level
    }

    fn of_object(mut object: Map<String, Json>) -> Self {
        let request_id = text_of(&object, "requestId").or_else(|| text_of(&object, "request_id"));
        let is_metrics = object.contains_key("_aws");
        let mut level = text_of(&object, "level").as_deref().and_then(level_named);
        let mut nested = match object.remove("fields") {
            Some(Json::Object(nested)) => nested,
            Some(other) => Map::from_iter([("fields".to_owned(), other)]),
            None => Map::new(),
        };
        let message = nested.remove("message").or_else(|| object.remove("message"));
        let fields: Vec<_> = object
            .into_iter()
            .filter(|(key, _)| !KNOWN_KEYS.contains(&key.as_str()))
            .chain(nested)
            .collect();
        let what = if is_metrics {
            What::Metrics(fields)
        } else {
            // Access logs have a status and no level.
            level = level.or_else(|| fields.iter().find(|(key, _)| key == "status").and_then(level_of_status));
            What::Said {
                message: message.as_ref().map(plain).unwrap_or_default(),
                fields,
            }
        };
        Self {
            level,
            request_id,
            what,
        }
    }

    fn of_platform(kind: &str, record: &Json) -> Self {
        let text = |name: &str| record.get(name).and_then(Json::as_str).unwrap_or_default();
        let metric = |name: &str| record.pointer(&format!("/metrics/{name}")).and_then(Json::as_f64);
        let status = text("status");
        let (level, what) = match (kind, metric("durationMs")) {
            ("platform.report", Some(duration_ms)) => {
                let report = Report {
                    status: status.to_owned(),
                    duration_ms,
                    billed_duration_ms: metric("billedDurationMs"),
                    memory_mb: metric("memorySizeMB"),
                    memory_used_mb: metric("maxMemoryUsedMB"),
                    init_duration_ms: metric("initDurationMs"),
                    cold_start: metric("initDurationMs").is_some(),
                };
                let level = if status == "success" { Level::Info } else { Level::Error };
                (level, What::Report(report))
            }
            ("platform.fault" | "platform.logsDropped", _) => (Level::Error, What::Platform(record.to_string())),
            _ if matches!(status, "error" | "failure" | "timeout") => {
                let line = format!("{kind} {status} {}", text("errorType"));
                (Level::Error, What::Platform(line.trim_end().to_owned()))
            }
            _ => (Level::Debug, What::Routine),
        };
        Self {
            level: Some(level),
            request_id: record.get("requestId").and_then(Json::as_str).map(str::to_owned),
            what,
        }
    }

    fn of_text(line: &str) -> Self {
        let request_id = line.split_once("RequestId: ").map(|(_, rest)| {
            let end = rest.find(|c: char| !c.is_ascii_hexdigit() && c != '-');
            rest[..end.unwrap_or(rest.len())].to_owned()
        });
        let (level, what) = if let Some(report) = Report::of_text(line) {
            (Some(Level::Info), What::Report(report))
        } else if ["START RequestId: ", "END RequestId: ", "INIT_START "]
            .iter()
            .any(|word| line.starts_with(word))
        {
            (Some(Level::Debug), What::Routine)
        } else {
            let is_error = ["panicked at", "Task timed out", "Runtime exited"]
                .iter()
                .any(|word| line.contains(word));
            // ` INFO connected room=lobby`: what functions say that do not log JSON.
            let words = line.trim_start().split_once(' ');
            let named = words.and_then(|(word, rest)| Some((level_named(word)?, rest)));
            let said = What::Said {
                message: named.map_or(line, |(_, rest)| rest).trim_start().to_owned(),
                fields: Vec::new(),
            };
            let level = named.map(|(level, _)| level);
            (level.or(is_error.then_some(Level::Error)), said)
        };
        Self {
            level,
            request_id: request_id.filter(|id| !id.is_empty()),
            what,
        }
    }
}

impl Report {
    /// Reads `REPORT RequestId: …⇥Duration: 1.25 ms⇥Billed Duration: 10 ms⇥Memory Size: 128 MB⇥…`.
    fn of_text(line: &str) -> Option<Self> {
        let parts = line.strip_prefix("REPORT RequestId: ")?.split('\t').skip(1);
        let mut report = Self::default();
        for (name, value) in parts.filter_map(|part| part.trim().split_once(": ")) {
            let number = value.split(' ').next().and_then(|number| number.parse().ok());
            match name {
                "Duration" => report.duration_ms = number?,
                "Billed Duration" => report.billed_duration_ms = number,
                "Memory Size" => report.memory_mb = number,
                "Max Memory Used" => report.memory_used_mb = number,
                "Init Duration" => report.init_duration_ms = number,
                "Status" => report.status = value.to_owned(),
                _ => {}
            }
        }
        // Only what went wrong is named.
        if report.status.is_empty() {
            "success".clone_into(&mut report.status);
        }
        report.cold_start = report.init_duration_ms.is_some();
        Some(report)
    }
}

/// Returns a value as people write it: texts without quotes.
pub(crate) fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => value.to_string(),
    }
}

fn text_of(object: &Map<String, Json>, key: &str) -> Option<String> {
    object.get(key).and_then(Json::as_str).map(str::to_owned)
}

fn level_named(name: &str) -> Option<Level> {
    match name.to_ascii_uppercase().as_str() {
        "TRACE" => Some(Level::Trace),
        "DEBUG" => Some(Level::Debug),
        "INFO" => Some(Level::Info),
        "WARN" | "WARNING" => Some(Level::Warn),
        "ERROR" | "FATAL" => Some(Level::Error),
        _ => None,
    }
}

/// Reads a HTTP status: a number, or as access logs write it, a text.
fn level_of_status((_, status): &(String, Json)) -> Option<Level> {
    match plain(status).parse().ok()? {
        500..=599 => Some(Level::Error),
        400..=499 => Some(Level::Warn),
        100..=399 => Some(Level::Info),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "tests")]

    use super::*;

    fn report(line: &str) -> (Entry, Report) {
        let mut entry = Entry::read(line);
        match std::mem::replace(&mut entry.what, What::Routine) {
            What::Report(report) => (entry, report),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reports_are_read_from_text_and_from_json() {
        let text = "REPORT RequestId: 3604209a-e9a3\tDuration: 1.25 ms\tBilled Duration: 10 ms\tMemory Size: 128 MB\tMax Memory Used: 12 MB\tInit Duration: 8.50 ms\t";
        let json = r#"{"type":"platform.report","record":{"requestId":"3604209a-e9a3","status":"success","metrics":{"durationMs":1.25,"billedDurationMs":10,"memorySizeMB":128,"maxMemoryUsedMB":12,"initDurationMs":8.5}}}"#;
        let (entry, of_text) = report(text);
        let (same, of_json) = report(json);
        assert_eq!(of_text, of_json);
        assert!(of_text.cold_start);
        assert_eq!(entry, same);
        assert_eq!(entry.request_id.as_deref(), Some("3604209a-e9a3"));
    }

    #[test]
    fn a_failed_invocation_is_an_error_in_both_forms() {
        let (_, report) = report("REPORT RequestId: a\tDuration: 3000.00 ms\tStatus: timeout");
        assert_eq!(report.status, "timeout");
        let json = r#"{"type":"platform.report","record":{"status":"timeout","metrics":{"durationMs":3000}}}"#;
        assert_eq!(Entry::read(json).level, Some(Level::Error));
        assert_eq!(
            Entry::read("2026 Task timed out after 3.00 seconds").level,
            Some(Level::Error)
        );
        assert_eq!(
            Entry::read("thread 'main' panicked at src/x.rs:1").level,
            Some(Level::Error)
        );
    }

    #[test]
    fn levels_come_from_names_and_from_statuses() {
        let level = |line: &str| Entry::read(line).level;
        assert_eq!(level(r#"{"level":"warn"}"#), Some(Level::Warn));
        assert_eq!(level(r#"{"status":"502","routeKey":"$connect"}"#), Some(Level::Error));
        assert_eq!(level(r#"{"status":403}"#), Some(Level::Warn));
        assert_eq!(level(r#"{"status":"joined"}"#), None);
        assert_eq!(level(" WARN peer is gone"), Some(Level::Warn));
        assert_eq!(level("Information is text"), None);
        assert!(Entry::read("text").is_at_least(Level::Info));
        assert!(!Entry::read("text").is_at_least(Level::Warn));
    }

    #[test]
    fn metrics_are_told_apart() {
        let line = r#"{"_aws":{"Timestamp":1,"CloudWatchMetrics":[]},"deliveries":3}"#;
        let expected = What::Metrics(vec![("deliveries".to_owned(), 3.into())]);
        assert_eq!(Entry::read(line).what, expected);
    }

    #[test]
    fn what_happens_each_time_is_routine() {
        for line in [
            r#"{"time":"t","type":"platform.start","record":{"requestId":"r"}}"#,
            r#"{"time":"t","type":"platform.runtimeDone","record":{"status":"success"}}"#,
            "START RequestId: 1f Version: 3",
            "END RequestId: 1f",
        ] {
            assert_eq!(Entry::read(line).what, What::Routine, "{line}");
        }
    }
}
