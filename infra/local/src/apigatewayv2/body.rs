//! From JSON bodies to resources and back, and the checks that all resources share.

use axum::body::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::model::{Api, Authorizer, Deployment, Integration, Route, RouteResponse, Stage};
use crate::wire::ApiError;

/// A JSON object, as a body holds it.
pub(super) type Object = Map<String, Value>;

/// A resource that is made and changed by JSON bodies.
pub(super) trait Resource: Serialize + DeserializeOwned {
    /// Members that a caller may not give in `Create…`.
    const READ_ONLY: &'static [&'static str];
    /// Members that a caller may not give in `Update…`, beyond the read-only ones.
    const FIXED: &'static [&'static str] = &[];
}

impl Resource for Api {
    const READ_ONLY: &'static [&'static str] = &["apiId", "apiEndpoint", "createdDate"];
    const FIXED: &'static [&'static str] = &["protocolType", "tags"];
}
impl Resource for Route {
    const READ_ONLY: &'static [&'static str] = &["routeId"];
}
impl Resource for RouteResponse {
    const READ_ONLY: &'static [&'static str] = &["routeResponseId"];
}
impl Resource for Integration {
    const READ_ONLY: &'static [&'static str] = &["integrationId"];
}
impl Resource for Authorizer {
    const READ_ONLY: &'static [&'static str] = &["authorizerId"];
}
impl Resource for Deployment {
    const READ_ONLY: &'static [&'static str] = &["deploymentId", "autoDeployed", "createdDate", "deploymentStatus"];
}
impl Resource for Stage {
    const READ_ONLY: &'static [&'static str] = &["createdDate", "lastUpdatedDate", "lastDeploymentStatusMessage"];
    const FIXED: &'static [&'static str] = &["stageName", "tags"];
}

/// Returns the object in a request's body; an empty body is an empty object.
pub(super) fn object(body: &Bytes) -> Result<Object, ApiError> {
    if body.is_empty() {
        return Ok(Object::new());
    }
    let mut object: Object =
        serde_json::from_slice(body).map_err(|error| bad_request(format!("Invalid request body: {error}")))?;
    object.retain(|_, value| !value.is_null());
    Ok(object)
}

/// Returns the resource that a `Create…` body describes; read-only members are left at their defaults.
pub(super) fn create<T: Resource>(body: Object) -> Result<T, ApiError> {
    refuse_members(&body, T::READ_ONLY)?;
    parse(body)
}

/// Returns `current` with the members of an `Update…` body; absent members stay as they are.
///
/// Maps are merged by key, and an empty text removes the key of a map of texts, as API Gateway does for stage variables
/// and request parameters (Terraform's provider relies on it).
pub(super) fn update<T: Resource>(current: &T, body: Object) -> Result<T, ApiError> {
    refuse_members(&body, T::READ_ONLY)?;
    refuse_members(&body, T::FIXED)?;
    let Value::Object(mut merged) = to_json(current) else {
        return Err(bad_request("the resource is not an object"));
    };
    merge(&mut merged, body, false);
    parse(merged)
}

/// Returns the JSON of a resource without members that are not set.
pub(super) fn to_json<T: Serialize>(resource: &T) -> Value {
    let mut value = serde_json::to_value(resource).expect("resources have text keys only");
    drop_nulls(&mut value);
    value
}

fn parse<T: DeserializeOwned>(body: Object) -> Result<T, ApiError> {
    serde_json::from_value(Value::Object(body)).map_err(|error| bad_request(format!("Invalid request input: {error}")))
}

fn merge(into: &mut Object, from: Object, nested: bool) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(inner)), Value::Object(changes)) => merge(inner, changes, true),
            (_, Value::String(text)) if nested && text.is_empty() => {
                into.remove(&key);
            }
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn drop_nulls(value: &mut Value) {
    if let Value::Object(object) = value {
        object.retain(|_, member| !member.is_null());
        object.values_mut().for_each(drop_nulls);
    }
}

fn refuse_members(body: &Object, refused: &[&str]) -> Result<(), ApiError> {
    match refused.iter().find(|name| body.contains_key(**name)) {
        Some(name) => Err(bad_request(format!("Invalid request input: {name} cannot be set here"))),
        None => Ok(()),
    }
}

/// `BadRequestException` 400.
pub(super) fn bad_request(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "BadRequestException", message)
}

/// `ConflictException` 409.
pub(super) fn conflict(message: impl Into<String>) -> ApiError {
    ApiError::new(409, "ConflictException", message)
}

/// `NotFoundException` 404 in API Gateway's words; `kind` is for example `Route`.
pub(super) fn not_found(kind: &str) -> ApiError {
    ApiError::new(404, "NotFoundException", format!("Invalid {kind} identifier specified"))
}

/// Refuses members that only HTTP APIs know.
pub(super) fn http_only(members: &[(&str, bool)]) -> Result<(), ApiError> {
    match members.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(bad_request(format!("{name} is supported only for HTTP APIs"))),
        None => Ok(()),
    }
}

/// Refuses a text shorter or longer than allowed, in characters.
pub(super) fn text_length(name: &str, text: &str, min: usize, max: usize) -> Result<(), ApiError> {
    if (min..=max).contains(&text.chars().count()) {
        Ok(())
    } else {
        Err(bad_request(format!("{name} must have {min} to {max} characters")))
    }
}

/// As [`text_length`], where the text may be missing.
pub(super) fn optional_length(name: &str, text: Option<&str>, min: usize, max: usize) -> Result<(), ApiError> {
    text.map_or(Ok(()), |text| text_length(name, text, min, max))
}

/// Returns the function's ARN in the URI that integrations and authorizers of kind Lambda use:
/// `arn:{partition}:apigateway:{region}:lambda:path/2015-03-31/functions/{function ARN}/invocations`.
pub(crate) fn function_of(uri: &str) -> Option<&str> {
    let (prefix, rest) = uri.split_once(":lambda:path/2015-03-31/functions/")?;
    let mut parts = prefix.split(':');
    let api_gateway = parts.next() == Some("arn") && parts.nth(1) == Some("apigateway") && parts.next().is_some();
    let function = rest.strip_suffix("/invocations")?;
    (api_gateway && function.starts_with("arn:") && function.contains(":function:")).then_some(function)
}
