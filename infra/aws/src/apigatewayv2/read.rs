//! Finds live APIs and what is in them, with one listing per API and type.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_apigatewayv2::primitives::DateTime;
use aws_sdk_apigatewayv2::types::{
    Api, AuthorizationType, Authorizer, AuthorizerType, Deployment, Integration, IntegrationType, ProtocolType, Route,
    RouteResponse, Stage,
};
use futures_util::future::{try_join_all, try_join5};
use infra_cdk::{Kind, LogicalId};
use infra_engine::{CloudError, Live, Ownership, Target};
use serde_json::{Value as Json, json};

use super::{PAGE, api_attributes, child_attributes};
use crate::Session;
use crate::error::found;
use crate::shape::{Shape, Tags, ownership, text};
use crate::throttle::Service;

/// Lists all pages of one type; nothing where the API is gone.
macro_rules! list {
    ($session:expr, $operation:literal, $request:expr) => {{
        let mut items = Vec::new();
        let mut next_token: Option<String> = None;
        loop {
            let request = $request.max_results(PAGE).set_next_token(next_token.take());
            let page = $session.sdk(Service::ApiGateway, $operation, request.send()).await;
            let Some(page) = found(page)? else { break };
            items.extend(page.items.unwrap_or_default());
            next_token = page.next_token.filter(|token| !token.is_empty());
            if next_token.is_none() {
                break;
            }
        }
        Ok::<_, CloudError>(items)
    }};
}

