//! Frames to clients, through the `@connections` API of the WebSocket endpoint.

use aws_sdk_apigatewaymanagement::Client;
use aws_sdk_apigatewaymanagement::config::retry::RetryConfig;
use aws_sdk_apigatewaymanagement::config::{BehaviorVersion, Builder, Region};
use aws_sdk_apigatewaymanagement::primitives::Blob;
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use functions_domain::ConnectionId;
use functions_domain::ports::{CloseConnection, Closing, Delivery, PortError, SendFrame};

use super::Aws;

/// For broken connections and server errors. A frame that arrives twice has the same message id.
const ATTEMPTS_MAX: u32 = 2;

/// The client left, or its handshake is not finished: `GoneException`.
const GONE: u16 = 410;
/// The function's role may not post, or the endpoint is of another API: `ForbiddenException`.
const FORBIDDEN: u16 = 403;
/// The account's rate is used up, or the client reads too slowly: `LimitExceededException`.
const TOO_MANY_REQUESTS: u16 = 429;

/// [`SendFrame`] and [`CloseConnection`] over one stage of one API.
#[derive(Clone, Debug)]
pub struct ApiGateway {
    client: Client,
}

impl ApiGateway {
    pub(super) fn new(aws: &Aws<'_>, management_endpoint: &str) -> Self {
        let config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(aws.region.clone()))
            .credentials_provider(aws.credentials.clone())
            .http_client(aws.http.clone())
            .timeout_config(Aws::timeouts())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
            .retry_classifier(LeaveSlowPeersToTheDomain)
            .endpoint_url(management_endpoint)
            .build();
        Self {
            client: Client::from_conf(config),
        }
    }
}

impl SendFrame for ApiGateway {
    async fn send(&self, to: &ConnectionId, frame: &str) -> Result<Delivery, PortError> {
        let request = self
            .client
            .post_to_connection()
            .connection_id(to.as_str())
            .data(Blob::new(frame));
        // The SDK's futures are large; on the heap they do not weigh on every broadcast slot.
        let Err(error) = Box::pin(request.send()).await else {
            return Ok(Delivery::Delivered);
        };
        match error.raw_response().map(|response| response.status().as_u16()) {
            Some(GONE) => Ok(Delivery::Gone),
            Some(TOO_MANY_REQUESTS) => Ok(Delivery::Slow),
            Some(FORBIDDEN) => Ok(Delivery::Forbidden),
            Some(_) | None => Err(PortError::new("post to the connection", error)),
        }
    }
}

impl CloseConnection for ApiGateway {
    async fn close(&self, id: &ConnectionId) -> Result<Closing, PortError> {
        let request = self.client.delete_connection().connection_id(id.as_str());
        let Err(error) = Box::pin(request.send()).await else {
            return Ok(Closing::Closed);
        };
        match error.raw_response().map(|response| response.status().as_u16()) {
            Some(GONE) => Ok(Closing::Gone),
            Some(_) | None => Err(PortError::new("end the connection", error)),
        }
    }
}

/// The SDK would repeat after 429, which doubles the load exactly when there is too much; the use case has its own,
/// bounded way.
#[derive(Debug)]
struct LeaveSlowPeersToTheDomain;

impl ClassifyRetry for LeaveSlowPeersToTheDomain {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response().map(|response| response.status().as_u16()) {
            Some(TOO_MANY_REQUESTS) => RetryAction::RetryForbidden,
            Some(_) | None => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "leave slow peers to the domain"
    }
}
