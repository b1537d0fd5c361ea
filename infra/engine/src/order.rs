//! Decides which step waits for which. Pure.
//!
//! - What is made waits for what it depends on (law 7 of ARCHITECTURE.md).
//! - A snapshot waits for every change and every removal among its members.
//! - What sends callers elsewhere (an alias that is moved, a stage that is given another deployment) waits for all that
//!   they may need there, so that either all of it is new to them or nothing. An alias does not wait for functions that
//!   need an alias themselves, such as one that knows the URL of another function.
//! - What is removed waits for those that needed it: until they are gone, or do not refer to it any more.
//! - What leaves the stack is removed last, so that a failed deployment has taken nothing away.

use std::collections::{BTreeMap, BTreeSet};

use infra_cdk::{Graph, Kind, LogicalId};

use crate::plan::{Action, Step, StepId};
use crate::record::{Record, Recorded};

/// Fills in [`Step::after`] and returns the steps in an order that obeys it.
pub(crate) fn arrange(mut steps: BTreeMap<StepId, Step>, graph: &Graph, record: &Record) -> Vec<Step> {
    let ids: BTreeSet<StepId> = steps.keys().cloned().collect();
    let actions: BTreeMap<StepId, Action> = steps.iter().map(|(id, step)| (id.clone(), step.action)).collect();
    let mut users: BTreeMap<LogicalId, Vec<&LogicalId>> = BTreeMap::new();
    for user in graph.resources().keys() {
        for needed in graph.dependencies(user) {
            users.entry(needed).or_default().push(user);
        }
    }
    let mut beyond_aliases = BTreeSet::new();
    for (id, resource) in graph.in_order() {
        let mut needed = graph.dependencies(id).into_iter();
        if resource.kind == Kind::Alias || needed.any(|needed| beyond_aliases.contains(&needed)) {
            beyond_aliases.insert(id.clone());
        }
    }
    let order = Order {
        graph,
        record,
        actions: &actions,
        users,
        beyond_aliases,
        needed_kinds: needed_kinds(graph, record),
    };
    for (id, step) in &mut steps {
        let mut after = match id {
            StepId::Apply(resource) => order.before_apply(resource),
            StepId::Remove(resource) => order.before_remove(resource, step.action),
        };
        after.retain(|before| ids.contains(before) && before != id);
        step.after = after;
    }
    sort(steps)
}

struct Order<'a> {
    graph: &'a Graph,
    record: &'a Record,
    actions: &'a BTreeMap<StepId, Action>,
    /// Who is declared to need a resource.
    users: BTreeMap<LogicalId, Vec<&'a LogicalId>>,
    /// Aliases and what needs any, directly or not.
    beyond_aliases: BTreeSet<LogicalId>,
    /// Which kinds need which others.
    needed_kinds: BTreeSet<(Kind, Kind)>,
}

