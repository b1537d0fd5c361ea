//! The record's store: conditional writes that fail, or whose answers are lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use infra_cdk::{LogicalId, StackId};

use super::{Process, Shared, State, error};
use crate::provider::Class;
use crate::record::{Header, Outcome, Record, Store, StoreError};

#[derive(Debug)]
pub(super) struct SimStore {
    pub(super) shared: Arc<Shared>,
    pub(super) process: Arc<Process>,
}

impl SimStore {
    /// Makes one call: it may fail before it happens, or after.
    async fn call<R>(
        &self,
        name: &str,
        effect: impl FnOnce(&mut State) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        self.process.boundary().await;
        self.shared.travel().await;
        let answer = {
            let mut state = self.shared.state();
            let per_mille = state.faults.store_per_mille;
            let fails = state.happens(per_mille);
            let lost = fails && state.happens(500);
            let failure = || StoreError::Cloud(error(name, "InternalServerError", Class::Transient));
            if fails && !lost {
                Err(failure())
            } else {
                let answer = effect(&mut state);
                if lost { Err(failure()) } else { answer }
            }
        };
        self.shared.travel().await;
        self.process.boundary().await;
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
        self.process.boundary().await;
        self.shared.travel().await;
        Ok(self.shared.state().records.get(stack).cloned())
    }

    async fn begin(&self, stack: &StackId, expected_fence: u64, now: u64, header: &Header) -> Result<(), StoreError> {
        self.call("begin", |state| {
            let stored = state.records.get(stack).map(|record| &record.header);
            if let Some(lock) = stored
                .and_then(|header| header.lock.clone())
                .filter(|lock| lock.lease_until > now)
            {
                return Err(StoreError::Locked {
                    stack: stack.clone(),
                    lock,
                    now,
                });
            }
            if stored.map_or(0, |header| header.fence) != expected_fence {
                return Err(StoreError::Overtaken { stack: stack.clone() });
            }
            state.records.entry(stack.clone()).or_default().header = header.clone();
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
        self.call("write", |state| {
            let record = fenced(state, stack, fence)?;
            for outcome in outcomes {
                match outcome {
                    Outcome::Put(id, recorded) => drop(record.resources.insert(id.clone(), recorded.clone())),
                    Outcome::Removed(id) => drop(record.resources.remove(id)),
                }
            }
            if let Some(header) = header {
                record.header = header.clone();
            }
            Ok(())
        })
        .await
    }

    async fn erase(&self, stack: &StackId, fence: u64, _: &BTreeSet<LogicalId>) -> Result<(), StoreError> {
        self.call("erase", |state| {
            fenced(state, stack, fence)?;
            state.records.remove(stack);
            Ok(())
        })
        .await
    }
}
