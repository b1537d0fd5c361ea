//! Published versions, which never change, and aliases, which name them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::control::check_revision;
use super::model::{Alias, Function, Version};
use super::name::{FunctionRef, LATEST, function_arn, is_name};
use super::validation::{Violations, invalid_parameter};
use super::{Call, body, no_content, page};
use crate::cloud::{Account, SharedCloud};
use crate::wire::{ApiError, Request, Response, request_id, rest_json};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PublishVersion {
    code_sha256: Option<String>,
    description: Option<String>,
    revision_id: Option<String>,
}

/// `PublishVersion`.
pub(super) fn publish(cloud: &SharedCloud, of: &FunctionRef, request: &Request) -> Result<Response, ApiError> {
    let publish: PublishVersion = body(request)?;
    check_description(publish.description.as_deref())?;
    let mut store = cloud.lambda.store_mut();
    let function = store.function_mut(of, &cloud.account)?;
    let latest = &function.latest;
    check_revision(publish.revision_id.as_deref(), &latest.revision_id)?;
    if let Some(sha256) = publish.code_sha256.filter(|sha256| *sha256 != latest.code_sha256) {
        return Err(invalid_parameter(format!(
            "CodeSHA256 ({sha256}) is different from current CodeSHA256 in $LATEST ({}). Please try again with the CodeSHA256 in $LATEST.",
            latest.code_sha256
        )));
    }
    if latest.is_pending() || latest.is_updating() {
        let arn = function_arn(&cloud.account, &of.name);
        let message =
            format!("The operation cannot be performed at this time. An update is in progress for resource: {arn}");
        return Err(ApiError::new(409, "ResourceConflictException", message));
    }
    let version = snapshot(function, publish.description);
    Ok(rest_json(201, &version.describe(&cloud.account, None)))
}

/// Publishes `$LATEST`, or returns the last version if nothing but the description changed since.
pub(super) fn snapshot(function: &mut Function, description: Option<String>) -> Arc<Version> {
    let latest = &function.latest;
    if let Some(last) = function.versions.get(&function.last_number) {
        let mut configuration = last.configuration.clone();
        configuration.description.clone_from(&latest.configuration.description);
        let unchanged = last.code_sha256 == latest.code_sha256
            && last.architectures == latest.architectures
            && configuration == latest.configuration;
        if unchanged {
            return Arc::clone(last);
        }
    }
    let mut version = Version::clone(latest);
    function.last_number += 1;
    version.number = Some(function.last_number);
    version.revision_id = request_id();
    if let Some(description) = description {
        version.configuration.description = description;
    }
    let version = Arc::new(version);
    function.versions.insert(function.last_number, Arc::clone(&version));
    version
}

/// `ListVersionsByFunction`.
pub(super) fn list(cloud: &SharedCloud, of: &FunctionRef, call: &Call) -> Result<Response, ApiError> {
    let store = cloud.lambda.store();
    let function = store.function(of, &cloud.account)?;
    let versions: Vec<&Arc<Version>> = [&function.latest]
        .into_iter()
        .chain(function.versions.values())
        .collect();
    let (versions, next) = page(versions, call, |version| version.label())?;
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| version.describe(&cloud.account, Some(&version.label())))
        .collect();
    Ok(rest_json(200, &json!({ "Versions": versions, "NextMarker": next })))
}

