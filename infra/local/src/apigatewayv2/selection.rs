//! Selection expressions: which route a message takes.
//!
//! `$request.body.action` and `$request.body.a.b` name one place in a JSON body; `${request.body.service}/${request.body.action}`
//! joins several. See <https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-selection-expressions.html>.
//! Pure.

use serde_json::Value;

/// A parsed route selection expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expression {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Members to follow from the root of the body.
    Path(Vec<String>),
}

/// The expression is none that WebSocket APIs know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid route selection expression: {0}; expected for example $request.body.action")]
pub(crate) struct InvalidExpression(String);

impl Expression {
    /// Parses an expression.
    ///
    /// # Errors
    /// Anything that does not look at the message's body, or is malformed.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidExpression> {
        let invalid = || InvalidExpression(text.to_owned());
        if let Some(path) = text.strip_prefix("$request.body.") {
            let path = members(path).ok_or_else(invalid)?;
            return Ok(Self {
                parts: vec![Part::Path(path)],
            });
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (path, after) = after.split_once('}').ok_or_else(invalid)?;
            let path = path
                .strip_prefix("request.body.")
                .and_then(members)
                .ok_or_else(invalid)?;
            parts.extend((!before.is_empty()).then(|| Part::Text(before.to_owned())));
            parts.push(Part::Path(path));
            rest = after;
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.to_owned())));
        let looks_at_body = parts.iter().any(|part| matches!(part, Part::Path(_)));
        let stray = |part: &Part| matches!(part, Part::Text(text) if text.contains('$'));
        if !looks_at_body || parts.iter().any(stray) {
            return Err(invalid());
        }
        Ok(Self { parts })
    }

    /// Returns the route key that a message asks for; `None` when its body is not JSON or lacks a member.
    ///
    /// Scalars are made text; an object or array becomes its JSON.
    pub(crate) fn evaluate(&self, body: &str) -> Option<String> {
        let body: Value = serde_json::from_str(body).ok()?;
        let mut key = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => key.push_str(text),
                Part::Path(path) => {
                    let found = path.iter().try_fold(&body, |value, member| value.get(member))?;
                    match found {
                        Value::Null => return None,
                        Value::String(text) => key.push_str(text),
                        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                            key.push_str(&found.to_string());
                        }
                    }
                }
            }
        }
        Some(key)
    }
}

/// Splits `a.b`; every member must have letters, digits, `_` or `-` only.
fn members(path: &str) -> Option<Vec<String>> {
    let plain = |member: &str| {
        let allowed = |character: char| character.is_alphanumeric() || character == '_' || character == '-';
        !member.is_empty() && member.chars().all(allowed)
    };
    path.split('.')
        .map(|member| plain(member).then(|| member.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::Expression;

    #[test]
    fn a_message_chooses_its_route() {
        let cases = [
            ("$request.body.action", r#"{"action":"send"}"#, Some("send")),
            ("${request.body.action}", r#"{"action":"send"}"#, Some("send")),
            ("$request.body.a.b", r#"{"a":{"b":"deep"}}"#, Some("deep")),
            (
                "${request.body.a}/${request.body.b}",
                r#"{"a":"x","b":"y"}"#,
                Some("x/y"),
            ),
            ("$request.body.action", r#"{"action":7}"#, Some("7")),
            ("$request.body.action", r#"{"action":true}"#, Some("true")),
            ("$request.body.action", r#"{"action":["a"]}"#, Some(r#"["a"]"#)),
            ("$request.body.action", r#"{"action":null}"#, None),
            ("$request.body.action", r#"{"other":"send"}"#, None),
            ("$request.body.action", r#""action""#, None),
            ("$request.body.action", "send", None),
            ("$request.body.action", "", None),
        ];
        for (expression, body, expected) in cases {
            let key = Expression::parse(expression).unwrap().evaluate(body);
            assert_eq!(key.as_deref(), expected, "{expression} on {body}");
        }
    }

    #[test]
    fn expressions_that_see_no_body_are_refused() {
        for text in [
            "",
            "action",
            "$request.body",
            "$request.body.",
            "$request.body.a..b",
            "$request.header.x",
            "${request.method} ${request.path}",
            "${request.body.a",
            "$context.routeKey",
            "$request.body.a ${request.body.b}",
        ] {
            assert!(Expression::parse(text).is_err(), "{text}");
        }
    }
}
