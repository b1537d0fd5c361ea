//! The front door.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::{Setup, allow, eventually, failed, gate, hear, ok, say};
use crate::wire::ApiError;

#[tokio::test]
async fn without_a_deployment_nobody_comes_in() {
    let setup = Setup::new().await;
    setup.route("$connect", &json!({})).await;
    let (status, headers, body) = setup.refused("", &[]).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["message"]), (403, &json!("Forbidden")));
    assert!(
        headers["x-local-cloud-error"]
            .to_str()
            .unwrap()
            .contains("no stage dev with a deployment")
    );
    assert!(setup.calls("$connect").is_empty());
    setup.deploy().await;
    setup.connect().await;
    assert_eq!(setup.calls("$connect").len(), 1);
}

#[tokio::test]
async fn without_a_connect_route_everybody_comes_in() {
    let setup = Setup::new().await;
    setup.route("send", &json!({})).await;
    setup.deploy().await;
    let mut client = setup.connect().await;
    say(&mut client, r#"{"action":"send"}"#).await;
    setup.call("send").await;
}

#[tokio::test]
async fn functions_see_who_connects() {
    let setup = Setup::new().await;
    let authorizer = setup
        .authorized_connect(json!([
            "route.request.header.AUTHORIZATION",
            "route.request.querystring.room"
        ]))
        .await;
    setup.deploy().await;
    let path = format!("/apis/{}/stages/dev", setup.api_id);
    setup
        .control()
        .patch(&path, &json!({"stageVariables": {"colour": "blue"}}))
        .await;
    setup.function("authorize", |event| ok(&allow(&event)));
    let mut request = format!("{}?room=a%20b&room=c", setup.url())
        .into_client_request()
        .unwrap();
    request
        .headers_mut()
        .insert("Authorization", "Bearer x".parse().unwrap());
    request.headers_mut().insert("User-Agent", "test".parse().unwrap());
    connect_async(request).await.unwrap();

    let asked = setup.call("authorize").await;
    let arn = format!("arn:aws:execute-api:us-east-1:000000000000:{}", setup.api_id);
    assert_eq!(asked.source_arn, format!("{arn}/authorizers/{authorizer}"));
    let event = &asked.event;
    assert_eq!(event["type"], "REQUEST");
    assert_eq!(event["methodArn"], format!("{arn}/dev/$connect"));
    assert_eq!(event["headers"]["Authorization"], "Bearer x");
    assert_eq!(event["multiValueHeaders"]["Authorization"], json!(["Bearer x"]));
    assert_eq!(event["queryStringParameters"], json!({"room": "c"}));
    assert_eq!(event["multiValueQueryStringParameters"], json!({"room": ["a b", "c"]}));
    assert_eq!(event["stageVariables"], json!({"colour": "blue"}));
    assert_eq!(event["requestContext"]["eventType"], "CONNECT");
    assert_eq!(event["requestContext"].get("authorizer"), None);

    let connected = setup.call("$connect").await;
    assert_eq!(connected.source_arn, format!("{arn}/dev/$connect"));
    let event = connected.event;
    assert_eq!(event["headers"]["Sec-WebSocket-Version"], "13");
    assert_eq!(event["headers"].get("Upgrade"), None);
    assert_eq!(event["queryStringParameters"], json!({"room": "c"}));
    assert_eq!(event["stageVariables"], json!({"colour": "blue"}));
    assert_eq!(event["isBase64Encoded"], false);
    let mut context = event["requestContext"].clone();
    let id = context["connectionId"].as_str().unwrap().to_owned();
    assert!(id.len() == 16 && id.ends_with('='), "{id}");
    assert_eq!(asked.event["requestContext"]["connectionId"], id);
    assert!(context["authorizer"]["integrationLatency"].is_u64());
    for varying in [
        "connectionId",
        "requestId",
        "extendedRequestId",
        "requestTime",
        "requestTimeEpoch",
        "connectedAt",
    ] {
        assert!(!context[varying].is_null(), "{varying}");
        context.as_object_mut().unwrap().remove(varying);
    }
    context["authorizer"]
        .as_object_mut()
        .unwrap()
        .remove("integrationLatency");
    let expected = json!({
        "routeKey": "$connect", "eventType": "CONNECT", "messageDirection": "IN", "stage": "dev", "apiId": setup.api_id,
        "domainName": format!("{}.execute-api.localhost:{}", setup.api_id, setup.address.port()),
        "identity": {"sourceIp": "127.0.0.1", "userAgent": "test"},
        "authorizer": {"principalId": "u1", "name": "Ada", "level": "3", "admin": "true"},
    });
    assert_eq!(context, expected);
}

#[tokio::test]
async fn a_missing_credential_is_401_without_asking() {
    let setup = Setup::new().await;
    setup
        .authorized_connect(json!(["route.request.header.Authorization", "context.stage"]))
        .await;
    setup.deploy().await;
    setup.function("authorize", |event| ok(&allow(&event)));
    for headers in [vec![], vec![("authorization", "")]] {
        let (status, _, body) = setup.refused("?Authorization=x", &headers).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["message"]), (401, &json!("Unauthorized")));
    }
    assert!(setup.calls("authorize").is_empty());
}

