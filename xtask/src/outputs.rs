//! What a deployed stage tells its users.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use infra_cdk::{Graph, Kind, LogicalId, Value};
use infra_engine::Record;
use serde::Serialize;
use serde_json::Value as Json;

use crate::ui::{BOLD, DIM};

/// URLs and names of a stage. The keys are part of the command line's contract.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outputs {
    /// Where clients connect.
    pub(crate) web_socket_url: Option<String>,
    /// Where functions post to connections.
    pub(crate) management_url: Option<String>,
    /// Where the browser client is served, if it is.
    pub(crate) web_url: Option<String>,
    /// Names of the Lambda functions by those of their binaries.
    pub(crate) functions: BTreeMap<String, String>,
    /// Names of the tables by their logical ids.
    pub(crate) tables: BTreeMap<LogicalId, String>,
    /// Name of the parameter that holds the key of tokens.
    pub(crate) token_key: Option<String>,
    /// Who writes into a log group, by its name: a function's binary, or else the group's logical id.
    #[serde(skip)]
    pub(crate) log_groups: BTreeMap<String, String>,
}

impl Outputs {
    /// Reads them from the record of a stage. Only what is both declared and recorded is named.
    pub(crate) fn read(graph: &Graph, record: &Record) -> Self {
        let text = |name: &str| {
            record
                .header
                .outputs
                .get(name)
                .and_then(Json::as_str)
                .map(str::to_owned)
        };
        let name_of = |id: &LogicalId| record.resources.get(id).map(|recorded| recorded.physical_id.clone());
        let functions: BTreeMap<String, String> = graph
            .resources()
            .iter()
            .filter_map(|(id, resource)| {
                let Some(Value::Package(binary)) = resource.properties.get("Code") else {
                    return None;
                };
                Some((binary.clone(), name_of(id)?))
            })
            .collect();
        let tables = graph
            .resources()
            .iter()
            .filter(|(_, resource)| resource.kind == Kind::Table)
            .filter_map(|(id, _)| Some((id.clone(), name_of(id)?)));
        let groups = record.resources.iter();
        let groups = groups.filter(|(_, recorded)| recorded.kind == Kind::LogGroup);
        let groups = groups.map(|(id, recorded)| (id.to_string(), recorded.physical_id.clone()));
        Self {
            log_groups: writers(&functions, groups),
            web_socket_url: text("webSocketUrl"),
            management_url: text("managementUrl"),
            web_url: text("webUrl"),
            functions,
            tables: tables.collect(),
            token_key: text("tokenKey"),
        }
    }

    /// Reads them from what a stack at CloudFormation says: its outputs, and the names of its resources in the template.
    pub(crate) fn of_stack(graph: &Graph, outputs: &BTreeMap<String, String>, names: &BTreeSet<String>) -> Self {
        let text = |name: &str| outputs.get(name).cloned();
        let named = |kind: Kind| {
            let resources = graph
                .resources()
                .iter()
                .filter(move |(_, resource)| resource.kind == kind);
            resources.filter_map(
                move |(id, resource)| match resource.properties.get(kind.name_property()?)? {
                    Value::String(name) if names.contains(id.as_str()) => Some((id, resource, name.clone())),
                    _ => None,
                },
            )
        };
        let functions = named(Kind::Function).filter_map(|(_, resource, name)| {
            let binary = resource.packages().into_iter().next()?;
            Some((binary.to_owned(), name))
        });
        let functions = functions.collect();
        let groups = named(Kind::LogGroup).map(|(id, _, name)| (id.to_string(), name));
        Self {
            log_groups: writers(&functions, groups),
            web_socket_url: text("webSocketUrl"),
            management_url: text("managementUrl"),
            web_url: text("webUrl"),
            functions,
            tables: named(Kind::Table).map(|(id, _, name)| (id.clone(), name)).collect(),
            token_key: text("tokenKey"),
        }
    }

    /// Returns them as aligned lines.
    pub(crate) fn human(&self) -> String {
        let mut text = self.addresses();
        for (heading, names) in [
            ("functions", self.functions.values().collect::<Vec<_>>()),
            ("tables", self.tables.values().collect()),
        ] {
            for (index, name) in names.into_iter().enumerate() {
                let heading = if index == 0 { heading } else { "" };
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{DIM}{heading:14}{DIM:#}  {name}");
            }
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// Returns the addresses alone, a line each.
    pub(crate) fn addresses(&self) -> String {
        let single = [
            ("webSocketUrl", &self.web_socket_url),
            ("managementUrl", &self.management_url),
            ("webUrl", &self.web_url),
            ("tokenKey", &self.token_key),
        ];
        let lines = single.into_iter().filter_map(|(name, value)| {
            let value = value.as_deref()?;
            Some(format!("{DIM}{name:14}{DIM:#}  {BOLD}{value}{BOLD:#}\n"))
        });
        lines.collect()
    }

    /// Returns them for programs.
    pub(crate) fn json(&self) -> Json {
        serde_json::json!(self)
    }
}

/// Returns who writes into each log group, given by id and name.
fn writers(
    functions: &BTreeMap<String, String>,
    groups: impl Iterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    let writer = |group: &str| {
        let function = group.strip_prefix("/aws/lambda/")?;
        let (binary, _) = functions.iter().find(|(_, name)| name.as_str() == function)?;
        Some(binary.clone())
    };
    groups
        .map(|(id, group)| {
            let writer = writer(&group).unwrap_or(id);
            (group, writer)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use infra_cdk::{RemovalPolicy, Settings, Stage};
    use infra_engine::{Header, Recorded};

    use super::*;

    fn outputs() -> Outputs {
        let graph = infra::chat(&Stage {
            name: "dev".to_owned(),
            region: "us-east-1".to_owned(),
            settings: Settings::default(),
        })
        .unwrap();
        let recorded = |kind, name: &str| Recorded {
            kind,
            physical_id: name.to_owned(),
            properties: serde_json::Map::new(),
            attributes: BTreeMap::new(),
            dependencies: BTreeSet::new(),
            snapshot_of: BTreeSet::new(),
            parent: None,
            removal_policy: RemovalPolicy::Delete,
        };
        let record = Record {
            header: Header {
                outputs: BTreeMap::from([
                    ("webSocketUrl".to_owned(), "wss://a.example.com/dev".into()),
                    ("managementUrl".to_owned(), "https://a.example.com/dev".into()),
                    ("tokenKey".to_owned(), "/chat/dev/TokenKey".into()),
                ]),
                ..Header::default()
            },
            resources: BTreeMap::from([
                (
                    "Connections".parse().unwrap(),
                    recorded(Kind::Table, "chat-dev-connections"),
                ),
                (
                    "ConnectFunction".parse().unwrap(),
                    recorded(Kind::Function, "chat-dev-connect"),
                ),
                (
                    "SendMessageFunction".parse().unwrap(),
                    recorded(Kind::Function, "chat-dev-send-message"),
                ),
            ]),
        };
        Outputs::read(&graph, &record)
    }

    #[test]
    fn programs_find_exactly_the_agreed_keys() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&outputs().json()).unwrap());
    }

    #[test]
    fn people_find_aligned_lines() {
        insta::assert_snapshot!(anstream::adapter::strip_str(&outputs().human()));
    }
}
