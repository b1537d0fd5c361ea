//! Policy documents: what IAM refuses to store, and whom a trust policy trusts. Pure.
//!
//! The grammar is in <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>.

use serde_json::{Map, Value};

use crate::wildcard::matches;
use crate::wire::ApiError;

/// Characters of a trust policy, white space not counted.
const TRUST_CHARACTERS_MAX: usize = 2048;
const STATEMENT_MEMBERS: [&str; 9] = [
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

/// Checks the trust policy of a role: who may assume it, and nothing about resources.
///
/// # Errors
/// `MalformedPolicyDocument`, or `LimitExceeded` for more than 2048 characters.
pub(super) fn check_trust(text: &str) -> Result<(), ApiError> {
    for statement in statements(text)? {
        if has_any(&statement, ["Resource", "NotResource"]) {
            return Err(malformed("Has prohibited field Resource"));
        }
        if !has_any(&statement, ["Principal", "NotPrincipal"]) {
            return Err(malformed("Missing required field Principal"));
        }
        if !has_any(&statement, ["Action", "NotAction"]) {
            return Err(malformed("Missing required field Action"));
        }
        for action in strings(statement.get("Action")) {
            if !action.to_lowercase().starts_with("sts:") && action != "*" {
                return Err(malformed("AssumeRole policy may only specify STS AssumeRole actions."));
            }
        }
        for service in strings(
            statement
                .get("Principal")
                .and_then(|principal| principal.get("Service")),
        ) {
            if !service.ends_with(".amazonaws.com") {
                return Err(malformed(&format!(
                    "Invalid principal in policy: \"SERVICE\":\"{service}\""
                )));
            }
        }
    }
    if text.chars().filter(|c| !c.is_whitespace()).count() > TRUST_CHARACTERS_MAX {
        let message = format!("Cannot exceed quota for ACLSizePerRole: {TRUST_CHARACTERS_MAX}");
        return Err(ApiError::new(409, "LimitExceeded", message));
    }
    Ok(())
}

/// Checks an inline policy: what may be done to which resources, and nothing about who.
///
/// # Errors
/// `MalformedPolicyDocument`.
pub(super) fn check_policy(text: &str) -> Result<(), ApiError> {
    for statement in statements(text)? {
        if has_any(&statement, ["Principal", "NotPrincipal"]) {
            return Err(malformed("Policy document should not specify a principal."));
        }
        if !has_any(&statement, ["Action", "NotAction"]) {
            return Err(malformed("Policy statement must contain actions."));
        }
        if !has_any(&statement, ["Resource", "NotResource"]) {
            return Err(malformed("Policy statement must contain resources."));
        }
        for action in ["Action", "NotAction"]
            .iter()
            .flat_map(|member| strings(statement.get(*member)))
        {
            if action != "*"
                && !action
                    .split_once(':')
                    .is_some_and(|(vendor, name)| !vendor.is_empty() && !name.is_empty())
            {
                return Err(malformed(
                    "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
                ));
            }
        }
        for resource in ["Resource", "NotResource"]
            .iter()
            .flat_map(|member| strings(statement.get(*member)))
        {
            if resource != "*" && !(resource.starts_with("arn:") && resource.splitn(6, ':').count() == 6) {
                return Err(malformed(&format!(
                    "Resource {resource} must be in ARN format or \"*\"."
                )));
            }
        }
    }
    Ok(())
}

/// Returns whether a trust policy lets a service assume the role.
///
/// Conditions count as met: what they ask for (the account, the function) is always true in a cloud of one account.
pub(super) fn trusts(text: &str, service: &str) -> bool {
    let Ok(statements) = statements(text) else {
        return false;
    };
    let decides = |effect: &str| {
        statements.iter().any(|statement| {
            let principal = statement.get("Principal").unwrap_or(&Value::Null);
            statement.get("Effect").and_then(Value::as_str) == Some(effect)
                && strings(statement.get("Action"))
                    .iter()
                    .any(|action| matches!(action.to_lowercase().as_str(), "*" | "sts:*" | "sts:assumerole"))
                && (principal == "*" || strings(principal.get("Service")).contains(&service))
        })
    };
    decides("Allow") && !decides("Deny")
}

/// Returns whether inline policies allow an action on a resource: some statement says `Allow`, and none `Deny`.
pub(super) fn allows(policies: &[&str], action: &str, resource: &str) -> bool {
    let statements: Vec<_> = policies
        .iter()
        .flat_map(|text| statements(text).unwrap_or_default())
        .collect();
    let any = |value: Option<&Value>, text: &str| {
        strings(value)
            .iter()
            .any(|pattern| matches(&pattern.to_lowercase(), &text.to_lowercase()))
    };
    let applies = |statement: &Map<String, Value>| {
        let named = |member: &str, other: &str, text: &str| match statement.get(member) {
            Some(_) => any(statement.get(member), text),
            None => !any(statement.get(other), text),
        };
        named("Action", "NotAction", action) && named("Resource", "NotResource", resource)
    };
    let says = |effect: &str, conditions: bool| {
        statements.iter().any(|statement| {
            statement.get("Effect").and_then(Value::as_str) == Some(effect)
                && (conditions || !statement.contains_key("Condition"))
                && applies(statement)
        })
    };
    says("Allow", true) && !says("Deny", false)
}

/// Returns the statements of a document after the checks that all kinds share.
fn statements(text: &str) -> Result<Vec<Map<String, Value>>, ApiError> {
    let document: Value = serde_json::from_str(text).map_err(|_| malformed("This policy contains invalid Json"))?;
    let Value::Object(mut document) = document else {
        return Err(malformed("Syntax errors in policy."));
    };
    if let Some(version) = document.get("Version")
        && version != "2012-10-17"
        && version != "2008-10-17"
    {
        return Err(malformed("Syntax errors in policy."));
    }
    if document
        .keys()
        .any(|member| !["Version", "Id", "Statement"].contains(&member.as_str()))
    {
        return Err(malformed("Syntax errors in policy."));
    }
    let statements = match document.remove("Statement") {
        Some(Value::Array(statements)) => statements,
        Some(statement @ Value::Object(_)) => vec![statement],
        Some(_) => return Err(malformed("Syntax errors in policy.")),
        None => return Err(malformed("Missing required field Statement")),
    };
    if statements.is_empty() {
        return Err(malformed("Policy document must contain at least one statement."));
    }
    statements
        .into_iter()
        .map(|statement| match statement {
            Value::Object(statement) if is_well_formed(&statement) => Ok(statement),
            _ => Err(malformed("Syntax errors in policy.")),
        })
        .collect()
}

fn is_well_formed(statement: &Map<String, Value>) -> bool {
    let effect = statement.get("Effect").and_then(Value::as_str);
    let is_texts = |value: &Value| match value {
        Value::String(_) => true,
        Value::Array(values) => !values.is_empty() && values.iter().all(Value::is_string),
        _ => false,
    };
    matches!(effect, Some("Allow" | "Deny"))
        && statement
            .keys()
            .all(|member| STATEMENT_MEMBERS.contains(&member.as_str()))
        && ["Action", "NotAction", "Resource", "NotResource"]
            .iter()
            .all(|member| statement.get(*member).is_none_or(is_texts))
        && ["Principal", "NotPrincipal"].iter().all(|member| {
            statement
                .get(*member)
                .is_none_or(|value| value == "*" || value.as_object().is_some_and(|map| map.values().all(is_texts)))
        })
        && statement.get("Condition").is_none_or(Value::is_object)
        && !(statement.contains_key("Action") && statement.contains_key("NotAction"))
        && !(statement.contains_key("Resource") && statement.contains_key("NotResource"))
}

fn has_any(statement: &Map<String, Value>, members: [&str; 2]) -> bool {
    members.iter().any(|member| statement.contains_key(*member))
}

/// Returns a string, or the strings of a list.
fn strings(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn malformed(message: &str) -> ApiError {
    ApiError::new(400, "MalformedPolicyDocument", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAMBDA: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":["lambda.amazonaws.com"]},"Action":"sts:AssumeRole"}]}"#;

    #[test]
    fn a_trust_policy_trusts_the_services_it_names() {
        assert_eq!(check_trust(LAMBDA), Ok(()));
        assert!(trusts(LAMBDA, "lambda.amazonaws.com"));
        assert!(!trusts(LAMBDA, "apigateway.amazonaws.com"));
        assert!(!trusts(&LAMBDA.replace("Allow", "Deny"), "lambda.amazonaws.com"));
        assert!(!trusts(
            &LAMBDA.replace("sts:AssumeRole", "sts:TagSession"),
            "lambda.amazonaws.com"
        ));
        assert!(!trusts("", "lambda.amazonaws.com"));
    }

    #[test]
    fn trust_policies_that_aws_refuses_are_refused() {
        for (text, message) in [
            ("nonsense", "This policy contains invalid Json"),
            ("[]", "Syntax errors in policy."),
            ("{}", "Missing required field Statement"),
            (
                r#"{"Statement":[{"Effect":"Allow","Action":"sts:AssumeRole"}]}"#,
                "Missing required field Principal",
            ),
            (
                r#"{"Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"*","Resource":"*"}]}"#,
                "Has prohibited field Resource",
            ),
            (
                r#"{"Statement":[{"Effect":"Allow","Action":"s3:GetObject","Principal":"*"}]}"#,
                "AssumeRole policy may only specify STS AssumeRole actions.",
            ),
            (
                r#"{"Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"lambda"}}]}"#,
                "Invalid principal in policy: \"SERVICE\":\"lambda\"",
            ),
        ] {
            assert_eq!(check_trust(text), Err(malformed(message)), "{text}");
        }
        let long = LAMBDA.replace(
            "\"Statement\"",
            &format!("\"Id\":\"{}\",\"Statement\"", "x".repeat(2048)),
        );
        assert_eq!(
            check_trust(&long).map_err(|error| error.code),
            Err("LimitExceeded".into())
        );
    }

    #[test]
    fn a_policy_allows_what_a_statement_names() {
        let policy = |statements: &str| format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
        let grant = r#"{"Effect":"Allow","Action":["dynamodb:PutItem","dynamodb:Get*"],"Resource":"arn:aws:dynamodb:r:1:table/T"}"#;
        let deny = r#"{"Effect":"Deny","Action":"dynamodb:GetItem","Resource":"*"}"#;
        let (table, index) = ("arn:aws:dynamodb:r:1:table/T", "arn:aws:dynamodb:r:1:table/T/index/i");
        for (statements, action, resource, expected) in [
            (grant.to_owned(), "dynamodb:PutItem", table, true),
            (grant.to_owned(), "dynamodb:GetItem", table, true),
            (grant.to_owned(), "dynamodb:DeleteItem", table, false),
            (grant.to_owned(), "dynamodb:PutItem", index, false),
            (format!("{grant},{deny}"), "dynamodb:GetItem", table, false),
            (format!("{grant},{deny}"), "dynamodb:PutItem", table, true),
            (
                grant.replace("\"Action\"", "\"NotAction\""),
                "dynamodb:DeleteItem",
                table,
                true,
            ),
            (
                grant.replace("\"Action\"", "\"NotAction\""),
                "dynamodb:PutItem",
                table,
                false,
            ),
        ] {
            let policy = policy(&statements);
            assert_eq!(
                allows(&[&policy], action, resource),
                expected,
                "{statements}: {action} on {resource}"
            );
        }
        assert!(!allows(&[], "dynamodb:GetItem", table));
    }

    #[test]
    fn inline_policies_that_aws_refuses_are_refused() {
        let policy = |statement: &str| format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
        assert_eq!(
            check_policy(&policy(
                r#"{"Effect":"Allow","Action":"dynamodb:PutItem","Resource":"arn:aws:dynamodb:us-east-1:0:table/T"}"#
            )),
            Ok(())
        );
        for (statement, message) in [
            ("", "Policy document must contain at least one statement."),
            (
                r#"{"Effect":"Perhaps","Action":"a:b","Resource":"*"}"#,
                "Syntax errors in policy.",
            ),
            (
                r#"{"Effect":"Allow","Action":"a:b","Resource":"*","Extra":1}"#,
                "Syntax errors in policy.",
            ),
            (
                r#"{"Effect":"Allow","Resource":"*"}"#,
                "Policy statement must contain actions.",
            ),
            (
                r#"{"Effect":"Allow","Action":"a:b"}"#,
                "Policy statement must contain resources.",
            ),
            (
                r#"{"Effect":"Allow","Action":"PutItem","Resource":"*"}"#,
                "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
            ),
            (
                r#"{"Effect":"Allow","Action":"a:b","Resource":"table"}"#,
                "Resource table must be in ARN format or \"*\".",
            ),
            (
                r#"{"Effect":"Allow","Action":"a:b","Resource":"*","Principal":"*"}"#,
                "Policy document should not specify a principal.",
            ),
        ] {
            assert_eq!(check_policy(&policy(statement)), Err(malformed(message)), "{statement}");
        }
    }
}
