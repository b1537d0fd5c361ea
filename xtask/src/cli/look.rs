//! Options of what looks at a deployed stage and talks to it.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::duration;

/// Options of `logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Functions, and other log groups of the stack; all without any
    #[arg(value_name = "FUNCTION")]
    pub(crate) functions: Vec<String>,
    /// Go on until Ctrl-C
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Where to begin: so long ago, or a time such as 2026-11-22T10:00:00Z
    #[arg(long, value_name = "WHEN", default_value = "10m")]
    pub(crate) since: Moment,
    /// Where to end, as for --since; now without it
    #[arg(long, value_name = "WHEN", conflicts_with = "follow")]
    pub(crate) until: Option<Moment>,
    /// Only lines that match this CloudWatch Logs filter pattern
    #[arg(long, value_name = "PATTERN")]
    pub(crate) filter: Option<String>,
    /// Only lines of this level or above; lines without a level count as info
    #[arg(long, value_name = "LEVEL")]
    pub(crate) level: Option<Level>,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// A room whose connections are counted; may be repeated
    #[arg(long = "room", value_name = "ROOM", default_value = "lobby")]
    pub(crate) rooms: Vec<String>,
}

/// Options of `invoke`.
#[derive(Debug, Args)]
pub(crate) struct Invoke {
    /// A function of the stage
    #[arg(value_name = "FUNCTION")]
    pub(crate) function: String,
    /// The event, as JSON; `-` or nothing: from stdin, where that is no terminal, or else {}
    #[arg(long, value_name = "JSON")]
    pub(crate) payload: Option<String>,
}

/// Options of `chat`.
#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// Where to connect [default: the stage's webSocketUrl]
    #[arg(value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Who you are: a token is minted with the stage's key [default: your name on this machine]
    #[arg(long, value_name = "SUB", conflicts_with = "token")]
    pub(crate) user: Option<String>,
    /// A role of that user; may be repeated
    #[arg(long = "role", value_name = "ROLE", conflicts_with = "token")]
    pub(crate) roles: Vec<String>,
    /// A token, instead of minting one; better in CHAT_TOKEN, since others can see command lines
    #[arg(long, value_name = "JWT", env = "CHAT_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// The room to begin in
    #[arg(long, value_name = "ROOM")]
    pub(crate) room: Option<String>,
    /// Stay so long after the end of stdin, to hear what others say
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) linger: Option<Duration>,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Level {
    /// Every step
    Trace,
    /// For those who look for a mistake
    Debug,
    /// What happens
    Info,
    /// What should not happen too often
    Warn,
    /// What went wrong
    Error,
}

/// A moment as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// So long ago.
    Ago(Duration),
    /// Milliseconds since 1970.
    At(u64),
}

impl Moment {
    /// Returns it in milliseconds since 1970.
    pub(crate) fn at_ms(self, now_ms: u64) -> u64 {
        match self {
            Self::Ago(ago) => now_ms.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
            Self::At(at_ms) => at_ms,
        }
    }
}

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ago) = duration(text) {
            return Ok(Self::Ago(ago));
        }
        let at: jiff::Timestamp = text
            .parse()
            .map_err(|_| format!("`{text}` is no time; write for example 90s, 10m, 1h, 7d or 2026-11-22T10:00:00Z"))?;
        Ok(Self::At(u64::try_from(at.as_millisecond()).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn moments_are_ages_or_times() {
        let moment = |text: &str| text.parse::<Moment>().map(|moment| moment.at_ms(10_000_000));
        assert_eq!(moment("10m").unwrap(), 9_400_000);
        assert_eq!(moment("7d").unwrap(), 0);
        assert_eq!(moment("1970-01-01T01:00:00+00:59").unwrap(), 60_000);
        assert!(moment("yesterday").unwrap_err().contains("`yesterday`"));
    }
}
