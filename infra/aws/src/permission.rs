//! Statements of functions' resource policies: who may invoke them.
//!
//! A statement's id is the logical id of its resource, so it is found without a record. CloudFormation lets nobody choose
//! it: its own are `STACK-LOGICALID-RANDOM`, and are found too. A function and each of its aliases
//! have policies of their own; `FunctionName` is `NAME` or `NAME:ALIAS`. One `GetPolicy` for each reads all statements.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use infra_cdk::LogicalId;
use infra_engine::{Class, CloudError, Desired, Live, Ownership, Target};
use serde_json::Value as Json;

use crate::Session;
use crate::error::{found, gone, is_already_there, refused};
use crate::shape::{Shape, as_desired, differs, required, text};
use crate::throttle::Service;

/// All properties: a statement cannot be changed, only replaced.
const PROPERTIES: [&str; 7] = [
    "FunctionName",
    "Action",
    "Principal",
    "SourceAccount",
    "SourceArn",
    "FunctionUrlAuthType",
    "InvokedViaFunctionUrl",
];

/// Reads the statements that the targets name.
pub(crate) async fn observe(session: &Session, targets: &[&Target]) -> Result<BTreeMap<LogicalId, Live>, CloudError> {
    let functions: BTreeSet<&str> = targets
        .iter()
        .filter_map(|target| text(&target.properties, "FunctionName"))
        .collect();
    let policies = functions
        .into_iter()
        .map(async |function| Ok((function, policy(session, function).await?)));
    let policies: BTreeMap<&str, Vec<Json>> = try_join_all(policies).await?.into_iter().collect();
    Ok(targets
        .iter()
        .filter_map(|target| {
            let function = text(&target.properties, "FunctionName")?;
            let (statement_id, statement) = policies.get(function)?.iter().find_map(|statement| {
                let id = statement.get("Sid").and_then(Json::as_str)?;
                is_of(id, target).then_some((id, statement))
            })?;
            let live = Live {
                physical_id: statement_id.to_owned(),
                properties: shape(function, statement).0,
                attributes: BTreeMap::new(),
                ownership: Ownership::Ours,
            };
            Some((target.id.clone(), live))
        })
        .collect())
}

/// Returns whether a statement is a target's.
fn is_of(statement_id: &str, target: &Target) -> bool {
    match &target.physical_id {
        Some(recorded) => statement_id == recorded,
        None => {
            let of_stack = format!("{}-{}-{}-", target.stack.app, target.stack.stage, target.id);
            statement_id == target.id.as_str() || statement_id.starts_with(&of_stack)
        }
    }
}

/// Adds a statement; one of the same id that says something else is replaced.
pub(crate) async fn reconcile(session: &Session, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
    let function = required(desired, "FunctionName")?;
    let statement_id = desired.id.as_str();
    let done = || as_desired(desired, statement_id, BTreeMap::new());
    let changed = |live: &Live| PROPERTIES.iter().any(|property| differs(desired, live, property));
    let live = match live {
        Some(live) => live.clone(),
        None => match add(session, desired).await {
            Ok(()) => return Ok(done()),
            Err(error) if is_already_there(&error) => {
                let statements = policy(session, function).await?;
                let statement = statements
                    .iter()
                    .find(|statement| statement.get("Sid").and_then(Json::as_str) == Some(statement_id))
                    .ok_or(error)?;
                Live {
                    properties: shape(function, statement).0,
                    ..done()
                }
            }
            Err(error) => return Err(error),
        },
    };
    if changed(&live) {
        delete(session, function, &live.physical_id).await?;
        add(session, desired).await?;
        return Ok(done());
    }
    Ok(as_desired(desired, &live.physical_id, BTreeMap::new()))
}

/// Removes a statement.
pub(crate) async fn delete(session: &Session, function: &str, statement_id: &str) -> Result<(), CloudError> {
    let (name, alias) = qualified(function);
    let call = session
        .lambda()
        .remove_permission()
        .function_name(name)
        .set_qualifier(alias)
        .statement_id(statement_id);
    gone(
        session
            .sdk(Service::Lambda, "lambda:RemovePermission", call.send())
            .await,
    )
}

async fn add(session: &Session, desired: &Desired) -> Result<(), CloudError> {
    let (name, alias) = qualified(required(desired, "FunctionName")?);
    let call = session
        .lambda()
        .add_permission()
        .function_name(name)
        .set_qualifier(alias)
        .statement_id(desired.id.as_str())
        .action(required(desired, "Action")?)
        .principal(required(desired, "Principal")?)
        .set_source_account(text(&desired.properties, "SourceAccount").map(str::to_owned))
        .set_source_arn(text(&desired.properties, "SourceArn").map(str::to_owned))
        .set_function_url_auth_type(text(&desired.properties, "FunctionUrlAuthType").map(Into::into))
        .set_invoked_via_function_url(desired.properties.get("InvokedViaFunctionUrl").and_then(Json::as_bool));
    session
        .sdk(Service::Lambda, "lambda:AddPermission", call.send())
        .await
        .map(|_| ())
}

/// Splits `NAME:ALIAS`.
pub(crate) fn qualified(function: &str) -> (&str, Option<String>) {
    match function.split_once(':') {
        Some((name, alias)) => (name, Some(alias.to_owned())),
        None => (function, None),
    }
}

