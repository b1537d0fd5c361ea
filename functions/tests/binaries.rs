//! The binaries as Lambda runs them: a process, a Runtime API, one event.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::Server;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(60);

/// Runs `binary` with one `event` and returns where it answered (`response` or `error`) and what.
async fn invoke(binary: &str, event: String, variables: &[(&str, &str)]) -> (String, Value) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, mut answers) = mpsc::unbounded_channel();
    let once = Arc::new(Notify::new());
    once.notify_one();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (sender, once, event) = (sender.clone(), once.clone(), event.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (sender, once, event) = (sender.clone(), once.clone(), event.clone());
                async move {
                    let path = request.uri().path().to_owned();
                    if path.ends_with("/invocation/next") {
                        // The second question waits for ever, as on Lambda between events.
                        once.notified().await;
                        return Response::builder()
                            .header("Lambda-Runtime-Aws-Request-Id", "r-1")
                            .header("Lambda-Runtime-Deadline-Ms", "4102444800000")
                            .header("Lambda-Runtime-Invoked-Function-Arn", "arn")
                            .body(Full::new(Bytes::from(event)));
                    }
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let kind = path.rsplit('/').next().unwrap().to_owned();
                    let _ = sender.send((kind, serde_json::from_slice(&body).unwrap()));
                    Response::builder().status(202).body(Full::new(Bytes::new()))
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let mut child = Command::new(binary)
        .env_clear()
        .envs([
            ("AWS_LAMBDA_RUNTIME_API", address.as_str()),
            ("AWS_REGION", "eu-west-1"),
        ])
        .envs([("AWS_LAMBDA_FUNCTION_NAME", "f"), ("AWS_LAMBDA_FUNCTION_VERSION", "1")])
        .envs([("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"), ("AWS_ACCESS_KEY_ID", "a")])
        .envs([("AWS_SECRET_ACCESS_KEY", "s")])
        .envs(variables.iter().copied())
        .kill_on_drop(true)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let answer = timeout(DEADLINE, answers.recv()).await.unwrap().unwrap();
    child.kill().await.unwrap();
    answer
}

fn event(name: &str, change: impl FnOnce(&mut Value)) -> String {
    let path = format!("{}/tests/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let mut event = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    change(&mut event);
    event.to_string()
}

#[tokio::test]
async fn without_a_token_the_error_is_exactly_unauthorized() {
    let variables = [
        ("TOKEN_KEY_PARAMETER", "/k"),
        ("TOKEN_AUDIENCE", "chat"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
    ];
    let event = event("authorize", |event| event["headers"] = json!({}));
    let (kind, answer) = invoke(env!("CARGO_BIN_EXE_authorize"), event, &variables).await;
    assert_eq!(
        (kind.as_str(), &answer["errorMessage"]),
        ("error", &json!("Unauthorized"))
    );
}

#[tokio::test]
async fn connect_and_disconnect_write_the_table() {
    for (binary, name) in [
        (env!("CARGO_BIN_EXE_connect"), "connect"),
        (env!("CARGO_BIN_EXE_disconnect"), "disconnect"),
    ] {
        let aws = Server::start(|_, _| (200, "{}".to_owned())).await;
        let variables = [
            ("CONNECTIONS_TABLE", "t"),
            ("RATES_TABLE", "r"),
            ("ROOM_SHARDS", "1"),
            ("MANAGEMENT_ENDPOINT", aws.url.as_str()),
            ("AWS_ENDPOINT_URL", aws.url.as_str()),
        ];
        let (kind, answer) = invoke(binary, event(name, |_| {}), &variables).await;
        assert_eq!(
            (kind.as_str(), answer),
            ("response", json!({"statusCode": 200})),
            "{name}"
        );
        assert!(aws.seen()[0].1.contains("BFaT_fALIAMCKug="), "{name}");
    }
}

/// An AWS whose table knows the caller and another member of the lobby.
async fn two_in_the_lobby() -> Server {
    let row = |id: &str, sub: &str| {
        json!({
            "connectionId": {"S": id}, "room": {"S": "lobby"}, "sub": {"S": sub}, "connectedAt": {"N": "1"},
            "tokenExpiresAt": {"N": "1"}, "expiresAt": {"N": "4000000000"},
        })
    };
    Server::start(move |path, body| {
        if path != "/" {
            return (200, String::new());
        }
        let answer = if body.contains("UpdateExpression") {
            json!({"Attributes": row("BFaT_fALIAMCKug=", "u1")})
        } else {
            json!({"Items": [row("other=", "u2")]})
        };
        (200, answer.to_string())
    })
    .await
}

/// Runs a binary for a frame of an administrator and returns the frames that were posted, with their paths.
async fn act(binary: &str, route: &str, frame: Value) -> Vec<(String, String)> {
    let aws = two_in_the_lobby().await;
    let management = format!("{}/prod", aws.url);
    let variables = [
        ("CONNECTIONS_TABLE", "t"),
        ("RATES_TABLE", "r"),
        ("MESSAGES_TABLE", "m"),
        ("ROOM_SHARDS", "1"),
        ("BROADCAST_FUNCTION", "b"),
        ("MANAGEMENT_ENDPOINT", management.as_str()),
        ("AWS_ENDPOINT_URL", aws.url.as_str()),
    ];
    let event = event("message", |event| {
        event["requestContext"]["routeKey"] = json!(route);
        event["requestContext"]["authorizer"]["exp"] = json!("4000000000");
        event["requestContext"]["authorizer"]["roles"] = json!("admin");
        event["body"] = json!(frame.to_string());
    });
    let (kind, _) = invoke(binary, event, &variables).await;
    assert_eq!(kind, "response");
    aws.seen().into_iter().filter(|(path, _)| path != "/").collect()
}

#[tokio::test]
async fn messages_reach_the_gateway() {
    let frame = json!({"action": "sendMessage", "data": "Hello, World!"});
    let posted = act(env!("CARGO_BIN_EXE_send-message"), "sendMessage", frame).await;
    assert_eq!(posted.len(), 1);
    assert_eq!(posted[0].0, "/prod/@connections/other%3D");
    assert!(posted[0].1.contains("Hello, World!"), "{posted:?}");
}

#[tokio::test]
async fn a_leg_reaches_the_gateway() {
    let aws = two_in_the_lobby().await;
    let management = format!("{}/prod", aws.url);
    let variables = [
        ("CONNECTIONS_TABLE", "t"),
        ("RATES_TABLE", "r"),
        ("ROOM_SHARDS", "2"),
        ("POSTS_PER_SECOND", "1000"),
        ("BROADCAST_FUNCTION", "b"),
        ("MANAGEMENT_ENDPOINT", management.as_str()),
        ("AWS_ENDPOINT_URL", aws.url.as_str()),
    ];
    let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let message = functions_domain::MessageId::new(u64::try_from(now_ms).unwrap(), 0);
    let leg = json!({"messageId": message.as_str(), "room": "lobby", "shard": 1, "except": "me=", "frame": "hi"});
    let (kind, answer) = invoke(env!("CARGO_BIN_EXE_broadcast"), leg.to_string(), &variables).await;
    assert_eq!((kind.as_str(), answer), ("response", Value::Null));
    let seen = aws.seen();
    assert!(seen[0].1.contains("lobby#1"), "{seen:?}");
    assert_eq!(seen[1], ("/prod/@connections/other%3D".to_owned(), "hi".to_owned()));
}

#[tokio::test]
async fn a_member_learns_who_is_there() {
    let posted = act(env!("CARGO_BIN_EXE_room"), "who", json!({"action": "who"})).await;
    assert_eq!(posted[0].0, "/prod/@connections/BFaT_fALIAMCKug%3D");
    assert!(posted[0].1.contains(r#"{"sub":"u2","name":"u2"}"#), "{posted:?}");
}

#[tokio::test]
async fn a_kicked_user_is_told_and_disconnected() {
    let posted = act(
        env!("CARGO_BIN_EXE_admin"),
        "kick",
        json!({"action": "kick", "sub": "u2"}),
    )
    .await;
    let paths: Vec<_> = posted.iter().map(|(path, _)| path.as_str()).collect();
    let other = "/prod/@connections/other%3D";
    assert_eq!(paths, [other, other, "/prod/@connections/BFaT_fALIAMCKug%3D"]);
    assert!(posted[0].1.contains("kicked") && posted[1].1.is_empty(), "{posted:?}");
    assert!(posted[2].1.contains(r#""connections":1"#), "{posted:?}");
}

#[tokio::test]
async fn an_unknown_action_is_answered_without_a_call() {
    let (kind, answer) = invoke(env!("CARGO_BIN_EXE_default"), event("message", |_| {}), &[]).await;
    assert_eq!(kind, "response");
    assert!(answer.to_string().contains("unknown_action"), "{answer}");
}

#[tokio::test]
async fn the_page_is_served_without_a_call() {
    let variables = [
        ("WEB_SOCKET_URL", "wss://a.example/dev"),
        ("APP_NAME", "chat"),
        ("STAGE_NAME", "dev"),
    ];
    let (kind, answer) = invoke(env!("CARGO_BIN_EXE_web"), event("url", |_| {}), &variables).await;
    assert_eq!((kind.as_str(), &answer["statusCode"]), ("response", &json!(200)));
    assert!(answer["body"].as_str().unwrap().contains("<html"), "{answer}");
}

#[tokio::test]
async fn a_missing_variable_is_named_before_the_first_event() {
    let output = Command::new(env!("CARGO_BIN_EXE_connect"))
        .env_clear()
        .envs([
            ("AWS_REGION", "r"),
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
        ])
        .output();
    let output = timeout(DEADLINE, output).await.unwrap().unwrap();
    assert!(!output.status.success());
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        shown.contains("environment variable CONNECTIONS_TABLE is not set"),
        "{shown}"
    );
}
