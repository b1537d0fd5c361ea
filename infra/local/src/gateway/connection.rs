//! One connection as the rest of the gateway sees it; its socket belongs to [`super::session`].

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use axum::extract::ws::Utf8Bytes;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

/// Who connects to what; fixed for the life of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// For example `BFaT_fALIAMCKug=`.
    pub(super) id: String,
    pub(super) api_id: String,
    pub(super) stage: String,
    pub(super) domain_name: String,
    /// Milliseconds since 1970.
    pub(super) connected_at: i64,
    pub(super) source_ip: String,
    pub(super) user_agent: String,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: Peer,
    /// What the authorizer said, as functions see it.
    pub(super) authorizer: Option<Map<String, Value>>,
    /// Text frames for the client, in order.
    pub(super) outbound: mpsc::Sender<Utf8Bytes>,
    /// Milliseconds since 1970.
    last_active: AtomicI64,
    close: Mutex<Option<oneshot::Sender<Ending>>>,
}

/// What the owner of the socket holds.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) outbound: mpsc::Receiver<Utf8Bytes>,
    pub(super) close: oneshot::Receiver<Ending>,
}

/// Why a connection ended, in the terms of RFC 6455.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) code: u16,
    pub(super) reason: String,
}

impl Ending {
    pub(super) fn new(code: u16, reason: &str) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
        }
    }

    /// Idle, too old, or the gateway stops.
    pub(super) fn going_away() -> Self {
        Self::new(1001, "Going away")
    }

    /// The peer vanished without a close frame.
    pub(super) fn abnormal() -> Self {
        Self::new(1006, "Connection closed abnormally")
    }
}

impl Connection {
    pub(super) fn new(peer: Peer, authorizer: Option<Map<String, Value>>, buffered_frames: usize) -> (Self, Socket) {
        let (outbound, frames) = mpsc::channel(buffered_frames);
        let (close, closing) = oneshot::channel();
        let connection = Self {
            last_active: AtomicI64::new(peer.connected_at),
            peer,
            authorizer,
            outbound,
            close: Mutex::new(Some(close)),
        };
        (
            connection,
            Socket {
                outbound: frames,
                close: closing,
            },
        )
    }

    /// Notes that data came or went.
    pub(super) fn touch(&self) {
        self.last_active.store(now(), Ordering::Relaxed);
    }

    /// Milliseconds since 1970.
    pub(super) fn last_active(&self) -> i64 {
        self.last_active.load(Ordering::Relaxed)
    }

    /// Asks the owner of the socket to close it; only the first call counts.
    pub(super) fn close(&self, ending: Ending) {
        let close = self.close.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(close) = close {
            // The receiver is gone when the session is ending already.
            let _ = close.send(ending);
        }
    }
}

/// Returns a fresh id as connections, messages and requests have it on AWS: 11 bytes in base64.
pub(super) fn random_id() -> String {
    let mut bytes = [0; 11];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    URL_SAFE.encode(bytes)
}

/// Returns whether a text can be a connection id.
pub(super) fn is_id(text: &str) -> bool {
    text.ends_with('=') && (URL_SAFE.decode(text).is_ok() || STANDARD.decode(text).is_ok())
}

/// Milliseconds since 1970.
pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
