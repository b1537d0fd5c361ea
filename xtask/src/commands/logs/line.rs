//! One log line for people: time, function, level, text, fields, and the beginning of the request id.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde_json::Value as Json;

use super::entry::{Entry, Report, What, plain};
use crate::cli::Level;
use crate::ui::{BOLD, DIM, GREEN, RED, YELLOW, paint};

/// Colours that tell functions apart.
const COLORS: [Style; 6] = [
    AnsiColor::Cyan.on_default(),
    AnsiColor::Magenta.on_default(),
    AnsiColor::Blue.on_default(),
    AnsiColor::BrightCyan.on_default(),
    AnsiColor::BrightMagenta.on_default(),
    AnsiColor::BrightBlue.on_default(),
];

/// Who wrote a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer<'a> {
    pub(super) name: &'a str,
    /// Tells writers apart.
    pub(super) color: usize,
    /// Aligns their names.
    pub(super) width: usize,
}

/// Returns the line, or `None` for what happens at each invocation.
pub(super) fn human(entry: &Entry, timestamp_ms: u64, writer: Writer<'_>) -> Option<String> {
    let Writer { name, color, width } = writer;
    let name = paint(COLORS[color % COLORS.len()], format_args!("{name:width$}"));
    let text = text(entry)?;
    Some(format!("{DIM}{}{DIM:#} {name} {text}", time_of_day(timestamp_ms)))
}

/// Returns the line without time and writer.
pub(super) fn text(entry: &Entry) -> Option<String> {
    let text = match &entry.what {
        What::Said { message, fields } if message.is_empty() => level(entry.level) + &shown(fields),
        What::Said { message, fields } => format!("{}{message} {}", level(entry.level), shown(fields)),
        What::Metrics(fields) => format!("{DIM}metrics{DIM:#} {}", shown(fields)),
        What::Report(report) => taken(report),
        What::Platform(text) => paint(RED, text),
        What::Routine => return None,
    };
    let id = entry.request_id.as_deref().and_then(|id| id.split('-').next());
    let id = id.map(|id| format!(" {DIM}{id}{DIM:#}")).unwrap_or_default();
    Some(format!("{}{id}", text.trim_end()))
}

fn level(level: Option<Level>) -> String {
    let (style, name) = match level {
        None => return String::new(),
        Some(Level::Error) => (RED, "ERROR"),
        Some(Level::Warn) => (YELLOW, "WARN"),
        Some(Level::Info) => (GREEN, "INFO"),
        Some(Level::Debug) => (DIM, "DEBUG"),
        Some(Level::Trace) => (DIM, "TRACE"),
    };
    paint(style, format_args!("{name:5} "))
}

fn shown(fields: &[(String, Json)]) -> String {
    let shown = fields
        .iter()
        .map(|(key, value)| format!("{DIM}{key}={DIM:#}{}", plain(value)));
    shown.collect::<Vec<_>>().join(" ")
}

fn taken(report: &Report) -> String {
    let style = if report.status == "success" { DIM } else { RED };
    let mut line = paint(
        style,
        format_args!("{} after {:.1} ms", report.status, report.duration_ms),
    );
    if let Some(used) = report.memory_used_mb {
        let of = report
            .memory_mb
            .map(|size| format!(" of {size:.0}"))
            .unwrap_or_default();
        line.push_str(&paint(style, format_args!(", {used:.0}{of} MB")));
    }
    if let Some(init) = report.init_duration_ms {
        let _ = write!(line, "{DIM}, {DIM:#}{BOLD}cold start {init:.1} ms{BOLD:#}");
    }
    line
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

    #[test]
    fn lines_read_well() {
        let lines = [
            r#"{"timestamp":"2026-11-22T00:00:00Z","level":"INFO","message":"connected","requestId":"8f5c2a01-77aa","room":"lobby"}"#,
            r#"{"level":"WARN","fields":{"message":"peer is gone","connection":"abc"},"target":"functions"}"#,
            r#"{"time":"t","type":"platform.report","record":{"requestId":"8f5c2a01-77aa","status":"success","metrics":{"durationMs":1.25,"initDurationMs":8.5,"maxMemoryUsedMB":12,"memorySizeMB":128}}}"#,
            r#"{"time":"t","type":"platform.report","record":{"status":"timeout","metrics":{"durationMs":5000}}}"#,
            r#"{"time":"t","type":"platform.initRuntimeDone","record":{"status":"error","errorType":"Runtime.ExitError"}}"#,
            r#"{"requestId":"Ab3=","routeKey":"$connect","status":"200"}"#,
            r#"{"_aws":{"Timestamp":1},"Deliveries":3,"Stage":"dev"}"#,
            r#"{"time":"t","type":"platform.start","record":{"requestId":"r"}}"#,
            "thread 'main' panicked at x",
            "42",
        ];
        let writer = Writer {
            name: "connect",
            color: 0,
            width: 8,
        };
        let shown = lines
            .iter()
            .filter_map(|line| human(&Entry::read(line), 1_795_000_000_250, writer));
        let shown: Vec<_> = shown
            .map(|line| anstream::adapter::strip_str(&line).to_string())
            .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }
}
