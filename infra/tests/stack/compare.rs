//! Compares a template with what an engine has made: law 10. `xtask/tests/template` reads this file, too.

use std::collections::BTreeMap;

use infra_cdk::{Graph, Kind, LogicalId};
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
            "AWS::CloudWatch::Alarm" => own("AlarmName"),
            "AWS::ApiGatewayV2::Stage" => own("StageName"),
            // The name in the graph ends where the digest of the snapshot begins: 16 digits.
            "AWS::ApiGatewayV2::Deployment" => common::assigned(&name[..name.len() - 16]),
            kind if kind.starts_with("AWS::ApiGatewayV2::") => common::assigned(name),
            kind => panic!("Ref of {kind}"),
        }
    }

    fn attribute(&self, id: &str, attribute: &str) -> String {
        let (region, account) = (self.region, common::ACCOUNT);
        let kind = self.resources[id]["Type"].as_str().unwrap();
        if (kind, attribute) == ("AWS::Lambda::Url", "FunctionUrl") {
            return common::assigned(id);
        }
        let reference = self.reference(id);
        match (kind, attribute) {
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
            ("AWS::CloudWatch::Alarm", "Arn") => format!("arn:aws:cloudwatch:{region}:{account}:alarm:{reference}"),
            (kind, attribute) => panic!("GetAtt {kind}.{attribute}"),
        }
    }
}

/// Writes the properties that the direct engine sends as CloudFormation's schema has them.
fn as_in_schema(graph: &Graph, id: &LogicalId, mut properties: Map<String, Json>) -> Json {
    let kind = graph.resources()[id].kind;
    // The provider's mark on what can carry no tags.
    let digest = properties.get("Trigger").and_then(Json::as_str);
    let mark = match (kind, digest) {
        (Kind::Integration, _) => Some(graph.stack().mark(id)),
        (Kind::Deployment, Some(digest)) => Some(graph.stack().mark_of_snapshot(id, digest)),
        _ => None,
    };
    properties.extend(mark.map(|mark| ("Description".to_owned(), Json::from(mark))));
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

fn template_id(graph: &Graph, id: &LogicalId) -> String {
    let resource = &graph.resources()[id];
    match resource.properties.get("Trigger") {
        Some(infra_cdk::Value::String(trigger)) => format!("{id}{trigger}"),
        _ => id.to_string(),
    }
}

/// Demands that a template has exactly what the direct engine makes, property by property.
pub(crate) fn compare(label: &str, region: &str, graph: &Graph, made: BTreeMap<LogicalId, Map<String, Json>>) {
    let template = common::template(graph);
    let resources = &template["Resources"];
    let engine = CloudFormation { region, resources };
    let mut compared = 0;
    for (id, properties) in made {
        let kind = graph.resources()[&id].kind;
        let entry = &resources[template_id(graph, &id)];
        if matches!(kind, Kind::Parameter | Kind::Account) {
            assert!(entry.is_null(), "{label}: {id} is not CloudFormation's to make");
            continue;
        }
        assert_eq!(entry["Type"], kind.cloudformation_type(), "{label}: {id}");
        assert_eq!(
            engine.resolve(&entry["Properties"]),
            as_in_schema(graph, &id, properties),
            "{label}: {id}"
        );
        compared += 1;
    }
    let versions = graph
        .resources()
        .values()
        .filter(|resource| resource.kind == Kind::Alias);
    let all = resources.as_object().unwrap().len();
    assert_eq!(all, compared + versions.count(), "{label}");
    let outputs = template["Outputs"].as_object().unwrap();
    let (_, url) = outputs
        .iter()
        .find(|(name, _)| name.to_lowercase().ends_with("url"))
        .unwrap();
    let url = engine.resolve(&url["Value"]);
    let stage = &graph.stack().stage;
    let host = format!("id-of-chatapi.execute-api.{region}.amazonaws.com");
    assert!(
        url.as_str().unwrap().ends_with(&format!("://{host}/{stage}")),
        "{label}: {url}"
    );
}
