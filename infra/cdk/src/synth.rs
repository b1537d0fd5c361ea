//! Prints a graph as a CloudFormation template. Pure: the same graph and packages give the same bytes.
//!
//! The template describes what the direct engine makes, so that either can be read, checked or deployed in place of the
//! other. Four things differ. A `SecureString` parameter cannot be made by CloudFormation: it is named under `Metadata`,
//! and what refers to it is written out. The role by which API Gateway writes logs is one for all APIs of an account; a
//! template would replace it and take it along when its stack goes, so it is named under `Metadata`, too. A deployment of an API has the digest of its snapshot in its logical id:
//! CloudFormation makes a new one only under a new id. And so have the versions of functions, which are no resources of
//! the graph: the direct engine publishes them together with what they are versions of.
//!
//! Read next: [`render`] for how references become `Ref`, `Fn::GetAtt` and `Fn::Sub`.

mod compare;
mod render;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

pub use self::compare::{Difference, differences};
use self::render::Renderer;
use crate::{Graph, Kind, LogicalId, Mistakes, RemovalPolicy, Resource, Value};

/// The template's parameter that names the S3 bucket of the functions' packages.
pub const ASSET_BUCKET: &str = "AssetBucket";

/// Largest template that a request may carry, in bytes (CloudFormation API Reference, `TemplateBody`).
const INLINE_BYTES_MAX: usize = 51_200;

/// Largest template that CloudFormation reads from S3: 1 MB (CloudFormation User Guide, "quotas").
const BYTES_MAX: usize = 1_000_000;

/// Most resources of a template, and most outputs (CloudFormation User Guide, "quotas").
const RESOURCES_MAX: usize = 500;
const OUTPUTS_MAX: usize = 200;

/// A CloudFormation template. Serialising it gives the sections in the order in which people read them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Template {
    #[serde(rename = "AWSTemplateFormatVersion")]
    format_version: &'static str,
    description: String,
    metadata: Json,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parameters: BTreeMap<&'static str, Json>,
    resources: BTreeMap<String, TemplateResource>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    outputs: BTreeMap<String, Json>,
    #[serde(skip)]
    entries: BTreeMap<String, Entry>,
}

/// What an entry of a template's `Resources` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A resource of the graph.
    Resource(LogicalId),
    /// The version that this function publishes.
    Version(LogicalId),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct TemplateResource {
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    depends_on: BTreeSet<String>,
    deletion_policy: &'static str,
    update_replace_policy: &'static str,
    metadata: Json,
    properties: BTreeMap<String, Json>,
}

impl Template {
    /// Returns what each entry of `Resources` stands for.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Returns the template without outputs: an import may not bring any (CloudFormation User Guide, "Import AWS resources
    /// into a CloudFormation stack manually").
    #[must_use]
    pub fn without_outputs(mut self) -> Self {
        self.outputs.clear();
        self
    }

    /// Returns the template as YAML, with a line break at its end.
    ///
    /// # Errors
    /// None that a template of [`synth`] can cause.
    pub fn to_yaml(&self) -> Result<String, SynthError> {
        let value = serde_yaml::to_value(self).map_err(|error| SynthError::Unwritable(error.to_string()))?;
        Ok(yaml::write(&value))
    }

    /// Returns the template as indented JSON, with a line break at its end.
    ///
    /// # Errors
    /// None that a template of [`synth`] can cause.
    pub fn to_json(&self) -> Result<String, SynthError> {
        let text = serde_json::to_string_pretty(self).map_err(|error| SynthError::Unwritable(error.to_string()))?;
        Ok(text + "\n")
    }
}

