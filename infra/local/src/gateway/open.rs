//! The front door: authorizer, `$connect`, and only then the upgrade.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Query};
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::access_log::{note, run_noted};
use super::authorize::{Denial, authorize};
use super::backend::Backend;
use super::connection::{Connection, Ending, Peer, now, random_id};
use super::event::Connecting;
use super::integration::{Failure, execute_api_arn};
use super::{Address, session};
use crate::apigatewayv2::snapshot::Live;
use crate::wire::{self, Response};

/// Tells a developer what the client is not told: AWS would put it into execution logs.
const WHY: &str = "x-local-cloud-error";

/// A client that may come in.
struct Accepted {
    authorizer: Option<Map<String, Value>>,
    /// What `$connect` answered as `Sec-WebSocket-Protocol`.
    protocol: Option<String>,
}

/// A client that may not.
#[derive(Debug)]
struct Refusal {
    status: u16,
    body: Bytes,
    content_type: String,
    why: Option<String>,
}

/// Answers an upgrade request.
///
/// The functions are asked on a task of their own: when the client leaves meanwhile and `$connect` accepted it, there is
/// a connection to say goodbye to.
pub(super) async fn open<B: Backend>(backend: &Arc<B>, address: Address, request: axum::extract::Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let source = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let source_ip = source.map_or_else(|| "127.0.0.1".to_owned(), |ConnectInfo(source)| source.ip().to_string());
    let peer = Peer {
        id: random_id(),
        domain_name: domain_name(backend.endpoint(), &address.api_id),
        api_id: address.api_id,
        stage: address.stage,
        connected_at: now(),
        source_ip,
        user_agent: text(&parts.headers, header::USER_AGENT),
    };
    let Some(live) = backend.live(&peer.api_id, &peer.stage) else {
        let why = format!("API {} has no stage {} with a deployment", peer.api_id, peer.stage);
        return Refusal::because(&peer, 403, "Forbidden", Some(why)).into_response();
    };
    let query = Query::try_from_uri(&parts.uri)
        .map(|Query(query)| query)
        .unwrap_or_default();
    let connecting = Connecting::new(peer.clone(), &parts.headers, query);
    let (verdict, decided) = oneshot::channel();
    let asking = Arc::clone(backend);
    tokio::spawn(async move {
        let outcome = admit(&asking, &live, &connecting).await;
        let authorizer = outcome.as_ref().ok().map(|accepted| accepted.authorizer.clone());
        // Dropped with the verdict if nobody is there any more to act on it.
        let (taken, was_taken) = oneshot::channel::<()>();
        let _ = verdict.send((outcome, taken));
        if let (Some(authorizer), Err(_)) = (authorizer, was_taken.await) {
            session::disconnect(&asking, &connecting.peer, authorizer.as_ref(), &Ending::abnormal()).await;
        }
    });
    match decided.await {
        Ok((Ok(accepted), taken)) => {
            let _ = taken.send(());
            accept(backend, peer, accepted, upgrade)
        }
        Ok((Err(refusal), _)) => refusal.into_response(),
        Err(_) => Refusal::because(&peer, 500, "Internal server error", None).into_response(),
    }
}

/// Decides whether a client may come in.
async fn admit<B: Backend>(backend: &Arc<B>, live: &Live, connecting: &Connecting) -> Result<Accepted, Refusal> {
    let peer = &connecting.peer;
    if live.snapshot.disable_execute_api_endpoint {
        let why = "the API's default endpoint is disabled".to_owned();
        return Err(Refusal::because(peer, 403, "Forbidden", Some(why)));
    }
    let Some(route) = live.snapshot.routes.get("$connect") else {
        return Ok(Accepted {
            authorizer: None,
            protocol: None,
        });
    };
    if route.api_key_required {
        let why = "$connect requires an API key, and this local cloud has no usage plans".to_owned();
        return Err(Refusal::because(peer, 403, "Forbidden", Some(why)));
    }
    let authorizer = match &route.authorizer {
        None => None,
        Some(authorizer) => {
            let decision = authorize(backend, authorizer, connecting, &live.stage_variables).await;
            Some(decision.map_err(|denial| {
                let refusal = Refusal::denied(peer, &denial);
                note(backend.as_ref(), live, &connecting.context(), refusal.status, None);
                refusal
            })?)
        }
    };
    let source_arn = execute_api_arn(backend.as_ref(), peer, &format!("{}/$connect", peer.stage));
    let event = connecting.connect_event(authorizer.as_ref(), &live.stage_variables);
    let answer = run_noted(backend, live, route.integration.as_ref(), source_arn, &event).await;
    let answer = answer.map_err(|failure| Refusal::failed(peer, &failure))?;
    if !(200..300).contains(&answer.status) {
        return Err(Refusal {
            status: answer.status,
            body: answer.body.unwrap_or_default().into(),
            content_type: answer
                .headers
                .get("content-type")
                .cloned()
                .unwrap_or_else(|| "application/json".to_owned()),
            why: None,
        });
    }
    Ok(Accepted {
        authorizer,
        protocol: answer.headers.get("sec-websocket-protocol").cloned(),
    })
}

