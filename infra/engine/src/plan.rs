//! Decides what to do. Pure: no clock, no network, no randomness.
//!
//! [`deploy`] compares what is declared, what is recorded and what is live, and returns steps with a reason each;
//! [`destroy`] removes what is recorded. See `order` for what must come before what, and [`crate::Engine`] for what
//! happens to the steps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use infra_cdk::{Context, Graph, Kind, LogicalId, RemovalPolicy, Resource};
use serde::Serialize;
use serde_json::Value as Json;

use crate::provider::{Live, Ownership, Properties};
use crate::record::{Record, Recorded};
use crate::{diff, order, recover};

/// A function's zip file.
#[derive(Clone, PartialEq, Eq)]
pub struct Package {
    /// SHA-256 of the zip file in base64, as Lambda reports it (`CodeSha256`).
    pub sha256: String,
    /// The zip file.
    pub zip: Arc<[u8]>,
}

/// The packages of all functions by the names of their binaries.
pub type Packages = BTreeMap<String, Package>;

/// What a deployment will do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps, in an order in which they could run one after the other.
    pub steps: Vec<Step>,
    /// Resources that are as declared.
    pub unchanged: BTreeSet<LogicalId>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The resource.
    pub id: LogicalId,
    /// Its type.
    pub kind: Kind,
    /// What is done.
    pub action: Action,
    /// Why, in words.
    pub reason: String,
    /// The properties that change; empty for creations and deletions.
    pub changes: Vec<Change>,
    /// What AWS knows it by, where it exists.
    pub physical_id: Option<String>,
    /// Steps that must end before this one begins.
    #[serde(skip)]
    pub after: BTreeSet<StepId>,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Makes the resource.
    Create,
    /// Takes over one that exists, is ours, and is not in the record; changes what differs.
    Adopt,
    /// Changes the resource in place.
    Update,
    /// Makes a new one; a step of its own removes the old one, before or after, as its name allows.
    Replace,
    /// Deletes the resource. Old ones of a replacement are deleted by such a step too.
    Delete,
    /// Forgets the resource and leaves it in the account.
    Retain,
    /// Nothing to call: the resource is gone, or goes with the one that contains it.
    Forget,
}

/// Identifies a step: a replaced resource has one of each kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepId {
    /// Creates, adopts, updates or makes anew.
    Apply(LogicalId),
    /// Deletes, retains or forgets.
    Remove(LogicalId),
}

/// One property that changes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Its path, for example `Environment.Variables.TABLE`.
    pub property: String,
    /// What it is now; `None` when it is not set.
    pub from: Option<Json>,
    /// What it will be.
    pub to: After,
    /// Who caused the difference.
    pub cause: Cause,
    /// Whether it cannot be changed in place.
    pub replaces: bool,
}

/// Who caused that a property is not as declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The declaration has changed since it was recorded, or there is no record.
    Declaration,
    /// Somebody changed it outside: it differs from what was recorded, and the declaration has not changed.
    Drift,
    /// The declaration has changed, and somebody changed it outside too.
    Both,
}

/// A property's value after the step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum After {
    /// This value.
    Value(Json),
    /// Known after another step has run.
    Unknown,
    /// Not set.
    Cleared,
}

/// Everything that a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What is declared.
    pub graph: &'a Graph,
    /// The functions' packages.
    pub packages: &'a Packages,
    /// Where it is deployed.
    pub context: &'a Context,
    /// What is recorded.
    pub record: &'a Record,
    /// What exists, of all that is declared or recorded.
    pub live: &'a BTreeMap<LogicalId, Live>,
    /// Whether to take over what exists under our names without our mark.
    pub adopt: bool,
}

/// A resource that exists under a name that the stack needs, and is not the stack's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Our resource.
    pub id: LogicalId,
    /// What was found.
    pub found: String,
}

/// Plans a deployment.
///
/// # Errors
/// All resources that are not ours to change.
pub fn deploy(facts: Facts<'_>) -> Result<Plan, Vec<Foreign>> {
    let mut planner = Planner {
        facts,
        known: Known::default(),
        steps: BTreeMap::new(),
        unchanged: BTreeSet::new(),
    };
    let mut foreign = Vec::new();
    for (id, resource) in facts.graph.in_order() {
        match facts.live.get(id).filter(|_| !facts.record.resources.contains_key(id)) {
            Some(Live {
                ownership: Ownership::Foreign(found),
                ..
            }) if !facts.adopt => {
                foreign.push(Foreign {
                    id: id.clone(),
                    found: found.clone(),
                });
            }
            _ => planner.decide(id, resource),
        }
    }
    if !foreign.is_empty() {
        return Err(foreign);
    }
    let leaving: Vec<_> = facts
        .record
        .resources
        .keys()
        .filter(|id| !facts.graph.resources().contains_key(id))
        .collect();
    for id in leaving {
        planner.remove(id, "not declared any more");
    }
    planner.leave_children_to_their_parents();
    let Planner { steps, unchanged, .. } = planner;
    Ok(Plan {
        steps: order::arrange(steps, facts.graph, facts.record),
        unchanged,
    })
}

