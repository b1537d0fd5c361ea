//! API Gateway v2: the control plane of WebSocket APIs. A route is live only through a deployment, which is a snapshot.
//!
//! It refuses what AWS refuses, with AWS's codes: duplicates, deletes of what is in use, members that only HTTP APIs
//! know. What it does not implement is refused with a message that says so; nothing is accepted and then ignored, but
//! for settings that have no meaning on one machine (throttling, execution logs), which are kept and echoed.
//!
//! Read next: [`store`] for the calls on one API, [`model`] for the resources, [`snapshot`] for what the data plane sees.

mod account;
mod authorizers;
mod body;
mod integrations;
pub(crate) mod model;
mod page;
mod routes;
pub(crate) mod selection;
pub(crate) mod snapshot;
mod stages;
mod store;
mod tags;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use axum::body::Body;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use self::authorizers::IdentitySource;
pub(crate) use self::body::function_of;
use self::body::{bad_request, not_found, text_length, to_json};
use self::model::{Api, ProtocolType};
use self::snapshot::Live;
use self::store::ApiRecord;
use crate::cloud::{Account, SharedCloud};
use crate::persist::Kept;
use crate::wire::{self, ApiError, Request, Response};

/// All APIs with their routes, integrations, authorizers, deployments and stages.
#[derive(Debug, Default)]
pub(crate) struct ApiGateway {
    state: Kept<State>,
}

/// What a persisting cloud has to keep.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    apis: BTreeMap<String, ApiRecord>,
    /// By which API Gateway writes logs.
    #[serde(default)]
    log_role: Option<String>,
}

/// Answers one REST JSON call, for example `POST /v2/apis`.
pub(crate) async fn handle(cloud: &SharedCloud, request: Request) -> Response {
    if request.uri.path() == "/account" {
        return match account::answer(cloud, &request) {
            Ok(account) => wire::rest_json(200, &account),
            Err(error) => error.rest_json(),
        };
    }
    cloud.apigatewayv2.answer(&cloud.account, &cloud.endpoint, &request)
}

/// How a call ended well.
#[derive(Debug)]
pub(super) enum Answer {
    /// 201 with the new resource.
    Created(Value),
    /// 200.
    Found(Value),
    /// 204.
    Deleted,
}

impl ApiGateway {
    /// Returns what clients of a stage meet, unless the API, the stage or its deployment is missing.
    pub(crate) fn live(&self, api_id: &str, stage_name: &str) -> Option<Live> {
        self.state.read().apis.get(api_id)?.live(stage_name)
    }

    /// Gives APIs that were kept from an earlier run the address of this one.
    pub(crate) fn move_to(&self, endpoint: &str) {
        for (id, record) in &mut self.state.write().apis {
            record.api.api_endpoint = api_endpoint(endpoint, id);
        }
    }

    /// Returns what is kept between runs.
    pub(crate) fn kept(&self) -> &Kept<State> {
        &self.state
    }

    /// Answers one call; `endpoint` is the address of the cloud, from which that of an API is made.
    pub(crate) fn answer(&self, account: &Account, endpoint: &str, request: &Request) -> Response {
        match self.dispatch(account, endpoint, request) {
            Ok(Answer::Created(value)) => wire::rest_json(201, &value),
            Ok(Answer::Found(value)) => wire::rest_json(200, &value),
            Ok(Answer::Deleted) => no_content(),
            Err(error) => error.rest_json(),
        }
    }

