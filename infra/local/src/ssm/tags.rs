//! Tags of parameters.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Parameters, invalid};
use crate::wire::ApiError;

const TAGS_MAX: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    key: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Resource {
    resource_type: String,
    resource_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Add {
    #[serde(flatten)]
    resource: Resource,
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Remove {
    #[serde(flatten)]
    resource: Resource,
    tag_keys: Vec<String>,
}

pub(super) fn add(state: &mut Parameters, input: Add) -> Result<Value, ApiError> {
    merge(tags_of(state, &input.resource)?, input.tags)?;
    Ok(json!({}))
}

pub(super) fn remove(state: &mut Parameters, input: &Remove) -> Result<Value, ApiError> {
    tags_of(state, &input.resource)?.retain(|key, _| !input.tag_keys.contains(key));
    Ok(json!({}))
}

pub(super) fn list(state: &mut Parameters, input: &Resource) -> Result<Value, ApiError> {
    let tags: Vec<Value> = tags_of(state, input)?
        .iter()
        .map(|(key, value)| json!({ "Key": key, "Value": value }))
        .collect();
    Ok(json!({ "TagList": tags }))
}

fn tags_of<'a>(state: &'a mut Parameters, resource: &Resource) -> Result<&'a mut BTreeMap<String, String>, ApiError> {
    if resource.resource_type != "Parameter" {
        let message = format!(
            "the local cloud has parameters only, not resources of type {}",
            resource.resource_type
        );
        return Err(ApiError::new(400, "InvalidResourceType", message));
    }
    state
        .get_mut(&resource.resource_id)
        .map(|parameter| &mut parameter.tags)
        .ok_or_else(|| {
            let message = "The resource ID is not valid. Verify that you entered the correct ID and try again.";
            ApiError::new(400, "InvalidResourceId", message)
        })
}

pub(super) fn merge(tags: &mut BTreeMap<String, String>, sent: Vec<Tag>) -> Result<(), ApiError> {
    let mut merged = tags.clone();
    for Tag { key, value } in sent {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(invalid(format!(
                "the tag '{key}' must have a key of 1 to 128 and a value of up to 256 characters"
            )));
        }
        if key.to_lowercase().starts_with("aws:") {
            return Err(invalid("Tag keys cannot start with the reserved prefix aws:"));
        }
        merged.insert(key, value);
    }
    if merged.len() > TAGS_MAX {
        let message = format!("A parameter may have at most {TAGS_MAX} tags.");
        return Err(ApiError::new(400, "TooManyTagsError", message));
    }
    *tags = merged;
    Ok(())
}
