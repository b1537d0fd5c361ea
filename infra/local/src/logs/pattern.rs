//! Filter patterns: which messages a search returns. Pure.
//!
//! Terms (`ERROR -"health check" ?timeout`) and JSON (`{ $.level = "ERROR" && $.status >= 500 }`) are here; patterns of
//! space-delimited fields (`[ip, user, …]`) and regular expressions are refused, not ignored.
//! See <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>.

use std::cmp::Ordering;

use serde_json::Value;

/// A parsed filter pattern.
#[derive(Debug, PartialEq)]
pub(super) enum Pattern {
    /// Substrings, compared with regard to case.
    Terms {
        all: Vec<String>,
        /// One of these, where neither `all` nor `none` says anything: AWS ignores them otherwise.
        any: Vec<String>,
        none: Vec<String>,
    },
    /// Any of these groups, of each of which all conditions hold.
    Json(Vec<Vec<Condition>>),
}

/// One comparison of a JSON pattern.
#[derive(Debug, PartialEq)]
pub(super) struct Condition {
    /// Member names and indices.
    path: Vec<String>,
    test: Test,
}

#[derive(Debug, PartialEq)]
enum Test {
    Equal(Operand),
    NotEqual(Operand),
    Number(Ordering, /* or equal */ bool, f64),
    IsNull,
    IsTrue,
    IsFalse,
    NotExists,
}

#[derive(Debug, PartialEq)]
enum Operand {
    Number(f64),
    /// `*` stands for anything.
    Text(String),
}

impl Pattern {
    /// Reads a pattern; the empty one matches everything.
    ///
    /// # Errors
    /// What is wrong, in words for the caller.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(inner) = text.strip_prefix('{') {
            let inner = inner.strip_suffix('}').ok_or("Invalid filter pattern: missing }")?;
            return inner
                .split("||")
                .map(|group| group.split("&&").map(|text| Condition::parse(text.trim())).collect())
                .collect::<Result<_, _>>()
                .map(Self::Json);
        }
        if text.starts_with('[') {
            return Err("the local cloud does not implement patterns of space-delimited fields".to_owned());
        }
        Self::parse_terms(text)
    }

    fn parse_terms(text: &str) -> Result<Self, String> {
        let (mut all, mut any, mut none) = (Vec::new(), Vec::new(), Vec::new());
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (list, term) = match rest.strip_prefix('?') {
                Some(term) => (&mut any, term),
                None => match rest.strip_prefix('-') {
                    Some(term) => (&mut none, term),
                    None => (&mut all, rest),
                },
            };
            let (term, tail) = if let Some(quoted) = term.strip_prefix('"') {
                quoted
                    .split_once('"')
                    .ok_or("Invalid filter pattern: a quotation mark is not closed")?
            } else {
                let (term, tail) = term.split_once(char::is_whitespace).unwrap_or((term, ""));
                if term.starts_with('%') {
                    return Err("the local cloud does not implement regular expressions in patterns".to_owned());
                }
                if term.is_empty() || !term.chars().all(|c| c.is_alphanumeric() || c == '_') {
                    return Err(format!("Invalid character(s) in term '{term}'"));
                }
                (term, tail)
            };
            list.push(term.to_owned());
            rest = tail.trim_start();
        }
        Ok(Self::Terms { all, any, none })
    }

    /// Returns whether a message is wanted.
    pub(super) fn matches(&self, message: &str) -> bool {
        let contains = |term: &String| message.contains(term.as_str());
        match self {
            Self::Terms { all, any, none } if all.is_empty() && none.is_empty() => {
                any.is_empty() || any.iter().any(contains)
            }
            Self::Terms { all, none, .. } => all.iter().all(contains) && !none.iter().any(contains),
            Self::Json(groups) => serde_json::from_str::<Value>(message)
                .is_ok_and(|value| groups.iter().any(|group| group.iter().all(|test| test.holds(&value)))),
        }
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("Invalid filter pattern: '{text}'");
        let text_inner = text.strip_prefix("$.").ok_or_else(bad)?;
        let end = text_inner
            .find(|c: char| c.is_whitespace() || "=!<>".contains(c))
            .ok_or_else(bad)?;
        let (selector, rest) = text_inner.split_at(end);
        let path: Vec<String> = selector
            .split(['.', '['])
            .map(|part| part.trim_end_matches(']').to_owned())
            .collect();
        if path.iter().any(String::is_empty) {
            return Err(bad());
        }
        let rest = rest.trim();
        let words = rest.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase();
        let test = match words.as_str() {
            "IS NULL" => Test::IsNull,
            "IS TRUE" => Test::IsTrue,
            "IS FALSE" => Test::IsFalse,
            "NOT EXISTS" => Test::NotExists,
            _ => Test::parse(rest).ok_or_else(bad)?,
        };
        Ok(Self { path, test })
    }

    fn holds(&self, message: &Value) -> bool {
        let value = self.path.iter().try_fold(message, |value, part| match value {
            Value::Array(values) => part.parse::<usize>().ok().and_then(|index| values.get(index)),
            other => other.get(part),
        });
        let Some(value) = value else {
            return self.test == Test::NotExists;
        };
        match &self.test {
            Test::Equal(operand) => operand.equals(value),
            Test::NotEqual(operand) => !operand.equals(value),
            Test::Number(order, or_equal, number) => value
                .as_f64()
                .and_then(|value| value.partial_cmp(number))
                .is_some_and(|found| found == *order || (*or_equal && found == Ordering::Equal)),
            Test::IsNull => value.is_null(),
            Test::IsTrue => value == true,
            Test::IsFalse => value == false,
            Test::NotExists => false,
        }
    }
}

