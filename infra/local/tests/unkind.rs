//! An unkind local cloud over HTTP: what is slow, throttled, in conflict, lost or failing. The clock is put forward;
//! nothing waits for it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Cursor, Write};
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use infra_local::{LocalCloud, Options, Unkindness};
use serde_json::{Value, json};

const TRUST: &str = "%7B%22Version%22:%222012-10-17%22,%22Statement%22:%5B%7B%22Effect%22:%22Allow%22,%22Principal%22:%7B%22Service%22:%22lambda.amazonaws.com%22%7D,%22Action%22:%22sts:AssumeRole%22%7D%5D%7D";

struct Caller {
    cloud: LocalCloud,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// Status, code of the error, and body; JSON where it is JSON.
#[derive(Debug)]
struct Answer {
    status: u16,
    code: String,
    body: Value,
}

impl Answer {
    fn error(&self) -> (u16, &str) {
        (self.status, self.code.as_str())
    }
}

impl Caller {
    async fn start(unkindness: &str) -> Self {
        let options = Options {
            port: 0,
            unkindness: unkindness.parse().unwrap(),
            ..Options::default()
        };
        Self {
            cloud: LocalCloud::start(options).await.unwrap(),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    fn be(&self, unkindness: &str) {
        self.cloud.set_unkindness(unkindness.parse().unwrap());
    }

    /// Returns `None` when the connection ended without an answer.
    async fn try_call(
        &self,
        service: &str,
        target: Option<&str>,
        method: &str,
        path: &str,
        body: String,
    ) -> Option<Answer> {
        let scope = format!("AKID/20260101/us-east-1/{service}/aws4_request");
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.cloud.endpoint()))
            .header(
                "authorization",
                format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
            );
        if let Some(target) = target {
            request = request.header("x-amz-target", target);
        }
        if service == "iam" {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        let answer = self.client.request(request.body(body.into()).unwrap()).await.ok()?;
        let status = answer.status().as_u16();
        let header = answer
            .headers()
            .get("x-amzn-errortype")
            .map(|code| code.to_str().unwrap().to_owned());
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
        let in_xml = || Some(body.as_str()?.split("<Code>").nth(1)?.split('<').next()?.to_owned());
        let code = body["__type"]
            .as_str()
            .map(|code| code.rsplit('#').next().unwrap().to_owned());
        Some(Answer {
            status,
            code: code.or(header).or_else(in_xml).unwrap_or_default(),
            body,
        })
    }

    async fn table(&self, action: &str, input: Value) -> Answer {
        let target = format!("DynamoDB_20120810.{action}");
        let answer = self.try_call("dynamodb", Some(&target), "POST", "/", input.to_string());
        answer.await.unwrap()
    }

    async fn logs(&self, action: &str, input: Value) -> Option<Answer> {
        let target = format!("Logs_20140328.{action}");
        self.try_call("logs", Some(&target), "POST", "/", input.to_string())
            .await
    }

    async fn rest(&self, service: &str, method: &str, path: &str, body: Value) -> Answer {
        self.try_call(service, None, method, path, body.to_string())
            .await
            .unwrap()
    }

    async fn create_role(&self, name: &str) -> Answer {
        let form = format!("Action=CreateRole&Version=2010-05-08&RoleName={name}&AssumeRolePolicyDocument={TRUST}");
        self.try_call("iam", None, "POST", "/", form).await.unwrap()
    }

    async fn create_function(&self, name: &str) -> Answer {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file(
            "bootstrap",
            zip::write::SimpleFileOptions::default().unix_permissions(0o755),
        )
        .unwrap();
        zip.write_all(b"#!/bin/sh\n").unwrap();
        let zip = base64::engine::general_purpose::STANDARD.encode(zip.finish().unwrap().into_inner());
        let input = json!({
            "FunctionName": name, "Role": "arn:aws:iam::000000000000:role/worker", "Runtime": "provided.al2023",
            "Handler": "bootstrap", "Code": { "ZipFile": zip },
        });
        self.rest("lambda", "POST", "/2015-03-31/functions", input).await
    }

    async fn create_api(&self) -> String {
        let input =
            json!({ "name": "a", "protocolType": "WEBSOCKET", "routeSelectionExpression": "$request.body.action" });
        let created = self.rest("apigateway", "POST", "/v2/apis", input).await;
        created.body["apiId"].as_str().unwrap().to_owned()
    }
}

fn table(name: &str) -> Value {
    json!({
        "TableName": name, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
    })
}

#[tokio::test]
async fn a_kind_cloud_is_the_default_and_can_change() {
    let caller = Caller::start("").await;
    assert_eq!(caller.cloud.unkindness(), Unkindness::default());
    caller.be("throttle,seed=3");
    assert_eq!(caller.cloud.unkindness().to_string(), "throttle,seed=3");
}

#[tokio::test]
async fn a_new_role_cannot_be_assumed_at_once() {
    let caller = Caller::start("role=8s").await;
    assert_eq!(caller.create_role("worker").await.status, 200);
    let early = caller.create_function("f").await;
    assert_eq!(early.error(), (400, "InvalidParameterValueException"));
    assert_eq!(
        early.body["message"],
        "The role defined for the function cannot be assumed by Lambda."
    );
    caller.cloud.advance(Duration::from_secs(8));
    assert_eq!(caller.create_function("f").await.status, 201);
}

#[tokio::test]
async fn a_function_takes_time_to_settle() {
    let caller = Caller::start("pending=500ms").await;
    caller.create_role("worker").await;
    assert_eq!(caller.create_function("f").await.body["State"], "Pending");
    let configuration = "/2015-03-31/functions/f/configuration";
    let deadline = Instant::now() + Duration::from_secs(30);
    while caller.rest("lambda", "GET", configuration, json!({})).await.body["State"] != "Active" {
        assert!(Instant::now() < deadline);
    }
    caller.be("pending=60s");
    let update = caller
        .rest("lambda", "PUT", configuration, json!({ "Timeout": 5 }))
        .await;
    assert_eq!(update.body["LastUpdateStatus"], "InProgress");
    let again = caller
        .rest("lambda", "PUT", configuration, json!({ "Timeout": 6 }))
        .await;
    assert_eq!(again.error(), (409, "ResourceConflictException"));
    let message = again.body["message"].as_str().unwrap();
    assert!(
        message.contains("An update is in progress for resource: arn:aws:lambda:"),
        "{message}"
    );
}

#[tokio::test]
async fn a_table_takes_time_to_be_created_updated_and_deleted() {
    let caller = Caller::start("creating=6s").await;
    let (name, item) = (
        json!({ "TableName": "things" }),
        json!({ "TableName": "things", "Item": { "id": { "S": "1" } } }),
    );
    let recovery =
        json!({ "TableName": "things", "PointInTimeRecoverySpecification": { "PointInTimeRecoveryEnabled": true } });
    let status = async || caller.table("DescribeTable", name.clone()).await.body["Table"]["TableStatus"].clone();

    let created = caller.table("CreateTable", table("things")).await;
    assert_eq!(created.body["TableDescription"]["TableStatus"], "CREATING");
    assert_eq!(status().await, "CREATING");
    for (action, input, code) in [
        ("PutItem", &item, "ResourceNotFoundException"),
        ("DeleteTable", &name, "ResourceInUseException"),
        ("CreateTable", &table("things"), "ResourceInUseException"),
        (
            "UpdateContinuousBackups",
            &recovery,
            "ContinuousBackupsUnavailableException",
        ),
    ] {
        assert_eq!(
            caller.table(action, input.clone()).await.error(),
            (400, code),
            "{action}"
        );
    }
    caller.cloud.advance(Duration::from_secs(6));
    assert_eq!(status().await, "ACTIVE");
    assert_eq!(caller.table("PutItem", item.clone()).await.status, 200);

    let protect = |on: bool| json!({ "TableName": "things", "DeletionProtectionEnabled": on });
    let updated = caller.table("UpdateTable", protect(false)).await;
    assert_eq!(updated.body["TableDescription"]["TableStatus"], "UPDATING");
    assert_eq!(
        caller.table("UpdateTable", protect(true)).await.error(),
        (400, "ResourceInUseException")
    );
    assert_eq!(caller.table("PutItem", item).await.status, 200);
    caller.cloud.advance(Duration::from_secs(6));

    let deleted = caller.table("DeleteTable", name.clone()).await;
    assert_eq!(deleted.body["TableDescription"]["TableStatus"], "DELETING");
    assert_eq!(status().await, "DELETING");
    for (action, input) in [("DeleteTable", name.clone()), ("CreateTable", table("things"))] {
        assert_eq!(
            caller.table(action, input).await.error(),
            (400, "ResourceInUseException"),
            "{action}"
        );
    }
    caller.cloud.advance(Duration::from_secs(6));
    assert_eq!(
        caller.table("DescribeTable", name).await.error(),
        (400, "ResourceNotFoundException")
    );
    assert_eq!(caller.table("CreateTable", table("things")).await.status, 200);
}

#[tokio::test]
async fn each_service_refuses_too_many_calls_in_its_own_words() {
    let caller = Caller::start("throttle").await;
    let mut roles = 0;
    let refused = loop {
        let answer = caller.create_role(&format!("r{roles}")).await;
        if answer.status != 200 {
            break answer;
        }
        roles += 1;
    };
    assert_eq!(refused.error(), (400, "Throttling"));
    assert!(roles >= 20, "{roles}");
    let apis = loop {
        let answer = caller.rest("apigateway", "GET", "/v2/apis", json!({})).await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(apis.error(), (429, "TooManyRequestsException"));
    let groups = loop {
        let answer = caller.logs("DescribeLogGroups", json!({})).await.unwrap();
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(groups.error(), (400, "ThrottlingException"));
    caller.cloud.advance(Duration::from_secs(10));
    assert_eq!(caller.create_role("late").await.status, 200);
}

#[tokio::test]
async fn an_api_takes_one_change_at_a_time() {
    let caller = Caller::start("conflict").await;
    let (one, other) = (caller.create_api().await, caller.create_api().await);
    let rename = async |api: &str| {
        let path = format!("/v2/apis/{api}");
        caller.rest("apigateway", "PATCH", &path, json!({ "name": "b" })).await
    };
    // One after the other is never in conflict, nor are changes of different APIs.
    for _ in 0..2 {
        assert_eq!(rename(&one).await.status, 200);
    }
    let both = join_all([rename(&one), rename(&other)]).await;
    assert!(both.iter().all(|answer| answer.status == 200), "{both:?}");
    let mut seen = None;
    while seen.is_none() {
        let answers = join_all((0..8).map(|_| rename(&one))).await;
        assert!(answers.iter().any(|answer| answer.status == 200));
        seen = answers.into_iter().find(|answer| answer.status != 200);
    }
    let refused = seen.unwrap();
    assert_eq!(refused.error(), (409, "ConflictException"));
    let message = "Unable to complete operation due to concurrent modification. Please try again later.";
    assert_eq!(refused.body["message"], message);
}

#[tokio::test]
async fn answers_are_lost_after_and_before_the_call_happened() {
    let caller = Caller::start("lost=0.5,seed=5").await;
    let mut lost = Vec::new();
    for index in 0..40 {
        let name = format!("g{index}");
        if caller
            .logs("CreateLogGroup", json!({ "logGroupName": name }))
            .await
            .is_none()
        {
            lost.push(name);
        }
    }
    caller.be("");
    let groups = caller.logs("DescribeLogGroups", json!({})).await.unwrap().body;
    let groups: Vec<&str> = groups["logGroups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| group["logGroupName"].as_str().unwrap())
        .collect();
    let happened = lost.iter().filter(|name| groups.contains(&name.as_str())).count();
    assert!(happened > 0 && happened < lost.len(), "{happened} of {}", lost.len());
}

#[tokio::test]
async fn each_service_fails_in_its_own_words() {
    let caller = Caller::start("error=0.99").await;
    let failing = async |service, target: Option<&str>, path: &str, body: &str| loop {
        let answer = caller.try_call(
            service,
            target,
            if target.is_some() || !body.is_empty() {
                "POST"
            } else {
                "GET"
            },
            path,
            body.to_owned(),
        );
        let answer = answer.await.unwrap();
        if answer.status >= 500 {
            break (answer.status, answer.code);
        }
    };
    for (service, target, path, body, status, code) in [
        ("lambda", None, "/2015-03-31/functions", "", 500, "ServiceException"),
        ("apigateway", None, "/v2/apis", "", 503, "ServiceUnavailableException"),
        (
            "iam",
            None,
            "/",
            "Action=ListRoles&Version=2010-05-08",
            500,
            "ServiceFailure",
        ),
        (
            "dynamodb",
            Some("DynamoDB_20120810.ListTables"),
            "/",
            "{}",
            500,
            "InternalServerError",
        ),
        (
            "logs",
            Some("Logs_20140328.DescribeLogGroups"),
            "/",
            "{}",
            503,
            "ServiceUnavailableException",
        ),
        (
            "ssm",
            Some("AmazonSSM.DescribeParameters"),
            "/",
            "{}",
            500,
            "InternalServerError",
        ),
    ] {
        assert_eq!(
            failing(service, target, path, body).await,
            (status, code.to_owned()),
            "{service}"
        );
    }
}

#[tokio::test]
async fn latency_is_added_to_each_call() {
    let caller = Caller::start("latency=30ms").await;
    let started = Instant::now();
    caller.rest("apigateway", "GET", "/v2/apis", json!({})).await;
    assert!(started.elapsed() >= Duration::from_millis(30));
}
