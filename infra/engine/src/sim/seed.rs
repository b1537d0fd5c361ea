//! A life of one account, made by a seed: stacks come, change and go while everything goes wrong; then nothing does any
//! more, and all must be well.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use infra_cdk::Graph;

use super::judge::{Judge, demand_nothing, lawful};
use super::stacks::Shape;
use super::{Fate, Faults, Job, World};

/// Longer than the longest pause between two calls of one process, shorter than a lease.
const PAUSE: Duration = Duration::from_secs(10);

/// How a life went.
#[derive(Clone, Debug)]
pub struct Life {
    /// What made it.
    pub seed: u64,
    /// What happened, line by line; empty unless it was asked for.
    pub trace: Vec<String>,
    /// What was demanded in vain.
    pub broken: Option<String>,
}

/// Lives the life of a seed. A panic on the way breaks it too.
#[must_use]
pub fn live(seed: u64, with_trace: bool) -> Life {
    let mut trace = Vec::new();
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let world = World::new(seed).map_err(|error| error.to_string())?;
        if with_trace {
            world.keep_trace();
        }
        let lived = catch_unwind(AssertUnwindSafe(|| through(&world)));
        trace = world.take_trace();
        lived.unwrap_or_else(|_| Err("it panicked, as printed above".to_owned()))
    }));
    let broken = lived
        .unwrap_or_else(|_| Err("its end panicked, as printed above".to_owned()))
        .err();
    Life { seed, trace, broken }
}

/// Goes through the whole life.
fn through(world: &World) -> Result<(), String> {
    let mut graph = random_graph(world)?;
    for _ in 0..=world.random(4) {
        world.set_faults(random_faults(world));
        match world.random(10) {
            0 => drop(world.run(Job::Destroy(&graph), random_fate(world))),
            1 => two_at_once(world, &graph)?,
            2 => lost_record(world, &graph)?,
            3 => loss(world),
            _ => drop(world.run(Job::Deploy(&graph), random_fate(world))),
        }
        lawful(world)?;
        world.wait(PAUSE);
        if world.random(4) > 0 {
            graph = random_graph(world)?;
        }
    }
    let judge = Judge::new(&graph)?;
    judge.demand(world)?;
    loss(world);
    judge.demand(world)?;
    world.set_faults(random_faults(world));
    world.run(Job::Destroy(&graph), random_fate(world));
    demand_nothing(world, &graph)
}

/// Two deployments of different stacks begin at about the same time; the first may die, or sleep until its lease is over.
fn two_at_once(world: &World, graph: &Graph) -> Result<(), String> {
    let other = random_graph(world)?;
    let delay = Duration::from_millis(world.random(4000));
    world.run_both(
        (Job::Deploy(graph), random_fate(world)),
        (Job::Deploy(&other), random_fate(world)),
        delay,
    );
    Ok(())
}

/// The record of a finished deployment is lost. Only the same stack leads to everything that it had, so it is deployed
/// again before another one comes.
fn lost_record(world: &World, graph: &Graph) -> Result<(), String> {
    let judge = Judge::new(graph)?;
    judge.demand(world)?;
    world.meddle_with_records(std::collections::BTreeMap::clear);
    world.note(|| "the record is lost".to_owned());
    world.set_faults(random_faults(world));
    world.run(Job::Deploy(graph), random_fate(world));
    if world.records().is_empty() {
        judge.demand(world)?;
    }
    Ok(())
}

/// Somebody deletes something by hand.
fn loss(world: &World) {
    let things = world.things();
    let number = usize::try_from(world.random(things.len() as u64)).unwrap_or_default();
    if let Some(thing) = things.get(number) {
        world.delete(thing);
    }
}

fn random_graph(world: &World) -> Result<Graph, String> {
    Shape::random(world).graph().map_err(|mistakes| mistakes.to_string())
}

fn random_faults(world: &World) -> Faults {
    Faults {
        per_mille: world.random(150),
        twice_per_mille: world.random(100),
        // The store repeats what fails, so that this is rare.
        store_per_mille: world.random(2) * world.random(40),
        call: None,
    }
}

fn random_fate(world: &World) -> Fate {
    let at = usize::try_from(world.random(150)).unwrap_or_default();
    match world.random(7) {
        0..3 => Fate::Lives,
        3..5 => Fate::Dies { at },
        5 => Fate::Sleeps {
            at,
            seconds: 5 + world.random(60),
        },
        _ => Fate::Interrupted { at },
    }
}
