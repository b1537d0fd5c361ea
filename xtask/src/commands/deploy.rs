//! `cargo xtask deploy`: package, plan, show, confirm, apply.

use std::collections::{BTreeMap, BTreeSet};

use infra_cdk::{Kind, LogicalId, Value};
use infra_engine::{Package, Packages, Prepared, Report};
use serde_json::{Value as Json, json};

use crate::cli::Deploy;
use crate::commands::{App, DEFAULT_STAGE, diff};
use crate::failure::{Exit, Failure, help_for};
use crate::outputs::Outputs;
use crate::package;
use crate::plan_view;
use crate::progress::Progress;
use crate::target::{AwsEngine, Target};
use crate::ui::{self, BOLD, DIM, GREEN, RED, YELLOW, paint};

/// Runs it.
///
/// # Errors
/// Why nothing was deployed. Failed steps are shown, and end with [`Exit::Failed`].
pub(crate) async fn run(app: &App, options: &Deploy) -> Result<Exit, Failure> {
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let all = package::binaries(&target.graph);
    let selected = select(&all, &options.functions)?;
    // Credentials are checked, and the record's table is made, while cargo compiles.
    let (packages, engine) = app
        .interrupt
        .or(Box::pin(async {
            tokio::try_join!(
                async {
                    match &options.packages {
                        Some(folder) => package::from_folder(folder, &selected),
                        None => package::build(&app.workspace, &target.stage, &selected).await,
                    }
                },
                connect(&target, !options.dry_run)
            )
        }))
        .await?;
    let (prepared, packages) = app
        .interrupt
        .or(Box::pin(async {
            if selected == all {
                Ok((plan(&engine, &target, &packages).await?, packages))
            } else {
                plan_functions(&engine, &target, packages, &selected, &all).await
            }
        }))
        .await?;
    if options.dry_run {
        diff::show(app, &target, &prepared)?;
        return Ok(Exit::Ok);
    }
    ui::say(format!(
        "{}\n\n{}\n",
        heading(&target),
        plan_view::human(&prepared.plan)
    ));
    confirm_losses(app, &prepared).await?;
    let done = apply(app, &engine, &target, &packages, prepared).await?;
    if app.wants_json() {
        ui::json(&done.json(&target))?;
    } else if let Some(outputs) = &done.outputs {
        ui::data(outputs.human())?;
    }
    Ok(done.exit())
}

/// Opens a session. Where there is no state table yet, it begins to make one, and nobody waits: whoever writes the record
/// waits for it then, and says what is wrong.
async fn connect(target: &Target, prepares: bool) -> Result<AwsEngine, Failure> {
    let engine = target.engine(&target.session().await?);
    if prepares {
        let store = engine.store().clone();
        tokio::spawn(async move { store.prepare().await });
    }
    Ok(engine)
}

/// A deployment that has ended, well or not.
#[derive(Debug)]
pub(crate) struct Done {
    report: Report,
    kinds: BTreeMap<LogicalId, Kind>,
    /// Outputs; `None` unless all went well.
    pub(crate) outputs: Option<Outputs>,
}

impl Done {
    /// Returns how the process ends.
    pub(crate) fn exit(&self) -> Exit {
        if !self.report.failed.is_empty() {
            Exit::Failed
        } else if self.report.interrupted {
            Exit::Interrupted
        } else if self.report.skipped.is_empty() {
            Exit::Ok
        } else {
            Exit::Failed
        }
    }

    /// Returns what happened for programs.
    pub(crate) fn json(&self, target: &Target) -> Json {
        let step = |id: &LogicalId, action| {
            let kind = self.kinds.get(id).map(|kind| kind.cloudformation_type());
            json!({ "id": id, "type": kind, "action": action })
        };
        let changed: Vec<_> = self.report.done.iter().map(|(id, action)| step(id, *action)).collect();
        let failed: Vec<_> = self
            .report
            .failed
            .iter()
            .map(|(id, action, error)| {
                let mut failed = step(id, *action);
                failed["error"] = json!({
                    "operation": error.operation,
                    "code": error.code,
                    "message": error.message,
                    "requestId": error.request_id,
                });
                failed
            })
            .collect();
        let skipped: Vec<_> = self
            .report
            .skipped
            .iter()
            .map(|(id, action)| step(id, *action))
            .collect();
        json!({
            "stack": target.graph.stack().to_string(),
            "changed": changed,
            "failed": failed,
            "skipped": skipped,
            "outputs": self.outputs.as_ref().map(Outputs::json),
        })
    }
}

/// Plans the deployment of everything.
///
/// # Errors
/// What could not be read, or stands in the way.
pub(crate) async fn plan(engine: &AwsEngine, target: &Target, packages: &Packages) -> Result<Prepared, Failure> {
    engine.plan_deploy(&target.graph, packages).await.map_err(|error| {
        Failure::engine(
            format!("{} cannot be planned", target.graph.stack()),
            error,
            &target.scope(),
        )
    })
}

