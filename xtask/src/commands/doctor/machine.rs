//! What this machine needs to compile, to run locally and to deploy.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;

use infra_cdk::Stage;
use tokio::process::Command;

use super::{Finding, State};
use crate::local_cloud::{self, DEFAULT_PORT};
use crate::package;
use crate::workspace::Workspace;

pub(super) async fn look(workspace: &Workspace, stage: &Stage) -> Vec<Finding> {
    let mut findings = vec![compiler(workspace).await, linker().await];
    findings.extend(target(workspace, stage).await);
    findings.push(port(workspace));
    findings
}

async fn compiler(workspace: &Workspace) -> Finding {
    let needed = env!("CARGO_PKG_RUST_VERSION");
    match output(Command::new("rustc").arg("--version").current_dir(&workspace.root)).await {
        // `rustc 1.95.0 (59807616e 2026-04-14)`
        Some(version) if is_at_least(version.split(' ').nth(1).unwrap_or_default(), needed) => {
            Finding::good("compiler", version)
        }
        Some(version) => Finding::of(
            "compiler",
            State::Missing,
            format!("{version} is older than {needed}"),
            "rustup toolchain install",
        ),
        None => Finding::of(
            "compiler",
            State::Missing,
            "there is no `rustc`",
            "install rustup: https://rustup.rs",
        ),
    }
}

/// Compares versions such as `1.95.0` by their numbers.
fn is_at_least(version: &str, needed: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        let parts = text.split(['.', '-']).take(3);
        parts.map_while(|part| part.parse().ok()).collect()
    };
    numbers(version) >= numbers(needed)
}

async fn linker() -> Finding {
    match output(Command::new("cc").arg("--version")).await {
        Some(version) => Finding::good("linker", version),
        None => Finding::of(
            "linker",
            State::Missing,
            "there is no C compiler `cc`, which links and builds the local cloud's database",
            if cfg!(target_os = "macos") {
                "xcode-select --install"
            } else {
                "sudo apt install gcc libc6-dev   (or the package of your distribution)"
            },
        ),
    }
}

/// Looks for what compiles for the stage's functions.
async fn target(workspace: &Workspace, stage: &Stage) -> Vec<Finding> {
    let triple = match package::cross_target(stage) {
        Ok(Some(triple)) => triple,
        Ok(None) => return vec![Finding::good("target", "functions are compiled for this very machine")],
        Err(failure) => return vec![Finding::failed("target", State::Missing, &failure)],
    };
    let mut list = Command::new("rustup");
    list.args(["target", "list", "--installed"])
        .current_dir(&workspace.root);
    // Without rustup, cargo itself says what is missing.
    let installed = all_output(&mut list).await.unwrap_or_else(|| triple.clone());
    let target = if installed.lines().any(|line| line == triple) {
        Finding::good("target", format!("{triple} by cargo-zigbuild"))
    } else {
        Finding::of(
            "target",
            State::Missing,
            format!("the standard library for {triple} is not installed"),
            format!("rustup target add {triple}"),
        )
    };
    let zig = match output(Command::new("zig").arg("version")).await {
        Some(version) => Some(version),
        None => output(Command::new("python3").args(["-m", "ziglang", "version"])).await,
    };
    let zig = match zig {
        Some(version) => Finding::good("zig", version),
        None => Finding::of("zig", State::Missing, "cargo-zigbuild needs zig", "pip install ziglang"),
    };
    vec![target, zig]
}

fn port(workspace: &Workspace) -> Finding {
    if let Some(address) = local_cloud::find(workspace) {
        return Finding::good("port", format!("a local cloud runs at {}", address.endpoint));
    }
    match TcpListener::bind((Ipv4Addr::LOCALHOST, DEFAULT_PORT)) {
        Ok(_) => Finding::good("port", format!("{DEFAULT_PORT} is free for the local cloud")),
        Err(error) => Finding::of(
            "port",
            State::Doubtful,
            format!("{DEFAULT_PORT} cannot be used: {error}"),
            "cargo xtask dev --port 0",
        ),
    }
}

/// Returns the first line that a command prints, if it succeeds.
async fn output(command: &mut Command) -> Option<String> {
    let text = all_output(command).await?;
    text.lines().next().map(str::to_owned)
}

async fn all_output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().await.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(is_at_least("1.95.0", "1.95"));
        assert!(is_at_least("1.100.0-nightly", "1.95"));
        assert!(is_at_least("2.0.0", "1.95"));
        assert!(!is_at_least("1.9.0", "1.95"));
        assert!(!is_at_least("", "1.95"));
    }
}
