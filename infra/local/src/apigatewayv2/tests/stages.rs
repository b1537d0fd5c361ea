//! Deployments and stages.

use http::Method;
use serde_json::{Value, json};

use super::{caller, changed};
use crate::apigatewayv2::ApiGateway;

#[tokio::test]
async fn a_deployment_freezes_the_api() {
    let control = ApiGateway::default();
    let aws = caller(&control);
    let api = aws.api().await;
    let id = api.strip_prefix("/apis/").unwrap();
    let deployments = format!("{api}/deployments");
    let none = "At least one route is required before deploying the Api.";
    aws.refused(Method::POST, &deployments, &json!({}), 400, none).await;
    aws.route(&api, "one").await;
    aws.refused(
        Method::POST,
        &deployments,
        &json!({"stageName": "dev"}),
        404,
        "Invalid stage identifier",
    )
    .await;
    let first = aws.create(&deployments, &json!({"description": "hash"})).await;
    let first_id = first["deploymentId"].as_str().unwrap();
    assert_eq!(
        first,
        json!({
            "deploymentId": first_id, "autoDeployed": false, "deploymentStatus": "DEPLOYED", "description": "hash",
            "createdDate": first["createdDate"],
        })
    );
    assert!(control.live(id, "dev").is_none());
    aws.create(&format!("{api}/stages"), &json!({"stageName": "dev"})).await;
    assert!(
        control.live(id, "dev").is_none(),
        "a stage without a deployment is not live"
    );
    aws.patch(&format!("{api}/stages/dev"), &json!({"deploymentId": first_id}))
        .await;
    aws.route(&api, "two").await;
    let keys = || {
        control
            .live(id, "dev")
            .unwrap()
            .snapshot
            .routes
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(), ["one"]);
    let second = aws.create(&deployments, &json!({"stageName": "dev"})).await;
    assert_eq!(keys(), ["one", "two"]);
    assert_eq!(
        aws.get(&format!("{api}/stages/dev")).await["deploymentId"],
        second["deploymentId"]
    );
    let in_use = "Active stages pointing to this deployment must be moved or deleted";
    let second = format!("{deployments}/{}", second["deploymentId"].as_str().unwrap());
    aws.refused(Method::DELETE, &second, &Value::Null, 400, in_use).await;
    aws.delete(&format!("{deployments}/{first_id}")).await;
    aws.delete(&format!("{api}/stages/dev")).await;
    aws.delete(&second).await;
}

