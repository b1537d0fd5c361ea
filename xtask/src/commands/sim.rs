//! `cargo xtask sim`: many lives of a simulated account in which everything goes wrong. Makes no call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use infra_engine::sim::seed::{Life, live};

use crate::cli::Sim;
use crate::commands::App;
use crate::failure::{Exit, Failure};
use crate::ui::{self, GREEN, RED, paint};

/// How often progress is told, in seeds.
const PROGRESS: u64 = 100;

/// Runs it.
///
/// # Errors
/// When stdout is closed. Broken seeds are shown and end with [`Exit::Failed`].
pub(crate) fn run(app: &App, options: Sim) -> Result<Exit, Failure> {
    match options.seed {
        Some(seed) => one(app, seed),
        None => many(app, options.seeds),
    }
}

/// Lives one life and tells everything that happens in it.
fn one(app: &App, seed: u64) -> Result<Exit, Failure> {
    // A simulated account has a runtime of its own, which must not be driven from within another.
    let life = thread::scope(|scope| scope.spawn(|| live(seed, true)).join());
    let Life { trace, broken, .. } = life.map_err(|_| Failure::new(format!("seed {seed} panicked")))?;
    if app.wants_json() {
        ui::json(&serde_json::json!({ "seed": seed, "trace": trace, "broken": broken }))?;
    } else {
        ui::data(trace.join("\n"))?;
    }
    Ok(match broken {
        Some(broken) => {
            ui::say(format!("{} seed {seed}: {broken}", paint(RED, "✗")));
            Exit::Failed
        }
        None => {
            ui::say(paint(GREEN, format!("Seed {seed} ends well.")));
            Exit::Ok
        }
    })
}

/// Lives the first `seeds` lives on all processors.
fn many(app: &App, seeds: u64) -> Result<Exit, Failure> {
    let started = Instant::now();
    let next = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (sender, lives) = mpsc::channel();
    let broken = thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while !app.interrupt.is_pressed()
                    && let seed = next.fetch_add(1, Ordering::Relaxed)
                    && seed < seeds
                    && sender.send(live(seed, false)).is_ok()
                {}
            });
        }
        drop(sender);
        let mut broken = Vec::new();
        for (count, Life { seed, broken: why, .. }) in (1..).zip(lives) {
            if let Some(why) = why {
                ui::say(format!("{} cargo xtask sim --seed {seed}\n  {why}", paint(RED, "✗")));
                broken.push(seed);
            }
            if count % PROGRESS == 0 || count == seeds {
                let seconds = started.elapsed().as_secs_f64();
                ui::say(format!(
                    "{count} of {seeds} seeds, {} broken, {seconds:.1} s",
                    broken.len()
                ));
            }
        }
        broken
    });
    if app.wants_json() {
        ui::json(&serde_json::json!({ "seeds": seeds, "broken": broken }))?;
    }
    Ok(if app.interrupt.is_pressed() {
        Exit::Interrupted
    } else if broken.is_empty() {
        Exit::Ok
    } else {
        Exit::Failed
    })
}
