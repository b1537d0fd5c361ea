//! `cargo xtask rollback`: moves aliases back to the versions from before the last deployment.

use infra_engine::{After, EngineError, Packages, Packaging, Plan};
use serde_json::{Value as Json, json};

use crate::commands::cloudformation::Site;
use crate::commands::{App, DEFAULT_STAGE, deploy, outputs};
use crate::failure::{Exit, Failure};
use crate::progress::Progress;
use crate::target::Target;
use crate::ui;

/// Runs it. Nobody is asked: it is for those in a hurry, and the next deployment undoes it.
///
/// # Errors
/// When there is no way back. Failed steps are shown, and end with [`Exit::Failed`].
pub(crate) async fn run(app: &App) -> Result<Exit, Failure> {
    let progress = Progress::start(app.wants_json());
    deploy::concluded(&progress, Box::pin(rollback(app, &progress)).await)
}

async fn rollback(app: &App, progress: &Progress) -> Result<Exit, Failure> {
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let stack = target.graph.stack();
    let scope = target.scope().with_again("rollback");
    progress.begun("rollback", &target.graph, &target.stage.region);
    let reading = app.interrupt.or(Box::pin(async {
        let (session, engine) = target.open().await?;
        match engine.plan_rollback(&target.graph).await {
            Ok(prepared) => Ok((session, engine, Some(prepared))),
            Err(EngineError::OtherEngine { .. }) => Ok((session, engine, None)),
            Err(EngineError::NothingBefore) if matches!(engine.record(&target.graph).await, Ok(None)) => {
                Err(outputs::not_deployed(&target))
            }
            Err(error) => Err(Failure::engine(format!("{stack} cannot be rolled back"), error, &scope)),
        }
    }));
    let (session, engine, prepared) = reading
        .await
        .map_err(|failure| failure.when_interrupted("interrupted; nothing was changed"))?;
    let Some(prepared) = prepared else {
        return Box::pin(Site::new(app, &target, session, progress).roll_back()).await;
    };
    progress.planned(&prepared.plan);
    deploy::show(&target, &prepared.plan);
    let moves = moves(&prepared.plan);
    let run = deploy::Run {
        app,
        engine: &engine,
        target: &target,
        scope,
        progress,
    };
    let done = Box::pin(run.apply(&Packaging::from(Packages::new()), prepared)).await?;
    if done.exit() == Exit::Ok {
        ui::say(format!(
            "Rolled back is what functions run: code, settings, environment. Routes, tables and policies are as the last \
             deployment left them. Forward again: {}",
            target.scope().command("deploy")
        ));
    }
    let mut result = done.json(&target, &session);
    result["rolledBack"] = moves;
    progress.result(result)?;
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
