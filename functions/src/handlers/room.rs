//! The routes `join`, `who` and `history`: where a member is, with whom, and what was said there.
//!
//! One function for all: they need nearly the same rights, and each function more costs a cold start of its own.

use functions_domain::ports::{
    Clock, CloseConnection, CountAction, ForgetConnection, ListRoom, MoveConnection, ReadHistory, SendFrame,
};
use functions_domain::{BroadcastReport, History, HistoryError, Reading, Rooms, RoomsError};

use super::answer::{Trouble, answer};
use super::{Response, log_presence};
use crate::events::{RequestContext, WebSocketEvent};
use crate::frames::{self, ErrorCode, Rejection};
use crate::runtime::Failure;

/// The use cases behind the routes.
#[derive(Clone, Debug)]
pub struct RoomActions<R, G, C, M> {
    /// Behind `join` and `who`.
    pub rooms: Rooms<R, G, C>,
    /// Behind `history`.
    pub history: History<R, M, C>,
}

/// Moves the caller, or not, and answers with the members of its room or with what was said there.
///
/// # Errors
///
/// [`Failure::Port`] when a table is out of reach or the caller cannot be answered.
pub async fn room<R, G, C, M>(actions: &RoomActions<R, G, C, M>, event: WebSocketEvent) -> Result<Response, Failure>
where
    R: CountAction + MoveConnection + ListRoom + ForgetConnection,
    G: SendFrame + CloseConnection,
    C: Clock,
    M: ReadHistory,
{
    let context = &event.request_context;
    let body = event.body.as_deref().unwrap_or_default();
    let RoomActions { rooms, history } = actions;
    let outcome = match context.route_key.as_str() {
        "join" => Box::pin(join(rooms, context, body)).await,
        "who" => Box::pin(who(rooms, context, body)).await,
        "history" => Box::pin(read(history, context, body)).await,
        _ => {
            let message = "`action` must be `join`, `who` or `history`";
            Err(Rejection::new(ErrorCode::UnknownAction, message, None).into())
        }
    };
    answer(&rooms.presence.broadcast.gateway, context, outcome.map(Some)).await
}

async fn read<R, M, C>(history: &History<R, M, C>, context: &RequestContext, body: &str) -> Result<String, Trouble>
where
    R: CountAction + ListRoom,
    M: ReadHistory,
    C: Clock,
{
    let frame = frames::ask_history(body)?;
    let caller = context.caller().map_err(|_| Trouble::no_identity(frame.id.clone()))?;
    let reading = Reading {
        room: frame.room,
        from: frame.from,
        most: frame.limit,
    };
    let pages = history.execute(&caller, reading).await.map_err(|error| match error {
        HistoryError::Refused(refusal) => Trouble::refused(refusal, frame.id.clone()),
        HistoryError::Unavailable(error) => error.into(),
    })?;
    let messages = pages.messages.len();
    tracing::info!(route = "history", connectionId = %caller.connection, room = %pages.room, messages, "read");
    Ok(frames::history(&pages, frame.id.as_deref()))
}

async fn join<R, G, C>(rooms: &Rooms<R, G, C>, context: &RequestContext, body: &str) -> Result<String, Trouble>
where
    R: CountAction + MoveConnection + ListRoom + ForgetConnection,
    G: SendFrame,
    C: Clock,
{
    let frame = frames::join(body)?;
    let caller = context.caller().map_err(|_| Trouble::no_identity(frame.id.clone()))?;
    let joined = rooms
        .join(&caller, frame.room)
        .await
        .map_err(|error| trouble(error, &frame.id))?;
    tracing::info!(route = "join", connectionId = %caller.connection, room = %joined.roster.room, "joined");
    log_reports(context, [&joined.left, &joined.joined]);
    Ok(frames::members(&joined.roster, frame.id.as_deref()))
}

async fn who<R, G, C>(rooms: &Rooms<R, G, C>, context: &RequestContext, body: &str) -> Result<String, Trouble>
where
    R: CountAction + MoveConnection + ListRoom + ForgetConnection,
    G: SendFrame,
    C: Clock,
{
    let frame = frames::who(body)?;
    let caller = context.caller().map_err(|_| Trouble::no_identity(frame.id.clone()))?;
    let roster = rooms.who(&caller).await.map_err(|error| trouble(error, &frame.id))?;
    Ok(frames::members(&roster, frame.id.as_deref()))
}

fn trouble(error: RoomsError, id: &Option<String>) -> Trouble {
    match error {
        RoomsError::Refused(refusal) => Trouble::refused(refusal, id.clone()),
        RoomsError::Unavailable(error) => error.into(),
    }
}

