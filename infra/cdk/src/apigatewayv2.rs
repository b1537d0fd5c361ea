//! WebSocket APIs.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::iam::Statement;
use crate::lambda::{ALIAS, Callee};
use crate::stack::{Draft, DraftStack};
use crate::{Function, Kind, LogicalId, Metric, RemovalPolicy, Resource, Value};

/// Longest time that API Gateway waits for a function, in milliseconds: the maximum for WebSocket APIs (API Gateway
/// Developer Guide, "Quotas for configuring and running a WebSocket API").
const INTEGRATION_TIMEOUT_MS: u32 = 29_000;

/// Role by which API Gateway writes logs where the account has named no other.
const LOG_ROLE: &str = "stackwright-apigateway-logs";

/// What a line of the access log says: no query string, so no token (API Gateway Developer Guide, "Set up logging for a
/// WebSocket API" and "`$context` variables").
const ACCESS_LOG: [(&str, &str); 15] = [
    ("apiId", "apiId"),
    ("authorizerError", "authorizer.error"),
    ("authorizerLatency", "authorizer.latency"),
    ("connectionId", "connectionId"),
    ("error", "error.message"),
    ("eventType", "eventType"),
    ("integrationError", "integration.error"),
    ("integrationLatency", "integration.latency"),
    ("integrationStatus", "integration.status"),
    ("requestId", "requestId"),
    ("requestTime", "requestTime"),
    ("routeKey", "routeKey"),
    ("sourceIp", "identity.sourceIp"),
    ("stage", "stage"),
    ("status", "status"),
];

/// A WebSocket API in a stack.
#[derive(Clone, Debug)]
pub struct WebSocketApi {
    draft: Draft,
    name: String,
}

/// An API under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Api {
    name: String,
    /// Name of the authorizer's function.
    authorizer: Option<String>,
    has_access_log: bool,
    routes: BTreeMap<String, Route>,
}

#[derive(Clone, Debug)]
struct Route {
    function: String,
    replies: bool,
}

impl WebSocketApi {
    pub(crate) fn add_to(draft: &Draft, name: &str) -> Self {
        let api = Api {
            name: name.to_owned(),
            ..Api::default()
        };
        let previous = draft.borrow_mut().apis.insert(name.to_owned(), api);
        if previous.is_some() {
            draft
                .borrow_mut()
                .mistakes
                .push(crate::Mistake::Duplicate { id: api_id(name) });
        }
        Self {
            draft: draft.clone(),
            name: name.to_owned(),
        }
    }

    /// Asks a function whether a client may connect. Without an authorizer, everybody may.
    ///
    /// No identity source is set: API Gateway would refuse a client that lacks one of them, and a token may come in a
    /// header, the query or a subprotocol.
    #[must_use]
    pub fn authorizer(self, function: &Function) -> Self {
        self.change(|api| api.authorizer = Some(function.name().to_owned()));
        self
    }

    /// Calls a function for messages whose `action` is `key`, or for `$connect`, `$disconnect`, `$default`. What the
    /// function returns decides about `$connect` and is dropped otherwise.
    #[must_use]
    pub fn route(self, key: &str, function: &Function) -> Self {
        self.add_route(key, function, false)
    }

    /// Like [`WebSocketApi::route`], and sends the `body` that the function returns back to the caller.
    #[must_use]
    pub fn replying_route(self, key: &str, function: &Function) -> Self {
        self.add_route(key, function, true)
    }

    /// Writes a line of JSON for each connect, message and disconnect into a log group of its own, which is kept as long as
    /// those of functions.
    ///
    /// API Gateway writes logs by one role for all APIs of an account and Region. Where the account has named none, a
    /// deployment makes one and names it; both stay when the stack goes, because others may have come to rely on them.
    pub fn access_log(&self) {
        self.change(|api| api.has_access_log = true);
    }

