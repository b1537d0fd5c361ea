//! What two templates of one stack say differently about the same entries.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::SynthError;

/// One property that two templates set differently.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Its path, for example `Environment.Variables.TABLE`; an attribute of the entry, such as `DeletionPolicy`, by its name.
    pub property: String,
    /// What the first template says.
    pub from: Option<Json>,
    /// What the second one says.
    pub to: Option<Json>,
}

/// Returns the differences of every entry that both templates have; none for those that are equal. What only people read
/// (`Metadata`) and what only orders (`DependsOn`) does not count. Both are YAML or JSON.
///
/// # Errors
/// [`SynthError::Unreadable`] for what is no template.
pub fn differences(before: &str, after: &str) -> Result<BTreeMap<String, Vec<Difference>>, SynthError> {
    let read =
        |text: &str| serde_yaml::from_str::<Json>(text).map_err(|error| SynthError::Unreadable(error.to_string()));
    let (before, after) = (read(before)?, read(after)?);
    let entries = |template: &Json| {
        template
            .get("Resources")
            .and_then(Json::as_object)
            .cloned()
            .unwrap_or_default()
    };
    let (before, after) = (entries(&before), entries(&after));
    let both = after
        .iter()
        .filter_map(|(name, new)| Some((name, before.get(name)?, new)));
    Ok(both
        .map(|(name, old, new)| {
            let mut found = Vec::new();
            compare("", old.get("Properties"), new.get("Properties"), &mut found);
            for attribute in ["DeletionPolicy", "UpdateReplacePolicy", "Type"] {
                compare(attribute, old.get(attribute), new.get(attribute), &mut found);
            }
            (name.clone(), found)
        })
        .collect())
}

fn compare(path: &str, from: Option<&Json>, to: Option<&Json>, found: &mut Vec<Difference>) {
    match (from, to) {
        (from, to) if from == to => {}
        (Some(Json::Object(old)), Some(Json::Object(new))) if !is_function(old) && !is_function(new) => {
            for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
                let path = match path {
                    "" => key.clone(),
                    path => format!("{path}.{key}"),
                };
                compare(&path, old.get(key), new.get(key), found);
            }
        }
        (from, to) => found.push(Difference {
            property: path.to_owned(),
            from: from.cloned(),
            to: to.cloned(),
        }),
    }
}

/// Returns whether a map is an intrinsic function, such as `{"Ref": "Table"}`.
fn is_function(map: &serde_json::Map<String, Json>) -> bool {
    map.keys().any(|key| key == "Ref" || key.starts_with("Fn::"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_compared_down_to_functions() {
        let template = |memory: u32, variable: Json, policy: &str| {
            let properties = json!({"MemorySize": memory, "Environment": {"Variables": {"A": variable, "B": "b"}}});
            json!({"Resources": {
                "Function": {"Type": "T", "DeletionPolicy": policy, "Metadata": policy, "Properties": properties},
                "Same": {"Type": "T"},
            }})
            .to_string()
        };
        let one = template(128, json!({"Ref": "X"}), "Delete");
        let other = template(256, json!({"Ref": "Y"}), "Retain");
        let found = differences(&one, &other).unwrap();
        assert_eq!(found["Same"], []);
        let properties: Vec<_> = found["Function"]
            .iter()
            .map(|difference| difference.property.as_str())
            .collect();
        assert_eq!(properties, ["Environment.Variables.A", "MemorySize", "DeletionPolicy"]);
        assert_eq!(found["Function"][0].to, Some(json!({"Ref": "Y"})));
        assert!(differences("[", "{}").is_err());
    }
}
