//! Lets changes of one API go side by side until API Gateway calls that a conflict; from then on, one after another.
//!
//! API Gateway refuses some changes while another one of the same API is being made ("Unable to complete operation due
//! to concurrent modification"), and tells nobody which. Always waiting would make every deployment slower; repeating
//! side by side would only collide again. Knows neither calls nor errors; see [`crate::Session`] for who uses it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// The APIs that had a conflict in this process, by id.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    apis: Mutex<BTreeMap<String, Arc<Turn<()>>>>,
}

impl Turns {
    /// Waits for the turn of a change, where changes of this API take turns; it ends when the guard is dropped.
    pub(crate) async fn take(&self, api: &str) -> Option<OwnedMutexGuard<()>> {
        let turn = self.lock().get(api).cloned()?;
        Some(turn.lock_owned().await)
    }

    /// Makes changes of an API take turns from now on.
    pub(crate) fn conflicted(&self, api: &str) {
        self.lock().entry(api.to_owned()).or_default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Turn<()>>>> {
        // A panic elsewhere leaves a map, never half of one.
        self.apis.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn changes_take_turns_after_a_conflict_only() {
        let turns = Turns::default();
        assert!(turns.take("a").await.is_none());
        turns.conflicted("a");
        let first = turns.take("a").await;
        assert!(first.is_some());
        assert!(turns.take("a").now_or_never().is_none(), "the first one is not done");
        assert!(turns.take("b").await.is_none());
        turns.conflicted("a");
        assert!(
            turns.take("a").now_or_never().is_none(),
            "another conflict changes nothing"
        );
        drop(first);
        assert!(turns.take("a").await.is_some());
    }
}
