//! One asks for all: where many wait for what comes to all of them at about the same time.
//!
//! A deployment creates its functions together, and each of them waits first until Lambda can assume its role and then
//! until it is active. If each asked on its own, a package would be uploaded again and again for nothing, and every
//! poll would cost as many calls as there are functions. So one of them asks, and when it is answered, the others do.
//! Knows no calls; see [`crate::Session`] for who uses it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use infra_engine::{Class, CloudError};
use tokio::sync::{Mutex as Turn, MutexGuard as TurnGuard};
use tokio::time::{Instant, timeout};

/// Pause between two attempts of those that wait for propagation, all of them taken together.
const PAUSE: Duration = Duration::from_millis(300);
/// Nobody leaves asking to another one for longer: that one's wait may be of another kind.
const PATIENCE: Duration = Duration::from_secs(2);

/// What those that wait have in common.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    /// The last refusal because something has not propagated yet; `None` while nothing was refused, or since something
    /// was accepted.
    refused: Mutex<Option<(Instant, CloudError)>>,
    attempt: Turn<()>,
    poll: Turn<()>,
}

impl Probes {
    /// Makes an attempt, or refuses it as another one was refused that is under way or was made just now.
    pub(crate) async fn attempt<T>(&self, call: impl Future<Output = Result<T, CloudError>>) -> Result<T, CloudError> {
        let before = self.refused().clone();
        let _turn = match before {
            None => None,
            Some((at, error)) if at.elapsed() < PAUSE => return Err(error),
            Some((_, error)) => Some(self.attempt.try_lock().map_err(|_| error)?),
        };
        let result = call.await;
        match &result {
            Ok(_) => *self.refused() = None,
            Err(error) if error.class == Class::Propagating => *self.refused() = Some((Instant::now(), error.clone())),
            Err(_) => {}
        }
        result
    }

    /// Returns the turn to poll, or `None` after the one that had it has stopped, and once in a while before: then it is
    /// time for one look.
    pub(crate) async fn poll(&self) -> Option<TurnGuard<'_, ()>> {
        if let Ok(turn) = self.poll.try_lock() {
            return Some(turn);
        }
        let _ended = timeout(PATIENCE, self.poll.lock()).await;
        None
    }

    fn refused(&self) -> MutexGuard<'_, Option<(Instant, CloudError)>> {
        // A panic elsewhere leaves a whole value.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::error::refused;

    fn propagating() -> Result<(), CloudError> {
        Err(refused(
            "lambda:CreateFunction",
            Class::Propagating,
            "not yet".to_owned(),
        ))
    }

    #[tokio::test]
    async fn after_a_refusal_one_attempt_is_made_for_all() {
        let probes = Probes::default();
        probes.attempt(async { propagating() }).await.unwrap_err();
        let soon = probes.attempt(async { Ok(()) }).await;
        assert_eq!(soon, propagating(), "refused without being made");
        tokio::time::sleep(PAUSE).await;
        let under_way = probes.attempt(async {
            let beside = probes.attempt(async { Ok(()) }).await;
            assert_eq!(beside, propagating(), "another one is under way");
            Ok(())
        });
        under_way.await.unwrap();
        for _ in 0..2 {
            probes.attempt(async { Ok(()) }).await.unwrap();
        }
    }

    #[tokio::test]
    async fn one_polls_and_the_others_look_when_it_has_ended() {
        let probes = Probes::default();
        let turn = probes.poll().await.unwrap();
        let other = async { probes.poll().await.is_none() };
        let end = async {
            tokio::task::yield_now().await;
            drop(turn);
        };
        let (looks, ()) = tokio::join!(other, end);
        assert!(looks);
        assert!(probes.poll().await.is_some(), "who looked has not kept the turn");
    }
}
