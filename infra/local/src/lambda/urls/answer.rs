//! What a function's output becomes for the client of its URL
//! (<https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-response-payload>). Pure but for fresh ids.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use serde_json::{Map, Value};

use super::call::Refusal;
use crate::wire::{Response, request_id};

/// Headers that belong to the connection, not to the function.
const OWN: [HeaderName; 3] = [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

/// Returns the response. Output without a `statusCode` is the body itself, as JSON.
pub(super) fn response(output: &Bytes) -> Result<Response, Refusal> {
    let malformed = |why: &str| Refusal::bad_gateway(format!("the function's answer is malformed: {why}"));
    let Ok(Value::Object(answer)) = serde_json::from_slice::<Value>(output) else {
        return build(200, Vec::new(), output.clone());
    };
    let status = match answer.get("statusCode") {
        None => return build(200, Vec::new(), output.clone()),
        Some(Value::String(text)) => text.parse().ok(),
        Some(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
    };
    let status = status
        .filter(|status| (200..600).contains(status))
        .ok_or_else(|| malformed("statusCode is no number from 200 to 599"))?;
    let mut headers = Vec::new();
    if let Some(Value::Object(given)) = answer.get("headers") {
        for (name, value) in given {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => return Err(malformed("a header is no text")),
            };
            headers.push((name.clone(), value));
        }
    }
    for cookie in answer.get("cookies").and_then(Value::as_array).into_iter().flatten() {
        let cookie = cookie.as_str().ok_or_else(|| malformed("a cookie is no text"))?;
        headers.push((header::SET_COOKIE.as_str().to_owned(), cookie.to_owned()));
    }
    build(status, headers, body(&answer).map_err(malformed)?)
}

fn body(answer: &Map<String, Value>) -> Result<Bytes, &'static str> {
    let text = match answer.get("body") {
        None | Some(Value::Null) => return Ok(Bytes::new()),
        Some(Value::String(text)) => text,
        Some(_) => return Err("body is no text"),
    };
    match answer.get("isBase64Encoded") {
        Some(Value::Bool(true)) => STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|_| "body is no base64, though isBase64Encoded says so"),
        _ => Ok(Bytes::from(text.clone())),
    }
}

fn build(status: u16, headers: Vec<(String, String)>, body: Bytes) -> Result<Response, Refusal> {
    let mut response = http::Response::new(Body::from(body));
    *response.status_mut() =
        http::StatusCode::from_u16(status).map_err(|_| Refusal::bad_gateway("the status is no HTTP status"))?;
    let all = response.headers_mut();
    for (name, value) in headers {
        let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) else {
            return Err(Refusal::bad_gateway(format!(
                "the function's answer has a header that is none: {name}"
            )));
        };
        if !OWN.contains(&name) {
            all.append(name, value);
        }
    }
    all.entry(header::CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/json"));
    if let Ok(id) = HeaderValue::try_from(request_id()) {
        all.insert("x-amzn-requestid", id);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    async fn run(output: Value) -> (u16, http::HeaderMap, Bytes) {
        let (parts, body) = response(&output.to_string().into()).unwrap().into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (parts.status.as_u16(), parts.headers, body)
    }

    #[tokio::test]
    async fn a_whole_answer_is_taken_apart() {
        let (status, headers, body) = run(json!({
            "statusCode": 404, "headers": {"Content-Type": "image/png", "X-Number": 5, "Content-Length": "9"},
            "cookies": ["a=1; Secure", "b=2"], "body": "aGk=", "isBase64Encoded": true,
        }))
        .await;
        assert_eq!((status, &body[..]), (404, &b"hi"[..]));
        assert_eq!(headers["content-type"], "image/png");
        assert_eq!(headers["x-number"], "5");
        assert_eq!(headers.get("content-length"), None);
        let cookies: Vec<_> = headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1; Secure", "b=2"]);
    }

    #[tokio::test]
    async fn without_a_status_the_output_is_the_body() {
        for output in [json!({"message": "hi"}), json!("hi"), json!([1]), json!(null)] {
            let (status, headers, body) = run(output.clone()).await;
            assert_eq!(
                (status, &headers["content-type"]),
                (200, &HeaderValue::from_static("application/json"))
            );
            assert_eq!(body, output.to_string());
        }
    }

    #[test]
    fn what_cannot_be_understood_is_a_bad_gateway() {
        for output in [
            json!({"statusCode": "soon"}),
            json!({"statusCode": 99}),
            json!({"statusCode": 200, "body": {}}),
            json!({"statusCode": 200, "headers": {"X": []}}),
            json!({"statusCode": 200, "headers": {"no name": "x"}}),
            json!({"statusCode": 200, "headers": {"x": "two\nlines"}}),
            json!({"statusCode": 200, "body": "%", "isBase64Encoded": true}),
            json!({"statusCode": 200, "cookies": [1]}),
        ] {
            assert!(response(&output.to_string().into()).is_err(), "{output}");
        }
    }
}
