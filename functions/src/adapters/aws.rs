//! How AWS is reached: what all clients of one process share.

use std::cell::OnceCell;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_types::retry::{ReconnectMode, RetryConfig};
use aws_smithy_types::timeout::TimeoutConfig;
use functions_domain::{Broadcast, FanOut, Presence};
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use infra_sigv4::{ClientError, Roots};
use tokio::time::timeout;

use super::http::Http;
use super::{ApiGateway, DynamoDb, LambdaLegs, Messages, ParameterStoreTokens};
use crate::config::{
    BROADCAST_FUNCTION, CONNECTIONS_TABLE, ConfigError, Environment, MANAGEMENT_ENDPOINT, MESSAGES_TABLE, RATES_TABLE,
    TOKEN_AUDIENCE, TOKEN_KEY_PARAMETER,
};
use crate::frames;
use crate::runtime::StartError;

/// One attempt of one call.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// One call with its repetitions.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(8);

/// Initialisation does not wait longer for what the first event may do without. Lambda ends it after 10 s.
pub(super) const PRIME_TIMEOUT: Duration = Duration::from_secs(1);
/// More than any server says to a stranger.
const PRIME_BYTES_MAX: usize = 4096;

/// Makes the adapters. Their clients share one connection pool.
pub struct Aws<'a> {
    environment: &'a Environment,
    pub(super) region: String,
    pub(super) credentials: Credentials,
    pub(super) endpoint_url: Option<String>,
    /// Made when the first client wants it: the authorizer, which asks nobody but SSM, has none.
    http: OnceCell<Http>,
}

impl<'a> Aws<'a> {
    /// Reads Region, credentials and `AWS_ENDPOINT_URL`.
    ///
    /// # Errors
    ///
    /// When Region or credentials are missing.
    pub fn new(environment: &'a Environment) -> Result<Self, ConfigError> {
        let credentials = Credentials::new(
            environment.require("AWS_ACCESS_KEY_ID")?,
            environment.require("AWS_SECRET_ACCESS_KEY")?,
            environment.get("AWS_SESSION_TOKEN").map(str::to_owned),
            None,
            "environment",
        );
        Ok(Self {
            environment,
            region: environment.require("AWS_REGION")?.to_owned(),
            credentials,
            endpoint_url: environment.get("AWS_ENDPOINT_URL").map(str::to_owned),
            http: OnceCell::new(),
        })
    }

    /// Returns the repository in the table that the environment names.
    ///
    /// # Errors
    ///
    /// When it names none.
    pub fn connections(&self) -> Result<DynamoDb, ConfigError> {
        let environment = self.environment;
        Ok(DynamoDb::new(
            self.dynamodb()?,
            environment.require(CONNECTIONS_TABLE)?,
            environment.require(RATES_TABLE)?,
            environment.room_shards()?,
        ))
    }

    /// Returns what was said, in the table that the environment names.
    ///
    /// # Errors
    ///
    /// When it names none.
    pub fn messages(&self) -> Result<Messages, ConfigError> {
        Ok(Messages::new(
            self.dynamodb()?,
            self.environment.require(MESSAGES_TABLE)?,
        ))
    }

    /// Returns the way to the invocations of the function that the environment names.
    ///
    /// # Errors
    ///
    /// When it names none.
    pub fn legs(&self) -> Result<LambdaLegs, ConfigError> {
        Ok(LambdaLegs::new(self, self.environment.require(BROADCAST_FUNCTION)?))
    }

    /// Returns the way to all of a room.
    ///
    /// # Errors
    ///
    /// When the environment does not say where that is.
    pub fn fan_out<C>(&self, clock: C) -> Result<FanOut<DynamoDb, ApiGateway, C, LambdaLegs>, ConfigError> {
        Ok(FanOut {
            broadcast: self.broadcast(clock)?,
            others: self.legs()?,
            inline_max: self.environment.inline_connections_max()?,
        })
    }

    /// Returns the way to connections.
    ///
    /// # Errors
    ///
    /// When the environment does not say where that is.
    pub fn broadcast<C>(&self, clock: C) -> Result<Broadcast<DynamoDb, ApiGateway, C>, ConfigError> {
        Ok(Broadcast {
            connections: self.connections()?,
            gateway: self.gateway()?,
            clock,
        })
    }

