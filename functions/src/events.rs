//! What API Gateway sends, reduced to the fields that we use. Unknown fields are ignored, absent ones are `None`.
//!
//! Shapes: <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-mapping-template-reference.html>,
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html>. Fields
//! without content are sometimes left out and sometimes `null`.

use std::collections::HashMap;

use functions_domain::{Caller, ConnectionId, Identity, Session};
use serde::Deserialize;
use serde_json::Value;

/// The first subprotocol of ours that a client offers is accepted.
pub const SUBPROTOCOL: &str = "chat.v1";

/// What precedes a token that is offered as a subprotocol, since browsers can set no other header.
const TOKEN_SUBPROTOCOL_PREFIX: &str = "auth.";

/// A connect, disconnect or message event. Without `Debug`: it may hold a token.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebSocketEvent {
    /// About the connection and the route.
    pub request_context: RequestContext,
    /// What the client asked for and with.
    #[serde(flatten)]
    pub handshake: Handshake,
    /// The frame, on message routes.
    pub body: Option<String>,
}

/// A request to a function URL, in payload format 2.0
/// (<https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads>). Without `Debug`: headers may hold
/// what is secret.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UrlEvent {
    /// The path as it was sent, e.g. `/style.css`.
    pub raw_path: String,
    #[serde(default)]
    headers: HashMap<String, String>,
    /// About the request.
    pub request_context: UrlRequestContext,
}

/// About a request to a function URL.
#[derive(Clone, Debug, Deserialize)]
pub struct UrlRequestContext {
    /// About HTTP.
    pub http: UrlHttp,
}

/// About the HTTP of a request to a function URL.
#[derive(Clone, Debug, Deserialize)]
pub struct UrlHttp {
    /// For example `GET`.
    pub method: String,
}

impl UrlEvent {
    /// Returns a header's value; case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// What a REQUEST authorizer is asked. Without `Debug`: it may hold a token.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizerEvent {
    /// What the answer's policy is about.
    pub method_arn: String,
    /// What the client asked for and with.
    #[serde(flatten)]
    pub handshake: Handshake,
    /// About the connection.
    pub request_context: RequestContext,
}

/// The parts of the upgrade request.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handshake {
    headers: Option<HashMap<String, Option<String>>>,
    query_string_parameters: Option<HashMap<String, Option<String>>>,
}

/// About the connection and the route.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestContext {
    /// Whose event it is.
    #[serde(deserialize_with = "connection_id")]
    pub connection_id: ConnectionId,
    /// Which route the event is for, e.g. `sendMessage`.
    #[serde(default)]
    pub route_key: String,
    /// What the authorizer said when the client connected; API Gateway repeats it in every event.
    pub authorizer: Option<AuthorizerContext>,
    /// The close code, in disconnect events, e.g. 1005.
    pub disconnect_status_code: Option<u16>,
}

/// What our authorizer put into its answer. Numbers come back as texts, at API Gateway's discretion.
#[derive(Clone, Debug, Deserialize)]
pub struct AuthorizerContext {
    sub: Option<String>,
    name: Option<String>,
    roles: Option<String>,
    exp: Option<Value>,
}

/// The event does not say who the client is: its route is not behind our authorizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event carries no identity of the authorizer")]
pub struct NoIdentity;

impl Handshake {
    /// Returns a header's value; case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.headers.as_ref()?;
        headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| value.as_deref())
    }

    /// Returns a query parameter, decoded.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query_string_parameters.as_ref()?.get(name)?.as_deref()
    }

    /// Returns the token, wherever it travels: `Authorization` (with or without `Bearer`), `?token=`, or the
    /// subprotocol `auth.…`. The first of them counts.
    pub fn token(&self) -> Option<&str> {
        let from_header = self.header("authorization").map(|value| {
            let value = value.trim();
            match value.split_once(' ') {
                Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
                Some(_) | None => value,
            }
        });
        let from_subprotocol = || {
            self.subprotocols()
                .find_map(|offer| offer.strip_prefix(TOKEN_SUBPROTOCOL_PREFIX))
        };
        from_header
            .or_else(|| self.query("token"))
            .or_else(from_subprotocol)
            .filter(|token| !token.is_empty())
    }

    /// Returns whether the client speaks our subprotocol and must be told that we do, too: a browser that offered any
    /// gives up if the answer selects none.
    pub fn offers_chat(&self) -> bool {
        self.subprotocols().any(|offer| offer == SUBPROTOCOL)
    }

    fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.header("sec-websocket-protocol")
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
    }
}

