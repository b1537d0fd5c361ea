//! The AWS that functions call while they are measured: TLS on a loopback port, HTTP/2 or HTTP/1.1 as the client likes.
//!
//! It knows as much of DynamoDB and of the `@connections` API as a broadcast needs. Posts are answered after 5 to 15
//! milliseconds, as API Gateway takes.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// DynamoDB ends a page after 1 MB; a row of ours has some 250 bytes there.
const ROWS_PER_PAGE: usize = 4_000;

/// A running server; it ends with the process.
pub(crate) struct Aws {
    /// Its address, as a URL without a final slash.
    pub(crate) url: String,
    /// The certificate to trust. On Lambda the functions, like Node, trust those that are built into them.
    pub(crate) ca: PathBuf,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    members: AtomicUsize,
    posts: AtomicUsize,
}

impl Aws {
    /// Starts it; certificates are made for this run and written into `folder`.
    pub(crate) async fn start(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let ca = folder.join("ca.pem");
        std::fs::write(&ca, certified.cert.pem())?;

        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];

        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let url = format!("https://localhost:{}", listener.local_addr()?.port());
        let state = Arc::new(State::default());
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), state.clone()));
        Ok(Self { url, ca, state })
    }

    /// Puts so many connections into the room, the sender not counted.
    pub(crate) fn fill(&self, members: usize) {
        self.state.members.store(members, Ordering::SeqCst);
    }

    /// Returns how many posts were answered since the last question.
    pub(crate) fn take_posts(&self) -> usize {
        self.state.posts.swap(0, Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let (tls, state) = (tls.clone(), state.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(move |request| answer(state.clone(), request));
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http2().max_concurrent_streams(128);
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let answer = if parts.uri.path().contains("/@connections/") {
        let number = state.posts.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5 + number as u64 % 11)).await;
        Bytes::new()
    } else {
        let target = parts
            .headers
            .get("x-amz-target")
            .and_then(|target| target.to_str().ok());
        let action = target.and_then(|target| target.rsplit('.').next()).unwrap_or_default();
        let input = serde_json::from_slice(&body).unwrap_or_default();
        dynamodb(action, &input, state.members.load(Ordering::SeqCst))
            .to_string()
            .into()
    };
    Ok(Response::builder()
        .header("content-type", "application/x-amz-json-1.0")
        .body(Full::new(answer))
        .unwrap_or_default())
}

fn dynamodb(action: &str, input: &Value, members: usize) -> Value {
    match action {
        "Query" => {
            let after = input["ExclusiveStartKey"]["connectionId"]["S"].as_str();
            let start = after
                .and_then(|id| id.trim_matches(['c', '=']).parse::<usize>().ok())
                .map_or(0, |last| last + 1);
            let end = members.min(start + ROWS_PER_PAGE);
            let wanted = input["ProjectionExpression"].as_str();
            let rows: Vec<Value> = (start..end).map(|number| projected(row(&id(number)), wanted)).collect();
            if end < members {
                let last = json!({"connectionId": {"S": id(end - 1)}, "room": {"S": "lobby"}});
                json!({"Items": rows, "Count": rows.len(), "LastEvaluatedKey": last})
            } else {
                json!({"Items": rows, "Count": rows.len()})
            }
        }
        "UpdateItem" => json!({"Attributes": row("BFaT_fALIAMCKug=")}),
        _ => json!({}),
    }
}

/// Returns those attributes that are asked for; all if none are.
fn projected(mut row: Value, wanted: Option<&str>) -> Value {
    if let (Some(wanted), Some(row)) = (wanted, row.as_object_mut()) {
        let wanted: Vec<_> = wanted.split(',').map(str::trim).collect();
        row.retain(|name, _| wanted.contains(&name.as_str()));
    }
    row
}

/// As long as the real ones.
fn id(number: usize) -> String {
    format!("c{number:014}=")
}

fn row(id: &str) -> Value {
    json!({
        "connectionId": {"S": id}, "room": {"S": "lobby"}, "sub": {"S": "u1"}, "name": {"S": "Ada Lovelace"},
        "connectedAt": {"N": "1800000000"}, "tokenExpiresAt": {"N": "4000000000"}, "expiresAt": {"N": "4000000000"},
    })
}
