//! Lambda functions.
//!
//! Lambda changes one thing at a time: while an update is in progress, further ones are refused (Lambda Developer Guide,
//! "Lambda function states"). So every change waits until the function has settled. It is asked for with `GetFunction`,
//! which has a quota of 100 calls a second; `GetFunctionConfiguration` shares 15 a second with everything else.
//!
//! A function that is declared with `Publish` has every change published as a version. The attribute `Version` is the one
//! that equals `$LATEST`; where there is none, the live function lacks `Publish`, and reconciling it publishes. Publishing
//! is safe to repeat: Lambda answers with the last version as long as code and settings are the same (Lambda API
//! Reference, `PublishVersion`).

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{
    ApplicationLogLevel, Architecture, Environment, FunctionCode, FunctionConfiguration, LastUpdateStatus, LogFormat,
    LoggingConfig, PackageType, Runtime, State, SystemLogLevel,
};
use futures_util::future::try_join_all;
use infra_cdk::{Kind, LogicalId};
use infra_engine::{Class, CloudError, Desired, Live, Ownership, Properties, Target};
use serde_json::{Map, Value as Json, json};
use tokio::time::{Instant, sleep};

use crate::Session;
use crate::alias;
use crate::error::{found, gone, is_already_there, refused};
use crate::iam::ours;
use crate::session::{UPLOAD_TIMEOUT, on_own_thread};
use crate::shape::{
    Shape, Tags, as_desired, changed_tags, declared_tags, differs, integer, is_cleared, ownership, required, text,
    unrecorded,
};
use crate::throttle::Service;

/// Pause before the first look at a function that settles: at AWS it takes a second or more, and emulators imitate half of
/// one.
const POLL_FIRST: Duration = Duration::from_millis(600);
/// Pause before all further looks.
const POLL_NEXT: Duration = Duration::from_millis(300);
/// As long as AWS's own waiter waits (`function-active-v2`: 300 times one second).
const SETTLED_WITHIN: Duration = Duration::from_secs(300);

/// Properties that `UpdateFunctionConfiguration` sets.
const CONFIGURATION: [&str; 7] = [
    "Runtime",
    "Handler",
    "MemorySize",
    "Timeout",
    "Role",
    "LoggingConfig",
    "Environment",
];

/// What `GetFunction` answered about a function or an alias; `None` where it does not exist.
type Answer = Option<(FunctionConfiguration, Option<Tags>)>;

/// Reads functions and aliases in one parallel round. A function whose alias names something else than `$LATEST` costs one
/// call more, which looks for the version that does not.
pub(crate) async fn observe(session: &Session, targets: &[&Target]) -> Result<Vec<(LogicalId, Live)>, CloudError> {
    let answers = targets.iter().map(async |target| -> Result<(_, Answer), CloudError> {
        let qualifier = match target.kind {
            Kind::Alias => text(&target.properties, "Name"),
            _ => None,
        };
        match name_of(target) {
            Some(name) => Ok((*target, get(session, name, qualifier).await?)),
            None => Ok((*target, None)),
        }
    });
    let answers = try_join_all(answers).await?;
    let read = answers.iter().map(async |(target, answer)| {
        let Some((configuration, tags)) = answer else {
            return Ok(None);
        };
        if target.kind == Kind::Alias {
            return Ok(alias::live(target, configuration));
        }
        let aliased = answers
            .iter()
            .filter(|(other, _)| other.kind == Kind::Alias && name_of(other) == name_of(target))
            .find_map(|(_, answer)| answer.as_ref());
        let version = match publishes(&target.properties) {
            true => published(session, configuration, aliased.map(|(aliased, _)| aliased)).await?,
            false => None,
        };
        Ok(Some(live(session, target, configuration, tags.as_ref(), version)))
    });
    let read: Vec<Option<Live>> = try_join_all(read).await?;
    let found = targets.iter().zip(read);
    Ok(found
        .filter_map(|(target, live)| Some((target.id.clone(), live?)))
        .collect())
}

