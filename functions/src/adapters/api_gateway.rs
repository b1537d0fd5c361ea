//! Frames to clients, through the `@connections` API of the WebSocket endpoint.
//!
//! Posts are the chat's hot path and sent by [`post`]; everything else goes through the SDK. Both share their
//! connections.

mod post;
mod signature;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_sdk_apigatewaymanagement::Client;
use aws_sdk_apigatewaymanagement::config::{BehaviorVersion, Builder, Config, Region};
use functions_domain::ConnectionId;
use functions_domain::ports::{CloseConnection, Closing, Delivery, PortError, SendFrame};

pub(crate) use self::post::EndpointError;
use self::post::{PostError, Poster};
use super::Aws;
use super::aws::ATTEMPT_TIMEOUT;
use super::http::Http;

/// For broken connections and server errors. A frame that arrives twice has the same message id.
const ATTEMPTS_MAX: u32 = 2;
/// Before the second attempt.
const PAUSE: Duration = Duration::from_millis(100);

/// The client left, or its handshake is not finished: `GoneException`.
const GONE: u16 = 410;
/// The function's role may not post, or the endpoint is of another API: `ForbiddenException`.
const FORBIDDEN: u16 = 403;
/// The account's rate is used up, or the client reads too slowly: `LimitExceededException`.
const TOO_MANY_REQUESTS: u16 = 429;

/// [`SendFrame`] and [`CloseConnection`] over one stage of one API.
#[derive(Clone, Debug)]
pub struct ApiGateway {
    config: Config,
    client: Arc<OnceLock<Client>>,
    poster: Arc<Poster>,
}

impl ApiGateway {
    pub(super) fn new(aws: &Aws<'_>, http: Http, management_endpoint: &str) -> Result<Self, EndpointError> {
        let config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(aws.region.clone()))
            .credentials_provider(aws.credentials.clone())
            .http_client(http.for_sdk())
            .timeout_config(Aws::timeouts())
            .retry_config(Aws::retries(ATTEMPTS_MAX))
            .endpoint_url(management_endpoint)
            .build();
        let poster = Poster::new(
            http,
            aws.credentials.clone(),
            aws.region.clone(),
            management_endpoint,
            ATTEMPT_TIMEOUT,
        )?;
        Ok(Self {
            config,
            client: Arc::default(),
            poster: Arc::new(poster),
        })
    }

    /// Returns the client, which is made when somebody is sent away, and hardly anybody is: a client reads the list of
    /// AWS's partitions, a tenth of what a cold start computes.
    fn client(&self) -> &Client {
        self.client.get_or_init(|| Client::from_conf(self.config.clone()))
    }
}

impl SendFrame for ApiGateway {
    async fn send(&self, to: &ConnectionId, frame: &str) -> Result<Delivery, PortError> {
        let mut attempt = 1;
        loop {
            match self.poster.post(to, frame).await {
                Ok(()) => return Ok(Delivery::Delivered),
                Err(PostError::Status { status: GONE, .. }) => return Ok(Delivery::Gone),
                // Not repeated here, where it would double the load exactly when there is too much: the use case has
                // its own, bounded way.
                Err(PostError::Status {
                    status: TOO_MANY_REQUESTS,
                    ..
                }) => return Ok(Delivery::Slow),
                Err(PostError::Status { status: FORBIDDEN, .. }) => return Ok(Delivery::Forbidden),
                Err(error) if attempt < ATTEMPTS_MAX && may_pass(&error) => {
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(PortError::new("post to the connection", error)),
            }
        }
    }
}

/// Returns whether another attempt may succeed.
fn may_pass(error: &PostError) -> bool {
    match error {
        PostError::Status { status, .. } => *status >= 500,
        PostError::Connection(_) | PostError::Timeout { .. } => true,
        PostError::Id(_) => false,
    }
}

impl CloseConnection for ApiGateway {
    async fn close(&self, id: &ConnectionId) -> Result<Closing, PortError> {
        let request = self.client().delete_connection().connection_id(id.as_str());
        let Err(error) = Box::pin(request.send()).await else {
            return Ok(Closing::Closed);
        };
        match error.raw_response().map(|response| response.status().as_u16()) {
            Some(GONE) => Ok(Closing::Gone),
            Some(_) | None => Err(PortError::new("end the connection", error)),
        }
    }
}
