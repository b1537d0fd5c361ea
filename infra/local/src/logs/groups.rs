//! Actions on log groups, their retention and their tags.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Group, PAGE_MAX, State, already_exists, check_name, group_arn, invalid, no_such_group, now, page_size};
use crate::cloud::Account;
use crate::wire::ApiError;

/// The only retentions there are, in days.
const RETENTIONS: [u32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
];
const CLASSES: [&str; 3] = ["STANDARD", "INFREQUENT_ACCESS", "DELIVERY"];
const TAGS_MAX: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Create {
    log_group_name: String,
    log_group_class: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

pub(super) fn create(state: &mut State, input: Create) -> Result<Value, ApiError> {
    let name = input.log_group_name;
    check_name("logGroupName", &name, r"[\.\-_/#A-Za-z0-9]+", |c| {
        c.is_ascii_alphanumeric() || "._/#-".contains(c)
    })?;
    if name.to_lowercase().starts_with("aws/") {
        return Err(invalid("Log groups starting with AWS/ are reserved for AWS."));
    }
    let class = input.log_group_class.unwrap_or_else(|| CLASSES[0].to_owned());
    if !CLASSES.contains(&class.as_str()) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{class}' at 'logGroupClass' failed to satisfy constraint: Member must satisfy enum value set: [{}]",
            CLASSES.join(", ")
        )));
    }
    check_tags(&input.tags)?;
    if state.groups.contains_key(&name) {
        return Err(already_exists("log group"));
    }
    let group = Group {
        created: now(),
        retention_days: None,
        class,
        tags: input.tags,
        streams: BTreeMap::new(),
    };
    state.groups.insert(name, group);
    Ok(Value::Null)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Named {
    log_group_name: String,
}

pub(super) fn delete(state: &mut State, input: Named) -> Result<Value, ApiError> {
    state.groups.remove(&input.log_group_name).ok_or_else(no_such_group)?;
    Ok(Value::Null)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Describe {
    log_group_name_prefix: Option<String>,
    log_group_name_pattern: Option<String>,
    limit: Option<i64>,
    /// The last name of the page before.
    next_token: Option<String>,
}

pub(super) fn describe(state: &State, account: &Account, input: Describe) -> Result<Value, ApiError> {
    let size = page_size(input.limit, PAGE_MAX)?;
    if input.log_group_name_prefix.is_some() && input.log_group_name_pattern.is_some() {
        return Err(invalid(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        ));
    }
    let prefix = input.log_group_name_prefix.unwrap_or_default();
    let pattern = input.log_group_name_pattern.unwrap_or_default().to_lowercase();
    let after = input.next_token.unwrap_or_default();
    let mut rest = state
        .groups
        .iter()
        .filter(|(name, _)| **name > after && name.starts_with(&prefix) && name.to_lowercase().contains(&pattern))
        .peekable();
    let page: Vec<_> = rest.by_ref().take(size).collect();
    let groups: Vec<Value> = page
        .iter()
        .map(|(name, group)| group_json(account, name, group))
        .collect();
    let mut output = json!({ "logGroups": groups });
    if let (Some(_), Some((last, _))) = (rest.peek(), page.last()) {
        output["nextToken"] = json!(last);
    }
    Ok(output)
}

fn group_json(account: &Account, name: &str, group: &Group) -> Value {
    let arn = group_arn(account, name);
    let events = group.streams.values().flat_map(|stream| &stream.events);
    let mut output = json!({
        "logGroupName": name,
        "creationTime": group.created,
        "metricFilterCount": 0,
        "arn": format!("{arn}:*"),
        "logGroupArn": arn,
        "storedBytes": events.map(|event| event.message.len()).sum::<usize>(),
        "logGroupClass": group.class,
    });
    if let Some(days) = group.retention_days {
        output["retentionInDays"] = json!(days);
    }
    output
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutRetention {
    log_group_name: String,
    retention_in_days: u32,
}

pub(super) fn put_retention(state: &mut State, input: PutRetention) -> Result<Value, ApiError> {
    let days = input.retention_in_days;
    if !RETENTIONS.contains(&days) {
        let allowed = RETENTIONS.map(|days| days.to_string()).join(", ");
        return Err(invalid(format!(
            "1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set: [{allowed}]"
        )));
    }
    state.group_mut(&input.log_group_name)?.retention_days = Some(days);
    Ok(Value::Null)
}

pub(super) fn delete_retention(state: &mut State, input: Named) -> Result<Value, ApiError> {
    state.group_mut(&input.log_group_name)?.retention_days = None;
    Ok(Value::Null)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tag {
    resource_arn: String,
    tags: BTreeMap<String, String>,
}

pub(super) fn tag(state: &mut State, account: &Account, input: Tag) -> Result<Value, ApiError> {
    let group = by_arn(state, account, &input.resource_arn)?;
    let mut tags = group.tags.clone();
    tags.extend(input.tags);
    check_tags(&tags)?;
    group.tags = tags;
    Ok(Value::Null)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Untag {
    resource_arn: String,
    tag_keys: Vec<String>,
}

pub(super) fn untag(state: &mut State, account: &Account, input: Untag) -> Result<Value, ApiError> {
    let group = by_arn(state, account, &input.resource_arn)?;
    group.tags.retain(|key, _| !input.tag_keys.contains(key));
    Ok(Value::Null)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListTags {
    resource_arn: String,
}

pub(super) fn list_tags(state: &mut State, account: &Account, input: ListTags) -> Result<Value, ApiError> {
    Ok(json!({ "tags": by_arn(state, account, &input.resource_arn)?.tags }))
}

/// Finds a group by its ARN, which here must not end in `:*`.
fn by_arn<'a>(state: &'a mut State, account: &Account, arn: &str) -> Result<&'a mut Group, ApiError> {
    let name = arn
        .strip_prefix(&group_arn(account, ""))
        .filter(|name| !name.contains(':'))
        .ok_or_else(|| {
            invalid(format!(
                "'{arn}' is not the ARN of a log group of this account and region"
            ))
        })?;
    state.group_mut(name)
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if tags.len() > TAGS_MAX {
        let message = format!("A resource may have at most {TAGS_MAX} tags.");
        return Err(ApiError::new(400, "TooManyTagsException", message));
    }
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(invalid(format!(
                "the tag '{key}' must have a key of 1 to 128 and a value of up to 256 characters"
            )));
        }
        if key.to_lowercase().starts_with("aws:") {
            return Err(invalid("aws: prefixed tag key names are not allowed for external use."));
        }
    }
    Ok(())
}
