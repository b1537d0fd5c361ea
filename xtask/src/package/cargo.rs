//! Compiles functions: chooses target and tool, and calls cargo once for all of them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use infra_cdk::{Architecture, Stage};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::mpsc;

use super::elf;
use crate::failure::Failure;
use crate::local_cloud;
use crate::ui;
use crate::workspace::Workspace;

/// The package of all function binaries.
const PACKAGE: &str = "functions";

/// How the functions are compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    tool: Tool,
    profile: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Tool {
    /// `cargo build` for the host.
    Host,
    /// `cargo zigbuild` for a target with the glibc version that is meant.
    Zigbuild { target: String },
}

/// What is installed beside cargo.
#[derive(Clone, Copy, Debug)]
pub(super) struct Installed {
    pub(super) zigbuild: bool,
}

impl Installed {
    /// Looks at the search path.
    pub(super) fn look() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let cargo_home = std::env::var_os("CARGO_HOME").map(|home| PathBuf::from(home).join("bin"));
        Self {
            zigbuild: std::env::split_paths(&path)
                .chain(cargo_home)
                .any(|folder| folder.join("cargo-zigbuild").is_file()),
        }
    }
}

impl Plan {
    /// Chooses for a stage. The stage `local` runs on the host whatever its file says.
    ///
    /// # Errors
    /// When the architecture needs tools that are not installed.
    pub(super) fn choose(stage: &Stage, installed: impl FnOnce() -> Installed) -> Result<Self, Failure> {
        let architecture = stage.settings.architecture.resolve();
        let host_is_lambda_like = cfg!(all(target_os = "linux", target_env = "gnu"));
        let host_fits = host_is_lambda_like && architecture == Architecture::of_host();
        let tool = if host_fits || stage.name == local_cloud::STAGE {
            Tool::Host
        } else {
            let triple = triple(architecture);
            if !installed().zigbuild {
                return Err(Failure::new(format!(
                    "stage `{}` runs on {}, and this machine cannot compile for it yet",
                    stage.name,
                    architecture.as_str()
                ))
                .help(format!(
                    "install a cross compiler:\n  pip install ziglang && cargo install --locked cargo-zigbuild && rustup target add {triple}\n\
                     or set `architecture: host` in infra/stages/{}.yml",
                    stage.name
                )));
            }
            let (major, minor) = elf::GLIBC_OF_AL2023;
            Tool::Zigbuild {
                target: format!("{triple}.{major}.{minor}"),
            }
        };
        Ok(Self {
            tool,
            profile: stage.settings.build_profile.clone(),
        })
    }

    /// Returns the target of a cross compiler, without the version of its C library.
    pub(super) fn cross_target(&self) -> Option<String> {
        match &self.tool {
            Tool::Host => None,
            Tool::Zigbuild { target } => target.split('.').next().map(str::to_owned),
        }
    }

    fn arguments(&self, names: &BTreeSet<String>) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        match &self.tool {
            Tool::Host => arguments.push("build".to_owned()),
            Tool::Zigbuild { target } => {
                arguments.extend(["zigbuild", "--target", target].map(str::to_owned));
            }
        }
        arguments.extend(["--profile", &self.profile, "--package", PACKAGE].map(str::to_owned));
        if self.profile == "dev" && self.tool == Tool::Host {
            // Cargo unites the features of all packages that it is told to build. Naming this one too gives the set that
            // `cargo run --package xtask` has compiled already; without it every SDK crate would be compiled again.
            arguments.extend(["--package", env!("CARGO_PKG_NAME")].map(str::to_owned));
        }
        for name in names {
            arguments.extend(["--bin".to_owned(), name.clone()]);
        }
        arguments.push("--message-format=json-render-diagnostics".to_owned());
        arguments
    }
}

/// Hears what cargo is doing, such as `12/120: serde, tokio`.
pub(super) type Status = dyn Fn(&str) + Send + Sync;

