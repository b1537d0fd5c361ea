//! Deployments against an in-memory cloud.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Options, World, chat, packages};
use infra_cdk::{Kind, RemovalPolicy};
use infra_engine::{Action, Cause, Class, EngineError, Event, Lock, StepId};

fn set(steps: &[(&str, Action)]) -> BTreeSet<(String, Action)> {
    steps.iter().map(|(id, action)| ((*id).to_owned(), *action)).collect()
}

#[tokio::test]
async fn a_second_deployment_makes_no_call_and_writes_nothing() {
    let world = World::new();
    let graph = chat(&Options::default());
    let report = world.deploy(&graph).await;
    assert_eq!((report.failed.len(), report.skipped.len()), (0, 0));
    assert_eq!(report.done.len(), graph.resources().len());
    assert!(
        report.record.header.outputs["url"]
            .as_str()
            .unwrap()
            .ends_with(".ApiEndpoint/test")
    );
    world.take_calls();
    let writes = *world.store.writes.lock().unwrap();
    let report = world.deploy(&graph).await;
    assert!(report.done.is_empty());
    assert_eq!(world.take_calls(), [""; 0]);
    assert_eq!(*world.store.writes.lock().unwrap(), writes);
    assert!(report.record.header.outputs.contains_key("url"));
}

#[tokio::test]
async fn a_step_never_begins_before_what_it_needs_is_done() {
    let world = World::new();
    let graph = chat(&Options::default());
    let packages = packages(&graph, "1");
    let prepared = world.engine.plan_deploy(&graph, &packages).await.unwrap();
    let done = Mutex::new(BTreeSet::new());
    let observer = |event: Event| match event {
        Event::Started { id, .. } => {
            let done = done.lock().unwrap();
            let missing: Vec<_> = graph
                .dependencies(&id)
                .into_iter()
                .filter(|needed| !done.contains(needed))
                .collect();
            assert!(missing.is_empty(), "{id} began before {missing:?}");
        }
        Event::Finished { id, .. } => drop(done.lock().unwrap().insert(id)),
        _ => {}
    };
    world
        .engine
        .apply(&graph, &packages, prepared, &AtomicBool::new(false), &observer)
        .await
        .unwrap();
    assert_eq!(done.lock().unwrap().len(), graph.resources().len());
}

#[tokio::test]
async fn changed_code_changes_only_its_function_and_moves_its_alias() {
    let world = World::new();
    let graph = chat(&Options::default());
    world.deploy(&graph).await;
    world.take_calls();
    let mut code = packages(&graph, "1");
    code.get_mut("on-connect").unwrap().sha256 = "new".to_owned();
    world.deploy_code(&graph, &code).await;
    assert_eq!(
        world.take_calls(),
        ["update OnConnectFunction", "update OnConnectAlias"]
    );
}

#[tokio::test]
async fn a_changed_setting_changes_only_what_it_sets() {
    let world = World::new();
    world.deploy(&chat(&Options::default())).await;
    let graph = chat(&Options {
        memory_mb: 512,
        ..Options::default()
    });
    assert_eq!(
        world.planned(&graph).await,
        set(&[
            ("AuthorizeFunction", Action::Update),
            ("AuthorizeAlias", Action::Update)
        ])
    );
}

#[tokio::test]
async fn an_added_route_makes_its_resources_and_a_new_deployment() {
    let world = World::new();
    world.deploy(&chat(&Options::default())).await;
    let mut routes = Options::default().routes;
    routes.push("who");
    let graph = chat(&Options {
        routes,
        ..Options::default()
    });
    let expected = set(&[
        ("OnWhoFunction", Action::Create),
        ("OnWhoAlias", Action::Create),
        ("OnWhoLogs", Action::Create),
        ("OnWhoPolicy", Action::Create),
        ("OnWhoRole", Action::Create),
        ("ChatOnWhoIntegration", Action::Create),
        ("ChatWhoRoute", Action::Create),
        ("ChatWhoRouteResponse", Action::Create),
        ("ChatWhoLivePermission", Action::Create),
        ("ChatDeployment", Action::Replace),
        ("ChatDeployment", Action::Delete),
        ("ChatStage", Action::Update),
    ]);
    assert_eq!(world.planned(&graph).await, expected);
    world.deploy(&graph).await;
    assert_eq!(world.planned(&graph).await, set(&[]));
}

