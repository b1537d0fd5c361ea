//! Authorizers: the functions that decide who may connect.

use super::body::{
    Object, bad_request, conflict, create, function_of, http_only, not_found, text_length, to_json, update,
};
use super::model::{Authorizer, AuthorizerType};
use super::store::ApiRecord;
use super::{Answer, random_id};
use crate::wire::ApiError;

/// Where an authorizer's credential may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdentitySource<'a> {
    /// A request header; its case does not matter.
    Header(&'a str),
    /// A query parameter.
    Query(&'a str),
    StageVariable(&'a str),
    /// A member of the request's context.
    Context(&'a str),
}

impl<'a> IdentitySource<'a> {
    /// Parses for example `route.request.header.Authorization`.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let named = |prefix: &str| text.strip_prefix(prefix).filter(|name| !name.is_empty());
        named("route.request.header.")
            .map(Self::Header)
            .or_else(|| named("route.request.querystring.").map(Self::Query))
            .or_else(|| named("stageVariables.").map(Self::StageVariable))
            .or_else(|| named("context.").map(Self::Context))
    }
}

impl ApiRecord {
    pub(super) fn authorizer(&self, id: &str) -> Result<&Authorizer, ApiError> {
        self.authorizers.get(id).ok_or_else(|| not_found("Authorizer"))
    }

    pub(super) fn create_authorizer(&mut self, body: Object) -> Result<Answer, ApiError> {
        let mut authorizer: Authorizer = create(body)?;
        authorizer.authorizer_id = random_id(6);
        check(&authorizer)?;
        let answer = Answer::Created(to_json(&authorizer));
        self.authorizers.insert(authorizer.authorizer_id.clone(), authorizer);
        Ok(answer)
    }

    pub(super) fn update_authorizer(&mut self, id: &str, body: Object) -> Result<Answer, ApiError> {
        let authorizer = update(self.authorizer(id)?, body)?;
        check(&authorizer)?;
        let answer = Answer::Found(to_json(&authorizer));
        self.authorizers.insert(id.to_owned(), authorizer);
        Ok(answer)
    }

    pub(super) fn delete_authorizer(&mut self, id: &str) -> Result<Answer, ApiError> {
        let authorizer = self.authorizer(id)?;
        if let Some(route) = self
            .routes
            .values()
            .find(|route| route.authorizer_id.as_deref() == Some(id))
        {
            return Err(conflict(format!(
                "Cannot delete authorizer '{}', is referenced in route: {}",
                authorizer.name, route.route_key
            )));
        }
        self.authorizers.remove(id);
        Ok(Answer::Deleted)
    }
}

fn check(authorizer: &Authorizer) -> Result<(), ApiError> {
    text_length("name", &authorizer.name, 1, 128)?;
    http_only(&[
        ("authorizerType JWT", authorizer.authorizer_type == AuthorizerType::Jwt),
        (
            "authorizerPayloadFormatVersion",
            authorizer.authorizer_payload_format_version.is_some(),
        ),
        (
            "authorizerResultTtlInSeconds",
            authorizer.authorizer_result_ttl_in_seconds.is_some(),
        ),
        ("enableSimpleResponses", authorizer.enable_simple_responses.is_some()),
        ("jwtConfiguration", authorizer.jwt_configuration.is_some()),
    ])?;
    if authorizer.authorizer_credentials_arn.is_some() {
        return Err(bad_request(
            "authorizerCredentialsArn is not implemented by this local cloud: let API Gateway in with lambda:AddPermission",
        ));
    }
    if authorizer.authorizer_uri.as_deref().and_then(function_of).is_none() {
        return Err(bad_request(
            "authorizerUri must be arn:{partition}:apigateway:{region}:lambda:path/2015-03-31/functions/{function ARN}/invocations",
        ));
    }
    let Some(sources) = &authorizer.identity_source else {
        return Err(bad_request("identitySource is required"));
    };
    match sources.iter().find(|source| IdentitySource::parse(source).is_none()) {
        Some(source) => Err(bad_request(format!(
            "Invalid identity source {source}: expected route.request.header.NAME, route.request.querystring.NAME, stageVariables.NAME or context.NAME"
        ))),
        None => Ok(()),
    }
}
