//! Tokens, verified with the key in an SSM parameter.
//!
//! The keys are read once per execution environment, again after ten minutes, and as soon as a token names a key that
//! is not among them, so that a rotation needs no deployment and no waiting. They are never logged.

use std::time::Duration;

use functions_domain::ports::{PortError, TokenError, TokenVerifier};
use functions_domain::{Identity, Session};
use functions_token::{Expected, Keys, Refusal};
use infra_sigv4::{CallError, Client};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// How long a key is used without looking again.
const KEY_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// A token with an unknown `kid` has the keys read again at most so often: anybody can make up such tokens, and Parameter
/// Store answers 40 calls a second.
const REREAD_PAUSE: Duration = Duration::from_secs(5);

/// Reading may be repeated without harm; a connecting client is waiting.
const ATTEMPTS_MAX: u32 = 3;

/// Before the second attempt; doubled before the third.
const PAUSE: Duration = Duration::from_millis(100);

/// A [`TokenVerifier`] with the key in one parameter.
pub struct ParameterStoreTokens {
    client: Client,
    parameter: String,
    audience: String,
    cached: Mutex<Option<(Instant, Keys)>>,
}

impl ParameterStoreTokens {
    /// Returns a verifier of the tokens from and for `audience`.
    pub fn new(client: Client, parameter: &str, audience: &str) -> Self {
        Self {
            client,
            parameter: parameter.to_owned(),
            audience: audience.to_owned(),
            cached: Mutex::new(None),
        }
    }

    /// Returns the keys, read within `lifetime`.
    async fn keys(&self, lifetime: Duration) -> Result<Keys, PortError> {
        // Held while SSM answers. A function handles one event at a time, so nobody waits for it.
        let mut cached = self.cached.lock().await;
        let known = match cached.take() {
            Some((read_at, keys)) if read_at.elapsed() < lifetime => {
                *cached = Some((read_at, keys.clone()));
                return Ok(keys);
            }
            known => known.map(|(_, keys)| keys),
        };
        let keys = match (self.read().await, known) {
            (Ok(keys), _) => keys,
            // A known key is better than none; another attempt follows after the same time.
            (Err(error), Some(keys)) => {
                tracing::warn!(error = crate::runtime::chain(&error), "kept the known token key");
                keys
            }
            (Err(error), None) => return Err(error),
        };
        *cached = Some((Instant::now(), keys.clone()));
        Ok(keys)
    }

    async fn read(&self) -> Result<Keys, PortError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| {
            PortError::new(format!("read the token key in parameter {}", self.parameter), source)
        };
        let input = json!({"Name": self.parameter, "WithDecryption": true});
        let mut pause = PAUSE;
        let mut attempt = 1;
        let output = loop {
            match self.client.aws_json("ssm", "AmazonSSM.GetParameter", &input).await {
                Ok(output) => break output,
                Err(error) if attempt < ATTEMPTS_MAX && may_pass(&error) => {
                    sleep(pause).await;
                    pause *= 2;
                    attempt += 1;
                }
                Err(error) => return Err(failed(error.into())),
            }
        };
        let value = output["Parameter"]["Value"]
            .as_str()
            .ok_or_else(|| failed("answer without a value".into()))?;
        Keys::parse(value).map_err(|error| failed(error.into()))
    }
}

/// Throttling has status 400 in this protocol, and a name that tells.
pub(super) fn may_pass(error: &CallError) -> bool {
    match error {
        CallError::Transport { .. } => true,
        CallError::Service { status, code, .. } => *status >= 500 || *status == 429 || code.starts_with("Throttl"),
        _ => false,
    }
}

impl TokenVerifier for ParameterStoreTokens {
    async fn verify(&self, token: &str, now_seconds: u64) -> Result<Session, TokenError> {
        let expected = Expected {
            issuer: &self.audience,
            audience: &self.audience,
        };
        let mut result = Err(Refusal::UnknownKey);
        for lifetime in [KEY_LIFETIME, REREAD_PAUSE] {
            let keys = self.keys(lifetime).await.map_err(TokenError::Unavailable)?;
            result = functions_token::verify(&keys, token, expected, now_seconds);
            if result != Err(Refusal::UnknownKey) {
                break;
            }
        }
        let claims = result.map_err(|refusal| TokenError::Refused {
            reason: refusal.to_string(),
        })?;
        let user = Identity {
            sub: claims.sub,
            name: claims.name,
            roles: claims.roles,
        };
        Ok(Session {
            user,
            token_expires_at: claims.exp,
        })
    }
}
