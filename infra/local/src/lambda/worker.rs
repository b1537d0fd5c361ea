//! One function process: its start, its invocations one after another, its end.
//!
//! The process dies with the value: it is killed when the [`Worker`] is dropped, and should this program be killed
//! itself, the Runtime API's connection closes and the runtime inside the process exits.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::process::{Child, Command};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Outcome;
use super::environment::{self, Session};
use super::host::{Finished, Invocation};
use super::model::Version;
use super::output::{Output, Sink};
use super::report::{self, Metrics, Status};
use super::runtime_api::{Event, Job, RuntimeApi, error};
use crate::cloud::Cloud;

/// How long a process may take to ask for its first event.
const INIT_TIME_MAX: Duration = Duration::from_secs(10);

/// How long the answer is held back for the process to poll again. It polls at once; then its output is complete, and
/// the caller's next invocation finds it idle.
const SETTLE_TIME_MAX: Duration = Duration::from_millis(50);

/// A process, or the reason why there is none.
#[derive(Debug)]
pub(super) struct Worker {
    version: Arc<Version>,
    process: Result<Process, StartFailure>,
    output: Output,
    started: Instant,
    /// Whether the process has asked for work at least once.
    initialised: bool,
    /// Its turn among those that initialise.
    start: Option<OwnedSemaphorePermit>,
    idle_since: Instant,
}

#[derive(Debug)]
struct Process {
    child: Child,
    api: RuntimeApi,
    /// What the process signs with, for as long as it lives.
    _session: Session,
}

/// Why there is no process, in Lambda's words.
#[derive(Clone, Debug)]
struct StartFailure {
    kind: &'static str,
    message: String,
}

/// How an invocation ended, seen from the process.
enum Ending {
    Returned(Bytes),
    Failed(Bytes),
    InitFailed(Bytes),
    Exited(Option<ExitStatus>),
    TimedOut(Duration),
}

impl Worker {
    /// Spawns the process for a version whose code was unpacked to `task_root`. A failure shows at the invocation. `start`
    /// is held until it is initialised.
    pub(super) fn start(
        cloud: &Weak<Cloud>,
        version: &Arc<Version>,
        task_root: io::Result<PathBuf>,
        start: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let stream = format!(
            "{}/[{}]{}",
            Timestamp::now().strftime("%Y/%m/%d"),
            version.label(),
            uuid::Uuid::new_v4().simple()
        );
        let sink = Sink {
            cloud: Weak::clone(cloud),
            group: version
                .configuration
                .logging_config
                .log_group
                .clone()
                .unwrap_or_default(),
            stream: stream.clone(),
        };
        let started = Instant::now();
        let mut process = spawn(cloud, version, task_root, &stream);
        let pipes = process
            .as_mut()
            .ok()
            .map(|process| (process.child.stdout.take(), process.child.stderr.take()));
        let (stdout, stderr) = pipes.unwrap_or_default();
        let output = Output::start(sink, report::init_start(version), stdout, stderr);
        Self {
            version: Arc::clone(version),
            process,
            output,
            started,
            initialised: false,
            start,
            idle_since: started,
        }
    }

    /// Runs one invocation. The outcome goes to `reply`; `give_back` gets the worker if it can serve another one, before
    /// the caller can know the outcome where that is possible.
    pub(super) async fn run(
        mut self,
        invocation: Invocation,
        reply: oneshot::Sender<Finished>,
        give_back: impl FnOnce(Option<Self>),
    ) {
        let request_id = invocation.request_id.clone();
        let init = self.initialise().await;
        let begun = Instant::now();
        let (ending, init) = match init {
            Ok(init) => {
                self.output.begin(report::start(&self.version, &request_id));
                (self.until_answered(invocation).await, init)
            }
            Err(ending) => {
                self.output.begin(report::start(&self.version, &request_id));
                (ending, Some(self.started.elapsed()))
            }
        };
        let duration = begun.elapsed();
        let answered = matches!(ending, Ending::Returned(_) | Ending::Failed(_));
        let settled = answered && self.until_polling(SETTLE_TIME_MAX).await;
        let memory_kb_max = self.pid().and_then(memory_kb_max);
        if !answered {
            self.kill_process().await;
        }

        let (outcome, status, note) = self.describe(&request_id, ending);
        let metrics = Metrics {
            duration,
            init,
            memory_kb_max,
        };
        let lines = report::end(&self.version, &request_id, metrics, status, note);
        let log_tail = self.output.finish(lines).await;
        let finished = Finished {
            outcome,
            version: self.version.label(),
            log_tail,
        };
        self.idle_since = Instant::now();
        if settled || !answered {
            give_back(Some(self).filter(|_| settled));
            let _ = reply.send(finished);
            return;
        }
        // It does something after its answer; it may until the timeout, and the caller need not wait.
        let _ = reply.send(finished);
        let timeout = Duration::from_secs(self.version.configuration.timeout);
        let polling = self.until_polling(timeout.saturating_sub(duration)).await;
        self.idle_since = Instant::now();
        give_back(Some(self).filter(|_| polling));
    }

