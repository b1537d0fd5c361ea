//! Makes the zip files that Lambda runs: compiles, checks and packs the functions of a graph.
//!
//! Read next: [`cargo`] for the build, [`elf`] for what a binary may require, [`zip`] for the file.

mod cargo;
mod elf;
mod zip;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use infra_cdk::{Graph, Stage};
use infra_engine::{Package, Packages, Packaging};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::failure::Failure;
use crate::local_cloud;
use crate::progress::Progress;
use crate::ui;
use crate::workspace::Workspace;

pub(crate) use self::cargo::{ChildGroup, command as cargo_command};

/// Largest zip file that a direct upload to Lambda may have, in bytes (Lambda Developer Guide, "Lambda quotas").
const ZIP_BYTES_MAX: usize = 50 * 1024 * 1024;

/// Returns the function binaries that a graph needs.
pub(crate) fn binaries(graph: &Graph) -> BTreeSet<String> {
    let resources = graph.resources().values();
    resources
        .flat_map(|resource| resource.packages())
        .map(str::to_owned)
        .collect()
}

/// Returns the target for which a stage's functions are cross-compiled; `None` where this machine's own compiler does.
///
/// # Errors
/// When the tool for that is not installed.
pub(crate) fn cross_target(stage: &Stage) -> Result<Option<String>, Failure> {
    let plan = cargo::Plan::choose(stage, cargo::Installed::look)?;
    Ok(plan.cross_target())
}

/// A build that goes on by itself. Dropping it ends cargo.
#[derive(Debug)]
pub(crate) struct Building {
    packaging: Packaging,
    /// Ends with nothing when all packages are made.
    task: Option<JoinHandle<Option<Failure>>>,
}

/// Begins to compile and pack, as [`build`] does. Each package is handed over as soon as it is made.
pub(crate) fn start(workspace: &Workspace, stage: &Stage, names: &BTreeSet<String>, progress: &Progress) -> Building {
    let (packer, packaging) = infra_engine::packaging();
    let (workspace, stage, names) = (workspace.clone(), stage.clone(), names.clone());
    let progress = progress.clone();
    let task = tokio::spawn(async move {
        let began = Instant::now();
        progress.building(names.iter());
        let status = progress.shows_build_status().then(|| {
            let progress = progress.clone();
            Box::new(move |status: &str| progress.build_status(status)) as Box<cargo::Status>
        });
        let outcome = make(&workspace, &stage, &names, status, |name, package| {
            progress.packaged(&name, &package.sha256, package.zip.len());
            packer.add(name, package);
        });
        let outcome = outcome.await;
        progress.built(outcome.is_ok(), began.elapsed());
        if outcome.is_ok() {
            packer.finish();
        }
        outcome.err()
    });
    Building {
        packaging,
        task: Some(task),
    }
}

impl Building {
    /// Returns what has been built before.
    pub(crate) fn done(packages: Packages) -> Self {
        Self {
            packaging: Packaging::from(packages),
            task: None,
        }
    }

    /// Returns the packages that are there and those to come.
    pub(crate) fn packaging(&self) -> Packaging {
        self.packaging.clone()
    }

    /// Waits for all packages.
    ///
    /// # Errors
    /// Why they cannot be made.
    pub(crate) async fn finish(&mut self) -> Result<Packages, Failure> {
        let packaging = self.packaging();
        self.or(async {
            match packaging.complete().await {
                Some(packages) => Ok(packages),
                // The task has ended, and is about to say why.
                None => std::future::pending().await,
            }
        })
        .await
    }

