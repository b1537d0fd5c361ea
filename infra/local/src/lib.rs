//! The local cloud: AWS wire protocols, function processes and WebSockets on one loopback port.
//!
//! It knows none of this workspace's other crates, so that a misunderstanding of AWS shared by our deploy engine cannot
//! hide here. It is meant to be *stricter* than AWS's other emulators: what AWS refuses, it refuses, with AWS's codes.
//!
//! On request it is also as slow, busy and unreliable as AWS: [`Unkindness`].
//!
//! Read next: [`cloud`] for what a service may reach, [`wire`] for requests, answers and errors, [`front`] for how a
//! request finds its service.

mod apigatewayv2;
mod cloud;
mod cloudwatch;
mod dynamodb;
mod front;
mod gateway;
mod iam;
mod json;
mod lambda;
mod logs;
mod persist;
mod query;
mod route;
mod ssm;
mod sts;
mod unkind;
mod wildcard;
mod wire;

pub use front::{LocalCloud, Options, StartError};
pub use unkind::{REALISTIC, Unkindness, UnkindnessError};
