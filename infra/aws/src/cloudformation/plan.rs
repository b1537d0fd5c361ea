//! A change set read as a plan, as the direct engine would show it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cloudformation::types::{
    AttributeChangeType, ChangeAction, PolicyAction, Replacement, RequiresRecreation, ResourceAttribute,
    ResourceChange, ResourceChangeDetail,
};
use infra_cdk::{Difference, Graph, Kind, LogicalId, RemovalPolicy};
use infra_engine::{Action, After, Cause, Change, Class, CloudError, Plan, Step};
use serde_json::Value as Json;

use super::change_set::ChangeSet;
use super::names::{Named, Names};
use crate::error::refused;

/// What a value is until the change is made, in change sets.
const KNOWN_AFTER: &str = "{{changeSet:KNOWN_AFTER_APPLY}}";

impl ChangeSet {
    /// Returns the changes as a plan, as the direct engine would show it. `differences` are those of the stack's templates,
    /// for changes of which CloudFormation says no more than that there may be one.
    ///
    /// # Errors
    /// When the stack has resources that this program knows nothing of.
    pub fn plan(
        &self,
        graph: &Graph,
        names: &Names,
        differences: &BTreeMap<String, Vec<Difference>>,
    ) -> Result<Plan, CloudError> {
        let mut steps = BTreeMap::<LogicalId, Vec<Step>>::new();
        let mut versions = BTreeSet::new();
        for change in &self.changes {
            let name = change.logical_resource_id().unwrap_or_default();
            let kind = change.resource_type().unwrap_or_default();
            match names.named(name, kind) {
                Some(Named::Resource(id, kind)) => {
                    steps.entry(id.clone()).or_default().extend(steps_of(
                        graph,
                        &id,
                        kind,
                        change,
                        differences.get(name),
                    ));
                }
                Some(Named::Version(function)) => {
                    if names.is_current(name) {
                        versions.insert(function);
                    }
                }
                None => {
                    let message = format!("the stack has {name}, of the type {kind}, which no stage declares");
                    return Err(refused("cloudformation:DescribeChangeSet", Class::Permanent, message));
                }
            }
        }
        // A function and its version are one thing to people, and so are a deployment that goes and the one that comes.
        for function in versions {
            let published = || step(&function, Kind::Function, Action::Update, "a new version is published");
            steps.entry(function.clone()).or_insert_with(|| vec![published()]);
        }
        steps.retain(|_, steps| !steps.is_empty());
        for (id, steps) in &mut steps {
            merge_renamed(graph, id, steps);
        }
        let unchanged = names
            .resources()
            .filter(|id| !steps.contains_key(*id))
            .cloned()
            .collect();
        let mut ordered: Vec<Step> = Vec::new();
        for (id, _) in graph.in_order() {
            ordered.extend(steps.remove(id).into_iter().flatten());
        }
        ordered.extend(steps.into_values().flatten());
        Ok(Plan {
            steps: ordered,
            unchanged,
        })
    }
}

/// Returns a step that nothing more is known of.
pub(super) fn step(id: &LogicalId, kind: Kind, action: Action, reason: &str) -> Step {
    Step {
        id: id.clone(),
        kind,
        action,
        reason: reason.to_owned(),
        changes: Vec::new(),
        physical_id: None,
        after: BTreeSet::new(),
    }
}

/// Returns what one change of a change set does.
fn steps_of(
    graph: &Graph,
    id: &LogicalId,
    kind: Kind,
    change: &ResourceChange,
    differences: Option<&Vec<Difference>>,
) -> Vec<Step> {
    let has_details = !change.details().is_empty();
    let changes = match differences {
        Some(differences) if !has_details => {
            let changes = differences.iter().map(|difference| change_between(kind, difference));
            changes.collect()
        }
        Some(_) | None => changes_of(change.details()),
    };
    let in_place = !has_details && differences.is_some() && !changes.iter().any(|change| change.replaces);
    let physical_id = change.physical_resource_id().map(str::to_owned);
    let one = |action, reason: &str| Step {
        changes: changes.clone(),
        physical_id: physical_id.clone(),
        ..step(id, kind, action, reason)
    };
    // A change set says what becomes of the old one; older ones did not.
    let removal_policy = graph.resources().get(id).map(|resource| resource.removal_policy);
    let removal = match change.policy_action() {
        Some(PolicyAction::Retain | PolicyAction::ReplaceAndRetain) => Action::Retain,
        Some(_) => Action::Delete,
        None if removal_policy == Some(RemovalPolicy::Retain) => Action::Retain,
        None => Action::Delete,
    };
    match change.action() {
        Some(ChangeAction::Add) => vec![step(id, kind, Action::Create, "not deployed yet")],
        Some(ChangeAction::Remove) => vec![Step {
            physical_id,
            ..step(id, kind, removal, removal_reason(removal))
        }],
        Some(ChangeAction::Import) => vec![Step {
            physical_id,
            ..step(id, kind, Action::Adopt, "exists, and becomes part of the stack")
        }],
        Some(ChangeAction::Modify) => match change.replacement() {
            Some(Replacement::True) => {
                vec![
                    one(Action::Replace, &replacement_reason(&changes)),
                    one(removal, "replaced").without_changes(),
                ]
            }
            Some(Replacement::Conditional) if in_place && changes.is_empty() => Vec::new(),
            Some(Replacement::Conditional) if in_place => vec![one(Action::Update, "declaration changed")],
            // It is decided when the values are known; until then it counts as what it may become.
            Some(Replacement::Conditional) => vec![
                one(Action::Replace, "it may turn out that it cannot be changed in place"),
                one(removal, "replaced").without_changes(),
            ],
            _ => vec![one(Action::Update, "declaration changed")],
        },
        Some(ChangeAction::SyncWithActual) => vec![one(Action::Update, "brought to what it really is")],
        _ => vec![one(Action::Update, "known when it is executed")],
    }
}

