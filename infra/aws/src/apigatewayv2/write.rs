//! Makes and updates APIs and what is in them.

use std::time::Duration;

use aws_sdk_apigatewayv2::types::{
    AccessLogSettings, AuthorizationType, AuthorizerType, DeploymentStatus, IntegrationType, ProtocolType,
    RouteSettings,
};
use infra_cdk::Kind;
use infra_engine::{Class, CloudError, Desired, Live, Properties};
use serde_json::Value as Json;
use tokio::time::{Instant, sleep};

use super::{api_attributes, child_attributes, observe_apis, observe_children};
use crate::Session;
use crate::error::{gone, is_already_there, refused};
use crate::iam::ours;
use crate::shape::{as_desired, changed_tags, declared_tags, differs, integer, is_cleared, required, text, unrecorded};
use crate::throttle::Service;

const POLL_FIRST: Duration = Duration::from_millis(200);
const POLL_LAST: Duration = Duration::from_secs(1);
/// Deployments take a second or two; this is far more.
const DEPLOYED_WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn api(session: &Session, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
    let properties = &desired.properties;
    let expression = text(properties, "RouteSelectionExpression").map(str::to_owned);
    let Some(live) = live else {
        let call = session
            .apigateway()
            .create_api()
            .name(required(desired, "Name")?)
            .protocol_type(ProtocolType::from(required(desired, "ProtocolType")?))
            .set_route_selection_expression(expression)
            .set_tags(Some(declared_tags(properties).into_iter().collect()));
        let answer = session
            .sdk(Service::ApiGateway, "apigateway:CreateApi", call.send())
            .await?;
        let id = assigned(desired, answer.api_id())?;
        return Ok(as_desired(
            desired,
            id,
            api_attributes(session, id, answer.api_endpoint()),
        ));
    };
    let id = &live.physical_id;
    if differs(desired, live, "Name") || differs(desired, live, "RouteSelectionExpression") {
        let call = session
            .apigateway()
            .update_api()
            .api_id(id)
            .name(required(desired, "Name")?)
            .set_route_selection_expression(expression);
        session.change_api(id, "apigateway:UpdateApi", call.send()).await?;
    }
    sync_tags(session, desired, live, &format!("/apis/{id}")).await?;
    Ok(as_desired(desired, id, live.attributes.clone()))
}

pub(super) async fn authorizer(session: &Session, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
    let api = required(desired, "ApiId")?;
    let kind = text(&desired.properties, "AuthorizerType").map(AuthorizerType::from);
    let uri = text(&desired.properties, "AuthorizerUri").map(str::to_owned);
    let sources = identity_source(&desired.properties);
    let Some(live) = live else {
        let call = session
            .apigateway()
            .create_authorizer()
            .api_id(api)
            .name(required(desired, "Name")?)
            .set_authorizer_type(kind)
            .set_authorizer_uri(uri)
            .set_identity_source(Some(sources));
        let answer = session
            .change_api(api, "apigateway:CreateAuthorizer", call.send())
            .await?;
        return child(desired, answer.authorizer_id());
    };
    let call = session
        .apigateway()
        .update_authorizer()
        .api_id(api)
        .authorizer_id(&live.physical_id)
        .name(required(desired, "Name")?)
        .set_authorizer_type(kind)
        .set_authorizer_uri(uri)
        .set_identity_source(Some(sources));
    if ["Name", "AuthorizerType", "AuthorizerUri", "IdentitySource"]
        .iter()
        .any(|property| differs(desired, live, property))
    {
        session
            .change_api(api, "apigateway:UpdateAuthorizer", call.send())
            .await?;
    }
    child(desired, Some(&live.physical_id))
}

/// Returns what a request must carry before the authorizer is asked.
///
/// None is declared by the constructs. The service's model calls the member required and its description optional for
/// `REQUEST` authorizers; an empty list satisfies both.
fn identity_source(properties: &Properties) -> Vec<String> {
    let declared = properties.get("IdentitySource").and_then(Json::as_array);
    declared
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .map(str::to_owned)
        .collect()
}

pub(super) async fn integration(session: &Session, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
    let api = required(desired, "ApiId")?;
    let properties = &desired.properties;
    let kind = text(properties, "IntegrationType").map(IntegrationType::from);
    let method = text(properties, "IntegrationMethod").map(str::to_owned);
    let uri = text(properties, "IntegrationUri").map(str::to_owned);
    let timeout = integer(properties, "TimeoutInMillis");
    let description = desired.stack.mark(&desired.id);
    let Some(live) = live else {
        let call = session
            .apigateway()
            .create_integration()
            .api_id(api)
            .description(description)
            .set_integration_type(kind)
            .set_integration_method(method)
            .set_integration_uri(uri)
            .set_timeout_in_millis(timeout);
        let answer = session
            .change_api(api, "apigateway:CreateIntegration", call.send())
            .await?;
        return child(desired, answer.integration_id());
    };
    let call = session
        .apigateway()
        .update_integration()
        .api_id(api)
        .integration_id(&live.physical_id)
        .description(description)
        .set_integration_type(kind)
        .set_integration_method(method)
        .set_integration_uri(uri)
        .set_timeout_in_millis(timeout);
    if [
        "IntegrationType",
        "IntegrationMethod",
        "IntegrationUri",
        "TimeoutInMillis",
    ]
    .iter()
    .any(|property| differs(desired, live, property))
    {
        session
            .change_api(api, "apigateway:UpdateIntegration", call.send())
            .await?;
    }
    child(desired, Some(&live.physical_id))
}