/// Why a graph has no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SynthError {
    /// The digest of a package was not given.
    #[error("function binary `{0}` is not packaged")]
    MissingPackage(String),
    /// A text is put together from something that is no text.
    #[error("{subject}: a list, a map or a package cannot be part of a text")]
    NotText {
        /// The resource or output.
        subject: String,
    },
    /// Two entries of the template have one name.
    #[error("the template would have two entries called {0}; give the resource another name")]
    NameTaken(String),
    /// CloudFormation does not allow the name of an output.
    #[error("output `{0}` must have a name of letters and digits")]
    OutputName(String),
    /// CloudFormation does not allow as many entries.
    #[error("{count} {what} are more than the {max} of a CloudFormation template; split the stack")]
    TooMany {
        /// `resources` or `outputs`.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// The template has a value that its format cannot express.
    #[error("cannot write the template: {0}")]
    Unwritable(String),
    /// A text is no template.
    #[error("cannot read the template: {0}")]
    Unreadable(String),
    /// CloudFormation does not read a template of this size.
    #[error("the template has {bytes} bytes, and CloudFormation reads at most {BYTES_MAX}; split the stack")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// How a template of some size reaches CloudFormation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Inside the request.
    Inline,
    /// From an S3 bucket: it is too large for a request.
    Upload,
}

impl Delivery {
    /// Returns how a template of `bytes` bytes, as printed, reaches CloudFormation.
    ///
    /// # Errors
    /// [`SynthError::TooLarge`] if it cannot at all.
    pub fn of(bytes: usize) -> Result<Self, SynthError> {
        if bytes <= INLINE_BYTES_MAX {
            Ok(Self::Inline)
        } else if bytes <= BYTES_MAX {
            Ok(Self::Upload)
        } else {
            Err(SynthError::TooLarge { bytes })
        }
    }
}

/// Returns the key under which the template expects the package of a function in the asset bucket: `chat/DIGEST.zip`.
///
/// `digest` is the SHA-256 of the zip file in hexadecimal, as `sha256sum` prints it.
#[must_use]
pub fn asset_key(app: &str, digest: &str) -> String {
    format!("{app}/{digest}.zip")
}

/// Returns the template of a graph. `digests` has, for every function binary, what [`asset_key`] needs.
///
/// # Errors
/// What CloudFormation could not take. Sizes are checked by [`Delivery::of`], since they depend on the format.
pub fn synth(graph: &Graph, digests: &BTreeMap<String, String>) -> Result<Template, SynthError> {
    let mut renderer = Renderer::new(graph, digests);
    for (id, function) in graph.resources().iter().filter(|(_, resource)| publishes(resource)) {
        let entry = template_resource(graph, &renderer, id, function)?;
        renderer.set_version(id, &digest(&entry.properties));
    }
    let mut resources = BTreeMap::new();
    let mut parameters = BTreeMap::new();
    let mut entries = BTreeMap::new();
    for (function, name) in renderer.versions() {
        resources.insert(name.to_owned(), version(graph, &renderer, function));
        entries.insert(name.to_owned(), Entry::Version(function.clone()));
    }
    for (id, resource) in graph
        .resources()
        .iter()
        .filter(|(_, resource)| resource.kind.is_made_by_cloudformation())
    {
        let uses_package = resource.properties.values().any(contains_package);
        if uses_package {
            parameters.insert(ASSET_BUCKET, asset_bucket());
        }
        let entry = template_resource(graph, &renderer, id, resource)?;
        let name = renderer.name(id).to_owned();
        if name == ASSET_BUCKET || resources.contains_key(&name) {
            return Err(SynthError::NameTaken(name));
        }
        entries.insert(name.clone(), Entry::Resource(id.clone()));
        resources.insert(name, entry);
    }
    let mut outputs = BTreeMap::new();
    for (name, value) in graph.outputs() {
        if name.parse::<LogicalId>().is_err() {
            return Err(SynthError::OutputName(name.clone()));
        }
        let value = renderer.text(&format!("output {name}"), value)?;
        outputs.insert(name.clone(), json!({ "Value": value }));
    }
    for (what, count, max) in [
        ("resources", resources.len(), RESOURCES_MAX),
        ("outputs", outputs.len(), OUTPUTS_MAX),
    ] {
        if count > max {
            return Err(SynthError::TooMany { what, count, max });
        }
    }
    Ok(Template {
        format_version: "2010-09-09",
        description: format!(
            "{}, declared in infra/src/lib.rs; made by cargo xtask synth",
            graph.stack()
        ),
        metadata: metadata(graph, &renderer)?,
        parameters,
        resources,
        outputs,
        entries,
    })
}

