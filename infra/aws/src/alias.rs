//! Aliases of functions, and the published versions that they name.
//!
//! Moving an alias is one call that takes effect at once, for new invocations; those that run end on the version that they
//! began on. After it, versions that nobody can want back are deleted: the alias's own and the one before stay.

use futures_util::future::{join, try_join_all};
use infra_engine::{CloudError, Desired, Live, Ownership, Target};

use aws_sdk_lambda::types::FunctionConfiguration;

use crate::Session;
use crate::error::{gone, is_already_there};
use crate::shape::{Shape, as_desired, differs, required, text};
use crate::throttle::Service;

/// Versions of a page of `ListVersionsByFunction`: the most that AWS returns together with their settings.
const PAGE: i32 = 50;

/// Returns an alias as `GetFunction` tells it: that answers with the version behind a qualifier. `None` where the alias
/// names no published version.
pub(crate) fn live(target: &Target, behind: &FunctionConfiguration) -> Option<Live> {
    let (function, name) = (
        text(&target.properties, "FunctionName")?,
        text(&target.properties, "Name")?,
    );
    let mut shape = Shape::default();
    shape
        .set("FunctionName", Some(function))
        .set("Name", Some(name))
        .set("FunctionVersion", behind.version())
        .copy("Description", target);
    Some(Live {
        physical_id: physical_id(function, name),
        properties: shape.0,
        attributes: Default::default(),
        // It lies inside a function, and that carries a mark.
        ownership: Ownership::Ours,
    })
}

/// Creates an alias, or moves it to another version and deletes the versions that are no longer needed.
pub(crate) async fn reconcile(session: &Session, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
    let (function, name) = (required(desired, "FunctionName")?, required(desired, "Name")?);
    let done = as_desired(desired, &physical_id(function, name), Default::default());
    match live {
        None => match create(session, desired).await {
            Err(error) if is_already_there(&error) => update(session, desired).await?,
            other => other?,
        },
        Some(live) if differs(desired, live, "FunctionVersion") => {
            let before = text(&live.properties, "FunctionVersion").and_then(number);
            let now = number(required(desired, "FunctionVersion")?);
            // On the way back the newer one is kept, to go forward again.
            if before < now {
                let (updated, versions) = join(update(session, desired), versions(session, function)).await;
                updated?;
                prune(session, function, &versions?, now, before).await?;
            } else {
                update(session, desired).await?;
            }
        }
        Some(live) if differs(desired, live, "Description") => update(session, desired).await?,
        Some(_) => {}
    }
    Ok(done)
}

/// Deletes an alias, with the permissions to call it.
pub(crate) async fn delete(session: &Session, physical_id: &str) -> Result<(), CloudError> {
    let Some((function, name)) = physical_id.split_once(':') else {
        return Ok(());
    };
    let call = session.lambda().delete_alias().function_name(function).name(name);
    gone(session.sdk(Service::Lambda, "lambda:DeleteAlias", call.send()).await)
}

/// Returns `$LATEST` and all published versions of a function, in their order.
pub(crate) async fn versions(session: &Session, function: &str) -> Result<Vec<FunctionConfiguration>, CloudError> {
    let mut versions = Vec::new();
    let mut marker = None;
    loop {
        let call = session
            .lambda()
            .list_versions_by_function()
            .function_name(function)
            .max_items(PAGE)
            .set_marker(marker);
        let answer = session
            .sdk(Service::Lambda, "lambda:ListVersionsByFunction", call.send())
            .await?;
        versions.extend(answer.versions.unwrap_or_default());
        marker = answer.next_marker.filter(|marker| !marker.is_empty());
        if marker.is_none() {
            return Ok(versions);
        }
    }
}

/// Returns the number of a published version; `$LATEST` has none.
pub(crate) fn number(version: &str) -> Option<u64> {
    version.parse().ok()
}

/// Deletes the versions before `now`, except `before`.
async fn prune(
    session: &Session,
    function: &str,
    versions: &[FunctionConfiguration],
    now: Option<u64>,
    before: Option<u64>,
) -> Result<(), CloudError> {
    let published = versions.iter().filter_map(|version| number(version.version()?));
    let outdated = published.filter(|version| Some(*version) < now && Some(*version) != before);
    let deleted = outdated.map(|version| delete_version(session, function, version));
    try_join_all(deleted).await.map(|_| ())
}

async fn create(session: &Session, desired: &Desired) -> Result<(), CloudError> {
    let call = session
        .lambda()
        .create_alias()
        .function_name(required(desired, "FunctionName")?)
        .name(required(desired, "Name")?)
        .function_version(required(desired, "FunctionVersion")?);
    session
        .sdk(Service::Lambda, "lambda:CreateAlias", call.send())
        .await
        .map(|_| ())
}

async fn update(session: &Session, desired: &Desired) -> Result<(), CloudError> {
    let call = session
        .lambda()
        .update_alias()
        .function_name(required(desired, "FunctionName")?)
        .name(required(desired, "Name")?)
        .function_version(required(desired, "FunctionVersion")?)
        // What is not mentioned is kept; only an empty text clears it.
        .description(text(&desired.properties, "Description").unwrap_or_default());
    session
        .sdk(Service::Lambda, "lambda:UpdateAlias", call.send())
        .await
        .map(|_| ())
}

async fn delete_version(session: &Session, function: &str, version: u64) -> Result<(), CloudError> {
    let call = session
        .lambda()
        .delete_function()
        .function_name(function)
        .qualifier(version.to_string());
    gone(session.sdk(Service::Lambda, "lambda:DeleteFunction", call.send()).await)
}

fn physical_id(function: &str, name: &str) -> String {
    format!("{function}:{name}")
}