/// Plans the removal of everything that is recorded.
#[must_use]
pub fn destroy(facts: Facts<'_>) -> Plan {
    let mut planner = Planner {
        facts,
        known: Known::default(),
        steps: BTreeMap::new(),
        unchanged: BTreeSet::new(),
    };
    for id in facts.record.resources.keys() {
        planner.remove(id, "the stack is destroyed");
    }
    planner.leave_children_to_their_parents();
    Plan {
        steps: order::arrange(planner.steps, facts.graph, facts.record),
        unchanged: BTreeSet::new(),
    }
}

/// Properties and attributes as far as they are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    properties: BTreeMap<LogicalId, Properties>,
    attributes: BTreeMap<LogicalId, BTreeMap<String, String>>,
}

/// A resource's declared properties, as far as they can be resolved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolved {
    /// Those that are known.
    pub(crate) properties: Properties,
    /// Names of those that are not known before another step has run.
    pub(crate) unknown: BTreeSet<String>,
}

impl Known {
    /// Returns what is known of everything declared while nothing but `live` exists.
    pub(crate) fn of(graph: &Graph, context: &Context, packages: &Packages, live: &BTreeMap<LogicalId, Live>) -> Self {
        let mut known = Self::default();
        for (id, resource) in graph.in_order() {
            known.resolve(id, resource, graph, context, packages);
            if let Some(live) = live.get(id) {
                known.learn(id, &live.attributes);
            }
        }
        known
    }

    /// Returns the properties of a declared resource, as far as they are known; none of what is not declared.
    pub(crate) fn properties(&self, id: &LogicalId) -> Properties {
        self.properties.get(id).cloned().unwrap_or_default()
    }

    /// Resolves a resource's properties, and remembers them for those that refer to it.
    pub(crate) fn resolve(
        &mut self,
        id: &LogicalId,
        resource: &Resource,
        graph: &Graph,
        context: &Context,
        packages: &Packages,
    ) -> Resolved {
        let mut resolved = Resolved::default();
        let package = |name: &str| packages.get(name).map(|package| package.sha256.clone());
        for (name, value) in &resource.properties {
            match value.resolve(context, &|of, name| self.attribute(of, name, graph, context), &package) {
                Ok(value) => {
                    resolved.properties.insert(name.clone(), value);
                }
                Err(_) => {
                    resolved.unknown.insert(name.clone());
                }
            }
        }
        self.properties.insert(id.clone(), resolved.properties.clone());
        resolved
    }

    /// Notes the attributes that AWS assigned.
    pub(crate) fn learn(&mut self, id: &LogicalId, attributes: &BTreeMap<String, String>) {
        self.attributes.insert(id.clone(), attributes.clone());
    }

    /// Returns an attribute: computed from the declaration where possible, otherwise as AWS assigned it.
    pub(crate) fn attribute(&self, of: &LogicalId, name: &str, graph: &Graph, context: &Context) -> Option<String> {
        let kind = graph.resources().get(of)?.kind;
        self.properties
            .get(of)
            .and_then(|properties| context.computed_attribute(kind, name, properties))
            .or_else(|| self.attributes.get(of)?.get(name).cloned())
    }
}

struct Planner<'a> {
    facts: Facts<'a>,
    known: Known,
    steps: BTreeMap<StepId, Step>,
    unchanged: BTreeSet<LogicalId>,
}

