//! Reads what exists, of all that is declared or recorded.

use std::collections::{BTreeMap, BTreeSet};

use infra_cdk::{Graph, LogicalId, StackId};

use crate::plan::{Known, Packages};
use crate::provider::{Cloud, CloudError, Live, Ownership, Properties, Target};
use crate::record::{Record, Recorded};
use crate::retry;
use crate::time::Time;

/// Returns what exists.
///
/// What is recorded is read in one parallel round. What is declared only is located in the same round, as far as the
/// properties that identify it are known; the rest follows when its parent has been found. `ids` are physical ids that are
/// known from elsewhere, of resources that are not recorded.
pub(crate) async fn observe<C: Cloud>(
    cloud: &C,
    time: &impl Time,
    graph: &Graph,
    record: &Record,
    ids: &BTreeMap<LogicalId, String>,
) -> Result<BTreeMap<LogicalId, Live>, CloudError> {
    let mut live: BTreeMap<LogicalId, Live> = BTreeMap::new();
    let mut asked: BTreeSet<LogicalId> = BTreeSet::new();
    loop {
        let targets: Vec<Target> = next_targets(cloud, graph, record, ids, &live)
            .into_iter()
            .filter(|target| asked.insert(target.id.clone()))
            .collect();
        if targets.is_empty() {
            return Ok(live);
        }
        live.extend(read(cloud, time, &targets).await?);
    }
}

/// Returns what exists of the declared resources that are not recorded, for a removal.
///
/// Nothing else needs to be read: deleting what is gone already is success, and what lies inside something that is
/// deleted goes with it.
pub(crate) async fn locate_unrecorded<C: Cloud>(
    cloud: &C,
    time: &impl Time,
    graph: &Graph,
    record: &Record,
) -> Result<BTreeMap<LogicalId, Live>, CloudError> {
    let targets: Vec<Target> = next_targets(cloud, graph, record, &BTreeMap::new(), &BTreeMap::new())
        .into_iter()
        .filter(|target| target.physical_id.is_none() && graph.resources()[&target.id].parent.is_none())
        .collect();
    if targets.is_empty() {
        Ok(BTreeMap::new())
    } else {
        read(cloud, time, &targets).await
    }
}

/// Reads, patiently: a plan should not fail because one of its many reads was throttled.
pub(crate) async fn read<C: Cloud>(
    cloud: &C,
    time: &impl Time,
    targets: &[Target],
) -> Result<BTreeMap<LogicalId, Live>, CloudError> {
    retry::persist(time, || cloud.observe(targets), |_, _| true).await
}

/// Returns everything that can be asked for, with what is known so far.
fn next_targets<C: Cloud>(
    cloud: &C,
    graph: &Graph,
    record: &Record,
    ids: &BTreeMap<LogicalId, String>,
    live: &BTreeMap<LogicalId, Live>,
) -> Vec<Target> {
    let mut targets: Vec<Target> = record
        .resources
        .iter()
        .map(|(id, recorded)| recorded_target(graph.stack(), id, recorded))
        .collect();
    // No package identifies anything.
    let packages = Packages::new();
    let mut known = Known::default();
    for (id, resource) in graph.in_order() {
        let resolved = known.resolve(id, resource, graph, cloud.context(), &packages);
        if let Some(found) = live.get(id) {
            known.learn(id, &found.attributes);
        } else if let Some(recorded) = record.resources.get(id) {
            known.learn(id, &recorded.attributes);
        }
        // What identifies a child of its parent is assigned with the parent; a parent with a name is known from the start.
        let parent_known = resource.parent.as_ref().is_none_or(|parent| {
            live.contains_key(parent)
                || record.resources.contains_key(parent)
                || graph.resources()[parent].kind.name_property().is_some()
        });
        if parent_known && !record.resources.contains_key(id) {
            targets.push(Target {
                stack: graph.stack().clone(),
                id: id.clone(),
                kind: resource.kind,
                physical_id: ids.get(id).cloned(),
                properties: resolved.properties,
            });
        }
    }
    targets
}

/// Returns the target of a recorded resource.
pub(crate) fn recorded_target(stack: &StackId, id: &LogicalId, recorded: &Recorded) -> Target {
    Target {
        stack: stack.clone(),
        id: id.clone(),
        kind: recorded.kind,
        physical_id: Some(recorded.physical_id.clone()),
        properties: recorded.properties.clone(),
    }
}

/// Returns a recorded resource as if it had just been read.
pub(crate) fn live_as_recorded(recorded: &Recorded) -> Live {
    Live {
        physical_id: recorded.physical_id.clone(),
        properties: recorded.properties.clone(),
        attributes: recorded.attributes.clone(),
        ownership: Ownership::Ours,
    }
}

/// Returns the record of a resource as it is now.
pub(crate) fn recorded(graph: &Graph, id: &LogicalId, live: &Live, properties: Properties) -> Recorded {
    let resource = &graph.resources()[id];
    Recorded {
        kind: resource.kind,
        physical_id: live.physical_id.clone(),
        properties,
        attributes: live.attributes.clone(),
        dependencies: graph.outlived_by(id),
        snapshot_of: resource.snapshot_of.clone(),
        parent: resource.parent.clone(),
        removal_policy: resource.removal_policy,
    }
}