#[tokio::test]
async fn an_authorizer_decides() {
    let setup = Setup::new().await;
    setup.authorized_connect(json!([])).await;
    setup.deploy().await;
    setup.function("authorize", |event| {
        match event["queryStringParameters"]["case"].as_str().unwrap() {
            "unauthorized" => failed("Unauthorized"),
            "crash" => failed("Unauthorized!"),
            "malformed" => ok(&json!({"isAuthorized": true})),
            "refused" => Err(ApiError::new(403, "AccessDeniedException", "no statement allows it")),
            case => {
                let mut answer = allow(&event);
                let statements = answer["policyDocument"]["Statement"].as_array_mut().unwrap();
                match case {
                    "none" => statements.clear(),
                    _ => statements.push(json!({"Effect": "Deny", "Action": "*", "Resource": "*"})),
                }
                ok(&answer)
            }
        }
    });
    let cases = [
        ("unauthorized", 401, "Unauthorized", ""),
        ("crash", 500, "Internal server error", "the function failed"),
        ("malformed", 500, "Internal server error", "no principalId"),
        ("refused", 500, "Internal server error", "no statement allows it"),
        ("none", 403, "User is not authorized to access this resource", ""),
        (
            "deny",
            403,
            "User is not authorized to access this resource with an explicit deny",
            "",
        ),
    ];
    for (case, expected, message, why) in cases {
        let (status, headers, body) = setup.refused(&format!("?case={case}"), &[]).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["message"]), (expected, &json!(message)), "{case}");
        assert!(body["connectionId"].is_string() && body["requestId"].is_string());
        let said = headers
            .get("x-local-cloud-error")
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default();
        assert!(
            said.contains(why) && said.is_empty() == why.is_empty(),
            "{case}: {said}"
        );
    }
    assert!(setup.calls("$connect").is_empty());
}

#[tokio::test]
async fn a_connect_function_decides() {
    let setup = Setup::new().await;
    setup.route("$connect", &json!({})).await;
    setup.deploy().await;
    let path = format!("/apis/{}/integrations", setup.api_id);
    let integrations = setup.control().get(&path).await;
    let integration = integrations["items"][0]["integrationId"].as_str().unwrap().to_owned();
    setup
        .control()
        .patch(&format!("{path}/{integration}"), &json!({"timeoutInMillis": 50}))
        .await;
    setup.deploy().await;
    setup.async_function("$connect", |event| {
        Box::pin(async move {
            match event["queryStringParameters"]["case"].as_str().unwrap() {
                "full" => ok(&json!({"statusCode": 429, "body": "full", "headers": {"Content-Type": "text/plain"}})),
                "crash" => failed("oh"),
                "nothing" => ok(&Value::Null),
                "slow" => std::future::pending().await,
                _ => Err(ApiError::new(403, "AccessDeniedException", "no statement\nallows it")),
            }
        })
    });
    let cases = [
        ("full", 429, "full", ""),
        ("crash", 502, "Internal server error", "the function failed"),
        ("nothing", 502, "Internal server error", "no statusCode"),
        ("slow", 502, "Internal server error", "did not answer within 50ms"),
        ("refused", 500, "Internal server error", "no statement allows it"),
    ];
    for (case, expected, message, why) in cases {
        let (status, headers, body) = setup.refused(&format!("?case={case}"), &[]).await;
        assert_eq!(status, expected, "{case}");
        match serde_json::from_str::<Value>(&body) {
            Ok(body) => assert_eq!(body["message"], message, "{case}"),
            Err(_) => assert_eq!(
                (body.as_str(), &headers["content-type"]),
                (message, &"text/plain".parse().unwrap())
            ),
        }
        let said = headers
            .get("x-local-cloud-error")
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default();
        assert!(said.contains(why), "{case}: {said}");
    }
}

