//! One API with all that belongs to it, and the calls below `/v2/apis/{api}`.
//!
//! Every call checks first and changes afterwards, so a refused call changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use serde::{Deserialize, Serialize};

use super::body::{object, to_json, update};
use super::model::{Api, Authorizer, Deployment, Integration, Route, RouteResponse, Stage};
use super::page::{QueryParameters, page};
use super::snapshot::Snapshot;
use super::{Answer, check_api, unknown_operation};
use crate::wire::ApiError;

/// An API and its children, each by its id; stages by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ApiRecord {
    pub(super) api: Api,
    pub(super) routes: BTreeMap<String, Route>,
    /// Route responses by route id, then by their own.
    pub(super) route_responses: BTreeMap<String, BTreeMap<String, RouteResponse>>,
    pub(super) integrations: BTreeMap<String, Integration>,
    pub(super) authorizers: BTreeMap<String, Authorizer>,
    pub(super) deployments: BTreeMap<String, Deployment>,
    /// What each deployment froze, by deployment id.
    pub(super) snapshots: BTreeMap<String, Arc<Snapshot>>,
    pub(super) stages: BTreeMap<String, Stage>,
}

impl ApiRecord {
    pub(super) fn new(api: Api) -> Self {
        Self {
            api,
            routes: BTreeMap::new(),
            route_responses: BTreeMap::new(),
            integrations: BTreeMap::new(),
            authorizers: BTreeMap::new(),
            deployments: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            stages: BTreeMap::new(),
        }
    }

    /// Answers one call; `path` is what follows `/v2/apis/{api}/`.
    pub(super) fn dispatch(
        &mut self,
        method: &str,
        path: &[&str],
        query: &QueryParameters,
        body: &Bytes,
    ) -> Result<Answer, ApiError> {
        match (method, path) {
            ("GET", []) => Ok(Answer::Found(to_json(&self.api))),
            ("PATCH", []) => {
                let api = update(&self.api, object(body)?)?;
                check_api(&api)?;
                self.api = api;
                Ok(Answer::Found(to_json(&self.api)))
            }

            ("POST", ["routes"]) => self.create_route(object(body)?),
            ("GET", ["routes"]) => page(keyed(&self.routes), query).map(Answer::Found),
            ("GET", ["routes", id]) => self.route(id).map(found),
            ("PATCH", ["routes", id]) => self.update_route(id, object(body)?),
            ("DELETE", ["routes", id]) => self.delete_route(id),
            ("DELETE", ["routes", id, "requestparameters", key]) => self.delete_request_parameter(id, key),

            ("POST", ["routes", route, "routeresponses"]) => self.create_route_response(route, object(body)?),
            ("GET", ["routes", route, "routeresponses"]) => {
                page(keyed(self.responses(route)?), query).map(Answer::Found)
            }
            ("GET", ["routes", route, "routeresponses", id]) => self.route_response(route, id).map(found),
            ("PATCH", ["routes", route, "routeresponses", id]) => self.update_route_response(route, id, object(body)?),
            ("DELETE", ["routes", route, "routeresponses", id]) => self.delete_route_response(route, id),

            ("POST", ["integrations"]) => self.create_integration(object(body)?),
            ("GET", ["integrations"]) => page(keyed(&self.integrations), query).map(Answer::Found),
            ("GET", ["integrations", id]) => self.integration(id).map(found),
            ("PATCH", ["integrations", id]) => self.update_integration(id, object(body)?),
            ("DELETE", ["integrations", id]) => self.delete_integration(id),

            ("POST", ["authorizers"]) => self.create_authorizer(object(body)?),
            ("GET", ["authorizers"]) => page(keyed(&self.authorizers), query).map(Answer::Found),
            ("GET", ["authorizers", id]) => self.authorizer(id).map(found),
            ("PATCH", ["authorizers", id]) => self.update_authorizer(id, object(body)?),
            ("DELETE", ["authorizers", id]) => self.delete_authorizer(id),

            ("POST", ["deployments"]) => self.create_deployment(object(body)?),
            ("GET", ["deployments"]) => page(keyed(&self.deployments), query).map(Answer::Found),
            ("GET", ["deployments", id]) => self.deployment(id).map(found),
            ("PATCH", ["deployments", id]) => self.update_deployment(id, object(body)?),
            ("DELETE", ["deployments", id]) => self.delete_deployment(id),

            ("POST", ["stages"]) => self.create_stage(object(body)?),
            ("GET", ["stages"]) => page(keyed(&self.stages), query).map(Answer::Found),
            ("GET", ["stages", name]) => self.stage(name).map(found),
            ("PATCH", ["stages", name]) => self.update_stage(name, object(body)?),
            ("DELETE", ["stages", name]) => self.delete_stage(name),
            ("DELETE", ["stages", name, "accesslogsettings"]) => self.delete_access_log_settings(name),
            ("DELETE", ["stages", name, "routesettings", route_key]) => self.delete_route_settings(name, route_key),

            _ => Err(unknown_operation(method, &path.join("/"))),
        }
    }
}

fn found<T: Serialize>(resource: &T) -> Answer {
    Answer::Found(to_json(resource))
}

fn keyed<T>(items: &BTreeMap<String, T>) -> impl Iterator<Item = (&str, &T)> {
    items.iter().map(|(key, item)| (key.as_str(), item))
}
