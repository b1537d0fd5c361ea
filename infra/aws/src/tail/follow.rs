//! Follows log groups: each line once, none left out.
//!
//! By live tails where the endpoint has them, and by reading again and again elsewhere. A live tail does not tell what came
//! before it or while it was away, and leaves lines out when there are many: then the groups are read as well.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use infra_engine::CloudError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::live::{self, GROUPS_MAX, Update};
use super::{LogEvent, Logs, by_time};

/// Lines may arrive this much later than younger ones: every reading goes so far back.
const LATE_MS: u64 = 10_000;
/// Between two readings of an emulator.
const PACE_LOCAL: Duration = Duration::from_millis(200);
/// Between two readings of CloudWatch Logs, which allows about five calls a second; each group is one.
const PACE_AWS: Duration = Duration::from_secs(2);
/// After a live tail has begun or left lines out, readings find what it has missed within this time.
const SETTLED: Duration = Duration::from_secs(10);

/// Reads new lines, each once.
#[derive(Debug)]
pub struct Follow {
    logs: Logs,
    groups: Vec<String>,
    filter: Option<String>,
    seen: Seen,
    pace: Duration,
    /// When to read the groups next.
    read_at: Instant,
    /// Until when to read although all live tails are open.
    unsettled_until: Instant,
    tails: Tails,
}

/// The live tails, each in a task of its own.
#[derive(Debug)]
struct Tails {
    updates: mpsc::Receiver<Update>,
    /// How many there are, and how many are open now.
    count: usize,
    open: usize,
    _tasks: JoinSet<()>,
}

impl Follow {
    /// Follows groups from a moment on (milliseconds since 1970). `filter` is a filter pattern of CloudWatch Logs.
    #[must_use]
    pub fn new(logs: Logs, groups: Vec<String>, since_ms: u64, filter: Option<String>) -> Self {
        let pace = logs.session.pace(PACE_AWS, PACE_LOCAL);
        let now = Instant::now();
        Self {
            tails: Tails::open(&logs, &groups, filter.as_deref()),
            logs,
            groups,
            filter,
            seen: Seen::new(since_ms),
            pace,
            read_at: now,
            unsettled_until: now,
        }
    }

    /// Goes on with other groups.
    #[must_use]
    pub fn with_groups(self, groups: Vec<String>) -> Self {
        Self {
            seen: self.seen,
            ..Self::new(self.logs, groups, 0, self.filter)
        }
    }

