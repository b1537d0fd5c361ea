//! One running deployment: it has its own memory, and dies, sleeps or is interrupted.

use std::collections::BTreeSet;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use infra_cdk::{Graph, LogicalId, StackId};

use super::{Shared, World, lock, packages};
use crate::plan::{Action, Packages};
use crate::{EngineError, Event, Report};

/// What a process does.
#[derive(Clone, Copy, Debug)]
pub enum Job<'a> {
    /// Deploys a graph.
    Deploy(&'a Graph),
    /// Removes a graph's stack.
    Destroy(&'a Graph),
}

/// What becomes of a process, at the boundary of a call: each has one before it is sent and one after its answer.
#[derive(Clone, Copy, Debug, Default)]
pub enum Fate {
    /// It comes to its end.
    #[default]
    Lives,
    /// It is killed. What was sent arrives.
    Dies {
        /// The number of the boundary.
        at: usize,
    },
    /// It stands still, and goes on as if nothing had happened. What was sent arrives.
    Sleeps {
        /// The number of the boundary.
        at: usize,
        /// For how long.
        seconds: u64,
    },
    /// It is asked to begin nothing new.
    Interrupted {
        /// The number of the boundary.
        at: usize,
    },
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

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed => formatter.write_str("killed"),
            Self::Refused(error) => write!(formatter, "gives up: {error}: {error:?}"),
            Self::Reported(report) => {
                let Report {
                    done, failed, skipped, ..
                } = &**report;
                let (done, left) = (done.len(), skipped.len());
                write!(formatter, "{done} done, {} failed, {left} skipped", failed.len())?;
                failed
                    .iter()
                    .try_for_each(|(id, action, error)| write!(formatter, "; {action} {id}: {error}"))
            }
        }
    }
}

/// One running deployment.
#[derive(Debug, Default)]
pub(super) struct Process {
    number: usize,
    fate: Fate,
    boundaries: AtomicUsize,
    is_dead: AtomicBool,
    /// In milliseconds.
    asleep_until: AtomicU64,
    is_interrupted: AtomicBool,
    /// Mutating calls sent so far.
    pub(super) calls: AtomicUsize,
    /// What this process has tried to create.
    pub(super) attempted: Mutex<BTreeSet<(StackId, LogicalId)>>,
}

impl Process {
    pub(super) fn new(number: usize, fate: Fate) -> Self {
        Self {
            number,
            fate,
            ..Self::default()
        }
    }

    /// Returns the name under which it holds locks.
    pub(super) fn name(&self) -> String {
        format!("process {}", self.number)
    }

    /// Returns how many boundaries it came to.
    pub(super) fn boundaries(&self) -> usize {
        self.boundaries.load(Ordering::Relaxed)
    }