fn log_reports(context: &RequestContext, reports: [&BroadcastReport; 2]) {
    for report in reports {
        log_presence(context, report);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use functions_domain::ports::RecordMessage;
    use functions_domain::testing::{FakeClock, FakeConnections, FakeGateway, FakeMessages, connection, message};
    use functions_domain::{Broadcast, Presence};
    use serde_json::{Value, json};

    use super::*;
    use crate::handlers::testing::event;

    const CALLER: &str = "BFaT_fALIAMCKug=";

    struct Scene {
        connections: FakeConnections,
        gateway: FakeGateway,
        messages: FakeMessages,
    }

    impl Scene {
        fn new() -> Self {
            let rows = [(CALLER, "lobby"), ("l", "lobby"), ("r", "red")];
            Self {
                connections: FakeConnections::of(rows.map(|(id, room)| connection(id, room))),
                gateway: FakeGateway::default(),
                messages: FakeMessages::default(),
            }
        }

        async fn run(&self, route: &str, body: Value, exp: u64) -> Value {
            let broadcast = Broadcast {
                connections: self.connections.clone(),
                gateway: self.gateway.clone(),
                clock: FakeClock::at_seconds(1_000),
            };
            let actions = RoomActions {
                history: History {
                    connections: self.connections.clone(),
                    messages: self.messages.clone(),
                    clock: FakeClock::at_seconds(1_000),
                },
                rooms: Rooms {
                    presence: Presence {
                        broadcast,
                        encode: frames::presence,
                    },
                },
            };
            let event = event("message", |event| {
                event["requestContext"]["routeKey"] = json!(route);
                event["requestContext"]["authorizer"]["exp"] = json!(exp.to_string());
                event["body"] = json!(body.to_string());
            });
            assert_eq!(room(&actions, event).await.unwrap().status_code, 200);
            serde_json::from_str(self.gateway.frames(CALLER).last().unwrap()).unwrap()
        }
    }

    #[tokio::test]
    async fn joining_is_answered_with_the_members() {
        let scene = Scene::new();
        let answer = scene
            .run("join", json!({"action": "join", "room": "red", "id": "7"}), 2_000)
            .await;
        let members = json!([{"sub": CALLER, "name": CALLER}, {"sub": "r", "name": "r"}]);
        assert_eq!(
            answer,
            json!({"type": "members", "room": "red", "members": members, "more": false, "id": "7"})
        );
        let told: Value = serde_json::from_str(&scene.gateway.frames("l")[0]).unwrap();
        assert_eq!((&told["event"], &told["room"]), (&json!("left"), &json!("lobby")));
        let told: Value = serde_json::from_str(&scene.gateway.frames("r")[0]).unwrap();
        assert_eq!((&told["event"], &told["room"]), (&json!("joined"), &json!("red")));
        // No connection ids of others.
        assert!(!answer.to_string().contains("connectionId"));
    }

    #[tokio::test]
    async fn who_lists_the_own_room_only() {
        let scene = Scene::new();
        let answer = scene.run("who", json!({"action": "who"}), 2_000).await;
        assert_eq!(
            (&answer["room"], answer["members"].as_array().unwrap().len()),
            (&json!("lobby"), 2)
        );
        let answer = scene.run("who", json!({"action": "who", "room": "red"}), 2_000).await;
        assert_eq!(answer["code"], "bad_field");
    }

    #[tokio::test]
    async fn what_was_said_is_read_back() {
        let scene = Scene::new();
        for at_ms in [998_000, 999_000] {
            scene.messages.record(&message("lobby", at_ms), u64::MAX).await.unwrap();
        }
        let ask = json!({"action": "history", "limit": 1, "id": "h"});
        let answer = scene.run("history", ask, 2_000).await;
        assert_eq!(
            (&answer["type"], &answer["room"], &answer["id"]),
            (&json!("history"), &json!("lobby"), &json!("h"))
        );
        assert_eq!(answer["messages"][0]["id"], message("lobby", 999_000).id.as_str());
        assert_eq!(answer["messages"][0]["type"], "message");
        let answer = scene.run("history", json!({"after": "x"}), 2_000).await;
        assert_eq!(answer["code"], "bad_field");
    }

    #[tokio::test]
    async fn an_expired_token_is_told_and_ends_the_connection() {
        let scene = Scene::new();
        let answer = scene.run("who", json!({"action": "who"}), 1_000).await;
        assert_eq!(answer["code"], "token_expired");
        assert_eq!(scene.gateway.closed(), [CALLER]);
    }

    #[tokio::test]
    async fn a_bad_room_moves_nobody() {
        let scene = Scene::new();
        for room in [
            json!("a b"),
            json!(""),
            json!("r".repeat(65)),
            Value::Null,
            json!(["red"]),
        ] {
            let answer = scene.run("join", json!({"action": "join", "room": room}), 2_000).await;
            assert_eq!(answer["code"], "bad_room");
        }
        assert_eq!(scene.connections.row(CALLER).unwrap().room.as_str(), "lobby");
        assert_eq!(scene.gateway.closed(), [""; 0]);
    }
}
