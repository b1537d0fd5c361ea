//! The route `$connect`: remembers the connection before its handshake is answered.

use functions_domain::ports::{Clock, ForgetConnection, ListRoom, RememberConnection, SendFrame};
use functions_domain::{Connect, Room};

use super::{Response, ResponseHeaders, log_presence};
use crate::events::{SUBPROTOCOL, WebSocketEvent};
use crate::metrics;
use crate::runtime::Failure;

/// Puts the client into the room of `?room=`, or the lobby, and tells those who are there. Answers 400 to a bad room's name.
///
/// # Errors
///
/// [`Failure::Port`] when the connection cannot be remembered.
pub async fn connect<R, G, C>(connect: &Connect<R, G, C>, event: WebSocketEvent) -> Result<Response, Failure>
where
    R: RememberConnection + ForgetConnection + ListRoom,
    G: SendFrame,
    C: Clock,
{
    let context = event.request_context;
    let session = match context.session() {
        Ok(session) => session,
        Err(reason) => {
            tracing::error!(route = "$connect", connectionId = %context.connection_id, %reason, "refused");
            return Ok(Response::status(403));
        }
    };
    let room = match event
        .handshake
        .query("room")
        .map_or_else(|| Ok(Room::lobby()), Room::parse)
    {
        Ok(room) => room,
        Err(reason) => {
            tracing::info!(route = "$connect", connectionId = %context.connection_id, %reason, "refused");
            return Ok(Response::status(400));
        }
    };
    let (connection, told) = Box::pin(connect.execute(context.connection_id.clone(), room, session)).await?;
    log_presence(&context, &told);
    metrics::connection();
    tracing::info!(
        route = "$connect",
        connectionId = %connection.id,
        room = %connection.room,
        sub = connection.session.user.sub,
        "connected"
    );
    let headers = event.handshake.offers_chat().then_some(ResponseHeaders {
        subprotocol: SUBPROTOCOL,
    });
    Ok(Response {
        status_code: 200,
        headers,
        body: None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use functions_domain::testing::{FakeClock, FakeConnections, FakeGateway};
    use functions_domain::{Broadcast, Connection, Presence};
    use serde_json::{Value, json};

    use super::*;
    use crate::frames;
    use crate::handlers::testing::event;

    fn use_case(connections: &FakeConnections) -> Connect<FakeConnections, FakeGateway, FakeClock> {
        let broadcast = Broadcast {
            connections: connections.clone(),
            gateway: FakeGateway::default(),
            clock: FakeClock::at_seconds(1_000),
        };
        Connect {
            presence: Presence {
                broadcast,
                encode: frames::presence,
            },
        }
    }

    async fn run(change: impl FnOnce(&mut Value)) -> (Value, Option<Connection>) {
        let connections = FakeConnections::default();
        let use_case = use_case(&connections);
        let response = connect(&use_case, event("connect", change)).await.unwrap();
        let connection = connections.row("BFaT_fALIAMCKug=");
        (serde_json::to_value(response).unwrap(), connection)
    }

    #[tokio::test]
    async fn the_identity_is_remembered() {
        let (response, connection) = run(|_| {}).await;
        assert_eq!(response, json!({"statusCode": 200}));
        let connection = connection.unwrap();
        assert_eq!(connection.room, Room::lobby());
        assert_eq!(connection.session.user.sub, "u1");
        assert_eq!(connection.session.user.name.as_deref(), Some("Alice"));
        assert_eq!(connection.session.token_expires_at, 1_731_340_000);
        assert_eq!(connection.connected_at, 1_000);
    }

    #[tokio::test]
    async fn the_subprotocol_is_selected_and_the_token_not_echoed() {
        let (response, _) = run(|event| event["headers"]["Sec-WebSocket-Protocol"] = json!("chat.v1, auth.x")).await;
        assert_eq!(
            response,
            json!({"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": "chat.v1"}})
        );
    }

    #[tokio::test]
    async fn the_room_is_chosen_on_connect() {
        let (_, connection) = run(|event| event["queryStringParameters"] = json!({"room": "red"})).await;
        assert_eq!(connection.unwrap().room.as_str(), "red");

        let (response, connection) = run(|event| event["queryStringParameters"] = json!({"room": "no room"})).await;
        assert_eq!(response, json!({"statusCode": 400}));
        assert_eq!(connection, None);
    }

    #[tokio::test]
    async fn a_route_without_authorizer_admits_nobody() {
        let (response, connection) = run(|event| event["requestContext"]["authorizer"] = Value::Null).await;
        assert_eq!(response, json!({"statusCode": 403}));
        assert_eq!(connection, None);
    }

    #[tokio::test]
    async fn a_client_that_cannot_be_remembered_is_refused() {
        let connections = FakeConnections::default();
        connections.fail();
        assert!(
            connect(&use_case(&connections), event("connect", |_| {}))
                .await
                .is_err()
        );
    }
}
