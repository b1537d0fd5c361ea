//! How the resources of a stage are that CloudFormation deploys: as its stack says.
//!
//! CloudFormation tells what it last did to a resource, not how that one is now: what drifted is not known here, and a
//! note says which command finds it.

use std::collections::{BTreeMap, BTreeSet};

use infra_aws::StackResource;
use infra_cdk::{Graph, Value};
use infra_engine::{Record, Recorded};
use serde_json::Value as Json;

use super::drift::{ResourceStatus, State};

/// Returns what is in the stack.
pub(super) fn statuses(resources: &[StackResource]) -> Vec<ResourceStatus> {
    let statuses = resources.iter().filter_map(|resource| {
        let (state, differs) = match resource.status.as_str() {
            "DELETE_COMPLETE" => return None,
            status if status.ends_with("_COMPLETE") => (State::Live, Vec::new()),
            status => {
                let reason = resource.reason.clone();
                let differs = [Some(status.to_owned()), reason].into_iter().flatten();
                (State::Failed, differs.collect())
            }
        };
        Some(ResourceStatus {
            id: resource.name.parse().ok()?,
            kind: resource.kind.clone(),
            physical_id: resource.physical_id.clone(),
            state,
            differs,
        })
    });
    statuses.collect()
}

/// Returns the stack's resources as a record would name them, with those properties that are declared as they stand.
pub(super) fn record(graph: &Graph, resources: &[StackResource]) -> Record {
    let recorded = resources.iter().filter_map(|resource| {
        let (id, declared) = graph.resources().iter().find(|(id, _)| id.as_str() == resource.name)?;
        let properties = declared.properties.iter().filter_map(|(name, value)| {
            let value = match value {
                Value::String(text) => Json::from(text.as_str()),
                Value::Integer(number) => Json::from(*number),
                _ => return None,
            };
            Some((name.clone(), value))
        });
        let recorded = Recorded {
            kind: declared.kind,
            physical_id: resource.physical_id.clone()?,
            properties: properties.collect(),
            attributes: BTreeMap::new(),
            dependencies: BTreeSet::new(),
            snapshot_of: BTreeSet::new(),
            parent: declared.parent.clone(),
            removal_policy: declared.removal_policy,
        };
        Some((id.clone(), recorded))
    });
    Record {
        resources: recorded.collect(),
        ..Record::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use infra_cdk::{Settings, Stage};

    use super::*;

    fn resource(name: &str, status: &str, reason: Option<&str>) -> StackResource {
        StackResource {
            name: name.to_owned(),
            kind: "AWS::Lambda::Function".to_owned(),
            physical_id: Some(format!("chat-dev-{name}")),
            status: status.to_owned(),
            reason: reason.map(str::to_owned),
        }
    }

    #[test]
    fn a_stack_says_how_its_resources_are() {
        let stage = Stage {
            name: "dev".to_owned(),
            region: "us-east-1".to_owned(),
            settings: Settings::default(),
        };
        let graph = infra::chat(&stage).unwrap();
        let resources = [
            resource("ConnectFunction", "UPDATE_COMPLETE", None),
            resource("DefaultFunction", "CREATE_FAILED", Some("no quota")),
        ];
        let statuses = statuses(&resources);
        let of = |id: &str| statuses.iter().find(|status| status.id.as_str() == id).unwrap();
        assert_eq!(of("ConnectFunction").state, State::Live);
        assert_eq!(of("DefaultFunction").state, State::Failed);
        assert_eq!(of("DefaultFunction").differs, ["CREATE_FAILED", "no quota"]);
        let record = record(&graph, &resources);
        let memory = record.resources.values().next().unwrap().properties.get("MemorySize");
        assert!(memory.is_some_and(Json::is_u64), "{memory:?}");
    }
}
