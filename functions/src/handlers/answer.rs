//! How message routes without a route response answer: through `@connections`.
//!
//! Most messages are answered by nothing at all, and what API Gateway would send for a route response without a body is
//! not documented.

use functions_domain::Refusal;
use functions_domain::ports::{CloseConnection, Delivery, PortError, SendFrame};

use super::Response;
use crate::events::RequestContext;
use crate::frames::{self, ErrorCode, Rejection};
use crate::metrics;
use crate::runtime::Failure;

/// Why an action had no effect.
pub(super) enum Trouble {
    /// The client's doing; it is told.
    Rejected(Rejection),
    /// Ours; API Gateway tells the client that there was an internal error.
    Failed(Failure),
}

impl Trouble {
    /// Returns the trouble of an action that was not admitted.
    pub(super) fn refused(refusal: Refusal, id: Option<String>) -> Self {
        match (Rejection::of(&refusal, id), refusal) {
            (_, Refusal::Unavailable(error)) => Self::Failed(Failure::Port(error)),
            (Some(rejection), _) => Self::Rejected(rejection),
            (None, refusal) => Self::Failed(Failure::Port(PortError::new("admit the action", refusal))),
        }
    }

    /// Returns the trouble of an event without identity: the client did not come through our authorizer. To it, this is
    /// the same as a token that has expired.
    pub(super) fn no_identity(id: Option<String>) -> Self {
        Self::Rejected(Rejection::new(
            ErrorCode::TokenExpired,
            "connection has no identity; connect again",
            id,
        ))
    }
}

impl From<Rejection> for Trouble {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<PortError> for Trouble {
    fn from(error: PortError) -> Self {
        Self::Failed(Failure::Port(error))
    }
}

/// Sends the client its answer, or the error frame; ends the connection after errors that say so.
///
/// # Errors
///
/// [`Failure::Port`] when the action failed or the client cannot be answered.
pub(super) async fn answer<G: SendFrame + CloseConnection>(
    gateway: &G,
    context: &RequestContext,
    outcome: Result<Option<String>, Trouble>,
) -> Result<Response, Failure> {
    metrics::message_in();
    let to = &context.connection_id;
    let rejection = match outcome {
        Ok(None) => return Ok(Response::status(200)),
        Ok(Some(frame)) => {
            send(gateway, context, &frame).await?;
            return Ok(Response::status(200));
        }
        Err(Trouble::Failed(failure)) => return Err(failure),
        Err(Trouble::Rejected(rejection)) => rejection,
    };
    let code = rejection.code;
    tracing::info!(route = context.route_key, connectionId = %to, code = code.as_str(), "rejected");
    send(gateway, context, &frames::error(&rejection)).await?;
    if code.ends_connection() {
        gateway.close(to).await?;
    }
    Ok(Response::status(200))
}

/// If the client cannot take the frame, nothing is lost but an answer.
async fn send(gateway: &impl SendFrame, context: &RequestContext, frame: &str) -> Result<(), PortError> {
    let to = &context.connection_id;
    match gateway.send(to, frame).await? {
        Delivery::Delivered => {}
        Delivery::Forbidden => tracing::error!(connectionId = %to, "may not post: check the role's grants"),
        Delivery::Gone | Delivery::Slow => tracing::info!(connectionId = %to, "the client did not take the answer"),
    }
    Ok(())
}
