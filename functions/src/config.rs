//! What a function is told by its environment: names of its resources, and how to reach AWS.
//!
//! Only environment variables count. On Lambda they always hold Region and credentials; looking for profile files and
//! metadata services, as general programs do, would cost every cold start time.

use std::collections::HashMap;

use functions_domain::{AllowedOrigins, INLINE_CONNECTIONS_MAX};

/// Name of the connection table.
pub const CONNECTIONS_TABLE: &str = "CONNECTIONS_TABLE";
/// Name of the table in which the actions of users are counted.
pub const RATES_TABLE: &str = "RATES_TABLE";
/// Name of the table with what was said.
pub const MESSAGES_TABLE: &str = "MESSAGES_TABLE";
/// Which function runs legs of broadcasts: `NAME`, or `NAME:ALIAS`.
pub const BROADCAST_FUNCTION: &str = "BROADCAST_FUNCTION";
/// Into how many shards each room is spread, 1 to [`ROOM_SHARDS_MAX`]. All functions of a stage must agree.
pub const ROOM_SHARDS: &str = "ROOM_SHARDS";
/// Optional: up to how many connections a room is served by the sender's invocation.
pub const INLINE_CONNECTIONS: &str = "INLINE_CONNECTIONS";
/// How many posts all legs of one broadcast together begin in a second.
pub const POSTS_PER_SECOND: &str = "POSTS_PER_SECOND";
/// Name of the SSM parameter with the token key.
pub const TOKEN_KEY_PARAMETER: &str = "TOKEN_KEY_PARAMETER";
/// The only accepted `iss` and `aud` of tokens.
pub const TOKEN_AUDIENCE: &str = "TOKEN_AUDIENCE";
/// Where frames to clients are posted, with the stage: `https://{api}.execute-api.{region}.amazonaws.com/{stage}`.
pub const MANAGEMENT_ENDPOINT: &str = "MANAGEMENT_ENDPOINT";
/// Where clients connect: `wss://{api}.execute-api.{region}.amazonaws.com/{stage}`.
pub const WEB_SOCKET_URL: &str = "WEB_SOCKET_URL";
/// What the browser client calls itself: the application, and its stage.
pub const APP_NAME: &str = "APP_NAME";
/// See [`APP_NAME`].
pub const STAGE_NAME: &str = "STAGE_NAME";
/// Optional: the CloudWatch namespace of the function's metrics; without it, there are none.
pub const METRICS_NAMESPACE: &str = "METRICS_NAMESPACE";
/// Optional: the web origins that may connect, separated by commas; of a URL, its origin counts. Any may, if it is absent
/// or empty.
pub const ALLOWED_ORIGINS: &str = "ALLOWED_ORIGINS";

/// So many queries at once are still quicker than fewer with more pages.
pub const ROOM_SHARDS_MAX: u64 = 256;

/// The environment variables of a function. Without `Debug`: they hold credentials.
#[derive(Clone)]
pub struct Environment(HashMap<String, String>);

/// What is wrong with the environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A required variable is absent or empty.
    #[error("environment variable {name} is not set")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// A variable has a value that cannot be used.
    #[error("environment variable {name} cannot be used: {reason}")]
    Invalid {
        /// Its name.
        name: &'static str,
        /// What is wrong with it. Does not repeat the value.
        reason: String,
    },
    /// The machine trusts nobody.
    #[error("no root certificates: {reason}")]
    RootCertificates {
        /// What was found instead.
        reason: String,
    },
}

