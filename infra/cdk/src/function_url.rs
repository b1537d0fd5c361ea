//! Function URLs: an HTTPS address of a function, without an API in between.
//!
//! An address belongs to the alias that callers use, so that an update moves it like all callers. Whoever calls it needs
//! two statements of the alias's policy: `lambda:InvokeFunctionUrl`, and, for addresses made since October 2025,
//! `lambda:InvokeFunction` too (Lambda Developer Guide, "Control access to Lambda function URLs").

use crate::lambda::{ALIAS, Callee};
use crate::stack::DraftStack;
use crate::{Kind, LogicalId, Resource, Value};

/// Who may call a function URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionUrlAuthType {
    /// Everybody: the function itself decides whom it answers. Both statements are declared with the address.
    None,
    /// Signed requests, of those whose policies allow it.
    AwsIam,
}

/// The URL of a function in a stack.
#[derive(Clone, Debug)]
pub struct FunctionUrl {
    id: LogicalId,
}

impl FunctionUrl {
    pub(crate) fn of(function: &str) -> Self {
        Self { id: url_id(function) }
    }

    /// Returns the URL: `https://{id}.lambda-url.{region}.on.aws/`, with the slash. AWS assigns it; who refers to it
    /// waits until it is made.
    #[must_use]
    pub fn url(&self) -> Value {
        Value::Attribute {
            of: self.id.clone(),
            name: "FunctionUrl",
        }
    }
}

/// Declares the URL of a function (the name of its binary), after the function itself.
pub(crate) fn add_to(draft: &mut DraftStack, function: &str, auth_type: FunctionUrlAuthType) {
    let callee = Callee::of(function, draft);
    // Deleting the function would delete its URL later on, and a new function of the same name might still get it.
    let mut url = Resource::new(Kind::Url)
        .with("TargetFunctionArn", callee.function_arn.clone())
        .with(
            "AuthType",
            match auth_type {
                FunctionUrlAuthType::None => "NONE",
                FunctionUrlAuthType::AwsIam => "AWS_IAM",
            },
        )
        .after([callee.function.clone(), callee.container.clone()]);
    if callee.is_alias {
        url = url.with("Qualifier", ALIAS);
    }
    draft.add(url_id(function), url);
    if auth_type == FunctionUrlAuthType::None {
        let statement = |action: &str| {
            Resource::new(Kind::Permission)
                .with("FunctionName", callee.name.clone())
                .with("Action", action)
                .with("Principal", "*")
                .inside(callee.container.clone())
        };
        let id = |words: &[&str]| {
            let alias = callee.is_alias.then_some(ALIAS);
            let words: Vec<&str> = words.iter().copied().chain(alias).chain(["permission"]).collect();
            LogicalId::from_words(&words)
        };
        draft.add(
            id(&[function, "url"]),
            statement("lambda:InvokeFunctionUrl").with("FunctionUrlAuthType", "NONE"),
        );
        draft.add(
            id(&[function, "url", "invoke"]),
            statement("lambda:InvokeFunction").with("InvokedViaFunctionUrl", true),
        );
    }
}

fn url_id(function: &str) -> LogicalId {
    LogicalId::from_words(&[function, "url"])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeSet;

    use super::*;
    use crate::{Graph, Settings, Stack, Stage};

    fn graph(declare: impl FnOnce(&mut Stack)) -> Graph {
        let stage = Stage {
            name: "dev".into(),
            region: "us-east-1".into(),
            settings: Settings::default(),
        };
        let mut stack = Stack::new("chat", &stage);
        declare(&mut stack);
        stack.build().unwrap()
    }

    fn id(text: &str) -> LogicalId {
        text.parse().unwrap()
    }

    #[test]
    fn everybody_may_call_a_public_url_and_nothing_else() {
        let graph = graph(|stack| {
            let url = stack.function("web").add_function_url(FunctionUrlAuthType::None);
            stack.output("webUrl", url.url());
        });
        let resource = &graph.resources()[&id("WebUrl")];
        assert_eq!(resource.properties["Qualifier"], Value::from(ALIAS));
        assert_eq!(resource.properties["AuthType"], Value::from("NONE"));
        // It is deleted before the function, and made after the alias.
        let both = BTreeSet::from([id("WebFunction"), id("WebAlias")]);
        assert_eq!(graph.outlived_by(&id("WebUrl")), both);
        assert_eq!(graph.dependencies(&id("WebUrl")), both);
        let statements = ["WebUrlLivePermission", "WebUrlInvokeLivePermission"];
        let [url, invoke] = statements.map(|name| &graph.resources()[&id(name)].properties);
        assert_eq!(url["Action"], Value::from("lambda:InvokeFunctionUrl"));
        assert_eq!(url["FunctionUrlAuthType"], Value::from("NONE"));
        assert_eq!(invoke["Action"], Value::from("lambda:InvokeFunction"));
        assert_eq!(invoke["InvokedViaFunctionUrl"], Value::from(true));
    }

    #[test]
    fn a_url_for_signed_requests_grants_nothing() {
        let graph = graph(|stack| {
            let _ = stack
                .function("web")
                .without_alias()
                .add_function_url(FunctionUrlAuthType::AwsIam);
        });
        let resource = &graph.resources()[&id("WebUrl")];
        assert_eq!(resource.properties["AuthType"], Value::from("AWS_IAM"));
        assert_eq!(resource.properties.get("Qualifier"), None);
        let permissions = graph.resources().values().filter(|one| one.kind == Kind::Permission);
        assert_eq!(permissions.count(), 0);
    }
}
