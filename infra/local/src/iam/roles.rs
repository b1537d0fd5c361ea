//! Actions on roles and their tags.

use std::collections::{BTreeMap, BTreeSet};

use super::{Role, State, document, name, page, unique_id};
use crate::cloud::Account;
use crate::query::{Form, element, invalid, percent_encode};
use crate::wire::ApiError;

const NAME_MAX: usize = 64;
const DESCRIPTION_MAX: usize = 1000;
const TAGS_MAX: usize = 50;
/// Seconds, where the caller does not say.
const SESSION_DEFAULT: u32 = 3600;
const SESSION_MAX: u32 = 43_200;

pub(super) fn create(state: &mut State, account: &Account, form: &Form) -> Result<String, ApiError> {
    let role_name = name(form, "RoleName", NAME_MAX)?;
    let trust = form.require("AssumeRolePolicyDocument")?;
    let path = form.get("Path").unwrap_or("/");
    if !(path.starts_with('/')
        && path.ends_with('/')
        && path.len() <= 512
        && path.bytes().all(|b| (33..127).contains(&b)))
    {
        return Err(invalid(
            "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.",
        ));
    }
    let description = description(form)?;
    let max_session = max_session(form)?.unwrap_or(SESSION_DEFAULT);
    let mut tags = BTreeMap::new();
    add_tags(&mut tags, form)?;
    document::check_trust(trust)?;
    let key = role_name.to_lowercase();
    if state.roles.contains_key(&key) {
        return Err(ApiError::new(
            409,
            "EntityAlreadyExists",
            format!("Role with name {role_name} already exists."),
        ));
    }
    let role = Role {
        name: role_name.to_owned(),
        path: path.to_owned(),
        arn: format!("arn:{}:iam::{}:role{path}{role_name}", Account::PARTITION, account.id),
        id: unique_id("AROA", 17),
        created: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        trust: trust.to_owned(),
        description,
        max_session,
        tags,
        policies: BTreeMap::new(),
        attached: BTreeSet::new(),
    };
    let answer = format!("<Role>{}{}</Role>", role_xml(&role), tags_xml(&role.tags));
    state.roles.insert(key, role);
    Ok(answer)
}

pub(super) fn get(state: &State, form: &Form) -> Result<String, ApiError> {
    let role = state.role(name(form, "RoleName", NAME_MAX)?)?;
    Ok(format!(
        "<Role>{}{}<RoleLastUsed/></Role>",
        role_xml(role),
        tags_xml(&role.tags)
    ))
}

pub(super) fn update(state: &mut State, form: &Form) -> Result<String, ApiError> {
    let role = state.role_mut(name(form, "RoleName", NAME_MAX)?)?;
    let max_session = max_session(form)?;
    if form.get("Description").is_some() {
        role.description = description(form)?;
    }
    if let Some(max_session) = max_session {
        role.max_session = max_session;
    }
    Ok(String::new())
}

pub(super) fn update_trust(state: &mut State, form: &Form) -> Result<String, ApiError> {
    let role = state.role_mut(name(form, "RoleName", NAME_MAX)?)?;
    let trust = form.require("PolicyDocument")?;
    document::check_trust(trust)?;
    trust.clone_into(&mut role.trust);
    Ok(String::new())
}

pub(super) fn delete(state: &mut State, form: &Form) -> Result<String, ApiError> {
    let role_name = name(form, "RoleName", NAME_MAX)?;
    let role = state.role(role_name)?;
    if !role.policies.is_empty() || !role.attached.is_empty() {
        return Err(ApiError::new(
            409,
            "DeleteConflict",
            "Cannot delete entity, must delete policies first.",
        ));
    }
    state.roles.remove(&role_name.to_lowercase());
    Ok(String::new())
}

pub(super) fn list(state: &State, form: &Form) -> Result<String, ApiError> {
    let prefix = form.get("PathPrefix").unwrap_or("/");
    let roles = state.roles.iter().filter(|(_, role)| role.path.starts_with(prefix));
    // AWS leaves tags out of this list.
    page(form, "Roles", roles.map(|(key, role)| (key.clone(), role_xml(role))))
}

