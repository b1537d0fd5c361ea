//! The resources of a WebSocket API exactly as they travel: camelCase members named as in the API reference
//! (<https://docs.aws.amazon.com/apigatewayv2/latest/api-reference/>).
//!
//! These structs are what is stored, too. Rules that look at more than one resource are not here: see the sibling named
//! after each resource. Read next: [`super::store`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Maps of strings: tags, stage variables, parameters.
pub(crate) type Strings = BTreeMap<String, String>;

/// One API. Only `WEBSOCKET` is implemented.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Api {
    #[serde(default)]
    pub(crate) api_id: String,
    #[serde(default)]
    pub(crate) api_endpoint: String,
    #[serde(default)]
    pub(crate) created_date: String,
    pub(crate) name: String,
    pub(crate) protocol_type: ProtocolType,
    pub(crate) route_selection_expression: Option<String>,
    #[serde(default = "default_api_key_selection")]
    pub(crate) api_key_selection_expression: String,
    pub(crate) description: Option<String>,
    pub(crate) disable_schema_validation: Option<bool>,
    #[serde(default)]
    pub(crate) disable_execute_api_endpoint: bool,
    #[serde(default)]
    pub(crate) ip_address_type: IpAddressType,
    pub(crate) version: Option<String>,
    #[serde(default)]
    pub(crate) tags: Strings,
}

/// What an API speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ProtocolType {
    Websocket,
    Http,
}

/// Address families of the endpoint. Loopback here in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IpAddressType {
    #[default]
    Ipv4,
    Dualstack,
}

fn default_api_key_selection() -> String {
    "$request.header.x-api-key".to_owned()
}

/// One route: a key, and where its messages go.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Route {
    #[serde(default)]
    pub(crate) route_id: String,
    /// `$connect`, `$disconnect`, `$default`, or what the route selection expression evaluates to.
    pub(crate) route_key: String,
    #[serde(default)]
    pub(crate) api_key_required: bool,
    pub(crate) authorization_scopes: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) authorization_type: AuthorizationType,
    pub(crate) authorizer_id: Option<String>,
    pub(crate) model_selection_expression: Option<String>,
    pub(crate) operation_name: Option<String>,
    pub(crate) request_models: Option<Strings>,
    pub(crate) request_parameters: Option<BTreeMap<String, ParameterConstraints>>,
    pub(crate) route_response_selection_expression: Option<String>,
    /// `integrations/{integrationId}`.
    pub(crate) target: Option<String>,
}

/// How a route authorises its callers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum AuthorizationType {
    #[default]
    None,
    AwsIam,
    Custom,
    Jwt,
}

/// Whether a request parameter must be there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ParameterConstraints {
    pub(crate) required: Option<bool>,
}

/// Lets the result of a route's integration go back to the caller.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RouteResponse {
    #[serde(default)]
    pub(crate) route_response_id: String,
    pub(crate) route_response_key: String,
    pub(crate) model_selection_expression: Option<String>,
    pub(crate) response_models: Option<Strings>,
    pub(crate) response_parameters: Option<BTreeMap<String, ParameterConstraints>>,
}

/// What runs behind a route.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Integration {
    #[serde(default)]
    pub(crate) integration_id: String,
    pub(crate) integration_type: IntegrationType,
    pub(crate) connection_id: Option<String>,
    #[serde(default)]
    pub(crate) connection_type: ConnectionType,
    pub(crate) content_handling_strategy: Option<ContentHandling>,
    pub(crate) credentials_arn: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) integration_method: Option<String>,
    pub(crate) integration_subtype: Option<String>,
    /// `arn:{partition}:apigateway:{region}:lambda:path/2015-03-31/functions/{function ARN}/invocations`.
    pub(crate) integration_uri: Option<String>,
    #[serde(default)]
    pub(crate) passthrough_behavior: PassthroughBehavior,
    #[serde(default = "default_payload_format")]
    pub(crate) payload_format_version: String,
    pub(crate) request_parameters: Option<Strings>,
    pub(crate) request_templates: Option<Strings>,
    pub(crate) response_parameters: Option<BTreeMap<String, Strings>>,
    pub(crate) template_selection_expression: Option<String>,
    /// 50 to 29,000.
    #[serde(default = "default_timeout")]
    pub(crate) timeout_in_millis: u64,
    pub(crate) tls_config: Option<Strings>,
}

