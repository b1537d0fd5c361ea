//! The `@connections` API: functions send to a client, look at it, or close it
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html>).

use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::json;
use tokio::sync::mpsc::error::TrySendError;

use super::backend::Backend;
use super::connection::{Connection, Ending, is_id};
use super::{Address, missing_token};
use crate::wire::{self, ApiError, Response};

/// Answers a call on one connection; `id` is decoded.
pub(super) async fn answer<B: Backend>(
    backend: &Arc<B>,
    address: &Address,
    id: &str,
    request: axum::extract::Request,
) -> Response {
    match call(backend, address, id, request).await {
        Ok(response) => response,
        Err(error) => error.rest_json(),
    }
}

async fn call<B: Backend>(
    backend: &Arc<B>,
    address: &Address,
    id: &str,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let query = request.uri().query().unwrap_or_default();
    if !is_signed(request.headers(), query) || ![Method::POST, Method::GET, Method::DELETE].contains(request.method()) {
        return Err(missing_token());
    }
    if backend.live(&address.api_id, &address.stage).is_none() {
        return Err(forbidden());
    }
    let method = request.method().clone();
    let data = if method == Method::POST {
        let most = backend.gateway().limits.message_bytes;
        // A body that breaks off lands here, too; nobody reads that answer.
        let data = axum::body::to_bytes(request.into_body(), most).await;
        data.map_err(|_| {
            ApiError::new(
                413,
                "PayloadTooLargeException",
                format!("the data exceeds {most} bytes"),
            )
        })?
    } else {
        Bytes::new()
    };
    if !is_id(id) {
        return Err(ApiError::new(
            400,
            "BadRequestException",
            format!("Invalid connectionId: {id}"),
        ));
    }
    let connection = backend.gateway().find(id).ok_or_else(gone)?;
    if connection.peer.api_id != address.api_id || connection.peer.stage != address.stage {
        return Err(forbidden());
    }
    if method == Method::POST {
        post(&connection, data)?;
        Ok(wire::respond(200, "application/json", Bytes::new(), &[]))
    } else if method == Method::GET {
        Ok(describe(&connection))
    } else {
        // AWS does not document the code that the client sees.
        connection.close(Ending::new(1000, "Connection Closed Normally"));
        backend.gateway().forget(id);
        Ok(wire::respond(204, "application/json", Bytes::new(), &[]))
    }
}

/// Queues one text frame. Frames of one connection keep their order.
fn post(connection: &Connection, data: Bytes) -> Result<(), ApiError> {
    let text = Utf8Bytes::try_from(data).map_err(|_| {
        ApiError::new(
            400,
            "BadRequestException",
            "the data is not UTF-8, and text frames must be",
        )
    })?;
    connection.outbound.try_send(text).map_err(|error| match error {
        TrySendError::Full(_) => ApiError::new(
            429,
            "LimitExceededException",
            "the client does not read: its buffer is full",
        ),
        TrySendError::Closed(_) => gone(),
    })
}

fn describe(connection: &Connection) -> Response {
    let time = |milliseconds: i64| {
        let time = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or_default();
        time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
    };
    let peer = &connection.peer;
    let body = json!({
        "connectedAt": time(peer.connected_at),
        "lastActiveAt": time(connection.last_active()),
        "identity": { "sourceIp": peer.source_ip, "userAgent": peer.user_agent },
    });
    wire::rest_json(200, &body)
}

/// Signatures are not verified, only asked for: a client that forgets to sign must not work here.
fn is_signed(headers: &HeaderMap, query: &str) -> bool {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    authorization.is_some_and(|value| value.starts_with("AWS4-")) || query.contains("X-Amz-Signature=")
}

pub(super) fn gone() -> ApiError {
    ApiError::new(410, "GoneException", "the connection is gone, or not open yet")
}

fn forbidden() -> ApiError {
    ApiError::new(403, "ForbiddenException", "Forbidden")
}