pub(super) fn tag(state: &mut State, form: &Form) -> Result<String, ApiError> {
    let role = state.role_mut(name(form, "RoleName", NAME_MAX)?)?;
    let mut tags = role.tags.clone();
    add_tags(&mut tags, form)?;
    role.tags = tags;
    Ok(String::new())
}

pub(super) fn untag(state: &mut State, form: &Form) -> Result<String, ApiError> {
    let role = state.role_mut(name(form, "RoleName", NAME_MAX)?)?;
    for key in form.list("TagKeys") {
        role.tags.remove(&key);
    }
    Ok(String::new())
}

pub(super) fn list_tags(state: &State, form: &Form) -> Result<String, ApiError> {
    let role = state.role(name(form, "RoleName", NAME_MAX)?)?;
    let entries = role.tags.iter().map(|(key, value)| (key.clone(), tag_xml(key, value)));
    page(form, "Tags", entries)
}

/// Answers a list that is always empty, for a role that exists.
pub(super) fn list_none(state: &State, form: &Form, list: &str) -> Result<String, ApiError> {
    state.role(name(form, "RoleName", NAME_MAX)?)?;
    page(form, list, std::iter::empty())
}

fn role_xml(role: &Role) -> String {
    let description = role.description.as_deref();
    [
        element("Path", &role.path),
        element("RoleName", &role.name),
        element("RoleId", &role.id),
        element("Arn", &role.arn),
        element("CreateDate", &role.created),
        element("AssumeRolePolicyDocument", &percent_encode(&role.trust)),
        description.map_or_else(String::new, |text| element("Description", text)),
        element("MaxSessionDuration", &role.max_session.to_string()),
    ]
    .concat()
}

fn tags_xml(tags: &BTreeMap<String, String>) -> String {
    if tags.is_empty() {
        return String::new();
    }
    let members: String = tags
        .iter()
        .map(|(key, value)| format!("<member>{}</member>", tag_xml(key, value)))
        .collect();
    format!("<Tags>{members}</Tags>")
}

fn tag_xml(key: &str, value: &str) -> String {
    element("Key", key) + &element("Value", value)
}

fn description(form: &Form) -> Result<Option<String>, ApiError> {
    let Some(text) = form.get("Description") else {
        return Ok(None);
    };
    if text.chars().count() > DESCRIPTION_MAX {
        return Err(invalid(format!(
            "1 validation error detected: Value at 'description' failed to satisfy constraint: Member must have length less than or equal to {DESCRIPTION_MAX}"
        )));
    }
    // The pattern of the API reference: tab, line feed, carriage return and Latin-1.
    let is_allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{a1}'..='\u{ff}');
    if !text.chars().all(is_allowed) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{text}' at 'description' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u007E\\u00A1-\\u00FF]*"
        )));
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

fn max_session(form: &Form) -> Result<Option<u32>, ApiError> {
    form.get("MaxSessionDuration")
        .map(|text| {
            text.parse()
                .ok()
                .filter(|seconds| (SESSION_DEFAULT..=SESSION_MAX).contains(seconds))
                .ok_or_else(|| {
                    invalid(format!(
                        "1 validation error detected: Value '{text}' at 'maxSessionDuration' failed to satisfy constraint: Member must be between {SESSION_DEFAULT} and {SESSION_MAX}"
                    ))
                })
        })
        .transpose()
}

fn add_tags(tags: &mut BTreeMap<String, String>, form: &Form) -> Result<(), ApiError> {
    let sent = form.pairs("Tags");
    let mut seen = std::collections::BTreeSet::new();
    for (key, value) in sent {
        if !seen.insert(key.to_lowercase()) {
            let message = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
            return Err(ApiError::new(400, "InvalidInput", message));
        }
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(invalid(format!(
                "1 validation error detected: the tag '{key}' must have a key of 1 to 128 and a value of up to 256 characters"
            )));
        }
        if key.to_lowercase().starts_with("aws:") {
            let message = "Tag keys beginning with aws: are reserved for system use.";
            return Err(ApiError::new(400, "InvalidInput", message));
        }
        tags.insert(key, value);
    }
    if tags.len() > TAGS_MAX {
        let message = format!("The number of tags has reached the maximum limit of {TAGS_MAX}.");
        return Err(ApiError::new(409, "LimitExceeded", message));
    }
    Ok(())
}
