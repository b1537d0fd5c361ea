//! Writes outcomes to the record while steps go on, and keeps the lock's lease alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use infra_cdk::StackId;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::provider::{Class, CloudError};
use crate::record::{Header, Outcome, Store, StoreError};
use crate::time::Time;

/// Seconds until a lock that nobody renews ends: what a deployment waits after another one was killed.
pub(crate) const LEASE_S: u64 = 30;

/// Outcomes this close together are written together. Fewer writes leave the steps more of the network and the machine,
/// and one is more rarely under way when the last step ends, which would have to be waited for.
const BATCH: Duration = Duration::from_secs(1);

/// What the writer leaves: the header as it was last written, outcomes that the header's next writing takes along, and
/// whether all others are written.
pub(crate) type Ended = (Header, Vec<Outcome>, Result<(), StoreError>);

/// Writes in the background: a step never waits for its outcome to be recorded, because what was begun and is not
/// recorded can be located again.
pub(crate) struct Recorder {
    outcomes: mpsc::UnboundedSender<Outcome>,
    lease: Arc<Lease>,
    task: JoinHandle<Ended>,
}

/// What writer and steps share.
struct Lease {
    /// End of the lease as last written, in seconds since 1970.
    until: AtomicU64,
    /// Whether nothing can be recorded any more.
    is_lost: AtomicBool,
}

impl Recorder {
    pub(crate) fn start<S: Store, T: Time>(store: Arc<S>, time: Arc<T>, stack: StackId, header: Header) -> Self {
        let (outcomes, receiver) = mpsc::unbounded_channel();
        let lease = Arc::new(Lease {
            until: AtomicU64::new(header.lock.as_ref().map_or(0, |lock| lock.lease_until)),
            is_lost: AtomicBool::new(false),
        });
        let task = tokio::spawn(write(store, time, stack, header, receiver, lease.clone()));
        Self { outcomes, lease, task }
    }

    /// Records an outcome, soon.
    pub(crate) fn record(&self, outcome: Outcome) {
        // A closed channel means that the writer has failed; `finish` tells why.
        let _ = self.outcomes.send(outcome);
    }

    /// Returns whether nothing can be recorded any more: another deployment has taken over, or the store fails.
    pub(crate) fn is_lost(&self) -> bool {
        self.lease.is_lost.load(Ordering::Relaxed)
    }

    /// Checks before each call that the stack is still ours to change: a process that slept on, such as a laptop whose
    /// lid was closed, must not go on where another one has taken over.
    ///
    /// # Errors
    /// [`Class::Busy`] until a lease that ran out is renewed or lost; [`Class::Permanent`] once it is lost.
    pub(crate) fn check(&self, time: &impl Time) -> Result<(), CloudError> {
        let class = if self.is_lost() {
            Class::Permanent
        } else if time.now() >= self.lease.until.load(Ordering::Relaxed) {
            Class::Busy
        } else {
            return Ok(());
        };
        Err(CloudError {
            operation: "keeping the stack's lock".to_owned(),
            code: String::new(),
            message: "the lease has ended, and another deployment may have begun".to_owned(),
            request_id: None,
            class,
        })
    }

    /// Waits until nothing is being written any more.
    pub(crate) async fn finish(self) -> Ended {
        drop(self.outcomes);
        self.task
            .await
            .expect("the writer does not panic and is never cancelled")
    }
}

async fn write<S: Store, T: Time>(
    store: Arc<S>,
    time: Arc<T>,
    stack: StackId,
    mut header: Header,
    mut receiver: mpsc::UnboundedReceiver<Outcome>,
    lease: Arc<Lease>,
) -> Ended {
    let mut batch = Vec::new();
    let mut renew_at = time.now() + LEASE_S / 3;
    loop {
        let wait = Duration::from_secs(renew_at.saturating_sub(time.now()));
        tokio::select! {
            // In this order, so that a run can be replayed.
            biased;
            count = receiver.recv_many(&mut batch, usize::MAX) => {
                if count == 0 {
                    return (header, batch, Ok(()));
                }
                gather(&mut receiver, &mut batch, &*time).await;
            }
            () = time.sleep(wait) => {}
        }
        if receiver.is_closed() && receiver.is_empty() {
            return (header, batch, Ok(()));
        }
        let now = time.now();
        let renew = now >= renew_at;
        if renew && let Some(lock) = &mut header.lock {
            lock.lease_until = now + LEASE_S;
            renew_at = now + LEASE_S / 3;
        }
        if !renew && batch.is_empty() {
            continue;
        }
        let written = store
            .write(&stack, header.fence, &batch, renew.then_some(&header))
            .await;
        if let Err(error) = written {
            lease.is_lost.store(true, Ordering::Relaxed);
            return (header, batch, Err(error));
        }
        if let Some(lock) = &header.lock {
            lease.until.store(lock.lease_until, Ordering::Relaxed);
        }
        batch.clear();
    }
}

/// Takes what comes until a batch is whole, or nothing more comes.
async fn gather(receiver: &mut mpsc::UnboundedReceiver<Outcome>, batch: &mut Vec<Outcome>, time: &impl Time) {
    let mut whole = std::pin::pin!(time.sleep(BATCH));
    loop {
        tokio::select! {
            biased;
            count = receiver.recv_many(batch, usize::MAX) => {
                if count == 0 {
                    return;
                }
            }
            () = &mut whole => return,
        }
    }
}