#[tokio::test]
async fn an_auto_deploying_stage_follows_every_change() {
    let control = ApiGateway::default();
    let aws = caller(&control);
    let api = aws.api().await;
    let id = api.strip_prefix("/apis/").unwrap();
    let stage = aws
        .create(
            &format!("{api}/stages"),
            &json!({"stageName": "dev", "autoDeploy": true}),
        )
        .await;
    assert_eq!(stage.get("deploymentId"), None, "nothing to deploy yet");
    for count in 1..4 {
        aws.route(&api, &format!("key{count}")).await;
        assert_eq!(control.live(id, "dev").unwrap().snapshot.routes.len(), count);
    }
    assert_eq!(
        aws.get(&format!("{api}/deployments")).await["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let late = aws
        .create(
            &format!("{api}/stages"),
            &json!({"stageName": "late", "autoDeploy": true}),
        )
        .await;
    let known = aws
        .get(&format!("{api}/deployments/{}", late["deploymentId"].as_str().unwrap()))
        .await;
    assert_eq!(known["autoDeployed"], json!(true));
}

#[tokio::test]
async fn a_stage_is_echoed_and_changed_by_parts() {
    let control = ApiGateway::default();
    control.set_log_role(Some("arn:aws:iam::000000000000:role/logs".to_owned()));
    let aws = caller(&control);
    let api = aws.api().await;
    aws.route(&api, "$connect").await;
    aws.route(&api, "send").await;
    let deployment = aws.create(&format!("{api}/deployments"), &json!({})).await["deploymentId"].clone();
    let given = json!({
        "stageName": "dev", "deploymentId": deployment, "stageVariables": {"a": "1", "b": "2"}, "tags": {"app": "chat"},
        "defaultRouteSettings": {"throttlingBurstLimit": 10, "throttlingRateLimit": 5.0, "loggingLevel": "INFO"},
        "routeSettings": {"$connect": {"throttlingBurstLimit": 1}},
        "accessLogSettings": {"destinationArn": "arn:aws:logs:us-east-1:000000000000:log-group:x", "format": "$context.requestId"},
    });
    let stage = aws.create(&format!("{api}/stages"), &given).await;
    let server =
        json!({"autoDeploy": false, "createdDate": stage["createdDate"], "lastUpdatedDate": stage["lastUpdatedDate"]});
    assert_eq!(stage, changed(&given, &server));
    let path = format!("{api}/stages/dev");
    let change = json!({
        "stageVariables": {"a": "", "c": "3"}, "routeSettings": {"send": {"throttlingRateLimit": 2.5}},
        "defaultRouteSettings": {"throttlingBurstLimit": 20},
    });
    let stage = aws.patch(&path, &change).await;
    assert_eq!(stage["stageVariables"], json!({"b": "2", "c": "3"}));
    assert_eq!(
        stage["routeSettings"],
        json!({"$connect": {"throttlingBurstLimit": 1}, "send": {"throttlingRateLimit": 2.5}})
    );
    let settings = json!({"throttlingBurstLimit": 20, "throttlingRateLimit": 5.0, "loggingLevel": "INFO"});
    assert_eq!(stage["defaultRouteSettings"], settings);
    aws.delete(&format!("{path}/routesettings/%24connect")).await;
    aws.delete(&format!("{path}/accesslogsettings")).await;
    let stage = aws.get(&path).await;
    assert_eq!(stage.get("accessLogSettings"), None);
    assert_eq!(stage["routeSettings"], json!({"send": {"throttlingRateLimit": 2.5}}));
}

#[tokio::test]
async fn a_stage_that_aws_refuses_is_refused() {
    let control = ApiGateway::default();
    let aws = caller(&control);
    let api = aws.api().await;
    let stages = format!("{api}/stages");
    aws.create(&stages, &json!({"stageName": "dev"})).await;
    let log =
        json!({"destinationArn": "arn:aws:logs:us-east-1:000000000000:log-group:x", "format": "$context.requestId"});
    let (status, answer, _) = aws
        .call(
            Method::PATCH,
            &format!("{stages}/dev"),
            &json!({"accessLogSettings": log}),
        )
        .await;
    assert_eq!(
        (status, &answer["message"]),
        (
            400,
            &json!("CloudWatch Logs role ARN must be set in account settings to enable logging")
        )
    );
    control.set_log_role(Some("arn:aws:iam::000000000000:role/logs".to_owned()));
    aws.refused(
        Method::POST,
        &stages,
        &json!({"stageName": "dev"}),
        409,
        "Stage already exists",
    )
    .await;
    let log = "arn:aws:logs:us-east-1:000000000000:log-group:x";
    let cases = [
        (json!({"stageName": null}), "missing field `stageName`"),
        (json!({"stageName": ""}), "Stage name only allows"),
        (json!({"stageName": "$default"}), "Stage name only allows"),
        (json!({"stageName": "a b"}), "Stage name only allows"),
        (json!({"stageName": "a.b"}), "Stage name only allows"),
        (json!({"stageName": "s".repeat(129)}), "Stage name only allows"),
        (json!({"deploymentId": "none"}), "Deployment id does not exist"),
        (
            json!({"routeSettings": {"none": {}}}),
            "Unable to find Route by key none",
        ),
        (
            json!({"defaultRouteSettings": {"loggingLevel": "ALL"}}),
            "unknown variant `ALL`",
        ),
        (
            json!({"defaultRouteSettings": {"throttlingRateLimit": -1}}),
            "throttlingRateLimit",
        ),
        (
            json!({"accessLogSettings": {"destinationArn": log, "format": "$context.stage"}}),
            "$context.requestId",
        ),
        (
            json!({"accessLogSettings": {"destinationArn": format!("{log}:*"), "format": "$context.requestId"}}),
            "without :*",
        ),
        (json!({"stageVariables": {"a-b": "1"}}), "Invalid stage variable name"),
    ];
    for (change, message) in cases {
        aws.refused(
            Method::POST,
            &stages,
            &changed(&json!({"stageName": "new"}), &change),
            400,
            message,
        )
        .await;
    }
    aws.refused(
        Method::PATCH,
        &format!("{stages}/dev"),
        &json!({"stageName": "other"}),
        400,
        "cannot be set",
    )
    .await;
}
