//! A plan for people, in Terraform's symbols, and for programs: `docs/plan-json.md` describes the JSON.

use std::fmt::Write as _;

use anstyle::Style;
use infra_cdk::Kind;
use infra_engine::{Action, After, Cause, Change, Plan, Step};
use serde_json::{Value as Json, json};

use crate::ui::{BOLD, DIM, GREEN, RED, YELLOW, paint};

/// Format of a plan's JSON. It grows when a key changes its meaning or goes; new keys do not count.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// Longest value that is shown; the rest is cut.
const VALUE_CHARS_MAX: usize = 100;

/// So much of a digest is shown.
const DIGEST_CHARS: usize = 8;

/// All actions, in the order of the summary.
const ACTIONS: [Action; 7] = [
    Action::Create,
    Action::Adopt,
    Action::Update,
    Action::Replace,
    Action::Delete,
    Action::Retain,
    Action::Forget,
];

/// Returns the plan as lines: one per resource with its reason, one per property that changes, and a summary.
pub(crate) fn human(plan: &Plan) -> String {
    let mut text = String::new();
    let shown: Vec<&Step> = shown(plan).collect();
    let width = |of: fn(&Step) -> usize| shown.iter().map(|step| of(step)).max().unwrap_or(0);
    let symbol_width = width(|step| step.symbol().len());
    let type_width = width(|step| step.kind.cloudformation_type().len());
    let id_width = width(|step| step.id.as_str().len());
    for step in &shown {
        let symbol = paint(style(step.action), format_args!("{:>symbol_width$}", step.symbol()));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {symbol} {:type_width$}  {BOLD}{:id_width$}{BOLD:#}  {DIM}{}{DIM:#}",
            step.kind.cloudformation_type(),
            step.id.as_str(),
            sentence(plan, step),
        );
        for (name, change) in told(step) {
            let _ = writeln!(text, "      {}", property(name, change));
        }
    }
    if !plan.steps.is_empty() {
        text.push('\n');
    }
    text.push_str(&summary(plan));
    text
}

/// Returns `3 to create, 1 to update; 20 unchanged`, or that there is nothing to do.
pub(crate) fn summary(plan: &Plan) -> String {
    let counts: Vec<_> = ACTIONS
        .into_iter()
        .map(|action| (action, shown(plan).filter(|step| step.action == action).count()))
        .filter(|(_, count)| *count > 0)
        .map(|(action, count)| paint(style(action), format_args!("{count} to {action}")))
        .collect();
    let unchanged = plan.unchanged.len();
    if counts.is_empty() {
        format!("Nothing to change; as declared: {unchanged}.")
    } else {
        format!("{}; {unchanged} unchanged.", counts.join(", "))
    }
}

/// Returns the plan for programs: `schemaVersion`, `actions`, `summary`, `unchanged`.
pub(crate) fn json(plan: &Plan) -> Json {
    let count = |action| shown(plan).filter(|step| step.action == action).count();
    let summary: serde_json::Map<String, Json> = ACTIONS
        .into_iter()
        .map(|action| (action.to_string(), count(action).into()))
        .collect();
    json!({
        "schemaVersion": SCHEMA_VERSION,
        "actions": shown(plan).map(|step| action(plan, step)).collect::<Vec<_>>(),
        "summary": summary,
        "unchanged": plan.unchanged,
    })
}

fn action(plan: &Plan, step: &Step) -> Json {
    let changes: Vec<Json> = step
        .changes
        .iter()
        .map(|change| {
            json!({
                "property": change.property,
                "from": change.from,
                "to": change.to,
                "cause": change.cause,
                "forcesReplacement": change.replaces,
            })
        })
        .collect();
    let old = plan.replaced(step);
    json!({
        "id": step.id,
        "type": step.kind.cloudformation_type(),
        "action": step.action,
        "symbol": step.symbol(),
        "reason": step.reason,
        "changes": changes,
        "physicalId": step.physical_id,
        "old": old.map(|old| old.action),
        "losesData": loses_data(plan, step),
    })
}

/// Returns the steps that are shown: the removal of what is replaced is part of its replacement.
fn shown(plan: &Plan) -> impl Iterator<Item = &Step> {
    plan.steps.iter().filter(|step| plan.replacement(step).is_none())
}

/// Returns whether stored data is lost by a step, or by the removal that belongs to it.
fn loses_data(plan: &Plan, step: &Step) -> bool {
    plan.data_losses().any(|loss| loss.id == step.id)
}