pub(super) async fn route(session: &Session, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
    let api = required(desired, "ApiId")?;
    let properties = &desired.properties;
    let key = required(desired, "RouteKey")?;
    let target = text(properties, "Target").map(str::to_owned);
    let authorizer = text(properties, "AuthorizerId").map(str::to_owned);
    let authorization = text(properties, "AuthorizationType").map(AuthorizationType::from);
    let expression = text(properties, "RouteResponseSelectionExpression").map(str::to_owned);
    let adopted;
    let live = match live {
        Some(live) => live,
        None => {
            let call = session
                .apigateway()
                .create_route()
                .api_id(api)
                .route_key(key)
                .set_target(target.clone())
                .set_authorization_type(authorization.clone())
                .set_authorizer_id(authorizer.clone())
                .set_route_response_selection_expression(expression.clone());
            let answer = session.change_api(api, "apigateway:CreateRoute", call.send()).await;
            match answer {
                Ok(answer) => return child(desired, answer.route_id()),
                Err(error) if is_already_there(&error) => {
                    adopted = ours(error, located(session, desired).await?)?;
                    &adopted
                }
                Err(error) => return Err(error),
            }
        }
    };
    let changed = [
        "RouteKey",
        "Target",
        "AuthorizationType",
        "AuthorizerId",
        "RouteResponseSelectionExpression",
    ]
    .iter()
    .any(|property| differs(desired, live, property));
    if changed {
        let call = session
            .apigateway()
            .update_route()
            .api_id(api)
            .route_id(&live.physical_id)
            .route_key(key)
            .set_target(target)
            .set_authorization_type(authorization)
            .set_authorizer_id(authorizer)
            .set_route_response_selection_expression(
                expression.or_else(|| is_cleared(desired, "RouteResponseSelectionExpression").then(String::new)),
            );
        session.change_api(api, "apigateway:UpdateRoute", call.send()).await?;
    }
    child(desired, Some(&live.physical_id))
}

pub(super) async fn route_response(
    session: &Session,
    desired: &Desired,
    live: Option<&Live>,
) -> Result<Live, CloudError> {
    if let Some(live) = live {
        // It is nothing but its key.
        return child(desired, Some(&live.physical_id));
    }
    let api = required(desired, "ApiId")?;
    let call = session
        .apigateway()
        .create_route_response()
        .api_id(api)
        .route_id(required(desired, "RouteId")?)
        .route_response_key(required(desired, "RouteResponseKey")?);
    let answer = session
        .change_api(api, "apigateway:CreateRouteResponse", call.send())
        .await;
    match answer {
        Ok(answer) => child(desired, answer.route_response_id()),
        Err(error) if is_already_there(&error) => {
            let live = ours(error, located(session, desired).await?)?;
            child(desired, Some(&live.physical_id))
        }
        Err(error) => Err(error),
    }
}

/// Takes a snapshot of the API's routes and waits until it is deployed. No stage is moved: that is the stage's step.
pub(super) async fn deployment(session: &Session, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
    let api = required(desired, "ApiId")?;
    let trigger = required(desired, "Trigger")?;
    let (id, status) = match live.filter(|live| text(&live.properties, "Trigger") == Some(trigger)) {
        Some(live) => (live.physical_id.clone(), None),
        None => {
            let call = session
                .apigateway()
                .create_deployment()
                .api_id(api)
                .description(desired.stack.mark_of_snapshot(&desired.id, trigger));
            let answer = session
                .change_api(api, "apigateway:CreateDeployment", call.send())
                .await?;
            let id = assigned(desired, answer.deployment_id())?.to_owned();
            (id, answer.deployment_status)
        }
    };
    if status != Some(DeploymentStatus::Deployed) {
        deployed(session, api, &id).await?;
    }
    child(desired, Some(&id))
}

