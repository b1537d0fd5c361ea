//! Deploys and destroys: reads, plans, locks, applies, records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use infra_cdk::{Graph, LogicalId};
use serde_json::Value as Json;

use crate::aliases;
use crate::apply::{Results, Run};
use crate::event::Event;
use crate::observe::{self, observe};
use crate::plan::{self, Action, Facts, Foreign, Known, Packages, Plan};
use crate::provider::{Cloud, CloudError, Live, Ownership};
use crate::record::{Header, Lock, Outcome, Record, Store, StoreError};
use crate::recorder::{LEASE_S, Recorder};
use crate::recover::{self, recover};

use crate::time::{SystemClock, Time};

/// How often a deployment that waits for the lock asks for it.
const LOCK_POLL: Duration = Duration::from_secs(1);

/// Deploys stacks to one cloud and records them in one store.
#[derive(Debug)]
pub struct Engine<C, S, T = SystemClock> {
    cloud: Arc<C>,
    store: Arc<S>,
    time: Arc<T>,
    owner: String,
}

/// A plan, and what it was made from.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What will be done.
    pub plan: Plan,
    /// What was recorded, and for a removal also what was located; empty before the first deployment.
    pub record: Record,
    live: BTreeMap<LogicalId, Live>,
    goal: Goal,
    /// Whether another deployment was at work while this was read.
    is_stale: bool,
    /// The resources whose steps are kept; all without it.
    only: Option<BTreeSet<LogicalId>>,
}

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// All is as declared.
    Deploy,
    /// Nothing is left.
    Destroy,
    /// Callers meet the code that they met before the last deployment.
    Rollback,
}

impl Prepared {
    /// Drops the steps of all other resources.
    #[must_use]
    pub fn only(mut self, ids: BTreeSet<LogicalId>) -> Self {
        self.plan.steps.retain(|step| ids.contains(&step.id));
        let kept: BTreeSet<_> = self.plan.steps.iter().map(plan::Step::step_id).collect();
        for step in &mut self.plan.steps {
            step.after.retain(|before| kept.contains(before));
        }
        self.only = Some(ids);
        self
    }
}

/// What a deployment did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Steps that ended well.
    pub done: Vec<(LogicalId, Action)>,
    /// Steps that failed, with their errors.
    pub failed: Vec<(LogicalId, Action, CloudError)>,
    /// Steps that were not begun.
    pub skipped: Vec<(LogicalId, Action)>,
    /// Whether it ended early because of an interrupt.
    pub interrupted: bool,
    /// The record after the deployment, outputs included.
    pub record: Record,
}

/// What a deployment knows of itself when its steps have ended.
struct Ending<'a> {
    plan: &'a Plan,
    /// What was recorded when it began.
    recorded: BTreeSet<LogicalId>,
    /// Outcomes that go with the header.
    unwritten: Vec<Outcome>,
    goal: Goal,
    is_partial: bool,
}

/// How a deployment begins.
enum Ready {
    /// The lock is held, and the plan is up to date.
    Locked(Box<Prepared>, Header),
    /// All is as declared and recorded.
    NothingToDo(Record),
}

/// Why nothing was deployed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Something could not be read.
    #[error("cannot read what is deployed")]
    Read(#[source] CloudError),
    /// The record could not be read or written.
    #[error("cannot use the deployment record")]
    Store(#[source] StoreError),
    /// Resources of ours would take the names of others.
    #[error("{}", .0.iter().map(|Foreign { id, found }| format!("{id} is not this stack's: {found}")).collect::<Vec<_>>().join("\n"))]
    Foreign(Vec<Foreign>),
    /// There is nothing that a rollback could go back to.
    #[error(
        "no function has an earlier version: nothing was replaced since the first deployment, or since the last rollback"
    )]
    NothingBefore,
}

impl<C: Cloud, S: Store> Engine<C, S> {
    /// Returns an engine. `owner` names the person or job that deploys, for those who find the stack locked.
    pub fn new(cloud: C, store: S, owner: impl Into<String>) -> Self {
        Self::with_time(cloud, store, SystemClock, owner)
    }
}

