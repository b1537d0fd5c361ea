//! Least privilege: what each function may do, exactly.

use std::collections::{BTreeMap, BTreeSet};

use infra_cdk::{Graph, Kind};
use infra_engine::sim::World;
use infra_engine::sim::stacks::Shape;
use serde_json::{Map, Value as Json};

use crate::common;

/// Returns every statement of a role's policy as `ACTION RESOURCE`, by the function that has the role.
fn grants(region: &str, graph: &Graph) -> BTreeMap<String, BTreeSet<String>> {
    let resolved = common::resolved(region, graph);
    let policies = graph
        .resources()
        .iter()
        .filter(|(_, resource)| resource.kind == Kind::RolePolicy);
    policies
        .map(|(id, _)| {
            let statements = resolved[id]["PolicyDocument"]["Statement"].as_array().unwrap();
            let allowed = statements.iter().flat_map(|statement| {
                assert_eq!(statement["Effect"], "Allow");
                let actions = texts(&statement["Action"]);
                let resources = texts(&statement["Resource"]);
                actions
                    .into_iter()
                    .flat_map(move |action| resources.clone().into_iter().map(move |on| format!("{action} {on}")))
            });
            let role = resolved[id]["RoleName"].as_str().unwrap().to_owned();
            (function_of(&resolved, &role), allowed.collect())
        })
        .collect()
}

fn function_of(resolved: &BTreeMap<infra_cdk::LogicalId, Map<String, Json>>, role: &str) -> String {
    let arn = format!("arn:aws:iam::{}:role/{role}", common::ACCOUNT);
    let mut functions = resolved
        .values()
        .filter(|properties| properties.get("Role").and_then(Json::as_str) == Some(&arn));
    let function = functions.next().unwrap();
    assert!(functions.next().is_none(), "{role} serves two functions");
    function["FunctionName"].as_str().unwrap().to_owned()
}

fn texts(list: &Json) -> Vec<String> {
    let items = list.as_array().unwrap().iter();
    items.map(|item| item.as_str().unwrap().to_owned()).collect()
}

#[test]
fn law_9_functions_of_any_stack_may_do_what_they_were_granted_and_nothing_else() {
    let chance = World::new(9).unwrap();
    let region = &chance.context().region;
    for _ in 0..50 {
        let shape = Shape::random(&chance);
        let graph = shape.graph().unwrap();
        let arn = |service: &str, rest: String| format!("arn:aws:{service}:{region}:{}:{rest}", common::ACCOUNT);
        let logs = |function: &str| {
            let group = arn("logs", format!("log-group:/aws/lambda/{function}:*"));
            ["logs:CreateLogStream", "logs:PutLogEvents"].map(|action| format!("{action} {group}"))
        };
        let mut expected = BTreeMap::from([(
            "chat-test-authorize".to_owned(),
            BTreeSet::from(logs("chat-test-authorize")),
        )]);
        if shape.has_secret {
            let key = arn("ssm", "parameter/chat/test/TokenKey".to_owned());
            let authorize = expected.get_mut("chat-test-authorize").unwrap();
            authorize.insert(format!("ssm:GetParameter {key}"));
        }
        if shape.url.is_some() {
            expected.insert("chat-test-web".to_owned(), BTreeSet::from(logs("chat-test-web")));
        }
        for (_, function, _) in &shape.routes {
            let name = format!("chat-test-{function}");
            let tables = shape.tables.iter().map(|(table, _)| {
                let table = arn("dynamodb", format!("table/chat-test-{}", table.to_lowercase()));
                format!("dynamodb:PutItem {table}")
            });
            let grants = tables.chain(logs(&name)).collect();
            expected.insert(name, grants);
        }
        assert_eq!(grants(region, &graph), expected, "{shape:?}");
    }
}

