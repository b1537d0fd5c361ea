//! What a function may do: its calls are checked against the inline policies of its role, as AWS does, so that a missing
//! grant fails here and not in production.
//!
//! Only what runs under issued credentials is checked; the developer's own keys may do everything. Conditions of
//! `Allow` count as met and statements of `Deny` with a condition as not: nothing here knows their keys. Calls that no
//! deployed function makes (those to the control planes of Lambda and API Gateway, and to IAM) are not checked.

use serde_json::{Map, Value};

use super::{Iam, Session, document};
use crate::cloud::Account;
use crate::json;
use crate::unkind::Call;
use crate::wire::{ApiError, Request};

/// Actions on resources that one call needs, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    needs: Vec<(String, String)>,
    /// Of the refusal.
    status: u16,
}

impl Access {
    /// Returns what a call to a service needs.
    pub(crate) fn of_call(call: &Call, request: &Request, account: &Account) -> Self {
        let input = || json::input::<Map<String, Value>>(request).unwrap_or_default();
        let (service, operation) = (call.service(), call.operation());
        let action = format!("{service}:{operation}");
        let (needs, status) = match service {
            "dynamodb" => (dynamodb(operation, &input(), account), 400),
            "ssm" => {
                let input = input();
                let arn = |name: &str| account.arn("ssm", &format!("parameter/{}", name.trim_start_matches('/')));
                let names = strings(input.get("Name")).chain(strings(input.get("Names")));
                (names.map(|name| (action.clone(), arn(name))).collect(), 400)
            }
            "logs" => {
                let input = input();
                let arn =
                    |group: &str, rest: &str| account.arn("logs", &format!("log-group:{group}:log-stream:{rest}"));
                let stream = input.get("logStreamName").and_then(Value::as_str).unwrap_or_default();
                let groups = strings(input.get("logGroupName"));
                (groups.map(|group| (action.clone(), arn(group, stream))).collect(), 400)
            }
            "lambda" if operation == "POST functions/invocations" => {
                let name = crate::query::percent_decode(request.uri.path().split('/').nth(3).unwrap_or_default());
                let mut arn = if name.starts_with("arn") {
                    name
                } else {
                    account.arn("lambda", &format!("function:{name}"))
                };
                // Whoever names a version or an alias needs the action on exactly that.
                let query = request.uri.query().unwrap_or_default().split('&');
                if let Some(qualifier) = query.filter_map(|pair| pair.strip_prefix("Qualifier=")).next() {
                    arn = format!("{arn}:{}", crate::query::percent_decode(qualifier));
                }
                (vec![("lambda:InvokeFunction".to_owned(), arn)], 403)
            }
            _ => (Vec::new(), 403),
        };
        Self { needs, status }
    }

    /// Returns what a signed request to the URL of a function or alias needs.
    pub(crate) fn to_function_url(arn: &str) -> Self {
        let actions = ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"];
        Self {
            needs: actions.map(|action| (action.to_owned(), arn.to_owned())).to_vec(),
            status: 403,
        }
    }

    /// Returns what a call to `@connections` needs; `path` is the method and what follows the stage.
    pub(crate) fn to_connection(api_id: &str, stage: &str, method: &str, rest: &str, account: &Account) -> Self {
        let arn = account.arn("execute-api", &format!("{api_id}/{stage}/{method}{rest}"));
        Self {
            needs: vec![("execute-api:ManageConnections".to_owned(), arn)],
            status: 403,
        }
    }
}

fn dynamodb(operation: &str, input: &Map<String, Value>, account: &Account) -> Vec<(String, String)> {
    let arn = |table: &str| match table.starts_with("arn:") {
        true => table.to_owned(),
        false => account.arn("dynamodb", &format!("table/{table}")),
    };
    let action = |name: &str| format!("dynamodb:{name}");
    let table_of = |input: &Value| input.get("TableName").and_then(Value::as_str).map(arn);
    if let Some(Value::Array(items)) = input.get("TransactItems") {
        let parts = items.iter().filter_map(Value::as_object).flatten();
        let needs = parts.filter_map(|(kind, part)| {
            let name = if kind == "ConditionCheck" {
                "ConditionCheckItem".to_owned()
            } else {
                format!("{kind}Item")
            };
            Some((action(&name), table_of(part)?))
        });
        return needs.collect();
    }
    if let Some(Value::Object(tables)) = input.get("RequestItems") {
        return tables.keys().map(|table| (action(operation), arn(table))).collect();
    }
    let Some(table) = strings(input.get("TableName")).next() else {
        return Vec::new();
    };
    let resource = match input.get("IndexName").and_then(Value::as_str) {
        Some(index) => format!("{}/index/{index}", arn(table)),
        None => arn(table),
    };
    vec![(action(operation), resource)]
}

