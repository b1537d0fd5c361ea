//! Tags of functions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::name::FunctionRef;
use super::validation::invalid_parameter;
use super::{Call, body, no_content};
use crate::cloud::SharedCloud;
use crate::wire::{ApiError, Request, Response, rest_json};

/// Tags that one resource may carry.
const TAGS_MAX: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TagResource {
    tags: BTreeMap<String, String>,
}

/// `TagResource`: adds or overwrites.
pub(super) fn add(cloud: &SharedCloud, arn: &str, request: &Request) -> Result<Response, ApiError> {
    let add: TagResource = body(request)?;
    let of = function(cloud, arn)?;
    let mut store = cloud.lambda.store_mut();
    let function = store.function_mut(&of, &cloud.account)?;
    let mut tags = function.tags.clone();
    tags.extend(add.tags);
    check(&tags)?;
    function.tags = tags;
    Ok(no_content())
}

/// `UntagResource`: missing keys are no error.
pub(super) fn remove(cloud: &SharedCloud, arn: &str, call: &Call) -> Result<Response, ApiError> {
    let of = function(cloud, arn)?;
    let mut store = cloud.lambda.store_mut();
    let tags = &mut store.function_mut(&of, &cloud.account)?.tags;
    for (_, key) in call.query.iter().filter(|(name, _)| name == "tagKeys") {
        tags.remove(key);
    }
    Ok(no_content())
}

/// `ListTags`.
pub(super) fn list(cloud: &SharedCloud, arn: &str) -> Result<Response, ApiError> {
    let of = function(cloud, arn)?;
    let store = cloud.lambda.store();
    Ok(rest_json(
        200,
        &json!({ "Tags": store.function(&of, &cloud.account)?.tags }),
    ))
}

/// Checks AWS's rules for tags: at most 50, keys of 1 to 128 and values of at most 256 characters, no `aws:` prefix.
pub(super) fn check(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    let ok = |(key, value): (&String, &String)| {
        (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256 && !key.starts_with("aws:")
    };
    if tags.len() > TAGS_MAX || !tags.iter().all(ok) {
        return Err(invalid_parameter(
            "a function has at most 50 tags, with keys of 1 to 128 characters that do not begin with `aws:` and values of at most 256",
        ));
    }
    Ok(())
}

fn function(cloud: &SharedCloud, arn: &str) -> Result<FunctionRef, ApiError> {
    let of = FunctionRef::parse(arn, None, &cloud.account)?;
    if !arn.starts_with("arn:") || of.qualifier.is_some() {
        return Err(invalid_parameter(
            "Tags on function aliases and versions are not supported. Please specify a function ARN.",
        ));
    }
    Ok(of)
}
