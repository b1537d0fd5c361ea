//! An in-memory cloud and store. Everything happens at once; faults are asked for one by one.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code, reason = "tests; each uses a part")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use infra_cdk::{Context, Graph, Kind, LogicalId, RemovalPolicy, Settings, Stack, StackId, Stage, Table};
use infra_engine::{
    Action, Class, Cloud, CloudError, Desired, Engine, Header, Live, Lock, Outcome, Ownership, Package, Packages,
    Record, Report, Store, StoreError, Target, Time,
};

/// Time that passes only when somebody sleeps.
#[derive(Debug, Default)]
pub struct PausedTime {
    milliseconds: Mutex<u64>,
}

impl Time for PausedTime {
    fn now(&self) -> u64 {
        *self.milliseconds.lock().unwrap() / 1000
    }

    fn random(&self, bound: u64) -> u64 {
        bound / 2
    }

    async fn sleep(&self, duration: Duration) {
        // No deployment here lasts until its lease must be renewed.
        if duration >= Duration::from_secs(10) {
            return std::future::pending().await;
        }
        // Waiting for something that others must do first: let them.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        *self.milliseconds.lock().unwrap() += u64::try_from(duration.as_millis()).unwrap();
    }
}

/// A resource in the cloud.
#[derive(Clone, Debug, PartialEq)]
pub struct Thing {
    pub stack: StackId,
    pub id: LogicalId,
    pub kind: Kind,
    pub live: Live,
}

#[derive(Debug, Default)]
pub struct State {
    pub things: Vec<Thing>,
    pub next_id: u32,
    /// Mutating calls so far, such as `create Api`.
    pub calls: Vec<String>,
    /// Errors to answer to mutating calls by their number, counted from 0; `true` when the call happens all the same.
    pub faults: BTreeMap<usize, (Class, bool)>,
    pub mutating: usize,
}

#[derive(Debug)]
pub struct MemoryCloud {
    pub context: Context,
    pub state: Mutex<State>,
}

impl Default for MemoryCloud {
    fn default() -> Self {
        let context = Context {
            partition: "aws".into(),
            region: "eu-west-1".into(),
            account: "1".repeat(12),
        };
        Self {
            context,
            state: Mutex::default(),
        }
    }
}

impl MemoryCloud {
    /// Counts a mutating call; returns the error to answer before or after doing it.
    fn fault(&self, call: String) -> (Option<CloudError>, Option<CloudError>) {
        let mut state = self.state.lock().unwrap();
        let number = state.mutating;
        state.mutating += 1;
        state.calls.push(call.clone());
        match state.faults.get(&number) {
            None => (None, None),
            Some((class, happens)) => {
                let error = CloudError {
                    operation: call,
                    code: "Injected".into(),
                    message: "by the test".into(),
                    request_id: None,
                    class: *class,
                };
                if *happens {
                    (None, Some(error))
                } else {
                    (Some(error), None)
                }
            }
        }
    }

    pub fn things(&self) -> BTreeMap<String, (Kind, String)> {
        let state = self.state.lock().unwrap();
        let things = state.things.iter();
        things
            .map(|thing| {
                let key = format!("{}/{}#{}", thing.stack, thing.id, thing.live.physical_id);
                (
                    key,
                    (thing.kind, serde_json::to_string(&thing.live.properties).unwrap()),
                )
            })
            .collect()
    }
}

