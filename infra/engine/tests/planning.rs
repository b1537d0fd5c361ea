//! What a plan keeps, takes over, replaces and clears, against an in-memory cloud.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Options, World, chat, packages};
use infra_cdk::{Graph, Kind, LogicalId, RemovalPolicy, Resource, Settings, Stack, Stage, Value};
use infra_engine::{Action, After, Cause, EngineError, Plan};

/// A stack of one resource of any type.
fn one(resource: Resource) -> Graph {
    let stage = Stage {
        name: "test".into(),
        region: "eu-west-1".into(),
        settings: Settings::default(),
    };
    let mut stack = Stack::new("chat", &stage);
    stack.resource("Thing", resource);
    stack.build().unwrap()
}

fn table(name: &str, key: &str, removal_policy: RemovalPolicy) -> Graph {
    let key = Value::map([("AttributeName", key), ("KeyType", "HASH")]);
    one(Resource {
        removal_policy,
        ..Resource::new(Kind::Table)
            .with("TableName", name)
            .with("KeySchema", Value::list([key]))
    })
}

async fn plan(world: &World, graph: &Graph) -> Plan {
    let packages = packages(graph, "1");
    world.engine.plan_deploy(graph, &packages).await.unwrap().plan
}

fn symbols(plan: &Plan) -> Vec<(&'static str, Action)> {
    plan.steps.iter().map(|step| (step.symbol(), step.action)).collect()
}

#[tokio::test]
async fn every_property_of_a_chat_is_known_to_the_schemas() {
    for resource in chat(&Options::default()).resources().values() {
        for name in resource.properties.keys() {
            let schema = resource.kind.schema();
            assert!(schema.properties.contains(name), "{:?} has no {name}", resource.kind);
            assert!(
                !schema.read_only.contains(name),
                "AWS assigns {name} of {:?}",
                resource.kind
            );
        }
    }
}

#[tokio::test]
async fn what_others_made_is_taken_over_only_when_asked() {
    let (world, graph) = (World::new(), chat(&Options::default()));
    world.deploy(&graph).await;
    world.store.records.lock().unwrap().clear();
    for thing in &mut world.cloud.state.lock().unwrap().things {
        thing.stack.app = "other".to_owned();
        let tags = thing.live.properties.get_mut("Tags");
        if let Some(tags) = tags.and_then(|tags| tags.as_object_mut()) {
            tags.clear();
        }
    }
    let packages = packages(&graph, "1");
    let refused = world.engine.plan_deploy(&graph, &packages).await.unwrap_err();
    assert!(matches!(refused, EngineError::Foreign(_)));
    let engine = world.engine.adopting(true);
    let plan = engine.plan_deploy(&graph, &packages).await.unwrap().plan;
    let table: LogicalId = "Connections".parse().unwrap();
    let step = plan.steps.iter().find(|step| step.id == table).unwrap();
    assert_eq!((step.symbol(), step.action), ("<=", Action::Adopt));
    assert_eq!(step.reason, "not made by this stack: other/test");
    let tags: Vec<_> = step.changes.iter().map(|change| change.property.as_str()).collect();
    assert_eq!(
        tags,
        ["Tags.stackwright:app", "Tags.stackwright:id", "Tags.stackwright:stage"]
    );
}

#[tokio::test]
async fn a_table_under_the_same_name_is_deleted_first_and_named_as_a_loss() {
    for policy in [RemovalPolicy::Delete, RemovalPolicy::Retain] {
        let world = World::new();
        world.deploy(&table("rows", "id", policy)).await;
        let plan = plan(&world, &table("rows", "other", policy)).await;
        assert_eq!(symbols(&plan), [("-", Action::Delete), ("-/+", Action::Replace)]);
        let losses: Vec<_> = plan.data_losses().map(|step| step.reason.as_str()).collect();
        assert_eq!(losses, ["replaced: KeySchema cannot be changed in place"]);
        assert!(plan.steps[1].changes[0].replaces);
        assert_eq!(plan.replaced(&plan.steps[1]), Some(&plan.steps[0]));
        assert_eq!(plan.replacement(&plan.steps[0]), Some(&plan.steps[1]));
    }
}

