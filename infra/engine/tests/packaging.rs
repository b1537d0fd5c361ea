//! Deployments that begin before the functions are packaged; refusals; what a failure takes along.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Options, World, chat, packages};
use infra_cdk::Kind;
use infra_engine::{Class, EngineError, Event, Lock, Packages, Packaging, StoreError, packaging};

#[tokio::test]
async fn what_needs_no_package_is_made_while_they_are_made() {
    let world = World::new();
    let graph = chat(&Options::default());
    let all = packages(&graph, "1");
    let observed = world.engine.observe(&graph).await.unwrap();
    let prepared = world.engine.plan_observed(&graph, &Packages::new(), observed).unwrap();
    assert!(prepared.is_final_without_packages(&graph));

    let functions = graph
        .resources()
        .values()
        .filter(|it| it.kind == Kind::Function)
        .count();
    let (packer, coming) = packaging();
    let packer = Mutex::new(Some(packer));
    let began = Mutex::new(Vec::new());
    // The first package is made once nothing else is left to do, the others when its function is there.
    let others = all.len() - 1;
    let rest = Mutex::new(all.into_iter());
    let pack = |count: usize| {
        let mut packer = packer.lock().unwrap();
        for (name, package) in rest.lock().unwrap().by_ref().take(count) {
            packer.as_ref().unwrap().add(name, package);
        }
        if rest.lock().unwrap().len() == 0 {
            packer.take().unwrap().finish();
        }
    };
    let without_package = graph.resources().len() - functions - dependents_of_functions(&graph);
    let done = Mutex::new(0);
    let observer = |event: Event| match event {
        Event::Started {
            kind: Kind::Function,
            id,
            ..
        } => began.lock().unwrap().push(id),
        Event::Finished { kind, .. } => {
            *done.lock().unwrap() += 1;
            if *done.lock().unwrap() == without_package {
                assert!(began.lock().unwrap().is_empty());
                pack(1);
            } else if kind == Kind::Function && began.lock().unwrap().len() == 1 {
                pack(others);
            }
        }
        Event::Failed { .. } | Event::Skipped { .. } | Event::WaitingForLock { .. } => panic!("{event:?}"),
        Event::Started { .. } | Event::Retrying { .. } => {}
    };
    let report = world
        .engine
        .apply_while_packaging(&graph, &coming, prepared, &AtomicBool::new(false), &observer)
        .await
        .unwrap();
    assert_eq!(report.done.len(), graph.resources().len());
    assert_eq!(began.lock().unwrap().len(), functions);
    assert!(world.planned(&graph).await.is_empty());
}

/// Returns how many resources wait for a function.
fn dependents_of_functions(graph: &infra_cdk::Graph) -> usize {
    let mut reached: BTreeSet<_> = graph
        .resources()
        .iter()
        .filter(|(_, it)| it.kind == Kind::Function)
        .map(|(id, _)| id.clone())
        .collect();
    let functions = reached.len();
    for (id, _) in graph.in_order() {
        if graph.dependencies(id).iter().any(|needed| reached.contains(needed)) {
            reached.insert(id.clone());
        }
    }
    reached.len() - functions
}

#[tokio::test]
async fn a_failed_compilation_leaves_a_deployment_that_goes_on_next_time() {
    let world = World::new();
    let graph = chat(&Options::default());
    let observed = world.engine.observe(&graph).await.unwrap();
    let prepared = world.engine.plan_observed(&graph, &Packages::new(), observed).unwrap();
    let (packer, coming) = packaging();
    let (name, package) = packages(&graph, "1").into_iter().next().unwrap();
    packer.add(name, package);
    drop(packer);
    let report = world
        .engine
        .apply_while_packaging(&graph, &coming, prepared, &AtomicBool::new(false), &|_| {})
        .await
        .unwrap();
    assert!(report.failed.is_empty() && !report.interrupted);
    assert!(
        report
            .skipped
            .iter()
            .any(|(id, _)| graph.resources()[id].kind == Kind::Function)
    );
    assert!(
        report
            .done
            .iter()
            .any(|(id, _)| graph.resources()[id].kind == Kind::Table)
    );
    let record = world.store.records.lock().unwrap()[graph.stack()].clone();
    assert_eq!(record.resources.len(), report.done.len());
    assert!(record.header.lock.is_none());
    // Some functions exist by now: which plan is right depends on their digests.
    let observed = world.engine.observe(&graph).await.unwrap();
    let prepared = world.engine.plan_observed(&graph, &Packages::new(), observed).unwrap();
    assert!(!prepared.is_final_without_packages(&graph));

    let again = world.deploy(&graph).await;
    assert_eq!(again.done.len(), graph.resources().len() - report.done.len());
    assert!(world.planned(&graph).await.is_empty());
}