impl<C: Cloud, S: Store, T: Time> Engine<C, S, T> {
    /// Returns an engine with a clock of its own.
    pub fn with_time(cloud: C, store: S, time: T, owner: impl Into<String>) -> Self {
        Self {
            cloud: Arc::new(cloud),
            store: Arc::new(store),
            time: Arc::new(time),
            owner: owner.into(),
        }
    }

    /// Reads record and live resources and plans a deployment. Changes nothing.
    ///
    /// # Errors
    /// What could not be read, or what stands in the way.
    pub async fn plan_deploy(&self, graph: &Graph, packages: &Packages) -> Result<Prepared, EngineError> {
        let (mut record, is_stale) = self.read_record(graph).await?;
        let mut live = observe(&*self.cloud, &*self.time, graph, packages, &record)
            .await
            .map_err(EngineError::Read)?;
        recover(&*self.cloud, &*self.time, graph, &mut record, &mut live)
            .await
            .map_err(EngineError::Read)?;
        let context = self.cloud.context();
        let plan = plan::deploy(Facts {
            graph,
            packages,
            context,
            record: &record,
            live: &live,
        })
        .map_err(EngineError::Foreign)?;
        Ok(Prepared {
            plan,
            record,
            live,
            goal: Goal::Deploy,
            is_stale,
            only: None,
        })
    }

    /// Reads and plans the removal of everything that is recorded for the graph's stack, or lost from the record and
    /// still found by the graph. Changes nothing.
    ///
    /// # Errors
    /// What could not be read.
    pub async fn plan_destroy(&self, graph: &Graph) -> Result<Prepared, EngineError> {
        let packages = Packages::new();
        let (mut record, is_stale) = self.read_record(graph).await?;
        let located = observe::locate_unrecorded(&*self.cloud, &*self.time, graph, &record)
            .await
            .map_err(EngineError::Read)?;
        for (id, found) in located
            .into_iter()
            .filter(|(_, found)| found.ownership == Ownership::Ours)
        {
            let located = observe::recorded(graph, &id, &found, found.properties.clone());
            record.resources.insert(id, located);
        }
        let mut live: BTreeMap<_, _> = record
            .resources
            .iter()
            .map(|(id, recorded)| (id.clone(), observe::live_as_recorded(recorded)))
            .collect();
        recover(&*self.cloud, &*self.time, graph, &mut record, &mut live)
            .await
            .map_err(EngineError::Read)?;
        for (id, found) in &live {
            let located = || observe::recorded(graph, id, found, found.properties.clone());
            record.resources.entry(id.clone()).or_insert_with(located);
        }
        let context = self.cloud.context();
        let plan = plan::destroy(Facts {
            graph,
            packages: &packages,
            context,
            record: &record,
            live: &live,
        });
        Ok(Prepared {
            plan,
            record,
            live,
            goal: Goal::Destroy,
            is_stale,
            only: None,
        })
    }

    /// Reads record and aliases, and plans to move all aliases back to the versions that they named before the last
    /// deployment that moved any. Nothing else is read, and nothing else goes back. Changes nothing.
    ///
    /// # Errors
    /// What could not be read; [`EngineError::NothingBefore`] where there is no way back.
    pub async fn plan_rollback(&self, graph: &Graph) -> Result<Prepared, EngineError> {
        let (record, is_stale) = self.read_record(graph).await?;
        let targets: Vec<_> = aliases::declared(graph)
            .filter_map(|(id, _)| Some(observe::recorded_target(graph.stack(), id, record.resources.get(id)?)))
            .collect();
        let live = observe::read(&*self.cloud, &*self.time, &targets)
            .await
            .map_err(EngineError::Read)?;
        let plan = aliases::plan_rollback(graph, &record, &live);
        if plan.is_empty() && !is_stale {
            return Err(EngineError::NothingBefore);
        }
        let only = Some(plan.steps.iter().map(|step| step.id.clone()).collect());
        Ok(Prepared {
            plan,
            record,
            live,
            goal: Goal::Rollback,
            is_stale,
            only,
        })
    }

