//! Compares properties as AWS understands them, not as they are written. Pure.

use serde_json::{Map, Value as Json};

use crate::plan::{After, Change};

/// Properties whose maps are compared whole: an entry that is live and not desired is a difference. In other maps AWS
/// fills in defaults, and only what is desired is compared.
const EXACT_MAPS: [&str; 3] = ["Environment", "Tags", "StageVariables"];

/// Properties that hold a policy document.
const POLICIES: [&str; 2] = ["PolicyDocument", "AssumeRolePolicyDocument"];

/// Lists whose order means nothing.
const SETS: [&str; 3] = ["AttributeDefinitions", "GlobalSecondaryIndexes", "IdentitySource"];

/// Returns how `live` differs from `desired` in the property `name`, leaf by leaf.
pub(crate) fn changes(name: &str, desired: &Json, live: Option<&Json>, recorded: Option<&Json>) -> Vec<Change> {
    let desired = canonical(name, desired);
    let live = live.map(|value| canonical(name, value));
    let recorded = recorded.map(|value| canonical(name, value));
    let mut found = Vec::new();
    let exact = EXACT_MAPS.contains(&name);
    compare(name, exact, &desired, live.as_ref(), recorded.as_ref(), &mut found);
    found
}

/// Returns a value in the form that two equal ones share.
pub(crate) fn canonical(name: &str, value: &Json) -> Json {
    if POLICIES.contains(&name) {
        return canonical_policy(value);
    }
    match value {
        Json::Array(items) if SETS.contains(&name) => {
            let mut items: Vec<_> = items.iter().map(canonical_number).collect();
            items.sort_by_key(Json::to_string);
            Json::Array(items)
        }
        other => canonical_number(other),
    }
}

/// Returns a policy with single values as lists, and lists whose order means nothing sorted (IAM User Guide, "Grammar of
/// the IAM JSON policy language").
fn canonical_policy(value: &Json) -> Json {
    match value {
        Json::Object(entries) => Json::Object(
            entries
                .iter()
                .map(|(key, entry)| {
                    let entry = match (key.as_str(), entry) {
                        (
                            "Action" | "Resource" | "NotAction" | "NotResource" | "Service" | "AWS",
                            Json::String(one),
                        ) => Json::Array(vec![Json::String(one.clone())]),
                        (
                            "Action" | "Resource" | "NotAction" | "NotResource" | "Service" | "AWS",
                            Json::Array(many),
                        ) => {
                            let mut many = many.clone();
                            many.sort_by_key(Json::to_string);
                            Json::Array(many)
                        }
                        ("Statement", Json::Object(_)) => Json::Array(vec![canonical_policy(entry)]),
                        _ => canonical_policy(entry),
                    };
                    (key.clone(), entry)
                })
                .collect(),
        ),
        Json::Array(items) => Json::Array(items.iter().map(canonical_policy).collect()),
        other => other.clone(),
    }
}

/// Returns whole numbers as integers: some services answer `500.0` for 500.
fn canonical_number(value: &Json) -> Json {
    match value {
        Json::Number(number) => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "whole and small, as just checked")]
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15 => Json::from(float as i64),
            _ => value.clone(),
        },
        Json::Array(items) => Json::Array(items.iter().map(canonical_number).collect()),
        Json::Object(entries) => Json::Object(
            entries
                .iter()
                .map(|(key, entry)| (key.clone(), canonical_number(entry)))
                .collect(),
        ),
        other => other.clone(),
    }
}

fn compare(
    path: &str,
    exact: bool,
    desired: &Json,
    live: Option<&Json>,
    recorded: Option<&Json>,
    found: &mut Vec<Change>,
) {
    if let (Json::Object(desired), Some(Json::Object(live))) = (desired, live) {
        let empty = Map::new();
        let recorded = recorded.and_then(Json::as_object).unwrap_or(&empty);
        for (key, value) in desired {
            compare(
                &format!("{path}.{key}"),
                exact,
                value,
                live.get(key),
                recorded.get(key),
                found,
            );
        }
        for (key, value) in live.iter().filter(|(key, _)| exact && !desired.contains_key(*key)) {
            let drift = !recorded.contains_key(key);
            found.push(Change {
                property: format!("{path}.{key}"),
                from: Some(value.clone()),
                to: After::Cleared,
                drift,
            });
        }
    } else if Some(desired) != live {
        let drift = recorded == Some(desired);
        found.push(Change {
            property: path.to_owned(),
            from: live.cloned(),
            to: After::Value(desired.clone()),
            drift,
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn policies_are_equal_however_they_are_written() {
        let ours = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["a:B", "a:A"], "Resource": "x"}]});
        let theirs = json!({"Statement": {"Resource": ["x"], "Action": ["a:A", "a:B"], "Effect": "Allow"}, "Version": "2012-10-17"});
        assert_eq!(changes("PolicyDocument", &ours, Some(&theirs), None), []);
        let other = json!({"Statement": {"Resource": ["y"], "Action": ["a:A", "a:B"], "Effect": "Allow"}, "Version": "2012-10-17"});
        assert_eq!(changes("PolicyDocument", &ours, Some(&other), None).len(), 1);
    }

    #[test]
    fn defaults_that_a_service_fills_in_are_no_change() {
        let desired = json!({"ThrottlingRateLimit": 500});
        let live = json!({"ThrottlingRateLimit": 500.0, "DetailedMetricsEnabled": false});
        assert_eq!(changes("DefaultRouteSettings", &desired, Some(&live), None), []);
    }

    #[test]
    fn environments_are_compared_whole_and_leaf_by_leaf() {
        let desired = json!({"Variables": {"A": "1", "B": "2"}});
        let live = json!({"Variables": {"A": "1", "B": "3", "C": "4"}});
        let found = changes("Environment", &desired, Some(&live), Some(&desired));
        let paths: Vec<_> = found
            .iter()
            .map(|change| (change.property.as_str(), change.drift))
            .collect();
        assert_eq!(
            paths,
            [("Environment.Variables.B", true), ("Environment.Variables.C", true)]
        );
    }

    #[test]
    fn a_change_of_the_declaration_is_not_drift() {
        let found = changes("MemorySize", &json!(512), Some(&json!(256)), Some(&json!(256)));
        assert_eq!(found.len(), 1);
        assert!(!found[0].drift);
    }
}
