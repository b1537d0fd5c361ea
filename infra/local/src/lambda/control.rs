//! Functions: create, read, update, delete, and their reserved concurrency.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::code::{CodeSource, Package};
use super::model::{Archive, Function, Version, merge, now_ms};
use super::name::{self, FunctionRef, LATEST, function_arn};
use super::settings::{Configuration, Settings};
use super::validation::{Violations, invalid_parameter, refuse_unknown};
use super::{Call, body, no_content, page, versions};
use crate::cloud::{Account, SharedCloud};
use crate::wire::{ApiError, Request, Response, request_id, rest_json};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateFunction {
    function_name: String,
    code: CodeSource,
    architectures: Option<Vec<String>>,
    package_type: Option<String>,
    #[serde(default)]
    publish: bool,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(flatten)]
    settings: Settings,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// `CreateFunction`.
pub(super) fn create(cloud: &SharedCloud, request: &Request) -> Result<Response, ApiError> {
    let create: CreateFunction = body(request)?;
    let function = FunctionRef::parse(&create.function_name, None, &cloud.account)?;
    if function.qualifier.is_some() || !name::is_function_name(&function.name) {
        return Err(name::invalid(&create.function_name));
    }
    refuse_unknown(&create.rest)?;
    super::tags::check(&create.tags)?;
    check_architectures(create.architectures.as_deref())?;
    create.settings.validate()?;
    if create.package_type.as_deref().is_some_and(|package| package != "Zip") {
        return Err(invalid_parameter("the local cloud runs zip packages only"));
    }
    if create.settings.runtime.is_none() || create.settings.handler.is_none() {
        let message = "Runtime and Handler are mandatory parameters for functions created with deployment packages.";
        return Err(invalid_parameter(message));
    }
    let Some(role) = &create.settings.role else {
        return Err(invalid_parameter("the role of the function is missing"));
    };
    let account = &cloud.account;
    let exists = || {
        ApiError::new(
            409,
            "ResourceConflictException",
            format!("Function already exist: {}", function.name),
        )
    };
    if cloud.lambda.store().functions.contains_key(&function.name) {
        return Err(exists());
    }
    check_role(cloud, role)?;
    let package = Package::read(create.code)?;

    let mut store = cloud.lambda.store_mut();
    if store.functions.contains_key(&function.name) {
        return Err(exists());
    }
    let settled = settled_from(cloud);
    let latest = Arc::new(Version {
        function: function.name.clone(),
        number: None,
        code_sha256: package.sha256.clone(),
        code_size: package.bytes.len(),
        architectures: create.architectures.unwrap_or_else(|| vec!["x86_64".to_owned()]),
        configuration: Configuration::new(&function.name, create.settings),
        revision_id: request_id(),
        modified_ms: now_ms(),
        active_from_ms: settled,
        updated_from_ms: settled,
    });
    store.archives.insert(package.sha256, Archive(package.bytes));
    let mut created = Function {
        latest,
        versions: BTreeMap::new(),
        last_number: 0,
        aliases: BTreeMap::new(),
        policies: BTreeMap::new(),
        urls: BTreeMap::new(),
        tags: create.tags,
        reserved_concurrency: None,
    };
    let answered = published(&mut created, create.publish);
    store.functions.insert(function.name, created);
    Ok(rest_json(201, &answered.describe(account, None)))
}

/// `GetFunction`.
pub(super) fn get(cloud: &SharedCloud, of: &FunctionRef) -> Result<Response, ApiError> {
    let store = cloud.lambda.store();
    let function = store.function(of, &cloud.account)?;
    let mut answer = json!({
        "Configuration": describe(function, of, &cloud.account)?,
        "Code": { "RepositoryType": "S3", "Location": code_location(&cloud.account, function, of) },
    });
    if !function.tags.is_empty() {
        merge(&mut answer, json!({ "Tags": function.tags }));
    }
    if let Some(reserved) = function.reserved_concurrency {
        merge(
            &mut answer,
            json!({ "Concurrency": { "ReservedConcurrentExecutions": reserved } }),
        );
    }
    Ok(rest_json(200, &answer))
}

