//! What can be asked: commands, options and their help.

mod look;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use infra_cdk::EngineName;
use infra_local::{REALISTIC, Unkindness};

pub(crate) use self::look::{Chat, Invoke, Level, Logs, Status};

/// Build, deploy, run and look at the chat.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 110, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask dev                                  everything on this machine, rebuilt on save
  cargo xtask deploy                               stage `dev` in your AWS account
  cargo xtask diff --stage prod                    what a deployment would change
  cargo xtask logs send-message --follow
  wscat -c \"$(cargo xtask outputs --output json | jq -r .webSocketUrl)\" \\
        -H \"Authorization: $(cargo xtask token --sub ada)\"

Environment:
  AWS_PROFILE, AWS_REGION, AWS_ACCESS_KEY_ID, …    as for every AWS tool
  AWS_ENDPOINT_URL                                 another endpoint for all services, such as a local cloud
  NO_COLOR                                         no colours

Exit codes:
  0 done, 1 failed, 2 bad usage or input, 3 changes found (diff --exit-code), 130 interrupted";

const SYNTH_EXAMPLES: &str = "\
Examples:
  cargo xtask synth --stage prod > template.yaml
  cargo xtask synth --format json | jq .Outputs

To deploy through CloudFormation: cargo xtask deploy --engine cloudformation. By hand instead, put the packages into an
S3 bucket in the stack's Region:
  cargo xtask synth --assets target/assets > template.yaml
  aws s3 sync target/assets s3://BUCKET
  aws cloudformation deploy --stack-name chat-dev --template-file template.yaml --s3-bucket BUCKET \\
      --capabilities CAPABILITY_NAMED_IAM --parameter-overrides AssetBucket=BUCKET

The template has no secrets. CloudFormation cannot create a SecureString parameter: those named in the template's
Metadata are made by `cargo xtask deploy`, or by hand with aws ssm put-parameter.
The functions are built to know the digests of their packages; no call to AWS is made.";

/// Options of all commands.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Global {
    /// Stage: a file infra/stages/NAME.yml [default: dev; for `dev` and `local`: local]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) stage: Option<String>,
    /// Region, instead of AWS_REGION and that of the stage file
    #[arg(long, global = true, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// Profile of the AWS configuration files
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Do not ask before data is lost
    #[arg(long, short, global = true)]
    pub(crate) yes: bool,
    /// What stdout is for: people or programs
    #[arg(long, global = true, value_name = "FORMAT", default_value = "human")]
    pub(crate) output: Format,
}

