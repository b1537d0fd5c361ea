//! Makes the zip files that Lambda runs: compiles, checks and packs the functions of a graph.
//!
//! Read next: [`cargo`] for the build, [`elf`] for what a binary may require, [`zip`] for the file.

mod cargo;
mod elf;
mod zip;

use std::collections::BTreeSet;
use std::path::Path;

use infra_cdk::{Graph, Stage, Value};
use infra_engine::{Package, Packages};

use crate::failure::Failure;
use crate::local_cloud;
use crate::ui;
use crate::workspace::Workspace;

pub(crate) use self::cargo::{ChildGroup, command as cargo_command};

/// Largest zip file that a direct upload to Lambda may have, in bytes (Lambda Developer Guide, "Lambda quotas").
const ZIP_BYTES_MAX: usize = 50 * 1024 * 1024;

/// Returns the function binaries that a graph needs.
pub(crate) fn binaries(graph: &Graph) -> BTreeSet<String> {
    graph
        .resources()
        .values()
        .flat_map(|resource| resource.properties.values())
        .filter_map(|value| match value {
            Value::Package(name) => Some(name.clone()),
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

/// Compiles the given function binaries for a stage and packs them. What has not changed is neither compiled nor packed
/// again. Dropping the future ends cargo.
///
/// # Errors
/// When something does not compile (cargo has said why), cannot run on Lambda, or is too large.
pub(crate) async fn build(workspace: &Workspace, stage: &Stage, names: &BTreeSet<String>) -> Result<Packages, Failure> {
    let plan = cargo::Plan::choose(stage, cargo::Installed::look)?;
    let executables = cargo::build(workspace, &plan, names).await?;
    let is_for_aws = stage.name != local_cloud::STAGE;
    let architecture = stage.settings.architecture.resolve();
    let level = if stage.settings.build_profile == "dev" {
        zip::Level::Fast
    } else {
        zip::Level::Small
    };
    let cache = workspace.scratch.join("packages").join(&stage.settings.build_profile);

    let mut tasks = tokio::task::JoinSet::new();
    for (name, executable) in executables {
        let folder = cache.join(&name);
        tasks.spawn_blocking(move || -> Result<(String, Package), Failure> {
            let binary = read(&executable)?;
            if is_for_aws {
                elf::check(&binary, architecture, elf::GLIBC_OF_AL2023).map_err(|error| {
                    Failure::new(format!("function `{name}` would not start on Lambda"))
                        .because(error)
                        .help(elf::HELP)
                })?;
            }
            let zip = zip::pack_cached(&binary, level, &folder)
                .map_err(|error| Failure::new(format!("cannot pack function `{name}`")).because(error))?;
            if zip.len() > ZIP_BYTES_MAX {
                return Err(Failure::new(format!(
                    "the package of function `{name}` has {}, and Lambda takes 50 MB",
                    ui::size(zip.len())
                ))
                .help("set `buildProfile: lambda` in the stage file: it is optimised and stripped"));
            }
            let sha256 = zip::sha256_base64(&zip);
            Ok((
                name,
                Package {
                    sha256,
                    zip: zip.into(),
                },
            ))
        });
    }
    let mut packages = Packages::new();
    while let Some(joined) = tasks.join_next().await {
        let (name, package) = joined.map_err(|error| Failure::new("packing stopped").because(error))??;
        packages.insert(name, package);
    }
    Ok(packages)
}

/// Reads the packages of functions from a folder: `NAME.zip`, taken as they are.
///
/// # Errors
/// When one cannot be read.
pub(crate) fn from_folder(folder: &Path, names: &BTreeSet<String>) -> Result<Packages, Failure> {
    let packages = names.iter().map(|name| {
        let zip = read(&folder.join(format!("{name}.zip")))?;
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
