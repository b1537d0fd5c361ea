//! What an observer of a deployment is told.

use infra_cdk::{Kind, LogicalId};

use crate::plan::Action;
use crate::provider::CloudError;

/// Something that happened while a plan was applied.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another deployment holds the lock; this one waits for it.
    WaitingForLock {
        /// Who holds it.
        owner: String,
        /// Seconds since it began.
        since_s: u64,
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
        /// Why.
        error: CloudError,
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
        error: CloudError,
    },
    /// A step was not begun, or not brought to an end: one that it needs failed, its package was not made, or the
    /// deployment was interrupted.
    Skipped {
        /// The resource.
        id: LogicalId,
        /// Its type.
        kind: Kind,
        /// What would have been done.
        action: Action,
        /// The resource whose failure it is due to.
        needs: Option<LogicalId>,
    },
}
