//! `cargo xtask outputs`: what a deployed stage tells its users.

use infra_aws::Session;
use infra_cdk::EngineName;

use crate::commands::{App, DEFAULT_STAGE, cloudformation};
use crate::failure::{Exit, Failure};
use crate::outputs::Outputs;
use crate::target::{AwsEngine, Target};
use crate::ui;

/// Runs it.
///
/// # Errors
/// When the stage is not deployed or cannot be read.
pub(crate) async fn run(app: &App) -> Result<Exit, Failure> {
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let (_, outputs) = app.interrupt.or(Box::pin(open(&target))).await?;
    if app.wants_json() {
        ui::json(&outputs.json())?;
    } else {
        ui::data(outputs.human())?;
    }
    Ok(Exit::Ok)
}

/// Opens a session and reads the outputs of a deployed stage.
///
/// # Errors
/// As [`Target::session`] and [`read`].
pub(crate) async fn open(target: &Target) -> Result<(Session, Outputs), Failure> {
    let (session, engine) = target.open().await?;
    let outputs = recorded(target, &session, &engine).await?;
    Ok((session, outputs))
}

/// Reads the outputs of a deployed stage.
///
/// # Errors
/// When it is not deployed or cannot be read.
pub(crate) async fn read(target: &Target, session: &Session) -> Result<Outputs, Failure> {
    recorded(target, session, &target.engine(session)).await
}

async fn recorded(target: &Target, session: &Session, engine: &AwsEngine) -> Result<Outputs, Failure> {
    let scope = target.scope();
    let record = engine
        .record(&target.graph)
        .await
        .map_err(|error| Failure::engine("the record cannot be read", error, &scope))?
        .filter(|record| record.engine().is_some());
    match record {
        Some(record) if record.engine() == Some(EngineName::CloudFormation) => {
            cloudformation::outputs(target, session).await
        }
        Some(record) => Ok(Outputs::read(&target.graph, &record)),
        None => Err(not_deployed(target)),
    }
}

/// Returns the failure of everything that needs a deployed stage.
pub(crate) fn not_deployed(target: &Target) -> Failure {
    Failure::new(format!("{} is not deployed", target.graph.stack()))
        .help(format!("deploy it with: {}", target.scope().command("deploy")))
}