#[tokio::test]
async fn a_removed_route_leaves_before_the_new_snapshot_and_its_function_after_everything() {
    let world = World::new();
    let full = chat(&Options::default());
    world.deploy(&full).await;
    let count = world.cloud.things().len();
    world.take_calls();
    let graph = chat(&Options {
        routes: vec!["$connect", "$disconnect"],
        ..Options::default()
    });
    let report = world.deploy(&graph).await;
    assert!(report.failed.is_empty() && report.skipped.is_empty(), "{report:?}");
    let calls = world.take_calls();
    let at = |call: &str| {
        calls
            .iter()
            .position(|made| made == call)
            .unwrap_or_else(|| panic!("{call}: {calls:?}"))
    };
    assert!(at("delete ChatSendMessageRoute") < at("delete ChatOnSendMessageIntegration"));
    assert!(at("delete ChatOnSendMessageIntegration") < at("create ChatDeployment"));
    assert!(at("create ChatDeployment") < at("update ChatStage"));
    assert!(at("update ChatStage") < at("delete ChatDeployment"));
    assert!(at("update ChatStage") < at("delete OnSendMessageFunction"));
    assert!(at("delete OnSendMessageFunction") < at("delete OnSendMessageLogs"));
    assert!(
        !calls
            .iter()
            .any(|call| call.contains("Permission") || call.contains("RouteResponse")),
        "{calls:?}"
    );
    assert_eq!(world.cloud.things().len(), count - 9);
    assert_eq!(world.planned(&graph).await, set(&[]));
}

#[tokio::test]
async fn an_integration_that_leaves_waits_for_every_route_that_leaves() {
    // A deployment that died may have sent any of them to it, whatever is recorded.
    let world = World::new();
    world.deploy(&chat(&Options::default())).await;
    let graph = chat(&Options {
        routes: vec!["$connect"],
        ..Options::default()
    });
    let plan = world
        .engine
        .plan_deploy(&graph, &packages(&graph, "1"))
        .await
        .unwrap()
        .plan;
    let removal = |id: &str| StepId::Remove(id.parse().unwrap());
    let routes = BTreeSet::from([removal("ChatDisconnectRoute"), removal("ChatSendMessageRoute")]);
    for id in ["ChatOnDisconnectIntegration", "ChatOnSendMessageIntegration"] {
        let step = plan.steps.iter().find(|step| step.step_id() == removal(id)).unwrap();
        assert!(step.after.is_superset(&routes), "{id}: {:?}", step.after);
    }
}

#[tokio::test]
async fn destroy_leaves_nothing_and_is_quiet_when_repeated() {
    let world = World::new();
    let graph = chat(&Options::default());
    world.deploy(&graph).await;
    let report = world.destroy(&graph).await;
    assert!(report.failed.is_empty() && report.skipped.is_empty(), "{report:?}");
    assert_eq!(world.cloud.things().len(), 0, "{:?}", world.cloud.things());
    assert!(world.store.records.lock().unwrap().is_empty());
    world.take_calls();
    let again = world.destroy(&graph).await;
    assert!(again.done.is_empty() && again.failed.is_empty());
    assert!(world.take_calls().is_empty());
}

#[tokio::test]
async fn a_retained_table_outlives_its_stack_and_is_adopted_by_the_next() {
    let world = World::new();
    let graph = chat(&Options {
        removal_policy: RemovalPolicy::Retain,
        ..Options::default()
    });
    world.deploy(&graph).await;
    world.destroy(&graph).await;
    let kinds: BTreeSet<Kind> = world.cloud.things().into_values().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, BTreeSet::from([Kind::Table, Kind::Parameter]));
    let planned = world.planned(&graph).await;
    assert!(planned.contains(&("Connections".to_owned(), Action::Adopt)));
    assert!(planned.contains(&("TokenKey".to_owned(), Action::Adopt)));
}

