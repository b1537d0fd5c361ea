//! Stages: named places where a deployment is live.

use super::body::{Object, bad_request, conflict, create, not_found, optional_length, to_json, update};
use super::model::{AccessLogSettings, RouteSettings, Stage};
use super::store::ApiRecord;
use super::{Answer, now, tags};
use crate::wire::ApiError;

impl ApiRecord {
    pub(super) fn stage(&self, name: &str) -> Result<&Stage, ApiError> {
        self.stages.get(name).ok_or_else(|| not_found("stage"))
    }

    pub(super) fn create_stage(&mut self, body: Object) -> Result<Answer, ApiError> {
        let mut stage: Stage = create(body)?;
        stage.created_date = now();
        stage.last_updated_date.clone_from(&stage.created_date);
        check_name(&stage.stage_name)?;
        if self.stages.contains_key(&stage.stage_name) {
            return Err(conflict("Stage already exists"));
        }
        self.check_stage(&stage)?;
        self.check_route_settings(stage.route_settings.keys())?;
        self.put_stage(stage, false).map(Answer::Created)
    }

    pub(super) fn update_stage(&mut self, name: &str, body: Object) -> Result<Answer, ApiError> {
        let changed_settings: Vec<String> = match body.get("routeSettings") {
            Some(serde_json::Value::Object(settings)) => settings.keys().cloned().collect(),
            Some(_) | None => Vec::new(),
        };
        let was_automatic = self.stage(name)?.auto_deploy;
        let mut stage: Stage = update(self.stage(name)?, body)?;
        stage.last_updated_date = now();
        self.check_stage(&stage)?;
        self.check_route_settings(changed_settings.iter())?;
        self.put_stage(stage, was_automatic).map(Answer::Found)
    }

    pub(super) fn delete_stage(&mut self, name: &str) -> Result<Answer, ApiError> {
        self.stage(name)?;
        self.stages.remove(name);
        Ok(Answer::Deleted)
    }

    pub(super) fn delete_access_log_settings(&mut self, name: &str) -> Result<Answer, ApiError> {
        let stage = self.stages.get_mut(name).ok_or_else(|| not_found("stage"))?;
        stage.access_log_settings = None;
        Ok(Answer::Deleted)
    }

    pub(super) fn delete_route_settings(&mut self, name: &str, route_key: &str) -> Result<Answer, ApiError> {
        let stage = self.stages.get_mut(name).ok_or_else(|| not_found("stage"))?;
        let removed = stage.route_settings.remove(route_key);
        removed
            .map(|_| Answer::Deleted)
            .ok_or_else(|| not_found("route settings"))
    }

    /// Keeps the stage, deploys to it where `autoDeploy` was just switched on, and returns it as callers see it.
    fn put_stage(&mut self, stage: Stage, was_automatic: bool) -> Result<serde_json::Value, ApiError> {
        let name = stage.stage_name.clone();
        let switched_on = stage.auto_deploy && !was_automatic;
        self.stages.insert(name.clone(), stage);
        if switched_on {
            self.deploy_automatically();
        }
        self.stage(&name).map(to_json)
    }

    fn check_stage(&self, stage: &Stage) -> Result<(), ApiError> {
        if let Some(deployment) = &stage.deployment_id
            && !self.deployments.contains_key(deployment)
        {
            return Err(bad_request(format!("Deployment id does not exist: {deployment}")));
        }
        optional_length("description", stage.description.as_deref(), 0, 1024)?;
        stage.access_log_settings.as_ref().map_or(Ok(()), check_access_log)?;
        check_rate(&stage.default_route_settings)?;
        stage.route_settings.values().try_for_each(check_rate)?;
        let variable = |character: char| character.is_ascii_alphanumeric() || character == '_';
        if let Some(name) = stage
            .stage_variables
            .keys()
            .find(|name| name.is_empty() || !name.chars().all(variable))
        {
            return Err(bad_request(format!(
                "Invalid stage variable name {name:?}: use letters, digits and _"
            )));
        }
        tags::check(&stage.tags)
    }

    fn check_route_settings<'a>(&self, mut keys: impl Iterator<Item = &'a String>) -> Result<(), ApiError> {
        match keys.find(|key| !self.routes.values().any(|route| &route.route_key == *key)) {
            Some(key) => Err(bad_request(format!(
                "Unable to find Route by key {key} within the provided RouteSettings"
            ))),
            None => Ok(()),
        }
    }
}

/// Stage names have letters, digits, `-` and `_`; `$default` exists only for HTTP APIs.
fn check_name(name: &str) -> Result<(), ApiError> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || character == '-' || character == '_';
    if (1..=128).contains(&name.len()) && name.chars().all(allowed) {
        Ok(())
    } else {
        Err(bad_request(
            "Stage name only allows a-zA-Z0-9_- and 1 to 128 characters",
        ))
    }
}

/// The format must be one line and carry a request id
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-logging.html>).
fn check_access_log(settings: &AccessLogSettings) -> Result<(), ApiError> {
    let format = settings.format.as_deref().unwrap_or_default();
    if !format.contains("$context.requestId") && !format.contains("$context.extendedRequestId") {
        return Err(bad_request(
            "accessLogSettings.format must contain $context.requestId or $context.extendedRequestId",
        ));
    }
    if format.contains('\n') {
        return Err(bad_request("accessLogSettings.format must be a single line"));
    }
    let destination = settings.destination_arn.as_deref().unwrap_or_default();
    if !destination.starts_with("arn:") || !destination.contains(":log-group:") || destination.ends_with(":*") {
        return Err(bad_request(
            "accessLogSettings.destinationArn must be the ARN of a log group, without :* at its end",
        ));
    }
    Ok(())
}

fn check_rate(settings: &RouteSettings) -> Result<(), ApiError> {
    match settings.throttling_rate_limit {
        Some(rate) if rate < 0.0 => Err(bad_request("throttlingRateLimit must not be negative")),
        Some(_) | None => Ok(()),
    }
}
