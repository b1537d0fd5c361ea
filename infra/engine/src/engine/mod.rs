//! Deploys and destroys: reads and plans here, then [`lock`]s, and [`run`]s and records. [`rebuild`] makes a lost record
//! again.

mod lock;
mod rebuild;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use infra_cdk::{EngineName, Graph, LogicalId, Mistakes, StackId};

pub use self::rebuild::Rebuilt;
use crate::aliases;
use crate::last_good;
use crate::observe::{self, observe};
use crate::plan::{self, Action, Facts, Foreign, Packages, Plan};
use crate::provider::{Cloud, CloudError, Live, Ownership};
use crate::record::{Lock, Record, Recorded, Store, StoreError};
use crate::recover::recover;
use crate::time::{SystemClock, Time};

/// Deploys stacks to one cloud and records them in one store.
#[derive(Debug)]
pub struct Engine<C, S, T = SystemClock> {
    cloud: Arc<C>,
    store: Arc<S>,
    time: Arc<T>,
    owner: String,
    name: EngineName,
    takes_over: bool,
    ids: BTreeMap<LogicalId, String>,
    adopts: bool,
    waits_for_lock: bool,
}

/// What is recorded and what exists: all that a plan is made from beside the declaration.
#[derive(Clone, Debug)]
pub struct Observed {
    record: Record,
    /// The recorded resources, without what was located.
    stored: BTreeMap<LogicalId, Recorded>,
    live: BTreeMap<LogicalId, Live>,
    /// Whether another deployment was at work while this was read.
    is_stale: bool,
}

/// A plan, and what it was made from.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What will be done.
    pub plan: Plan,
    /// What was recorded, and for a removal also what was located; empty before the first deployment.
    pub record: Record,
    /// The recorded resources, without what was located.
    stored: BTreeMap<LogicalId, Recorded>,
    live: BTreeMap<LogicalId, Live>,
    goal: Goal,
    /// Whether another deployment was at work while this was read.
    is_stale: bool,
    /// The resources whose steps are kept; all without it.
    only: Option<BTreeSet<LogicalId>>,
}

