//! The adapters against servers on loopback ports that speak AWS's protocols.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::Server;
use functions::adapters::{Aws, RandomIds, SystemClock};
use functions::config::{ConfigError, Environment};
use functions::legs::LegEvent;
use functions_domain::ports::{
    Clock, CloseConnection, Closing, Delivery, HandOver, ListRoom, MessageIds, SendFrame, TokenError, TokenVerifier,
};
use functions_domain::testing::{contracts, leg};
use functions_domain::{ConnectionId, Room};
use functions_token::{CURRENT_KEY_ID, Claims, Key, mint};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Returns the environment of a function whose AWS, management endpoint included, is at `url`.
fn environment(url: &str) -> Environment {
    Environment::of([
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL", url),
        ("CONNECTIONS_TABLE", "connections"),
        ("RATES_TABLE", "rates"),
        ("MESSAGES_TABLE", "messages"),
        ("ROOM_SHARDS", "4"),
        ("BROADCAST_FUNCTION", "chat-test-broadcast:live"),
        ("TOKEN_KEY_PARAMETER", "/chat/token-key"),
        ("TOKEN_AUDIENCE", "chat-test"),
        ("MANAGEMENT_ENDPOINT", &format!("{url}/prod")),
    ])
}

/// Starts an embedded DynamoDB with the tables that the stack declares, and returns its address.
async fn dynamodb() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(dynoxide::server::serve_on(
        listener,
        dynoxide::Database::memory().unwrap(),
    ));

    let credentials = aws_credential_types::Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
        .region(aws_sdk_dynamodb::config::Region::new("eu-west-1"))
        .credentials_provider(credentials)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(&url)
        .build();
    let text = |name| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S)
    };
    let key = |name, kind| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
            .unwrap()
    };
    let by_room = GlobalSecondaryIndex::builder()
        .index_name("by-room")
        .key_schema(key("roomShard", KeyType::Hash))
        .key_schema(key("connectionId", KeyType::Range))
        .projection(Projection::builder().projection_type(ProjectionType::All).build());
    let client = aws_sdk_dynamodb::Client::from_conf(config);
    client
        .create_table()
        .table_name("connections")
        .attribute_definitions(text("connectionId").build().unwrap())
        .attribute_definitions(text("roomShard").build().unwrap())
        .key_schema(key("connectionId", KeyType::Hash))
        .global_secondary_indexes(by_room.build().unwrap())
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await
        .unwrap();
    for (table, hash, range) in [("rates", "userWindow", None), ("messages", "room", Some("id"))] {
        let ranges = range.iter().map(|name| key(name, KeyType::Range));
        client
            .create_table()
            .table_name(table)
            .set_attribute_definitions(Some(
                [hash]
                    .into_iter()
                    .chain(range)
                    .map(|name| text(name).build().unwrap())
                    .collect(),
            ))
            .set_key_schema(Some([key(hash, KeyType::Hash)].into_iter().chain(ranges).collect()))
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await
            .unwrap();
    }
    url
}

#[tokio::test]
async fn the_table_keeps_the_repositorys_contract() {
    let environment = environment(&dynamodb().await);
    let connections = Aws::new(&environment).unwrap().connections().unwrap();
    contracts::connections(&connections).await.unwrap();
}

#[tokio::test]
async fn the_messages_keep_their_contract() {
    let environment = environment(&dynamodb().await);
    let messages = Aws::new(&environment).unwrap().messages().unwrap();
    contracts::messages(&messages).await.unwrap();
}

