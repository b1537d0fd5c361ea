//! The template describes what the direct engine makes.

use infra_cdk::{Graph, Kind};
use serde_json::{Map, Value as Json, json};

use crate::common;

/// Resolves intrinsic functions as CloudFormation does, in as much as templates of ours use them.
struct CloudFormation<'a> {
    region: &'a str,
    resources: &'a Json,
}

impl CloudFormation<'_> {
    fn resolve(&self, value: &Json) -> Json {
        match value {
            Json::Object(entries) => match entries.iter().next().filter(|_| entries.len() == 1) {
                Some((function, Json::String(name))) if function == "Ref" => json!(self.reference(name)),
                Some((function, Json::Array(path))) if function == "Fn::GetAtt" => {
                    json!(self.attribute(path[0].as_str().unwrap(), path[1].as_str().unwrap()))
                }
                Some((function, Json::String(pattern))) if function == "Fn::Sub" => json!(self.substitute(pattern)),
                _ => entries
                    .iter()
                    .map(|(key, entry)| (key.clone(), self.resolve(entry)))
                    .collect::<Map<_, _>>()
                    .into(),
            },
            Json::Array(items) => items.iter().map(|item| self.resolve(item)).collect(),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value.clone(),
        }
    }

    fn substitute(&self, pattern: &str) -> String {
        let mut parts = pattern.split("${");
        let mut text = parts.next().unwrap().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').unwrap();
            let value = match (name.strip_prefix('!'), name.split_once('.')) {
                (Some(literal), _) => format!("${{{literal}}}"),
                (None, Some((id, attribute))) => self.attribute(id, attribute),
                (None, None) => self.reference(name),
            };
            text.push_str(&value);
            text.push_str(rest);
        }
        text
    }

    /// `Ref`, by the "Return values" of each type in the CloudFormation Template Reference.
    fn reference(&self, name: &str) -> String {
        let own = |property: &str| {
            let value = &self.resources[name]["Properties"][property];
            self.resolve(value)
                .as_str()
                .unwrap_or_else(|| panic!("{name} has no {property}"))
                .to_owned()
        };
        match name {
            "AWS::AccountId" => return common::ACCOUNT.into(),
            "AWS::Partition" => return "aws".into(),
            "AWS::Region" => return self.region.into(),
            "AWS::URLSuffix" => return "amazonaws.com".into(),
            "AssetBucket" => return "assets".into(),
            _ => {}
        }
        match self.resources[name]["Type"]
            .as_str()
            .unwrap_or_else(|| panic!("no resource {name}"))
        {
            "AWS::DynamoDB::Table" => own("TableName"),
            "AWS::IAM::Role" => own("RoleName"),
            "AWS::Lambda::Function" | "AWS::Lambda::Version" => own("FunctionName"),
            "AWS::Logs::LogGroup" => own("LogGroupName"),
            "AWS::ApiGatewayV2::Stage" => own("StageName"),
            // The name in the graph ends where the digest of the snapshot begins: 16 digits.
            "AWS::ApiGatewayV2::Deployment" => common::assigned(&name[..name.len() - 16]),
            kind if kind.starts_with("AWS::ApiGatewayV2::") => common::assigned(name),
            kind => panic!("Ref of {kind}"),
        }
    }

    fn attribute(&self, id: &str, attribute: &str) -> String {
        let (region, account, reference) = (self.region, common::ACCOUNT, self.reference(id));
        match (self.resources[id]["Type"].as_str().unwrap(), attribute) {
            ("AWS::ApiGatewayV2::Api", "ApiEndpoint") => {
                format!("wss://{reference}.execute-api.{region}.amazonaws.com")
            }
            ("AWS::DynamoDB::Table", "Arn") => format!("arn:aws:dynamodb:{region}:{account}:table/{reference}"),
            ("AWS::IAM::Role", "Arn") => format!("arn:aws:iam::{account}:role/{reference}"),
            // What the direct engine knows as an attribute of the function.
            ("AWS::Lambda::Version", "Version") => {
                let function = self.resources[id]["Properties"]["FunctionName"]["Ref"].as_str();
                common::assigned(function.unwrap())
            }
            ("AWS::Lambda::Function", "Arn") => format!("arn:aws:lambda:{region}:{account}:function:{reference}"),
            (kind, attribute) => panic!("GetAtt {kind}.{attribute}"),
        }
    }
}

/// Writes the properties that the direct engine sends as CloudFormation's schema has them.
fn as_in_schema(kind: Kind, mut properties: Map<String, Json>) -> Json {
    properties.retain(|name, _| !kind.is_own_property(name));
    if kind == Kind::Function {
        let key = format!("chat/{}.zip", common::DIGEST);
        properties.insert("Code".into(), json!({ "S3Bucket": "assets", "S3Key": key }));
    }
    if !matches!(kind, Kind::Api | Kind::Stage)
        && let Some(Json::Object(tags)) = properties.remove("Tags")
    {
        let tags = tags
            .into_iter()
            .map(|(key, value)| json!({ "Key": key, "Value": value }));
        properties.insert("Tags".into(), tags.collect());
    }
    properties.into()
}

fn template_id(graph: &Graph, id: &infra_cdk::LogicalId) -> String {
    let resource = &graph.resources()[id];
    match resource.properties.get("Trigger") {
        Some(infra_cdk::Value::String(trigger)) => format!("{id}{trigger}"),
        _ => id.to_string(),
    }
}

#[test]
fn both_engines_make_the_same_resources() {
    for (stage, (region, graph)) in common::stages() {
        let template = common::template(&graph);
        let resources = &template["Resources"];
        let engine = CloudFormation {
            region: &region,
            resources,
        };
        let mut compared = 0;
        for (id, properties) in common::resolved(&region, &graph) {
            let kind = graph.resources()[&id].kind;
            let entry = &resources[template_id(&graph, &id)];
            if kind == Kind::Parameter {
                assert!(entry.is_null(), "{stage}: CloudFormation cannot make {id}");
                continue;
            }
            assert_eq!(entry["Type"], kind.cloudformation_type(), "{stage}: {id}");
            assert_eq!(
                engine.resolve(&entry["Properties"]),
                as_in_schema(kind, properties),
                "{stage}: {id}"
            );
            compared += 1;
        }
        let versions = graph
            .resources()
            .values()
            .filter(|resource| resource.kind == Kind::Alias);
        assert_eq!(
            resources.as_object().unwrap().len(),
            compared + versions.count(),
            "{stage}"
        );
        let url = engine.resolve(&template["Outputs"]["webSocketUrl"]["Value"]);
        assert_eq!(
            url,
            format!("wss://id-of-chatapi.execute-api.{region}.amazonaws.com/{stage}")
        );
    }
}

#[test]
fn every_stage_fits_into_one_request() {
    for (stage, (_, graph)) in common::stages() {
        let text = infra_cdk::synth(&graph, &common::digests(&graph))
            .unwrap()
            .to_json()
            .unwrap();
        assert_eq!(
            infra_cdk::Delivery::of(text.len()),
            Ok(infra_cdk::Delivery::Inline),
            "{stage}"
        );
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
