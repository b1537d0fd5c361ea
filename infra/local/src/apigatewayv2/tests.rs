//! The control plane, called as an SDK calls it. `BadRequestException` and friends are asserted with their messages where
//! a deploy tool reads them.

#![allow(clippy::unwrap_used, reason = "tests")]

use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::ApiGateway;
use crate::cloud::Account;
use crate::wire::Request;

const FUNCTION: &str = "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:f/invocations";

/// A control plane and one caller.
pub(crate) struct Caller<'a> {
    pub(crate) control: &'a ApiGateway,
    pub(crate) endpoint: &'a str,
}

impl Caller<'_> {
    /// Returns status, body, and the error code where there is one.
    pub(crate) async fn call(&self, method: Method, path: &str, body: &Value) -> (u16, Value, String) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = Request {
            method,
            uri: format!("/v2{path}").parse().unwrap(),
            headers: HeaderMap::new(),
            body: body.into(),
            access_key: None,
        };
        let response = self.control.answer(&account(), self.endpoint, &request);
        let status = response.status().as_u16();
        let code = response
            .headers()
            .get("x-amzn-errortype")
            .map(|code| code.to_str().unwrap().to_owned());
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let json = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap()
        };
        (status, json, code.unwrap_or_default())
    }

    /// `POST`s and returns the new resource.
    pub(crate) async fn create(&self, path: &str, body: &Value) -> Value {
        let (status, json, _) = self.call(Method::POST, path, body).await;
        assert_eq!(status, 201, "POST {path} {body}: {json}");
        json
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, json, _) = self.call(Method::GET, path, &Value::Null).await;
        assert_eq!(status, 200, "GET {path}: {json}");
        json
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Value {
        let (status, json, _) = self.call(Method::PATCH, path, body).await;
        assert_eq!(status, 200, "PATCH {path} {body}: {json}");
        json
    }

    async fn delete(&self, path: &str) {
        let (status, json, _) = self.call(Method::DELETE, path, &Value::Null).await;
        assert_eq!((status, &json), (204, &Value::Null), "DELETE {path}");
    }

    async fn refused(&self, method: Method, path: &str, body: &Value, status: u16, message: &str) {
        let (found, json, code) = self.call(method.clone(), path, body).await;
        let expected = match status {
            400 => "BadRequestException",
            404 => "NotFoundException",
            409 => "ConflictException",
            _ => "NotImplemented",
        };
        let text = json["message"].as_str().unwrap_or_default();
        assert_eq!(
            (found, code.as_str()),
            (status, expected),
            "{method} {path} {body}: {json}"
        );
        assert!(
            text.contains(message),
            "{method} {path} {body}: {text:?} lacks {message:?}"
        );
    }

    pub(crate) async fn api(&self) -> String {
        let body =
            json!({"name": "chat", "protocolType": "WEBSOCKET", "routeSelectionExpression": "$request.body.action"});
        let api = self.create("/apis", &body).await;
        format!("/apis/{}", api["apiId"].as_str().unwrap())
    }

    async fn integration(&self, api: &str) -> String {
        let body = json!({"integrationType": "AWS_PROXY", "integrationUri": FUNCTION});
        let integration = self.create(&format!("{api}/integrations"), &body).await;
        integration["integrationId"].as_str().unwrap().to_owned()
    }

    async fn route(&self, api: &str, key: &str) -> String {
        let route = self.create(&format!("{api}/routes"), &json!({ "routeKey": key })).await;
        route["routeId"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn account() -> Account {
    Account {
        id: "000000000000".to_owned(),
        region: "us-east-1".to_owned(),
    }
}

fn caller(control: &ApiGateway) -> Caller<'_> {
    Caller {
        control,
        endpoint: "http://127.0.0.1:4566",
    }
}

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
    let before = serde_json::to_value(&*control.lock()).unwrap();
    let state: super::State = serde_json::from_value(before.clone()).unwrap();
    assert_eq!(serde_json::to_value(&state).unwrap(), before);
}

/// Returns `base` with members replaced; `null` removes one.
fn changed(base: &Value, change: &Value) -> Value {
    let mut object = base.as_object().unwrap().clone();
    object.extend(change.as_object().unwrap().clone());
    object.retain(|_, value| !value.is_null());
    Value::Object(object)
}
