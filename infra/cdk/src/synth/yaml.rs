//! Templates as YAML 1.1, the version that CloudFormation reads (CloudFormation User Guide, "template format").
//!
//! `serde_yaml` writes YAML 1.2, where `on`, `1_000` and `12:30` are texts: CloudFormation would read a truth value and
//! two numbers. Here a text stands unquoted only if both versions read a text.

use serde_yaml::Value as Yaml;

/// Words that one of the versions takes for something other than a text, in any case.
const RESERVED: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// Returns a document that ends with a line break.
pub(super) fn write(value: &Yaml) -> String {
    let mut text = String::new();
    match value {
        Yaml::Mapping(_) | Yaml::Sequence(_) => block(value, "", &mut text),
        leaf => text.push_str(&scalar(leaf)),
    }
    text.push('\n');
    let start = text.len() - text.trim_start().len();
    text.split_off(start)
}

/// Writes `value` after what stands on the line already: a key or a dash.
fn block(value: &Yaml, indent: &str, text: &mut String) {
    let inner = format!("{indent}  ");
    match value {
        Yaml::Mapping(entries) if !entries.is_empty() => {
            for (key, entry) in entries {
                text.push_str(&format!("\n{indent}{}:", scalar(key)));
                block(entry, &inner, text);
            }
        }
        Yaml::Sequence(items) if !items.is_empty() => {
            for item in items {
                text.push_str(&format!("\n{indent}-"));
                // The first entry of a mapping stands beside the dash.
                let start = text.len();
                block(item, &inner, text);
                let beside = format!("\n{inner}");
                if text[start..].starts_with(&beside) {
                    text.replace_range(start..start + beside.len(), " ");
                }
            }
        }
        leaf => {
            text.push(' ');
            text.push_str(&scalar(leaf));
        }
    }
}

fn scalar(value: &Yaml) -> String {
    match value {
        Yaml::Null => "null".to_owned(),
        Yaml::Bool(value) => value.to_string(),
        Yaml::Number(number) => number.to_string(),
        Yaml::String(text) if is_plain(text) => text.clone(),
        Yaml::String(text) => quoted(text),
        Yaml::Sequence(_) => "[]".to_owned(),
        Yaml::Mapping(_) => "{}".to_owned(),
        // Templates use the long forms of intrinsic functions, so nothing has a tag.
        Yaml::Tagged(tagged) => scalar(&tagged.value),
    }
}

/// Returns whether both versions read an unquoted text as itself. Many more could be left unquoted; these are the ones
/// that templates are full of.
fn is_plain(text: &str) -> bool {
    let begins_well = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    let is_simple = |c: char| c.is_ascii_alphanumeric() || " -_./:${}@*!()+;'=".contains(c);
    begins_well
        && text.chars().all(is_simple)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !RESERVED.contains(&text.to_ascii_lowercase().as_str())
}

/// Returns a text in double quotes. JSON's escapes are YAML's too.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            c if c.is_alphanumeric() => quoted.push(c),
            c => quoted.push_str(&format!("\\U{:08X}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_template_reads_well() {
        let value: Yaml = serde_yaml::from_str(
            "{A: {B: [{C: 1, D: [x, y]}, [z], []], E: {}}, F: 'Fn::Sub', G: 'arn:${X}:*', H: true, I: null}",
        )
        .unwrap();
        let expected = "A:\n  B:\n    - C: 1\n      D:\n        - x\n        - \"y\"\n    - - z\n    - []\n  E: {}\n\
                        F: Fn::Sub\nG: arn:${X}:*\nH: true\nI: null\n";
        assert_eq!(write(&value), expected);
    }

    #[test]
    fn what_either_version_reads_as_something_else_is_quoted() {
        for text in [
            "",
            "on",
            "Yes",
            "y",
            "N",
            "off",
            "true",
            "NULL",
            "~",
            "012",
            "0o7",
            "1_000",
            "12:30",
            "1e3",
            ".5",
            "=",
            "<<",
            "2012-10-17",
            "123456789012",
            "a: b",
            "a:",
            "a #b",
            " a",
            "a ",
            "- a",
            "*a",
            "&a",
            "!a",
            "{a",
            "[a",
            "@a",
            "%a",
            "a\nb",
            "a,b",
            "ü\u{85}",
            "\u{feff}",
            "\"",
            "\\",
        ] {
            let written = write(&Yaml::from(text));
            assert!(written.starts_with('"'), "{written}");
            assert_eq!(serde_yaml::from_str::<Yaml>(&written).unwrap(), Yaml::from(text));
        }
    }

    fn value() -> impl Strategy<Value = Yaml> {
        let leaf = prop_oneof![
            Just(Yaml::Null),
            any::<bool>().prop_map(Yaml::from),
            any::<i64>().prop_map(Yaml::from),
            any::<String>().prop_map(Yaml::from),
            "[a-zA-Z/:${}' -]{0,8}".prop_map(Yaml::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Yaml::from),
                prop::collection::btree_map(
                    any::<String>().prop_filter("short keys", |key| key.len() < 200),
                    inner,
                    0..4
                )
                .prop_map(|entries| Yaml::from(
                    entries
                        .into_iter()
                        .map(|(key, value)| (Yaml::from(key), value))
                        .collect::<serde_yaml::Mapping>()
                )),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read_back(value in value()) {
            let written = write(&value);
            let read = serde_yaml::from_str::<Yaml>(&written);
            prop_assert_eq!(read.ok(), Some(value), "{}", written);
        }
    }
}
