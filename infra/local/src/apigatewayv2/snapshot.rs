//! Deployments: frozen copies of an API. The data plane sees nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::body::{Object, bad_request, create, not_found, optional_length, to_json, update};
use super::model::{AccessLogSettings, AuthorizationType, Authorizer, Deployment, Integration, Strings};
use super::store::ApiRecord;
use super::{Answer, now, random_id};
use crate::wire::ApiError;

/// What a deployment froze.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) route_selection_expression: String,
    pub(crate) disable_execute_api_endpoint: bool,
    /// By route key.
    pub(crate) routes: BTreeMap<String, DeployedRoute>,
}

/// One route of a deployment with all that serves it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeployedRoute {
    pub(crate) route_key: String,
    pub(crate) api_key_required: bool,
    pub(crate) authorizer: Option<Authorizer>,
    pub(crate) integration: Option<Integration>,
    /// Whether what the integration returns goes back to the caller.
    pub(crate) replies: bool,
}

/// A stage with the deployment that is live on it.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) stage_variables: Strings,
    pub(crate) access_log: Option<AccessLogSettings>,
}

impl ApiRecord {
    pub(super) fn live(&self, stage_name: &str) -> Option<Live> {
        let stage = self.stages.get(stage_name)?;
        let snapshot = self.snapshots.get(stage.deployment_id.as_deref()?)?;
        Some(Live {
            snapshot: Arc::clone(snapshot),
            stage_variables: stage.stage_variables.clone(),
            access_log: stage.access_log_settings.clone(),
        })
    }

    pub(super) fn deployment(&self, id: &str) -> Result<&Deployment, ApiError> {
        self.deployments.get(id).ok_or_else(|| not_found("Deployment"))
    }

    pub(super) fn create_deployment(&mut self, mut body: Object) -> Result<Answer, ApiError> {
        let stage_name = match body.remove("stageName") {
            None => None,
            Some(serde_json::Value::String(name)) => Some(name),
            Some(_) => return Err(bad_request("stageName must be a text")),
        };
        let mut deployment: Deployment = create(body)?;
        check(&deployment)?;
        if self.routes.is_empty() {
            return Err(bad_request("At least one route is required before deploying the Api."));
        }
        if let Some(name) = &stage_name {
            self.stage(name)?;
        }
        deployment.auto_deployed = false;
        let deployment = self.deploy(deployment);
        if let Some(stage) = stage_name.and_then(|name| self.stages.get_mut(&name)) {
            stage.deployment_id = Some(deployment.deployment_id.clone());
            stage.last_updated_date = now();
        }
        Ok(Answer::Created(to_json(&deployment)))
    }

    pub(super) fn update_deployment(&mut self, id: &str, body: Object) -> Result<Answer, ApiError> {
        let deployment = update(self.deployment(id)?, body)?;
        check(&deployment)?;
        let answer = Answer::Found(to_json(&deployment));
        self.deployments.insert(id.to_owned(), deployment);
        Ok(answer)
    }

    pub(super) fn delete_deployment(&mut self, id: &str) -> Result<Answer, ApiError> {
        self.deployment(id)?;
        if self
            .stages
            .values()
            .any(|stage| stage.deployment_id.as_deref() == Some(id))
        {
            return Err(bad_request(
                "Active stages pointing to this deployment must be moved or deleted",
            ));
        }
        self.deployments.remove(id);
        self.snapshots.remove(id);
        Ok(Answer::Deleted)
    }

    /// Gives every stage with `autoDeploy` a fresh deployment, and forgets the automatic one it had.
    pub(super) fn deploy_automatically(&mut self) {
        let stages = self.stages.values().filter(|stage| stage.auto_deploy);
        let names: Vec<String> = stages.map(|stage| stage.stage_name.clone()).collect();
        if self.routes.is_empty() || names.is_empty() {
            return;
        }
        let deployment = self.deploy(Deployment {
            deployment_id: String::new(),
            auto_deployed: true,
            created_date: String::new(),
            deployment_status: String::new(),
            description: Some("Automatic deployment triggered by changes to the Api configuration".to_owned()),
        });
        for name in names {
            if let Some(stage) = self.stages.get_mut(&name) {
                stage.deployment_id = Some(deployment.deployment_id.clone());
                stage.last_deployment_status_message = Some(format!(
                    "Successfully deployed stage with deployment ID '{}'",
                    deployment.deployment_id
                ));
            }
        }
        let live: Vec<&str> = self
            .stages
            .values()
            .filter_map(|stage| stage.deployment_id.as_deref())
            .collect();
        self.deployments
            .retain(|id, deployment| !deployment.auto_deployed || live.contains(&id.as_str()));
        self.snapshots.retain(|id, _| self.deployments.contains_key(id));
    }

    fn deploy(&mut self, mut deployment: Deployment) -> Deployment {
        deployment.deployment_id = random_id(6);
        deployment.created_date = now();
        deployment.deployment_status = "DEPLOYED".to_owned();
        let snapshot = Arc::new(self.freeze());
        self.snapshots.insert(deployment.deployment_id.clone(), snapshot);
        self.deployments
            .insert(deployment.deployment_id.clone(), deployment.clone());
        deployment
    }

    fn freeze(&self) -> Snapshot {
        let routes = self.routes.values().map(|route| {
            let custom = route.authorization_type == AuthorizationType::Custom;
            let authorizer = route.authorizer_id.as_ref().filter(|_| custom);
            let integration = route
                .target
                .as_ref()
                .and_then(|target| target.strip_prefix("integrations/"));
            let has_response = self
                .route_responses
                .get(&route.route_id)
                .is_some_and(|all| !all.is_empty());
            let deployed = DeployedRoute {
                route_key: route.route_key.clone(),
                api_key_required: route.api_key_required,
                authorizer: authorizer.and_then(|id| self.authorizers.get(id)).cloned(),
                integration: integration.and_then(|id| self.integrations.get(id)).cloned(),
                replies: has_response && route.route_response_selection_expression.is_some(),
            };
            (route.route_key.clone(), deployed)
        });
        Snapshot {
            route_selection_expression: self.api.route_selection_expression.clone().unwrap_or_default(),
            disable_execute_api_endpoint: self.api.disable_execute_api_endpoint,
            routes: routes.collect(),
        }
    }
}

fn check(deployment: &Deployment) -> Result<(), ApiError> {
    optional_length("description", deployment.description.as_deref(), 0, 1024)
}
