//! `cargo xtask deploy`: package, plan, show, confirm, apply.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use infra_aws::Session;
use infra_cdk::{EngineName, Kind, LogicalId};
use infra_engine::{EngineError, Observed, Package, Packages, Packaging, Plan, Prepared, Record, Report, StoreError};
use serde_json::{Value as Json, json};

use crate::cli::Deploy;
use crate::commands::cloudformation::{self, Site};
use crate::commands::{App, DEFAULT_STAGE, deploy_last_good, diff};
use crate::failure::{Exit, Failure, Scope, help_for};
use crate::outputs::Outputs;
use crate::package;
use crate::plan_view;
use crate::progress::{Progress, json as events};
use crate::target::{AwsEngine, Target};
use crate::ui::{self, BOLD, DIM, GREEN, RED, YELLOW, paint};

/// Runs it.
///
/// # Errors
/// Why nothing was deployed. Failed steps are shown, and end with [`Exit::Failed`].
pub(crate) async fn run(app: &App, options: &Deploy) -> Result<Exit, Failure> {
    let progress = Progress::start(app.wants_json() && !options.dry_run);
    let outcome = if options.rollback {
        Box::pin(deploy_last_good::run(app, options, &progress)).await
    } else {
        Box::pin(deploy(app, options, &progress)).await
    };
    concluded(&progress, outcome)
}

/// Ends the progress of a command. Programs are told why nothing was done.
///
/// # Errors
/// Those of the outcome.
pub(crate) fn concluded(progress: &Progress, outcome: Result<Exit, Failure>) -> Result<Exit, Failure> {
    progress.finish();
    if let Err(failure) = &outcome {
        // That nobody reads stdout any more matters less than the failure itself.
        let _ = progress.result(json!({ "error": failure.json() }));
    }
    outcome
}

async fn deploy(app: &App, options: &Deploy, progress: &Progress) -> Result<Exit, Failure> {
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let all = package::binaries(&target.graph);
    let selected = select(&all, &options.functions)?;
    progress.begun("deploy", &target.graph, &target.stage.region);
    let scope = target.scope();
    let nothing_done = |failure: Failure| {
        failure.when_interrupted(format!(
            "interrupted; nothing was changed. To deploy: {}",
            scope.again()
        ))
    };
    // What is deployed is read while cargo compiles.
    let mut building = match &options.packages {
        Some(folder) => package::Building::done(package::from_folder(folder, &selected)?),
        None => package::start(&app.workspace, &target.stage, &selected, progress),
    };
    let reading = building.or(Box::pin(read(&target, Some(options))));
    let (session, engine, observed) = match app.interrupt.or(reading).await.map_err(nothing_done)? {
        Found::Direct(session, engine, observed) => (session, *engine, *observed),
        Found::CloudFormation(session) => {
            let packages = app.interrupt.or(building.finish()).await.map_err(nothing_done)?;
            let site = Site::new(app, &target, session, progress);
            return Box::pin(site.deploy(&packages, options)).await;
        }
    };
    let packaging;
    let prepared = if selected == all {
        packaging = building.packaging();
        let early = plan(&engine, &target, &Packages::new(), observed.clone())?;
        if early.is_final_without_packages(&target.graph) && !options.dry_run {
            early
        } else {
            let packages = app.interrupt.or(building.finish()).await.map_err(nothing_done)?;
            plan(&engine, &target, &packages, observed)?
        }
    } else {
        let (mut packages, steps_kept) = recorded_functions(&target, observed.record(), &selected)?;
        packages.extend(app.interrupt.or(building.finish()).await.map_err(nothing_done)?);
        packaging = Packaging::from(packages.clone());
        plan(&engine, &target, &packages, observed)?.only(steps_kept)
    };
    if options.dry_run {
        progress.finish();
        let outputs = Outputs::read(&target.graph, &prepared.record);
        diff::show(app, &target, &prepared.plan, &outputs)?;
        return Ok(Exit::Ok);
    }
    progress.planned(&prepared.plan);
    show(&target, &prepared.plan);
    refuse_losses(&prepared.plan, &target, options)?;
    let run = Run {
        app,
        engine: &engine,
        target: &target,
        scope,
        progress,
    };
    let mut applying = Box::pin(run.apply(&packaging, prepared));
    let (done, not_built) = tokio::select! {
        // Told before what it entails.
        biased;
        failure = building.failure() => {
            let json = failure.json();
            ui::report(failure);
            (applying.await?, Some(json))
        }
        () = app.interrupt.wait() => {
            building.stop();
            (applying.await?, None)
        }
        done = &mut applying => (done?, None),
    };
    let mut result = done.json(&target, &session);
    if let Some(error) = not_built {
        result["error"] = error;
    }
    progress.result(result)?;
    if let Some(outputs) = done.outputs.as_ref().filter(|_| !app.wants_json()) {
        ui::data(outputs.human())?;
    }
    Ok(done.exit())
}

