//! Signed AWS calls for services whose generated SDK is not worth its compile time.
//!
//! A generated client costs every build up to a minute of processor time, whether one of its operations is used or a
//! hundred. [`Client`] speaks the two protocols that the small control-plane services use (AWS JSON 1.1 and AWS Query),
//! sends plain requests such as those of S3, and signs with Signature Version 4; what the bodies mean is the caller's business.
//!
//! It never repeats a call: only the caller knows whether a repetition is harmless, and [`CallError`] says all that is
//! needed to decide. It never writes credentials or request bodies into an error, nor prints them with `Debug`.
//!
//! Protocols: <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>,
//! <https://smithy.io/2.0/aws/protocols/aws-query-protocol.html>.

mod credentials;
mod endpoint;
mod error;
mod roots;
mod transport;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::Full;

use crate::credentials::CachedCredentials;
pub use crate::endpoint::percent_encode;
pub use crate::error::{CallError, ClientError};
pub use crate::roots::Roots;
pub use crate::transport::Streamed;
use crate::transport::Transport;
pub use http::Method;

/// A whole call, from the first byte sent to the last byte read, ends within this time; see [`UPLOAD_BYTES_PER_SECOND`].
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A call may take a second longer for so many bytes that it sends: slower connections are taken to be broken.
pub const UPLOAD_BYTES_PER_SECOND: usize = 100_000;

/// A connection stands within this time, or the address is taken to be unreachable.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Sends signed calls. Clones share one connection pool and one cache of credentials.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    credentials: CachedCredentials,
    region: String,
    endpoint_url: Option<String>,
    transport: Transport,
}

/// One request, before it is signed. Without `Debug`: bodies may hold secrets.
#[derive(Clone)]
pub struct Call<'a> {
    /// Prefix of the host name and name in the signature, e.g. `ssm`, `iam`, `logs`.
    pub service: &'a str,
    /// What stands before it in AWS's own host names for some operations, e.g. `stream-`; mostly empty.
    pub host_prefix: &'a str,
    /// What error messages call this request, e.g. `GetParameter`. Not sent.
    pub operation: &'a str,
    /// The HTTP method.
    pub method: Method,
    /// Absolute path, already percent-encoded, e.g. `/`.
    pub path: &'a str,
    /// Query parameters, not encoded.
    pub query: &'a [(&'a str, &'a str)],
    /// Headers besides those of the signature. All of them are signed.
    pub headers: &'a [(&'a str, &'a str)],
    /// The request body.
    pub body: Bytes,
}

/// An answer with a 2xx status. Without `Debug`: bodies may hold secrets.
#[derive(Clone)]
pub struct Answer {
    /// Headers as received.
    pub headers: HeaderMap,
    /// The complete body.
    pub body: Bytes,
}

impl Client {
    /// Returns a client for `region`; with `endpoint_url` every service is called at that address. With TLS, `roots` are
    /// trusted.
    ///
    /// # Errors
    ///
    /// When the address is no `http` or `https` URL, or when TLS is needed and the machine has no root certificates.
    pub fn new(
        credentials: SharedCredentialsProvider,
        region: impl Into<String>,
        endpoint_url: Option<String>,
        roots: Roots,
    ) -> Result<Self, ClientError> {
        let endpoint_url = endpoint_url.map(endpoint::checked).transpose()?;
        let transport = match &endpoint_url {
            Some(url) if url.starts_with("http://") => Transport::plain(),
            Some(_) | None => Transport::tls(roots)?,
        };
        let credentials = CachedCredentials::new(credentials);
        let shared = Shared {
            credentials,
            region: region.into(),
            endpoint_url,
            transport,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Calls an AWS JSON 1.1 operation. `target` is e.g. `AmazonSSM.GetParameter`.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn aws_json(
        &self,
        service: &str,
        target: &str,
        input: &serde_json::Value,
    ) -> Result<serde_json::Value, CallError> {
        let operation = target.rsplit('.').next().unwrap_or(target);
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
        let call = Call {
            service,
            host_prefix: "",
            operation,
            method: Method::POST,
            path: "/",
            query: &[],
            headers: &headers,
            body: Bytes::from(input.to_string()),
        };
        self.json(call).await
    }

    /// Makes a call whose answer is JSON, or empty: then it is `{}`.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn json(&self, call: Call<'_>) -> Result<serde_json::Value, CallError> {
        let name = error::name(call.service, call.operation);
        let answer = self.send(call).await?;
        // Some operations answer with an empty body where the model has no output.
        if answer.body.is_empty() {
            return Ok(serde_json::Value::Object(serde_json::Map::new()));
        }
        serde_json::from_slice(&answer.body).map_err(|source| CallError::Answer {
            call: name,
            source: source.into(),
        })
    }

    /// Calls an AWS Query operation and returns the XML of the answer. `version` is e.g. `2010-05-08` for IAM.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn query(
        &self,
        service: &str,
        version: &str,
        action: &str,
        params: &[(&str, &str)],
    ) -> Result<String, CallError> {
        let fixed = [("Action", action), ("Version", version)];
        let body = endpoint::form_encoded(fixed.iter().chain(params));
        let headers = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        let call = Call {
            service,
            host_prefix: "",
            operation: action,
            method: Method::POST,
            path: "/",
            query: &[],
            headers: &headers,
            body: Bytes::from(body),
        };
        let answer = self.send(call).await?;
        String::from_utf8(answer.body.into()).map_err(|source| CallError::Answer {
            call: error::name(service, action),
            source: source.into(),
        })
    }