impl Environment {
    /// Returns the environment of this process. Variables that are not Unicode are none of ours and left out.
    pub fn of_process() -> Self {
        let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(unicode).collect())
    }

    /// Returns an environment with exactly these variables.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// Returns a variable's value. One that is set to nothing counts as not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns the value of a variable that the function cannot do without.
    ///
    /// # Errors
    ///
    /// When it is not set.
    pub fn require(&self, name: &'static str) -> Result<&str, ConfigError> {
        self.get(name).ok_or(ConfigError::Missing { name })
    }

    /// Returns how many shards rooms have.
    ///
    /// # Errors
    ///
    /// When the variable is absent or out of range.
    pub fn room_shards(&self) -> Result<u32, ConfigError> {
        let shards = number(ROOM_SHARDS, self.require(ROOM_SHARDS)?, ROOM_SHARDS_MAX)?;
        Ok(u32::try_from(shards).unwrap_or(1))
    }

    /// Returns up to how many connections a room is small.
    ///
    /// # Errors
    ///
    /// When the variable is out of range.
    pub fn inline_connections_max(&self) -> Result<usize, ConfigError> {
        let Some(text) = self.get(INLINE_CONNECTIONS) else {
            return Ok(INLINE_CONNECTIONS_MAX);
        };
        let most = number(INLINE_CONNECTIONS, text, 100_000)?;
        Ok(usize::try_from(most).unwrap_or(INLINE_CONNECTIONS_MAX))
    }

    /// Returns how many posts a leg begins in a second: its share.
    ///
    /// # Errors
    ///
    /// When the variable is absent or out of range.
    pub fn posts_per_second_of_a_leg(&self) -> Result<u64, ConfigError> {
        let all = number(POSTS_PER_SECOND, self.require(POSTS_PER_SECOND)?, 1_000_000)?;
        Ok((all / u64::from(self.room_shards()?)).max(1))
    }

    /// Returns the web pages that may connect, as [`ALLOWED_ORIGINS`] lists them.
    pub fn allowed_origins(&self) -> AllowedOrigins {
        let Some(list) = self.get(ALLOWED_ORIGINS) else {
            return AllowedOrigins::any();
        };
        AllowedOrigins::only(
            list.split(',')
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(|text| origin(text).unwrap_or(text).to_owned()),
        )
    }
}

/// Returns scheme, host and port of a URL, e.g. `https://chat.example.com`.
pub(crate) fn origin(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
    let is_origin = !authority.is_empty() && authority.chars().all(fits);
    url.get(..scheme.len() + 3 + authority.len()).filter(|_| is_origin)
}

fn number(name: &'static str, text: &str, most: u64) -> Result<u64, ConfigError> {
    let parsed = text.parse().ok().filter(|number| (1..=most).contains(number));
    parsed.ok_or_else(|| ConfigError::Invalid {
        name,
        reason: format!("not a whole number from 1 to {most}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_ranges() {
        let shards = |value| Environment::of([(ROOM_SHARDS, value)]).room_shards();
        assert_eq!((shards("1"), shards("256")), (Ok(1), Ok(256)));
        for bad in ["0", "257", "-1", "four", "1.5"] {
            let error = shards(bad).map_err(|error| error.to_string());
            let expected = "environment variable ROOM_SHARDS cannot be used: not a whole number from 1 to 256";
            assert_eq!(error, Err(expected.to_owned()), "{bad}");
        }
        let legs = Environment::of([(ROOM_SHARDS, "4"), (POSTS_PER_SECOND, "8000")]);
        assert_eq!(legs.posts_per_second_of_a_leg(), Ok(2_000));
        assert_eq!(legs.inline_connections_max(), Ok(INLINE_CONNECTIONS_MAX));
    }

    #[test]
    fn a_missing_variable_is_named() {
        let environment = Environment::of([(TOKEN_AUDIENCE, ""), (CONNECTIONS_TABLE, "table")]);
        assert_eq!(environment.require(CONNECTIONS_TABLE), Ok("table"));
        for name in [TOKEN_AUDIENCE, TOKEN_KEY_PARAMETER] {
            let error = environment.require(name).map_err(|error| error.to_string());
            assert_eq!(error, Err(format!("environment variable {name} is not set")));
        }
    }

    #[test]
    fn origins_are_a_list() {
        let origins = |value| Environment::of([(ALLOWED_ORIGINS, value)]).allowed_origins();
        assert_eq!(origins(""), AllowedOrigins::any());
        let both = ["https://a.example".to_owned(), "https://b.example".to_owned()];
        assert_eq!(
            origins("https://a.example, https://b.example,"),
            AllowedOrigins::only(both.clone())
        );
        assert_eq!(
            origins("https://a.example/,https://b.example/chat?x#y"),
            AllowedOrigins::only(both)
        );
    }

    #[test]
    fn the_origin_of_a_url_has_its_port_and_nothing_after_it() {
        for (url, expected) in [
            ("https://a.example", Some("https://a.example")),
            (
                "http://127.0.0.1:4566/_aws/lambda-url/x/",
                Some("http://127.0.0.1:4566"),
            ),
            ("wss://[::1]:80?x", Some("wss://[::1]:80")),
            ("a.example", None),
            ("https://", None),
            ("https:///a", None),
            ("https://a b", None),
        ] {
            assert_eq!(origin(url), expected, "{url}");
        }
    }
}
