//! `cargo xtask bench`: what things cost, in calls, in time and in CPU.

mod chat;
mod functions;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use infra_cdk::{Graph, Mistakes};
use infra_local::{LocalCloud, Options};
use serde_json::{Value as Json, json};

use crate::bench::case::{self, Case, Round};
use crate::bench::chaos::{Arena, Undisturbed, Verdict};
use crate::bench::measure::{self, Subject};
use crate::bench::proxy::Proxy;
use crate::bench::report::Figures;
use crate::cli::{Bench, BenchCommand, BenchDeploy, BenchKill};
use crate::commands::{App, DEFAULT_STAGE};
use crate::failure::{Exit, Failure};
use crate::local_cloud::ACCOUNT;
use crate::target::load_stage;
use crate::ui;

/// Near the size of a packed function of this project, in bytes.
const PACKAGE_SIZE: usize = 1_500_000;

/// Runs it.
///
/// # Errors
/// What could not be measured.
pub(crate) async fn run(app: &App, options: &Bench) -> Result<Exit, Failure> {
    match &options.command {
        BenchCommand::Deploy(options) => Box::pin(app.interrupt.or(deploy(app, options))).await,
        BenchCommand::Chat(options) => Box::pin(app.interrupt.or(chat::run(app, options))).await,
        BenchCommand::Functions => functions::run(app).await,
        BenchCommand::Kill(options) => Box::pin(app.interrupt.or(kill(app, options))).await,
    }
}

async fn deploy(app: &App, options: &BenchDeploy) -> Result<Exit, Failure> {
    let name = app.global.stage.as_deref().unwrap_or(DEFAULT_STAGE);
    let stage = load_stage(&app.workspace.root, name, app.global.region.as_deref())?;
    let declared = [infra::broadcast(&stage), infra::chat(&stage)];
    let mut all = Vec::new();
    for graph in declared {
        all.push(Subject::of(self::declared(graph)?, PACKAGE_SIZE)?);
    }
    let mut figures = Vec::new();
    for subject in all {
        let mut runs = Vec::new();
        for _ in 0..options.runs {
            runs.push(once(&stage.region, &subject, options).await?);
        }
        let measured = Figures {
            stack: subject.graph.stack().app.clone(),
            latency: options.latency,
            runs,
            timeline: options.timeline,
        };
        if !app.wants_json() {
            ui::data(measured.human())?;
        }
        figures.push(measured.json());
    }
    if app.wants_json() {
        ui::json(&json!({ "stacks": figures }))?;
    }
    Ok(Exit::Ok)
}

async fn kill(app: &App, options: &BenchKill) -> Result<Exit, Failure> {
    let began = Instant::now();
    let stage = load_stage(&app.workspace.root, DEFAULT_STAGE, None)?;
    let graph = declared(infra::chat(&stage))?;
    let folder = app.workspace.scratch.join("kill");
    let arena = Arena::make(&folder, &graph, options.endpoint.clone())?;
    let jobs = match options.endpoint {
        // One account for all.
        Some(_) => 1,
        // While one stack waits to repeat a call, another one has the processor.
        None => 2 * std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
    };
    let undisturbed = arena.undisturbed().await?;
    let mut cases = options.only.clone();
    if cases.is_empty() {
        let of = |(operation, left): (&_, &Undisturbed)| case::cases(*operation, left.calls, options.all);
        cases = undisturbed.iter().flat_map(of).collect();
    }
    for (operation, undisturbed) in &undisturbed {
        let attacks = cases.iter().filter(|case| case.operation == *operation).count();
        ui::say(format!("{operation}: {} calls, {attacks} attacks", undisturbed.calls));
    }
    let tally = Mutex::new(Tally::new(cases.len()));
    let tell = |attacks: &[Case], verdict| {
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.count(attacks, verdict);
    };
    arena.attack(Round::of(cases), &undisturbed, jobs, tell).await?;
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mutating = arena.lose_record().await?;
    for operation in &mutating {
        ui::say(format!(
            "a lost record: {operation} changes what should only be adopted"
        ));
    }
    let is_well = tally.exceptions.is_empty() && mutating.is_empty();
    if app.wants_json() {
        ui::json(&json!({
            "healed": tally.healed,
            "notReached": tally.not_reached,
            "exceptions": tally.exceptions,
            "mutatingAfterLostRecord": mutating,
            "seconds": began.elapsed().as_secs(),
        }))?;
    } else {
        ui::data(format!(
            "{} attacks healed, {} exceptions ({} ended before their call); {} mutating calls after a lost record; {}",
            tally.healed,
            tally.exceptions.len(),
            tally.not_reached,
            mutating.len(),
            ui::duration(began.elapsed())
        ))?;
    }
    Ok(if is_well { Exit::Ok } else { Exit::Failed })
}

/// How often the kill loop says how far it is.
const TALLY_INTERVAL: Duration = Duration::from_secs(10);

/// Verdicts so far; says how far it is now and then.
struct Tally {
    attacks: usize,
    healed: usize,
    not_reached: usize,
    exceptions: Vec<Json>,
    began: Instant,
    said: Instant,
}

impl Tally {
    fn new(attacks: usize) -> Self {
        Self {
            attacks,
            healed: 0,
            not_reached: 0,
            exceptions: Vec::new(),
            began: Instant::now(),
            said: Instant::now(),
        }
    }

    /// Counts the last of these attacks, which were made on one stack one after the other.
    fn count(&mut self, attacks: &[Case], verdict: Verdict) {
        match verdict {
            Verdict::Healed => self.healed += 1,
            Verdict::NotReached => self.not_reached += 1,
            Verdict::Exception(what) => {
                let attacks: Vec<_> = attacks.iter().map(Case::to_string).collect();
                ui::say(format!("{what}\n  repeat it with --only {}", attacks.join(" --only ")));
                self.exceptions.push(json!({"attacks": attacks, "what": what}));
            }
        }
        if self.said.elapsed() >= TALLY_INTERVAL {
            self.said = Instant::now();
            ui::say(format!(
                "{} of {} attacks, {} exceptions, {}",
                self.healed + self.not_reached + self.exceptions.len(),
                self.attacks,
                self.exceptions.len(),
                ui::duration(self.began.elapsed())
            ));
        }
    }
}

fn declared(graph: Result<Graph, Mistakes>) -> Result<Graph, Failure> {
    graph.map_err(|mistakes| Failure::usage(format!("the stack cannot be deployed:\n{mistakes}")))
}

async fn once(
    region: &str,
    subject: &Subject,
    options: &BenchDeploy,
) -> Result<std::collections::BTreeMap<measure::Phase, measure::Measured>, Failure> {
    let cloud = match &options.endpoint {
        Some(_) => None,
        None => Some(
            LocalCloud::start(Options {
                port: 0,
                region: region.to_owned(),
                account: ACCOUNT.to_owned(),
                persist: None,
                unkindness: options.unkind.settings.clone(),
            })
            .await
            .map_err(|error| Failure::new("the local cloud did not start").because(error))?,
        ),
    };
    let upstream = cloud.as_ref().map(|cloud| cloud.endpoint().to_owned());
    let upstream = upstream.or_else(|| options.endpoint.clone()).unwrap_or_default();
    let proxy = Proxy::start(&upstream)
        .await
        .map_err(|error| Failure::new("the proxy did not start").because(error))?;
    proxy.set_latency(options.latency);
    let measured = Box::pin(measure::run(&proxy, region, subject, &options.unkind.settings)).await;
    if let Some(cloud) = cloud {
        cloud.stop().await;
    }
    measured
}
