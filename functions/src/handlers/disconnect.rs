//! The route `$disconnect`: forgets the connection.

use functions_domain::Disconnect;
use functions_domain::ports::{Clock, ForgetConnection, ListRoom, SendFrame};

use super::{Response, log_presence};
use crate::events::WebSocketEvent;
use crate::runtime::Failure;

/// Removes the connection's row and tells its room.
///
/// # Errors
///
/// [`Failure::Port`] when that cannot be done. The row is then removed by the next broadcast, or expires.
pub async fn disconnect<R, G, C>(disconnect: &Disconnect<R, G, C>, event: WebSocketEvent) -> Result<Response, Failure>
where
    R: ForgetConnection + ListRoom,
    G: SendFrame,
    C: Clock,
{
    let context = event.request_context;
    if let Some((_, told)) = Box::pin(disconnect.execute(&context.connection_id)).await? {
        log_presence(&context, &told);
    }
    let code = context.disconnect_status_code;
    tracing::info!(route = "$disconnect", connectionId = %context.connection_id, code, "disconnected");
    Ok(Response::status(200))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use functions_domain::testing::{FakeClock, FakeConnections, FakeGateway, connection};
    use functions_domain::{Broadcast, Presence};

    use super::*;
    use crate::frames;
    use crate::handlers::testing::event;

    #[tokio::test]
    async fn the_row_is_removed_and_the_room_hears_of_it() {
        let connections = FakeConnections::of([connection("BFaT_fALIAMCKug=", "lobby"), connection("other", "lobby")]);
        let gateway = FakeGateway::default();
        let broadcast = Broadcast {
            connections: connections.clone(),
            gateway: gateway.clone(),
            clock: FakeClock::at_seconds(1_000),
        };
        let use_case = Disconnect {
            presence: Presence {
                broadcast,
                encode: frames::presence,
            },
        };
        assert_eq!(
            disconnect(&use_case, event("disconnect", |_| {}))
                .await
                .unwrap()
                .status_code,
            200
        );
        assert_eq!(connections.ids(), ["other"]);
        assert!(gateway.frames("other")[0].contains(r#""event":"left""#));
    }
}
