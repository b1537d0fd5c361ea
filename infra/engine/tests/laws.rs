//! What holds whatever goes wrong, judged in a simulated account. Replay one run: `SIM_SEED=7 cargo test -p infra-engine
//! --test laws`; more of them: `SIM_SEEDS=1000`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use infra_cdk::{Graph, Kind, RemovalPolicy, Settings, Stack, Stage, Table};
use infra_engine::sim::{Ended, Faults, Job, World};
use infra_engine::{Action, Class};

/// What a stack declares: routes to functions, and memory.
#[derive(Clone, Debug)]
struct Shape {
    routes: Vec<(&'static str, &'static str, bool)>,
    tables: Vec<&'static str>,
    memory_mb: u32,
}

/// Each route keeps its function: a permission that moved in a killed deployment, and moves on before the next, is not
/// found again.
const ROUTES: [(&str, &str); 4] = [
    ("$connect", "one"),
    ("$disconnect", "two"),
    ("send", "one"),
    ("who", "two"),
];

fn random_shape(world: &World) -> Shape {
    let mut shape = Shape {
        routes: Vec::new(),
        tables: Vec::new(),
        memory_mb: [128, 256][usize::try_from(world.random(2)).unwrap()],
    };
    for (route, function) in ROUTES {
        if world.random(3) > 0 {
            shape.routes.push((route, function, world.random(2) == 0));
        }
    }
    if shape.routes.is_empty() {
        shape.routes.push(("send", "one", true));
    }
    shape.tables = ["Connections", "Rooms"]
        .into_iter()
        .filter(|_| world.random(2) == 0)
        .collect();
    shape
}

fn stack(shape: &Shape) -> Graph {
    let settings = Settings {
        removal_policy: RemovalPolicy::Delete,
        ..Settings::default()
    };
    let stage = Stage {
        name: "test".into(),
        region: "eu-west-1".into(),
        settings,
    };
    let mut stack = Stack::new("chat", &stage);
    let authorize = stack.function("authorize").memory_mb(shape.memory_mb);
    let mut api = stack.web_socket_api("Chat").authorizer(&authorize);
    let mut functions = BTreeMap::new();
    for (route, name, replies) in &shape.routes {
        let function = functions.entry(*name).or_insert_with(|| stack.function(name));
        api = if *replies {
            api.replying_route(route, function)
        } else {
            api.route(route, function)
        };
    }
    for table in &shape.tables {
        let table = stack.table(table, Table::keyed_by("id"));
        for function in functions.values() {
            table.grant_put(function);
        }
    }
    stack.output("url", api.url());
    stack.build().unwrap()
}

fn small() -> Graph {
    stack(&Shape {
        routes: vec![("$connect", "one", false), ("send", "one", true)],
        tables: vec!["Connections"],
        memory_mb: 128,
    })
}

fn changed() -> Graph {
    stack(&Shape {
        routes: vec![("$connect", "one", false), ("who", "two", true)],
        tables: vec!["Rooms"],
        memory_mb: 256,
    })
}

/// Returns what exists with assigned ids replaced by logical ones; and checks that the stage serves what is there.
fn normal(world: &World) -> Vec<String> {
    let things = world.things();
    let name = |text: String| {
        things
            .iter()
            .filter(|thing| thing.live.physical_id.len() == 7 && thing.live.physical_id.starts_with("id0"))
            .fold(text, |text, thing| {
                text.replace(&thing.live.physical_id, thing.id.as_str())
            })
    };
    let mut lines: Vec<_> = things
        .iter()
        .map(|thing| {
            let properties = serde_json::to_string(&thing.live.properties).unwrap();
            let snapshot = format!("{:?}", thing.snapshot);
            name(format!("{} {:?} {properties} {snapshot}", thing.id, thing.kind))
        })
        .collect();
    lines.sort();
    lines
}

/// With the faults off, runs until all is well; then the plan must be empty, and nothing else exist than is declared.
fn converge(world: &World, graph: &Graph, label: &str) {
    world.set_faults(Faults::default());
    world.wait(Duration::from_secs(10));
    let (ended, _) = world.run(Job::Deploy(graph), None);
    assert!(ended.is_complete(), "{label}: {ended:?}");
    world.wait(Duration::from_secs(10));
    let plan = world.plan(graph).unwrap();
    assert!(plan.is_empty(), "{label}: {:?}", plan.steps);
    let pure = World::new(1).unwrap();
    pure.run(Job::Deploy(graph), None);
    let (found, expected) = (normal(world), normal(&pure));
    let extra: Vec<_> = found.iter().filter(|line| !expected.contains(line)).collect();
    let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).collect();
    assert!(
        found == expected,
        "{label}: too much: {extra:#?}\ntoo little: {missing:#?}\n{} of {}",
        found.len(),
        expected.len()
    );
    assert!(world.violations().is_empty(), "{label}: {:?}", world.violations());
}

