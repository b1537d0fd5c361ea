//! `cargo xtask state`: the record of what is deployed, to read it, or to make a lost one again.

use std::fmt::Write as _;

use infra_aws::Session;
use infra_cdk::EngineName;
use serde_json::{Value as Json, json};

use crate::cli::StateCommand;
use crate::commands::cloudformation::{self, Look};
use crate::commands::{App, DEFAULT_STAGE};
use crate::failure::{Exit, Failure};
use crate::target::{AwsEngine, Target};
use crate::ui::{self, BOLD};

/// Runs it.
///
/// # Errors
/// When the record cannot be read or written.
pub(crate) async fn run(app: &App, command: StateCommand) -> Result<Exit, Failure> {
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let run = async {
        let (session, engine) = target.open().await?;
        match command {
            StateCommand::Show => show(app, &target, &session, &engine).await,
            StateCommand::Rebuild => rebuild(app, &target, &engine).await,
        }
    };
    app.interrupt.or(Box::pin(run)).await
}

async fn show(app: &App, target: &Target, session: &Session, engine: &AwsEngine) -> Result<Exit, Failure> {
    let stack = target.graph.stack();
    let record = engine
        .record(&target.graph)
        .await
        .map_err(|error| Failure::engine("the record cannot be read", error, &target.scope()))?
        .unwrap_or_default();
    let look = match record.engine() {
        Some(EngineName::CloudFormation) => Some(cloudformation::look(target, session).await?),
        Some(EngineName::Direct) | None => None,
    };
    if app.wants_json() {
        let resources: Vec<Json> = record
            .resources
            .iter()
            .map(|(id, recorded)| {
                json!({
                    "id": id,
                    "type": recorded.kind.cloudformation_type(),
                    "physicalId": recorded.physical_id,
                    "removalPolicy": recorded.removal_policy,
                    "properties": recorded.properties,
                    "attributes": recorded.attributes,
                })
            })
            .collect();
        ui::json(&json!({
            "stack": stack.to_string(),
            "engine": record.engine(),
            "cloudFormation": look.as_ref().map(Look::json),
            "deployments": record.header.fence,
            "lock": record.header.lock,
            "unfinished": record.header.intents.iter().map(|intent| &intent.id).collect::<Vec<_>>(),
            "resources": resources,
            "outputs": record.header.outputs,
        }))?;
        return Ok(Exit::Ok);
    }
    let mut text = String::new();
    let kinds = record
        .resources
        .values()
        .map(|recorded| recorded.kind.cloudformation_type().len());
    let kind_width = kinds.max().unwrap_or(0);
    let id_width = record.resources.keys().map(|id| id.as_str().len()).max().unwrap_or(0);
    for (id, recorded) in &record.resources {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:kind_width$}  {BOLD}{:id_width$}{BOLD:#}  {}",
            recorded.kind.cloudformation_type(),
            id.as_str(),
            recorded.physical_id,
        );
    }
    ui::data(text.trim_end())?;
    ui::say(format!("{stack}: {} recorded", record.resources.len()));
    if let Some(look) = look {
        ui::say(look.human(&target.scope()));
    }
    if let Some(lock) = &record.header.lock {
        ui::say(format!("{} is deploying, or was until it was killed", lock.owner));
    } else if !record.header.intents.is_empty() {
        ui::say(format!(
            "The last deployment did not end well. To go on: {}; to go back: {} --rollback",
            target.scope().command("deploy"),
            target.scope().command("deploy")
        ));
    }
    Ok(Exit::Ok)
}

async fn rebuild(app: &App, target: &Target, engine: &AwsEngine) -> Result<Exit, Failure> {
    let stack = target.graph.stack();
    let rebuilt = engine
        .rebuild(&target.graph)
        .await
        .map_err(|error| Failure::engine(format!("the record of {stack} was not rebuilt"), error, &target.scope()))?;
    let foreign = rebuilt.foreign.iter();
    if app.wants_json() {
        ui::json(&json!({
            "stack": stack.to_string(),
            "recorded": rebuilt.recorded,
            "missing": rebuilt.missing,
            "foreign": foreign.map(|foreign| json!({"id": foreign.id, "found": foreign.found})).collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Ok);
    }
    for foreign in foreign {
        ui::say(format!("{} was left out: {}", foreign.id, foreign.found));
    }
    ui::say(format!(
        "{stack}: {} recorded again, {} declared and not found. See what differs: {}",
        rebuilt.recorded.len(),
        rebuilt.missing.len(),
        target.scope().command("diff")
    ));
    Ok(Exit::Ok)
}