impl Test {
    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| text.trim().parse::<f64>().ok();
        // The longer operators first.
        if let Some(operand) = text.strip_prefix("!=") {
            Operand::parse(operand.trim()).map(Self::NotEqual)
        } else if let Some(operand) = text.strip_prefix("<=") {
            Some(Self::Number(Ordering::Less, true, number(operand)?))
        } else if let Some(operand) = text.strip_prefix(">=") {
            Some(Self::Number(Ordering::Greater, true, number(operand)?))
        } else if let Some(operand) = text.strip_prefix('<') {
            Some(Self::Number(Ordering::Less, false, number(operand)?))
        } else if let Some(operand) = text.strip_prefix('>') {
            Some(Self::Number(Ordering::Greater, false, number(operand)?))
        } else {
            Operand::parse(text.strip_prefix('=')?.trim()).map(Self::Equal)
        }
    }
}

impl Operand {
    fn parse(text: &str) -> Option<Self> {
        if let Some(quoted) = text.strip_prefix('"') {
            return quoted.strip_suffix('"').map(|text| Self::Text(text.to_owned()));
        }
        if let Ok(number) = text.parse() {
            return Some(Self::Number(number));
        }
        let is_plain = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "_*-.:/".contains(c));
        is_plain.then(|| Self::Text(text.to_owned()))
    }

    fn equals(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Number(number), value) => value.as_f64() == Some(*number),
            (Self::Text(pattern), Value::String(text)) => matches_wildcard(pattern, text),
            // A quoted number also equals the number.
            (Self::Text(pattern), Value::Number(number)) => *pattern == number.to_string(),
            (Self::Text(_), _) => false,
        }
    }
}

/// Returns whether `text` matches `pattern`, in which `*` stands for any characters.
fn matches_wildcard(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.split_once(part) {
            Some((_, tail)) => rest = tail,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[track_caller]
    fn check(pattern: &str, message: &str, expected: bool) {
        let parsed = Pattern::parse(pattern).unwrap();
        assert_eq!(parsed.matches(message), expected, "{pattern} on {message}");
    }

    #[test]
    fn terms_are_all_required() {
        check("", "anything", true);
        check("ERROR", "an ERROR came", true);
        check("ERROR", "an error came", false);
        check("ERROR table", "ERROR in table", true);
        check("ERROR table", "ERROR", false);
        check("\"in table\"", "ERROR in table", true);
        check("ERROR -table", "ERROR in table", false);
        check("-\"in table\"", "ERROR in list", true);
    }

    #[test]
    fn optional_terms_count_only_alone() {
        check("?ERROR ?WARN", "WARN", true);
        check("?ERROR ?WARN", "INFO", false);
        check("?ERROR INFO", "INFO", true);
    }

    #[test]
    fn json_members_are_compared() {
        let message = r#"{"level":"ERROR","status":503,"ok":false,"none":null,"user":{"names":["ann"]}}"#;
        for (pattern, expected) in [
            (r#"{ $.level = "ERROR" }"#, true),
            (r#"{$.level="E*R"}"#, true),
            (r#"{ $.level != "ERROR" }"#, false),
            ("{ $.level = ERROR }", true),
            ("{ $.status = 503 }", true),
            ("{ $.status >= 500 && $.status < 600 }", true),
            ("{ $.status > 503 || $.ok IS FALSE }", true),
            ("{ $.none IS NULL }", true),
            ("{ $.missing NOT EXISTS }", true),
            ("{ $.level NOT EXISTS }", false),
            ("{ $.missing = 1 }", false),
            (r#"{ $.user.names[0] = "ann" }"#, true),
        ] {
            check(pattern, message, expected);
        }
        check(r#"{ $.level = "ERROR" }"#, "no JSON, ERROR", false);
    }

    #[test]
    fn patterns_that_are_not_understood_are_refused() {
        for pattern in [
            "a-b",
            "\"open",
            "{ $.level = \"ERROR\"",
            "{ level = 1 }",
            "{ $.a }",
            "[ip, user]",
            "%a%",
        ] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }
}
