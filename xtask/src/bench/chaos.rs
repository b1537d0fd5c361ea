//! Kills the command line before and after every call, loses every answer, and demands that running it again heals all.
//!
//! The deployment under attack is a process of this very program, between it and the cloud the proxy. The stack is the
//! chat, with packages that do nothing. Read next: [`super::case`] for the attacks, [`super::account`] for what is
//! compared.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use infra_cdk::{Graph, StackId};
use infra_local::{LocalCloud, Options};
use tokio::process::{Child, Command};

use super::account::Account;
use super::call::Purpose;
use super::case::{Case, Operation, Round};
use super::proxy::Proxy;
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
/// A process that has not ended by then hangs.
const ENDS_WITHIN: Duration = Duration::from_secs(180);

/// Returns the index of the declaration and the command of an operation.
const fn command(operation: Operation) -> (usize, &'static str) {
    match operation {
        Operation::First => (0, "deploy"),
        Operation::Update => (1, "deploy"),
        Operation::Destroy => (0, "destroy"),
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
    pub(crate) fn make(folder: &Path, graph: &Graph, endpoint: Option<String>) -> Result<Self, Failure> {
        for (version, file) in STAGE_FILES.iter().enumerate() {
            let root = folder.join(version.to_string());
            write(&root.join(format!("infra/stages/{STAGE}.yml")), file.as_bytes())?;
            for (number, name) in package::binaries(graph).into_iter().enumerate() {
                let changed = if number < 2 { version } else { 0 };
                let package = package::stand_in(&name, u8::try_from(changed).unwrap_or_default(), 1_000)?;
                write(&root.join(format!("packages/{name}.zip")), &package.zip)?;
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            endpoint,
            stack: graph.stack().clone(),
        })
    }

    /// Runs all operations without disturbing them.
    ///
    /// # Errors
    /// When one fails.
    pub(crate) async fn undisturbed(&self) -> Result<BTreeMap<Operation, Undisturbed>, Failure> {
        let site = Site::open(self).await?;
        let mut all = BTreeMap::new();
        for operation in Operation::ALL {
            site.proxy.clear(None);
            site.finish(operation).await?;
            let calls = site.proxy.calls().len();
            let inventory = site.account.inventory(&self.stack).await?;
            all.insert(operation, Undisturbed { calls, inventory });
        }
        site.close().await;
        Ok(all)
    }

    /// Attacks, `jobs` rounds at a time. After each attack its operation runs again, and what is there is compared; the
    /// end of each round is a destruction. `tell` hears each verdict, with the attacks that led to it, the last of which
    /// is meant.
    ///
    /// # Errors
    /// When the cloud cannot be used; what the product does wrong is an exception.
    pub(crate) async fn attack(
        &self,
        rounds: VecDeque<Round>,
        expected: &BTreeMap<Operation, Undisturbed>,
        jobs: usize,
        tell: impl Fn(&[Case], Verdict),
    ) -> Result<(), Failure> {
        let queue = Mutex::new(rounds);
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let (next, tell) = (&next, &tell);
        let workers = (0..jobs).map(|_| async move {
            let mut site = Site::open(self).await?;
            while let Some(round) = next() {
                let mut left = Some(round);
                while let Some(round) = left {
                    left = site.round(&round, expected, tell).await?;
                    if left.is_some() {
                        site = site.cleaned().await?;
                    }
                }
            }
            site.close().await;
            Ok(())
        });
        futures_util::future::try_join_all(workers).await.map(drop)
    }

    /// Deletes the state table after a deployment and deploys again; returns the mutating calls of that.
    ///
    /// # Errors
    /// When something fails.
    pub(crate) async fn lose_record(&self) -> Result<Vec<String>, Failure> {
        let site = Site::open(self).await?;
        site.finish(Operation::First).await?;
        site.account.lose_record().await?;
        site.proxy.clear(None);
        site.finish(Operation::First).await?;
        let calls = site.proxy.calls().into_iter();
        let mutating = calls
            .filter(|call| call.purpose == Purpose::Mutating)
            .map(|call| call.operation)
            .collect();
        site.finish(Operation::Destroy).await?;
        let left = site.account.inventory(&self.stack).await?;
        site.close().await;
        match left.first() {
            None => Ok(mutating),
            Some(first) => Err(Failure::new(format!("{first} is left after a lost record"))),
        }
    }
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

    /// Returns a site without what an exception has left.
    async fn cleaned(self) -> Result<Self, Failure> {
        if self.cloud.is_none() {
            self.account.end_lease(&self.arena.stack).await?;
            self.finish(Operation::Destroy).await?;
        }
        let arena = self.arena;
        self.close().await;
        Self::open(arena).await
    }

    /// Lets a stack live once. After an exception the attacks that are left are returned, and the stack is as it is.
    async fn round(
        &self,
        round: &Round,
        expected: &BTreeMap<Operation, Undisturbed>,
        tell: &impl Fn(&[Case], Verdict),
    ) -> Result<Option<Round>, Failure> {
        for (operation, expected) in expected {
            let attack = round.attack(*operation);
            let verdict = match (attack, operation) {
                (None, Operation::Update) => continue,
                (None, Operation::First | Operation::Destroy) => self.again(*operation, expected).await?,
                (Some(case), _) => self.attack(case, expected).await?,
            };
            let (attacks, left) = round.split_after(*operation);
            let failed = matches!(verdict, Verdict::Exception(_));
            if attack.is_some() || failed {
                tell(&attacks, verdict);
            }
            if failed {
                return Ok(left);
            }
        }
        Ok(None)
    }

    async fn attack(&self, case: Case, expected: &Undisturbed) -> Result<Verdict, Failure> {
        let Case { operation, fault, call } = case;
        self.proxy.clear(Some((call, fault)));
        let mut child = self.start(operation)?;
        let lost = |error| Failure::new("the process was lost").because(error);
        let attacked = tokio::time::timeout(ENDS_WITHIN, async {
            tokio::select! {
                () = self.proxy.reached() => {
                    // SIGKILL: nothing of the process runs any more when the call goes on.
                    child.kill().await.map_err(lost)?;
                    Ok(true)
                }
                ended = child.wait() => {
                    ended.map_err(lost)?;
                    // Lost, or held for a process that did not wait for it.
                    Ok(self.proxy.calls().iter().any(|made| made.seq == call))
                }
            }
        })
        .await;
        self.proxy.go_on();
        let Ok(reached) = attacked else {
            return Ok(Verdict::Exception("the attacked process does not end".to_owned()));
        };
        let reached = reached?;
        self.proxy.idle().await;
        self.proxy.clear(None);
        self.account.end_lease(&self.arena.stack).await?;
        Ok(match self.again(operation, expected).await? {
            Verdict::Healed if !reached => Verdict::NotReached,
            verdict => verdict,
        })
    }

    /// Runs an operation and compares what is there then.
    async fn again(&self, operation: Operation, expected: &Undisturbed) -> Result<Verdict, Failure> {
        if let Err(error) = self.finish(operation).await {
            return Ok(Verdict::Exception(format!("{operation} fails: {}", explained(&error))));
        }
        let found = self.account.inventory(&self.arena.stack).await?;
        Ok(
            difference(&expected.inventory, &found).map_or(Verdict::Healed, |difference| {
                Verdict::Exception(format!("after {operation}: {difference}"))
            }),
        )
    }

    fn start(&self, operation: Operation) -> Result<Child, Failure> {
        let (version, command) = command(operation);
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

    /// Runs an operation to its end.
    async fn finish(&self, operation: Operation) -> Result<(), Failure> {
        let ended = tokio::time::timeout(ENDS_WITHIN, self.start(operation)?.wait_with_output())
            .await
            .map_err(|_| Failure::new(format!("{operation} does not end")))?
            .map_err(|error| Failure::new("the process was lost").because(error))?;
        self.proxy.idle().await;
        if ended.status.success() {
            Ok(())
        } else {
            let text = String::from_utf8_lossy(&ended.stderr).into_owned();
            Err(Failure::new(format!("{operation} ended with {}", ended.status)).because(text))
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
    fn every_second_is_missing_or_too_much() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(difference(&lines("a b b"), &lines("b a b")), None);
        assert_eq!(
            difference(&lines("a b"), &lines("b b")).unwrap(),
            "missing: [a], too much: [b]"
        );
    }
}