/// Who reads stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text
    Human,
    /// One JSON object; for `logs` and what changes a stage, one per line
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the chat on this machine: local cloud, deployment, rebuild on save, logs
    #[command(after_help = "Examples:\n  cargo xtask dev\n  cargo xtask dev --port 0      any free port")]
    Dev(Dev),
    /// Run the local cloud alone, for deploy, logs, destroy and AWS tools in other terminals
    #[command(
        after_help = "Examples:\n  cargo xtask local\n  cargo xtask deploy --stage local      in another terminal\n  \
                      AWS_ENDPOINT_URL=http://127.0.0.1:4566 aws dynamodb list-tables\n  \
                      cargo xtask local --unkind      as slow and busy as AWS\n  \
                      cargo xtask local --unkind role=8s,latency=60ms,lost=0.02,seed=7"
    )]
    Local(Local),
    /// Build the functions and bring a stage to what infra/ declares
    #[command(
        after_help = "Examples:\n  cargo xtask deploy --dry-run\n  cargo xtask deploy --stage prod --yes\n  \
                      cargo xtask deploy --function send-message      its code and settings only, within seconds\n  \
                      cargo xtask deploy --rollback      undo a deployment that failed\n\n\
                      With --output json, stdout is one JSON event per line, see docs/events-json.md; the last line is the \
                      result:\n{\"event\": \"result\", \"stack\", \"changed\": [{\"id\", \"type\", \"action\"}], \"failed\": […], \
                      \"skipped\": […], \"outputs\": {…}, \"calls\": {…}, …}."
    )]
    Deploy(Deploy),
    /// Show what a deployment would change, including what somebody changed by hand
    #[command(
        after_help = "Examples:\n  cargo xtask diff --stage prod\n  cargo xtask diff --exit-code      ends with 3 when there are changes\n\n\
                      With --output json, stdout is one object: docs/plan-json.md."
    )]
    Diff(Diff),
    /// Move a deployed stage to the other engine; nothing is made anew
    #[command(
        after_help = "Examples:\n  cargo xtask migrate --to cloudformation --stage prod\n  cargo xtask migrate --to direct --stage prod\n\n\
                      What cannot be moved is named before anything is changed: docs/cloudformation.md."
    )]
    Migrate(Migrate),
    /// Send callers back to the code from before the last deployment, within seconds
    #[command(
        after_help = "Every function that the last deployment changed is called in its earlier version again: code, settings and \
                      environment, nothing else of the stack. Nothing is built. The way back leads one deployment far: a \
                      second rollback is refused. The next deployment goes forward again, to what is declared then.\n\n\
                      With --output json, stdout is that of `deploy`, with \"rolledBack\": [{\"id\", \"from\", \"to\"}]."
    )]
    Rollback,
    /// Look at the record of what is deployed, or make a lost one again
    #[command(
        subcommand_required = true,
        after_help = "Examples:\n  cargo xtask state show --stage prod\n  cargo xtask state rebuild      after the table stackwright-state was lost"
    )]
    State(State),
    /// Delete a stage; says what is kept
    #[command(
        after_help = "Examples:\n  cargo xtask destroy\n  cargo xtask destroy --stage local --yes\n\n\
                      With --output json, stdout is as of deploy."
    )]
    Destroy(Destroy),
    /// Print what a stage tells its users: URLs and names
    #[command(
        after_help = "Examples:\n  cargo xtask outputs\n  cargo xtask outputs --output json | jq -r .webSocketUrl\n\n\
                      With --output json, stdout is one object with the keys webSocketUrl, managementUrl, webUrl, functions, \
                      tables and tokenKey."
    )]
    Outputs,
    /// Show how a stage is doing: drift, functions and their figures, who is connected, alarms
    #[command(
        after_help = "Examples:\n  cargo xtask status --stage prod\n  cargo xtask status --room red --room blue\n\n\
                      Figures are those of the last hour, from CloudWatch, or from the log where there is none. Rooms are counted by \
                      their index and never listed: that would read the whole table.\nWith --output json, stdout is {\"stack\", \
                      \"outputs\", \"resources\": [{\"id\", \"type\", \"physicalId\", \"state\", \"differs\"}], \"functions\", \"rooms\", \
                      \"alarms\", \"notes\"}."
    )]
    Status(Status),
    /// Find what is missing on this machine and in the account, with the command that mends it
    #[command(
        after_help = "Examples:\n  cargo xtask doctor\n  cargo xtask doctor --stage prod --output json\n\n\
                      Nothing is changed. Ends with 1 when something needed is missing. Without credentials only this machine is \
                      looked at.\nWith --output json, stdout is {\"stage\", \"ok\", \"findings\": [{\"about\", \"state\": \
                      \"good\"|\"doubtful\"|\"missing\"|\"skipped\", \"found\", \"mend\"}]}."
    )]
    Doctor,
    /// Print log lines of all functions and of the API, merged by time
    #[command(
        after_help = "Examples:\n  cargo xtask logs --follow\n  cargo xtask logs connect authorize --since 1h --level warn\n  \
                      cargo xtask logs --since 2026-11-22T10:00:00Z --until 2026-11-22T10:05:00Z\n  \
                      cargo xtask logs --filter '{ $.level = \"ERROR\" }'      a CloudWatch Logs filter pattern\n\n\
                      --follow uses live tails, which AWS bills by the minute after a free tier, and polling where there are \
                      none.\nWith --output json, stdout is one object per line: {\"timestamp\", \"function\", \"stream\", \
                      \"level\", \"requestId\", \"message\", \"report\": {\"durationMs\", \"coldStart\", …}}; what a line does not \
                      say is left out."
    )]
    Logs(Logs),
    /// Call one function and show its answer, its log and what it took
    #[command(
        after_help = "Examples:\n  cargo xtask invoke default --payload '{\"requestContext\":{\"routeKey\":\"$default\"}}'\n  \
                      cargo xtask invoke authorize --stage local < event.json\n\n\
                      The answer goes to stdout, the log to stderr; a function that fails ends with 1. With --output json, \
                      stdout is {\"function\", \"version\", \"functionError\", \"payload\", \"elapsedMs\", \"report\", \"log\"}."
    )]
    Invoke(Invoke),
    /// Take part in the chat from this terminal, or from a script
    #[command(
        after_help = "Examples:\n  cargo xtask chat --stage local\n  cargo xtask chat --user ana --room red\n  \
                      echo 'Hello, World!' | cargo xtask chat --user bot\n  \
                      cargo xtask chat --output json --linger 1h < /dev/null | jq .data\n\n\
                      A line is a message; /help lists what else there is; a line that begins with { is sent as it is. Without a \
                      terminal, it ends when stdin has ended and all is answered: with 1 if an answer was an error. With --output json, \
                      stdout is each frame as it came: docs/protocol.md."
    )]
    Chat(Chat),
    /// Mint a token for a user, signed with the stage's key; or rotate that key
    #[command(
        subcommand_negates_reqs = true,
        after_help = "Examples:\n  cargo xtask token --sub ada --name 'Ada Lovelace'\n  \
                      cargo xtask token --sub ada --role moderator --expires-in 15m --stage local\n  \
                      cargo xtask token rotate      a new key; tokens of the one before still count"
    )]
    Token(Token),
    /// Print the CloudFormation template of the same stack
    #[command(after_help = SYNTH_EXAMPLES)]
    Synth(Synth),
    /// Write the files and lines of a new function
    #[command(subcommand_required = true)]
    New(New),
    /// Print the smallest policy for who deploys a stage, made from what infra/ declares
    #[command(after_help = "Examples:\n  cargo xtask policy --stage prod > policy.json\n  \
                      cargo xtask policy --stage prod --account 123456789012      without asking AWS who you are\n  \
                      cargo xtask policy --all-stages --account 123456789012\n\n\
                      A stage that stops using something needs the policy of before for the deployment that removes it.")]
    Policy(Policy),
    /// Check the workspace's dependency rules
    Tidy,
    /// Deploy into a simulated account in which everything goes wrong, and demand that all ends well
    #[command(
        after_help = "Examples:\n  cargo xtask sim --seeds 1000\n  cargo xtask sim --seed 7      one seed again, with all that happens in it\n\n\
                      Each seed that does not end well is shown with the command that replays it, and the exit code is 1. \
                      With --output json, stdout is {\"seeds\", \"broken\": [SEED…]}, or {\"seed\", \"trace\": [LINE…], \"broken\"} \
                      for one."
    )]
    Sim(Sim),
    /// Run all tests and the dependency rules
    #[command(
        after_help = "Examples:\n  cargo xtask test\n  cargo xtask test -- broadcast      arguments for cargo test"
    )]
    Test(Test),
    /// Run all tests instrumented; fail when the functions are covered too little
    #[command(
        after_help = "Fails under 90 % of the lines, 90 % of the regions or 80 % of the functions in functions*, and reports all \
                      crates.\nInstalls what is missing, and says so: the toolchain's llvm-tools, and cargo-llvm-cov below target/.\n\n\
                      With --output json, stdout is {\"crates\": {FOLDER: {\"lines\", \"regions\", \"functions\"}}, \"gated\": {…}, \
                      \"missed\": […]}."
    )]
    Coverage(Coverage),
    /// Measure what things cost
    Bench(Bench),
    /// Install a Git hook that runs tests and coverage before each push
    #[command(
        after_help = "The hook is `pre-push`, in the folder that core.hooksPath names, or else in .git/hooks.\n\
                      Somebody else's hook stays, unless --yes says to replace it; then it is kept beside it."
    )]
    Hooks,
}