/// Compiles the function binaries `names` and sends each as soon as it is linked. Cargo's messages go to stderr; with
/// `status`, what they say about its progress goes there instead.
///
/// # Errors
/// When cargo does not start or does not succeed; it has said why.
pub(super) async fn build(
    workspace: &Workspace,
    plan: &Plan,
    names: &BTreeSet<String>,
    status: Option<Box<Status>>,
    linked: mpsc::UnboundedSender<(String, PathBuf)>,
) -> Result<(), Failure> {
    let mut command = command(&workspace.root);
    command
        .args(plan.arguments(names))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if status.is_some() {
        // Cargo Book, "Configuration", `term`: without a terminal of its own it needs to be told.
        command
            .stderr(Stdio::piped())
            .env("CARGO_TERM_PROGRESS_WHEN", "always")
            .env("CARGO_TERM_PROGRESS_WIDTH", "100")
            .env("CARGO_TERM_COLOR", "always");
    }
    let mut group = ChildGroup::spawn(command)?;
    let stdout = group.child.stdout.take().expect("stdout is piped above");
    let stderr = group.child.stderr.take();
    let mut missing = names.clone();
    let executables = async {
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some((name, path)) = executable(&line) {
                missing.remove(&name);
                // Nobody listens any more when packing has failed, and then nobody waits for this either.
                let _ = linked.send((name, path));
            }
        }
    };
    let messages = async {
        if let (Some(stderr), Some(status)) = (stderr, status) {
            pass_on(stderr, &*status).await;
        }
    };
    tokio::join!(executables, messages);
    let exit = group.wait().await?;
    if !exit.success() {
        return Err(Failure::new("the functions do not compile")
            .help("correct what cargo reports above, then run the same command again"));
    }
    if let Some(missing) = missing.first() {
        return Err(Failure::new(format!("cargo built no binary for function `{missing}`"))
            .help(format!("add functions/src/bin/{missing}.rs")));
    }
    Ok(())
}

/// Splits cargo's messages into its progress and everything else. A progress bar ends with a carriage return.
async fn pass_on(stderr: impl AsyncRead + Unpin, status: &Status) {
    let mut stderr = BufReader::new(stderr);
    let mut text = Vec::new();
    loop {
        let (length, ended) = match stderr.fill_buf().await {
            Ok(bytes) if !bytes.is_empty() => match bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
                Some(end) => {
                    text.extend_from_slice(&bytes[..end]);
                    (end + 1, true)
                }
                None => {
                    text.extend_from_slice(bytes);
                    (bytes.len(), false)
                }
            },
            Ok(_) | Err(_) => return,
        };
        stderr.consume(length);
        if ended {
            let line = String::from_utf8_lossy(&text);
            match Said::of(&line) {
                Said::Nothing => {}
                Said::Progress(progress) => status(&progress),
                Said::Message => ui::say(&line),
            }
            text.clear();
        }
    }
}

/// What one line of cargo's messages is.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// Empty, or there only to erase a progress bar.
    Nothing,
    /// What it is doing.
    Progress(String),
    /// A warning, an error, or a part of one.
    Message,
}

impl Said {
    fn of(line: &str) -> Self {
        let plain = anstream::adapter::strip_str(line).to_string();
        let plain = plain.trim_end();
        if let Some((_, progress)) = plain
            .trim_start()
            .strip_prefix("Building [")
            .and_then(|bar| bar.split_once("] "))
        {
            return Self::Progress(format!("compiling {progress}"));
        }
        // Cargo's verbs end in column 12, and a compiler's messages do not begin so far to the right.
        let verb = plain.get(..12).map(str::trim_start);
        match verb {
            Some(
                "Compiling" | "Checking" | "Fresh" | "Finished" | "Locking" | "Updating" | "Adding" | "Downloading"
                | "Downloaded" | "Blocking" | "Building",
            ) => Self::Progress(plain.trim_start().to_owned()),
            // Erasing a bar leaves blanks behind; an empty line of a message ends with a line feed too, and may go.
            _ if plain.trim().is_empty() => Self::Nothing,
            Some(_) | None => Self::Message,
        }
    }
}

/// Returns cargo, to be run in `root` as if from the user's shell.
///
/// `cargo run` tells its child about the package being run. Some build scripts (ring's) ask to run again whenever these
/// variables change, so passing them on would compile such crates anew each time.
pub(crate) fn command(root: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_of_running_package) {
            command.env_remove(name);
        }
    }
    command
}

/// Returns whether a variable describes the package that `cargo run` runs (Cargo Book, "Environment variables Cargo sets
/// for crates"), not the user's settings.
fn is_of_running_package(name: &str) -> bool {
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_BIN_EXE_")
        || matches!(
            name,
            "CARGO_MANIFEST_DIR"
                | "CARGO_MANIFEST_PATH"
                | "CARGO_BIN_NAME"
                | "CARGO_CRATE_NAME"
                | "CARGO_PRIMARY_PACKAGE"
                | "OUT_DIR"
        )
}

/// Returns name and path of a binary from one of cargo's messages.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    #[derive(Deserialize)]
    struct Message {
        target: Target,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    let message: Message = serde_json::from_str(line).ok()?;
    let is_binary = message.target.kind.iter().any(|kind| kind == "bin");
    message
        .executable
        .filter(|_| is_binary)
        .map(|path| (message.target.name, path))
}

fn triple(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Arm64 => "aarch64-unknown-linux-gnu",
        Architecture::X86_64 => "x86_64-unknown-linux-gnu",
    }
}

/// A child process with all its descendants. Dropping it ends them: cargo leaves its compilers behind when only it is
/// killed.
#[derive(Debug)]
pub(crate) struct ChildGroup {
    child: Child,
    name: String,
    ended: bool,
}

