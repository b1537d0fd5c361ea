//! Decides what to do. Pure: no clock, no network, no randomness.
//!
//! It compares what is declared, what is recorded and what is live, and returns steps with a reason each. See
//! [`mod@crate::apply`] for what happens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use infra_cdk::{Kind, LogicalId};
use serde::Serialize;
use serde_json::Value as Json;

/// A function's zip file.
#[derive(Clone, PartialEq, Eq)]
pub struct Package {
    /// SHA-256 of the zip file in base64, as Lambda reports it (`CodeSha256`).
    pub sha256: String,
    /// The zip file.
    pub zip: Arc<[u8]>,
}

/// The packages of all functions by the names of their binaries.
pub type Packages = BTreeMap<String, Package>;

/// What a deployment will do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps, in an order in which they could run one after the other.
    pub steps: Vec<Step>,
    /// Resources that are as declared.
    pub unchanged: BTreeSet<LogicalId>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The resource.
    pub id: LogicalId,
    /// Its type.
    pub kind: Kind,
    /// What is done.
    pub action: Action,
    /// Why, in words.
    pub reason: String,
    /// The properties that change; empty for creations and deletions.
    pub changes: Vec<Change>,
    /// What AWS knows it by, where it exists.
    pub physical_id: Option<String>,
    /// Steps that must end before this one begins.
    #[serde(skip)]
    pub after: BTreeSet<StepId>,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Makes the resource.
    Create,
    /// Takes over one that exists, is ours, and is not in the record; changes what differs.
    Adopt,
    /// Changes the resource in place.
    Update,
    /// Makes a new one; a step of its own removes the old one, before or after, as its name allows.
    Replace,
    /// Deletes the resource. Old ones of a replacement are deleted by such a step too.
    Delete,
    /// Forgets the resource and leaves it in the account.
    Retain,
    /// Nothing to call: the resource is gone, or goes with the one that contains it.
    Forget,
}

/// Identifies a step: a replaced resource has one of each kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepId {
    /// Creates, adopts, updates or makes anew.
    Apply(LogicalId),
    /// Deletes, retains or forgets.
    Remove(LogicalId),
}

/// One property that changes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Its path, for example `Environment.Variables.TABLE`.
    pub property: String,
    /// What it is now; `None` when it is not set.
    pub from: Option<Json>,
    /// What it will be.
    pub to: After,
    /// Whether somebody changed it outside: live differs from what was recorded, and the declaration has not changed.
    pub drift: bool,
}

/// A property's value after the step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum After {
    /// This value.
    Value(Json),
    /// Known after another step has run.
    Unknown,
    /// Not set.
    Cleared,
}

impl Plan {
    /// Returns whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns the steps that lose stored data: tables and secrets that are replaced or deleted.
    pub fn data_losses(&self) -> impl Iterator<Item = &Step> {
        self.steps
            .iter()
            .filter(|step| step.kind.holds_data() && step.action == Action::Delete)
    }
}

impl Step {
    /// Returns the step's identity in its plan.
    #[must_use]
    pub fn step_id(&self) -> StepId {
        match self.action {
            Action::Create | Action::Adopt | Action::Update | Action::Replace => StepId::Apply(self.id.clone()),
            Action::Delete | Action::Retain | Action::Forget => StepId::Remove(self.id.clone()),
        }
    }
}

impl Action {
    /// Returns the field's symbol: `+`, `~`, `±`, `-`, `=`.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Create => "+",
            Self::Adopt | Self::Update => "~",
            Self::Replace => "±",
            Self::Delete => "-",
            Self::Retain | Self::Forget => "=",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Create => "create",
            Self::Adopt => "adopt",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Delete => "delete",
            Self::Retain => "retain",
            Self::Forget => "forget",
        })
    }
}

impl fmt::Debug for Package {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Package({}, {} bytes)", self.sha256, self.zip.len())
    }
}
