//! The WebSocket of a person: `ws` for local clouds, `wss` with the system's root certificates for AWS.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper_rustls::ConfigBuilderExt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{Request, Uri};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::failure::Failure;

/// API Gateway answers a handshake within 30 s, the time that it gives the functions.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(35);
/// A server that does not answer a goodbye is left without.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes in both directions.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An open connection.
pub(super) struct Connection {
    socket: WebSocketStream<Box<dyn Stream>>,
}

/// Connects. The token travels in a header, never in the URL.
///
/// # Errors
/// What is wrong with the address or the token, and what to do.
pub(super) async fn open(url: &str, token: &str, room: Option<&str>) -> Result<Connection, Failure> {
    let request = request(url, token, room)?;
    let uri = request.uri().clone();
    let unreachable = |error: std::io::Error| {
        Failure::new(format!("nobody answers at {url}"))
            .because(error)
            .help("is it deployed, and does it run? cargo xtask outputs; cargo xtask dev")
    };
    let handshake = async {
        let stream = connect(&uri).await.map_err(unreachable)?;
        client_async(request, stream).await.map_err(|error| refusal(url, error))
    };
    match timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok((socket, _))) => Ok(Connection { socket }),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::new(format!("{url} does not answer"))
            .help("see what the functions say: cargo xtask logs authorize connect")),
    }
}

fn request(url: &str, token: &str, room: Option<&str>) -> Result<Request<()>, Failure> {
    let wrong = |why: String| {
        Failure::usage(format!("`{url}` is no address of a chat: {why}"))
            .help("it begins with wss:// or ws://: cargo xtask outputs")
    };
    let url = match room {
        Some(room)
            if !room
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) =>
        {
            return Err(Failure::usage(format!("`{room}` is no name of a room"))
                .help("names have up to 64 letters, digits, _ and -"));
        }
        Some(room) => format!("{url}{}room={room}", if url.contains('?') { '&' } else { '?' }),
        None => url.to_owned(),
    };
    let mut request = url
        .as_str()
        .into_client_request()
        .map_err(|error| wrong(error.to_string()))?;
    if !matches!(request.uri().scheme_str(), Some("ws" | "wss")) {
        return Err(wrong("it has another scheme".to_owned()));
    }
    let mut header: tokio_tungstenite::tungstenite::http::HeaderValue = token
        .trim()
        .parse()
        .map_err(|_| Failure::usage("the token is no token").help("mint one: cargo xtask token --sub NAME"))?;
    header.set_sensitive(true);
    request.headers_mut().insert("authorization", header);
    Ok(request)
}

async fn connect(uri: &Uri) -> std::io::Result<Box<dyn Stream>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_tls = uri.scheme_str() == Some("wss");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    if !is_tls {
        return Ok(Box::new(tcp));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .with_native_roots()?
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    Ok(Box::new(tls))
}

fn refusal(url: &str, error: Error) -> Failure {
    let Error::Http(answer) = &error else {
        return Failure::new(format!("{url} is no WebSocket")).because(error);
    };
    let (why, help) = match answer.status().as_u16() {
        400 => (
            "the room has no valid name",
            "names have up to 64 letters, digits, _ and -",
        ),
        401 => ("there is no token", "let one be minted: cargo xtask chat --user NAME"),
        403 => (
            "the token does not count here, or not any more",
            "let one be minted: cargo xtask chat --user NAME",
        ),
        404 | 410 => ("there is no such stage", "see where it is: cargo xtask outputs"),
        429 => ("there are too many connections at once", "try again in a while"),
        _ => (
            "the chat failed",
            "see what the functions say: cargo xtask logs authorize connect",
        ),
    };
    Failure::new(format!("{why} (HTTP {})", answer.status().as_u16())).help(help)
}

impl Connection {
    /// Sends a frame. Where the connection has ended, [`Self::next`] says so.
    pub(super) async fn send(&mut self, text: &str) {
        let _ = self.socket.send(Message::text(text)).await;
    }

    /// Returns the next frame, or why there is none. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<String, String> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Close(Some(frame)))) if !frame.reason.is_empty() => {
                    return Err(format!("{} ({})", frame.reason, frame.code));
                }
                Some(Ok(Message::Close(Some(frame)))) => return Err(format!("code {}", frame.code)),
                Some(Ok(Message::Close(None))) | None => return Err("without a reason".to_owned()),
                Some(Err(error)) => return Err(error.to_string()),
                Some(Ok(_)) => {}
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn close(&mut self) {
        let goodbye = async {
            if self.socket.close(None).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}
