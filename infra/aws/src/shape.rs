//! Reads declared properties and writes live ones, in CloudFormation's names and shapes.

use std::collections::BTreeMap;

use infra_cdk::{APP_TAG, ID_TAG, LogicalId, STAGE_TAG, StackId};
use infra_engine::{Class, CloudError, Desired, Live, Ownership, Properties, Target};
use serde_json::{Value as Json, json};

use crate::error::refused;

/// Tags of one resource.
pub(crate) type Tags = BTreeMap<String, String>;

/// Returns a text property.
pub(crate) fn text<'a>(properties: &'a Properties, name: &str) -> Option<&'a str> {
    properties.get(name)?.as_str()
}

/// Returns a text property that the resource cannot be made without.
pub(crate) fn required<'a>(desired: &'a Desired, name: &str) -> Result<&'a str, CloudError> {
    text(&desired.properties, name).ok_or_else(|| incomplete(desired, name))
}

/// Returns a whole number that fits AWS's integers.
pub(crate) fn integer(properties: &Properties, name: &str) -> Option<i32> {
    properties.get(name)?.as_i64()?.try_into().ok()
}

/// Says that a property is missing or of the wrong shape.
pub(crate) fn incomplete(desired: &Desired, name: &str) -> CloudError {
    refused(
        "reconcile",
        Class::Permanent,
        format!(
            "{} {} has no usable property {name}",
            desired.kind.cloudformation_type(),
            desired.id
        ),
    )
}

/// Returns the name of what is read: the recorded one, or else the declared one.
pub(crate) fn name_of<'a>(target: &'a Target, property: &str) -> Option<&'a str> {
    let recorded = target.physical_id.as_deref();
    recorded.or_else(|| text(&target.properties, property))
}

/// Returns tags as most services write them: `[{"Key": …, "Value": …}]`.
pub(crate) fn tag_list(tags: &Tags) -> Json {
    tags.iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect()
}

/// Returns the tags of a list as [`tag_list`] writes it.
pub(crate) fn listed_tags(list: Option<&Json>) -> Tags {
    let list = list.and_then(Json::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|tag| {
            let part = |name: &str| Some(tag.get(name)?.as_str()?.to_owned());
            Some((part("Key")?, part("Value")?))
        })
        .collect()
}

/// Returns the declared tags.
pub(crate) fn declared_tags(properties: &Properties) -> Tags {
    properties
        .get("Tags")
        .and_then(Json::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// Returns the declared tags if they are not what is live. Tags of others are left alone.
pub(crate) fn changed_tags(desired: &Desired, live: &Live) -> Option<Tags> {
    let tags = declared_tags(&desired.properties);
    (!tags.is_empty() && tags != declared_tags(&live.properties)).then_some(tags)
}

/// Returns whose a resource is that carries these tags.
pub(crate) fn ownership(tags: &Tags, stack: &StackId, id: &LogicalId) -> Ownership {
    let tag = |name: &str| tags.get(name).map(String::as_str);
    let found = (tag(APP_TAG), tag(STAGE_TAG), tag(ID_TAG));
    if found == (Some(&stack.app), Some(&stack.stage), Some(id.as_str())) {
        return Ownership::Ours;
    }
    Ownership::Foreign(match found {
        (None, None, None) => "it carries no stackwright tags".to_owned(),
        (app, stage, id) => format!(
            "its tags say {}/{} {}",
            app.unwrap_or("?"),
            stage.unwrap_or("?"),
            id.unwrap_or("?")
        ),
    })
}

/// Live properties under construction.
#[derive(Debug, Default)]
pub(crate) struct Shape(pub(crate) Properties);

impl Shape {
    /// Sets a property unless there is no value.
    pub(crate) fn set<V: Into<Json>>(&mut self, name: &str, value: Option<V>) -> &mut Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Sets `Tags` to those that are declared too, or to what is declared when they were not read.
    pub(crate) fn set_tags(&mut self, read: Option<&Tags>, target: &Target) -> &mut Self {
        let declared = target.properties.get("Tags").and_then(Json::as_object);
        let tags = declared.map(|declared| match read {
            None => json!(declared),
            Some(read) => read
                .iter()
                .filter(|(key, _)| declared.contains_key(*key))
                .map(|(key, value)| (key.clone(), json!(value)))
                .collect(),
        });
        self.set("Tags", tags)
    }

    /// Copies a property that cannot be read back.
    pub(crate) fn copy(&mut self, name: &str, target: &Target) -> &mut Self {
        self.set(name, target.properties.get(name).cloned())
    }
}

/// Returns a resource that was just made as desired. AWS's answers may lag behind what was written; a success does not.
pub(crate) fn as_desired(desired: &Desired, physical_id: &str, attributes: BTreeMap<String, String>) -> Live {
    Live {
        physical_id: physical_id.to_owned(),
        properties: desired.properties.clone(),
        attributes,
        ownership: Ownership::Ours,
    }
}

/// Returns the target that looks for what `desired` would be, as if it were not recorded.
pub(crate) fn unrecorded(desired: &Desired) -> Target {
    Target {
        stack: desired.stack.clone(),
        id: desired.id.clone(),
        kind: desired.kind,
        physical_id: None,
        properties: desired.properties.clone(),
    }
}

/// Returns whether a property is to change: it differs, or it is to be cleared.
pub(crate) fn differs(desired: &Desired, live: &Live, name: &str) -> bool {
    match desired.properties.get(name) {
        Some(value) => live.properties.get(name) != Some(value),
        None => is_cleared(desired, name),
    }
}

/// Returns whether a property was declared once and is not any more.
pub(crate) fn is_cleared(desired: &Desired, name: &str) -> bool {
    desired.cleared.iter().any(|cleared| cleared == name)
}
