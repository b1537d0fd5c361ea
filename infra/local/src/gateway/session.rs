//! An open connection, from the upgrade to the end of `$disconnect`.
//!
//! One task owns the socket. It reads and writes at the same time, so a client that does not read can still be closed.
//! Each message runs on a task of its own, as on AWS, where the messages of one client may overtake each other.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite;

use super::Limits;
use super::access_log::run_noted;
use super::backend::Backend;
use super::connection::{Connection, Ending, Peer, Socket, now, random_id};
use super::event::{disconnect_event, message_event};
use super::integration::execute_api_arn;
use crate::apigatewayv2::selection::Expression;
use crate::apigatewayv2::snapshot::{DeployedRoute, Live};

/// How the reader learned that a connection ended.
#[derive(Debug)]
enum Ended {
    /// By the client; the protocol's library answers its close frame.
    ByClient(Ending),
    /// By us: the client is to be told.
    ByGateway(Ending),
}

/// Serves a connection until it ends, `$disconnect` included.
pub(super) async fn serve<B: Backend>(backend: Arc<B>, connection: Arc<Connection>, socket: Socket, stream: WebSocket) {
    let limits = &backend.gateway().limits;
    let Socket {
        mut outbound,
        mut close,
    } = socket;
    let (mut sink, mut stream) = stream.split();
    let mut messages = JoinSet::new();
    let ended = tokio::select! {
        ended = receive(&backend, &connection, &mut stream, &mut messages) => ended,
        ended = send(&connection, &mut sink, &mut outbound) => ended,
        ended = expire(&connection, limits) => ended,
        Ok(ending) = &mut close => Ended::ByGateway(ending),
    };
    backend.gateway().forget(&connection.peer.id);
    outbound.close();
    let ending = match &ended {
        Ended::ByClient(ending) | Ended::ByGateway(ending) => ending.clone(),
    };
    let goodbye = async {
        let told = tokio::time::timeout(
            limits.close,
            goodbye(&mut sink, &mut stream, &mut outbound, &ended, limits.close),
        );
        // A client that does not listen is left without a goodbye.
        let _ = told.await;
        drop((sink, stream, outbound));
    };
    let rest = async { while messages.join_next().await.is_some() {} };
    tokio::join!(goodbye, rest, end(&backend, &connection, &ending));
}

/// Ends a connection: it is gone for `@connections`, and `$disconnect` is tried once.
pub(super) async fn end<B: Backend>(backend: &Arc<B>, connection: &Connection, ending: &Ending) {
    backend.gateway().forget(&connection.peer.id);
    disconnect(backend, &connection.peer, connection.authorizer.as_ref(), ending).await;
    backend.gateway().session_ended();
}

/// Runs the `$disconnect` route, if there is one. Its outcome changes nothing.
pub(super) async fn disconnect<B: Backend>(
    backend: &Arc<B>,
    peer: &Peer,
    authorizer: Option<&Map<String, Value>>,
    ending: &Ending,
) {
    let Some(live) = backend.live(&peer.api_id, &peer.stage) else {
        return;
    };
    let Some(route) = live.snapshot.routes.get("$disconnect") else {
        return;
    };
    let event = disconnect_event(peer, authorizer, ending, &live.stage_variables);
    let source_arn = execute_api_arn(backend.as_ref(), peer, &format!("{}/$disconnect", peer.stage));
    if let Err(failure) = run_noted(backend, &live, route.integration.as_ref(), source_arn, &event).await {
        tracing::warn!(connection = peer.id, "$disconnect: {failure}");
    }
}

/// Reads until the connection ends.
async fn receive<B: Backend>(
    backend: &Arc<B>,
    connection: &Arc<Connection>,
    stream: &mut SplitStream<WebSocket>,
    messages: &mut JoinSet<()>,
) -> Ended {
    let most = backend.gateway().limits.concurrent_messages;
    loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) => {
                connection.touch();
                while messages.try_join_next().is_some() {}
                if messages.len() >= most {
                    messages.join_next().await;
                }
                messages.spawn(answer_message(
                    Arc::clone(backend),
                    Arc::clone(connection),
                    text.as_str().to_owned(),
                ));
            }
            Some(Ok(Message::Binary(_))) => {
                return Ended::ByGateway(Ending::new(1003, "Binary frames are not supported"));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(Some(frame)))) => {
                return Ended::ByClient(Ending::new(frame.code, frame.reason.as_str()));
            }
            Some(Ok(Message::Close(None))) => {
                return Ended::ByClient(Ending::new(1005, "Client-side close frame status not set"));
            }
            Some(Err(error)) => return broken(error),
            None => return Ended::ByClient(Ending::abnormal()),
        }
    }
}

