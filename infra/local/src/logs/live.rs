//! `StartLiveTail`: new events of some groups as they come, until the client leaves.
//!
//! As the service does it: an `initial-response`, one `sessionStart`, then a `sessionUpdate` at every tick even where
//! nothing came, with at most 500 events; what is beyond is dropped, and the update says that it is a sample. Sources:
//! CloudWatch Logs API Reference, `StartLiveTail`; the frames: Amazon Transcribe Developer Guide, "Event stream encoding".

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::broadcast::{Receiver, Sender, channel};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::pattern::Pattern;
use super::{Logs, group_arn, invalid, no_such_group};
use crate::cloud::Account;
use crate::wire::{ApiError, Response, request_id};

/// Log groups of one session.
const GROUPS_MAX: usize = 10;
/// Events of one update.
const EVENTS_MAX: usize = 500;
/// Events that wait for the next update of a slow reader.
const WAITING_MAX: usize = 5_000;
/// The service sends one update a second; here a developer waits for it.
const TICK: Duration = Duration::from_millis(200);

/// One new event.
#[derive(Debug)]
pub(super) struct LiveEvent {
    pub(super) group: String,
    pub(super) stream: String,
    pub(super) timestamp: i64,
    pub(super) ingested: i64,
    pub(super) message: String,
}

/// Who is told of new events.
#[derive(Debug)]
pub(super) struct Live(Option<Sender<Arc<LiveEvent>>>);

impl Default for Live {
    fn default() -> Self {
        Self(Some(channel(WAITING_MAX).0))
    }
}

impl Live {
    /// Tells all sessions. `event` is only made where there is one.
    pub(super) fn tell(&self, event: impl FnOnce() -> LiveEvent) {
        if let Some(sender) = self.0.as_ref().filter(|sender| sender.receiver_count() > 0) {
            // Fails when the last session ended a moment ago.
            let _ = sender.send(Arc::new(event()));
        }
    }

    /// Ends all sessions, and lets no other begin.
    pub(super) fn end(&mut self) {
        self.0 = None;
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Start {
    log_group_identifiers: Vec<String>,
    log_event_filter_pattern: Option<String>,
    log_stream_names: Option<Vec<String>>,
    log_stream_name_prefixes: Option<Vec<String>>,
}

/// Begins a session.
pub(super) fn start(logs: &Logs, account: &Account, input: Start) -> Result<Response, ApiError> {
    let arns = input.log_group_identifiers;
    if arns.is_empty() || arns.len() > GROUPS_MAX {
        return Err(invalid(format!(
            "1 validation error detected: Value at 'logGroupIdentifiers' failed to satisfy constraint: Member must have length between 1 and {GROUPS_MAX}"
        )));
    }
    if input.log_stream_names.is_some() || input.log_stream_name_prefixes.is_some() {
        return Err(invalid("the local cloud tails whole log groups only"));
    }
    let text = input.log_event_filter_pattern.unwrap_or_default();
    let pattern = Pattern::parse(&text).map_err(invalid)?;
    let prefix = group_arn(account, "");
    let state = logs.state.read();
    let groups = arns.iter().map(|arn| {
        let name = arn.strip_prefix(&prefix).filter(|name| !name.ends_with('*'));
        let name = name.ok_or_else(|| invalid(format!("{arn} is not the ARN of a log group")))?;
        state.group(name).map(|_| name.to_owned())
    });
    let groups: BTreeSet<String> = groups.collect::<Result<_, _>>()?;
    let events = state.live.0.as_ref().ok_or_else(no_such_group)?.subscribe();
    drop(state);

    let started = json!({
        "requestId": request_id(),
        "sessionId": request_id(),
        "logGroupIdentifiers": arns,
        "logStreamNames": [],
        "logStreamNamePrefixes": [],
        "logEventFilterPattern": text,
    });
    let mut first = frame("initial-response", &json!({}));
    first.extend_from_slice(&frame("sessionStart", &started));
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let session = Session {
        account: account.clone(),
        groups,
        pattern,
        events,
        tick,
    };
    let updates = stream::unfold((Some(first), session), |(first, mut session)| async move {
        let bytes = match first {
            Some(first) => first,
            None => session.update().await?,
        };
        Some((Ok::<Bytes, Infallible>(bytes.freeze()), (None, session)))
    });
    Ok(http::Response::builder()
        .header("content-type", "application/vnd.amazon.eventstream")
        .header("x-amzn-RequestId", request_id())
        .body(Body::from_stream(updates))
        .expect("the headers above are valid"))
}

struct Session {
    account: Account,
    groups: BTreeSet<String>,
    pattern: Pattern,
    events: Receiver<Arc<LiveEvent>>,
    tick: Interval,
}

impl Session {
    /// Returns the next update, or `None` when the cloud stops.
    async fn update(&mut self) -> Option<BytesMut> {
        self.tick.tick().await;
        let mut results = Vec::new();
        let mut is_sampled = false;
        loop {
            match self.events.try_recv() {
                Ok(event) if !self.groups.contains(&event.group) || !self.pattern.matches(&event.message) => {}
                Ok(_) if results.len() == EVENTS_MAX => is_sampled = true,
                Ok(event) => results.push(self.result(&event)),
                Err(TryRecvError::Lagged(_)) => is_sampled = true,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Closed) => return None,
            }
        }
        let update = json!({ "sessionMetadata": { "sampled": is_sampled }, "sessionResults": results });
        Some(frame("sessionUpdate", &update))
    }

    fn result(&self, event: &LiveEvent) -> Value {
        json!({
            // Account and name: results name the group so, not by its ARN.
            "logGroupIdentifier": format!("{}:{}", self.account.id, event.group),
            "logStreamName": event.stream,
            "message": event.message,
            "timestamp": event.timestamp,
            "ingestionTime": event.ingested,
        })
    }
}

/// Returns one message of the event stream: lengths and their check sum, headers, payload, check sum of it all.
fn frame(event: &str, payload: &Value) -> BytesMut {
    const TYPE_STRING: u8 = 7;
    let mut headers = BytesMut::new();
    for (name, value) in [
        (":event-type", event),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ] {
        headers.put_u8(name.len() as u8);
        headers.put_slice(name.as_bytes());
        headers.put_u8(TYPE_STRING);
        headers.put_u16(value.len() as u16);
        headers.put_slice(value.as_bytes());
    }
    let payload = payload.to_string();
    let total = 16 + headers.len() + payload.len();
    let mut frame = BytesMut::with_capacity(total);
    frame.put_u32(total as u32);
    frame.put_u32(headers.len() as u32);
    frame.put_u32(crc32(&frame));
    frame.put_slice(&headers);
    frame.put_slice(payload.as_bytes());
    frame.put_u32(crc32(&frame));
    frame
}

/// Returns the check sum of ISO 3309, which zip files have too.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_sums_are_those_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_frame_says_its_lengths() {
        let frame = frame("sessionUpdate", &json!({}));
        assert_eq!(frame[..4], (frame.len() as u32).to_be_bytes());
        let headers = u32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
        assert_eq!(frame.len(), 12 + headers as usize + 2 + 4);
        assert_eq!(frame[frame.len() - 6..frame.len() - 4], *b"{}");
    }
}
