//! Actions on the inline policies of roles, and on which managed policies are attached to them.

use super::{State, document, name, no_such_entity, page};
use crate::query::{Form, element, percent_encode};
use crate::wire::ApiError;

const ROLE_NAME_MAX: usize = 64;
const POLICY_NAME_MAX: usize = 128;
/// All inline policies of a role together, white space not counted.
const INLINE_CHARACTERS_MAX: usize = 10_240;

pub(super) fn put(state: &mut State, form: &Form) -> Result<String, ApiError> {
    let policy_name = name(form, "PolicyName", POLICY_NAME_MAX)?;
    let text = form.require("PolicyDocument")?;
    let role = state.role_mut(name(form, "RoleName", ROLE_NAME_MAX)?)?;
    document::check_policy(text)?;
    let others = role.policies.iter().filter(|(other, _)| *other != policy_name);
    let size: usize = others.map(|(_, other)| characters(other)).sum::<usize>() + characters(text);
    if size > INLINE_CHARACTERS_MAX {
        let message = format!(
            "Maximum policy size of {INLINE_CHARACTERS_MAX} bytes exceeded for role {}",
            role.name
        );
        return Err(ApiError::new(409, "LimitExceeded", message));
    }
    role.policies.insert(policy_name.to_owned(), text.to_owned());
    Ok(String::new())
}

pub(super) fn get(state: &State, form: &Form) -> Result<String, ApiError> {
    let role = state.role(name(form, "RoleName", ROLE_NAME_MAX)?)?;
    let policy_name = name(form, "PolicyName", POLICY_NAME_MAX)?;
    let text = role
        .policies
        .get(policy_name)
        .ok_or_else(|| no_such_policy(policy_name))?;
    Ok([
        element("RoleName", &role.name),
        element("PolicyName", policy_name),
        element("PolicyDocument", &percent_encode(text)),
    ]
    .concat())
}

pub(super) fn delete(state: &mut State, form: &Form) -> Result<String, ApiError> {
    let role = state.role_mut(name(form, "RoleName", ROLE_NAME_MAX)?)?;
    let policy_name = name(form, "PolicyName", POLICY_NAME_MAX)?;
    role.policies
        .remove(policy_name)
        .ok_or_else(|| no_such_policy(policy_name))?;
    Ok(String::new())
}

pub(super) fn list(state: &State, form: &Form) -> Result<String, ApiError> {
    let role = state.role(name(form, "RoleName", ROLE_NAME_MAX)?)?;
    // The members are plain text here.
    let entries = role
        .policies
        .keys()
        .map(|key| (key.clone(), crate::wire::escape_xml(key)));
    page(form, "PolicyNames", entries)
}

pub(super) fn attach(state: &mut State, form: &Form) -> Result<String, ApiError> {
    let arn = form.require("PolicyArn")?;
    let role = state.role_mut(name(form, "RoleName", ROLE_NAME_MAX)?)?;
    if !(arn.starts_with("arn:") && arn.contains(":policy/")) {
        return Err(crate::query::invalid(format!("ARN {arn} is not valid.")));
    }
    role.attached.insert(arn.to_owned());
    Ok(String::new())
}

pub(super) fn detach(state: &mut State, form: &Form) -> Result<String, ApiError> {
    let arn = form.require("PolicyArn")?;
    let role = state.role_mut(name(form, "RoleName", ROLE_NAME_MAX)?)?;
    match role.attached.remove(arn) {
        true => Ok(String::new()),
        false => Err(no_such_entity(format!("Policy {arn} was not found."))),
    }
}

pub(super) fn list_attached(state: &State, form: &Form) -> Result<String, ApiError> {
    let role = state.role(name(form, "RoleName", ROLE_NAME_MAX)?)?;
    let entries = role.attached.iter().map(|arn| {
        let policy_name = arn.rsplit('/').next().unwrap_or(arn);
        let xml = [element("PolicyName", policy_name), element("PolicyArn", arn)].concat();
        (arn.clone(), xml)
    });
    page(form, "AttachedPolicies", entries)
}

fn no_such_policy(policy_name: &str) -> ApiError {
    no_such_entity(format!("The role policy with name {policy_name} cannot be found."))
}

fn characters(text: &str) -> usize {
    text.chars().filter(|c| !c.is_whitespace()).count()
}