/// Says how a connection ends on which the client sent something unreadable, or nothing any more.
fn broken(error: axum::Error) -> Ended {
    use tungstenite::error::{Error, ProtocolError};
    let Ok(error) = error.into_inner().downcast::<Error>() else {
        return Ended::ByClient(Ending::abnormal());
    };
    match *error {
        Error::Capacity(_) => Ended::ByGateway(Ending::new(1009, "Message too big")),
        Error::Utf8(_) => Ended::ByGateway(Ending::new(1007, "Invalid UTF-8")),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ended::ByClient(Ending::abnormal()),
        Error::Protocol(_) => Ended::ByGateway(Ending::new(1002, "Protocol error")),
        _ => Ended::ByClient(Ending::abnormal()),
    }
}

/// Writes frames in order until the connection ends.
async fn send(
    connection: &Connection,
    sink: &mut SplitSink<WebSocket, Message>,
    outbound: &mut mpsc::Receiver<axum::extract::ws::Utf8Bytes>,
) -> Ended {
    while let Some(text) = outbound.recv().await {
        if sink.send(Message::Text(text)).await.is_err() {
            return Ended::ByClient(Ending::abnormal());
        }
        connection.touch();
    }
    Ended::ByClient(Ending::abnormal())
}

/// Waits until the connection was idle for too long, or is too old.
async fn expire(connection: &Connection, limits: &Limits) -> Ended {
    let oldest = Instant::now() + limits.duration;
    loop {
        let quiet = u64::try_from(now() - connection.last_active()).unwrap_or(0);
        let left = limits.idle.saturating_sub(Duration::from_millis(quiet));
        if left.is_zero() || Instant::now() >= oldest {
            return Ended::ByGateway(Ending::going_away());
        }
        tokio::time::sleep_until(oldest.min(Instant::now() + left)).await;
    }
}

/// Sends what was accepted before the end, then the close frame, and waits for the client's.
async fn goodbye(
    sink: &mut SplitSink<WebSocket, Message>,
    stream: &mut SplitStream<WebSocket>,
    outbound: &mut mpsc::Receiver<axum::extract::ws::Utf8Bytes>,
    ended: &Ended,
    linger: Duration,
) {
    if let Ended::ByGateway(ending) = ended {
        while let Ok(text) = outbound.try_recv() {
            if sink.send(Message::Text(text)).await.is_err() {
                return;
            }
        }
        let frame = CloseFrame {
            code: ending.code,
            reason: ending.reason.as_str().into(),
        };
        if sink.send(Message::Close(Some(frame))).await.is_err() {
            return;
        }
    }
    // Reading to the end also sends the answer to a client's close frame.
    while let Some(Ok(_)) = stream.next().await {}
    if matches!(ended, Ended::ByGateway(Ending { code: 1009, .. })) {
        // What the client sent too much lies unread in the socket: closing it now would reset the connection, and the
        // client might never see why.
        tokio::time::sleep(linger).await;
    }
}

/// Chooses the route of a message, runs it, and tells the caller what there is to tell.
async fn answer_message<B: Backend>(backend: Arc<B>, connection: Arc<Connection>, body: String) {
    let peer = &connection.peer;
    let live = backend.live(&peer.api_id, &peer.stage);
    let frame = match live.as_ref().and_then(|live| Some((live, choose(live, &body)?))) {
        None => Some(error_frame("Forbidden", peer, &random_id())),
        Some((live, route)) => run_route(&backend, &connection, live, route, &body).await,
    };
    if let Some(frame) = frame {
        // A connection that ended meanwhile takes no answer.
        let _ = connection.outbound.send(frame.into()).await;
    }
}

/// Returns the route of a message. `$connect` and `$disconnect` are no routes for messages, whatever a message says.
fn choose<'a>(live: &'a Live, body: &str) -> Option<&'a DeployedRoute> {
    let snapshot = &live.snapshot;
    let expression = Expression::parse(&snapshot.route_selection_expression).ok();
    let key = expression.and_then(|expression| expression.evaluate(body));
    key.filter(|key| !key.starts_with('$'))
        .and_then(|key| snapshot.routes.get(&key))
        .or_else(|| snapshot.routes.get("$default"))
}

async fn run_route<B: Backend>(
    backend: &Arc<B>,
    connection: &Connection,
    live: &Live,
    route: &DeployedRoute,
    body: &str,
) -> Option<String> {
    let peer = &connection.peer;
    let (event, request_id) = message_event(connection, &route.route_key, body, &live.stage_variables);
    let source_arn = execute_api_arn(backend.as_ref(), peer, &format!("{}/{}", peer.stage, route.route_key));
    match run_noted(backend, live, route.integration.as_ref(), source_arn, &event).await {
        Ok(answer) if route.replies => answer.body,
        Ok(_) => None,
        Err(failure) => {
            tracing::warn!(connection = peer.id, route = route.route_key, "{failure}");
            Some(error_frame("Internal server error", peer, &request_id))
        }
    }
}

fn error_frame(message: &str, peer: &Peer, request_id: &str) -> String {
    json!({ "message": message, "connectionId": peer.id, "requestId": request_id }).to_string()
}
