//! The role by which API Gateway writes logs: one for all APIs of an account and Region.
//!
//! It is others' as much as ours. A role that is set is used as it is, whoever made it; where none is set, one is made and
//! named. Neither is ever taken away: another stack, or another tool, may have come to rely on it.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-logging.html>

use infra_engine::{Class, CloudError, Desired, Live, Ownership, Target};
use serde_json::{Value as Json, json};

use crate::Session;
use crate::error::is_already_there;
use crate::shape::{Shape, as_desired, required};
use crate::throttle::Service;

/// What AWS attaches to such roles itself.
pub(crate) const MANAGED_POLICY: &str = "service-role/AmazonAPIGatewayPushToCloudWatchLogs";

/// Reads whether a role is set.
pub(crate) async fn observe(session: &Session, target: &Target) -> Result<Option<Live>, CloudError> {
    if log_role(session).await?.is_none() {
        return Ok(None);
    }
    let mut shape = Shape::default();
    shape.copy("LogRoleName", target);
    Ok(Some(Live {
        physical_id: session.context().region.clone(),
        properties: shape.0,
        attributes: Default::default(),
        ownership: Ownership::Ours,
    }))
}

/// Makes a role and names it, unless one is set by now.
pub(crate) async fn reconcile(session: &Session, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
    let done = || as_desired(desired, &session.context().region, Default::default());
    if live.is_some() {
        return Ok(done());
    }
    if log_role(session).await?.is_some() {
        return Ok(done());
    }
    let name = required(desired, "LogRoleName")?;
    let context = session.context();
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"Service": "apigateway.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }],
    });
    let description =
        "API Gateway writes the logs of all APIs of this account by it. Made by stackwright, never removed.";
    let parameters = [
        ("RoleName", name),
        ("AssumeRolePolicyDocument", &trust.to_string()),
        ("Description", description),
    ];
    match session.iam("CreateRole", &parameters).await {
        Ok(_) => {}
        Err(error) if is_already_there(&error) => {}
        Err(error) => return Err(error),
    }
    let policy = format!("arn:{}:iam::aws:policy/{MANAGED_POLICY}", context.partition);
    let parameters = [("RoleName", name), ("PolicyArn", policy.as_str())];
    session.iam("AttachRolePolicy", &parameters).await?;
    let arn = session.arn(infra_cdk::Kind::Role, name)?;
    let patch = json!({"patchOperations": [{"op": "replace", "path": "/cloudwatchRoleArn", "value": arn}]});
    let updated = session
        .apigateway_account(Service::ApiGatewayAccount, "apigateway:UpdateAccount", Some(&patch))
        .await;
    updated.map_err(|error| match error.class {
        // It tries the role, which does not work everywhere yet.
        Class::Permanent if error.message.to_ascii_lowercase().contains("role") => CloudError {
            class: Class::Propagating,
            ..error
        },
        _ => error,
    })?;
    Ok(done())
}

/// Returns the ARN of the role that is set.
pub(crate) async fn log_role(session: &Session) -> Result<Option<String>, CloudError> {
    let account = session
        .apigateway_account(Service::ApiGateway, "apigateway:GetAccount", None)
        .await?;
    let role = account.get("cloudwatchRoleArn").and_then(Json::as_str);
    Ok(role.filter(|arn| !arn.is_empty()).map(str::to_owned))
}
