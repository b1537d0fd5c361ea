//! One resource of a graph.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Kind, LogicalId, Value};

/// One resource as declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its type.
    pub kind: Kind,
    /// Properties in CloudFormation's names and shapes.
    pub properties: BTreeMap<String, Value>,
    /// Resources that must exist before this one, beside those whose AWS-assigned attributes it refers to.
    ///
    /// A reference to a name or an ARN alone orders nothing: these are computed, and AWS seldom checks that what they
    /// name exists.
    pub depends_on: BTreeSet<LogicalId>,
    /// Resources that this one takes a snapshot of: it is made after every change to them, and made anew by any.
    pub snapshot_of: BTreeSet<LogicalId>,
    /// The resource that contains this one: deleting it deletes this one too.
    pub parent: Option<LogicalId>,
    /// What happens when the resource leaves the stack.
    pub removal_policy: RemovalPolicy,
}

impl Resource {
    /// Returns a resource without properties that is deleted with its stack.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            properties: BTreeMap::new(),
            depends_on: BTreeSet::new(),
            snapshot_of: BTreeSet::new(),
            parent: None,
            removal_policy: RemovalPolicy::Delete,
        }
    }

    /// Sets a property.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.properties.insert(name.to_owned(), value.into());
        self
    }

    /// Adds resources that must exist before this one.
    #[must_use]
    pub fn after(mut self, ids: impl IntoIterator<Item = LogicalId>) -> Self {
        self.depends_on.extend(ids);
        self
    }

    /// Names the resource that contains this one.
    #[must_use]
    pub fn inside(mut self, parent: LogicalId) -> Self {
        self.depends_on.insert(parent.clone());
        self.parent = Some(parent);
        self
    }

    /// Returns the names of the function binaries whose packages are properties of this resource.
    #[must_use]
    pub fn packages(&self) -> BTreeSet<&str> {
        let values = self.properties.values();
        values
            .filter_map(|value| match value {
                Value::Package(name) => Some(name.as_str()),
                Value::Bool(_)
                | Value::Integer(_)
                | Value::String(_)
                | Value::List(_)
                | Value::Map(_)
                | Value::Join(_)
                | Value::Attribute { .. }
                | Value::Partition
                | Value::Region
                | Value::AccountId => None,
            })
            .collect()
    }

    /// Returns every attribute that the properties refer to.
    #[must_use]
    pub fn references(&self) -> BTreeSet<(LogicalId, &'static str)> {
        let mut found = BTreeSet::new();
        for value in self.properties.values() {
            value.references(&mut |of, name| {
                found.insert((of.clone(), name));
            });
        }
        found
    }
}

/// What happens to a resource that leaves its stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemovalPolicy {
    /// It stays in the account and is forgotten here.
    #[default]
    Retain,
    /// It is deleted.
    Delete,
}
