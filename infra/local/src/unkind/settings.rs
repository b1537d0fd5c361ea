//! How unkind the local cloud is, and how a person writes it: `role=8s,throttle,error=0.02`. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// In which ways a local cloud makes things harder, as AWS does. The default is kind: everything happens at once.
///
/// Written as `key=value` and bare keys between commas, in any order; what is not named is kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unkindness {
    /// `role`: how long Lambda cannot assume a role after its creation.
    pub role: Duration,
    /// `pending`: how long a function is `Pending` after its creation, and `InProgress` after an update.
    pub pending: Duration,
    /// `creating`: how long a table is `CREATING`, and later `UPDATING` or `DELETING`.
    pub creating: Duration,
    /// `throttle`: control planes refuse calls above AWS's rates.
    pub throttle: bool,
    /// `conflict`: API Gateway refuses a change while another change of the same API is being made.
    pub conflict: bool,
    /// `latency`: how much longer each call takes.
    pub latency: Duration,
    /// `lost`: share of calls whose connection ends without an answer. Half of them have happened.
    pub lost: f64,
    /// `error`: share of calls that are answered with a server error. Half of them have happened.
    pub error: f64,
    /// `posts`: share of the functions' posts to connections that find the client gone, or are refused as too many, fail,
    /// or take seconds.
    pub posts: f64,
    /// `tables`: share of the functions' calls of DynamoDB that fail, half of them after they happened.
    pub tables: f64,
    /// `seed`: decides which calls are lost or fail.
    pub seed: u64,
}

/// What AWS does on an ordinary day, as [`Unkindness`] is written.
pub const REALISTIC: &str = "role=8s,pending=2s,creating=6s,throttle,conflict";

/// All keys with an example of each.
const KEYS: [(&str, &str); 11] = [
    ("role", "role=8s"),
    ("pending", "pending=2s"),
    ("creating", "creating=6s"),
    ("throttle", "throttle"),
    ("conflict", "conflict"),
    ("latency", "latency=60ms"),
    ("lost", "lost=0.02"),
    ("error", "error=0.02"),
    ("posts", "posts=0.05"),
    ("tables", "tables=0.02"),
    ("seed", "seed=1"),
];

/// Why a text is no [`Unkindness`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnkindnessError {
    /// There is no such key.
    #[error("`{0}` is not known; known are {keys}", keys = examples())]
    UnknownKey(String),
    /// The key needs a value, must not have one, or has a wrong one.
    #[error("`{key}` is written {expected}, not `{given}`")]
    Value {
        /// The key.
        key: &'static str,
        /// The setting as it was given.
        given: String,
        /// What it should look like.
        expected: &'static str,
    },
    /// A key stands twice.
    #[error("`{0}` is given twice")]
    Twice(&'static str),
}

impl FromStr for Unkindness {
    type Err = UnkindnessError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut unkindness = Self::default();
        let mut seen = Vec::new();
        for given in text.split(',').map(str::trim).filter(|setting| !setting.is_empty()) {
            let (name, value) = match given.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim())),
                None => (given, None),
            };
            let Some((key, _)) = KEYS.iter().find(|(key, _)| *key == name) else {
                return Err(UnkindnessError::UnknownKey(name.to_owned()));
            };
            if seen.contains(key) {
                return Err(UnkindnessError::Twice(key));
            }
            seen.push(key);
            unkindness.set(key, value).map_err(|expected| UnkindnessError::Value {
                key,
                given: given.to_owned(),
                expected,
            })?;
        }
        Ok(unkindness)
    }
}

impl Unkindness {
    /// Sets one of [`KEYS`], or returns how it is written.
    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), &'static str> {
        match key {
            "role" => self.role = duration(value).ok_or("`role=8s` or `role=500ms`")?,
            "pending" => self.pending = duration(value).ok_or("`pending=2s` or `pending=300ms`")?,
            "creating" => self.creating = duration(value).ok_or("`creating=6s` or `creating=500ms`")?,
            "latency" => self.latency = duration(value).ok_or("`latency=60ms` or `latency=1s`")?,
            "lost" => self.lost = share(value).ok_or("`lost=0.02`, a share of calls below 1")?,
            "error" => self.error = share(value).ok_or("`error=0.02`, a share of calls below 1")?,
            "posts" => self.posts = share(value).ok_or("`posts=0.05`, a share of posts below 1")?,
            "tables" => self.tables = share(value).ok_or("`tables=0.02`, a share of calls below 1")?,
            "seed" => self.seed = value.and_then(|text| text.parse().ok()).ok_or("`seed=1`")?,
            "throttle" => self.throttle = flag(value).ok_or("`throttle`, without a value")?,
            "conflict" => self.conflict = flag(value).ok_or("`conflict`, without a value")?,
            _ => {}
        }
        Ok(())
    }
}

