//! Function URLs: their control plane, who may call them, and what comes back.

use axum::body::Body;

use super::*;
use crate::lambda::{UrlAddress, call_url};

const URL: &str = "/2021-10-31/functions/f/url";
const POLICY: &str = "/2015-03-31/functions/f/policy";

/// A cloud with the function `f` and its alias `live`.
async fn with_alias() -> SharedCloud {
    let cloud = cloud().await;
    assert_eq!(create(&cloud, "f", json!({ "Publish": true })).await.status, 201);
    let alias = json!({ "Name": "live", "FunctionVersion": "1" });
    let made = call(&cloud, "POST", "/2015-03-31/functions/f/aliases", alias).await;
    assert_eq!(made.status, 201);
    cloud
}

async fn allow(cloud: &SharedCloud, permission: Value) {
    let added = call(cloud, "POST", &format!("{POLICY}?Qualifier=live"), permission).await;
    assert_eq!(added.status, 201, "{}", added.body);
}

fn statements() -> [Value; 2] {
    [
        json!({ "StatementId": "url", "Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE" }),
        json!({ "StatementId": "invoke", "Action": "lambda:InvokeFunction", "Principal": "*", "InvokedViaFunctionUrl": true }),
    ]
}

/// Returns the id in the URL of a configuration.
fn id_of(configuration: &Value) -> String {
    let url = configuration["FunctionUrl"].as_str().unwrap();
    let id = url
        .strip_prefix("http://127.0.0.1:4566/_aws/lambda-url/")
        .and_then(|rest| rest.strip_suffix('/'));
    id.unwrap().to_owned()
}

async fn get(cloud: &SharedCloud, id: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let address = UrlAddress {
        id: id.to_owned(),
        path: path.split('?').next().unwrap().to_owned(),
    };
    let mut request = http::Request::get(format!("http://127.0.0.1/_aws/lambda-url/{id}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = call_url(cloud, address, request.body(Body::empty()).unwrap()).await;
    let (parts, body) = answer.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }
}

#[tokio::test]
async fn a_function_and_each_alias_have_one_url_each() {
    let cloud = with_alias().await;
    let on_alias = format!("{URL}?Qualifier=live");
    let none = json!({ "AuthType": "NONE" });
    assert_eq!(
        call(&cloud, "GET", &on_alias, json!({})).await.error(),
        (404, "ResourceNotFoundException")
    );
    let made = call(&cloud, "POST", &on_alias, none.clone()).await;
    assert_eq!(made.status, 201);
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
    assert_eq!(made.body["FunctionArn"], format!("{arn}:live"));
    assert_eq!(
        (&made.body["AuthType"], &made.body["InvokeMode"]),
        (&json!("NONE"), &json!("BUFFERED"))
    );
    assert_eq!(
        call(&cloud, "POST", &on_alias, none.clone()).await.error(),
        (409, "ResourceConflictException")
    );
    let other = call(&cloud, "POST", URL, none.clone()).await;
    assert_ne!(id_of(&other.body), id_of(&made.body));
    let listed = call(&cloud, "GET", "/2021-10-31/functions/f/urls", json!({}))
        .await
        .body;
    assert_eq!(listed["FunctionUrlConfigs"].as_array().unwrap().len(), 2);

    let updated = call(&cloud, "PUT", &on_alias, json!({ "AuthType": "AWS_IAM" })).await;
    assert_eq!((updated.status, &updated.body["AuthType"]), (200, &json!("AWS_IAM")));
    assert_eq!(id_of(&updated.body), id_of(&made.body));
    let read = call(&cloud, "GET", &on_alias, json!({})).await;
    assert_eq!(read.body, updated.body);

    assert_eq!(call(&cloud, "DELETE", &on_alias, json!({})).await.status, 204);
    for method in ["DELETE", "GET", "PUT"] {
        let answer = call(&cloud, method, &on_alias, json!({})).await;
        assert_eq!(answer.error(), (404, "ResourceNotFoundException"), "{method}");
    }
    let again = call(&cloud, "POST", &on_alias, none.clone()).await;
    assert_ne!(id_of(&again.body), id_of(&made.body), "a new URL has another address");
    // It goes with its alias.
    call(&cloud, "DELETE", "/2015-03-31/functions/f/aliases/live", json!({})).await;
    assert_eq!(call(&cloud, "GET", &on_alias, json!({})).await.status, 404);
}

#[tokio::test]
async fn what_aws_refuses_is_refused() {
    let cloud = with_alias().await;
    let missing = "/2021-10-31/functions/none/url";
    for (uri, input, status, code) in [
        (URL, json!({}), 400, "ValidationException"),
        (URL, json!({ "AuthType": "OPEN" }), 400, "ValidationException"),
        (
            URL,
            json!({ "AuthType": "NONE", "InvokeMode": "FAST" }),
            400,
            "ValidationException",
        ),
        (missing, json!({ "AuthType": "NONE" }), 404, "ResourceNotFoundException"),
        (
            "/2021-10-31/functions/f/url?Qualifier=other",
            json!({ "AuthType": "NONE" }),
            404,
            "ResourceNotFoundException",
        ),
        (
            "/2021-10-31/functions/f/url?Qualifier=1",
            json!({ "AuthType": "NONE" }),
            400,
            "ValidationException",
        ),
    ] {
        let answer = call(&cloud, "POST", uri, input.clone()).await;
        assert_eq!(answer.error(), (status, code), "{uri} {input}");
    }
    for (action, member, value) in [
        ("lambda:InvokeFunction", "FunctionUrlAuthType", json!("NONE")),
        ("lambda:InvokeFunctionUrl", "InvokedViaFunctionUrl", json!(true)),
    ] {
        let mut permission = json!({ "StatementId": "s", "Action": action, "Principal": "*" });
        permission[member] = value;
        let answer = call(&cloud, "POST", POLICY, permission).await;
        assert_eq!(answer.error(), (400, "InvalidParameterValueException"), "{member}");
    }
}

#[tokio::test]
async fn a_public_url_needs_both_statements() {
    let cloud = with_alias().await;
    let made = call(
        &cloud,
        "POST",
        &format!("{URL}?Qualifier=live"),
        json!({ "AuthType": "NONE" }),
    )
    .await;
    let id = id_of(&made.body);
    let [url, invoke] = statements();
    let forbidden = get(&cloud, &id, "/", &[]).await;
    assert_eq!(forbidden.error(), (403, "AccessDeniedException"));
    assert!(
        forbidden.body["Message"].as_str().unwrap().starts_with("Forbidden"),
        "{}",
        forbidden.body
    );
    allow(&cloud, url).await;
    let forbidden = get(&cloud, &id, "/", &[]).await;
    assert_eq!(forbidden.status, 403);
    assert!(
        forbidden
            .header("x-local-cloud-error")
            .contains("lambda:InvokeFunction")
    );
    allow(&cloud, invoke).await;
    let answer = get(&cloud, &id, "/a/b?x=1", &[("accept", "text/html")]).await;
    // The function returns its event, and that has no status.
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.body["rawPath"], "/a/b");
    assert_eq!(answer.body["queryStringParameters"], json!({ "x": "1" }));
    assert_eq!(answer.body["headers"]["accept"], "text/html");
    assert_eq!(answer.body["requestContext"]["domainPrefix"], json!(id));

    let policy = call(&cloud, "GET", &format!("{POLICY}?Qualifier=live"), json!({})).await;
    let policy: Value = serde_json::from_str(policy.body["Policy"].as_str().unwrap()).unwrap();
    let conditions: Vec<&Value> = policy["Statement"]
        .as_array()
        .unwrap()
        .iter()
        .map(|statement| &statement["Condition"])
        .collect();
    assert_eq!(
        conditions,
        [
            &json!({ "StringEquals": { "lambda:FunctionUrlAuthType": "NONE" } }),
            &json!({ "Bool": { "lambda:InvokedViaFunctionUrl": "true" } }),
        ]
    );
    // Neither lets a service in.
    let service = Invoker::Service {
        principal: "apigateway.amazonaws.com",
        source_arn: "arn:aws:execute-api:us-east-1:000000000000:abc/dev/$connect".to_owned(),
    };
    let refused = invoke_as(&cloud, service).await;
    assert_eq!(refused.map_err(|error| error.status).err(), Some(403));
    cloud.lambda.shutdown().await;
}