    /// Returns one of the metrics that API Gateway keeps of this API's stage: `ConnectCount`, `MessageCount`,
    /// `IntegrationError`, `ClientError`, `ExecutionError`, `IntegrationLatency` (API Gateway Developer Guide, "Monitor
    /// WebSocket API execution with CloudWatch metrics").
    #[must_use]
    pub fn metric(&self, name: &str) -> Metric {
        Metric::new("AWS/ApiGateway", name)
            .dimension("ApiId", attribute(&api_id(&self.name), "ApiId"))
            .dimension("Stage", self.stage_name())
    }

    /// Lets a function post to connections of this API.
    pub fn grant_post_to_connections(&self, function: &Function) {
        self.grant_connections(function, "PostTo", "POST");
    }

    /// Lets a function end connections of this API.
    pub fn grant_disconnect(&self, function: &Function) {
        self.grant_connections(function, "Disconnect", "DELETE");
    }

    fn grant_connections(&self, function: &Function, verb: &str, method: &str) {
        let path = format!("/{method}/@connections/*");
        let arn = execute_api_arn(
            &api_id(&self.name),
            vec!["/".into(), self.stage_name(), path.as_str().into()],
        );
        let sid = format!("{verb}{}", api_id(&self.name));
        function.allow(Statement::allow(sid, ["execute-api:ManageConnections"], [arn]));
    }

    /// Returns the URL that clients connect to.
    #[must_use]
    pub fn url(&self) -> Value {
        self.under("ApiEndpoint")
    }

    /// Returns the URL under which functions find `@connections`.
    #[must_use]
    pub fn management_url(&self) -> Value {
        self.under("ManagementEndpoint")
    }

    fn under(&self, endpoint: &'static str) -> Value {
        let endpoint = Value::Attribute {
            of: api_id(&self.name),
            name: endpoint,
        };
        Value::Join(vec![endpoint, "/".into(), self.stage_name()])
    }

    fn stage_name(&self) -> Value {
        self.draft.borrow().id.stage.as_str().into()
    }

    fn add_route(self, key: &str, function: &Function, replies: bool) -> Self {
        let route = Route {
            function: function.name().to_owned(),
            replies,
        };
        let id = LogicalId::from_words(&[&self.name, key, "route"]);
        let mut previous = None;
        self.change(|api| previous = api.routes.insert(key.to_owned(), route));
        if previous.is_some() {
            self.draft.borrow_mut().mistakes.push(crate::Mistake::Duplicate { id });
        }
        self
    }

    fn change(&self, change: impl FnOnce(&mut Api)) {
        if let Some(api) = self.draft.borrow_mut().apis.get_mut(&self.name) {
            change(api);
        }
    }
}

impl Api {
    /// Turns the API into resources.
    pub(crate) fn finish(self, draft: &mut DraftStack) {
        let api = api_id(&self.name);
        if self.routes.is_empty() {
            draft.invalid(
                format!("API `{}`", self.name),
                "has no route; API Gateway deploys only APIs with routes",
            );
        }
        let display_name = format!("{}-{}-{}", draft.id.app, draft.id.stage, self.name.to_lowercase());
        let resource = Resource::new(Kind::Api)
            .with("Name", display_name)
            .with("ProtocolType", "WEBSOCKET")
            .with("RouteSelectionExpression", "$request.body.action");
        draft.add(api.clone(), resource);

        let mut snapshot = BTreeSet::new();
        let authorizer = self.add_authorizer(draft, &api, &mut snapshot);
        for (key, route) in &self.routes {
            self.add_route(draft, &api, key, route, authorizer.as_ref(), &mut snapshot);
        }
        self.add_deployment_and_stage(draft, &api, snapshot);
    }

    fn add_authorizer(
        &self,
        draft: &mut DraftStack,
        api: &LogicalId,
        snapshot: &mut BTreeSet<LogicalId>,
    ) -> Option<LogicalId> {
        let callee = Callee::of(self.authorizer.as_ref()?, draft);
        let id = LogicalId::from_words(&[&self.name, "authorizer"]);
        let resource = Resource::new(Kind::Authorizer)
            .with("ApiId", attribute(api, "ApiId"))
            .with("Name", "authorizer")
            .with("AuthorizerType", "REQUEST")
            .with("AuthorizerUri", invocation_uri(&callee))
            .inside(api.clone());
        draft.add(id.clone(), resource);
        let source = vec!["/authorizers/".into(), attribute(&id, "AuthorizerId")];
        draft.add(
            self.permission_id("authorizer", &callee),
            permission(&callee, execute_api_arn(api, source)),
        );
        snapshot.insert(id.clone());
        Some(id)
    }