fn name_of(target: &Target) -> Option<&str> {
    text(&target.properties, "FunctionName").or(target.physical_id.as_deref())
}

fn live(
    session: &Session,
    target: &Target,
    configuration: &FunctionConfiguration,
    tags: Option<&Tags>,
    version: Option<String>,
) -> Live {
    let mut shape = shape(configuration);
    // Tags are missing from the answer when the caller may not list them.
    shape.set_tags(tags, target);
    shape.set("Publish", version.as_ref().map(|_| true));
    Live {
        physical_id: name_of(target).unwrap_or_default().to_owned(),
        attributes: attributes(session, target.kind, &shape.0, version),
        properties: shape.0,
        ownership: match target.physical_id {
            Some(_) => Ownership::Ours,
            None => ownership(&tags.cloned().unwrap_or_default(), &target.stack, &target.id),
        },
    }
}

/// Returns the version that equals `$LATEST`: `aliased`, if that does, or the newest.
async fn published(
    session: &Session,
    latest: &FunctionConfiguration,
    aliased: Option<&FunctionConfiguration>,
) -> Result<Option<String>, CloudError> {
    let wanted = shape(latest).0;
    let equal = |version: &&FunctionConfiguration| {
        version.version().and_then(alias::number).is_some() && shape(version).0 == wanted
    };
    if let Some(aliased) = aliased.filter(equal) {
        return Ok(aliased.version().map(str::to_owned));
    }
    let versions = alias::versions(session, latest.function_name().unwrap_or_default()).await?;
    let newest = versions
        .iter()
        .filter(equal)
        .max_by_key(|version| version.version().and_then(alias::number));
    Ok(newest.and_then(|version| version.version()).map(str::to_owned))
}

/// Returns whether every change of a function is published as a version.
fn publishes(properties: &Properties) -> bool {
    properties.get("Publish") == Some(&Json::Bool(true))
}

fn attributes(
    session: &Session,
    kind: Kind,
    properties: &Properties,
    version: Option<String>,
) -> BTreeMap<String, String> {
    let mut attributes = session.computed_attributes(kind, properties);
    attributes.extend(version.map(|version| ("Version".to_owned(), version)));
    attributes
}

/// Creates a function and waits until it is active, or brings code, configuration, version and tags up to date.
pub(crate) async fn reconcile(session: &Session, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
    let name = required(desired, "FunctionName")?;
    let done = |version| {
        let attributes = attributes(session, desired.kind, &desired.properties, version);
        as_desired(desired, name, attributes)
    };
    let adopted;
    let live = match live {
        Some(live) => live,
        None => match create(session, desired).await {
            Ok(version) => return Ok(done(version)),
            Err(error) if is_already_there(&error) => {
                let target = unrecorded(desired);
                let found = observe(session, &[&target]).await?.pop();
                adopted = ours(error, found.map(|(_, live)| live))?;
                // An earlier attempt may have made it without hearing so, and nobody has waited for it.
                settled(session, name, None).await?;
                &adopted
            }
            Err(error) => return Err(error),
        },
    };
    let mut version = live.attributes.get("Version").cloned();
    let publishes = publishes(&desired.properties);
    let reconfigures = CONFIGURATION.iter().any(|property| differs(desired, live, property));
    if reconfigures {
        update_configuration(session, desired).await?;
    }
    // The code comes last, so that both are published by the same call. An architecture is only right together with code
    // that was built for it, so these travel in one call too.
    if differs(desired, live, "Code") || differs(desired, live, "Architectures") {
        version = update_code(session, desired).await?;
    } else if publishes && (reconfigures || differs(desired, live, "Publish")) {
        version = Some(publish(session, desired).await?);
    }
    if let Some(tags) = changed_tags(desired, live) {
        let call = session
            .lambda()
            .tag_resource()
            .resource(session.arn(desired.kind, name)?)
            .set_tags(Some(tags.into_iter().collect()));
        session.sdk(Service::Lambda, "lambda:TagResource", call.send()).await?;
    }
    Ok(done(version.filter(|_| publishes)))
}

