//! People talk: three clients, tokens of every kind, rows and logs.

use std::process::Stdio;

use serde_json::{Value as Json, json};

use crate::support::{Carrier, Client, LocalCloud, eventually, read_until, unsigned_token};

#[tokio::test(flavor = "multi_thread")]
async fn three_clients_chat_and_leave_no_row() {
    let cloud = LocalCloud::start();
    let outputs = cloud.deploy()["outputs"].clone();
    let url = outputs["webSocketUrl"].as_str().unwrap();

    let ana = cloud.token(&["--sub", "ana", "--name", "Ana"]);
    let mut ana = Client::connect(url, &ana, Carrier::Header).await.unwrap();
    let mut bo = Client::connect(url, &cloud.token(&["--sub", "bo"]), Carrier::Query)
        .await
        .unwrap();
    let mut cy = Client::connect(url, &cloud.token(&["--sub", "cy"]), Carrier::Subprotocol)
        .await
        .unwrap();
    assert_eq!(cy.protocol.as_deref(), Some("chat.v1"));
    let _di = Client::connect(url, &cloud.token(&["--sub", "di"]), Carrier::Bearer)
        .await
        .unwrap();

    // Everybody else receives it, the sender does not: her next frame is the answer to what she does next.
    ana.send(json!({"action": "sendMessage", "data": "Hello, World!"}))
        .await;
    let message = bo.receive().await;
    assert_eq!(message["type"], "message");
    assert_eq!(message["data"], "Hello, World!");
    assert_eq!(message["from"], json!({"sub": "ana", "name": "Ana"}));
    assert_eq!(message["room"], "lobby");
    assert_eq!(cy.receive().await, message);

    ana.send(json!({"action": "fly"})).await;
    let error = ana.receive().await;
    assert_eq!(
        (&error["type"], &error["code"]),
        (&json!("error"), &json!("unknown_action")),
        "{error}"
    );
    ana.send("{no json").await;
    let error = ana.receive().await;
    assert_eq!(
        (&error["type"], &error["code"]),
        (&json!("error"), &json!("bad_json")),
        "{error}"
    );
    ana.send(json!({"action": "sendMessage"})).await;
    assert_eq!(ana.receive().await["type"], "error");
    ana.send(json!({"action": "sendMessage", "data": "again", "ack": true}))
        .await;
    let acknowledgement = ana.receive().await;
    assert_eq!(acknowledgement["type"], "ack", "{acknowledgement}");
    let again = bo.receive().await;
    assert_eq!(again["data"], "again");
    assert_eq!(again["id"], acknowledgement["messageId"]);

    let rows = || async {
        let scanned = cloud.aws_json(
            "dynamodb",
            "DynamoDB_20120810.Scan",
            json!({"TableName": outputs["tables"]["Connections"]}),
        );
        scanned.await["Count"].as_u64().unwrap()
    };
    assert_eq!(rows().await, 4);
    bo.close().await;
    drop(cy);
    eventually("the rows of those who left go", || async {
        (rows().await == 2).then_some(())
    })
    .await;
    ana.send(json!({"action": "sendMessage", "data": "still here?", "ack": true}))
        .await;
    assert_eq!(ana.receive().await["type"], "ack");

    let logs = cloud.run(&["logs", "send-message", "connect"]);
    assert_eq!(logs.code, 0, "{}", logs.stderr);
    assert!(
        logs.stdout.contains("send-message") && logs.stdout.contains("connect"),
        "{}",
        logs.stdout
    );
    for secret in ["Hello, World!", "eyJ"] {
        assert!(!logs.stdout.contains(secret), "{}", logs.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_do_not_count_are_refused_at_the_door() {
    let cloud = LocalCloud::start();
    let outputs = cloud.deploy()["outputs"].clone();
    let url = outputs["webSocketUrl"].as_str().unwrap();
    assert_eq!(Client::connect_without_token(url).await.err(), Some(401));

    let good = cloud.token(&["--sub", "ana"]);
    let parts: Vec<&str> = good.split('.').collect();
    let mut other_signature = parts[2].to_owned();
    other_signature.replace_range(..2, if other_signature.starts_with("AA") { "BB" } else { "AA" });
    let refused = [
        (
            "wrong signature",
            format!("{}.{}.{other_signature}", parts[0], parts[1]),
        ),
        (
            "alg none",
            unsigned_token(&json!({"alg": "none", "typ": "JWT"}), parts[1]),
        ),
        ("expired", cloud.token(&["--sub", "ana", "--expires-in", "-1h"])),
        ("no token at all", "hello".to_owned()),
    ];
    for (what, token) in &refused {
        for carrier in [Carrier::Header, Carrier::Query, Carrier::Subprotocol] {
            assert_eq!(
                Client::connect(url, token, carrier).await.err(),
                Some(403),
                "{what} by {carrier:?}"
            );
        }
    }
    assert!(Client::connect(url, &good, Carrier::Header).await.is_ok());
    // The key itself is a secret of the account: neither the record nor the outputs hold it.
    let name = outputs["tokenKey"].as_str().unwrap();
    let input = json!({"Name": name, "WithDecryption": true});
    let parameter = cloud.aws_json("ssm", "AmazonSSM.GetParameter", input).await;
    let value = parameter["Parameter"]["Value"].as_str().unwrap();
    assert!(value.len() >= 43, "at least 256 bits in base64");
    let state = cloud
        .aws_json(
            "dynamodb",
            "DynamoDB_20120810.Scan",
            json!({"TableName": "stackwright-state"}),
        )
        .await;
    assert!(state["Count"].as_u64().unwrap() > 20);
    assert!(!state.to_string().contains(value));
}

#[tokio::test(flavor = "multi_thread")]
async fn followed_logs_show_lines_as_they_come() {
    let cloud = LocalCloud::start();
    let outputs = cloud.deploy()["outputs"].clone();
    let url = outputs["webSocketUrl"].as_str().unwrap();
    let mut follower = cloud
        .command(&["logs", "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = follower.stdout.take().unwrap();
    let reader = std::thread::spawn(move || read_until(&mut stdout, "disconnect"));
    let client = Client::connect(url, &cloud.token(&["--sub", "ana"]), Carrier::Header)
        .await
        .unwrap();
    client.close().await;
    let text = tokio::task::spawn_blocking(move || reader.join().unwrap())
        .await
        .unwrap();
    assert!(text.contains("authorize") && text.contains("connect"), "{text}");
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_answers_as_the_aws_cli_asks() {
    let cloud = LocalCloud::start();
    let outputs = cloud.deploy()["outputs"].clone();
    let api = outputs["managementUrl"]
        .as_str()
        .unwrap()
        .split('/')
        .nth_back(1)
        .unwrap()
        .to_owned();
    let (_, routes) = cloud.rest("apigateway", "GET", &format!("/v2/apis/{api}/routes")).await;
    let mut keys: Vec<&str> = routes["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|route| route["routeKey"].as_str().unwrap())
        .collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "$connect",
            "$default",
            "$disconnect",
            "announce",
            "history",
            "join",
            "kick",
            "sendMessage",
            "who"
        ]
    );
    let function = outputs["functions"]["send-message"].as_str().unwrap();
    let (status, configuration) = cloud
        .rest(
            "lambda",
            "GET",
            &format!("/2015-03-31/functions/{function}/configuration"),
        )
        .await;
    assert_eq!(status, 200);
    assert_eq!(configuration["State"], "Active");
    assert_eq!(configuration["Runtime"], "provided.al2023");
    assert!(!configuration["Environment"].to_string().contains("eyJ"));
    let variables: &Json = &configuration["Environment"]["Variables"];
    assert_eq!(variables["MANAGEMENT_ENDPOINT"], outputs["managementUrl"]);
}
