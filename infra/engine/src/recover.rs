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
    known: &Known,
    record: &Record,
    live: &BTreeMap<LogicalId, Live>,
) -> Vec<Intent> {
    let mut intents: Vec<Intent> = Vec::new();
    for step in &plan.steps {
        let makes = matches!(
            step.action,
            Action::Create | Action::Replace | Action::Adopt | Action::Update
        );
        let is_declared = graph.resources().contains_key(&step.id);
        let resource = if makes && is_declared {
            let nothing = Live {
                physical_id: String::new(),
                properties: Properties::new(),
                attributes: BTreeMap::new(),
                ownership: Ownership::Ours,
            };
            let properties = known.properties(&step.id);
            Some(observe::recorded(graph, &step.id, &nothing, properties))
        } else {
            // What was located, and is not recorded, is deleted from where it was found.
            let located = live.get(&step.id).filter(|_| is_declared);
            let located = located.map(|live| observe::recorded(graph, &step.id, live, live.properties.clone()));
            record.resources.get(&step.id).cloned().or(located)
        };
        let resource = resource.map(|mut resource| {
            // Names and ids are enough to find it, and of the rest only that it was set; the header should stay small.
            let others = resource.properties.values_mut().filter(|value| !value.is_string());
            others.for_each(|value| *value = Json::Null);
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
    let mut open = Vec::new();
    for old in &record.header.intents {
        match intents.iter_mut().find(|new| key(new) == key(old)) {
            // What the earlier one would have taken a snapshot of leaves before the next snapshot.
            Some(new) => {
                let members = old.resource.iter().flat_map(|resource| &resource.snapshot_of);
                let resource = new.resource.as_mut();
                resource
                    .map(|resource| resource.snapshot_of.extend(members.cloned()))
                    .unwrap_or_default();
            }
            None => open.push(old.clone()),
        }
    }
    intents.extend(open);
    intents
}

/// Forgets the intents of steps that are done. What an earlier deployment left in another place stays open.
pub(crate) fn forget(header: &mut Header, plan: &Plan, done: &[(LogicalId, Action)]) {
    // This deployment's own intents come first, one for each step.
    let mut steps = plan.steps.iter();
    header.intents.retain(|_| {
        let step = steps.next();
        step.is_none_or(|step| !done.contains(&(step.id.clone(), step.action)))
    });
}

/// Returns whether an interrupted deployment set out to make this resource anew, and what is live is still the old one.
pub(crate) fn is_overdue(record: &Record, id: &LogicalId, live: &Live) -> bool {
    record
        .header
        .intents
        .iter()
        .any(|intent| intent.id == *id && intent.action == "replace" && intent.name.as_ref() == Some(&live.physical_id))
}

/// Returns the properties that an interrupted deployment may have set.
pub(crate) fn intended_properties<'r>(record: &'r Record, id: &LogicalId) -> impl Iterator<Item = &'r String> {
    let intents = record.header.intents.iter().filter(move |intent| intent.id == *id);
    intents
        .filter_map(|intent| intent.resource.as_ref())
        .flat_map(|resource| resource.properties.keys())
}

/// Adds to `record` and `live` what was left behind.
pub(crate) async fn recover<C: Cloud>(
    cloud: &C,
    time: &impl Time,
    graph: &Graph,
    record: &mut Record,
    live: &mut BTreeMap<LogicalId, Live>,
) -> Result<(), CloudError> {
    if record.header.intents.is_empty() {
        return Ok(());
    }
    let declarations = Known::of(graph, cloud.context(), &Packages::new(), live);
    let suspects = suspects(graph, &declarations, record, live);
    // What a replacement that leads to the place where something was found will find there itself.
    let claim = |id: &LogicalId, live: &Live| {
        let kind = graph.resources().get(id)?.kind;
        let properties = declarations.properties(id);
        (!kind.replaces_create_first()).then(|| identity(kind, &live.physical_id, &properties))
    };
    let recorded = record.resources.values();
    let mut known: BTreeSet<_> = recorded
        .map(|recorded| identity(recorded.kind, &recorded.physical_id, &recorded.properties))
        .collect();
    for (id, live) in live.iter() {
        let kind = graph.resources().get(id).map(|resource| resource.kind);
        known.extend(kind.map(|kind| identity(kind, &live.physical_id, &live.properties)));
        known.extend(claim(id, live));
    }
    for (id, suspect, found) in look(cloud, time, graph, suspects).await? {
        if !known.insert(identity(suspect.kind, &found.physical_id, &found.properties)) {
            continue;
        }
        let is_declared = graph.resources().contains_key(&id);
        if is_declared && let Entry::Vacant(gone) = live.entry(id.clone()) {
            // The recorded one has gone, so this is the one that counts.
            known.extend(claim(&id, &found));
            record.resources.remove(&id);
            gone.insert(found);
            continue;
        }
        let recorded = Recorded {
            physical_id: found.physical_id.clone(),
            properties: found.properties.clone(),
            attributes: found.attributes.clone(),
            ..suspect
        };
        let is_taken = is_declared || record.resources.contains_key(&id);
        let id = if is_taken { beside(&id, known.len()) } else { id };
        record.resources.insert(id.clone(), recorded);
        live.insert(id, found);
    }
    Ok(())
}

/// Looks for suspects, and returns those of this stack that exist.
///
/// One resource may have been made in several places, by deployments that were interrupted one after the other. An
/// answer is known by the logical id, so each of them has a round of its own.
async fn look<C: Cloud>(
    cloud: &C,
    time: &impl Time,
    graph: &Graph,
    mut suspects: Vec<(LogicalId, Recorded)>,
) -> Result<Vec<(LogicalId, Recorded, Live)>, CloudError> {
    let mut all = Vec::new();
    while !suspects.is_empty() {
        let mut round = BTreeMap::new();
        suspects.retain(|(id, suspect)| match round.entry(id.clone()) {
            Entry::Vacant(free) => {
                free.insert(suspect.clone());
                false
            }
            Entry::Occupied(_) => true,
        });
        let targets: Vec<Target> = round
            .iter()
            .map(|(id, suspect)| Target {
                physical_id: Some(suspect.physical_id.clone()).filter(|known| !known.is_empty()),
                ..observe::recorded_target(graph.stack(), id, suspect)
            })
            .collect();
        let mut found = observe::read(cloud, time, &targets).await?;
        found.retain(|_, found| found.ownership == Ownership::Ours);
        all.extend(round.into_iter().filter_map(|(id, suspect)| {
            let found = found.remove(&id)?;
            Some((id, suspect, found))
        }));
    }
    Ok(all)
}

/// Returns what may exist though neither declaration nor record leads to it; without a physical id where it must be
/// located.
fn suspects(
    graph: &Graph,
    declarations: &Known,
    record: &Record,
    live: &BTreeMap<LogicalId, Live>,
) -> Vec<(LogicalId, Recorded)> {
    let mut suspects: Vec<(LogicalId, Recorded)> = Vec::new();
    for intent in &record.header.intents {
        let Some(mut suspect) = intent.resource.clone() else {
            continue;
        };
        suspect.kind = intent.kind;
        complete(&mut suspect, record, live);
        let here = place(suspect.kind, &suspect.properties);
        let recorded = record.resources.get(&intent.id);
        let is_recorded_here = recorded.is_some_and(|recorded| place(recorded.kind, &recorded.properties) == here);
        let is_replaced = recorded.is_some_and(|recorded| Some(&recorded.physical_id) == intent.name.as_ref());
        match intent.action.as_str() {
            // An old one that should have gone with its parent, which is still there.
            "forget" if !suspect.parent.as_ref().is_some_and(|parent| live.contains_key(parent)) => continue,
            // An old one that may not have been deleted.
            "delete" | "forget" => {
                let Some(old) = intent.name.clone().filter(|_| !(is_recorded_here && is_replaced)) else {
                    continue;
                };
                suspect.physical_id = old;
                suspect.removal_policy = RemovalPolicy::Delete;
            }
            // One that may have been made: beside the recorded one, or where nobody looks any more.
            "create" | "replace" | "adopt" => {
                let is_made_beside = suspect.kind.replaces_create_first() && (is_replaced || intent.name.is_none());
                let is_declared_here = graph.resources().get(&intent.id).is_some_and(|declared| {
                    here.is_none() || place(declared.kind, &declarations.properties(&intent.id)) == here
                });
                let is_reached = match recorded {
                    Some(_) => is_recorded_here && !is_made_beside && live.contains_key(&intent.id),
                    None => is_declared_here,
                };
                if is_reached {
                    continue;
                }
                suspect.physical_id.clear();
            }
            _ => continue,
        }
        let same = |(id, other): &(LogicalId, Recorded)| {
            (id, other.kind, &other.physical_id) == (&intent.id, suspect.kind, &suspect.physical_id)
                && place(other.kind, &other.properties) == place(suspect.kind, &suspect.properties)
        };
        if !suspects.iter().any(same) {
            suspects.push((intent.id.clone(), suspect));
        }
    }
    suspects
}

/// Adds the ids that the parent had not been given yet when the intent was written.
fn complete(suspect: &mut Recorded, record: &Record, live: &BTreeMap<LogicalId, Live>) {
    let Some(parent) = &suspect.parent else { return };
    let read = live.get(parent).map(|live| (&live.properties, &live.attributes));
    let recorded = record.resources.get(parent);
    let Some((properties, attributes)) =
        read.or_else(|| recorded.map(|recorded| (&recorded.properties, &recorded.attributes)))
    else {
        return;
    };
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

/// Returns where a resource is looked for: under its own name, or within what contains it. A permission that moves to
/// another function keeps its id, and is another one all the same.
fn place(kind: Kind, properties: &Properties) -> Option<&str> {
    let container = || {
        ["FunctionName", "ApiId", "RoleName"]
            .into_iter()
            .find(|name| properties.contains_key(*name))
    };
    properties.get(kind.name_property().or_else(container)?)?.as_str()
}

/// Returns what no two resources share.
fn identity(kind: Kind, physical_id: &str, properties: &Properties) -> (Kind, String, Option<String>) {
    (kind, physical_id.to_owned(), place(kind, properties).map(str::to_owned))
}

/// Returns a name for a second resource of one logical id.
fn beside(id: &LogicalId, number: usize) -> LogicalId {
    LogicalId::from_words(&[id.as_str(), "left", &number.to_string()])
}

/// Returns what tells one intent from another: also where, since names may be the same in several places.
fn key(intent: &Intent) -> (&LogicalId, &str, Option<&str>, Option<&str>) {
    let place = intent
        .resource
        .as_ref()
        .and_then(|resource| place(intent.kind, &resource.properties));
    (&intent.id, &intent.action, intent.name.as_deref(), place)
}