    fn add_route(
        &self,
        draft: &mut DraftStack,
        api: &LogicalId,
        key: &str,
        route: &Route,
        authorizer: Option<&LogicalId>,
        snapshot: &mut BTreeSet<LogicalId>,
    ) {
        // One integration per function, shared by all routes that call it.
        let callee = Callee::of(&route.function, draft);
        let integration = LogicalId::from_words(&[&self.name, &route.function, "integration"]);
        if snapshot.insert(integration.clone()) {
            let resource = Resource::new(Kind::Integration)
                .with("ApiId", attribute(api, "ApiId"))
                .with("IntegrationType", "AWS_PROXY")
                .with("IntegrationMethod", "POST")
                .with("IntegrationUri", invocation_uri(&callee))
                .with("TimeoutInMillis", INTEGRATION_TIMEOUT_MS)
                .inside(api.clone());
            draft.add(integration.clone(), resource);
        }

        let id = LogicalId::from_words(&[&self.name, key, "route"]);
        let target = Value::Join(vec!["integrations/".into(), attribute(&integration, "IntegrationId")]);
        let mut resource = Resource::new(Kind::Route)
            .with("ApiId", attribute(api, "ApiId"))
            .with("RouteKey", key)
            .with("Target", target)
            .inside(api.clone());
        // API Gateway authorises connecting only; the decision holds for all messages of the connection.
        resource = match authorizer.filter(|_| key == "$connect") {
            Some(authorizer) => resource
                .with("AuthorizationType", "CUSTOM")
                .with("AuthorizerId", attribute(authorizer, "AuthorizerId")),
            None => resource.with("AuthorizationType", "NONE"),
        };
        if route.replies {
            resource = resource.with("RouteResponseSelectionExpression", "$default");
            let response = LogicalId::from_words(&[&self.name, key, "route", "response"]);
            let reply = Resource::new(Kind::RouteResponse)
                .with("ApiId", attribute(api, "ApiId"))
                .with("RouteId", attribute(&id, "RouteId"))
                .with("RouteResponseKey", "$default")
                .inside(id.clone());
            draft.add(response.clone(), reply);
            snapshot.insert(response);
        }
        draft.add(id.clone(), resource);
        snapshot.insert(id);

        let source = vec!["/".into(), draft.id.stage.as_str().into(), "/".into(), key.into()];
        draft.add(
            self.permission_id(key, &callee),
            permission(&callee, execute_api_arn(api, source)),
        );
    }

    /// Returns the id of a permission. Those of aliases have ids of their own: when a function is given an alias, or loses
    /// it, the permission that live routes still need is not replaced, but leaves the stack last.
    fn permission_id(&self, caller: &str, callee: &Callee) -> LogicalId {
        match callee.is_alias {
            true => LogicalId::from_words(&[&self.name, caller, ALIAS, "permission"]),
            false => LogicalId::from_words(&[&self.name, caller, "permission"]),
        }
    }

    fn add_deployment_and_stage(&self, draft: &mut DraftStack, api: &LogicalId, snapshot: BTreeSet<LogicalId>) {
        let trigger = digest(snapshot.iter().chain([api]).map(|id| (id, &draft.resources[id])));
        let deployment = LogicalId::from_words(&[&self.name, "deployment"]);
        let mut resource = Resource::new(Kind::Deployment)
            .with("ApiId", attribute(api, "ApiId"))
            .with("Trigger", trigger)
            .inside(api.clone());
        resource.snapshot_of = snapshot;
        draft.add(deployment.clone(), resource);

        let mut stage = Resource::new(Kind::Stage)
            .with("ApiId", attribute(api, "ApiId"))
            .with("StageName", draft.id.stage.as_str())
            .with("DeploymentId", attribute(&deployment, "DeploymentId"))
            .inside(api.clone());
        if let Some(throttling) = draft.stage.settings.throttling {
            let limits = Value::map([
                ("ThrottlingRateLimit", throttling.rate_limit),
                ("ThrottlingBurstLimit", throttling.burst_limit),
            ]);
            stage = stage.with("DefaultRouteSettings", limits);
        }
        if self.has_access_log {
            stage = self.add_access_log(draft, stage);
        }
        draft.add(LogicalId::from_words(&[&self.name, "stage"]), stage);
    }
}

