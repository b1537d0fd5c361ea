//! Function URLs: the control plane here, requests to them in [`call`].
//!
//! A URL belongs to a function or to one of its aliases, never to a version. On AWS it is
//! `https://{id}.lambda-url.{region}.on.aws/`; here a path below the endpoint, which every browser finds without name
//! resolution. `http://{id}.lambda-url.{region}.localhost:PORT/` reaches the same.
//! CORS settings and streamed answers are refused as not supported.

mod answer;
pub(super) mod call;
mod event;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::model::{Function, merge, moment, now_ms};
use super::name::FunctionRef;
use super::validation::{Violations, invalid_parameter, refuse_unknown};
use super::{Call, body, no_content, page};
use crate::cloud::SharedCloud;
use crate::wire::{ApiError, Request, Response, rest_json};

/// Path under which every function URL is reachable, followed by its id.
pub(crate) const PATH: &str = "/_aws/lambda-url/";

/// Where a request to a function URL goes: found by the front from path or host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UrlAddress {
    pub(crate) id: String,
    /// The path below the URL as sent, for example `/style.css`; empty where even the first slash is missing.
    pub(crate) path: String,
}

/// The URL of a function or alias.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FunctionUrl {
    /// 32 characters; AWS makes them up.
    id: String,
    auth_type: AuthType,
    /// Milliseconds since 1970.
    created_ms: i64,
    modified_ms: i64,
}

/// Who may call a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum AuthType {
    /// Everybody, as far as the resource policy lets them.
    #[serde(rename = "NONE")]
    None,
    /// Who signs.
    #[serde(rename = "AWS_IAM")]
    AwsIam,
}

impl FunctionUrl {
    fn describe(&self, of: &FunctionRef, cloud: &SharedCloud) -> Value {
        json!({
            "FunctionUrl": format!("{}{PATH}{}/", cloud.endpoint, self.id),
            "FunctionArn": of.arn(&cloud.account),
            "AuthType": self.auth_type,
            "InvokeMode": "BUFFERED",
            "CreationTime": moment(self.created_ms),
        })
    }

