//! Actions on log events.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::pattern::Pattern;
use super::{Event, EventId, GroupRef, State, Stream, invalid, no_such_stream, now, page_size};
use crate::cloud::Account;
use crate::wire::ApiError;

/// Events of one page or one batch.
const EVENTS_MAX: usize = 10_000;
/// Bytes of one page or one batch.
const BYTES_MAX: usize = 1_048_576;
/// What the service adds to the size of each event of a batch.
const EVENT_OVERHEAD: usize = 26;
const HOUR_MS: i64 = 3_600_000;
/// Older events of a batch are dropped, and the answer says so.
const AGE_MAX_MS: i64 = 14 * 24 * HOUR_MS;
/// Events further in the future are dropped as well.
const FUTURE_MAX_MS: i64 = 2 * HOUR_MS;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Put {
    log_group_name: String,
    log_stream_name: String,
    log_events: Vec<InputEvent>,
}

#[derive(Deserialize)]
struct InputEvent {
    timestamp: i64,
    message: String,
}

pub(super) fn put(state: &mut State, input: Put) -> Result<Value, ApiError> {
    let (group, stream) = (&input.log_group_name, &input.log_stream_name);
    if !state.group(group)?.streams.contains_key(stream) {
        return Err(no_such_stream());
    }
    let events = input.log_events;
    if events.is_empty() || events.len() > EVENTS_MAX {
        return Err(invalid(format!(
            "1 validation error detected: Value at 'logEvents' failed to satisfy constraint: Member must have length between 1 and {EVENTS_MAX}"
        )));
    }
    if events.iter().any(|event| event.message.is_empty()) {
        return Err(invalid(
            "1 validation error detected: Value at 'logEvents.member.message' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ));
    }
    if !events.is_sorted_by_key(|event| event.timestamp) {
        return Err(invalid(
            "Log events in a single PutLogEvents request must be in chronological order.",
        ));
    }
    let bytes: usize = events.iter().map(|event| event.message.len() + EVENT_OVERHEAD).sum();
    if bytes > BYTES_MAX {
        return Err(invalid(format!(
            "Upload too large: {bytes} bytes exceeds limit of {BYTES_MAX}"
        )));
    }
    let now = now();
    let too_old = events.partition_point(|event| event.timestamp < now - AGE_MAX_MS);
    let too_new = events.partition_point(|event| event.timestamp <= now + FUTURE_MAX_MS);
    let count = events.len();
    let kept = events.into_iter().take(too_new).skip(too_old);
    state.append(group, stream, kept.map(|event| (event.timestamp, event.message)))?;
    let mut output = json!({ "nextSequenceToken": format!("{:056}", state.sequence) });
    if too_old > 0 {
        output["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"] = json!(too_old);
    }
    if too_new < count {
        output["rejectedLogEventsInfo"]["tooNewLogEventStartIndex"] = json!(too_new);
    }
    Ok(output)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Get {
    #[serde(flatten)]
    group: GroupRef,
    log_stream_name: String,
    start_time: Option<i64>,
    /// Exclusive.
    end_time: Option<i64>,
    limit: Option<i64>,
    /// `f/{id}` continues after an event, `b/{id}` before it.
    next_token: Option<String>,
    #[serde(default)]
    start_from_head: bool,
}

pub(super) fn get(state: &State, account: &Account, input: Get) -> Result<Value, ApiError> {
    let group = state.group(&input.group.name(account)?)?;
    let stream = group.streams.get(&input.log_stream_name).ok_or_else(no_such_stream)?;
    let size = page_size(input.limit, EVENTS_MAX)?;
    let token = input.next_token.as_deref().map(parse_token).transpose()?;
    let (after, before, forward) = match token {
        Some((true, id)) => (Some(id), None, true),
        Some((false, id)) => (None, Some(id), false),
        None => (None, None, input.start_from_head),
    };
    let events: Vec<&Event> = stream
        .events
        .iter()
        .filter(|event| {
            input.start_time.is_none_or(|start| event.id.timestamp >= start)
                && input.end_time.is_none_or(|end| event.id.timestamp < end)
                && after.is_none_or(|id| event.id > id)
                && before.is_none_or(|id| event.id < id)
        })
        .collect();
    let page = if forward {
        &events[..fitting(events.iter().copied(), size)]
    } else {
        &events[events.len() - fitting(events.iter().rev().copied(), size)..]
    };
    // At the end the same token comes back: that is how callers see it.
    let stay = token.map_or_else(|| last_id(stream), |(_, id)| id);
    let first = page.first().map_or(stay, |event| event.id);
    let last = page.last().map_or(stay, |event| event.id);
    let page: Vec<Value> = page
        .iter()
        .map(|event| {
            json!({ "timestamp": event.id.timestamp, "message": event.message, "ingestionTime": event.ingested })
        })
        .collect();
    Ok(json!({
        "events": page,
        "nextForwardToken": format!("f/{}", last.text()),
        "nextBackwardToken": format!("b/{}", first.text()),
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Filter {
    #[serde(flatten)]
    group: GroupRef,
    log_stream_names: Option<Vec<String>>,
    log_stream_name_prefix: Option<String>,
    start_time: Option<i64>,
    /// Inclusive, unlike that of `GetLogEvents`.
    end_time: Option<i64>,
    filter_pattern: Option<String>,
    limit: Option<i64>,
    /// Id of the last event of the page before.
    next_token: Option<String>,
}

pub(super) fn filter(state: &State, account: &Account, input: Filter) -> Result<Value, ApiError> {
    let group = state.group(&input.group.name(account)?)?;
    let size = page_size(input.limit, EVENTS_MAX)?;
    let pattern = Pattern::parse(input.filter_pattern.as_deref().unwrap_or_default()).map_err(invalid)?;
    if input.log_stream_names.is_some() && input.log_stream_name_prefix.is_some() {
        return Err(invalid(
            "LogStreamNames and LogStreamNamePrefix are mutually exclusive parameters.",
        ));
    }
    let names: Option<BTreeSet<String>> = input.log_stream_names.map(|names| names.into_iter().collect());
    if let Some(names) = &names
        && names.iter().any(|name| !group.streams.contains_key(name))
    {
        return Err(no_such_stream());
    }
    let prefix = input.log_stream_name_prefix.unwrap_or_default();
    let after = input
        .next_token
        .as_deref()
        .map(|token| EventId::parse(token).ok_or_else(bad_token))
        .transpose()?;
    let mut events: Vec<(&String, &Event)> = group
        .streams
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix) && names.as_ref().is_none_or(|names| names.contains(*name)))
        .flat_map(|(name, stream)| stream.events.iter().map(move |event| (name, event)))
        .filter(|(_, event)| {
            after.is_none_or(|id| event.id > id)
                && input.start_time.is_none_or(|start| event.id.timestamp >= start)
                && input.end_time.is_none_or(|end| event.id.timestamp <= end)
                && pattern.matches(&event.message)
        })
        .collect();
    events.sort_by_key(|(_, event)| event.id);
    let count = fitting(events.iter().map(|(_, event)| *event), size);
    let page: Vec<Value> = events[..count]
        .iter()
        .map(|(name, event)| {
            json!({
                "logStreamName": name,
                "timestamp": event.id.timestamp,
                "message": event.message,
                "ingestionTime": event.ingested,
                "eventId": event.id.text(),
            })
        })
        .collect();
    let mut output = json!({ "events": page, "searchedLogStreams": [] });
    if count < events.len()
        && let Some((_, last)) = events[..count].last()
    {
        output["nextToken"] = json!(last.id.text());
    }
    Ok(output)
}

/// Returns how many events make one page: at most `size`, and at most a megabyte, but always one.
fn fitting<'a>(events: impl Iterator<Item = &'a Event>, size: usize) -> usize {
    let mut bytes = 0;
    events
        .take(size)
        .enumerate()
        .take_while(|(index, event)| {
            bytes += event.message.len();
            *index == 0 || bytes <= BYTES_MAX
        })
        .count()
}

fn last_id(stream: &Stream) -> EventId {
    stream.events.back().map_or(
        EventId {
            timestamp: 0,
            sequence: 0,
        },
        |event| event.id,
    )
}

fn parse_token(token: &str) -> Result<(bool, EventId), ApiError> {
    let (direction, id) = token.split_once('/').ok_or_else(bad_token)?;
    let id = EventId::parse(id).ok_or_else(bad_token)?;
    match direction {
        "f" => Ok((true, id)),
        "b" => Ok((false, id)),
        _ => Err(bad_token()),
    }
}

fn bad_token() -> ApiError {
    invalid("The specified nextToken is invalid.")
}
