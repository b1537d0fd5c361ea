//! What can be asked: commands, options and their help.

mod look;
mod project;
mod stage;

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::look::{Chat, Invoke, Level, Logs, Status};
pub(crate) use self::project::{
    Bench, BenchChat, BenchCommand, BenchDeploy, BenchKill, Coverage, New, NewCommand, NewFunction, Policy, Sim, Test,
};
pub(crate) use self::stage::{
    CloudFormationOptions, Deploy, Destroy, Dev, Diff, Local, Migrate, State, StateCommand, Synth, TemplateFormat,
    Token, TokenClaims, TokenCommand,
};

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
