//! The figures of a benchmark, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::call::{Call, Purpose};
use super::measure::{Measured, Phase};

/// All runs of one stack.
#[derive(Debug)]
pub(crate) struct Figures {
    /// For example `chat`.
    pub(crate) stack: String,
    /// What every call took longer.
    pub(crate) latency: Duration,
    /// One entry per run.
    pub(crate) runs: Vec<BTreeMap<Phase, Measured>>,
    /// Whether each call is shown, with its times.
    pub(crate) timeline: bool,
}

/// One phase over all runs: times are medians, calls those of the run with most of them.
#[derive(Debug)]
struct Line<'a> {
    phase: Phase,
    elapsed: Duration,
    critical: Duration,
    /// The fewest of all runs: what comes on top is a busy machine.
    sequential: usize,
    busiest: &'a Measured,
    /// The run whose time is the median.
    median: &'a Measured,
}

impl Line<'_> {
    /// Returns the time as a multiple of the critical path; `None` where nothing was called.
    fn ratio(&self) -> Option<f64> {
        (!self.critical.is_zero()).then(|| self.elapsed.as_secs_f64() / self.critical.as_secs_f64())
    }
}

/// Returns calls as they began.
fn by_start(calls: &[Call]) -> impl Iterator<Item = &Call> {
    let mut calls: Vec<&Call> = calls.iter().collect();
    calls.sort_by_key(|call| call.start);
    calls.into_iter()
}

impl Figures {
    fn lines(&self) -> Vec<Line<'_>> {
        let phases = self.runs.first().into_iter().flat_map(BTreeMap::keys);
        let lines = phases.filter_map(|phase| {
            let runs: Vec<&Measured> = self.runs.iter().filter_map(|run| run.get(phase)).collect();
            let busiest = *runs.iter().max_by_key(|run| run.calls.len())?;
            let mut by_time = runs.clone();
            by_time.sort_by_key(|run| run.elapsed);
            let median = *by_time.get(by_time.len() / 2)?;
            Some(Line {
                phase: *phase,
                elapsed: median.elapsed,
                median,
                critical: median.critical,
                sequential: runs.iter().map(|run| run.sequential()).min()?,
                busiest,
            })
        });
        lines.collect()
    }

    /// Returns a table, and the calls of each phase by operation.
    pub(crate) fn human(&self) -> String {
        let mut text = format!(
            "{}: medians of {} runs, {} ms added to every call\n\n\
             {:<20} {:>8} {:>6} {:>6} {:>9} {:>6} {:>11} {:>14} {:>6}\n",
            self.stack,
            self.runs.len(),
            self.latency.as_millis(),
            "phase",
            "time",
            "calls",
            "reads",
            "mutating",
            "state",
            "sequential",
            "critical path",
            "ratio",
        );
        let lines = self.lines();
        for line in &lines {
            let Line {
                phase,
                elapsed,
                critical,
                sequential,
                busiest,
                median: _,
            } = line;
            let ratio = line.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let _ = writeln!(
                text,
                "{:<20} {:>6} ms {:>6} {:>6} {:>9} {:>6} {:>11} {:>11} ms {:>6}",
                phase.name(),
                elapsed.as_millis(),
                busiest.calls.len(),
                busiest.count(Purpose::Read),
                busiest.count(Purpose::Mutating),
                busiest.count(Purpose::State),
                sequential,
                critical.as_millis(),
                ratio,
            );
        }
        for Line {
            phase, busiest, median, ..
        } in lines
        {
            let _ = write!(text, "\n{}:", phase.name());
            for ((purpose, operation), count) in busiest.operations() {
                let of = if purpose == Purpose::State { " (state)" } else { "" };
                let _ = write!(text, "\n  {count:>3} {operation}{of}");
            }
            if !busiest.chain.is_empty() {
                let _ = write!(text, "\n  longest chain: {}", busiest.chain.join(", "));
            }
            for call in by_start(&median.calls).filter(|_| self.timeline) {
                let _ = write!(
                    text,
                    "\n  {:>6} – {:>6} ms  {}",
                    call.start.as_millis(),
                    call.end.as_millis(),
                    call.operation,
                );
                let _ = match call.status {
                    Some(200..300) => Ok(()),
                    Some(status) => write!(text, " {status}"),
                    None => write!(text, " no answer"),
                };
            }
            text.push('\n');
        }
        text
    }

    /// Returns the same for programs: `phases` by name, times in milliseconds.
    pub(crate) fn json(&self) -> Json {
        let phases: serde_json::Map<String, Json> = self
            .lines()
            .into_iter()
            .map(|line| {
                let operations: Vec<Json> = line
                    .busiest
                    .operations()
                    .into_iter()
                    .map(|((purpose, operation), count)| {
                        json!({"operation": operation, "purpose": purpose, "calls": count})
                    })
                    .collect();
                let mut figures = json!({
                    "elapsedMs": line.elapsed.as_millis() as u64,
                    "calls": line.busiest.calls.len(),
                    "reads": line.busiest.count(Purpose::Read),
                    "mutating": line.busiest.count(Purpose::Mutating),
                    "state": line.busiest.count(Purpose::State),
                    "sequential": line.sequential,
                    "criticalPathMs": line.critical.as_millis() as u64,
                    "ratio": line.ratio(),
                    "changed": line.busiest.changed,
                    "longestChain": line.busiest.chain,
                    "operations": operations,
                });
                if self.timeline {
                    figures["timeline"] = by_start(&line.median.calls)
                        .map(|call| {
                            json!({
                                "operation": call.operation,
                                "purpose": call.purpose,
                                "startMs": call.start.as_millis() as u64,
                                "endMs": call.end.as_millis() as u64,
                                "status": call.status,
                            })
                        })
                        .collect();
                }
                (line.phase.name().to_owned(), figures)
            })
            .collect();
        json!({
            "stack": self.stack,
            "latencyMs": self.latency.as_millis() as u64,
            "runs": self.runs.len(),
            "phases": phases,
        })
    }
}