    /// Waits for new lines and returns them in order of time. May be dropped and called again: nothing is lost.
    ///
    /// # Errors
    /// As [`Logs::events`]; nothing is lost, the next call brings the same lines.
    pub async fn next(&mut self) -> Result<Vec<LogEvent>, CloudError> {
        loop {
            let events = tokio::select! {
                update = self.tails.updates.recv(), if self.tails.count > 0 => match update {
                    Some(update) => self.updated(update),
                    None => { self.tails.count = 0; Vec::new() }
                },
                () = sleep_until(self.read_at), if self.must_read() => self.read().await?,
            };
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    fn must_read(&self) -> bool {
        self.tails.count == 0 || self.tails.open < self.tails.count || self.read_at <= self.unsettled_until
    }

    async fn read(&mut self) -> Result<Vec<LogEvent>, CloudError> {
        // Before the call: what fails is tried again at the same pace.
        self.read_at = Instant::now() + self.pace;
        let (since, filter) = (self.seen.since_ms(), self.filter.as_deref());
        let events = self.logs.events(&self.groups, since, None, filter).await?;
        Ok(self.seen.new_of_reading(events))
    }

    fn updated(&mut self, update: Update) -> Vec<LogEvent> {
        let mut missed = || self.unsettled_until = Instant::now() + SETTLED;
        match update {
            Update::Began => {
                missed();
                self.tails.open += 1;
                Vec::new()
            }
            Update::Ended => {
                self.tails.open = self.tails.open.saturating_sub(1);
                self.read_at = Instant::now();
                Vec::new()
            }
            Update::Refused => {
                self.tails = Tails::none();
                self.read_at = self.read_at.min(Instant::now() + self.pace);
                Vec::new()
            }
            Update::Lines { events, is_sampled } => {
                if is_sampled {
                    missed();
                    self.read_at = self.read_at.max(Instant::now());
                }
                self.seen.new_of_tail(events)
            }
        }
    }
}

impl Tails {
    fn open(logs: &Logs, groups: &[String], filter: Option<&str>) -> Self {
        let (sender, updates) = mpsc::channel(16);
        let mut tasks = JoinSet::new();
        for groups in groups.chunks(GROUPS_MAX) {
            let filter = filter.map(str::to_owned);
            tasks.spawn(live::keep_open(
                logs.session.clone(),
                groups.to_vec(),
                filter,
                sender.clone(),
            ));
        }
        Self {
            updates,
            count: tasks.len(),
            open: 0,
            _tasks: tasks,
        }
    }

    fn none() -> Self {
        Self {
            updates: mpsc::channel(1).1,
            count: 0,
            open: 0,
            _tasks: JoinSet::new(),
        }
    }
}

/// Which lines were given out already.
///
/// Readings know lines by their ids; live tails do not tell them. A line that was told by both is one: of equal lines (same
/// group, stream, time and text), as many are given out as one of the two has told.
#[derive(Debug)]
struct Seen {
    start_ms: u64,
    last_ms: u64,
    /// What readings may bring again.
    lines: BTreeMap<Line, Told>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    timestamp_ms: u64,
    group: String,
    stream: String,
    message: String,
}

#[derive(Debug, Default)]
struct Told {
    /// Their ids.
    by_readings: BTreeSet<String>,
    /// How many.
    by_tails: usize,
}

impl Seen {
    const fn new(start_ms: u64) -> Self {
        Self {
            start_ms,
            last_ms: start_ms,
            lines: BTreeMap::new(),
        }
    }

    /// Returns where the next reading begins.
    fn since_ms(&self) -> u64 {
        self.last_ms.saturating_sub(LATE_MS).max(self.start_ms)
    }

    fn new_of_reading(&mut self, events: Vec<LogEvent>) -> Vec<LogEvent> {
        self.new_ones(events, |told, event| {
            told.by_readings.insert(event.event_id.clone()) && told.by_readings.len() > told.by_tails
        })
    }

    fn new_of_tail(&mut self, events: Vec<LogEvent>) -> Vec<LogEvent> {
        self.new_ones(events, |told, _| {
            told.by_tails += 1;
            told.by_tails > told.by_readings.len()
        })
    }

    fn new_ones(&mut self, mut events: Vec<LogEvent>, is_new: impl Fn(&mut Told, &LogEvent) -> bool) -> Vec<LogEvent> {
        events.retain(|event| {
            let line = Line {
                timestamp_ms: event.timestamp_ms,
                group: event.group.clone(),
                stream: event.stream.clone(),
                message: event.message.clone(),
            };
            is_new(self.lines.entry(line).or_default(), event)
        });
        events.sort_by(by_time);
        self.last_ms = events.last().map_or(0, |event| event.timestamp_ms).max(self.last_ms);
        let since_ms = self.since_ms();
        self.lines.retain(|line, _| line.timestamp_ms >= since_ms);
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, timestamp_ms: u64) -> LogEvent {
        LogEvent {
            group: "g".into(),
            stream: "s".into(),
            timestamp_ms,
            message: id.trim_end_matches('\'').into(),
            event_id: id.into(),
        }
    }

    fn ids(events: Vec<LogEvent>) -> Vec<String> {
        events.into_iter().map(|event| event.event_id).collect()
    }

    #[test]
    fn late_lines_come_once_and_none_comes_twice() {
        let mut seen = Seen::new(1_000);
        assert_eq!(seen.since_ms(), 1_000);
        assert_eq!(
            ids(seen.new_of_reading(vec![event("a", 20_000), event("b", 21_000)])),
            ["a", "b"]
        );
        assert_eq!(seen.since_ms(), 11_000);
        let again = vec![
            event("late", 15_000),
            event("a", 20_000),
            event("b", 21_000),
            event("c", 21_000),
        ];
        assert_eq!(ids(seen.new_of_reading(again.clone())), ["late", "c"]);
        assert_eq!(ids(seen.new_of_reading(again)), Vec::<String>::new());
    }

    #[test]
    fn what_was_told_live_and_read_as_well_comes_once() {
        let mut seen = Seen::new(0);
        assert_eq!(ids(seen.new_of_tail(vec![event("a", 5), event("b", 6)])), ["a", "b"]);
        let read = vec![event("a", 5), event("b", 6), event("missed", 7)];
        assert_eq!(ids(seen.new_of_reading(read)), ["missed"]);
        assert_eq!(ids(seen.new_of_tail(vec![event("missed", 7), event("d", 8)])), ["d"]);
    }

    #[test]
    fn of_equal_lines_none_is_lost() {
        let mut seen = Seen::new(0);
        // Two equal lines, one of them left out by the live tail.
        assert_eq!(ids(seen.new_of_tail(vec![event("a", 5)])), ["a"]);
        assert_eq!(ids(seen.new_of_reading(vec![event("a", 5), event("a'", 5)])), ["a'"]);
        assert_eq!(ids(seen.new_of_tail(vec![event("a", 5)])), Vec::<String>::new());
        assert_eq!(ids(seen.new_of_tail(vec![event("a", 5)])), ["a"]);
    }

    #[test]
    fn what_is_too_old_to_come_again_is_forgotten() {
        let mut seen = Seen::new(0);
        seen.new_of_reading((0..100).map(|n| event(&n.to_string(), n * 1_000)).collect());
        assert_eq!(seen.lines.len(), 11);
    }
}
