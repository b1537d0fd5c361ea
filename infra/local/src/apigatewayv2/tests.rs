//! The control plane, called as an SDK calls it. `BadRequestException` and friends are asserted with their messages where
//! a deploy tool reads them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod apis;
mod routes;
mod stages;

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

/// Returns `base` with members replaced; `null` removes one.
fn changed(base: &Value, change: &Value) -> Value {
    let mut object = base.as_object().unwrap().clone();
    object.extend(change.as_object().unwrap().clone());
    object.retain(|_, value| !value.is_null());
    Value::Object(object)
}
