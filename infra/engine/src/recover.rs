//! Finds what an interrupted deployment made or left behind, and did not record.
//!
//! What is still declared is found by its name or mark, like everything that is declared and not recorded. The rest is
//! known only from the [`Intent`]s that the deployment wrote before it began: what it was about to make and is not
//! declared any more, and the old ones of replacements. They count as recorded from here on, and the planner removes
//! them as it removes everything that is not declared.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use infra_cdk::{Graph, Kind, LogicalId, RemovalPolicy};
use serde_json::Value as Json;

use crate::observe;
use crate::plan::{Action, Known, Packages, Plan};
use crate::provider::{Cloud, CloudError, Live, Ownership, Properties, Target};
use crate::record::{Header, Intent, Record, Recorded};
use crate::time::Time;

/// Returns what a deployment sets out to do, and what earlier ones did not bring to an end.
pub(crate) fn intents(
    plan: &Plan,
    graph: &Graph,
    known: &mut Known,
    record: &Record,
    context: &infra_cdk::Context,
    packages: &Packages,
) -> Vec<Intent> {
    let mut intents: Vec<Intent> = Vec::new();
    for step in &plan.steps {
        let resource = match (step.action, graph.resources().get(&step.id)) {
            (Action::Create | Action::Replace | Action::Adopt | Action::Update, Some(resource)) => {
                let properties = known.resolve(&step.id, resource, graph, context, packages).properties;
                let live = Live {
                    physical_id: String::new(),
                    properties: properties.clone(),
                    attributes: BTreeMap::new(),
                    ownership: Ownership::Ours,
                };
                Some(observe::recorded(graph, &step.id, &live, properties))
            }
            _ => record.resources.get(&step.id).cloned(),
        };
        let resource = resource.map(|mut resource| {
            // Names and ids are enough to find it; the header should stay small.
            resource.properties.retain(|_, value| value.is_string());
            resource
        });
        intents.push(Intent {
            id: step.id.clone(),
            kind: step.kind,
            action: step.action.to_string(),
            name: step.physical_id.clone(),
            resource,
        });
    }
    let new: BTreeSet<_> = intents.iter().map(key).collect();
    let open: Vec<_> = record
        .header
        .intents
        .iter()
        .filter(|intent| !new.contains(&key(intent)))
        .cloned()
        .collect();
    intents.extend(open);
    intents
}

/// Forgets the intents of steps that are done.
pub(crate) fn forget(header: &mut Header, plan: &Plan, done: &[(LogicalId, Action)]) {
    let done: BTreeSet<_> = plan
        .steps
        .iter()
        .filter(|step| done.contains(&(step.id.clone(), step.action)))
        .map(|step| (step.id.clone(), step.action.to_string(), step.physical_id.clone()))
        .collect();
    header.intents.retain(|intent| !done.contains(&key(intent)));
}

/// Returns whether an interrupted deployment set out to make this resource anew, and what is live is still the old one.
pub(crate) fn is_overdue(record: &Record, id: &LogicalId, live: &Live) -> bool {
    record
        .header
        .intents
        .iter()
        .any(|intent| intent.id == *id && intent.action == "replace" && intent.name.as_ref() == Some(&live.physical_id))
}