    pub(super) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// A boundary of a call: here fate strikes. What is dead never goes on.
    pub(super) async fn boundary(self: &Arc<Self>, process: &Process) {
        let number = process.boundaries.fetch_add(1, Ordering::Relaxed);
        match process.fate {
            Fate::Dies { at } if at == number => {
                self.note(|| format!("{} is killed", process.name()));
                process.is_dead.store(true, Ordering::Relaxed);
            }
            Fate::Sleeps { at, seconds } if at == number => {
                self.note(|| format!("{} sleeps for {seconds} s", process.name()));
                let milliseconds = seconds * 1000;
                process
                    .asleep_until
                    .store(self.clock.now_ms() + milliseconds, Ordering::Relaxed);
                // Nobody polls the sleeper: the clock needs somebody else to wait for.
                let clock = self.clone();
                drop(tokio::spawn(async move { clock.sleep(milliseconds).await }));
            }
            Fate::Interrupted { at } if at == number => {
                self.note(|| format!("{} is interrupted", process.name()));
                process.is_interrupted.store(true, Ordering::Relaxed);
            }
            Fate::Lives | Fate::Dies { .. } | Fate::Sleeps { .. } | Fate::Interrupted { .. } => {}
        }
        if process.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the process is awake.
    pub(super) async fn awake(self: &Arc<Self>, process: &Process) {
        let left = process
            .asleep_until
            .load(Ordering::Relaxed)
            .saturating_sub(self.clock.now_ms());
        if left > 0 {
            self.sleep(left).await;
        }
    }
}

/// Which steps have begun and ended, to see that none begins too early.
#[derive(Debug, Default)]
struct Watch {
    begun: BTreeSet<LogicalId>,
    open: BTreeSet<LogicalId>,
}

impl Watch {
    /// Notes a step that makes or changes a resource; returns what it should have waited for, or what should have waited.
    fn begins(&mut self, graph: &Graph, id: &LogicalId) -> Option<String> {
        let needed = graph.dependencies(id);
        let early = needed.intersection(&self.open).next();
        let early = early.map(|needed| format!("{id} began before {needed} was done"));
        let overtaken = self.begun.iter().find(|begun| graph.dependencies(begun).contains(id));
        let overtaken = overtaken.map(|begun| format!("{begun} began before {id}"));
        self.begun.insert(id.clone());
        self.open.insert(id.clone());
        early.or(overtaken)
    }
}

impl World {
    /// Plans and applies until the process ends or dies. Sees that no step begins too early.
    pub(super) async fn work(&self, process: &Arc<Process>, job: Job<'_>) -> Ended {
        let engine = self.engine_of(process);
        let (graph, packages) = match job {
            Job::Deploy(graph) => (graph, packages(graph)),
            Job::Destroy(graph) => (graph, Packages::new()),
        };
        let verb = match job {
            Job::Deploy(_) => "deploys",
            Job::Destroy(_) => "destroys",
        };
        self.note(|| format!("{} {verb} {} resources", process.name(), graph.resources().len()));
        let watch = Mutex::new(Watch::default());
        let observer = |event: Event| {
            self.note(|| format!("{}: {}", process.name(), line(&event)));
            match &event {
                Event::Started { id, action, .. } if makes(*action) => {
                    if let Some(violation) = lock(&watch).begins(graph, id) {
                        self.shared.state().violations.push(violation);
                    }
                }
                Event::Finished { id, action, .. } if makes(*action) => {
                    lock(&watch).open.remove(id);
                }
                Event::Started { .. }
                | Event::Finished { .. }
                | Event::Failed { .. }
                | Event::Skipped { .. }
                | Event::Retrying { .. }
                | Event::WaitingForLock { .. } => {}
            }
        };
        let run = async {
            let prepared = match job {
                Job::Deploy(_) => engine.plan_deploy(graph, &packages).await?,
                Job::Destroy(_) => engine.plan_destroy(graph).await?,
            };
            let apply = engine.apply(graph, &packages, prepared, &process.is_interrupted, &observer);
            Box::pin(apply).await
        };
        let mut run = pin!(run);
        let ended = poll_fn(|context| {
            if process.asleep_until.load(Ordering::Relaxed) > self.shared.clock.now_ms() {
                return Poll::Pending;
            }
            let polled = run.as_mut().poll(context);
            if process.is_dead() {
                return Poll::Ready(Ended::Killed);
            }
            polled.map(|result| match result {
                Ok(report) => Ended::Reported(Box::new(report)),
                Err(error) => Ended::Refused(error),
            })
        })
        .await;
        self.note(|| format!("{} ends: {ended}", process.name()));
        ended
    }
}

/// Returns whether the action makes or changes a resource.
fn makes(action: Action) -> bool {
    match action {
        Action::Create | Action::Adopt | Action::Update | Action::Replace => true,
        Action::Delete | Action::Retain | Action::Forget => false,
    }
}

/// Returns an event in a few words.
fn line(event: &Event) -> String {
    match event {
        Event::WaitingForLock { owner, .. } => format!("waits for {owner}"),
        Event::Started { id, action, .. } => format!("begins to {action} {id}"),
        Event::Retrying { id, reason, .. } => format!("{id} again, since {reason}"),
        Event::Finished { id, action, .. } => format!("has done {action} {id}"),
        Event::Failed { id, action, error, .. } => format!("cannot {action} {id}: {error}"),
        Event::Skipped { id, action, .. } => format!("skips {action} {id}"),
    }
}
