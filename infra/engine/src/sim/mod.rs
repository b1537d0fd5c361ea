//! A cloud, a store and a clock in memory, driven by one seed: the worst day that a deployment can have, replayable.
//!
//! Calls take time, are throttled, fail after they have happened, are delivered twice; reads lag, roles propagate, writes
//! to the record are torn, and a deployment dies, sleeps or is interrupted at any boundary of a call. Nothing here does
//! I/O or looks at a real clock: the same seed gives the same run. The model knows nothing of how the engine works; it is
//! a small copy of how AWS behaves.
//!
//! Read next: `cloud` for the model, [`judge`] for what is demanded, [`seed`] for what a seed makes.

mod cloud;
pub mod judge;
mod process;
pub mod seed;
pub mod stacks;
mod store;
mod time;

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use infra_cdk::{Context, Graph, StackId, Value};

use crate::plan::{Package, Packages};
use crate::provider::{Class, Cloud, CloudError, Target};
use crate::record::{Record, Store};
use crate::time::Time;
use crate::{Engine, EngineError};

pub use cloud::Thing;
pub use process::{Ended, Fate, Job};

use cloud::SimCloud;
use process::Process;
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
    /// Writes to the store in a thousand that fail: before they have happened, after, or in the middle.
    pub store_per_mille: u64,
    /// One mutating call by its number in its deployment, its error, and whether it happens all the same.
    pub call: Option<(usize, Class, bool)>,
}

/// One account, and the time in it.
#[derive(Debug)]
pub struct World {
    shared: Arc<Shared>,
    processes: AtomicUsize,
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
    /// Whether the store of records exists.
    has_store: bool,
    /// Mutating calls so far, such as `create Api`.
    calls: Vec<String>,
    /// Writes to the store so far.
    writes: usize,
    /// Broken laws that only the account can see.
    violations: Vec<String>,
    /// What happened, line by line; `None` when nobody asked.
    trace: Option<Vec<String>>,
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
            processes: AtomicUsize::new(1),
            runtime: tokio::runtime::Builder::new_current_thread().build()?,
        })
    }

    /// Returns where everything is made.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.shared.context
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.state().faults = faults;
    }

    /// Does a job that meets its fate. Returns also how many boundaries it came to.
    pub fn run(&self, job: Job<'_>, fate: Fate) -> (Ended, usize) {
        let process = self.process(fate);
        let ended = self.block_on(self.work(&process, job));
        (ended, process.boundaries())
    }

    /// Does two jobs at once; the second begins after `delay`.
    pub fn run_both(&self, first: (Job<'_>, Fate), second: (Job<'_>, Fate), delay: Duration) -> [Ended; 2] {
        let (one, two) = (self.process(first.1), self.process(second.1));
        let late = async {
            self.time().sleep(delay).await;
            self.work(&two, second.0).await
        };
        let (one, two) = self.block_on(async { futures_util::future::join(self.work(&one, first.0), late).await });
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

    /// Deletes something as its owner's hand would: with what it contains, unless it is in use.
    pub fn delete(&self, thing: &Thing) {
        let target = Target {
            stack: thing.stack.clone(),
            id: thing.id.clone(),
            kind: thing.kind,
            physical_id: Some(thing.live.physical_id.clone()),
            properties: thing.live.properties.clone(),
        };
        let deleted = self.shared.state().delete(&target).is_ok();
        self.note(|| {
            format!(
                "somebody deletes {}, {}",
                thing.id,
                if deleted { "and it goes" } else { "in vain" }
            )
        });
    }

    /// Changes the records, behind everybody's back.
    pub fn meddle_with_records(&self, change: impl FnOnce(&mut BTreeMap<StackId, Record>)) {
        change(&mut self.shared.state().records);
    }

    /// Returns the records of all stacks.
    #[must_use]
    pub fn records(&self) -> BTreeMap<StackId, Record> {
        self.shared.state().records.clone()
    }

    /// Returns whether the store of records exists.
    #[must_use]
    pub fn has_store(&self) -> bool {
        self.shared.state().has_store
    }

    /// Returns the mutating calls since the last time, such as `create Api`, in the order in which they arrived.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state().calls)
    }

    /// Returns how many writes came to the store so far.
    #[must_use]
    pub fn writes(&self) -> usize {
        self.shared.state().writes
    }

    /// Returns broken laws that were seen while jobs ran.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.shared.state().violations.clone()
    }

    /// Returns a random number below `bound`, 0 for 0.
    #[must_use]
    pub fn random(&self, bound: u64) -> u64 {
        self.shared.state().random(bound)
    }

    /// Keeps a line for everything that happens from now on.
    pub fn keep_trace(&self) {
        self.shared.state().trace = Some(Vec::new());
    }

    /// Adds a line to the trace, if one is kept.
    pub fn note(&self, line: impl FnOnce() -> String) {
        self.shared.note(line);
    }

    /// Returns the lines of the trace so far.
    #[must_use]
    pub fn take_trace(&self) -> Vec<String> {
        let mut state = self.shared.state();
        state.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Returns what a deployment would do.
    ///
    /// # Errors
    /// What the engine says.
    pub fn plan(&self, graph: &Graph) -> Result<crate::Plan, EngineError> {
        let packages = packages(graph);
        let engine = self.engine();
        self.block_on(engine.plan_deploy(graph, &packages))
            .map(|prepared| prepared.plan)
    }

    /// Returns an engine that works in this account, for what [`World::run`] does not do.
    #[must_use]
    pub fn engine(&self) -> Engine<impl Cloud, impl Store, impl Time> {
        self.engine_of(&self.process(Fate::Lives))
    }

    /// Drives a future; the clock moves on whenever nothing else does.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
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

    fn process(&self, fate: Fate) -> Arc<Process> {
        let number = self.processes.fetch_add(1, Ordering::Relaxed);
        Arc::new(Process::new(number, fate))
    }

    fn time(&self) -> SimTime {
        SimTime(self.shared.clone())
    }

    fn engine_of(&self, process: &Arc<Process>) -> Engine<SimCloud, SimStore, SimTime> {
        let cloud = SimCloud {
            shared: self.shared.clone(),
            process: process.clone(),
        };
        let store = SimStore {
            shared: self.shared.clone(),
            process: process.clone(),
        };
        Engine::with_time(cloud, store, self.time(), process.name())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Passes the time that a message takes.
    async fn travel(self: &Arc<Self>) {
        let milliseconds = 1 + self.state().random(40);
        self.sleep(milliseconds).await;
    }

    async fn sleep(self: &Arc<Self>, milliseconds: u64) {
        SimTime(self.clone()).sleep(Duration::from_millis(milliseconds)).await;
    }

    fn note(&self, line: impl FnOnce() -> String) {
        let now = self.clock.now_ms();
        if let Some(trace) = &mut self.state().trace {
            let (seconds, milliseconds) = (now / 1000, now % 1000);
            trace.push(format!("{seconds:>5}.{milliseconds:03} {}", line()));
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

/// Waits for something that was sent: it arrives, whatever becomes of its sender.
async fn arrive<R: Send + 'static>(sent: impl Future<Output = R> + Send + 'static) -> R {
    match tokio::spawn(sent).await {
        Ok(answer) => answer,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}
