//! Providers: what the engine's verbs mean at AWS.
//!
//! The only crate with clients of AWS's control planes. [`Session`] connects; [`AwsCloud`] reads, makes and deletes
//! resources; [`StateTable`] keeps the record in DynamoDB; [`CloudFormation`] deploys a template instead, with packages in an
//! [`AssetBucket`]; [`Logs`] reads log lines. Nothing here decides what to do,
//! almost nothing repeats a call ([`repeat`]), and nothing prints.
//!
//! Read next: [`AwsCloud`], then the module of a service.

mod account;
mod alias;
mod apigatewayv2;
mod ask;
mod assets;
mod census;
mod cloud;
mod cloudformation;
mod cloudwatch;
mod credentials;
mod dynamodb;
mod error;
mod function;
mod health;
mod iam;
mod invoke;
mod logs;
mod permission;
mod policy;
mod probe;
mod repeat;
mod session;
mod shape;
mod ssm;
mod state;
#[cfg(test)]
mod stub;
mod tail;
mod throttle;
mod turns;
mod url;

pub use ask::{Allowed, Concurrency, allowed, api_gateway_log_role, concurrency};
pub use assets::{Asset, AssetBucket};
pub use cloud::AwsCloud;
pub use cloudformation::{
    ChangeSet, CloudFormation, Ended, Follow as FollowStack, Happening, Imported, Names, Options as StackOptions,
    Proposal, Proposed, Purpose, StackInfo, StackResource, Standing, Template as TemplateSource, removal,
};
pub use health::{AlarmState, Figures, Rows, alarms, count, figures};
pub use invoke::{Invocation, invoke};
pub use policy::{DeployerPolicy, deployer_policy};
pub use session::{Connection, Session, SessionError, SessionOptions};
pub use ssm::{SecretText, parameter, replace_parameter};
pub use state::{STATE_TABLE, StateTable};
pub use tail::{Follow, LogEvent, Logs};
