//! What can go wrong with a call, and how services say so.

use std::io;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// Any underlying error. None of them carries credentials or a request body.
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why no [`crate::Client`] could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address is not absolute, or of another scheme.
    #[error("endpoint `{endpoint_url}` is no http or https URL")]
    EndpointUrl {
        /// The address as given.
        endpoint_url: String,
    },
    /// The machine has no usable root certificates.
    #[error("failed to load the system's root certificates")]
    RootCertificates {
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Why a call gave no result. `call` is the service and the operation, e.g. `ssm GetParameter`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There are no credentials, or they could not be renewed. Nothing was sent.
    #[error("{call}: no AWS credentials")]
    Credentials {
        /// Service and operation.
        call: String,
        /// The cause.
        #[source]
        source: Source,
    },
    /// The request is no valid HTTP request; a mistake of the caller. Nothing was sent.
    #[error("{call}: invalid request")]
    Request {
        /// Service and operation.
        call: String,
        /// The cause.
        #[source]
        source: Source,
    },
    /// No complete answer came: connection refused, lost, or too slow.
    #[error("{call}: no answer")]
    Transport {
        /// Service and operation.
        call: String,
        /// Whether the service may have received and executed the request. `false` only when that is certain.
        maybe_sent: bool,
        /// The cause.
        #[source]
        source: Source,
    },
    /// The service answered with an error.
    #[error("{call}: {code} (HTTP {status}): {message}{}", suffix(.request_id.as_deref()))]
    Service {
        /// Service and operation.
        call: String,
        /// HTTP status.
        status: u16,
        /// The error's name, e.g. `ParameterNotFound`; `Unknown` when the answer names none (a proxy's, for example).
        code: String,
        /// The service's explanation; may be empty.
        message: String,
        /// What AWS support asks for.
        request_id: Option<String>,
        /// How long the service wishes not to be called again.
        retry_after: Option<Duration>,
    },
    /// The answer says success, but its body is not what the protocol prescribes.
    #[error("{call}: unreadable answer")]
    Answer {
        /// Service and operation.
        call: String,
        /// The cause.
        #[source]
        source: Source,
    },
}

impl CallError {
    /// Returns the service's error code, if it was the service that refused.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Service { code, .. } => Some(code),
            Self::Credentials { .. } | Self::Request { .. } | Self::Transport { .. } | Self::Answer { .. } => None,
        }
    }
}

/// Returns how errors name a call.
pub(crate) fn name(service: &str, operation: &str) -> String {
    format!("{service} {operation}")
}

fn suffix(request_id: Option<&str>) -> String {
    request_id.map(|id| format!(", request {id}")).unwrap_or_default()
}

/// Reads an error answer of any protocol. Where the code stands:
/// AWS JSON `__type` (`namespace#Code`), REST-JSON the header `x-amzn-errortype` (`Code:url`), Query `<Code>`.
/// <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html#operation-error-serialization>
pub(crate) fn service(call: String, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> CallError {
    let text = String::from_utf8_lossy(body);
    let told = from_json(&text).or_else(|| from_xml(&text)).unwrap_or_default();
    let code = header(headers, "x-amzn-errortype").or(told.code);
    let code = code
        .as_deref()
        .map(bare)
        .filter(|code| !code.is_empty())
        .unwrap_or("Unknown")
        .to_owned();
    CallError::Service {
        call,
        status: status.as_u16(),
        code,
        message: told.message.unwrap_or_default(),
        request_id: ["x-amzn-requestid", "x-amz-request-id"]
            .iter()
            .find_map(|name| header(headers, name))
            .or(told.request_id),
        retry_after: retry_after(headers),
    }
}

#[derive(Default)]
struct Told {
    code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
}

fn from_json(text: &str) -> Option<Told> {
    let body: Value = serde_json::from_str(text).ok()?;
    let first = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| body.get(name)?.as_str().map(str::to_owned))
    };
    Some(Told {
        code: first(&["__type", "code", "Code"]),
        message: first(&["message", "Message"]),
        request_id: None,
    })
}

fn from_xml(text: &str) -> Option<Told> {
    let document = roxmltree::Document::parse(text).ok()?;
    let first = |name: &str| {
        let node = document.descendants().find(|node| node.tag_name().name() == name)?;
        node.text().map(|text| text.trim().to_owned())
    };
    Some(Told {
        code: first("Code"),
        message: first("Message"),
        request_id: first("RequestId"),
    })
}

/// Strips the namespace before `#` and the URL after `:`.
fn bare(code: &str) -> &str {
    let code = code.rsplit_once('#').map_or(code, |(_, name)| name);
    code.split_once(':').map_or(code, |(name, _)| name).trim()
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// `retry-after` counts seconds, `x-amz-retry-after` milliseconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name| header(headers, name)?.trim().parse::<u64>().ok();
    number("x-amz-retry-after")
        .map(Duration::from_millis)
        .or_else(|| number("retry-after").map(Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(headers: &[(&'static str, &'static str)], body: &str) -> (String, String, Option<String>) {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    http::HeaderValue::from_static(value),
                )
            })
            .collect();
        match service("x Y".to_owned(), StatusCode::BAD_REQUEST, &headers, body.as_bytes()) {
            CallError::Service {
                code,
                message,
                request_id,
                ..
            } => (code, message, request_id),
            other => unreachable!("{other}"),
        }
    }

    #[test]
    fn the_three_protocols_name_their_errors_differently() {
        let xml = r#"<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type>
            <Code>EntityAlreadyExists</Code><Message>Role &quot;a&quot; exists.</Message></Error>
            <RequestId>r-1</RequestId></ErrorResponse>"#;
        let json_1_1 = r#"{"__type":"com.amazonaws.ssm#ParameterNotFound","message":"m"}"#;
        let rest_json = ("x-amzn-errortype", "NotFoundException:http://internal.amazon.com/");
        for (header, body, code, message, request_id) in [
            (
                ("x-amzn-requestid", "r-2"),
                json_1_1,
                "ParameterNotFound",
                "m",
                Some("r-2"),
            ),
            (rest_json, r#"{"Message":"gone"}"#, "NotFoundException", "gone", None),
            (
                ("server", "s"),
                xml,
                "EntityAlreadyExists",
                "Role \"a\" exists.",
                Some("r-1"),
            ),
            (
                ("server", "s"),
                "<html><body>Bad gateway</body></html>",
                "Unknown",
                "",
                None,
            ),
            (("server", "s"), "", "Unknown", "", None),
        ] {
            let expected = (code.to_owned(), message.to_owned(), request_id.map(str::to_owned));
            assert_eq!(parsed(&[header], body), expected, "{body}");
        }
    }

    #[test]
    fn waiting_times_have_two_spellings() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", http::HeaderValue::from_static("2"));
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(2)));
        headers.insert("x-amz-retry-after", http::HeaderValue::from_static("1500"));
        assert_eq!(retry_after(&headers), Some(Duration::from_millis(1500)));
    }
}
