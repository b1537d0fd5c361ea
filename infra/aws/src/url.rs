//! Function URLs: one per function or alias, found by that.

use std::collections::BTreeMap;

use aws_sdk_lambda::types::{FunctionUrlAuthType, InvokeMode};
use futures_util::future::try_join_all;
use infra_cdk::LogicalId;
use infra_engine::{CloudError, Desired, Live, Ownership, Target};

use crate::Session;
use crate::census::bare;
use crate::error::{found, gone, is_already_there};
use crate::permission::qualified;
use crate::shape::{Shape, as_desired, differs, required, text};
use crate::throttle::Service;

/// What `UpdateFunctionUrlConfig` sets.
const CONFIGURATION: [&str; 2] = ["AuthType", "InvokeMode"];

/// Reads function URLs, one call each.
pub(crate) async fn observe(session: &Session, targets: &[&Target]) -> Result<Vec<(LogicalId, Live)>, CloudError> {
    let reads = targets.iter().map(async |target| {
        let Some(id) = target.physical_id.clone().or_else(|| located(target)) else {
            return Ok(None);
        };
        let (function, alias) = qualified(&id);
        let call = session
            .lambda()
            .get_function_url_config()
            .function_name(function)
            .set_qualifier(alias);
        let answer = session
            .sdk(Service::Lambda, "lambda:GetFunctionUrlConfig", call.send())
            .await;
        Ok(found(answer)?.map(|answer| {
            let live = live(
                target,
                &id,
                &address(session.endpoint_url(), answer.function_url()),
                answer.auth_type(),
                answer.invoke_mode(),
            );
            (target.id.clone(), live)
        }))
    });
    let read: Vec<Option<_>> = try_join_all(reads).await?;
    Ok(read.into_iter().flatten().collect())
}

/// Makes a URL, or changes who may call it. One that is there already keeps its address.
pub(crate) async fn reconcile(session: &Session, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
    let function = bare(required(desired, "TargetFunctionArn")?);
    let alias = text(&desired.properties, "Qualifier");
    let url = match live {
        None => match create(session, desired, function, alias).await {
            Err(error) if is_already_there(&error) => update(session, desired, function, alias).await?,
            other => other?,
        },
        Some(live) if CONFIGURATION.iter().any(|property| differs(desired, live, property)) => {
            update(session, desired, function, alias).await?
        }
        Some(live) => return Ok(as_desired(desired, &live.physical_id, live.attributes.clone())),
    };
    let url = address(session.endpoint_url(), &url);
    Ok(as_desired(desired, &physical_id(function, alias), attributes(&url)))
}

/// Deletes a URL. A new one would have another address.
pub(crate) async fn delete(session: &Session, physical_id: &str) -> Result<(), CloudError> {
    let (function, alias) = qualified(physical_id);
    let call = session
        .lambda()
        .delete_function_url_config()
        .function_name(function)
        .set_qualifier(alias);
    gone(
        session
            .sdk(Service::Lambda, "lambda:DeleteFunctionUrlConfig", call.send())
            .await,
    )
}

async fn create(
    session: &Session,
    desired: &Desired,
    function: &str,
    alias: Option<&str>,
) -> Result<String, CloudError> {
    let call = session
        .lambda()
        .create_function_url_config()
        .function_name(function)
        .set_qualifier(alias.map(str::to_owned))
        .auth_type(required(desired, "AuthType")?.into())
        .set_invoke_mode(text(&desired.properties, "InvokeMode").map(InvokeMode::from));
    let answer = session
        .sdk(Service::Lambda, "lambda:CreateFunctionUrlConfig", call.send())
        .await?;
    Ok(answer.function_url)
}

async fn update(
    session: &Session,
    desired: &Desired,
    function: &str,
    alias: Option<&str>,
) -> Result<String, CloudError> {
    let call = session
        .lambda()
        .update_function_url_config()
        .function_name(function)
        .set_qualifier(alias.map(str::to_owned))
        .auth_type(required(desired, "AuthType")?.into())
        .set_invoke_mode(text(&desired.properties, "InvokeMode").map(InvokeMode::from));
    let answer = session
        .sdk(Service::Lambda, "lambda:UpdateFunctionUrlConfig", call.send())
        .await?;
    Ok(answer.function_url)
}

