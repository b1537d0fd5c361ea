//! Going back to what the last deployment that ended well left, in a simulated account.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::{Options, chat};
use infra_cdk::Graph;
use infra_engine::Class;
use infra_engine::sim::{Fate, Faults, Job, World};

fn small() -> Graph {
    chat(&Options {
        routes: vec!["$connect", "sendMessage"],
        ..Options::default()
    })
}

fn changed() -> Graph {
    chat(&Options {
        routes: vec!["$connect", "who"],
        memory_mb: 512,
        ..Options::default()
    })
}

/// Returns what exists, with logical ids for those that AWS assigned.
fn normal(world: &World) -> Vec<String> {
    let things = world.things();
    let mut lines: Vec<_> = things
        .iter()
        .map(|thing| {
            let line = format!("{} {:?} {:?}", thing.id, thing.live.properties, thing.snapshot);
            let assigned = things.iter().filter(|thing| thing.live.physical_id.starts_with("id0"));
            assigned.fold(line, |line, thing| {
                line.replace(&thing.live.physical_id, thing.id.as_str())
            })
        })
        .collect();
    lines.sort();
    lines
}

/// Deploys the small stack, spoils an update, goes back, and compares. `spoil` returns whether the update failed. One that
/// is killed when its last write has arrived has not: nothing is left to do, and going back is `cargo xtask rollback`'s.
fn spoiled_at(label: &str, spoil: impl Fn(&World) -> bool) {
    let before = small();
    let world = World::new(7).unwrap();
    assert!(world.run(Job::Deploy(&before), Fate::Lives).0.is_complete());
    let expected = normal(&world);
    if !spoil(&world) {
        return;
    }
    world.set_faults(Faults::default());
    let is_unlocked = world.records()[before.stack()].header.lock.is_none();
    if is_unlocked && world.plan(&changed()).unwrap().is_empty() {
        return;
    }
    // A killed deployment holds the lock until its lease ends; lists lag.
    world.wait(Duration::from_secs(60));
    let (ended, _) = world.run(Job::Rollback(&changed()), Fate::Lives);
    assert!(ended.is_complete(), "{label}: {ended:?}");
    world.wait(Duration::from_secs(10));
    let found = normal(&world);
    let differing: Vec<_> = found
        .iter()
        .filter(|line| !expected.contains(line))
        .chain(expected.iter().filter(|line| !found.contains(line)))
        .collect();
    assert!(differing.is_empty(), "{label}: {differing:#?}");
    assert_eq!(found.len(), expected.len(), "{label}");
    let plan = world.plan(&before).unwrap();
    assert!(plan.is_empty(), "{label}: {:?}", plan.steps);
    // There is nothing to go back from any more.
    world.take_calls();
    assert!(world.run(Job::Rollback(&changed()), Fate::Lives).0.is_complete());
    assert_eq!(world.take_calls(), [""; 0], "{label}");
}

#[test]
fn whichever_step_fails_the_stack_can_be_what_it_was() {
    let world = World::new(7).unwrap();
    world.run(Job::Deploy(&small()), Fate::Lives);
    world.take_calls();
    world.run(Job::Deploy(&changed()), Fate::Lives);
    for call in 0..world.take_calls().len() {
        for happens in [false, true] {
            spoiled_at(&format!("call {call} fails, happens: {happens}"), |world| {
                let call = Some((call, Class::Permanent, happens));
                world.set_faults(Faults {
                    call,
                    ..Faults::default()
                });
                !world.run(Job::Deploy(&changed()), Fate::Lives).0.is_complete()
            });
        }
    }
}

#[test]
fn wherever_a_deployment_is_killed_the_stack_can_be_what_it_was() {
    let world = World::new(7).unwrap();
    world.run(Job::Deploy(&small()), Fate::Lives);
    let (_, boundaries) = world.run(Job::Deploy(&changed()), Fate::Lives);
    for boundary in (0..boundaries).step_by(3) {
        spoiled_at(&format!("killed at {boundary}"), |world| {
            !world
                .run(Job::Deploy(&changed()), Fate::Dies { at: boundary })
                .0
                .is_complete()
        });
    }
}
