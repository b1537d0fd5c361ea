//! Decides which process runs an invocation: an idle one, a new one, or none.
//!
//! One process serves one invocation at a time. Idle processes are kept per version and revision, so an update never
//! meets old code or an old environment. See [`super::worker`] for a single process.

use std::collections::{HashMap, VecDeque};
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

/// How long a caller waits for one of [`PROCESSES_MAX`] before it is throttled.
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

/// The right to run one process. All wait for it in one queue.
pub(super) type Place = OwnedSemaphorePermit;

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
    /// Those who would start a process, and take one that is given back before it is their turn.
    starting: HashMap<Key, VecDeque<oneshot::Sender<Worker>>>,
    /// Invocations running or waiting for a process, by function.
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
        let Ok(Some(place)) = tokio::time::timeout(QUEUE_TIME_MAX, self.place()).await else {
            return Err(throttled("ConcurrentInvocationLimitExceeded"));
        };
        self.run_admitted(cloud, admission, place, target, invocation).await
    }

    /// Returns when there is a place for one more process, however long that takes; `None` when there never will be.
    pub(super) fn place(&self) -> impl Future<Output = Option<Place>> + use<> {
        let waiting = Arc::clone(&self.shared.slots).acquire_owned();
        async { waiting.await.ok() }
    }

    /// As [`Host::run`], for an event that has waited for its place: meanwhile it did not count as running, as events in
    /// Lambda's queue do not.
    pub(super) async fn run_at(
        &self,
        place: Place,
        cloud: &SharedCloud,
        target: Target,
        invocation: Invocation,
    ) -> Result<Finished, ApiError> {
        let admission = self.shared.admit(&target)?;
        self.run_admitted(cloud, admission, place, target, invocation).await
    }

    async fn run_admitted(
        &self,
        cloud: &SharedCloud,
        admission: Admission,
        place: Place,
        target: Target,
        invocation: Invocation,
    ) -> Result<Finished, ApiError> {
        let (reply, finished) = oneshot::channel();
        self.spawn(run_in_place(
            admission,
            place,
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

/// How an invocation comes to a process.
enum Taken {
    /// It was idle, or another invocation has just done with it.
    Warm(Box<Worker>),
    /// It may start one; this is held until that is initialised.
    Cold(Option<OwnedSemaphorePermit>),
}

/// Takes a process, runs the invocation on it, and gives it back if it can serve another one.
async fn run_in_place(
    admission: Admission,
    place: Place,
    cloud: Weak<Cloud>,
    target: Target,
    invocation: Invocation,
    reply: oneshot::Sender<Finished>,
) {
    let shared = Arc::clone(&admission.shared);
    let key = Key::of(&target.version);
    let worker = match shared.take(&key).await {
        Taken::Warm(worker) => *worker,
        Taken::Cold(start) => {
            shared.make_room();
            let prepared = shared.prepare(&target).await;
            Worker::start(&cloud, &target.version, prepared, start)
        }
    };
    // The caller may invoke again at once: what it used must be free by then, or every call would be a cold start.
    let give_back = move |worker: Option<Worker>| {
        if let Some(worker) = worker {
            shared.give_back(key, worker);
        }
        drop(place);
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

impl Pools {
    /// Returns the most recently used idle process that still lives.
    fn take(&mut self, key: &Key) -> Option<Worker> {
        // The entry stays: without it the revision would count as retired.
        let idle = self.idle.entry(key.clone()).or_default();
        while let Some(mut worker) = idle.pop() {
            if worker.is_alive() {
                return Some(worker);
            }
        }
        None
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

    /// Returns an idle process, or one that is given back before it is the turn to start one.
    async fn take(&self, key: &Key) -> Taken {
        let mut given_back = {
            let mut pools = self.pools();
            if let Some(worker) = pools.take(key) {
                return Taken::Warm(Box::new(worker));
            }
            let (sender, given_back) = oneshot::channel();
            pools.starting.entry(key.clone()).or_default().push_back(sender);
            given_back
        };
        let taken = tokio::select! {
            biased;
            Ok(worker) = &mut given_back => Taken::Warm(Box::new(worker)),
            start = Arc::clone(&self.starts).acquire_owned() => {
                given_back.close();
                // It may have come in this very moment.
                given_back
                    .try_recv()
                    .map_or_else(|_| Taken::Cold(start.ok()), |worker| Taken::Warm(Box::new(worker)))
            }
        };
        let mut pools = self.pools();
        if let Some(starting) = pools.starting.get_mut(key) {
            starting.retain(|sender| !sender.is_closed());
            if starting.is_empty() {
                pools.starting.remove(key);
            }
        }
        taken
    }

    /// Gives a process to whoever would start one like it, or keeps it idle; one that is retired ends.
    fn give_back(&self, key: Key, mut worker: Worker) {
        let mut pools = self.pools();
        let is_current = pools.idle.contains_key(&key);
        while let Some(sender) = pools
            .starting
            .get_mut(&key)
            .and_then(VecDeque::pop_front)
            .filter(|_| is_current)
        {
            match sender.send(worker) {
                Ok(()) => return,
                Err(refused) => worker = refused,
            }
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use crate::lambda::tests::{call_with, cloud, create, run, success};

    #[tokio::test]
    async fn who_may_not_start_a_process_takes_one_that_is_given_back() {
        let cloud = cloud().await;
        create(&cloud, "f", json!({})).await;
        let describe = json!({ "describe": true, "sleep_ms": 200 });
        let pid = |outcome| success(outcome)["pid"].clone();
        let first = pid(run(&cloud, "f", describe.clone()).await);
        let starts = &cloud.lambda.host.shared.starts;
        let all = u32::try_from(starts.available_permits()).unwrap();
        let _nobody_starts = starts.acquire_many(all).await.unwrap();
        let both = futures_util::future::join(run(&cloud, "f", describe.clone()), run(&cloud, "f", describe.clone()));
        let (one, other) = both.await;
        assert_eq!((pid(one), pid(other)), (first.clone(), first));
        assert!(cloud.lambda.host.shared.pools().starting.is_empty());
        cloud.lambda.shutdown().await;
    }

    #[tokio::test]
    async fn an_event_waits_for_its_place_and_counts_as_nothing_meanwhile() {
        let cloud = cloud().await;
        create(&cloud, "f", json!({})).await;
        let host = &cloud.lambda.host;
        let mut places = Vec::new();
        while let Ok(place) = host.shared.slots.clone().try_acquire_owned() {
            places.push(place);
        }
        let event = [("x-amz-invocation-type", "Event")];
        let uri = "/2015-03-31/functions/f/invocations";
        call_with(&cloud, "POST", uri, &event, "1".into()).await;
        assert!(host.shared.pools().running.is_empty());
        drop(places);
        // It makes the only process of the function.
        while host.shared.pools().idle.values().all(Vec::is_empty) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        cloud.lambda.shutdown().await;
    }
}