impl Api {
    /// Adds the log group, and what API Gateway needs to write into it. Returns the stage that does so.
    fn add_access_log(&self, draft: &mut DraftStack, stage: Resource) -> Resource {
        let account = LogicalId::from_words(&["ApiGatewayAccount"]);
        if !draft.resources.contains_key(&account) {
            let mut resource = Resource::new(Kind::Account).with("LogRoleName", LOG_ROLE);
            resource.removal_policy = RemovalPolicy::Retain;
            draft.add(account.clone(), resource);
        }
        let group = LogicalId::from_words(&[&self.name, "access", "logs"]);
        let name = self.name.to_lowercase();
        let name = format!("/aws/apigateway/{}-{}-{name}", draft.id.app, draft.id.stage);
        let resource = Resource::new(Kind::LogGroup)
            .with("LogGroupName", name)
            .with("RetentionInDays", draft.stage.settings.log_retention_days);
        draft.add(group.clone(), resource);
        let members = ACCESS_LOG.map(|(member, variable)| format!("\"{member}\":\"$context.{variable}\""));
        let settings = Value::map([
            ("DestinationArn", attribute(&group, "Arn")),
            ("Format", format!("{{{}}}", members.join(",")).into()),
        ]);
        stage.with("AccessLogSettings", settings).after([group, account])
    }
}

fn api_id(name: &str) -> LogicalId {
    LogicalId::from_words(&[name, "api"])
}

fn attribute(of: &LogicalId, name: &'static str) -> Value {
    Value::Attribute { of: of.clone(), name }
}

/// Returns `arn:{partition}:execute-api:{region}:{account}:{api}` and what follows.
fn execute_api_arn(api: &LogicalId, rest: Vec<Value>) -> Value {
    let mut parts = vec![
        "arn:".into(),
        Value::Partition,
        ":execute-api:".into(),
        Value::Region,
        ":".into(),
        Value::AccountId,
        ":".into(),
        attribute(api, "ApiId"),
    ];
    parts.extend(rest);
    Value::Join(parts)
}

/// Returns the URI by which API Gateway calls a function (API Gateway Developer Guide, `IntegrationUri`).
fn invocation_uri(callee: &Callee) -> Value {
    Value::Join(vec![
        "arn:".into(),
        Value::Partition,
        ":apigateway:".into(),
        Value::Region,
        ":lambda:path/2015-03-31/functions/".into(),
        callee.arn.clone(),
        "/invocations".into(),
    ])
}

/// Returns the statement that lets API Gateway call a function from `source_arn` only. A function and each of its aliases
/// have resource policies of their own.
fn permission(callee: &Callee, source_arn: Value) -> Resource {
    Resource::new(Kind::Permission)
        .with("FunctionName", callee.name.clone())
        .with("Action", "lambda:InvokeFunction")
        .with("Principal", "apigateway.amazonaws.com")
        .with("SourceAccount", Value::AccountId)
        .with("SourceArn", source_arn)
        .inside(callee.container.clone())
}

/// Returns a digest of declarations, 16 hexadecimal digits: it changes if and only if one of them does.
fn digest<'a>(resources: impl Iterator<Item = (&'a LogicalId, &'a Resource)>) -> String {
    let mut hasher = Sha256::new();
    for (id, resource) in resources {
        let properties: BTreeMap<_, _> = resource.properties.iter().filter(|(name, _)| *name != "Tags").collect();
        hasher.update(format!("{id}={properties:?};"));
    }
    hasher
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