impl Observed {
    /// Returns what is recorded, and what an interrupted deployment left beside it.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }
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
    /// Returns whether the plan would be the same with any packages in place of those that are missing: whatever needs
    /// one is made anew. Such a plan may be applied while the packages are being made.
    #[must_use]
    pub fn is_final_without_packages(&self, graph: &Graph) -> bool {
        let is_created = |id: &LogicalId| {
            let mut steps = self.plan.steps.iter();
            steps.any(|step| step.id == *id && step.action == Action::Create)
        };
        let mut resources = graph.resources().iter();
        resources.all(|(id, resource)| resource.packages().is_empty() || is_created(id))
    }

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
    /// The functions could not be packaged; whoever packages them has said why.
    #[error("the functions are not packaged")]
    NotPackaged,
    /// Resources of ours would take the names of others.
    #[error("{}", .0.iter().map(|Foreign { id, found }| format!("{id} is not this stack's: {found}")).collect::<Vec<_>>().join("\n"))]
    Foreign(Vec<Foreign>),
    /// The record describes what cannot be a stack.
    #[error("the deployment record contradicts itself")]
    Record(#[source] Mistakes),
    /// The stage belongs to the other engine.
    #[error("{stack} belongs to the engine `{engine}`")]
    OtherEngine {
        /// The stack.
        stack: StackId,
        /// The engine that it belongs to.
        engine: EngineName,
    },
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
            name: EngineName::Direct,
            takes_over: false,
            ids: BTreeMap::new(),
            adopts: false,
            waits_for_lock: true,
        }
    }

    /// Deploys what CloudFormation cannot make of a stage that belongs to CloudFormation.
    #[must_use]
    pub fn beside_cloudformation(mut self) -> Self {
        self.name = EngineName::CloudFormation;
        self
    }

    /// Takes a stage over that belongs to the other engine, instead of refusing it; the record says so as soon as it is
    /// written.
    #[must_use]
    pub fn taking_over(mut self) -> Self {
        self.takes_over = true;
        self
    }

    /// Tells what AWS knows resources by that are not recorded, so that they need not be looked for.
    #[must_use]
    pub fn knowing(mut self, ids: BTreeMap<LogicalId, String>) -> Self {
        self.ids = ids;
        self
    }

    /// Sets whether deployments take over what exists under the stack's names without its mark, instead of refusing.
    #[must_use]
    pub fn adopting(mut self, adopts: bool) -> Self {
        self.adopts = adopts;
        self
    }

    /// Refuses to apply a plan while another deployment is at work, instead of waiting for its end.
    #[must_use]
    pub fn without_waiting(mut self) -> Self {
        self.waits_for_lock = false;
        self
    }

    /// Reads record and live resources and plans a deployment. Changes nothing.
    ///
    /// # Errors
    /// What could not be read, or what stands in the way.
    pub async fn plan_deploy(&self, graph: &Graph, packages: &Packages) -> Result<Prepared, EngineError> {
        let observed = self.observe(graph).await?;
        self.plan_observed(graph, packages, observed)
    }

    /// Reads record and live resources. Needs no packages, and changes nothing.
    ///
    /// # Errors
    /// What could not be read; who deploys, when that is not to be waited for.
    pub async fn observe(&self, graph: &Graph) -> Result<Observed, EngineError> {
        let (mut record, is_stale) = self.read_record(graph).await?;
        let stored = record.resources.clone();
        let mut live = observe(&*self.cloud, &*self.time, graph, &record, &self.ids)
            .await
            .map_err(EngineError::Read)?;
        recover(&*self.cloud, &*self.time, graph, &mut record, &mut live)
            .await
            .map_err(EngineError::Read)?;
        Ok(Observed {
            record,
            stored,
            live,
            is_stale,
        })
    }

    /// Plans a deployment of what is declared over what was read. Makes no call.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn plan_observed(
        &self,
        graph: &Graph,
        packages: &Packages,
        observed: Observed,
    ) -> Result<Prepared, EngineError> {
        let Observed {
            record,
            stored,
            live,
            is_stale,
        } = observed;
        let context = self.cloud.context();
        let plan = plan::deploy(Facts {
            graph,
            packages,
            context,
            record: &record,
            live: &live,
            adopt: self.adopts,
        })
        .map_err(EngineError::Foreign)?;
        Ok(Prepared {
            plan,
            record,
            stored,
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
        let stored = record.resources.clone();
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
            adopt: self.adopts,
        });
        Ok(Prepared {
            plan,
            record,
            stored,
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
            stored: record.resources.clone(),
            record,
            live,
            goal: Goal::Rollback,
            is_stale,
            only,
        })
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

    /// Returns the stack as the last deployment that ended well left it, to be deployed again; `None` when no deployment
    /// has failed or was interrupted since. Packages are named by their digests in base64.
    ///
    /// # Errors
    /// When the record cannot be read, or contradicts itself.
    pub async fn last_good(&self, graph: &Graph) -> Result<Option<Graph>, EngineError> {
        let record = self.record(graph).await?.unwrap_or_default();
        last_good::last_good(graph.stack(), &record).map_err(EngineError::Record)
    }

    /// Reads the record, and whether somebody is deploying.
    async fn read_record(&self, graph: &Graph) -> Result<(Record, bool), EngineError> {
        let mut record = self.record(graph).await?.unwrap_or_default();
        self.check_engine(graph, &record)?;
        match self.name {
            EngineName::Direct => {}
            // Others are left from a migration that was interrupted while it forgot them.
            EngineName::CloudFormation => record
                .resources
                .retain(|_, recorded| !recorded.kind.is_made_by_cloudformation()),
        }
        let is_locked = self.lock_of(&record).is_some();
        if is_locked && !self.waits_for_lock {
            return Err(self.locked(graph, &record));
        }
        Ok((record, is_locked))
    }

    /// Refuses what belongs to the other engine.
    fn check_engine(&self, graph: &Graph, record: &Record) -> Result<(), EngineError> {
        match record.engine() {
            Some(engine) if engine != self.name && !self.takes_over => Err(EngineError::OtherEngine {
                stack: graph.stack().clone(),
                engine,
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Returns the refusal to deploy beside the holder of the lock.
    fn locked(&self, graph: &Graph, record: &Record) -> EngineError {
        let stack = graph.stack().clone();
        EngineError::Store(match &record.header.lock {
            Some(lock) => StoreError::Locked {
                stack,
                lock: lock.clone(),
                now: self.time.now(),
            },
            None => StoreError::Overtaken { stack },
        })
    }

    /// Returns the lock that somebody holds.
    fn lock_of<'r>(&self, record: &'r Record) -> Option<&'r Lock> {
        let now = self.time.now();
        record.header.lock.as_ref().filter(|lock| lock.lease_until > now)
    }
}
