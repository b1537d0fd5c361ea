//! `cargo xtask test`: all tests and the dependency rules.

use std::process::Stdio;

use crate::cli::Test;
use crate::commands::App;
use crate::failure::{Exit, Failure};
use crate::package::{ChildGroup, cargo_command};
use crate::tidy;

/// Runs it.
///
/// # Errors
/// When cargo does not start, or rules are broken.
pub(crate) async fn run(app: &App, options: &Test) -> Result<Exit, Failure> {
    let mut command = cargo_command(&app.workspace.root);
    command.args(["test", "--workspace"]).stdin(Stdio::null());
    if !options.arguments.is_empty() {
        command.arg("--").args(&options.arguments);
    }
    let passed = app
        .interrupt
        .or(async { ChildGroup::spawn(command)?.wait().await })
        .await?
        .success();
    let tidy = tidy::run(app).await?;
    Ok(if passed { tidy } else { Exit::Failed })
}