/// Which engine a stage belongs to, with what is deployed of it.
pub(crate) enum Found {
    /// This program's own, or none yet.
    Direct(Session, Box<AwsEngine>, Box<Observed>),
    /// CloudFormation, or it shall be.
    CloudFormation(Session),
}

/// Learns the account and reads what is deployed there.
///
/// # Errors
/// What could not be read, who deploys, or that the stage belongs to another engine than the one that is asked for.
pub(crate) async fn read(target: &Target, options: Option<&Deploy>) -> Result<Found, Failure> {
    let asked = cloudformation::asked(target, options)?;
    let (session, mut engine) = target.open().await?;
    if asked == Some(EngineName::CloudFormation) {
        return Ok(Found::CloudFormation(session));
    }
    if let Some(options) = options {
        engine = engine.adopting(options.adopt);
        if options.no_wait {
            engine = engine.without_waiting();
        }
        if !options.dry_run {
            engine.store().make_early();
        }
    }
    match engine.observe(&target.graph).await {
        Ok(observed) => Ok(Found::Direct(session, Box::new(engine), Box::new(observed))),
        // Nobody asked for one: a stage stays where it is.
        Err(EngineError::OtherEngine { .. }) if asked.is_none() => Ok(Found::CloudFormation(session)),
        Err(error) => Err(not_planned(target, error)),
    }
}

fn not_planned(target: &Target, error: EngineError) -> Failure {
    let doing = format!("{} cannot be planned", target.graph.stack());
    Failure::engine(doing, error, &target.scope())
}

/// Plans the deployment of everything over what was read.
///
/// # Errors
/// What stands in the way.
pub(crate) fn plan(
    engine: &AwsEngine,
    target: &Target,
    packages: &Packages,
    observed: Observed,
) -> Result<Prepared, Failure> {
    engine
        .plan_observed(&target.graph, packages, observed)
        .map_err(|error| not_planned(target, error))
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
    /// Returns a deployment that ended as the report says.
    pub(crate) fn new(plan: &Plan, report: Report, outputs: Option<Outputs>) -> Self {
        let steps = plan.steps.iter();
        Self {
            kinds: steps.map(|step| (step.id.clone(), step.kind)).collect(),
            report,
            outputs,
        }
    }

    /// Returns how the process ends.
    pub(crate) fn exit(&self) -> Exit {
        if self.report.interrupted {
            Exit::Interrupted
        } else if !self.report.failed.is_empty() {
            Exit::Failed
        } else if self.report.skipped.is_empty() {
            Exit::Ok
        } else {
            Exit::Failed
        }
    }

    /// Returns what happened for programs.
    pub(crate) fn json(&self, target: &Target, session: &Session) -> Json {
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
                failed["error"] = events::error(error);
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
            "interrupted": self.report.interrupted,
            "calls": session.calls(),
            "outputs": self.outputs.as_ref().map(Outputs::json),
        })
    }
}

/// Reads what is deployed and plans the deployment of everything.
///
/// # Errors
/// What could not be read, or stands in the way.
pub(crate) async fn plan_all(engine: &AwsEngine, target: &Target, packages: &Packages) -> Result<Prepared, Failure> {
    let prepared = engine.plan_deploy(&target.graph, packages).await;
    prepared.map_err(|error| not_planned(target, error))
}

/// What applying a plan needs to know of the command that does it.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) app: &'a App,
    pub(crate) engine: &'a AwsEngine,
    pub(crate) target: &'a Target,
    pub(crate) scope: Scope,
    pub(crate) progress: &'a Progress,
}

