//! IAM: roles, their inline policies, and the credentials that functions get.
//!
//! Read next: [`roles`] and [`policies`] for the actions, [`document`] for what a policy document must look like and
//! allows, [`access`] for what functions may do.
//! There are no managed policies, users or groups.

mod access;
mod credentials;
mod document;
mod policies;
mod roles;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::cloud::{Account, SharedCloud};
use crate::persist::{Kept, Store};
use crate::query::{Form, answer, element, invalid, lower_first, unknown_action};
use crate::wire::{ApiError, Request, Response};

pub(crate) use access::Access;
pub(crate) use credentials::{Credentials, Session};

const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
/// Entries of one page, where the caller does not say.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

/// All roles of the account, and the credentials that were issued for them.
#[derive(Debug, Default)]
pub(crate) struct Iam {
    state: Kept<State>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// By lowercase name: names that differ only in case are the same role.
    roles: BTreeMap<String, Role>,
    /// By access key id. The processes that hold them end with the cloud.
    #[serde(skip)]
    sessions: BTreeMap<String, Session>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Role {
    name: String,
    path: String,
    arn: String,
    /// `AROA` and 17 characters; a role made again under the same name has another.
    id: String,
    /// ISO 8601, whole seconds, UTC.
    created: String,
    /// The trust policy as it was sent.
    trust: String,
    description: Option<String>,
    /// Seconds.
    max_session: u32,
    tags: BTreeMap<String, String>,
    /// Inline policies as they were sent, by name.
    policies: BTreeMap<String, String>,
    /// ARNs of managed policies. What these say is not known here: they grant nothing to functions.
    #[serde(default)]
    attached: BTreeSet<String>,
}

impl Iam {
    /// Returns whether the role exists and its trust policy lets `service` (for example `lambda.amazonaws.com`) assume
    /// it.
    pub(crate) fn assumable_by(&self, role_arn: &str, service: &str) -> bool {
        self.state
            .read()
            .roles
            .values()
            .any(|role| role.arn == role_arn && document::trusts(&role.trust, service))
    }

    /// Returns whether a role may do anything at all.
    pub(crate) fn has_policy(&self, role_arn: &str) -> bool {
        let state = self.state.read();
        let mut roles = state.roles.values().filter(|role| role.arn == role_arn);
        roles.any(|role| !role.policies.is_empty() || !role.attached.is_empty())
    }

    fn role_arn(&self, name: &str) -> Option<String> {
        self.state.read().role(name).ok().map(|role| role.arn.clone())
    }

    pub(crate) fn kept(&self) -> &dyn Store {
        &self.state
    }
}

impl State {
    fn role(&self, name: &str) -> Result<&Role, ApiError> {
        self.roles.get(&name.to_lowercase()).ok_or_else(|| no_such_role(name))
    }

    fn role_mut(&mut self, name: &str) -> Result<&mut Role, ApiError> {
        self.roles
            .get_mut(&name.to_lowercase())
            .ok_or_else(|| no_such_role(name))
    }
}

/// Answers one awsQuery call.
pub(crate) async fn handle(cloud: &SharedCloud, request: Request) -> Response {
    let form = Form::read(&request);
    let action = form.get("Action").unwrap_or_default();
    match act(&cloud.iam, &cloud.account, action, &form) {
        Ok(result) => {
            if action == "CreateRole"
                && let Some(arn) = cloud.iam.role_arn(form.get("RoleName").unwrap_or_default())
            {
                cloud.unkind.role_created(&arn);
            }
            answer(NAMESPACE, action, &result)
        }
        Err(error) => error.query_xml(NAMESPACE),
    }
}

/// Returns the XML of the result.
fn act(iam: &Iam, account: &Account, action: &str, form: &Form) -> Result<String, ApiError> {
    let mut state = iam.state.for_action(action);
    let state = &mut *state;
    match action {
        "CreateRole" => roles::create(state, account, form),
        "GetRole" => roles::get(state, form),
        "UpdateRole" => roles::update(state, form),
        "UpdateAssumeRolePolicy" => roles::update_trust(state, form),
        "DeleteRole" => roles::delete(state, form),
        "ListRoles" => roles::list(state, form),
        "TagRole" => roles::tag(state, form),
        "UntagRole" => roles::untag(state, form),
        "ListRoleTags" => roles::list_tags(state, form),
        "PutRolePolicy" => policies::put(state, form),
        "GetRolePolicy" => policies::get(state, form),
        "DeleteRolePolicy" => policies::delete(state, form),
        "ListRolePolicies" => policies::list(state, form),
        "AttachRolePolicy" => policies::attach(state, form),
        "DetachRolePolicy" => policies::detach(state, form),
        "ListAttachedRolePolicies" => policies::list_attached(state, form),
        // A role has none of these, but deleting one begins with asking.
        "ListInstanceProfilesForRole" => roles::list_none(state, form, "InstanceProfiles"),
        other => Err(unknown_action("iam", other)),
    }
}

fn no_such_role(name: &str) -> ApiError {
    no_such_entity(format!("The role with name {name} cannot be found."))
}

fn no_such_entity(message: String) -> ApiError {
    ApiError::new(404, "NoSuchEntity", message)
}

/// Returns a required name of at most `length_max` characters of `[A-Za-z0-9_+=,.@-]`.
fn name<'a>(form: &'a Form, member: &str, length_max: usize) -> Result<&'a str, ApiError> {
    let value = form.require(member)?;
    let member = lower_first(member);
    if value.is_empty() || value.len() > length_max {
        let bound = if value.is_empty() {
            "greater than or equal to 1".to_owned()
        } else {
            format!("less than or equal to {length_max}")
        };
        return Err(invalid(format!(
            "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must have length {bound}"
        )));
    }
    if !value
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte))
    {
        return Err(invalid(format!(
            "The specified value for {member} is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-"
        )));
    }
    Ok(value)
}

