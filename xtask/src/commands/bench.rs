//! `cargo xtask bench`: what things cost.

mod functions;

use crate::cli::{Bench, BenchCommand};
use crate::commands::App;
use crate::failure::{Exit, Failure};

/// Runs it.
///
/// # Errors
/// When it cannot be built or measured.
pub(crate) async fn run(app: &App, options: &Bench) -> Result<Exit, Failure> {
    match options.command {
        BenchCommand::Functions => functions::run(app).await,
    }
}
