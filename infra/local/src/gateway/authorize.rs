//! Lambda authorizers: whether a client may connect.
//!
//! A missing identity source is 401 without asking; the function's answer is an IAM policy, of which every statement
//! counts. Nothing is cached: WebSocket APIs have no authorizer cache.
//! See <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html>.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::backend::Backend;
use super::event::Connecting;
use super::integration::{Failure, call, execute_api_arn};
use crate::apigatewayv2::IdentitySource;
use crate::apigatewayv2::model::{Authorizer, Strings};
use crate::wildcard::matches;

/// Longest time that an authorizer may take.
const TIMEOUT: Duration = Duration::from_secs(29);
/// Largest answer of an authorizer.
const RESULT_BYTES: usize = 8 * 1024;

/// Why a client may not connect.
#[derive(Debug, thiserror::Error)]
pub(super) enum Denial {
    /// 401: a credential is missing, or the function said `Unauthorized`.
    #[error("Unauthorized")]
    Unauthorized,
    /// 403: no statement allows, or one denies.
    #[error("User is not authorized to access this resource{}", if *explicit { " with an explicit deny" } else { "" })]
    Forbidden { explicit: bool },
    /// 500: the authorizer does not work.
    #[error("the authorizer does not work: {0}")]
    Broken(#[source] Failure),
}

/// Asks the authorizer; returns `requestContext.authorizer` of the connection's events.
pub(super) async fn authorize<B: Backend>(
    backend: &Arc<B>,
    authorizer: &Authorizer,
    request: &Connecting,
    stage_variables: &Strings,
) -> Result<Map<String, Value>, Denial> {
    let sources = authorizer.identity_source.as_deref().unwrap_or_default();
    if !sources.iter().all(|source| is_given(source, request, stage_variables)) {
        return Err(Denial::Unauthorized);
    }
    let method_arn = execute_api_arn(
        backend.as_ref(),
        &request.peer,
        &format!("{}/$connect", request.peer.stage),
    );
    let source_arn = execute_api_arn(
        backend.as_ref(),
        &request.peer,
        &format!("authorizers/{}", authorizer.authorizer_id),
    );
    let uri = authorizer.authorizer_uri.as_deref().unwrap_or_default();
    let event = request.authorizer_event(&method_arn, stage_variables);
    let began = tokio::time::Instant::now();
    let output = match call(backend, uri, stage_variables, TIMEOUT, source_arn, &event).await {
        Ok(output) => output,
        Err(Failure::Function { output }) if says_unauthorized(&output) => return Err(Denial::Unauthorized),
        Err(failure) => return Err(Denial::Broken(failure)),
    };
    let mut context = decide(&output, &method_arn)?;
    let latency = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    context.insert("integrationLatency".to_owned(), latency.into());
    Ok(context)
}

fn is_given(source: &str, request: &Connecting, stage_variables: &Strings) -> bool {
    let context;
    let value = match IdentitySource::parse(source) {
        None => None,
        Some(IdentitySource::Header(name)) => request.header(name),
        Some(IdentitySource::Query(name)) => request.query(name),
        Some(IdentitySource::StageVariable(name)) => stage_variables.get(name).map(String::as_str),
        Some(IdentitySource::Context(path)) => {
            context = Value::Object(request.context());
            path.split('.')
                .try_fold(&context, |value, member| value.get(member))
                .and_then(Value::as_str)
        }
    };
    value.is_some_and(|value| !value.is_empty())
}

fn says_unauthorized(output: &[u8]) -> bool {
    let error: Option<Value> = serde_json::from_slice(output).ok();
    error.is_some_and(|error| error["errorMessage"] == "Unauthorized")
}

/// Evaluates an authorizer's output. Pure.
fn decide(output: &[u8], method_arn: &str) -> Result<Map<String, Value>, Denial> {
    let broken = |message: &str| Denial::Broken(Failure::Malformed(message.to_owned()));
    if output.len() > RESULT_BYTES {
        return Err(broken("its result is larger than 8 KB"));
    }
    let output: Value = serde_json::from_slice(output).map_err(|_| broken("its result is not JSON"))?;
    let principal = output
        .get("principalId")
        .and_then(Value::as_str)
        .filter(|principal| !principal.is_empty());
    let principal = principal.ok_or_else(|| broken("its result has no principalId"))?;
    let statements = output.pointer("/policyDocument/Statement").map(one_or_many);
    let statements = statements.ok_or_else(|| broken("its result has no policyDocument with a Statement"))?;
    let mut context = Map::new();
    match output.get("context") {
        None | Some(Value::Null) => {}
        Some(Value::Object(given)) => {
            for (name, value) in given {
                let text = match value {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    Value::Bool(flag) => flag.to_string(),
                    Value::Null | Value::Array(_) | Value::Object(_) => {
                        return Err(broken("its context has a value that is no text, number or boolean"));
                    }
                };
                context.insert(name.clone(), text.into());
            }
        }
        Some(_) => return Err(broken("its context is not an object")),
    }
    context.insert("principalId".to_owned(), principal.into());
    let mut allowed = false;
    for statement in statements {
        let matches = covers(statement, "Action", "execute-api:Invoke", true)
            .zip(covers(statement, "Resource", method_arn, false))
            .map(|(action, resource)| action && resource);
        let matches = matches.ok_or_else(|| broken("a statement lacks Action or Resource"))?;
        if statement.get("Condition").is_some() {
            return Err(broken(
                "conditions in an authorizer's policy are not implemented by this local cloud",
            ));
        }
        match statement.get("Effect").and_then(Value::as_str) {
            Some("Allow") => allowed |= matches,
            Some("Deny") if matches => return Err(Denial::Forbidden { explicit: true }),
            Some("Deny") => {}
            Some(_) | None => return Err(broken("a statement's Effect is neither Allow nor Deny")),
        }
    }
    if allowed {
        Ok(context)
    } else {
        Err(Denial::Forbidden { explicit: false })
    }
}

/// Returns whether one of the patterns under `member` matches; `None` where the member is missing or not text.
fn covers(statement: &Value, member: &str, subject: &str, ignore_case: bool) -> Option<bool> {
    let mut any = false;
    for pattern in one_or_many(statement.get(member)?) {
        let pattern = pattern.as_str()?;
        any |= if ignore_case {
            matches(&pattern.to_ascii_lowercase(), &subject.to_ascii_lowercase())
        } else {
            matches(pattern, subject)
        };
    }
    Some(any)
}

fn one_or_many(value: &Value) -> &[Value] {
    match value {
        Value::Array(many) => many,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            std::slice::from_ref(value)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::{Denial, decide};

    const ARN: &str = "arn:aws:execute-api:us-east-1:000000000000:abc/dev/$connect";

    fn verdict(output: &Value) -> u16 {
        match decide(output.to_string().as_bytes(), ARN) {
            Ok(_) => 200,
            Err(Denial::Unauthorized) => 401,
            Err(Denial::Forbidden { explicit }) => 403 + u16::from(explicit) * 1000,
            Err(Denial::Broken(_)) => 500,
        }
    }

    #[test]
    fn every_statement_counts() {
        let statement = |effect: &str, action: Value, resource: Value| json!({"Effect": effect, "Action": action, "Resource": resource});
        let invoke = || json!("execute-api:Invoke");
        let allow = statement("Allow", invoke(), json!(ARN));
        let cases = [
            (json!([allow]), 200),
            (allow.clone(), 200),
            (json!([]), 403),
            (json!([statement("Allow", json!("execute-api:*"), json!("*"))]), 200),
            (
                json!([statement(
                    "Allow",
                    json!(["s3:Get*", "EXECUTE-API:invoke"]),
                    json!(["x", ARN])
                )]),
                200,
            ),
            (
                json!([statement("Allow", json!("execute-api:ManageConnections"), json!("*"))]),
                403,
            ),
            (
                json!([statement(
                    "Allow",
                    invoke(),
                    json!("arn:aws:execute-api:*:*:abc/prod/*")
                )]),
                403,
            ),
            (
                json!([statement(
                    "Allow",
                    invoke(),
                    json!("arn:aws:execute-api:*:*:abc/*/$connect")
                )]),
                200,
            ),
            (json!([allow, statement("Deny", invoke(), json!("*"))]), 1403),
            (json!([statement("Deny", invoke(), json!("*")), allow]), 1403),
            (json!([statement("Deny", invoke(), json!("other")), allow]), 200),
            (json!([statement("Maybe", invoke(), json!("*"))]), 500),
            (json!([{"Effect": "Allow", "Action": "*"}]), 500),
            (
                json!([{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {}}]),
                500,
            ),
        ];
        for (statements, expected) in cases {
            let output =
                json!({"principalId": "u", "policyDocument": {"Version": "2012-10-17", "Statement": statements}});
            assert_eq!(verdict(&output), expected, "{statements}");
        }
    }

    #[test]
    fn malformed_results_are_no_denials() {
        let policy = json!({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
        let cases = [
            json!(null),
            json!({"isAuthorized": true}),
            json!({"policyDocument": policy}),
            json!({"principalId": "", "policyDocument": policy}),
            json!({"principalId": "u"}),
            json!({"principalId": "u", "policyDocument": policy, "context": {"a": []}}),
            json!({"principalId": "u", "policyDocument": policy, "context": {"a": null}}),
            json!({"principalId": "u", "policyDocument": policy, "context": "a"}),
            json!({"principalId": "u", "policyDocument": policy, "context": {"a": "x".repeat(9000)}}),
        ];
        for output in cases {
            assert_eq!(verdict(&output), 500, "{output}");
        }
        let output = json!({"principalId": "u", "policyDocument": policy, "context": {"s": "x", "n": 1.5, "b": true}});
        let context = decide(output.to_string().as_bytes(), ARN).unwrap();
        assert_eq!(
            Value::Object(context),
            json!({"principalId": "u", "s": "x", "n": "1.5", "b": "true"})
        );
    }
}