/// Kind of an integration. `AWS_PROXY` (Lambda) and `MOCK` are implemented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum IntegrationType {
    Aws,
    Http,
    Mock,
    HttpProxy,
    AwsProxy,
}

/// How an integration is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ConnectionType {
    #[default]
    Internet,
    VpcLink,
}

/// Conversion of payloads; kept and echoed, without effect on text messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ContentHandling {
    ConvertToBinary,
    ConvertToText,
}

/// What happens to payloads without a template; kept and echoed, without effect on proxy integrations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum PassthroughBehavior {
    #[default]
    WhenNoMatch,
    Never,
    WhenNoTemplates,
}

fn default_payload_format() -> String {
    "1.0".to_owned()
}

fn default_timeout() -> u64 {
    29_000
}

/// A function that decides who may connect.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Authorizer {
    #[serde(default)]
    pub(crate) authorizer_id: String,
    pub(crate) name: String,
    pub(crate) authorizer_type: AuthorizerType,
    pub(crate) authorizer_credentials_arn: Option<String>,
    pub(crate) authorizer_payload_format_version: Option<String>,
    pub(crate) authorizer_result_ttl_in_seconds: Option<u32>,
    /// Same form as [`Integration::integration_uri`].
    pub(crate) authorizer_uri: Option<String>,
    pub(crate) enable_simple_responses: Option<bool>,
    /// For example `route.request.header.Authorization`; all must be there for the function to be asked.
    pub(crate) identity_source: Option<Vec<String>>,
    pub(crate) identity_validation_expression: Option<String>,
    pub(crate) jwt_configuration: Option<serde_json::Value>,
}

/// Kind of an authorizer. WebSocket APIs know `REQUEST` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum AuthorizerType {
    Request,
    Jwt,
}

/// What is known of a deployment; its content is a [`super::snapshot::Snapshot`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Deployment {
    #[serde(default)]
    pub(crate) deployment_id: String,
    #[serde(default)]
    pub(crate) auto_deployed: bool,
    #[serde(default)]
    pub(crate) created_date: String,
    /// Always `DEPLOYED`: a local deployment is done when the call returns.
    #[serde(default)]
    pub(crate) deployment_status: String,
    pub(crate) description: Option<String>,
}

/// A named place where one deployment is live.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Stage {
    #[serde(default)]
    pub(crate) created_date: String,
    #[serde(default)]
    pub(crate) last_updated_date: String,
    pub(crate) stage_name: String,
    pub(crate) access_log_settings: Option<AccessLogSettings>,
    #[serde(default)]
    pub(crate) auto_deploy: bool,
    pub(crate) client_certificate_id: Option<String>,
    #[serde(default)]
    pub(crate) default_route_settings: RouteSettings,
    pub(crate) deployment_id: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) last_deployment_status_message: Option<String>,
    #[serde(default)]
    pub(crate) route_settings: BTreeMap<String, RouteSettings>,
    #[serde(default)]
    pub(crate) stage_variables: Strings,
    #[serde(default)]
    pub(crate) tags: Strings,
}

/// Where the access log goes, and what its lines say.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AccessLogSettings {
    pub(crate) destination_arn: Option<String>,
    pub(crate) format: Option<String>,
}

/// Throttling and logging of routes; kept and echoed, not applied.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RouteSettings {
    pub(crate) data_trace_enabled: Option<bool>,
    pub(crate) detailed_metrics_enabled: Option<bool>,
    pub(crate) logging_level: Option<LoggingLevel>,
    pub(crate) throttling_burst_limit: Option<u32>,
    pub(crate) throttling_rate_limit: Option<f64>,
}

/// How much execution logging a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum LoggingLevel {
    Error,
    Info,
    Off,
}