    /// Applies a plan. `interrupted` set to true begins no new step.
    ///
    /// Without steps, and with nothing new to record, it makes no call at all.
    ///
    /// # Errors
    /// Why it could not begin, or could not record. Failed steps are in the report.
    pub async fn apply(
        &self,
        graph: &Graph,
        packages: &Packages,
        prepared: Prepared,
        interrupted: &AtomicBool,
        observer: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Report, EngineError> {
        let ready = self.begin(graph, packages, prepared, interrupted, observer).await?;
        let (prepared, header) = match ready {
            Ready::Locked(prepared, header) => (*prepared, header),
            Ready::NothingToDo(record) => {
                return Ok(Report {
                    record,
                    ..Report::default()
                });
            }
        };
        let Prepared {
            plan,
            record,
            live,
            goal,
            is_stale: _,
            only,
        } = prepared;
        let pinned;
        let graph = match goal {
            Goal::Deploy | Goal::Destroy => graph,
            Goal::Rollback => {
                pinned = aliases::rolled_back(graph, &plan);
                &pinned
            }
        };
        let recorder = Recorder::start(self.store.clone(), self.time.clone(), graph.stack().clone(), header);
        let results = Run {
            cloud: &self.cloud,
            time: &self.time,
            graph,
            packages,
            plan: &plan,
            record: &record,
            live: &live,
            recorder: &recorder,
            interrupted,
            observer,
        }
        .run()
        .await;
        let (header, unwritten, written) = recorder.finish().await;
        written.map_err(EngineError::Store)?;
        let ending = Ending {
            plan: &plan,
            recorded: record.resources.keys().cloned().collect(),
            unwritten,
            goal,
            is_partial: only.is_some(),
        };
        self.end(graph, header, results, ending).await
    }

    /// Returns the store.
    pub fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// Returns the recorded deployment of a stack, or `None` when there is none.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn record(&self, graph: &Graph) -> Result<Option<Record>, EngineError> {
        self.store.load(graph.stack()).await.map_err(EngineError::Store)
    }

    /// Returns whether the record says already what is declared, down to policies and outputs.
    fn is_recorded(&self, graph: &Graph, known: &Known, prepared: &Prepared) -> bool {
        let Prepared { record, live, .. } = prepared;
        match prepared.goal {
            Goal::Deploy => {}
            Goal::Destroy => return record.header.fence == 0,
            Goal::Rollback => return true,
        }
        let resources_match = graph.resources().keys().all(|id| {
            live.get(id).is_some_and(|live| {
                record.resources.get(id) == Some(&observe::recorded(graph, id, live, known.properties(id)))
            })
        });
        resources_match
            && record.header.lock.is_none()
            && record.header.intents.is_empty()
            && self.outputs(graph, known) == record.header.outputs
    }

    fn outputs(&self, graph: &Graph, known: &Known) -> BTreeMap<String, Json> {
        let context = self.cloud.context();
        graph
            .outputs()
            .iter()
            .filter_map(|(name, value)| {
                let resolved = value.resolve(context, &|of, name| known.attribute(of, name, graph, context), &|_| {
                    None
                });
                resolved.ok().map(|value| (name.clone(), value))
            })
            .collect()
    }

    /// Reads the record, and whether somebody is deploying.
    async fn read_record(&self, graph: &Graph) -> Result<(Record, bool), EngineError> {
        let record = self.record(graph).await?.unwrap_or_default();
        let is_locked = self.lock_of(&record).is_some();
        Ok((record, is_locked))
    }

