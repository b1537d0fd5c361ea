//! The record's store: conditional writes that fail, or whose answers are lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use infra_cdk::{LogicalId, StackId};

use super::process::Process;
use super::{Shared, State, arrive, error};
use crate::provider::Class;
use crate::record::{Header, Outcome, Record, Store, StoreError};

#[derive(Debug)]
pub(super) struct SimStore {
    pub(super) shared: Arc<Shared>,
    pub(super) process: Arc<Process>,
}

impl SimStore {
    /// Makes one call that writes `parts` parts one after the other: it may fail before it happens, after, or in the
    /// middle. `effect` is told how many parts it may write.
    async fn call(
        &self,
        name: &'static str,
        parts: usize,
        effect: impl FnOnce(&mut State, usize) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let Self { shared, process } = self;
        shared.boundary(process).await;
        shared.awake(process).await;
        let (at, sender) = (shared.clone(), process.clone());
        let answer = arrive(async move {
            at.travel().await;
            let (answer, torn) = {
                let mut state = at.state();
                state.writes += 1;
                let per_mille = state.faults.store_per_mille;
                let fails = state.happens(per_mille);
                let torn = fails.then(|| state.random(parts as u64 + 2) as usize);
                // A dead writer does not come back for the rest.
                let torn = torn.or_else(|| sender.is_dead().then(|| state.random(parts as u64 + 1) as usize));
                (effect(&mut state, torn.unwrap_or(usize::MAX)), torn)
            };
            at.note(|| match (&answer, torn) {
                (Err(error), _) => format!("{}: {name} of the record is refused: {error}", sender.name()),
                (Ok(()), None) => format!("{}: {name} of the record", sender.name()),
                (Ok(()), Some(torn)) => {
                    format!("{}: {name} of the record fails after {torn} of {parts}", sender.name())
                }
            });
            match torn {
                Some(_) => Err(StoreError::Cloud(error(name, "InternalServerError", Class::Transient))),
                None => answer,
            }
        })
        .await;
        shared.travel().await;
        shared.boundary(process).await;
        shared.awake(process).await;
        answer
    }
}

/// Returns the record that may be written to with this fencing number.
fn fenced<'s>(state: &'s mut State, stack: &StackId, fence: u64) -> Result<&'s mut Record, StoreError> {
    let record = state
        .records
        .get_mut(stack)
        .filter(|record| record.header.fence == fence);
    record.ok_or_else(|| StoreError::Overtaken { stack: stack.clone() })
}

impl Store for SimStore {
    async fn load(&self, stack: &StackId) -> Result<Option<Record>, StoreError> {
        self.shared.boundary(&self.process).await;
        self.shared.travel().await;
        Ok(self.shared.state().records.get(stack).cloned())
    }

    async fn begin(&self, stack: &StackId, expected_fence: u64, now: u64, header: &Header) -> Result<(), StoreError> {
        let (stack, header) = (stack.clone(), header.clone());
        self.call("begin", 1, move |state, parts| {
            let stored = state.records.get(&stack).map(|record| &record.header);
            if let Some(lock) = stored
                .and_then(|header| header.lock.clone())
                .filter(|lock| lock.lease_until > now)
            {
                return Err(StoreError::Locked { stack, lock, now });
            }
            if stored.map_or(0, |header| header.fence) != expected_fence {
                return Err(StoreError::Overtaken { stack });
            }
            if parts > 0 {
                state.has_store = true;
                state.records.entry(stack).or_default().header = header;
            }
            Ok(())
        })
        .await
    }

    async fn write(
        &self,
        stack: &StackId,
        fence: u64,
        outcomes: &[Outcome],
        header: Option<&Header>,
    ) -> Result<(), StoreError> {
        let (stack, outcomes, header) = (stack.clone(), outcomes.to_vec(), header.cloned());
        self.call("write", outcomes.len() + 1, move |state, parts| {
            let record = fenced(state, &stack, fence)?;
            let is_whole = parts > outcomes.len();
            for outcome in outcomes.into_iter().take(parts) {
                match outcome {
                    Outcome::Put(id, recorded) => drop(record.resources.insert(id, recorded)),
                    Outcome::Removed(id) => drop(record.resources.remove(&id)),
                }
            }
            // The header goes with the last outcomes.
            if let Some(header) = header.filter(|_| is_whole) {
                record.header = header;
            }
            Ok(())
        })
        .await
    }

    async fn erase(&self, stack: &StackId, fence: u64, _: &BTreeSet<LogicalId>) -> Result<(), StoreError> {
        let stack = stack.clone();
        let resources = self
            .shared
            .state()
            .records
            .get(&stack)
            .map_or(0, |record| record.resources.len());
        self.call("erasure", resources + 2, move |state, parts| {
            let record = fenced(state, &stack, fence)?;
            let count = record.resources.len();
            if parts > count {
                state.records.remove(&stack);
                if parts > count + 1 && state.records.is_empty() {
                    state.has_store = false;
                }
            } else {
                let first: Vec<_> = record.resources.keys().take(parts).cloned().collect();
                record.resources.retain(|id, _| !first.contains(id));
            }
            Ok(())
        })
        .await
    }

    async fn remove_if_empty(&self) -> Result<(), StoreError> {
        self.call("removal of the store", 1, move |state, parts| {
            if parts > 0 && state.records.is_empty() {
                state.has_store = false;
            }
            Ok(())
        })
        .await
    }
}
