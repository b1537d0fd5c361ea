//! What differs between stages: settings, read from one YAML file per stage.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Mistake, RemovalPolicy};

/// One stage of the application: its name, Region and settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// For example `dev`; 1 to 20 of `[a-z0-9-]`.
    pub name: String,
    /// Where it is deployed, for example `eu-central-1`.
    pub region: String,
    /// Everything else.
    pub settings: Settings,
}

/// The settings of a stage file. Unknown keys are errors.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Region to deploy to; the command line and `AWS_REGION` override it.
    pub region: Option<String>,
    /// What deploys the stage; the command line's `--engine` must agree with it.
    pub engine: Option<EngineName>,
    /// What the functions run on.
    #[serde(default)]
    pub architecture: ArchitectureSetting,
    /// The cargo profile that builds the functions.
    #[serde(default = "default_build_profile")]
    pub build_profile: String,
    /// What happens to tables and secrets that leave the stack, and at `destroy`.
    #[serde(default)]
    pub removal_policy: RemovalPolicy,
    /// Days that log lines are kept: one of the values that CloudWatch Logs knows.
    #[serde(default = "default_log_retention_days")]
    pub log_retention_days: u32,
    /// Days back that a table can be restored to (1 to 35); without it there is no point-in-time recovery.
    pub point_in_time_recovery_days: Option<u32>,
    /// Settings of all functions.
    #[serde(default)]
    pub functions: FunctionSettings,
    /// Settings of single functions by name; they win over `functions`.
    #[serde(default)]
    pub function: BTreeMap<String, FunctionSettings>,
    /// Limits of the API's stage; AWS's account limits without it.
    pub throttling: Option<Throttling>,
    /// How rooms are served.
    #[serde(default)]
    pub rooms: RoomSettings,
    /// Origins of web pages that may connect beside the stack's own, for example `https://chat.example.com`; empty: any.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
    /// What is watched, and who is told.
    #[serde(default)]
    pub observability: Observability,
}

/// What is watched, and who is told. All of it is off by default, since all of it costs money: a stage that somebody
/// relies on switches it on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Observability {
    /// One line of each connect, message and disconnect, in a log group of the API.
    pub access_logs: bool,
    /// What the functions count: connections, messages, deliveries, gone and slow peers, the time of a fan-out.
    pub metrics: bool,
    /// Alarms on errors and throttles of functions, and on broadcasts that wait.
    pub alarms: bool,
    /// ARNs that alarms tell, for example of SNS topics.
    pub notify: Vec<String>,
    /// A page of graphs in the CloudWatch console.
    pub dashboard: bool,
}

impl Settings {
    /// Returns what would be switched on to no effect.
    pub(crate) fn observability_mistake(&self) -> Option<Mistake> {
        let Observability {
            metrics,
            alarms,
            notify,
            ..
        } = &self.observability;
        let levels = self.function.values().chain([&self.functions]);
        let is_quiet = |level: &String| !matches!(level.as_str(), "TRACE" | "DEBUG" | "INFO");
        let quiet = levels
            .filter_map(|function| function.log_level.as_ref())
            .find(|level| is_quiet(level));
        let message = match (quiet, notify.iter().find(|arn| !arn.starts_with("arn:"))) {
            // Metrics are lines of the log, and lines without a level count as `INFO` (Lambda Developer Guide,
            // "Log-level filtering").
            (Some(level), _) if *metrics => format!("metrics need logLevel INFO or below; {level} drops their lines"),
            (_, Some(wrong)) => format!("notify lists ARNs, and `{wrong}` is none"),
            (_, None) if !notify.is_empty() && !alarms => "notify has no effect without alarms: true".to_owned(),
            (Some(_) | None, None) => return None,
        };
        Some(Mistake::Invalid {
            subject: "observability".to_owned(),
            message,
        })
    }
}

/// What deploys a stage. A stage belongs to one of them at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineName {
    /// This program, by calls of the services' own APIs.
    #[default]
    Direct,
    /// AWS CloudFormation, from the template of the same stack.
    CloudFormation,
}