/// Returns the colour of an action; the symbol says the same without it.
pub(crate) const fn style(action: Action) -> Style {
    match action {
        Action::Create => GREEN,
        Action::Adopt | Action::Update => YELLOW,
        Action::Replace | Action::Delete => RED,
        Action::Retain | Action::Forget => DIM,
    }
}

fn sentence(plan: &Plan, step: &Step) -> String {
    let mut text = step.action.to_string();
    if !step.reason.is_empty() {
        let _ = write!(text, ": {}", step.reason);
    }
    if plan.replaced(step).is_some_and(|old| old.action == Action::Retain) {
        text.push_str("; the old one is kept");
    }
    if loses_data(plan, step) {
        text.push_str("; what is stored in it is lost");
    }
    text
}

/// Returns a step's changes with the words for people: CloudFormation's names, but for what only the engine compares.
/// `Publish` of a function follows from any other change of it, so it is told where it is the only one.
pub(crate) fn told(step: &Step) -> impl Iterator<Item = (&str, &Change)> {
    let of_function = |name: &str, change: &Change| step.kind == Kind::Function && change.property == name;
    step.changes
        .iter()
        .filter(move |change| step.changes.len() == 1 || !of_function("Publish", change))
        .map(move |change| match change.property.as_str() {
            _ if of_function("Code.Sha256", change) => ("Code", change),
            _ if of_function("Publish", change) => ("Version", change),
            name => (name, change),
        })
}

/// Returns one line: `~ MemorySize: 256 → 512`. Of code, where `name` is `Code`, the beginnings of the digests are shown.
fn property(name: &str, change: &Change) -> String {
    let (symbol, style) = match (&change.from, &change.to) {
        (None, _) => ("+", GREEN),
        (Some(_), After::Cleared) => ("-", RED),
        (Some(_), After::Value(_) | After::Unknown) => ("~", YELLOW),
    };
    let value = |json: &Json| match (name, json) {
        ("Code", Json::String(digest)) => digest.chars().take(DIGEST_CHARS).collect(),
        ("Version", Json::Bool(_)) => "a new one, as what is live was never published".to_owned(),
        (_, json) => value(json),
    };
    let to = match &change.to {
        After::Value(to) => Some(value(to)),
        After::Unknown => Some("(known after the deployment)".to_owned()),
        After::Cleared => None,
    };
    let values: Vec<_> = change.from.as_ref().map(&value).into_iter().chain(to).collect();
    let cause = match change.cause {
        Cause::Declaration => "",
        Cause::Drift if name == "Code" => "  # changed outside: not the code that was deployed",
        Cause::Drift => "  # changed outside",
        Cause::Both => "  # also changed outside",
    };
    let replaces = if change.replaces { "  # forces replacement" } else { "" };
    format!(
        "{} {}: {}{}{}",
        paint(style, symbol),
        name,
        values.join(" → "),
        paint(YELLOW, cause),
        paint(RED, replaces)
    )
}

