//! `cargo xtask logs`: log lines of functions, merged by time.

mod line;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use infra_aws::{Follow, LogEvent};
use serde_json::json;
use tokio::sync::watch as latest;

use crate::cli::Logs;
use crate::commands::dev::Deployed;
use crate::commands::{App, DEFAULT_STAGE, outputs};
use crate::failure::{Exit, Failure};
use crate::target::Target;
use crate::ui;

/// Time between two polls of the local cloud.
const POLL_LOCAL: Duration = Duration::from_millis(200);
/// Time between two polls of CloudWatch Logs, which allows about five calls a second; each function is one.
const POLL_AWS: Duration = Duration::from_secs(2);

/// Runs it.
///
/// # Errors
/// An unknown function, a stage that is not deployed, or a wrong pattern.
pub(crate) async fn run(app: &App, options: &Logs) -> Result<Exit, Failure> {
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let scope = target.scope();
    let printing = async {
        let (session, outputs) = outputs::open(&target).await?;
        let functions = select(outputs.functions, &options.functions)?;
        let pace = if session.endpoint_url().is_some() {
            POLL_LOCAL
        } else {
            POLL_AWS
        };
        let mut printer = Printer::new(&functions, app.wants_json());
        let since_ms = now_ms().saturating_sub(u64::try_from(options.since.as_millis()).unwrap_or(u64::MAX));
        let reader = infra_aws::Logs::new(session);
        let mut follow = Follow::new(reader, printer.groups(), since_ms, options.filter.clone());
        loop {
            match follow.poll().await {
                Ok(events) => printer.print(&events)?,
                // A broken connection must not end a long watch; the next poll brings the same lines.
                Err(error) if options.follow && error.class.is_retryable() => {}
                Err(error) => return Err(Failure::cloud("the logs cannot be read", error, &scope)),
            }
            if !options.follow {
                return Ok(Exit::Ok);
            }
            tokio::time::sleep(pace).await;
        }
    };
    match app.interrupt.or(Box::pin(printing)).await {
        // Ctrl-C is how following is meant to end.
        Err(failure) if options.follow && failure.exit() == Exit::Interrupted => Ok(Exit::Ok),
        other => other,
    }
}

/// Prints the log lines of the local cloud from now on, and goes on with other functions when they are deployed.
///
/// # Errors
/// When stdout is closed.
pub(crate) async fn follow_while_deployed(
    mut deployments: latest::Receiver<Option<Deployed>>,
) -> Result<Exit, Failure> {
    let began_ms = now_ms();
    loop {
        let Some(deployed) = deployments.borrow_and_update().clone() else {
            return Ok(Exit::Ok);
        };
        let mut printer = Printer::new(&deployed.functions, false);
        let reader = infra_aws::Logs::new(deployed.session);
        let mut follow = Follow::new(reader, printer.groups(), began_ms, None);
        loop {
            // The local cloud answers as long as this process lives; a missed poll is made up for by the next.
            if let Ok(events) = follow.poll().await {
                printer.print(&events)?;
            }
            tokio::time::sleep(POLL_LOCAL).await;
            let has_other_functions = deployments
                .borrow()
                .as_ref()
                .is_some_and(|latest| latest.functions != deployed.functions);
            if has_other_functions {
                break;
            }
        }
    }
}

/// Prints lines, each with its function.
struct Printer {
    /// Names of function binaries by log group.
    names: BTreeMap<String, String>,
    width: usize,
    as_json: bool,
}

impl Printer {
    fn new(functions: &BTreeMap<String, String>, as_json: bool) -> Self {
        Self {
            names: functions
                .iter()
                .map(|(binary, name)| (log_group(name), binary.clone()))
                .collect(),
            width: functions.keys().map(String::len).max().unwrap_or(0),
            as_json,
        }
    }

    fn groups(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    fn print(&mut self, events: &[LogEvent]) -> Result<(), Failure> {
        for event in events {
            let function = self.names.get(&event.group).map_or("", String::as_str);
            if self.as_json {
                ui::json(&json!({
                    "timestamp": event.timestamp_ms,
                    "function": function,
                    "stream": event.stream,
                    "message": serde_json::from_str(&event.message).unwrap_or_else(|_| json!(event.message)),
                }))?;
            } else {
                let color = self.names.keys().position(|group| *group == event.group).unwrap_or(0);
                if let Some(line) = line::human(event, function, color, self.width) {
                    ui::data(line)?;
                }
            }
        }
        Ok(())
    }
}

/// Returns the log group that the stack gives to a Lambda function.
fn log_group(function_name: &str) -> String {
    format!("/aws/lambda/{function_name}")
}

fn select(all: BTreeMap<String, String>, asked: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    if let Some(unknown) = asked.iter().find(|name| !all.contains_key(*name)) {
        let known: Vec<_> = all.keys().map(String::as_str).collect();
        return Err(Failure::usage(format!("there is no function `{unknown}`"))
            .help(format!("deployed functions are {}", known.join(", "))));
    }
    Ok(all
        .into_iter()
        .filter(|(name, _)| asked.is_empty() || asked.contains(name))
        .collect())
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
