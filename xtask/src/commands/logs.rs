//! `cargo xtask logs`: log lines of functions and of the API, merged by time.

pub(crate) mod entry;
mod line;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use infra_aws::{Follow, LogEvent};
use serde_json::json;
use tokio::sync::watch as latest;

use self::entry::{Entry, What};
use self::line::Writer;
use crate::cli::{Level, Logs};
use crate::commands::dev::Deployed;
use crate::commands::{App, DEFAULT_STAGE, outputs};
use crate::failure::{Exit, Failure};
use crate::target::Target;
use crate::ui::{self, DIM, paint};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Runs it.
///
/// # Errors
/// An unknown function, a stage that is not deployed, or a wrong pattern.
pub(crate) async fn run(app: &App, options: &Logs) -> Result<Exit, Failure> {
    let printing = async {
        tokio::select! {
            outcome = Box::pin(print(app, options)) => outcome,
            // Without a new line nobody would notice.
            () = ui::nobody_reads() => Ok(Exit::Ok),
        }
    };
    match app.interrupt.or(Box::pin(printing)).await {
        // Ctrl-C is how following is meant to end.
        Err(failure) if options.follow && failure.exit() == Exit::Interrupted => Ok(Exit::Ok),
        other => other,
    }
}

async fn print(app: &App, options: &Logs) -> Result<Exit, Failure> {
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let unreadable = |error| Failure::cloud("the logs cannot be read", error, &target.scope());
    let (session, outputs) = outputs::open(&target).await?;
    let writers = select(outputs.log_groups, &options.functions)?;
    let mut printer = Printer::new(writers, app.wants_json(), options.level);
    let (groups, filter) = (printer.groups(), options.filter.clone());
    let now_ms = now_ms();
    let since_ms = options.since.at_ms(now_ms);
    let reader = infra_aws::Logs::new(session);
    if !options.follow {
        let until_ms = options.until.map(|until| until.at_ms(now_ms));
        let events = reader.events(&groups, since_ms, until_ms, filter.as_deref()).await;
        printer.print(&events.map_err(unreadable)?)?;
        if !printer.has_printed {
            ui::say(paint(DIM, "Nothing like that was logged; from earlier: --since 1d"));
        }
        return Ok(Exit::Ok);
    }
    let mut follow = Follow::new(reader, groups, since_ms, filter);
    loop {
        match follow.next().await {
            Ok(events) => printer.print(&events)?,
            // A broken connection must not end a long watch; the next reading brings the same lines.
            Err(error) if error.class.is_retryable() => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
}

/// Prints the log lines of the local cloud from now on, and goes on with other functions when they are deployed.
///
/// # Errors
/// When stdout is closed.
pub(crate) async fn follow_while_deployed(
    mut deployments: latest::Receiver<Option<Deployed>>,
) -> Result<Exit, Failure> {
    let Some(deployed) = deployments.borrow_and_update().clone() else {
        return Ok(Exit::Ok);
    };
    let mut printer = Printer::new(deployed.log_groups, false, None);
    let reader = infra_aws::Logs::new(deployed.session);
    let mut follow = Follow::new(reader, printer.groups(), now_ms(), None);
    loop {
        tokio::select! {
            // The local cloud answers as long as this process lives; what is missed now is read next time.
            events = follow.next() => printer.print(&events.unwrap_or_default())?,
            changed = deployments.changed() => {
                if changed.is_err() {
                    return Ok(Exit::Ok);
                }
                let writers = deployments.borrow_and_update().as_ref().map(|latest| latest.log_groups.clone());
                if let Some(writers) = writers.filter(|writers| *writers != printer.writers) {
                    printer = Printer::new(writers, false, None);
                    follow = follow.with_groups(printer.groups());
                }
            }
        }
    }
}

/// Returns a log line for people; `None` for what happens at each invocation.
pub(crate) fn readable(line: &str) -> Option<String> {
    line::text(&Entry::read(line))
}

/// Returns what an invocation took, if that is what a log line tells.
pub(crate) fn report(line: &str) -> Option<serde_json::Value> {
    match Entry::read(line).what {
        What::Report(report) => Some(json!(report)),
        What::Said { .. } | What::Metrics(_) | What::Platform(_) | What::Routine => None,
    }
}

/// Prints lines, each with who wrote it.
struct Printer {
    /// Who writes, by log group.
    writers: BTreeMap<String, String>,
    width: usize,
    as_json: bool,
    level: Option<Level>,
    /// Of the line before, in days since 1970: lines tell the time of day only.
    day: u64,
    has_printed: bool,
}

impl Printer {
    fn new(writers: BTreeMap<String, String>, as_json: bool, level: Option<Level>) -> Self {
        Self {
            width: writers.values().map(String::len).max().unwrap_or(0),
            writers,
            as_json,
            level,
            day: now_ms() / DAY_MS,
            has_printed: false,
        }
    }

    fn groups(&self) -> Vec<String> {
        self.writers.keys().cloned().collect()
    }

    fn print(&mut self, events: &[LogEvent]) -> Result<(), Failure> {
        for event in events {
            let entry = Entry::read(&event.message);
            if self.level.is_some_and(|level| !entry.is_at_least(level)) {
                continue;
            }
            let name = self.writers.get(&event.group).map_or("", String::as_str);
            if self.as_json {
                self.has_printed = true;
                ui::json(&as_json(event, &entry, name))?;
                continue;
            }
            let writer = Writer {
                name,
                color: self.writers.keys().position(|group| *group == event.group).unwrap_or(0),
                width: self.width,
            };
            if let Some(line) = line::human(&entry, event.timestamp_ms, writer) {
                let day = event.timestamp_ms / DAY_MS;
                if day != self.day {
                    self.day = day;
                    ui::data(paint(DIM, date(event.timestamp_ms)))?;
                }
                self.has_printed = true;
                ui::data(line)?;
            }
        }
        Ok(())
    }
}

fn as_json(event: &LogEvent, entry: &Entry, function: &str) -> serde_json::Value {
    let mut line = json!({
        "timestamp": event.timestamp_ms,
        "function": function,
        "stream": event.stream,
        "message": serde_json::from_str(&event.message).unwrap_or_else(|_| json!(event.message)),
    });
    if let Some(level) = entry.level {
        line["level"] = format!("{level:?}").to_uppercase().into();
    }
    if let Some(id) = &entry.request_id {
        line["requestId"] = id.as_str().into();
    }
    if let What::Report(report) = &entry.what {
        line["report"] = json!(report);
    }
    line
}

/// Returns `2026-11-22`.
fn date(timestamp_ms: u64) -> String {
    let at = i64::try_from(timestamp_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.unwrap_or_default().to_string().chars().take(10).collect()
}

fn select(all: BTreeMap<String, String>, asked: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    if let Some(unknown) = asked.iter().find(|name| !all.values().any(|writer| writer == *name)) {
        let known: Vec<_> = all.values().map(String::as_str).collect();
        return Err(Failure::usage(format!("there is no function `{unknown}`"))
            .help(format!("there are logs of {}", known.join(", "))));
    }
    Ok(all
        .into_iter()
        .filter(|(_, writer)| asked.is_empty() || asked.contains(writer))
        .collect())
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
