//! The `@connections` API.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;

use super::{Limits, Setup, closed, eventually, gate, hear, ok, within};

/// Returns a setup whose only client is connected, and the connection's id.
async fn connected(limits: Limits) -> (Setup, super::Client, String) {
    let setup = Setup::with_limits(limits).await;
    setup.route("$connect", &json!({})).await;
    setup.route("$disconnect", &json!({})).await;
    setup.deploy().await;
    let client = setup.connect().await;
    let id = id_of(&setup).await;
    (setup, client, id)
}

async fn id_of(setup: &Setup) -> String {
    let event = setup.call("$connect").await.event;
    event["requestContext"]["connectionId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn posts_arrive_in_order_as_text() {
    let (setup, mut client, id) = connected(Limits::default()).await;
    for index in 0..100 {
        assert_eq!(setup.manage("POST", &id, format!("ü{index}")).await.0, 200);
    }
    for index in 0..100 {
        assert_eq!(hear(&mut client).await, format!("ü{index}"));
    }
    let largest = "x".repeat(128 * 1024);
    assert_eq!(setup.manage("POST", &id, largest.clone()).await.0, 200);
    assert_eq!(hear(&mut client).await, largest);
    let (status, code, _) = setup.manage("POST", &id, format!("{largest}x")).await;
    assert_eq!((status, code.as_str()), (413, "PayloadTooLargeException"));
    let (status, code, _) = setup.manage("POST", &id, vec![0xff_u8]).await;
    assert_eq!((status, code.as_str()), (400, "BadRequestException"));
}

#[tokio::test]
async fn a_connection_is_described() {
    let (setup, _client, id) = connected(Limits::default()).await;
    let (status, _, body) = setup.manage("GET", &id, "").await;
    assert_eq!(status, 200);
    assert_eq!(body["identity"], json!({"sourceIp": "127.0.0.1", "userAgent": ""}));
    for time in ["connectedAt", "lastActiveAt"] {
        let text = body[time].as_str().unwrap();
        assert!(
            text.parse::<jiff::Timestamp>().is_ok() && text.ends_with('Z'),
            "{time}: {text}"
        );
    }
}

#[tokio::test]
async fn delete_closes_after_what_was_posted() {
    let (setup, mut client, id) = connected(Limits::default()).await;
    setup.manage("POST", &id, "bye").await;
    assert_eq!(setup.manage("DELETE", &id, "").await.0, 204);
    assert_eq!(setup.manage("POST", &id, "late").await.0, 410);
    assert_eq!(hear(&mut client).await, "bye");
    assert_eq!(closed(&mut client).await.0, 1000);
    let context = setup.call("$disconnect").await.event["requestContext"].clone();
    assert_eq!(context["disconnectStatusCode"], 1000);
}

#[tokio::test]
async fn wrong_calls_are_refused() {
    let (setup, _client, id) = connected(Limits::default()).await;
    let api = format!("/apis/{}", setup.api_id);
    setup
        .control()
        .create(&format!("{api}/stages"), &json!({"stageName": "empty"}))
        .await;
    setup
        .control()
        .create(&format!("{api}/stages"), &json!({"stageName": "other"}))
        .await;
    setup
        .control()
        .create(&format!("{api}/deployments"), &json!({"stageName": "other"}))
        .await;
    let cases = [
        ("dev", "POST", "BFaT_fALIAMCKug=", true, 410, "GoneException"),
        ("dev", "GET", "BFaT_fALIAMCKug=", true, 410, "GoneException"),
        ("dev", "DELETE", "BFaT_fALIAMCKug=", true, 410, "GoneException"),
        ("dev", "POST", "nonsense", true, 400, "BadRequestException"),
        ("dev", "POST", "!!!=", true, 400, "BadRequestException"),
        ("none", "POST", &id, true, 403, "ForbiddenException"),
        ("empty", "POST", &id, true, 403, "ForbiddenException"),
        ("other", "POST", &id, true, 403, "ForbiddenException"),
        ("dev", "POST", &id, false, 403, "MissingAuthenticationTokenException"),
        ("dev", "PUT", &id, true, 403, "MissingAuthenticationTokenException"),
    ];
    for (stage, method, id, signed, expected, code) in cases {
        let (status, found, body) = setup.manage_in(stage, method, id, signed, "x").await;
        assert_eq!(
            (status, found.as_str()),
            (expected, code),
            "{stage} {method} {id} {signed}: {body}"
        );
    }
    let (_, _, body) = setup.manage_in("dev", "POST", &id, false, "x").await;
    assert_eq!(body["message"], "Missing Authentication Token");
}

#[tokio::test]
async fn during_connect_there_is_nobody_to_post_to() {
    let setup = Setup::new().await;
    setup.route("$connect", &json!({})).await;
    setup.deploy().await;
    let (open, wait) = gate();
    setup.async_function("$connect", move |_| {
        let waited = wait();
        Box::pin(async move {
            waited.await;
            ok(&json!({"statusCode": 200}))
        })
    });
    let post_early = async {
        let id = id_of(&setup).await;
        let early = setup.manage("POST", &id, "early").await.0;
        open.send(()).unwrap();
        (id, early)
    };
    let (mut client, (id, early)) = tokio::join!(setup.connect(), post_early);
    assert_eq!(early, 410);
    assert_eq!(setup.manage("POST", &id, "now").await.0, 200);
    assert_eq!(hear(&mut client).await, "now");
}

#[tokio::test]
async fn a_client_that_left_is_gone() {
    let (setup, client, id) = connected(Limits::default()).await;
    drop(client);
    setup.call("$disconnect").await;
    let (status, code, _) = setup.manage("POST", &id, "x").await;
    assert_eq!((status, code.as_str()), (410, "GoneException"));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_limited_and_can_be_closed() {
    let limits = Limits {
        buffered_frames: 4,
        close: Duration::from_millis(100),
        ..Limits::default()
    };
    let (setup, mut client, id) = connected(limits).await;
    let frame = "x".repeat(128 * 1024);
    let limited = async {
        loop {
            let (status, code, _) = setup.manage("POST", &id, frame.clone()).await;
            if status != 200 {
                return (status, code);
            }
            // Only a full buffer counts: let the socket take what it can.
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(
        within("a limit", limited).await,
        (429, "LimitExceededException".to_owned())
    );
    assert_eq!(setup.manage("DELETE", &id, "").await.0, 204);
    setup.call("$disconnect").await;
    eventually("no connection", || setup.cloud.gateway.lock().is_empty().then_some(())).await;
    while within("the end", client.next())
        .await
        .is_some_and(|frame| frame.is_ok())
    {}
}
