//! Routes, route responses, integrations and authorizers.

use http::Method;
use serde_json::{Value, json};

use super::{FUNCTION, caller, changed};
use crate::apigatewayv2::ApiGateway;

#[tokio::test]
async fn an_integration_is_echoed_with_aws_defaults() {
    let control = ApiGateway::default();
    let aws = caller(&control);
    let api = aws.api().await;
    let given = json!({"integrationType": "AWS_PROXY", "integrationUri": FUNCTION, "contentHandlingStrategy": "CONVERT_TO_TEXT"});
    let integration = aws.create(&format!("{api}/integrations"), &given).await;
    let id = integration["integrationId"].as_str().unwrap();
    let expected = json!({
        "integrationId": id, "integrationType": "AWS_PROXY", "integrationUri": FUNCTION, "integrationMethod": "POST",
        "connectionType": "INTERNET", "passthroughBehavior": "WHEN_NO_MATCH", "payloadFormatVersion": "1.0",
        "timeoutInMillis": 29000, "contentHandlingStrategy": "CONVERT_TO_TEXT",
    });
    assert_eq!(integration, expected);
    let path = format!("{api}/integrations/{id}");
    let updated = aws
        .patch(&path, &json!({"timeoutInMillis": 50, "description": "marker"}))
        .await;
    assert_eq!(
        updated,
        changed(&expected, &json!({"timeoutInMillis": 50, "description": "marker"}))
    );
    assert_eq!(aws.get(&path).await, updated);
    let templates = aws
        .patch(&path, &json!({"requestParameters": {"a": "1", "b": "2"}}))
        .await;
    assert_eq!(templates["requestParameters"], json!({"a": "1", "b": "2"}));
    let merged = aws
        .patch(&path, &json!({"requestParameters": {"a": "", "c": "3"}}))
        .await;
    assert_eq!(merged["requestParameters"], json!({"b": "2", "c": "3"}));
}

#[tokio::test]
async fn an_integration_that_aws_refuses_is_refused() {
    let control = ApiGateway::default();
    let aws = caller(&control);
    let api = aws.api().await;
    let good = json!({"integrationType": "AWS_PROXY", "integrationUri": FUNCTION});
    let cases = [
        (json!({"integrationType": "LAMBDA"}), "unknown variant `LAMBDA`"),
        (json!({"integrationType": null}), "missing field `integrationType`"),
        (json!({"integrationType": "HTTP_PROXY"}), "not implemented"),
        (json!({"timeoutInMillis": 29_001}), "between 50 ms and 29000 ms"),
        (json!({"timeoutInMillis": 49}), "between 50 ms and 29000 ms"),
        (json!({"timeoutInMillis": -1}), "Invalid request input"),
        (json!({"payloadFormatVersion": "2.0"}), "only for HTTP APIs"),
        (json!({"integrationUri": null}), "integrationUri must be"),
        (
            json!({"integrationUri": "arn:aws:lambda:us-east-1:000000000000:function:f"}),
            "integrationUri must be",
        ),
        (json!({"integrationMethod": "GET"}), "must be POST"),
        (json!({"connectionType": "VPC_LINK"}), "VPC links"),
        (json!({"credentialsArn": "arn:aws:iam::1:role/r"}), "AddPermission"),
        (json!({"description": "d".repeat(1025)}), "description"),
        (json!({"integrationId": "mine"}), "cannot be set"),
    ];
    for (change, message) in cases {
        aws.refused(
            Method::POST,
            &format!("{api}/integrations"),
            &changed(&good, &change),
            400,
            message,
        )
        .await;
    }
}

