//! Integrations: the functions behind routes.

use super::body::{
    Object, bad_request, conflict, create, function_of, http_only, not_found, optional_length, to_json, update,
};
use super::model::{ConnectionType, Integration, IntegrationType};
use super::store::ApiRecord;
use super::{Answer, random_id};
use crate::wire::ApiError;

impl ApiRecord {
    pub(super) fn integration(&self, id: &str) -> Result<&Integration, ApiError> {
        self.integrations.get(id).ok_or_else(|| not_found("Integration"))
    }

    pub(super) fn create_integration(&mut self, body: Object) -> Result<Answer, ApiError> {
        let mut integration: Integration = create(body)?;
        integration.integration_id = random_id(7);
        if integration.integration_type == IntegrationType::AwsProxy {
            integration.integration_method.get_or_insert_with(|| "POST".to_owned());
        }
        check(&integration)?;
        let answer = Answer::Created(to_json(&integration));
        self.integrations
            .insert(integration.integration_id.clone(), integration);
        Ok(answer)
    }

    pub(super) fn update_integration(&mut self, id: &str, body: Object) -> Result<Answer, ApiError> {
        let integration = update(self.integration(id)?, body)?;
        check(&integration)?;
        let answer = Answer::Found(to_json(&integration));
        self.integrations.insert(id.to_owned(), integration);
        Ok(answer)
    }

    pub(super) fn delete_integration(&mut self, id: &str) -> Result<Answer, ApiError> {
        self.integration(id)?;
        let target = format!("integrations/{id}");
        let uses = self
            .routes
            .values()
            .filter(|route| route.target.as_ref() == Some(&target));
        let users: Vec<&str> = uses.map(|route| route.route_key.as_str()).collect();
        if !users.is_empty() {
            return Err(conflict(format!(
                "Cannot delete Integration because it is referenced by the following Routes: {}",
                users.join(", ")
            )));
        }
        self.integrations.remove(id);
        Ok(Answer::Deleted)
    }
}

fn check(integration: &Integration) -> Result<(), ApiError> {
    http_only(&[
        ("integrationSubtype", integration.integration_subtype.is_some()),
        ("payloadFormatVersion 2.0", integration.payload_format_version == "2.0"),
        ("tlsConfig", integration.tls_config.is_some()),
    ])?;
    if integration.payload_format_version != "1.0" {
        return Err(bad_request("payloadFormatVersion must be 1.0"));
    }
    if !(50..=29_000).contains(&integration.timeout_in_millis) {
        return Err(bad_request("Timeout should be between 50 ms and 29000 ms"));
    }
    optional_length("description", integration.description.as_deref(), 0, 1024)?;
    if integration.connection_type == ConnectionType::VpcLink || integration.connection_id.is_some() {
        return Err(bad_request("VPC links are not implemented by this local cloud"));
    }
    if integration.credentials_arn.is_some() {
        return Err(bad_request(
            "credentialsArn is not implemented by this local cloud: let API Gateway in with lambda:AddPermission",
        ));
    }
    match integration.integration_type {
        IntegrationType::Mock => Ok(()),
        IntegrationType::AwsProxy => check_lambda(integration),
        IntegrationType::Aws | IntegrationType::Http | IntegrationType::HttpProxy => Err(bad_request(
            "integrationType must be AWS_PROXY or MOCK: the others are not implemented by this local cloud",
        )),
    }
}

fn check_lambda(integration: &Integration) -> Result<(), ApiError> {
    if integration.integration_method.as_deref() != Some("POST") {
        return Err(bad_request("integrationMethod must be POST for a Lambda integration"));
    }
    match integration.integration_uri.as_deref().and_then(function_of) {
        Some(_) => Ok(()),
        None => Err(bad_request(
            "integrationUri must be arn:{partition}:apigateway:{region}:lambda:path/2015-03-31/functions/{function ARN}/invocations",
        )),
    }
}