impl Planner<'_> {
    /// Decides about one declared resource; everything that it refers to has been decided before.
    fn decide(&mut self, id: &LogicalId, resource: &Resource) {
        let Facts {
            graph,
            packages,
            context,
            record,
            live,
            adopt: _,
        } = self.facts;
        let resolved = self.known.resolve(id, resource, graph, context, packages);
        let recorded = record.resources.get(id);
        let Some(live) = live.get(id) else {
            let reason = if recorded.is_some() {
                "recorded, but gone from the account"
            } else {
                "not deployed yet"
            };
            self.add(id, resource.kind, Action::Create, reason.to_owned(), Vec::new(), None);
            return;
        };

        let set_before = self.set_before(id, live, recorded);
        let Resolved {
            properties: desired,
            unknown,
        } = &resolved;
        let changes = diff::changes(resource.kind, desired, unknown, &live.properties, set_before.as_ref());
        let snapshot_of = self.stale_snapshot(resource, recorded);
        let new_kind = recorded.is_some_and(|recorded| recorded.kind != resource.kind);
        let replacement = if new_kind {
            Some("its type changes".to_owned())
        } else if let Some(change) = changes.iter().find(|change| change.replaces) {
            Some(format!("{} cannot be changed in place", change.property))
        } else {
            let overdue = !resource.snapshot_of.is_empty() && recover::is_overdue(record, id, live);
            snapshot_of
                .map(|member| format!("{member} changes"))
                .or_else(|| overdue.then(|| "an interrupted deployment did not make it anew".to_owned()))
        };

        let physical_id = Some(live.physical_id.clone());
        if let Some(reason) = replacement {
            let old_kind = recorded.map_or(resource.kind, |recorded| recorded.kind);
            let old_policy = recorded.map_or(resource.removal_policy, |recorded| recorded.removal_policy);
            // Under the same name there is no room for both.
            let is_in_the_way = !resource.kind.replaces_create_first()
                && !resource.kind.name_property().is_some_and(|name| {
                    let new_name = desired.get(name).and_then(Json::as_str);
                    new_name.is_some_and(|new_name| new_name != live.physical_id)
                });
            let (old_action, old_reason) = if old_policy == RemovalPolicy::Retain && !is_in_the_way {
                (
                    Action::Retain,
                    format!("replaced: {reason}; its removal policy is retain"),
                )
            } else {
                (Action::Delete, format!("replaced: {reason}"))
            };
            self.add(id, old_kind, old_action, old_reason, Vec::new(), physical_id.clone());
            self.add(id, resource.kind, Action::Replace, reason, changes, physical_id);
            return;
        }
        let mut attributes = live.attributes.clone();
        if !changes.is_empty() {
            attributes.retain(|name, _| !resource.kind.attributes_of_update().contains(&name.as_str()));
        }
        self.known.learn(id, &attributes);
        if recorded.is_none() {
            let reason = match &live.ownership {
                Ownership::Ours => "carries this stack's mark, but is not recorded".to_owned(),
                Ownership::Foreign(found) => format!("not made by this stack: {found}"),
            };
            self.add(id, resource.kind, Action::Adopt, reason, changes, physical_id);
        } else if changes.is_empty() {
            self.unchanged.insert(id.clone());
        } else {
            let causes = |cause| changes.iter().any(|change| change.cause == cause);
            let reason = if changes.iter().all(|change| change.to == After::Unknown) {
                "what it refers to changes"
            } else {
                match (causes(Cause::Declaration), causes(Cause::Drift), causes(Cause::Both)) {
                    (true, false, false) => "declaration changed",
                    (false, true, false) => "changed outside of this stack",
                    _ => "declaration changed, and changed outside of this stack",
                }
            };
            self.add(
                id,
                resource.kind,
                Action::Update,
                reason.to_owned(),
                changes,
                physical_id,
            );
        }
    }

    /// Returns what was set so far: what is recorded, and what an interrupted deployment may have set beside it.
    fn set_before(&self, id: &LogicalId, live: &Live, recorded: Option<&Recorded>) -> Option<Properties> {
        let intended = recover::intended_properties(self.facts.record, id);
        let intended: Vec<_> = intended
            .filter_map(|name| live.properties.get_key_value(name))
            .collect();
        let mut set = match recorded {
            Some(recorded) => recorded.properties.clone(),
            None if intended.is_empty() => return None,
            None => Properties::new(),
        };
        for (name, value) in intended {
            set.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Some(set)
    }

    /// Returns a member of the resource's snapshot, then or now, that changes.
    fn stale_snapshot(&self, resource: &Resource, recorded: Option<&Recorded>) -> Option<LogicalId> {
        let before = recorded.into_iter().flat_map(|recorded| &recorded.snapshot_of);
        resource
            .snapshot_of
            .iter()
            .chain(before)
            .find(|member| self.alters(member))
            .cloned()
    }

    /// Returns whether the resource is made, changed or removed. Adopting it as it is alters nothing.
    fn alters(&self, id: &LogicalId) -> bool {
        let leaves = self.facts.record.resources.contains_key(id) && !self.facts.graph.resources().contains_key(id);
        leaves
            || self
                .steps
                .get(&StepId::Apply(id.clone()))
                .is_some_and(|step| step.action != Action::Adopt || !step.changes.is_empty())
    }

    /// Adds the removal of a recorded resource.
    fn remove(&mut self, id: &LogicalId, reason: &str) {
        let recorded = &self.facts.record.resources[id];
        let policy = self
            .facts
            .graph
            .resources()
            .get(id)
            .map_or(recorded.removal_policy, |declared| declared.removal_policy);
        let (action, reason) = match self.facts.live.get(id) {
            None => (Action::Forget, "gone already".to_owned()),
            Some(_) if policy == RemovalPolicy::Retain => {
                (Action::Retain, format!("{reason}; its removal policy is retain"))
            }
            Some(_) => (Action::Delete, reason.to_owned()),
        };
        self.add(
            id,
            recorded.kind,
            action,
            reason,
            Vec::new(),
            Some(recorded.physical_id.clone()),
        );
    }

    /// Turns deletions into notes where AWS deletes the resource together with the one that contains it.
    fn leave_children_to_their_parents(&mut self) {
        let deleted: BTreeSet<LogicalId> = self
            .steps
            .values()
            .filter(|step| step.action == Action::Delete)
            .map(|step| step.id.clone())
            .collect();
        let children = self.steps.values_mut().filter(|step| step.action == Action::Delete);
        for child in children {
            let parent = self
                .facts
                .record
                .resources
                .get(&child.id)
                .and_then(|recorded| recorded.parent.as_ref());
            if let Some(parent) = parent.filter(|parent| deleted.contains(parent)) {
                child.action = Action::Forget;
                child.reason = format!("goes with {parent}");
            }
        }
    }

    fn add(
        &mut self,
        id: &LogicalId,
        kind: Kind,
        action: Action,
        reason: String,
        changes: Vec<Change>,
        physical_id: Option<String>,
    ) {
        let step = Step {
            id: id.clone(),
            kind,
            action,
            reason,
            changes,
            physical_id,
            after: BTreeSet::new(),
        };
        self.steps.insert(step.step_id(), step);
    }
}

