//! Credentials that are asked for once and shared by all clients.
//!
//! SDK clients and signed calls each keep a cache of their own; without this one, a command that asks for a second
//! factor would ask twice.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use tokio::sync::Mutex;

/// Credentials that end sooner are renewed. Longer than what the clients' own caches ask for (10 seconds to a minute),
/// so that they never get from here what they consider expired.
const RENEW_BEFORE: Duration = Duration::from_secs(120);

/// A provider's answer, kept until shortly before it expires.
#[derive(Debug)]
pub(crate) struct Cached {
    provider: SharedCredentialsProvider,
    kept: Mutex<Option<Credentials>>,
}

impl Cached {
    pub(crate) fn new(provider: SharedCredentialsProvider) -> Self {
        Self {
            provider,
            kept: Mutex::new(None),
        }
    }

    async fn get(&self) -> provider::Result {
        // Held while the provider works, on purpose: it must be asked once, not once for each waiting call.
        let mut kept = self.kept.lock().await;
        if let Some(credentials) = kept.as_ref().filter(|credentials| is_fresh(credentials)) {
            return Ok(credentials.clone());
        }
        let credentials = self.provider.provide_credentials().await?;
        *kept = Some(credentials.clone());
        Ok(credentials)
    }
}

impl ProvideCredentials for Cached {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.get())
    }
}

fn is_fresh(credentials: &Credentials) -> bool {
    credentials
        .expiry()
        .is_none_or(|expiry| expiry > SystemTime::now() + RENEW_BEFORE)
}
