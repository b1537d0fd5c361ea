//! Resource policies: who, besides this account, may invoke a function.
//!
//! Evaluation follows "Testing Lambda resource-based policies" of the Developer Guide: nothing is allowed unless a
//! statement matches principal, action, resource and every condition.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::control::check_revision;
use super::model::{Function, Policy};
use super::name::{FunctionRef, LATEST};
use super::validation::{Violations, invalid_parameter, refuse_unknown};
use super::{Call, body};
use crate::cloud::{Account, SharedCloud};
use crate::wire::{ApiError, Request, Response, request_id, rest_json};

/// Size of a rendered policy: 20 KB.
const POLICY_BYTES_MAX: usize = 20 * 1024;

/// One permission; its effect is always `Allow`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Statement {
    sid: String,
    action: String,
    /// As given: a service, an account, an ARN or `*`.
    principal: String,
    resource: String,
    source_arn: Option<String>,
    source_account: Option<String>,
    /// `NONE` or `AWS_IAM`: only for calls through a URL with this setting.
    #[serde(default)]
    function_url_auth_type: Option<String>,
    /// `true`: only for calls through a URL.
    #[serde(default)]
    invoked_via_function_url: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AddPermission {
    statement_id: String,
    action: String,
    principal: String,
    source_arn: Option<String>,
    source_account: Option<String>,
    function_url_auth_type: Option<String>,
    invoked_via_function_url: Option<bool>,
    revision_id: Option<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// `AddPermission`.
pub(super) fn add(cloud: &SharedCloud, of: &FunctionRef, call: &Call, request: &Request) -> Result<Response, ApiError> {
    let add: AddPermission = body(request)?;
    refuse_unknown(&add.rest)?;
    validate(&add)?;
    if call.query("Qualifier") == Some(LATEST) {
        return Err(invalid_parameter(
            "We currently do not support adding policies for $LATEST.",
        ));
    }
    let mut store = cloud.lambda.store_mut();
    let function = store.function_mut(of, &cloud.account)?;
    check_qualifier(function, of, &cloud.account)?;
    let policy = function.policies.get(key(of)).cloned().unwrap_or_default();
    check_revision(add.revision_id.as_deref(), &policy.revision_id)?;
    if policy
        .statements
        .iter()
        .any(|statement| statement.sid == add.statement_id)
    {
        let message = format!(
            "The statement id ({}) provided already exists. Please provide a new statement id, or remove the existing statement.",
            add.statement_id
        );
        return Err(ApiError::new(409, "ResourceConflictException", message));
    }
    let statement = Statement {
        sid: add.statement_id,
        action: add.action,
        principal: add.principal,
        resource: of.arn(&cloud.account),
        source_arn: add.source_arn,
        source_account: add.source_account,
        function_url_auth_type: add.function_url_auth_type,
        invoked_via_function_url: add.invoked_via_function_url,
    };
    let rendered = statement.describe();
    let mut policy = policy;
    policy.statements.push(statement);
    policy.revision_id = request_id();
    let size = policy.describe().to_string().len();
    if size > POLICY_BYTES_MAX {
        let message = format!("The final policy size ({size}) is bigger than the limit ({POLICY_BYTES_MAX}).");
        return Err(ApiError::new(400, "PolicyLengthExceededException", message));
    }
    function.policies.insert(key(of).to_owned(), policy);
    Ok(rest_json(201, &json!({ "Statement": rendered.to_string() })))
}

/// `GetPolicy`.
pub(super) fn get(cloud: &SharedCloud, of: &FunctionRef) -> Result<Response, ApiError> {
    let store = cloud.lambda.store();
    let function = store.function(of, &cloud.account)?;
    check_qualifier(function, of, &cloud.account)?;
    let policy = function.policies.get(key(of)).ok_or_else(no_policy)?;
    let answer = json!({ "Policy": policy.describe().to_string(), "RevisionId": policy.revision_id });
    Ok(rest_json(200, &answer))
}

/// `RemovePermission`.
pub(super) fn remove(
    cloud: &SharedCloud,
    of: &FunctionRef,
    sid: &str,
    revision_id: Option<&str>,
) -> Result<Response, ApiError> {
    let mut store = cloud.lambda.store_mut();
    let function = store.function_mut(of, &cloud.account)?;
    check_qualifier(function, of, &cloud.account)?;
    let policy = function.policies.get_mut(key(of)).ok_or_else(no_policy)?;
    check_revision(revision_id, &policy.revision_id)?;
    let before = policy.statements.len();
    policy.statements.retain(|statement| statement.sid != sid);
    if policy.statements.len() == before {
        let message = format!("Statement {sid} is not found in resource policy.");
        return Err(ApiError::new(404, "ResourceNotFoundException", message));
    }
    policy.revision_id = request_id();
    if policy.statements.is_empty() {
        function.policies.remove(key(of));
    }
    Ok(super::no_content())
}

/// Checks that a service may invoke the function, acting for the resource `source_arn`.
///
/// # Errors
/// `AccessDeniedException` when no statement allows it.
pub(super) fn authorize(
    function: &Function,
    of: &FunctionRef,
    principal: &str,
    source_arn: &str,
    account: &Account,
) -> Result<(), ApiError> {
    let resource = of.arn(account);
    let policy = function.policies.get(key(of));
    let allowed = policy.is_some_and(|policy| {
        policy
            .statements
            .iter()
            .any(|statement| statement.allows(principal, &resource, source_arn))
    });
    if allowed {
        return Ok(());
    }
    let message = format!(
        "{principal} is not authorized to perform: lambda:InvokeFunction on resource: {resource} for {source_arn} because no resource-based policy allows the lambda:InvokeFunction action"
    );
    Err(ApiError::new(403, "AccessDeniedException", message))
}

/// Checks that everybody may call the URL of a function or alias: two statements must say so.
///
/// # Errors
/// Which action no statement allows.
pub(super) fn authorize_public_url(function: &Function, of: &FunctionRef, account: &Account) -> Result<(), String> {
    let resource = of.arn(account);
    let policy = function.policies.get(key(of));
    let statements = policy.map(|policy| policy.statements.as_slice()).unwrap_or_default();
    for action in ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"] {
        if !statements
            .iter()
            .any(|statement| statement.allows_url(action, &resource))
        {
            return Err(format!(
                "no statement of the policy of {resource} lets everybody {action}"
            ));
        }
    }
    Ok(())
}