impl Cloud for &'static MemoryCloud {
    fn context(&self) -> &Context {
        &self.context
    }

    async fn observe(&self, targets: &[Target]) -> Result<BTreeMap<LogicalId, Live>, CloudError> {
        let state = self.state.lock().unwrap();
        let mut found = BTreeMap::new();
        for target in targets {
            let named = |thing: &Thing| {
                let name = target.kind.name_property().and_then(|name| target.properties.get(name));
                name.is_some_and(|name| name == &thing.live.physical_id)
            };
            let thing = state.things.iter().rev().find(|thing| {
                thing.kind == target.kind
                    && match &target.physical_id {
                        Some(physical) => *physical == thing.live.physical_id,
                        None => (thing.stack == target.stack && thing.id == target.id) || named(thing),
                    }
            });
            if let Some(thing) = thing {
                let ours = thing.stack == target.stack;
                let ownership = if ours {
                    Ownership::Ours
                } else {
                    Ownership::Foreign(thing.stack.to_string())
                };
                found.insert(
                    target.id.clone(),
                    Live {
                        ownership,
                        ..thing.live.clone()
                    },
                );
            }
        }
        Ok(found)
    }

    async fn reconcile(&self, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
        tokio::task::yield_now().await;
        let verb = if live.is_some() { "update" } else { "create" };
        let (before, after) = self.fault(format!("{verb} {}", desired.id));
        if let Some(error) = before {
            return Err(error);
        }
        let mut state = self.state.lock().unwrap();
        let made_before = |thing: &Thing| {
            thing.stack == desired.stack
                && thing.id == desired.id
                && thing.kind == desired.kind
                && match live {
                    Some(live) => thing.live.physical_id == live.physical_id,
                    // What an earlier attempt made carries the same marker.
                    None => thing.live.properties == desired.properties,
                }
        };
        let position = state.things.iter().position(made_before);
        let answer = if let Some(position) = position {
            let thing = &mut state.things[position];
            if desired.kind == Kind::Function && thing.live.properties != desired.properties {
                let version: u32 = thing.live.attributes["Version"].parse().unwrap();
                let next = (version + 1).to_string();
                thing.live.attributes.insert("Version".to_owned(), next);
            }
            thing.live.properties = desired.properties.clone();
            thing.live.clone()
        } else {
            state.next_id += 1;
            let name = desired
                .kind
                .name_property()
                .and_then(|name| desired.properties[name].as_str());
            let physical_id = name.map_or_else(|| format!("id{}", state.next_id), str::to_owned);
            let attributes = desired.kind.attributes().iter().map(|name| match *name {
                "Version" => ("Version".to_owned(), "1".to_owned()),
                name => (name.to_owned(), format!("{physical_id}.{name}")),
            });
            let live = Live {
                physical_id: physical_id.clone(),
                properties: desired.properties.clone(),
                attributes: attributes.collect(),
                ownership: Ownership::Ours,
            };
            let thing = Thing {
                stack: desired.stack.clone(),
                id: desired.id.clone(),
                kind: desired.kind,
                live: live.clone(),
            };
            state.things.push(thing);
            live
        };
        after.map_or(Ok(answer), Err)
    }

    async fn delete(&self, target: &Target) -> Result<(), CloudError> {
        tokio::task::yield_now().await;
        let (before, after) = self.fault(format!("delete {}", target.id));
        if let Some(error) = before {
            return Err(error);
        }
        let mut state = self.state.lock().unwrap();
        let physical = target.physical_id.clone().unwrap();
        let deleted = state
            .things
            .iter()
            .find(|thing| thing.kind == target.kind && thing.live.physical_id == physical)
            .map(|thing| thing.id.clone());
        state
            .things
            .retain(|thing| !(thing.kind == target.kind && thing.live.physical_id == physical));
        // Children go with their parent.
        let parent = match target.kind {
            Kind::Api => Some(("ApiId", format!("{physical}.ApiId"))),
            Kind::Function | Kind::Alias => Some(("FunctionName", physical.clone())),
            Kind::Route => Some(("RouteId", format!("{physical}.RouteId"))),
            _ => None,
        };
        if let (Some((property, value)), Some(_)) = (parent, deleted) {
            state.things.retain(|thing| {
                thing.kind == target.kind
                    || !thing
                        .live
                        .properties
                        .get(property)
                        .and_then(|found| found.as_str())
                        .is_some_and(|found| found == value || found.split(':').next() == Some(&value))
            });
        }
        after.map_or(Ok(()), Err)
    }
}

#[derive(Debug, Default)]
pub struct MemoryStore {
    pub records: Mutex<BTreeMap<StackId, Record>>,
    pub writes: Mutex<usize>,
}

