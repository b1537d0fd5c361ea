//! A deployment as it happens: live rows on a terminal, plain lines elsewhere, and events for programs.
//!
//! What has ended stays as a line in either case; a terminal shows what is running in [`live`] rows below. With
//! `--output json`, everything is also an event on stdout, see [`mod@json`].

pub(crate) mod json;
mod live;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use infra_cdk::{Graph, Kind, LogicalId};
use infra_engine::{Action, Event, Plan};
use serde_json::{Value as Json, json};

use self::live::Live;
use crate::plan_view::{self, style};
use crate::ui::{self, DIM, RED, YELLOW, paint};

/// A living owner renews its lock long before so little is left; see `LEASE_S` in the engine.
const LEASE_IN_DOUBT_S: u64 = 15;
/// Keys of rows that are no steps.
const BUILD: &str = "build";
const LOCK: &str = "lock";

/// Shows what happens; may be cloned and called from any task.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    to_programs: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    live: Option<Live>,
    total: usize,
    ended: usize,
    running: BTreeMap<LogicalId, (Kind, Action)>,
    /// Who was last said to hold the lock, and whether that is in doubt.
    waiting_for: Option<(String, bool)>,
}

impl Progress {
    /// Starts the clock of a command. With `to_programs`, events go to stdout.
    pub(crate) fn start(to_programs: bool) -> Self {
        let live = ui::is_interactive().then(Live::start);
        Self {
            shared: Arc::new(Shared {
                began: Instant::now(),
                to_programs,
                state: Mutex::new(State {
                    live,
                    ..State::default()
                }),
            }),
        }
    }

    /// Tells programs what follows.
    pub(crate) fn begun(&self, command: &str, graph: &Graph, region: &str) {
        self.emit(json!({
            "event": "begun",
            "schemaVersion": json::SCHEMA_VERSION,
            "command": command,
            "stack": graph.stack().to_string(),
            "region": region,
        }));
        if let Some(live) = &self.state().live {
            live.summarise(&paint(DIM, "reading what is deployed"));
        }
    }

    /// The functions of these names are being built.
    pub(crate) fn building<'n>(&self, names: impl ExactSizeIterator<Item = &'n String>) {
        let count = names.len();
        self.emit(json!({ "event": "buildStarted", "functions": names.collect::<Vec<_>>() }));
        if let Some(live) = &self.state().live {
            live.begin(BUILD, &format!("{count} functions"));
        }
    }

    /// Returns whether [`Progress::build_status`] is shown anywhere.
    pub(crate) fn shows_build_status(&self) -> bool {
        self.state().live.is_some()
    }

    /// What the compiler is doing.
    pub(crate) fn build_status(&self, status: &str) {
        if let Some(live) = &self.state().live {
            live.note(BUILD, status);
        }
    }

    /// A function has been compiled and packed.
    pub(crate) fn packaged(&self, function: &str, sha256: &str, bytes: usize) {
        self.emit(json!({ "event": "packaged", "function": function, "sha256": sha256, "bytes": bytes }));
    }

    /// The build has ended.
    pub(crate) fn built(&self, succeeded: bool, elapsed: Duration) {
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.emit(json!({ "event": "buildFinished", "succeeded": succeeded, "elapsedMs": elapsed_ms }));
        if let Some(live) = &self.state().live {
            live.end(BUILD);
        }
    }

    /// This will be done.
    pub(crate) fn planned(&self, plan: &Plan) {
        let mut event = plan_view::json(plan);
        event["event"] = "plan".into();
        self.emit(event);
        let mut state = self.state();
        state.total = plan.steps.len();
        state.summarise();
    }

    /// Shows an event of the engine.
    pub(crate) fn show(&self, event: &Event) {
        self.emit(json::of_engine(event));
        let mut state = self.state();
        if let Some(line) = state.line(event) {
            ui::say(line);
        }
        state.draw(event);
    }

    /// Ctrl-C was pressed for the first time.
    pub(crate) fn interrupted(&self) {
        self.emit(json!({ "event": "interrupted" }));
        let running = self.state().running.len();
        ui::say(paint(
            YELLOW,
            format_args!(
                "  nothing new is begun; {running} steps in flight end first. Ctrl-C again leaves at once, safely"
            ),
        ));
    }

    /// Ends drawing and returns the time since the start.
    pub(crate) fn finish(&self) -> Duration {
        let live = self.state().live.take();
        drop(live);
        self.shared.began.elapsed()
    }

    /// Tells programs how it ended: always the last line.
    ///
    /// # Errors
    /// When nobody reads stdout any more.
    pub(crate) fn result(&self, mut result: Json) -> Result<(), crate::failure::Failure> {
        if !self.shared.to_programs {
            return Ok(());
        }
        result["event"] = "result".into();
        result["schemaVersion"] = json::SCHEMA_VERSION.into();
        result["elapsedMs"] = self.elapsed_ms().into();
        ui::json(&result)
    }

    fn emit(&self, mut event: Json) {
        if self.shared.to_programs {
            event["atMs"] = self.elapsed_ms().into();
            // That nobody reads any more is told with the result.
            let _ = ui::json(&event);
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.shared.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock only means that another line was not printed.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes an event and returns its line, if it has one.
    fn line(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::WaitingForLock {
                owner,
                since_s,
                seconds_left,
            } => {
                // Once per owner, and once more when it seems to be dead; a terminal counts in place.
                let now = (owner.clone(), *seconds_left <= LEASE_IN_DOUBT_S);
                let is_news = self.live.is_none() && self.waiting_for.as_ref() != Some(&now);
                self.waiting_for = Some(now);
                is_news.then(|| format!("  … {}", waiting(owner, *since_s, *seconds_left)))
            }
            Event::Started { id, kind, action } => {
                self.running.insert(id.clone(), (*kind, *action));
                self.live.is_none().then(|| format!("{} …", step(*action, *kind, id)))
            }
            Event::Retrying { id, error, delay_ms } => self
                .live
                .is_none()
                .then(|| paint(DIM, format_args!("  … {id}: {error}; {}", again(*delay_ms)))),
            Event::Finished {
                id,
                kind,
                action,
                elapsed_ms,
            } => {
                self.end(id);
                let elapsed = paint(DIM, ui::duration(Duration::from_millis(*elapsed_ms)));
                Some(format!("{} {elapsed}", step(*action, *kind, id)))
            }
            Event::Failed {
                id,
                kind,
                action,
                error,
            } => {
                self.end(id);
                Some(format!(
                    "{} {}",
                    step(*action, *kind, id),
                    paint(RED, format_args!("failed: {error}"))
                ))
            }
            Event::Skipped {
                id,
                kind,
                action,
                needs,
            } => {
                self.end(id);
                let why = needs.as_ref().map(|needs| format!(", because of {needs}"));
                let skipped = paint(YELLOW, format_args!("skipped{}", why.unwrap_or_default()));
                Some(format!("{} {skipped}", step(*action, *kind, id)))
            }
        }
    }

    fn end(&mut self, id: &LogicalId) {
        self.running.remove(id);
        self.ended += 1;
    }

    /// Redraws the row that an event is about.
    fn draw(&self, event: &Event) {
        let Some(live) = &self.live else { return };
        match event {
            Event::WaitingForLock {
                owner,
                since_s,
                seconds_left,
            } => live.note(LOCK, &waiting(owner, *since_s, *seconds_left)),
            Event::Started { id, kind, action } => {
                live.end(LOCK);
                live.begin(&key(*action, id), step(*action, *kind, id).trim_start());
            }
            Event::Retrying { id, error, delay_ms } => {
                if let Some((kind, action)) = self.running.get(id) {
                    let row = format!(
                        "{} {}",
                        step(*action, *kind, id).trim_start(),
                        paint(DIM, format_args!("{}: {error}", again(*delay_ms)))
                    );
                    live.note(&key(*action, id), &row);
                }
            }
            Event::Finished { id, action, .. }
            | Event::Failed { id, action, .. }
            | Event::Skipped { id, action, .. } => live.end(&key(*action, id)),
        }
        self.summarise();
    }

    fn summarise(&self) {
        if let Some(live) = &self.live {
            live.summarise(&paint(DIM, format_args!("{} of {} done", self.ended, self.total)));
        }
    }
}