/// Renders one page of `entries` (sort key and XML) as `<{list}>…</{list}><IsTruncated>…`.
///
/// The marker is the key of the last entry of the page before.
fn page(form: &Form, list: &str, entries: impl Iterator<Item = (String, String)>) -> Result<String, ApiError> {
    let size = match form.get("MaxItems") {
        None => PAGE_DEFAULT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|size| (1..=PAGE_MAX).contains(size))
            .ok_or_else(|| invalid(format!("Value '{text}' at 'maxItems' must be between 1 and {PAGE_MAX}")))?,
    };
    let marker = form.get("Marker").unwrap_or_default();
    let mut rest = entries.filter(|(key, _)| key.as_str() > marker).peekable();
    let mut members = String::new();
    let mut last = String::new();
    for (key, xml) in rest.by_ref().take(size) {
        members += &format!("<member>{xml}</member>");
        last = key;
    }
    let more = if rest.peek().is_some() {
        format!("<IsTruncated>true</IsTruncated>{}", element("Marker", &last))
    } else {
        "<IsTruncated>false</IsTruncated>".to_owned()
    };
    Ok(format!("<{list}>{members}</{list}>{more}"))
}

/// Returns a unique id as IAM makes them: a prefix that tells the kind, then letters and digits.
fn unique_id(prefix: &str, length: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    // The first four bytes of a version 4 UUID are all random.
    let random = std::iter::repeat_with(uuid::Uuid::new_v4).flat_map(|uuid| {
        let [a, b, c, d, ..] = *uuid.as_bytes();
        [a, b, c, d]
    });
    let characters = random.map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    prefix.chars().chain(characters.take(length)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const TRUST: &str =
        r#"{"Statement":{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}}"#;
    const ARN: &str = "arn:aws:iam::000000000000:role/Worker";

    fn iam_with_role() -> Iam {
        let iam = Iam::default();
        let account = Account {
            id: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
        };
        let form = Form::from_iter([("RoleName", "Worker"), ("AssumeRolePolicyDocument", TRUST)]);
        act(&iam, &account, "CreateRole", &form).unwrap();
        iam
    }

    #[test]
    fn only_an_existing_role_that_trusts_the_service_is_assumable() {
        let iam = iam_with_role();
        assert!(iam.assumable_by(ARN, "lambda.amazonaws.com"));
        assert!(!iam.assumable_by(ARN, "apigateway.amazonaws.com"));
        assert!(!iam.assumable_by("arn:aws:iam::000000000000:role/Other", "lambda.amazonaws.com"));
    }

    #[test]
    fn issued_credentials_are_known_until_revoked() {
        let iam = iam_with_role();
        assert!(iam.issue("arn:aws:iam::000000000000:role/Other", "f").is_err());
        let credentials = iam.issue(ARN, "f").unwrap();
        let key = &credentials.access_key_id;
        assert!(key.starts_with("ASIA") && key.len() == 20, "{key}");
        assert_eq!(iam.session(key).unwrap().role_arn, ARN);
        iam.revoke(key);
        assert_eq!(iam.session(key), None);
    }
}
