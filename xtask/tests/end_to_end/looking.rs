//! `cargo xtask status` and `cargo xtask doctor`: what is deployed, how it is doing, and what is missing.

use serde_json::{Value as Json, json};

use crate::support::{Carrier, Client, LocalCloud, eventually, finish, xtask};

fn finding<'a>(answer: &'a Json, about: &str) -> &'a Json {
    let findings = answer["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["about"] == about);
    found.unwrap_or_else(|| panic!("{about} is not in {answer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_drift_figures_and_who_is_there() {
    let cloud = LocalCloud::start();
    for command in ["status", "rollback"] {
        cloud
            .run(&[command])
            .fails_with(1, &["is not deployed", "cargo xtask deploy"]);
    }
    let outputs = cloud.deploy()["outputs"].clone();
    let url = outputs["webSocketUrl"].as_str().unwrap();
    let mut ana = Client::connect(url, &cloud.token(&["--sub", "ana"]), Carrier::Header)
        .await
        .unwrap();
    let red = format!("{url}?room=red");
    let bo = Client::connect(&red, &cloud.token(&["--sub", "bo"]), Carrier::Header).await;
    bo.unwrap().close().await;
    ana.ask(json!({"action": "who"})).await;

    let status = eventually("all is counted", || async {
        let status = cloud
            .run(&["status", "--room", "lobby", "--room", "red", "--output", "json"])
            .json();
        (status["rooms"][1]["connections"] == 0).then_some(status)
    })
    .await;
    assert_eq!(status["outputs"], outputs);
    assert_eq!(status["rooms"][0], json!({"room": "lobby", "connections": 1}));
    let resources = status["resources"].as_array().unwrap();
    assert!(resources.len() > 20);
    assert!(resources.iter().all(|resource| resource["state"] == "live"), "{status}");
    let functions = status["functions"].as_array().unwrap();
    let connect = functions
        .iter()
        .find(|function| function["function"] == "connect")
        .unwrap();
    assert_eq!(connect["invocations"], 2.0, "{connect}");
    assert!(connect["p50Ms"].as_f64() <= connect["p99Ms"].as_f64() && connect["p50Ms"].is_number());
    assert_eq!((&connect["version"], &connect["errors"]), (&json!("1"), &json!(0.0)));
    assert_eq!(connect["lastError"], Json::Null);
    assert!(
        status["notes"].to_string().contains("figures are from the logs"),
        "{status}"
    );

    // Somebody changes one thing and deletes another, and a function fails.
    let group = format!("/aws/lambda/{}", outputs["functions"]["connect"].as_str().unwrap());
    let retention = json!({"logGroupName": group, "retentionInDays": 1});
    cloud
        .aws_json("logs", "Logs_20140328.PutRetentionPolicy", retention)
        .await;
    let rates = json!({"TableName": outputs["tables"]["Rates"]});
    cloud.aws_json("dynamodb", "DynamoDB_20120810.DeleteTable", rates).await;
    assert_eq!(cloud.run(&["invoke", "room", "--payload", "[]"]).code, 1);
    let status = cloud.run(&["status", "--output", "json"]).json();
    let resources = status["resources"].as_array().unwrap().iter();
    let others: Vec<_> = resources.filter(|resource| resource["state"] != "live").collect();
    let states: Vec<_> = others.iter().map(|other| (&other["id"], &other["state"])).collect();
    assert_eq!(
        states,
        [
            (&json!("ConnectLogs"), &json!("drifted")),
            (&json!("Rates"), &json!("missing"))
        ]
    );
    assert_eq!(others[0]["differs"], json!(["RetentionInDays"]));
    let functions = status["functions"].as_array().unwrap();
    let room = functions
        .iter()
        .find(|function| function["function"] == "room")
        .unwrap();
    assert_eq!(room["errors"], 1.0, "{room}");
    assert!(room["lastError"]["message"].is_string(), "{room}");

    let human = cloud.run(&["status"]);
    assert_eq!(human.code, 0, "{}", human.stderr);
    for words in ["ConnectLogs is drifted: RetentionInDays", "Rates is missing", "lobby 1"] {
        assert!(human.stdout.contains(words), "{}", human.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_looks_at_the_machine_and_where_it_can_at_the_account() {
    let alone = finish(xtask().args(["doctor", "--stage", "dev", "--output", "json"]));
    let answer = &alone.events()[0];
    assert_eq!(finding(answer, "compiler")["state"], "good", "{answer}");
    assert_eq!(finding(answer, "linker")["state"], "good", "{answer}");
    let account = finding(answer, "account");
    assert_eq!(account["state"], "skipped", "{answer}");
    assert!(account["found"].to_string().contains("only this machine was looked at"));
    assert!(account["mend"].to_string().contains("aws sso login"));
    assert_eq!(alone.code, i32::from(answer["ok"] == false), "{answer}");

    let mut command = xtask();
    command
        .args(["doctor", "--stage", "dev", "--output", "json"])
        .env("AWS_PROFILE", "nobody");
    let wrong = finish(&mut command);
    assert_eq!(wrong.code, 1);
    assert_eq!(finding(&wrong.events()[0], "account")["state"], "missing");

    let cloud = LocalCloud::start();
    let local = cloud.run(&["doctor", "--output", "json"]);
    let answer = local.json();
    assert_eq!((&answer["stage"], &answer["ok"]), (&json!("local"), &json!(true)));
    let identity = finding(&answer, "identity")["found"].to_string();
    assert!(identity.contains("account 000000000000") && identity.contains(&cloud.endpoint));
    assert!(finding(&answer, "port")["found"].to_string().contains(&cloud.endpoint));
    assert_eq!(finding(&answer, "concurrency")["state"], "good");
    let permissions = finding(&answer, "permissions")["found"].to_string();
    assert!(permissions.contains("the owner of the account"), "{answer}");

    let human = cloud.run(&["doctor"]);
    assert!(human.stdout.contains("✓ compiler"), "{}", human.stdout);
}
