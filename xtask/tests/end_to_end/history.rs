//! Who comes back finds what was said meanwhile.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::support::{Carrier, Client, LocalCloud};

async fn say(client: &mut Client, data: &str) -> Json {
    let ack = client
        .ask(json!({"action": "sendMessage", "data": data, "ack": true}))
        .await;
    assert_eq!(ack["type"], "ack", "{ack}");
    ack["messageId"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_by_a_reconnect() {
    let cloud = LocalCloud::start();
    let outputs = cloud.deploy()["outputs"].clone();
    let url = outputs["webSocketUrl"].as_str().unwrap();
    let (ana, bo) = (cloud.token(&["--sub", "ana"]), cloud.token(&["--sub", "bo"]));
    let mut ana = Client::connect(url, &ana, Carrier::Header).await.unwrap();
    let mut first = Client::connect(url, &bo, Carrier::Header).await.unwrap();

    say(&mut ana, "1").await;
    let seen = first.receive().await;
    first.close().await;
    for data in ["2", "3", "4"] {
        say(&mut ana, data).await;
    }
    // Before the history is asked for, and after.
    let mut again = Client::connect(url, &bo, Carrier::Header).await.unwrap();
    say(&mut ana, "5").await;

    let mut messages = BTreeMap::new();
    let mut keep = |message: &Json| {
        messages.insert(message["id"].as_str().unwrap().to_owned(), message.clone());
    };
    let mut ask = json!({"action": "history", "after": seen["id"], "limit": 2});
    loop {
        again.send(&ask).await;
        let answer = loop {
            let frame = again.receive().await;
            if frame["type"] == "history" {
                break frame;
            }
            keep(&frame);
        };
        let page = answer["messages"].as_array().unwrap();
        assert!(page.len() <= 2, "{answer}");
        page.iter().for_each(&mut keep);
        if answer["more"] == false {
            break;
        }
        ask = json!({"action": "history", "cursor": answer["cursor"], "limit": 2});
    }
    say(&mut ana, "6").await;
    while !messages.values().any(|message| message["data"] == "6") {
        let frame = again.receive().await;
        messages.insert(frame["id"].as_str().unwrap().to_owned(), frame);
    }
    let data: Vec<_> = messages
        .values()
        .map(|message| message["data"].as_str().unwrap())
        .collect();
    assert_eq!(data, ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(
        messages.values().next().unwrap(),
        &seen,
        "a message reads the same live and later"
    );

    let answer = again.ask(json!({"action": "history", "limit": 1, "id": "h"})).await;
    assert_eq!(
        (&answer["messages"][0]["data"], &answer["id"]),
        (&json!("6"), &json!("h"))
    );
    let answer = again.ask(json!({"action": "history", "room": "empty"})).await;
    assert_eq!((&answer["messages"], &answer["more"]), (&json!([]), &json!(false)));
    let answer = again.ask(json!({"action": "history", "after": "yesterday"})).await;
    assert_eq!(answer["code"], "bad_field");
}
