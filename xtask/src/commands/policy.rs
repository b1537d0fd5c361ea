//! `cargo xtask policy`: the smallest policy for who deploys. Makes no call, unless it has to ask for the account.

use infra_aws::deployer_policy;
use infra_cdk::{Context, Graph};

use crate::cli::Policy;
use crate::commands::{App, DEFAULT_STAGE};
use crate::failure::{Exit, Failure};
use crate::target::{Target, stage_names};
use crate::{local_cloud, ui};

/// Runs it.
///
/// # Errors
/// A stage that cannot be read, or no credentials where the account is not told.
pub(crate) async fn run(app: &App, options: &Policy) -> Result<Exit, Failure> {
    let target = Target::declared(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let context = match &options.account {
        Some(account) => Context {
            partition: partition(&target.stage.region).to_owned(),
            region: target.stage.region.clone(),
            account: account.clone(),
        },
        None => {
            let asked = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
            app.interrupt.or(Box::pin(asked.session())).await?.context().clone()
        }
    };
    let graphs = match options.all_stages {
        true => all_graphs(app)?,
        false => vec![target.graph],
    };
    let policy = deployer_policy(&graphs.iter().collect::<Vec<_>>(), &context);
    let text = policy
        .to_json()
        .map_err(|error| Failure::new("cannot write the policy").because(error))?;
    ui::data(text)?;
    Ok(Exit::Ok)
}

/// Returns the stacks of all stages that live in an account.
fn all_graphs(app: &App) -> Result<Vec<Graph>, Failure> {
    let names = stage_names(&app.workspace.root.join("infra/stages"));
    let names = names.into_iter().filter(|name| name != local_cloud::STAGE);
    names
        .map(|name| {
            let mut global = app.global.clone();
            global.stage = Some(name);
            Ok(Target::declared(&app.workspace, &global, DEFAULT_STAGE)?.graph)
        })
        .collect()
}

/// Returns the partition of a Region (AWS General Reference, "Amazon Resource Names").
fn partition(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    }
}