#[test]
fn law_9_each_function_may_do_exactly_what_it_does() {
    for (stage, (region, graph)) in common::stages() {
        let arn = |service: &str, rest: String| format!("arn:aws:{service}:{region}:{}:{rest}", common::ACCOUNT);
        let table = |name: &str| arn("dynamodb", format!("table/chat-{stage}-{name}"));
        let (connections, messages, rates) = (table("connections"), table("messages"), table("rates"));
        let index = format!("{connections}/index/*");
        let key = arn("ssm", format!("parameter/chat/{stage}/TokenKey"));
        let post = arn("execute-api", format!("id-of-chatapi/{stage}/POST/@connections/*"));
        let end = arn("execute-api", format!("id-of-chatapi/{stage}/DELETE/@connections/*"));
        let broadcast = arn("lambda", format!("function:chat-{stage}-broadcast:live"));
        let talk = [
            ("dynamodb:Query", &index),
            ("dynamodb:DeleteItem", &connections),
            ("execute-api:ManageConnections", &post),
        ];
        let act = [
            ("dynamodb:UpdateItem", &connections),
            ("dynamodb:UpdateItem", &rates),
            ("execute-api:ManageConnections", &end),
        ];
        let speak = [("dynamodb:PutItem", &messages), ("lambda:InvokeFunction", &broadcast)];
        let expected: Vec<(&str, Vec<(&str, &String)>)> = vec![
            ("admin", [&talk[..], &act, &speak].concat()),
            ("authorize", vec![("ssm:GetParameter", &key)]),
            (
                "broadcast",
                [&talk[..], &[("lambda:InvokeFunction", &broadcast)]].concat(),
            ),
            ("connect", [&talk[..], &[("dynamodb:PutItem", &connections)]].concat()),
            ("default", vec![]),
            ("disconnect", talk.to_vec()),
            ("room", [&talk[..], &act, &[("dynamodb:Query", &messages)]].concat()),
            ("send-message", [&talk[..], &act, &speak].concat()),
            ("web", vec![]),
        ];
        let expected: BTreeMap<_, BTreeSet<_>> = expected
            .into_iter()
            .map(|(name, grants)| {
                let function = format!("chat-{stage}-{name}");
                let logs = arn("logs", format!("log-group:/aws/lambda/{function}:*"));
                let own = ["logs:CreateLogStream", "logs:PutLogEvents"].map(|action| (action, &logs));
                let all = grants.iter().chain(&own);
                let all = all.map(|(action, on)| format!("{action} {on}")).collect();
                (function, all)
            })
            .collect();
        assert_eq!(grants(&region, &graph), expected, "{stage}");
    }
}

#[test]
fn nothing_is_granted_by_wildcard() {
    // Names that AWS makes up later: log streams, indexes of one table, connections of one stage.
    const OPEN_ENDS: [&str; 4] = [":*", "/index/*", "/POST/@connections/*", "/DELETE/@connections/*"];
    for (stage, (region, graph)) in common::stages() {
        for (function, grants) in grants(&region, &graph) {
            for grant in grants {
                let (action, resource) = grant.split_once(' ').unwrap();
                assert!(!action.contains(['*', '?']), "{stage} {function}: {grant}");
                let closed = OPEN_ENDS
                    .iter()
                    .find_map(|end| resource.strip_suffix(end))
                    .unwrap_or(resource);
                assert!(!closed.contains(['*', '?']), "{stage} {function}: {grant}");
                assert!(closed.matches(':').count() >= 5, "{stage} {function}: {grant}");
            }
        }
    }
}

#[test]
fn api_gateway_alone_may_call_functions_and_only_for_one_source_but_everybody_the_page() {
    for (stage, (region, graph)) in common::stages() {
        let resolved = common::resolved(&region, &graph);
        for (id, resource) in graph.resources() {
            let properties = &resolved[id];
            if resource.kind == Kind::Permission && properties["Principal"] == "*" {
                let via_url = ["FunctionUrlAuthType", "InvokedViaFunctionUrl"].map(|name| properties.get(name));
                assert_eq!(via_url.into_iter().flatten().count(), 1, "{stage} {id}");
                assert_eq!(properties["FunctionName"], format!("chat-{stage}-web:live"));
            } else if resource.kind == Kind::Permission {
                assert_eq!(properties["Principal"], "apigateway.amazonaws.com", "{stage} {id}");
                assert_eq!(properties["SourceAccount"], common::ACCOUNT, "{stage} {id}");
                let source = properties["SourceArn"].as_str().unwrap();
                assert!(
                    source.contains(":id-of-chatapi/") && !source.contains('*'),
                    "{stage} {id}: {source}"
                );
            } else if resource.kind == Kind::Role {
                let statement = &properties["AssumeRolePolicyDocument"]["Statement"][0];
                assert_eq!(
                    statement["Principal"]["Service"], "lambda.amazonaws.com",
                    "{stage} {id}"
                );
                assert_eq!(
                    statement["Condition"]["StringEquals"]["aws:SourceAccount"],
                    common::ACCOUNT,
                    "{stage} {id}"
                );
            }
        }
    }
}
