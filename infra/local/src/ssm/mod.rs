//! SSM Parameter Store: named values, `SecureString` among them.
//!
//! A `SecureString` is not really encrypted; without `WithDecryption` its value is answered as an opaque text.
//! Standard tier only; no labels, policies or hierarchies by path.

mod describe;
mod name;
mod tags;

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
const NAMES_MAX: usize = 10;
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
        "DescribeParameters" => describe::describe(&state, account, json::input(request)?),
        "AddTagsToResource" => tags::add(&mut state, json::input(request)?),
        "RemoveTagsFromResource" => tags::remove(&mut state, &json::input(request)?),
        "ListTagsForResource" => tags::list(&mut state, &json::input(request)?),
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
    tags: Vec<tags::Tag>,
    tier: Option<String>,
}

fn put(state: &mut Parameters, account: &Account, input: Put) -> Result<Value, ApiError> {
    name::check(account, &input.name)?;
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
    tags::merge(&mut tags, input.tags)?;
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
    name::check(account, &input.name)?;
    state.remove(&input.name).ok_or_else(not_found)?;
    Ok(json!({}))
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