#[tokio::test]
async fn a_route_is_echoed_with_aws_defaults() {
    let control = ApiGateway::default();
    let aws = caller(&control);
    let api = aws.api().await;
    let integration = aws.integration(&api).await;
    let given = json!({"routeKey": "send", "target": format!("integrations/{integration}"), "operationName": "Send"});
    let route = aws.create(&format!("{api}/routes"), &given).await;
    let id = route["routeId"].as_str().unwrap();
    let defaults = json!({"routeId": id, "apiKeyRequired": false, "authorizationType": "NONE"});
    assert_eq!(route, changed(&given, &defaults));
    let path = format!("{api}/routes/{id}");
    let updated = aws
        .patch(&path, &json!({"routeResponseSelectionExpression": "$default"}))
        .await;
    assert_eq!(
        updated,
        changed(&route, &json!({"routeResponseSelectionExpression": "$default"}))
    );
    aws.delete(&path).await;
    aws.refused(
        Method::DELETE,
        &path,
        &Value::Null,
        404,
        "Invalid Route identifier specified",
    )
    .await;
}

#[tokio::test]
async fn a_route_that_aws_refuses_is_refused() {
    let control = ApiGateway::default();
    let aws = caller(&control);
    let api = aws.api().await;
    let taken = aws.route(&api, "taken").await;
    let other = aws.route(&api, "other").await;
    let routes = format!("{api}/routes");
    let duplicate = "Route with key taken already exists for this API";
    aws.refused(Method::POST, &routes, &json!({"routeKey": "taken"}), 409, duplicate)
        .await;
    aws.refused(
        Method::PATCH,
        &format!("{routes}/{other}"),
        &json!({"routeKey": "taken"}),
        409,
        duplicate,
    )
    .await;
    aws.patch(&format!("{routes}/{taken}"), &json!({"routeKey": "taken"}))
        .await;
    let cases = [
        (json!({"routeKey": null}), "missing field `routeKey`"),
        (json!({"routeKey": ""}), "routeKey must have"),
        (json!({"routeKey": "$join"}), "Invalid route key $join"),
        (
            json!({"target": "integrations/nowhere"}),
            "Invalid Integration identifier",
        ),
        (json!({"target": "nowhere"}), "target must be integrations/"),
        (
            json!({"authorizationType": "CUSTOM"}),
            "restricted to the $connect route only",
        ),
        (
            json!({"routeKey": "$connect", "authorizationType": "CUSTOM"}),
            "requires an authorizerId",
        ),
        (
            json!({"routeKey": "$connect", "authorizationType": "CUSTOM", "authorizerId": "x"}),
            "Invalid Authorizer",
        ),
        (
            json!({"routeKey": "$connect", "authorizerId": "x"}),
            "requires authorizationType CUSTOM",
        ),
        (
            json!({"routeKey": "$connect", "authorizationType": "JWT"}),
            "only for HTTP APIs",
        ),
        (
            json!({"routeKey": "$connect", "authorizationType": "AWS_IAM"}),
            "not implemented",
        ),
        (
            json!({"routeResponseSelectionExpression": "$request.body.x"}),
            "must be $default",
        ),
        (json!({"requestModels": {"$default": "m"}}), "Invalid model"),
        (json!({"authorizationScopes": []}), "only for HTTP APIs"),
    ];
    for (change, message) in cases {
        aws.refused(
            Method::POST,
            &routes,
            &changed(&json!({"routeKey": "new"}), &change),
            400,
            message,
        )
        .await;
    }
    assert_eq!(aws.get(&routes).await["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_route_has_one_response() {
    let control = ApiGateway::default();
    let aws = caller(&control);
    let api = aws.api().await;
    let route = aws.route(&api, "send").await;
    let responses = format!("{api}/routes/{route}/routeresponses");
    aws.refused(
        Method::POST,
        &responses,
        &json!({"routeResponseKey": "200"}),
        400,
        "must be $default",
    )
    .await;
    let response = aws.create(&responses, &json!({"routeResponseKey": "$default"})).await;
    aws.refused(
        Method::POST,
        &responses,
        &json!({"routeResponseKey": "$default"}),
        409,
        "already exists",
    )
    .await;
    assert_eq!(aws.get(&responses).await["items"], json!([response]));
    aws.delete(&format!(
        "{responses}/{}",
        response["routeResponseId"].as_str().unwrap()
    ))
    .await;
    assert_eq!(aws.get(&responses).await["items"], json!([]));
    aws.refused(
        Method::GET,
        &format!("{api}/routes/none/routeresponses"),
        &Value::Null,
        404,
        "Route",
    )
    .await;
}

#[tokio::test]
async fn an_authorizer_that_aws_refuses_is_refused() {
    let control = ApiGateway::default();
    let aws = caller(&control);
    let api = aws.api().await;
    let authorizers = format!("{api}/authorizers");
    let good = json!({
        "name": "token", "authorizerType": "REQUEST", "authorizerUri": FUNCTION,
        "identitySource": ["route.request.header.Authorization", "route.request.querystring.token", "stageVariables.x", "context.stage"],
    });
    let cases = [
        (json!({"authorizerUri": null}), "authorizerUri must be"),
        (json!({"identitySource": null}), "identitySource is required"),
        (
            json!({"identitySource": ["$request.header.Authorization"]}),
            "Invalid identity source",
        ),
        (
            json!({"identitySource": ["route.request.header."]}),
            "Invalid identity source",
        ),
        (json!({"authorizerType": "JWT"}), "only for HTTP APIs"),
        (json!({"authorizerType": "TOKEN"}), "unknown variant `TOKEN`"),
        (json!({"authorizerResultTtlInSeconds": 300}), "only for HTTP APIs"),
        (json!({"enableSimpleResponses": true}), "only for HTTP APIs"),
        (json!({"authorizerPayloadFormatVersion": "2.0"}), "only for HTTP APIs"),
        (json!({"jwtConfiguration": {}}), "only for HTTP APIs"),
        (json!({"name": null}), "missing field `name`"),
    ];
    for (change, message) in cases {
        aws.refused(Method::POST, &authorizers, &changed(&good, &change), 400, message)
            .await;
    }
    let authorizer = aws.create(&authorizers, &good).await;
    let id = authorizer["authorizerId"].clone();
    assert_eq!(authorizer, changed(&good, &json!({ "authorizerId": id })));
}

#[tokio::test]
async fn what_is_in_use_is_not_deleted() {
    let control = ApiGateway::default();
    let aws = caller(&control);
    let api = aws.api().await;
    let integration = aws.integration(&api).await;
    let authorizer =
        json!({"name": "token", "authorizerType": "REQUEST", "authorizerUri": FUNCTION, "identitySource": []});
    let authorizer = aws.create(&format!("{api}/authorizers"), &authorizer).await;
    let authorizer = authorizer["authorizerId"].as_str().unwrap();
    let route = json!({
        "routeKey": "$connect", "target": format!("integrations/{integration}"),
        "authorizationType": "CUSTOM", "authorizerId": authorizer,
    });
    let route = aws.create(&format!("{api}/routes"), &route).await;
    let route = format!("{api}/routes/{}", route["routeId"].as_str().unwrap());
    let (integration, authorizer) = (
        format!("{api}/integrations/{integration}"),
        format!("{api}/authorizers/{authorizer}"),
    );
    let referenced = "Cannot delete Integration because it is referenced by the following Routes: $connect";
    aws.refused(Method::DELETE, &integration, &Value::Null, 409, referenced)
        .await;
    let referenced = "Cannot delete authorizer 'token', is referenced in route: $connect";
    aws.refused(Method::DELETE, &authorizer, &Value::Null, 409, referenced)
        .await;
    let opened = aws.patch(&route, &json!({"authorizationType": "NONE"})).await;
    assert_eq!(opened.get("authorizerId"), None);
    aws.delete(&authorizer).await;
    aws.delete(&route).await;
    aws.delete(&integration).await;
}
