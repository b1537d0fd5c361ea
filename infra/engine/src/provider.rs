//! The engine's view of a cloud: four verbs over all resource types, and errors sorted by what helps.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use infra_cdk::{Context, Kind, LogicalId, StackId};
use serde_json::{Map, Value as Json};

/// Properties in CloudFormation's names and shapes, all references resolved.
pub type Properties = Map<String, Json>;

/// A cloud that resources live in. Every verb is safe to repeat.
pub trait Cloud: Send + Sync + 'static {
    /// Returns where resources are made.
    fn context(&self) -> &Context;

    /// Returns what exists of the given targets: those with a physical id are read, the others are located by name,
    /// tag, marker or natural key. What does not exist is absent from the answer.
    ///
    /// Reads as few pages as possible: the children of one API by one list call per type.
    fn observe(&self, targets: &[Target])
    -> impl Future<Output = Result<BTreeMap<LogicalId, Live>, CloudError>> + Send;

    /// Makes the resource be as desired, creating it when `live` is `None`, and returns it as it is then.
    ///
    /// Only one attempt: the caller repeats by the error's [`Class`]. A repeated create finds what an earlier attempt
    /// made and continues with it.
    fn reconcile(
        &self,
        desired: &Desired,
        live: Option<&Live>,
    ) -> impl Future<Output = Result<Live, CloudError>> + Send;

    /// Deletes the resource; one that is gone already is success.
    fn delete(&self, target: &Target) -> impl Future<Output = Result<(), CloudError>> + Send;
}

/// A resource to read, locate or delete.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The stack that it belongs to.
    pub stack: StackId,
    /// Its name in the stack.
    pub id: LogicalId,
    /// Its type.
    pub kind: Kind,
    /// What AWS knows it by, as in [`Live::physical_id`]; `None` when it is to be located.
    pub physical_id: Option<String>,
    /// Properties as recorded or desired; those that could not be resolved yet are missing.
    pub properties: Properties,
}

/// A resource as it shall be.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// The stack that it belongs to.
    pub stack: StackId,
    /// Its name in the stack.
    pub id: LogicalId,
    /// Its type.
    pub kind: Kind,
    /// Its properties.
    pub properties: Properties,
    /// Paths of what is set and not declared, such as `Environment` or `Tags.owner`: to be cleared explicitly, since
    /// AWS's updates leave alone what they do not mention. What has a default that can be sent is among the properties
    /// instead.
    pub cleared: Vec<String>,
    /// The zip file of a function; `None` for other types, and when its code is up to date.
    pub package: Option<Arc<[u8]>>,
}

/// A resource as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// What AWS knows it by: a name, or the id that AWS assigned. Unique together with kind and parent.
    pub physical_id: String,
    /// Properties in the shapes of [`Desired::properties`], at least those that the stack can declare. Defaults that the
    /// service filled in may be present. Never a secret's value.
    pub properties: Properties,
    /// Attributes by CloudFormation's names, see [`Kind::attributes`].
    pub attributes: BTreeMap<String, String>,
    /// Whose it is; only looked into when the resource is not in the record.
    pub ownership: Ownership,
}

/// Whose a resource is, judged by tags, markers or its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It carries this stack's mark, or lies inside something that does.
    Ours,
    /// It carries no mark of this stack; the text says what was found instead.
    Foreign(String),
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct CloudError {
    /// Service and operation, for example `lambda:CreateFunction`.
    pub operation: String,
    /// AWS's error code, for example `ResourceConflictException`; empty when no answer came.
    pub code: String,
    /// AWS's message, or what went wrong on the way.
    pub message: String,
    /// AWS's request id, where an answer came.
    pub request_id: Option<String>,
    /// What helps.
    pub class: Class,
}

impl fmt::Display for CloudError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} failed: ", self.operation)?;
        if !self.code.is_empty() {
            write!(formatter, "{}: ", self.code)?;
        }
        formatter.write_str(&self.message)?;
        if let Some(request_id) = &self.request_id {
            write!(formatter, " (request id {request_id})")?;
        }
        Ok(())
    }
}

/// What helps against an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Too many calls: wait longer each time.
    Throttled,
    /// Another change is in progress: wait until it ends.
    Busy,
    /// Something made a moment ago is not visible everywhere yet, such as a role: wait.
    Propagating,
    /// The connection broke, or AWS answered 5xx: the call may or may not have happened; repeat.
    Transient,
    /// Nobody answers at the endpoint.
    Unreachable,
    /// No, wrong or expired credentials.
    Unauthenticated,
    /// The credentials do not allow the call.
    Denied,
    /// A quota is used up.
    Quota,
    /// Repeating the same call gives the same answer.
    Permanent,
}

impl Class {
    /// Returns whether repeating the call later may succeed.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Throttled | Self::Busy | Self::Propagating | Self::Transient => true,
            Self::Unreachable | Self::Unauthenticated | Self::Denied | Self::Quota | Self::Permanent => false,
        }
    }
}