/// Deletes one published version, which no alias may name.
pub(super) fn delete(
    function: &mut Function,
    of: &FunctionRef,
    version: &str,
    account: &Account,
) -> Result<(), ApiError> {
    let Ok(number) = version.parse::<u64>() else {
        return Err(invalid_parameter("Deletion of aliases is not currently supported."));
    };
    if !function.versions.contains_key(&number) {
        return Err(of.not_found(account));
    }
    let named = |alias: &&Alias| alias.version == version || alias.additional_weights.contains_key(version);
    let aliases: Vec<&str> = function
        .aliases
        .values()
        .filter(named)
        .map(|alias| alias.name.as_str())
        .collect();
    if !aliases.is_empty() {
        let message = format!(
            "Version {version} is currently referenced by aliases [{}]",
            aliases.join(", ")
        );
        return Err(ApiError::new(409, "ResourceConflictException", message));
    }
    function.versions.remove(&number);
    function.policies.remove(version);
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AliasSettings {
    name: Option<String>,
    function_version: Option<String>,
    description: Option<String>,
    routing_config: Option<RoutingConfig>,
    revision_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoutingConfig {
    #[serde(default)]
    additional_version_weights: BTreeMap<String, f64>,
}

/// `CreateAlias`.
pub(super) fn create_alias(cloud: &SharedCloud, of: &FunctionRef, request: &Request) -> Result<Response, ApiError> {
    let settings: AliasSettings = body(request)?;
    let (Some(name), Some(version)) = (settings.name.clone(), settings.function_version.clone()) else {
        return Err(invalid_parameter("an alias needs a name and a function version"));
    };
    let mut violations = Violations::default();
    let ok = is_name(&name) && !name.bytes().all(|byte| byte.is_ascii_digit());
    violations.pattern("name", &name, ok, "(?!^[0-9]+$)([a-zA-Z0-9-_]+)");
    violations.finish()?;
    let mut store = cloud.lambda.store_mut();
    let function = store.function_mut(of, &cloud.account)?;
    let arn = format!("{}:{name}", function_arn(&cloud.account, &of.name));
    if function.aliases.contains_key(&name) {
        return Err(ApiError::new(
            409,
            "ResourceConflictException",
            format!("Alias already exists: {arn}"),
        ));
    }
    let mut alias = Alias {
        name,
        version,
        description: String::new(),
        additional_weights: BTreeMap::new(),
        revision_id: request_id(),
    };
    apply(&mut alias, settings, function, of, &cloud.account)?;
    let answer = alias.describe(&cloud.account, &of.name);
    function.aliases.insert(alias.name.clone(), alias);
    Ok(rest_json(201, &answer))
}

/// `GetAlias`.
pub(super) fn get_alias(cloud: &SharedCloud, of: &FunctionRef, name: &str) -> Result<Response, ApiError> {
    let store = cloud.lambda.store();
    let function = store.function(of, &cloud.account)?;
    let alias = function
        .aliases
        .get(name)
        .ok_or_else(|| no_alias(&cloud.account, of, name))?;
    Ok(rest_json(200, &alias.describe(&cloud.account, &of.name)))
}

/// `UpdateAlias`.
pub(super) fn update_alias(
    cloud: &SharedCloud,
    of: &FunctionRef,
    name: &str,
    request: &Request,
) -> Result<Response, ApiError> {
    let settings: AliasSettings = body(request)?;
    let mut store = cloud.lambda.store_mut();
    let function = store.function_mut(of, &cloud.account)?;
    let mut alias = function
        .aliases
        .get(name)
        .cloned()
        .ok_or_else(|| no_alias(&cloud.account, of, name))?;
    check_revision(settings.revision_id.as_deref(), &alias.revision_id)?;
    apply(&mut alias, settings, function, of, &cloud.account)?;
    alias.revision_id = request_id();
    let answer = alias.describe(&cloud.account, &of.name);
    function.aliases.insert(alias.name.clone(), alias);
    Ok(rest_json(200, &answer))
}

/// `DeleteAlias`. Deleting a missing alias succeeds, as on AWS.
pub(super) fn delete_alias(cloud: &SharedCloud, of: &FunctionRef, name: &str) -> Result<Response, ApiError> {
    let mut store = cloud.lambda.store_mut();
    let function = store.function_mut(of, &cloud.account)?;
    function.aliases.remove(name);
    function.policies.remove(name);
    function.urls.remove(name);
    Ok(no_content())
}

/// `ListAliases`.
pub(super) fn list_aliases(cloud: &SharedCloud, of: &FunctionRef, call: &Call) -> Result<Response, ApiError> {
    let wanted = call.query("FunctionVersion");
    let store = cloud.lambda.store();
    let function = store.function(of, &cloud.account)?;
    let aliases: Vec<&Alias> = function
        .aliases
        .values()
        .filter(|alias| wanted.is_none_or(|version| alias.version == version))
        .collect();
    let (aliases, next) = page(aliases, call, |alias| alias.name.clone())?;
    let aliases: Vec<Value> = aliases
        .iter()
        .map(|alias| alias.describe(&cloud.account, &of.name))
        .collect();
    Ok(rest_json(200, &json!({ "Aliases": aliases, "NextMarker": next })))
}

fn apply(
    alias: &mut Alias,
    settings: AliasSettings,
    function: &Function,
    of: &FunctionRef,
    account: &Account,
) -> Result<(), ApiError> {
    check_description(settings.description.as_deref())?;
    if let Some(version) = settings.function_version {
        alias.version = version;
    }
    if let Some(description) = settings.description {
        alias.description = description;
    }
    if let Some(routing) = settings.routing_config {
        alias.additional_weights = routing.additional_version_weights;
    }
    for version in alias.additional_weights.keys().chain([&alias.version]) {
        if function.numbered(version).is_none() {
            let missing = FunctionRef {
                name: of.name.clone(),
                qualifier: Some(version.clone()),
            };
            return Err(missing.not_found(account));
        }
    }
    let weights = &alias.additional_weights;
    if weights.len() > 1 || weights.values().any(|weight| !(0.0..=1.0).contains(weight)) {
        return Err(invalid_parameter(
            "an alias routes to at most one additional version, with a weight from 0 to 1",
        ));
    }
    if !weights.is_empty() && (alias.version == LATEST || weights.contains_key(LATEST)) {
        return Err(invalid_parameter(
            "$LATEST is not supported for an alias pointing to more than 1 version",
        ));
    }
    Ok(())
}

fn no_alias(account: &Account, of: &FunctionRef, name: &str) -> ApiError {
    let message = format!("Cannot find alias arn: {}:{name}", function_arn(account, &of.name));
    ApiError::new(404, "ResourceNotFoundException", message)
}

fn check_description(description: Option<&str>) -> Result<(), ApiError> {
    let mut violations = Violations::default();
    violations.length("description", description, 256);
    violations.finish()
}