    /// Returns whether the process still runs.
    pub(super) fn is_alive(&mut self) -> bool {
        self.process
            .as_mut()
            .is_ok_and(|process| matches!(process.child.try_wait(), Ok(None)))
    }

    /// Since when nobody has used it.
    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// Kills the process and waits for its end.
    pub(super) async fn kill(mut self) {
        self.kill_process().await;
    }

    /// Waits for the first poll. Returns how long the initialisation took, if there was one.
    async fn initialise(&mut self) -> Result<Option<Duration>, Ending> {
        if self.initialised {
            return Ok(None);
        }
        let Ok(process) = &mut self.process else {
            return Err(Ending::Exited(None));
        };
        let deadline = self.started + INIT_TIME_MAX;
        loop {
            tokio::select! {
                biased;
                event = process.api.events.recv() => match event {
                    Some(Event::Polling) => break,
                    Some(Event::InitFailed { payload }) => return Err(Ending::InitFailed(payload)),
                    Some(Event::Returned { .. } | Event::Failed { .. }) => {}
                    None => return Err(Ending::Exited(None)),
                },
                status = process.child.wait() => return Err(Ending::Exited(status.ok())),
                () = tokio::time::sleep_until(deadline.into()) => return Err(Ending::TimedOut(INIT_TIME_MAX)),
            }
        }
        self.initialised = true;
        self.start = None;
        Ok(Some(self.started.elapsed()))
    }

    /// Hands over the event and waits for the answer, the end of the process or the timeout.
    async fn until_answered(&mut self, invocation: Invocation) -> Ending {
        let Ok(process) = &mut self.process else {
            return Ending::Exited(None);
        };
        let timeout = Duration::from_secs(self.version.configuration.timeout);
        let deadline = Instant::now() + timeout;
        let wall_clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let own_id = invocation.request_id.clone();
        let job = Job {
            invocation,
            deadline_ms: (wall_clock + timeout).as_millis(),
        };
        if process.api.jobs.send(job).is_err() {
            return Ending::Exited(None);
        }
        loop {
            tokio::select! {
                // An answer counts even if the process ended right after it.
                biased;
                event = process.api.events.recv() => match event {
                    Some(Event::Returned { request_id, payload }) if request_id == own_id => return Ending::Returned(payload),
                    Some(Event::Failed { request_id, payload }) if request_id == own_id => return Ending::Failed(payload),
                    Some(Event::InitFailed { payload }) => return Ending::InitFailed(payload),
                    // A late answer to an earlier invocation, or a poll without an answer.
                    Some(Event::Returned { .. } | Event::Failed { .. } | Event::Polling) => {}
                    None => return Ending::Exited(None),
                },
                status = process.child.wait() => return Ending::Exited(status.ok()),
                () = tokio::time::sleep_until(deadline.into()) => return Ending::TimedOut(timeout),
            }
        }
    }

    /// Waits until the process asks for work again; `false` if it ends or takes longer than `at_most`.
    async fn until_polling(&mut self, at_most: Duration) -> bool {
        let Ok(process) = &mut self.process else { return false };
        let polling = async {
            loop {
                tokio::select! {
                    biased;
                    event = process.api.events.recv() => match event {
                        Some(Event::Polling) => return true,
                        Some(Event::Returned { .. } | Event::Failed { .. } | Event::InitFailed { .. }) => {}
                        None => return false,
                    },
                    _ = process.child.wait() => return false,
                }
            }
        };
        tokio::time::timeout(at_most, polling).await.unwrap_or(false)
    }

