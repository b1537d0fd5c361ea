//! Decides which process runs an invocation: an idle one, a new one, or none.
//!
//! One process serves one invocation at a time. Idle processes are kept per version and revision, so an update never
//! meets old code or an old environment. See [`super::worker`] for a single process.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;

use super::Outcome;
use super::code::Unpacked;
use super::concurrency::ACCOUNT_CONCURRENCY;
use super::model::Version;
use super::worker::Worker;
use crate::cloud::{Cloud, SharedCloud};
use crate::wire::ApiError;

/// Function processes at the same time, idle ones included. AWS would start up to a thousand environments; a laptop
/// should not, so an invocation beyond this waits for a free one.
const PROCESSES_MAX: usize = 64;

/// How long an invocation waits for one of [`PROCESSES_MAX`] before it is throttled.
const QUEUE_TIME_MAX: Duration = Duration::from_secs(10);

/// Processes that initialise at the same time, for each core. What begins while all cores are busy only makes all of them
/// slow, up to their time-outs, and each that is killed has to begin anew.
const STARTS_PER_CORE: usize = 2;

/// How long an idle process is kept warm.
const IDLE_TIME_MAX: Duration = Duration::from_secs(300);

const REAP_INTERVAL: Duration = Duration::from_secs(30);

/// What to run.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) version: Arc<Version>,
    pub(super) archive: Bytes,
    pub(super) reserved_concurrency: Option<usize>,
}

/// One event for a function.
#[derive(Clone, Debug)]
pub(super) struct Invocation {
    pub(super) request_id: String,
    /// As the caller named it, with the qualifier.
    pub(super) invoked_arn: String,
    pub(super) payload: Bytes,
}

/// How an invocation ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) outcome: Outcome,
    /// `$LATEST` or a number.
    pub(super) version: String,
    /// The last 4 KB of the invocation's log.
    pub(super) log_tail: String,
}

/// All function processes.
#[derive(Debug)]
pub(super) struct Host {
    shared: Arc<Shared>,
    /// Running invocations and the reaper; they end with the host.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Shared {
    pools: Mutex<Pools>,
    slots: Arc<Semaphore>,
    starts: Arc<Semaphore>,
    unpacked: Mutex<Option<Arc<Unpacked>>>,
}

#[derive(Debug, Default)]
struct Pools {
    idle: HashMap<Key, Vec<Worker>>,
    /// Invocations running or waiting, by function.
    running: HashMap<String, usize>,
    closed: bool,
    reaping: bool,
}

/// Processes with the same key are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    function: String,
    version: String,
    revision_id: String,
}

impl Default for Host {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let shared = Shared {
            pools: Mutex::default(),
            slots: Arc::new(Semaphore::new(PROCESSES_MAX)),
            starts: Arc::new(Semaphore::new(STARTS_PER_CORE * cores)),
            unpacked: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            tasks: Mutex::default(),
        }
    }
}

impl Host {
    /// Runs one invocation to its end; it goes on if the caller stops waiting.
    ///
    /// # Errors
    /// `TooManyRequestsException` when the function's reserved concurrency, the account's concurrency or this machine
    /// is exhausted.
    pub(super) async fn run(
        &self,
        cloud: &SharedCloud,
        target: Target,
        invocation: Invocation,
    ) -> Result<Finished, ApiError> {
        let admission = self.shared.admit(&target)?;
        let waiting = tokio::time::timeout(QUEUE_TIME_MAX, Arc::clone(&self.shared.slots).acquire_owned());
        let Ok(Ok(slot)) = waiting.await else {
            return Err(throttled("ConcurrentInvocationLimitExceeded"));
        };
        let (reply, finished) = oneshot::channel();
        self.spawn(run_in_slot(
            admission,
            slot,
            Arc::downgrade(cloud),
            target,
            invocation,
            reply,
        ));
        finished.await.map_err(|_| shutting_down())
    }

