//! What measuring needs: `cargo-llvm-cov`, and `llvm-cov` and `llvm-profdata` of the compiler's own LLVM version.
//!
//! Nothing is taken silently: each installation is announced with the command that does it. `cargo-llvm-cov` goes into
//! the workspace's own folder for such things, not into the user's; the LLVM tools are a component of the toolchain.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::failure::Failure;
use crate::package::{ChildGroup, cargo_command};
use crate::ui;
use crate::workspace::Workspace;

/// The version that is installed where there is none.
const CARGO_LLVM_COV: &str = "0.9.1";

/// Variables for `cargo llvm-cov`.
pub(super) type Environment = Vec<(&'static str, std::ffi::OsString)>;

/// Finds or installs everything, and returns what `cargo llvm-cov` must be told to find it.
///
/// # Errors
/// When something is neither there nor to be had; the help says how to get it by hand.
pub(super) async fn ensure(workspace: &Workspace) -> Result<Environment, Failure> {
    let mut environment = llvm_tools(workspace).await?;
    environment.extend(cargo_llvm_cov(workspace).await?);
    Ok(environment)
}

async fn llvm_tools(workspace: &Workspace) -> Result<Environment, Failure> {
    // The user's choice comes first; `cargo llvm-cov` reads these variables itself.
    if ["LLVM_COV", "LLVM_PROFDATA"]
        .iter()
        .all(|name| std::env::var_os(name).is_some())
    {
        return Ok(Environment::new());
    }
    let compiler = Compiler::ask(workspace).await?;
    if compiler.has_tools() {
        return Ok(Environment::new());
    }
    ui::say("The compiler's coverage tools are missing. Installing: rustup component add llvm-tools");
    let mut rustup = Command::new("rustup");
    rustup
        .args(["component", "add", "llvm-tools"])
        .current_dir(&workspace.root)
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    let installed = rustup.status().await.is_ok_and(|status| status.success());
    if installed && compiler.has_tools() {
        return Ok(Environment::new());
    }
    let major = &compiler.llvm_major;
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .chain([PathBuf::from(format!("/usr/lib/llvm-{major}/bin"))])
        .collect();
    if let (Some(cov), Some(profdata)) = (
        of_distribution(&folders, "llvm-cov", major).await,
        of_distribution(&folders, "llvm-profdata", major).await,
    ) {
        ui::say(format!(
            "rustup could not; using {} and {}",
            cov.display(),
            profdata.display()
        ));
        return Ok(vec![("LLVM_COV", cov.into()), ("LLVM_PROFDATA", profdata.into())]);
    }
    Err(
        Failure::new("llvm-cov and llvm-profdata are missing, and rustup could not install them").help(format!(
            "install LLVM {major}, the compiler's version, for example: apt-get install llvm-{major}\n\
         or set LLVM_COV and LLVM_PROFDATA, then run it again: cargo xtask coverage"
        )),
    )
}

/// What the compiler says about itself.
struct Compiler {
    /// Where its component `llvm-tools` lies, if it is installed.
    tools: PathBuf,
    /// Profiles are only readable by tools of the same major version.
    llvm_major: String,
}

impl Compiler {
    async fn ask(workspace: &Workspace) -> Result<Self, Failure> {
        let library = rustc(workspace, &["--print", "target-libdir"]).await?;
        let about = rustc(workspace, &["--version", "--verbose"]).await?;
        Ok(Self {
            tools: Path::new(library.trim()).with_file_name("bin"),
            llvm_major: llvm_major(&about).to_owned(),
        })
    }

    fn has_tools(&self) -> bool {
        ["llvm-cov", "llvm-profdata"]
            .iter()
            .all(|name| self.tools.join(name).is_file())
    }
}

/// Returns `22` from `… LLVM version: 22.1.2 …`, as rustc and LLVM's tools both write it.
fn llvm_major(about: &str) -> &str {
    let version = about.split("LLVM version").nth(1).unwrap_or_default();
    let version = version.trim_start_matches([':', ' ']);
    version
        .split(|character: char| !character.is_ascii_digit())
        .next()
        .unwrap_or_default()
}

async fn rustc(workspace: &Workspace, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new("rustc")
        .args(arguments)
        .current_dir(&workspace.root)
        .output()
        .await;
    let output = output.map_err(|error| {
        Failure::new("cannot start rustc")
            .because(error)
            .help("install Rust from https://rustup.rs")
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns a tool of the wanted major version: Debian calls it `llvm-cov-22`, others `llvm-cov`.
async fn of_distribution(folders: &[PathBuf], name: &str, major: &str) -> Option<PathBuf> {
    for folder in folders {
        for name in [format!("{name}-{major}"), name.to_owned()] {
            let tool = folder.join(name);
            let Ok(output) = Command::new(&tool).arg("--version").output().await else {
                continue;
            };
            if llvm_major(&String::from_utf8_lossy(&output.stdout)) == major {
                return Some(tool);
            }
        }
    }
    None
}

async fn cargo_llvm_cov(workspace: &Workspace) -> Result<Environment, Failure> {
    let tools = workspace.scratch.join("tools");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [tools.join("bin")].into_iter().chain(std::env::split_paths(&path));
    let path = std::env::join_paths(folders)
        .map_err(|error| Failure::new("the workspace lies where PATH cannot reach").because(error))?;
    let environment = vec![("PATH", path)];

    let mut ask = cargo_command(&workspace.root);
    ask.args(["llvm-cov", "--version"]).envs(environment.clone());
    if ask.output().await.is_ok_and(|output| output.status.success()) {
        return Ok(environment);
    }
    ui::say(format!(
        "cargo-llvm-cov is missing. Installing: cargo install cargo-llvm-cov --version {CARGO_LLVM_COV} --locked --root {}",
        tools.display()
    ));
    let mut install = cargo_command(&workspace.root);
    install
        .args([
            "install",
            "cargo-llvm-cov",
            "--locked",
            "--version",
            CARGO_LLVM_COV,
            "--root",
        ])
        .arg(&tools)
        // It only starts other programs: optimising it whole takes minutes and gains nothing.
        .envs([
            ("CARGO_PROFILE_RELEASE_LTO", "off"),
            ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
        ])
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    if ChildGroup::spawn(install)?.wait().await?.success() {
        return Ok(environment);
    }
    Err(Failure::new("cargo-llvm-cov cannot be installed").help(format!(
        "see what cargo says above; by hand: cargo install cargo-llvm-cov --version {CARGO_LLVM_COV} --locked"
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn versions_are_read_from_both_kinds_of_text() {
        assert_eq!(llvm_major("rustc 1.95.0\nhost: x\nLLVM version: 22.1.2\n"), "22");
        assert_eq!(llvm_major("Debian LLVM version 14.0.6\n  Optimized build."), "14");
        assert_eq!(llvm_major("anything"), "");
    }

    #[tokio::test]
    async fn only_tools_of_the_compilers_version_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let fake = |name: &str, version: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\necho 'LLVM version {version}'\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let folders = [PathBuf::from("/nowhere"), folder.path().to_owned()];
        fake("llvm-cov", "14.0.6");
        assert_eq!(of_distribution(&folders, "llvm-cov", "22").await, None);
        let right = fake("llvm-cov-22", "22.1.0");
        assert_eq!(of_distribution(&folders, "llvm-cov", "22").await, Some(right));
    }
}
