//! The routes `announce` and `kick`: what only some roles may do.
//!
//! A function of its own, because only it may end the connections of others as a matter of course.

use functions_domain::ports::{
    Clock, CloseConnection, CountAction, ForgetConnection, HandOver, ListRoom, MessageIds, RecordMessage, SendFrame,
};
use functions_domain::{Kick, KickError, SendMessage};

use super::Response;
use super::answer::{Trouble, answer};
use super::send_message::send;
use crate::events::{RequestContext, WebSocketEvent};
use crate::frames::{self, ErrorCode, Rejection};
use crate::runtime::Failure;

/// The use cases behind both routes.
#[derive(Clone, Debug)]
pub struct Admin<R, G, C, H, M, I> {
    /// Behind `announce`.
    pub announce: SendMessage<R, G, C, H, M, I>,
    /// Behind `kick`.
    pub kick: Kick<R, G, C>,
}

/// Announces or kicks, and answers the caller.
///
/// # Errors
///
/// [`Failure::Port`] when the table or the gateway is out of reach.
pub async fn admin<R, G, C, H, M, I>(
    admin: &Admin<R, G, C, H, M, I>,
    event: WebSocketEvent,
) -> Result<Response, Failure>
where
    R: CountAction + ListRoom + ForgetConnection,
    G: SendFrame + CloseConnection,
    C: Clock,
    H: HandOver,
    M: RecordMessage,
    I: MessageIds,
{
    let context = &event.request_context;
    let body = event.body.as_deref().unwrap_or_default();
    let outcome = match context.route_key.as_str() {
        "announce" => Box::pin(send(&admin.announce, context, body)).await,
        "kick" => Box::pin(kick(&admin.kick, context, body)).await.map(Some),
        _ => Err(Rejection::new(ErrorCode::UnknownAction, "`action` must be `announce` or `kick`", None).into()),
    };
    answer(&admin.kick.gateway, context, outcome).await
}

async fn kick<R, G, C>(use_case: &Kick<R, G, C>, context: &RequestContext, body: &str) -> Result<String, Trouble>
where
    R: CountAction + ListRoom + ForgetConnection,
    G: SendFrame + CloseConnection,
    C: Clock,
{
    let frame = frames::kick(body)?;
    let caller = context.caller().map_err(|_| Trouble::no_identity(frame.id.clone()))?;
    let kicked = use_case
        .execute(&caller, &frame.sub, frame.room)
        .await
        .map_err(|error| match error {
            KickError::Refused(refusal) => Trouble::refused(refusal, frame.id.clone()),
            KickError::Unavailable(error) => error.into(),
        })?;
    let connections = kicked.connections;
    tracing::info!(
        route = "kick",
        connectionId = %caller.connection,
        by = caller.session.user.sub,
        room = %kicked.room,
        connections,
        "kicked"
    );
    Ok(frames::kick_ack(frame.id.as_deref(), connections))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use functions_domain::testing::{
        FakeClock, FakeConnections, FakeGateway, FakeIds, FakeLegs, FakeMessages, connection,
    };
    use functions_domain::{Broadcast, FanOut, MessageKind};
    use serde_json::{Value, json};

    use super::*;
    use crate::handlers::testing::event;

    const CALLER: &str = "BFaT_fALIAMCKug=";

    async fn run(gateway: &FakeGateway, roles: &str, route: &str, body: Value) -> Vec<Value> {
        let rows = [(CALLER, "lobby"), ("bo", "lobby"), ("cy", "red")];
        let connections = FakeConnections::of(rows.map(|(id, room)| connection(id, room)));
        let broadcast = Broadcast {
            connections: connections.clone(),
            gateway: gateway.clone(),
            clock: FakeClock::at_seconds(1_000),
        };
        let use_cases = Admin {
            announce: SendMessage {
                fan_out: FanOut {
                    broadcast,
                    others: FakeLegs::default(),
                    inline_max: 100,
                },
                messages: FakeMessages::default(),
                kind: MessageKind::Announcement,
                ids: FakeIds::default(),
                encode: frames::message,
            },
            kick: Kick {
                connections,
                gateway: gateway.clone(),
                clock: FakeClock::at_seconds(1_000),
                encode: frames::kicked,
            },
        };
        let event = event("message", |event| {
            event["requestContext"]["routeKey"] = json!(route);
            event["requestContext"]["authorizer"]["roles"] = json!(roles);
            event["body"] = json!(body.to_string());
        });
        assert_eq!(admin(&use_cases, event).await.unwrap().status_code, 200);
        frames_of(gateway, CALLER)
    }

    fn frames_of(gateway: &FakeGateway, to: &str) -> Vec<Value> {
        let frames = gateway.frames(to);
        frames
            .iter()
            .map(|frame| serde_json::from_str(frame).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn an_admin_announces() {
        let gateway = FakeGateway::default();
        let body = json!({"action": "announce", "data": "closing", "room": "red", "ack": true});
        let answers = run(&gateway, "admin", "announce", body).await;
        assert_eq!(answers[0]["type"], "ack");
        let heard = &frames_of(&gateway, "cy")[0];
        assert_eq!(
            (&heard["type"], &heard["data"]),
            (&json!("announcement"), &json!("closing"))
        );
    }

    #[tokio::test]
    async fn a_moderator_kicks() {
        let gateway = FakeGateway::default();
        let answers = run(
            &gateway,
            "moderator",
            "kick",
            json!({"action": "kick", "sub": "bo", "id": "k"}),
        )
        .await;
        assert_eq!(answers, [json!({"type": "ack", "id": "k", "connections": 1})]);
        assert_eq!(gateway.closed(), ["bo"]);
        assert_eq!(frames_of(&gateway, "bo")[0]["type"], "kicked");
    }

    #[tokio::test]
    async fn others_are_told_that_they_may_not() {
        for (roles, route, body) in [
            ("", "kick", json!({"sub": "bo"})),
            ("a b", "announce", json!({"data": "x"})),
            ("moderator", "announce", json!({"data": "x"})),
        ] {
            let gateway = FakeGateway::default();
            let answers = run(&gateway, roles, route, body).await;
            assert_eq!(answers[0]["code"], "forbidden", "{roles} {route}");
            assert_eq!(gateway.receivers(), [CALLER]);
            assert_eq!(gateway.closed(), [""; 0]);
        }
    }
}