    /// Runs a task that must not outlive the host.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        let mut pools = self.shared.pools();
        if pools.closed {
            return;
        }
        if !std::mem::replace(&mut pools.reaping, true) {
            tasks.spawn(reap(Arc::clone(&self.shared)));
        }
        tasks.spawn(task);
    }

    /// Ends the idle processes of a function, or of one of its versions, because its code or settings changed; busy
    /// ones end after their invocation.
    pub(super) fn retire(&self, function: &str, version: Option<&str>) {
        let mut pools = self.shared.pools();
        let outdated = |key: &&Key| key.function == function && version.is_none_or(|version| key.version == version);
        let retired: Vec<Key> = pools.idle.keys().filter(outdated).cloned().collect();
        let workers: Vec<Vec<Worker>> = retired.iter().filter_map(|key| pools.idle.remove(key)).collect();
        drop(pools);
        drop(workers);
    }

    /// Kills every process and refuses new ones.
    pub(super) async fn shutdown(&self) {
        let idle = {
            let mut pools = self.shared.pools();
            pools.closed = true;
            std::mem::take(&mut pools.idle)
        };
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        for worker in idle.into_values().flatten() {
            worker.kill().await;
        }
        self.shared
            .unpacked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

/// Takes a process, runs the invocation on it, and gives it back if it can serve another one.
async fn run_in_slot(
    admission: Admission,
    slot: OwnedSemaphorePermit,
    cloud: Weak<Cloud>,
    target: Target,
    invocation: Invocation,
    reply: oneshot::Sender<Finished>,
) {
    let shared = Arc::clone(&admission.shared);
    let key = Key::of(&target.version);
    let worker = match shared.take(&key) {
        Some(worker) => worker,
        None => {
            let start = Arc::clone(&shared.starts).acquire_owned().await.ok();
            match shared.take(&key) {
                // Given back meanwhile.
                Some(worker) => worker,
                None => {
                    shared.make_room();
                    let prepared = shared.prepare(&target).await;
                    Worker::start(&cloud, &target.version, prepared, start)
                }
            }
        }
    };
    // The caller may invoke again at once: what it used must be free by then, or every call would be a cold start.
    let give_back = move |worker: Option<Worker>| {
        if let Some(worker) = worker {
            shared.give_back(key, worker);
        }
        drop(slot);
        drop(admission);
    };
    worker.run(invocation, reply, give_back).await;
}

/// Counts an invocation against the limits until it is dropped.
struct Admission {
    shared: Arc<Shared>,
    function: String,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut pools = self.shared.pools();
        if let Some(running) = pools.running.get_mut(&self.function) {
            *running -= 1;
            if *running == 0 {
                pools.running.remove(&self.function);
            }
        }
    }
}

impl Shared {
    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(self: &Arc<Self>, target: &Target) -> Result<Admission, ApiError> {
        let function = target.version.function.clone();
        let mut pools = self.pools();
        if pools.closed {
            return Err(shutting_down());
        }
        let own = pools.running.get(&function).copied().unwrap_or(0);
        if target.reserved_concurrency.is_some_and(|reserved| own >= reserved) {
            return Err(throttled("ReservedFunctionConcurrentInvocationLimitExceeded"));
        }
        if pools.running.values().sum::<usize>() >= ACCOUNT_CONCURRENCY {
            return Err(throttled("ConcurrentInvocationLimitExceeded"));
        }
        *pools.running.entry(function.clone()).or_default() += 1;
        Ok(Admission {
            shared: Arc::clone(self),
            function,
        })
    }

    /// Returns the most recently used idle process that still lives.
    fn take(&self, key: &Key) -> Option<Worker> {
        let mut pools = self.pools();
        // The entry stays: without it the revision would count as retired.
        let idle = pools.idle.entry(key.clone()).or_default();
        while let Some(mut worker) = idle.pop() {
            if worker.is_alive() {
                return Some(worker);
            }
        }
        None
    }

    fn give_back(&self, key: Key, worker: Worker) {
        let mut pools = self.pools();
        if let Some(idle) = pools.idle.get_mut(&key) {
            idle.push(worker);
        }
    }

    /// Ends the longest idle processes until a new one fits.
    fn make_room(&self) {
        let mut pools = self.pools();
        let busy = PROCESSES_MAX - self.slots.available_permits();
        while busy + pools.idle.values().map(Vec::len).sum::<usize>() > PROCESSES_MAX {
            // Each pool is a stack, so its first worker has been idle for longest.
            let oldest = pools
                .idle
                .values_mut()
                .filter(|idle| !idle.is_empty())
                .min_by_key(|idle| idle[0].idle_since());
            match oldest {
                Some(idle) => drop(idle.remove(0)),
                None => return,
            }
        }
    }

    /// Unpacks the code where blocking is allowed.
    async fn prepare(self: &Arc<Self>, target: &Target) -> io::Result<PathBuf> {
        let unpacked = {
            let mut unpacked = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
            match &*unpacked {
                Some(unpacked) => Arc::clone(unpacked),
                None => Arc::clone(unpacked.insert(Arc::new(Unpacked::new()?))),
            }
        };
        let (sha256, archive) = (target.version.code_sha256.clone(), target.archive.clone());
        let unpacking = tokio::task::spawn_blocking(move || unpacked.task_root(&sha256, &archive));
        unpacking.await.map_err(io::Error::other)?
    }
}

impl Key {
    fn of(version: &Version) -> Self {
        Self {
            function: version.function.clone(),
            version: version.label(),
            revision_id: version.revision_id.clone(),
        }
    }
}

/// Ends processes that nobody needed for a while.
async fn reap(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(REAP_INTERVAL).await;
        let now = Instant::now();
        let mut pools = shared.pools();
        for idle in pools.idle.values_mut() {
            idle.retain(|worker| now.duration_since(worker.idle_since()) < IDLE_TIME_MAX);
        }
    }
}

fn throttled(reason: &str) -> ApiError {
    tracing::debug!(reason, "throttled");
    ApiError::new(429, "TooManyRequestsException", "Rate Exceeded.")
}

fn shutting_down() -> ApiError {
    ApiError::new(503, "ServiceUnavailableException", "the local cloud is shutting down")
}
