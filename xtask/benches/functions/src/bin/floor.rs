//! The least that posting can cost: signing and hyper, one HTTP/2 connection, nothing else. A yardstick, not a function:
//! it reads no table, repeats nothing and looks at no status.
//!
//! Event: `{"connections": N}`.

use std::error::Error;
use std::sync::Arc;
use std::time::SystemTime;

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

type Failure = Box<dyn Error + Send + Sync>;

/// As many as the functions have on their way.
const IN_FLIGHT: usize = 128;

const FRAME: &str = r#"{"type":"message","id":"01890a5d-ac96-774b-bcce-b302099a8057","from":{"sub":"u1","name":"Ada Lovelace"},"room":"lobby","data":"Hello, World!","at":"2026-11-22T10:15:00.000Z"}"#;

/// A moment in the form that signatures want; which one does not matter here.
const DATE: &str = "20261122T101500Z";

struct Floor {
    endpoint: Uri,
    token: HeaderValue,
    token_text: String,
    access_key: String,
    key: Vec<u8>,
    body: Bytes,
    digest: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let token_text = variable("AWS_SESSION_TOKEN")?;
    let key = generate_signing_key(
        &variable("AWS_SECRET_ACCESS_KEY")?,
        SystemTime::now(),
        "eu-west-1",
        "execute-api",
    );
    let floor = Floor {
        endpoint: variable("MANAGEMENT_ENDPOINT")?.parse()?,
        token: HeaderValue::from_str(&token_text)?,
        token_text,
        access_key: variable("AWS_ACCESS_KEY_ID")?,
        key: key.as_ref().to_vec(),
        body: Bytes::from_static(FRAME.as_bytes()),
        digest: hex(FRAME.as_bytes()),
    };
    let tls = tls(&variable("SSL_CERT_FILE")?)?;

    let runtime = variable("AWS_LAMBDA_RUNTIME_API")?;
    let stream = TcpStream::connect(&runtime).await?;
    let (mut api, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut posts = None;
    loop {
        let next = Request::get("/2018-06-01/runtime/invocation/next").header("host", &runtime);
        let event = api
            .send_request(next.body(Full::default())?)
            .await?
            .collect()
            .await?
            .to_bytes();
        let event: serde_json::Value = serde_json::from_slice(&event)?;
        let wanted = event["connections"].as_u64().ok_or("no connections in the event")?;
        let sender = match posts.take() {
            Some(sender) => sender,
            None => connect(&floor, &tls).await?,
        };
        floor.post_to_all(&sender, wanted).await?;
        posts = Some(sender);
        let answer = Request::post("/2018-06-01/runtime/invocation/r/response").header("host", &runtime);
        let response = api.send_request(answer.body(Full::from("{}"))?).await?;
        response.collect().await?;
    }
}

fn tls(roots: &str) -> Result<TlsConnector, Failure> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(CertificateDer::pem_file_iter(roots)?.flatten());
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn connect(floor: &Floor, tls: &TlsConnector) -> Result<http2::SendRequest<Full<Bytes>>, Failure> {
    let authority = floor.endpoint.authority().ok_or("no host")?;
    let stream = TcpStream::connect(authority.as_str()).await?;
    stream.set_nodelay(true)?;
    let stream = tls
        .connect(ServerName::try_from(authority.host().to_owned())?, stream)
        .await?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

impl Floor {
    async fn post_to_all(&self, sender: &http2::SendRequest<Full<Bytes>>, connections: u64) -> Result<(), Failure> {
        let mut posts = stream::iter(0..connections)
            .map(|number| async move {
                let mut sender = sender.clone();
                sender.ready().await?;
                let response = sender.send_request(self.request(number)?).await?;
                response.into_body().collect().await?;
                Ok::<_, Failure>(())
            })
            .buffer_unordered(IN_FLIGHT);
        while let Some(post) = posts.next().await {
            post?;
        }
        Ok(())
    }

    fn request(&self, number: u64) -> Result<Request<Full<Bytes>>, Failure> {
        let authority = self.endpoint.authority().ok_or("no host")?.as_str();
        let (date, day) = (DATE, &DATE[..8]);
        let scope = format!("{day}/eu-west-1/execute-api/aws4_request");
        let canonical = format!(
            "POST\n/prod/%40connections/c{number:014}%253D\n\nhost:{authority}\nx-amz-date:{date}\n\
             x-amz-security-token:{}\n\nhost;x-amz-date;x-amz-security-token\n{}",
            self.token_text, self.digest
        );
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(canonical.as_bytes()));
        let signature = calculate_signature(&self.key, to_sign.as_bytes());
        let request = Request::post(format!("https://{authority}/prod/@connections/c{number:014}%3D"))
            .header("content-type", "application/octet-stream")
            .header("x-amz-date", date)
            .header("x-amz-security-token", &self.token)
            .header(
                "authorization",
                format!(
                    "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=host;x-amz-date;x-amz-security-token, \
                     Signature={signature}",
                    self.access_key
                ),
            );
        Ok(request.body(Full::new(self.body.clone()))?)
    }
}

fn hex(data: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(data) {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}
