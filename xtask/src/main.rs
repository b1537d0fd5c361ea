//! The command line: build, deploy, run, look.
//!
//! The only crate that prints. It connects the parts and decides nothing that they could: packages come from
//! [`package`], plans and deployments from `infra-engine`, calls from `infra-aws`, the local cloud from `infra-local`.
//!
//! Read next: [`cli`] for what can be asked, one file of [`commands`] for each answer, [`failure`] for how things go wrong.

mod bench;
mod browser;
mod cli;
mod commands;
mod failure;
mod interrupt;
mod local_cloud;
mod outputs;
mod package;
mod plan_view;
mod progress;
mod target;
mod tidy;
mod ui;
mod workspace;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::cli::Cli;
use crate::failure::{Exit, Failure};

/// How long a blocked read of the terminal may delay the end of the process.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let cli = Cli::parse();
    ui::install_report_handler();
    let exit = match run(cli) {
        Ok(exit) => exit,
        Err(failure) => {
            let exit = failure.exit();
            ui::report(failure);
            exit
        }
    };
    ExitCode::from(exit as u8)
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start the async runtime").because(error))?;
    let outcome = runtime.block_on(commands::run(cli));
    runtime.shutdown_timeout(SHUTDOWN_GRACE);
    outcome
}
