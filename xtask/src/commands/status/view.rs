//! What people see of a stage.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Shown;
use super::drift::State;
use super::health::FunctionStatus;
use crate::ui::{BOLD, DIM, GREEN, RED, YELLOW, paint};

/// Longest last error that fits beside the figures.
const ERROR_CHARS: usize = 60;

/// Returns the whole screen, without a final line break.
pub(super) fn human(shown: &Shown) -> String {
    let mut text = shown.outputs.addresses();
    text.push('\n');
    text.push_str(&resources(shown));
    text.push_str(&functions(&shown.functions));
    let rooms = shown
        .rooms
        .iter()
        .map(|room| format!("{} {BOLD}{}{BOLD:#}", room.room, room.connections));
    let rooms: Vec<String> = rooms.collect();
    if !rooms.is_empty() {
        line(&mut text, "connections", &rooms.join(", "));
    }
    text.push_str(&alarms(shown));
    for note in &shown.notes {
        line(&mut text, "note", note);
    }
    text.truncate(text.trim_end().len());
    text
}

fn line(text: &mut String, heading: &str, value: &str) {
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "{DIM}{heading:14}{DIM:#}  {value}");
}

fn resources(shown: &Shown) -> String {
    let mut counts: BTreeMap<State, usize> = BTreeMap::new();
    for resource in &shown.resources {
        *counts.entry(resource.state).or_default() += 1;
    }
    let counted = counts.iter().map(|(state, count)| {
        let style = match state {
            State::Live => GREEN,
            State::Drifted | State::Missing | State::Failed => RED,
            State::Unrecorded | State::Outdated | State::NotDeployed => YELLOW,
        };
        paint(style, format_args!("{count} {}", state.words()))
    });
    let mut text = String::new();
    line(&mut text, "resources", &counted.collect::<Vec<_>>().join(", "));
    for resource in shown.resources.iter().filter(|resource| resource.state != State::Live) {
        let differs = resource.differs.join(", ");
        let value = format!("{BOLD}{}{BOLD:#} is {}: {differs}", resource.id, resource.state.words());
        line(&mut text, "", &value);
    }
    text
}

fn functions(functions: &[FunctionStatus]) -> String {
    let width = functions
        .iter()
        .map(|function| function.function.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    let heading = format!(
        "{:width$}  version  memory  calls  errors      p50       p99  last error",
        ""
    );
    line(&mut text, "last hour", &paint(DIM, heading));
    for function in functions {
        let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1} ms"));
        let errors = format!("{:>6}", function.errors + function.throttles);
        let errors = match function.errors + function.throttles > 0.0 {
            true => paint(RED, errors),
            false => errors,
        };
        let last_error = function.last_error.as_ref().map(|error| {
            let message: String = error.message.chars().take(ERROR_CHARS).collect();
            paint(RED, message)
        });
        let value = format!(
            "{:width$}  {:>7}  {:>6}  {:>5}  {errors}  {:>7}  {:>8}  {}",
            function.function,
            function.version.as_deref().unwrap_or("-"),
            function
                .memory_mb
                .map_or_else(|| "-".to_owned(), |memory| memory.to_string()),
            function.invocations,
            ms(function.p50_ms),
            ms(function.p99_ms),
            last_error.unwrap_or_default(),
        );
        line(&mut text, "", value.trim_end());
    }
    text
}

fn alarms(shown: &Shown) -> String {
    let mut text = String::new();
    let all = shown.alarms.len();
    if all == 0 {
        return text;
    }
    let is_raised = |state: &str| state == "ALARM";
    let raised: Vec<_> = shown.alarms.iter().filter(|alarm| is_raised(&alarm.state)).collect();
    let summary = match raised.len() {
        0 => paint(GREEN, format_args!("none of {all} is raised")),
        count => paint(RED, format_args!("{count} of {all} are raised")),
    };
    line(&mut text, "alarms", &summary);
    for alarm in raised {
        line(
            &mut text,
            "",
            &format!("{BOLD}{}{BOLD:#}: {}", alarm.name, alarm.reason),
        );
    }
    text
}
