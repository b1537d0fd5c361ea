//! Deployments: repeated, changed, destroyed.

use serde_json::{Value as Json, json};

use crate::support::{Finished, LocalCloud, StageFile, finish, xtask};

fn changed(report: &Json) -> Vec<String> {
    let steps = report["changed"].as_array().unwrap();
    steps
        .iter()
        .map(|step| format!("{} {}", step["action"].as_str().unwrap(), step["id"].as_str().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_nothing() {
    let cloud = LocalCloud::start();
    assert_eq!(cloud.inventory().await, [""; 0]);
    let missing = cloud.run(&["outputs"]);
    missing.fails_with(1, &["cargo xtask deploy --stage local"]);

    let first = cloud.deploy();
    assert_eq!(first["stack"], "chat/local");
    assert_eq!(first["failed"], json!([]));
    assert!(
        changed(&first).iter().all(|step| step.starts_with("create ")),
        "{first}"
    );
    let mut keys: Vec<_> = first["outputs"].as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "functions",
            "managementUrl",
            "tables",
            "tokenKey",
            "webSocketUrl",
            "webUrl"
        ]
    );
    assert_eq!(first["outputs"]["functions"].as_object().unwrap().len(), 9);
    assert_eq!(cloud.run(&["outputs", "--output", "json"]).json(), first["outputs"]);

    let inventory = cloud.inventory().await;
    let second = cloud.deploy();
    assert_eq!(changed(&second), [""; 0]);
    assert_eq!(second["outputs"], first["outputs"]);
    assert_eq!(cloud.run(&["diff", "--exit-code"]).code, 0);
    assert_eq!(cloud.inventory().await, inventory);

    // Somebody changes something by hand: seen, and undone.
    let function = first["outputs"]["functions"]["connect"].as_str().unwrap();
    let path = format!("/2015-03-31/functions/{function}");
    assert_eq!(cloud.rest("lambda", "DELETE", &path).await.0, 204);
    let diff = cloud.run(&["diff", "--exit-code", "--output", "json"]);
    assert_eq!(diff.code, 3, "{}", diff.stderr);
    let third = cloud.deploy();
    assert!(
        changed(&third).contains(&"create ConnectFunction".to_owned()),
        "{third}"
    );
    assert_eq!(changed(&cloud.deploy()), [""; 0]);

    let destroyed = cloud.run(&["destroy", "--yes", "--output", "json"]);
    assert_eq!(destroyed.code, 0, "{}", destroyed.stderr);
    assert_eq!(cloud.inventory().await, [""; 0]);
    let again = cloud.run(&["destroy", "--yes", "--output", "json"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    cloud
        .run(&["outputs"])
        .fails_with(1, &["cargo xtask deploy --stage local"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_record_is_no_loss() {
    let cloud = LocalCloud::start();
    let first = cloud.deploy();
    let inventory = cloud.inventory().await;
    cloud
        .aws_json(
            "dynamodb",
            "DynamoDB_20120810.DeleteTable",
            json!({"TableName": "stackwright-state"}),
        )
        .await;
    let second = cloud.deploy();
    assert!(
        changed(&second).iter().all(|step| step.starts_with("adopt ")),
        "{second}"
    );
    assert_eq!(second["outputs"], first["outputs"]);
    assert_eq!(cloud.inventory().await, inventory);
    assert_eq!(changed(&cloud.deploy()), [""; 0]);

    cloud
        .aws_json(
            "dynamodb",
            "DynamoDB_20120810.DeleteTable",
            json!({"TableName": "stackwright-state"}),
        )
        .await;
    assert_eq!(cloud.run(&["destroy", "--yes"]).code, 0);
    assert_eq!(cloud.inventory().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_setting_deploys_exactly_that() {
    let cloud = LocalCloud::start();
    let stage = StageFile {
        name: format!("test-{}", std::process::id()),
    };
    let deploy = |settings: &str| -> Vec<String> {
        stage.write(settings);
        let finished: Finished = finish(
            xtask()
                .args(["deploy", "--yes", "--output", "json", "--stage", &stage.name])
                .env("AWS_ENDPOINT_URL", &cloud.endpoint)
                .env("AWS_ACCESS_KEY_ID", "x")
                .env("AWS_SECRET_ACCESS_KEY", "y"),
        );
        let mut changes = changed(&finished.json());
        changes.sort();
        changes
    };
    assert!(deploy("region: us-east-1\n").len() > 30);
    assert_eq!(deploy("region: us-east-1\n"), [""; 0]);
    let memory = "region: us-east-1\nfunction:\n  connect: {memoryMb: 512}\n";
    assert_eq!(deploy(memory), ["update ConnectAlias", "update ConnectFunction"]);
    let throttling = format!("{memory}throttling: {{rateLimit: 50, burstLimit: 20}}\n");
    assert_eq!(deploy(&throttling), ["update ChatStage"]);
    let retention = format!("{throttling}logRetentionDays: 3\n");
    let groups = [
        "Admin",
        "Authorize",
        "Broadcast",
        "Connect",
        "Default",
        "Disconnect",
        "Room",
        "SendMessage",
        "Web",
    ];
    assert_eq!(
        deploy(&retention),
        groups.map(|function| format!("update {function}Logs"))
    );
    // Back to the first declaration, all at once: what is not declared any more is cleared.
    let back = deploy("region: us-east-1\n");
    assert_eq!(back.len(), 3 + groups.len(), "{back:?}");
    assert_eq!(deploy("region: us-east-1\n"), [""; 0]);
}
