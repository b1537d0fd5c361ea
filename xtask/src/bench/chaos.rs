//! Kills the command line before and after every call, loses every answer, and demands that running it again heals all.
//!
//! The deployment under attack is a process of this very program, between it and the cloud the proxy. The stack is the
//! chat, with packages that do nothing. Read next: [`super::account`] for what is compared.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use infra_cdk::{Graph, StackId};
use infra_local::{LocalCloud, Options};
use tokio::process::{Child, Command};

use super::account::Account;
use super::call::Purpose;
use super::proxy::{Fault, Proxy};
use crate::failure::Failure;
use crate::local_cloud::ACCOUNT;
use crate::package;
use crate::workspace::write_atomically;

/// Stage that is deployed.
const STAGE: &str = "dev";
const REGION: &str = "us-east-1";
/// The two declarations between which an update changes.
const STAGE_FILES: [&str; 2] = [
    "region: us-east-1\nbuildProfile: dev\nremovalPolicy: delete\n",
    "region: us-east-1\nbuildProfile: dev\nremovalPolicy: delete\nlogRetentionDays: 30\nallowedOrigins: [https://chat.example.com]\n\
     function:\n  connect:\n    memoryMb: 512\nthrottling:\n  rateLimit: 100\n  burstLimit: 50\n",
];
/// Calls of one operation that are attacked in one way, unless all are.
const SAMPLES: usize = 6;

/// What is attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The first deployment.
    First,
    /// A deployment that changes functions, log groups and the API's stage.
    Update,
    /// The destruction.
    Destroy,
}

impl Operation {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::First, Self::Update, Self::Destroy];

    const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Update => "update",
            Self::Destroy => "destroy",
        }
    }

    /// Returns the index of the declaration and the command.
    const fn run(self) -> (usize, &'static str) {
        match self {
            Self::First => (0, "deploy"),
            Self::Update => (1, "deploy"),
            Self::Destroy => (0, "destroy"),
        }
    }
}

/// One attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    operation: Operation,
    fault: Fault,
    call: usize,
}

impl Case {
    /// Returns whether this is an attack on the operation.
    pub(crate) fn is_of(&self, operation: Operation) -> bool {
        self.operation == operation
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}:{}", self.operation.name(), way(self.fault), self.call)
    }
}

impl std::str::FromStr for Case {
    type Err = String;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let parsed = match parts[..] {
            [operation, fault, call] => {
                let operation = Operation::ALL.into_iter().find(|one| one.name() == operation);
                let fault = FAULTS.into_iter().find(|one| way(*one) == fault);
                let call = call.parse().ok();
                operation.zip(fault).zip(call)
            }
            _ => None,
        };
        let ((operation, fault), call) = parsed.ok_or_else(|| {
            format!("`{text}` is no case; write for example first:kill-before:12, update:kill-after:3 or destroy:lose-answer:7")
        })?;
        Ok(Self { operation, fault, call })
    }
}

const FAULTS: [Fault; 4] = [Fault::HoldCall, Fault::HoldAnswer, Fault::LoseCall, Fault::LoseAnswer];

const fn way(fault: Fault) -> &'static str {
    match fault {
        Fault::LoseCall => "lose-call",
        Fault::LoseAnswer => "lose-answer",
        Fault::HoldCall => "kill-before",
        Fault::HoldAnswer => "kill-after",
    }
}

/// How an attack ended.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// All is as if nothing had happened.
    Healed,
    /// The operation ended before the call came: its number varies a little.
    NotReached,
    /// What is wrong.
    Exception(String),
}

/// What one operation leaves when nothing disturbs it.
#[derive(Clone, Debug)]
pub(crate) struct Undisturbed {
    /// The calls it makes.
    pub(crate) calls: usize,
    inventory: Vec<String>,
}

/// Folders with declarations and packages.
#[derive(Debug)]
pub(crate) struct Arena {
    folder: PathBuf,
    endpoint: Option<String>,
    stack: StackId,
}

/// A cloud with a proxy before it.
#[derive(Debug)]
struct Site<'a> {
    arena: &'a Arena,
    cloud: Option<LocalCloud>,
    proxy: Proxy,
    account: Account,
}

