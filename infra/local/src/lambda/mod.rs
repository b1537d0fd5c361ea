//! Lambda: the control plane, and the host that runs the functions' real binaries.
//!
//! A request is routed here, the control plane lives in [`control`], [`versions`], [`policy`] and [`urls`], what they keep in
//! [`model`]. An invocation goes through [`invocation`] to the [`host`], which owns the [`worker`] processes.
//!
//! Source of every rule: the Lambda API Reference and Developer Guide, and botocore's model of 2015-03-31.

mod code;
mod concurrency;
mod control;
mod environment;
mod host;
mod invocation;
mod model;
mod name;
mod output;
mod policy;
mod report;
mod runtime_api;
mod settings;
mod tags;
#[cfg(test)]
mod tests;
mod urls;
mod validation;
mod versions;
mod worker;

use std::ops::Deref;
use std::sync::MutexGuard;

use bytes::Bytes;
use http::Method;

use crate::cloud::SharedCloud;
use crate::persist::{self, Kept};
use crate::wire::{ApiError, Request, Response};

pub(crate) use self::urls::call::handle as call_url;
pub(crate) use self::urls::{PATH as URL_PATH, UrlAddress};

/// All functions: code, configuration, resource policies, and their running processes.
#[derive(Debug, Default)]
pub(crate) struct Lambda {
    store: Kept<model::Store>,
    host: host::Host,
}

impl Lambda {
    /// Kills all function processes and refuses new ones. Safe to repeat.
    pub(crate) async fn shutdown(&self) {
        self.host.shutdown().await;
    }

    pub(crate) fn kept(&self) -> &dyn persist::Store {
        &self.store
    }

    fn store(&self) -> impl Deref<Target = model::Store> + '_ {
        self.store.read()
    }

    fn store_mut(&self) -> MutexGuard<'_, model::Store> {
        self.store.write()
    }
}

/// On whose behalf a function is invoked.
#[derive(Clone, Debug)]
pub(crate) enum Invoker {
    /// A caller with credentials of this account, through the Invoke API.
    Account,
    /// A service, allowed only by a statement of the function's resource policy (`AddPermission`).
    Service {
        /// For example `apigateway.amazonaws.com`.
        principal: &'static str,
        /// For example `arn:aws:execute-api:us-east-1:000000000000:abc123/dev/$connect`.
        source_arn: String,
    },
}

/// How one invocation ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The handler returned this payload.
    Success(Bytes),
    /// The handler returned an error, crashed or timed out; the payload is
    /// `{"errorMessage": …, "errorType": …}` as Lambda reports it (`X-Amz-Function-Error: Unhandled`).
    FunctionError(Bytes),
}

/// Invokes a function synchronously and waits for its outcome.
///
/// `function` is a name, a partial or a full ARN, with or without a qualifier. The invocation goes on when the caller
/// stops waiting, as on AWS.
///
/// # Errors
/// `ResourceNotFoundException` 404, `AccessDeniedException` 403 (no statement of the resource policy matches the
/// invoking service), `TooManyRequestsException` 429, `ResourceConflictException` 409 (the function is Pending),
/// `RequestTooLargeException` 413.
pub(crate) async fn invoke(
    cloud: &SharedCloud,
    function: &str,
    payload: Bytes,
    invoker: Invoker,
) -> Result<Outcome, ApiError> {
    let function = name::FunctionRef::parse(function, None, &cloud.account)?;
    let finished = invocation::synchronous(cloud, &function, payload, &invoker).await?;
    Ok(finished.outcome)
}

/// Answers one REST JSON call, for example `POST /2015-03-31/functions`.
pub(crate) async fn handle(cloud: &SharedCloud, request: Request) -> Response {
    let answer = match Call::parse(&request) {
        Ok(call) => route(cloud, &request, &call).await,
        Err(error) => Err(error),
    };
    answer.unwrap_or_else(|error| error.rest_json())
}

/// Path and query of a request, decoded.
struct Call {
    segments: Vec<String>,
    query: Vec<(String, String)>,
}

impl Call {
    fn parse(request: &Request) -> Result<Self, ApiError> {
        let malformed = || ApiError::new(400, "ValidationException", "the path or query is not valid UTF-8");
        let segments = request
            .uri
            .path()
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(percent_decode)
            .collect::<Option<_>>()
            .ok_or_else(malformed)?;
        let query = axum::extract::Query::try_from_uri(&request.uri).map_err(|_| malformed())?;
        Ok(Self {
            segments,
            query: query.0,
        })
    }

    fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the function named in the path, with the qualifier from the path or from `?Qualifier=`.
    fn function(&self, cloud: &SharedCloud, text: &str) -> Result<name::FunctionRef, ApiError> {
        name::FunctionRef::parse(text, self.query("Qualifier"), &cloud.account)
    }
}

