//! A plan for people and for programs.

use std::fmt::Write as _;

use anstyle::Style;
use infra_engine::{Action, After, Change, Plan, Step};
use serde_json::{Value as Json, json};

use crate::ui::{BOLD, DIM, GREEN, RED, YELLOW, paint};

/// Longest value that is shown; policies and the like are cut.
const VALUE_CHARS_MAX: usize = 60;

/// Returns the plan as lines: one per step with its reason, one per property that changes, and a summary.
pub(crate) fn human(plan: &Plan) -> String {
    let mut text = String::new();
    let width = |of: fn(&Step) -> usize| plan.steps.iter().map(of).max().unwrap_or(0);
    let type_width = width(|step| step.kind.cloudformation_type().len());
    let id_width = width(|step| step.id.as_str().len());
    for step in &plan.steps {
        let symbol = paint(style(step.action), step.action.symbol());
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {symbol} {:type_width$}  {BOLD}{:id_width$}{BOLD:#}  {DIM}{}{DIM:#}",
            step.kind.cloudformation_type(),
            step.id.as_str(),
            sentence(step),
        );
        for change in &step.changes {
            let _ = writeln!(text, "      {}", property(change));
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
    const ACTIONS: [Action; 7] = [
        Action::Create,
        Action::Adopt,
        Action::Update,
        Action::Replace,
        Action::Delete,
        Action::Retain,
        Action::Forget,
    ];
    let counts: Vec<_> = ACTIONS
        .into_iter()
        .map(|action| (action, plan.steps.iter().filter(|step| step.action == action).count()))
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

/// Returns the steps for programs: `id`, `type`, `action`, `reason`, `changes`, `physicalId`.
pub(crate) fn actions(plan: &Plan) -> Json {
    plan.steps
        .iter()
        .map(|step| {
            json!({
                "id": step.id,
                "type": step.kind.cloudformation_type(),
                "action": step.action,
                "reason": step.reason,
                "changes": step.changes,
                "physicalId": step.physical_id,
            })
        })
        .collect()
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

fn sentence(step: &Step) -> String {
    if step.reason.is_empty() {
        step.action.to_string()
    } else {
        format!("{}: {}", step.action, step.reason)
    }
}

fn property(change: &Change) -> String {
    let from = change.from.as_ref().map_or_else(|| "not set".to_owned(), value);
    let to = match &change.to {
        After::Value(to) => value(to),
        After::Unknown => "known after the deployment".to_owned(),
        After::Cleared => "not set".to_owned(),
    };
    let drift = if change.drift { " (changed outside)" } else { "" };
    format!("{}: {from} → {to}{}", change.property, paint(YELLOW, drift))
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

    use infra_cdk::Kind;

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

    fn plan() -> Plan {
        let changes = vec![
            Change {
                property: "MemorySize".to_owned(),
                from: Some(json!(256)),
                to: After::Value(json!(512)),
                drift: true,
            },
            Change {
                property: "Environment.Variables.MANAGEMENT_ENDPOINT".to_owned(),
                from: None,
                to: After::Unknown,
                drift: false,
            },
            Change {
                property: "Description".to_owned(),
                from: Some(json!("a".repeat(80))),
                to: After::Cleared,
                drift: false,
            },
        ];
        Plan {
            steps: vec![
                step(
                    "Connections",
                    Kind::Table,
                    Action::Create,
                    "not deployed yet",
                    Vec::new(),
                ),
                step(
                    "ConnectFunction",
                    Kind::Function,
                    Action::Update,
                    "properties changed",
                    changes,
                ),
                step(
                    "ChatDeployment",
                    Kind::Deployment,
                    Action::Replace,
                    "routes changed",
                    Vec::new(),
                ),
                step(
                    "OldRole",
                    Kind::Role,
                    Action::Delete,
                    "not declared any more",
                    Vec::new(),
                ),
                step("OldTable", Kind::Table, Action::Retain, "removal policy", Vec::new()),
            ],
            unchanged: BTreeSet::from(["ChatApi".parse().unwrap()]),
        }
    }

    #[test]
    fn a_plan_reads_well() {
        insta::assert_snapshot!(anstream::adapter::strip_str(&human(&plan())));
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
    fn programs_read_cloudformation_types() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&actions(&plan())).unwrap());
    }
}
