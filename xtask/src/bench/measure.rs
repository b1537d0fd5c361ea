//! One stack deployed, deployed again, changed and destroyed, with every call counted.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use infra_aws::{AwsCloud, Connection, SessionOptions, StateTable};
use infra_cdk::{Graph, Kind, StackId};
use infra_engine::{Action, Engine, Header, Packages, Plan, Prepared, Report, Step, Store, StoreError};
use infra_local::Unkindness;

use super::call::{Call, Purpose, sequential};
use super::proxy::Proxy;
use crate::failure::{Failure, Scope};
use crate::{local_cloud, package};

/// What is measured, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The record's table is made: once for each account and Region.
    StateTable,
    /// Everything is made.
    First,
    /// Nothing has changed.
    NoChange,
    /// The code of one function has changed.
    OneFunction,
    /// Everything is deleted.
    Destroy,
}

impl Phase {
    /// All, in order.
    pub(crate) const ALL: [Self; 5] = [
        Self::StateTable,
        Self::First,
        Self::NoChange,
        Self::OneFunction,
        Self::Destroy,
    ];

    /// Returns its name for people and programs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::StateTable => "state table",
            Self::First => "first deploy",
            Self::NoChange => "no change",
            Self::OneFunction => "one function's code",
            Self::Destroy => "destroy",
        }
    }
}

/// What one phase took.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// From the opening of the session to the release of the lock.
    pub(crate) elapsed: Duration,
    /// Every call.
    pub(crate) calls: Vec<Call>,
    /// Resources that were changed.
    pub(crate) changed: usize,
    /// What nothing can avoid: see [`least`].
    pub(crate) critical: Duration,
    /// The plan's longest chain of steps.
    pub(crate) chain: Vec<String>,
}

impl Measured {
    /// Returns how many calls were for a purpose.
    pub(crate) fn count(&self, purpose: Purpose) -> usize {
        self.calls.iter().filter(|call| call.purpose == purpose).count()
    }

    /// Returns how many round trips followed each other.
    pub(crate) fn sequential(&self) -> usize {
        sequential(&self.calls)
    }

    /// Returns the calls of each operation, those of the record named apart.
    pub(crate) fn operations(&self) -> BTreeMap<(Purpose, String), usize> {
        let mut operations = BTreeMap::new();
        for call in &self.calls {
            *operations.entry((call.purpose, call.operation.clone())).or_default() += 1;
        }
        operations
    }
}

/// The stack to measure.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// Its declaration.
    pub(crate) graph: Graph,
    /// Its packages.
    pub(crate) packages: Packages,
    /// The same with the code of one function changed.
    pub(crate) changed: Packages,
}

impl Subject {
    /// Returns a stack with packages of so many bytes each. They are never run.
    ///
    /// # Errors
    /// When they cannot be packed.
    pub(crate) fn of(graph: Graph, package_size: usize) -> Result<Self, Failure> {
        let packages = |version: u8| -> Result<Packages, Failure> {
            let names = package::binaries(&graph).into_iter().enumerate();
            let packages = names.map(|(number, name)| {
                let version = if number == 0 { version } else { 0 };
                let package = package::stand_in(&name, version, package_size)?;
                Ok((name, package))
            });
            packages.collect()
        };
        Ok(Self {
            packages: packages(0)?,
            changed: packages(1)?,
            graph,
        })
    }
}

/// Measures all phases once, through `proxy`. What is there afterwards is what was there before.
///
/// # Errors
/// What failed; the stack may be left as it is then.
pub(crate) async fn run(
    proxy: &Proxy,
    region: &str,
    subject: &Subject,
    unkindness: &Unkindness,
) -> Result<BTreeMap<Phase, Measured>, Failure> {
    let mut measured = BTreeMap::new();
    for phase in Phase::ALL {
        measured.insert(phase, one(proxy, region, subject, phase, unkindness).await?);
    }
    Ok(measured)
}

