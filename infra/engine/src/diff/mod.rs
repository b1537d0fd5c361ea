//! Compares properties as AWS understands them, not as they are written. Pure.
//!
//! Three sides are compared: what is declared, what is live and what was recorded. The third tells what the declaration
//! changed from what somebody changed outside. Read next: [`canonical`] for when two values are the same.

mod canonical;

use std::collections::BTreeSet;

use infra_cdk::{Kind, Schema};
use serde_json::Value as Json;

use crate::plan::{After, Cause, Change};
use crate::provider::Properties;

/// Properties whose maps are compared whole: an entry that is live and not desired is a difference. In other maps AWS
/// fills in defaults, and only what is desired or was recorded is compared.
const EXACT_MAPS: [&str; 3] = ["Environment", "Tags", "StageVariables"];

/// Returns how `live` differs from what is desired, leaf by leaf. Of the properties `unknown` the value will be known
/// after another step.
pub(crate) fn changes(
    kind: Kind,
    desired: &Properties,
    unknown: &BTreeSet<String>,
    live: &Properties,
    recorded: Option<&Properties>,
) -> Vec<Change> {
    let mut comparison = Comparison {
        schema: kind.schema(),
        is_recorded: recorded.is_some(),
        top: "",
        found: Vec::new(),
    };
    let was = |name: &str| recorded.and_then(|recorded| recorded.get(name));
    for (name, desired) in desired {
        comparison.top = name;
        let live = live.get(name).or_else(|| {
            // What cannot be read is as it was recorded; without a record, as it should be.
            let is_hidden = comparison.schema.write_only.contains(name);
            is_hidden.then(|| was(name).unwrap_or(desired))
        });
        comparison.value(name, desired, live, was(name));
    }
    for name in unknown {
        comparison.top = name;
        comparison.found(name, live.get(name), After::Unknown, Cause::Declaration);
    }
    let gone = live
        .iter()
        .filter(|(name, _)| !desired.contains_key(*name) && !unknown.contains(*name));
    for (name, live) in gone {
        comparison.top = name;
        comparison.undeclared(name, live, was(name), false);
    }
    comparison.found
}

/// Returns the value that a service has to be told so that it forgets another one, where there is such a value.
pub(crate) fn value_that_clears(kind: Kind, path: &str) -> Option<&'static Json> {
    kind.schema().defaults.get(path).filter(|value| !value.is_null())
}

struct Comparison<'a> {
    schema: &'static Schema,
    is_recorded: bool,
    /// The top-level property that is being compared.
    top: &'a str,
    found: Vec<Change>,
}

impl Comparison<'_> {
    fn value(&mut self, path: &str, desired: &Json, live: Option<&Json>, recorded: Option<&Json>) {
        if canonical::is_policy(self.top) {
            self.policy(path, desired, live, recorded);
            return;
        }
        let (Json::Object(desired), Some(Json::Object(live))) = (desired, live) else {
            let same = |other: &Json| self.is_same(other, desired);
            if !live.map_or_else(|| self.is_default(path, desired), same) {
                let cause = self.cause(live, recorded, same);
                self.found(path, live, After::Value(desired.clone()), cause);
            }
            return;
        };
        let was = |key: &str| recorded.and_then(|recorded| recorded.get(key));
        for (key, value) in desired {
            self.value(&format!("{path}.{key}"), value, live.get(key), was(key));
        }
        let is_exact = EXACT_MAPS.contains(&self.top);
        for (key, value) in live.iter().filter(|(key, _)| !desired.contains_key(*key)) {
            self.undeclared(&format!("{path}.{key}"), value, was(key), is_exact);
        }
    }

    /// Looks at what is live and not declared: it is cleared if it was declared before, or if it is known not to come
    /// from the service itself.
    fn undeclared(&mut self, path: &str, live: &Json, recorded: Option<&Json>, is_exact: bool) {
        let is_foreign = is_exact || self.schema.defaults.contains_key(path);
        if (recorded.is_some() || is_foreign) && !self.is_default(path, live) {
            let cause = match recorded {
                None if self.is_recorded => Cause::Drift,
                Some(recorded) if !self.is_same(recorded, live) => Cause::Both,
                Some(_) | None => Cause::Declaration,
            };
            self.found(path, Some(live), After::Cleared, cause);
        }
    }

    /// Compares policies statement by statement.
    fn policy(&mut self, path: &str, desired: &Json, live: Option<&Json>, recorded: Option<&Json>) {
        let [desired, live, recorded] =
            [Some(desired), live, recorded].map(|side| side.map(canonical::Policy::read).unwrap_or_default());
        if desired.rest != live.rest {
            let same = |other: &Json| *other == desired.rest;
            let recorded = self.is_recorded.then_some(&recorded.rest);
            let cause = self.cause(Some(&live.rest), recorded, same);
            self.found(path, Some(&live.rest), After::Value(desired.rest.clone()), cause);
        }
        let mut removed: Vec<_> = live.without(&desired).collect();
        for (name, statement) in desired.without(&live) {
            let is_new = !recorded.contains(statement);
            let old = removed.iter().position(|(old, _)| *old == name);
            let old = old.map(|at| removed.remove(at).1);
            let cause = match (is_new, old) {
                (false, _) => Cause::Drift,
                (true, Some(old)) if self.is_recorded && !recorded.contains(old) => Cause::Both,
                (true, _) => Cause::Declaration,
            };
            self.found(&format!("{path}.{name}"), old, After::Value(statement.clone()), cause);
        }
        for (name, statement) in removed {
            let cause = if self.is_recorded && !recorded.contains(statement) {
                Cause::Drift
            } else {
                Cause::Declaration
            };
            self.found(&format!("{path}.{name}"), Some(statement), After::Cleared, cause);
        }
    }

    /// Returns who caused that live and desired differ. `is_desired` compares with what is desired.
    fn cause(&self, live: Option<&Json>, recorded: Option<&Json>, is_desired: impl Fn(&Json) -> bool) -> Cause {
        let live_as_recorded = match (live, recorded) {
            (Some(live), Some(recorded)) => self.is_same(live, recorded),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        match recorded {
            Some(recorded) if is_desired(recorded) => Cause::Drift,
            Some(_) | None if self.is_recorded && !live_as_recorded => Cause::Both,
            Some(_) | None => Cause::Declaration,
        }
    }

    fn is_same(&self, one: &Json, other: &Json) -> bool {
        one == other || {
            let [one, other] = [one, other].map(|value| canonical::value(self.schema, self.top, value));
            one == other
        }
    }

    fn is_default(&self, path: &str, value: &Json) -> bool {
        let default = self.schema.defaults.get(path);
        default.is_some_and(|default| match (default, value) {
            // A service may fill in a part of its defaults only.
            (Json::Object(default), Json::Object(value)) => value
                .iter()
                .all(|(key, value)| default.get(key).is_none_or(|default| self.is_same(default, value))),
            (default, value) => self.is_same(default, value),
        })
    }

    fn found(&mut self, path: &str, from: Option<&Json>, to: After, cause: Cause) {
        self.found.push(Change {
            property: path.to_owned(),
            from: from.cloned(),
            to,
            cause,
            replaces: self.schema.create_only.contains(self.top),
        });
    }
}

#[cfg(test)]
mod tests;
