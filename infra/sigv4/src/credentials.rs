//! Credentials, kept until shortly before they expire.
//!
//! Providers answer afresh at every question: some start a process, others call STS or the single-sign-on service. The
//! SDK clients cache them internally, so a client of our own must do the same.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use tokio::sync::Mutex;

/// Credentials that expire sooner than this are renewed, so that a call under way does not outlive them.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

pub(crate) struct CachedCredentials {
    provider: SharedCredentialsProvider,
    cached: Mutex<Option<Credentials>>,
}

impl CachedCredentials {
    pub(crate) fn new(provider: SharedCredentialsProvider) -> Self {
        Self {
            provider,
            cached: Mutex::new(None),
        }
    }

    /// Returns credentials that are good for at least [`RENEW_BEFORE`], as far as their provider can tell.
    pub(crate) async fn get(&self) -> Result<Credentials, CredentialsError> {
        // Held while the provider works, on purpose: calls that start together must ask it once, not once each.
        let mut cached = self.cached.lock().await;
        if let Some(credentials) = cached.as_ref().filter(|credentials| is_fresh(credentials)) {
            return Ok(credentials.clone());
        }
        let credentials = self.provider.provide_credentials().await?;
        *cached = Some(credentials.clone());
        Ok(credentials)
    }
}

fn is_fresh(credentials: &Credentials) -> bool {
    credentials
        .expiry()
        .is_none_or(|expiry| expiry > SystemTime::now() + RENEW_BEFORE)
}
