//! Runs the steps of a plan: as parallel as their order allows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use infra_cdk::{Graph, LogicalId};
use serde_json::Value as Json;

use crate::event::Event;
use crate::packaging::Packaging;
use crate::plan::{Action, After, Known, Packages, Plan, Step, StepId};
use crate::provider::{Class, Cloud, CloudError, Desired, Live, Properties, Target};
use crate::record::{Outcome, Record, Recorded};
use crate::recorder::Recorder;
use crate::time::Time;
use crate::{diff, observe, retry};

/// Steps in flight at most. The clouds' own rates are kept by their providers.
const IN_FLIGHT_MAX: usize = 64;

/// How often an interrupt is looked for while steps are in flight.
pub(crate) const INTERRUPT_POLL: Duration = Duration::from_millis(100);

/// Sets a property by its path, such as `DefaultRouteSettings.ThrottlingRateLimit`.
fn set(properties: &mut Properties, path: &str, value: Json) {
    match path.split_once('.') {
        None => {
            properties.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            if let Some(Json::Object(inner)) = properties.get_mut(first) {
                set(inner, rest, value);
            }
        }
    }
}

/// Everything that running a plan needs.
pub(crate) struct Run<'a, C, T> {
    pub(crate) cloud: &'a Arc<C>,
    pub(crate) time: &'a Arc<T>,
    pub(crate) graph: &'a Graph,
    pub(crate) packaging: &'a Packaging,
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
        let mut packaging = self.packaging.clone();
        let mut results = Results {
            resources: self.record.resources.clone(),
            // Unchanged resources are known from the start; so is what AWS assigned to those that are only updated.
            known: Known::of(self.graph, self.cloud.context(), &packaging.look(), self.live),
            ..Results::default()
        };
        self.record_unchanged(&mut results);

        let followers = self.plan.followers();
        let mut waiting: BTreeSet<usize> = (0..self.plan.steps.len()).collect();
        let mut done: BTreeSet<StepId> = BTreeSet::new();
        let mut in_flight: InFlight<'_> = FuturesUnordered::new();
        loop {
            let stop = self.interrupted.load(Ordering::Relaxed) || self.recorder.is_lost();
            let mut awaits_package = false;
            if !stop {
                let is_over = packaging.is_over();
                let packages = packaging.look();
                let mut ready: Vec<usize> = waiting
                    .iter()
                    .copied()
                    .filter(|index| self.plan.steps[*index].after.is_subset(&done))
                    .filter(|index| {
                        let lacks = self.lacks_package(&self.plan.steps[*index], &packages);
                        awaits_package |= lacks && !is_over;
                        !lacks
                    })
                    .collect();
                // Where not all can begin at once, for want of calls per second or of CPU, the longest chain goes first.
                ready.sort_by_key(|index| std::cmp::Reverse(followers[*index]));
                ready.truncate(IN_FLIGHT_MAX.saturating_sub(in_flight.len()));
                for index in ready {
                    waiting.remove(&index);
                    in_flight.push(self.start(index, &mut results.known, &packages));
                }
            }
            if in_flight.is_empty() && !awaits_package {
                results.interrupted |= stop && !waiting.is_empty();
                break;
            }
            let next = tokio::select! {
                biased;
                Some(next) = in_flight.next() => next,
                () = packaging.changed(), if awaits_package => continue,
                () = self.time.sleep(INTERRUPT_POLL) => continue,
            };
            let (index, started, outcome) = next;
            let step = &self.plan.steps[index];
            if self.settle(step, started, outcome, &mut results) {
                done.insert(step.step_id());
            }
        }
        let undone: BTreeSet<LogicalId> = results.failed.iter().map(|(id, ..)| id.clone()).collect();
        // In the plan's order, so that a whole chain is due to the one that failed.
        let mut due_to: BTreeMap<StepId, LogicalId> = BTreeMap::new();
        for index in waiting {
            let step = &self.plan.steps[index];
            let needs = step.after.iter().find_map(|before| {
                let (StepId::Apply(id) | StepId::Remove(id)) = before;
                due_to.get(before).or_else(|| undone.get(id)).cloned()
            });
            if let Some(needs) = &needs {
                due_to.insert(step.step_id(), needs.clone());
            }
            self.skip(step, needs, &mut results);
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

    /// Returns whether the step makes a function whose package is not there yet.
    fn lacks_package(&self, step: &Step, packages: &Packages) -> bool {
        match step.action {
            Action::Create | Action::Adopt | Action::Update | Action::Replace => {
                let names = self.graph.resources()[&step.id].packages();
                names.into_iter().any(|name| !packages.contains_key(name))
            }
            Action::Delete | Action::Retain | Action::Forget => false,
        }
    }

    fn skip(&self, step: &Step, needs: Option<LogicalId>, results: &mut Results) {
        let Step { id, kind, action, .. } = step;
        (self.observer)(Event::Skipped {
            id: id.clone(),
            kind: *kind,
            action: *action,
            needs,
        });
        results.skipped.push((id.clone(), *action));
    }

    /// Begins a step; everything that it needs is done.
    fn start<'s>(
        &'s self,
        index: usize,
        known: &mut Known,
        packages: &Packages,
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
                let desired = self.desired(step, known, packages);
                Box::pin(async move {
                    let outcome = match desired {
                        Ok((desired, declared, live)) => self.reconcile(desired, declared, live).await,
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

    async fn reconcile(&self, desired: Desired, declared: Properties, live: Option<&Live>) -> Result<Done, CloudError> {
        let attempt = || async {
            self.recorder.check(&**self.time)?;
            self.cloud.reconcile(&desired, live).await
        };
        let live = self.persist(&desired.id, attempt).await?;
        Ok(Done::Applied(Box::new(live), declared))
    }

    /// Returns what the step shall make, what of it is declared, and what is there to start from.
    fn desired(
        &self,
        step: &Step,
        known: &mut Known,
        packages: &Packages,
    ) -> Result<(Desired, Properties, Option<&Live>), CloudError> {
        let resource = &self.graph.resources()[&step.id];
        let resolved = known.resolve(&step.id, resource, self.graph, self.cloud.context(), packages);
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
        let mut properties = resolved.properties.clone();
        let mut cleared = Vec::new();
        for change in step.changes.iter().filter(|change| change.to == After::Cleared) {
            match diff::value_that_clears(step.kind, &change.property) {
                Some(value) => set(&mut properties, &change.property, value.clone()),
                None => cleared.push(change.property.clone()),
            }
        }
        let package = resource.packages().into_iter().find_map(|name| packages.get(name));
        let desired = Desired {
            stack: self.graph.stack().clone(),
            id: step.id.clone(),
            kind: step.kind,
            properties,
            cleared,
            package: package.map(|package| package.zip.clone()),
        };
        Ok((desired, resolved.properties, live))
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
                    error: error.clone(),
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
            // Its repetitions were ended, not its attempt: the next deployment goes on with it.
            Err(error) if error.class.is_retryable() && self.interrupted.load(Ordering::Relaxed) => {
                results.interrupted = true;
                self.skip(step, None, results);
                false
            }
            Err(error) => {
                (self.observer)(Event::Failed {
                    id: id.clone(),
                    kind: *kind,
                    action: *action,
                    error: error.clone(),
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
