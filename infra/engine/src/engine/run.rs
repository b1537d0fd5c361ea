//! Applies a plan under the lock, and records what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use infra_cdk::{Graph, LogicalId};
use serde_json::Value as Json;

use super::lock::Ready;
use super::{Engine, EngineError, Goal, Prepared, Report};
use crate::apply::{Results, Run};
use crate::event::Event;
use crate::packaging::Packaging;
use crate::plan::{Known, Packages, Plan};
use crate::provider::Cloud;
use crate::record::{Header, Outcome, Record, Store};
use crate::recorder::Recorder;
use crate::time::Time;
use crate::{aliases, observe, recover};

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

impl<C: Cloud, S: Store, T: Time> Engine<C, S, T> {
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

    /// Returns whether the record says already what is declared, down to policies and outputs.
    pub(super) fn is_recorded(&self, graph: &Graph, known: &Known, prepared: &Prepared) -> bool {
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

    pub(super) fn outputs(&self, graph: &Graph, known: &Known) -> BTreeMap<String, Json> {
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