/// `GetFunctionConfiguration`.
pub(super) fn get_configuration(cloud: &SharedCloud, of: &FunctionRef) -> Result<Response, ApiError> {
    let store = cloud.lambda.store();
    let function = store.function(of, &cloud.account)?;
    Ok(rest_json(200, &describe(function, of, &cloud.account)?))
}

/// `ListFunctions`.
pub(super) fn list(cloud: &SharedCloud, call: &Call) -> Result<Response, ApiError> {
    let all = call.query("FunctionVersion") == Some("ALL");
    let store = cloud.lambda.store();
    let versions: Vec<Arc<Version>> = store
        .functions
        .values()
        .flat_map(|function| {
            let published = function.versions.values().filter(|_| all);
            [&function.latest].into_iter().chain(published).cloned()
        })
        .collect();
    let (versions, next) = page(versions, call, |version| {
        format!("{}:{}", version.function, version.label())
    })?;
    let functions: Vec<Value> = versions
        .iter()
        .map(|version| version.describe(&cloud.account, None))
        .collect();
    Ok(rest_json(200, &json!({ "Functions": functions, "NextMarker": next })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateCode {
    #[serde(flatten)]
    code: CodeSource,
    architectures: Option<Vec<String>>,
    #[serde(default)]
    publish: bool,
    #[serde(default)]
    dry_run: bool,
    revision_id: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// `UpdateFunctionCode`.
pub(super) fn update_code(cloud: &SharedCloud, of: &FunctionRef, request: &Request) -> Result<Response, ApiError> {
    let update: UpdateCode = body(request)?;
    refuse_unknown(&update.rest)?;
    check_architectures(update.architectures.as_deref())?;
    check_updatable(cloud, of, update.revision_id.as_deref())?;
    if update.code.is_empty() {
        return Err(invalid_parameter("Please provide a source for function code."));
    }
    let package = Package::read(update.code)?;
    let change = |version: &mut Version| {
        version.code_sha256.clone_from(&package.sha256);
        version.code_size = package.bytes.len();
        if let Some(architectures) = update.architectures {
            version.architectures = architectures;
        }
    };
    if update.dry_run {
        let store = cloud.lambda.store();
        let mut version = Version::clone(&store.function(of, &cloud.account)?.latest);
        change(&mut version);
        return Ok(rest_json(200, &version.describe(&cloud.account, None)));
    }
    let answered = change_latest(
        cloud,
        of,
        update.revision_id.as_deref(),
        update.publish,
        Some(&package),
        change,
    )?;
    Ok(rest_json(200, &answered.describe(&cloud.account, None)))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateConfiguration {
    revision_id: Option<String>,
    #[serde(flatten)]
    settings: Settings,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// `UpdateFunctionConfiguration`. `Architectures` belongs to the code and is refused here.
pub(super) fn update_configuration(
    cloud: &SharedCloud,
    of: &FunctionRef,
    request: &Request,
) -> Result<Response, ApiError> {
    let update: UpdateConfiguration = body(request)?;
    refuse_unknown(&update.rest)?;
    update.settings.validate()?;
    check_updatable(cloud, of, update.revision_id.as_deref())?;
    if let Some(role) = &update.settings.role {
        check_role(cloud, role)?;
    }
    let change = |version: &mut Version| version.configuration.apply(&of.name, update.settings);
    let answered = change_latest(cloud, of, update.revision_id.as_deref(), false, None, change)?;
    Ok(rest_json(200, &answered.describe(&cloud.account, None)))
}

/// `DeleteFunction`: the function, or one published version.
pub(super) fn delete(cloud: &SharedCloud, of: &FunctionRef) -> Result<Response, ApiError> {
    let mut store = cloud.lambda.store_mut();
    let function = store.function_mut(of, &cloud.account)?;
    match &of.qualifier {
        None => {
            store.functions.remove(&of.name);
        }
        Some(version) => versions::delete(function, of, version, &cloud.account)?,
    }
    store.collect_garbage();
    drop(store);
    cloud.lambda.host.retire(&of.name, of.qualifier.as_deref());
    Ok(no_content())
}

/// Returns AWS's answer to a stale `RevisionId`.
pub(super) fn check_revision(given: Option<&str>, current: &str) -> Result<(), ApiError> {
    match given {
        Some(given) if given != current => Err(ApiError::new(
            412,
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id",
        )),
        Some(_) | None => Ok(()),
    }
}

/// Changes `$LATEST` under the lock, stores the package if there is one, and retires the processes of the old one.
fn change_latest(
    cloud: &SharedCloud,
    of: &FunctionRef,
    revision_id: Option<&str>,
    publish: bool,
    package: Option<&Package>,
    change: impl FnOnce(&mut Version),
) -> Result<Arc<Version>, ApiError> {
    check_updatable(cloud, of, revision_id)?;
    let mut store = cloud.lambda.store_mut();
    let settled = settled_from(cloud);
    let function = store.function_mut(of, &cloud.account)?;
    let latest = Arc::make_mut(&mut function.latest);
    change(latest);
    latest.revision_id = request_id();
    latest.modified_ms = now_ms();
    latest.updated_from_ms = settled;
    let answered = published(function, publish);
    if let Some(package) = package {
        store
            .archives
            .insert(package.sha256.clone(), Archive(package.bytes.clone()));
        store.collect_garbage();
    }
    drop(store);
    cloud.lambda.host.retire(&of.name, Some(LATEST));
    Ok(answered)
}

/// Checks what must hold before an update: it exists, no version is named, the revision is current, and no other
/// update is in progress.
fn check_updatable(cloud: &SharedCloud, of: &FunctionRef, revision_id: Option<&str>) -> Result<(), ApiError> {
    let store = cloud.lambda.store();
    let latest = &store.function(of, &cloud.account)?.latest;
    if of.qualifier.is_some() {
        return Err(invalid_parameter(
            "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN.",
        ));
    }
    if latest.is_pending() {
        return Err(ApiError::new(
            409,
            "ResourceConflictException",
            "The operation cannot be performed at this time. The function is currently in the following state: Pending",
        ));
    }
    if latest.is_updating() {
        let arn = function_arn(&cloud.account, &of.name);
        let message =
            format!("The operation cannot be performed at this time. An update is in progress for resource: {arn}");
        return Err(ApiError::new(409, "ResourceConflictException", message));
    }
    check_revision(revision_id, &latest.revision_id)
}

fn check_role(cloud: &SharedCloud, role: &str) -> Result<(), ApiError> {
    if cloud.iam.assumable_by(role, "lambda.amazonaws.com") && cloud.unkind.is_propagated(role) {
        return Ok(());
    }
    Err(invalid_parameter(
        "The role defined for the function cannot be assumed by Lambda.",
    ))
}

fn check_architectures(architectures: Option<&[String]>) -> Result<(), ApiError> {
    let Some(architectures) = architectures else {
        return Ok(());
    };
    let mut violations = Violations::default();
    let [architecture] = architectures else {
        violations.pattern(
            "architectures",
            &architectures.join(", "),
            false,
            "exactly one architecture",
        );
        return violations.finish();
    };
    violations.one_of("architectures", Some(architecture), &["x86_64", "arm64"]);
    violations.finish()
}

/// Returns the moment from which a change made now is settled.
fn settled_from(cloud: &SharedCloud) -> i64 {
    let pending = i64::try_from(cloud.unkind.pending().as_millis()).unwrap_or(i64::MAX);
    now_ms().saturating_add(pending)
}

/// Publishes a version if asked to; returns the version to answer with.
fn published(function: &mut Function, publish: bool) -> Arc<Version> {
    if publish {
        versions::snapshot(function, None)
    } else {
        Arc::clone(&function.latest)
    }
}

fn describe(function: &Function, of: &FunctionRef, account: &Account) -> Result<Value, ApiError> {
    let version = function
        .version(of.qualifier.as_deref())
        .ok_or_else(|| of.not_found(account))?;
    Ok(version.describe(account, of.qualifier.as_deref()))
}

/// On AWS a signed S3 address that lives for ten minutes; here there is nothing to fetch, and the name says so.
fn code_location(account: &Account, function: &Function, of: &FunctionRef) -> String {
    let sha256 = function
        .version(of.qualifier.as_deref())
        .map(|version| version.code_sha256.as_str());
    format!(
        "https://local-cloud.invalid/{}/{}/{}",
        account.id,
        of.name,
        sha256.unwrap_or_default()
    )
}
