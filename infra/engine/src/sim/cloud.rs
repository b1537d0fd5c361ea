//! A small model of AWS: names are unique, children need their parents, what is in use cannot be deleted, roles propagate.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use infra_cdk::{Context, Kind, LogicalId, StackId};
use serde_json::Value as Json;

use super::process::Process;
use super::{Shared, State, arrive, error, lock};
use crate::provider::{Class, Cloud, CloudError, Desired, Live, Ownership, Properties, Target};

/// Lists and tags show a creation after up to this long; a read by its id sees it at once.
const LAG_MS: u64 = 4_000;
/// Roles cannot be assumed for up to this long.
const PROPAGATION_MS: u64 = 9_000;
/// A function takes no other change for up to this long.
const BUSY_MS: u64 = 1_500;

/// A resource in the simulated account.
#[derive(Clone, Debug, PartialEq)]
pub struct Thing {
    /// Whose mark it carries.
    pub stack: StackId,
    /// Its logical id, as its mark says.
    pub id: LogicalId,
    /// Its type.
    pub kind: Kind,
    /// What can be read of it.
    pub live: Live,
    /// Of a deployment: what it took a snapshot of, by logical ids.
    pub snapshot: BTreeMap<LogicalId, Properties>,
    /// When reads see it, in milliseconds.
    visible_at: u64,
    /// When it can be used or changed, in milliseconds.
    settled_at: u64,
}

#[derive(Debug)]
pub(super) struct SimCloud {
    pub(super) shared: Arc<Shared>,
    pub(super) process: Arc<Process>,
}

impl SimCloud {
    /// Makes one mutating call: it may fail before it happens, or after, or happen twice.
    async fn call<R: Send + 'static>(
        &self,
        stack: StackId,
        name: String,
        effect: impl Fn(&mut State, u64) -> Result<R, CloudError> + Send + 'static,
    ) -> Result<R, CloudError> {
        let Self { shared, process } = self;
        shared.boundary(process).await;
        let number = process.calls.fetch_add(1, Ordering::Relaxed);
        let (at, sender) = (shared.clone(), process.clone());
        let answer = arrive(async move {
            at.travel().await;
            let (answer, how) = at.deliver(&stack, &sender.name(), &name, number, effect);
            at.note(|| match &answer {
                Ok(_) => format!("{}: {name}{how}", sender.name()),
                Err(error) => format!("{}: {name}{how}: {} ({:?})", sender.name(), error.code, error.class),
            });
            answer
        })
        .await;
        shared.travel().await;
        shared.boundary(process).await;
        shared.awake(process).await;
        answer
    }
}

impl Shared {
    /// Lets a call arrive. Returns also how, in words.
    fn deliver<R>(
        &self,
        stack: &StackId,
        sender: &str,
        name: &str,
        number: usize,
        effect: impl Fn(&mut State, u64) -> Result<R, CloudError>,
    ) -> (Result<R, CloudError>, &'static str) {
        let now = self.clock.now_ms();
        let mut state = self.state();
        state.calls.push(name.to_owned());
        let lock = state.records.get(stack).and_then(|record| record.header.lock.as_ref());
        if lock.is_none_or(|lock| lock.owner != sender) {
            let violation = format!("{sender} came to {name} without holding the lock");
            state.violations.push(violation);
        }
        let faults = state.faults;
        let fault = match faults.call {
            Some((call, class, happens)) if call == number => Some((class, happens)),
            _ if state.happens(faults.per_mille) => Some(match state.random(4) {
                0 => (Class::Throttled, false),
                1 => (Class::Busy, false),
                2 => (Class::Transient, false),
                _ => (Class::Transient, true),
            }),
            _ => None,
        };
        match fault {
            Some((class, false)) => (Err(error(name, "Injected", class)), " does not happen"),
            Some((class, true)) => {
                drop(effect(&mut state, now));
                (Err(error(name, "Injected", class)), " happens, its answer is lost")
            }
            None => {
                let answer = effect(&mut state, now);
                if answer.is_ok() && state.happens(faults.twice_per_mille) {
                    (effect(&mut state, now), " twice")
                } else {
                    (answer, "")
                }
            }
        }
    }
}

impl Cloud for SimCloud {
    fn context(&self) -> &Context {
        &self.shared.context
    }