/// Deletes a function with all its versions, permissions and aliases.
pub(crate) async fn delete(session: &Session, name: &str) -> Result<(), CloudError> {
    let call = session.lambda().delete_function().function_name(name);
    gone(session.sdk(Service::Lambda, "lambda:DeleteFunction", call.send()).await)
}

/// Creates a function; returns the version that was published with it, if any.
async fn create(session: &Session, desired: &Desired) -> Result<Option<String>, CloudError> {
    let name = required(desired, "FunctionName")?;
    let code = FunctionCode::builder().zip_file(zip_file(desired)?).build();
    let call = session
        .lambda()
        .create_function()
        .function_name(name)
        .role(required(desired, "Role")?)
        .code(code)
        .publish(publishes(&desired.properties))
        .package_type(PackageType::Zip)
        .set_runtime(text(&desired.properties, "Runtime").map(Runtime::from))
        .set_handler(text(&desired.properties, "Handler").map(str::to_owned))
        .set_architectures(architectures(desired))
        .set_memory_size(integer(&desired.properties, "MemorySize"))
        .set_timeout(integer(&desired.properties, "Timeout"))
        .set_logging_config(logging_config(desired))
        .set_environment(environment(desired))
        .set_tags(Some(declared_tags(&desired.properties).into_iter().collect()))
        .customize()
        .config_override(aws_sdk_lambda::config::Config::builder().timeout_config(upload_timeouts()));
    let call = session.sdk(Service::Lambda, "lambda:CreateFunction", on_own_thread(call.send()));
    let answer = session.probes().attempt(call).await?;
    let version = number_of(answer.version());
    if answer.state() != Some(&State::Active) {
        settled(session, name, version.as_deref()).await?;
    }
    Ok(version)
}

/// Replaces the code; returns the version that was published with it, if any.
async fn update_code(session: &Session, desired: &Desired) -> Result<Option<String>, CloudError> {
    let name = required(desired, "FunctionName")?;
    let call = session
        .lambda()
        .update_function_code()
        .function_name(name)
        .zip_file(zip_file(desired)?)
        .publish(publishes(&desired.properties))
        .set_architectures(architectures(desired))
        .customize()
        .config_override(aws_sdk_lambda::config::Config::builder().timeout_config(upload_timeouts()));
    let answer = session
        .sdk(Service::Lambda, "lambda:UpdateFunctionCode", on_own_thread(call.send()))
        .await?;
    let version = number_of(answer.version());
    if !is_settled(answer.state(), answer.last_update_status()) {
        settled(session, name, version.as_deref()).await?;
    }
    Ok(version)
}

/// Publishes `$LATEST`, provided that it has the desired code; returns the version.
async fn publish(session: &Session, desired: &Desired) -> Result<String, CloudError> {
    let name = required(desired, "FunctionName")?;
    let code = desired.properties.get("Code").and_then(|code| code.get("Sha256"));
    let call = session
        .lambda()
        .publish_version()
        .function_name(name)
        .set_code_sha256(code.and_then(Json::as_str).map(str::to_owned));
    let answer = session
        .sdk(Service::Lambda, "lambda:PublishVersion", call.send())
        .await?;
    let Some(version) = number_of(answer.version()) else {
        let message = format!("the version of {name} has no number");
        return Err(refused("lambda:PublishVersion", Class::Permanent, message));
    };
    if !is_settled(answer.state(), answer.last_update_status()) {
        settled(session, name, Some(&version)).await?;
    }
    Ok(version)
}

