//! What is counted: handlers note it here, and [`crate::runtime`] hands the sum of each invocation to an adapter.
//!
//! Like a log, this is there for whoever wants to say something, and changes nothing; use cases know nothing of it, for
//! their reports say all that is counted. Lambda sends a process one event at a time, on one thread, so that whatever is
//! noted belongs to the event that is being handled.

use std::cell::RefCell;

use functions_domain::BroadcastReport;

/// What one invocation has done. Nothing is counted that did not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Clients that were let in.
    pub connections: u64,
    /// Frames from clients.
    pub messages_in: u64,
    /// Frames with messages that API Gateway took for others.
    pub deliveries: u64,
    /// Receivers that had left; their rows are removed.
    pub gone_peers: u64,
    /// Receivers that API Gateway asked to be left alone for now, to the last attempt.
    pub slow_peers: u64,
    /// Milliseconds from when a message was accepted until all of this invocation's receivers were served.
    pub fan_out_ms: Option<u64>,
}

thread_local! {
    static COUNTS: RefCell<Counts> = const { RefCell::new(Counts {
        connections: 0, messages_in: 0, deliveries: 0, gone_peers: 0, slow_peers: 0, fan_out_ms: None,
    }) };
}

/// Returns what was noted since this was last called.
pub fn take() -> Counts {
    COUNTS.take()
}

pub(crate) fn connection() {
    change(|counts| counts.connections += 1);
}

pub(crate) fn message_in() {
    change(|counts| counts.messages_in += 1);
}

/// Notes what became of a message that was accepted `fan_out_ms` ago.
pub(crate) fn fan_out(report: &BroadcastReport, fan_out_ms: u64) {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    change(|counts| {
        counts.deliveries += number(report.delivered);
        counts.gone_peers += number(report.gone);
        counts.slow_peers += number(report.slow);
        counts.fan_out_ms = Some(fan_out_ms);
    });
}

fn change(change: impl FnOnce(&mut Counts)) {
    COUNTS.with_borrow_mut(change);
}
