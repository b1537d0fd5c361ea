//! The events that functions receive, member by member as API Gateway sends them for WebSocket APIs
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-mapping-template-reference.html>).
//! Pure but for the clock and fresh ids.

use std::collections::BTreeMap;

use http::{HeaderMap, header};
use serde_json::{Map, Value, json};

use super::connection::{Connection, Ending, Peer, now, random_id};
use crate::apigatewayv2::model::Strings;

/// A client's upgrade request, as functions may see it.
#[derive(Clone, Debug)]
pub(super) struct Connecting {
    pub(super) peer: Peer,
    /// Last value of each header, by the name that functions see.
    headers: Strings,
    multi_value_headers: BTreeMap<String, Vec<String>>,
    query: Strings,
    multi_value_query: BTreeMap<String, Vec<String>>,
}

impl Connecting {
    /// Collects headers and query parameters.
    pub(super) fn new(peer: Peer, headers: &HeaderMap, query: Vec<(String, String)>) -> Self {
        let mut given: Vec<(String, String)> = headers
            .iter()
            .filter(|(name, _)| !matches!(**name, header::CONNECTION | header::UPGRADE))
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (title_case(name.as_str()), value)
            })
            .collect();
        given.extend(forwarded(&peer));
        let (headers, multi_value_headers) = collect(given);
        let (query, multi_value_query) = collect(query);
        Self {
            peer,
            headers,
            multi_value_headers,
            query,
            multi_value_query,
        }
    }

    /// Returns a header's value; case does not matter.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Returns a query parameter's value.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// Returns the input of a REQUEST authorizer.
    pub(super) fn authorizer_event(&self, method_arn: &str, stage_variables: &Strings) -> Value {
        json!({
            "type": "REQUEST",
            "methodArn": method_arn,
            "headers": self.headers,
            "multiValueHeaders": self.multi_value_headers,
            "queryStringParameters": self.query,
            "multiValueQueryStringParameters": self.multi_value_query,
            "stageVariables": stage_variables,
            "requestContext": self.context(),
        })
    }

    /// Returns the request context without an authorizer's result.
    pub(super) fn context(&self) -> Map<String, Value> {
        context(&self.peer, "$connect", "CONNECT", None)
    }

    /// Returns the event of the `$connect` route.
    pub(super) fn connect_event(&self, authorizer: Option<&Map<String, Value>>, stage_variables: &Strings) -> Value {
        let mut event = json!({
            "headers": self.headers,
            "multiValueHeaders": self.multi_value_headers,
            "requestContext": context(&self.peer, "$connect", "CONNECT", authorizer),
            "isBase64Encoded": false,
        });
        if !self.query.is_empty() {
            event["queryStringParameters"] = json!(self.query);
            event["multiValueQueryStringParameters"] = json!(self.multi_value_query);
        }
        with_stage_variables(event, stage_variables)
    }
}

/// Returns the event of a message, and its request id.
pub(super) fn message_event(
    connection: &Connection,
    route_key: &str,
    body: &str,
    stage_variables: &Strings,
) -> (Value, String) {
    let mut context = context(&connection.peer, route_key, "MESSAGE", connection.authorizer.as_ref());
    context.insert("messageId".to_owned(), random_id().into());
    let request_id = context["requestId"].as_str().unwrap_or_default().to_owned();
    let event = json!({ "requestContext": context, "body": body, "isBase64Encoded": false });
    (with_stage_variables(event, stage_variables), request_id)
}

/// Returns the event of the `$disconnect` route.
pub(super) fn disconnect_event(
    peer: &Peer,
    authorizer: Option<&Map<String, Value>>,
    ending: &Ending,
    stage_variables: &Strings,
) -> Value {
    let mut context = context(peer, "$disconnect", "DISCONNECT", authorizer);
    context.insert("disconnectStatusCode".to_owned(), ending.code.into());
    context.insert("disconnectReason".to_owned(), ending.reason.clone().into());
    let mut headers = vec![
        ("Host".to_owned(), peer.domain_name.clone()),
        ("x-api-key".to_owned(), String::new()),
        ("x-restapi".to_owned(), String::new()),
    ];
    headers.extend(forwarded(peer).into_iter().take(1));
    let (headers, multi_value_headers) = collect(headers);
    let event = json!({
        "headers": headers,
        "multiValueHeaders": multi_value_headers,
        "requestContext": context,
        "isBase64Encoded": false,
    });
    with_stage_variables(event, stage_variables)
}

fn context(
    peer: &Peer,
    route_key: &str,
    event_type: &str,
    authorizer: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let time = jiff::Timestamp::from_millisecond(now()).unwrap_or_default();
    let mut context = Map::new();
    let mut put = |name: &str, value: Value| context.insert(name.to_owned(), value);
    put("routeKey", route_key.into());
    put("eventType", event_type.into());
    put("extendedRequestId", random_id().into());
    put(
        "requestTime",
        time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string().into(),
    );
    put("messageDirection", "IN".into());
    put("stage", peer.stage.clone().into());
    put("connectedAt", peer.connected_at.into());
    put("requestTimeEpoch", time.as_millisecond().into());
    put(
        "identity",
        json!({ "sourceIp": peer.source_ip, "userAgent": peer.user_agent }),
    );
    put("requestId", random_id().into());
    put("domainName", peer.domain_name.clone().into());
    put("connectionId", peer.id.clone().into());
    put("apiId", peer.api_id.clone().into());
    if let Some(authorizer) = authorizer {
        put("authorizer", Value::Object(authorizer.clone()));
    }
    context
}

/// Stage variables are there only where the stage has some.
fn with_stage_variables(mut event: Value, stage_variables: &Strings) -> Value {
    if !stage_variables.is_empty() {
        event["stageVariables"] = json!(stage_variables);
    }
    event
}

/// What API Gateway adds to a request's headers.
fn forwarded(peer: &Peer) -> [(String, String); 4] {
    let trace = uuid::Uuid::new_v4().simple().to_string();
    let trace = format!("Root=1-{:08x}-{}", peer.connected_at / 1000, &trace[..24]);
    [
        ("X-Forwarded-For".to_owned(), peer.source_ip.clone()),
        ("X-Forwarded-Port".to_owned(), "443".to_owned()),
        ("X-Forwarded-Proto".to_owned(), "https".to_owned()),
        ("X-Amzn-Trace-Id".to_owned(), trace),
    ]
}

fn collect(pairs: Vec<(String, String)>) -> (Strings, BTreeMap<String, Vec<String>>) {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in pairs {
        all.entry(name).or_default().push(value);
    }
    let last = all
        .iter()
        .filter_map(|(name, values)| Some((name.clone(), values.last()?.clone())));
    (last.collect(), all)
}

/// `sec-websocket-key` → `Sec-WebSocket-Key`.
fn title_case(name: &str) -> String {
    let word = |word: &str| match word {
        "websocket" => "WebSocket".to_owned(),
        _ => {
            let mut characters = word.chars();
            let first = characters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(characters).collect()
        }
    };
    name.split('-').map(word).collect::<Vec<String>>().join("-")
}