impl Plan {
    /// Returns whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns the removal of what a replacement replaces.
    #[must_use]
    pub fn replaced(&self, replacement: &Step) -> Option<&Step> {
        let of_replacement = |step: &&Step| step.id == replacement.id && step.action != Action::Replace;
        self.steps
            .iter()
            .find(of_replacement)
            .filter(|_| replacement.action == Action::Replace)
    }

    /// Returns the replacement that a step is the removal of.
    #[must_use]
    pub fn replacement(&self, removal: &Step) -> Option<&Step> {
        let of_removal = |step: &&Step| step.id == removal.id && step.action == Action::Replace;
        self.steps
            .iter()
            .find(of_removal)
            .filter(|_| removal.action != Action::Replace)
    }

    /// Returns the steps that lose stored data: tables and secrets that are replaced or deleted.
    pub fn data_losses(&self) -> impl Iterator<Item = &Step> {
        self.steps
            .iter()
            .filter(|step| step.kind.holds_data() && step.action == Action::Delete)
    }
}

impl Step {
    /// Returns the symbol that Terraform gives the step: as [`Action::symbol`], with `-/+` when the old one of a replacement
    /// is deleted first, and `+/-` when the new one is made first.
    #[must_use]
    pub fn symbol(&self) -> &'static str {
        match self.action {
            Action::Replace if self.after.contains(&StepId::Remove(self.id.clone())) => "-/+",
            Action::Replace => "+/-",
            Action::Create | Action::Adopt | Action::Update | Action::Delete | Action::Retain | Action::Forget => {
                self.action.symbol()
            }
        }
    }

    /// Returns the step's identity in its plan.
    #[must_use]
    pub fn step_id(&self) -> StepId {
        match self.action {
            Action::Create | Action::Adopt | Action::Update | Action::Replace => StepId::Apply(self.id.clone()),
            Action::Delete | Action::Retain | Action::Forget => StepId::Remove(self.id.clone()),
        }
    }
}

impl Action {
    /// Returns the field's symbol: `+` create, `<=` adopt, `~` update, `±` replace, `-` delete, `.` leave alone and forget.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Create => "+",
            Self::Adopt => "<=",
            Self::Update => "~",
            Self::Replace => "±",
            Self::Delete => "-",
            Self::Retain | Self::Forget => ".",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Create => "create",
            Self::Adopt => "adopt",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Delete => "delete",
            Self::Retain => "retain",
            Self::Forget => "forget",
        })
    }
}

impl fmt::Debug for Package {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Package({}, {} bytes)", self.sha256, self.zip.len())
    }
}