/// Measures one phase; those before it have been.
async fn one(
    proxy: &Proxy,
    region: &str,
    subject: &Subject,
    phase: Phase,
    unkindness: &Unkindness,
) -> Result<Measured, Failure> {
    proxy.idle().await;
    proxy.clear(None);
    let started = Instant::now();
    let (plan, changed) = self::phase(proxy, region, subject, phase).await?;
    let elapsed = started.elapsed();
    proxy.idle().await;
    let calls = proxy.calls();
    let waits = Waits {
        round_trip: calls.iter().map(Call::duration).min().unwrap_or_default(),
        unkindness: unkindness.clone(),
    };
    let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    let chain = plan.critical_path(|step| micros(waits.of(step)));
    Ok(Measured {
        elapsed,
        calls,
        changed,
        critical: least(phase, &chain, &waits),
        chain: chain
            .iter()
            .map(|step| format!("{} {}", step.action, step.id))
            .collect(),
    })
}

async fn phase(proxy: &Proxy, region: &str, subject: &Subject, phase: Phase) -> Result<(Plan, usize), Failure> {
    let Subject {
        graph,
        packages,
        changed,
    } = subject;
    let scope = Scope {
        stage: graph.stack().stage.clone(),
        endpoint: Some(proxy.endpoint()),
        again: "bench deploy",
    };
    let credential = local_cloud::CREDENTIAL.to_owned();
    let options = SessionOptions {
        profile: None,
        region: region.to_owned(),
        endpoint_url: Some(proxy.endpoint()),
        credentials: Some((credential.clone(), credential)),
    };
    let failed = |error| Failure::session(error, &scope);
    let connection = Connection::open(options).await.map_err(failed)?;
    let (session, store) = match phase {
        Phase::StateTable => {
            let session = connection.identify().await.map_err(failed)?;
            (session, StateTable::new(connection))
        }
        _ => StateTable::open(connection, graph.stack()).await.map_err(failed)?,
    };
    if phase == Phase::StateTable {
        store
            .prepare()
            .await
            .map_err(|error| Failure::cloud("the state table cannot be made", error, &scope))?;
        // Other stacks live in the account: the table does not go with this one.
        let other = StackId {
            app: "other".to_owned(),
            stage: graph.stack().stage.clone(),
        };
        return match store.begin(&other, 0, 0, &Header::default()).await {
            // A cloud that was measured before has it already.
            Ok(()) | Err(StoreError::Overtaken { .. }) => Ok((Plan::default(), 0)),
            Err(error) => Err(Failure::new("the state table cannot be used").because(error)),
        };
    }
    let engine = Engine::new(AwsCloud::new(session), store, "benchmark");
    let packages = if phase == Phase::OneFunction { changed } else { packages };
    let failed = |error| Failure::engine(format!("the phase `{}` failed", phase.name()), error, &scope);
    let prepared: Prepared = match phase {
        Phase::Destroy => engine.plan_destroy(graph).await,
        Phase::StateTable | Phase::First | Phase::NoChange | Phase::OneFunction => {
            engine.plan_deploy(graph, packages).await
        }
    }
    .map_err(failed)?;
    let plan = prepared.plan.clone();
    let report: Report = engine
        .apply(graph, packages, prepared, &AtomicBool::new(false), &|_| {})
        .await
        .map_err(failed)?;
    match report.failed.first() {
        None => Ok((plan, report.done.len())),
        Some((id, action, error)) => {
            Err(Failure::new(format!("{action} {id} failed in the phase `{}`", phase.name())).because(error.clone()))
        }
    }
}

/// What takes time, whoever deploys.
struct Waits {
    /// The fastest call: the latency, and what the cloud and the proxy need for a call that nothing else delays.
    round_trip: Duration,
    /// Until a role can be assumed, a function is active, and a table is active or gone.
    unkindness: Unkindness,
}

impl Waits {
    /// Returns what a step takes at least.
    fn of(&self, step: &Step) -> Duration {
        let unkind = &self.unkindness;
        let waits = match (step.kind, step.action) {
            // Its role has one policy, which is written meanwhile.
            (Kind::Function, Action::Create) => unkind.role.saturating_sub(self.round_trip) + unkind.pending,
            (Kind::Function, Action::Update) => unkind.pending,
            (Kind::Table, Action::Create | Action::Delete) => unkind.creating,
            _ => Duration::ZERO,
        };
        self.round_trip * round_trips(step) + waits
    }
}

