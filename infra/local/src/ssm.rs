//! SSM Parameter Store: named values, `SecureString` among them.
//!
//! A `SecureString` is not really encrypted; without `WithDecryption` its value is answered as an opaque text.
//! Standard tier only; no labels, policies or hierarchies by path.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cloud::{Account, SharedCloud};
use crate::json;
use crate::persist::{Kept, Store};
use crate::wire::{ApiError, Request, Response, aws_json};

/// A parameter keeps this many versions; the oldest goes.
const VERSIONS_MAX: usize = 100;
/// Bytes of a value of the standard tier.
const VALUE_MAX: usize = 4096;
/// Characters of a name, the ARN in front included.
const ARN_MAX: usize = 1011;
const LEVELS_MAX: usize = 15;
const TAGS_MAX: usize = 50;
const NAMES_MAX: usize = 10;
const PAGE_MAX: usize = 50;
const TYPES: [&str; 3] = ["String", "StringList", SECURE];
const SECURE: &str = "SecureString";
/// The key that AWS takes where the caller names none.
const DEFAULT_KEY: &str = "alias/aws/ssm";

/// All parameters.
#[derive(Debug, Default)]
pub(crate) struct Ssm {
    state: Kept<Parameters>,
}

type Parameters = BTreeMap<String, Parameter>;

#[derive(Serialize, Deserialize)]
struct Parameter {
    /// One of [`TYPES`].
    kind: String,
    description: Option<String>,
    key_id: Option<String>,
    tags: BTreeMap<String, String>,
    /// Oldest first; never empty.
    versions: Vec<Version>,
}

#[derive(Serialize, Deserialize)]
struct Version {
    number: u64,
    value: String,
    /// Milliseconds since 1970.
    modified: i64,
}

/// Values stay out of logs.
impl std::fmt::Debug for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parameter")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Ssm {
    pub(crate) fn kept(&self) -> &dyn Store {
        &self.state
    }
}

/// Answers one AWS JSON 1.1 call, for example `X-Amz-Target: AmazonSSM.PutParameter`.
pub(crate) async fn handle(cloud: &SharedCloud, request: Request) -> Response {
    match act(&cloud.ssm, &cloud.account, &request) {
        Ok(output) => aws_json(&output),
        Err(error) => error.aws_json(),
    }
}

