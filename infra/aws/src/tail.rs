//! Reads log lines.
//!
//! By `FilterLogEvents`, which every emulator knows too: one log group a call, pages in order of time, empty pages in
//! between (CloudWatch Logs API Reference, `FilterLogEvents`).

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use infra_engine::CloudError;
use serde_json::{Value as Json, json};

use crate::Session;
use crate::error::found;

/// Lines may arrive this much later than younger ones: every poll reads so far back.
const LATE_MS: u64 = 10_000;

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// Name of the log group.
    pub group: String,
    /// Name of the log stream: one per execution environment.
    pub stream: String,
    /// Milliseconds since 1970.
    pub timestamp_ms: u64,
    /// The line, without its final line break.
    pub message: String,
    /// Unique within the group.
    pub event_id: String,
}

/// Reads the logs of an account and Region.
#[derive(Clone, Debug)]
pub struct Logs {
    session: Session,
}

impl Logs {
    /// Returns a reader.
    #[must_use]
    pub fn new(session: Session) -> Self {
        Self { session }
    }

    /// Returns the lines of several groups since a moment (milliseconds since 1970), in order of time. `filter` is a
    /// filter pattern of CloudWatch Logs. A group that does not exist has no lines.
    ///
    /// # Errors
    /// When a group cannot be read. A wrong pattern is `InvalidParameterException`.
    pub async fn events(
        &self,
        groups: &[String],
        since_ms: u64,
        filter: Option<&str>,
    ) -> Result<Vec<LogEvent>, CloudError> {
        let reads = groups.iter().map(|group| self.group_events(group, since_ms, filter));
        let mut events: Vec<_> = try_join_all(reads).await?.into_iter().flatten().collect();
        events.sort_by(|one, other| {
            (one.timestamp_ms, &one.group, &one.event_id).cmp(&(other.timestamp_ms, &other.group, &other.event_id))
        });
        Ok(events)
    }

    async fn group_events(
        &self,
        group: &str,
        since_ms: u64,
        filter: Option<&str>,
    ) -> Result<Vec<LogEvent>, CloudError> {
        let mut events = Vec::new();
        let mut next_token: Option<Json> = None;
        loop {
            let mut input = json!({"logGroupName": group, "startTime": since_ms});
            if let Some(filter) = filter {
                input["filterPattern"] = filter.into();
            }
            if let Some(token) = next_token.take() {
                input["nextToken"] = token;
            }
            let Some(page) = found(self.session.logs("FilterLogEvents", &input).await)? else {
                return Ok(events);
            };
            let page_events = page.get("events").and_then(Json::as_array);
            events.extend(page_events.into_iter().flatten().filter_map(|event| read(group, event)));
            next_token = page.get("nextToken").filter(|token| token.is_string()).cloned();
            if next_token.is_none() {
                return Ok(events);
            }
        }
    }
}

/// Reads new lines again and again, each once.
#[derive(Debug)]
pub struct Follow {
    logs: Logs,
    groups: Vec<String>,
    filter: Option<String>,
    seen: Seen,
}

impl Follow {
    /// Follows groups from a moment on (milliseconds since 1970).
    #[must_use]
    pub fn new(logs: Logs, groups: Vec<String>, since_ms: u64, filter: Option<String>) -> Self {
        Self {
            logs,
            groups,
            filter,
            seen: Seen::new(since_ms),
        }
    }

    /// Returns the lines that have come since the last poll, in order of time. The caller chooses the pace; CloudWatch
    /// Logs allows about five calls a second, and each group is one.
    ///
    /// # Errors
    /// As [`Logs::events`]; nothing is lost, the next poll brings the same lines.
    pub async fn poll(&mut self) -> Result<Vec<LogEvent>, CloudError> {
        let events = self
            .logs
            .events(&self.groups, self.seen.since_ms(), self.filter.as_deref())
            .await?;
        Ok(self.seen.new_ones(events))
    }
}

/// Which lines were given out already.
#[derive(Debug)]
struct Seen {
    start_ms: u64,
    last_ms: u64,
    /// Group and id of each line that the next poll may bring again, with its time.
    ids: BTreeMap<(String, String), u64>,
}

impl Seen {
    const fn new(start_ms: u64) -> Self {
        Self {
            start_ms,
            last_ms: start_ms,
            ids: BTreeMap::new(),
        }
    }

    /// Returns where the next poll begins.
    fn since_ms(&self) -> u64 {
        self.last_ms.saturating_sub(LATE_MS).max(self.start_ms)
    }

    fn new_ones(&mut self, events: Vec<LogEvent>) -> Vec<LogEvent> {
        let mut fresh = Vec::new();
        for event in events {
            let id = (event.group.clone(), event.event_id.clone());
            if self.ids.insert(id, event.timestamp_ms).is_none() {
                self.last_ms = self.last_ms.max(event.timestamp_ms);
                fresh.push(event);
            }
        }
        let since_ms = self.since_ms();
        self.ids.retain(|_, timestamp_ms| *timestamp_ms >= since_ms);
        fresh
    }
}

fn read(group: &str, event: &Json) -> Option<LogEvent> {
    let part = |name: &str| event.get(name).and_then(Json::as_str).unwrap_or_default();
    Some(LogEvent {
        group: group.to_owned(),
        stream: part("logStreamName").to_owned(),
        timestamp_ms: event.get("timestamp")?.as_u64()?,
        message: part("message").trim_end_matches(['\r', '\n']).to_owned(),
        event_id: part("eventId").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, timestamp_ms: u64) -> LogEvent {
        LogEvent {
            group: "g".into(),
            stream: "s".into(),
            timestamp_ms,
            message: id.into(),
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
            ids(seen.new_ones(vec![event("a", 20_000), event("b", 21_000)])),
            ["a", "b"]
        );
        assert_eq!(seen.since_ms(), 11_000);
        let again = vec![
            event("late", 15_000),
            event("a", 20_000),
            event("b", 21_000),
            event("c", 21_000),
        ];
        assert_eq!(ids(seen.new_ones(again.clone())), ["late", "c"]);
        assert_eq!(ids(seen.new_ones(again)), Vec::<String>::new());
    }

    #[test]
    fn what_is_too_old_to_come_again_is_forgotten() {
        let mut seen = Seen::new(0);
        seen.new_ones((0..100).map(|n| event(&n.to_string(), n * 1_000)).collect());
        assert_eq!(seen.ids.len(), 11);
    }

    #[test]
    fn a_line_is_read_without_its_line_break() {
        let line = json!({"logStreamName": "s", "timestamp": 5, "message": "m\n", "eventId": "e", "ingestionTime": 6});
        let expected = LogEvent {
            message: "m".into(),
            ..event("e", 5)
        };
        assert_eq!(read("g", &line), Some(expected));
        assert_eq!(read("g", &json!({"message": "m"})), None);
    }
}
