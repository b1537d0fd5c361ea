//! CloudWatch Logs: groups, streams and events, the subset that a deploy and a log tail need.
//!
//! Memory is bounded: a stream keeps its newest 10,000 events and a group its 1,000 most recently used streams.
//! Retention is recorded, not applied.
//!
//! Read next: [`groups`], [`streams`] and [`events`] for the actions, [`live`] for `StartLiveTail`, [`pattern`] for filter
//! patterns.

mod events;
mod groups;
mod live;
mod pattern;
mod streams;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::live::{Live, LiveEvent};
use crate::cloud::{Account, SharedCloud};
use crate::json;
use crate::persist::{Kept, Store};
use crate::wire::{ApiError, Request, Response, aws_json};

const EVENTS_PER_STREAM_MAX: usize = 10_000;
const STREAMS_PER_GROUP_MAX: usize = 1_000;
/// Entries of one page of groups or streams.
const PAGE_MAX: usize = 50;

/// All log groups.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    state: Kept<State>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    groups: BTreeMap<String, Group>,
    /// Of the newest event in the whole account.
    sequence: u64,
    #[serde(skip)]
    live: Live,
}

#[derive(Debug, Serialize, Deserialize)]
struct Group {
    /// Milliseconds since 1970, as all times here.
    created: i64,
    retention_days: Option<u32>,
    class: String,
    tags: BTreeMap<String, String>,
    streams: BTreeMap<String, Stream>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stream {
    created: i64,
    last_ingestion: Option<i64>,
    /// In the order of their ids.
    events: VecDeque<Event>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Event {
    id: EventId,
    ingested: i64,
    message: String,
}

/// Sorts by time, then by arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct EventId {
    timestamp: i64,
    sequence: u64,
}

impl Logs {
    /// Appends events (`(milliseconds since 1970, message)`) to a stream, which is made if absent.
    ///
    /// # Errors
    /// `ResourceNotFoundException` when the group does not exist: nothing here creates groups on the way.
    pub(crate) fn append(&self, group: &str, stream: &str, events: &[(i64, String)]) -> Result<(), ApiError> {
        let mut state = self.state.write();
        let state = &mut *state;
        state
            .groups
            .get_mut(group)
            .ok_or_else(no_such_group)?
            .stream_or_new(stream);
        state.append(group, stream, events.iter().cloned())
    }

    /// Ends all live tails.
    pub(crate) fn shutdown(&self) {
        self.state.write().live.end();
    }

    pub(crate) fn kept(&self) -> &dyn Store {
        &self.state
    }
}

impl State {
    fn group(&self, name: &str) -> Result<&Group, ApiError> {
        self.groups.get(name).ok_or_else(no_such_group)
    }

    /// Appends events to a stream and tells those who wait for them.
    fn append(
        &mut self,
        group_name: &str,
        stream_name: &str,
        events: impl IntoIterator<Item = (i64, String)>,
    ) -> Result<(), ApiError> {
        let group = self.groups.get_mut(group_name).ok_or_else(no_such_group)?;
        let stream = group.streams.get_mut(stream_name).ok_or_else(no_such_stream)?;
        for (timestamp, message) in events {
            self.sequence += 1;
            self.live.tell(|| LiveEvent {
                group: group_name.to_owned(),
                stream: stream_name.to_owned(),
                timestamp,
                ingested: now(),
                message: message.clone(),
            });
            stream.append(timestamp, self.sequence, message);
        }
        Ok(())
    }

    fn group_mut(&mut self, name: &str) -> Result<&mut Group, ApiError> {
        self.groups.get_mut(name).ok_or_else(no_such_group)
    }
}

impl Group {
    fn stream_or_new(&mut self, name: &str) -> &mut Stream {
        if !self.streams.contains_key(name) && self.streams.len() >= STREAMS_PER_GROUP_MAX {
            let oldest = self.streams.iter().min_by_key(|(_, stream)| stream.last_used());
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                self.streams.remove(&name);
            }
        }
        self.streams.entry(name.to_owned()).or_insert_with(|| Stream {
            created: now(),
            last_ingestion: None,
            events: VecDeque::new(),
        })
    }
}

impl Stream {
    fn last_used(&self) -> i64 {
        self.last_ingestion.unwrap_or(self.created)
    }

    fn append(&mut self, timestamp: i64, sequence: u64, message: String) {
        let id = EventId { timestamp, sequence };
        let ingested = now();
        self.last_ingestion = Some(ingested);
        // Nearly always at the end.
        let index = self.events.partition_point(|event| event.id < id);
        self.events.insert(index, Event { id, ingested, message });
        if self.events.len() > EVENTS_PER_STREAM_MAX {
            self.events.pop_front();
        }
    }
}

impl EventId {
    /// Returns 56 digits, as the service does.
    fn text(self) -> String {
        format!("{:020}{:036}", self.timestamp, self.sequence)
    }

    fn parse(text: &str) -> Option<Self> {
        let (timestamp, sequence) = text.split_at_checked(20)?;
        Some(Self {
            timestamp: timestamp.parse().ok()?,
            sequence: sequence.parse().ok()?,
        })
    }
}

/// Answers one AWS JSON 1.1 call, for example `X-Amz-Target: Logs_20140328.CreateLogGroup`.
pub(crate) async fn handle(cloud: &SharedCloud, request: Request) -> Response {
    if json::action(&request) == "StartLiveTail" {
        let started = json::input(&request).and_then(|input| live::start(&cloud.logs, &cloud.account, input));
        return started.unwrap_or_else(|error| error.aws_json());
    }
    match act(&cloud.logs, &cloud.account, &request) {
        // Calls without output answer an empty body.
        Ok(Value::Null) => crate::wire::respond(200, "application/x-amz-json-1.1", bytes::Bytes::new(), &[]),
        Ok(output) => aws_json(&output),
        Err(error) => error.aws_json(),
    }
}

