//! Runs the steps of a plan: as parallel as their order allows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use infra_cdk::{Graph, LogicalId};

use crate::event::Event;
use crate::plan::{Action, After, Known, Packages, Plan, Step, StepId};
use crate::provider::{Class, Cloud, CloudError, Desired, Live, Properties, Target};
use crate::record::{Outcome, Record, Recorded};
use crate::recorder::Recorder;
use crate::time::Time;
use crate::{observe, retry};

/// Steps in flight at most. The clouds' own rates are kept by their providers.
const IN_FLIGHT_MAX: usize = 64;

/// How often an interrupt is looked for while steps are in flight.
const INTERRUPT_POLL: Duration = Duration::from_millis(100);

/// Everything that running a plan needs.
pub(crate) struct Run<'a, C, T> {
    pub(crate) cloud: &'a Arc<C>,
    pub(crate) time: &'a Arc<T>,
    pub(crate) graph: &'a Graph,
    pub(crate) packages: &'a Packages,
    pub(crate) plan: &'a Plan,
    pub(crate) record: &'a Record,
    pub(crate) live: &'a BTreeMap<LogicalId, Live>,
    pub(crate) recorder: &'a Recorder,
    pub(crate) interrupted: &'a AtomicBool,
    pub(crate) observer: &'a (dyn Fn(Event) + Send + Sync),
}

/// How it went.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) done: Vec<(LogicalId, Action)>,
    pub(crate) failed: Vec<(LogicalId, Action, CloudError)>,
    pub(crate) skipped: Vec<(LogicalId, Action)>,
    pub(crate) interrupted: bool,
    /// The recorded resources as they are after the run.
    pub(crate) resources: BTreeMap<LogicalId, Recorded>,
    pub(crate) known: Known,
}

/// What one step brought.
enum Done {
    Applied(Box<Live>, Properties),
    Removed,
}

type InFlight<'a> = FuturesUnordered<BoxFuture<'a, (usize, Instant, Result<Done, CloudError>)>>;