const fn removal_reason(action: Action) -> &'static str {
    match action {
        Action::Retain => "not declared any more; its removal policy is retain",
        Action::Create | Action::Adopt | Action::Update | Action::Replace | Action::Delete | Action::Forget => {
            "not declared any more"
        }
    }
}

fn replacement_reason(changes: &[Change]) -> String {
    let culprits = changes.iter().filter(|change| change.replaces);
    let culprits: BTreeSet<_> = culprits.map(|change| change.property.as_str()).collect();
    match culprits.len() {
        0 => "cannot be changed in place".to_owned(),
        _ => format!(
            "{} cannot be changed in place",
            culprits.into_iter().collect::<Vec<_>>().join(", ")
        ),
    }
}

trait WithoutChanges {
    fn without_changes(self) -> Self;
}

impl WithoutChanges for Step {
    fn without_changes(mut self) -> Self {
        self.changes.clear();
        self
    }
}

/// Makes one replacement of what is made under a new name and removed under the old one.
fn merge_renamed(graph: &Graph, id: &LogicalId, steps: &mut [Step]) {
    let has = |action| steps.iter().any(|step| step.action == action);
    if has(Action::Create) && has(Action::Delete) {
        let reason = match graph
            .resources()
            .get(id)
            .map(|resource| resource.snapshot_of.is_empty())
        {
            Some(false) => "what it is a snapshot of changes",
            Some(true) | None => "declaration changed",
        };
        for step in steps.iter_mut() {
            match step.action {
                Action::Create => {
                    step.action = Action::Replace;
                    step.reason = reason.to_owned();
                }
                Action::Delete => step.reason = "replaced".to_owned(),
                Action::Adopt | Action::Update | Action::Replace | Action::Retain | Action::Forget => {}
            }
        }
        steps.sort_by_key(|step| step.action != Action::Replace);
    }
}

/// Returns a difference between two templates as a change.
fn change_between(kind: Kind, difference: &Difference) -> Change {
    let top = difference.property.split('.').next().unwrap_or_default();
    Change {
        property: difference.property.clone(),
        from: difference.from.clone(),
        to: match &difference.to {
            Some(value) => After::Value(value.clone()),
            None => After::Cleared,
        },
        cause: Cause::Declaration,
        replaces: kind.schema().create_only.contains(top),
    }
}

/// Returns the properties that change, each once.
fn changes_of(details: &[ResourceChangeDetail]) -> Vec<Change> {
    let mut changes = BTreeMap::<String, Change>::new();
    for detail in details {
        let Some(target) = detail.target() else { continue };
        if target.attribute() != Some(&ResourceAttribute::Properties) {
            continue;
        }
        let path = target
            .path()
            .map(|path| path.trim_start_matches("/Properties/").replace('/', "."));
        let Some(property) = path.or_else(|| target.name().map(str::to_owned)) else {
            continue;
        };
        let to = match (target.after_value(), target.attribute_change_type()) {
            (Some(value), _) if value.contains(KNOWN_AFTER) => After::Unknown,
            (Some(value), _) => After::Value(parsed(value)),
            (None, Some(AttributeChangeType::Remove)) => After::Cleared,
            (None, _) => After::Unknown,
        };
        let replaces = matches!(
            target.requires_recreation(),
            Some(RequiresRecreation::Always | RequiresRecreation::Conditionally)
        );
        let change = Change {
            property: property.clone(),
            from: target.before_value().map(parsed),
            to,
            cause: match target.drift() {
                Some(_) => Cause::Drift,
                None => Cause::Declaration,
            },
            replaces,
        };
        // The same property is listed once for its value and once for what the value follows from.
        let known = changes.entry(property).or_insert_with(|| change.clone());
        if known.to == After::Unknown {
            *known = Change {
                replaces: known.replaces || change.replaces,
                ..change
            };
        }
    }
    changes.into_values().collect()
}

/// Returns a value of a change set: JSON, or a text as it is.
fn parsed(value: &str) -> Json {
    serde_json::from_str(value).unwrap_or_else(|_| Json::from(value))
}
