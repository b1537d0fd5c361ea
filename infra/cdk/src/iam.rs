//! Policy statements, and the documents made of them.

use crate::Value;

/// One `Allow` statement of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    sid: String,
    actions: Vec<&'static str>,
    resources: Vec<Value>,
}

impl Statement {
    /// Allows `actions` on `resources`. `sid` names the statement: letters and digits, unique in its policy.
    ///
    /// There is no way to write `Deny` or a wildcard action: grants name exactly what is used.
    pub fn allow(
        sid: impl Into<String>,
        actions: impl IntoIterator<Item = &'static str>,
        resources: impl IntoIterator<Item = Value>,
    ) -> Self {
        let mut actions: Vec<_> = actions.into_iter().collect();
        actions.sort_unstable();
        Self {
            sid: sid.into(),
            actions,
            resources: resources.into_iter().collect(),
        }
    }

    /// Returns the statement's name.
    pub(crate) fn sid(&self) -> &str {
        &self.sid
    }

    fn document(&self) -> Value {
        Value::map([
            ("Sid", Value::from(self.sid.as_str())),
            ("Effect", "Allow".into()),
            ("Action", Value::list(self.actions.iter().copied())),
            ("Resource", Value::List(self.resources.clone())),
        ])
    }
}

/// Returns the policy document of the given statements.
pub(crate) fn policy_document(statements: &[Statement]) -> Value {
    Value::map([
        ("Version", Value::from("2012-10-17")),
        (
            "Statement",
            Value::List(statements.iter().map(Statement::document).collect()),
        ),
    ])
}

/// Returns the trust policy that lets a service assume a role for this account only (the "confused deputy" guard of the
/// IAM User Guide).
pub(crate) fn trust_policy(service: &str) -> Value {
    Value::map([
        ("Version", Value::from("2012-10-17")),
        (
            "Statement",
            Value::List(vec![Value::map([
                ("Effect", Value::from("Allow")),
                ("Principal", Value::map([("Service", service)])),
                ("Action", "sts:AssumeRole".into()),
                (
                    "Condition",
                    Value::map([("StringEquals", Value::map([("aws:SourceAccount", Value::AccountId)]))]),
                ),
            ])]),
        ),
    ])
}