async fn update_configuration(session: &Session, desired: &Desired) -> Result<(), CloudError> {
    let name = required(desired, "FunctionName")?;
    let environment = match environment(desired) {
        // What is not mentioned is kept; only an empty map clears it.
        None if is_cleared(desired, "Environment") => {
            Some(Environment::builder().set_variables(Some(Default::default())).build())
        }
        environment => environment,
    };
    let call = session
        .lambda()
        .update_function_configuration()
        .function_name(name)
        .set_role(text(&desired.properties, "Role").map(str::to_owned))
        .set_runtime(text(&desired.properties, "Runtime").map(Runtime::from))
        .set_handler(text(&desired.properties, "Handler").map(str::to_owned))
        .set_memory_size(integer(&desired.properties, "MemorySize"))
        .set_timeout(integer(&desired.properties, "Timeout"))
        .set_logging_config(logging_config(desired))
        .set_environment(environment);
    let answer = session
        .sdk(Service::Lambda, "lambda:UpdateFunctionConfiguration", call.send())
        .await?;
    match answer.last_update_status() {
        Some(LastUpdateStatus::Successful) => Ok(()),
        _ => settled(session, name, None).await,
    }
}

fn number_of(version: Option<&str>) -> Option<String> {
    version
        .filter(|version| alias::number(version).is_some())
        .map(str::to_owned)
}

fn is_settled(state: Option<&State>, last_update: Option<&LastUpdateStatus>) -> bool {
    state == Some(&State::Active) && last_update == Some(&LastUpdateStatus::Successful)
}

/// Waits until a function, or one of its versions, is active and its last update has ended.
async fn settled(session: &Session, name: &str, version: Option<&str>) -> Result<(), CloudError> {
    let failed = |reason: Option<&str>| {
        let reason = reason.unwrap_or("Lambda gives no reason");
        refused(
            "lambda:GetFunction",
            Class::Permanent,
            format!("{name} failed: {reason}"),
        )
    };
    let deadline = Instant::now() + SETTLED_WITHIN;
    let mut pause = POLL_FIRST;
    let mut turn = None;
    while Instant::now() < deadline {
        if turn.is_none() {
            turn = session.probes().poll().await;
        }
        if turn.is_some() {
            sleep(pause).await;
            pause = POLL_NEXT;
        }
        // A function that was made a moment ago may not be visible everywhere.
        let Some((function, _)) = get(session, name, version).await? else {
            continue;
        };
        match (function.state(), function.last_update_status()) {
            (Some(State::Failed), _) => return Err(failed(function.state_reason())),
            (_, Some(LastUpdateStatus::Failed)) => return Err(failed(function.last_update_status_reason())),
            (Some(State::Pending), _) | (_, Some(LastUpdateStatus::InProgress)) => {}
            _ => return Ok(()),
        }
    }
    let message = format!("{name} has not settled within {} s", SETTLED_WITHIN.as_secs());
    Err(refused("lambda:GetFunction", Class::Busy, message))
}

async fn get(session: &Session, name: &str, qualifier: Option<&str>) -> Result<Answer, CloudError> {
    let call = session
        .lambda()
        .get_function()
        .function_name(name)
        .set_qualifier(qualifier.map(str::to_owned));
    let answer = session
        .sdk(Service::LambdaGetFunction, "lambda:GetFunction", call.send())
        .await;
    Ok(found(answer)?.and_then(|answer| {
        let tags = answer.tags.map(|tags| tags.into_iter().collect());
        Some((answer.configuration?, tags))
    }))
}

