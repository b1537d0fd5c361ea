//! `cargo xtask deploy --rollback`: returns a stage to what the last deployment that ended well left.
//!
//! Properties come from the record, code from the packages of earlier builds: they are kept in `target/stackwright`, by
//! their digests. Nothing is compiled, since the sources are not those of then.

use std::collections::BTreeMap;
use std::sync::Arc;

use infra_cdk::EngineName;
use infra_engine::{Action, Package, Packages, Packaging, Prepared};
use serde_json::json;

use crate::cli::Deploy;
use crate::commands::cloudformation::Site;
use crate::commands::{App, DEFAULT_STAGE, deploy, diff};
use crate::failure::{Exit, Failure};
use crate::outputs::Outputs;
use crate::package;
use crate::progress::Progress;
use crate::target::Target;
use crate::ui;

/// Runs it.
///
/// # Errors
/// Why there is no way back. Failed steps are shown, and end with [`Exit::Failed`].
pub(crate) async fn run(app: &App, options: &Deploy, progress: &Progress) -> Result<Exit, Failure> {
    let declared = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let stack = declared.graph.stack().clone();
    let failed = |error| Failure::engine(format!("{stack} cannot be rolled back"), error, &declared.scope());
    progress.begun("rollback", &declared.graph, &declared.stage.region);
    let (session, mut engine) = app.interrupt.or(Box::pin(declared.open())).await?;
    if options.no_wait {
        engine = engine.without_waiting();
    }
    let record = engine.record(&declared.graph).await.map_err(failed)?;
    if record.and_then(|record| record.engine()) == Some(EngineName::CloudFormation) {
        return Box::pin(Site::new(app, &declared, session, progress).undo()).await;
    }
    let Some(good) = engine.last_good(&declared.graph).await.map_err(failed)? else {
        ui::say(format!(
            "The last deployment of {stack} ended well; there is nothing to undo."
        ));
        progress.result(json!({ "stack": stack, "changed": [] }))?;
        return Ok(Exit::Ok);
    };
    let target = declared.with(good);
    let digests = package::binaries(&target.graph);
    let mut packages: Packages = digests
        .into_iter()
        .map(|sha256| {
            let zip = Arc::from([]);
            (sha256.clone(), Package { sha256, zip })
        })
        .collect();
    let planning = Box::pin(engine.plan_deploy(&target.graph, &packages));
    let prepared = app.interrupt.or(async { planning.await.map_err(failed) }).await?;
    if options.dry_run {
        progress.finish();
        let outputs = Outputs::read(&target.graph, &prepared.record);
        diff::show(app, &target, &prepared.plan, &outputs)?;
        return Ok(Exit::Ok);
    }
    progress.planned(&prepared.plan);
    deploy::show(&target, &prepared.plan);
    deploy::refuse_losses(&prepared.plan, &target, options)?;
    let missing = load(app, &target, &prepared, &mut packages);
    if !missing.is_empty() {
        let scope = declared.scope();
        return Err(Failure::new(format!(
            "the code of {} from then is not on this machine; nothing was changed",
            missing.join(", ")
        ))
        .help(format!(
            "run it where that was deployed from, or check out that revision and run: {}",
            scope.command("deploy")
        )));
    }
    let run = deploy::Run {
        app,
        engine: &engine,
        target: &target,
        scope: declared.scope().with_again("deploy --rollback"),
        progress,
    };
    let done = Box::pin(run.apply(&Packaging::from(packages), prepared)).await?;
    progress.result(done.json(&declared, &session))?;
    Ok(done.exit())
}

/// Reads the packages that the plan needs. Returns the functions whose packages are not kept any more.
fn load(app: &App, target: &Target, prepared: &Prepared, packages: &mut Packages) -> Vec<String> {
    let mut missing = Vec::new();
    let changes_code = |id: &_| {
        prepared.plan.steps.iter().any(|step| {
            step.id == *id
                && match step.action {
                    Action::Create | Action::Replace => true,
                    Action::Adopt | Action::Update => {
                        step.changes.iter().any(|change| change.property.starts_with("Code"))
                    }
                    Action::Delete | Action::Retain | Action::Forget => false,
                }
        })
    };
    let mut read: BTreeMap<String, bool> = BTreeMap::new();
    for (id, resource) in target.graph.resources() {
        let Some(infra_cdk::Value::Package(sha256)) = resource.properties.get("Code") else {
            continue;
        };
        if !changes_code(id) {
            continue;
        }
        let is_there = *read.entry(sha256.clone()).or_insert_with(|| {
            let zip = package::kept(&app.workspace, sha256);
            zip.is_some_and(|zip| {
                let sha256 = sha256.clone();
                packages.insert(
                    sha256.clone(),
                    Package {
                        sha256,
                        zip: zip.into(),
                    },
                );
                true
            })
        });
        if !is_there {
            missing.push(id.to_string());
        }
    }
    missing
}