fn live(
    target: &Target,
    physical_id: &str,
    url: &str,
    auth_type: &FunctionUrlAuthType,
    invoke_mode: Option<&InvokeMode>,
) -> Live {
    let mut shape = Shape::default();
    // It was found by these two.
    shape
        .copy("TargetFunctionArn", target)
        .copy("Qualifier", target)
        .set("AuthType", Some(auth_type.as_str()))
        .set("InvokeMode", invoke_mode.map(InvokeMode::as_str));
    Live {
        physical_id: physical_id.to_owned(),
        properties: shape.0,
        attributes: attributes(url),
        // It lies inside a function, and that carries a mark.
        ownership: Ownership::Ours,
    }
}

/// Returns the address under which a reported URL is found, with a slash at its end. Behind an endpoint override there are
/// no host names to resolve, and emulators serve the same below a path.
fn address(endpoint: Option<&str>, reported: &str) -> String {
    let id = reported.trim_start_matches("https://").split_once(".lambda-url.");
    match (endpoint, id) {
        (Some(endpoint), Some((id, _))) => format!("{}/_aws/lambda-url/{id}/", endpoint.trim_end_matches('/')),
        _ => format!("{}/", reported.trim_end_matches('/')),
    }
}

fn attributes(url: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("FunctionUrl".to_owned(), url.to_owned())])
}

/// Returns the physical id of what the properties name.
fn located(target: &Target) -> Option<String> {
    let function = bare(text(&target.properties, "TargetFunctionArn")?);
    Some(physical_id(function, text(&target.properties, "Qualifier")))
}

/// `FUNCTION` or `FUNCTION:ALIAS`.
fn physical_id(function: &str, alias: Option<&str>) -> String {
    match alias {
        Some(alias) => format!("{function}:{alias}"),
        None => function.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use infra_cdk::{Kind, StackId};
    use serde_json::{Value as Json, json};

    use super::*;

    #[test]
    fn an_emulator_is_asked_below_its_endpoint() {
        let reported = "https://x1.lambda-url.eu-central-1.on.aws/";
        assert_eq!(address(None, reported), reported);
        assert_eq!(address(None, reported.trim_end_matches('/')), reported);
        let endpoint = Some("http://127.0.0.1:4566/");
        let below = "http://127.0.0.1:4566/_aws/lambda-url/x1/";
        assert_eq!(address(endpoint, reported), below);
        assert_eq!(address(endpoint, below), below);
    }

    #[test]
    fn a_url_is_located_by_function_and_alias_and_read_in_the_shape_of_a_declared_one() {
        let properties = json!({
            "TargetFunctionArn": "arn:aws:lambda:eu-central-1:123456789012:function:chat-dev-web",
            "Qualifier": "live", "AuthType": "AWS_IAM",
        });
        let target = Target {
            stack: StackId {
                app: "chat".into(),
                stage: "dev".into(),
            },
            id: "WebUrl".parse().unwrap(),
            kind: Kind::Url,
            physical_id: None,
            properties: properties.as_object().unwrap().clone(),
        };
        let id = located(&target).unwrap();
        assert_eq!(id, "chat-dev-web:live");
        assert_eq!(qualified(&id), ("chat-dev-web", Some("live".to_owned())));
        let live = live(
            &target,
            &id,
            "https://x.lambda-url.eu-central-1.on.aws/",
            &FunctionUrlAuthType::None,
            Some(&InvokeMode::Buffered),
        );
        let mut expected = properties;
        expected["AuthType"] = json!("NONE");
        expected["InvokeMode"] = json!("BUFFERED");
        assert_eq!(Json::Object(live.properties), expected);
        assert_eq!(
            live.attributes["FunctionUrl"],
            "https://x.lambda-url.eu-central-1.on.aws/"
        );
    }
}
