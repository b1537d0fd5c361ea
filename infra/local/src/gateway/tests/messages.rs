//! Messages, their routes, and how connections end.

use std::time::Duration;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::{Limits, Setup, closed, eventually, failed, gate, hear, hear_json, ok, say};
use crate::lambda::Outcome;

/// Answers with the route key and what else the event says.
async fn echoing(limits: Limits, keys: &[&str]) -> Setup {
    let setup = Setup::with_limits(limits).await;
    for key in keys {
        let route = setup
            .route(key, &json!({"routeResponseSelectionExpression": "$default"}))
            .await;
        let path = format!("/apis/{}/routes/{route}/routeresponses", setup.api_id);
        setup
            .control()
            .create(&path, &json!({"routeResponseKey": "$default"}))
            .await;
        setup.function(key, |event| {
            let body =
                json!({"route": event["requestContext"]["routeKey"], "bytes": event["body"].as_str().map(str::len)});
            ok(&json!({"statusCode": 200, "body": body.to_string()}))
        });
    }
    setup.deploy().await;
    setup
}

#[tokio::test]
async fn each_event_is_a_line_of_the_access_log() {
    let setup = echoing(Limits::default(), &["$connect", "send", "$disconnect"]).await;
    setup.function("send", |_| failed("no"));
    let role = "arn:aws:iam::000000000000:role/logs";
    setup.cloud.control.set_log_role(Some(role.to_owned()));
    let settings = json!({"accessLogSettings": {
        "destinationArn": "arn:aws:logs:us-east-1:000000000000:log-group:/aws/apigateway/chat",
        "format": "$context.requestId $context.eventType $context.routeKey $context.status",
    }});
    let path = format!("/apis/{}/stages/dev", setup.api_id);
    setup.control().patch(&path, &settings).await;
    let mut client = setup.connect().await;
    say(&mut client, r#"{"action":"send"}"#).await;
    hear(&mut client).await;
    client.close(None).await.unwrap();
    let lines = eventually("three lines", || {
        let lines = setup.cloud.access_log.lock().unwrap().clone();
        (lines.len() == 3).then_some(lines)
    })
    .await;
    let texts: Vec<&str> = lines.iter().map(|(_, line)| line.split_once(' ').unwrap().1).collect();
    assert_eq!(
        texts,
        ["CONNECT $connect 200", "MESSAGE send 500", "DISCONNECT $disconnect 200"]
    );
    assert!(lines.iter().all(|(group, _)| group == "/aws/apigateway/chat"));
}

#[tokio::test]
async fn a_message_takes_its_route() {
    let setup = echoing(Limits::default(), &["send", "$default", "7"]).await;
    let mut client = setup.connect().await;
    let cases = [
        (r#"{"action":"send","data":"Hello"}"#, "send"),
        (r#"{"action":7}"#, "7"),
        (r#"{"action":"unknown"}"#, "$default"),
        (r#"{"action":"$connect"}"#, "$default"),
        (r#"{"action":"$disconnect"}"#, "$default"),
        (r#"{"action":"$default"}"#, "$default"),
        (r#"{"other":1}"#, "$default"),
        ("not JSON", "$default"),
        ("", "$default"),
    ];
    for (message, route) in cases {
        say(&mut client, message).await;
        assert_eq!(
            hear_json(&mut client).await,
            json!({"route": route, "bytes": message.len()}),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_message_event_has_a_context_and_no_headers() {
    let setup = echoing(Limits::default(), &["send"]).await;
    let mut client = setup.connect().await;
    for _ in 0..2 {
        say(&mut client, r#"{"action":"send"}"#).await;
        hear(&mut client).await;
    }
    let calls = setup.calls_after("send", 2).await;
    let arn = format!("arn:aws:execute-api:us-east-1:000000000000:{}/dev/send", setup.api_id);
    assert_eq!(calls[0].source_arn, arn);
    let event = &calls[0].event;
    let mut members: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["body", "isBase64Encoded", "requestContext"]);
    assert_eq!(event["body"], r#"{"action":"send"}"#);
    let (first, second) = (&event["requestContext"], &calls[1].event["requestContext"]);
    assert_eq!(
        (&first["eventType"], &first["routeKey"]),
        (&json!("MESSAGE"), &json!("send"))
    );
    for same in [
        "connectionId",
        "connectedAt",
        "domainName",
        "apiId",
        "stage",
        "identity",
    ] {
        assert_eq!(first[same], second[same], "{same}");
        assert!(!first[same].is_null(), "{same}");
    }
    for fresh in ["messageId", "requestId", "extendedRequestId"] {
        assert_ne!(first[fresh], second[fresh], "{fresh}");
    }
}

#[tokio::test]
async fn a_message_without_a_route_is_forbidden() {
    let setup = echoing(Limits::default(), &["send"]).await;
    let mut client = setup.connect().await;
    say(&mut client, r#"{"action":"other"}"#).await;
    let frame = hear_json(&mut client).await;
    assert_eq!(frame["message"], "Forbidden");
    assert!(frame["connectionId"].is_string() && frame["requestId"].is_string());
}

#[tokio::test]
async fn a_failure_is_told_and_the_connection_stays() {
    let setup = echoing(Limits::default(), &["send"]).await;
    setup.function("send", |event| {
        match event["body"].as_str().unwrap().contains("crash") {
            true => failed("secret"),
            false => Ok(Outcome::Success("null".into())),
        }
    });
    let mut client = setup.connect().await;
    for message in [r#"{"action":"send","data":"crash"}"#, r#"{"action":"send"}"#] {
        say(&mut client, message).await;
        let frame = hear_json(&mut client).await;
        assert_eq!(frame["message"], "Internal server error", "{message}");
        assert!(!frame.to_string().contains("secret"));
    }
}

#[tokio::test]
async fn only_a_route_response_sends_the_body_back() {
    let setup = Setup::new().await;
    setup
        .route("quiet", &json!({"routeResponseSelectionExpression": "$default"}))
        .await;
    setup.deploy().await;
    setup.function("quiet", |_| ok(&json!({"statusCode": 200, "body": "unheard"})));
    let mut client = setup.connect().await;
    say(&mut client, r#"{"action":"quiet"}"#).await;
    setup.call("quiet").await;
    say(&mut client, r#"{"action":"other"}"#).await;
    assert_eq!(hear_json(&mut client).await["message"], "Forbidden");
}

#[tokio::test]
async fn messages_of_one_client_run_side_by_side() {
    let setup = echoing(Limits::default(), &["slow", "fast"]).await;
    let (open, wait) = gate();
    setup.async_function("slow", move |_| {
        let waited = wait();
        Box::pin(async move {
            waited.await;
            ok(&json!({"statusCode": 200, "body": "slow"}))
        })
    });
    let mut client = setup.connect().await;
    say(&mut client, r#"{"action":"slow"}"#).await;
    setup.call("slow").await;
    say(&mut client, r#"{"action":"fast"}"#).await;
    assert_eq!(hear_json(&mut client).await["route"], "fast");
    open.send(()).unwrap();
    assert_eq!(hear(&mut client).await, "slow");
}

#[tokio::test]
async fn what_is_too_large_or_binary_closes() {
    let limits = Limits {
        close: Duration::from_millis(200),
        ..Limits::default()
    };
    let setup = echoing(limits, &["$default", "$disconnect"]).await;
    let frames = |size: usize, count: usize| -> Vec<Message> {
        let frame = |index| {
            let code = if index == 0 { Data::Text } else { Data::Continue };
            Message::Frame(Frame::message(vec![b'a'; size], OpCode::Data(code), index + 1 == count))
        };
        (0..count).map(frame).collect()
    };
    let cases = [
        (vec![Message::binary("x")], Some(1003)),
        (frames(32 * 1024, 1), None),
        (frames(32 * 1024 + 1, 1), Some(1009)),
        (frames(32 * 1024, 4), None),
        (frames(32 * 1024, 5), Some(1009)),
    ];
    for (index, (messages, code)) in cases.into_iter().enumerate() {
        let mut client = setup.connect().await;
        for message in messages {
            client.send(message).await.unwrap();
        }
        match code {
            None => assert_eq!(hear_json(&mut client).await["route"], "$default", "{index}"),
            Some(code) => assert_eq!(closed(&mut client).await.0, code, "{index}"),
        }
    }
    let endings: Vec<Value> = setup
        .calls_after("$disconnect", 3)
        .await
        .into_iter()
        .map(|call| call.event)
        .collect();
    assert!(
        endings
            .iter()
            .any(|event| event["requestContext"]["disconnectStatusCode"] == 1003)
    );
    assert!(
        endings
            .iter()
            .any(|event| event["requestContext"]["disconnectStatusCode"] == 1009)
    );
}

#[tokio::test]
async fn disconnect_says_how_it_ended() {
    let setup = echoing(Limits::default(), &["$disconnect"]).await;
    let mut bye = setup.connect().await;
    bye.close(Some(CloseFrame {
        code: 4001.into(),
        reason: "bye".into(),
    }))
    .await
    .unwrap();
    let event = setup.call("$disconnect").await;
    assert!(event.source_arn.ends_with("/dev/$disconnect"));
    let context = &event.event["requestContext"];
    assert_eq!(
        (&context["disconnectStatusCode"], &context["disconnectReason"]),
        (&json!(4001), &json!("bye"))
    );
    assert_eq!(
        (&context["eventType"], &context["routeKey"]),
        (&json!("DISCONNECT"), &json!("$disconnect"))
    );
    assert!(event.event["headers"]["Host"].is_string());

    let mut silent = setup.connect().await;
    silent.close(None).await.unwrap();
    let context = setup.calls_after("$disconnect", 2).await[1].event["requestContext"].clone();
    assert_eq!(context["disconnectStatusCode"], 1005);
    assert_eq!(context["disconnectReason"], "Client-side close frame status not set");

    drop(setup.connect().await);
    let context = setup.calls_after("$disconnect", 3).await[2].event["requestContext"].clone();
    assert_eq!(context["disconnectStatusCode"], 1006);
    eventually("no connection", || setup.cloud.gateway.lock().is_empty().then_some(())).await;
    assert_eq!(setup.calls("$disconnect").len(), 3);
}

#[tokio::test]
async fn idle_and_old_connections_are_closed() {
    let short = Duration::from_millis(300);
    let long = Duration::from_secs(600);
    for (idle, duration) in [(short, long), (long, short)] {
        let setup = echoing(
            Limits {
                idle,
                duration,
                ..Limits::default()
            },
            &["$disconnect"],
        )
        .await;
        let mut client = setup.connect().await;
        assert_eq!(closed(&mut client).await, (1001, "Going away".to_owned()));
        let context = setup.call("$disconnect").await.event["requestContext"].clone();
        assert_eq!(context["disconnectStatusCode"], 1001);
    }
}

#[tokio::test]
async fn shutdown_closes_everything_and_waits_for_disconnect() {
    let setup = echoing(Limits::default(), &["$disconnect"]).await;
    let mut clients = vec![setup.connect().await, setup.connect().await];
    let (_, ()) = tokio::join!(
        async {
            for client in &mut clients {
                assert_eq!(closed(client).await.0, 1001);
            }
        },
        setup.cloud.gateway.shutdown(Duration::from_secs(20)),
    );
    assert_eq!(setup.calls("$disconnect").len(), 2);
    assert!(setup.cloud.gateway.lock().is_empty());
}