async fn route(cloud: &SharedCloud, request: &Request, call: &Call) -> Result<Response, ApiError> {
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    let method = &request.method;
    match (method.as_str(), segments.as_slice()) {
        ("POST", ["2015-03-31", "functions"]) => control::create(cloud, request),
        ("GET", ["2015-03-31", "functions"]) => control::list(cloud, call),
        ("GET", ["2015-03-31", "functions", f]) => control::get(cloud, &call.function(cloud, f)?),
        ("DELETE", ["2015-03-31", "functions", f]) => control::delete(cloud, &call.function(cloud, f)?),
        ("GET", ["2015-03-31", "functions", f, "configuration"]) => {
            control::get_configuration(cloud, &call.function(cloud, f)?)
        }
        ("PUT", ["2015-03-31", "functions", f, "configuration"]) => {
            control::update_configuration(cloud, &call.function(cloud, f)?, request)
        }
        ("PUT", ["2015-03-31", "functions", f, "code"]) => {
            control::update_code(cloud, &call.function(cloud, f)?, request)
        }
        ("POST", ["2015-03-31", "functions", f, "invocations"]) => {
            invocation::handle(cloud, &call.function(cloud, f)?, request).await
        }
        ("POST", ["2015-03-31", "functions", f, "policy"]) => {
            policy::add(cloud, &call.function(cloud, f)?, call, request)
        }
        ("GET", ["2015-03-31", "functions", f, "policy"]) => policy::get(cloud, &call.function(cloud, f)?),
        ("DELETE", ["2015-03-31", "functions", f, "policy", sid]) => {
            policy::remove(cloud, &call.function(cloud, f)?, sid, call.query("RevisionId"))
        }
        ("POST", ["2015-03-31", "functions", f, "versions"]) => {
            versions::publish(cloud, &call.function(cloud, f)?, request)
        }
        ("GET", ["2015-03-31", "functions", f, "versions"]) => versions::list(cloud, &call.function(cloud, f)?, call),
        ("POST", ["2015-03-31", "functions", f, "aliases"]) => {
            versions::create_alias(cloud, &call.function(cloud, f)?, request)
        }
        ("GET", ["2015-03-31", "functions", f, "aliases"]) => {
            versions::list_aliases(cloud, &call.function(cloud, f)?, call)
        }
        ("GET", ["2015-03-31", "functions", f, "aliases", alias]) => {
            versions::get_alias(cloud, &call.function(cloud, f)?, alias)
        }
        ("PUT", ["2015-03-31", "functions", f, "aliases", alias]) => {
            versions::update_alias(cloud, &call.function(cloud, f)?, alias, request)
        }
        ("DELETE", ["2015-03-31", "functions", f, "aliases", alias]) => {
            versions::delete_alias(cloud, &call.function(cloud, f)?, alias)
        }
        ("POST", ["2021-10-31", "functions", f, "url"]) => urls::create(cloud, &call.function(cloud, f)?, request),
        ("GET", ["2021-10-31", "functions", f, "url"]) => urls::get(cloud, &call.function(cloud, f)?),
        ("PUT", ["2021-10-31", "functions", f, "url"]) => urls::update(cloud, &call.function(cloud, f)?, request),
        ("DELETE", ["2021-10-31", "functions", f, "url"]) => urls::delete(cloud, &call.function(cloud, f)?),
        ("GET", ["2021-10-31", "functions", f, "urls"]) => urls::list(cloud, &call.function(cloud, f)?, call),
        ("PUT", ["2017-10-31", "functions", f, "concurrency"]) => {
            concurrency::put(cloud, &call.function(cloud, f)?, request)
        }
        ("GET", ["2019-09-30", "functions", f, "concurrency"]) => concurrency::get(cloud, &call.function(cloud, f)?),
        ("DELETE", ["2017-10-31", "functions", f, "concurrency"]) => {
            concurrency::delete(cloud, &call.function(cloud, f)?)
        }
        ("POST", ["2017-03-31", "tags", arn]) => tags::add(cloud, arn, request),
        ("DELETE", ["2017-03-31", "tags", arn]) => tags::remove(cloud, arn, call),
        ("GET", ["2017-03-31", "tags", arn]) => tags::list(cloud, arn),
        ("GET", ["2016-08-19", "account-settings"]) => Ok(concurrency::account_settings(cloud)),
        _ => Err(unknown_operation(method, request.uri.path())),
    }
}

fn unknown_operation(method: &Method, path: &str) -> ApiError {
    let message = format!("the local cloud's Lambda has no operation `{method} {path}`");
    ApiError::new(404, "UnknownOperationException", message)
}

/// Reads the JSON body of a request.
fn body<T: serde::de::DeserializeOwned>(request: &Request) -> Result<T, ApiError> {
    let text: &[u8] = if request.body.is_empty() { b"{}" } else { &request.body };
    serde_json::from_slice(text).map_err(|error| ApiError::new(400, "SerializationException", error.to_string()))
}

/// Returns an answer without a body.
fn no_content() -> Response {
    crate::wire::respond(204, "application/json", Bytes::new(), &[])
}

/// Returns the slice of `items` that starts after `Marker`, at most `MaxItems` (50, if absent or more) of them, and the
/// next marker. `key` must be unique and in the order of `items`.
fn page<T>(items: Vec<T>, call: &Call, key: impl Fn(&T) -> String) -> Result<(Vec<T>, Option<String>), ApiError> {
    let max = match call.query("MaxItems").map(str::parse::<usize>) {
        None => 50,
        Some(Ok(max @ 1..=10_000)) => max.min(50),
        Some(_) => {
            return Err(ApiError::new(
                400,
                "ValidationException",
                "1 validation error detected: Value at 'maxItems' failed to satisfy constraint: Member must be between 1 and 10000",
            ));
        }
    };
    let start = match call.query("Marker").filter(|marker| !marker.is_empty()) {
        None => 0,
        Some(marker) => {
            let found = items.iter().position(|item| key(item) == marker);
            // The item may be gone since the last page; AWS calls any marker that it cannot place invalid.
            found.ok_or_else(|| ApiError::new(400, "InvalidParameterValueException", "Invalid Marker"))? + 1
        }
    };
    let more = items.len() > start + max;
    let items: Vec<T> = items.into_iter().skip(start).take(max).collect();
    let next = items.last().filter(|_| more).map(key);
    Ok((items, next))
}

/// Decodes `%XX`; `None` if the result is not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = bytes
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8(decoded).ok()
}
