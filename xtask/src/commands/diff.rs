//! `cargo xtask diff`: the plan, without changing anything.

use infra_engine::Prepared;

use crate::cli::Diff;
use crate::commands::{App, DEFAULT_STAGE, deploy};
use crate::failure::{Exit, Failure};
use crate::outputs::Outputs;
use crate::package;
use crate::plan_view;
use crate::progress::Progress;
use crate::target::Target;
use crate::ui;

/// Runs it.
///
/// # Errors
/// What does not compile or could not be read.
pub(crate) async fn run(app: &App, options: &Diff) -> Result<Exit, Failure> {
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let names = package::binaries(&target.graph);
    let progress = Progress::start(false);
    // What is deployed is read while cargo compiles.
    let mut building = package::start(&app.workspace, &target.stage, &names, &progress);
    let planning = Box::pin(async {
        let (_, engine, observed) = building.or(Box::pin(deploy::read(&target, None))).await?;
        let packages = building.finish().await?;
        deploy::plan(&engine, &target, &packages, observed)
    });
    let prepared = app.interrupt.or(planning).await;
    progress.finish();
    let prepared = prepared?;
    show(app, &target, &prepared)?;
    Ok(if options.exit_code && !prepared.plan.is_empty() {
        Exit::Changes
    } else {
        Exit::Ok
    })
}

/// Prints a plan as data.
///
/// # Errors
/// When stdout is closed.
pub(crate) fn show(app: &App, target: &Target, prepared: &Prepared) -> Result<(), Failure> {
    if app.wants_json() {
        let mut json = plan_view::json(&prepared.plan);
        json["stack"] = target.graph.stack().to_string().into();
        json["outputs"] = Outputs::read(&target.graph, &prepared.record).json();
        ui::json(&json)
    } else {
        ui::say(format!("{}\n", deploy::heading(target)));
        ui::data(plan_view::human(&prepared.plan))
    }
}
