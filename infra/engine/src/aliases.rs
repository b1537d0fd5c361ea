//! Going back to the versions that aliases named before the last deployment that moved any. Pure.
//!
//! Code is all that goes back: published versions never change, so moving the aliases is enough, and takes one call each.
//! Which versions those were is in the record's header: an alias that the last deployment left alone stays where it is,
//! though its function has an older version too.

use std::collections::{BTreeMap, BTreeSet};

use infra_cdk::{Graph, Kind, LogicalId, Resource};
use serde_json::Value as Json;

use crate::plan::{Action, After, Change, Plan, Step};
use crate::provider::Live;
use crate::record::Record;

/// Property that names an alias's version.
const VERSION: &str = "FunctionVersion";

/// Returns what aliases name before a deployment, for its header.
///
/// A deployment that continues an interrupted one goes back to what was before both, except where it publishes a version
/// of its own: then only the version of the interrupted one is kept beside it.
pub(crate) fn before(
    plan: &Plan,
    graph: &Graph,
    record: &Record,
    live: &BTreeMap<LogicalId, Live>,
) -> BTreeMap<LogicalId, String> {
    let earlier = &record.header.aliased_before;
    let moves = |step: &Step| {
        step.kind == Kind::Alias && matches!(step.action, Action::Update | Action::Adopt) && !step.changes.is_empty()
    };
    if !plan.steps.iter().any(moves) {
        return earlier.clone();
    }
    let continues = !record.header.intents.is_empty();
    declared(graph)
        .filter_map(|(id, alias)| {
            let now = version(live.get(id)?)?;
            let publishes = plan.steps.iter().any(|step| Some(&step.id) == alias.parent.as_ref());
            let kept = earlier.get(id).filter(|_| continues && !publishes);
            Some((id.clone(), kept.map_or(now, String::as_str).to_owned()))
        })
        .collect()
}

/// Plans to move every alias that does not name what it named before the last deployment.
pub(crate) fn plan_rollback(graph: &Graph, record: &Record, live: &BTreeMap<LogicalId, Live>) -> Plan {
    let steps = declared(graph).filter_map(|(id, alias)| {
        let to = record.header.aliased_before.get(id)?;
        let live = live.get(id)?;
        let from = version(live)?;
        (from != to).then(|| Step {
            id: id.clone(),
            kind: alias.kind,
            action: Action::Update,
            reason: "rolled back".to_owned(),
            changes: vec![Change {
                property: VERSION.to_owned(),
                from: Some(from.into()),
                to: After::Value(Json::from(to.as_str())),
                drift: false,
            }],
            physical_id: Some(live.physical_id.clone()),
            after: BTreeSet::new(),
        })
    });
    Plan {
        steps: steps.collect(),
        unchanged: BTreeSet::new(),
    }
}

/// Returns the graph as it is while `plan` holds: its aliases name versions by number, and say why. The next deployment
/// finds a description that is not declared, and shows with it what it undoes.
pub(crate) fn rolled_back(graph: &Graph, plan: &Plan) -> Graph {
    let mut resources = graph.resources().clone();
    for step in &plan.steps {
        let (Some(alias), Some(change)) = (resources.get_mut(&step.id), step.changes.first()) else {
            continue;
        };
        if let (Some(Json::String(from)), After::Value(Json::String(to))) = (&change.from, &change.to) {
            let pinned = alias
                .clone()
                .with(VERSION, to.as_str())
                .with("Description", format!("rolled back from version {from}"));
            *alias = pinned;
        }
    }
    Graph::new(graph.stack().clone(), resources, graph.outputs().clone())
        .expect("a text in the place of a reference is no mistake")
}

/// Returns the declared aliases.
pub(crate) fn declared(graph: &Graph) -> impl Iterator<Item = (&LogicalId, &Resource)> {
    let resources = graph.resources().iter();
    resources.filter(|(_, resource)| resource.kind == Kind::Alias)
}

fn version(live: &Live) -> Option<&str> {
    live.properties.get(VERSION)?.as_str()
}
