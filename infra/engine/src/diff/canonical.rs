//! The form that two equal values share.
//!
//! Policies follow the IAM User Guide, "Grammar of the IAM JSON policy language" and "IAM JSON policy elements":
//! statements, actions and resources have no order; one value may stand for a list of one; action names and condition
//! keys have no case; an account's number stands for its root principal, and `"*"` for `{"AWS": "*"}`; values of
//! conditions may be written as text, numbers or booleans.

use infra_cdk::Schema;
use serde_json::{Map, Value as Json};

/// Returns whether a property holds a policy document.
pub(super) fn is_policy(property: &str) -> bool {
    matches!(property, "PolicyDocument" | "AssumeRolePolicyDocument")
}

/// Returns a value with whole numbers as integers, and lists sorted whose order means nothing. `property` is the
/// top-level property that it belongs to.
pub(super) fn value(schema: &Schema, property: &str, value: &Json) -> Json {
    canonical(schema, property, value)
}

fn canonical(schema: &Schema, name: &str, value: &Json) -> Json {
    match value {
        Json::Array(items) => {
            // Entries of lists are known by the name of the list.
            let items = items.iter().map(|item| canonical(schema, name, item)).collect();
            list(items, schema.sets.contains(name))
        }
        Json::Object(entries) => Json::Object(
            entries
                .iter()
                .map(|(key, entry)| (key.clone(), canonical(schema, key, entry)))
                .collect(),
        ),
        Json::Number(number) => match number.as_f64() {
            // Some services answer `500.0` for 500.
            #[expect(clippy::cast_possible_truncation, reason = "whole and small, as just checked")]
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15 => Json::from(float as i64),
            Some(_) | None => value.clone(),
        },
        // API Gateway and CloudWatch Logs append `:*` to the ARN of a log group, or do not.
        Json::String(text) if text.starts_with("arn:") && text.contains(":log-group:") => {
            Json::from(text.strip_suffix(":*").unwrap_or(text))
        }
        Json::String(_) | Json::Bool(_) | Json::Null => value.clone(),
    }
}

fn list(mut items: Vec<Json>, is_set: bool) -> Json {
    if is_set {
        items.sort_by_cached_key(Json::to_string);
        items.dedup();
    }
    Json::Array(items)
}

/// A policy document.
#[derive(Debug, Default)]
pub(super) struct Policy {
    /// Statements as they are written, with a name to tell them apart and their canonical form.
    statements: Vec<(String, Json, Json)>,
    /// Everything but the statements.
    pub(super) rest: Json,
}

impl Policy {
    /// Reads a document, or text that holds one.
    pub(super) fn read(document: &Json) -> Self {
        let parsed = document.as_str().and_then(|text| serde_json::from_str(text).ok());
        let document = parsed.as_ref().unwrap_or(document);
        let Json::Object(entries) = document else {
            return Self {
                statements: Vec::new(),
                rest: document.clone(),
            };
        };
        let mut rest = entries.clone();
        let statements = match rest.remove("Statement") {
            Some(Json::Array(statements)) => statements,
            Some(statement) => vec![statement],
            None => Vec::new(),
        };
        let named = statements.into_iter().enumerate().map(|(number, written)| {
            let name = match written.get("Sid").and_then(Json::as_str) {
                Some(sid) if !sid.is_empty() => sid.to_owned(),
                Some(_) | None => format!("Statement[{number}]"),
            };
            let canonical = statement(&written);
            (name, written, canonical)
        });
        Self {
            statements: named.collect(),
            rest: Json::Object(rest),
        }
    }

    /// Returns the statements, as they are written, that `other` does not have.
    pub(super) fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a str, &'a Json)> {
        self.statements
            .iter()
            .filter(|(_, _, canonical)| !other.statements.iter().any(|(_, _, theirs)| theirs == canonical))
            .map(|(name, written, _)| (name.as_str(), written))
    }

    /// Returns whether it has a statement that means the same.
    pub(super) fn contains(&self, written: &Json) -> bool {
        let wanted = statement(written);
        self.statements.iter().any(|(_, _, canonical)| *canonical == wanted)
    }
}

fn statement(written: &Json) -> Json {
    let Json::Object(entries) = written else {
        return written.clone();
    };
    let entries = entries.iter().filter_map(|(key, entry)| {
        let entry = match key.as_str() {
            // An empty name is none.
            "Sid" if entry == "" => return None,
            "Action" | "NotAction" => texts(entry, str::to_ascii_lowercase),
            "Resource" | "NotResource" => texts(entry, str::to_owned),
            "Principal" | "NotPrincipal" => principal(entry),
            "Condition" => condition(entry),
            _ => entry.clone(),
        };
        Some((key.clone(), entry))
    });
    Json::Object(entries.collect())
}

fn principal(entry: &Json) -> Json {
    let everyone = || Json::Object(Map::from_iter([("AWS".to_owned(), Json::from(vec!["*"]))]));
    match entry {
        Json::String(text) if text == "*" => everyone(),
        Json::Object(kinds) => Json::Object(
            kinds
                .iter()
                .map(|(kind, who)| (kind.clone(), texts(who, account)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// Returns an account's number for its root principal.
fn account(text: &str) -> String {
    let mut parts = text.split(':');
    match (parts.next(), parts.nth(1), parts.nth(1), parts.next(), parts.next()) {
        (Some("arn"), Some("iam"), Some(number), Some("root"), None) => number.to_owned(),
        _ => text.to_owned(),
    }
}

fn condition(entry: &Json) -> Json {
    let Json::Object(operators) = entry else {
        return entry.clone();
    };
    let operators = operators.iter().map(|(operator, keys)| {
        let keys = match keys {
            Json::Object(keys) => Json::Object(
                keys.iter()
                    .map(|(key, values)| (key.to_ascii_lowercase(), texts(values, str::to_owned)))
                    .collect(),
            ),
            other => other.clone(),
        };
        (operator.clone(), keys)
    });
    Json::Object(operators.collect())
}

/// Returns one value or many as a sorted list of texts.
fn texts(entry: &Json, map: impl Fn(&str) -> String) -> Json {
    let text = |value: &Json| match value {
        Json::String(text) => Json::String(map(text)),
        Json::Bool(_) | Json::Number(_) => Json::String(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => value.clone(),
    };
    match entry {
        Json::Array(items) => list(items.iter().map(text).collect(), true),
        one => Json::Array(vec![text(one)]),
    }
}