    async fn observe(&self, targets: &[Target]) -> Result<BTreeMap<LogicalId, Live>, CloudError> {
        self.shared.boundary(&self.process).await;
        self.shared.travel().await;
        let now = self.shared.clock.now_ms();
        let mut state = self.shared.state();
        let per_mille = state.faults.per_mille;
        if state.happens(per_mille) {
            return Err(error("observe", "ThrottlingException", Class::Throttled));
        }
        let mut found = BTreeMap::new();
        for target in targets {
            let visible = state.things.iter().filter(|thing| thing.visible_at <= now);
            let thing = match &target.physical_id {
                Some(id) => state
                    .things
                    .iter()
                    .find(|thing| thing.is(target.kind, id, &target.properties)),
                None => locate(visible, &target.stack, &target.id, target.kind, &target.properties),
            };
            if let Some(thing) = thing {
                let mut live = thing.live.clone();
                if thing.stack != target.stack {
                    live.ownership = Ownership::Foreign(thing.stack.to_string());
                }
                found.insert(target.id.clone(), live);
            }
        }
        Ok(found)
    }

    async fn reconcile(&self, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
        let verb = if live.is_some() { "update" } else { "create" };
        let (desired, live, process) = (desired.clone(), live.cloned(), self.process.clone());
        self.call(
            desired.stack.clone(),
            format!("{verb} {}", desired.id),
            move |state, now| {
                // As the providers do: only a second attempt of the same process looks for what the first has made.
                let key = (desired.stack.clone(), desired.id.clone());
                let attempted = live.is_none() && !lock(&process.attempted).insert(key);
                state.reconcile(&desired, live.as_ref(), attempted, now)
            },
        )
        .await
    }

    async fn delete(&self, target: &Target) -> Result<(), CloudError> {
        let target = target.clone();
        self.call(
            target.stack.clone(),
            format!("delete {}", target.id),
            move |state, _| state.delete(&target),
        )
        .await
    }
}

impl Thing {
    /// Returns whether this is what AWS knows by that id, within what contains it.
    fn is(&self, kind: Kind, physical_id: &str, properties: &Properties) -> bool {
        let container = match kind {
            Kind::Permission => "FunctionName",
            _ => "ApiId",
        };
        self.kind == kind
            && self.live.physical_id == physical_id
            && text(&self.live.properties, container) == text(properties, container)
    }

    /// Returns whether this goes with what contains it: `property` names that, or an alias of it.
    fn is_inside(&self, property: &str, physical_id: &str) -> bool {
        let named = match self.kind {
            Kind::Url if property == "FunctionName" => Some(self.live.physical_id.as_str()),
            _ => text(&self.live.properties, property),
        };
        named.is_some_and(|name| name == physical_id || name.split(':').next() == Some(physical_id))
    }
}