/// Returns the part of a graph that CloudFormation cannot make, without outputs: what must exist before the stack does.
///
/// # Errors
/// [`Mistakes`] when it needs something that CloudFormation makes.
pub fn outside_of_template(graph: &Graph) -> Result<Graph, Mistakes> {
    let outside = graph
        .resources()
        .iter()
        .filter(|(_, resource)| !resource.kind.is_made_by_cloudformation())
        .map(|(id, resource)| (id.clone(), resource.clone()));
    Graph::new(graph.stack().clone(), outside.collect(), BTreeMap::new())
}

/// Returns the digests of the functions' packages in a template, written as YAML or JSON, by their names in it: the other way
/// round than [`asset_key`].
///
/// # Errors
/// [`SynthError::Unreadable`] for what is no template.
pub fn code_digests(template: &str) -> Result<BTreeMap<String, String>, SynthError> {
    let unreadable = |error: serde_yaml::Error| SynthError::Unreadable(error.to_string());
    let template: serde_yaml::Value = serde_yaml::from_str(template).map_err(unreadable)?;
    let resources = template.get("Resources").and_then(serde_yaml::Value::as_mapping);
    let digest = |resource: &serde_yaml::Value| {
        let key = resource.get("Properties")?.get("Code")?.get("S3Key")?.as_str()?;
        Some(key.rsplit('/').next()?.strip_suffix(".zip")?.to_owned())
    };
    Ok(resources
        .into_iter()
        .flatten()
        .filter_map(|(name, resource)| Some((name.as_str()?.to_owned(), digest(resource)?)))
        .collect())
}

/// Returns the types of all resources of a template, written as YAML or JSON, by their names.
///
/// # Errors
/// [`SynthError::Unreadable`] for what is no template.
pub fn types(template: &str) -> Result<BTreeMap<String, String>, SynthError> {
    let unreadable = |error: serde_yaml::Error| SynthError::Unreadable(error.to_string());
    let template: serde_yaml::Value = serde_yaml::from_str(template).map_err(unreadable)?;
    let resources = template.get("Resources").and_then(serde_yaml::Value::as_mapping);
    Ok(resources
        .into_iter()
        .flatten()
        .filter_map(|(name, resource)| Some((name.as_str()?.to_owned(), resource.get("Type")?.as_str()?.to_owned())))
        .collect())
}

/// Returns the names of what a template, written as YAML or JSON, keeps when its stack is deleted.
///
/// # Errors
/// [`SynthError::Unreadable`] for what is no template.
pub fn retained_names(template: &str) -> Result<BTreeSet<String>, SynthError> {
    let unreadable = |error: serde_yaml::Error| SynthError::Unreadable(error.to_string());
    let template: serde_yaml::Value = serde_yaml::from_str(template).map_err(unreadable)?;
    let resources = template.get("Resources").and_then(serde_yaml::Value::as_mapping);
    let is_retained = |resource: &serde_yaml::Value| {
        let policy = resource.get("DeletionPolicy").and_then(serde_yaml::Value::as_str);
        matches!(policy, Some("Retain" | "RetainExceptOnCreate"))
    };
    Ok(resources
        .into_iter()
        .flatten()
        .filter(|(_, resource)| is_retained(resource))
        .filter_map(|(name, _)| Some(name.as_str()?.to_owned()))
        .collect())
}