/// Registers the connection and upgrades. It is reachable for `@connections` from here on, before the client can speak.
fn accept<B: Backend>(backend: &Arc<B>, peer: Peer, accepted: Accepted, mut upgrade: WebSocketUpgrade) -> Response {
    let gateway = backend.gateway();
    let limits = &gateway.limits;
    // A protocol that was not offered would make browsers fail the connection (RFC 6455, section 4.1).
    let offered = upgrade.requested_protocols().find(|offered| {
        let chosen = accepted.protocol.as_deref().map(str::trim);
        chosen.is_some_and(|chosen| offered.as_bytes() == chosen.as_bytes())
    });
    if let Some(protocol) = offered.cloned() {
        upgrade.set_selected_protocol(protocol);
    }
    let (connection, socket) = Connection::new(peer, accepted.authorizer, limits.buffered_frames);
    let connection = Arc::new(connection);
    gateway.register(&connection);
    let (failed_backend, failed_connection) = (Arc::clone(backend), Arc::clone(&connection));
    let backend = Arc::clone(backend);
    upgrade
        // Most connections are idle: small buffers let thousands of them fit into a few megabytes.
        .read_buffer_size(4 * 1024)
        .max_frame_size(limits.frame_bytes)
        .max_message_size(limits.message_bytes)
        .on_failed_upgrade(move |_| {
            tokio::spawn(async move { session::end(&failed_backend, &failed_connection, &Ending::abnormal()).await });
        })
        .on_upgrade(move |stream| session::serve(backend, connection, socket, stream))
}

impl Refusal {
    fn because(peer: &Peer, status: u16, message: &str, why: Option<String>) -> Self {
        let body = json!({ "message": message, "connectionId": peer.id, "requestId": random_id() });
        Self {
            status,
            body: body.to_string().into(),
            content_type: "application/json".to_owned(),
            why,
        }
    }

    fn denied(peer: &Peer, denial: &Denial) -> Self {
        match denial {
            Denial::Unauthorized => Self::because(peer, 401, &denial.to_string(), None),
            Denial::Forbidden { .. } => Self::because(peer, 403, &denial.to_string(), None),
            Denial::Broken(_) => Self::because(peer, 500, "Internal server error", Some(denial.to_string())),
        }
    }

    /// A refused invocation is 500, a failed function 502
    /// (<https://docs.aws.amazon.com/lambda/latest/dg/services-apigateway-errors.html>).
    fn failed(peer: &Peer, failure: &Failure) -> Self {
        let status = match failure {
            Failure::Refused { .. } => 500,
            Failure::Function { .. } | Failure::Timeout(_) | Failure::Malformed(_) => 502,
        };
        Self::because(
            peer,
            status,
            "Internal server error",
            Some(format!("$connect: {failure}")),
        )
    }

    fn into_response(self) -> Response {
        let kind = match self.status {
            401 => "UnauthorizedException",
            403 => "ForbiddenException",
            200..500 => "BadRequestException",
            _ => "InternalServerErrorException",
        };
        let content_type = HeaderValue::from_str(&self.content_type);
        let content_type = content_type.unwrap_or(HeaderValue::from_static("application/json"));
        // The status is checked where a function's answer is read.
        let mut response = wire::respond(self.status, "application/json", self.body, &[]);
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response
            .headers_mut()
            .insert("x-amzn-errortype", HeaderValue::from_static(kind));
        if let Some(why) = self.why {
            tracing::warn!(status = self.status, "a client was refused: {why}");
            let plain: String = why
                .chars()
                .map(|character| {
                    if (' '..='~').contains(&character) {
                        character
                    } else {
                        ' '
                    }
                })
                .collect();
            if let Ok(value) = HeaderValue::from_str(&plain) {
                response.headers_mut().insert(WHY, value);
            }
        }
        response
    }
}

/// `{api}.execute-api.localhost:PORT`: names below `localhost` reach this machine.
fn domain_name(endpoint: &str, api_id: &str) -> String {
    let port = endpoint.rsplit_once(':').map_or("", |(_, port)| port);
    format!("{api_id}.execute-api.localhost:{port}")
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> String {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}