/// Applies a plan, shows each step and what failed.
///
/// # Errors
/// Why it could not begin.
pub(crate) async fn apply(
    app: &App,
    engine: &AwsEngine,
    target: &Target,
    packages: &Packages,
    prepared: Prepared,
) -> Result<Done, Failure> {
    let kinds = prepared
        .plan
        .steps
        .iter()
        .map(|step| (step.id.clone(), step.kind))
        .collect();
    let progress = Progress::new(prepared.plan.steps.len());
    let report = engine
        .apply(&target.graph, packages, prepared, app.interrupt.flag(), &|event| {
            progress.show(&event);
        })
        .await;
    let elapsed = progress.finish();
    let report = report.map_err(|error| {
        Failure::engine(
            format!("{} was not changed", target.graph.stack()),
            error,
            &target.scope(),
        )
    })?;
    let stack = target.graph.stack();
    for (id, action, error) in &report.failed {
        ui::report(
            Failure::new(format!("{action} {id} failed"))
                .because(error.clone())
                .help(help_for(error, &target.scope())),
        );
    }
    let done = report.done.len();
    if !report.failed.is_empty() {
        ui::say(paint(
            RED,
            format_args!(
                "{stack}: {} failed, {} skipped, {done} done in {}; all of it is recorded",
                report.failed.len(),
                report.skipped.len(),
                ui::duration(elapsed)
            ),
        ));
    } else if report.interrupted {
        ui::say(paint(
            YELLOW,
            format_args!("{stack}: interrupted after {done} steps; run the same command again to continue"),
        ));
    } else if done > 0 {
        ui::say(paint(
            GREEN,
            format_args!("{stack}: {done} done in {}", ui::duration(elapsed)),
        ));
    } else {
        ui::say(paint(DIM, format_args!("{stack}: nothing to change")));
    }
    let ended_well = report.failed.is_empty() && report.skipped.is_empty() && !report.interrupted;
    Ok(Done {
        outputs: ended_well.then(|| Outputs::read(&target.graph, &report.record)),
        kinds,
        report,
    })
}

/// Asks before stored data is lost.
///
/// # Errors
/// When the answer is no, or nobody can be asked.
pub(crate) async fn confirm_losses(app: &App, prepared: &Prepared) -> Result<(), Failure> {
    let losses: Vec<_> = prepared
        .plan
        .data_losses()
        .map(|step| format!("{} {}", step.kind.cloudformation_type(), step.id))
        .collect();
    if losses.is_empty() || app.global.yes {
        return Ok(());
    }
    let question = format!("Everything stored in {} will be lost. Go on?", losses.join(" and "));
    ask(app, &question).await
}

/// Asks whether to go on.
///
/// # Errors
/// When the answer is no, or nobody can be asked.
pub(crate) async fn ask(app: &App, question: &str) -> Result<(), Failure> {
    if app.interrupt.or(ui::confirm(question)).await? {
        Ok(())
    } else {
        Err(Failure::new("not confirmed; nothing was changed"))
    }
}

/// Returns stack and Region for people.
pub(crate) fn heading(target: &Target) -> String {
    format!("{} in {}", paint(BOLD, target.graph.stack()), target.stage.region)
}

fn select(all: &BTreeSet<String>, asked: &[String]) -> Result<BTreeSet<String>, Failure> {
    if asked.is_empty() {
        return Ok(all.clone());
    }
    match asked.iter().find(|name| !all.contains(*name)) {
        Some(unknown) => {
            let known: Vec<_> = all.iter().map(String::as_str).collect();
            Err(Failure::usage(format!("there is no function `{unknown}`"))
                .help(format!("functions are {}", known.join(", "))))
        }
        None => Ok(asked.iter().cloned().collect()),
    }
}

/// Plans the selected functions alone. The others count as packaged as they are recorded, so that they need no build.
async fn plan_functions(
    engine: &AwsEngine,
    target: &Target,
    mut packages: Packages,
    selected: &BTreeSet<String>,
    all: &BTreeSet<String>,
) -> Result<(Prepared, Packages), Failure> {
    let scope = target.scope();
    let record = engine
        .record(&target.graph)
        .await
        .map_err(|error| Failure::engine("the record cannot be read", error, &scope))?
        .unwrap_or_default();
    let mut steps_kept = BTreeSet::new();
    for (id, resource) in target.graph.resources() {
        let Some(Value::Package(binary)) = resource.properties.get("Code") else {
            continue;
        };
        if selected.contains(binary) {
            let aliases = target.graph.resources().iter().filter(|(_, resource)| {
                let inside = resource.parent.as_ref() == Some(id);
                inside && resource.kind == Kind::Alias
            });
            steps_kept.extend(aliases.map(|(alias, _)| alias.clone()));
            steps_kept.insert(id.clone());
        }
        let recorded = record
            .resources
            .get(id)
            .and_then(|recorded| recorded.properties.get("Code")?.get("Sha256")?.as_str());
        let Some(sha256) = recorded else {
            return Err(Failure::usage(format!(
                "function `{binary}` of {} is not deployed yet",
                target.graph.stack()
            ))
            .help(format!("deploy everything first: {}", scope.command("deploy"))));
        };
        if all.contains(binary) && !selected.contains(binary) {
            let package = Package {
                sha256: sha256.to_owned(),
                zip: std::sync::Arc::from([]),
            };
            packages.insert(binary.clone(), package);
        }
    }
    let prepared = plan(engine, target, &packages).await?.only(steps_kept);
    Ok((prepared, packages))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn an_unknown_function_is_bad_usage() {
        let all = BTreeSet::from(["connect".to_owned(), "default".to_owned()]);
        assert_eq!(select(&all, &[]).unwrap(), all);
        assert_eq!(select(&all, &["connect".to_owned()]).unwrap().len(), 1);
        assert_eq!(select(&all, &["conect".to_owned()]).unwrap_err().exit(), Exit::Usage);
    }
}