    /// Signs and sends one request.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; every status outside 2xx is [`CallError::Service`].
    pub async fn send(&self, call: Call<'_>) -> Result<Answer, CallError> {
        let name = error::name(call.service, call.operation);
        let request = self.signed(&name, &call).await?;
        let (parts, body) = self.shared.transport.send(&name, request).await?;
        if parts.status.is_success() {
            Ok(Answer {
                headers: parts.headers,
                body,
            })
        } else {
            Err(error::service(name, parts.status, &parts.headers, &body))
        }
    }

    /// Signs and sends one request, and returns its answer as soon as that begins: it may go on for hours.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; every status outside 2xx is [`CallError::Service`].
    pub async fn open(&self, call: Call<'_>) -> Result<Streamed, CallError> {
        let name = error::name(call.service, call.operation);
        let request = self.signed(&name, &call).await?;
        self.shared.transport.open(name, request).await
    }

    async fn signed(&self, name: &str, call: &Call<'_>) -> Result<Request<Full<Bytes>>, CallError> {
        let invalid = |source: error::Source| CallError::Request {
            call: name.to_owned(),
            source,
        };
        let shared = &self.shared;
        let credentials = shared
            .credentials
            .get()
            .await
            .map_err(|source| CallError::Credentials {
                call: name.to_owned(),
                source: source.into(),
            })?;
        let site = endpoint::site(call.host_prefix, call.service, &shared.region);
        let base = shared.endpoint_url.as_ref().unwrap_or(&site.url);
        let url = endpoint::url(base, call.path, call.query);

        let identity = Identity::from(credentials);
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&site.signing_region)
            .name(call.service)
            .time(SystemTime::now())
            .settings(settings(call.service))
            .build()
            .map_err(|source| invalid(source.into()))?
            .into();
        let signable = SignableRequest::new(
            call.method.as_str(),
            url.as_str(),
            call.headers.iter().copied(),
            SignableBody::Bytes(&call.body),
        )
        .map_err(|source| invalid(source.into()))?;
        let (signature, _) = sign(signable, &params)
            .map_err(|source| invalid(source.into()))?
            .into_parts();

        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(url)
            .body(Full::new(call.body.clone()))
            .map_err(|source| invalid(source.into()))?;
        for (key, value) in call.headers {
            let key = HeaderName::try_from(*key).map_err(|source| invalid(source.into()))?;
            let value = HeaderValue::try_from(*value).map_err(|source| invalid(source.into()))?;
            request.headers_mut().insert(key, value);
        }
        signature.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

/// Returns how requests to a service are signed. S3 alone wants the digest of the body in a header, and its paths as they
/// are: encoded once, and with empty segments (Amazon S3 API Reference, "Signature Calculations for the Authorization
/// Header").
fn settings(service: &str) -> SigningSettings {
    let mut settings = SigningSettings::default();
    if service == "s3" {
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    }
    settings
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("region", &self.shared.region)
            .field("endpoint_url", &self.shared.endpoint_url)
            .finish_non_exhaustive()
    }
}