    /// Runs `work`, dropping it when the build fails.
    ///
    /// # Errors
    /// Those of `work`, or why the build failed.
    pub(crate) async fn or<T>(&mut self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            outcome = work => outcome,
            failure = self.failure() => Err(failure),
        }
    }

    /// Ends cargo. What waits for a package learns that none will come.
    pub(crate) fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// Returns why the build failed, once it has; never when it succeeds.
    pub(crate) async fn failure(&mut self) -> Failure {
        if let Some(task) = &mut self.task {
            let ended = task.await;
            self.task = None;
            match ended {
                Ok(None) => {}
                Ok(Some(failure)) => return failure,
                Err(error) => return Failure::new("the build stopped").because(error),
            }
        }
        std::future::pending().await
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Compiles the given function binaries for a stage and packs them. What has not changed is neither compiled nor packed
/// again. Dropping the future ends cargo.
///
/// # Errors
/// When something does not compile (cargo has said why), cannot run on Lambda, or is too large.
pub(crate) async fn build(workspace: &Workspace, stage: &Stage, names: &BTreeSet<String>) -> Result<Packages, Failure> {
    let mut packages = Packages::new();
    make(workspace, stage, names, None, |name, package| {
        packages.insert(name, package);
    })
    .await?;
    Ok(packages)
}

/// Compiles, and packs each binary as soon as it is linked. `status` hears what cargo is doing, and keeps it off stderr.
async fn make(
    workspace: &Workspace,
    stage: &Stage,
    names: &BTreeSet<String>,
    status: Option<Box<cargo::Status>>,
    mut packed: impl FnMut(String, Package),
) -> Result<(), Failure> {
    let plan = cargo::Plan::choose(stage, cargo::Installed::look)?;
    let (sender, mut linked) = mpsc::unbounded_channel();
    let mut compiling = Box::pin(cargo::build(workspace, &plan, names, status, sender));
    let mut is_compiled = false;
    let mut packing = JoinSet::new();
    loop {
        tokio::select! {
            outcome = &mut compiling, if !is_compiled => {
                outcome?;
                is_compiled = true;
            }
            Some((name, executable)) = linked.recv() => {
                let folder = workspace.scratch.join("packages").join(&stage.settings.build_profile).join(&name);
                let stage = stage.clone();
                packing.spawn_blocking(move || pack(name, &executable, &folder, &stage));
            }
            Some(joined) = packing.join_next(), if !packing.is_empty() => {
                let (name, package) = joined.map_err(|error| Failure::new("packing stopped").because(error))??;
                packed(name, package);
            }
            else => return Ok(()),
        }
    }
}

/// Checks and packs one binary; `folder` keeps the result for the next time.
fn pack(name: String, executable: &Path, folder: &Path, stage: &Stage) -> Result<(String, Package), Failure> {
    let binary = read(executable)?;
    if stage.name != local_cloud::STAGE {
        let architecture = stage.settings.architecture.resolve();
        elf::check(&binary, architecture, elf::GLIBC_OF_AL2023).map_err(|error| {
            Failure::new(format!("function `{name}` would not start on Lambda"))
                .because(error)
                .help(elf::HELP)
        })?;
    }
    let level = if stage.settings.build_profile == "dev" {
        zip::Level::Fast
    } else {
        zip::Level::Small
    };
    let zip = zip::pack_cached(&binary, level, folder)
        .map_err(|error| Failure::new(format!("cannot pack function `{name}`")).because(error))?;
    if zip.len() > ZIP_BYTES_MAX {
        return Err(Failure::new(format!(
            "the package of function `{name}` has {}, and Lambda takes 50 MB",
            ui::size(zip.len())
        ))
        .help("set `buildProfile: lambda` in the stage file: it is optimised and stripped"));
    }
    let package = Package {
        sha256: zip::sha256_base64(&zip),
        zip: zip.into(),
    };
    Ok((name, package))
}

/// Returns the zip file that an earlier build made, by its digest as Lambda reports it, if it is still kept.
pub(crate) fn kept(workspace: &Workspace, sha256: &str) -> Option<Vec<u8>> {
    zip::kept(&workspace.scratch.join("packages"), sha256)
}

/// Reads the packages of functions from a folder: `NAME.zip`, taken as they are.
///
/// # Errors
/// When one cannot be read.
pub(crate) fn from_folder(folder: &Path, names: &BTreeSet<String>) -> Result<Packages, Failure> {
    let packages = names.iter().map(|name| {
        let zip = read(&folder.join(format!("{name}.zip")))
            .map_err(|failure| failure.help("--packages takes a folder with NAME.zip of each function: docs/ci.md"))?;
        let package = Package {
            sha256: zip::sha256_base64(&zip),
            zip: zip.into(),
        };
        Ok((name.clone(), package))
    });
    packages.collect()
}

/// Returns a package of about `size` bytes that does nothing, for measurements of deployments alone.
///
/// # Errors
/// When it cannot be packed.
pub(crate) fn stand_in(name: &str, version: u8, size: usize) -> Result<Package, Failure> {
    // Bytes that no compression makes smaller: a xorshift over the name.
    let mut state = name.bytes().fold(u64::from(version) + 1, |state, byte| {
        state.wrapping_mul(31) + u64::from(byte)
    });
    let mut noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let binary: Vec<u8> = noise.by_ref().take(size / 8).flatten().collect();
    let zip = zip::pack(&binary, zip::Level::Fast)
        .map_err(|error| Failure::new(format!("cannot pack a stand-in for `{name}`")).because(error))?;
    Ok(Package {
        sha256: zip::sha256_base64(&zip),
        zip: zip.into(),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::new(format!("cannot read {}", path.display())).because(error))
}
