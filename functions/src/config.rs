//! What a function is told by its environment: names of its resources, and how to reach AWS.
//!
//! Only environment variables count. On Lambda they always hold Region and credentials; looking for profile files and
//! metadata services, as general programs do, would cost every cold start time.

use std::collections::HashMap;

use functions_domain::AllowedOrigins;

/// Name of the connection table.
pub const CONNECTIONS_TABLE: &str = "CONNECTIONS_TABLE";
/// Name of the SSM parameter with the token key.
pub const TOKEN_KEY_PARAMETER: &str = "TOKEN_KEY_PARAMETER";
/// The only accepted `iss` and `aud` of tokens.
pub const TOKEN_AUDIENCE: &str = "TOKEN_AUDIENCE";
/// Where frames to clients are posted, with the stage: `https://{api}.execute-api.{region}.amazonaws.com/{stage}`.
pub const MANAGEMENT_ENDPOINT: &str = "MANAGEMENT_ENDPOINT";
/// Optional: the web origins that may connect, separated by commas. Any may, if it is absent or empty.
pub const ALLOWED_ORIGINS: &str = "ALLOWED_ORIGINS";

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

    /// Returns the web pages that may connect, as [`ALLOWED_ORIGINS`] lists them.
    pub fn allowed_origins(&self) -> AllowedOrigins {
        let Some(list) = self.get(ALLOWED_ORIGINS) else {
            return AllowedOrigins::any();
        };
        AllowedOrigins::only(
            list.split(',')
                .map(|origin| origin.trim().to_owned())
                .filter(|origin| !origin.is_empty()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            AllowedOrigins::only(both)
        );
    }
}
