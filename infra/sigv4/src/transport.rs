//! The connection pool: plain for loopback endpoints, TLS for AWS. HTTP/2 where the server offers it.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use crate::error::{self, CallError, ClientError, Source};
use crate::roots::Roots;
use crate::{CALL_TIMEOUT, CONNECT_TIMEOUT, UPLOAD_BYTES_PER_SECOND};

/// More than any control-plane answer; a larger one is cut off rather than held in memory.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// An enum, so that a machine without root certificates can still talk to a local endpoint.
pub(crate) enum Transport {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// An answer that is read while it comes; dropping it ends it.
#[derive(Debug)]
pub struct Streamed {
    call: String,
    body: Incoming,
}

impl Streamed {
    /// Returns what came next, or `None` at the end.
    ///
    /// # Errors
    ///
    /// [`CallError::Transport`] when the connection is lost.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, CallError> {
        loop {
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let frame = frame.map_err(|source| CallError::Transport {
                call: self.call.clone(),
                maybe_sent: true,
                source: source.into(),
            })?;
            // Trailers say nothing here.
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

impl Transport {
    pub(crate) fn plain() -> Self {
        Self::Plain(pool().build(tcp()))
    }

    pub(crate) fn tls(roots: Roots) -> Result<Self, ClientError> {
        let connector = roots.connector(tcp());
        let connector = connector.map_err(|source| ClientError::RootCertificates { source })?;
        Ok(Self::Tls(pool().build(connector)))
    }

    /// Sends `request` and reads the whole answer, within [`CALL_TIMEOUT`] and what its body takes.
    pub(crate) async fn send(
        &self,
        call: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<(response::Parts, Bytes), CallError> {
        let failed = |maybe_sent, source| CallError::Transport {
            call: call.to_owned(),
            maybe_sent,
            source,
        };
        let limit = time_limit(request.body().size_hint().lower());
        let exchange = async {
            let response = self
                .request(request)
                .await
                .map_err(|source| failed(!source.is_connect(), source.into()))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|source| failed(true, source))?;
            Ok((parts, body.to_bytes()))
        };
        match timeout(limit, exchange).await {
            Ok(result) => result,
            Err(elapsed) => Err(failed(true, Source::from(elapsed))),
        }
    }

    /// Sends `request` and returns its answer once the head has come, within [`CALL_TIMEOUT`].
    pub(crate) async fn open(&self, call: String, request: Request<Full<Bytes>>) -> Result<Streamed, CallError> {
        let failed = |maybe_sent, source| CallError::Transport {
            call: call.clone(),
            maybe_sent,
            source,
        };
        let response = match timeout(CALL_TIMEOUT, self.request(request)).await {
            Ok(answered) => answered.map_err(|source| failed(!source.is_connect(), source.into()))?,
            Err(elapsed) => return Err(failed(true, Source::from(elapsed))),
        };
        let (parts, body) = response.into_parts();
        if parts.status.is_success() {
            return Ok(Streamed { call, body });
        }
        let told = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let told = told.map_err(|source| failed(true, source))?.to_bytes();
        Err(error::service(call, parts.status, &parts.headers, &told))
    }

    async fn request(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        match self {
            Self::Plain(client) => client.request(request).await,
            Self::Tls(client) => client.request(request).await,
        }
    }
}

/// Returns the time that a call with a body of so many bytes may take.
fn time_limit(bytes: u64) -> Duration {
    CALL_TIMEOUT + Duration::from_secs(bytes / UPLOAD_BYTES_PER_SECOND as u64)
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    connector
}

fn pool() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    // A pooled connection that the server closed is replaced before anything was sent; nothing is ever sent twice.
    builder.pool_timer(TokioTimer::new()).timer(TokioTimer::new());
    builder
}
