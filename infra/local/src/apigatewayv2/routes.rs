//! Routes and route responses.

use std::collections::BTreeMap;

use super::body::{Object, bad_request, conflict, create, http_only, not_found, optional_length, to_json, update};
use super::model::{AuthorizationType, Route, RouteResponse};
use super::store::ApiRecord;
use super::{Answer, random_id};
use crate::wire::ApiError;

impl ApiRecord {
    pub(super) fn route(&self, id: &str) -> Result<&Route, ApiError> {
        self.routes.get(id).ok_or_else(|| not_found("Route"))
    }

    pub(super) fn create_route(&mut self, body: Object) -> Result<Answer, ApiError> {
        let mut route: Route = create(body)?;
        route.route_id = random_id(7);
        self.check_route(&route)?;
        let answer = Answer::Created(to_json(&route));
        self.routes.insert(route.route_id.clone(), route);
        Ok(answer)
    }

    pub(super) fn update_route(&mut self, id: &str, body: Object) -> Result<Answer, ApiError> {
        let opens =
            body.get("authorizationType").is_some_and(|kind| kind == "NONE") && !body.contains_key("authorizerId");
        let mut route = update(self.route(id)?, body)?;
        if opens {
            // There is no other way to take the authorizer off a route: an absent member means "unchanged".
            route.authorizer_id = None;
        }
        self.check_route(&route)?;
        let answer = Answer::Found(to_json(&route));
        self.routes.insert(id.to_owned(), route);
        Ok(answer)
    }

    pub(super) fn delete_route(&mut self, id: &str) -> Result<Answer, ApiError> {
        self.route(id)?;
        self.routes.remove(id);
        self.route_responses.remove(id);
        Ok(Answer::Deleted)
    }

    pub(super) fn delete_request_parameter(&mut self, id: &str, key: &str) -> Result<Answer, ApiError> {
        let route = self.routes.get_mut(id).ok_or_else(|| not_found("Route"))?;
        let removed = route
            .request_parameters
            .as_mut()
            .and_then(|parameters| parameters.remove(key));
        removed
            .map(|_| Answer::Deleted)
            .ok_or_else(|| not_found("request parameter"))
    }

    fn check_route(&self, route: &Route) -> Result<(), ApiError> {
        let key = route.route_key.as_str();
        super::body::text_length("routeKey", key, 1, 128)?;
        if key.starts_with('$') && !matches!(key, "$connect" | "$disconnect" | "$default") {
            return Err(bad_request(format!(
                "Invalid route key {key}: only $connect, $disconnect and $default may start with $"
            )));
        }
        let same_key = |other: &&Route| other.route_key == key && other.route_id != route.route_id;
        if self.routes.values().find(same_key).is_some() {
            return Err(conflict(format!("Route with key {key} already exists for this API")));
        }
        optional_length("operationName", route.operation_name.as_deref(), 1, 64)?;
        http_only(&[("authorizationScopes", route.authorization_scopes.is_some())])?;
        if route.request_models.as_ref().is_some_and(|models| !models.is_empty()) {
            return Err(bad_request(
                "Invalid model specified: models are not implemented by this local cloud",
            ));
        }
        self.check_authorization(route)?;
        if let Some(expression) = route.route_response_selection_expression.as_deref()
            && expression != "$default"
        {
            return Err(bad_request("routeResponseSelectionExpression must be $default"));
        }
        if let Some(target) = &route.target {
            let integration = target
                .strip_prefix("integrations/")
                .ok_or_else(|| bad_request("target must be integrations/{integrationId}"))?;
            if !self.integrations.contains_key(integration) {
                return Err(bad_request(format!(
                    "Invalid Integration identifier specified in target: {target}"
                )));
            }
        }
        Ok(())
    }

    fn check_authorization(&self, route: &Route) -> Result<(), ApiError> {
        let kind = route.authorization_type;
        if kind != AuthorizationType::None && route.route_key != "$connect" {
            return Err(bad_request(
                "Currently, authorization is restricted to the $connect route only",
            ));
        }
        match (kind, route.authorizer_id.as_deref()) {
            (AuthorizationType::None, None) => Ok(()),
            (AuthorizationType::Custom, Some(id)) if self.authorizers.contains_key(id) => Ok(()),
            (AuthorizationType::Custom, Some(_)) => Err(bad_request("Invalid Authorizer identifier specified")),
            (AuthorizationType::Custom, None) => Err(bad_request("authorizationType CUSTOM requires an authorizerId")),
            (AuthorizationType::None, Some(_)) => Err(bad_request("authorizerId requires authorizationType CUSTOM")),
            (AuthorizationType::AwsIam, _) => Err(bad_request(
                "authorizationType AWS_IAM is not implemented by this local cloud",
            )),
            (AuthorizationType::Jwt, _) => http_only(&[("authorizationType JWT", true)]),
        }
    }

    pub(super) fn responses(&self, route: &str) -> Result<&BTreeMap<String, RouteResponse>, ApiError> {
        static NONE: BTreeMap<String, RouteResponse> = BTreeMap::new();
        self.route(route)?;
        Ok(self.route_responses.get(route).unwrap_or(&NONE))
    }

    pub(super) fn route_response(&self, route: &str, id: &str) -> Result<&RouteResponse, ApiError> {
        self.responses(route)?.get(id).ok_or_else(|| not_found("RouteResponse"))
    }

    pub(super) fn create_route_response(&mut self, route: &str, body: Object) -> Result<Answer, ApiError> {
        let mut response: RouteResponse = create(body)?;
        response.route_response_id = random_id(6);
        check_response(&response)?;
        if !self.responses(route)?.is_empty() {
            return Err(conflict(
                "Route response with key $default already exists for this route",
            ));
        }
        Ok(Answer::Created(self.put_route_response(route, response)))
    }

    pub(super) fn update_route_response(&mut self, route: &str, id: &str, body: Object) -> Result<Answer, ApiError> {
        let response = update(self.route_response(route, id)?, body)?;
        check_response(&response)?;
        Ok(Answer::Found(self.put_route_response(route, response)))
    }

    pub(super) fn delete_route_response(&mut self, route: &str, id: &str) -> Result<Answer, ApiError> {
        self.route_response(route, id)?;
        self.route_responses.entry(route.to_owned()).or_default().remove(id);
        Ok(Answer::Deleted)
    }

    fn put_route_response(&mut self, route: &str, response: RouteResponse) -> serde_json::Value {
        let json = to_json(&response);
        let responses = self.route_responses.entry(route.to_owned()).or_default();
        responses.insert(response.route_response_id.clone(), response);
        json
    }
}

fn check_response(response: &RouteResponse) -> Result<(), ApiError> {
    if response.route_response_key != "$default" {
        return Err(bad_request("routeResponseKey must be $default"));
    }
    if response
        .response_models
        .as_ref()
        .is_some_and(|models| !models.is_empty())
    {
        return Err(bad_request(
            "Invalid model specified: models are not implemented by this local cloud",
        ));
    }
    Ok(())
}