impl Arena {
    /// Writes declarations and packages into `folder`. `endpoint`: another cloud than local ones of its own.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub(crate) fn make(folder: &Path, graph: &Graph, endpoint: Option<String>) -> Result<Arc<Self>, Failure> {
        for (version, file) in STAGE_FILES.iter().enumerate() {
            let root = folder.join(version.to_string());
            write(&root.join(format!("infra/stages/{STAGE}.yml")), file.as_bytes())?;
            for (number, name) in package::binaries(graph).into_iter().enumerate() {
                let changed = if number < 2 { version } else { 0 };
                let package = package::stand_in(&name, u8::try_from(changed).unwrap_or_default(), 1_000)?;
                write(&root.join(format!("packages/{name}.zip")), &package.zip)?;
            }
        }
        Ok(Arc::new(Self {
            folder: folder.to_owned(),
            endpoint,
            stack: graph.stack().clone(),
        }))
    }

    /// Runs an operation without disturbing it.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) async fn undisturbed(&self, operation: Operation) -> Result<Undisturbed, Failure> {
        let site = Site::open(self).await?;
        site.prepare(operation).await?;
        site.proxy.clear(None);
        site.finish(operation.run()).await?;
        let calls = site.proxy.calls().len();
        let inventory = site.account.inventory(&self.stack).await?;
        if operation != Operation::Destroy {
            site.finish(Operation::Destroy.run()).await?;
        }
        site.close().await;
        Ok(Undisturbed { calls, inventory })
    }

    /// Attacks an operation at one call, runs it again, compares, and destroys what is there.
    ///
    /// # Errors
    /// When the cloud cannot be used; what the product does wrong is an exception.
    pub(crate) async fn attack(&self, case: Case, expected: &Undisturbed) -> Result<Verdict, Failure> {
        let site = Site::open(self).await?;
        let verdict = site.attack(case, expected).await;
        site.close().await;
        verdict
    }

    /// Deletes the state table after a deployment and deploys again; returns the mutating calls of that.
    ///
    /// # Errors
    /// When something fails.
    pub(crate) async fn lose_record(&self) -> Result<Vec<String>, Failure> {
        let site = Site::open(self).await?;
        site.finish(Operation::First.run()).await?;
        site.account.lose_record().await?;
        site.proxy.clear(None);
        site.finish(Operation::First.run()).await?;
        let calls = site.proxy.calls().into_iter();
        let mutating = calls
            .filter(|call| call.purpose == Purpose::Mutating)
            .map(|call| call.operation)
            .collect();
        site.finish(Operation::Destroy.run()).await?;
        let left = site.account.inventory(&self.stack).await?;
        site.close().await;
        match left.first() {
            None => Ok(mutating),
            Some(first) => Err(Failure::new(format!("{first} is left after a lost record"))),
        }
    }
}

/// Returns the attacks on an operation that makes so many calls.
pub(crate) fn cases(operation: Operation, calls: usize, all: bool) -> Vec<Case> {
    let step = if all { 1 } else { calls.div_ceil(SAMPLES).max(1) };
    let faults = [Fault::HoldCall, Fault::HoldAnswer, Fault::LoseAnswer];
    faults
        .into_iter()
        .enumerate()
        // Samples of different faults fall on different calls.
        .flat_map(|(number, fault)| {
            let first = 1 + number * step / faults.len();
            (first..=calls)
                .step_by(step)
                .map(move |call| Case { operation, fault, call })
        })
        .collect()
}

/// Attacks, `jobs` at a time, and returns the verdicts as they come.
pub(crate) fn run(
    arena: &Arena,
    cases: Vec<(Case, Undisturbed)>,
    jobs: usize,
) -> impl futures_util::Stream<Item = (Case, Result<Verdict, Failure>)> {
    stream::iter(cases)
        .map(async move |(case, expected)| (case, arena.attack(case, &expected).await))
        .buffer_unordered(jobs)
}

impl<'a> Site<'a> {
    async fn open(arena: &'a Arena) -> Result<Self, Failure> {
        let cloud = match arena.endpoint {
            Some(_) => None,
            None => {
                let options = Options {
                    port: 0,
                    region: REGION.to_owned(),
                    account: ACCOUNT.to_owned(),
                    persist: None,
                    unkindness: infra_local::Unkindness::default(),
                };
                let started = LocalCloud::start(options).await;
                Some(started.map_err(|error| Failure::new("the local cloud did not start").because(error))?)
            }
        };
        let own = cloud.as_ref().map(|cloud| cloud.endpoint().to_owned());
        let upstream = own.or_else(|| arena.endpoint.clone()).unwrap_or_default();
        let proxy = Proxy::start(&upstream)
            .await
            .map_err(|error| Failure::new("the proxy did not start").because(error))?;
        Ok(Self {
            arena,
            cloud,
            proxy,
            account: Account::new(&upstream),
        })
    }

    async fn close(self) {
        if let Some(cloud) = self.cloud {
            cloud.stop().await;
        }
    }