#[tokio::test]
async fn a_table_under_another_name_is_made_before_the_old_one_goes_or_is_kept() {
    let (old, new) = ("rows", "lines");
    let world = World::new();
    world.deploy(&table(old, "id", RemovalPolicy::Delete)).await;
    let deleting = plan(&world, &table(new, "id", RemovalPolicy::Delete)).await;
    assert_eq!(symbols(&deleting), [("+/-", Action::Replace), ("-", Action::Delete)]);
    assert_eq!(deleting.data_losses().count(), 1);

    let world = World::new();
    world.deploy(&table(old, "id", RemovalPolicy::Retain)).await;
    let graph = table(new, "id", RemovalPolicy::Retain);
    let retaining = plan(&world, &graph).await;
    assert_eq!(symbols(&retaining), [("+/-", Action::Replace), (".", Action::Retain)]);
    assert_eq!(retaining.data_losses().count(), 0);
    world.deploy(&graph).await;
    assert_eq!(world.cloud.things().len(), 2);
    assert!(plan(&world, &graph).await.is_empty());
}

#[tokio::test]
async fn what_is_not_declared_any_more_is_cleared_or_set_to_the_services_default() {
    let group = |resource: Resource| one(resource.with("LogGroupName", "lines"));
    let world = World::new();
    world
        .deploy(&group(
            Resource::new(Kind::LogGroup).with("RetentionInDays", Value::Integer(7)),
        ))
        .await;
    let plan = plan(&world, &group(Resource::new(Kind::LogGroup))).await;
    let change = &plan.steps[0].changes[0];
    assert_eq!((&change.to, change.cause), (&After::Cleared, Cause::Declaration));

    let stage = |limits: &[(&'static str, i64)]| {
        let limits = limits.iter().map(|(name, limit)| (*name, Value::Integer(*limit)));
        let resource = Resource::new(Kind::Stage).with("StageName", "test").with("ApiId", "a");
        one(resource.with("DefaultRouteSettings", Value::map(limits)))
    };
    let world = World::new();
    let (both, rate) = (
        [("ThrottlingRateLimit", 1), ("ThrottlingBurstLimit", 2)],
        [("ThrottlingRateLimit", 1)],
    );
    world.deploy(&stage(&both)).await;
    let graph = stage(&rate);
    world.deploy(&graph).await;
    let live = world.cloud.things().into_values().next().unwrap().1;
    assert!(live.contains(r#""ThrottlingBurstLimit":5000"#), "{live}");
    assert!(!serde_json_of_record(&world, &graph).contains("ThrottlingBurstLimit"));
    assert!(world.planned(&graph).await.is_empty());
}

fn serde_json_of_record(world: &World, graph: &Graph) -> String {
    format!("{:?}", world.store.records.lock().unwrap()[graph.stack()].resources)
}

#[tokio::test]
async fn a_lost_record_is_rebuilt_without_a_change_to_any_resource() {
    let (world, graph) = (World::new(), chat(&Options::default()));
    world.deploy(&graph).await;
    let before = world.store.records.lock().unwrap()[graph.stack()].clone();
    world.store.records.lock().unwrap().clear();
    world.take_calls();
    let rebuilt = world.engine.rebuild(&graph).await.unwrap();
    assert_eq!(rebuilt.recorded.len(), graph.resources().len());
    assert_eq!((rebuilt.missing.len(), rebuilt.foreign.len()), (0, 0));
    let after = world.store.records.lock().unwrap()[graph.stack()].clone();
    assert_eq!(after.resources, before.resources);
    assert_eq!((after.header.outputs, after.header.lock), (before.header.outputs, None));
    assert!(plan(&world, &graph).await.is_empty());
    assert!(world.take_calls().is_empty());
    // Once more there is nothing to record.
    assert_eq!(world.engine.rebuild(&graph).await.unwrap().recorded, []);
}
