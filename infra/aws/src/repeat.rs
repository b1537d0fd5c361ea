//! Repeats what the engine does not repeat by itself: who is calling, what the record says, and each of many reads.

use std::time::Duration;

use infra_engine::CloudError;

/// Attempts at a call that failed for a reason that passes.
const ATTEMPTS: u32 = 6;
/// Pause after the first failed attempt; it doubles.
const PAUSE: Duration = Duration::from_millis(100);

/// Repeats a call that fails for a reason that passes. It must be one that may be repeated: it reads, is conditional, or
/// puts what is there already.
pub(crate) async fn repeated<T, F>(call: impl Fn() -> F) -> Result<T, CloudError>
where
    F: Future<Output = Result<T, CloudError>>,
{
    let mut pause = PAUSE;
    for _ in 1..ATTEMPTS {
        match call().await {
            Err(error) if error.class.is_retryable() => {}
            result => return result,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    call().await
}
