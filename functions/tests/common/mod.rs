//! A server on a loopback port that answers as it is told and remembers what it was asked.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// One request: path and body.
#[allow(dead_code, reason = "not every test file asks what was seen")]
pub(crate) type Seen = (String, String);

/// A status and a body.
pub(crate) type Told = (u16, String);

/// A running server. It ends with the test's runtime.
pub(crate) struct Server {
    /// Its address, as a URL without a final slash.
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Request<String>>>>,
}

impl Server {
    /// Starts a server that answers with what `answer` returns for a path and a body.
    pub(crate) async fn start(answer: impl Fn(&str, &str) -> Told + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = (Arc::new(answer), seen.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, seen) = shared.clone();
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let body = String::from_utf8(body.into()).unwrap();
                        let (status, text) = answer(parts.uri.path(), &body);
                        seen.lock().unwrap().push(Request::from_parts(parts, body));
                        let response = Response::builder().status(status).body(Full::new(Bytes::from(text)));
                        Ok::<_, Infallible>(response.unwrap())
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { url, seen }
    }

    /// Returns path and body of what was asked so far.
    #[allow(dead_code, reason = "not every test looks at so little")]
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let path_and_body = |request: &Request<String>| (request.uri().to_string(), request.body().clone());
        self.requests().iter().map(path_and_body).collect()
    }

    /// Returns all that was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request<String>> {
        self.seen.lock().unwrap().clone()
    }
}