#[tokio::test]
async fn a_leg_is_handed_over_as_an_event() {
    let server = Server::start(|_, _| (202, String::new())).await;
    let environment = environment(&server.url);
    let legs = Aws::new(&environment).unwrap().legs().unwrap();
    let leg = leg("red", "c=");
    legs.hand_over(&leg).await.unwrap();
    let (path, body) = server.seen().remove(0);
    assert_eq!(
        path,
        "/2015-03-31/functions/chat-test-broadcast/invocations?Qualifier=live"
    );
    let event: LegEvent = serde_json::from_str(&body).unwrap();
    assert_eq!(event.into_leg(), Ok(leg));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_nothing_else() {
    for (status, code, attempts) in [
        (429, "TooManyRequestsException", 3),
        (500, "ServiceException", 3),
        (403, "AccessDeniedException", 1),
        (404, "ResourceNotFoundException", 1),
    ] {
        let server = Server::start(move |_, _| (status, json!({"code": code}).to_string())).await;
        let environment = environment(&server.url);
        let legs = Aws::new(&environment).unwrap().legs().unwrap();
        assert!(legs.hand_over(&leg("red", "c=")).await.is_err());
        assert_eq!(server.seen().len(), attempts, "{code}");
    }
}

#[tokio::test]
async fn a_query_continues_after_its_last_key() {
    let server = Server::start(|_, body| {
        let first = serde_json::from_str::<Value>(body)
            .unwrap()
            .get("ExclusiveStartKey")
            .is_none();
        let last = json!({"connectionId": {"S": "c9="}, "roomShard": {"S": "red#2"}});
        let foreign = json!([{"connectionId": {"S": "c1="}, "room": {"S": "red"}}]);
        (
            200,
            if first {
                json!({"Items": foreign, "LastEvaluatedKey": last})
            } else {
                json!({"Items": []})
            }
            .to_string(),
        )
    })
    .await;
    let environment = environment(&server.url);
    let connections = Aws::new(&environment).unwrap().connections().unwrap();
    let room = Room::parse("red").unwrap();

    let page = connections.in_shard(&room, 2, None, Some(9)).await.unwrap();
    assert_eq!(
        (page.connections.len(), &page.next),
        (0, &Some(ConnectionId::new("c9=")))
    );
    let page = connections.in_shard(&room, 2, page.next.as_ref(), None).await.unwrap();
    assert_eq!(page.next, None);

    let second: Value = serde_json::from_str(&server.seen()[1].1).unwrap();
    assert_eq!(
        second["ExclusiveStartKey"],
        json!({"connectionId": {"S": "c9="}, "roomShard": {"S": "red#2"}})
    );
    let first: Value = serde_json::from_str(&server.seen()[0].1).unwrap();
    assert_eq!((&first["Limit"], &second["Limit"]), (&json!(9), &Value::Null));
    assert_eq!(second["IndexName"], "by-room");
    assert_eq!(second["TableName"], "connections");
}

#[tokio::test]
async fn statuses_of_the_gateway_have_meanings() {
    let server = Server::start(|path, _| match path.rsplit('/').next().unwrap() {
        "open%3D" => (200, String::new()),
        "gone%3D" => (410, json!({"message": "Gone"}).to_string()),
        "slow%3D" => (429, json!({"message": "Too Many Requests"}).to_string()),
        "broken%3D" => (500, json!({"message": "Internal server error"}).to_string()),
        "large%3D" => (413, json!({"message": "Request Too Long"}).to_string()),
        _ => (403, json!({"message": "Forbidden"}).to_string()),
    })
    .await;
    let environment = environment(&server.url);
    let gateway = Aws::new(&environment).unwrap().gateway().unwrap();
    for (id, delivery, attempts) in [
        ("open=", Some(Delivery::Delivered), 1),
        ("gone=", Some(Delivery::Gone), 1),
        ("slow=", Some(Delivery::Slow), 1),
        ("broken=", None, 2),
        ("large=", None, 1),
        ("other=", Some(Delivery::Forbidden), 1),
    ] {
        let before = server.seen().len();
        let result = gateway.send(&ConnectionId::new(id), "frame").await;
        assert_eq!(result.ok(), delivery, "{id}");
        assert_eq!(server.seen().len() - before, attempts, "{id}");
    }
    assert_eq!(
        server.seen()[0],
        ("/prod/@connections/open%3D".to_owned(), "frame".to_owned())
    );
}

#[tokio::test]
async fn a_connection_is_ended_once() {
    let server = Server::start(|path, _| match path.rsplit('/').next().unwrap() {
        "open%3D" => (204, String::new()),
        "gone%3D" => (410, json!({"message": "Gone"}).to_string()),
        _ => (403, json!({"message": "Forbidden"}).to_string()),
    })
    .await;
    let environment = environment(&server.url);
    let gateway = Aws::new(&environment).unwrap().gateway().unwrap();
    for (id, closing) in [
        ("open=", Some(Closing::Closed)),
        ("gone=", Some(Closing::Gone)),
        ("other=", None),
    ] {
        assert_eq!(gateway.close(&ConnectionId::new(id)).await.ok(), closing, "{id}");
    }
    assert_eq!(server.seen()[0].0, "/prod/@connections/open%3D");
}

fn key_text() -> String {
    URL_SAFE_NO_PAD.encode([7; 48])
}

fn token(audience: &str) -> String {
    let claims = Claims {
        sub: "alice".to_owned(),
        name: None,
        roles: Vec::new(),
        iss: audience.to_owned(),
        aud: audience.to_owned(),
        iat: None,
        exp: 2_000,
        nbf: None,
    };
    mint(&Key::parse(&key_text()).unwrap(), CURRENT_KEY_ID, &claims)
}

#[tokio::test]
async fn the_token_key_is_read_once() {
    let server = Server::start(|_, _| (200, json!({"Parameter": {"Value": key_text()}}).to_string())).await;
    let environment = environment(&server.url);
    let tokens = Aws::new(&environment).unwrap().tokens().unwrap();
    for _ in 0..3 {
        let session = tokens.verify(&token("chat-test"), 1_000).await.unwrap();
        assert_eq!((session.user.sub.as_str(), session.token_expires_at), ("alice", 2_000));
    }
    for (token, now) in [
        (token("chat-prod"), 1_000),
        (token("chat-test"), 3_000),
        ("nonsense".to_owned(), 1_000),
    ] {
        let error = tokens.verify(&token, now).await.unwrap_err();
        assert!(matches!(error, TokenError::Refused { .. }), "{error:?}");
    }
    let input = json!({"Name": "/chat/token-key", "WithDecryption": true}).to_string();
    assert_eq!(server.seen(), [("/".to_owned(), input)]);
}

#[tokio::test]
async fn both_keys_of_a_rotation_count() {
    let rotated = functions_token::rotate(&key_text(), "k2", &URL_SAFE_NO_PAD.encode([8; 48])).unwrap();
    let server = Server::start(move |_, _| (200, json!({"Parameter": {"Value": rotated}}).to_string())).await;
    let environment = environment(&server.url);
    let tokens = Aws::new(&environment).unwrap().tokens().unwrap();
    assert!(tokens.verify(&token("chat-test"), 1_000).await.is_ok());
}

#[tokio::test]
async fn a_key_that_cannot_be_read_refuses_nobody() {
    let missing = json!({"__type": "ParameterNotFound"}).to_string();
    let throttled = json!({"__type": "ThrottlingException"}).to_string();
    let short = json!({"Parameter": {"Value": "c2hvcnQ"}}).to_string();
    for (answer, attempts) in [((400, missing), 1), ((400, throttled), 3), ((200, short), 1)] {
        let told = answer.clone();
        let server = Server::start(move |_, _| told.clone()).await;
        let environment = environment(&server.url);
        let tokens = Aws::new(&environment).unwrap().tokens().unwrap();
        let error = tokens.verify(&token("chat-test"), 1_000).await.unwrap_err();
        assert!(matches!(error, TokenError::Unavailable(_)), "{error:?}");
        assert_eq!(server.seen().len(), attempts, "{answer:?}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let none = Environment::of([]);
    assert_eq!(
        Aws::new(&none).err(),
        Some(ConfigError::Missing {
            name: "AWS_ACCESS_KEY_ID"
        })
    );
    let environment = Environment::of([
        ("AWS_REGION", "r"),
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
    ]);
    let aws = Aws::new(&environment).unwrap();
    assert_eq!(
        aws.connections().err(),
        Some(ConfigError::Missing {
            name: "CONNECTIONS_TABLE"
        })
    );
    assert_eq!(
        aws.gateway().err(),
        Some(ConfigError::Missing {
            name: "MANAGEMENT_ENDPOINT"
        })
    );
    let error = aws.tokens().err().map(|error| format!("{error:?}"));
    assert_eq!(
        error.as_deref(),
        Some("environment variable TOKEN_KEY_PARAMETER is not set")
    );
}

#[test]
fn an_endpoint_that_is_none_is_named_without_its_value() {
    let environment = environment("nonsense");
    let error = Aws::new(&environment)
        .unwrap()
        .gateway()
        .err()
        .map(|error| error.to_string());
    let told = "environment variable MANAGEMENT_ENDPOINT cannot be used: not a URL";
    assert_eq!(error.as_deref(), Some(told));
}

#[test]
fn ids_are_never_the_same() {
    let at_ms = SystemClock.now_ms();
    assert!(at_ms > 1_700_000_000_000);
    assert_ne!(RandomIds.next(at_ms), RandomIds.next(at_ms));
}
