//! What the deletion of a stack would do.

use std::collections::BTreeSet;

use infra_engine::{Action, Plan, Step};

use super::StackResource;
use super::names::{Named, Names};
use super::plan::step;

/// Returns the deletion of a stack as a plan. `retained` are the names in its template whose deletion policy keeps them.
#[must_use]
pub fn removal(resources: &[StackResource], retained: &BTreeSet<String>, names: &Names) -> Plan {
    let steps = resources.iter().filter_map(|resource| {
        let Some(Named::Resource(id, kind)) = names.named(&resource.name, &resource.kind) else {
            return None;
        };
        if resource.status == "DELETE_COMPLETE" {
            return None;
        }
        let (action, reason) = if retained.contains(&resource.name) {
            (Action::Retain, "the stack is destroyed; its removal policy is retain")
        } else {
            (Action::Delete, "the stack is destroyed")
        };
        Some(Step {
            physical_id: resource.physical_id.clone(),
            ..step(&id, kind, action, reason)
        })
    });
    Plan {
        steps: steps.collect(),
        unchanged: BTreeSet::new(),
    }
}