impl Order<'_> {
    fn before_apply(&self, id: &LogicalId) -> BTreeSet<StepId> {
        let mut before: BTreeSet<StepId> = self.graph.dependencies(id).into_iter().map(StepId::Apply).collect();
        if self.is_deleted_first(id) {
            before.insert(StepId::Remove(id.clone()));
        }
        before.extend(self.before_switch(id));
        let members = self
            .record
            .resources
            .get(id)
            .into_iter()
            .flat_map(|recorded| &recorded.snapshot_of)
            .chain(self.intended_members(|intended| intended == id));
        before.extend(
            members
                .filter(|member| self.leaves(member))
                .cloned()
                .map(StepId::Remove),
        );
        before
    }

    /// Returns what must be ready before the callers of something that exists are sent elsewhere.
    fn before_switch(&self, id: &LogicalId) -> BTreeSet<StepId> {
        let kind = |id| self.graph.resources().get(id).map(|resource| resource.kind);
        let is_reached = |other: &LogicalId| kind(id) != Some(Kind::Alias) || !self.beyond_aliases.contains(other);
        let exists = matches!(
            self.actions.get(&StepId::Apply(id.clone())),
            Some(Action::Update | Action::Adopt)
        );
        let needs = |needed: Kind| match kind(id) {
            Some(Kind::Alias) => needed.is_needed_by_code(),
            Some(Kind::Stage) => needed.is_needed_by_code() || matches!(needed, Kind::Alias | Kind::Permission),
            _ => false,
        };
        let steps = self.actions.keys().filter(|_| exists);
        steps
            .filter(|step| matches!(step, StepId::Apply(other) if is_reached(other) && kind(other).is_some_and(needs)))
            .cloned()
            .collect()
    }

    fn before_remove(&self, id: &LogicalId, action: Action) -> BTreeSet<StepId> {
        let Some(recorded) = self.record.resources.get(id) else {
            // The old one of a replacement that was located, not recorded.
            return if self.is_deleted_first(id) {
                BTreeSet::new()
            } else {
                self.users(id).chain([StepId::Apply(id.clone())]).collect()
            };
        };
        if action == Action::Forget {
            return recorded.parent.iter().cloned().map(StepId::Remove).collect();
        }
        let deleted_first = self.is_deleted_first(id);
        let mut before = BTreeSet::new();
        for (user, _) in self
            .record
            .resources
            .iter()
            .filter(|(_, user)| user.dependencies.contains(id))
        {
            let removal = StepId::Remove(user.clone());
            if self
                .actions
                .get(&removal)
                .is_some_and(|action| *action != Action::Forget)
            {
                before.insert(removal);
            }
            if !deleted_first {
                before.insert(StepId::Apply(user.clone()));
            }
        }
        if self.leaves(id) && self.is_snapshot_member(id) {
            // What refers to it by now need not be what is recorded: it waits for all that could.
            before.extend(self.siblings(recorded));
            before.extend(self.leaving_siblings(recorded));
        } else if self.leaves(id) {
            before.extend(
                self.actions
                    .keys()
                    .filter(|step| matches!(step, StepId::Apply(_)))
                    .cloned(),
            );
        }
        if !self.leaves(id) && !deleted_first {
            before.extend(self.users(id));
            before.insert(StepId::Apply(id.clone()));
        }
        before
    }

    /// Returns the steps of those that are declared to need the resource, recorded or not.
    fn users(&self, id: &LogicalId) -> impl Iterator<Item = StepId> {
        let users = self.users.get(id).into_iter().flatten();
        users.map(|user| StepId::Apply((*user).clone()))
    }

    /// Returns the steps of the declared members of snapshots that lie beside a resource.
    fn siblings(&self, recorded: &Recorded) -> impl Iterator<Item = StepId> {
        let resources = self.graph.resources();
        let members: BTreeSet<_> = resources.values().flat_map(|snapshot| &snapshot.snapshot_of).collect();
        members
            .into_iter()
            .filter(move |member| resources[*member].parent == recorded.parent)
            .cloned()
            .map(StepId::Apply)
    }

    /// Returns the deletions of those members of snapshots that leave from beside a resource and are of a kind that needs
    /// its kind.
    fn leaving_siblings(&self, recorded: &Recorded) -> impl Iterator<Item = StepId> {
        let siblings = self.record.resources.iter().filter(move |(_, other)| {
            other.parent == recorded.parent && self.needed_kinds.contains(&(other.kind, recorded.kind))
        });
        siblings
            .filter(|(id, _)| self.leaves(id) && self.is_snapshot_member(id))
            .map(|(id, _)| StepId::Remove(id.clone()))
            .filter(|removal| self.actions.get(removal) == Some(&Action::Delete))
    }

    /// Returns whether the resource is recorded and not declared any more.
    fn leaves(&self, id: &LogicalId) -> bool {
        !self.graph.resources().contains_key(id)
    }

    /// Returns whether the resource is replaced and the old one must make room for the new one.
    fn is_deleted_first(&self, id: &LogicalId) -> bool {
        let replaced = self.actions.get(&StepId::Apply(id.clone())) == Some(&Action::Replace)
            && self.actions.get(&StepId::Remove(id.clone())) == Some(&Action::Delete);
        let Some(declared) = self.graph.resources().get(id) else {
            return false;
        };
        let Some(recorded) = self.record.resources.get(id) else {
            // It was located, by the very name that the new one shall have.
            return replaced && !declared.kind.replaces_create_first();
        };
        let same_name = declared.kind.name_property().is_none_or(|name| {
            let new = declared.properties.get(name);
            matches!(
                (new, recorded.properties.get(name)),
                (Some(infra_cdk::Value::String(new)), Some(serde_json::Value::String(old))) if new == old
            )
        });
        replaced && declared.kind == recorded.kind && !declared.kind.replaces_create_first() && same_name
    }

    fn is_snapshot_member(&self, id: &LogicalId) -> bool {
        self.record
            .resources
            .values()
            .any(|recorded| recorded.snapshot_of.contains(id))
            || self
                .intended_members(|snapshot| self.graph.resources().contains_key(snapshot))
                .any(|member| member == id)
    }

    /// Returns what an interrupted deployment set out to take snapshots of.
    fn intended_members(&self, of: impl Fn(&LogicalId) -> bool) -> impl Iterator<Item = &LogicalId> {
        let intents = self.record.header.intents.iter().filter(move |intent| of(&intent.id));
        intents
            .filter_map(|intent| intent.resource.as_ref())
            .flat_map(|resource| &resource.snapshot_of)
    }
}

/// Returns pairs of kinds, the first of which is declared or recorded to need the second.
fn needed_kinds(graph: &Graph, record: &Record) -> BTreeSet<(Kind, Kind)> {
    let declared = graph.resources().iter().flat_map(|(id, user)| {
        let needed = graph.dependencies(id).into_iter();
        needed.map(|needed| (user.kind, graph.resources()[&needed].kind))
    });
    let recorded = record.resources.values().flat_map(|user| {
        let needed = user
            .dependencies
            .iter()
            .filter_map(|needed| record.resources.get(needed));
        needed.map(|needed| (user.kind, needed.kind))
    });
    declared.chain(recorded).collect()
}

/// Orders steps, taking the smallest that is ready first.
fn sort(mut waiting: BTreeMap<StepId, Step>) -> Vec<Step> {
    let mut done: BTreeSet<StepId> = BTreeSet::new();
    let mut sorted = Vec::with_capacity(waiting.len());
    while let Some(id) = waiting
        .iter()
        .find(|(_, step)| step.after.is_subset(&done))
        .map(|(id, _)| id.clone())
    {
        if let Some(step) = waiting.remove(&id) {
            sorted.push(step);
        }
        done.insert(id);
    }
    // Nothing can be left: creations follow the graph, which has no circle, and removals follow creations. Should it be
    // otherwise, a step that waits for ever is better than one that runs too early.
    debug_assert!(waiting.is_empty(), "steps wait for each other: {:?}", waiting.keys());
    sorted.extend(waiting.into_values());
    sorted
}
