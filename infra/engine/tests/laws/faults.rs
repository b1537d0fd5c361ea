//! Laws of what goes wrong: 3, 5 and 6.

use infra_cdk::FunctionUrlAuthType;
use infra_engine::Class;
use infra_engine::sim::judge::{Judge, demand_nothing};
use infra_engine::sim::stacks::Shape;
use infra_engine::sim::{Ended, Fate, Faults, Job, World};

use crate::{PAUSE, changed, random_graphs, small};

#[test]
fn law_3_killed_at_any_boundary_the_next_deployment_makes_what_an_undisturbed_one_makes() {
    for (before, after, then) in [
        (None, small(), small()),
        (Some(small()), changed(), changed()),
        // What was half made is not declared any more.
        (Some(small()), changed(), small()),
    ] {
        let judge = Judge::new(&then).unwrap();
        for at in 0.. {
            let world = World::new(3).unwrap();
            if let Some(before) = &before {
                world.run(Job::Deploy(before), Fate::Lives);
                world.wait(PAUSE);
            }
            let (ended, _) = world.run(Job::Deploy(&after), Fate::Dies { at });
            judge
                .demand(&world)
                .unwrap_or_else(|broken| panic!("killed at {at}: {broken}"));
            if !matches!(ended, Ended::Killed) {
                break;
            }
        }
    }
}

/// A stack whose one route leads to this function.
fn to(function: &'static str) -> infra_cdk::Graph {
    // Another route keeps all functions, so that the permission of the first does not go with one.
    let shape = Shape {
        routes: vec![
            ("$connect", "one", false),
            ("$disconnect", "two", false),
            ("send", "three", false),
            ("who", function, false),
        ],
        tables: vec![],
        has_secret: false,
        memory_mb: 128,
        url: None,
        is_watched: false,
    };
    shape.graph().unwrap()
}

#[test]
fn law_3_a_permission_that_moved_in_a_killed_deployment_and_moves_on_in_the_next_is_found() {
    let (first, second, third) = (to("one"), to("two"), to("three"));
    let judge = Judge::new(&third).unwrap();
    let back = Judge::new(&first).unwrap();
    for at in 0.. {
        let world = World::new(3).unwrap();
        world.run(Job::Deploy(&first), Fate::Lives);
        world.wait(PAUSE);
        let (moved, _) = world.run(Job::Deploy(&second), Fate::Dies { at });
        world.wait(PAUSE);
        // The next one comes only as far as its header.
        let (begun, _) = world.run(Job::Deploy(&third), Fate::Dies { at: 12 });
        assert!(matches!(begun, Ended::Killed), "{begun}");
        let judge = if at % 2 == 0 { &judge } else { &back };
        judge
            .demand(&world)
            .unwrap_or_else(|broken| panic!("killed at {at}: {broken}"));
        if !matches!(moved, Ended::Killed) {
            break;
        }
    }
}

#[test]
fn law_5_whatever_step_fails_in_whatever_way_running_again_converges() {
    let shape = Shape {
        routes: vec![("send", "one", true)],
        tables: vec![("Connections", "id")],
        has_secret: false,
        memory_mb: 128,
        url: Some(FunctionUrlAuthType::None),
        is_watched: false,
    };
    let graph = shape.graph().unwrap();
    let judge = Judge::new(&graph).unwrap();
    let calls = {
        let world = World::new(5).unwrap();
        world.run(Job::Deploy(&graph), Fate::Lives);
        world.take_calls().len()
    };
    let classes = [
        Class::Throttled,
        Class::Busy,
        Class::Propagating,
        Class::Transient,
        Class::Unreachable,
        Class::Unauthenticated,
        Class::Denied,
        Class::Quota,
        Class::Permanent,
    ];
    for call in 0..calls {
        // What happened all the same is a lost answer: once where that is tried again, once where it is not.
        let lost = [(Class::Transient, true), (Class::Permanent, true)];
        for (class, happens) in classes.map(|class| (class, false)).into_iter().chain(lost) {
            let label = format!("call {call}, {class:?}, happens: {happens}");
            let world = World::new(5).unwrap();
            world.set_faults(Faults {
                call: Some((call, class, happens)),
                ..Faults::default()
            });
            let (ended, _) = world.run(Job::Deploy(&graph), Fate::Lives);
            assert_eq!(ended.is_complete(), class.is_retryable(), "{label}: {ended}");
            judge
                .demand(&world)
                .unwrap_or_else(|broken| panic!("{label}: {broken}"));
        }
    }
}

#[test]
fn law_6_every_provider_call_may_be_repeated() {
    let world = World::new(6).unwrap();
    for graph in random_graphs(15) {
        world.set_faults(Faults {
            twice_per_mille: 1000,
            ..Faults::default()
        });
        let (ended, _) = world.run(Job::Deploy(&graph), Fate::Lives);
        assert!(ended.is_complete(), "{ended}");
        Judge::new(&graph).unwrap().demand(&world).unwrap();
    }
    world.set_faults(Faults {
        twice_per_mille: 1000,
        ..Faults::default()
    });
    let (ended, _) = world.run(Job::Destroy(&small()), Fate::Lives);
    assert!(ended.is_complete(), "{ended}");
    demand_nothing(&world, &small()).unwrap();
}
