//! The route `$disconnect`: forgets the connection.

use functions_domain::Disconnect;
use functions_domain::ports::ConnectionRepository;

use super::Response;
use crate::events::WebSocketEvent;
use crate::runtime::Failure;

/// Removes the connection's row.
///
/// # Errors
///
/// [`Failure::Port`] when that cannot be done. The row is then removed by the next broadcast, or expires.
pub async fn disconnect<R: ConnectionRepository>(
    disconnect: &Disconnect<R>,
    event: WebSocketEvent,
) -> Result<Response, Failure> {
    let context = event.request_context;
    disconnect.execute(&context.connection_id).await?;
    let code = context.disconnect_status_code;
    tracing::info!(route = "$disconnect", connectionId = %context.connection_id, code, "disconnected");
    Ok(Response::status(200))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use functions_domain::testing::{FakeConnections, connection};

    use super::*;
    use crate::handlers::testing::event;

    #[tokio::test]
    async fn the_row_is_removed() {
        let connections = FakeConnections::of([connection("BFaT_fALIAMCKug=", "lobby"), connection("other", "lobby")]);
        let use_case = Disconnect {
            connections: connections.clone(),
        };
        assert_eq!(
            disconnect(&use_case, event("disconnect", |_| {}))
                .await
                .unwrap()
                .status_code,
            200
        );
        assert_eq!(connections.ids(), ["other"]);
    }
}
