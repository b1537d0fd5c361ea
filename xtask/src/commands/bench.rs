//! `cargo xtask bench`: what things cost, in calls, in time and in CPU.

mod functions;

use futures_util::stream::StreamExt;
use infra_cdk::{Graph, Mistakes};
use infra_local::{LocalCloud, Options};
use serde_json::json;

use crate::bench::chaos::{self, Arena, Operation, Verdict};
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
    let stage = load_stage(&app.workspace.root, DEFAULT_STAGE, None)?;
    let graph = declared(infra::chat(&stage))?;
    let folder = app.workspace.scratch.join("kill");
    let arena = Arena::make(&folder, &graph, options.endpoint.clone())?;
    // Another cloud is one account for all.
    let jobs = match options.endpoint {
        Some(_) => 1,
        None => std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
    };
    let mut cases = Vec::new();
    for operation in Operation::ALL {
        let undisturbed = arena.undisturbed(operation).await?;
        let chosen = if options.only.is_empty() {
            chaos::cases(operation, undisturbed.calls, options.all)
        } else {
            let only = options.only.iter().copied();
            only.filter(|case| case.is_of(operation)).collect()
        };
        ui::say(format!(
            "{operation:?}: {} calls, {} attacks",
            undisturbed.calls,
            chosen.len()
        ));
        cases.extend(chosen.into_iter().map(|case| (case, undisturbed.clone())));
    }
    let (mut healed, mut not_reached, mut exceptions) = (0, 0, Vec::new());
    let mut verdicts = std::pin::pin!(chaos::run(&arena, cases, jobs));
    while let Some((case, verdict)) = verdicts.next().await {
        match verdict? {
            Verdict::Healed => healed += 1,
            Verdict::NotReached => not_reached += 1,
            Verdict::Exception(what) => {
                ui::say(format!("{case}: {what}"));
                exceptions.push(json!({"case": case.to_string(), "what": what}));
            }
        }
    }
    let mutating = arena.lose_record().await?;
    for operation in &mutating {
        ui::say(format!(
            "a lost record: {operation} changes what should only be adopted"
        ));
    }
    let is_well = exceptions.is_empty() && mutating.is_empty();
    if app.wants_json() {
        ui::json(&json!({
            "healed": healed,
            "notReached": not_reached,
            "exceptions": exceptions,
            "mutatingAfterLostRecord": mutating,
        }))?;
    } else {
        ui::data(format!(
            "{healed} attacks healed, {} exceptions ({not_reached} ended before their call); \
             {} mutating calls after a lost record",
            exceptions.len(),
            mutating.len()
        ))?;
    }
    Ok(if is_well { Exit::Ok } else { Exit::Failed })
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
    let waits = measure::Waits {
        latency: options.latency,
        unkindness: options.unkind.settings.clone(),
    };
    let measured = Box::pin(measure::run(&proxy, region, subject, &waits)).await;
    if let Some(cloud) = cloud {
        cloud.stop().await;
    }
    measured
}
