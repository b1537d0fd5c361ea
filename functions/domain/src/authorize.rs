//! May this client connect, and who is it?

use crate::model::Session;
use crate::ports::{Clock, PortError, TokenError, TokenVerifier};

/// Admits clients with a good token, from pages that may use the chat.
#[derive(Clone, Debug)]
pub struct Authorize<V, C> {
    /// Reads the token.
    pub tokens: V,
    /// Tells whether it has expired.
    pub clock: C,
    /// Which web pages may connect.
    pub origins: AllowedOrigins,
}

/// What a client presents.
#[derive(Clone, Copy, Default)]
pub struct Attempt<'a> {
    /// The token, if there is any.
    pub token: Option<&'a str>,
    /// The `Origin` header. Browsers always send it, and pages cannot change it; other programs need not.
    pub origin: Option<&'a str>,
}

/// The pages that may connect. Without a list any page may: the token travels in the URL or a header that the page must
/// set itself, never in a cookie, so a foreign page has none to abuse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins(Option<Vec<String>>);

/// Why a client may not connect.
#[derive(Debug, thiserror::Error)]
pub enum Denial {
    /// There is no token: the client is asked for one (HTTP 401).
    #[error("no token")]
    NoToken,
    /// The token does not count (HTTP 403). The reason never contains any part of it.
    #[error("{reason}")]
    BadToken {
        /// The reason, for the log.
        reason: String,
    },
    /// A page of another site (HTTP 403).
    #[error("origin not allowed")]
    ForeignOrigin,
    /// The token could not be checked; our fault (HTTP 500).
    #[error("token cannot be checked")]
    Unavailable(#[source] PortError),
}

impl<V: TokenVerifier, C: Clock> Authorize<V, C> {
    /// Returns who the client is, and until when.
    ///
    /// # Errors
    ///
    /// The reason to turn it away.
    pub async fn execute(&self, attempt: Attempt<'_>) -> Result<Session, Denial> {
        let token = attempt.token.filter(|token| !token.is_empty()).ok_or(Denial::NoToken)?;
        if !self.origins.allow(attempt.origin) {
            return Err(Denial::ForeignOrigin);
        }
        self.tokens
            .verify(token, self.clock.now_seconds())
            .await
            .map_err(|error| match error {
                TokenError::Refused { reason } => Denial::BadToken { reason },
                TokenError::Unavailable(source) => Denial::Unavailable(source),
            })
    }
}

impl AllowedOrigins {
    /// Allows every page.
    pub fn any() -> Self {
        Self(None)
    }

    /// Allows the pages of these origins, e.g. `https://chat.example.com`, compared exactly.
    pub fn only(origins: impl IntoIterator<Item = String>) -> Self {
        Self(Some(origins.into_iter().collect()))
    }

    fn allow(&self, origin: Option<&str>) -> bool {
        match (&self.0, origin) {
            (None, _) | (Some(_), None) => true,
            (Some(list), Some(origin)) => list.iter().any(|allowed| allowed == origin),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::testing::{FakeClock, FakeTokens, session};

    fn authorize() -> Authorize<FakeTokens, FakeClock> {
        let tokens = FakeTokens::default().with("good", session("alice", 2_000));
        Authorize {
            tokens,
            clock: FakeClock::at_seconds(1_000),
            origins: AllowedOrigins::any(),
        }
    }

    #[tokio::test]
    async fn a_good_token_admits() {
        let attempt = Attempt {
            token: Some("good"),
            origin: None,
        };
        assert_eq!(authorize().execute(attempt).await.unwrap(), session("alice", 2_000));
    }

    #[tokio::test]
    async fn no_token_and_a_bad_token_are_told_apart() {
        for token in [None, Some("")] {
            let denial = authorize().execute(Attempt { token, origin: None }).await.unwrap_err();
            assert!(matches!(denial, Denial::NoToken), "{denial:?}");
        }
        let denial = authorize()
            .execute(Attempt {
                token: Some("bad"),
                origin: None,
            })
            .await
            .unwrap_err();
        assert!(matches!(denial, Denial::BadToken { .. }), "{denial:?}");
    }

    #[tokio::test]
    async fn an_unreachable_key_is_not_the_clients_fault() {
        let authorize = Authorize {
            tokens: FakeTokens::unavailable(),
            ..authorize()
        };
        let denial = authorize
            .execute(Attempt {
                token: Some("good"),
                origin: None,
            })
            .await
            .unwrap_err();
        assert!(matches!(denial, Denial::Unavailable(_)), "{denial:?}");
    }

    #[tokio::test]
    async fn foreign_pages_are_turned_away() {
        let authorize = Authorize {
            origins: AllowedOrigins::only(["https://a.example".to_owned()]),
            ..authorize()
        };
        for (origin, admitted) in [
            (None, true),
            (Some("https://a.example"), true),
            (Some("https://a.example.evil"), false),
            (Some("http://a.example"), false),
            (Some("null"), false),
        ] {
            let result = authorize
                .execute(Attempt {
                    token: Some("good"),
                    origin,
                })
                .await;
            assert_eq!(result.is_ok(), admitted, "{origin:?}");
        }
    }
}
