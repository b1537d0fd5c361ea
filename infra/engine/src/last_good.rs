//! Finds the way back: what the last deployment that ended well left, as a graph like any other.
//!
//! The record keeps the shapes that a deployment is about to change, until one has ended well: [`remember`] takes them
//! down before anything is done. [`last_good`] puts them together with what was not touched. Going back is then an
//! ordinary deployment of that graph: it compares with what is live, makes, changes and removes, in order, and may fail
//! and be repeated as any other.
//!
//! Ids that AWS assigns are turned back into references, because what had them may have to be made anew.

use std::collections::{BTreeMap, BTreeSet};

use infra_cdk::{Graph, Kind, LogicalId, Mistakes, Resource, StackId, Value};
use serde_json::Value as Json;

use crate::plan::Plan;
use crate::record::{Record, Recorded};

/// Shorter ids, such as numbers of versions, appear in texts by accident; they count only as a whole property of what
/// depends on the resource. The ids of API Gateway have seven characters and more.
const CHARACTERS_MIN: usize = 7;

/// Returns what is to be kept of the resources before a plan is applied: what they were after the last deployment that
/// ended well, or `None` where they did not exist. `stored` is what the record says now.
pub(crate) fn remember(
    plan: &Plan,
    stored: &BTreeMap<LogicalId, Recorded>,
    earlier: &BTreeMap<LogicalId, Option<Recorded>>,
) -> BTreeMap<LogicalId, Option<Recorded>> {
    let mut kept = earlier.clone();
    for step in &plan.steps {
        kept.entry(step.id.clone())
            .or_insert_with(|| stored.get(&step.id).cloned());
    }
    kept
}

/// Returns the stack as the last deployment that ended well left it; `None` when that was the last deployment at all.
///
/// The packages of its functions are named by their digests.
///
/// # Errors
/// When the record contradicts itself.
pub(crate) fn last_good(stack: &StackId, record: &Record) -> Result<Option<Graph>, Mistakes> {
    if record.header.last_good.is_empty() {
        return Ok(None);
    }
    let mut good = record.resources.clone();
    for (id, before) in &record.header.last_good {
        match before {
            Some(before) => drop(good.insert(id.clone(), before.clone())),
            None => drop(good.remove(id)),
        }
    }
    let assigned = Assigned::of(&good);
    let existing = |ids: &BTreeSet<LogicalId>| ids.iter().filter(|id| good.contains_key(*id)).cloned().collect();
    let resources = good.iter().map(|(id, recorded)| {
        let properties = recorded.properties.iter().map(|(name, property)| {
            let digest = property.get("Sha256").and_then(Json::as_str);
            let value = match digest.filter(|_| recorded.kind == Kind::Function && name == "Code") {
                Some(digest) => Value::Package(digest.to_owned()),
                None => assigned.value(property, Some((id, recorded))),
            };
            (name.clone(), value)
        });
        let resource = Resource {
            kind: recorded.kind,
            properties: properties.collect(),
            depends_on: existing(&recorded.dependencies),
            snapshot_of: existing(&recorded.snapshot_of),
            parent: recorded.parent.clone().filter(|parent| good.contains_key(parent)),
            removal_policy: recorded.removal_policy,
        };
        (id.clone(), resource)
    });
    let outputs = record.header.outputs.iter();
    let outputs = outputs.map(|(name, output)| (name.clone(), assigned.value(output, None)));
    Graph::new(stack.clone(), resources.collect(), outputs.collect()).map(Some)
}

/// The attributes that AWS assigned, longest first.
struct Assigned<'a>(Vec<(&'a str, &'a LogicalId, &'static str)>);

impl<'a> Assigned<'a> {
    fn of(resources: &'a BTreeMap<LogicalId, Recorded>) -> Self {
        let mut found: Vec<_> = resources
            .iter()
            .flat_map(|(id, recorded)| {
                let has_name = recorded.kind.name_property().is_some();
                let names = recorded.kind.attributes().iter();
                names.filter_map(move |name| {
                    // What is declared, and what follows from a name, stays what it is.
                    let is_computed = has_name && *name == "Arn";
                    let is_assigned = !is_computed && !recorded.properties.contains_key(*name);
                    let value = recorded.attributes.get(*name).filter(|_| is_assigned)?;
                    Some((value.as_str(), id, *name)).filter(|(value, ..)| !value.is_empty())
                })
            })
            .collect();
        found.sort_by_key(|(value, ..)| std::cmp::Reverse(value.len()));
        Self(found)
    }

