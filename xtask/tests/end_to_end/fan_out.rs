//! Large rooms: served by `broadcast`, one leg for each shard; and the gateway's contract on the local cloud.

use functions::adapters::Aws;
use functions::config::Environment;
use functions_domain::ConnectionId;
use functions_domain::testing::contracts;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Carrier, Client, LocalCloud};

/// More than are served inline in this test, and enough for several in each shard.
const MEMBERS: usize = 24;

#[tokio::test(flavor = "multi_thread")]
async fn a_large_room_is_reached_by_legs_and_everybody_once() {
    let cloud = LocalCloud::start();
    let outputs = cloud.deploy()["outputs"].clone();
    let url = outputs["webSocketUrl"].as_str().unwrap();
    let function = outputs["functions"]["send-message"].as_str().unwrap();
    cloud.set_variables(function, &[("INLINE_CONNECTIONS", "4")]).await;

    let token = cloud.token(&["--sub", "crowd"]);
    let mut crowd: Vec<Client> = join_all((0..MEMBERS).map(|_| Client::connect(url, &token, Carrier::Header)))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let mut ana = Client::connect(url, &cloud.token(&["--sub", "ana"]), Carrier::Header)
        .await
        .unwrap();
    let ack = ana
        .ask(json!({"action": "sendMessage", "data": "to all", "ack": true}))
        .await;
    assert_eq!(ack["type"], "ack", "{ack}");
    let second = ana
        .ask(json!({"action": "sendMessage", "data": "again", "ack": true}))
        .await;
    // Legs of two messages may overtake one another; ids bring them into order, and no message comes twice.
    for client in &mut crowd {
        let mut ids = [
            client.receive().await["id"].clone(),
            client.receive().await["id"].clone(),
        ];
        ids.sort_unstable_by_key(|id| id.as_str().unwrap().to_owned());
        assert_eq!(ids, [ack["messageId"].clone(), second["messageId"].clone()]);
    }
    let logs = cloud.run(&["logs", "broadcast", "send-message"]);
    assert!(
        logs.stdout.contains("handed over") && logs.stdout.contains("finished"),
        "{}",
        logs.stdout
    );
    assert!(!logs.stdout.contains("to all"), "{}", logs.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_contract_holds_on_the_local_cloud() {
    let cloud = LocalCloud::start();
    let outputs = cloud.deploy()["outputs"].clone();
    let url = outputs["webSocketUrl"].as_str().unwrap();
    let token = cloud.token(&["--sub", "ana"]);
    let mut ids = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(Client::connect(url, &token, Carrier::Header).await.unwrap());
        let input = json!({"TableName": outputs["tables"]["Connections"]});
        let rows = cloud.aws_json("dynamodb", "DynamoDB_20120810.Scan", input).await;
        let known: Vec<_> = rows["Items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| ConnectionId::new(row["connectionId"]["S"].as_str().unwrap()))
            .filter(|id| !ids.contains(id))
            .collect();
        ids.extend(known);
    }
    let (mut open, gone) = (clients.remove(0), clients.remove(0));
    gone.close().await;

    let environment = Environment::of([
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("MANAGEMENT_ENDPOINT", outputs["managementUrl"].as_str().unwrap()),
    ]);
    let gateway = Aws::new(&environment).unwrap().gateway().unwrap();
    contracts::gateway(&gateway, &ids[0], &ids[1]).await.unwrap();
    for frame in contracts::GATEWAY_FRAMES {
        let expected: serde_json::Value = serde_json::from_str(frame).unwrap();
        assert_eq!(open.receive().await, expected);
    }
    open.ended().await;
}
