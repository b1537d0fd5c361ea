//! A cloud, a store and a clock in memory, driven by one seed: the worst day that a deployment can have, replayable.
//!
//! Calls take time, are throttled, fail after they have happened, are delivered twice; reads lag, roles propagate, and a
//! deployment is killed at any boundary of a call. Nothing here does I/O or looks at a real clock: the same seed gives
//! the same run. It knows nothing of how the engine works; it is a small model of how AWS behaves.
//!
//! Read next: `cloud` for the model.

mod cloud;
mod store;
mod time;

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use infra_cdk::{Context, Graph, LogicalId, StackId, Value};

use crate::plan::{Package, Packages};
use crate::provider::{Class, CloudError};
use crate::record::Record;
use crate::time::Time;
use crate::{Engine, EngineError, Event, Report};

pub use cloud::Thing;

use cloud::SimCloud;
use store::SimStore;
use time::{Clock, SimTime};

/// Turns that everything else gets before the clock moves on.
const TURNS: usize = 4;

/// What goes wrong, and how often.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Calls in a thousand that fail, before or after they have happened, for a reason that passes.
    pub per_mille: u64,
    /// Calls in a thousand that are delivered twice.
    pub twice_per_mille: u64,
    /// Writes to the store in a thousand that fail, before or after they have happened.
    pub store_per_mille: u64,
    /// One mutating call by its number in its deployment, its error, and whether it happens all the same.
    pub call: Option<(usize, Class, bool)>,
}

/// One account, and the time in it.
#[derive(Debug)]
pub struct World {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Runtime,
}

/// What all processes share.
#[derive(Debug)]
struct Shared {
    context: Context,
    clock: Clock,
    state: Mutex<State>,
}

/// Everything that exists.
#[derive(Debug, Default)]
struct State {
    chance: u64,
    faults: Faults,
    things: Vec<Thing>,
    next_id: u32,
    records: BTreeMap<StackId, Record>,
    /// Mutating calls so far.
    calls: usize,
    /// Processes that have mutating calls in flight, by their numbers.
    mutating: BTreeMap<usize, usize>,
    /// Broken laws that only the cloud can see.
    violations: Vec<String>,
}

/// One running deployment: it has its own memory, and dies.
#[derive(Debug, Default)]
struct Process {
    number: usize,
    dead: AtomicBool,
    boundaries: AtomicUsize,
    calls: AtomicUsize,
    kill_at: Option<usize>,
    /// What this process has tried to create.
    attempted: Mutex<BTreeSet<(StackId, LogicalId)>>,
}

/// How a deployment ended.
#[derive(Debug)]
pub enum Ended {
    /// It was killed.
    Killed,
    /// It came to its end.
    Reported(Box<Report>),
    /// It gave up.
    Refused(EngineError),
}

impl Ended {
    /// Returns whether all steps were done.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Reported(report) if report.failed.is_empty() && report.skipped.is_empty())
    }
}

