//! `cargo xtask bench functions`: builds the function binaries and the program that measures them, and runs it.
//!
//! It is a package of its own, `xtask/benches/functions`: measuring takes a fast server, so it is compiled as the functions
//! are, and nobody else has to wait for that.

use std::path::PathBuf;
use std::process::Stdio;

use crate::commands::App;
use crate::failure::{Exit, Failure};
use crate::package::{ChildGroup, cargo_command};

/// The program's package, and its binary.
const PACKAGE: &str = "bench-functions";

/// The profile of what runs on Lambda.
const PROFILE: &str = "lambda";

/// Runs it.
///
/// # Errors
/// When something does not compile, or a function does not do its work.
pub(super) async fn run(app: &App) -> Result<Exit, Failure> {
    let root = &app.workspace.root;
    let mut build = cargo_command(root);
    build
        .args([
            "build",
            "--profile",
            PROFILE,
            "--package",
            "functions",
            "--package",
            PACKAGE,
            "--bins",
        ])
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    let built = app
        .interrupt
        .or(async { ChildGroup::spawn(build)?.wait().await })
        .await?;
    if !built.success() {
        return Err(Failure::new("the functions or their benchmark do not compile")
            .help("correct what cargo reports above, then run it again: cargo xtask bench functions"));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let binaries: PathBuf = root.join(target).join(PROFILE);
    let mut bench = tokio::process::Command::new(binaries.join(PACKAGE));
    bench
        .arg(&binaries)
        .arg(root.join("xtask/benches/functions/node"))
        .arg(if app.wants_json() { "json" } else { "human" })
        .stdin(Stdio::null());
    let measured = app
        .interrupt
        .or(async { ChildGroup::spawn(bench)?.wait().await })
        .await?;
    if !measured.success() {
        return Err(Failure::new("not everything could be measured")
            .help("see the reason above, then run it again: cargo xtask bench functions"));
    }
    Ok(Exit::Ok)
}
