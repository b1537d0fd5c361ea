//! A server on a loopback port that answers as it is told, for tests of what services say.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{Connection, Session, SessionOptions};

/// What the server was asked: method, path with query, body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: String,
}

impl Asked {
    /// Returns a parameter of a query call, decoded; nothing where it is missing.
    pub(crate) fn parameter(&self, name: &str) -> String {
        let mut pairs = self.body.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(key, _)| *key == name)
            .map_or_else(String::new, |(_, value)| decoded(value))
    }
}

/// All that a server was asked.
pub(crate) type Log = Arc<Mutex<Vec<Asked>>>;

/// Opens a session with a server that answers each request with a status and a body. Who calls is answered already.
pub(crate) async fn session(
    answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static,
) -> Result<(Session, Log), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let log = Log::default();
    let (shared, answer) = (Arc::clone(&log), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (log, answer) = (Arc::clone(&shared), Arc::clone(&answer));
            tokio::spawn(async move {
                // A client that leaves early is none of the test's business.
                let _ = serve(stream, |asked| {
                    if asked.parameter("Action") == "GetCallerIdentity" {
                        return (200, IDENTITY.to_owned());
                    }
                    if let Ok(mut log) = log.lock() {
                        log.push(asked.clone());
                    }
                    answer(asked)
                })
                .await;
            });
        }
    });
    let options = SessionOptions {
        region: "eu-west-1".to_owned(),
        endpoint_url: Some(endpoint),
        credentials: Some(("test".to_owned(), "test".to_owned())),
        ..SessionOptions::default()
    };
    Ok((Connection::open(options).await?.identify().await?, log))
}

const IDENTITY: &str = "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/ada</Arn>\
     <UserId>A</UserId><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>";

/// Answers the requests of one connection.
async fn serve(mut stream: TcpStream, answer: impl Fn(&Asked) -> (u16, String)) -> std::io::Result<()> {
    let mut received = Vec::new();
    loop {
        let head_end = loop {
            if let Some(at) = received.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&received[..head_end]).into_owned();
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse::<usize>().ok())
            .unwrap_or_default();
        while received.len() < head_end + length {
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        }
        let mut words = head.split_whitespace();
        let asked = Asked {
            method: words.next().unwrap_or_default().to_owned(),
            path: words.next().unwrap_or_default().to_owned(),
            body: String::from_utf8_lossy(&received[head_end..head_end + length]).into_owned(),
        };
        received.drain(..head_end + length);
        let (status, body) = answer(&asked);
        let body = if asked.method == "HEAD" { String::new() } else { body };
        let text = format!("HTTP/1.1 {status} S\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(text.as_bytes()).await?;
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).unwrap_or_default();
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => u8::try_from(hex(rest.next()) * 16 + hex(rest.next())).unwrap_or_default(),
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
