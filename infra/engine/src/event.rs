//! What an observer of a deployment is told.

use infra_cdk::{Kind, LogicalId};
use serde::Serialize;

use crate::plan::Action;

/// Something that happened while a plan was applied.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// Another deployment holds the lock; this one waits for it.
    WaitingForLock {
        /// Who holds it.
        owner: String,
        /// Seconds until its lease ends, unless it is renewed.
        seconds_left: u64,
    },
    /// A step began.
    Started {
        /// The resource.
        id: LogicalId,
        /// Its type.
        kind: Kind,
        /// What is done.
        action: Action,
    },
    /// A step waits and tries again.
    Retrying {
        /// The resource.
        id: LogicalId,
        /// Why, in AWS's words.
        reason: String,
        /// Milliseconds until the next attempt.
        delay_ms: u64,
    },
    /// A step ended well.
    Finished {
        /// The resource.
        id: LogicalId,
        /// Its type.
        kind: Kind,
        /// What was done.
        action: Action,
        /// Milliseconds that it took.
        elapsed_ms: u64,
    },
    /// A step failed for good.
    Failed {
        /// The resource.
        id: LogicalId,
        /// Its type.
        kind: Kind,
        /// What was tried.
        action: Action,
        /// Why.
        error: String,
    },
    /// A step was not begun, because one that it needs failed or the deployment was interrupted.
    Skipped {
        /// The resource.
        id: LogicalId,
        /// Its type.
        kind: Kind,
        /// What would have been done.
        action: Action,
    },
}