/// Returns a string, or the strings of a list.
fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    value.into_iter().chain(list).filter_map(Value::as_str)
}

impl Iam {
    /// Refuses what a function's role does not allow.
    ///
    /// # Errors
    /// `AccessDeniedException`, with the action and the resource that no statement allows.
    pub(crate) fn authorize(&self, session: &Session, access: &Access) -> Result<(), ApiError> {
        let state = self.state.read();
        let role = state.roles.values().find(|role| role.arn == session.role_arn);
        let policies: Vec<&str> = role
            .into_iter()
            .flat_map(|role| role.policies.values())
            .map(String::as_str)
            .collect();
        for (action, resource) in &access.needs {
            if !document::allows(&policies, action, resource) {
                let message = format!(
                    "User: {} is not authorized to perform: {action} on resource: {resource} because no identity-based policy allows the {action} action",
                    session.assumed_role_arn()
                );
                return Err(ApiError::new(access.status, "AccessDeniedException", message));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use http::HeaderMap;
    use serde_json::json;

    use super::*;

    fn needs(service: &'static str, operation: &str, path: &str, input: Value) -> Vec<(String, String)> {
        let account = Account {
            id: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
        };
        let target = format!("X.{operation}");
        let request = Request {
            method: http::Method::POST,
            uri: path.parse().unwrap(),
            headers: HeaderMap::from_iter([("x-amz-target".parse().unwrap(), target.parse().unwrap())]),
            body: input.to_string().into(),
            access_key: None,
        };
        Access::of_call(&Call::of(service, &request), &request, &account).needs
    }

    #[test]
    fn a_call_needs_its_action_on_its_resource() {
        let table = "arn:aws:dynamodb:us-east-1:000000000000:table/T";
        let index = format!("{table}/index/by-room");
        for (service, operation, input, expected) in [
            (
                "dynamodb",
                "PutItem",
                json!({ "TableName": "T" }),
                vec![("dynamodb:PutItem", table)],
            ),
            (
                "dynamodb",
                "Query",
                json!({ "TableName": table, "IndexName": "by-room" }),
                vec![("dynamodb:Query", &index)],
            ),
            (
                "dynamodb",
                "BatchGetItem",
                json!({ "RequestItems": { "T": {} } }),
                vec![("dynamodb:BatchGetItem", table)],
            ),
            (
                "dynamodb",
                "TransactWriteItems",
                json!({ "TransactItems": [{ "Put": { "TableName": "T" } }, { "ConditionCheck": { "TableName": "T" } }] }),
                vec![("dynamodb:PutItem", table), ("dynamodb:ConditionCheckItem", table)],
            ),
            (
                "ssm",
                "GetParameter",
                json!({ "Name": "/chat/key" }),
                vec![(
                    "ssm:GetParameter",
                    "arn:aws:ssm:us-east-1:000000000000:parameter/chat/key",
                )],
            ),
            (
                "logs",
                "PutLogEvents",
                json!({ "logGroupName": "/g", "logStreamName": "s" }),
                vec![(
                    "logs:PutLogEvents",
                    "arn:aws:logs:us-east-1:000000000000:log-group:/g:log-stream:s",
                )],
            ),
        ] {
            let found = needs(service, operation, "/", input);
            let found: Vec<_> = found
                .iter()
                .map(|(action, arn)| (action.as_str(), arn.as_str()))
                .collect();
            assert_eq!(found, expected);
        }
        for (named, meant) in [
            ("f/invocations", "f"),
            ("f:live/invocations", "f:live"),
            ("f%3Alive/invocations", "f:live"),
            ("f/invocations?Qualifier=live", "f:live"),
            (
                "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af/invocations?Qualifier=live",
                "f:live",
            ),
        ] {
            let invoked = needs("lambda", "", &format!("/2015-03-31/functions/{named}"), json!({}));
            let expected = (
                "lambda:InvokeFunction".to_owned(),
                format!("arn:aws:lambda:us-east-1:000000000000:function:{meant}"),
            );
            assert_eq!(invoked, [expected], "{named}");
        }
    }
}
