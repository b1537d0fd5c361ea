//! Law 10 on the local cloud: the template has the resources and properties that the direct engine's calls have made there,
//! read back by AWS's calls. `infra/tests/stack` compares with what the engine would send.

#![allow(clippy::unwrap_used, reason = "tests")]

mod account;
#[allow(dead_code, reason = "the tests of the stack use the rest")]
#[path = "../../../infra/tests/stack/common.rs"]
mod common;
#[path = "../../../infra/tests/stack/compare.rs"]
mod compare;

use std::collections::{BTreeMap, BTreeSet};

use infra_cdk::{Graph, Kind, LogicalId};
use infra_engine::sim::World;
use infra_engine::sim::stacks::Shape;
use serde_json::{Map, Value as Json};

use self::account::Account;
use self::compare::compare;

/// The folder of the stages.
const STAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/stages");

/// How many random stacks are deployed: enough that every type occurs.
const RANDOM_STACKS: u32 = 20;

/// Returns what a deployment into an empty account has made.
fn deployed(region: &str, graph: &Graph) -> BTreeMap<LogicalId, Map<String, Json>> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let made = runtime.block_on(async { Account::start(region).await.deploy(graph).await });
    assert!(
        made.keys().eq(graph.resources().keys()),
        "all is made, and nothing else"
    );
    made
}

#[test]
fn law_10_every_stage_has_on_the_local_cloud_what_its_template_has() {
    for (stage, (region, graph)) in common::stages() {
        let made = deployed(&region, &graph);
        compare(&stage, &region, &graph, made);
    }
}

#[test]
fn law_10_any_stack_has_on_the_local_cloud_what_its_template_has() {
    let chance = World::new(11).unwrap();
    let region = &chance.context().region;
    let mut kinds = BTreeSet::new();
    for number in 0..RANDOM_STACKS {
        let shape = Shape::random(&chance);
        let graph = shape.graph().unwrap();
        kinds.extend(graph.resources().values().map(|resource| resource.kind));
        let made = deployed(region, &graph);
        compare(&format!("{number}: {shape:?}"), region, &graph, made);
    }
    assert_eq!(kinds, Kind::ALL.into(), "every type was compared");
}