fn shape(function: &FunctionConfiguration) -> Shape {
    let mut shape = Shape::default();
    shape
        .set("FunctionName", function.function_name())
        .set("PackageType", function.package_type().map(PackageType::as_str))
        .set("Runtime", function.runtime().map(Runtime::as_str))
        .set("Handler", function.handler())
        .set(
            "Architectures",
            Some(
                function
                    .architectures()
                    .iter()
                    .map(Architecture::as_str)
                    .collect::<Json>(),
            )
            .filter(|list| list != &json!([])),
        )
        .set("MemorySize", function.memory_size())
        .set("Timeout", function.timeout())
        .set("Role", function.role())
        .set("Code", function.code_sha256().map(|sha256| json!({"Sha256": sha256})));
    if let Some(logging) = function.logging_config() {
        let mut inner = Shape::default();
        inner
            .set("LogFormat", logging.log_format().map(LogFormat::as_str))
            .set(
                "ApplicationLogLevel",
                logging.application_log_level().map(ApplicationLogLevel::as_str),
            )
            .set("SystemLogLevel", logging.system_log_level().map(SystemLogLevel::as_str))
            .set("LogGroup", logging.log_group());
        shape.set("LoggingConfig", Some(inner.0));
    }
    let variables = function.environment().and_then(|environment| environment.variables());
    if let Some(variables) = variables.filter(|variables| !variables.is_empty()) {
        let variables: Map<String, Json> = variables
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        shape.set("Environment", Some(json!({"Variables": variables})));
    }
    shape
}

fn zip_file(desired: &Desired) -> Result<Blob, CloudError> {
    match &desired.package {
        Some(package) => Ok(Blob::new(package.to_vec())),
        None => Err(refused(
            "lambda:UpdateFunctionCode",
            Class::Permanent,
            format!("{} has no package to upload", desired.id),
        )),
    }
}

fn architectures(desired: &Desired) -> Option<Vec<Architecture>> {
    let list = desired.properties.get("Architectures")?.as_array()?;
    Some(list.iter().filter_map(Json::as_str).map(Architecture::from).collect())
}

fn logging_config(desired: &Desired) -> Option<LoggingConfig> {
    let declared = desired.properties.get("LoggingConfig")?.as_object()?;
    Some(
        LoggingConfig::builder()
            .set_log_format(text(declared, "LogFormat").map(LogFormat::from))
            .set_application_log_level(text(declared, "ApplicationLogLevel").map(ApplicationLogLevel::from))
            .set_system_log_level(text(declared, "SystemLogLevel").map(SystemLogLevel::from))
            .set_log_group(text(declared, "LogGroup").map(str::to_owned))
            .build(),
    )
}

fn environment(desired: &Desired) -> Option<Environment> {
    let declared = desired.properties.get("Environment")?.get("Variables")?.as_object()?;
    let variables = declared
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    Some(Environment::builder().set_variables(Some(variables)).build())
}

fn upload_timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_attempt_timeout(UPLOAD_TIMEOUT)
        .build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use aws_sdk_lambda::types::EnvironmentResponse;

    use super::*;

    #[test]
    fn a_live_function_has_the_shape_of_a_declared_one() {
        let function = FunctionConfiguration::builder()
            .function_name("chat-dev-connect")
            .package_type(PackageType::Zip)
            .runtime(Runtime::from("provided.al2023"))
            .handler("bootstrap")
            .architectures(Architecture::Arm64)
            .memory_size(256)
            .timeout(10)
            .role("arn:aws:iam::123456789012:role/r")
            .code_sha256("abc=")
            .logging_config(
                LoggingConfig::builder()
                    .log_format(LogFormat::Json)
                    .application_log_level(ApplicationLogLevel::Info)
                    .system_log_level(SystemLogLevel::Info)
                    .log_group("/aws/lambda/chat-dev-connect")
                    .build(),
            )
            .environment(EnvironmentResponse::builder().variables("TABLE", "t").build())
            .build();
        let expected = json!({
            "FunctionName": "chat-dev-connect", "PackageType": "Zip", "Runtime": "provided.al2023",
            "Handler": "bootstrap", "Architectures": ["arm64"], "MemorySize": 256, "Timeout": 10,
            "Role": "arn:aws:iam::123456789012:role/r", "Code": {"Sha256": "abc="},
            "LoggingConfig": {"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO",
                "LogGroup": "/aws/lambda/chat-dev-connect"},
            "Environment": {"Variables": {"TABLE": "t"}},
        });
        assert_eq!(Json::Object(shape(&function).0), expected);
    }
}
