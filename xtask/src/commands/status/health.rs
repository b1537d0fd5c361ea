//! How functions and alarms are doing. Figures come from CloudWatch, or, where there is none, from the functions' logs.

use std::collections::BTreeMap;
use std::time::Duration;

use infra_aws::{Figures, Logs, Session};
use infra_cdk::Kind;
use infra_engine::Record;
use serde::Serialize;
use serde_json::Value as Json;

use super::HOUR;
use crate::cli::Level;
use crate::commands::logs::entry::{Entry, What};
use crate::commands::logs::readable;
use crate::outputs::Outputs;

/// Which lines tell of errors or of what invocations took (CloudWatch Logs User Guide, "Filter pattern syntax").
const TELLING: &str = r#"?ERROR ?FATAL ?panicked ?timeout ?"timed out" ?"platform.report" ?"REPORT RequestId""#;

/// A report follows the last line of its invocation within this time.
const REPORT_DELAY_MS: u64 = 1_000;

/// A function and how it is doing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FunctionStatus {
    /// Name of its binary.
    pub(super) function: String,
    /// The version that callers meet.
    pub(super) version: Option<String>,
    #[serde(rename = "memoryMB")]
    pub(super) memory_mb: Option<u64>,
    pub(super) invocations: f64,
    pub(super) errors: f64,
    pub(super) throttles: f64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p99_ms: Option<f64>,
    pub(super) last_error: Option<LastError>,
}

/// The last line of a log that tells of an error.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LastError {
    /// Milliseconds since 1970.
    pub(super) timestamp: u64,
    pub(super) message: String,
}

/// An alarm.
#[derive(Debug, Serialize)]
pub(super) struct Alarm {
    pub(super) name: String,
    /// `OK`, `ALARM` or `INSUFFICIENT_DATA`.
    pub(super) state: String,
    pub(super) reason: String,
}

/// What the log of one function tells.
#[derive(Debug, Default)]
struct Told {
    durations_ms: Vec<f64>,
    errors: f64,
    last_error: Option<LastError>,
}

/// Returns all functions; and what could not be read.
pub(super) async fn functions(
    session: &Session,
    outputs: &Outputs,
    record: &Record,
    now: Duration,
) -> (Vec<FunctionStatus>, Option<String>) {
    let since = now.saturating_sub(HOUR);
    let names: Vec<&str> = outputs.functions.values().map(String::as_str).collect();
    let (figures, told) = futures_util::future::join(
        infra_aws::figures(session, &names, since.as_secs(), now.as_secs()),
        told(session, outputs, since),
    )
    .await;
    let (told, mut note) = match told {
        Ok(told) => (told, None),
        Err(error) => (BTreeMap::new(), Some(format!("the logs cannot be read: {error}"))),
    };
    let figures = figures.map_err(|error| {
        note.get_or_insert_with(|| format!("figures are from the logs: {}", error.message));
    });
    let functions = outputs.functions.iter().map(|(function, name)| {
        let told = told.get(function);
        let figures = match &figures {
            Ok(figures) => figures.get(name).copied().unwrap_or_default(),
            Err(()) => told.map(Told::figures).unwrap_or_default(),
        };
        FunctionStatus {
            function: function.clone(),
            version: property(record, Kind::Alias, name, "FunctionVersion").map(crate::commands::logs::entry::plain),
            memory_mb: property(record, Kind::Function, name, "MemorySize").and_then(Json::as_u64),
            invocations: figures.invocations,
            errors: figures.errors,
            throttles: figures.throttles,
            p50_ms: figures.p50_ms,
            p99_ms: figures.p99_ms,
            last_error: told.and_then(|told| told.last_error.clone()),
        }
    });
    (functions.collect(), note)
}

/// Returns a recorded property of what belongs to a function.
fn property<'a>(record: &'a Record, kind: Kind, function: &str, name: &str) -> Option<&'a Json> {
    let mut resources = record.resources.values();
    let found = resources.find(|recorded| {
        recorded.kind == kind && recorded.properties.get("FunctionName").and_then(Json::as_str) == Some(function)
    });
    found?.properties.get(name)
}

/// Reads the logs of all functions.
async fn told(
    session: &Session,
    outputs: &Outputs,
    since: Duration,
) -> Result<BTreeMap<String, Told>, infra_engine::CloudError> {
    let is_function = |writer: &&String| outputs.functions.contains_key(*writer);
    let groups = outputs.log_groups.iter().filter(|(_, writer)| is_function(writer));
    let groups: Vec<String> = groups.map(|(group, _)| group.clone()).collect();
    let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let reader = Logs::new(session.clone());
    let mut all: BTreeMap<String, Told> = BTreeMap::new();
    for event in reader.events(&groups, since_ms, None, Some(TELLING)).await? {
        let Some(function) = outputs.log_groups.get(&event.group) else {
            continue;
        };
        let told = all.entry(function.clone()).or_default();
        let entry = Entry::read(&event.message);
        if let What::Report(report) = &entry.what {
            told.durations_ms.push(report.duration_ms);
            told.errors += if report.status == "success" { 0.0 } else { 1.0 };
        }
        // A report says less than the line before it, where there is one.
        let is_told = told
            .last_error
            .as_ref()
            .is_some_and(|last| event.timestamp_ms < last.timestamp + REPORT_DELAY_MS);
        let adds_nothing = is_told && matches!(entry.what, What::Report(_));
        if entry.level == Some(Level::Error) && !adds_nothing {
            told.last_error = Some(LastError {
                timestamp: event.timestamp_ms,
                message: readable(&event.message)
                    .map_or(event.message, |line| anstream::adapter::strip_str(&line).to_string()),
            });
        }
    }
    Ok(all)
}

impl Told {
    fn figures(&self) -> Figures {
        let mut sorted = self.durations_ms.clone();
        sorted.sort_by(f64::total_cmp);
        Figures {
            invocations: sorted.len() as f64,
            errors: self.errors,
            throttles: 0.0,
            p50_ms: percentile(&sorted, 50),
            p99_ms: percentile(&sorted, 99),
        }
    }
}

/// Returns the value that so many percent do not exceed.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Returns the recorded alarms; and what could not be read.
pub(super) async fn alarms(session: &Session, record: &Record) -> (Vec<Alarm>, Option<String>) {
    let recorded = record
        .resources
        .values()
        .filter(|recorded| recorded.kind == Kind::Alarm);
    let names: Vec<String> = recorded.map(|recorded| recorded.physical_id.clone()).collect();
    if names.is_empty() {
        return (Vec::new(), None);
    }
    match infra_aws::alarms(session, &names).await {
        Ok(alarms) => {
            let alarms = alarms.into_iter().map(|alarm| Alarm {
                name: alarm.name,
                state: alarm.state,
                reason: alarm.reason,
            });
            (alarms.collect(), None)
        }
        Err(error) => (Vec::new(), Some(format!("alarms cannot be read: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let sorted: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&sorted, 50), Some(100.0));
        assert_eq!(percentile(&sorted, 99), Some(198.0));
        assert_eq!(percentile(&sorted[..1], 99), Some(1.0));
        assert_eq!(percentile(&[], 50), None);
    }
}
