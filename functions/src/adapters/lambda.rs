//! Legs of broadcasts, handed over by invoking a function asynchronously.
//!
//! Lambda takes the event and answers at once; should the function fail, Lambda calls it again, twice.
//! <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async.html>

use std::sync::OnceLock;
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use bytes::Bytes;
use functions_domain::Leg;
use functions_domain::ports::{HandOver, PortError};
use http::Method;
use infra_sigv4::{Call, Client, ClientError, Roots};
use tokio::time::{sleep, timeout};

use super::Aws;
use super::parameter_store::may_pass;
use crate::legs::LegEvent;

/// A leg that is taken twice is run twice, and clients know the copies by their ids.
const ATTEMPTS_MAX: u32 = 3;

/// Lambda queues the event within milliseconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// Before the second attempt; doubled before the third.
const PAUSE: Duration = Duration::from_millis(100);

/// [`HandOver`] to one function.
pub struct LambdaLegs {
    /// Made for the first large room: most invocations need none, and loading root certificates takes a small function
    /// milliseconds.
    client: OnceLock<Client>,
    credentials: SharedCredentialsProvider,
    region: String,
    endpoint_url: Option<String>,
    path: String,
    /// Of the alias; beside the name in the path, its colon would have to be encoded as the signature has it.
    qualifier: Option<String>,
}

impl LambdaLegs {
    /// Returns the way to `NAME` or `NAME:ALIAS`.
    pub(super) fn new(aws: &Aws<'_>, function: &str) -> Self {
        let (name, qualifier) = match function.split_once(':') {
            Some((name, alias)) => (name, Some(alias.to_owned())),
            None => (function, None),
        };
        Self {
            client: OnceLock::new(),
            credentials: SharedCredentialsProvider::new(aws.credentials.clone()),
            region: aws.region.clone(),
            endpoint_url: aws.endpoint_url.clone(),
            path: format!("/2015-03-31/functions/{name}/invocations"),
            qualifier,
        }
    }

    fn client(&self) -> Result<&Client, ClientError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let (credentials, region) = (self.credentials.clone(), self.region.clone());
        let client = Client::new(credentials, region, self.endpoint_url.clone(), Roots::of_function())?;
        Ok(self.client.get_or_init(|| client))
    }

    fn call<'a>(&'a self, query: &'a [(&'a str, &'a str)], payload: &Bytes) -> Call<'a> {
        Call {
            service: "lambda",
            host_prefix: "",
            operation: "Invoke",
            method: Method::POST,
            path: &self.path,
            query,
            headers: &[("content-type", "application/json"), ("x-amz-invocation-type", "Event")],
            body: payload.clone(),
        }
    }
}

impl HandOver for LambdaLegs {
    async fn hand_over(&self, leg: &Leg) -> Result<(), PortError> {
        const OPERATION: &str = "hand a leg of the broadcast over";
        let client = self.client().map_err(|error| PortError::new(OPERATION, error))?;
        let payload = Bytes::from(LegEvent::from(leg).to_json());
        let query: Vec<_> = self
            .qualifier
            .iter()
            .map(|alias| ("Qualifier", alias.as_str()))
            .collect();
        let mut pause = PAUSE;
        for attempt in 1.. {
            match timeout(ATTEMPT_TIMEOUT, client.send(self.call(&query, &payload))).await {
                Ok(Ok(_)) => break,
                Ok(Err(error)) if attempt >= ATTEMPTS_MAX || !may_pass(&error) => {
                    return Err(PortError::new(OPERATION, error));
                }
                Err(late) if attempt >= ATTEMPTS_MAX => return Err(PortError::new(OPERATION, late)),
                Ok(Err(_)) | Err(_) => {
                    sleep(pause).await;
                    pause *= 2;
                }
            }
        }
        Ok(())
    }
}