impl Policy {
    fn describe(&self) -> Value {
        let statements: Vec<Value> = self.statements.iter().map(Statement::describe).collect();
        json!({ "Version": "2012-10-17", "Id": "default", "Statement": statements })
    }
}

impl Statement {
    fn describe(&self) -> Value {
        let principal = match self.principal.as_str() {
            "*" => json!("*"),
            service if service.ends_with(".amazonaws.com") => json!({ "Service": service }),
            account if is_account(account) => {
                json!({ "AWS": format!("arn:{}:iam::{account}:root", Account::PARTITION) })
            }
            arn => json!({ "AWS": arn }),
        };
        let mut statement = json!({
            "Sid": self.sid,
            "Effect": "Allow",
            "Principal": principal,
            "Action": self.action,
            "Resource": self.resource,
        });
        let mut condition = Map::new();
        if let Some(account) = &self.source_account {
            condition.insert("StringEquals".to_owned(), json!({ "AWS:SourceAccount": account }));
        }
        if let Some(arn) = &self.source_arn {
            condition.insert("ArnLike".to_owned(), json!({ "AWS:SourceArn": arn }));
        }
        if let Some(auth_type) = &self.function_url_auth_type {
            let equals = condition.entry("StringEquals").or_insert_with(|| json!({}));
            super::model::merge(equals, json!({ "lambda:FunctionUrlAuthType": auth_type }));
        }
        if let Some(via_url) = self.invoked_via_function_url {
            let text = via_url.to_string();
            condition.insert("Bool".to_owned(), json!({ "lambda:InvokedViaFunctionUrl": text }));
        }
        if !condition.is_empty() {
            super::model::merge(&mut statement, json!({ "Condition": condition }));
        }
        statement
    }

    /// Returns whether the statement names an action, or all of them.
    fn is_about(&self, action: &str) -> bool {
        self.action == action || matches!(self.action.as_str(), "lambda:*" | "*")
    }

    /// Returns whether everybody may do `action` through a URL without authentication.
    fn allows_url(&self, action: &str, resource: &str) -> bool {
        self.principal == "*"
            && self.is_about(action)
            && self.resource == resource
            && self.source_arn.is_none()
            && self.source_account.is_none()
            && self
                .function_url_auth_type
                .as_deref()
                .is_none_or(|given| given == "NONE")
            && self.invoked_via_function_url != Some(false)
    }

    fn allows(&self, principal: &str, resource: &str, source_arn: &str) -> bool {
        let source_account = source_arn.split(':').nth(4).unwrap_or_default();
        (self.principal == principal || self.principal == "*")
            && self.is_about("lambda:InvokeFunction")
            && self.resource == resource
            && self.function_url_auth_type.is_none()
            && self.invoked_via_function_url != Some(true)
            && self
                .source_arn
                .as_ref()
                .is_none_or(|pattern| arn_like(pattern, source_arn))
            && self
                .source_account
                .as_ref()
                .is_none_or(|account| account == source_account)
    }
}