impl State {
    fn reconcile(
        &mut self,
        desired: &Desired,
        live: Option<&Live>,
        attempted: bool,
        now: u64,
    ) -> Result<Live, CloudError> {
        let operation = format!("reconcile {}", desired.id);
        let refused = |code: &str| Err(error(&*operation, code, Class::Permanent));
        if let Some(missing) = self.missing(desired.kind, &desired.properties) {
            return refused(&format!("NotFound: {missing}"));
        }
        if desired.kind == Kind::Function {
            let role = text(&desired.properties, "Role").and_then(|arn| arn.split_once(":role/"));
            let role = self
                .things
                .iter()
                .find(|thing| thing.kind == Kind::Role && role.is_some_and(|(_, name)| name == thing.live.physical_id));
            if role.is_none_or(|role| role.settled_at > now) {
                return Err(error(operation, "InvalidParameterValueException", Class::Propagating));
            }
        }
        let existing = match live {
            Some(live) => {
                let same = |thing: &&Thing| thing.is(desired.kind, &live.physical_id, &live.properties);
                match self.things.iter().find(same) {
                    Some(thing) => Some(thing.live.clone()),
                    None => return refused("NotFound"),
                }
            }
            None if attempted || !repeats(desired.kind) => {
                let things = self.things.iter();
                let found = locate(things, &desired.stack, &desired.id, desired.kind, &desired.properties);
                // A snapshot of something else is not what is asked for.
                let found = found.filter(|found| {
                    desired.kind != Kind::Deployment
                        || found.live.properties.get("Trigger") == desired.properties.get("Trigger")
                });
                if found.is_some_and(|found| found.stack != desired.stack) {
                    return refused("AlreadyExists");
                }
                found.map(|found| found.live.clone())
            }
            None => None,
        };
        let snapshot = self.snapshot(desired);
        let (lag, propagation, busy) = (self.random(LAG_MS), self.random(PROPAGATION_MS), self.random(BUSY_MS));
        let settled_at = now
            + match desired.kind {
                Kind::Role => propagation,
                Kind::Function => busy,
                _ => 0,
            };
        if let Some(existing) = existing {
            let mut things = self.things.iter_mut();
            let same = |thing: &&mut Thing| thing.is(desired.kind, &existing.physical_id, &existing.properties);
            let Some(thing) = things.find(same) else {
                return refused("NotFound");
            };
            if thing.live.properties == desired.properties {
                return Ok(thing.live.clone());
            }
            if desired.kind == Kind::Function && thing.settled_at > now {
                return Err(error(operation, "ResourceConflictException", Class::Busy));
            }
            let mut create_only = desired.kind.schema().create_only.iter();
            if let Some(name) =
                create_only.find(|name| thing.live.properties.get(*name) != desired.properties.get(*name))
            {
                return refused(&format!("{name} cannot be changed"));
            }
            thing.live.properties = desired.properties.clone();
            if desired.kind == Kind::Function {
                thing.settled_at = settled_at;
                thing.live.attributes.insert("Version".to_owned(), version(desired));
            }
            return Ok(thing.live.clone());
        }
        self.next_id += 1;
        let physical_id = match desired.kind {
            Kind::RolePolicy => ["RoleName", "PolicyName"]
                .map(|name| text(&desired.properties, name).unwrap_or_default())
                .join("/"),
            Kind::Alias => ["FunctionName", "Name"]
                .map(|name| text(&desired.properties, name).unwrap_or_default())
                .join(":"),
            Kind::Url => ["TargetFunctionArn", "Qualifier"]
                .map(|name| bare(text(&desired.properties, name).unwrap_or_default()))
                .join(":"),
            Kind::Stage => text(&desired.properties, "StageName").unwrap_or_default().to_owned(),
            // The id of a statement, unique within one function's policy.
            Kind::Permission => desired.id.to_string(),
            kind => kind
                .name_property()
                .and_then(|name| text(&desired.properties, name))
                .map_or_else(|| format!("id{:05}", self.next_id), str::to_owned),
        };
        let attribute = |name: &&str| match *name {
            "ApiEndpoint" => format!("wss://{physical_id}"),
            "ManagementEndpoint" => format!("https://{physical_id}"),
            "FunctionUrl" => format!("https://{physical_id}/"),
            "Version" => version(desired),
            _ => physical_id.clone(),
        };
        let attributes = desired.kind.attributes().iter();
        let live = Live {
            attributes: attributes.map(|name| ((*name).to_owned(), attribute(name))).collect(),
            physical_id: physical_id.clone(),
            properties: desired.properties.clone(),
            ownership: Ownership::Ours,
        };
        self.things.push(Thing {
            stack: desired.stack.clone(),
            id: desired.id.clone(),
            kind: desired.kind,
            live: live.clone(),
            snapshot,
            visible_at: now + lag,
            settled_at,
        });
        Ok(live)
    }

    pub(super) fn delete(&mut self, target: &Target) -> Result<(), CloudError> {
        let Some(physical_id) = &target.physical_id else {
            return Ok(());
        };
        let is_it = |thing: &Thing| thing.is(target.kind, physical_id, &target.properties);
        let user = self.things.iter().find(|thing| {
            let uses = |kind, property, value: &str| {
                thing.kind == kind && text(&thing.live.properties, property) == Some(value)
            };
            match target.kind {
                Kind::Integration => uses(Kind::Route, "Target", &format!("integrations/{physical_id}")),
                Kind::Authorizer => uses(Kind::Route, "AuthorizerId", physical_id),
                Kind::Deployment => uses(Kind::Stage, "DeploymentId", physical_id),
                _ => false,
            }
        });
        if let Some(user) = user.filter(|_| self.things.iter().any(is_it)) {
            let code = format!("ConflictException: used by {}", user.id);
            return Err(error(format!("delete {}", target.id), &code, Class::Permanent));
        }
        self.things.retain(|thing| !is_it(thing));
        let container = match target.kind {
            Kind::Api => "ApiId",
            Kind::Function | Kind::Alias => "FunctionName",
            Kind::Route => "RouteId",
            Kind::Role => "RoleName",
            _ => return Ok(()),
        };
        self.things
            .retain(|thing| thing.kind == target.kind || !thing.is_inside(container, physical_id));
        Ok(())
    }

