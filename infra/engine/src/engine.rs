//! Deploys and destroys: reads, plans, locks, applies, records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use infra_cdk::{Graph, LogicalId};
use serde_json::Value as Json;

use crate::event::Event;
use crate::plan::{Action, Packages, Plan};
use crate::provider::{Cloud, CloudError};
use crate::record::{Record, Store, StoreError};

/// Deploys stacks to one cloud and records them in one store.
#[derive(Debug)]
pub struct Engine<C, S> {
    cloud: Arc<C>,
    store: Arc<S>,
    owner: String,
}

/// A plan, and what it was made from.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What will be done.
    pub plan: Plan,
    /// The record as it was read; `None` before the first deployment.
    pub record: Option<Record>,
    /// Outputs as far as they are known before the plan is applied.
    pub outputs: BTreeMap<String, Json>,
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
    /// The stack's outputs; empty unless all steps ended well.
    pub outputs: BTreeMap<String, Json>,
    /// The record after the deployment.
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
    #[error("{} exists and is not part of this stack: {found}", id)]
    Foreign {
        /// Our resource.
        id: LogicalId,
        /// What was found.
        found: String,
    },
}

impl<C: Cloud, S: Store> Engine<C, S> {
    /// Returns an engine. `owner` names the person or job that deploys, for those who find the stack locked.
    pub fn new(cloud: C, store: S, owner: impl Into<String>) -> Self {
        Self {
            cloud: Arc::new(cloud),
            store: Arc::new(store),
            owner: owner.into(),
        }
    }

    /// Reads record and live resources and plans a deployment. Changes nothing.
    ///
    /// # Errors
    /// What could not be read, or what stands in the way.
    pub async fn plan_deploy(&self, _graph: &Graph, _packages: &Packages) -> Result<Prepared, EngineError> {
        todo!()
    }

    /// Reads and plans the removal of everything that is recorded for the graph's stack, or lost from the record and
    /// still found by the graph. Changes nothing.
    ///
    /// # Errors
    /// What could not be read.
    pub async fn plan_destroy(&self, _graph: &Graph) -> Result<Prepared, EngineError> {
        todo!()
    }

    /// Applies a plan. `interrupted` set to true begins no new step.
    ///
    /// # Errors
    /// Why it could not begin. Failed steps are in the report.
    pub async fn apply(
        &self,
        _graph: &Graph,
        _packages: &Packages,
        _prepared: Prepared,
        _interrupted: &AtomicBool,
        _observe: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<Report, EngineError> {
        let _ = (&self.cloud, &self.store, &self.owner);
        todo!()
    }

    /// Returns the recorded deployment of a stack, or `None` when there is none.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn record(&self, graph: &Graph) -> Result<Option<Record>, EngineError> {
        self.store.load(graph.stack()).await.map_err(EngineError::Store)
    }
}