/// Adds to `record` and `live` what was left behind.
pub(crate) async fn recover<C: Cloud>(
    cloud: &C,
    time: &impl Time,
    graph: &Graph,
    record: &mut Record,
    live: &mut BTreeMap<LogicalId, Live>,
) -> Result<(), CloudError> {
    let suspects = suspects(graph, record, live);
    if suspects.is_empty() {
        return Ok(());
    }
    let targets: Vec<Target> = suspects
        .iter()
        .map(|(id, suspect)| Target {
            physical_id: Some(suspect.physical_id.clone()).filter(|known| !known.is_empty()),
            ..observe::recorded_target(graph.stack(), id, suspect)
        })
        .collect();
    let found = observe::read(cloud, time, &targets).await?;
    let identity = |kind: Kind, physical_id: &str, properties: &Properties| {
        let container = properties.get("FunctionName").or_else(|| properties.get("ApiId"));
        (kind, physical_id.to_owned(), container.map(Json::to_string))
    };
    let recorded = record.resources.values();
    let mut known: BTreeSet<_> = recorded
        .map(|recorded| identity(recorded.kind, &recorded.physical_id, &recorded.properties))
        .collect();
    known.extend(live.iter().filter_map(|(id, live)| {
        let kind = graph.resources().get(id)?.kind;
        Some(identity(kind, &live.physical_id, &live.properties))
    }));
    for (id, found) in found
        .into_iter()
        .filter(|(_, found)| found.ownership == Ownership::Ours)
    {
        let Some(suspect) = suspects.get(&id) else { continue };
        if !known.insert(identity(suspect.kind, &found.physical_id, &found.properties)) {
            continue;
        }
        let is_declared = graph.resources().contains_key(&id);
        if is_declared && !suspect.kind.replaces_create_first() {
            // The old one had to go first. If it has, this is the one that counts.
            if let Entry::Vacant(gone) = live.entry(id) {
                record.resources.remove(gone.key());
                gone.insert(found);
            }
            continue;
        }
        let recorded = Recorded {
            physical_id: found.physical_id.clone(),
            properties: found.properties.clone(),
            attributes: found.attributes.clone(),
            ..suspect.clone()
        };
        let is_taken = is_declared || record.resources.contains_key(&id);
        let id = if is_taken { beside(&id, known.len()) } else { id };
        record.resources.insert(id.clone(), recorded);
        live.insert(id, found);
    }
    Ok(())
}

/// Returns what may exist though neither declaration nor record leads to it; without a physical id where it must be
/// located.
fn suspects(graph: &Graph, record: &Record, live: &BTreeMap<LogicalId, Live>) -> BTreeMap<LogicalId, Recorded> {
    let mut suspects = BTreeMap::new();
    for (number, intent) in record.header.intents.iter().enumerate() {
        let Some(mut suspect) = intent.resource.clone() else {
            continue;
        };
        suspect.kind = intent.kind;
        let recorded = record.resources.get(&intent.id);
        let id = match (intent.action.as_str(), &intent.name) {
            // An old one that may not have been deleted.
            ("delete", Some(old)) if recorded.is_none_or(|recorded| recorded.physical_id != *old) => {
                suspect.physical_id.clone_from(old);
                beside(&intent.id, number)
            }
            // A new one that may have been made, while the old one is recorded.
            ("replace", Some(old)) if recorded.is_some_and(|recorded| recorded.physical_id == *old) => {
                suspect.physical_id.clear();
                intent.id.clone()
            }
            // One that may have been made, and is not declared any more.
            ("create" | "replace" | "adopt", _)
                if recorded.is_none() && !graph.resources().contains_key(&intent.id) =>
            {
                suspect.physical_id.clear();
                intent.id.clone()
            }
            _ => continue,
        };
        suspect.removal_policy = match intent.action.as_str() {
            "delete" => RemovalPolicy::Delete,
            _ => suspect.removal_policy,
        };
        if let Some(parent) = suspect.parent.as_ref().and_then(|parent| {
            let read = live.get(parent).map(|live| (&live.properties, &live.attributes));
            let recorded = record.resources.get(parent);
            read.or_else(|| recorded.map(|recorded| (&recorded.properties, &recorded.attributes)))
        }) {
            // Ids that the parent had not been given yet.
            let (properties, attributes) = parent;
            let attributes = attributes
                .iter()
                .map(|(name, value)| (name, Json::from(value.as_str())));
            let api = properties
                .get_key_value("ApiId")
                .map(|(name, value)| (name, value.clone()));
            for (name, value) in attributes.chain(api) {
                suspect.properties.entry(name.clone()).or_insert(value);
            }
        }
        suspects.insert(id, suspect);
    }
    suspects
}

/// Returns a name for a second resource of one logical id.
fn beside(id: &LogicalId, number: usize) -> LogicalId {
    LogicalId::from_words(&[id.as_str(), "left", &number.to_string()])
}

fn key(intent: &Intent) -> (LogicalId, String, Option<String>) {
    (intent.id.clone(), intent.action.clone(), intent.name.clone())
}