#[tokio::test]
async fn a_lost_record_is_made_again_from_what_exists() {
    let world = World::new();
    let graph = chat(&Options::default());
    world.deploy(&graph).await;
    let before = world.cloud.things();
    world.store.records.lock().unwrap().clear();
    let report = world.deploy(&graph).await;
    assert!(
        report.done.iter().all(|(_, action)| *action == Action::Adopt),
        "{:?}",
        report.done
    );
    assert_eq!(world.cloud.things(), before);
    assert_eq!(world.planned(&graph).await, set(&[]));
}

#[tokio::test]
async fn what_belongs_to_others_is_refused_before_anything_is_done() {
    let world = World::new();
    let graph = chat(&Options::default());
    world.deploy(&graph).await;
    world.store.records.lock().unwrap().clear();
    for thing in &mut world.cloud.state.lock().unwrap().things {
        thing.stack.app = "other".to_owned();
    }
    world.take_calls();
    let error = world
        .engine
        .plan_deploy(&graph, &packages(&graph, "1"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, EngineError::Foreign(foreign) if foreign.len() > 5),
        "{error}"
    );
    assert!(world.take_calls().is_empty());
}

#[tokio::test]
async fn drift_is_seen_and_undone() {
    let world = World::new();
    let graph = chat(&Options::default());
    world.deploy(&graph).await;
    for thing in &mut world.cloud.state.lock().unwrap().things {
        if thing.id.as_str() == "AuthorizeFunction" {
            thing.live.properties.insert("MemorySize".to_owned(), 1024.into());
        }
    }
    let plan = world
        .engine
        .plan_deploy(&graph, &packages(&graph, "1"))
        .await
        .unwrap()
        .plan;
    assert_eq!(plan.steps.len(), 2);
    assert_eq!(plan.steps[0].changes[0].cause, Cause::Drift);
    assert_eq!(plan.steps[0].reason, "changed outside of this stack");
    world.deploy(&graph).await;
    assert_eq!(world.planned(&graph).await, set(&[]));
}

#[tokio::test]
async fn a_replaced_table_is_a_data_loss_and_deleted_first() {
    let world = World::new();
    world.deploy(&chat(&Options::default())).await;
    let graph = chat(&Options {
        sort_key: true,
        ..Options::default()
    });
    let plan = world
        .engine
        .plan_deploy(&graph, &packages(&graph, "1"))
        .await
        .unwrap()
        .plan;
    assert_eq!(
        plan.data_losses().map(|step| step.id.as_str()).collect::<Vec<_>>(),
        ["Connections"]
    );
    world.take_calls();
    world.deploy(&graph).await;
    let calls = world.take_calls();
    assert_eq!(calls, ["delete Connections", "create Connections"]);
    assert_eq!(world.planned(&graph).await, set(&[]));
}

#[tokio::test]
async fn a_deleted_api_is_made_again_with_everything_inside() {
    let world = World::new();
    let graph = chat(&Options::default());
    world.deploy(&graph).await;
    let count = world.cloud.things().len();
    world
        .cloud
        .state
        .lock()
        .unwrap()
        .things
        .retain(|thing| thing.kind != Kind::Api && !thing.live.properties.contains_key("ApiId"));
    let report = world.deploy(&graph).await;
    assert!(report.failed.is_empty() && report.skipped.is_empty(), "{report:?}");
    assert_eq!(world.planned(&graph).await, set(&[]));
    assert_eq!(world.cloud.things().len(), count);
}

