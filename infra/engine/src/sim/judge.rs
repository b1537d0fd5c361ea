//! What is demanded once nothing goes wrong any more.

use std::collections::BTreeMap;
use std::time::Duration;

use infra_cdk::{Graph, Kind};

use super::{Fate, Faults, Job, World};

/// Long enough for everything to be visible, propagated and settled.
const REST: Duration = Duration::from_secs(10);

/// Knows what an undisturbed deployment of a stack makes.
#[derive(Debug)]
pub struct Judge<'g> {
    graph: &'g Graph,
    expected: Vec<String>,
}

impl<'g> Judge<'g> {
    /// Deploys the stack into an account of its own.
    ///
    /// # Errors
    /// When not even that succeeds.
    pub fn new(graph: &'g Graph) -> Result<Self, String> {
        let world = World::new(1).map_err(|error| error.to_string())?;
        let (ended, _) = world.run(Job::Deploy(graph), Fate::Lives);
        if !ended.is_complete() {
            return Err(format!("an undisturbed deployment ends so: {ended}"));
        }
        let expected = normal(&world);
        Ok(Self { graph, expected })
    }

    /// Demands that one deployment without faults brings the account to what an undisturbed one makes: nothing is missing,
    /// doubled or orphaned, the next plan is empty, and no law was broken on the way.
    ///
    /// # Errors
    /// What is otherwise.
    pub fn demand(&self, world: &World) -> Result<(), String> {
        world.set_faults(Faults::default());
        world.wait(REST);
        let (ended, _) = world.run(Job::Deploy(self.graph), Fate::Lives);
        if !ended.is_complete() {
            return Err(format!("without faults, a deployment ends so: {ended}"));
        }
        world.wait(REST);
        let plan = world
            .plan(self.graph)
            .map_err(|error| format!("cannot plan: {error}"))?;
        if !plan.is_empty() {
            return Err(format!("the plan is not empty: {:#?}", plan.steps));
        }
        let found = normal(world);
        if found != self.expected {
            // Of two that are the same, one is too much.
            let not_in = |lines: &[String], other: &[String]| {
                let mut other = other.to_vec();
                let mut rest = lines.to_vec();
                rest.retain(|line| match other.iter().position(|known| known == line) {
                    Some(position) => {
                        other.swap_remove(position);
                        false
                    }
                    None => true,
                });
                rest.join("\n  ")
            };
            let extra = not_in(&found, &self.expected);
            let missing = not_in(&self.expected, &found);
            let (found, expected) = (found.len(), self.expected.len());
            return Err(format!(
                "{found} resources instead of {expected}\ntoo much:\n  {extra}\ntoo little:\n  {missing}"
            ));
        }
        lawful(world)
    }
}

/// Demands that one removal without faults leaves nothing, neither in the account nor in the record.
///
/// # Errors
/// What is left.
pub fn demand_nothing(world: &World, graph: &Graph) -> Result<(), String> {
    world.set_faults(Faults::default());
    world.wait(REST);
    let (ended, _) = world.run(Job::Destroy(graph), Fate::Lives);
    if !ended.is_complete() {
        return Err(format!("without faults, a removal ends so: {ended}"));
    }
    if !normal(world).is_empty() {
        return Err(format!("left behind:\n  {}", normal(world).join("\n  ")));
    }
    if !world.records().is_empty() {
        return Err("the record is left behind".to_owned());
    }
    if world.has_store() {
        return Err("the empty store of records is left behind".to_owned());
    }
    lawful(world)
}

/// Demands that the account has seen no law broken.
///
/// # Errors
/// All violations.
pub fn lawful(world: &World) -> Result<(), String> {
    let violations = world.violations();
    if violations.is_empty() {
        Ok(())
    } else {
        Err(violations.join("\n"))
    }
}

/// Returns what exists, one line each, with logical ids where AWS has assigned others. What belongs to the account as a
/// whole is left out: it stays when a stack goes, for others.
#[must_use]
pub fn normal(world: &World) -> Vec<String> {
    let things = world.things();
    let assigned = things.iter().filter(|thing| is_assigned(&thing.live.physical_id));
    let names: BTreeMap<&str, &str> = assigned
        .map(|thing| (thing.live.physical_id.as_str(), thing.id.as_str()))
        .collect();
    let mut lines: Vec<_> = things
        .iter()
        .filter(|thing| thing.kind != Kind::Account)
        .map(|thing| {
            let properties = serde_json::Value::Object(thing.live.properties.clone());
            let line = format!("{} {:?} {properties} {:?}", thing.id, thing.kind, thing.snapshot);
            renamed(&line, &names)
        })
        .collect();
    lines.sort();
    lines
}

/// Returns whether an id looks like those that the simulated AWS assigns.
fn is_assigned(id: &str) -> bool {
    id.len() == 7 && id.starts_with("id0")
}

/// Replaces all assigned ids that have a name.
fn renamed(text: &str, names: &BTreeMap<&str, &str>) -> String {
    let mut renamed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("id0") {
        let (before, id) = rest.split_at(start);
        renamed.push_str(before);
        let end = id.len().min(7);
        let (id, after) = id.split_at_checked(end).unwrap_or((id, ""));
        renamed.push_str(names.get(id).copied().unwrap_or(id));
        rest = after;
    }
    renamed.push_str(rest);
    renamed
}
