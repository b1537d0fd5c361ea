//! Aliases: moved together, and back again.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use common::{Options, World, chat, packages};
use infra_cdk::Graph;
use infra_engine::{After, Class, EngineError, Packages, Report};

/// Returns the packages of a graph, those of the named functions with other code.
fn changed(graph: &Graph, names: &[&str], code: &str) -> Packages {
    let mut packages = packages(graph, "1");
    for name in names {
        packages.get_mut(*name).unwrap().sha256 = code.to_owned();
    }
    packages
}

fn aliases(world: &World) -> BTreeMap<String, String> {
    let state = world.cloud.state.lock().unwrap();
    let aliases = state.things.iter().filter(|thing| thing.kind == infra_cdk::Kind::Alias);
    aliases
        .map(|alias| {
            let version = alias.live.properties["FunctionVersion"].as_str().unwrap();
            (alias.id.to_string(), version.to_owned())
        })
        .collect()
}

/// Returns the aliases that do not name version 1.
fn moved(world: &World) -> Vec<(String, String)> {
    aliases(world)
        .into_iter()
        .filter(|(_, version)| version != "1")
        .collect()
}

async fn roll_back(world: &World, graph: &Graph) -> Result<Report, EngineError> {
    let prepared = world.engine.plan_rollback(graph).await?;
    world
        .engine
        .apply(graph, &Packages::new(), prepared, &AtomicBool::new(false), &|_| {})
        .await
}

fn at(alias: &str, version: &str) -> (String, String) {
    (alias.to_owned(), version.to_owned())
}

#[tokio::test]
async fn no_alias_moves_unless_every_function_is_ready() {
    let world = World::new();
    let graph = chat(&Options::default());
    world.deploy(&graph).await;
    world.take_calls();
    let both = changed(&graph, &["on-connect", "on-disconnect"], "new");
    let first = world.cloud.state.lock().unwrap().mutating;
    let faults = BTreeMap::from([(first + 1, (Class::Permanent, false))]);
    world.cloud.state.lock().unwrap().faults = faults;
    let report = world.deploy_code(&graph, &both).await;
    assert_eq!((report.failed.len(), report.skipped.len()), (1, 2), "{report:?}");
    assert_eq!(moved(&world), []);

    // Nothing to go back to: callers are where they were.
    assert_eq!(roll_back(&world, &graph).await.unwrap_err(), EngineError::NothingBefore);

    world.deploy_code(&graph, &both).await;
    assert_eq!(moved(&world), [at("OnConnectAlias", "2"), at("OnDisconnectAlias", "2")]);
    roll_back(&world, &graph).await.unwrap();
    assert_eq!(moved(&world), []);
}

#[tokio::test]
async fn a_rollback_goes_back_one_deployment_and_the_next_one_forward() {
    let world = World::new();
    let graph = chat(&Options::default());
    world.deploy(&graph).await;
    assert_eq!(roll_back(&world, &graph).await.unwrap_err(), EngineError::NothingBefore);
    world
        .deploy_code(&graph, &changed(&graph, &["on-disconnect"], "2"))
        .await;
    let mut newest = changed(&graph, &["on-disconnect"], "2");
    newest.extend(changed(&graph, &["on-connect"], "3").remove_entry("on-connect"));
    world.deploy_code(&graph, &newest).await;
    let forward = [at("OnConnectAlias", "2"), at("OnDisconnectAlias", "2")];
    assert_eq!(moved(&world), forward);

    world.take_calls();
    roll_back(&world, &graph).await.unwrap();
    // What the last deployment left alone stays, though it has an earlier version too.
    assert_eq!(world.take_calls(), ["update OnConnectAlias"]);
    assert_eq!(moved(&world), [at("OnDisconnectAlias", "2")]);
    assert_eq!(roll_back(&world, &graph).await.unwrap_err(), EngineError::NothingBefore);

    let plan = world.engine.plan_deploy(&graph, &newest).await.unwrap().plan;
    let [step] = plan.steps.as_slice() else {
        panic!("{:?}", plan.steps);
    };
    assert_eq!(step.id.as_str(), "OnConnectAlias");
    let description = step
        .changes
        .iter()
        .find(|change| change.property == "Description")
        .unwrap();
    assert_eq!(description.from, Some("rolled back from version 2".into()));
    assert_eq!(description.to, After::Cleared);
    world.deploy_code(&graph, &newest).await;
    assert_eq!(moved(&world), forward);
    assert!(world.engine.plan_deploy(&graph, &newest).await.unwrap().plan.is_empty());
    roll_back(&world, &graph).await.unwrap();
    assert_eq!(moved(&world), [at("OnDisconnectAlias", "2")]);
}