    /// Returns the lock that somebody holds.
    fn lock_of<'r>(&self, record: &'r Record) -> Option<&'r Lock> {
        let now = self.time.now();
        record.header.lock.as_ref().filter(|lock| lock.lease_until > now)
    }

    /// Takes the lock and writes down what is about to be done, before anything is done.
    ///
    /// A plan that was made beside another deployment is made again when that one has ended.
    async fn begin(
        &self,
        graph: &Graph,
        packages: &Packages,
        mut prepared: Prepared,
        interrupted: &AtomicBool,
        observer: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Ready, EngineError> {
        let mut overtaken = None;
        loop {
            if prepared.is_stale {
                self.wait_for_lock(graph, interrupted, observer).await?;
                prepared = self.plan_again(graph, packages, &prepared, overtaken.take()).await?;
                continue;
            }
            let Prepared {
                plan,
                record,
                live,
                goal,
                ..
            } = &prepared;
            let known = Known::of(graph, self.cloud.context(), packages, live);
            if plan.is_empty() && self.is_recorded(graph, &known, &prepared) {
                return Ok(Ready::NothingToDo(prepared.record));
            }
            let now = self.time.now();
            let header = Header {
                fence: record.header.fence + 1,
                lock: Some(Lock {
                    owner: self.owner.clone(),
                    acquired_at: now,
                    lease_until: now + LEASE_S,
                }),
                intents: recover::intents(plan, graph, &known, record, live),
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
            let now = self.time.now();
            if interrupted.load(Ordering::Relaxed) {
                return Err(EngineError::Store(StoreError::Locked {
                    stack: graph.stack().clone(),
                    lock: lock.clone(),
                    now,
                }));
            }
            observer(Event::WaitingForLock {
                owner: lock.owner.clone(),
                seconds_left: lock.lease_until.saturating_sub(now),
            });
            self.time.sleep(LOCK_POLL).await;
        }
    }

    /// Plans the same again. A plan that loses data which the old one kept was never agreed to, and is refused.
    async fn plan_again(
        &self,
        graph: &Graph,
        packages: &Packages,
        old: &Prepared,
        overtaken: Option<StoreError>,
    ) -> Result<Prepared, EngineError> {
        let new = match (old.goal, &old.only) {
            (Goal::Destroy, _) => self.plan_destroy(graph).await?,
            (Goal::Rollback, _) => self.plan_rollback(graph).await?,
            (Goal::Deploy, None) => self.plan_deploy(graph, packages).await?,
            (Goal::Deploy, Some(only)) => self.plan_deploy(graph, packages).await?.only(only.clone()),
        };
        let agreed: BTreeSet<_> = old.plan.data_losses().map(|step| &step.id).collect();
        if new.plan.data_losses().all(|step| agreed.contains(&step.id)) {
            Ok(new)
        } else {
            let stack = graph.stack().clone();
            Err(EngineError::Store(overtaken.unwrap_or(StoreError::Overtaken { stack })))
        }
    }

    /// Releases the lock and writes the outputs; removes the record when nothing is left.
    async fn end(
        &self,
        graph: &Graph,
        mut header: Header,
        results: Results,
        ending: Ending<'_>,
    ) -> Result<Report, EngineError> {
        let Ending {
            plan,
            recorded,
            unwritten,
            goal,
            is_partial,
        } = ending;
        let Results {
            done,
            failed,
            skipped,
            interrupted,
            resources,
            known,
        } = results;
        let complete = failed.is_empty() && skipped.is_empty();
        if goal == Goal::Destroy && complete {
            self.store
                .erase(graph.stack(), header.fence, &recorded)
                .await
                .map_err(EngineError::Store)?;
            let record = Record::default();
            return Ok(Report {
                done,
                failed,
                skipped,
                interrupted,
                record,
            });
        }
        header.lock = None;
        recover::forget(&mut header, plan, &done);
        if complete && !is_partial {
            header.intents.clear();
            header.outputs = self.outputs(graph, &known);
        }
        if complete && goal == Goal::Rollback {
            header.aliased_before.clear();
        }
        self.store
            .write(graph.stack(), header.fence, &unwritten, Some(&header))
            .await
            .map_err(EngineError::Store)?;
        Ok(Report {
            done,
            failed,
            skipped,
            interrupted,
            record: Record { header, resources },
        })
    }
}