    /// Returns the gateway at the endpoint that the environment names.
    ///
    /// # Errors
    ///
    /// When it names none, or something that is no endpoint.
    pub fn gateway(&self) -> Result<ApiGateway, ConfigError> {
        let endpoint = self.environment.require(MANAGEMENT_ENDPOINT)?;
        ApiGateway::new(self, self.http()?, endpoint).map_err(|error| ConfigError::Invalid {
            name: MANAGEMENT_ENDPOINT,
            reason: error.to_string(),
        })
    }

    /// Returns the way to rooms and their members, from both.
    ///
    /// # Errors
    ///
    /// When the environment does not name them.
    pub fn presence<C>(&self, clock: C) -> Result<Presence<DynamoDb, ApiGateway, C>, ConfigError> {
        Ok(Presence {
            broadcast: self.broadcast(clock)?,
            encode: frames::presence,
        })
    }

    /// Returns the verifier whose key is in the parameter that the environment names.
    ///
    /// # Errors
    ///
    /// When it names no parameter or audience, or when TLS cannot be set up.
    pub fn tokens(&self) -> Result<ParameterStoreTokens, StartError> {
        let parameter = self.environment.require(TOKEN_KEY_PARAMETER)?;
        let audience = self.environment.require(TOKEN_AUDIENCE)?;
        Ok(ParameterStoreTokens::new(self.signed()?, parameter, audience))
    }

    /// Returns a client for services whose SDK is not worth its weight in a function, such as SSM.
    pub(super) fn signed(&self) -> Result<infra_sigv4::Client, ClientError> {
        let credentials = SharedCredentialsProvider::new(self.credentials.clone());
        let (region, endpoint_url) = (self.region.clone(), self.endpoint_url.clone());
        infra_sigv4::Client::new(credentials, region, endpoint_url, Roots::of_function())
    }

    /// Opens the connections to the table and to the gateway, while the function initialises: Lambda gives it the CPU of a
    /// large function for that, and the first event does not wait for two handshakes at the CPU share of a small one.
    ///
    /// A server that cannot be reached is none of this: the first event will tell.
    pub async fn prime(&self) {
        let table = format!("https://dynamodb.{}.amazonaws.com", self.region);
        let table = self
            .environment
            .get(CONNECTIONS_TABLE)
            .map(|_| match &self.endpoint_url {
                Some(url) => url.as_str(),
                None => table.as_str(),
            });
        let gateway = self.environment.get(MANAGEMENT_ENDPOINT);
        tokio::join!(self.open(table), self.open(gateway));
    }

    /// Opens a connection with a request that needs no signature and has no effect; what is answered does not matter.
    async fn open(&self, url: Option<&str>) {
        // Without TLS there is nothing to gain.
        let request = url
            .filter(|url| url.starts_with("https://"))
            .and_then(|url| Request::get(url).body(Full::default()).ok());
        let (Some(request), Some(http)) = (request, self.http.get()) else {
            return;
        };
        let exchange = async {
            let response = http.send(request).await.ok()?;
            // HTTP/1.1 uses a connection again only after the whole answer.
            Limited::new(response.into_body(), PRIME_BYTES_MAX).collect().await.ok()
        };
        let _ = timeout(PRIME_TIMEOUT, exchange).await;
    }

    /// Returns the connections that all clients share.
    pub(super) fn http(&self) -> Result<Http, ConfigError> {
        if let Some(http) = self.http.get() {
            return Ok(http.clone());
        }
        let http = Http::new().map_err(|error| ConfigError::RootCertificates {
            reason: error.to_string(),
        })?;
        Ok(self.http.get_or_init(|| http).clone())
    }

    /// So many attempts of one call. A connection is kept after a server's error: others have requests on it, and one that
    /// is broken the pool finds itself.
    pub(super) fn retries(most: u32) -> RetryConfig {
        RetryConfig::standard()
            .with_max_attempts(most)
            .with_reconnect_mode(ReconnectMode::ReuseAllConnections)
    }

    pub(super) fn timeouts() -> TimeoutConfig {
        TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(OPERATION_TIMEOUT)
            .build()
    }
}