/// Options of `dev`.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Port on 127.0.0.1; 0 takes any free one
    #[arg(long, default_value_t = 4566)]
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
    #[arg(long, default_value_t = 4566)]
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

/// How a template is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TemplateFormat {
    /// YAML
    Yaml,
    /// JSON, indented
    Json,
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

/// Reads an account id.
fn account(text: &str) -> Result<String, String> {
    match text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is no account id: it has twelve digits")),
    }
}

/// Reads `60ms`, and durations as [`duration`] does.
fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.strip_suffix("ms").map(str::parse) {
        Some(Ok(count)) => Ok(Duration::from_millis(count)),
        Some(Err(_)) => Err(format!("`{text}` is no duration; write for example 60ms or 1s")),
        None => duration(text),
    }
}

/// Reads `90s`, `10m`, `1h`, `7d`; a bare number means seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; write for example 90s, 10m, 1h or 7d");
    let (digits, seconds) = match text.char_indices().last() {
        Some((end, 's')) => (&text[..end], 1),
        Some((end, 'm')) => (&text[..end], 60),
        Some((end, 'h')) => (&text[..end], 3_600),
        Some((end, 'd')) => (&text[..end], 86_400),
        Some(_) | None => (text, 1),
    };
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    let seconds = count
        .checked_mul(seconds)
        .filter(|total| *total > 0)
        .ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

/// Reads a duration as [`duration`] does, and negative ones.
fn signed_seconds(text: &str) -> Result<i64, String> {
    let (sign, length) = text.strip_prefix('-').map_or((1, text), |length| (-1, length));
    let seconds = i64::try_from(duration(length)?.as_secs()).map_err(|_| format!("`{text}` is too long"))?;
    Ok(sign * seconds)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_is_complete() {
        let mut command = Cli::command().term_width(110);
        insta::assert_snapshot!(command.render_long_help());
    }

    #[test]
    fn help_of_deploy_is_complete() {
        let mut command = Cli::command().term_width(110);
        command.build();
        let deploy = command.find_subcommand_mut("deploy").unwrap();
        insta::assert_snapshot!(deploy.render_long_help());
    }

    #[test]
    fn help_of_synth_is_complete() {
        let mut command = Cli::command().term_width(110);
        command.build();
        let synth = command.find_subcommand_mut("synth").unwrap();
        insta::assert_snapshot!(synth.render_long_help());
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("90").unwrap().as_secs(), 90);
        assert_eq!(duration("10m").unwrap().as_secs(), 600);
        assert_eq!(duration("7d").unwrap().as_secs(), 604_800);
        assert_eq!(signed_seconds("-1h").unwrap(), -3_600);
        assert_eq!(signed_seconds("1h").unwrap(), 3_600);
        assert!(signed_seconds("--1h").is_err());
        for wrong in [
            "",
            "h",
            "0m",
            "-1s",
            "1.5h",
            "10 m",
            "1w",
            "99999999999999999999d",
            "184467440737095516d",
            "1ü",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