async fn deployed(session: &Session, api: &str, id: &str) -> Result<(), CloudError> {
    const OPERATION: &str = "apigateway:GetDeployment";
    let deadline = Instant::now() + DEPLOYED_WITHIN;
    let mut pause = POLL_FIRST;
    loop {
        let call = session.apigateway().get_deployment().api_id(api).deployment_id(id);
        let answer = session.sdk(Service::ApiGateway, OPERATION, call.send()).await?;
        match answer.deployment_status() {
            Some(DeploymentStatus::Deployed) => return Ok(()),
            Some(DeploymentStatus::Failed) => {
                let reason = answer
                    .deployment_status_message()
                    .unwrap_or("API Gateway gives no reason");
                let message = format!("deployment {id} failed: {reason}");
                return Err(refused(OPERATION, Class::Permanent, message));
            }
            Some(_) | None if Instant::now() < deadline => {}
            Some(_) | None => {
                let message = format!("{id} is not deployed after {} s", DEPLOYED_WITHIN.as_secs());
                return Err(refused(OPERATION, Class::Busy, message));
            }
        }
        sleep(pause).await;
        pause = (pause * 3 / 2).min(POLL_LAST);
    }
}

pub(super) async fn stage(session: &Session, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
    let api = required(desired, "ApiId")?;
    let name = required(desired, "StageName")?;
    let deployment = text(&desired.properties, "DeploymentId").map(str::to_owned);
    let adopted;
    let live = match live {
        Some(live) => live,
        None => {
            let call = session
                .apigateway()
                .create_stage()
                .api_id(api)
                .stage_name(name)
                .set_deployment_id(deployment.clone())
                .set_default_route_settings(limits(desired))
                .set_access_log_settings(access_log(desired))
                .set_tags(Some(declared_tags(&desired.properties).into_iter().collect()));
            let answer = session.change_api(api, "apigateway:CreateStage", call.send()).await;
            match answer {
                Ok(_) => return child(desired, Some(name)),
                Err(error) if is_already_there(&error) => {
                    adopted = ours(error, located(session, desired).await?)?;
                    &adopted
                }
                Err(error) => return Err(error),
            }
        }
    };
    let has_access_log = live.properties.contains_key("AccessLogSettings");
    if has_access_log && is_cleared(desired, "AccessLogSettings") {
        let call = session
            .apigateway()
            .delete_access_log_settings()
            .api_id(api)
            .stage_name(name);
        gone(
            session
                .change_api(api, "apigateway:DeleteAccessLogSettings", call.send())
                .await,
        )?;
    }
    let access_log_differs =
        desired.properties.contains_key("AccessLogSettings") && differs(desired, live, "AccessLogSettings");
    if differs(desired, live, "DeploymentId") || differs(desired, live, "DefaultRouteSettings") || access_log_differs {
        let call = session
            .apigateway()
            .update_stage()
            .api_id(api)
            .stage_name(name)
            .set_deployment_id(deployment)
            .set_default_route_settings(limits(desired))
            .set_access_log_settings(access_log(desired).filter(|_| access_log_differs));
        session.change_api(api, "apigateway:UpdateStage", call.send()).await?;
    }
    sync_tags(session, desired, live, &format!("/apis/{api}/stages/{name}")).await?;
    child(desired, Some(name))
}

fn limits(desired: &Desired) -> Option<RouteSettings> {
    let declared = desired.properties.get("DefaultRouteSettings")?.as_object()?;
    Some(
        RouteSettings::builder()
            .set_throttling_rate_limit(declared.get("ThrottlingRateLimit").and_then(Json::as_f64))
            .set_throttling_burst_limit(integer(declared, "ThrottlingBurstLimit"))
            .build(),
    )
}

fn access_log(desired: &Desired) -> Option<AccessLogSettings> {
    let declared = desired.properties.get("AccessLogSettings")?.as_object()?;
    Some(
        AccessLogSettings::builder()
            .set_destination_arn(text(declared, "DestinationArn").map(str::to_owned))
            .set_format(text(declared, "Format").map(str::to_owned))
            .build(),
    )
}

async fn sync_tags(session: &Session, desired: &Desired, live: &Live, path: &str) -> Result<(), CloudError> {
    let Some(tags) = changed_tags(desired, live) else {
        return Ok(());
    };
    let context = session.context();
    let call = session
        .apigateway()
        .tag_resource()
        .resource_arn(format!(
            "arn:{}:apigateway:{}::{path}",
            context.partition, context.region
        ))
        .set_tags(Some(tags.into_iter().collect()));
    session
        .sdk(Service::ApiGateway, "apigateway:TagResource", call.send())
        .await
        .map(|_| ())
}

/// Looks for what was made without anybody hearing so.
pub(super) async fn located(session: &Session, desired: &Desired) -> Result<Option<Live>, CloudError> {
    let target = unrecorded(desired);
    let found = match desired.kind {
        Kind::Api => observe_apis(session, &[&target]).await?,
        _ => observe_children(session, &[&target]).await?,
    };
    Ok(found.into_values().next())
}

fn child(desired: &Desired, id: Option<&str>) -> Result<Live, CloudError> {
    let id = assigned(desired, id)?;
    Ok(as_desired(desired, id, child_attributes(desired.kind, id)))
}

fn assigned<'a>(desired: &Desired, id: Option<&'a str>) -> Result<&'a str, CloudError> {
    id.ok_or_else(|| {
        let message = format!("API Gateway made {} and told no id", desired.id);
        refused("apigateway:Create", Class::Transient, message)
    })
}
