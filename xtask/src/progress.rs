//! A deployment as it happens: one line per step that ended, and on a terminal a last line with what is running.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use infra_cdk::{Kind, LogicalId};
use infra_engine::{Action, Event};

use crate::plan_view::style;
use crate::ui::{self, DIM, RED, YELLOW, paint};

/// Names that fit in the last line.
const RUNNING_SHOWN_MAX: usize = 4;

/// Shows events; may be called from any task.
#[derive(Debug)]
pub(crate) struct Progress {
    state: Mutex<State>,
    total: usize,
    began: Instant,
    is_interactive: bool,
}

#[derive(Debug, Default)]
struct State {
    ended: usize,
    running: BTreeSet<LogicalId>,
}

impl Progress {
    /// Starts the clock for a plan of `total` steps.
    pub(crate) fn new(total: usize) -> Self {
        Self {
            state: Mutex::default(),
            total,
            began: Instant::now(),
            is_interactive: ui::is_interactive(),
        }
    }

    /// Shows one event.
    pub(crate) fn show(&self, event: &Event) {
        // A poisoned lock only means that another line was not printed.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let line = state.line(event);
        if self.is_interactive {
            ui::clear_line();
        }
        if let Some(line) = line {
            ui::say(line);
        }
        if self.is_interactive {
            let running: Vec<_> = state
                .running
                .iter()
                .map(LogicalId::as_str)
                .take(RUNNING_SHOWN_MAX)
                .collect();
            let more = if state.running.len() > RUNNING_SHOWN_MAX {
                ", …"
            } else {
                ""
            };
            if !running.is_empty() {
                let status = format!("{}/{} {}{more}", state.ended, self.total, running.join(", "));
                ui::transient(&paint(DIM, status));
            }
        }
    }

    /// Empties the last line and returns the time since the start.
    pub(crate) fn finish(&self) -> Duration {
        if self.is_interactive {
            ui::clear_line();
        }
        self.began.elapsed()
    }
}

impl State {
    /// Notes an event and returns its line, if it has one.
    fn line(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::WaitingForLock { owner, seconds_left } => Some(paint(
                YELLOW,
                format_args!("  … {owner} is deploying this stack; waiting, at most {seconds_left} s"),
            )),
            Event::Started { id, .. } => {
                self.running.insert(id.clone());
                None
            }
            Event::Retrying { id, reason, delay_ms } => Some(paint(
                DIM,
                format_args!(
                    "  … {id}: {reason}; again in {}",
                    ui::duration(Duration::from_millis(*delay_ms))
                ),
            )),
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
            Event::Skipped { id, kind, action } => {
                self.end(id);
                Some(format!("{} {}", step(*action, *kind, id), paint(YELLOW, "skipped")))
            }
        }
    }

    fn end(&mut self, id: &LogicalId) {
        self.running.remove(id);
        self.ended += 1;
    }
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

    use super::*;

    #[test]
    fn each_step_that_ends_has_one_line() {
        let id: LogicalId = "Connections".parse().unwrap();
        let (kind, action) = (Kind::Table, Action::Create);
        let events = [
            Event::Started {
                id: id.clone(),
                kind,
                action,
            },
            Event::Retrying {
                id: id.clone(),
                reason: "ThrottlingException".to_owned(),
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
                error: "dynamodb:CreateTable failed".to_owned(),
            },
            Event::Skipped { id, kind, action },
        ];
        let mut state = State::default();
        let lines: Vec<_> = events.iter().filter_map(|event| state.line(event)).collect();
        insta::assert_snapshot!(anstream::adapter::strip_str(&lines.join("\n")));
        assert!(state.running.is_empty());
    }
}
