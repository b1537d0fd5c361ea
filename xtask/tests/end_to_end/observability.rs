//! What watches over the chat: switched on, written to, changed by hand, switched off, and gone.

use serde_json::{Value as Json, json};

use crate::support::{Carrier, Client, Finished, LocalCloud, StageFile, eventually, finish, xtask};

const ALL: &str = "observability: {accessLogs: true, metrics: true, alarms: true, dashboard: true}\n";

fn run(cloud: &LocalCloud, stage: &StageFile, arguments: &[&str]) -> Finished {
    finish(
        xtask()
            .args(arguments)
            .args(["--stage", &stage.name])
            .env("STACKWRIGHT_SCRATCH", cloud.scratch.path())
            .env("AWS_ENDPOINT_URL", &cloud.endpoint)
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local"),
    )
}

async fn watching(cloud: &LocalCloud, action: &str, input: Json) -> Json {
    let target = format!("GraniteServiceVersion20100801.{action}");
    cloud.aws_json("monitoring", &target, input).await
}

/// Returns the lines of a log group as JSON.
async fn lines(cloud: &LocalCloud, group: &str) -> Vec<Json> {
    let input = json!({"logGroupName": group});
    let answer = cloud.aws_json("logs", "Logs_20140328.FilterLogEvents", input).await;
    let events = answer["events"].as_array().unwrap().iter();
    let texts = events.filter_map(|event| event["message"].as_str());
    texts.filter_map(|text| serde_json::from_str(text).ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_stage_says_what_it_does_and_leaves_nothing_but_the_accounts_role() {
    let cloud = LocalCloud::start();
    let stage = StageFile {
        name: format!("watched-{}", std::process::id() % 100_000),
    };
    stage.write(ALL);
    let deployed = run(&cloud, &stage, &["deploy", "--yes", "--output", "json"]).json();
    let url = deployed["outputs"]["webSocketUrl"].as_str().unwrap();
    let alarms = watching(&cloud, "DescribeAlarms", json!({"MaxRecords": 100})).await;
    assert_eq!(alarms["MetricAlarms"].as_array().unwrap().len(), 18, "{alarms}");
    let dashboard = format!("chat-{}-Dashboard-us-east-1", stage.name);
    watching(&cloud, "GetDashboard", json!({"DashboardName": dashboard})).await;
    assert_eq!(run(&cloud, &stage, &["diff", "--exit-code"]).code, 0);

    let token = |sub: &str| run(&cloud, &stage, &["token", "--sub", sub]).stdout.trim().to_owned();
    let mut ana = Client::connect(url, &token("ana"), Carrier::Header).await.ok().unwrap();
    let mut bo = Client::connect(url, &token("bo"), Carrier::Header).await.ok().unwrap();
    ana.send(json!({"action": "sendMessage", "data": "Hello"})).await;
    assert_eq!(bo.receive().await["data"], "Hello");
    let metrics = eventually("the metrics of a message", || async {
        let group = format!("/aws/lambda/chat-{}-send-message", stage.name);
        lines(&cloud, &group)
            .await
            .into_iter()
            .find(|line| line.get("_aws").is_some())
    })
    .await;
    assert_eq!(
        (&metrics["Deliveries"], &metrics["Stage"]),
        (&json!(1), &json!(stage.name))
    );
    let accesses = eventually("the access log of a message", || async {
        let lines = lines(&cloud, &format!("/aws/apigateway/chat-{}-chat", stage.name)).await;
        lines
            .iter()
            .any(|line| line["routeKey"] == "sendMessage")
            .then_some(lines)
    })
    .await;
    let connects = accesses
        .iter()
        .filter(|line| line["routeKey"] == "$connect" && line["status"] == "200");
    assert_eq!(connects.count(), 2, "{accesses:?}");

    // By hand: an alarm is deaf, the page is empty.
    let mut alarm = alarms["MetricAlarms"][0].clone();
    alarm["Threshold"] = json!(1_000_000);
    watching(&cloud, "PutMetricAlarm", alarm).await;
    let empty = json!({"DashboardName": dashboard, "DashboardBody": "{\"widgets\": []}"});
    watching(&cloud, "PutDashboard", empty).await;
    let drift = run(&cloud, &stage, &["diff", "--exit-code"]);
    assert_eq!(drift.code, 3, "{}", drift.stdout);
    assert!(drift.stdout.contains("Threshold"), "{}", drift.stdout);
    let mended = run(&cloud, &stage, &["deploy", "--yes", "--output", "json"]).json();
    assert_eq!(mended["changed"].as_array().unwrap().len(), 2, "{mended}");

    stage.write("");
    run(&cloud, &stage, &["deploy", "--yes", "--output", "json"]).json();
    let alarms = watching(&cloud, "DescribeAlarms", json!({})).await;
    assert_eq!(alarms["MetricAlarms"], json!([]));
    assert_eq!(run(&cloud, &stage, &["diff", "--exit-code"]).code, 0);
    stage.write(ALL);
    run(&cloud, &stage, &["deploy", "--yes", "--output", "json"]).json();
    assert_eq!(run(&cloud, &stage, &["destroy", "--yes"]).code, 0);
    assert_eq!(cloud.inventory().await, ["stackwright-apigateway-logs"]);
    let boards = watching(&cloud, "ListDashboards", json!({})).await;
    assert_eq!(boards["DashboardEntries"], json!([]));
}
