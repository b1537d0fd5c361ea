//! The local Lambda through its wire protocol, with processes that run the real `lambda_runtime`.

#![allow(clippy::unwrap_used, reason = "tests")]

mod control;
mod function;
mod processes;
mod urls;

use std::io::{Cursor, Write};
use std::sync::Arc;

use axum::body::to_bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};
use zip::write::{SimpleFileOptions, ZipWriter};

use super::{Invoker, Outcome, handle, invoke};
use crate::cloud::{Account, Cloud, SharedCloud};
use crate::dynamodb::DynamoDb;
use crate::wire::Request;
use crate::{iam, logs};

const ROLE: &str = "arn:aws:iam::000000000000:role/functions";

/// A cloud with the role [`ROLE`] and the log group of the function `f`.
pub(super) async fn cloud() -> SharedCloud {
    let cloud = Arc::new(Cloud {
        account: Account {
            id: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
        },
        endpoint: "http://127.0.0.1:4566".to_owned(),
        apigatewayv2: Default::default(),
        cloudwatch: Default::default(),
        dynamodb: DynamoDb::start(None).await.unwrap(),
        gateway: Default::default(),
        iam: Default::default(),
        lambda: Default::default(),
        logs: Default::default(),
        ssm: Default::default(),
        unkind: Default::default(),
    });
    let trust =
        r#"{"Statement":{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}}"#;
    let trust = trust.replace(':', "%3A").replace('"', "%22");
    let role = format!("Action=CreateRole&Version=2010-05-08&RoleName=functions&AssumeRolePolicyDocument={trust}");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(
        iam::handle(&cloud, request("POST", "/", &form, role.into()))
            .await
            .status(),
        200
    );
    logs(&cloud, "CreateLogGroup", json!({ "logGroupName": "/aws/lambda/f" })).await;
    cloud
}

/// One call to CloudWatch Logs.
async fn logs(cloud: &SharedCloud, action: &str, input: Value) -> Value {
    let target = format!("Logs_20140328.{action}");
    let request = request("POST", "/", &[("x-amz-target", &target)], input.to_string().into());
    let answer = logs::handle(cloud, request).await;
    assert_eq!(answer.status(), 200, "{action}");
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    serde_json::from_slice(&body).unwrap_or(Value::Null)
}

/// One answer of the wire protocol.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and error code.
    fn error(&self) -> (u16, &str) {
        (self.status, self.header("x-amzn-errortype"))
    }
}

async fn call(cloud: &SharedCloud, method: &str, uri: &str, body: Value) -> Answer {
    call_with(cloud, method, uri, &[], body.to_string().into()).await
}

pub(super) async fn call_with(
    cloud: &SharedCloud,
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Answer {
    let request = request(method, uri, headers, body);
    let (parts, body) = handle(cloud, request).await.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).unwrap()
        },
    }
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)], body: Bytes) -> Request {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()))
        .collect();
    Request {
        method: method.parse().unwrap(),
        uri: uri.parse().unwrap(),
        headers,
        body,
        access_key: None,
    }
}

/// `CreateFunction` with the echo function, and with the members of `more`.
pub(super) async fn create(cloud: &SharedCloud, name: &str, more: Value) -> Answer {
    call(
        cloud,
        "POST",
        "/2015-03-31/functions",
        settings(name, &function::archive(), more),
    )
    .await
}

fn settings(name: &str, zip: &[u8], more: Value) -> Value {
    let mut settings = json!({
        "FunctionName": name,
        "Role": ROLE,
        "Runtime": "provided.al2023",
        "Handler": "bootstrap",
        "Code": { "ZipFile": STANDARD.encode(zip) },
    });
    super::model::merge(&mut settings, more);
    settings
}

pub(super) async fn run(cloud: &SharedCloud, function: &str, payload: Value) -> Outcome {
    invoke(cloud, function, payload.to_string().into(), Invoker::Account)
        .await
        .unwrap()
}

pub(super) fn success(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Success(payload) => serde_json::from_slice(&payload).unwrap(),
        Outcome::FunctionError(payload) => panic!("the function failed: {}", String::from_utf8_lossy(&payload)),
    }
}

fn failure(outcome: Outcome) -> Value {
    match outcome {
        Outcome::FunctionError(payload) => serde_json::from_slice(&payload).unwrap(),
        Outcome::Success(payload) => panic!("the function returned {}", String::from_utf8_lossy(&payload)),
    }
}

fn zip(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, mode, content) in entries {
        let options = SimpleFileOptions::default()
            .compression_level(Some(1))
            .unix_permissions(*mode);
        zip.start_file(*name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}