fn act(ssm: &Ssm, account: &Account, request: &Request) -> Result<Value, ApiError> {
    let action = json::action(request);
    let mut state = ssm.state.for_action(action);
    match action {
        "PutParameter" => put(&mut state, account, json::input(request)?),
        "GetParameter" => get(&state, account, &json::input(request)?),
        "GetParameters" => get_many(&state, account, &json::input(request)?),
        "DeleteParameter" => delete(&mut state, account, &json::input(request)?),
        "DescribeParameters" => describe(&state, account, json::input(request)?),
        "AddTagsToResource" => add_tags(&mut state, json::input(request)?),
        "RemoveTagsFromResource" => remove_tags(&mut state, &json::input(request)?),
        "ListTagsForResource" => list_tags(&mut state, &json::input(request)?),
        other => Err(json::unknown_action("ssm", other)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    name: String,
    value: String,
    #[serde(rename = "Type")]
    kind: Option<String>,
    description: Option<String>,
    key_id: Option<String>,
    #[serde(default)]
    overwrite: bool,
    #[serde(default)]
    tags: Vec<Tag>,
    tier: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

fn put(state: &mut Parameters, account: &Account, input: Put) -> Result<Value, ApiError> {
    check_name(account, &input.name)?;
    if input.overwrite && !input.tags.is_empty() {
        return Err(invalid(
            "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.",
        ));
    }
    if let Some(kind) = &input.kind
        && !TYPES.contains(&kind.as_str())
    {
        return Err(constraint(
            "type",
            kind,
            &format!("Member must satisfy enum value set: [{}]", TYPES.join(", ")),
        ));
    }
    if input.tier.as_deref().is_some_and(|tier| tier == "Advanced") {
        return Err(invalid("the local cloud has parameters of the standard tier only"));
    }
    if input.value.is_empty() {
        return Err(constraint(
            "value",
            "",
            "Member must have length greater than or equal to 1",
        ));
    }
    if input.value.len() > VALUE_MAX {
        return Err(invalid(format!(
            "Standard tier parameters support a maximum parameter value of {VALUE_MAX} characters. To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier. For more information, see https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html"
        )));
    }
    let mut tags = BTreeMap::new();
    merge_tags(&mut tags, input.tags)?;
    let modified = jiff::Timestamp::now().as_millisecond();
    let number = match state.get_mut(&input.name) {
        Some(_) if !input.overwrite => {
            return Err(ApiError::new(
                400,
                "ParameterAlreadyExists",
                "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
            ));
        }
        Some(parameter) => {
            if input.kind.is_some_and(|kind| kind != parameter.kind) {
                return Err(ApiError::new(
                    400,
                    "HierarchyTypeMismatchException",
                    "Parameter Store does not support changing a parameter type. You must create a new, unique parameter.",
                ));
            }
            let number = parameter.versions.last().map_or(1, |version| version.number + 1);
            parameter.versions.push(Version {
                number,
                value: input.value,
                modified,
            });
            if parameter.versions.len() > VERSIONS_MAX {
                parameter.versions.remove(0);
            }
            parameter.description = input.description.or(parameter.description.take());
            parameter.key_id = input.key_id.or(parameter.key_id.take());
            number
        }
        None => {
            let kind = input
                .kind
                .ok_or_else(|| invalid("A parameter type is required when you create a parameter."))?;
            let key_id = (kind == SECURE).then(|| input.key_id.unwrap_or_else(|| DEFAULT_KEY.to_owned()));
            let parameter = Parameter {
                kind,
                description: input.description,
                key_id,
                tags,
                versions: vec![Version {
                    number: 1,
                    value: input.value,
                    modified,
                }],
            };
            state.insert(input.name, parameter);
            1
        }
    };
    Ok(json!({ "Version": number, "Tier": "Standard" }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Get {
    name: String,
    #[serde(default)]
    with_decryption: bool,
}

fn get(state: &Parameters, account: &Account, input: &Get) -> Result<Value, ApiError> {
    Ok(json!({ "Parameter": read(state, account, &input.name, input.with_decryption)? }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetMany {
    names: Vec<String>,
    #[serde(default)]
    with_decryption: bool,
}

fn get_many(state: &Parameters, account: &Account, input: &GetMany) -> Result<Value, ApiError> {
    if input.names.is_empty() || input.names.len() > NAMES_MAX {
        let expected = format!("Member must have length between 1 and {NAMES_MAX}");
        return Err(constraint("names", &input.names.join(", "), &expected));
    }
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in &input.names {
        match read(state, account, name, input.with_decryption) {
            Ok(parameter) => found.push(parameter),
            Err(_) => missing.push(name),
        }
    }
    Ok(json!({ "Parameters": found, "InvalidParameters": missing }))
}

/// Returns a parameter by its name or ARN, which may end in `:{version}`.
fn read(state: &Parameters, account: &Account, selector: &str, with_decryption: bool) -> Result<Value, ApiError> {
    let name_or_arn = selector.strip_prefix(&account.arn("ssm", "parameter"));
    let plain = name_or_arn.unwrap_or(selector);
    let (name, version) = plain
        .split_once(':')
        .map_or((plain, None), |(name, version)| (name, Some(version)));
    let (name, parameter) = state
        .get_key_value(name)
        // The ARN of a name without slashes has one all the same.
        .or_else(|| state.get_key_value(name_or_arn.and(name.strip_prefix('/'))?))
        .ok_or_else(not_found)?;
    let found = match version {
        None => parameter.versions.last(),
        Some(number) => parameter
            .versions
            .iter()
            .find(|version| version.number.to_string() == number),
    };
    let version = found.ok_or_else(|| {
        let message = format!(
            "Systems Manager could not find version {} of {name}.",
            version.unwrap_or_default()
        );
        ApiError::new(400, "ParameterVersionNotFound", message)
    })?;
    let arn = arn(account, name);
    let value = if parameter.kind == SECURE && !with_decryption {
        ciphertext(&arn, version.number)
    } else {
        version.value.clone()
    };
    Ok(json!({
        "Name": name,
        "Type": parameter.kind,
        "Value": value,
        "Version": version.number,
        "LastModifiedDate": seconds(version.modified),
        "ARN": arn,
        "DataType": "text",
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Delete {
    name: String,
}

fn delete(state: &mut Parameters, account: &Account, input: &Delete) -> Result<Value, ApiError> {
    check_name(account, &input.name)?;
    state.remove(&input.name).ok_or_else(not_found)?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Describe {
    #[serde(default)]
    parameter_filters: Vec<Filter>,
    max_results: Option<usize>,
    /// The last name of the page before.
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    key: String,
    option: Option<String>,
    #[serde(default)]
    values: Vec<String>,
}

fn describe(state: &Parameters, account: &Account, input: Describe) -> Result<Value, ApiError> {
    let size = input.max_results.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&size) {
        let expected = format!("Member must have value between 1 and {PAGE_MAX}");
        return Err(constraint("maxResults", &size.to_string(), &expected));
    }
    for filter in &input.parameter_filters {
        filter.check()?;
    }
    let after = input.next_token.unwrap_or_default();
    let mut rest = state
        .iter()
        .filter(|(name, parameter)| {
            **name > after
                && input
                    .parameter_filters
                    .iter()
                    .all(|filter| filter.holds(name, parameter))
        })
        .peekable();
    let page: Vec<_> = rest.by_ref().take(size).collect();
    let described: Vec<Value> = page
        .iter()
        .map(|(name, parameter)| metadata(account, name, parameter))
        .collect();
    let mut output = json!({ "Parameters": described });
    if let (Some(_), Some((last, _))) = (rest.peek(), page.last()) {
        output["NextToken"] = json!(last);
    }
    Ok(output)
}

impl Filter {
    fn check(&self) -> Result<(), ApiError> {
        if self.key != "Name" && self.key != "Type" {
            let message = format!(
                "the local cloud filters parameters by Name and Type, not by {}",
                self.key
            );
            return Err(ApiError::new(400, "InvalidFilterKey", message));
        }
        match self.option.as_deref() {
            None | Some("Equals" | "BeginsWith" | "Contains") => Ok(()),
            Some(other) => Err(ApiError::new(
                400,
                "InvalidFilterOption",
                format!(
                    "The following filter option is not valid: {other}. Valid options include: [BeginsWith, Equals, Contains]"
                ),
            )),
        }
    }

    fn holds(&self, name: &str, parameter: &Parameter) -> bool {
        let subject = if self.key == "Name" { name } else { &parameter.kind };
        self.values.iter().any(|value| match self.option.as_deref() {
            Some("BeginsWith") => subject.starts_with(value.as_str()),
            Some("Contains") => subject.contains(value.as_str()),
            _ => subject == value,
        })
    }
}

fn metadata(account: &Account, name: &str, parameter: &Parameter) -> Value {
    let (number, modified) = parameter
        .versions
        .last()
        .map_or((0, 0), |version| (version.number, version.modified));
    let mut output = json!({
        "Name": name,
        "ARN": arn(account, name),
        "Type": parameter.kind,
        "LastModifiedDate": seconds(modified),
        "LastModifiedUser": format!("arn:{}:iam::{}:root", Account::PARTITION, account.id),
        "Version": number,
        "Tier": "Standard",
        "Policies": [],
        "DataType": "text",
    });
    if let Some(description) = &parameter.description {
        output["Description"] = json!(description);
    }
    if let Some(key_id) = &parameter.key_id {
        output["KeyId"] = json!(key_id);
    }
    output
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resource {
    resource_type: String,
    resource_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AddTags {
    #[serde(flatten)]
    resource: Resource,
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RemoveTags {
    #[serde(flatten)]
    resource: Resource,
    tag_keys: Vec<String>,
}

fn add_tags(state: &mut Parameters, input: AddTags) -> Result<Value, ApiError> {
    merge_tags(tags_of(state, &input.resource)?, input.tags)?;
    Ok(json!({}))
}

fn remove_tags(state: &mut Parameters, input: &RemoveTags) -> Result<Value, ApiError> {
    tags_of(state, &input.resource)?.retain(|key, _| !input.tag_keys.contains(key));
    Ok(json!({}))
}

fn list_tags(state: &mut Parameters, input: &Resource) -> Result<Value, ApiError> {
    let tags: Vec<Value> = tags_of(state, input)?
        .iter()
        .map(|(key, value)| json!({ "Key": key, "Value": value }))
        .collect();
    Ok(json!({ "TagList": tags }))
}

fn tags_of<'a>(state: &'a mut Parameters, resource: &Resource) -> Result<&'a mut BTreeMap<String, String>, ApiError> {
    if resource.resource_type != "Parameter" {
        let message = format!(
            "the local cloud has parameters only, not resources of type {}",
            resource.resource_type
        );
        return Err(ApiError::new(400, "InvalidResourceType", message));
    }
    state
        .get_mut(&resource.resource_id)
        .map(|parameter| &mut parameter.tags)
        .ok_or_else(|| {
            let message = "The resource ID is not valid. Verify that you entered the correct ID and try again.";
            ApiError::new(400, "InvalidResourceId", message)
        })
}

fn merge_tags(tags: &mut BTreeMap<String, String>, sent: Vec<Tag>) -> Result<(), ApiError> {
    let mut merged = tags.clone();
    for Tag { key, value } in sent {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(invalid(format!(
                "the tag '{key}' must have a key of 1 to 128 and a value of up to 256 characters"
            )));
        }
        if key.to_lowercase().starts_with("aws:") {
            return Err(invalid("Tag keys cannot start with the reserved prefix aws:"));
        }
        merged.insert(key, value);
    }
    if merged.len() > TAGS_MAX {
        let message = format!("A parameter may have at most {TAGS_MAX} tags.");
        return Err(ApiError::new(400, "TooManyTagsError", message));
    }
    *tags = merged;
    Ok(())
}

/// Checks the name of a new parameter.
fn check_name(account: &Account, name: &str) -> Result<(), ApiError> {
    if name.is_empty() {
        return Err(constraint(
            "name",
            name,
            "Member must have length greater than or equal to 1",
        ));
    }
    let levels: Vec<&str> = name.strip_prefix('/').unwrap_or(name).split('/').collect();
    let is_level = |level: &&str| {
        !level.is_empty()
            && level
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    let first = levels.first().map(|level| level.to_lowercase()).unwrap_or_default();
    if first.starts_with("aws") || first.starts_with("ssm") || !levels.iter().all(is_level) {
        return Err(invalid(
            "Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_",
        ));
    }
    if levels.len() > 1 && !name.starts_with('/') {
        return Err(invalid("Parameter name must be a fully qualified name."));
    }
    if levels.len() > LEVELS_MAX {
        return Err(ApiError::new(
            400,
            "HierarchyLevelLimitExceededException",
            format!("A hierarchy can have a maximum of {LEVELS_MAX} levels."),
        ));
    }
    if arn(account, name).len() > ARN_MAX {
        return Err(invalid(format!(
            "The parameter name must not be longer than {ARN_MAX} characters, its ARN included."
        )));
    }
    Ok(())
}

fn arn(account: &Account, name: &str) -> String {
    account.arn("ssm", &format!("parameter/{}", name.trim_start_matches('/')))
}

/// Returns what stands for the encrypted value; it tells nothing about it.
fn ciphertext(arn: &str, version: u64) -> String {
    let digest = Sha256::digest(format!("{arn}:{version}"));
    format!("AQICAHh{}", base64::engine::general_purpose::STANDARD.encode(digest))
}

fn seconds(milliseconds: i64) -> f64 {
    // Exact for as long as milliseconds since 1970 fit 53 bits.
    milliseconds as f64 / 1000.0
}

fn not_found() -> ApiError {
    ApiError::new(
        400,
        "ParameterNotFound",
        "The parameter couldn't be found. Verify the name and try again.",
    )
}

fn constraint(member: &str, value: &str, expected: &str) -> ApiError {
    invalid(format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {expected}"
    ))
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(400, "ValidationException", message)
}
