//! What an account is set to and what credentials may do: questions that deployments do not need. Nothing is changed.

use infra_engine::{Class, CloudError};
use serde_json::Value as Json;

use crate::account;
use crate::error::refused;
use crate::iam;
use crate::policy::DeployerPolicy;
use crate::throttle::Service;
use crate::{Session, session::Caller};

/// How many invocations may run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// In the account and Region; 1,000 by default, 10 in some new accounts.
    pub limit: i32,
    /// What no function has reserved.
    pub unreserved: i32,
}

/// Returns the limit of Lambda's concurrent executions.
///
/// # Errors
/// When it may not be asked for.
pub async fn concurrency(session: &Session) -> Result<Concurrency, CloudError> {
    let call = session.lambda().get_account_settings();
    let answer = session
        .sdk(Service::Lambda, "lambda:GetAccountSettings", call.send())
        .await?;
    let limit = answer.account_limit();
    Ok(Concurrency {
        limit: limit.map_or(0, |limit| limit.concurrent_executions),
        unreserved: limit
            .and_then(|limit| limit.unreserved_concurrent_executions)
            .unwrap_or(0),
    })
}

/// Returns the ARN of the role by which API Gateway writes logs, where one is set for the account and Region.
///
/// # Errors
/// When it may not be asked for.
pub async fn api_gateway_log_role(session: &Session) -> Result<Option<String>, CloudError> {
    account::log_role(session).await
}

/// What credentials may do of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// They are those of the account's owner, who may do everything.
    Owner,
    /// All but these actions, each with the resource that was tried: `lambda:CreateFunction on arn:…`.
    AllBut(Vec<String>),
}

/// Returns what the credentials may do of a policy. IAM simulates; the answer is as good as its simulation, which knows no policies of
/// resources.
///
/// # Errors
/// When IAM may not be asked, or does not know who calls.
pub async fn allowed(session: &Session, policy: &DeployerPolicy) -> Result<Allowed, CloudError> {
    const OPERATION: &str = "iam:SimulatePrincipalPolicy";
    let principal = match Caller::of(session.caller()) {
        Caller::Principal(arn) => arn,
        Caller::Root => return Ok(Allowed::Owner),
        Caller::Other => {
            let message = format!("{} is no user or role", session.caller());
            return Err(refused(OPERATION, Class::Permanent, message));
        }
    };
    let document = serde_json::to_value(policy).unwrap_or_default();
    let mut denied = Vec::new();
    for statement in document["Statement"].as_array().into_iter().flatten() {
        let parameters = parameters(&principal, statement);
        let parameters: Vec<(&str, &str)> = parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let answer = session.iam("SimulatePrincipalPolicy", &parameters).await?;
        denied.extend(iam::not_allowed(&answer)?);
    }
    Ok(Allowed::AllBut(denied))
}

/// Returns the parameters by which a statement is tried: its actions on one example of each of its resources.
fn parameters(principal: &str, statement: &Json) -> Vec<(String, String)> {
    let texts = |value: &Json| -> Vec<String> {
        match value {
            Json::String(text) => vec![text.clone()],
            Json::Array(texts) => texts
                .iter()
                .filter_map(|text| text.as_str().map(str::to_owned))
                .collect(),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => Vec::new(),
        }
    };
    let mut parameters = vec![("PolicySourceArn".to_owned(), principal.to_owned())];
    let mut add = |list: &str, texts: Vec<String>| {
        let numbered = texts.into_iter().enumerate();
        parameters.extend(numbered.map(|(index, text)| (format!("{list}.member.{}", index + 1), text)));
    };
    add("ActionNames", texts(&statement["Action"]));
    let resources = texts(&statement["Resource"]).into_iter();
    // Resources of a simulation have no wildcards, but for `*` alone.
    let examples = resources.map(|arn| if arn == "*" { arn } else { arn.replace('*', "example") });
    add("ResourceArns", examples.collect());
    let conditions = statement["Condition"].as_object().into_iter().flatten();
    let keys = conditions.flat_map(|(_, keys)| keys.as_object().into_iter().flatten());
    for (index, (key, value)) in keys.enumerate() {
        let entry = format!("ContextEntries.member.{}", index + 1);
        parameters.push((format!("{entry}.ContextKeyName"), key.clone()));
        parameters.push((format!("{entry}.ContextKeyType"), "string".to_owned()));
        for (index, text) in texts(value).into_iter().enumerate() {
            parameters.push((format!("{entry}.ContextKeyValues.member.{}", index + 1), text));
        }
    }
    parameters
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_statement_is_tried_by_examples_and_with_its_conditions() {
        let statement = json!({
            "Action": ["iam:PassRole"],
            "Resource": ["arn:aws:iam::1:role/chat-*"],
            "Condition": {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}},
        });
        let expected = [
            ("PolicySourceArn", "arn:aws:iam::1:user/ada"),
            ("ActionNames.member.1", "iam:PassRole"),
            ("ResourceArns.member.1", "arn:aws:iam::1:role/chat-example"),
            ("ContextEntries.member.1.ContextKeyName", "iam:PassedToService"),
            ("ContextEntries.member.1.ContextKeyType", "string"),
            (
                "ContextEntries.member.1.ContextKeyValues.member.1",
                "lambda.amazonaws.com",
            ),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parameters("arn:aws:iam::1:user/ada", &statement), expected);
    }
}
