//! Deploys and destroys: reads, plans, locks, applies, records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use infra_cdk::{EngineName, Graph, LogicalId, Mistakes, StackId};
use serde_json::Value as Json;

use crate::aliases;
use crate::apply::{INTERRUPT_POLL, Results, Run};
use crate::event::Event;
use crate::last_good;
use crate::observe::{self, observe};
use crate::packaging::Packaging;
use crate::plan::{self, Action, Facts, Foreign, Known, Packages, Plan};
use crate::provider::{Cloud, CloudError, Live, Ownership};
use crate::record::{Header, Lock, Outcome, Record, Recorded, Store, StoreError};
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

/// What was recorded again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rebuilt {
    /// What was found and is recorded now.
    pub recorded: Vec<LogicalId>,
    /// What is declared and was not found.
    pub missing: Vec<LogicalId>,
    /// What was found under the stack's names without its mark.
    pub foreign: Vec<Foreign>,
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
        let packaging = Packaging::from(packages.clone());
        self.apply_while_packaging(graph, &packaging, prepared, interrupted, observer)
            .await
    }

    /// Applies a plan as [`Engine::apply`] does, while packages are still being made: what needs one waits for it, and is
    /// skipped when it does not come. The plan must be final without them, see
    /// [`Prepared::is_final_without_packages`].
    ///
    /// # Errors
    /// As those of [`Engine::apply`].
    pub async fn apply_while_packaging(
        &self,
        graph: &Graph,
        packaging: &Packaging,
        prepared: Prepared,
        interrupted: &AtomicBool,
        observer: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Report, EngineError> {
        let ready = self.begin(graph, packaging, prepared, interrupted, observer).await?;
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
            stored: _,
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
            packaging,
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

    /// Returns the stack as the last deployment that ended well left it, to be deployed again; `None` when no deployment
    /// has failed or was interrupted since. Packages are named by their digests in base64.
    ///
    /// # Errors
    /// When the record cannot be read, or contradicts itself.
    pub async fn last_good(&self, graph: &Graph) -> Result<Option<Graph>, EngineError> {
        let record = self.record(graph).await?.unwrap_or_default();
        last_good::last_good(graph.stack(), &record).map_err(EngineError::Record)
    }

    /// Records again what exists and carries the stack's mark, and is declared and not recorded. Changes no resource, and
    /// nothing that is recorded; without the mark too if the engine [adopts](Engine::adopting). What is not declared cannot be found: rebuild from the declaration that was deployed.
    ///
    /// # Errors
    /// What could not be read or written, or who is deploying.
    pub async fn rebuild(&self, graph: &Graph) -> Result<Rebuilt, EngineError> {
        let mut record = self.record(graph).await?.unwrap_or_default();
        self.check_engine(graph, &record)?;
        let live = observe(&*self.cloud, &*self.time, graph, &record, &self.ids)
            .await
            .map_err(EngineError::Read)?;
        let mut rebuilt = Rebuilt::default();
        let mut known = Known::default();
        let mut outcomes = Vec::new();
        for (id, resource) in graph.in_order() {
            known.resolve(id, resource, graph, self.cloud.context(), &Packages::new());
            let Some(found) = live.get(id) else {
                rebuilt.missing.push(id.clone());
                continue;
            };
            known.learn(id, &found.attributes);
            if record.resources.contains_key(id) {
                continue;
            }
            if let Ownership::Foreign(found) = &found.ownership
                && !self.adopts
            {
                rebuilt.foreign.push(Foreign {
                    id: id.clone(),
                    found: found.clone(),
                });
                continue;
            }
            let mut properties = found.properties.clone();
            properties.retain(|name, _| resource.properties.contains_key(name));
            let recorded = observe::recorded(graph, id, found, properties);
            record.resources.insert(id.clone(), recorded.clone());
            outcomes.push(Outcome::Put(id.clone(), recorded));
            rebuilt.recorded.push(id.clone());
        }
        if outcomes.is_empty() && record.header.engine == self.name {
            return Ok(rebuilt);
        }
        let now = self.time.now();
        let expected = record.header.fence;
        record.header.fence += 1;
        record.header.engine = self.name;
        record.header.outputs.extend(self.outputs(graph, &known));
        record.header.lock = Some(Lock {
            owner: self.owner.clone(),
            acquired_at: now,
            lease_until: now + LEASE_S,
        });
        let (stack, fence) = (graph.stack(), record.header.fence);
        let begun = self.store.begin(stack, expected, now, &record.header).await;
        begun.map_err(EngineError::Store)?;
        record.header.lock = None;
        let written = self.store.write(stack, fence, &outcomes, Some(&record.header)).await;
        written.map_err(EngineError::Store)?;
        Ok(rebuilt)
    }

    /// Gives a stage to CloudFormation: forgets every recorded resource that CloudFormation can make, and changes none. May
    /// be repeated.
    ///
    /// # Errors
    /// When the record cannot be read or written, or who is deploying.
    pub async fn hand_over(&self, graph: &Graph) -> Result<(), EngineError> {
        let record = self.record(graph).await?.unwrap_or_default();
        if self.lock_of(&record).is_some() {
            return Err(self.locked(graph, &record));
        }
        let now = self.time.now();
        let mut header = Header {
            fence: record.header.fence + 1,
            engine: EngineName::CloudFormation,
            lock: Some(Lock {
                owner: self.owner.clone(),
                acquired_at: now,
                lease_until: now + LEASE_S,
            }),
            ..Header::default()
        };
        let (stack, fence) = (graph.stack(), header.fence);
        // From here on it is CloudFormation's, whatever else is still recorded.
        let begun = self.store.begin(stack, record.header.fence, now, &header).await;
        begun.map_err(EngineError::Store)?;
        let forgotten: Vec<_> = record
            .resources
            .iter()
            .filter(|(_, recorded)| recorded.kind.is_made_by_cloudformation())
            .map(|(id, _)| Outcome::Removed(id.clone()))
            .collect();
        header.lock = None;
        let written = self.store.write(stack, fence, &forgotten, Some(&header)).await;
        written.map_err(EngineError::Store)
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
            && record.header.engine == self.name
            && record.header.lock.is_none()
            && record.header.intents.is_empty()
            && record.header.last_good.is_empty()
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

    /// Takes the lock and writes down what is about to be done, before anything is done.
    ///
    /// A plan that was made beside another deployment is made again when that one has ended.
    async fn begin(
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
        if complete && goal == Goal::Deploy && header.intents.is_empty() {
            header.last_good.clear();
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