impl ChildGroup {
    /// Starts a command as the head of a process group of its own.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn spawn(mut command: Command) -> Result<Self, Failure> {
        let name = command.as_std().get_program().to_string_lossy().into_owned();
        let child = command.process_group(0).kill_on_drop(true).spawn().map_err(|error| {
            Failure::new(format!("cannot start {name}"))
                .because(error)
                .help("install Rust from https://rustup.rs")
        })?;
        Ok(Self {
            child,
            name,
            ended: false,
        })
    }

    /// Returns its standard output, once, if it is a pipe.
    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Asks the whole group to end.
    pub(crate) fn terminate(&self) {
        if let Some(id) = self.child.id().filter(|_| !self.ended) {
            // The standard library signals single processes only, and `unsafe` is forbidden here.
            let _ = std::process::Command::new("kill")
                .args(["-TERM", "--", &format!("-{id}")])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When the operating system does not say how it ended.
    pub(crate) async fn wait(&mut self) -> Result<std::process::ExitStatus, Failure> {
        let status = self
            .child
            .wait()
            .await
            .map_err(|error| Failure::new(format!("cannot wait for {}", self.name)).because(error))?;
        self.ended = true;
        Ok(status)
    }
}

impl Drop for ChildGroup {
    fn drop(&mut self) {
        self.terminate();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use infra_cdk::{ArchitectureSetting, Settings};

    use super::*;

    fn stage(name: &str, architecture: ArchitectureSetting, build_profile: &str) -> Stage {
        Stage {
            name: name.to_owned(),
            region: "us-east-1".to_owned(),
            settings: Settings {
                architecture,
                build_profile: build_profile.to_owned(),
                ..Settings::default()
            },
        }
    }

    fn foreign() -> ArchitectureSetting {
        match Architecture::of_host() {
            Architecture::Arm64 => ArchitectureSetting::X86_64,
            Architecture::X86_64 => ArchitectureSetting::Arm64,
        }
    }

    #[test]
    fn the_local_stage_shares_its_build_with_this_command_line() {
        let plan = Plan::choose(&stage("local", foreign(), "dev"), || Installed { zigbuild: false }).unwrap();
        assert_eq!(
            plan.arguments(&BTreeSet::from(["connect".to_owned()])).join(" "),
            "build --profile dev --package functions --package xtask --bin connect --message-format=json-render-diagnostics"
        );
    }

    #[test]
    fn a_foreign_architecture_needs_a_cross_compiler() {
        let prod = stage("prod", foreign(), "lambda");
        assert!(Plan::choose(&prod, || Installed { zigbuild: false }).is_err());
        let plan = Plan::choose(&prod, || Installed { zigbuild: true }).unwrap();
        let arguments = plan.arguments(&BTreeSet::new()).join(" ");
        assert!(
            arguments.contains("-unknown-linux-gnu.2.34 --profile lambda --package functions --message-format"),
            "{arguments}"
        );
    }

    #[test]
    fn only_binaries_are_taken_from_cargos_messages() {
        let binary =
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"connect"},"executable":"/t/connect"}"#;
        assert_eq!(
            executable(binary),
            Some(("connect".to_owned(), PathBuf::from("/t/connect")))
        );
        for line in [
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"functions"},"executable":null}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "no json",
        ] {
            assert_eq!(executable(line), None, "{line}");
        }
    }

    #[test]
    fn the_users_cargo_settings_are_passed_on() {
        assert!(is_of_running_package("CARGO_PKG_VERSION"));
        assert!(is_of_running_package("CARGO_MANIFEST_DIR"));
        for kept in [
            "CARGO",
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_JOBS",
            "RUSTFLAGS",
        ] {
            assert!(!is_of_running_package(kept), "{kept}");
        }
    }

    #[test]
    fn progress_is_told_from_messages() {
        let progress = |text: &str| Said::Progress(text.to_owned());
        assert_eq!(
            Said::of("\u{1b}[1m\u{1b}[96m    Building\u{1b}[0m [=====>      ] 12/120: serde, tokio(build)"),
            progress("compiling 12/120: serde, tokio(build)")
        );
        assert_eq!(
            Said::of("   Compiling serde v1.0.229"),
            progress("Compiling serde v1.0.229")
        );
        assert_eq!(
            Said::of("    Blocking waiting for file lock on build directory"),
            progress("Blocking waiting for file lock on build directory")
        );
        for nothing in ["", "   ", "\u{1b}[K"] {
            assert_eq!(Said::of(nothing), Said::Nothing);
        }
        for message in [
            "error[E0425]: cannot find value `x`",
            "  --> functions/src/bin/connect.rs:7:5",
            "   |",
            "12 | x",
        ] {
            assert_eq!(Said::of(message), Said::Message, "{message}");
        }
    }
}