    /// As above, with the moment of the last change, which `CreateFunctionUrlConfig` does not answer.
    fn describe_later(&self, of: &FunctionRef, cloud: &SharedCloud) -> Value {
        let mut described = self.describe(of, cloud);
        merge(&mut described, json!({ "LastModifiedTime": moment(self.modified_ms) }));
        described
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    auth_type: Option<String>,
    invoke_mode: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

impl Configuration {
    /// Returns the type of authorization, if it is given.
    fn check(&self) -> Result<Option<AuthType>, ApiError> {
        refuse_unknown(&self.rest)?;
        let mut violations = Violations::default();
        violations.one_of("authType", self.auth_type.as_deref(), &["NONE", "AWS_IAM"]);
        violations.one_of(
            "invokeMode",
            self.invoke_mode.as_deref(),
            &["BUFFERED", "RESPONSE_STREAM"],
        );
        violations.finish()?;
        if self.invoke_mode.as_deref() == Some("RESPONSE_STREAM") {
            return Err(invalid_parameter("the local cloud does not stream responses"));
        }
        Ok(self.auth_type.as_deref().map(|auth_type| match auth_type {
            "AWS_IAM" => AuthType::AwsIam,
            _ => AuthType::None,
        }))
    }
}

/// `CreateFunctionUrlConfig`.
pub(super) fn create(cloud: &SharedCloud, of: &FunctionRef, request: &Request) -> Result<Response, ApiError> {
    let given: Configuration = body(request)?;
    let Some(auth_type) = given.check()? else {
        let message = "1 validation error detected: Value null at 'authType' failed to satisfy constraint: Member must not be null";
        return Err(ApiError::new(400, "ValidationException", message));
    };
    let mut store = cloud.lambda.store_mut();
    let function = store.function_mut(of, &cloud.account)?;
    check_qualifier(function, of, cloud)?;
    if function.urls.contains_key(key(of)) {
        let message = format!(
            "Failed to create function url config for [functionArn = {}]. Error message:  FunctionUrlConfig exists for this Lambda function",
            of.arn(&cloud.account)
        );
        return Err(ApiError::new(409, "ResourceConflictException", message));
    }
    let now = now_ms();
    let url = FunctionUrl {
        id: uuid::Uuid::new_v4().simple().to_string(),
        auth_type,
        created_ms: now,
        modified_ms: now,
    };
    let answer = url.describe(of, cloud);
    function.urls.insert(key(of).to_owned(), url);
    Ok(rest_json(201, &answer))
}

/// `GetFunctionUrlConfig`.
pub(super) fn get(cloud: &SharedCloud, of: &FunctionRef) -> Result<Response, ApiError> {
    let store = cloud.lambda.store();
    let url = store
        .function(of, &cloud.account)?
        .urls
        .get(key(of))
        .ok_or_else(no_url)?;
    Ok(rest_json(200, &url.describe_later(of, cloud)))
}

/// `UpdateFunctionUrlConfig`. The address stays.
pub(super) fn update(cloud: &SharedCloud, of: &FunctionRef, request: &Request) -> Result<Response, ApiError> {
    let given: Configuration = body(request)?;
    let auth_type = given.check()?;
    let mut store = cloud.lambda.store_mut();
    let function = store.function_mut(of, &cloud.account)?;
    let url = function.urls.get_mut(key(of)).ok_or_else(no_url)?;
    if let Some(auth_type) = auth_type {
        url.auth_type = auth_type;
    }
    url.modified_ms = now_ms();
    Ok(rest_json(200, &url.describe_later(of, cloud)))
}

/// `DeleteFunctionUrlConfig`.
pub(super) fn delete(cloud: &SharedCloud, of: &FunctionRef) -> Result<Response, ApiError> {
    let mut store = cloud.lambda.store_mut();
    let function = store.function_mut(of, &cloud.account)?;
    function.urls.remove(key(of)).ok_or_else(no_url)?;
    Ok(no_content())
}

/// `ListFunctionUrlConfigs`.
pub(super) fn list(cloud: &SharedCloud, of: &FunctionRef, call: &Call) -> Result<Response, ApiError> {
    let store = cloud.lambda.store();
    let urls = &store.function(of, &cloud.account)?.urls;
    let (urls, next) = page(urls.iter().collect(), call, |(qualifier, _)| (*qualifier).clone())?;
    let urls: Vec<Value> = urls
        .into_iter()
        .map(|(qualifier, url)| url.describe_later(&reference(&of.name, qualifier), cloud))
        .collect();
    Ok(rest_json(
        200,
        &json!({ "FunctionUrlConfigs": urls, "NextMarker": next }),
    ))
}

/// Checks that a qualifier is an alias that exists.
fn check_qualifier(function: &Function, of: &FunctionRef, cloud: &SharedCloud) -> Result<(), ApiError> {
    let Some(qualifier) = of.qualifier.as_deref() else {
        return Ok(());
    };
    let is_version = qualifier.bytes().all(|byte| byte.is_ascii_digit());
    let mut violations = Violations::default();
    violations.pattern("qualifier", qualifier, !is_version, "((?!^\\d+$)^[0-9a-zA-Z-_]+$)");
    violations.finish()?;
    if function.aliases.contains_key(qualifier) {
        Ok(())
    } else {
        Err(of.not_found(&cloud.account))
    }
}

/// A URL on an alias belongs to that alone.
fn key(of: &FunctionRef) -> &str {
    of.qualifier.as_deref().unwrap_or_default()
}

fn reference(function: &str, key: &str) -> FunctionRef {
    FunctionRef {
        name: function.to_owned(),
        qualifier: Some(key.to_owned()).filter(|key| !key.is_empty()),
    }
}

fn no_url() -> ApiError {
    ApiError::new(
        404,
        "ResourceNotFoundException",
        "The resource you requested does not exist.",
    )
}
