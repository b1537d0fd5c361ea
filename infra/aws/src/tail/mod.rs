//! Reads log lines.
//!
//! What was written is read by `FilterLogEvents`, which every emulator knows too: one log group a call, pages in order of
//! time, empty pages in between (CloudWatch Logs API Reference, `FilterLogEvents`). [`Follow`] goes on with what is written
//! from then on.

mod follow;
mod live;

use std::cmp::Ordering;

use futures_util::future::try_join_all;
use infra_engine::CloudError;
use serde_json::{Value as Json, json};

pub use self::follow::Follow;
use crate::Session;
use crate::error::found;

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
    /// Unique within the group; empty where it was told live.
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

    /// Returns the lines of several groups since a moment and until another, both included (milliseconds since 1970), in
    /// order of time. `filter` is a filter pattern of CloudWatch Logs. A group that does not exist has no lines.
    ///
    /// # Errors
    /// When a group cannot be read. A wrong pattern is `InvalidParameterException`.
    pub async fn events(
        &self,
        groups: &[String],
        since_ms: u64,
        until_ms: Option<u64>,
        filter: Option<&str>,
    ) -> Result<Vec<LogEvent>, CloudError> {
        let reads = groups
            .iter()
            .map(|group| self.group_events(group, since_ms, until_ms, filter));
        let mut events: Vec<_> = try_join_all(reads).await?.into_iter().flatten().collect();
        events.sort_by(by_time);
        Ok(events)
    }

    async fn group_events(
        &self,
        group: &str,
        since_ms: u64,
        until_ms: Option<u64>,
        filter: Option<&str>,
    ) -> Result<Vec<LogEvent>, CloudError> {
        let mut events = Vec::new();
        let mut next_token: Option<Json> = None;
        loop {
            let mut input = json!({"logGroupName": group, "startTime": since_ms});
            if let Some(until_ms) = until_ms {
                input["endTime"] = until_ms.into();
            }
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
            events.extend(
                page_events
                    .into_iter()
                    .flatten()
                    .filter_map(|event| LogEvent::read(group, event)),
            );
            next_token = page.get("nextToken").filter(|token| token.is_string()).cloned();
            if next_token.is_none() {
                return Ok(events);
            }
        }
    }
}

/// Orders lines by time; those of one moment by group, and then as they came.
fn by_time(one: &LogEvent, other: &LogEvent) -> Ordering {
    (one.timestamp_ms, &one.group, &one.event_id).cmp(&(other.timestamp_ms, &other.group, &other.event_id))
}

impl LogEvent {
    fn read(group: &str, event: &Json) -> Option<Self> {
        let part = |name: &str| event.get(name).and_then(Json::as_str).unwrap_or_default();
        Some(Self {
            group: group.to_owned(),
            stream: part("logStreamName").to_owned(),
            timestamp_ms: event.get("timestamp")?.as_u64()?,
            message: part("message").trim_end_matches(['\r', '\n']).to_owned(),
            event_id: part("eventId").to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_without_its_line_break() {
        let line = json!({"logStreamName": "s", "timestamp": 5, "message": "m\n", "eventId": "e", "ingestionTime": 6});
        let expected = LogEvent {
            group: "g".into(),
            stream: "s".into(),
            timestamp_ms: 5,
            message: "m".into(),
            event_id: "e".into(),
        };
        assert_eq!(LogEvent::read("g", &line), Some(expected));
        assert_eq!(LogEvent::read("g", &json!({"message": "m"})), None);
    }
}
