//! What the names in a template stand for in a graph, also those that have left it.

use std::collections::BTreeMap;

use infra_cdk::{Entry, Graph, Kind, LogicalId};

use super::StackResource;

/// CloudFormation's name of what functions publish; the direct engine has no resource for it.
pub(super) const VERSION: &str = "AWS::Lambda::Version";

/// The names of one stack.
#[derive(Clone, Debug)]
pub struct Names {
    entries: BTreeMap<String, Entry>,
    kinds: BTreeMap<LogicalId, Kind>,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// A resource.
    Resource(LogicalId, Kind),
    /// The version that a function publishes.
    Version(LogicalId),
}

impl Names {
    /// Returns the names in the template of a graph.
    #[must_use]
    pub fn new(graph: &Graph, entries: &BTreeMap<String, Entry>) -> Self {
        let kinds = graph.resources().iter();
        Self {
            entries: entries.clone(),
            kinds: kinds.map(|(id, resource)| (id.clone(), resource.kind)).collect(),
        }
    }

    /// Returns the declared resources that CloudFormation makes.
    pub fn resources(&self) -> impl Iterator<Item = &LogicalId> {
        let kinds = self.kinds.iter();
        kinds
            .filter(|(_, kind)| kind.is_made_by_cloudformation())
            .map(|(id, _)| id)
    }

    /// Returns what AWS knows those resources of a stack by that carry no tags and have no names: CloudFormation chose the
    /// ids of permissions, and the mark in a description may be lost.
    #[must_use]
    pub fn unmarked(&self, resources: &[StackResource]) -> BTreeMap<LogicalId, String> {
        let known = resources.iter().filter_map(|resource| {
            let Some(Named::Resource(id, kind)) = self.named(&resource.name, &resource.kind) else {
                return None;
            };
            // Of an identifier of several parts, ours is the last one: `FUNCTION|STATEMENT`.
            let own = resource.physical_id.as_deref()?.rsplit('|').next()?;
            matches!(kind, Kind::Integration | Kind::Deployment | Kind::Permission).then(|| (id, own.to_owned()))
        });
        known.collect()
    }

    /// Returns whether the current template has an entry of this name.
    pub(crate) fn is_current(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Returns what a name stands for, or `None` for what this program cannot have declared.
    ///
    /// Deployments and versions have a digest at the end of their names: those of earlier templates are told by what is
    /// before it.
    pub(crate) fn named(&self, name: &str, kind: &str) -> Option<Named> {
        match self.entries.get(name) {
            Some(Entry::Resource(id)) => return Some(Named::Resource(id.clone(), *self.kinds.get(id)?)),
            Some(Entry::Version(function)) => return Some(Named::Version(function.clone())),
            None => {}
        }
        if kind == VERSION {
            let mut functions = self.kinds.iter().filter(|(_, kind)| **kind == Kind::Function);
            let gone = || name.parse().ok();
            let function = functions.find(|(id, _)| is_followed_by_digest(name, &format!("{id}Version")));
            return function.map(|(id, _)| id.clone()).or_else(gone).map(Named::Version);
        }
        let kind = Kind::of_cloudformation_type(kind)?;
        if kind == Kind::Deployment {
            let mut deployments = self.kinds.iter().filter(|(_, kind)| **kind == Kind::Deployment);
            if let Some((id, kind)) = deployments.find(|(id, _)| is_followed_by_digest(name, id.as_str())) {
                return Some(Named::Resource(id.clone(), *kind));
            }
        }
        Some(Named::Resource(name.parse().ok()?, kind))
    }
}

fn is_followed_by_digest(name: &str, stem: &str) -> bool {
    name.strip_prefix(stem)
        .is_some_and(|digest| !digest.is_empty() && digest.chars().all(|c| c.is_ascii_hexdigit()))
}
