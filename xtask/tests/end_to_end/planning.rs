//! What a plan says and refuses, and a record that is lost and made again.

use serde_json::{Value as Json, json};

use crate::support::LocalCloud;

fn step<'a>(plan: &'a Json, id: &str) -> &'a Json {
    let actions = plan["actions"].as_array().unwrap();
    actions.iter().find(|step| step["id"] == id).unwrap_or(&Json::Null)
}

async fn lose_the_record(cloud: &LocalCloud) {
    let table = json!({"TableName": "stackwright-state"});
    cloud.aws_json("dynamodb", "DynamoDB_20120810.DeleteTable", table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_shown_by_property_and_a_lost_record_is_rebuilt_or_taken_over() {
    let cloud = LocalCloud::start();
    cloud.deploy();

    let group = "/aws/lambda/chat-local-connect";
    let retention = json!({"logGroupName": group, "retentionInDays": 1});
    cloud
        .aws_json("logs", "Logs_20140328.PutRetentionPolicy", retention)
        .await;
    let plan = cloud.run(&["diff", "--output", "json"]).json();
    assert_eq!(plan["schemaVersion"], 1);
    let drifted = step(&plan, "ConnectLogs");
    assert_eq!(
        (&drifted["symbol"], &drifted["action"]),
        (&json!("~"), &json!("update"))
    );
    let change = &drifted["changes"][0];
    assert_eq!(change["property"], "RetentionInDays");
    assert_eq!((&change["from"], &change["cause"]), (&json!(1), &json!("drift")));
    cloud.deploy();

    let undo = cloud.run(&["deploy", "--rollback"]);
    assert_eq!(undo.code, 0, "{}", undo.stderr);
    assert!(undo.stderr.contains("ended well"), "{}", undo.stderr);

    let before = cloud.run(&["state", "show", "--output", "json"]).json();
    lose_the_record(&cloud).await;
    let rebuilt = cloud.run(&["state", "rebuild", "--output", "json"]).json();
    assert_eq!(rebuilt["missing"], json!([]), "{rebuilt}");
    let after = cloud.run(&["state", "show", "--output", "json"]).json();
    let ids = |state: &Json| {
        let resources = state["resources"].as_array().unwrap();
        resources
            .iter()
            .map(|resource| (resource["id"].clone(), resource["physicalId"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&after), ids(&before));
    assert_eq!(after["outputs"], before["outputs"]);
    assert_eq!(cloud.run(&["diff", "--exit-code"]).code, 0);

    // Without record and mark it could be anybody's.
    lose_the_record(&cloud).await;
    let resources = before["resources"].as_array().unwrap();
    let logs = resources
        .iter()
        .find(|resource| resource["id"] == "ConnectLogs")
        .unwrap();
    let arn = &logs["attributes"]["Arn"];
    let keys = json!({"resourceArn": arn, "tagKeys": ["stackwright:app", "stackwright:stage", "stackwright:id"]});
    cloud.aws_json("logs", "Logs_20140328.UntagResource", keys).await;
    let refused = cloud.run(&["deploy"]);
    refused.fails_with(1, &["ConnectLogs is not this stack's", "--adopt"]);
    let plan = cloud
        .run(&["deploy", "--adopt", "--dry-run", "--output", "json"])
        .json();
    assert_eq!(step(&plan, "ConnectLogs")["symbol"], "<=");
    assert_eq!(plan["summary"]["create"], 0);
    let adopted = cloud.run(&["deploy", "--adopt", "--output", "json"]).json();
    assert_eq!(adopted["failed"], json!([]));
    assert_eq!(cloud.run(&["diff", "--exit-code"]).code, 0);
}
