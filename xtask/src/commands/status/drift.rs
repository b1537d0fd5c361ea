//! Each resource: as declared, drifted, missing, …. The engine's plan says it, made with the code that is deployed.

use std::sync::Arc;

use infra_cdk::{Graph, LogicalId, Value};
use infra_engine::{Action, Cause, Package, Packages, Plan, Record, Step};
use serde::Serialize;

use crate::plan_view;

/// A resource and how it is.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResourceStatus {
    pub(super) id: LogicalId,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) physical_id: Option<String>,
    pub(super) state: State,
    /// The properties that differ, or why it does.
    pub(super) differs: Vec<String>,
}

/// How a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum State {
    /// Recorded, live, and as declared.
    Live,
    /// Somebody changed it outside.
    Drifted,
    /// Recorded, and not there any more.
    Missing,
    /// Live and ours, and not in the record.
    Unrecorded,
    /// The next deployment changes it: it is declared otherwise, or something before it changes.
    Outdated,
    /// Declared, and not deployed yet.
    NotDeployed,
    /// CloudFormation has not brought it to what it shall be.
    Failed,
}

impl State {
    /// Returns it in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Drifted => "drifted",
            Self::Missing => "missing",
            Self::Unrecorded => "not recorded",
            Self::Outdated => "to be updated",
            Self::NotDeployed => "not deployed",
            Self::Failed => "not in order",
        }
    }
}

/// Returns packages that have the digests of the code that was deployed last: nothing needs to be compiled, and the plan
/// finds code that was changed outside.
pub(super) fn recorded_packages(graph: &Graph, record: &Record) -> Packages {
    let functions = graph.resources().iter().filter_map(|(id, resource)| {
        let Some(Value::Package(binary)) = resource.properties.get("Code") else {
            return None;
        };
        let code = record.resources.get(id)?.properties.get("Code")?;
        let package = Package {
            sha256: code.get("Sha256")?.as_str()?.to_owned(),
            zip: Arc::default(),
        };
        Some((binary.clone(), package))
    });
    functions.collect()
}

/// Returns what is recorded or declared, in the order of the ids.
pub(super) fn statuses(record: &Record, plan: &Plan) -> Vec<ResourceStatus> {
    let mut statuses: Vec<ResourceStatus> = plan
        .steps
        .iter()
        // The removal of what is replaced says nothing of its own.
        .filter(|step| !is_removal(step) || plan.replacement(step).is_none())
        .map(|step| {
            let state = state(step, record.resources.contains_key(&step.id));
            let mut differs: Vec<String> = plan_view::told(step).map(|(name, _)| name.to_owned()).collect();
            if differs.is_empty() {
                differs.push(step.reason.clone());
            }
            ResourceStatus {
                id: step.id.clone(),
                kind: step.kind.cloudformation_type().to_owned(),
                physical_id: step.physical_id.clone(),
                state,
                differs,
            }
        })
        .collect();
    let unchanged = record.resources.iter().filter(|(id, _)| plan.unchanged.contains(*id));
    statuses.extend(unchanged.map(|(id, recorded)| ResourceStatus {
        id: id.clone(),
        kind: recorded.kind.cloudformation_type().to_owned(),
        physical_id: Some(recorded.physical_id.clone()),
        state: State::Live,
        differs: Vec::new(),
    }));
    statuses.sort_by(|one, other| one.id.cmp(&other.id));
    statuses
}

fn is_removal(step: &Step) -> bool {
    matches!(step.action, Action::Delete | Action::Retain | Action::Forget)
}

fn state(step: &Step, is_recorded: bool) -> State {
    match step.action {
        Action::Create if is_recorded => State::Missing,
        Action::Create => State::NotDeployed,
        Action::Adopt => State::Unrecorded,
        Action::Forget => State::Missing,
        Action::Delete | Action::Retain => State::Outdated,
        Action::Update | Action::Replace => {
            let drifted = |cause| matches!(cause, Cause::Drift | Cause::Both);
            if step.changes.iter().any(|change| drifted(change.cause)) {
                State::Drifted
            } else {
                State::Outdated
            }
        }
    }
}