    /// Returns what the properties name that does not exist.
    fn missing(&self, kind: Kind, properties: &Properties) -> Option<String> {
        let needs: &[(&str, Kind)] = match kind {
            Kind::Authorizer | Kind::Integration | Kind::Deployment => &[("ApiId", Kind::Api)],
            Kind::Route => &[
                ("ApiId", Kind::Api),
                ("Target", Kind::Integration),
                ("AuthorizerId", Kind::Authorizer),
            ],
            Kind::RouteResponse => &[("ApiId", Kind::Api), ("RouteId", Kind::Route)],
            Kind::Stage => &[("ApiId", Kind::Api), ("DeploymentId", Kind::Deployment)],
            Kind::RolePolicy => &[("RoleName", Kind::Role)],
            Kind::Alias | Kind::Permission => &[("FunctionName", Kind::Function)],
            Kind::Url => &[("TargetFunctionArn", Kind::Function)],
            Kind::Api
            | Kind::Table
            | Kind::Role
            | Kind::Function
            | Kind::LogGroup
            | Kind::Parameter
            | Kind::Account
            | Kind::Alarm
            | Kind::Dashboard => &[],
        };
        needs.iter().find_map(|(property, kind)| {
            let id = text(properties, property)?;
            let id = id.strip_prefix("integrations/").unwrap_or(id);
            let id = bare(id).split(':').next().unwrap_or(id);
            let exists = self
                .things
                .iter()
                .any(|thing| thing.kind == *kind && thing.live.physical_id == id);
            (!exists).then(|| format!("{property} {id}"))
        })
    }

    fn snapshot(&self, desired: &Desired) -> BTreeMap<LogicalId, Properties> {
        match desired.kind {
            Kind::Deployment => members(&self.things, text(&desired.properties, "ApiId")),
            _ => BTreeMap::new(),
        }
    }
}

/// Returns what a deployment of an API takes a snapshot of.
pub(super) fn members(things: &[Thing], api: Option<&str>) -> BTreeMap<LogicalId, Properties> {
    let kinds = BTreeSet::from([Kind::Authorizer, Kind::Integration, Kind::Route, Kind::RouteResponse]);
    things
        .iter()
        .filter(|thing| kinds.contains(&thing.kind) && text(&thing.live.properties, "ApiId") == api)
        .map(|thing| (thing.id.clone(), thing.live.properties.clone()))
        .collect()
}

/// Finds a thing by what tells whose it is: its name, its mark, or its natural key. Of several, one with the declared
/// trigger, or the newest.
fn locate<'t>(
    things: impl Iterator<Item = &'t Thing>,
    stack: &StackId,
    id: &LogicalId,
    kind: Kind,
    properties: &Properties,
) -> Option<&'t Thing> {
    let key: &[&str] = match kind {
        Kind::Api => &[],
        Kind::Integration | Kind::Deployment => &["ApiId"],
        Kind::Authorizer => &["ApiId", "Name"],
        Kind::Route => &["ApiId", "RouteKey"],
        Kind::RouteResponse => &["RouteId", "RouteResponseKey"],
        Kind::Stage => &["ApiId", "StageName"],
        Kind::RolePolicy => &["RoleName", "PolicyName"],
        Kind::Alias => &["FunctionName", "Name"],
        Kind::Permission => &["FunctionName"],
        Kind::Url => &["TargetFunctionArn", "Qualifier"],
        Kind::Table => &["TableName"],
        Kind::Role => &["RoleName"],
        Kind::Function => &["FunctionName"],
        Kind::LogGroup => &["LogGroupName"],
        Kind::Parameter => &["Name"],
        Kind::Account => &[],
        Kind::Alarm => &["AlarmName"],
        Kind::Dashboard => &["DashboardName"],
    };
    let by_mark = matches!(
        kind,
        Kind::Api | Kind::Integration | Kind::Deployment | Kind::Permission
    );
    let matching = things.filter(|thing| {
        let marked = thing.stack == *stack && thing.id == *id;
        thing.kind == kind
            && (marked || !by_mark)
            && key.iter().all(|name| {
                let value = text(properties, name);
                value.is_some() && value == text(&thing.live.properties, name)
            })
    });
    matching.max_by_key(|thing| {
        let trigger = thing.live.properties.get("Trigger") == properties.get("Trigger");
        (trigger, thing.visible_at)
    })
}

/// Returns the version that a function publishes. Numbers tell the history; here the same function has the same version.
fn version(function: &Desired) -> String {
    let mut hasher = DefaultHasher::new();
    for (name, value) in function.properties.iter().filter(|(name, _)| *name != "Tags") {
        (name, value.to_string()).hash(&mut hasher);
    }
    hasher.finish().to_string()
}

/// Returns whether AWS makes a second one of the same name.
const fn repeats(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Api | Kind::Integration | Kind::Deployment | Kind::Authorizer
    )
}

/// Returns the name in the ARN of a function, and what is none as it is.
fn bare(function: &str) -> &str {
    function.split_once(":function:").map_or(function, |(_, name)| name)
}

fn text<'p>(properties: &'p Properties, name: &str) -> Option<&'p str> {
    properties.get(name).and_then(Json::as_str)
}
