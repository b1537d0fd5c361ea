//! One file per command. Each returns how the process ends.

mod bench;
mod chat;
mod cloudformation;
mod coverage;
mod deploy;
mod deploy_last_good;
mod destroy;
mod dev;
mod diff;
mod doctor;
mod hooks;
mod invoke;
mod local;
mod logs;
mod migrate;
mod new;
pub(crate) mod outputs;
mod policy;
mod rollback;
mod sim;
mod state;
mod status;
mod synth;
mod test;
pub(crate) mod token;

use crate::cli::{Cli, Command, Format, Global};
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::tidy;
use crate::workspace::Workspace;

/// Stage of commands that name none.
const DEFAULT_STAGE: &str = "dev";

/// What all commands share.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) global: Global,
    pub(crate) workspace: Workspace,
    pub(crate) interrupt: Interrupt,
}

impl App {
    /// Returns whether a program reads stdout.
    pub(crate) fn wants_json(&self) -> bool {
        match self.global.output {
            Format::Json => true,
            Format::Human => false,
        }
    }
}

/// Runs a command.
///
/// # Errors
/// What it could not do.
pub(crate) async fn run(cli: Cli) -> Result<Exit, Failure> {
    let app = App {
        global: cli.global,
        workspace: Workspace::find(),
        interrupt: Interrupt::listen()?,
    };
    // What changes a stage tells how it ended, even if nobody reads any more.
    let changes = matches!(
        cli.command,
        Command::Deploy(_) | Command::Destroy(_) | Command::Rollback | Command::Migrate(_)
    );
    let outcome = match cli.command {
        Command::Dev(options) => Box::pin(dev::run(&app, &options)).await,
        Command::Local(options) => local::run(&app, options).await,
        Command::Deploy(options) => Box::pin(deploy::run(&app, &options)).await,
        Command::Diff(options) => Box::pin(diff::run(&app, &options)).await,
        Command::Migrate(options) => Box::pin(migrate::run(&app, &options)).await,
        Command::Rollback => Box::pin(rollback::run(&app)).await,
        Command::State(options) => state::run(&app, options.command).await,
        Command::Destroy(options) => Box::pin(destroy::run(&app, &options)).await,
        Command::Outputs => Box::pin(outputs::run(&app)).await,
        Command::Status(options) => Box::pin(status::run(&app, &options)).await,
        Command::Doctor => Box::pin(doctor::run(&app)).await,
        Command::Logs(options) => Box::pin(logs::run(&app, &options)).await,
        Command::Invoke(options) => Box::pin(invoke::run(&app, &options)).await,
        Command::Chat(options) => Box::pin(chat::run(&app, options)).await,
        Command::Token(options) => Box::pin(token::run(&app, &options)).await,
        Command::New(options) => new::run(&app, &options).await,
        Command::Policy(options) => Box::pin(policy::run(&app, &options)).await,
        Command::Synth(options) => synth::run(&app, &options).await,
        Command::Bench(options) => Box::pin(bench::run(&app, &options)).await,
        Command::Sim(options) => sim::run(&app, options),
        Command::Tidy => tidy::run(&app).await,
        Command::Test(options) => test::run(&app, &options).await,
        Command::Coverage(options) => coverage::run(&app, &options).await,
        Command::Hooks => hooks::run(&app).await,
    };
    match outcome {
        // `| head` is how anything that is shown may end.
        Err(failure) if !changes && failure.is_closed_pipe() => Ok(Exit::Ok),
        outcome => outcome,
    }
}