async fn invoke_as(cloud: &SharedCloud, invoker: Invoker) -> Result<Outcome, crate::wire::ApiError> {
    invoke(cloud, "f:live", "{}".into(), invoker).await
}

#[tokio::test]
async fn a_url_for_signed_requests_takes_no_others() {
    let cloud = with_alias().await;
    let made = call(&cloud, "POST", URL, json!({ "AuthType": "AWS_IAM" })).await;
    let id = id_of(&made.body);
    let signed = |service: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        )
    };
    assert_eq!(get(&cloud, &id, "/", &[]).await.status, 403);
    let other = signed("s3");
    assert_eq!(get(&cloud, &id, "/", &[("authorization", &other)]).await.status, 403);
    let right = signed("lambda");
    let answer = get(&cloud, &id, "/", &[("authorization", &right)]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["requestContext"]["accountId"], "000000000000");
    cloud.lambda.shutdown().await;
}

#[tokio::test]
async fn what_leads_nowhere_says_so() {
    let cloud = with_alias().await;
    assert_eq!(get(&cloud, "none", "/", &[]).await.status, 403);
    let sent_on = get(&cloud, "none", "", &[]).await;
    assert_eq!(
        (sent_on.status, sent_on.header("location")),
        (308, "/_aws/lambda-url/none/")
    );
    let broken = json!({ "Environment": { "Variables": { "FAIL_INIT": "3" } } });
    create(&cloud, "g", broken).await;
    let made = call(
        &cloud,
        "POST",
        "/2021-10-31/functions/g/url",
        json!({ "AuthType": "NONE" }),
    )
    .await;
    for permission in statements() {
        call(&cloud, "POST", "/2015-03-31/functions/g/policy", permission).await;
    }
    let failed = get(&cloud, &id_of(&made.body), "/", &[]).await;
    assert_eq!(failed.error(), (502, "InternalServerException"));
    cloud.lambda.shutdown().await;
}