    /// Returns a recorded value as it would be declared by the resource `by`.
    fn value(&self, recorded: &Json, by: Option<(&LogicalId, &Recorded)>) -> Value {
        match recorded {
            Json::Bool(value) => Value::Bool(*value),
            Json::Array(items) => Value::List(items.iter().map(|item| self.value(item, by)).collect()),
            Json::Object(entries) => Value::map(entries.iter().map(|(key, entry)| (key, self.value(entry, by)))),
            Json::String(text) => self.text(text, by),
            Json::Number(number) => match number.as_i64() {
                Some(number) => Value::Integer(number),
                // Graphs have neither, so no record has.
                None => Value::String(number.to_string()),
            },
            Json::Null => Value::String(String::new()),
        }
    }

    fn text(&self, text: &str, by: Option<(&LogicalId, &Recorded)>) -> Value {
        let found = self.0.iter().find_map(|(value, of, name)| {
            let is_itself = by.is_some_and(|(id, _)| id == *of);
            let depends = by.is_some_and(|(_, recorded)| recorded.dependencies.contains(*of));
            let is_meant = value.len() >= CHARACTERS_MIN || (depends && *value == text);
            let at = text.find(value).filter(|_| is_meant && !is_itself)?;
            Some((at, at + value.len(), (*of).clone(), *name))
        });
        let Some((start, end, of, name)) = found else {
            return Value::String(text.to_owned());
        };
        let reference = Value::Attribute { of, name };
        if start == 0 && end == text.len() {
            return reference;
        }
        let around = [&text[..start], &text[end..]].map(|rest| self.text(rest, by));
        let [before, after] = around;
        Value::Join(vec![before, reference, after])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use infra_cdk::RemovalPolicy;
    use serde_json::json;

    use super::*;

    fn recorded(kind: Kind, properties: Json, attributes: &[(&str, &str)], dependencies: &[&str]) -> Recorded {
        Recorded {
            kind,
            physical_id: "x".to_owned(),
            properties: properties.as_object().unwrap().clone(),
            attributes: attributes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            dependencies: dependencies.iter().map(|id| id.parse().unwrap()).collect(),
            snapshot_of: BTreeSet::new(),
            parent: None,
            removal_policy: RemovalPolicy::Delete,
        }
    }

    #[test]
    fn assigned_ids_become_references_again_and_names_stay_names() {
        let mut record = Record::default();
        let mut add = |id: &str, recorded| {
            let id: LogicalId = id.parse().unwrap();
            record.header.last_good.insert(id, Some(recorded));
        };
        let endpoint = "wss://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com";
        add(
            "Api",
            recorded(
                Kind::Api,
                json!({"Name": "chat"}),
                &[("ApiId", "a1b2c3d4e5"), ("ApiEndpoint", endpoint)],
                &[],
            ),
        );
        add(
            "Stage",
            recorded(
                Kind::Stage,
                json!({"ApiId": "a1b2c3d4e5", "StageName": "dev"}),
                &[("StageName", "dev")],
                &["Api"],
            ),
        );
        let environment = json!({"Environment": {"Variables": {"URL": format!("{endpoint}/dev"), "API": "a1b2c3d4e5"}},
            "Timeout": 5, "Code": {"Sha256": "abc="}});
        add("Function", recorded(Kind::Function, environment, &[], &[]));
        let stack = StackId {
            app: "chat".into(),
            stage: "dev".into(),
        };
        let graph = last_good(&stack, &record).unwrap().unwrap();
        let attribute = |name| Value::Attribute {
            of: "Api".parse().unwrap(),
            name,
        };
        let properties = |id: &str| &graph.resources()[&id.parse::<LogicalId>().unwrap()].properties;
        assert_eq!(properties("Stage")["ApiId"], attribute("ApiId"));
        assert_eq!(properties("Stage")["StageName"], "dev".into());
        assert_eq!(properties("Function")["Code"], Value::Package("abc=".to_owned()));
        assert_eq!(properties("Function")["Timeout"], Value::Integer(5));
        let url = Value::Join(vec!["".into(), attribute("ApiEndpoint"), "/dev".into()]);
        let variables = Value::map([("URL", url), ("API", attribute("ApiId"))]);
        assert_eq!(
            properties("Function")["Environment"],
            Value::map([("Variables", variables)])
        );
    }
}
