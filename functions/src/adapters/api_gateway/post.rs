//! `PostToConnection` without the SDK's operation layer, on the connections that the SDK uses, too.
//!
//! A broadcast consists of these posts and little else, and of what the SDK spends on one of them three quarters are not
//! signing and HTTP. What is sent is what the SDK would send, apart from headers about the SDK itself; a test holds the
//! two side by side.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use bytes::Bytes;
use functions_domain::ConnectionId;
use http::uri::{Authority, InvalidUri, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::super::http::Http;
use super::signature::{Signer, digest};

/// More than any error of API Gateway has.
const ERROR_BYTES_MAX: usize = 4096;

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("stackwright/", env!("CARGO_PKG_VERSION")));
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Posts to the connections of one stage.
#[derive(Debug)]
pub(super) struct Poster {
    http: Http,
    scheme: Scheme,
    authority: Authority,
    /// The path before the connection's id: as it is sent, and as it is signed.
    prefix: String,
    canonical_prefix: String,
    session_token: Option<HeaderValue>,
    signer: Signer,
    /// Of one post.
    timeout: Duration,
    /// The last frame: a broadcast sends the same one to everybody.
    payload: Mutex<Payload>,
}

/// A body and its digest.
#[derive(Clone, Debug)]
struct Payload {
    body: Bytes,
    sha256: Arc<str>,
}

/// Why there was no 2xx answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    /// The gateway answered with an error.
    #[error("status {status} {code}: {message}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// `x-amzn-errortype`, e.g. `ForbiddenException`.
        code: String,
        /// The body: AWS's words.
        message: String,
    },
    /// There was no answer in time.
    #[error("no answer within {} s", within.as_secs_f32())]
    Timeout {
        /// The time that it had.
        within: Duration,
    },
    /// There was no answer.
    #[error("no answer")]
    Connection(#[source] hyper_util::client::legacy::Error),
    /// No request can be made of this connection id.
    #[error("not a connection id")]
    Id(#[source] http::Error),
}

/// Why an endpoint is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndpointError {
    /// No URL.
    #[error("not a URL")]
    Url(#[from] InvalidUri),
    /// Something is missing or too much.
    #[error("not of the form https://host/stage")]
    Form,
    /// Credentials that no header can hold.
    #[error("the session token has characters that no header takes")]
    Token,
}

impl Poster {
    /// Returns a poster to `endpoint`, e.g. `https://abc.execute-api.eu-west-1.amazonaws.com/prod`.
    ///
    /// # Errors
    ///
    /// When that is no such URL, or when no header can hold the session token.
    pub(super) fn new(
        http: Http,
        credentials: Credentials,
        region: String,
        endpoint: &str,
        timeout: Duration,
    ) -> Result<Self, EndpointError> {
        let uri: Uri = endpoint.parse()?;
        let (Some(scheme), Some(authority), None) = (uri.scheme(), uri.authority(), uri.query()) else {
            return Err(EndpointError::Form);
        };
        if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS {
            return Err(EndpointError::Form);
        }
        let prefix = format!("{}/@connections/", uri.path().trim_end_matches('/'));
        let mut canonical_prefix = String::new();
        for (number, segment) in prefix.split('/').enumerate() {
            if number > 0 {
                canonical_prefix.push('/');
            }
            infra_sigv4::percent_encode(segment, &mut canonical_prefix);
        }
        let session_token = credentials.session_token().map(HeaderValue::from_str).transpose();
        Ok(Self {
            // Not marked as sensitive, on purpose: HTTP/2 would send its kilobyte with every request then, instead of a
            // reference to the first. Nobody else puts headers on this connection who could guess it that way (RFC 7541,
            // 7.1).
            session_token: session_token.map_err(|_| EndpointError::Token)?,
            signer: Signer::new(credentials, region, authority.as_str()),
            scheme: scheme.clone(),
            authority: authority.clone(),
            http,
            prefix,
            canonical_prefix,
            timeout,
            payload: Mutex::new(Payload::of("")),
        })
    }

    /// Sends `frame` once.
    ///
    /// # Errors
    ///
    /// Whenever the answer is not 2xx, 410 and 429 included.
    pub(super) async fn post(&self, to: &ConnectionId, frame: &str) -> Result<(), PostError> {
        // Nothing large is kept while this waits: a broadcast has 128 of these futures on their way.
        let deadline = Instant::now() + self.timeout;
        let late = |_| PostError::Timeout { within: self.timeout };
        let sent = self.http.send(self.request(to, frame)?);
        let response = timeout_at(deadline, sent).await.map_err(late)?;
        let response = response.map_err(PostError::Connection)?;
        if response.status().is_success() {
            return Ok(());
        }
        let refusal = Box::pin(refusal(response));
        Err(timeout_at(deadline, refusal).await.unwrap_or_else(late))
    }

    fn request(&self, to: &ConnectionId, frame: &str) -> Result<Request<Full<Bytes>>, PostError> {
        let payload = self.payload(frame);
        let mut id = String::with_capacity(32);
        infra_sigv4::percent_encode(to.as_str(), &mut id);
        let path = [self.prefix.as_str(), &id].concat();
        let mut canonical = String::with_capacity(self.canonical_prefix.len() + id.len() + 8);
        canonical.push_str(&self.canonical_prefix);
        infra_sigv4::percent_encode(&id, &mut canonical);
        let signed = self.signer.sign(&canonical, &payload.sha256, SystemTime::now());

        let invalid = |error: http::uri::InvalidUri| PostError::Id(error.into());
        let path = PathAndQuery::from_maybe_shared(Bytes::from(path)).map_err(invalid)?;
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri.build().map_err(PostError::Id)?)
            .header(header::CONTENT_TYPE, OCTET_STREAM)
            .header(header::CONTENT_LENGTH, payload.body.len())
            .header(header::USER_AGENT, USER_AGENT)
            .header(DATE, signed.date)
            .header(header::AUTHORIZATION, signed.authorization);
        if let Some(token) = &self.session_token {
            request = request.header(SECURITY_TOKEN, token);
        }
        request.body(Full::new(payload.body)).map_err(PostError::Id)
    }

    /// Returns the frame as a body: that of the last call, if it is the same.
    fn payload(&self, frame: &str) -> Payload {
        let mut last = self.payload.lock().unwrap_or_else(PoisonError::into_inner);
        if last.body != frame {
            *last = Payload::of(frame);
        }
        last.clone()
    }
}