/// Returns who is waited for, and how long at most.
fn waiting(owner: &str, since_s: u64, seconds_left: u64) -> String {
    let since = ui::duration(Duration::from_secs(since_s));
    let outlook = if seconds_left <= LEASE_IN_DOUBT_S {
        format!("it gives no sign of life, and its lock ends in {seconds_left} s")
    } else {
        format!("waiting; its lock ends in {seconds_left} s unless it is renewed")
    };
    paint(
        YELLOW,
        format_args!("{owner} has been deploying this stack for {since}; {outlook}"),
    )
}

fn again(delay_ms: u64) -> String {
    format!("again in {}", ui::duration(Duration::from_millis(delay_ms)))
}

/// Returns the key of a step's row: a replaced resource has two steps.
fn key(action: Action, id: &LogicalId) -> String {
    format!("{action} {id}")
}

fn step(action: Action, kind: Kind, id: &LogicalId) -> String {
    format!(
        "  {} {} {id}",
        paint(style(action), action.symbol()),
        kind.cloudformation_type()
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use infra_engine::{Class, CloudError};

    use super::*;

    fn events() -> Vec<Event> {
        let id: LogicalId = "Connections".parse().unwrap();
        let (kind, action) = (Kind::Table, Action::Create);
        let error = |code: &str, class| CloudError {
            operation: "dynamodb:CreateTable".to_owned(),
            code: code.to_owned(),
            message: "the message".to_owned(),
            request_id: Some("4711".to_owned()),
            class,
        };
        let waiting = |since_s, seconds_left| Event::WaitingForLock {
            owner: "ada@laptop (process 7)".to_owned(),
            since_s,
            seconds_left,
        };
        vec![
            waiting(65, 29),
            waiting(66, 28),
            waiting(79, 15),
            waiting(80, 14),
            Event::Started {
                id: id.clone(),
                kind,
                action,
            },
            Event::Retrying {
                id: id.clone(),
                error: error("ThrottlingException", Class::Throttled),
                delay_ms: 250,
            },
            Event::Finished {
                id: id.clone(),
                kind,
                action,
                elapsed_ms: 1_234,
            },
            Event::Failed {
                id: id.clone(),
                kind,
                action,
                error: error("AccessDeniedException", Class::Denied),
            },
            Event::Skipped {
                id: id.clone(),
                kind,
                action,
                needs: Some("ConnectRole".parse().unwrap()),
            },
            Event::Skipped {
                id,
                kind,
                action,
                needs: None,
            },
        ]
    }

    #[test]
    fn without_a_terminal_each_event_has_one_line() {
        let mut state = State::default();
        let lines: Vec<_> = events().iter().filter_map(|event| state.line(event)).collect();
        insta::assert_snapshot!(anstream::adapter::strip_str(&lines.join("\n")));
        assert!(state.running.is_empty());
    }

    #[test]
    fn programs_are_told_the_same() {
        let lines: Vec<_> = events()
            .iter()
            .map(|event| json::of_engine(event).to_string())
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