impl RequestContext {
    /// Returns who acts, as the authorizer said.
    ///
    /// # Errors
    ///
    /// When there was none.
    pub fn caller(&self) -> Result<Caller, NoIdentity> {
        Ok(Caller {
            connection: self.connection_id.clone(),
            session: self.session()?,
        })
    }

    /// Returns who the client is, as the authorizer said.
    ///
    /// # Errors
    ///
    /// When there was none.
    pub fn session(&self) -> Result<Session, NoIdentity> {
        let context = self.authorizer.as_ref().ok_or(NoIdentity)?;
        let sub = context.sub.clone().filter(|sub| !sub.is_empty()).ok_or(NoIdentity)?;
        let token_expires_at = context.exp.as_ref().and_then(seconds).ok_or(NoIdentity)?;
        let roles = context
            .roles
            .as_deref()
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        let name = context.name.clone().filter(|name| !name.is_empty());
        Ok(Session {
            user: Identity { sub, name, roles },
            token_expires_at,
        })
    }
}

fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn connection_id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ConnectionId, D::Error> {
    String::deserialize(deserializer).map(ConnectionId::new)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn handshake(value: Value) -> Handshake {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_event_in_the_handbook_is_one() {
        let page = include_str!("../../docs/operations.md");
        let payload = page.split("--payload '").nth(1).unwrap().split('\'').next().unwrap();
        assert!(serde_json::from_str::<WebSocketEvent>(payload).is_ok(), "{payload}");
    }

    #[test]
    fn a_token_travels_in_three_ways() {
        for (event, token) in [
            (json!({"headers": {"Authorization": "abc"}}), Some("abc")),
            (json!({"headers": {"authorization": "Bearer abc"}}), Some("abc")),
            (json!({"headers": {"AUTHORIZATION": " bearer  abc "}}), Some("abc")),
            (json!({"headers": {"Authorization": "Basic abc"}}), Some("Basic abc")),
            (json!({"queryStringParameters": {"token": "abc"}}), Some("abc")),
            (
                json!({"headers": {"Sec-WebSocket-Protocol": "chat.v1, auth.abc"}}),
                Some("abc"),
            ),
            (
                json!({"headers": {"sec-websocket-protocol": "auth.abc,chat.v1"}}),
                Some("abc"),
            ),
            (
                json!({"headers": {"Authorization": "a"}, "queryStringParameters": {"token": "b"}}),
                Some("a"),
            ),
            (json!({"headers": {"Authorization": ""}}), None),
            (json!({"headers": {"Sec-WebSocket-Protocol": "chat.v1"}}), None),
            (json!({"headers": null, "queryStringParameters": null}), None),
            (json!({"queryStringParameters": {"token": null}}), None),
            (json!({}), None),
        ] {
            assert_eq!(handshake(event.clone()).token(), token, "{event}");
        }
    }

    #[test]
    fn only_our_subprotocol_is_selected() {
        for (offer, selected) in [
            ("chat.v1", true),
            ("auth.x, chat.v1", true),
            ("auth.x", false),
            ("chat.v10", false),
        ] {
            assert_eq!(
                handshake(json!({"headers": {"sec-websocket-protocol": offer}})).offers_chat(),
                selected,
                "{offer}"
            );
        }
    }

    #[test]
    fn the_authorizers_words_come_back_as_texts() {
        let context = |authorizer: Value| -> RequestContext {
            serde_json::from_value(json!({"connectionId": "c=", "authorizer": authorizer})).unwrap()
        };
        let user = Identity {
            sub: "alice".into(),
            name: Some("Alice".into()),
            roles: vec!["a".into(), "b".into()],
        };
        let expected = Session {
            user,
            token_expires_at: 1_800_000_000,
        };
        for exp in [json!("1800000000"), json!(1_800_000_000)] {
            let authorizer = json!({"principalId": "alice", "integrationLatency": 12,
                                    "sub": "alice", "name": "Alice", "roles": "a b", "exp": exp});
            assert_eq!(context(authorizer).session(), Ok(expected.clone()));
        }
        for broken in [
            json!(null),
            json!({}),
            json!({"sub": "alice"}),
            json!({"sub": "", "exp": 1}),
            json!({"sub": "alice", "exp": "soon"}),
            json!({"sub": "alice", "exp": -1}),
        ] {
            assert_eq!(context(broken.clone()).session(), Err(NoIdentity), "{broken}");
        }
    }
}
