//! Laws of planning: 1, 2, 4, 7 and 8.

use std::collections::BTreeMap;

use infra_cdk::Graph;
use infra_engine::Action;
use infra_engine::sim::judge::{Judge, demand_nothing, lawful};
use infra_engine::sim::{Ended, Fate, Faults, Job, World, packages};

use crate::{PAUSE, changed, random_graphs, small};

fn template(graph: &Graph) -> String {
    let digests: BTreeMap<_, _> = packages(graph).into_keys().map(|name| (name, "0".repeat(64))).collect();
    infra_cdk::synth(graph, &digests).unwrap().to_json().unwrap()
}

#[test]
fn law_1_the_same_inputs_give_the_same_plan_and_template_byte_for_byte() {
    let plan = |world: &World, graph| {
        let plan = world.plan(graph).unwrap();
        (format!("{plan:?}"), serde_json::to_string(&plan.steps).unwrap())
    };
    for (one, two) in random_graphs(20).iter().zip(&random_graphs(20)) {
        let world = World::new(1).unwrap();
        assert_eq!(plan(&world, one), plan(&world, two));
        assert_eq!(template(one), template(two));
        // And as an update of something else.
        world.run(Job::Deploy(&small()), Fate::Lives);
        world.wait(PAUSE);
        assert_eq!(plan(&world, one), plan(&world, two));
    }
}

#[test]
fn law_2_after_success_the_plan_is_empty_and_a_deployment_makes_no_call() {
    let world = World::new(2).unwrap();
    for graph in random_graphs(20) {
        let (ended, _) = world.run(Job::Deploy(&graph), Fate::Lives);
        assert!(ended.is_complete(), "{ended}");
        world.wait(PAUSE);
        assert!(world.plan(&graph).unwrap().is_empty());
        world.take_calls();
        let writes = world.writes();
        world.run(Job::Deploy(&graph), Fate::Lives);
        assert_eq!(world.take_calls(), [""; 0]);
        assert_eq!(world.writes(), writes);
    }
}

#[test]
fn law_4_a_lost_record_is_made_again_from_what_exists_and_nothing_is_made_twice() {
    for graph in random_graphs(10) {
        let judge = Judge::new(&graph).unwrap();
        let world = World::new(4).unwrap();
        world.run(Job::Deploy(&graph), Fate::Lives);
        world.wait(PAUSE);
        let before = world.things();
        world.meddle_with_records(BTreeMap::clear);
        let plan = world.plan(&graph).unwrap();
        assert!(plan.steps.iter().all(|step| step.action == Action::Adopt), "{plan:?}");
        judge.demand(&world).unwrap();
        assert_eq!(world.things(), before);
        // What is removed without a record is found as well.
        world.meddle_with_records(BTreeMap::clear);
        demand_nothing(&world, &graph).unwrap();
    }
}

#[test]
fn law_7_a_dependent_never_begins_before_its_dependency_is_done() {
    // The simulated account watches every step; here under every kind of plan, and with calls that last long.
    let world = World::new(7).unwrap();
    for graph in random_graphs(20) {
        world.set_faults(Faults {
            per_mille: 100,
            ..Faults::default()
        });
        let (ended, _) = world.run(Job::Deploy(&graph), Fate::Lives);
        assert!(matches!(ended, Ended::Reported(_)), "{ended}");
        lawful(&world).unwrap();
        world.wait(PAUSE);
    }
}

#[test]
fn law_8_destroy_leaves_nothing_that_carries_our_marks() {
    for graph in random_graphs(10) {
        let world = World::new(8).unwrap();
        world.run(Job::Deploy(&graph), Fate::Lives);
        demand_nothing(&world, &graph).unwrap();
    }
    // Nor where both the deployment and the removal were killed.
    for at in 0.. {
        let world = World::new(8).unwrap();
        world.run(Job::Deploy(&small()), Fate::Lives);
        world.wait(PAUSE);
        let (deploy, _) = world.run(Job::Deploy(&changed()), Fate::Dies { at });
        world.wait(PAUSE);
        let (destroy, _) = world.run(Job::Destroy(&changed()), Fate::Dies { at });
        demand_nothing(&world, &changed()).unwrap_or_else(|broken| panic!("killed at {at}: {broken}"));
        if !matches!(deploy, Ended::Killed) && !matches!(destroy, Ended::Killed) {
            break;
        }
    }
}
