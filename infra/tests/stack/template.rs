//! The template describes what the direct engine makes.

use std::collections::{BTreeMap, BTreeSet};

use infra_cdk::{Graph, Kind, LogicalId};
use infra_engine::sim::stacks::Shape;
use infra_engine::sim::{Fate, Job, World};
use serde_json::{Map, Value as Json, json};

use crate::common;
use crate::compare::compare;

#[test]
fn law_10_template_and_direct_engine_describe_the_same_resources_in_every_stage() {
    for (stage, (region, graph)) in common::stages() {
        let made = common::resolved(&region, &graph);
        compare(&stage, &region, &graph, made);
    }
}

/// Returns what the direct engine makes in a simulated account, with the names that the template's reader gives.
fn made(graph: &Graph) -> BTreeMap<LogicalId, Map<String, Json>> {
    let world = World::new(10).unwrap();
    let (ended, _) = world.run(Job::Deploy(graph), Fate::Lives);
    assert!(ended.is_complete(), "{ended}");
    let things = world.things();
    let assigned = things.iter().flat_map(|thing| {
        let id = thing.live.physical_id.as_str();
        let attribute = |name| thing.live.attributes.get(name).map(String::as_str);
        let id = Some(id).filter(|id| id.starts_with("id0"));
        let names = [id, attribute("Version"), attribute("FunctionUrl")];
        names
            .into_iter()
            .flatten()
            .map(|name| (name, common::assigned(thing.id.as_str())))
    });
    let mut names: BTreeMap<&str, String> = assigned.collect();
    names.insert(&world.context().account, common::ACCOUNT.to_owned());
    let renamed = |text: String| names.iter().fold(text, |text, (from, to)| text.replace(from, to));
    let properties = |properties| serde_json::from_str(&renamed(json!(properties).to_string())).unwrap();
    things
        .iter()
        .map(|thing| (thing.id.clone(), properties(&thing.live.properties)))
        .collect()
}

#[test]
fn law_10_template_and_direct_engine_describe_the_same_resources_of_any_stack() {
    let chance = World::new(10).unwrap();
    let mut kinds = BTreeSet::new();
    for number in 0..100 {
        let shape = Shape::random(&chance);
        let graph = shape.graph().unwrap();
        kinds.extend(graph.resources().values().map(|resource| resource.kind));
        let made = made(&graph);
        assert!(made.keys().eq(graph.resources().keys()), "{shape:?}");
        compare(&format!("{number}: {shape:?}"), &chance.context().region, &graph, made);
    }
    assert_eq!(kinds, Kind::ALL.into(), "every type was compared");
}

#[test]
fn cloudformation_reads_the_template_of_every_stage() {
    for (stage, (_, graph)) in common::stages() {
        let template = infra_cdk::synth(&graph, &common::digests(&graph)).unwrap();
        for text in [template.to_yaml().unwrap(), template.to_json().unwrap()] {
            assert!(infra_cdk::Delivery::of(text.len()).is_ok(), "{stage}");
        }
    }
}

#[test]
fn production_keeps_its_data() {
    let (_, graph) = &common::stages()["prod"];
    let template = common::template(graph);
    for (id, resource) in template["Resources"].as_object().unwrap() {
        let expected = if ["Connections", "Messages", "Rates"].contains(&id.as_str()) {
            "Retain"
        } else {
            "Delete"
        };
        assert_eq!(resource["DeletionPolicy"], expected, "{id}");
        assert_eq!(resource["UpdateReplacePolicy"], expected, "{id}");
    }
}
