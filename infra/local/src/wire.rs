//! Requests, answers and errors in the wire protocols of AWS.
//!
//! - AWS JSON 1.0/1.1: `POST /` with `X-Amz-Target`; errors carry `__type`.
//! - REST JSON (Lambda, API Gateway): errors carry the header `x-amzn-ErrorType`.
//! - Query (IAM, STS): form in, XML out.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Uri};

/// One request after its body has been read.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path and query exactly as sent, still percent-encoded.
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Access key of the signature, where the request was signed.
    pub(crate) access_key: Option<String>,
}

/// What every handler answers.
pub(crate) type Response = http::Response<Body>;

/// An error as AWS answers it; each protocol renders it in its own way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    /// For example `ResourceNotFoundException`.
    pub(crate) code: String,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// Renders as AWS JSON 1.0/1.1: body `{"__type": code, "message": …}`.
    pub(crate) fn aws_json(&self) -> Response {
        let body = serde_json::json!({ "__type": self.code, "message": self.message });
        json_body(self.status, "application/x-amz-json-1.1", &body, Some(&self.code))
    }

    /// Renders as REST JSON: header `x-amzn-ErrorType`, body `{"message": …}`.
    pub(crate) fn rest_json(&self) -> Response {
        let body = serde_json::json!({ "message": self.message });
        json_body(self.status, "application/json", &body, Some(&self.code))
    }

    /// Renders as an awsQuery `ErrorResponse` document.
    pub(crate) fn query_xml(&self, namespace: &str) -> Response {
        let kind = if self.status < 500 { "Sender" } else { "Receiver" };
        let document = format!(
            "<ErrorResponse xmlns=\"{namespace}\"><Error><Type>{kind}</Type><Code>{}</Code><Message>{}</Message></Error><RequestId>{}</RequestId></ErrorResponse>",
            escape_xml(&self.code),
            escape_xml(&self.message),
            request_id(),
        );
        respond(self.status, "text/xml", Bytes::from(document), &[])
    }
}

/// Returns a JSON answer of the REST protocols.
pub(crate) fn rest_json(status: u16, body: &serde_json::Value) -> Response {
    json_body(status, "application/json", body, None)
}

/// Returns a JSON answer of the AWS JSON 1.1 protocol.
pub(crate) fn aws_json(body: &serde_json::Value) -> Response {
    json_body(200, "application/x-amz-json-1.1", body, None)
}

/// Returns an answer with `x-amzn-RequestId` and the given headers.
pub(crate) fn respond(status: u16, content_type: &str, body: Bytes, headers: &[(&str, &str)]) -> Response {
    let mut builder = http::Response::builder()
        .status(status)
        .header("content-type", content_type)
        .header("x-amzn-RequestId", request_id());
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder
        .body(Body::from(body))
        .expect("status and headers above are valid")
}

/// Returns a fresh request id.
pub(crate) fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Escapes text for XML element content and attributes.
pub(crate) fn escape_xml(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn json_body(status: u16, content_type: &str, body: &serde_json::Value, error: Option<&str>) -> Response {
    let headers: Vec<(&str, &str)> = error.map(|code| ("x-amzn-ErrorType", code)).into_iter().collect();
    respond(status, content_type, Bytes::from(body.to_string()), &headers)
}