#[tokio::test]
async fn connect_selects_a_subprotocol_that_was_offered() {
    let setup = Setup::new().await;
    setup.route("$connect", &json!({})).await;
    setup.deploy().await;
    setup.function("$connect", |_| {
        ok(&json!({"statusCode": 200, "headers": {"sec-websocket-PROTOCOL": "chat.v1"}}))
    });
    for (offer, chosen) in [
        ("chat.v1, auth.x", Some("chat.v1")),
        ("auth.x,chat.v1", Some("chat.v1")),
        ("other", None),
    ] {
        let mut request = setup.url().into_client_request().unwrap();
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", offer.parse().unwrap());
        let selected = match connect_async(request).await {
            Ok((_, response)) => response
                .headers()
                .get("sec-websocket-protocol")
                .map(|value| value.to_str().unwrap().to_owned()),
            // As browsers do, the client fails the connection when nothing it offered was selected.
            Err(_) => None,
        };
        assert_eq!(selected.as_deref(), chosen, "{offer}");
    }
    // Not offered at all: accepted, and nothing is selected.
    let (_, response) = connect_async(setup.url()).await.unwrap();
    assert_eq!(response.headers().get("sec-websocket-protocol"), None);
}

#[tokio::test]
async fn a_client_that_leaves_during_connect_is_disconnected() {
    let setup = Setup::new().await;
    setup.route("$connect", &json!({})).await;
    setup.route("$disconnect", &json!({})).await;
    setup.deploy().await;
    let (open, wait) = gate();
    setup.async_function("$connect", move |_| {
        let waited = wait();
        Box::pin(async move {
            waited.await;
            ok(&json!({"statusCode": 200}))
        })
    });
    let mut socket = TcpStream::connect(setup.address).await.unwrap();
    let request = format!(
        "GET /_aws/execute-api/{}/dev HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        setup.api_id
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let connected = setup.call("$connect").await;
    drop(socket);
    open.send(()).unwrap();
    let event = setup.call("$disconnect").await.event;
    assert_eq!(
        event["requestContext"]["connectionId"],
        connected.event["requestContext"]["connectionId"]
    );
    assert_eq!(event["requestContext"]["disconnectStatusCode"], 1006);
    eventually("no connection", || setup.cloud.gateway.lock().is_empty().then_some(())).await;
}

#[tokio::test]
async fn clients_meet_the_deployment_not_the_draft() {
    let setup = Setup::new().await;
    let reply = json!({"routeResponseSelectionExpression": "$default"});
    let route = setup.route("$default", &reply).await;
    let path = format!("/apis/{}/routes/{route}/routeresponses", setup.api_id);
    setup
        .control()
        .create(&path, &json!({"routeResponseKey": "$default"}))
        .await;
    setup.deploy().await;
    setup.function("$default", |_| ok(&json!({"statusCode": 200, "body": "old"})));
    let mut client = setup.connect().await;
    setup.route("new", &json!({})).await;
    setup.function("new", |_| failed("new is not deployed"));
    say(&mut client, r#"{"action":"new"}"#).await;
    assert_eq!(hear(&mut client).await, "old");
    setup.deploy().await;
    say(&mut client, r#"{"action":"new"}"#).await;
    assert!(hear(&mut client).await.contains("Internal server error"));
    client.close(None).await.unwrap();
}

#[tokio::test]
async fn other_requests_are_refused() {
    let setup = Setup::new().await;
    for (rest, status) in [("", 400), ("/elsewhere", 403), ("/@connections/a/b", 403)] {
        let address = super::Address {
            api_id: setup.api_id.clone(),
            stage: "dev".to_owned(),
            rest: rest.to_owned(),
        };
        let request = axum::extract::Request::builder()
            .uri("/")
            .body(axum::body::Body::empty())
            .unwrap();
        let response = super::serve(&setup.cloud, address, request).await;
        assert_eq!(response.status().as_u16(), status, "{rest}");
    }
    tokio::time::timeout(Duration::from_secs(5), setup.cloud.gateway.shutdown(Duration::ZERO))
        .await
        .unwrap();
}
