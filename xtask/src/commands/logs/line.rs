//! One log line for people: time, function, level, text, fields.
//!
//! Functions log JSON (Lambda Developer Guide, "JSON structured log format"); Lambda adds `platform.*` events, of which
//! only those are shown that say something new: how long an invocation took, and what went wrong.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use infra_aws::LogEvent;
use serde_json::{Map, Value as Json};

use crate::ui::{DIM, GREEN, RED, YELLOW, paint};

/// Colours that tell functions apart.
const COLORS: [Style; 6] = [
    AnsiColor::Cyan.on_default(),
    AnsiColor::Magenta.on_default(),
    AnsiColor::Blue.on_default(),
    AnsiColor::BrightCyan.on_default(),
    AnsiColor::BrightMagenta.on_default(),
    AnsiColor::BrightBlue.on_default(),
];

/// Keys that every line has; they are shown elsewhere or not at all.
const KNOWN_KEYS: [&str; 8] = [
    "timestamp",
    "level",
    "message",
    "fields",
    "target",
    "span",
    "spans",
    "requestId",
];

/// Returns the line, or `None` for platform events that say nothing new. `color` tells functions apart; `width` aligns
/// their names.
pub(super) fn human(event: &LogEvent, function: &str, color: usize, width: usize) -> Option<String> {
    let text = match serde_json::from_str::<Json>(&event.message) {
        Ok(Json::Object(object)) => match object.get("type").and_then(Json::as_str) {
            Some(kind) if kind.starts_with("platform.") => platform(kind, object.get("record"))?,
            _ => structured(&object),
        },
        Ok(_) | Err(_) => event.message.clone(),
    };
    let name = paint(COLORS[color % COLORS.len()], format_args!("{function:width$}"));
    Some(format!("{DIM}{}{DIM:#} {name} {text}", time_of_day(event.timestamp_ms)))
}

fn structured(object: &Map<String, Json>) -> String {
    let nested = object.get("fields").and_then(Json::as_object);
    let message = nested
        .and_then(|fields| fields.get("message"))
        .or_else(|| object.get("message"));
    let level = object.get("level").and_then(Json::as_str).unwrap_or("");
    let mut text = match level {
        "" => String::new(),
        "ERROR" | "FATAL" => paint(RED, format_args!("{level:5} ")),
        "WARN" => paint(YELLOW, format_args!("{level:5} ")),
        "INFO" => paint(GREEN, format_args!("{level:5} ")),
        _ => paint(DIM, format_args!("{level:5} ")),
    };
    text.push_str(&message.map(plain).unwrap_or_default());
    let fields = object
        .iter()
        .filter(|(key, _)| !KNOWN_KEYS.contains(&key.as_str()))
        .chain(nested.into_iter().flatten().filter(|(key, _)| *key != "message"));
    for (key, value) in fields {
        // Writing to a String cannot fail.
        let _ = write!(text, " {DIM}{key}={DIM:#}{}", plain(value));
    }
    text
}

/// Returns what a platform event says (Lambda Developer Guide, "Telemetry API Event schema reference").
fn platform(kind: &str, record: Option<&Json>) -> Option<String> {
    let record = record?;
    let text = |name: &str| record.get(name).and_then(Json::as_str).unwrap_or_default();
    let metric = |name: &str| record.pointer(&format!("/metrics/{name}")).and_then(Json::as_f64);
    match kind {
        "platform.report" => {
            let mut line = format!("{} after {:.1} ms", text("status"), metric("durationMs")?);
            if let Some(init) = metric("initDurationMs") {
                let _ = write!(line, ", cold start {init:.1} ms");
            }
            if let Some(memory) = metric("maxMemoryUsedMB") {
                let _ = write!(line, ", {memory:.0} MB");
            }
            let style = if text("status") == "success" { DIM } else { RED };
            Some(paint(style, line.trim_start()))
        }
        "platform.fault" | "platform.logsDropped" => Some(paint(RED, record)),
        _ => {
            let failed = matches!(text("status"), "error" | "failure" | "timeout");
            failed.then(|| paint(RED, format_args!("{kind} {} {}", text("status"), text("errorType"))))
        }
    }
}

fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => value.to_string(),
    }
}

/// Returns `14:03:07.250Z`: UTC, as in the CloudWatch console.
fn time_of_day(timestamp_ms: u64) -> String {
    let (ms, seconds) = (timestamp_ms % 1_000, timestamp_ms / 1_000);
    format!(
        "{:02}:{:02}:{:02}.{ms:03}Z",
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str) -> Option<String> {
        let event = LogEvent {
            group: "/aws/lambda/chat-dev-connect".to_owned(),
            stream: "s".to_owned(),
            timestamp_ms: 1_795_000_000_250,
            message: message.to_owned(),
            event_id: "e".to_owned(),
        };
        human(&event, "connect", 0, 8).map(|line| anstream::adapter::strip_str(&line).to_string())
    }

    #[test]
    fn lines_read_well() {
        let lines = [
            r#"{"timestamp":"2026-11-22T00:00:00Z","level":"INFO","message":"connected","requestId":"r","room":"lobby"}"#,
            r#"{"level":"WARN","fields":{"message":"peer is gone","connection":"abc"},"target":"functions"}"#,
            r#"{"time":"t","type":"platform.report","record":{"status":"success","metrics":{"durationMs":1.25,"initDurationMs":8.5,"maxMemoryUsedMB":12}}}"#,
            r#"{"time":"t","type":"platform.report","record":{"status":"timeout","metrics":{"durationMs":5000}}}"#,
            r#"{"time":"t","type":"platform.initRuntimeDone","record":{"status":"error","errorType":"Runtime.ExitError"}}"#,
            "thread 'main' panicked",
            "42",
        ];
        let shown: Vec<_> = lines.iter().filter_map(|message| line(message)).collect();
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn routine_events_of_the_platform_are_left_out() {
        for message in [
            r#"{"time":"t","type":"platform.start","record":{"requestId":"r"}}"#,
            r#"{"time":"t","type":"platform.runtimeDone","record":{"status":"success"}}"#,
        ] {
            assert_eq!(line(message), None, "{message}");
        }
    }
}
