//! `cargo xtask diff`: the plan, without changing anything.

use infra_engine::Plan;

use crate::cli::Diff;
use crate::commands::cloudformation::Site;
use crate::commands::deploy::{self, Found};
use crate::commands::{App, DEFAULT_STAGE};
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
        let found = building.or(Box::pin(deploy::read(&target, None))).await?;
        let packages = building.finish().await?;
        match found {
            Found::Direct(_, engine, observed) => {
                let prepared = deploy::plan(&engine, &target, &packages, *observed)?;
                let outputs = Outputs::read(&target.graph, &prepared.record);
                Ok((prepared.plan, outputs))
            }
            Found::CloudFormation(session) => {
                let site = Site::new(app, &target, session, &progress);
                let plan = site.plan(&packages, options.revert_drift).await?;
                Ok((plan, site.known_outputs().await?))
            }
        }
    });
    let prepared = app.interrupt.or(planning).await;
    progress.finish();
    let (plan, outputs) = prepared?;
    show(app, &target, &plan, &outputs)?;
    Ok(if options.exit_code && !plan.is_empty() {
        Exit::Changes
    } else {
        Exit::Ok
    })
}

/// Prints a plan as data; for programs, with what the stage tells its users now.
///
/// # Errors
/// When stdout is closed.
pub(crate) fn show(app: &App, target: &Target, plan: &Plan, outputs: &Outputs) -> Result<(), Failure> {
    if app.wants_json() {
        let mut json = plan_view::json(plan);
        json["stack"] = target.graph.stack().to_string().into();
        json["outputs"] = outputs.json();
        ui::json(&json)
    } else {
        ui::say(format!("{}\n", deploy::heading(target)));
        ui::data(plan_view::human(plan))
    }
}