impl<C: Cloud, T: Time> Run<'_, C, T> {
    pub(crate) async fn run(&self) -> Results {
        let mut results = Results {
            resources: self.record.resources.clone(),
            // Unchanged resources are known from the start; so is what AWS assigned to those that are only updated.
            known: Known::of(self.graph, self.cloud.context(), self.packages, self.live),
            ..Results::default()
        };
        self.record_unchanged(&mut results);

        let mut waiting: BTreeSet<usize> = (0..self.plan.steps.len()).collect();
        let mut done: BTreeSet<StepId> = BTreeSet::new();
        let mut in_flight: InFlight<'_> = FuturesUnordered::new();
        loop {
            let stop = self.interrupted.load(Ordering::Relaxed) || self.recorder.is_lost();
            if !stop {
                let ready: Vec<usize> = waiting
                    .iter()
                    .copied()
                    .filter(|index| self.plan.steps[*index].after.is_subset(&done))
                    .take(IN_FLIGHT_MAX.saturating_sub(in_flight.len()))
                    .collect();
                for index in ready {
                    waiting.remove(&index);
                    in_flight.push(self.start(index, &mut results.known));
                }
            }
            if in_flight.is_empty() {
                results.interrupted = stop && !waiting.is_empty();
                break;
            }
            let next = tokio::select! {
                biased;
                next = in_flight.next() => next,
                () = self.time.sleep(INTERRUPT_POLL) => continue,
            };
            if let Some((index, started, outcome)) = next {
                let step = &self.plan.steps[index];
                if self.settle(step, started, outcome, &mut results) {
                    done.insert(step.step_id());
                }
            }
        }
        for index in waiting {
            let Step { id, kind, action, .. } = &self.plan.steps[index];
            (self.observer)(Event::Skipped {
                id: id.clone(),
                kind: *kind,
                action: *action,
            });
            results.skipped.push((id.clone(), *action));
        }
        results
    }

    /// Records again what is live as declared, where the record would say something else, such as another removal policy.
    fn record_unchanged(&self, results: &mut Results) {
        for id in &self.plan.unchanged {
            let Some(live) = self.live.get(id) else { continue };
            let now = observe::recorded(self.graph, id, live, results.known.properties(id));
            if results.resources.get(id) != Some(&now) {
                results.resources.insert(id.clone(), now.clone());
                self.recorder.record(Outcome::Put(id.clone(), now));
            }
        }
    }

    /// Begins a step; everything that it needs is done.
    fn start<'s>(
        &'s self,
        index: usize,
        known: &mut Known,
    ) -> BoxFuture<'s, (usize, Instant, Result<Done, CloudError>)> {
        let step = &self.plan.steps[index];
        let started = Instant::now();
        (self.observer)(Event::Started {
            id: step.id.clone(),
            kind: step.kind,
            action: step.action,
        });
        match step.action {
            Action::Create | Action::Adopt | Action::Update | Action::Replace => {
                let desired = self.desired(step, known);
                Box::pin(async move {
                    let outcome = match desired {
                        Ok((desired, live)) => self.reconcile(desired, live).await,
                        Err(error) => Err(error),
                    };
                    (index, started, outcome)
                })
            }
            Action::Delete => {
                let target = self.target(step);
                Box::pin(async move {
                    let attempt = || async {
                        self.recorder.check(&**self.time)?;
                        self.cloud.delete(&target).await
                    };
                    let deleted = self.persist(&step.id, attempt).await;
                    (index, started, deleted.map(|()| Done::Removed))
                })
            }
            Action::Retain | Action::Forget => Box::pin(async move { (index, started, Ok(Done::Removed)) }),
        }
    }

    async fn reconcile(&self, desired: Desired, live: Option<&Live>) -> Result<Done, CloudError> {
        let attempt = || async {
            self.recorder.check(&**self.time)?;
            self.cloud.reconcile(&desired, live).await
        };
        let live = self.persist(&desired.id, attempt).await?;
        Ok(Done::Applied(Box::new(live), desired.properties))
    }

    /// Returns what the step shall make, and what is there to start from.
    fn desired(&self, step: &Step, known: &mut Known) -> Result<(Desired, Option<&Live>), CloudError> {
        let resource = &self.graph.resources()[&step.id];
        let resolved = known.resolve(&step.id, resource, self.graph, self.cloud.context(), self.packages);
        if let Some(unknown) = resolved.unknown.first() {
            return Err(CloudError {
                operation: format!("resolving {}.{unknown}", step.id),
                code: String::new(),
                message: "it refers to something that no step has made; this is a defect of the provider".to_owned(),
                request_id: None,
                class: Class::Permanent,
            });
        }
        let live = self.live.get(&step.id).filter(|_| step.action != Action::Replace);
        let cleared = step
            .changes
            .iter()
            .filter(|change| change.to == After::Cleared && !change.property.contains('.'));
        let package = resource.properties.values().find_map(|value| match value {
            infra_cdk::Value::Package(name) => self.packages.get(name).map(|package| package.zip.clone()),
            _ => None,
        });
        let desired = Desired {
            stack: self.graph.stack().clone(),
            id: step.id.clone(),
            kind: step.kind,
            properties: resolved.properties,
            cleared: cleared.map(|change| change.property.clone()).collect(),
            package,
        };
        Ok((desired, live))
    }

    /// Returns what a deletion deletes: the resource as recorded, or as found where it was not recorded.
    fn target(&self, step: &Step) -> Target {
        let recorded = self.record.resources.get(&step.id);
        let live = self.live.get(&step.id);
        Target {
            stack: self.graph.stack().clone(),
            id: step.id.clone(),
            kind: step.kind,
            physical_id: step.physical_id.clone(),
            properties: recorded
                .map(|recorded| recorded.properties.clone())
                .or_else(|| live.map(|live| live.properties.clone()))
                .unwrap_or_default(),
        }
    }

    /// Repeats a call as long as its errors say that it may help.
    async fn persist<R, F>(&self, id: &LogicalId, call: impl Fn() -> F) -> Result<R, CloudError>
    where
        F: Future<Output = Result<R, CloudError>>,
    {
        retry::persist(&**self.time, call, |error, pause| {
            let goes_on = !self.interrupted.load(Ordering::Relaxed);
            if goes_on {
                (self.observer)(Event::Retrying {
                    id: id.clone(),
                    reason: error.to_string(),
                    delay_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                });
            }
            goes_on
        })
        .await
    }

    /// Notes how a step ended; returns whether it ended well.
    fn settle(&self, step: &Step, started: Instant, outcome: Result<Done, CloudError>, results: &mut Results) -> bool {
        let Step { id, kind, action, .. } = step;
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        match outcome {
            Ok(done) => {
                match done {
                    Done::Applied(live, properties) => {
                        results.known.learn(id, &live.attributes);
                        let recorded = observe::recorded(self.graph, id, &live, properties);
                        results.resources.insert(id.clone(), recorded.clone());
                        self.recorder.record(Outcome::Put(id.clone(), recorded));
                    }
                    // The old one of a replacement shares its record with the new one.
                    Done::Removed if !self.is_replaced(id) => {
                        results.resources.remove(id);
                        self.recorder.record(Outcome::Removed(id.clone()));
                    }
                    Done::Removed => {}
                }
                (self.observer)(Event::Finished {
                    id: id.clone(),
                    kind: *kind,
                    action: *action,
                    elapsed_ms,
                });
                results.done.push((id.clone(), *action));
                true
            }
            Err(error) => {
                let text = error.to_string();
                (self.observer)(Event::Failed {
                    id: id.clone(),
                    kind: *kind,
                    action: *action,
                    error: text,
                });
                results.failed.push((id.clone(), *action, error));
                false
            }
        }
    }

    fn is_replaced(&self, id: &LogicalId) -> bool {
        self.plan
            .steps
            .iter()
            .any(|step| step.id == *id && step.action == Action::Replace)
    }
}
