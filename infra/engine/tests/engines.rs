//! A stage belongs to one engine at a time, and moves between them without a resource being touched.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::atomic::AtomicBool;

use common::{World, packages};
use infra_cdk::{EngineName, Graph, Kind, Settings, Stack, Stage, outside_of_template};
use infra_engine::{Engine, EngineError, Packages};

/// A stack with something that CloudFormation cannot make.
fn with_secret() -> Graph {
    let mut stack = empty();
    let send = stack.function("send");
    let key = stack.secret("TokenKey");
    key.grant_read(&send);
    stack.build().unwrap()
}

fn empty() -> Stack {
    let stage = Stage {
        name: "test".into(),
        region: "eu-west-1".into(),
        settings: Settings {
            removal_policy: infra_cdk::RemovalPolicy::Delete,
            ..Settings::default()
        },
    };
    Stack::new("chat", &stage)
}

type TestEngine = Engine<&'static common::MemoryCloud, &'static common::MemoryStore, common::PausedTime>;

fn engine(world: &World) -> TestEngine {
    Engine::with_time(world.cloud, world.store, common::PausedTime::default(), "test")
}

async fn deploy_beside(world: &World, graph: &Graph) {
    let (engine, outside) = (
        engine(world).beside_cloudformation(),
        outside_of_template(graph).unwrap(),
    );
    let prepared = engine.plan_deploy(&outside, &Packages::new()).await.unwrap();
    let report = engine
        .apply(&outside, &Packages::new(), prepared, &AtomicBool::new(false), &|_| {})
        .await
        .unwrap();
    assert!(report.failed.is_empty());
}

#[tokio::test]
async fn each_engine_refuses_the_stages_of_the_other() {
    let (world, graph) = (World::new(), with_secret());
    deploy_beside(&world, &graph).await;
    let things = world.cloud.things();
    assert_eq!(things.len(), 1, "only what CloudFormation cannot make");
    let refused = |error| {
        matches!(
            error,
            EngineError::OtherEngine {
                engine: EngineName::CloudFormation,
                ..
            }
        )
    };
    assert!(refused(world.engine.observe(&graph).await.unwrap_err()));
    assert!(refused(world.engine.plan_destroy(&graph).await.unwrap_err()));
    assert!(refused(world.engine.plan_rollback(&graph).await.unwrap_err()));
    assert!(refused(world.engine.rebuild(&graph).await.unwrap_err()));

    let world = World::new();
    world.deploy(&graph).await;
    let outside = outside_of_template(&graph).unwrap();
    let error = engine(&world)
        .beside_cloudformation()
        .plan_deploy(&outside, &Packages::new())
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        EngineError::OtherEngine {
            engine: EngineName::Direct,
            ..
        }
    ));
}

#[tokio::test]
async fn a_stage_without_anything_beside_the_stack_is_claimed_too() {
    let mut stack = empty();
    stack.function("send");
    let (world, graph) = (World::new(), stack.build().unwrap());
    deploy_beside(&world, &graph).await;
    assert_eq!(world.cloud.things().len(), 0);
    assert!(world.engine.observe(&graph).await.is_err());
    // The second time, nothing is written.
    let writes = *world.store.writes.lock().unwrap();
    deploy_beside(&world, &graph).await;
    assert_eq!(*world.store.writes.lock().unwrap(), writes);
}

#[tokio::test]
async fn what_is_handed_over_is_forgotten_and_not_touched() {
    let (world, graph) = (World::new(), with_secret());
    world.deploy(&graph).await;
    world.take_calls();
    let before = world.cloud.things();
    engine(&world).hand_over(&graph).await.unwrap();
    // Once more does no harm.
    engine(&world).hand_over(&graph).await.unwrap();
    assert_eq!(world.take_calls(), [""; 0]);
    assert_eq!(world.cloud.things(), before);
    let record = world.store.records.lock().unwrap()[graph.stack()].clone();
    assert_eq!(record.engine(), Some(EngineName::CloudFormation));
    let kinds: Vec<_> = record.resources.values().map(|recorded| recorded.kind).collect();
    assert_eq!(kinds, [Kind::Parameter]);

    // And back: all is found, and nothing is made or changed.
    let rebuilt = engine(&world).taking_over().rebuild(&graph).await.unwrap();
    assert!(rebuilt.missing.is_empty() && rebuilt.foreign.is_empty(), "{rebuilt:?}");
    let plan = world
        .engine
        .plan_deploy(&graph, &packages(&graph, "1"))
        .await
        .unwrap()
        .plan;
    assert!(plan.is_empty(), "{:?}", plan.steps);
    assert_eq!(world.take_calls(), [""; 0]);
}

#[tokio::test]
async fn what_a_migration_left_in_the_record_is_never_deleted() {
    let (world, graph) = (World::new(), with_secret());
    world.deploy(&graph).await;
    // As if it had been killed between its two writes.
    {
        let mut records = world.store.records.lock().unwrap();
        let header = &mut records.get_mut(graph.stack()).unwrap().header;
        header.engine = EngineName::CloudFormation;
    }
    let outside = outside_of_template(&graph).unwrap();
    let beside = engine(&world).beside_cloudformation();
    let plan = beside.plan_deploy(&outside, &Packages::new()).await.unwrap().plan;
    assert!(plan.is_empty(), "{:?}", plan.steps);
    let plan = beside.plan_destroy(&outside).await.unwrap().plan;
    let kinds: Vec<_> = plan.steps.iter().map(|step| step.kind).collect();
    assert_eq!(kinds, [Kind::Parameter]);
}
