//! The browser client, served through the function's URL.
//!
//! Files keep their names when they change, so a browser keeps them and asks each time whether they are still the same
//! (RFC 9111, `no-cache`); mostly the answer is 304 without a body.

use std::borrow::Cow;

use serde::Serialize;

use crate::events::UrlEvent;
use crate::pages::Pages;

/// How long a browser remembers to use HTTPS only: a year.
const HSTS: &str = "max-age=31536000";

/// What the function answers: payload format 2.0 of function URLs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UrlResponse<'a> {
    /// The HTTP status.
    pub status_code: u16,
    /// Its headers.
    pub headers: UrlResponseHeaders<'a>,
    /// The content; empty for HEAD.
    pub body: Cow<'a, str>,
}

/// The headers that we answer with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct UrlResponseHeaders<'a> {
    content_type: &'a str,
    cache_control: &'static str,
    content_security_policy: &'a str,
    x_content_type_options: &'static str,
    referrer_policy: &'static str,
    #[serde(rename = "etag", skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict_transport_security: Option<&'static str>,
}

/// Answers a request for a file of the client, or for its configuration.
#[must_use]
pub fn web<'a>(pages: &'a Pages, event: &UrlEvent) -> UrlResponse<'a> {
    let method = event.request_context.http.method.as_str();
    let headers = UrlResponseHeaders {
        content_type: "text/plain; charset=utf-8",
        cache_control: "no-cache",
        content_security_policy: &pages.policy,
        x_content_type_options: "nosniff",
        referrer_policy: "no-referrer",
        strict_transport_security: (event.header("x-forwarded-proto") == Some("https")).then_some(HSTS),
        ..UrlResponseHeaders::default()
    };
    let plain = |status_code, headers, body: &'static str| UrlResponse {
        status_code,
        headers,
        body: Cow::Borrowed(body),
    };
    let response = if !matches!(method, "GET" | "HEAD") {
        let allow = Some("GET, HEAD");
        plain(405, UrlResponseHeaders { allow, ..headers }, "method not allowed\n")
    } else if let Some(page) = pages.get(&event.raw_path) {
        let headers = UrlResponseHeaders {
            content_type: page.content_type,
            tag: Some(&page.tag),
            ..headers
        };
        let is_known = event
            .header("if-none-match")
            .is_some_and(|tags| matches_tag(tags, &page.tag));
        let body = Cow::Borrowed(page.body.as_ref());
        match (is_known, method) {
            (true, _) => plain(304, headers, ""),
            (false, "HEAD") => plain(200, headers, ""),
            (false, _) => UrlResponse {
                status_code: 200,
                headers,
                body,
            },
        }
    } else {
        plain(404, headers, "not found\n")
    };
    tracing::info!(status = response.status_code, "served");
    response
}

/// Returns whether a tag is among those of `If-None-Match`; weakness does not matter there (RFC 9110, 13.1.2).
fn matches_tag(tags: &str, tag: &str) -> bool {
    tags.split(',')
        .map(str::trim)
        .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;
    use crate::config::Environment;
    use crate::handlers::testing::event;

    fn run(change: impl FnOnce(&mut Value)) -> Value {
        let pages = Pages::new(&Environment::of([
            ("WEB_SOCKET_URL", "wss://a.example/dev"),
            ("APP_NAME", "chat"),
            ("STAGE_NAME", "dev"),
        ]))
        .unwrap();
        serde_json::to_value(web(&pages, &event("url", change))).unwrap()
    }

    #[test]
    fn the_page_comes_with_all_that_a_browser_must_know() {
        let answer = run(|_| {});
        assert_eq!(answer["statusCode"], 200);
        assert!(answer["body"].as_str().unwrap().starts_with("<!doctype html>"));
        let headers = &answer["headers"];
        assert_eq!(headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert_eq!(headers["cache-control"], "no-cache");
        assert_eq!(headers["strict-transport-security"], HSTS);
        let policy = headers["content-security-policy"].as_str().unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
    }

    #[test]
    fn what_the_browser_has_is_not_sent_again() {
        let tag = run(|_| {})["headers"]["etag"].as_str().unwrap().to_owned();
        for (sent, status) in [
            (tag.clone(), 304),
            (format!("\"x\", W/{tag}"), 304),
            ("*".to_owned(), 304),
            ("\"x\"".to_owned(), 200),
        ] {
            let answer = run(|event| event["headers"]["If-None-Match"] = json!(sent));
            assert_eq!(answer["statusCode"], status, "{sent}");
            assert_eq!(answer["body"] == "", status == 304);
            assert_eq!(answer["headers"]["etag"], json!(tag));
        }
    }

    #[test]
    fn only_files_are_there_and_only_to_be_read() {
        for path in ["/nothing", "/tests/x.js", "/../Cargo.toml", "/index.html/", "//", ""] {
            let answer = run(|event| event["rawPath"] = json!(path));
            assert_eq!(answer["statusCode"], 404, "{path}");
            assert_eq!(answer["headers"]["x-content-type-options"], "nosniff");
        }
        let head = run(|event| event["requestContext"]["http"]["method"] = json!("HEAD"));
        assert_eq!((&head["statusCode"], &head["body"]), (&json!(200), &json!("")));
        let post = run(|event| event["requestContext"]["http"]["method"] = json!("POST"));
        assert_eq!(
            (&post["statusCode"], &post["headers"]["allow"]),
            (&json!(405), &json!("GET, HEAD"))
        );
    }

    #[test]
    fn without_tls_nothing_is_said_about_it() {
        let answer = run(|event| event["headers"]["x-forwarded-proto"] = json!("http"));
        assert_eq!(answer["headers"].get("strict-transport-security"), None);
    }
}