/// Returns a template, written as YAML or JSON, with everything in it retained when its stack is deleted; `None` when that
/// is so already.
///
/// # Errors
/// [`SynthError::Unreadable`] for what is no template.
pub fn retained(template: &str) -> Result<Option<String>, SynthError> {
    let unreadable = |error: serde_yaml::Error| SynthError::Unreadable(error.to_string());
    let mut template: serde_yaml::Value = serde_yaml::from_str(template).map_err(unreadable)?;
    let resources = template
        .get_mut("Resources")
        .and_then(serde_yaml::Value::as_mapping_mut)
        .ok_or_else(|| SynthError::Unreadable("it has no Resources".to_owned()))?;
    let mut changed = false;
    for resource in resources.values_mut().filter_map(serde_yaml::Value::as_mapping_mut) {
        for policy in ["DeletionPolicy", "UpdateReplacePolicy"] {
            let before = resource.insert(policy.into(), "Retain".into());
            changed |= before != Some("Retain".into());
        }
    }
    Ok(changed.then(|| yaml::write(&template)))
}

/// Returns why resources of a type are not in templates, and what to do instead.
const fn reason_outside(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Parameter => {
            Some("CloudFormation cannot create a SecureString; cargo xtask deploy makes it through the AWS SDK")
        }
        Kind::Account => Some(
            "The account's role for API Gateway's logs is shared by all its APIs; if aws apigateway get-account shows none, cargo xtask deploy sets one",
        ),
        Kind::Api
        | Kind::Authorizer
        | Kind::Deployment
        | Kind::Integration
        | Kind::Route
        | Kind::RouteResponse
        | Kind::Stage
        | Kind::Table
        | Kind::Role
        | Kind::RolePolicy
        | Kind::Function
        | Kind::Alias
        | Kind::Permission
        | Kind::Url
        | Kind::LogGroup
        | Kind::Alarm
        | Kind::Dashboard => None,
    }
}

fn template_resource(
    graph: &Graph,
    renderer: &Renderer<'_>,
    id: &LogicalId,
    resource: &Resource,
) -> Result<TemplateResource, SynthError> {
    let subject = format!("resource {id}");
    let mut properties = BTreeMap::new();
    let mut referred = BTreeSet::new();
    for (name, value) in &resource.properties {
        // It has become part of a logical id.
        if resource.kind.is_own_property(name) {
            continue;
        }
        let rendered = match value {
            Value::Map(tags) if name == "Tags" && tags_are_a_list(resource.kind) => tags
                .iter()
                .map(|(key, value)| Ok(json!({ "Key": key, "Value": renderer.json(&subject, value, &mut referred)? })))
                .collect::<Result<Vec<_>, SynthError>>()?
                .into(),
            value => renderer.json(&subject, value, &mut referred)?,
        };
        properties.insert(name.clone(), rendered);
    }
    // As the direct engine marks what can carry no tags, so that it finds it again.
    let mark = match (resource.kind, resource.properties.get("Trigger")) {
        (Kind::Integration, _) => Some(graph.stack().mark(id)),
        (Kind::Deployment, Some(Value::String(digest))) => Some(graph.stack().mark_of_snapshot(id, digest)),
        _ => None,
    };
    properties.extend(mark.map(|mark| ("Description".to_owned(), Json::from(mark))));
    // What a reference orders already, CloudFormation need not be told again.
    let depends_on = resource
        .depends_on
        .iter()
        .chain(&resource.snapshot_of)
        .filter(|other| graph.resources()[*other].kind.is_made_by_cloudformation())
        .map(|other| renderer.name(other).to_owned())
        .filter(|other| !referred.contains(other))
        .collect();
    let policy = match resource.removal_policy {
        RemovalPolicy::Retain => "Retain",
        RemovalPolicy::Delete => "Delete",
    };
    Ok(TemplateResource {
        kind: resource.kind.cloudformation_type(),
        depends_on,
        deletion_policy: policy,
        update_replace_policy: policy,
        metadata: json!({ "stackwright:path": path(graph, id) }),
        properties,
    })
}

