//! The function `broadcast`: runs one leg of a broadcast to a large room. Invoked asynchronously, never by API Gateway.

use functions_domain::ports::{Clock, ForgetConnection, HandOver, ListRoom, SendFrame};
use functions_domain::{LegEnd, RunLeg};

use super::log_report;
use crate::legs::LegEvent;
use crate::runtime::Failure;

/// Runs the leg until shortly before `deadline_ms` (since 1970).
///
/// # Errors
///
/// [`Failure::Port`] when the shard cannot be read or the rest not be handed over: Lambda invokes again.
pub async fn broadcast<R, G, C, H>(run: &RunLeg<R, G, C, H>, event: LegEvent, deadline_ms: u64) -> Result<(), Failure>
where
    R: ListRoom + ForgetConnection,
    G: SendFrame,
    C: Clock,
    H: HandOver,
{
    let leg = match event.into_leg() {
        Ok(leg) => leg,
        Err(reason) => {
            // An error would only bring the same event again.
            tracing::error!(route = "broadcast", %reason, "ignored an event that is no leg");
            return Ok(());
        }
    };
    let done = Box::pin(run.execute(&leg, deadline_ms)).await?;
    log_report("broadcast", &leg.message, &done.report, run.broadcast.clock.now_ms());
    let (message, shard, hops) = (&leg.message, leg.shard, leg.hops);
    match done.end {
        LegEnd::Finished => tracing::info!(route = "broadcast", messageId = %message, shard, hops, "finished"),
        LegEnd::HandedOver => tracing::info!(route = "broadcast", messageId = %message, shard, hops, "handed over"),
        LegEnd::GivenUp => {
            tracing::error!(route = "broadcast", messageId = %message, shard, hops, "gave up: the rest has the history");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use functions_domain::testing::{FakeClock, FakeConnections, FakeGateway, FakeLegs, connection, leg};
    use functions_domain::{Broadcast, ConnectionId, RESERVE_MS};
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_000;

    async fn run(event: Value, deadline_ms: u64) -> (Result<(), Failure>, FakeGateway, FakeLegs) {
        let (gateway, others) = (FakeGateway::default(), FakeLegs::default());
        let broadcast_ = Broadcast {
            connections: FakeConnections::of([connection("a", "red"), connection("b", "blue")]),
            gateway: gateway.clone(),
            clock: FakeClock::at_seconds(NOW),
        };
        let run = RunLeg {
            broadcast: broadcast_,
            others: others.clone(),
            posts_per_second: 1_000,
        };
        let result = broadcast(&run, serde_json::from_value(event).unwrap(), deadline_ms).await;
        (result, gateway, others)
    }

    fn event() -> Value {
        let mut leg = leg("red", "sender");
        leg.message = functions_domain::MessageId::new(NOW * 1_000, 0);
        leg.shard = ConnectionId::new("a").shard(3);
        serde_json::from_str(&LegEvent::from(&leg).to_json()).unwrap()
    }

    #[tokio::test]
    async fn a_leg_is_run() {
        let (result, gateway, others) = run(event(), u64::MAX).await;
        result.unwrap();
        assert_eq!(gateway.receivers(), ["a"]);
        assert!(others.taken().is_empty());
    }

    #[tokio::test]
    async fn without_time_it_is_handed_over() {
        let (result, gateway, others) = run(event(), NOW * 1_000 + RESERVE_MS).await;
        result.unwrap();
        assert!(gateway.receivers().is_empty());
        assert_eq!(others.taken()[0].hops, 1);
    }

    #[tokio::test]
    async fn what_is_no_leg_is_not_tried_again() {
        let mut event = event();
        event["room"] = json!("no room");
        let (result, gateway, _) = run(event, u64::MAX).await;
        result.unwrap();
        assert!(gateway.receivers().is_empty());
    }
}
