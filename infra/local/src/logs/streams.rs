//! Actions on log streams.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    GroupRef, PAGE_MAX, State, Stream, already_exists, check_name, group_arn, invalid, no_such_stream, page_size,
};
use crate::cloud::Account;
use crate::wire::ApiError;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Named {
    log_group_name: String,
    log_stream_name: String,
}

pub(super) fn create(state: &mut State, input: Named) -> Result<Value, ApiError> {
    let name = &input.log_stream_name;
    check_name("logStreamName", name, "[^:*]*", |c| c != ':' && c != '*')?;
    let group = state.group_mut(&input.log_group_name)?;
    if group.streams.contains_key(name) {
        return Err(already_exists("log stream"));
    }
    group.stream_or_new(name);
    Ok(Value::Null)
}

pub(super) fn delete(state: &mut State, input: Named) -> Result<Value, ApiError> {
    let group = state.group_mut(&input.log_group_name)?;
    group
        .streams
        .remove(&input.log_stream_name)
        .ok_or_else(no_such_stream)?;
    Ok(Value::Null)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Describe {
    #[serde(flatten)]
    group: GroupRef,
    log_stream_name_prefix: Option<String>,
    order_by: Option<String>,
    #[serde(default)]
    descending: bool,
    limit: Option<i64>,
    /// The last name of the page before.
    next_token: Option<String>,
}

pub(super) fn describe(state: &State, account: &Account, input: Describe) -> Result<Value, ApiError> {
    let group_name = input.group.name(account)?;
    let size = page_size(input.limit, PAGE_MAX)?;
    let by_time = match input.order_by.as_deref() {
        None | Some("LogStreamName") => false,
        Some("LastEventTime") => true,
        Some(other) => {
            return Err(invalid(format!(
                "1 validation error detected: Value '{other}' at 'orderBy' failed to satisfy constraint: Member must satisfy enum value set: [LogStreamName, LastEventTime]"
            )));
        }
    };
    if by_time && input.log_stream_name_prefix.is_some() {
        return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let prefix = input.log_stream_name_prefix.unwrap_or_default();
    let group = state.group(&group_name)?;
    let mut streams: Vec<_> = group
        .streams
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix))
        .collect();
    if by_time {
        streams.sort_by_key(|(_, stream)| stream.events.back().map(|event| event.id));
    }
    if input.descending {
        streams.reverse();
    }
    let start = input.next_token.map_or(0, |token| {
        streams
            .iter()
            .position(|(name, _)| **name == token)
            .map_or(0, |last| last + 1)
    });
    let page = &streams[start..streams.len().min(start + size)];
    let described: Vec<Value> = page
        .iter()
        .map(|(name, stream)| stream_json(account, &group_name, name, stream))
        .collect();
    let mut output = json!({ "logStreams": described });
    if let Some((last, _)) = page.last()
        && start + size < streams.len()
    {
        output["nextToken"] = json!(last);
    }
    Ok(output)
}

fn stream_json(account: &Account, group: &str, name: &str, stream: &Stream) -> Value {
    let mut output = json!({
        "logStreamName": name,
        "creationTime": stream.created,
        "arn": format!("{}:log-stream:{name}", group_arn(account, group)),
        // The service reports 0 since 2019.
        "storedBytes": 0,
    });
    if let (Some(first), Some(last), Some(ingested)) =
        (stream.events.front(), stream.events.back(), stream.last_ingestion)
    {
        output["firstEventTimestamp"] = json!(first.id.timestamp);
        output["lastEventTimestamp"] = json!(last.id.timestamp);
        output["lastIngestionTime"] = json!(ingested);
        output["uploadSequenceToken"] = json!(last.id.text());
    }
    output
}