    async fn attack(&self, case: Case, expected: &Undisturbed) -> Result<Verdict, Failure> {
        let Case { operation, fault, call } = case;
        self.prepare(operation).await?;
        self.proxy.clear(Some((call, fault)));
        let mut child = self.start(operation.run())?;
        let reached = match fault {
            Fault::HoldCall | Fault::HoldAnswer => tokio::select! {
                () = self.proxy.reached() => {
                    // SIGKILL: nothing of the process runs any more when the call goes on.
                    child.kill().await.map_err(|error| Failure::new("the process cannot be killed").because(error))?;
                    self.proxy.go_on();
                    true
                }
                ended = child.wait() => {
                    ended.map_err(|error| Failure::new("the process was lost").because(error))?;
                    false
                }
            },
            Fault::LoseCall | Fault::LoseAnswer => {
                let _ = child.wait().await;
                self.proxy.calls().len() >= call
            }
        };
        self.proxy.idle().await;
        self.proxy.clear(None);
        self.account.end_lease(&self.arena.stack).await?;
        if let Err(error) = self.finish(operation.run()).await {
            return Ok(Verdict::Exception(format!(
                "running again fails: {}",
                explained(&error)
            )));
        }
        let found = self.account.inventory(&self.arena.stack).await?;
        if let Some(difference) = difference(&expected.inventory, &found) {
            return Ok(Verdict::Exception(difference));
        }
        if operation != Operation::Destroy {
            if let Err(error) = self.finish(Operation::Destroy.run()).await {
                return Ok(Verdict::Exception(format!("destroy fails: {}", explained(&error))));
            }
            let left = self.account.inventory(&self.arena.stack).await?;
            if !left.is_empty() {
                return Ok(Verdict::Exception(format!("left after destroy: {}", left.join("; "))));
            }
        }
        Ok(if reached { Verdict::Healed } else { Verdict::NotReached })
    }

    /// Brings about what the operation begins with.
    async fn prepare(&self, operation: Operation) -> Result<(), Failure> {
        match operation {
            Operation::First => Ok(()),
            Operation::Update | Operation::Destroy => self.finish(Operation::First.run()).await,
        }
    }

    fn start(&self, (version, command): (usize, &str)) -> Result<Child, Failure> {
        let failed = |error| Failure::new("this program cannot start itself").because(error);
        let root = self.arena.folder.join(version.to_string());
        let mut child = Command::new(std::env::current_exe().map_err(failed)?);
        child
            .args([command, "--stage", STAGE, "--yes"])
            .env("CARGO_MANIFEST_DIR", root.join("xtask"))
            .env("STACKWRIGHT_SCRATCH", root.join("scratch"))
            .env("AWS_ENDPOINT_URL", self.proxy.endpoint())
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", REGION)
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if command == "deploy" {
            child.arg("--packages").arg(root.join("packages"));
        }
        child.spawn().map_err(failed)
    }

    async fn finish(&self, run: (usize, &str)) -> Result<(), Failure> {
        let ended = self
            .start(run)?
            .wait_with_output()
            .await
            .map_err(|error| Failure::new("the process was lost").because(error))?;
        self.proxy.idle().await;
        if ended.status.success() {
            Ok(())
        } else {
            let text = String::from_utf8_lossy(&ended.stderr).into_owned();
            Err(Failure::new(format!("{} ended with {}", run.1, ended.status)).because(text))
        }
    }
}

fn explained(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Returns what is missing and what is too much.
fn difference(expected: &[String], found: &[String]) -> Option<String> {
    let mut missing = Vec::new();
    let mut rest: Vec<&String> = found.iter().collect();
    for line in expected {
        match rest.iter().position(|other| *other == line) {
            Some(index) => {
                rest.remove(index);
            }
            None => missing.push(line.as_str()),
        }
    }
    let extra: Vec<&str> = rest.into_iter().map(String::as_str).collect();
    (!missing.is_empty() || !extra.is_empty())
        .then(|| format!("missing: [{}], too much: [{}]", missing.join("; "), extra.join("; ")))
}

fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    write_atomically(path, content)
        .map_err(|error| Failure::new(format!("cannot write {}", path.display())).because(error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_case_is_written_and_read_alike() {
        let all = cases(Operation::Update, 20, true);
        assert_eq!(all.len(), 60);
        for case in all {
            assert_eq!(case.to_string().parse::<Case>().unwrap(), case);
        }
        assert!("first:kill:1".parse::<Case>().is_err());
    }

    #[test]
    fn every_second_is_missing_or_too_much() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(difference(&lines("a b b"), &lines("b a b")), None);
        assert_eq!(
            difference(&lines("a b"), &lines("b b")).unwrap(),
            "missing: [a], too much: [b]"
        );
    }
}
