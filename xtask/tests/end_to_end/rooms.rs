//! People come, move, look around, and are shown the door.

use serde_json::{Value as Json, json};

use crate::support::{Carrier, Client, LocalCloud, eventually};

async fn enter(cloud: &LocalCloud, url: &str, room: &str, arguments: &[&str]) -> Client {
    let token = cloud.token(arguments);
    Client::connect(&format!("{url}?room={room}"), &token, Carrier::Header)
        .await
        .unwrap()
}

/// The index by which rooms are read may be a moment behind.
async fn members_are(client: &mut Client, wanted: &[&str]) {
    let mut answer = Json::Null;
    for _ in 0..50 {
        answer = client.ask(json!({"action": "who"})).await;
        let mut subs: Vec<_> = answer["members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|member| member["sub"].as_str().unwrap())
            .collect();
        subs.sort_unstable();
        if subs == wanted {
            return;
        }
    }
    panic!("{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_move_and_are_seen() {
    let cloud = LocalCloud::start();
    let outputs = cloud.deploy()["outputs"].clone();
    let url = outputs["webSocketUrl"].as_str().unwrap();
    let mut ana = enter(&cloud, url, "red", &["--sub", "ana", "--name", "Ana"]).await;
    let mut bo = enter(&cloud, url, "blue", &["--sub", "bo"]).await;
    let mut cy = enter(&cloud, url, "red", &["--sub", "cy"]).await;

    let seen = ana.receive_any().await;
    assert_eq!(
        (&seen["type"], &seen["event"], &seen["room"]),
        (&json!("presence"), &json!("joined"), &json!("red"))
    );
    assert_eq!(seen["user"], json!({"sub": "cy", "name": "cy"}));

    let answer = bo.ask(json!({"action": "join", "room": "red", "id": "j1"})).await;
    assert_eq!(
        (&answer["type"], &answer["room"], &answer["id"], &answer["more"]),
        (&json!("members"), &json!("red"), &json!("j1"), &json!(false))
    );
    assert!(!answer.to_string().contains("connection"), "{answer}");
    for client in [&mut ana, &mut cy] {
        let seen = client.receive_any().await;
        assert_eq!((&seen["event"], &seen["user"]["sub"]), (&json!("joined"), &json!("bo")));
    }
    members_are(&mut ana, &["ana", "bo", "cy"]).await;
    bo.send(json!({"action": "sendMessage", "data": "here I am"})).await;
    assert_eq!(ana.receive().await["room"], "red");
    assert_eq!(cy.receive().await["data"], "here I am");

    cy.send(json!({"action": "join", "room": "blue"})).await;
    assert_eq!(cy.receive().await["members"], json!([{"sub": "cy", "name": "cy"}]));
    bo.close().await;
    for sub in ["cy", "bo"] {
        let seen = ana.receive_any().await;
        assert_eq!((&seen["event"], &seen["user"]["sub"]), (&json!("left"), &json!(sub)));
    }
    members_are(&mut ana, &["ana"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_roles_announce_and_kick() {
    let cloud = LocalCloud::start();
    let outputs = cloud.deploy()["outputs"].clone();
    let url = outputs["webSocketUrl"].as_str().unwrap();
    let mut ana = enter(&cloud, url, "red", &["--sub", "ana", "--role", "admin"]).await;
    let mut bo = enter(&cloud, url, "red", &["--sub", "bo", "--role", "administrator"]).await;
    let mut cy = enter(&cloud, url, "red", &["--sub", "cy", "--role", "moderator"]).await;

    let announcement = json!({"action": "announce", "data": "I rule"});
    for frame in [json!({"action": "kick", "sub": "ana"}), announcement.clone()] {
        assert_eq!(bo.ask(frame).await["code"], "forbidden");
    }
    assert_eq!(cy.ask(announcement).await["code"], "forbidden");

    let ack = ana
        .ask(json!({"action": "announce", "data": "closing time", "ack": true}))
        .await;
    assert_eq!(ack["type"], "ack");
    for client in [&mut bo, &mut cy] {
        let heard = client.receive().await;
        assert_eq!(
            (&heard["type"], &heard["data"]),
            (&json!("announcement"), &json!("closing time"))
        );
    }

    let ack = cy.ask(json!({"action": "kick", "sub": "bo", "id": "k1"})).await;
    assert_eq!(ack, json!({"type": "ack", "id": "k1", "connections": 1}));
    let last = bo.receive().await;
    assert_eq!((&last["type"], &last["by"]["sub"]), (&json!("kicked"), &json!("cy")));
    bo.ended().await;
    let seen = eventually_left(&mut ana).await;
    assert_eq!(seen["user"]["sub"], "bo");
    eventually("the row of the kicked user goes", || async {
        let input = json!({"TableName": outputs["tables"]["Connections"]});
        let scanned = cloud.aws_json("dynamodb", "DynamoDB_20120810.Scan", input).await;
        (scanned["Count"] == 2).then_some(())
    })
    .await;
}

async fn eventually_left(client: &mut Client) -> Json {
    loop {
        let frame = client.receive_any().await;
        if frame["event"] == "left" {
            return frame;
        }
    }
}