impl Run<'_> {
    /// Applies a plan, shows each step and what failed.
    ///
    /// # Errors
    /// Why it could not begin.
    pub(crate) async fn apply(&self, packaging: &Packaging, prepared: Prepared) -> Result<Done, Failure> {
        let steps = prepared.plan.steps.iter();
        let kinds = steps.map(|step| (step.id.clone(), step.kind)).collect();
        let began = Instant::now();
        let Self {
            app,
            target,
            scope,
            progress,
            ..
        } = self;
        let graph = &target.graph;
        let observer = |event| progress.show(&event);
        let interrupted = app.interrupt.flag();
        let mut applying =
            Box::pin(
                self.engine
                    .apply_while_packaging(graph, packaging, prepared, interrupted, &observer),
            );
        let report = tokio::select! {
            biased;
            report = &mut applying => report,
            () = app.interrupt.wait() => {
                progress.interrupted();
                applying.await
            }
        };
        progress.finish();
        let report = report.map_err(|error| {
            let was_waiting = matches!(
                error,
                EngineError::NotPackaged | EngineError::Store(StoreError::Locked { .. })
            );
            if was_waiting && app.interrupt.is_pressed() {
                let message = format!("interrupted; nothing was changed. Continue with: {}", scope.again());
                return Failure::interrupted().when_interrupted(message);
            }
            Failure::engine(format!("{} was not changed", graph.stack()), error, scope)
        })?;
        self.summarise(&report, began.elapsed());
        let ended_well = report.failed.is_empty() && report.skipped.is_empty() && !report.interrupted;
        Ok(Done {
            outputs: ended_well.then(|| Outputs::read(graph, &report.record)),
            kinds,
            report,
        })
    }

    /// Says what failed, why, and what to do next.
    fn summarise(&self, report: &Report, elapsed: Duration) {
        let stack = self.target.graph.stack();
        for (id, action, error) in &report.failed {
            ui::report(
                Failure::new(format!("{action} {id} failed"))
                    .because(error.clone())
                    .help(help_for(error, &self.scope)),
            );
        }
        let (done, failed, skipped) = (report.done.len(), report.failed.len(), report.skipped.len());
        let elapsed = ui::duration(elapsed);
        let (style, text) = if report.interrupted {
            let failed = if failed > 0 {
                format!(", {failed} failed")
            } else {
                String::new()
            };
            let text =
                format!("interrupted after {elapsed}: {done} done{failed}, {skipped} left; all of it is recorded");
            (YELLOW, text)
        } else if failed > 0 {
            let text = format!("{failed} failed, {skipped} skipped, {done} done in {elapsed}; all of it is recorded");
            (RED, text)
        } else if skipped > 0 {
            let text = format!("{skipped} skipped, {done} done in {elapsed}; all of it is recorded");
            (RED, text)
        } else if done > 0 {
            (GREEN, format!("{done} done in {elapsed}"))
        } else {
            (DIM, "nothing to change".to_owned())
        };
        ui::say(paint(style, format_args!("{stack}: {text}")));
        if skipped > 0 {
            ui::say(format!("continue with: {}", self.scope.again()));
        }
        if (failed > 0 || skipped > 0) && self.scope.again == "deploy" && report.record.has_last_good() {
            ui::say(format!("or undo it with: {}", self.scope.command("deploy --rollback")));
        }
    }
}

/// Refuses to lose stored data without a word.
///
/// # Errors
/// What would be lost, and why.
pub(crate) fn refuse_losses(plan: &Plan, target: &Target, options: &Deploy) -> Result<(), Failure> {
    let losses: Vec<_> = plan.data_losses().collect();
    if losses.is_empty() || options.allow_replace {
        return Ok(());
    }
    let lines: Vec<_> = losses
        .iter()
        .map(|step| format!("{} {}: {}", step.kind.cloudformation_type(), step.id, step.reason))
        .collect();
    Err(Failure::usage(format!(
        "everything stored here would be lost; nothing was changed\n{}",
        lines.join("\n")
    ))
    .help(format!(
        "to lose it: {} --allow-replace; to keep it, undo the change, or set `removalPolicy: retain` in the stage file",
        target.scope().command("deploy")
    )))
}

/// Asks before stored data is lost.
///
/// # Errors
/// When the answer is no, or nobody can be asked.
pub(crate) async fn confirm_losses(app: &App, plan: &Plan) -> Result<(), Failure> {
    let losses: Vec<_> = plan
        .data_losses()
        .map(|step| format!("{} {}", step.kind.cloudformation_type(), step.id))
        .collect();
    if losses.is_empty() || app.global.yes {
        return Ok(());
    }
    let question = format!("Everything stored in {} will be lost. Go on?", losses.join(", "));
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

/// Shows a plan before it is applied.
pub(crate) fn show(target: &Target, plan: &Plan) {
    ui::say(format!("{}\n\n{}\n", heading(target), plan_view::human(plan)));
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

/// Returns the other functions' packages as they are recorded, so that they need no build, and the steps of the selected
/// ones.
fn recorded_functions(
    target: &Target,
    record: &Record,
    selected: &BTreeSet<String>,
) -> Result<(Packages, BTreeSet<LogicalId>), Failure> {
    let mut packages = Packages::new();
    let mut steps_kept = BTreeSet::new();
    for (id, resource) in target.graph.resources() {
        for binary in resource.packages() {
            let recorded = record
                .resources
                .get(id)
                .and_then(|recorded| recorded.properties.get("Code")?.get("Sha256")?.as_str());
            let Some(sha256) = recorded else {
                return Err(Failure::usage(format!(
                    "function `{binary}` of {} is not deployed yet",
                    target.graph.stack()
                ))
                .help(format!("deploy everything first: {}", target.scope().command("deploy"))));
            };
            if selected.contains(binary) {
                let aliases = target.graph.resources().iter().filter(|(_, resource)| {
                    let inside = resource.parent.as_ref() == Some(id);
                    inside && resource.kind == Kind::Alias
                });
                steps_kept.extend(aliases.map(|(alias, _)| alias.clone()));
                steps_kept.insert(id.clone());
            } else {
                let package = Package {
                    sha256: sha256.to_owned(),
                    zip: std::sync::Arc::from([]),
                };
                packages.insert(binary.to_owned(), package);
            }
        }
    }
    Ok((packages, steps_kept))
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
