//! Credentials, and why there are none.

use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::imds;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use infra_engine::{Class, CloudError};

use crate::credentials::Cached;
use crate::error::explain;

/// A connection stands within this time, or the endpoint is taken to be unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// One call ends within this time.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// On a machine outside EC2 nobody answers at the metadata address, and nobody should wait for it.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// What to connect to, and as whom.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// A profile of `~/.aws/config`. It wins over credentials in the environment; `None` uses the usual chain:
    /// environment, `AWS_PROFILE` or the default profile, web identity, container, instance.
    pub profile: Option<String>,
    /// For example `eu-central-1`.
    pub region: String,
    /// Where all services are instead of AWS, for example `http://127.0.0.1:4566`. It wins over `AWS_ENDPOINT_URL`.
    pub endpoint_url: Option<String>,
    /// Fixed credentials (access key id, secret access key), for local clouds that know no others.
    pub credentials: Option<(String, String)>,
}

/// Why no session could be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// No credentials were found anywhere.
    #[error("no AWS credentials found")]
    NoCredentials,
    /// There are credentials, but they cannot be used: no such profile, an ended single sign-on, a failed command.
    #[error("cannot load AWS credentials: {message}")]
    Credentials {
        /// What went wrong.
        message: String,
    },
    /// Their time is over.
    #[error("the AWS credentials have expired")]
    Expired {
        /// AWS's answer.
        #[source]
        source: CloudError,
    },
    /// AWS does not know them.
    #[error("AWS does not accept the credentials")]
    Unauthenticated {
        /// AWS's answer.
        #[source]
        source: CloudError,
    },
    /// They may do nothing here.
    #[error("AWS denies access")]
    Denied {
        /// AWS's answer.
        #[source]
        source: CloudError,
    },
    /// Nobody answers.
    #[error("nobody answers at {endpoint}")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// What went wrong.
        #[source]
        source: CloudError,
    },
    /// The endpoint is no URL, or this machine has no root certificates.
    #[error("cannot make an AWS client")]
    Client {
        /// The cause.
        #[source]
        source: infra_sigv4::ClientError,
    },
    /// Any other failure to learn the account.
    #[error("cannot learn which AWS account this is")]
    Identity {
        /// AWS's answer.
        #[source]
        source: CloudError,
    },
}

pub(super) fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https()
}

/// Loads credentials once, so that their absence is told before anything else is tried.
pub(super) async fn credentials(
    options: &SessionOptions,
    http: &SharedHttpClient,
) -> Result<SharedCredentialsProvider, SessionError> {
    if let Some((key_id, secret)) = &options.credentials {
        let fixed = Credentials::new(key_id, secret, None, None, "session options");
        return Ok(SharedCredentialsProvider::new(fixed));
    }
    let config = ProviderConfig::without_region()
        .with_region(Some(Region::new(options.region.clone())))
        .with_http_client(http.clone());
    let provider = match &options.profile {
        Some(profile) => SharedCredentialsProvider::new(
            ProfileFileCredentialsProvider::builder()
                .configure(&config)
                .profile_name(profile)
                .build(),
        ),
        None => {
            let metadata = imds::Client::builder()
                .configure(&config)
                .max_attempts(1)
                .connect_timeout(METADATA_TIMEOUT)
                .read_timeout(METADATA_TIMEOUT)
                .operation_timeout(METADATA_TIMEOUT)
                .build();
            let chain = DefaultCredentialsChain::builder()
                .region(Region::new(options.region.clone()))
                .imds_client(metadata)
                .configure(config)
                .build();
            SharedCredentialsProvider::new(chain.await)
        }
    };
    let cached = Cached::new(provider);
    let error = match cached.provide_credentials().await {
        Ok(_) => return Ok(SharedCredentialsProvider::new(cached)),
        Err(error) => error,
    };
    let message = explain(&error);
    let not_loaded = matches!(error, CredentialsError::CredentialsNotLoaded(_));
    Err(match &options.profile {
        Some(profile) if not_loaded => SessionError::Credentials {
            message: format!("profile `{profile}` does not exist or has no credentials"),
        },
        // The instance metadata service is the last to be asked: whatever it says, there is nothing else.
        None if not_loaded || message.contains("IMDS") => SessionError::NoCredentials,
        Some(_) | None => SessionError::Credentials { message },
    })
}

pub(super) async fn sdk_config(
    options: &SessionOptions,
    http: SharedHttpClient,
    credentials: SharedCredentialsProvider,
) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(CALL_TIMEOUT)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new(options.region.clone()))
        .credentials_provider(credentials)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
    if let Some(profile) = &options.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(endpoint_url) = &options.endpoint_url {
        loader = loader.endpoint_url(endpoint_url);
    }
    loader.load().await
}

/// Sorts the failure of the first call.
pub(super) fn refusal(source: CloudError, endpoint_url: Option<&str>) -> SessionError {
    match source.class {
        Class::Unauthenticated if source.code.starts_with("ExpiredToken") => SessionError::Expired { source },
        Class::Unauthenticated => SessionError::Unauthenticated { source },
        Class::Denied => SessionError::Denied { source },
        Class::Unreachable => SessionError::Unreachable {
            endpoint: endpoint_url.unwrap_or("AWS").to_owned(),
            source,
        },
        Class::Throttled | Class::Busy | Class::Propagating | Class::Transient | Class::Quota | Class::Permanent => {
            SessionError::Identity { source }
        }
    }
}