/// Returns the statements of a function's policy; none where there is no policy or no function.
async fn policy(session: &Session, function: &str) -> Result<Vec<Json>, CloudError> {
    let (name, alias) = qualified(function);
    let call = session.lambda().get_policy().function_name(name).set_qualifier(alias);
    let answer = session
        .sdk(Service::LambdaGetPolicy, "lambda:GetPolicy", call.send())
        .await;
    let text = found(answer)?.and_then(|answer| answer.policy);
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(Vec::new());
    };
    let mut document: Json = serde_json::from_str(&text).map_err(|error| {
        refused(
            "lambda:GetPolicy",
            Class::Permanent,
            format!("the policy of {function} is not JSON: {error}"),
        )
    })?;
    Ok(match document.get_mut("Statement").map(Json::take) {
        Some(Json::Array(statements)) => statements,
        Some(statement @ Json::Object(_)) => vec![statement],
        Some(_) | None => Vec::new(),
    })
}

fn shape(function: &str, statement: &Json) -> Shape {
    let principal = match statement.get("Principal") {
        Some(Json::Object(principal)) => principal.values().next().and_then(Json::as_str),
        Some(Json::String(principal)) => Some(principal.as_str()),
        Some(_) | None => None,
    };
    let mut shape = Shape::default();
    shape
        .set("FunctionName", Some(function))
        .set("Action", statement.get("Action").cloned())
        .set("Principal", principal)
        .set("SourceAccount", condition(statement, "aws:SourceAccount"))
        .set("SourceArn", condition(statement, "aws:SourceArn"))
        .set(
            "FunctionUrlAuthType",
            condition(statement, "lambda:FunctionUrlAuthType"),
        )
        .set(
            "InvokedViaFunctionUrl",
            condition(statement, "lambda:InvokedViaFunctionUrl").map(|value| value == "true"),
        );
    shape
}

/// Returns the value of a condition key. Keys are case-insensitive, and Lambda writes `AWS:SourceArn`; truth values are
/// texts.
fn condition<'a>(statement: &'a Json, key: &str) -> Option<&'a str> {
    let operators = statement.get("Condition")?.as_object()?;
    operators
        .values()
        .filter_map(Json::as_object)
        .flatten()
        .find(|(name, _)| name.eq_ignore_ascii_case(key))?
        .1
        .as_str()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_statement_as_lambda_writes_it_has_the_shape_of_a_declared_permission() {
        let statement = json!({
            "Sid": "ChatConnectPermission", "Effect": "Allow",
            "Principal": {"Service": "apigateway.amazonaws.com"}, "Action": "lambda:InvokeFunction",
            "Resource": "arn:aws:lambda:eu-central-1:123456789012:function:f:live",
            "Condition": {"StringEquals": {"AWS:SourceAccount": "123456789012"},
                "ArnLike": {"AWS:SourceArn": "arn:aws:execute-api:eu-central-1:123456789012:abc/dev/$connect"}},
        });
        let expected = json!({
            "FunctionName": "f:live", "Action": "lambda:InvokeFunction", "Principal": "apigateway.amazonaws.com",
            "SourceAccount": "123456789012",
            "SourceArn": "arn:aws:execute-api:eu-central-1:123456789012:abc/dev/$connect",
        });
        assert_eq!(Json::Object(shape("f:live", &statement).0), expected);
    }

    #[test]
    fn a_statement_that_cloudformation_made_is_found_under_its_own_name() {
        let mut target = Target {
            stack: infra_cdk::StackId {
                app: "chat".into(),
                stage: "dev".into(),
            },
            id: "ChatConnectPermission".parse().unwrap(),
            kind: infra_cdk::Kind::Permission,
            physical_id: None,
            properties: Default::default(),
        };
        assert!(is_of("ChatConnectPermission", &target));
        assert!(is_of("chat-dev-ChatConnectPermission-1A2B3C4D5E6F", &target));
        assert!(!is_of("chat-dev-ChatConnectPermissionOfWeb-1A2B3C4D5E6F", &target));
        target.physical_id = Some("chat-dev-ChatConnectPermission-1A2B3C4D5E6F".into());
        assert!(!is_of("ChatConnectPermission", &target));
    }

    #[test]
    fn the_statements_of_a_public_url_have_the_shapes_of_declared_permissions() {
        let statement = |action: &str, condition: Json| {
            json!({
                "Sid": "S", "Effect": "Allow", "Principal": "*", "Action": action,
                "Resource": "arn:aws:lambda:eu-central-1:123456789012:function:f:live", "Condition": condition,
            })
        };
        for (action, condition, property, value) in [
            (
                "lambda:InvokeFunctionUrl",
                json!({"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}),
                "FunctionUrlAuthType",
                json!("NONE"),
            ),
            (
                "lambda:InvokeFunction",
                json!({"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}),
                "InvokedViaFunctionUrl",
                json!(true),
            ),
        ] {
            let mut expected = json!({"FunctionName": "f:live", "Action": action, "Principal": "*"});
            expected[property] = value;
            assert_eq!(Json::Object(shape("f:live", &statement(action, condition)).0), expected);
        }
    }
}
