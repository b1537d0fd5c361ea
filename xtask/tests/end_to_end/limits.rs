//! What clients do wrong, by mistake or not: told to them, and no trouble to others.

use serde_json::{Value as Json, json};

use crate::support::{Carrier, Client, LocalCloud};

#[tokio::test(flavor = "multi_thread")]
async fn bad_frames_and_floods_trouble_nobody_else() {
    let cloud = LocalCloud::start();
    let outputs = cloud.deploy()["outputs"].clone();
    let url = outputs["webSocketUrl"].as_str().unwrap();
    let mut ana = Client::connect(url, &cloud.token(&["--sub", "ana"]), Carrier::Header)
        .await
        .unwrap();
    let mut bo = Client::connect(url, &cloud.token(&["--sub", "bo"]), Carrier::Header)
        .await
        .unwrap();

    let deep = format!(
        r#"{{"action":"sendMessage","data":{}1{}}}"#,
        "[".repeat(2_000),
        "]".repeat(2_000)
    );
    for (frame, code) in [
        (
            json!({"action": "sendMessage", "data": "x", "rooom": "staff"}).to_string(),
            "bad_field",
        ),
        (
            json!({"action": "sendMessage", "data": "\u{1b}[2J"}).to_string(),
            "bad_data",
        ),
        (
            json!({"action": "sendMessage", "data": "x", "room": "r".repeat(5_000)}).to_string(),
            "bad_room",
        ),
        (json!({"action": "join", "room": "../lobby"}).to_string(), "bad_room"),
        (json!({"action": "who", "id": "x".repeat(65)}).to_string(), "bad_id"),
        (deep, "bad_json"),
        ("\0".to_owned(), "bad_json"),
    ] {
        ana.send(&frame).await;
        let error = ana.receive().await;
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("error"), &json!(code)),
            "{frame:.80}"
        );
    }

    let mut cy = Client::connect(url, &cloud.token(&["--sub", "cy"]), Carrier::Header)
        .await
        .unwrap();
    cy.send_raw(b"{\"action\":\"sendMessage\",\"data\":\"\xff\"}").await;
    assert_eq!(cy.ended().await, Some(1007), "RFC 6455, 8.1");

    // More than a window holds. How many are refused depends on when the windows begin; each is answered once.
    let sent = 220;
    for number in 0..sent {
        ana.send(json!({"action": "sendMessage", "data": "flood", "id": number.to_string()}))
            .await;
    }
    let mut refused = 0;
    for _ in 0..sent {
        let answer = ana.receive().await;
        if answer["type"] == "error" {
            assert_eq!(answer["code"], "rate_limited", "{answer}");
            refused += 1;
        }
    }
    for _ in refused..sent {
        assert_eq!(bo.receive().await["data"], "flood");
    }
    bo.send(json!({"action": "sendMessage", "data": "calm", "ack": true}))
        .await;
    // At least once: on a machine without breath a copy may come yet.
    loop {
        let answer = bo.receive().await;
        if answer["type"] == "ack" {
            break;
        }
        assert_eq!(answer["data"], "flood");
    }
    assert_eq!(ana.receive().await["data"], "calm");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_ends_the_connection_with_the_next_action() {
    let cloud = LocalCloud::start();
    let outputs = cloud.deploy()["outputs"].clone();
    let url = outputs["webSocketUrl"].as_str().unwrap();
    // A few seconds of leeway are left for connecting.
    let mut ana = loop {
        let token = cloud.token(&["--sub", "ana", "--expires-in", "2s"]);
        if let Ok(client) = Client::connect(url, &token, Carrier::Header).await {
            break client;
        }
    };
    let error: Json = loop {
        let answer = ana.ask(json!({"action": "who"})).await;
        if answer["type"] != "members" && answer["code"] != "rate_limited" {
            break answer;
        }
    };
    assert_eq!(error["code"], "token_expired", "{error}");
    ana.ended().await;
}
