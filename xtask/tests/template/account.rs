//! An account on the local cloud, and what is in it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::AtomicBool;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use infra_aws::{AwsCloud, Connection, Session, SessionOptions, StateTable};
use infra_cdk::{Graph, Kind, LogicalId};
use infra_engine::{Cloud, Engine, Live, Package, Packages, Record, Recorded, Target};
use infra_local::{LocalCloud, Options};
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

use crate::common;

/// An account in this process.
pub(crate) struct Account {
    session: Session,
    /// Keeps it running.
    _cloud: LocalCloud,
}

impl Account {
    /// Starts an empty account in a Region.
    pub(crate) async fn start(region: &str) -> Self {
        let options = Options {
            port: 0,
            region: region.to_owned(),
            account: common::ACCOUNT.to_owned(),
            ..Options::default()
        };
        let cloud = LocalCloud::start(options).await.unwrap();
        let options = SessionOptions {
            region: region.to_owned(),
            endpoint_url: Some(cloud.endpoint().to_owned()),
            credentials: Some(("local".to_owned(), "local".to_owned())),
            ..SessionOptions::default()
        };
        let session = Connection::open(options).await.unwrap().identify().await.unwrap();
        Self { session, _cloud: cloud }
    }

    /// Deploys a stack, and returns the properties of all its resources as they are read back, with the names that the
    /// template's reader gives to what AWS assigns.
    pub(crate) async fn deploy(&self, graph: &Graph) -> BTreeMap<LogicalId, Map<String, Json>> {
        let record = self.deployed(graph).await;
        let target = |(id, recorded): (&LogicalId, &Recorded)| Target {
            stack: graph.stack().clone(),
            id: id.clone(),
            kind: recorded.kind,
            physical_id: Some(recorded.physical_id.clone()),
            properties: recorded.properties.clone(),
        };
        let targets: Vec<_> = record.resources.iter().map(target).collect();
        let live = AwsCloud::new(self.session.clone()).observe(&targets).await.unwrap();
        let names = assigned(&live, &self.session.context().region);
        let properties = |id: &LogicalId, live: &Live| {
            let text = Json::from(live.properties.clone()).to_string();
            let text = names.iter().fold(text, |text, (from, to)| text.replace(from, to));
            let mut properties: Map<String, Json> = serde_json::from_str(&text).unwrap();
            as_declared(graph, id, &mut properties);
            properties
        };
        live.iter()
            .map(|(id, live)| (id.clone(), properties(id, live)))
            .collect()
    }

    async fn deployed(&self, graph: &Graph) -> Record {
        let store = StateTable::new(self.session.connection().clone());
        let engine = Engine::new(AwsCloud::new(self.session.clone()), store, "tests");
        let packages = packages(graph);
        let prepared = engine.plan_deploy(graph, &packages).await.unwrap();
        let report = engine
            .apply(graph, &packages, prepared, &AtomicBool::new(false), &|_| {})
            .await
            .unwrap();
        assert!(report.failed.is_empty() && report.skipped.is_empty(), "{report:?}");
        engine.record(graph).await.unwrap().unwrap()
    }
}

/// Returns what AWS has assigned, longest first, and what the template's reader calls it.
fn assigned(live: &BTreeMap<LogicalId, Live>, region: &str) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for (id, live) in live {
        let ours = common::assigned(id.as_str());
        for (attribute, value) in &live.attributes {
            let name = match attribute.as_str() {
                "ApiId" | "AuthorizerId" | "DeploymentId" | "IntegrationId" | "RouteId" | "FunctionUrl" => ours.clone(),
                "ApiEndpoint" => format!("wss://{ours}.execute-api.{region}.amazonaws.com"),
                "ManagementEndpoint" => format!("https://{ours}.execute-api.{region}.amazonaws.com"),
                _ => continue,
            };
            names.push((value.clone(), name));
        }
    }
    names.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
    names
}

fn packages(graph: &Graph) -> Packages {
    let names = common::digests(graph).into_keys();
    names
        .map(|name| {
            let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
            let executable = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
            archive.start_file("bootstrap", executable).unwrap();
            archive.write_all(name.as_bytes()).unwrap();
            let zip = archive.finish().unwrap().into_inner();
            let sha256 = BASE64_STANDARD.encode(Sha256::digest(&zip));
            (
                name,
                Package {
                    sha256,
                    zip: zip.into(),
                },
            )
        })
        .collect()
}

/// Writes what was read as a declaration would have it: AWS counts versions, and fills in defaults.
fn as_declared(graph: &Graph, id: &LogicalId, properties: &mut Map<String, Json>) {
    let resource = &graph.resources()[id];
    if resource.kind == Kind::Alias {
        let function = resource.parent.as_ref().unwrap();
        properties.insert("FunctionVersion".into(), common::assigned(function.as_str()).into());
    }
    let defaults = &resource.kind.schema().defaults;
    let is_default = |name: &String, value: &Json| {
        let default = defaults.get(name);
        default.is_some_and(|default| default.is_null() || default == value)
    };
    properties.retain(|name, value| resource.properties.contains_key(name) || !is_default(name, value));
}