/// Law 5: whichever call fails, with whatever class, happened or not, running again converges.
#[tokio::test]
async fn any_failed_call_is_made_good_by_running_again() {
    let undisturbed = World::new();
    let graph = chat(&Options::default());
    undisturbed.deploy(&graph).await;
    let calls = undisturbed.cloud.state.lock().unwrap().mutating;
    for call in 0..calls {
        for class in [
            Class::Permanent,
            Class::Transient,
            Class::Throttled,
            Class::Propagating,
            Class::Busy,
        ] {
            for happens in [false, true] {
                let world = World::new();
                world.cloud.state.lock().unwrap().faults.insert(call, (class, happens));
                let first = world.deploy(&graph).await;
                assert_eq!(
                    first.failed.is_empty(),
                    class.is_retryable(),
                    "call {call} {class:?} {happens}"
                );
                let second = world.deploy(&graph).await;
                assert!(second.failed.is_empty() && second.skipped.is_empty());
                let count = world.cloud.things().len();
                assert_eq!(
                    count,
                    graph.resources().len(),
                    "call {call} {class:?} happens: {happens}"
                );
                assert_eq!(world.planned(&graph).await, set(&[]));
            }
        }
    }
}

#[tokio::test]
async fn a_failed_step_skips_its_dependents_and_nothing_else() {
    let world = World::new();
    let graph = chat(&Options::default());
    world
        .cloud
        .state
        .lock()
        .unwrap()
        .faults
        .insert(0, (Class::Denied, false));
    let report = world.deploy(&graph).await;
    assert_eq!(report.failed.len(), 1);
    assert!(!report.done.is_empty());
    assert_eq!(
        report.done.len() + report.failed.len() + report.skipped.len(),
        graph.resources().len()
    );
    let record = world.store.records.lock().unwrap()[graph.stack()].clone();
    assert_eq!(record.resources.len(), report.done.len());
    assert!(record.header.lock.is_none());
    assert!(!record.header.intents.is_empty());
}

#[tokio::test]
async fn an_interrupt_begins_nothing_new_and_records_what_was_done() {
    let world = World::new();
    let graph = chat(&Options::default());
    let packages = packages(&graph, "1");
    let prepared = world.engine.plan_deploy(&graph, &packages).await.unwrap();
    let interrupted = AtomicBool::new(false);
    let observer = |event: Event| {
        if matches!(event, Event::Finished { .. }) {
            interrupted.store(true, Ordering::Relaxed);
        }
    };
    let report = world
        .engine
        .apply(&graph, &packages, prepared, &interrupted, &observer)
        .await
        .unwrap();
    assert!(report.interrupted && !report.done.is_empty() && !report.skipped.is_empty());
    assert_eq!(report.record.resources.len(), report.done.len());
    let again = world.deploy(&graph).await;
    assert_eq!(again.done.len(), graph.resources().len() - report.done.len());
}

#[tokio::test]
async fn a_living_owner_is_waited_for_and_a_dead_ones_lease_expires() {
    let world = World::new();
    let graph = chat(&Options::default());
    let lock = Lock {
        owner: "ana@laptop".into(),
        acquired_at: 0,
        lease_until: 20,
    };
    world.lock(&graph, Some(lock));
    let packages = packages(&graph, "1");
    let prepared = world.engine.plan_deploy(&graph, &packages).await.unwrap();
    let waited = Mutex::new(0);
    let observer = |event: Event| {
        if matches!(&event, Event::WaitingForLock { owner, .. } if owner == "ana@laptop") {
            *waited.lock().unwrap() += 1;
        }
    };
    let report = world
        .engine
        .apply(&graph, &packages, prepared, &AtomicBool::new(false), &observer)
        .await
        .unwrap();
    assert!(report.failed.is_empty());
    assert_eq!(*waited.lock().unwrap(), 20);
}

#[tokio::test]
async fn who_was_overtaken_plans_again() {
    let world = World::new();
    let graph = chat(&Options::default());
    let packages = packages(&graph, "1");
    let prepared = world.engine.plan_deploy(&graph, &packages).await.unwrap();
    world.deploy(&graph).await;
    world.take_calls();
    let report = world
        .engine
        .apply(&graph, &packages, prepared, &AtomicBool::new(false), &|_| {})
        .await
        .unwrap();
    assert!(report.done.is_empty() && report.failed.is_empty());
    assert!(world.take_calls().is_empty());
}