    fn dispatch(&self, account: &Account, endpoint: &str, request: &Request) -> Result<Answer, ApiError> {
        let method = request.method.as_str();
        let path = segments(request.uri.path())?;
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let query = page::query(&request.uri)?;
        let mut state = self.state.for_action(if method == "GET" { "Get" } else { method });
        match (method, path.as_slice()) {
            ("POST", ["v2", "apis"]) => {
                let api = new_api(endpoint, body::object(&request.body)?)?;
                let created = to_json(&api);
                state.apis.insert(api.api_id.clone(), ApiRecord::new(api));
                Ok(Answer::Created(created))
            }
            ("GET", ["v2", "apis"]) => {
                let apis = state.apis.iter().map(|(id, record)| (id.as_str(), &record.api));
                page::page(apis, &query).map(Answer::Found)
            }
            ("DELETE", ["v2", "apis", id]) => match state.apis.remove(*id) {
                Some(_) => Ok(Answer::Deleted),
                None => Err(not_found("API")),
            },
            (_, ["v2", "apis", id, rest @ ..]) => {
                account::check_access_log(state.log_role.is_some(), rest, &request.body)?;
                let record = state.apis.get_mut(*id).ok_or_else(|| not_found("API"))?;
                let answer = record.dispatch(method, rest, &query, &request.body)?;
                // Stages and deployments see to themselves.
                if method != "GET" && !matches!(rest, ["stages" | "deployments", ..]) {
                    record.deploy_automatically();
                }
                Ok(answer)
            }
            (_, ["v2", "tags", arn @ ..]) => {
                tags::dispatch(&mut state, account, method, &arn.join("/"), &query, &request.body)
            }
            _ => Err(unknown_operation(method, request.uri.path())),
        }
    }
}

/// Returns where clients of an API connect, without the stage.
fn api_endpoint(endpoint: &str, api_id: &str) -> String {
    format!("{}/_aws/execute-api/{api_id}", endpoint.replacen("http", "ws", 1))
}

fn new_api(endpoint: &str, body: body::Object) -> Result<Api, ApiError> {
    let mut api: Api = body::create(body)?;
    api.api_id = random_id(10);
    api.api_endpoint = api_endpoint(endpoint, &api.api_id);
    api.created_date = now();
    check_api(&api)?;
    Ok(api)
}

/// Refuses an API that AWS would refuse.
pub(super) fn check_api(api: &Api) -> Result<(), ApiError> {
    if api.protocol_type == ProtocolType::Http {
        return Err(bad_request(
            "HTTP APIs are not implemented by this local cloud; protocolType must be WEBSOCKET",
        ));
    }
    text_length("name", &api.name, 1, 128)?;
    body::optional_length("description", api.description.as_deref(), 0, 1024)?;
    body::optional_length("version", api.version.as_deref(), 1, 64)?;
    let keys = ["$request.header.x-api-key", "$context.authorizer.usageIdentifierKey"];
    if !keys.contains(&api.api_key_selection_expression.as_str()) {
        return Err(bad_request(format!(
            "apiKeySelectionExpression must be one of {}",
            keys.join(", ")
        )));
    }
    let Some(expression) = &api.route_selection_expression else {
        return Err(bad_request("routeSelectionExpression is required for WEBSOCKET APIs"));
    };
    selection::Expression::parse(expression).map_err(|error| bad_request(error.to_string()))?;
    tags::check(&api.tags)
}

/// Returns the percent-decoded segments of a path, without empty ones at its ends.
pub(crate) fn segments(path: &str) -> Result<Vec<String>, ApiError> {
    path.trim_matches('/').split('/').map(percent_decode).collect()
}

/// Decodes `%XX` sequences of one path segment.
fn percent_decode(text: &str) -> Result<String, ApiError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let decoded = match (first, tail) {
            (b'%', [high, low, ..]) => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok()),
            (b'%', _) => None,
            _ => {
                bytes.push(first);
                rest = tail;
                continue;
            }
        };
        bytes.push(decoded.ok_or_else(|| bad_request("the path is not percent-encoded correctly"))?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| bad_request("the path is not UTF-8"))
}

pub(super) fn unknown_operation(method: &str, path: &str) -> ApiError {
    ApiError::new(
        501,
        "NotImplemented",
        format!("{method} {path} is not implemented by this local cloud"),
    )
}

fn no_content() -> Response {
    http::Response::builder()
        .status(204)
        .header("x-amzn-RequestId", wire::request_id())
        .body(Body::empty())
        .expect("status and header above are valid")
}

/// Returns `length` random lowercase letters and digits: ids of API Gateway look so, 10 long for APIs, 6 or 7 for others.
pub(super) fn random_id(length: usize) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}

/// Returns the time as the control plane writes it, for example `2026-11-02T10:04:05Z`.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
