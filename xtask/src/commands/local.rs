//! `cargo xtask local`: the local cloud alone, until Ctrl-C.

use crate::cli::Local;
use crate::commands::App;
use crate::failure::{Exit, Failure};
use crate::local_cloud::{self, CREDENTIAL, Running};
use crate::target::load_stage;
use crate::ui::{self, BOLD, paint};

/// Runs it.
///
/// # Errors
/// When the port is taken or the folder cannot be used.
pub(crate) async fn run(app: &App, options: Local) -> Result<Exit, Failure> {
    let name = app.global.stage.as_deref().unwrap_or(local_cloud::STAGE);
    let stage = load_stage(&app.workspace.root, name, app.global.region.as_deref())?;
    let unkindness = options.unkind.settings;
    let cloud = Running::start(
        &app.workspace,
        options.port,
        &stage.region,
        options.persist,
        unkindness.clone(),
    )
    .await?;
    let address = cloud.address();
    if app.wants_json() {
        ui::json(&serde_json::json!(address))?;
    } else {
        ui::data(format!(
            "{2}\n\n  deploy     cargo xtask deploy --stage {name}\n  \
             AWS tools  export AWS_ENDPOINT_URL={0} AWS_REGION={1} AWS_DEFAULT_REGION={1} AWS_ACCESS_KEY_ID={CREDENTIAL} AWS_SECRET_ACCESS_KEY={CREDENTIAL}\n",
            address.endpoint,
            address.region,
            paint(BOLD, format_args!("The local cloud answers at {}", address.endpoint)),
        ))?;
        if unkindness != infra_local::Unkindness::default() {
            ui::say(format_args!("It is unkind: {unkindness}"));
        }
        ui::say("Ctrl-C ends it.");
    }
    app.interrupt.wait().await;
    cloud.stop().await;
    Ok(Exit::Ok)
}