fn act(logs: &Logs, account: &Account, request: &Request) -> Result<Value, ApiError> {
    let action = json::action(request);
    let mut state = logs.state.for_action(action);
    let state = &mut *state;
    match action {
        "CreateLogGroup" => groups::create(state, json::input(request)?),
        "DeleteLogGroup" => groups::delete(state, json::input(request)?),
        "DescribeLogGroups" => groups::describe(state, account, json::input(request)?),
        "PutRetentionPolicy" => groups::put_retention(state, json::input(request)?),
        "DeleteRetentionPolicy" => groups::delete_retention(state, json::input(request)?),
        "TagResource" => groups::tag(state, account, json::input(request)?),
        "UntagResource" => groups::untag(state, account, json::input(request)?),
        "ListTagsForResource" => groups::list_tags(state, account, json::input(request)?),
        "CreateLogStream" => streams::create(state, json::input(request)?),
        "DeleteLogStream" => streams::delete(state, json::input(request)?),
        "DescribeLogStreams" => streams::describe(state, account, json::input(request)?),
        "PutLogEvents" => events::put(state, json::input(request)?),
        "GetLogEvents" => events::get(state, account, json::input(request)?),
        "FilterLogEvents" => events::filter(state, account, json::input(request)?),
        other => Err(json::unknown_action("logs", other)),
    }
}

/// Members that name one group: by name, or by name or ARN.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupRef {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
}

impl GroupRef {
    fn name(&self, account: &Account) -> Result<String, ApiError> {
        match (&self.log_group_name, &self.log_group_identifier) {
            (Some(name), None) => Ok(name.clone()),
            (None, Some(identifier)) => {
                let prefix = account.arn("logs", "log-group:");
                Ok(identifier.strip_prefix(&prefix).unwrap_or(identifier).to_owned())
            }
            (Some(_), Some(_)) => Err(invalid(
                "LogGroup name and LogGroup ARN are mutually exclusive parameters.",
            )),
            (None, None) => Err(invalid(
                "Exactly one of logGroupName and logGroupIdentifier is required.",
            )),
        }
    }
}

/// Returns the ARN of a group without the `:*` that some calls append.
fn group_arn(account: &Account, name: &str) -> String {
    account.arn("logs", &format!("log-group:{name}"))
}

/// Returns the number of entries of a page.
fn page_size(limit: Option<i64>, max: usize) -> Result<usize, ApiError> {
    let Some(limit) = limit else { return Ok(max) };
    usize::try_from(limit)
        .ok()
        .filter(|limit| (1..=max).contains(limit))
        .ok_or_else(|| {
            invalid(format!(
                "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: Member must have value between 1 and {max}"
            ))
        })
}

fn no_such_group() -> ApiError {
    not_found("The specified log group does not exist.")
}

fn no_such_stream() -> ApiError {
    not_found("The specified log stream does not exist.")
}

fn not_found(message: &str) -> ApiError {
    ApiError::new(400, "ResourceNotFoundException", message)
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "InvalidParameterException", message)
}

fn already_exists(what: &str) -> ApiError {
    let message = format!("The specified {what} already exists");
    ApiError::new(400, "ResourceAlreadyExistsException", message)
}

/// Checks a member against its length and its allowed characters.
fn check_name(member: &str, value: &str, pattern: &str, is_allowed: impl Fn(char) -> bool) -> Result<(), ApiError> {
    let constraint = if value.is_empty() {
        "Member must have length greater than or equal to 1".to_owned()
    } else if value.chars().count() > 512 {
        "Member must have length less than or equal to 512".to_owned()
    } else if !value.chars().all(is_allowed) {
        format!("Member must satisfy regular expression pattern: {pattern}")
    } else {
        return Ok(());
    };
    Err(invalid(format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"
    )))
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn appending_needs_the_group_and_keeps_the_newest_events() {
        let logs = Logs::default();
        let event = |timestamp: i64| (timestamp, format!("message {timestamp}"));
        let missing = logs.append("/g", "s", &[event(1)]).unwrap_err();
        assert_eq!(missing.code, "ResourceNotFoundException");

        let create = serde_json::from_str(r#"{"logGroupName":"/g"}"#).unwrap();
        groups::create(&mut logs.state.write(), create).unwrap();
        let events: Vec<_> = (0..=EVENTS_PER_STREAM_MAX)
            .map(|n| event(i64::try_from(n).unwrap()))
            .collect();
        logs.append("/g", "s", &events).unwrap();
        // Late, but not the oldest.
        logs.append("/g", "s", &[event(5)]).unwrap();
        let state = logs.state.read();
        let kept = &state.group("/g").unwrap().streams["s"].events;
        assert_eq!(kept.len(), EVENTS_PER_STREAM_MAX);
        assert_eq!(kept.front().unwrap().id.timestamp, 2);
        assert!(kept.iter().is_sorted_by_key(|event| event.id));
    }

    #[test]
    fn event_ids_read_back() {
        let id = EventId {
            timestamp: 1_795_319_918_931,
            sequence: 7,
        };
        assert_eq!(id.text().len(), 56);
        assert_eq!(EventId::parse(&id.text()), Some(id));
        assert_eq!(EventId::parse("short"), None);
    }
}
