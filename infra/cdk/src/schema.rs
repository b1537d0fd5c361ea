//! What CloudFormation's schemas say about the properties of each type: data, in `schema.json` beside this file.
//!
//! The planner reads here which change needs a replacement, what cannot be read back, and what a service fills in.
//! Nothing here decides. A new [`Kind`] or property needs its line in the data; tests compare the two.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::Kind;

/// The properties of one type. All names are those of top-level properties unless said otherwise.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schema {
    /// All that exist.
    pub properties: BTreeSet<String>,
    /// Those that cannot be changed in place.
    pub create_only: BTreeSet<String>,
    /// Those that AWS assigns.
    #[serde(default)]
    pub read_only: BTreeSet<String>,
    /// Those that cannot be read back: they are compared with the record alone.
    #[serde(default)]
    pub write_only: BTreeSet<String>,
    /// Lists whose order means nothing, at any depth.
    #[serde(default)]
    pub sets: BTreeSet<String>,
    /// What the service uses where nothing is set, by path, such as `DefaultRouteSettings.ThrottlingRateLimit`; null
    /// where that is nothing at all.
    #[serde(default)]
    pub defaults: BTreeMap<String, Json>,
}

impl Kind {
    /// Returns the schema of the type.
    ///
    /// # Panics
    /// When `schema.json` has no such type; a test rules that out.
    #[must_use]
    pub fn schema(self) -> &'static Schema {
        &SCHEMAS[self.cloudformation_type()]
    }
}

static SCHEMAS: LazyLock<BTreeMap<String, Schema>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct File {
        types: BTreeMap<String, Schema>,
    }
    let file: File = serde_json::from_str(include_str!("schema.json")).expect("the tests have read the same file");
    file.types
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_schema_and_every_schema_is_consistent() {
        for kind in Kind::ALL {
            let schema = kind.schema();
            let named = schema
                .create_only
                .iter()
                .chain(&schema.read_only)
                .chain(&schema.write_only);
            let tops = schema
                .defaults
                .keys()
                .map(|path| path.split('.').next().unwrap_or(path).to_owned());
            for name in named.cloned().chain(tops) {
                assert!(schema.properties.contains(&name), "{kind:?} has no property {name}");
            }
            if let Some(name) = kind.name_property() {
                assert!(
                    schema.create_only.contains(name),
                    "a new name of {kind:?} is a new resource"
                );
            }
            assert_eq!(kind.is_taggable(), schema.properties.contains("Tags"), "{kind:?}");
        }
    }
}
