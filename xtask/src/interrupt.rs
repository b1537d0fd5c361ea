//! Ctrl-C: the first one ends things in order, the second one at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::failure::{Exit, Failure};
use crate::ui;

/// Signals this close together are one press: a terminal signals the whole process group, and wrappers such as `timeout`
/// pass theirs on.
const ONE_PRESS: Duration = Duration::from_millis(250);

/// Whether the user wants to stop.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    flag: Arc<AtomicBool>,
    changed: watch::Receiver<bool>,
}

impl Interrupt {
    /// Listens to SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let refused = |error| Failure::new("cannot listen to Ctrl-C").because(error);
        let mut interrupts = signal(SignalKind::interrupt()).map_err(refused)?;
        let mut terminations = signal(SignalKind::terminate()).map_err(refused)?;
        let flag = Arc::new(AtomicBool::new(false));
        let (sender, changed) = watch::channel(false);
        let shared = Arc::clone(&flag);
        tokio::spawn(async move {
            let mut first: Option<Instant> = None;
            loop {
                tokio::select! {
                    _ = interrupts.recv() => {}
                    _ = terminations.recv() => {}
                }
                if first.get_or_insert_with(Instant::now).elapsed() > ONE_PRESS {
                    ui::stop_drawing();
                    ui::say(
                        "\nleft at once; run the same command again: it finds what was begun, after 30 s at most, when the \
                         lock of this process has ended",
                    );
                    std::process::exit(Exit::Interrupted as i32);
                }
                shared.store(true, Ordering::SeqCst);
                // Nobody waits any more: then the flag is enough.
                let _ = sender.send(true);
            }
        });
        Ok(Self { flag, changed })
    }

    /// Returns the flag for those who look at it between steps.
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.flag
    }

    /// Returns whether Ctrl-C was pressed.
    pub(crate) fn is_pressed(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }

    /// Returns when Ctrl-C was pressed.
    pub(crate) async fn wait(&self) {
        let mut changed = self.changed.clone();
        // The sender lives as long as the runtime.
        let _ = changed.wait_for(|pressed| *pressed).await;
    }

    /// Runs `work`, dropping it when Ctrl-C is pressed.
    ///
    /// # Errors
    /// Those of `work`, or [`Exit::Interrupted`].
    pub(crate) async fn or<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            outcome = work => outcome,
            () = self.wait() => Err(Failure::interrupted()),
        }
    }
}
