//! Access logs: one line for each connect, message and disconnect, in the form that the stage asks for.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-mapping-template-reference.html>

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::backend::Backend;
use super::integration::{Answer, Failure, run};
use crate::apigatewayv2::model::Integration;
use crate::apigatewayv2::snapshot::Live;

/// Runs the integration of a route, and notes how that ended.
///
/// # Errors
/// See [`run`].
pub(super) async fn run_noted<B: Backend>(
    backend: &Arc<B>,
    live: &Live,
    integration: Option<&Integration>,
    source_arn: String,
    event: &Value,
) -> Result<Answer, Failure> {
    let begun = Instant::now();
    let result = run(backend, integration, &live.stage_variables, source_arn, event).await;
    if let Value::Object(context) = &event["requestContext"] {
        let (status, error) = match &result {
            Ok(answer) => (answer.status, None),
            Err(failure) => (500, Some(failure.to_string())),
        };
        let latency = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let integration = json!({ "status": status, "latency": latency, "error": error });
        note(backend.as_ref(), live, context, status, Some(integration));
    }
    result
}

/// Writes a line, if the stage asks for them. `context` is that of the event.
pub(super) fn note<B: Backend>(
    backend: &B,
    live: &Live,
    context: &Map<String, Value>,
    status: u16,
    integration: Option<Value>,
) {
    let Some(settings) = &live.access_log else {
        return;
    };
    let (Some(format), Some(destination)) = (&settings.format, &settings.destination_arn) else {
        return;
    };
    let Some((_, group)) = destination.split_once(":log-group:") else {
        return;
    };
    let mut context = context.clone();
    context.insert("status".to_owned(), json!(status));
    if let Some(integration) = integration {
        context.insert("integrationLatency".to_owned(), integration["latency"].clone());
        context.insert("integration".to_owned(), integration);
    }
    backend.log(group, line(format, &Value::Object(context)));
}

/// Replaces each `$context.a.b`; what does not exist becomes `-`.
fn line(format: &str, context: &Value) -> String {
    let mut line = String::with_capacity(2 * format.len());
    let mut rest = format;
    while let Some((before, after)) = rest.split_once("$context.") {
        line.push_str(before);
        let end = after
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_'))
            .unwrap_or(after.len());
        let (path, next) = after.split_at(end);
        let found = path.split('.').try_fold(context, |value, name| value.get(name));
        match found {
            None | Some(Value::Null) => line.push('-'),
            // Lines are mostly JSON, and so a text must not end the one that it stands in.
            Some(Value::String(text)) => {
                let escaped = Value::from(text.as_str()).to_string();
                line.push_str(&escaped[1..escaped.len() - 1]);
            }
            Some(other) => line.push_str(&other.to_string()),
        }
        rest = next;
    }
    line.push_str(rest);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_and_unknown_ones_are_a_dash() {
        let context =
            json!({"routeKey": "$connect", "identity": {"sourceIp": "127.0.0.1"}, "status": 200, "error": "a \"b\""});
        let format = r#"{"r":"$context.routeKey","ip":"$context.identity.sourceIp","s":$context.status,"e":"$context.error","x":"$context.authorizer.error"}"#;
        assert_eq!(
            line(format, &context),
            r#"{"r":"$connect","ip":"127.0.0.1","s":200,"e":"a \"b\"","x":"-"}"#
        );
    }
}