/// What a process does.
#[derive(Clone, Copy, Debug)]
pub enum Job<'a> {
    /// Deploys a graph.
    Deploy(&'a Graph),
    /// Removes a graph's stack.
    Destroy(&'a Graph),
    /// Returns a graph's stack to what the last deployment that ended well left.
    Rollback(&'a Graph),
}

impl World {
    /// Returns an empty account whose chance comes from `seed`.
    ///
    /// # Errors
    /// When the runtime cannot be made.
    pub fn new(seed: u64) -> std::io::Result<Self> {
        let context = Context {
            partition: "aws".into(),
            region: "eu-west-1".into(),
            account: "1".repeat(12),
        };
        let state = State {
            chance: seed,
            ..State::default()
        };
        Ok(Self {
            shared: Arc::new(Shared {
                context,
                clock: Clock::default(),
                state: Mutex::new(state),
            }),
            runtime: tokio::runtime::Builder::new_current_thread().build()?,
        })
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.state().faults = faults;
    }

    /// Does a job, and kills it at the call boundary of this number. Returns also how many boundaries it came to.
    pub fn run(&self, job: Job<'_>, kill_at: Option<usize>) -> (Ended, usize) {
        let process = self.process(0, kill_at);
        let ended = self.block_on(self.work(&process, job));
        (ended, process.boundaries.load(Ordering::Relaxed))
    }

    /// Does two jobs at once; the second begins after `delay`.
    pub fn run_both(
        &self,
        first: Job<'_>,
        second: Job<'_>,
        kill_first_at: Option<usize>,
        delay: Duration,
    ) -> [Ended; 2] {
        let (one, two) = (self.process(1, kill_first_at), self.process(2, None));
        let late = async {
            self.time().sleep(delay).await;
            self.work(&two, second).await
        };
        let (one, two) = self.block_on(async { futures_util::future::join(self.work(&one, first), late).await });
        [one, two]
    }

    /// Lets time pass.
    pub fn wait(&self, duration: Duration) {
        self.block_on(async { self.time().sleep(duration).await });
    }

    /// Returns what exists.
    #[must_use]
    pub fn things(&self) -> Vec<Thing> {
        self.shared.state().things.clone()
    }

    /// Changes what exists, behind everybody's back.
    pub fn meddle(&self, change: impl FnOnce(&mut Vec<Thing>)) {
        change(&mut self.shared.state().things);
    }

    /// Loses all records.
    pub fn lose_records(&self) {
        self.shared.state().records.clear();
    }

    /// Returns how many mutating calls were made so far.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.shared.state().calls
    }

    /// Returns the number of stacks with a record.
    #[must_use]
    pub fn records(&self) -> usize {
        self.shared.state().records.len()
    }

    /// Returns broken laws that were seen while jobs ran.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.shared.state().violations.clone()
    }

    /// Returns a random number below `bound`.
    #[must_use]
    pub fn random(&self, bound: u64) -> u64 {
        self.shared.state().random(bound)
    }

    /// Returns what a deployment would do, faults or not.
    ///
    /// # Errors
    /// What the engine says.
    pub fn plan(&self, graph: &Graph) -> Result<crate::Plan, EngineError> {
        let process = self.process(0, None);
        let packages = packages(graph);
        let engine = self.engine(&process);
        self.block_on(engine.plan_deploy(graph, &packages))
            .map(|prepared| prepared.plan)
    }

    fn process(&self, number: usize, kill_at: Option<usize>) -> Arc<Process> {
        Arc::new(Process {
            number,
            kill_at,
            ..Process::default()
        })
    }

    fn time(&self) -> SimTime {
        SimTime(self.shared.clone())
    }

    fn engine(&self, process: &Arc<Process>) -> Engine<SimCloud, SimStore, SimTime> {
        let cloud = SimCloud {
            shared: self.shared.clone(),
            process: process.clone(),
        };
        let store = SimStore {
            shared: self.shared.clone(),
            process: process.clone(),
        };
        Engine::with_time(cloud, store, self.time(), format!("process {}", process.number))
    }

    /// Plans and applies until the process ends or dies. Checks that no step begins too early.
    async fn work(&self, process: &Arc<Process>, job: Job<'_>) -> Ended {
        let engine = self.engine(process);
        let run = async {
            let good;
            let (graph, packages) = match job {
                Job::Deploy(graph) => (graph, packages(graph)),
                Job::Destroy(graph) => (graph, Packages::new()),
                Job::Rollback(graph) => {
                    let Some(found) = engine.last_good(graph).await? else {
                        return Ok(Report::default());
                    };
                    good = found;
                    (&good, packages_by_digest(&good))
                }
            };
            let begun = Mutex::new(BTreeSet::new());
            let observer = |event: Event| {
                let mut open = lock(&begun);
                match event {
                    Event::Started { id, action, .. } => {
                        let makes = matches!(
                            action,
                            crate::Action::Create | crate::Action::Update | crate::Action::Adopt
                        );
                        let needed = graph.dependencies(&id);
                        if let Some(early) = needed.intersection(&*open).next().filter(|_| makes) {
                            let violation = format!("{id} began before {early} was done");
                            self.shared.state().violations.push(violation);
                        }
                        open.insert(id);
                    }
                    Event::Finished { id, .. } => {
                        open.remove(&id);
                    }
                    Event::Failed { .. }
                    | Event::Skipped { .. }
                    | Event::Retrying { .. }
                    | Event::WaitingForLock { .. } => {}
                }
            };
            let never = AtomicBool::new(false);
            let prepared = match job {
                Job::Deploy(_) | Job::Rollback(_) => engine.plan_deploy(graph, &packages).await?,
                Job::Destroy(_) => engine.plan_destroy(graph).await?,
            };
            engine.apply(graph, &packages, prepared, &never, &observer).await
        };
        let mut run = pin!(run);
        let ended = poll_fn(|context| {
            let polled = run.as_mut().poll(context);
            if process.dead.load(Ordering::Relaxed) {
                return Poll::Ready(Ended::Killed);
            }
            polled.map(|result| match result {
                Ok(report) => Ended::Reported(Box::new(report)),
                Err(error) => Ended::Refused(error),
            })
        })
        .await;
        self.shared.state().mutating.remove(&process.number);
        ended
    }

    /// Drives a future; the clock moves on whenever nothing else does.
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(async {
            let mut future = pin!(future);
            loop {
                for _ in 0..TURNS {
                    let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
                    if let Poll::Ready(output) = polled {
                        return output;
                    }
                    tokio::task::yield_now().await;
                }
                self.shared.clock.advance();
            }
        })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Passes the time that a message takes.
    async fn travel(self: &Arc<Self>) {
        let milliseconds = 1 + self.state().random(40);
        SimTime(self.clone()).sleep(Duration::from_millis(milliseconds)).await;
    }
}

impl Process {
    /// A boundary of a call: here the process may die. What is dead never goes on.
    async fn boundary(&self) {
        let number = self.boundaries.fetch_add(1, Ordering::Relaxed);
        if self.kill_at == Some(number) {
            self.dead.store(true, Ordering::Relaxed);
        }
        if self.dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

impl State {
    /// Returns a random number below `bound`, 0 for 0 (SplitMix64).
    fn random(&mut self, bound: u64) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(bound).unwrap_or(0)
    }

    /// Returns whether something happens that happens so many times in a thousand.
    fn happens(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.random(1000) < per_mille
    }
}

/// Returns packages whose digests follow from their names.
#[must_use]
pub fn packages(graph: &Graph) -> Packages {
    packaged(graph, |name| format!("sha256 of {name}"))
}

/// Returns the packages of a graph that names them by their digests.
fn packages_by_digest(graph: &Graph) -> Packages {
    packaged(graph, str::to_owned)
}

fn packaged(graph: &Graph, digest: impl Fn(&str) -> String) -> Packages {
    let codes = graph
        .resources()
        .values()
        .filter_map(|resource| resource.properties.get("Code"));
    codes
        .filter_map(|code| match code {
            Value::Package(name) => {
                let package = Package {
                    sha256: digest(name),
                    zip: Arc::from(*b"zip"),
                };
                Some((name.clone(), package))
            }
            _ => None,
        })
        .collect()
}

fn error(operation: impl Into<String>, code: &str, class: Class) -> CloudError {
    CloudError {
        operation: operation.into(),
        code: code.to_owned(),
        message: "simulated".to_owned(),
        request_id: None,
        class,
    }
}

/// Locks; a panic elsewhere is that test's failure, not this one's.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
