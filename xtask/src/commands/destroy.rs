//! `cargo xtask destroy`: removes a stage; safe to repeat.

use infra_engine::{Action, Packages};

use crate::commands::{App, DEFAULT_STAGE, deploy};
use crate::failure::{Exit, Failure};
use crate::plan_view;
use crate::target::Target;
use crate::ui;

/// Runs it.
///
/// # Errors
/// Why nothing was deleted. Failed steps are shown, and end with [`Exit::Failed`].
pub(crate) async fn run(app: &App) -> Result<Exit, Failure> {
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let stack = target.graph.stack();
    let (engine, prepared) = app
        .interrupt
        .or(Box::pin(async {
            let engine = target.engine(&target.session().await?);
            let prepared = engine
                .plan_destroy(&target.graph)
                .await
                .map_err(|error| Failure::engine(format!("{stack} cannot be planned"), error, &target.scope()))?;
            Ok((engine, prepared))
        }))
        .await?;
    if prepared.plan.is_empty() {
        ui::say(format!("{stack} is not deployed."));
    } else {
        ui::say(format!(
            "{}\n\n{}\n",
            deploy::heading(&target),
            plan_view::human(&prepared.plan)
        ));
    }
    let deletes = prepared.plan.steps.iter().any(|step| step.action == Action::Delete);
    let losses = prepared.plan.data_losses().count();
    if losses > 0 {
        deploy::confirm_losses(app, &prepared).await?;
    } else if deletes && !app.global.yes {
        deploy::ask(app, &format!("Delete {stack}?")).await?;
    }
    let kept: Vec<_> = prepared
        .plan
        .steps
        .iter()
        .filter(|step| step.action == Action::Retain)
        .map(|step| step.physical_id.clone().unwrap_or_else(|| step.id.to_string()))
        .collect();
    let done = deploy::apply(app, &engine, &target, &Packages::new(), prepared).await?;
    if !kept.is_empty() && done.exit() == Exit::Ok {
        ui::say(format!(
            "Kept, because the stage's removal policy is `retain`: {}.",
            kept.join(", ")
        ));
    }
    if app.wants_json() {
        let mut json = done.json(&target);
        json["outputs"] = serde_json::Value::Null;
        ui::json(&json)?;
    }
    Ok(done.exit())
}