/// Reads recorded APIs by their ids and looks for the others by their tags.
pub(crate) async fn observe_apis(
    session: &Session,
    targets: &[&Target],
) -> Result<BTreeMap<LogicalId, Live>, CloudError> {
    let unrecorded = targets.iter().any(|target| target.physical_id.is_none());
    let all: Vec<Api> = if unrecorded {
        list!(session, "apigateway:GetApis", session.apigateway().get_apis())?
    } else {
        Vec::new()
    };
    let reads = targets.iter().map(async |target| {
        let live = match &target.physical_id {
            Some(id) => read_api(session, target, id).await?,
            None => all.iter().find_map(|api| {
                let tags: Tags = api.tags.clone().unwrap_or_default().into_iter().collect();
                let ours = ownership(&tags, &target.stack, &target.id) == Ownership::Ours;
                let id = api.api_id().filter(|_| ours)?;
                Some(live_api(session, target, api, id, &tags))
            }),
        };
        Ok(live.map(|live| (target.id.clone(), live)))
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}

async fn read_api(session: &Session, target: &Target, id: &str) -> Result<Option<Live>, CloudError> {
    let call = session.apigateway().get_api().api_id(id);
    let answer = session.sdk(Service::ApiGateway, "apigateway:GetApi", call.send()).await;
    Ok(found(answer)?.map(|answer| {
        let api = Api::builder()
            .set_name(answer.name)
            .set_protocol_type(answer.protocol_type)
            .set_route_selection_expression(answer.route_selection_expression)
            .set_api_endpoint(answer.api_endpoint)
            .build();
        let tags = answer.tags.unwrap_or_default().into_iter().collect();
        live_api(session, target, &api, id, &tags)
    }))
}

fn live_api(session: &Session, target: &Target, api: &Api, id: &str, tags: &Tags) -> Live {
    let mut shape = Shape::default();
    shape
        .set("Name", api.name())
        .set("ProtocolType", api.protocol_type().map(ProtocolType::as_str))
        .set("RouteSelectionExpression", api.route_selection_expression())
        .set_tags(Some(tags), target);
    Live {
        physical_id: id.to_owned(),
        properties: shape.0,
        attributes: api_attributes(session, id, api.api_endpoint()),
        ownership: Ownership::Ours,
    }
}

/// Reads what lies in APIs. What is in an API of ours is ours.
pub(crate) async fn observe_children(
    session: &Session,
    targets: &[&Target],
) -> Result<BTreeMap<LogicalId, Live>, CloudError> {
    let mut by_api: BTreeMap<&str, Vec<&Target>> = BTreeMap::new();
    for target in targets {
        // Without a known API there is nothing that could exist.
        if let Some(api) = text(&target.properties, "ApiId") {
            by_api.entry(api).or_default().push(target);
        }
    }
    let reads = by_api.into_iter().map(async |(api, targets)| {
        let children = Children::read(session, api, &targets).await?;
        Ok(targets
            .into_iter()
            .filter_map(|target| Some((target.id.clone(), children.find(api, target)?)))
            .collect::<Vec<_>>())
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}

/// What is in one API, of the types that are asked for.
#[derive(Debug, Default)]
struct Children {
    authorizers: Vec<Authorizer>,
    integrations: Vec<Integration>,
    routes: Vec<Route>,
    /// By the route's id.
    responses: BTreeMap<String, Vec<RouteResponse>>,
    /// Newest first.
    deployments: Vec<Deployment>,
    stages: Vec<Stage>,
}

impl Children {
    async fn read(session: &Session, api: &str, targets: &[&Target]) -> Result<Self, CloudError> {
        let wanted: BTreeSet<Kind> = targets.iter().map(|target| target.kind).collect();
        let client = session.apigateway();
        /// Lists one type if any target is of it.
        macro_rules! wanted {
            ($kind:expr, $operation:literal, $method:ident) => {
                async {
                    if wanted.contains(&$kind) {
                        list!(session, $operation, client.$method().api_id(api))
                    } else {
                        Ok(Vec::new())
                    }
                }
            };
        }
        let mut children = Self::default();
        let responses = async {
            let routes: BTreeSet<&str> = targets
                .iter()
                .filter(|target| target.kind == Kind::RouteResponse)
                .filter_map(|target| text(&target.properties, "RouteId"))
                .collect();
            let lists = routes.into_iter().map(async |route| {
                let request = || client.get_route_responses().api_id(api).route_id(route);
                let responses = list!(session, "apigateway:GetRouteResponses", request())?;
                Ok::<_, CloudError>((route.to_owned(), responses))
            });
            Ok(try_join_all(lists).await?.into_iter().collect())
        };
        let stages = wanted!(Kind::Stage, "apigateway:GetStages", get_stages);
        let lists = try_join5(
            wanted!(Kind::Authorizer, "apigateway:GetAuthorizers", get_authorizers),
            wanted!(Kind::Integration, "apigateway:GetIntegrations", get_integrations),
            wanted!(Kind::Route, "apigateway:GetRoutes", get_routes),
            wanted!(Kind::Deployment, "apigateway:GetDeployments", get_deployments),
            futures_util::future::try_join(responses, stages),
        );
        (
            children.authorizers,
            children.integrations,
            children.routes,
            children.deployments,
            (children.responses, children.stages),
        ) = lists.await?;
        children
            .deployments
            .sort_by_key(|deployment| std::cmp::Reverse(deployment.created_date().map(DateTime::as_nanos)));
        Ok(children)
    }

    /// Finds a recorded child by its id and any other by what tells whose it is.
    fn find(&self, api: &str, target: &Target) -> Option<Live> {
        let recorded = target.physical_id.as_deref();
        let declared = |name: &str| text(&target.properties, name);
        let mark = target.stack.mark(&target.id);
        let mut shape = Shape::default();
        shape.set("ApiId", Some(api));
        let id = match target.kind {
            Kind::Authorizer => {
                let found = self.authorizers.iter().find(|authorizer| match recorded {
                    Some(id) => authorizer.authorizer_id() == Some(id),
                    None => authorizer.name().is_some() && authorizer.name() == declared("Name"),
                })?;
                authorizer(&mut shape, found);
                found.authorizer_id()?
            }
            Kind::Integration => {
                let found = self.integrations.iter().find(|integration| match recorded {
                    Some(id) => integration.integration_id() == Some(id),
                    None => integration.description() == Some(&mark),
                })?;
                integration(&mut shape, found);
                found.integration_id()?
            }
            Kind::Route => {
                let found = self.routes.iter().find(|route| match recorded {
                    Some(id) => route.route_id() == Some(id),
                    None => route.route_key().is_some() && route.route_key() == declared("RouteKey"),
                })?;
                route(&mut shape, found);
                found.route_id()?
            }
            Kind::RouteResponse => {
                let route = declared("RouteId")?;
                let found = self.responses.get(route)?.iter().find(|response| match recorded {
                    Some(id) => response.route_response_id() == Some(id),
                    None => response.route_response_key() == declared("RouteResponseKey"),
                })?;
                shape
                    .set("RouteId", Some(route))
                    .set("RouteResponseKey", found.route_response_key());
                found.route_response_id()?
            }
            Kind::Deployment => {
                let (found, trigger) = self.deployment(recorded, &mark, declared("Trigger"))?;
                shape.set("Trigger", trigger);
                found.deployment_id()?
            }
            Kind::Stage => {
                let name = recorded.or_else(|| declared("StageName"))?;
                let found = self.stages.iter().find(|stage| stage.stage_name() == Some(name))?;
                stage(&mut shape, found, target);
                name
            }
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
            | Kind::Dashboard => return None,
        };
        Some(Live {
            physical_id: id.to_owned(),
            properties: shape.0,
            attributes: child_attributes(target.kind, id),
            ownership: Ownership::Ours,
        })
    }

    /// Returns a deployment and what it says it is a snapshot of: the recorded one, or of those with our mark the newest
    /// with the declared trigger, or the newest.
    fn deployment(
        &self,
        recorded: Option<&str>,
        mark: &str,
        trigger: Option<&str>,
    ) -> Option<(&Deployment, Option<&str>)> {
        let mut marked = self.deployments.iter().map(|deployment| {
            let trigger = deployment
                .description()
                .and_then(|description| description.strip_prefix(mark)?.strip_prefix(' '));
            (deployment, trigger)
        });
        if let Some(id) = recorded {
            return marked.find(|(deployment, _)| deployment.deployment_id() == Some(id));
        }
        let ours: Vec<_> = marked.filter(|(_, trigger)| trigger.is_some()).collect();
        let matching = ours.iter().find(|(_, found)| *found == trigger);
        matching.or_else(|| ours.first()).copied()
    }
}

fn authorizer(shape: &mut Shape, live: &Authorizer) {
    shape
        .set("Name", live.name())
        .set("AuthorizerType", live.authorizer_type().map(AuthorizerType::as_str))
        .set("AuthorizerUri", live.authorizer_uri())
        .set(
            "IdentitySource",
            Some(live.identity_source().to_vec()).filter(|sources| !sources.is_empty()),
        );
}

fn integration(shape: &mut Shape, live: &Integration) {
    shape
        .set("IntegrationType", live.integration_type().map(IntegrationType::as_str))
        .set("IntegrationMethod", live.integration_method())
        .set("IntegrationUri", live.integration_uri())
        .set("TimeoutInMillis", live.timeout_in_millis());
}

fn route(shape: &mut Shape, live: &Route) {
    let authorization = live.authorization_type().map_or("NONE", AuthorizationType::as_str);
    shape
        .set("RouteKey", live.route_key())
        .set("Target", live.target())
        .set("AuthorizationType", Some(authorization))
        // Without authorization, an authorizer that the route once had means nothing.
        .set(
            "AuthorizerId",
            live.authorizer_id().filter(|_| authorization == "CUSTOM"),
        )
        .set(
            "RouteResponseSelectionExpression",
            live.route_response_selection_expression()
                .filter(|expression| !expression.is_empty()),
        );
}

fn stage(shape: &mut Shape, live: &Stage, target: &Target) {
    let tags = live.tags().map(|tags| tags.clone().into_iter().collect());
    shape
        .set("StageName", live.stage_name())
        .set("DeploymentId", live.deployment_id())
        .set_tags(tags.as_ref(), target);
    if let Some(settings) = live.access_log_settings() {
        let mut log = Shape::default();
        // Some answer the ARN with what ends those of streams.
        let destination = settings.destination_arn().map(|arn| arn.trim_end_matches(":*"));
        log.set("DestinationArn", destination).set("Format", settings.format());
        if !log.0.is_empty() {
            shape.set("AccessLogSettings", Some(log.0));
        }
    }
    if let Some(settings) = live.default_route_settings() {
        let mut limits = Shape::default();
        limits
            .set("ThrottlingRateLimit", settings.throttling_rate_limit().map(whole))
            .set("ThrottlingBurstLimit", settings.throttling_burst_limit());
        if !limits.0.is_empty() {
            shape.set("DefaultRouteSettings", Some(limits.0));
        }
    }
}

/// Rates are declared as whole numbers and answered as fractions.
fn whole(rate: f64) -> Json {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked: equal to its rounding and small"
    )]
    if rate.fract() == 0.0 && rate.abs() < 1e15 {
        json!(rate as i64)
    } else {
        json!(rate)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use aws_sdk_apigatewayv2::types::RouteSettings;
    use infra_cdk::StackId;

    use super::*;

    fn target(kind: Kind, id: &str, physical_id: Option<&str>, properties: Json) -> Target {
        Target {
            stack: StackId {
                app: "chat".into(),
                stage: "dev".into(),
            },
            id: id.parse().unwrap(),
            kind,
            physical_id: physical_id.map(str::to_owned),
            properties: properties.as_object().unwrap().clone(),
        }
    }

    fn deployment(id: &str, at: i64, description: &str) -> Deployment {
        Deployment::builder()
            .deployment_id(id)
            .created_date(DateTime::from_secs(at))
            .description(description)
            .build()
    }

    #[test]
    fn deployments_are_found_by_record_then_trigger_then_age() {
        let children = Children {
            deployments: vec![
                deployment("d4", 4, "by hand"),
                deployment("d3", 3, "stackwright chat/dev/ChatDeployment ccc"),
                deployment("d2", 2, "stackwright chat/dev/ChatDeployment bbb"),
                deployment("d1", 1, "stackwright chat/dev/ChatDeploymentOther aaa"),
            ],
            ..Children::default()
        };
        for (recorded, trigger, expected) in [
            (Some("d2"), "zzz", Some(("d2", Some("bbb")))),
            (Some("d4"), "zzz", Some(("d4", None))),
            (Some("d9"), "bbb", None),
            (None, "bbb", Some(("d2", Some("bbb")))),
            (None, "zzz", Some(("d3", Some("ccc")))),
        ] {
            let target = target(
                Kind::Deployment,
                "ChatDeployment",
                recorded,
                json!({"ApiId": "a", "Trigger": trigger}),
            );
            let live = children.find("a", &target);
            let found = live
                .as_ref()
                .map(|live| (live.physical_id.as_str(), text(&live.properties, "Trigger")));
            assert_eq!(found, expected, "{recorded:?} {trigger}");
        }
    }

    #[test]
    fn children_have_the_shapes_that_are_declared() {
        let children = Children {
            integrations: vec![
                Integration::builder()
                    .integration_id("i1")
                    .description("stackwright chat/dev/ChatConnectIntegration")
                    .integration_type(IntegrationType::AwsProxy)
                    .integration_method("POST")
                    .integration_uri("arn")
                    .timeout_in_millis(29_000)
                    .build(),
            ],
            routes: vec![
                Route::builder()
                    .route_id("r1")
                    .route_key("$connect")
                    .target("integrations/i1")
                    .authorization_type(AuthorizationType::Custom)
                    .authorizer_id("z1")
                    .route_response_selection_expression("")
                    .build(),
            ],
            stages: vec![
                Stage::builder()
                    .stage_name("dev")
                    .deployment_id("d1")
                    .default_route_settings(
                        RouteSettings::builder()
                            .throttling_rate_limit(100.0)
                            .throttling_burst_limit(50)
                            .detailed_metrics_enabled(false)
                            .build(),
                    )
                    .build(),
            ],
            ..Children::default()
        };
        let find = |kind, id, properties| {
            Json::Object(
                children
                    .find("a", &target(kind, id, None, properties))
                    .unwrap()
                    .properties,
            )
        };
        assert_eq!(
            find(Kind::Integration, "ChatConnectIntegration", json!({"ApiId": "a"})),
            json!({"ApiId": "a", "IntegrationType": "AWS_PROXY", "IntegrationMethod": "POST", "IntegrationUri": "arn",
                "TimeoutInMillis": 29_000})
        );
        assert_eq!(
            find(
                Kind::Route,
                "ChatConnectRoute",
                json!({"ApiId": "a", "RouteKey": "$connect"})
            ),
            json!({"ApiId": "a", "RouteKey": "$connect", "Target": "integrations/i1", "AuthorizationType": "CUSTOM",
                "AuthorizerId": "z1"})
        );
        assert_eq!(
            find(
                Kind::Stage,
                "ChatStage",
                json!({"ApiId": "a", "StageName": "dev", "Tags": {"stackwright:app": "chat"}})
            ),
            json!({"ApiId": "a", "StageName": "dev", "DeploymentId": "d1", "Tags": {"stackwright:app": "chat"},
                "DefaultRouteSettings": {"ThrottlingRateLimit": 100, "ThrottlingBurstLimit": 50}})
        );
    }
}
