//! `cargo xtask bench`: what a deployment costs, in calls and in time.

use infra_cdk::Graph;
use infra_engine::Packages;
use infra_local::{LocalCloud, Options};
use serde_json::json;

use crate::bench::measure::{self, Subject};
use crate::bench::proxy::Proxy;
use crate::bench::report::Figures;
use crate::cli::{Bench, BenchCommand, BenchDeploy};
use crate::commands::{App, DEFAULT_STAGE};
use crate::failure::{Exit, Failure};
use crate::local_cloud::ACCOUNT;
use crate::package;
use crate::target::load_stage;
use crate::ui;

/// Runs it.
///
/// # Errors
/// What could not be measured.
pub(crate) async fn run(app: &App, options: &Bench) -> Result<Exit, Failure> {
    match &options.command {
        BenchCommand::Deploy(options) => Box::pin(app.interrupt.or(deploy(app, options))).await,
    }
}

async fn deploy(app: &App, options: &BenchDeploy) -> Result<Exit, Failure> {
    let name = app.global.stage.as_deref().unwrap_or(DEFAULT_STAGE);
    let stage = load_stage(&app.workspace.root, name, app.global.region.as_deref())?;
    let declared = [infra::broadcast(&stage), infra::chat(&stage)];
    let mut all = Vec::new();
    for graph in declared {
        let graph = graph.map_err(|mistakes| Failure::usage(format!("the stack cannot be deployed:\n{mistakes}")))?;
        all.push(subject(graph)?);
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
    let measured = Box::pin(measure::run(&proxy, region, subject)).await;
    if let Some(cloud) = cloud {
        cloud.stop().await;
    }
    measured
}

/// Returns a stack with packages whose size is that of real ones. They are never run.
fn subject(graph: Graph) -> Result<Subject, Failure> {
    let packages = |version: u8| -> Result<Packages, Failure> {
        let names = package::binaries(&graph).into_iter().enumerate();
        names
            .map(|(number, name)| {
                let version = if number == 0 { version } else { 0 };
                let package = package::stand_in(&name, version)?;
                Ok((name, package))
            })
            .collect()
    };
    Ok(Subject {
        packages: packages(0)?,
        changed: packages(1)?,
        graph,
    })
}
