//! What is deployed, as recorded beside it; and where the record is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use infra_cdk::{EngineName, Kind, LogicalId, RemovalPolicy, StackId};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::provider::{CloudError, Properties};

/// Version of the record's format. A newer record is refused with the advice to update the tool; an older one is read
/// and written back in this version.
///
/// It is raised by whatever a released version would misread or drop: a new resource type, a field that decides something.
/// A field that an older record lacks has a default.
pub const SCHEMA: u32 = 2;

/// Everything known about one deployed stack.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The stack's header.
    pub header: Header,
    /// Its resources.
    pub resources: BTreeMap<LogicalId, Recorded>,
}

impl Record {
    /// Returns the engine that the stage belongs to; `None` when nothing of it is deployed.
    #[must_use]
    pub fn engine(&self) -> Option<EngineName> {
        let is_empty = self.resources.is_empty() && self.header.intents.is_empty();
        match self.header.engine {
            EngineName::Direct if is_empty => None,
            engine => Some(engine),
        }
    }

    /// Returns whether an unfinished deployment has changed what an earlier one left: there is something to go back to.
    #[must_use]
    pub fn has_last_good(&self) -> bool {
        let touched = &self.header.last_good;
        let is_old = |id| !touched.contains_key(id);
        !touched.is_empty() && (touched.values().any(Option::is_some) || self.resources.keys().any(is_old))
    }
}

/// What is true of the whole stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Format of header and resources.
    pub schema: u32,
    /// Grows by one with every deployment: who wrote last. A writer with an older number is refused.
    pub fence: u64,
    /// Which engine the stage belongs to. Of a stage that CloudFormation deploys, only what CloudFormation cannot make is
    /// recorded here.
    #[serde(default)]
    pub engine: EngineName,
    /// Who is deploying now.
    pub lock: Option<Lock>,
    /// What the running or interrupted deployment set out to do, written before its first mutating call.
    pub intents: Vec<Intent>,
    /// What the resources were that have been touched since a deployment ended well, as that one left them; `None` for
    /// those that did not exist.
    #[serde(default)]
    pub last_good: BTreeMap<LogicalId, Option<Recorded>>,
    /// Outputs of the last finished deployment.
    pub outputs: BTreeMap<String, Json>,
    /// The versions that aliases named before the last deployment that moved any of them: where a rollback goes. Empty
    /// after the first deployment, and after a rollback.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliased_before: BTreeMap<LogicalId, String>,
}

impl Default for Header {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            fence: 0,
            engine: EngineName::Direct,
            lock: None,
            intents: Vec::new(),
            last_good: BTreeMap::new(),
            outputs: BTreeMap::new(),
            aliased_before: BTreeMap::new(),
        }
    }
}

/// Who is deploying, and until when nobody else may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lock {
    /// Person, host and process, for people to read.
    pub owner: String,
    /// Start, in seconds since 1970.
    pub acquired_at: u64,
    /// End of the lease, in seconds since 1970; a living owner moves it on.
    pub lease_until: u64,
}

/// One step that a deployment set out to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// The resource.
    pub id: LogicalId,
    /// Its type.
    pub kind: Kind,
    /// `create`, `update`, `replace`, `delete`, `adopt` or `retain`.
    pub action: String,
    /// What AWS knows it by, where it exists.
    pub name: Option<String>,
    /// What leads to it: the record that it would have, with those properties only that are known, and `null` for the
    /// value of each that is no text.
    #[serde(default)]
    pub resource: Option<Recorded>,
}

/// One resource as it was after its last step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// Its type.
    pub kind: Kind,
    /// What AWS knows it by.
    pub physical_id: String,
    /// Its declared properties, resolved. Never a secret.
    pub properties: Properties,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// What must be deleted after it.
    pub dependencies: BTreeSet<LogicalId>,
    /// What it took a snapshot of.
    pub snapshot_of: BTreeSet<LogicalId>,
    /// The resource that contains it.
    pub parent: Option<LogicalId>,
    /// What happens when it leaves the stack.
    pub removal_policy: RemovalPolicy,
}

/// A change to the record.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The resource is like this now.
    Put(LogicalId, Recorded),
    /// The resource is gone, or retained and forgotten.
    Removed(LogicalId),
}

/// Where records are kept. A store knows nothing of their meaning; all decisions about locks are made here:
/// [`Store::begin`] and [`Store::write`] are conditional on [`Header::fence`].
pub trait Store: Send + Sync + 'static {
    /// Returns the record of a stack, or `None` when it was never deployed.
    fn load(&self, stack: &StackId) -> impl Future<Output = Result<Option<Record>, StoreError>> + Send;

    /// Writes `header`, provided that the stored fence is still `expected_fence` (0: none stored) and nobody else holds
    /// an unexpired lock at `now` (seconds since 1970). Makes the store itself when it does not exist.
    ///
    /// # Errors
    /// [`StoreError::Locked`] with who holds the lock; [`StoreError::Overtaken`] when the fence has moved.
    fn begin(
        &self,
        stack: &StackId,
        expected_fence: u64,
        now: u64,
        header: &Header,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes outcomes and, if given, the header, provided that the stored fence is `fence`.
    ///
    /// # Errors
    /// [`StoreError::Overtaken`] when another deployment has taken over: nothing was written.
    fn write(
        &self,
        stack: &StackId,
        fence: u64,
        outcomes: &[Outcome],
        header: Option<&Header>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes the whole record under the same condition, and the store itself when that was the last record in it.
    /// `resources` are all that it may contain; some may be gone already.
    fn erase(
        &self,
        stack: &StackId,
        fence: u64,
        resources: &BTreeSet<LogicalId>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes the store itself where it holds no record: one that was killed between the two steps of
    /// [`Store::erase`] left it.
    fn remove_if_empty(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Why the record could not be read or written.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another deployment holds the lock.
    #[error("{stack} is being deployed by {}, for {} s now; unless renewed, its lock ends in {} s", lock.owner, now.saturating_sub(lock.acquired_at), lock.lease_until.saturating_sub(*now))]
    Locked {
        /// The stack.
        stack: StackId,
        /// The holder.
        lock: Lock,
        /// The time it was judged at, in seconds since 1970.
        now: u64,
    },
    /// Another deployment has begun since this one read the record.
    #[error("another deployment of {stack} has taken over; nothing more was recorded")]
    Overtaken {
        /// The stack.
        stack: StackId,
    },
    /// The record was written by a newer version of this tool.
    #[error("the record of {stack} has format {found}, this version knows up to {SCHEMA}; update the tool")]
    Newer {
        /// The stack.
        stack: StackId,
        /// Its format.
        found: u32,
    },
    /// The record cannot be understood.
    #[error("the record of {stack} is damaged at {item}: {message}")]
    Damaged {
        /// The stack.
        stack: StackId,
        /// The item's key.
        item: String,
        /// What is wrong.
        message: String,
    },
    /// A call failed.
    #[error(transparent)]
    Cloud(#[from] CloudError),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_record_of_the_first_format_is_read() {
        let header = r#"{"schema": 1, "fence": 3, "lock": null, "outputs": {},
            "intents": [{"id": "ChatApi", "kind": "Api", "action": "create", "name": null}]}"#;
        let header: Header = serde_json::from_str(header).unwrap();
        assert_eq!((header.schema, header.fence, header.engine), (1, 3, EngineName::Direct));
        assert_eq!(header.intents[0].resource, None);
    }
}
