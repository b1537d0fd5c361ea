//! APIs, pages, tags, and what all resources share.

use http::Method;
use serde_json::{Value, json};

use super::{caller, changed};
use crate::apigatewayv2::ApiGateway;

#[tokio::test]
async fn an_api_is_echoed_with_aws_defaults() {
    let control = ApiGateway::default();
    let aws = caller(&control);
    let given = json!({
        "name": "chat", "protocolType": "WEBSOCKET", "routeSelectionExpression": "$request.body.action",
        "description": "d", "version": "1", "tags": {"app": "chat"},
    });
    let api = aws.create("/apis", &given).await;
    let id = api["apiId"].as_str().unwrap();
    assert_eq!(id.len(), 10);
    let expected = json!({
        "name": "chat", "protocolType": "WEBSOCKET", "routeSelectionExpression": "$request.body.action",
        "description": "d", "version": "1", "tags": {"app": "chat"}, "apiId": id, "createdDate": api["createdDate"],
        "apiEndpoint": format!("ws://127.0.0.1:4566/_aws/execute-api/{id}"), "disableExecuteApiEndpoint": false,
        "apiKeySelectionExpression": "$request.header.x-api-key", "ipAddressType": "ipv4",
    });
    assert_eq!(api, expected);
    assert_eq!(aws.get(&format!("/apis/{id}")).await, expected);
    let changed = aws.patch(&format!("/apis/{id}"), &json!({"name": "talk"})).await;
    assert_eq!(
        (&changed["name"], &changed["description"]),
        (&json!("talk"), &json!("d"))
    );
    aws.delete(&format!("/apis/{id}")).await;
    aws.refused(
        Method::GET,
        &format!("/apis/{id}"),
        &Value::Null,
        404,
        "Invalid API identifier specified",
    )
    .await;
}

#[tokio::test]
async fn an_api_that_aws_refuses_is_refused() {
    let control = ApiGateway::default();
    let aws = caller(&control);
    let good = json!({"name": "chat", "protocolType": "WEBSOCKET", "routeSelectionExpression": "$request.body.action"});
    let cases = [
        (
            json!({"routeSelectionExpression": null}),
            "routeSelectionExpression is required",
        ),
        (
            json!({"routeSelectionExpression": "action"}),
            "Invalid route selection expression",
        ),
        (json!({"protocolType": "HTTP"}), "HTTP APIs are not implemented"),
        (json!({"protocolType": "GOPHER"}), "unknown variant `GOPHER`"),
        (json!({"name": null}), "missing field `name`"),
        (json!({"name": ""}), "name must have 1 to 128"),
        (json!({"name": "n".repeat(129)}), "name must have 1 to 128"),
        (json!({"corsConfiguration": {}}), "unknown field `corsConfiguration`"),
        (json!({"apiId": "mine"}), "apiId cannot be set"),
        (json!({"tags": {"aws:x": "y"}}), "reserved"),
        (
            json!({"apiKeySelectionExpression": "$request.body.key"}),
            "apiKeySelectionExpression",
        ),
    ];
    for (change, message) in cases {
        aws.refused(Method::POST, "/apis", &changed(&good, &change), 400, message)
            .await;
    }
    aws.refused(Method::POST, "/apis", &json!([]), 400, "Invalid request body")
        .await;
    aws.refused(Method::PUT, "/apis", &json!({}), 501, "not implemented")
        .await;
    assert_eq!(aws.get("/apis").await["items"], json!([]));
}

#[tokio::test]
async fn lists_come_in_pages() {
    let control = ApiGateway::default();
    let aws = caller(&control);
    let api = aws.api().await;
    for index in 0..7 {
        aws.route(&api, &format!("key{index}")).await;
    }
    let mut keys = Vec::new();
    let mut token = String::new();
    for size in [3, 3, 1] {
        let page = aws.get(&format!("{api}/routes?maxResults=3{token}")).await;
        let items = page["items"].as_array().unwrap();
        assert_eq!(items.len(), size);
        keys.extend(items.iter().map(|item| item["routeKey"].as_str().unwrap().to_owned()));
        token = page["nextToken"]
            .as_str()
            .map(|next| format!("&nextToken={next}"))
            .unwrap_or_default();
    }
    assert_eq!(token, "");
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 7);
    for query in ["maxResults=0", "maxResults=many", "maxResults=501", "nextToken=%25%25"] {
        aws.refused(Method::GET, &format!("{api}/routes?{query}"), &Value::Null, 400, "")
            .await;
    }
}

#[tokio::test]
async fn tags_live_on_apis_and_stages() {
    let control = ApiGateway::default();
    let aws = caller(&control);
    let api = aws.api().await;
    aws.create(
        &format!("{api}/stages"),
        &json!({"stageName": "dev", "tags": {"old": "1"}}),
    )
    .await;
    for (arn, old) in [(api.clone(), false), (format!("{api}/stages/dev"), true)] {
        let path = format!("/tags/arn:aws:apigateway:us-east-1::{arn}")
            .replace(':', "%3A")
            .replace("::/", "::%2F");
        aws.create(&path, &json!({"tags": {"app": "chat", "env": "dev"}})).await;
        let mut expected = json!({"app": "chat", "env": "dev"});
        if old {
            expected["old"] = json!("1");
        }
        assert_eq!(aws.get(&path).await["tags"], expected);
        aws.delete(&format!("{path}?tagKeys=app&tagKeys=old")).await;
        assert_eq!(aws.get(&path).await["tags"], json!({"env": "dev"}));
        aws.refused(Method::POST, &path, &json!({"tags": {"aws:x": ""}}), 400, "reserved")
            .await;
    }
    aws.refused(
        Method::GET,
        "/tags/arn:aws:apigateway:us-east-1::/apis/none",
        &Value::Null,
        404,
        "API",
    )
    .await;
    aws.refused(
        Method::GET,
        "/tags/arn:aws:apigateway:eu-west-1::/apis/none",
        &Value::Null,
        400,
        "ARN",
    )
    .await;
}

#[tokio::test]
async fn ids_that_do_not_exist_are_not_found() {
    let control = ApiGateway::default();
    let aws = caller(&control);
    let api = aws.api().await;
    let kinds = [
        ("routes", "Route"),
        ("integrations", "Integration"),
        ("authorizers", "Authorizer"),
        ("deployments", "Deployment"),
        ("stages", "stage"),
    ];
    for (collection, kind) in kinds {
        for method in [Method::GET, Method::PATCH, Method::DELETE] {
            let message = format!("Invalid {kind} identifier specified");
            aws.refused(method, &format!("{api}/{collection}/none"), &json!({}), 404, &message)
                .await;
        }
        aws.refused(
            Method::GET,
            &format!("/apis/none/{collection}"),
            &Value::Null,
            404,
            "Invalid API",
        )
        .await;
    }
}

#[tokio::test]
async fn the_state_survives_serialisation() {
    let control = ApiGateway::default();
    let aws = caller(&control);
    let api = aws.api().await;
    let route = aws.route(&api, "send").await;
    aws.create(
        &format!("{api}/routes/{route}/routeresponses"),
        &json!({"routeResponseKey": "$default"}),
    )
    .await;
    aws.integration(&api).await;
    aws.create(
        &format!("{api}/stages"),
        &json!({"stageName": "dev", "autoDeploy": true}),
    )
    .await;
    let before = serde_json::to_value(&*control.state.read()).unwrap();
    let state: crate::apigatewayv2::State = serde_json::from_value(before.clone()).unwrap();
    assert_eq!(serde_json::to_value(&state).unwrap(), before);
}
