//! WebSocket APIs and what lies inside them.
//!
//! API Gateway assigns the ids and lets names repeat, so things are found again by tags (APIs), by a marker in their
//! description (integrations, deployments), by name (authorizers) or by their natural key (routes, route responses,
//! stages). Updates leave alone what they do not mention.
//!
//! Read next: [`mod@read`] for how live things are found, [`mod@write`] for how they are made.

mod read;
mod write;

use std::collections::BTreeMap;

use infra_cdk::Kind;
use infra_engine::{CloudError, Desired, Live, Target};

pub(crate) use read::{observe_apis, observe_children};

use crate::Session;
use crate::error::gone;
use crate::shape::text;

/// Largest page that API Gateway gives.
const PAGE: &str = "100";

/// Makes or updates an API or something in one. `attempted`: an earlier attempt in this process may have made it
/// without hearing so; then it is looked for first, even where AWS would refuse a second one: not everybody who stands in
/// for AWS does.
pub(crate) async fn reconcile(
    session: &Session,
    desired: &Desired,
    live: Option<&Live>,
    attempted: bool,
) -> Result<Live, CloudError> {
    let located = if attempted {
        write::located(session, desired).await?
    } else {
        None
    };
    let live = live.or(located.as_ref());
    match desired.kind {
        Kind::Api => write::api(session, desired, live).await,
        Kind::Authorizer => write::authorizer(session, desired, live).await,
        Kind::Integration => write::integration(session, desired, live).await,
        Kind::Deployment => write::deployment(session, desired, live).await,
        Kind::Route => write::route(session, desired, live).await,
        Kind::RouteResponse => write::route_response(session, desired, live).await,
        Kind::Stage => write::stage(session, desired, live).await,
        Kind::Table
        | Kind::Role
        | Kind::RolePolicy
        | Kind::Function
        | Kind::Alias
        | Kind::Permission
        | Kind::Url
        | Kind::LogGroup
        | Kind::Parameter
        | Kind::Account
        | Kind::Alarm
        | Kind::Dashboard => Err(crate::cloud::misdirected(desired.kind)),
    }
}

/// Deletes an API with all that is in it, or one thing in it. Without the API's id there is nothing to delete.
pub(crate) async fn delete(session: &Session, target: &Target, id: &str) -> Result<(), CloudError> {
    macro_rules! call {
        ($api:expr, $operation:literal, $request:expr) => {
            gone(session.change_api($api, $operation, $request.send()).await)
        };
    }
    let client = session.apigateway();
    if target.kind == Kind::Api {
        return call!(id, "apigateway:DeleteApi", client.delete_api().api_id(id));
    }
    let Some(api) = text(&target.properties, "ApiId") else {
        return Ok(());
    };
    match target.kind {
        Kind::Authorizer => call!(
            api,
            "apigateway:DeleteAuthorizer",
            client.delete_authorizer().api_id(api).authorizer_id(id)
        ),
        Kind::Integration => call!(
            api,
            "apigateway:DeleteIntegration",
            client.delete_integration().api_id(api).integration_id(id)
        ),
        Kind::Deployment => call!(
            api,
            "apigateway:DeleteDeployment",
            client.delete_deployment().api_id(api).deployment_id(id)
        ),
        Kind::Route => call!(
            api,
            "apigateway:DeleteRoute",
            client.delete_route().api_id(api).route_id(id)
        ),
        Kind::RouteResponse => match text(&target.properties, "RouteId") {
            Some(route) => call!(
                api,
                "apigateway:DeleteRouteResponse",
                client
                    .delete_route_response()
                    .api_id(api)
                    .route_id(route)
                    .route_response_id(id)
            ),
            None => Ok(()),
        },
        Kind::Stage => call!(
            api,
            "apigateway:DeleteStage",
            client.delete_stage().api_id(api).stage_name(id)
        ),
        Kind::Api
        | Kind::Table
        | Kind::Role
        | Kind::RolePolicy
        | Kind::Function
        | Kind::Alias
        | Kind::Permission
        | Kind::Url
        | Kind::LogGroup
        | Kind::Parameter
        | Kind::Account
        | Kind::Alarm
        | Kind::Dashboard => Err(crate::cloud::misdirected(target.kind)),
    }
}

/// Returns the attributes of an API: where clients and functions find it, without the stage.
///
/// At AWS these are `wss://` and `https://` of one host; behind an endpoint override there are no host names to
/// resolve, and both are paths under the override.
fn api_attributes(session: &Session, id: &str, reported: Option<&str>) -> BTreeMap<String, String> {
    let context = session.context();
    let (client, management) = match session.endpoint_url() {
        Some(endpoint) => {
            let management = format!("{}/_aws/execute-api/{id}", endpoint.trim_end_matches('/'));
            (management.replacen("http", "ws", 1), management)
        }
        None => {
            let suffix = if context.partition == "aws-cn" { ".cn" } else { "" };
            let host = format!("{id}.execute-api.{}.amazonaws.com{suffix}", context.region);
            let client = reported
                .filter(|url| url.starts_with("wss://"))
                .map_or_else(|| format!("wss://{host}"), str::to_owned);
            let management = client.replacen("wss://", "https://", 1);
            (client, management)
        }
    };
    BTreeMap::from([
        ("ApiId".to_owned(), id.to_owned()),
        ("ApiEndpoint".to_owned(), client),
        ("ManagementEndpoint".to_owned(), management),
    ])
}

/// Returns the attributes of something in an API.
fn child_attributes(kind: Kind, id: &str) -> BTreeMap<String, String> {
    kind.attributes()
        .iter()
        .map(|name| ((*name).to_owned(), id.to_owned()))
        .collect()
}
