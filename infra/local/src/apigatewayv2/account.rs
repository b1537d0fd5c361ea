//! What API Gateway keeps for all APIs of an account and Region: the role by which it writes logs.
//!
//! It is a part of the first version of the REST interface
//! (<https://docs.aws.amazon.com/apigateway/latest/api/API_UpdateAccount.html>); without it, no stage may have an access log.

use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiGateway;
use super::body::bad_request;
use crate::cloud::Cloud;
use crate::wire::{ApiError, Request};

const PRINCIPAL: &str = "apigateway.amazonaws.com";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Patch {
    #[serde(default)]
    patch_operations: Vec<Operation>,
}

#[derive(Deserialize)]
struct Operation {
    op: String,
    path: String,
    #[serde(default)]
    value: String,
}

/// Answers `GET` and `PATCH` of `/account`.
pub(super) fn answer(cloud: &Cloud, request: &Request) -> Result<Value, ApiError> {
    match request.method.as_str() {
        "GET" => {}
        "PATCH" => {
            let patch: Patch = serde_json::from_slice(&request.body)
                .map_err(|error| bad_request(format!("Invalid patch: {error}")))?;
            for operation in patch.patch_operations {
                if operation.op != "replace" || operation.path != "/cloudwatchRoleArn" {
                    return Err(bad_request(
                        "Invalid patch path: only replace of /cloudwatchRoleArn is implemented",
                    ));
                }
                cloud.apigatewayv2.set_log_role(usable(cloud, operation.value)?);
            }
        }
        method => return Err(super::unknown_operation(method, request.uri.path())),
    }
    let mut account = json!({
        "apiKeyVersion": "4",
        "features": ["UsagePlans"],
        "throttleSettings": {"burstLimit": 5_000, "rateLimit": 10_000.0},
    });
    if let Some(role) = cloud.apigatewayv2.log_role() {
        account["cloudwatchRoleArn"] = json!(role);
    }
    Ok(account)
}

/// Returns the role that is to be set, or none where it is to be cleared.
fn usable(cloud: &Cloud, arn: String) -> Result<Option<String>, ApiError> {
    if arn.is_empty() {
        return Ok(None);
    }
    if cloud.iam.assumable_by(&arn, PRINCIPAL) && cloud.iam.has_policy(&arn) && cloud.unkind.is_propagated(&arn) {
        return Ok(Some(arn));
    }
    Err(bad_request(
        "The role ARN does not have required permissions configured. Please grant trust permission for API Gateway and add the required role policy.",
    ))
}

impl ApiGateway {
    pub(super) fn log_role(&self) -> Option<String> {
        self.state.read().log_role.clone()
    }

    pub(crate) fn set_log_role(&self, role: Option<String>) {
        self.state.write().log_role = role;
    }
}

/// Refuses the access log of a stage where the account has no role to write it by.
pub(super) fn check_access_log(has_role: bool, path: &[&str], body: &[u8]) -> Result<(), ApiError> {
    let wants_log = || {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        body.get("accessLogSettings")
            .is_some_and(|settings| !settings.is_null())
    };
    match path {
        ["stages", ..] if !has_role && wants_log() => Err(bad_request(
            "CloudWatch Logs role ARN must be set in account settings to enable logging",
        )),
        _ => Ok(()),
    }
}
