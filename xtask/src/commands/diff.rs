//! `cargo xtask diff`: the plan, without changing anything.

use infra_engine::Prepared;

use crate::cli::Diff;
use crate::commands::{App, DEFAULT_STAGE, deploy};
use crate::failure::{Exit, Failure};
use crate::outputs::Outputs;
use crate::package;
use crate::plan_view;
use crate::target::Target;
use crate::ui;

/// Runs it.
///
/// # Errors
/// What does not compile or could not be read.
pub(crate) async fn run(app: &App, options: &Diff) -> Result<Exit, Failure> {
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let names = package::binaries(&target.graph);
    let prepared = app
        .interrupt
        .or(Box::pin(async {
            let (packages, session) =
                tokio::try_join!(package::build(&app.workspace, &target.stage, &names), target.session())?;
            deploy::plan(&target.engine(&session), &target, &packages).await
        }))
        .await?;
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