impl Payload {
    fn of(frame: &str) -> Self {
        Self {
            body: Bytes::copy_from_slice(frame.as_bytes()),
            sha256: digest(frame.as_bytes()).into(),
        }
    }
}

/// Reads an error of API Gateway. What cannot be read is left out: the status alone decides what happens.
async fn refusal(response: Response<Incoming>) -> PostError {
    let status = response.status().as_u16();
    let header = response.headers().get("x-amzn-errortype");
    let header = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Some services append the address of a schema.
    let code = header.split(':').next().unwrap_or_default().to_owned();
    let body = Limited::new(response.into_body(), ERROR_BYTES_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    PostError::Status {
        status,
        code,
        message: String::from_utf8_lossy(&body).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::net::TcpListener;

    use super::*;

    fn poster(endpoint: &str, token: Option<&str>) -> Result<Poster, EndpointError> {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", token.map(str::to_owned), None, "test");
        let timeout = Duration::from_millis(50);
        Poster::new(
            Http::new().unwrap(),
            credentials,
            "eu-west-1".to_owned(),
            endpoint,
            timeout,
        )
    }

    #[tokio::test]
    async fn a_gateway_that_never_answers_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let poster = poster(&format!("http://{}/prod", listener.local_addr().unwrap()), None).unwrap();
        let error = poster.post(&ConnectionId::new("c="), "frame").await.unwrap_err();
        assert_eq!(error.to_string(), "no answer within 0.05 s");
    }

    #[tokio::test]
    async fn a_gateway_that_is_not_there_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let poster = poster(&format!("http://{}/prod", listener.local_addr().unwrap()), None).unwrap();
        drop(listener);
        let error = poster.post(&ConnectionId::new("c="), "frame").await.unwrap_err();
        assert!(matches!(error, PostError::Connection(_)), "{error:?}");
    }

    #[test]
    fn a_post_on_its_way_is_small() {
        // glibc has a quick way for up to 1,032 bytes, and a broadcast adds some 300 to each.
        let poster = poster("https://host/prod", Some("token")).unwrap();
        let size = size_of_val(&poster.post(&ConnectionId::new("c="), "frame"));
        assert!(size <= 700, "{size} bytes");
    }

    #[test]
    fn the_last_frame_is_digested_once() {
        let poster = poster("https://host/prod", None).unwrap();
        let first = poster.payload("frame");
        assert!(Arc::ptr_eq(&first.sha256, &poster.payload("frame").sha256));
        let other = poster.payload("other");
        assert_eq!(
            (&*other.sha256, &other.body[..]),
            (digest(b"other").as_str(), &b"other"[..])
        );
    }

    #[test]
    fn what_is_no_endpoint_is_said_at_the_start() {
        for wrong in [
            "",
            "host/prod",
            "/prod",
            "ftp://host/prod",
            "https://host/prod?x",
            "https://ho st/",
        ] {
            assert!(poster(wrong, None).is_err(), "{wrong}");
        }
        assert!(matches!(
            poster("https://host/prod", Some("a\nb")),
            Err(EndpointError::Token)
        ));
        for good in ["https://host/prod/", "http://127.0.0.1:4566/_aws/execute-api/abc/local"] {
            assert!(poster(good, Some("token")).is_ok(), "{good}");
        }
    }
}
