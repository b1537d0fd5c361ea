//! `cargo xtask rollback`: moves aliases back to the versions from before the last deployment.

use infra_engine::{After, Packages, Plan};
use serde_json::{Value as Json, json};

use crate::commands::{App, DEFAULT_STAGE, deploy};
use crate::failure::{Exit, Failure};
use crate::plan_view;
use crate::target::Target;
use crate::ui;

/// Runs it. Nobody is asked: it is for those in a hurry, and the next deployment undoes it.
///
/// # Errors
/// When there is no way back. Failed steps are shown, and end with [`Exit::Failed`].
pub(crate) async fn run(app: &App) -> Result<Exit, Failure> {
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let stack = target.graph.stack();
    let (engine, prepared) =
        app.interrupt
            .or(Box::pin(async {
                let engine = target.engine(&target.session().await?);
                let prepared = engine.plan_rollback(&target.graph).await.map_err(|error| {
                    Failure::engine(format!("{stack} cannot be rolled back"), error, &target.scope())
                })?;
                Ok((engine, prepared))
            }))
            .await?;
    ui::say(format!(
        "{}\n\n{}\n",
        deploy::heading(&target),
        plan_view::human(&prepared.plan)
    ));
    let moves = moves(&prepared.plan);
    let done = deploy::apply(app, &engine, &target, &Packages::new(), prepared).await?;
    if done.exit() == Exit::Ok {
        ui::say(format!(
            "Rolled back is what functions run: code, settings, environment. Routes, tables and policies are as the last \
             deployment left them. Forward again: {}",
            target.scope().command("deploy")
        ));
    }
    if app.wants_json() {
        let mut json = done.json(&target);
        json["rolledBack"] = moves;
        ui::json(&json)?;
    }
    Ok(done.exit())
}

/// Returns which alias goes from which version to which.
fn moves(plan: &Plan) -> Json {
    let changes = plan
        .steps
        .iter()
        .flat_map(|step| step.changes.iter().map(move |change| (step, change)));
    changes
        .filter_map(|(step, change)| match &change.to {
            After::Value(to) => Some(json!({ "id": step.id, "from": change.from, "to": to })),
            After::Unknown | After::Cleared => None,
        })
        .collect()
}