    /// Says how the invocation ended in Lambda's words: the outcome, the report's status, and a line for the log.
    fn describe(&self, request_id: &str, ending: Ending) -> (Outcome, Status, Option<String>) {
        let failure = |kind: &'static str, message: String| {
            let outcome = Outcome::FunctionError(error(kind, &format!("RequestId: {request_id} Error: {message}")));
            (
                outcome,
                Status::Error(Some(kind)),
                Some(format!("RequestId: {request_id} Error: {message}\n{kind}")),
            )
        };
        match ending {
            Ending::Returned(payload) => (Outcome::Success(payload), Status::Success, None),
            Ending::Failed(payload) => (Outcome::FunctionError(payload), Status::Error(None), None),
            Ending::InitFailed(payload) => {
                let kind = "Runtime.InitError";
                (Outcome::FunctionError(payload), Status::Error(Some(kind)), None)
            }
            Ending::Exited(status) => match &self.process {
                Err(StartFailure { kind, message }) => failure(kind, message.clone()),
                Ok(_) => failure("Runtime.ExitError", exit_message(status)),
            },
            Ending::TimedOut(timeout) => {
                let message = format!("Task timed out after {:.2} seconds", timeout.as_secs_f64());
                let outcome = error("Sandbox.Timedout", &format!("RequestId: {request_id} Error: {message}"));
                let note = format!("{} {request_id} {message}", report::now());
                (Outcome::FunctionError(outcome), Status::Timeout, Some(note))
            }
        }
    }

    async fn kill_process(&mut self) {
        if let Ok(process) = &mut self.process {
            // Fails only if the process is gone already.
            let _ = process.child.kill().await;
        }
    }

    fn pid(&self) -> Option<u32> {
        self.process.as_ref().ok().and_then(|process| process.child.id())
    }
}

fn spawn(
    cloud: &Weak<Cloud>,
    version: &Version,
    task_root: io::Result<PathBuf>,
    stream: &str,
) -> Result<Process, StartFailure> {
    let failure = |kind, message: String| StartFailure { kind, message };
    let broken = |error: io::Error| failure("Sandbox.Failure", format!("cannot start the function: {error}"));
    if !version.configuration.runtime.starts_with("provided") {
        let message = format!(
            "the local cloud runs provided.* only, not {}",
            version.configuration.runtime
        );
        return Err(failure("Runtime.Unknown", message));
    }
    let task_root = task_root.map_err(broken)?;
    let bootstrap = task_root.join("bootstrap");
    if !bootstrap.is_file() {
        let message = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]";
        return Err(failure("Runtime.InvalidEntrypoint", message.to_owned()));
    }
    let Some(cloud) = cloud.upgrade() else {
        return Err(failure(
            "Sandbox.Failure",
            "the local cloud is shutting down".to_owned(),
        ));
    };
    let session = Session::assume(&cloud, version).map_err(|error| {
        let message = "The role defined for the function cannot be assumed by Lambda.";
        tracing::debug!(%error, function = %version.function, message);
        failure("Sandbox.Failure", message.to_owned())
    })?;
    let api = RuntimeApi::start().map_err(broken)?;
    let mut command = Command::new(&bootstrap);
    command
        .env_clear()
        .envs(environment::variables(
            &cloud,
            version,
            &session,
            &task_root,
            api.address,
            stream,
        ))
        .current_dir(&task_root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in the terminal is for us alone: we end the processes in order.
        .process_group(0)
        .kill_on_drop(true);
    let child = spawn_patiently(&mut command).map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            // ENOEXEC: a binary of another architecture, or no binary at all.
            _ if error.raw_os_error() == Some(8) => "exec format error".to_owned(),
            _ => error.to_string(),
        };
        failure(
            "Runtime.InvalidEntrypoint",
            format!("fork/exec /var/task/bootstrap: {reason}"),
        )
    })?;
    Ok(Process {
        child,
        api,
        _session: session,
    })
}

/// Spawns, trying again while the file is busy: another thread may have forked while `bootstrap` was still open for
/// writing, and its child holds the descriptor until it executes.
fn spawn_patiently(command: &mut Command) -> io::Result<Child> {
    let mut attempts = 0;
    loop {
        match command.spawn() {
            Err(failure) if failure.kind() == io::ErrorKind::ExecutableFileBusy && attempts < 50 => {
                attempts += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            spawned => return spawned,
        }
    }
}

/// Says how a process ended, as Go's `os/exec` does inside Lambda.
fn exit_message(status: Option<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    let Some(status) = status else {
        return "Runtime exited without providing a reason".to_owned();
    };
    match (status.code(), status.signal()) {
        (Some(0), _) | (None, None) => "Runtime exited without providing a reason".to_owned(),
        (Some(code), _) => format!("Runtime exited with error: exit status {code}"),
        (None, Some(signal)) => {
            let name = match signal {
                4 => "illegal instruction",
                6 => "aborted",
                8 => "floating point exception",
                9 => "killed",
                11 => "segmentation fault",
                15 => "terminated",
                _ => return format!("Runtime exited with error: signal: {signal}"),
            };
            format!("Runtime exited with error: signal: {name}")
        }
    }
}

/// Peak resident size of a process, from Linux's procfs.
fn memory_kb_max(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
