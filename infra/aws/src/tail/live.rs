//! Live tails: lines as they come, by `StartLiveTail`.
//!
//! A session takes ten groups, sends an update every second, leaves lines out above 500 of them (and says so), and ends
//! after three hours. What it leaves out, and what came while there was none, is read by [`super::Follow`].
//!
//! Source: CloudWatch Logs API Reference, `StartLiveTail`, `LiveTailSessionUpdate`.

use std::time::Duration;

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use aws_smithy_types::event_stream::Message;
use bytes::BytesMut;
use infra_cdk::Kind;
use infra_engine::{Class, CloudError};
use infra_sigv4::Streamed;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::LogEvent;
use crate::Session;
use crate::error::{from_call, refused};

/// Groups of one session.
pub(super) const GROUPS_MAX: usize = 10;
/// Updates come every second; when none comes for so long, the connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Between the end of a session and the next attempt.
const PAUSE: Duration = Duration::from_secs(2);

const OPERATION: &str = "logs:StartLiveTail";

/// What a session tells.
#[derive(Debug)]
pub(super) enum Update {
    /// It begins; what came before it is not in it.
    Began,
    /// New lines.
    Lines {
        events: Vec<LogEvent>,
        /// Whether some were left out.
        is_sampled: bool,
    },
    /// It has ended and will begin again.
    Ended,
    /// The endpoint has no live tails, or none for us.
    Refused,
}

/// Keeps a session over some groups open, until nobody listens or the endpoint refuses.
pub(super) async fn keep_open(
    session: Session,
    groups: Vec<String>,
    filter: Option<String>,
    updates: mpsc::Sender<Update>,
) {
    loop {
        let last = match run(&session, &groups, filter.as_deref(), &updates).await {
            Err(error) if !error.class.is_retryable() => Update::Refused,
            Ok(()) | Err(_) => Update::Ended,
        };
        let is_over = matches!(last, Update::Refused);
        if updates.send(last).await.is_err() || is_over {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// Runs one session to its end.
async fn run(
    session: &Session,
    groups: &[String],
    filter: Option<&str>,
    updates: &mpsc::Sender<Update>,
) -> Result<(), CloudError> {
    let arns = groups.iter().map(|group| session.arn(Kind::LogGroup, group));
    // The ARN of a log group ends with `:*` in policies only.
    let arns: Vec<String> = arns
        .map(|arn| arn.map(|arn| arn.trim_end_matches(":*").to_owned()))
        .collect::<Result<_, _>>()?;
    let mut input = json!({ "logGroupIdentifiers": arns });
    if let Some(filter) = filter {
        input["logEventFilterPattern"] = filter.into();
    }
    let mut frames = Frames::new(session.live_tail(&input).await?);
    while let Some(message) = frames.next().await? {
        let update = match (header(&message, ":message-type"), header(&message, ":event-type")) {
            ("event", "sessionStart") => Update::Began,
            ("event", "sessionUpdate") => {
                let payload = serde_json::from_slice(message.payload()).unwrap_or_default();
                lines(&payload)
            }
            // `initial-response`, and what may come one day.
            ("event", _) => continue,
            // `SessionTimeoutException` after three hours, or a failure of the service: both begin anew.
            _ => return Ok(()),
        };
        if updates.send(update).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn lines(payload: &Json) -> Update {
    let results = payload["sessionResults"].as_array().into_iter().flatten();
    let mut events: Vec<LogEvent> = results.filter_map(read).collect();
    events.sort_by_key(|event| event.timestamp_ms);
    Update::Lines {
        events,
        is_sampled: payload["sessionMetadata"]["sampled"] == true,
    }
}

fn read(result: &Json) -> Option<LogEvent> {
    let identifier = result.get("logGroupIdentifier")?.as_str()?;
    // `ACCOUNT:NAME`, an ARN, or the name; names have no colon.
    let group = identifier.rsplit(':').find(|part| *part != "*")?;
    // Results have no ids.
    LogEvent::read(group, result)
}

/// The messages of an event stream.
struct Frames {
    answer: Streamed,
    buffer: BytesMut,
    decoder: MessageFrameDecoder,
}

impl Frames {
    fn new(answer: Streamed) -> Self {
        Self {
            answer,
            buffer: BytesMut::new(),
            decoder: MessageFrameDecoder::new(),
        }
    }

    async fn next(&mut self) -> Result<Option<Message>, CloudError> {
        let broken = |reason: String| refused(OPERATION, Class::Transient, reason);
        loop {
            let decoded = self.decoder.decode_frame(&mut self.buffer);
            match decoded.map_err(|error| broken(error.to_string()))? {
                DecodedFrame::Complete(message) => return Ok(Some(message)),
                DecodedFrame::Incomplete => {}
            }
            let chunk = timeout(SILENCE_MAX, self.answer.chunk())
                .await
                .map_err(|_| broken("the live tail fell silent".to_owned()))?
                .map_err(|error| from_call(OPERATION, &error))?;
            match chunk {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

fn header<'a>(message: &'a Message, name: &str) -> &'a str {
    let header = message.headers().iter().find(|header| header.name().as_str() == name);
    header
        .and_then(|header| header.value().as_string().ok())
        .map_or("", |value| value.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn groups_are_named_in_three_ways() {
        for identifier in [
            "/aws/lambda/f",
            "123456789012:/aws/lambda/f",
            "arn:aws:logs:us-east-1:123456789012:log-group:/aws/lambda/f:*",
        ] {
            let result = json!({"logGroupIdentifier": identifier, "timestamp": 1, "message": "m\n"});
            let event = read(&result).unwrap();
            assert_eq!((event.group.as_str(), event.message.as_str()), ("/aws/lambda/f", "m"));
        }
    }
}
