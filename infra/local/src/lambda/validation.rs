//! How requests are refused: violations of the model reported together, and what Lambda itself objects to.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::wire::ApiError;

pub(super) fn invalid_parameter(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "InvalidParameterValueException", message)
}

/// Violations of the model, reported together as AWS does.
#[derive(Debug, Default)]
pub(super) struct Violations(Vec<String>);

impl Violations {
    fn add(&mut self, member: &str, value: &str, constraint: &str) {
        self.0.push(format!(
            "Value '{value}' at '{member}' failed to satisfy constraint: Member must {constraint}"
        ));
    }

    pub(super) fn range(&mut self, member: &str, value: Option<u64>, min: u64, max: u64) {
        match value {
            Some(value) if value < min => {
                self.add(
                    member,
                    &value.to_string(),
                    &format!("have value greater than or equal to {min}"),
                );
            }
            Some(value) if value > max => {
                self.add(
                    member,
                    &value.to_string(),
                    &format!("have value less than or equal to {max}"),
                );
            }
            Some(_) | None => {}
        }
    }

    pub(super) fn length(&mut self, member: &str, value: Option<&str>, max: usize) {
        if let Some(value) = value.filter(|value| value.chars().count() > max) {
            self.add(member, value, &format!("have length less than or equal to {max}"));
        }
    }

    pub(super) fn pattern(&mut self, member: &str, value: &str, ok: bool, pattern: &str) {
        if !ok {
            self.add(member, value, &format!("satisfy regular expression pattern: {pattern}"));
        }
    }

    pub(super) fn one_of(&mut self, member: &str, value: Option<&str>, allowed: &[&str]) {
        if let Some(value) = value.filter(|value| !allowed.contains(value)) {
            self.add(
                member,
                value,
                &format!("satisfy enum value set: [{}]", allowed.join(", ")),
            );
        }
    }

    pub(super) fn finish(self) -> Result<(), ApiError> {
        let (count, noun) = match self.0.len() {
            0 => return Ok(()),
            1 => (1, "error"),
            count => (count, "errors"),
        };
        let message = format!("{count} validation {noun} detected: {}", self.0.join("; "));
        Err(ApiError::new(400, "ValidationException", message))
    }
}

/// Refuses the members of a request that this local cloud would have to ignore.
pub(super) fn refuse_unknown(rest: &BTreeMap<String, Value>) -> Result<(), ApiError> {
    let empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    };
    match rest.iter().find(|(_, value)| !empty(value)) {
        Some((member, _)) => Err(invalid_parameter(format!(
            "the local cloud does not support `{member}` here"
        ))),
        None => Ok(()),
    }
}