/// Returns what a phase takes at least, by what follows each other: whose account it is and what is recorded, what is there
/// (nothing is asked at a destruction), the lock, the longest chain of steps, and the lock's release.
fn least(phase: Phase, chain: &[&Step], waits: &Waits) -> Duration {
    let steps: Duration = chain.iter().map(|step| waits.of(step)).sum();
    let call = waits.round_trip;
    match phase {
        Phase::StateTable => call * 4 + waits.unkindness.creating,
        Phase::NoChange => call * 2,
        Phase::First | Phase::OneFunction => call * (2 + 1) + steps + call,
        Phase::Destroy => call * (1 + 1) + steps + call,
    }
}

/// Returns the calls of a step that AWS makes follow each other.
fn round_trips(step: &Step) -> u32 {
    match (step.kind, step.action) {
        (_, Action::Retain | Action::Forget) => 0,
        // Expiry has a call of its own, once the table is active; retention too.
        (Kind::Table | Kind::LogGroup, Action::Create) => 2,
        // A table's name is free once it has been asked for and was gone.
        (Kind::Table, Action::Delete) => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use infra_cdk::Stage;
    use infra_local::{LocalCloud, Options};

    use super::*;

    /// Long enough that calls which are made at once overlap on a machine that is very busy.
    const LATENCY: Duration = Duration::from_secs(4);

    async fn measured(graph: Graph) -> BTreeMap<Phase, Measured> {
        let options = Options {
            port: 0,
            region: "us-east-1".to_owned(),
            account: local_cloud::ACCOUNT.to_owned(),
            persist: None,
            unkindness: infra_local::Unkindness::default(),
        };
        let cloud = LocalCloud::start(options).await.unwrap();
        let proxy = Proxy::start(cloud.endpoint()).await.unwrap();
        let subject = Subject::of(graph, 1_000).unwrap();
        let mut measured = BTreeMap::new();
        for phase in Phase::ALL {
            // Only there it is asked which calls wait for which.
            proxy.set_latency(if phase == Phase::NoChange {
                LATENCY
            } else {
                Duration::ZERO
            });
            measured.insert(
                phase,
                one(&proxy, "us-east-1", &subject, phase, &Unkindness::default())
                    .await
                    .unwrap(),
            );
        }
        cloud.stop().await;
        measured
    }

    fn stage() -> Stage {
        infra::stage("dev", None, "removalPolicy: delete").unwrap()
    }

    /// Calls beside those of the record.
    fn calls(measured: &Measured) -> usize {
        measured.count(Purpose::Read) + measured.count(Purpose::Mutating)
    }

    /// What holds for every stack.
    fn assert_nothing_is_wasted(phases: &BTreeMap<Phase, Measured>) {
        let first = &phases[&Phase::First];
        let unchanged = &phases[&Phase::NoChange];
        assert_eq!(unchanged.count(Purpose::Mutating), 0, "{:?}", unchanged.operations());
        assert_eq!(unchanged.changed, 0);
        assert!(unchanged.sequential() <= 2, "{:?}", unchanged.calls);
        let one = &phases[&Phase::OneFunction];
        assert!(one.count(Purpose::Mutating) <= 4, "{:?}", one.operations());
        let destroy = &phases[&Phase::Destroy];
        assert!(calls(destroy) <= first.changed + 5, "{:?}", destroy.operations());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_small_stack_takes_few_calls() {
        let phases = measured(infra::broadcast(&stage()).unwrap()).await;
        assert_nothing_is_wasted(&phases);
        let first = &phases[&Phase::First];
        assert!(calls(first) <= 45, "{:?}", first.operations());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_chat_takes_few_calls() {
        let phases = measured(infra::chat(&stage()).unwrap()).await;
        assert_nothing_is_wasted(&phases);
        let first = &phases[&Phase::First];
        assert!(first.count(Purpose::Read) <= 12, "{:?}", first.operations());
    }
}