/// The same text that is read.
impl fmt::Display for Unkindness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |key: &str, time: Duration| (!time.is_zero()).then(|| format!("{key}={}ms", time.as_millis()));
        let share = |key: &str, share: f64| (share > 0.0).then(|| format!("{key}={share}"));
        let parts = [
            time("role", self.role),
            time("pending", self.pending),
            time("creating", self.creating),
            self.throttle.then(|| "throttle".to_owned()),
            self.conflict.then(|| "conflict".to_owned()),
            time("latency", self.latency),
            share("lost", self.lost),
            share("error", self.error),
            share("posts", self.posts),
            share("tables", self.tables),
            (self.seed > 0).then(|| format!("seed={}", self.seed)),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(","))
    }
}

fn examples() -> String {
    KEYS.map(|(_, example)| example).join(", ")
}

/// Reads `8s` or `60ms`.
fn duration(value: Option<&str>) -> Option<Duration> {
    let value = value?;
    let (digits, unit) = match value.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => (value.strip_suffix('s')?, 1000),
    };
    let count: u64 = digits.parse().ok()?;
    count.checked_mul(unit).map(Duration::from_millis)
}

/// Reads a share from 0 to below 1: with all calls lost nothing could ever end.
fn share(value: Option<&str>) -> Option<f64> {
    let share: f64 = value?.parse().ok()?;
    (0.0..1.0).contains(&share).then_some(share)
}

fn flag(value: Option<&str>) -> Option<bool> {
    value.is_none().then_some(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn settings_are_read_and_written() {
        let text = "role=8s, pending=300ms,creating=6s,throttle,conflict,latency=60ms,lost=0.02,error=0.5,posts=0.1,tables=0.2,seed=7";
        let unkindness: Unkindness = text.parse().unwrap();
        let expected = Unkindness {
            role: Duration::from_secs(8),
            pending: Duration::from_millis(300),
            creating: Duration::from_secs(6),
            throttle: true,
            conflict: true,
            latency: Duration::from_millis(60),
            lost: 0.02,
            error: 0.5,
            posts: 0.1,
            tables: 0.2,
            seed: 7,
        };
        assert_eq!(unkindness, expected);
        assert_eq!(unkindness.to_string().parse(), Ok(expected));
        assert_eq!("".parse(), Ok(Unkindness::default()));
        assert!(REALISTIC.parse::<Unkindness>().unwrap().throttle);
        for (_, example) in KEYS {
            assert!(example.parse::<Unkindness>().is_ok(), "{example}");
        }
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (text, message) in [
            (
                "roles=8s",
                "`roles` is not known; known are role=8s, pending=2s, creating=6s, throttle, conflict, latency=60ms, lost=0.02, error=0.02, posts=0.05, tables=0.02, seed=1",
            ),
            ("role=8", "`role` is written `role=8s` or `role=500ms`, not `role=8`"),
            (
                "pending",
                "`pending` is written `pending=2s` or `pending=300ms`, not `pending`",
            ),
            (
                "lost=1",
                "`lost` is written `lost=0.02`, a share of calls below 1, not `lost=1`",
            ),
            (
                "error=NaN",
                "`error` is written `error=0.02`, a share of calls below 1, not `error=NaN`",
            ),
            (
                "throttle=no",
                "`throttle` is written `throttle`, without a value, not `throttle=no`",
            ),
            ("seed=x", "`seed` is written `seed=1`, not `seed=x`"),
            (
                "latency=-1s",
                "`latency` is written `latency=60ms` or `latency=1s`, not `latency=-1s`",
            ),
            ("role=1s,role=2s", "`role` is given twice"),
            (
                "role=18446744073709551615s",
                "`role` is written `role=8s` or `role=500ms`, not `role=18446744073709551615s`",
            ),
        ] {
            assert_eq!(text.parse::<Unkindness>().unwrap_err().to_string(), message);
        }
    }
}
