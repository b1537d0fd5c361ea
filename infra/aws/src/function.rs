//! Lambda functions.
//!
//! Lambda changes one thing at a time: while an update is in progress, further ones are refused (Lambda Developer Guide,
//! "Lambda function states"). So every change waits until the function has settled. It is asked for with `GetFunction`,
//! which has a quota of 100 calls a second; `GetFunctionConfiguration` shares 15 a second with everything else.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{
    ApplicationLogLevel, Architecture, Environment, FunctionCode, FunctionConfiguration, LastUpdateStatus, LogFormat,
    LoggingConfig, PackageType, Runtime, State, SystemLogLevel,
};
use infra_engine::{Class, CloudError, Desired, Live, Ownership, Target};
use serde_json::{Map, Value as Json, json};
use tokio::time::{Instant, sleep};

use crate::Session;
use crate::error::{found, gone, is_already_there, refused};
use crate::iam::ours;
use crate::session::UPLOAD_TIMEOUT;
use crate::shape::{
    Shape, Tags, as_desired, changed_tags, declared_tags, differs, integer, is_cleared, ownership, required, text,
    unrecorded,
};
use crate::throttle::Service;

/// First pause between two looks at a function that settles; it grows to the second one.
const POLL_FIRST: Duration = Duration::from_millis(200);
const POLL_LAST: Duration = Duration::from_secs(1);
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

/// Reads a function; `GetFunction` brings its tags.
pub(crate) async fn observe(session: &Session, target: &Target) -> Result<Option<Live>, CloudError> {
    let Some(name) = target
        .physical_id
        .as_deref()
        .or_else(|| text(&target.properties, "FunctionName"))
    else {
        return Ok(None);
    };
    let Some((configuration, tags)) = get(session, name).await? else {
        return Ok(None);
    };
    let mut shape = shape(&configuration);
    // Tags are missing from the answer when the caller may not list them.
    shape.set_tags(tags.as_ref(), target);
    Ok(Some(Live {
        physical_id: name.to_owned(),
        attributes: session.computed_attributes(target.kind, &shape.0),
        properties: shape.0,
        ownership: match target.physical_id {
            Some(_) => Ownership::Ours,
            None => ownership(&tags.unwrap_or_default(), &target.stack, &target.id),
        },
    }))
}

/// Creates a function and waits until it is active, or brings code, configuration and tags up to date.
pub(crate) async fn reconcile(session: &Session, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
    let name = required(desired, "FunctionName")?;
    let attributes = session.computed_attributes(desired.kind, &desired.properties);
    let adopted;
    let live = match live {
        Some(live) => live,
        None => match create(session, desired).await {
            Ok(()) => return Ok(as_desired(desired, name, attributes)),
            Err(error) if is_already_there(&error) => {
                adopted = ours(error, observe(session, &unrecorded(desired)).await?)?;
                &adopted
            }
            Err(error) => return Err(error),
        },
    };
    // An architecture is only right together with code that was built for it, so both travel in one call.
    if differs(desired, live, "Code") || differs(desired, live, "Architectures") {
        update_code(session, desired).await?;
    }
    if CONFIGURATION.iter().any(|property| differs(desired, live, property)) {
        update_configuration(session, desired).await?;
    }
    if let Some(tags) = changed_tags(desired, live) {
        let call = session
            .lambda()
            .tag_resource()
            .resource(session.arn(desired.kind, name)?)
            .set_tags(Some(tags.into_iter().collect()));
        session.sdk(Service::Lambda, "lambda:TagResource", call.send()).await?;
    }
    Ok(as_desired(desired, name, attributes))
}

/// Deletes a function with all its versions, permissions and aliases.
pub(crate) async fn delete(session: &Session, name: &str) -> Result<(), CloudError> {
    let call = session.lambda().delete_function().function_name(name);
    gone(session.sdk(Service::Lambda, "lambda:DeleteFunction", call.send()).await)
}

async fn create(session: &Session, desired: &Desired) -> Result<(), CloudError> {
    let name = required(desired, "FunctionName")?;
    let code = FunctionCode::builder().zip_file(zip_file(desired)?).build();
    let call = session
        .lambda()
        .create_function()
        .function_name(name)
        .role(required(desired, "Role")?)
        .code(code)
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
    let answer = session
        .sdk(Service::Lambda, "lambda:CreateFunction", call.send())
        .await?;
    match answer.state() {
        Some(State::Active) => Ok(()),
        _ => settled(session, name).await,
    }
}

async fn update_code(session: &Session, desired: &Desired) -> Result<(), CloudError> {
    let name = required(desired, "FunctionName")?;
    let call = session
        .lambda()
        .update_function_code()
        .function_name(name)
        .zip_file(zip_file(desired)?)
        .set_architectures(architectures(desired))
        .customize()
        .config_override(aws_sdk_lambda::config::Config::builder().timeout_config(upload_timeouts()));
    let answer = session
        .sdk(Service::Lambda, "lambda:UpdateFunctionCode", call.send())
        .await?;
    match answer.last_update_status() {
        Some(LastUpdateStatus::Successful) => Ok(()),
        _ => settled(session, name).await,
    }
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
        _ => settled(session, name).await,
    }
}

/// Waits until a function is active and its last update has ended.
async fn settled(session: &Session, name: &str) -> Result<(), CloudError> {
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
    while Instant::now() < deadline {
        sleep(pause).await;
        pause = (pause * 3 / 2).min(POLL_LAST);
        // A function that was made a moment ago may not be visible everywhere.
        let Some((function, _)) = get(session, name).await? else {
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

async fn get(session: &Session, name: &str) -> Result<Option<(FunctionConfiguration, Option<Tags>)>, CloudError> {
    let call = session.lambda().get_function().function_name(name);
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
