//! Tags of APIs and stages, addressed by ARN: `arn:aws:apigateway:{region}::/apis/{api}[/stages/{stage}]`.

use axum::body::Bytes;
use serde_json::json;

use super::body::{bad_request, not_found, object};
use super::model::Strings;
use super::page::QueryParameters;
use super::{Answer, State, unknown_operation};
use crate::cloud::Account;
use crate::wire::ApiError;

/// Answers `TagResource`, `UntagResource` and `GetTags`.
pub(super) fn dispatch(
    state: &mut State,
    account: &Account,
    method: &str,
    arn: &str,
    query: &QueryParameters,
    body: &Bytes,
) -> Result<Answer, ApiError> {
    let tags = find(state, account, arn)?;
    match method {
        "GET" => Ok(Answer::Found(json!({ "tags": tags }))),
        "POST" => {
            let given = object(body)?
                .remove("tags")
                .ok_or_else(|| bad_request("tags are required"))?;
            let given: Strings = serde_json::from_value(given).map_err(|_| bad_request("tags must be texts"))?;
            let mut all = tags.clone();
            all.extend(given);
            check(&all)?;
            *tags = all;
            Ok(Answer::Created(json!({})))
        }
        "DELETE" => {
            for (_, key) in query.iter().filter(|(name, _)| name == "tagKeys") {
                tags.remove(key);
            }
            Ok(Answer::Deleted)
        }
        _ => Err(unknown_operation(method, "/v2/tags")),
    }
}

/// Refuses more than 50 tags, keys over 128 or values over 256 characters, and keys that AWS reserves.
pub(super) fn check(tags: &Strings) -> Result<(), ApiError> {
    if tags.len() > 50 {
        return Err(bad_request("a resource can have at most 50 tags"));
    }
    for (key, value) in tags {
        super::body::text_length("a tag's key", key, 1, 128)?;
        super::body::text_length("a tag's value", value, 0, 256)?;
        if key.starts_with("aws:") {
            return Err(bad_request("tag keys starting with aws: are reserved"));
        }
    }
    Ok(())
}

fn find<'a>(state: &'a mut State, account: &Account, arn: &str) -> Result<&'a mut Strings, ApiError> {
    let prefix = format!("arn:{}:apigateway:{}::/apis/", Account::PARTITION, account.region);
    let path = arn
        .strip_prefix(&prefix)
        .ok_or_else(|| bad_request(format!("Invalid resource ARN: {arn}")))?;
    let (api, stage) = match path.split_once("/stages/") {
        Some((api, stage)) => (api, Some(stage)),
        None => (path, None),
    };
    let record = state.apis.get_mut(api).ok_or_else(|| not_found("API"))?;
    match stage {
        None => Ok(&mut record.api.tags),
        Some(name) => {
            let stage = record.stages.get_mut(name).ok_or_else(|| not_found("stage"))?;
            Ok(&mut stage.tags)
        }
    }
}
