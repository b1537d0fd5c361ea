//! Deploys and destroys: reads, plans, locks, applies, records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use infra_cdk::{Graph, LogicalId};
use serde_json::Value as Json;

use crate::apply::{Results, Run};
use crate::event::Event;
use crate::observe::{self, observe};
use crate::plan::{self, Action, Facts, Foreign, Known, Packages, Plan};
use crate::provider::{Cloud, CloudError, Live, Ownership};
use crate::record::{Header, Intent, Lock, Record, Store, StoreError};
use crate::recorder::{LEASE_S, Recorder};
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
    removes_all: bool,
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
        let record = self.record(graph).await?.unwrap_or_default();
        let live = observe(&*self.cloud, &*self.time, graph, packages, &record)
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
            removes_all: false,
        })
    }

    /// Reads and plans the removal of everything that is recorded for the graph's stack, or lost from the record and
    /// still found by the graph. Changes nothing.
    ///
    /// # Errors
    /// What could not be read.
    pub async fn plan_destroy(&self, graph: &Graph) -> Result<Prepared, EngineError> {
        let packages = Packages::new();
        let mut record = self.record(graph).await?.unwrap_or_default();
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
        let live: BTreeMap<_, _> = record
            .resources
            .iter()
            .map(|(id, recorded)| (id.clone(), observe::live_as_recorded(recorded)))
            .collect();
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
            removes_all: true,
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
        let Prepared {
            plan,
            record,
            live,
            removes_all,
        } = prepared;
        if plan.is_empty() && self.is_recorded(graph, packages, &record, &live, removes_all) {
            return Ok(Report {
                record,
                ..Report::default()
            });
        }
        let header = self.begin(graph, &plan, &record.header, interrupted, observer).await?;
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
        let (header, written) = recorder.finish().await;
        written.map_err(EngineError::Store)?;
        self.end(graph, header, results, removes_all).await
    }

    /// Returns the recorded deployment of a stack, or `None` when there is none.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn record(&self, graph: &Graph) -> Result<Option<Record>, EngineError> {
        self.store.load(graph.stack()).await.map_err(EngineError::Store)
    }

    /// Returns whether the record says already what is declared, down to policies and outputs.
    fn is_recorded(
        &self,
        graph: &Graph,
        packages: &Packages,
        record: &Record,
        live: &BTreeMap<LogicalId, Live>,
        removes_all: bool,
    ) -> bool {
        if removes_all {
            return record.header.fence == 0;
        }
        let mut known = Known::default();
        let resources_match = graph.in_order().all(|(id, resource)| {
            let resolved = known.resolve(id, resource, graph, self.cloud.context(), packages);
            live.get(id).is_some_and(|live| {
                known.learn(id, &live.attributes);
                record.resources.get(id) == Some(&observe::recorded(graph, id, live, resolved.properties))
            })
        });
        resources_match
            && record.header.lock.is_none()
            && record.header.intents.is_empty()
            && self.outputs(graph, &known) == record.header.outputs
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

    /// Takes the lock and writes down what is about to be done, before anything is done.
    async fn begin(
        &self,
        graph: &Graph,
        plan: &Plan,
        before: &Header,
        interrupted: &AtomicBool,
        observer: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Header, EngineError> {
        let intents = plan.steps.iter().map(|step| Intent {
            id: step.id.clone(),
            kind: step.kind,
            action: step.action.to_string(),
            name: step.physical_id.clone(),
        });
        let mut header = Header {
            fence: before.fence + 1,
            intents: intents.collect(),
            outputs: before.outputs.clone(),
            ..Header::default()
        };
        loop {
            let now = self.time.now();
            header.lock = Some(Lock {
                owner: self.owner.clone(),
                acquired_at: now,
                lease_until: now + LEASE_S,
            });
            match self.store.begin(graph.stack(), before.fence, now, &header).await {
                Ok(()) => return Ok(header),
                Err(StoreError::Locked { lock, now, .. }) if !interrupted.load(Ordering::Relaxed) => {
                    let seconds_left = lock.lease_until.saturating_sub(now);
                    observer(Event::WaitingForLock {
                        owner: lock.owner,
                        seconds_left,
                    });
                    self.time.sleep(LOCK_POLL).await;
                }
                Err(error) => return Err(EngineError::Store(error)),
            }
        }
    }

    /// Releases the lock and writes the outputs; removes the record when nothing is left.
    async fn end(
        &self,
        graph: &Graph,
        mut header: Header,
        results: Results,
        removes_all: bool,
    ) -> Result<Report, EngineError> {
        let Results {
            done,
            failed,
            skipped,
            interrupted,
            resources,
            known,
        } = results;
        let complete = failed.is_empty() && skipped.is_empty();
        if removes_all && complete {
            self.store
                .erase(graph.stack(), header.fence)
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
        if complete {
            header.intents.clear();
            header.outputs = self.outputs(graph, &known);
        }
        self.store
            .write(graph.stack(), header.fence, &[], Some(&header))
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
