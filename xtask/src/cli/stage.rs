//! Options of what runs, deploys and changes a stage.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use infra_cdk::EngineName;
use infra_local::{REALISTIC, Unkindness};

use super::signed_seconds;
use crate::local_cloud::DEFAULT_PORT;

/// Options of `dev`.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Port on 127.0.0.1; 0 takes any free one
    #[arg(long, default_value_t = DEFAULT_PORT)]
    pub(crate) port: u16,
    /// Do not rebuild on save
    #[arg(long)]
    pub(crate) no_watch: bool,
    /// Open the page in a browser, with a token in place
    #[arg(long)]
    pub(crate) open: bool,
    #[command(flatten)]
    pub(crate) unkind: Unkind,
}

/// Options of `local`.
#[derive(Debug, Args)]
pub(crate) struct Local {
    /// Port on 127.0.0.1; 0 takes any free one
    #[arg(long, default_value_t = DEFAULT_PORT)]
    pub(crate) port: u16,
    /// Keep the state in this folder; without it, it ends with the process
    #[arg(long, value_name = "DIR")]
    pub(crate) persist: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) unkind: Unkind,
}

/// How hard a local cloud makes it.
#[derive(Debug, Args)]
pub(crate) struct Unkind {
    /// Be as slow, busy and unreliable as AWS can be; alone it means the settings of an ordinary day
    ///
    /// Only what is named is unkind. role=8s: Lambda cannot assume a new role so long; pending=2s: functions are Pending,
    /// and updates InProgress; creating=6s: tables are CREATING, UPDATING, DELETING; throttle: AWS's rates; conflict: API
    /// Gateway refuses parallel changes of one API; latency=60ms: on each call; lost=0.02, error=0.02: shares of calls
    /// that lose their answer or fail, half of them after they happened; posts=0.05: share of the functions' posts to
    /// clients that meet 410, 429, 500 or take seconds; tables=0.02: share of their DynamoDB calls that fail; seed=1:
    /// which ones
    #[arg(long = "unkind", value_name = "SETTINGS", num_args = 0..=1, default_value = "", default_missing_value = REALISTIC, hide_default_value = true)]
    pub(crate) settings: Unkindness,
}

/// Options of `deploy`.
#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// Show the plan and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Take over what exists under the stage's names without its mark
    #[arg(long)]
    pub(crate) adopt: bool,
    /// Go on though a table or a secret is deleted or replaced, with all that is stored in it
    #[arg(long)]
    pub(crate) allow_replace: bool,
    /// After a failed or interrupted deployment: return to what the last good one left, code included
    #[arg(long, conflicts_with_all = ["functions", "adopt"])]
    pub(crate) rollback: bool,
    /// Deploy packages made elsewhere: NAME.zip of each function in this folder; nothing is compiled
    #[arg(long, value_name = "DIR")]
    pub(crate) packages: Option<PathBuf>,
    /// Only this function of a deployed stage; may be repeated
    #[arg(long = "function", value_name = "NAME")]
    pub(crate) functions: Vec<String>,
    /// Fail at once while somebody else is deploying the stage, instead of waiting
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) cloudformation: CloudFormationOptions,
}

/// Options of deployments through CloudFormation.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "CloudFormation")]
pub(crate) struct CloudFormationOptions {
    /// What deploys: this program by itself, or CloudFormation [default: the stage file's `engine`, or what has deployed it]
    #[arg(long, value_name = "ENGINE")]
    pub(crate) engine: Option<Engine>,
    /// Express mode: do not wait until resources are ready to be used
    #[arg(long)]
    pub(crate) express: bool,
    /// Leave out CloudFormation's validation before deployment
    #[arg(long)]
    pub(crate) no_validation: bool,
    /// Also undo what was changed by hand
    #[arg(long)]
    pub(crate) revert_drift: bool,
}

/// What deploys a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    /// Calls of the services' own APIs
    Direct,
    /// A change set of AWS CloudFormation
    #[value(name = "cloudformation")]
    CloudFormation,
}

impl From<Engine> for EngineName {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::Direct => Self::Direct,
            Engine::CloudFormation => Self::CloudFormation,
        }
    }
}

/// Options of `migrate`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Migrate {
    /// The engine that the stage shall belong to
    #[arg(long, value_name = "ENGINE")]
    pub(crate) to: Engine,
    /// Show what would be moved and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// To CloudFormation: NAME.zip of each function as it is deployed; without it, those kept of earlier builds
    #[arg(long, value_name = "DIR")]
    pub(crate) packages: Option<PathBuf>,
}

/// Options of `destroy`.
#[derive(Debug, Args)]
pub(crate) struct Destroy {
    /// Fail at once while somebody else is deploying the stage, instead of waiting
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// Options of `diff`.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// End with 3 when there are changes
    #[arg(long)]
    pub(crate) exit_code: bool,
    /// Of a stage at CloudFormation: show what was changed by hand too, and would be undone
    #[arg(long)]
    pub(crate) revert_drift: bool,
}

/// What to do with the record.
#[derive(Debug, Args)]
pub(crate) struct State {
    #[command(subcommand)]
    pub(crate) command: StateCommand,
}

/// Commands below `state`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// List the recorded resources
    Show,
    /// Record again what is declared and exists: found by names, tags and marks; no resource is changed
    Rebuild,
}

/// Options of `token`.
#[derive(Debug, Args)]
pub(crate) struct Token {
    #[command(subcommand)]
    pub(crate) command: Option<TokenCommand>,
    /// Print the address of the page with the token in its fragment, instead of the token alone
    #[arg(long)]
    pub(crate) link: bool,
    #[command(flatten)]
    pub(crate) claims: Option<TokenClaims>,
}

/// Commands below `token`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a new key: it signs from now on, the one before still counts, older ones no more
    #[command(
        after_help = "Rotate again after the longest life of your tokens to be rid of the old key, or twice at once if it has \
                      leaked. Nothing is deployed: functions read the keys again as soon as they meet a new one."
    )]
    Rotate,
}

/// What a token says.
#[derive(Debug, Args)]
pub(crate) struct TokenClaims {
    /// Who the user is: stable and unique
    #[arg(long)]
    pub(crate) sub: String,
    /// What others see
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A role; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    pub(crate) roles: Vec<String>,
    /// How long it counts; negative for one that has expired already
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = signed_seconds, allow_hyphen_values = true)]
    pub(crate) expires_in: i64,
}

/// Options of `synth`.
#[derive(Debug, Args)]
pub(crate) struct Synth {
    /// How to write it [default: yaml; with --output json: json]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<TemplateFormat>,
    /// Also write the functions' packages into this folder, under the keys that the template gives them
    #[arg(long, value_name = "DIR")]
    pub(crate) assets: Option<PathBuf>,
}

/// How a template is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TemplateFormat {
    /// YAML
    Yaml,
    /// JSON, indented
    Json,
}