#[tokio::test]
async fn who_was_overtaken_while_packaging_plans_with_the_packages() {
    let world = World::new();
    let graph = chat(&Options::default());
    let observed = world.engine.observe(&graph).await.unwrap();
    let prepared = world.engine.plan_observed(&graph, &Packages::new(), observed).unwrap();
    world.deploy(&graph).await;
    world.take_calls();
    let coming = Packaging::from(packages(&graph, "2"));
    let report = world
        .engine
        .apply_while_packaging(&graph, &coming, prepared.clone(), &AtomicBool::new(false), &|_| {})
        .await
        .unwrap();
    let code = [Kind::Function, Kind::Alias];
    let changed = graph.resources().values().filter(|it| code.contains(&it.kind));
    assert_eq!(report.done.len(), changed.count());
    let calls = world.take_calls();
    assert!(
        calls
            .iter()
            .all(|call| call.contains("Function") || call.contains("Alias")),
        "{calls:?}"
    );

    // Without any there is nothing to plan with.
    let (packer, coming) = packaging();
    drop(packer);
    let refused = world
        .engine
        .apply_while_packaging(&graph, &coming, prepared, &AtomicBool::new(false), &|_| {})
        .await;
    assert_eq!(refused.unwrap_err(), EngineError::NotPackaged);
}

#[tokio::test]
async fn who_does_not_wait_is_told_who_deploys() {
    let World { cloud, store, engine } = World::new();
    let engine = engine.without_waiting();
    let graph = chat(&Options::default());
    let packages = packages(&graph, "1");
    let prepared = engine.plan_deploy(&graph, &packages).await.unwrap();
    let world = World { cloud, store, engine };
    let lock = Lock {
        owner: "ana@laptop".into(),
        acquired_at: 0,
        lease_until: 20,
    };
    world.lock(&graph, Some(lock));
    let is_locked = |error: EngineError| match error {
        EngineError::Store(StoreError::Locked { lock, .. }) => assert_eq!(lock.owner, "ana@laptop"),
        other => panic!("{other:?}"),
    };
    let planned = world.engine.plan_deploy(&graph, &packages).await;
    is_locked(planned.unwrap_err());
    is_locked(world.engine.plan_destroy(&graph).await.unwrap_err());
    let applied = world
        .engine
        .apply(&graph, &packages, prepared, &AtomicBool::new(false), &|_| {})
        .await;
    is_locked(applied.unwrap_err());
    assert!(world.take_calls().is_empty());
}

#[tokio::test]
async fn what_is_skipped_names_the_failure_that_it_is_due_to() {
    let graph = chat(&Options::default());
    let all = packages(&graph, "1");
    let mut skipped = 0;
    for call in 0..8 {
        let world = World::new();
        let prepared = world.engine.plan_deploy(&graph, &all).await.unwrap();
        let fault = (call, (Class::Denied, false));
        world.cloud.state.lock().unwrap().faults.extend([fault]);
        let failed = Mutex::new(None);
        let needs = Mutex::new(Vec::new());
        let observer = |event: Event| match event {
            Event::Failed { id, .. } => *failed.lock().unwrap() = Some(id),
            Event::Skipped { needs: due_to, .. } => needs.lock().unwrap().push(due_to),
            Event::Started { .. } | Event::Finished { .. } | Event::Retrying { .. } | Event::WaitingForLock { .. } => {}
        };
        let never = AtomicBool::new(false);
        let applied = world.engine.apply(&graph, &all, prepared, &never, &observer);
        let report = applied.await.unwrap();
        let (failed, needs) = (failed.into_inner().unwrap(), needs.into_inner().unwrap());
        assert_eq!(needs.len(), report.skipped.len());
        assert!(
            failed.is_some() && needs.iter().all(|due_to| *due_to == failed),
            "{needs:?}"
        );
        skipped += needs.len();
    }
    assert!(skipped > 0);
}

#[tokio::test]
async fn a_step_whose_repetitions_are_interrupted_has_not_failed() {
    let world = World::new();
    let graph = chat(&Options::default());
    let all = packages(&graph, "1");
    let prepared = world.engine.plan_deploy(&graph, &all).await.unwrap();
    world
        .cloud
        .state
        .lock()
        .unwrap()
        .faults
        .insert(0, (Class::Propagating, false));
    let interrupted = AtomicBool::new(false);
    let report = world
        .engine
        .apply(&graph, &all, prepared, &interrupted, &|event| {
            if let Event::Started { .. } = event {
                interrupted.store(true, Ordering::Relaxed);
            }
        })
        .await
        .unwrap();
    assert!(report.interrupted && report.failed.is_empty());
    assert_eq!(report.done.len() + report.skipped.len(), graph.resources().len());
    world.deploy(&graph).await;
    assert!(world.planned(&graph).await.is_empty());
}
