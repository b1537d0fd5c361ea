//! Changes to the record alone: it is made again, or handed over to CloudFormation.

use infra_cdk::{EngineName, Graph, LogicalId};

use super::{Engine, EngineError};
use crate::observe::{self, observe};
use crate::plan::{Foreign, Known, Packages};
use crate::provider::{Cloud, Ownership};
use crate::record::{Header, Lock, Outcome, Store};
use crate::recorder::LEASE_S;
use crate::time::Time;

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

impl<C: Cloud, S: Store, T: Time> Engine<C, S, T> {
    /// Records again what exists and carries the stack's mark, and is declared and not recorded. Changes no resource, and
    /// nothing that is recorded; without the mark too if the engine [adopts](Engine::adopting). What is not declared cannot
    /// be found: rebuild from the declaration that was deployed.
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
}
