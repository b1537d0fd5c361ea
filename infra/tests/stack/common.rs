//! Every stage of the project, and its stack as the direct engine would send it.

use std::collections::BTreeMap;

use infra_cdk::{Context, Graph, LogicalId, Value};
use serde_json::{Map, Value as Json, json};

pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Returns the stack of every file in `infra/stages` with its Region, by the name of the stage.
pub(crate) fn stages() -> BTreeMap<String, (String, Graph)> {
    let mut stages = BTreeMap::new();
    for file in std::fs::read_dir(crate::STAGES).unwrap() {
        let file = file.unwrap().path();
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let stage = infra::stage(&name, None, &text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let graph = infra::chat(&stage).unwrap_or_else(|mistakes| panic!("{name}: {mistakes}"));
        stages.insert(name, (stage.region, graph));
    }
    assert!(!stages.is_empty());
    stages
}

/// Returns a digest for every function binary.
pub(crate) fn digests(graph: &Graph) -> BTreeMap<String, String> {
    let values = graph
        .resources()
        .values()
        .flat_map(|resource| resource.properties.values());
    values
        .filter_map(|value| match value {
            Value::Package(binary) => Some((binary.clone(), DIGEST.to_owned())),
            _ => None,
        })
        .collect()
}

/// Returns an id as AWS could have assigned it.
pub(crate) fn assigned(id: &str) -> String {
    format!("id-of-{}", id.to_lowercase())
}

/// Returns the properties of all resources as the direct engine resolves them.
pub(crate) fn resolved(region: &str, graph: &Graph) -> BTreeMap<LogicalId, Map<String, Json>> {
    let context = Context {
        partition: "aws".into(),
        region: region.to_owned(),
        account: ACCOUNT.into(),
    };
    let mut resolved: BTreeMap<LogicalId, Map<String, Json>> = BTreeMap::new();
    for (id, resource) in graph.in_order() {
        let attribute = |of: &LogicalId, name: &str| {
            let kind = graph.resources()[of].kind;
            let assigned_id = assigned(of.as_str());
            Some(match name {
                "ApiEndpoint" => format!("wss://{assigned_id}.execute-api.{region}.amazonaws.com"),
                "ManagementEndpoint" => format!("https://{assigned_id}.execute-api.{region}.amazonaws.com"),
                "StageName" => resolved[of]["StageName"].as_str()?.to_owned(),
                _ => context
                    .computed_attribute(kind, name, &resolved[of])
                    .unwrap_or(assigned_id),
            })
        };
        let package = |_: &str| Some(DIGEST.to_owned());
        let properties = resource
            .properties
            .iter()
            .map(|(name, value)| (name.clone(), value.resolve(&context, &attribute, &package).unwrap()))
            .collect();
        resolved.insert(id.clone(), properties);
    }
    resolved
}

/// Returns the template of a graph as programs read it.
pub(crate) fn template(graph: &Graph) -> Json {
    let template = infra_cdk::synth(graph, &digests(graph)).unwrap();
    json!(template)
}
