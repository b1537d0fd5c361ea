//! The machine's clock and randomness.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use functions_domain::MessageId;
use functions_domain::ports::{Clock, MessageIds};
use uuid::Uuid;

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Ids with randomness of the operating system; two function instances never agree on one by accident.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl MessageIds for RandomIds {
    fn next(&self, at_ms: u64) -> MessageId {
        MessageId::new(at_ms, Uuid::new_v4().as_u128())
    }
}