impl Store for &'static MemoryStore {
    async fn load(&self, stack: &StackId) -> Result<Option<Record>, StoreError> {
        Ok(self.records.lock().unwrap().get(stack).cloned())
    }

    async fn begin(&self, stack: &StackId, expected: u64, now: u64, header: &Header) -> Result<(), StoreError> {
        *self.writes.lock().unwrap() += 1;
        let mut records = self.records.lock().unwrap();
        let record = records.entry(stack.clone()).or_default();
        if let Some(lock) = record.header.lock.clone().filter(|lock| lock.lease_until > now) {
            return Err(StoreError::Locked {
                stack: stack.clone(),
                lock,
                now,
            });
        }
        if record.header.fence != expected {
            return Err(StoreError::Overtaken { stack: stack.clone() });
        }
        record.header = header.clone();
        Ok(())
    }

    async fn write(
        &self,
        stack: &StackId,
        fence: u64,
        outcomes: &[Outcome],
        header: Option<&Header>,
    ) -> Result<(), StoreError> {
        *self.writes.lock().unwrap() += 1;
        let mut records = self.records.lock().unwrap();
        let record = records.get_mut(stack).filter(|record| record.header.fence == fence);
        let record = record.ok_or_else(|| StoreError::Overtaken { stack: stack.clone() })?;
        for outcome in outcomes {
            match outcome {
                Outcome::Put(id, recorded) => drop(record.resources.insert(id.clone(), recorded.clone())),
                Outcome::Removed(id) => drop(record.resources.remove(id)),
            }
        }
        if let Some(header) = header {
            record.header = header.clone();
        }
        Ok(())
    }

    async fn erase(&self, stack: &StackId, fence: u64, _: &BTreeSet<LogicalId>) -> Result<(), StoreError> {
        let mut records = self.records.lock().unwrap();
        match records.get(stack) {
            Some(record) if record.header.fence == fence => drop(records.remove(stack)),
            _ => return Err(StoreError::Overtaken { stack: stack.clone() }),
        }
        Ok(())
    }

    async fn remove_if_empty(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// One account with one deployer.
pub struct World {
    pub cloud: &'static MemoryCloud,
    pub store: &'static MemoryStore,
    pub engine: Engine<&'static MemoryCloud, &'static MemoryStore, PausedTime>,
}

impl World {
    pub fn new() -> Self {
        let cloud: &'static MemoryCloud = Box::leak(Box::default());
        let store: &'static MemoryStore = Box::leak(Box::default());
        Self {
            cloud,
            store,
            engine: Engine::with_time(cloud, store, PausedTime::default(), "test"),
        }
    }

    pub async fn deploy(&self, graph: &Graph) -> Report {
        let packages = packages(graph, "1");
        self.deploy_code(graph, &packages).await
    }

    pub async fn deploy_code(&self, graph: &Graph, packages: &Packages) -> Report {
        let prepared = self.engine.plan_deploy(graph, packages).await.unwrap();
        self.engine
            .apply(graph, packages, prepared, &AtomicBool::new(false), &|_| {})
            .await
            .unwrap()
    }

    pub async fn destroy(&self, graph: &Graph) -> Report {
        let prepared = self.engine.plan_destroy(graph).await.unwrap();
        self.engine
            .apply(graph, &Packages::new(), prepared, &AtomicBool::new(false), &|_| {})
            .await
            .unwrap()
    }

    pub async fn planned(&self, graph: &Graph) -> BTreeSet<(String, Action)> {
        let plan = self
            .engine
            .plan_deploy(graph, &packages(graph, "1"))
            .await
            .unwrap()
            .plan;
        plan.steps
            .iter()
            .map(|step| (step.id.to_string(), step.action))
            .collect()
    }

    /// Returns the mutating calls since the last time.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.cloud.state.lock().unwrap().calls)
    }

    pub fn lock(&self, graph: &Graph, lock: Option<Lock>) {
        self.store
            .records
            .lock()
            .unwrap()
            .entry(graph.stack().clone())
            .or_default()
            .header
            .lock = lock;
    }
}

/// Packages whose digests follow from name and `version`.
pub fn packages(graph: &Graph, version: &str) -> Packages {
    let mut packages = Packages::new();
    for resource in graph.resources().values() {
        if let Some(infra_cdk::Value::Package(name)) = resource.properties.get("Code") {
            let package = Package {
                sha256: format!("{name}-{version}"),
                zip: b"zip".to_vec().into(),
            };
            packages.insert(name.clone(), package);
        }
    }
    packages
}

/// What differs between the stacks of the tests.
#[derive(Clone, Debug)]
pub struct Options {
    pub routes: Vec<&'static str>,
    pub memory_mb: u32,
    pub removal_policy: RemovalPolicy,
    pub sort_key: bool,
}

impl Default for Options {
    fn default() -> Self {
        let routes = vec!["$connect", "$disconnect", "sendMessage"];
        Self {
            routes,
            memory_mb: 256,
            removal_policy: RemovalPolicy::Delete,
            sort_key: false,
        }
    }
}

/// A chat with one function per route.
pub fn chat(options: &Options) -> Graph {
    let settings = Settings {
        removal_policy: options.removal_policy,
        ..Settings::default()
    };
    let stage = Stage {
        name: "test".into(),
        region: "eu-west-1".into(),
        settings,
    };
    let mut stack = Stack::new("chat", &stage);
    let key = if options.sort_key { "other" } else { "connectionId" };
    let table = stack.table("Connections", Table::keyed_by(key).expiring_by("expiresAt"));
    let secret = stack.secret("TokenKey");
    let authorize = stack
        .function("authorize")
        .memory_mb(options.memory_mb)
        .env("KEY", &secret);
    secret.grant_read(&authorize);
    let mut api = stack.web_socket_api("Chat").authorizer(&authorize);
    for route in &options.routes {
        let function = stack
            .function(&format!("on-{}", route.trim_start_matches('$')))
            .env("TABLE", &table);
        table.grant_put(&function);
        api = api.replying_route(route, &function);
        if *route == "sendMessage" {
            api.grant_post_to_connections(&function);
            function.set_env("MANAGEMENT", api.management_url());
        }
    }
    stack.output("url", api.url());
    stack.build().unwrap()
}
