//! Constructs, grants, references and the resource graph.
//!
//! Pure: no async, no I/O, no AWS SDK. A [`Stack`] collects constructs; [`Stack::build`] reports all mistakes together
//! or returns a [`Graph`] in CloudFormation's own vocabulary. Two engines read the graph: the direct one resolves the
//! references and calls AWS; [`synth()`] prints them as a template.
//!
//! Read next: [`Stack`] for what a user writes, [`Graph`] for what comes out, [`Kind`] for what each resource type is.

mod apigatewayv2;
mod cloudwatch;
mod dynamodb;
mod function_url;
mod graph;
mod iam;
mod id;
mod kind;
mod lambda;
mod resource;
mod schema;
mod secret;
mod stack;
mod stage;
mod synth;
mod value;

pub use apigatewayv2::WebSocketApi;
pub use cloudwatch::{Alarm, AlarmRef, Dashboard, Metric};
pub use dynamodb::{Table, TableRef};
pub use function_url::{FunctionUrl, FunctionUrlAuthType};
pub use graph::{Graph, Mistake, Mistakes};
pub use iam::Statement;
pub use id::{LogicalId, LogicalIdError, StackId, physical_name};
pub use kind::Kind;
pub use lambda::{ALIAS, Function};
pub use resource::{RemovalPolicy, Resource};
pub use schema::Schema;
pub use secret::Secret;
pub use stack::{APP_TAG, ID_TAG, STAGE_TAG, Stack};
pub use stage::{
    Architecture, ArchitectureSetting, EngineName, FunctionSettings, Observability, RoomSettings, Settings, Stage,
    Throttling,
};
pub use synth::{
    ASSET_BUCKET, Delivery, Difference, Entry, SynthError, Template, asset_key, code_digests, differences,
    outside_of_template, retained, retained_names, synth, types,
};
pub use value::{Context, Unknown, Value};
