//! How a deployment begins: takes the lock, or waits for it and plans again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use infra_cdk::Graph;

use super::{Engine, EngineError, Goal, Prepared};
use crate::apply::INTERRUPT_POLL;
use crate::event::Event;
use crate::packaging::Packaging;
use crate::plan::Known;
use crate::provider::Cloud;
use crate::record::{Header, Lock, Record, Store, StoreError};
use crate::recorder::LEASE_S;
use crate::time::Time;
use crate::{aliases, last_good, recover};

/// How often a deployment that waits for the lock asks for it.
const LOCK_POLL: Duration = Duration::from_secs(1);

/// How a deployment begins.
pub(super) enum Ready {
    /// The lock is held, and the plan is up to date.
    Locked(Box<Prepared>, Header),
    /// All is as declared and recorded.
    NothingToDo(Record),
}

impl<C: Cloud, S: Store, T: Time> Engine<C, S, T> {
    /// Takes the lock and writes down what is about to be done, before anything is done.
    ///
    /// A plan that was made beside another deployment is made again when that one has ended.
    pub(super) async fn begin(
        &self,
        graph: &Graph,
        packaging: &Packaging,
        mut prepared: Prepared,
        interrupted: &AtomicBool,
        observer: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Ready, EngineError> {
        let mut overtaken = None;
        loop {
            if prepared.is_stale {
                self.wait_for_lock(graph, interrupted, observer).await?;
                prepared = self
                    .plan_again(graph, packaging, &prepared, overtaken.take(), interrupted)
                    .await?;
                continue;
            }
            let packages = &packaging.known();
            let Prepared {
                plan,
                record,
                stored,
                live,
                goal,
                ..
            } = &prepared;
            let known = Known::of(graph, self.cloud.context(), packages, live);
            if plan.is_empty() && self.is_recorded(graph, &known, &prepared) {
                if *goal == Goal::Destroy {
                    self.store.remove_if_empty().await.map_err(EngineError::Store)?;
                }
                return Ok(Ready::NothingToDo(prepared.record));
            }
            let now = self.time.now();
            let header = Header {
                fence: record.header.fence + 1,
                engine: self.name,
                lock: Some(Lock {
                    owner: self.owner.clone(),
                    acquired_at: now,
                    lease_until: now + LEASE_S,
                }),
                intents: recover::intents(plan, graph, &known, record, live),
                // From a removal there is no way back.
                last_good: match goal {
                    Goal::Deploy => last_good::remember(plan, stored, &record.header.last_good),
                    Goal::Rollback => record.header.last_good.clone(),
                    Goal::Destroy => BTreeMap::new(),
                },
                outputs: record.header.outputs.clone(),
                aliased_before: match goal {
                    Goal::Deploy => aliases::before(plan, graph, record, live),
                    // Still needed if it is interrupted.
                    Goal::Destroy | Goal::Rollback => record.header.aliased_before.clone(),
                },
                ..Header::default()
            };
            match self.store.begin(graph.stack(), record.header.fence, now, &header).await {
                Ok(()) => return Ok(Ready::Locked(Box::new(prepared), header)),
                Err(error @ (StoreError::Locked { .. } | StoreError::Overtaken { .. })) => {
                    overtaken = Some(error);
                    prepared.is_stale = true;
                }
                Err(error) => return Err(EngineError::Store(error)),
            }
        }
    }

    /// Waits until nobody deploys any more.
    async fn wait_for_lock(
        &self,
        graph: &Graph,
        interrupted: &AtomicBool,
        observer: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<(), EngineError> {
        loop {
            let record = self.record(graph).await?.unwrap_or_default();
            let Some(lock) = self.lock_of(&record) else {
                return Ok(());
            };
            if interrupted.load(Ordering::Relaxed) || !self.waits_for_lock {
                return Err(self.locked(graph, &record));
            }
            let now = self.time.now();
            observer(Event::WaitingForLock {
                owner: lock.owner.clone(),
                since_s: now.saturating_sub(lock.acquired_at),
                seconds_left: lock.lease_until.saturating_sub(now),
            });
            self.time.sleep(LOCK_POLL).await;
        }
    }

    /// Returns once there is an interrupt.
    async fn interruption(&self, interrupted: &AtomicBool) {
        while !interrupted.load(Ordering::Relaxed) {
            self.time.sleep(INTERRUPT_POLL).await;
        }
    }

    /// Plans the same again. A plan that loses data which the old one kept was never agreed to, and is refused.
    async fn plan_again(
        &self,
        graph: &Graph,
        packaging: &Packaging,
        old: &Prepared,
        overtaken: Option<StoreError>,
        interrupted: &AtomicBool,
    ) -> Result<Prepared, EngineError> {
        let new = match (old.goal, &old.only) {
            (Goal::Destroy, _) => self.plan_destroy(graph).await?,
            (Goal::Rollback, _) => self.plan_rollback(graph).await?,
            (Goal::Deploy, only) => {
                // The other deployment may have made the functions, so that their digests count now.
                let packages = tokio::select! {
                    biased;
                    packages = packaging.complete() => packages,
                    () = self.interruption(interrupted) => None,
                };
                let packages = packages.ok_or(EngineError::NotPackaged)?;
                let new = self.plan_deploy(graph, &packages).await?;
                match only {
                    Some(only) => new.only(only.clone()),
                    None => new,
                }
            }
        };
        let agreed: BTreeSet<_> = old.plan.data_losses().map(|step| &step.id).collect();
        if new.plan.data_losses().all(|step| agreed.contains(&step.id)) {
            Ok(new)
        } else {
            let stack = graph.stack().clone();
            Err(EngineError::Store(overtaken.unwrap_or(StoreError::Overtaken { stack })))
        }
    }
}
