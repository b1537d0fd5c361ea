//! `cargo xtask destroy`: removes a stage; safe to repeat.

use infra_cdk::Kind;
use infra_engine::{Action, EngineError, Packages, Packaging, Plan, Step};

use crate::cli::Destroy;
use crate::commands::cloudformation::Site;
use crate::commands::{App, DEFAULT_STAGE, deploy};
use crate::failure::{Exit, Failure};
use crate::progress::Progress;
use crate::target::Target;
use crate::ui;

/// Runs it.
///
/// # Errors
/// Why nothing was deleted. Failed steps are shown, and end with [`Exit::Failed`].
pub(crate) async fn run(app: &App, options: &Destroy) -> Result<Exit, Failure> {
    let progress = Progress::start(app.wants_json());
    deploy::concluded(&progress, Box::pin(destroy(app, options, &progress)).await)
}

async fn destroy(app: &App, options: &Destroy, progress: &Progress) -> Result<Exit, Failure> {
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let stack = target.graph.stack();
    let scope = target.scope().with_again("destroy");
    progress.begun("destroy", &target.graph, &target.stage.region);
    let reading = app.interrupt.or(Box::pin(async {
        let (session, mut engine) = target.open().await?;
        if options.no_wait {
            engine = engine.without_waiting();
        }
        match engine.plan_destroy(&target.graph).await {
            Ok(prepared) => Ok((session, engine, Some(prepared))),
            Err(EngineError::OtherEngine { .. }) => Ok((session, engine, None)),
            Err(error) => Err(Failure::engine(format!("{stack} cannot be planned"), error, &scope)),
        }
    }));
    let (session, engine, prepared) = reading
        .await
        .map_err(|failure| failure.when_interrupted("interrupted; nothing was deleted"))?;
    let Some(prepared) = prepared else {
        return Box::pin(Site::new(app, &target, session, progress).destroy(options)).await;
    };
    progress.planned(&prepared.plan);
    if prepared.plan.is_empty() {
        ui::say(format!("{stack} is not deployed."));
    } else {
        deploy::show(&target, &prepared.plan);
    }
    let deletes = prepared.plan.steps.iter().any(|step| step.action == Action::Delete);
    let losses = prepared.plan.data_losses().count();
    if losses > 0 {
        deploy::confirm_losses(app, &prepared.plan).await?;
    } else if deletes && !app.global.yes {
        deploy::ask(app, &format!("Delete {stack}?")).await?;
    }
    let kept = kept(&prepared.plan);
    let run = deploy::Run {
        app,
        engine: &engine,
        target: &target,
        scope,
        progress,
    };
    let done = Box::pin(run.apply(&Packaging::from(Packages::new()), prepared)).await?;
    if done.exit() == Exit::Ok {
        say_kept(&kept);
    }
    let mut result = done.json(&target, &session);
    result["outputs"] = serde_json::Value::Null;
    progress.result(result)?;
    Ok(done.exit())
}

/// What a removal keeps.
pub(crate) struct Kept {
    /// Names of what the stage's removal policy keeps.
    names: Vec<String>,
    /// Whether the role stays by which all APIs of the account write logs.
    log_role: bool,
}

/// Returns what a removal keeps.
pub(crate) fn kept(plan: &Plan) -> Kept {
    let retained = plan.steps.iter().filter(|step| step.action == Action::Retain);
    let (shared, kept): (Vec<_>, Vec<_>) = retained.partition(|step| step.kind == Kind::Account);
    let name = |step: &Step| step.physical_id.clone().unwrap_or_else(|| step.id.to_string());
    Kept {
        names: kept.into_iter().map(name).collect(),
        log_role: !shared.is_empty(),
    }
}

/// Says what was kept, and why.
pub(crate) fn say_kept(kept: &Kept) {
    if kept.log_role {
        ui::say("Kept for other APIs of the account: the role by which API Gateway writes logs.");
    }
    if !kept.names.is_empty() {
        ui::say(format!(
            "Kept, because the stage's removal policy is `retain`: {}.",
            kept.names.join(", ")
        ));
    }
}
