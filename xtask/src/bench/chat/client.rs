//! A client of the chat.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// API Gateway answers a handshake within 30 s, the time that it gives the functions.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(35);
/// A server that does not answer a goodbye is left without.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// An open connection.
#[derive(Debug)]
pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// A frame to a client, as far as the benchmark looks at it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Frame {
    /// What it is; API Gateway's own frames have none.
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    /// Of a message.
    #[serde(default)]
    pub(crate) id: Option<String>,
    /// Of a message: what was said.
    #[serde(default)]
    pub(crate) data: Option<String>,
    /// Of an acknowledgement.
    #[serde(default)]
    pub(crate) message_id: Option<String>,
    /// Of an excerpt of the history.
    #[serde(default)]
    pub(crate) messages: Vec<Frame>,
    /// Of an excerpt: whether there are more.
    #[serde(default)]
    pub(crate) more: bool,
    /// Of an excerpt: where they begin.
    #[serde(default)]
    pub(crate) cursor: Option<String>,
}

impl Client {
    /// Connects to a room; `Err` says why not, in words.
    pub(crate) async fn open(url: &str, room: &str, token: &str) -> Result<Self, String> {
        let mut request = format!("{url}?room={room}")
            .into_client_request()
            .map_err(|error| error.to_string())?;
        let token = token.parse().map_err(|_| "the token is no header".to_owned())?;
        request.headers_mut().insert("authorization", token);
        // Thousands of them fit into memory only with small buffers.
        let config = WebSocketConfig::default().read_buffer_size(4 * 1024);
        match timeout(
            HANDSHAKE_TIMEOUT,
            connect_async_with_config(request, Some(config), true),
        )
        .await
        {
            Ok(Ok((socket, _))) => Ok(Self { socket }),
            Ok(Err(Error::Http(answer))) => {
                let why = answer.headers().get("x-local-cloud-error");
                let why = why.and_then(|why| why.to_str().ok()).unwrap_or_default();
                Err(format!("HTTP {} {why}", answer.status().as_u16()))
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    }

    /// Sends a frame; `false` if the connection has ended.
    pub(crate) async fn send(&mut self, frame: &serde_json::Value) -> bool {
        self.socket.send(Message::text(frame.to_string())).await.is_ok()
    }

    /// Returns the next frame; `None` at the end of the connection. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    if let Ok(frame) = serde_json::from_str(&text) {
                        return Some(frame);
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Says goodbye and returns what still came.
    pub(crate) async fn close(mut self) -> Vec<Frame> {
        let mut last = Vec::new();
        let goodbye = async {
            if self.socket.close(None).await.is_ok() {
                while let Some(frame) = self.next().await {
                    last.push(frame);
                }
            }
        };
        let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
        last
    }
}
