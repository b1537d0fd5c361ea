//! The connections of a process to AWS: one pool for the SDK's clients and for our own posts, HTTP/2 where the server
//! offers it.
//!
//! The SDK's default connector keeps its own types between it and hyper, and posts would pay for converting theirs.
//! Nothing is repeated here, except on a pooled connection that the server had closed before anything was sent.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use infra_sigv4::Roots;

/// In the same Region a connection stands within milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The pool. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Http {
    pool: Client<HttpsConnector<Tcp>, Full<Bytes>>,
}

impl Http {
    /// Makes an empty pool.
    ///
    /// # Errors
    ///
    /// When root certificates are to be read, and there are none.
    pub(super) fn new() -> std::io::Result<Self> {
        let mut tcp = Tcp::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = Roots::of_function().connector(tcp)?;
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).timer(TokioTimer::new());
        Ok(Self {
            pool: builder.build(connector),
        })
    }

    /// Sends a request; the caller limits the time.
    pub(super) fn send(&self, request: Request<Full<Bytes>>) -> ResponseFuture {
        self.pool.request(request)
    }

    /// Returns the pool as the SDK wants it.
    pub(super) fn for_sdk(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(self.clone());
        http_client_fn(move |_, _| connector.clone())
    }
}

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = self.clone();
        HttpConnectorFuture::new(async move {
            let request = request
                .try_into_http1x()
                .map_err(|error| ConnectorError::user(error.into()))?;
            let (parts, body) = request.into_parts();
            // No operation of ours streams its request.
            let body = body
                .bytes()
                .map(Bytes::copy_from_slice)
                .ok_or_else(|| ConnectorError::user("a body that is not in memory".into()))?;
            let request = Request::from_parts(parts, Full::new(body));
            // The SDK repeats what failed on the way. It does not wait for itself to time out: `Aws::timeouts` does.
            let response = http
                .send(request)
                .await
                .map_err(|error| ConnectorError::io(error.into()))?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}
