//! Options of what checks, measures and extends the project.

use std::time::Duration;

use clap::{Args, Subcommand};
use infra_local::Unkindness;

use super::stage::Unkind;
use super::{account, duration, milliseconds};

/// What to make.
#[derive(Debug, Args)]
pub(crate) struct New {
    #[command(subcommand)]
    pub(crate) command: NewCommand,
}

/// Commands below `new`.
#[derive(Debug, Subcommand)]
pub(crate) enum NewCommand {
    /// A function behind a route: use case, handler, binary, tests, and its lines in the stack
    #[command(
        after_help = "Example:\n  cargo xtask new function server-time --route serverTime\n\n\
                      What it writes compiles, passes the tests and answers its caller with the time; change it from there. \
                      No file is overwritten, and git undoes it."
    )]
    Function(NewFunction),
}

/// Options of `new function`.
#[derive(Debug, Args)]
pub(crate) struct NewFunction {
    /// Name of the function, such as `server-time`
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The `action` that calls it
    #[arg(long, value_name = "KEY")]
    pub(crate) route: String,
}

/// Options of `policy`.
#[derive(Debug, Args)]
pub(crate) struct Policy {
    /// The account, twelve digits; AWS is asked without it
    #[arg(long, value_name = "ID", value_parser = account)]
    pub(crate) account: Option<String>,
    /// One policy for all stages in infra/stages but `local`
    #[arg(long, conflicts_with = "stage")]
    pub(crate) all_stages: bool,
}

/// Options of `bench`.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

/// Commands below `bench`.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Deploy, deploy again, change one function and destroy; count every call
    #[command(
        after_help = "Examples:\n  cargo xtask bench deploy\n  cargo xtask bench deploy --latency 0ms --runs 1 --output json\n\n\
                      See docs/benchmarks.md for what the figures mean."
    )]
    Deploy(BenchDeploy),
    /// Kill deployments before and after their calls, lose answers, run again, and look for what is not healed
    #[command(
        after_help = "Examples:\n  cargo xtask bench kill            a sample\n  cargo xtask bench kill --all      every call\n  \
                      cargo xtask bench kill --only first:kill-after:12"
    )]
    Kill(BenchKill),
    /// Thousands of clients in one room of the chat on a local cloud; or people who come and go while calls fail
    #[command(
        after_help = "Examples:\n  cargo xtask bench chat --connections 1000\n  cargo xtask bench chat --soak 5m --clients 1000\n\n\
                      The functions are built as infra/stages/local.yml says. Ends with 1 when a message was lost or came twice, or \
                      when a row is left.\nSee docs/benchmarks-chat.md for what the figures mean."
    )]
    Chat(BenchChat),
    /// Cold start, memory and broadcasts of the function binaries, beside Node where it is installed
    #[command(
        after_help = "Builds with the profile `lambda` and takes some minutes. CPU shares need a control group that may be written: \
                      run it as root.\nSee docs/benchmarks-functions.md for what the figures mean."
    )]
    Functions,
}

/// Options of `bench kill`.
#[derive(Debug, Args)]
pub(crate) struct BenchKill {
    /// Every call, not a sample
    #[arg(long)]
    pub(crate) all: bool,
    /// Only this attack: OPERATION:FAULT:CALL; may be repeated
    #[arg(long, value_name = "CASE")]
    pub(crate) only: Vec<crate::bench::case::Case>,
    /// Another cloud than local ones of its own, for example http://127.0.0.1:4566. Not AWS
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
}

/// Options of `bench chat`.
#[derive(Debug, Args)]
pub(crate) struct BenchChat {
    /// Clients in one room that receive what one more says
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,
    /// Messages: the first alone, then the others at once
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub(crate) messages: u32,
    /// Instead: clients connect, chat and leave at random for so long, while posts and tables fail
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with_all = ["connections", "messages"])]
    pub(crate) soak: Option<Duration>,
    /// How many they are
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, requires = "soak", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) clients: u32,
    /// What fails, as for `local --unkind`
    #[arg(
        long = "unkind",
        value_name = "SETTINGS",
        default_value = "posts=0.05,tables=0.01",
        requires = "soak"
    )]
    pub(crate) unkindness: Unkindness,
    /// Decides who does what when
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "soak")]
    pub(crate) seed: u64,
}

/// Options of `bench deploy`.
#[derive(Debug, Args)]
pub(crate) struct BenchDeploy {
    /// What every call takes longer
    #[arg(long, value_name = "DURATION", default_value = "60ms", value_parser = milliseconds)]
    pub(crate) latency: Duration,
    /// Runs of each stack; times are medians
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) runs: u16,
    /// Show each call of the median run: when it began and ended, in milliseconds
    #[arg(long)]
    pub(crate) timeline: bool,
    /// Another cloud than a local one of its own, for example http://127.0.0.1:4566. Not AWS: its calls are not signed
    /// with your credentials
    #[arg(long, value_name = "URL", conflicts_with = "settings")]
    pub(crate) endpoint: Option<String>,
    #[command(flatten)]
    pub(crate) unkind: Unkind,
}

/// Options of `sim`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Sim {
    /// How many seeds, from 0
    #[arg(long, value_name = "NUMBER", default_value_t = 300)]
    pub(crate) seeds: u64,
    /// Only this seed, with a line for everything that happens
    #[arg(long, value_name = "SEED", conflicts_with = "seeds")]
    pub(crate) seed: Option<u64>,
}

/// Options of `test`.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Arguments for `cargo test`
    #[arg(last = true, value_name = "ARG")]
    pub(crate) arguments: Vec<String>,
}

/// Options of `coverage`.
#[derive(Debug, Args)]
pub(crate) struct Coverage {
    /// Only the tests of this package; may be repeated
    #[arg(long = "package", short = 'p', value_name = "NAME")]
    pub(crate) packages: Vec<String>,
}