impl EngineName {
    /// Returns its name on the command line and in stage files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::CloudFormation => "cloudformation",
        }
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Settings of functions; what is missing has the default of the stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FunctionSettings {
    /// Memory in MB, 128 to 10,240. Lambda gives CPU in proportion: 1,769 MB is one virtual CPU.
    pub memory_mb: Option<u32>,
    /// Seconds until an invocation is ended, 1 to 900.
    pub timeout_seconds: Option<u32>,
    /// The least severe level that is logged: `TRACE`, `DEBUG`, `INFO`, `WARN`, `ERROR` or `FATAL`.
    pub log_level: Option<String>,
}

/// How rooms are served: the way to large ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RoomSettings {
    /// Into how many shards each room is spread (1 to 256). It may grow at any time; when it shrinks, connections in the
    /// shards that are gone hear nothing until they reconnect, after two hours at most.
    ///
    /// 4 by default: 10,000 connections of 300 bytes are then read as one page of each shard, the index takes 4,000
    /// writes a second, four times what AWS's default quota of 500 new connections a second needs with all of them in one
    /// room, and four small functions post as much as the account's quota of 10,000 a second allows. A message to a small
    /// room costs 4 queries of half a read unit for it.
    pub shards: u32,
    /// Up to how many connections a room is served by the sender's own invocation; above it by `broadcast`.
    pub inline_connections: u32,
    /// How many posts one broadcast begins in a second, in all its legs together: below the account's quota, which the
    /// frames from clients share.
    pub posts_per_second: u32,
}

impl Default for RoomSettings {
    fn default() -> Self {
        Self {
            shards: 4,
            inline_connections: 256,
            posts_per_second: 8_000,
        }
    }
}

/// Requests that a stage accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Throttling {
    /// Steady rate in requests per second.
    pub rate_limit: u32,
    /// Requests above the rate that are still accepted at once.
    pub burst_limit: u32,
}

/// Instruction set of the functions, by Lambda's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// AWS Graviton.
    #[serde(rename = "arm64")]
    Arm64,
    /// Intel and AMD.
    #[serde(rename = "x86_64")]
    X86_64,
}

impl Architecture {
    /// Returns Lambda's name of it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::X86_64 => "x86_64",
        }
    }

    /// Returns the architecture of the machine that this was compiled for.
    #[must_use]
    pub const fn of_host() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Arm64
        } else {
            Self::X86_64
        }
    }
}

/// Architecture as a stage file names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArchitectureSetting {
    /// That of the machine that deploys.
    #[default]
    Host,
    /// AWS Graviton.
    Arm64,
    /// Intel and AMD.
    #[serde(rename = "x86_64")]
    X86_64,
}

impl ArchitectureSetting {
    /// Returns the architecture that is meant.
    #[must_use]
    pub const fn resolve(self) -> Architecture {
        match self {
            Self::Host => Architecture::of_host(),
            Self::Arm64 => Architecture::Arm64,
            Self::X86_64 => Architecture::X86_64,
        }
    }
}

fn default_build_profile() -> String {
    "lambda".to_owned()
}

fn default_log_retention_days() -> u32 {
    14
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            region: None,
            engine: None,
            architecture: ArchitectureSetting::default(),
            build_profile: default_build_profile(),
            removal_policy: RemovalPolicy::default(),
            log_retention_days: default_log_retention_days(),
            point_in_time_recovery_days: None,
            functions: FunctionSettings::default(),
            function: BTreeMap::new(),
            throttling: None,
            rooms: RoomSettings::default(),
            allowed_origins: Vec::new(),
            observability: Observability::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_effect_is_a_mistake() {
        let quiet = FunctionSettings {
            log_level: Some("WARN".to_owned()),
            ..FunctionSettings::default()
        };
        let settings = |observability, functions| Settings {
            observability,
            functions,
            ..Settings::default()
        };
        let metrics = Observability {
            metrics: true,
            ..Observability::default()
        };
        let notify = |alarms, arn: &str| Observability {
            alarms,
            notify: vec![arn.to_owned()],
            ..Observability::default()
        };
        let fine = FunctionSettings::default;
        for (settings, is_mistake) in [
            (settings(metrics.clone(), fine()), false),
            (settings(metrics, quiet.clone()), true),
            (settings(Observability::default(), quiet), false),
            (settings(notify(true, "arn:aws:sns:us-east-1:1:ops"), fine()), false),
            (settings(notify(false, "arn:aws:sns:us-east-1:1:ops"), fine()), true),
            (settings(notify(true, "ops"), fine()), true),
        ] {
            assert_eq!(settings.observability_mistake().is_some(), is_mistake, "{settings:?}");
        }
    }
}
