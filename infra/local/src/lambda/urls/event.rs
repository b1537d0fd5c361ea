//! What a function receives from its URL: payload format 2.0
//! (<https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads>). Pure but for the clock and fresh ids.

use std::collections::BTreeMap;

use axum::extract::ConnectInfo;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::UrlAddress;
use crate::wire::request_id;

/// Returns the event of a request. `caller` is the account of a signed one.
pub(super) fn event(
    address: &UrlAddress,
    region: &str,
    caller: Option<&str>,
    parts: &http::request::Parts,
    body: &[u8],
) -> Value {
    let source = parts.extensions.get::<ConnectInfo<std::net::SocketAddr>>();
    let source_ip = source.map_or_else(|| "127.0.0.1".to_owned(), |ConnectInfo(source)| source.ip().to_string());
    let text = |name: header::HeaderName| {
        let value = parts.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let mut headers = headers(&parts.headers);
    headers.insert("x-forwarded-for".to_owned(), source_ip.clone());
    headers.insert("x-forwarded-proto".to_owned(), "http".to_owned());
    let now = Timestamp::now();
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": address.path,
        "rawQueryString": parts.uri.query().unwrap_or_default(),
        "headers": headers,
        "requestContext": {
            "accountId": caller.unwrap_or("anonymous"),
            "apiId": address.id,
            "domainName": format!("{}.lambda-url.{region}.localhost", address.id),
            "domainPrefix": address.id,
            "http": {
                "method": parts.method.as_str(),
                "path": address.path,
                "protocol": "HTTP/1.1",
                "sourceIp": source_ip,
                "userAgent": text(header::USER_AGENT).unwrap_or_default(),
            },
            "requestId": request_id(),
            "routeKey": "$default",
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            "timeEpoch": now.as_millisecond(),
        },
        "isBase64Encoded": false,
    });
    if let Some(account) = caller {
        event["requestContext"]["authorizer"] = json!({ "iam": { "accountId": account } });
    }
    let cookies: Vec<String> = parts
        .headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            text.split(';')
                .map(|cookie| cookie.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    let query = query(&parts.uri);
    if !query.is_empty() {
        event["queryStringParameters"] = json!(query);
    }
    if !body.is_empty() {
        let is_text = text(header::CONTENT_TYPE).as_deref().is_some_and(is_text);
        match std::str::from_utf8(body).ok().filter(|_| is_text) {
            Some(body) => event["body"] = json!(body),
            None => {
                event["body"] = json!(STANDARD.encode(body));
                event["isBase64Encoded"] = json!(true);
            }
        }
    }
    event
}

/// Names in lower case, several values of one joined by commas. Cookies stand apart.
fn headers(all: &HeaderMap) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for (name, value) in all.iter().filter(|(name, _)| **name != header::COOKIE) {
        join(&mut headers, name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
    }
    headers
}

fn query(uri: &http::Uri) -> BTreeMap<String, String> {
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
    let mut query = BTreeMap::new();
    for (name, value) in pairs.map(|pairs| pairs.0).unwrap_or_default() {
        join(&mut query, &name, &value);
    }
    query
}

fn join(into: &mut BTreeMap<String, String>, name: &str, value: &str) {
    into.entry(name.to_owned())
        .and_modify(|before: &mut String| {
            before.push(',');
            before.push_str(value);
        })
        .or_insert_with(|| value.to_owned());
}

/// Returns whether bodies of this type reach the function as they are, and not in base64.
fn is_text(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.starts_with("text/")
        || matches!(
            essence,
            "application/json" | "application/javascript" | "application/xml" | "application/x-www-form-urlencoded"
        )
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn run(request: http::request::Builder, body: &[u8]) -> Value {
        let address = UrlAddress {
            id: "abc".into(),
            path: "/a%20b".into(),
        };
        let (parts, ()) = request.body(()).unwrap().into_parts();
        event(&address, "us-east-1", None, &parts, body)
    }

    #[test]
    fn a_request_becomes_an_event_of_format_2() {
        let request = http::Request::get("/_aws/lambda-url/abc/a%20b?x=1&x=2&y=%C3%BC")
            .header("Accept", "text/html")
            .header("X-Two", "1")
            .header("X-Two", "2")
            .header("Cookie", "a=1; b=2");
        let event = run(request, b"");
        assert_eq!(event["version"], "2.0");
        assert_eq!(event["rawPath"], "/a%20b");
        assert_eq!(event["rawQueryString"], "x=1&x=2&y=%C3%BC");
        assert_eq!(event["queryStringParameters"], json!({ "x": "1,2", "y": "ü" }));
        assert_eq!(event["headers"]["x-two"], "1,2");
        assert_eq!(event["headers"].get("cookie"), None);
        assert_eq!(event["cookies"], json!(["a=1", "b=2"]));
        assert_eq!(event["requestContext"]["http"]["method"], "GET");
        assert_eq!(event["requestContext"]["accountId"], "anonymous");
        assert_eq!(event.get("body"), None);
    }

    #[test]
    fn only_text_comes_as_it_is() {
        for (content_type, body, expected, is_base64) in [
            ("application/json", &b"{}"[..], "{}", false),
            ("text/plain; charset=utf-8", b"hi", "hi", false),
            ("application/octet-stream", b"hi", "aGk=", true),
            ("text/plain", b"\xff", "/w==", true),
        ] {
            let event = run(http::Request::post("/").header("content-type", content_type), body);
            assert_eq!(
                (&event["body"], &event["isBase64Encoded"]),
                (&json!(expected), &json!(is_base64))
            );
        }
    }
}