fn value(json: &Json) -> String {
    let text = json.to_string();
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text;
    }
    let cut: String = text.chars().take(VALUE_CHARS_MAX - 1).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeSet;

    use super::*;

    fn step(id: &str, kind: Kind, action: Action, reason: &str, changes: Vec<Change>) -> Step {
        Step {
            id: id.parse().unwrap(),
            kind,
            action,
            reason: reason.to_owned(),
            changes,
            physical_id: None,
            after: BTreeSet::new(),
        }
    }

    fn change(property: &str, from: Option<Json>, to: After, cause: Cause) -> Change {
        Change {
            property: property.to_owned(),
            from,
            to,
            cause,
            replaces: property == "KeySchema",
        }
    }

    fn plan() -> Plan {
        let endpoint = "Environment.Variables.MANAGEMENT_ENDPOINT";
        let changes = vec![
            change("MemorySize", Some(json!(256)), After::Value(json!(512)), Cause::Drift),
            change("Timeout", Some(json!(3)), After::Value(json!(5)), Cause::Both),
            change(endpoint, None, After::Unknown, Cause::Declaration),
            change(
                "Description",
                Some(json!("a".repeat(120))),
                After::Cleared,
                Cause::Declaration,
            ),
        ];
        let keys = vec![change(
            "KeySchema",
            Some(json!(["a"])),
            After::Value(json!(["b"])),
            Cause::Declaration,
        )];
        let tags = vec![change(
            "Tags.stackwright:app",
            None,
            After::Value(json!("chat")),
            Cause::Declaration,
        )];
        let mut steps = vec![
            step("Rooms", Kind::Table, Action::Create, "not deployed yet", Vec::new()),
            step(
                "ConnectLogs",
                Kind::LogGroup,
                Action::Adopt,
                "not made by this stack: no tags",
                tags,
            ),
            step(
                "ConnectFunction",
                Kind::Function,
                Action::Update,
                "declaration changed",
                changes,
            ),
            step(
                "Rows",
                Kind::Table,
                Action::Delete,
                "replaced: KeySchema cannot be changed in place",
                Vec::new(),
            ),
            step(
                "Rows",
                Kind::Table,
                Action::Replace,
                "KeySchema cannot be changed in place",
                keys,
            ),
            step(
                "ChatDeployment",
                Kind::Deployment,
                Action::Replace,
                "ChatWhoRoute changes",
                Vec::new(),
            ),
            step(
                "ChatDeployment",
                Kind::Deployment,
                Action::Delete,
                "replaced",
                Vec::new(),
            ),
            step(
                "Lines",
                Kind::Table,
                Action::Replace,
                "TableName cannot be changed in place",
                Vec::new(),
            ),
            step("Lines", Kind::Table, Action::Retain, "replaced", Vec::new()),
            step(
                "OldRole",
                Kind::Role,
                Action::Delete,
                "not declared any more",
                Vec::new(),
            ),
            step(
                "OldTable",
                Kind::Table,
                Action::Retain,
                "not declared any more; its removal policy is retain",
                Vec::new(),
            ),
            step(
                "OldPolicy",
                Kind::RolePolicy,
                Action::Forget,
                "goes with OldRole",
                Vec::new(),
            ),
        ];
        let removal = steps[3].step_id();
        steps[4].after.insert(removal);
        Plan {
            steps,
            unchanged: BTreeSet::from(["ChatApi".parse().unwrap()]),
        }
    }

    #[test]
    fn a_plan_reads_well() {
        insta::assert_snapshot!(anstream::adapter::strip_str(&human(&plan())));
    }

    #[test]
    fn code_that_was_changed_by_hand_is_told_in_words() {
        let digest = |letter: &str| json!(letter.repeat(44));
        let code = |cause| change("Code.Sha256", Some(digest("a")), After::Value(digest("b")), cause);
        let publish = || change("Publish", None, After::Value(json!(true)), Cause::Drift);
        let lines = |kind, changes| {
            let step = step("DefaultFunction", kind, Action::Update, "", changes);
            let lines: Vec<String> = told(&step).map(|(name, change)| property(name, change)).collect();
            anstream::adapter::strip_str(&lines.join("\n")).to_string()
        };
        assert_eq!(
            lines(Kind::Function, vec![code(Cause::Drift), publish()]),
            "~ Code: aaaaaaaa → bbbbbbbb  # changed outside: not the code that was deployed"
        );
        assert_eq!(
            lines(Kind::Function, vec![code(Cause::Declaration)]),
            "~ Code: aaaaaaaa → bbbbbbbb"
        );
        assert_eq!(
            lines(Kind::Function, vec![publish()]),
            "+ Version: a new one, as what is live was never published  # changed outside"
        );
        assert_eq!(
            lines(Kind::Table, vec![publish()]),
            "+ Publish: true  # changed outside"
        );
    }

    #[test]
    fn an_empty_plan_says_so() {
        let plan = Plan {
            steps: Vec::new(),
            ..plan()
        };
        assert_eq!(human(&plan), "Nothing to change; as declared: 1.");
    }

    #[test]
    fn programs_read_the_documented_keys() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&json(&plan())).unwrap());
    }

    #[test]
    fn every_key_is_documented() {
        fn keys(json: &Json, found: &mut BTreeSet<String>) {
            match json {
                Json::Object(entries) => {
                    found.extend(entries.keys().cloned());
                    entries.values().for_each(|entry| keys(entry, found));
                }
                Json::Array(items) => items.iter().for_each(|item| keys(item, found)),
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
            }
        }
        let text = include_str!("../../docs/plan-json.md");
        let mut found = BTreeSet::new();
        keys(&json(&plan()), &mut found);
        for key in found {
            assert!(
                text.contains(&format!("`{key}`")),
                "docs/plan-json.md does not know {key}"
            );
        }
        assert!(
            text.contains(&format!("`schemaVersion` | number | {SCHEMA_VERSION}")),
            "{text}"
        );
    }
}