fn destroyed(world: &World, graph: &Graph, label: &str) {
    world.set_faults(Faults::default());
    world.wait(Duration::from_secs(10));
    let (ended, _) = world.run(Job::Destroy(graph), None);
    assert!(ended.is_complete(), "{label}: {ended:?}");
    assert!(world.things().is_empty(), "{label}: {:?}", normal(world));
    assert_eq!(world.records(), 0, "{label}");
}

#[test]
fn a_deployment_killed_at_any_boundary_is_finished_by_the_next() {
    for (before, after, then) in [
        (None, small(), small()),
        (Some(small()), changed(), changed()),
        // What was half made is not declared any more.
        (Some(small()), changed(), small()),
    ] {
        for kill_at in 0.. {
            let world = World::new(3).unwrap();
            if let Some(before) = &before {
                world.run(Job::Deploy(before), None);
                world.wait(Duration::from_secs(10));
            }
            let (ended, _) = world.run(Job::Deploy(&after), Some(kill_at));
            converge(&world, &then, &format!("killed at {kill_at}"));
            if !matches!(ended, Ended::Killed) {
                break;
            }
        }
    }
}

#[test]
fn a_destroy_killed_at_any_boundary_or_after_a_killed_deployment_leaves_nothing() {
    for kill_at in 0.. {
        let world = World::new(5).unwrap();
        world.run(Job::Deploy(&small()), None);
        world.wait(Duration::from_secs(10));
        let (deploy, _) = world.run(Job::Deploy(&changed()), Some(kill_at));
        world.wait(Duration::from_secs(10));
        let (destroy, _) = world.run(Job::Destroy(&changed()), Some(kill_at));
        destroyed(&world, &changed(), &format!("killed at {kill_at}"));
        if !matches!(deploy, Ended::Killed) && !matches!(destroy, Ended::Killed) {
            break;
        }
    }
}

#[test]
fn a_lost_record_is_adopted_and_destroyed() {
    let world = World::new(1).unwrap();
    world.run(Job::Deploy(&small()), None);
    world.wait(Duration::from_secs(10));
    world.lose_records();
    let plan = world.plan(&small()).unwrap();
    assert!(plan.steps.iter().all(|step| step.action == Action::Adopt), "{plan:?}");
    converge(&world, &small(), "lost");
    world.lose_records();
    destroyed(&world, &small(), "lost");
}

#[test]
fn any_failed_call_is_made_good() {
    let calls = {
        let world = World::new(1).unwrap();
        world.run(Job::Deploy(&small()), None);
        world.calls()
    };
    for call in 0..calls {
        for (class, happens) in [
            (Class::Permanent, false),
            (Class::Permanent, true),
            (Class::Transient, true),
        ] {
            let world = World::new(1).unwrap();
            world.set_faults(Faults {
                call: Some((call, class, happens)),
                ..Faults::default()
            });
            world.run(Job::Deploy(&small()), None);
            converge(&world, &small(), &format!("call {call} {class:?} {happens}"));
        }
    }
}

#[test]
fn of_two_deployments_one_waits_and_a_dead_owners_lock_expires() {
    for seed in 0..30 {
        let world = World::new(seed).unwrap();
        let kill = (seed % 2 == 0).then_some(usize::try_from(seed).unwrap() * 3);
        let delay = Duration::from_millis(seed * 37);
        let (first, second) = (small(), changed());
        let [_, last] = world.run_both(Job::Deploy(&first), Job::Deploy(&second), kill, delay);
        assert!(world.violations().is_empty(), "seed {seed}: {:?}", world.violations());
        assert!(!matches!(last, Ended::Killed));
        converge(&world, &changed(), &format!("seed {seed}: {last:?}"));
    }
}

#[test]
fn everything_at_once_converges() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(40),
    };
    for seed in seeds {
        let label = format!("SIM_SEED={seed}");
        let world = World::new(seed).unwrap();
        let mut graph = stack(&random_shape(&world));
        for _ in 0..3 {
            world.set_faults(Faults {
                per_mille: world.random(150),
                twice_per_mille: world.random(100),
                store_per_mille: world.random(60),
                call: None,
            });
            let kill_at = (world.random(2) == 0).then(|| usize::try_from(world.random(150)).unwrap());
            world.run(Job::Deploy(&graph), kill_at);
            world.wait(Duration::from_secs(10));
            graph = stack(&random_shape(&world));
        }
        converge(&world, &graph, &label);
        world.meddle(|things| things.retain(|thing| thing.kind != Kind::Stage));
        converge(&world, &graph, &label);
        let kill_at = Some(usize::try_from(world.random(60)).unwrap());
        world.run(Job::Destroy(&graph), kill_at);
        destroyed(&world, &graph, &label);
    }
}