/// Compares as IAM's `ArnLike` does: each of the six parts by itself, `*` and `?` as wildcards.
fn arn_like(pattern: &str, arn: &str) -> bool {
    let pattern: Vec<&str> = pattern.splitn(6, ':').collect();
    let arn: Vec<&str> = arn.splitn(6, ':').collect();
    pattern.len() == arn.len()
        && pattern
            .iter()
            .zip(&arn)
            .all(|(pattern, part)| like(pattern.as_bytes(), part.as_bytes()))
}

/// Matches `*` (any run of bytes) and `?` (any byte) without backtracking further than the last `*`.
fn like(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|byte| *byte == b'?' || *byte == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, matched)) = star {
            star = Some((at, matched + 1));
            p = at + 1;
            t = matched + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

fn validate(add: &AddPermission) -> Result<(), ApiError> {
    let mut violations = Violations::default();
    let sid = &add.statement_id;
    violations.pattern("statementId", sid, super::name::is_name(sid), "([a-zA-Z0-9-_]+)");
    violations.length("statementId", Some(sid), 100);
    let ok = add.action == "*"
        || add.action.strip_prefix("lambda:").is_some_and(|operation| {
            operation == "*" || !operation.is_empty() && operation.bytes().all(|byte| byte.is_ascii_alphabetic())
        });
    violations.pattern("action", &add.action, ok, "(lambda:[*]|lambda:[a-zA-Z]+|[*])");
    let ok = !add.principal.is_empty() && !add.principal.contains(char::is_whitespace);
    violations.pattern("principal", &add.principal, ok, "[^\\s]+");
    if let Some(account) = &add.source_account {
        violations.pattern("sourceAccount", account, is_account(account), "\\d{12}");
    }
    if let Some(arn) = &add.source_arn {
        let ok = arn.starts_with("arn:aws") && arn.splitn(6, ':').count() == 6;
        violations.pattern(
            "sourceArn",
            arn,
            ok,
            "arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\\-])+:([a-z]{2}(-gov)?-[a-z]+-\\d{1})?:(\\d{12})?:(.*)",
        );
    }
    violations.one_of(
        "functionUrlAuthType",
        add.function_url_auth_type.as_deref(),
        &["NONE", "AWS_IAM"],
    );
    violations.finish()?;
    if add.function_url_auth_type.is_some() && add.action != "lambda:InvokeFunctionUrl" {
        return Err(invalid_parameter(
            "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action",
        ));
    }
    if add.invoked_via_function_url.is_some() && add.action != "lambda:InvokeFunction" {
        return Err(invalid_parameter(
            "InvokedViaFunctionUrl is only supported for lambda:InvokeFunction action",
        ));
    }
    Ok(())
}

/// Checks that the alias or version that a policy belongs to exists.
fn check_qualifier(function: &Function, of: &FunctionRef, account: &Account) -> Result<(), ApiError> {
    match function.version(of.qualifier.as_deref()) {
        Some(_) => Ok(()),
        None => Err(of.not_found(account)),
    }
}

/// A permission on a qualifier belongs to that qualifier alone.
fn key(of: &FunctionRef) -> &str {
    of.qualifier.as_deref().unwrap_or_default()
}

fn no_policy() -> ApiError {
    ApiError::new(
        404,
        "ResourceNotFoundException",
        "The resource you requested does not exist.",
    )
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str = "arn:aws:execute-api:us-east-1:000000000000:abc123/dev/$connect";

    #[test]
    fn source_arns_match_part_by_part() {
        for pattern in [
            ROUTE,
            "arn:aws:execute-api:us-east-1:000000000000:abc123/*",
            "arn:aws:execute-api:us-east-1:000000000000:abc123/*/$connect",
            "arn:aws:execute-api:*:*:abc12?/dev/*",
            "arn:aws:execute-api:us-east-1:000000000000:*",
        ] {
            assert!(arn_like(pattern, ROUTE), "{pattern}");
        }
        for pattern in [
            "*",
            "arn:aws:execute-api:us-east-1:000000000000:abc123/dev",
            "arn:aws:execute-api:us-east-1:111111111111:abc123/*",
            "arn:aws:execute-api:us-east-1:000000000000:abc123/*/$disconnect",
            "arn:aws:*:abc123/dev/$connect",
        ] {
            assert!(!arn_like(pattern, ROUTE), "{pattern}");
        }
    }
}