/// Returns whether every change of a function is published as a version.
fn publishes(resource: &Resource) -> bool {
    resource.kind == Kind::Function && resource.properties.get("Publish") == Some(&Value::Bool(true))
}

/// Returns the version of a function as the template describes it.
fn version(graph: &Graph, renderer: &Renderer<'_>, function: &LogicalId) -> TemplateResource {
    TemplateResource {
        kind: "AWS::Lambda::Version",
        depends_on: BTreeSet::new(),
        deletion_policy: "Delete",
        update_replace_policy: "Delete",
        metadata: json!({ "stackwright:path": format!("{}/Version", path(graph, function)) }),
        properties: BTreeMap::from([("FunctionName".to_owned(), json!({ "Ref": renderer.name(function) }))]),
    }
}

/// Returns a digest of what a version of a function has, 16 hexadecimal digits. Tags are the function's alone.
fn digest(properties: &BTreeMap<String, Json>) -> String {
    let mut hasher = Sha256::new();
    for (name, value) in properties.iter().filter(|(name, _)| *name != "Tags") {
        hasher.update(format!("{name}={value};"));
    }
    let digest = hasher.finalize();
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Returns whether CloudFormation wants tags as `[{Key, Value}]`; API Gateway's v2 types take a map.
const fn tags_are_a_list(kind: Kind) -> bool {
    match kind {
        Kind::Table | Kind::Role | Kind::Function | Kind::LogGroup | Kind::Parameter | Kind::Alarm => true,
        Kind::Api
        | Kind::Authorizer
        | Kind::Deployment
        | Kind::Integration
        | Kind::Route
        | Kind::RouteResponse
        | Kind::Stage
        | Kind::RolePolicy
        | Kind::Alias
        | Kind::Permission
        | Kind::Url
        | Kind::Account
        | Kind::Dashboard => false,
    }
}

/// Returns where a resource stands in the declaration: stack, the resources that contain it, its id.
fn path(graph: &Graph, id: &LogicalId) -> String {
    let mut path = format!("/{id}");
    let mut inner = id;
    // A parent is a dependency too, and a graph has no circle.
    while let Some(parent) = graph
        .resources()
        .get(inner)
        .and_then(|resource| resource.parent.as_ref())
    {
        path.insert_str(0, &format!("/{parent}"));
        inner = parent;
    }
    format!("{}{path}", graph.stack())
}

fn asset_bucket() -> Json {
    json!({
        "Type": "String",
        "Description": "S3 bucket in the Region of the stack that holds the functions' packages",
        "MinLength": 3,
        "MaxLength": 63,
    })
}

/// Returns what CloudFormation ignores and people need: what must exist before the stack does.
fn metadata(graph: &Graph, renderer: &Renderer<'_>) -> Result<Json, SynthError> {
    let mut outside = BTreeMap::new();
    for (id, resource) in graph.resources() {
        let Some(note) = reason_outside(resource.kind) else {
            continue;
        };
        let name = match resource
            .properties
            .get("Name")
            .or(resource.properties.get("LogRoleName"))
        {
            Some(name) => renderer.text(&format!("resource {id}"), name)?,
            None => Json::Null,
        };
        outside.insert(id.as_str(), json!({ "Name": name, "Note": note }));
    }
    Ok(json!({ "stackwright": { "Stack": graph.stack().to_string(), "OutsideOfTemplate": outside } }))
}

fn contains_package(value: &Value) -> bool {
    match value {
        Value::Package(_) => true,
        Value::List(items) | Value::Join(items) => items.iter().any(contains_package),
        Value::Map(entries) => entries.values().any(contains_package),
        Value::Bool(_)
        | Value::Integer(_)
        | Value::String(_)
        | Value::Attribute { .. }
        | Value::Partition
        | Value::Region
        | Value::AccountId => false,
    }
}

#[cfg(test)]
mod tests;
