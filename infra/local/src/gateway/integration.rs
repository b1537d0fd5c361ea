//! Calls of functions on behalf of an API, and what their answers mean.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use serde_json::Value;

use super::backend::Backend;
use super::connection::Peer;
use crate::apigatewayv2::function_of;
use crate::apigatewayv2::model::{Integration, IntegrationType, Strings};
use crate::lambda::{Invoker, Outcome};
use crate::wire::ApiError;

/// Why a call gave no answer. The texts are for developers; clients see `Internal server error`.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// API Gateway may not or cannot invoke the function: a mistake of configuration.
    #[error("{function} was not invoked for {source_arn}: {error}")]
    Refused {
        function: String,
        source_arn: String,
        error: ApiError,
    },
    /// The handler failed; `output` is the error as Lambda reports it.
    #[error("the function failed: {}", String::from_utf8_lossy(output))]
    Function { output: Bytes },
    /// The integration's time is up.
    #[error("the function did not answer within {0:?}")]
    Timeout(Duration),
    /// The route or the function's answer is not usable.
    #[error("{0}")]
    Malformed(String),
}

/// The answer of a proxy integration.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Strings,
    pub(super) body: Option<String>,
}

/// Returns `arn:aws:execute-api:{region}:{account}:{api}/{path}`: what resource policies and IAM policies name.
pub(super) fn execute_api_arn<B: Backend>(backend: &B, peer: &Peer, path: &str) -> String {
    backend.account().arn("execute-api", &format!("{}/{path}", peer.api_id))
}

/// Runs the integration of a route.
///
/// # Errors
/// See [`Failure`]. An answer without a number as `statusCode` is malformed: a Lambda proxy integration must say whether
/// the request was handled (<https://docs.aws.amazon.com/lambda/latest/dg/services-apigateway-errors.html>).
pub(super) async fn run<B: Backend>(
    backend: &Arc<B>,
    integration: Option<&Integration>,
    stage_variables: &Strings,
    source_arn: String,
    event: &Value,
) -> Result<Answer, Failure> {
    let Some(integration) = integration else {
        return Err(Failure::Malformed("the route has no integration".to_owned()));
    };
    match integration.integration_type {
        IntegrationType::Mock => Ok(Answer {
            status: 200,
            ..Answer::default()
        }),
        IntegrationType::AwsProxy | IntegrationType::Aws | IntegrationType::Http | IntegrationType::HttpProxy => {
            let uri = integration.integration_uri.as_deref().unwrap_or_default();
            let timeout = Duration::from_millis(integration.timeout_in_millis);
            let output = call(backend, uri, stage_variables, timeout, source_arn, event).await?;
            answer(&output)
        }
    }
}

/// Invokes the function that a Lambda URI names and returns its output.
///
/// The function runs to its end even when nobody waits any longer, as on AWS.
pub(super) async fn call<B: Backend>(
    backend: &Arc<B>,
    uri: &str,
    stage_variables: &Strings,
    timeout: Duration,
    source_arn: String,
    event: &Value,
) -> Result<Bytes, Failure> {
    let uri = with_variables(uri, stage_variables);
    let Some(function) = function_of(&uri).map(str::to_owned) else {
        return Err(Failure::Malformed(format!("{uri} names no function")));
    };
    let invoker = Invoker::Service {
        principal: "apigateway.amazonaws.com",
        source_arn: source_arn.clone(),
    };
    let payload = Bytes::from(event.to_string());
    let invocation = tokio::spawn(Arc::clone(backend).invoke(function.clone(), payload, invoker));
    match tokio::time::timeout(timeout, invocation).await {
        Err(_) => Err(Failure::Timeout(timeout)),
        Ok(Err(error)) => Err(Failure::Malformed(format!("the invocation was lost: {error}"))),
        Ok(Ok(Err(error))) => Err(Failure::Refused {
            function,
            source_arn,
            error,
        }),
        Ok(Ok(Ok(Outcome::FunctionError(output)))) => Err(Failure::Function { output }),
        Ok(Ok(Ok(Outcome::Success(output)))) => Ok(output),
    }
}

/// Reads `{"statusCode": …, "headers": {…}, "body": "…"}`.
fn answer(output: &[u8]) -> Result<Answer, Failure> {
    let malformed =
        || Failure::Malformed("the function's answer has no statusCode: return {\"statusCode\": 200}".to_owned());
    let output: Value = serde_json::from_slice(output).map_err(|_| malformed())?;
    let status = match output.get("statusCode") {
        Some(Value::String(text)) => text.parse().ok(),
        Some(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        None => None,
    };
    let status = status
        .filter(|status| (200..600).contains(status))
        .ok_or_else(malformed)?;
    let mut headers = Strings::new();
    if let Some(Value::Object(all)) = output.get("multiValueHeaders") {
        let firsts = all
            .iter()
            .filter_map(|(name, values)| Some((name, values.get(0)?.as_str()?)));
        headers.extend(firsts.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())));
    }
    if let Some(Value::Object(all)) = output.get("headers") {
        let texts = all.iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
        headers.extend(texts.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())));
    }
    let body = match output.get("body") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => {
            return Err(Failure::Malformed(
                "the body of the function's answer is not a text".to_owned(),
            ));
        }
    };
    Ok(Answer { status, headers, body })
}

/// Replaces `${stageVariables.NAME}`.
fn with_variables(uri: &str, stage_variables: &Strings) -> String {
    let replace =
        |uri: String, (name, value): (&String, &String)| uri.replace(&format!("${{stageVariables.{name}}}"), value);
    stage_variables.iter().fold(uri.to_owned(), replace)
}
