//! What Lambda keeps: plain values that serialise, so that they can be written to disk and read back.
//!
//! Nothing here checks rules; see [`super::settings`] for those, and [`super::control`] for who changes what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::name::{FunctionRef, LATEST, function_arn};
use super::policy::Statement;
use super::settings::Configuration;
use super::urls::FunctionUrl;
use crate::cloud::Account;
use crate::wire::ApiError;

/// All functions of the account.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Store {
    pub(super) functions: BTreeMap<String, Function>,
    /// Uploaded archives by `CodeSha256`; several versions may share one.
    pub(super) archives: BTreeMap<String, Archive>,
}

/// A zip file; base64 where it is written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Archive(pub(super) Bytes);

impl From<Archive> for String {
    fn from(archive: Archive) -> Self {
        STANDARD.encode(archive.0)
    }
}

impl TryFrom<String> for Archive {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        STANDARD.decode(text).map(|bytes| Self(bytes.into()))
    }
}

/// One function with everything that hangs on it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Function {
    pub(super) latest: Arc<Version>,
    /// Published versions by number; immutable.
    pub(super) versions: BTreeMap<u64, Arc<Version>>,
    /// Highest number ever given; numbers are not used again after a deletion.
    pub(super) last_number: u64,
    pub(super) aliases: BTreeMap<String, Alias>,
    /// Resource policies by qualifier; the empty qualifier is the function itself.
    pub(super) policies: BTreeMap<String, Policy>,
    /// Function URLs by qualifier, likewise.
    #[serde(default)]
    pub(super) urls: BTreeMap<String, FunctionUrl>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) reserved_concurrency: Option<usize>,
}

/// Code and configuration at one moment: `$LATEST`, or a published snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) function: String,
    /// `None` for `$LATEST`.
    pub(super) number: Option<u64>,
    /// Base64 of the archive's SHA-256.
    pub(super) code_sha256: String,
    /// Bytes of the archive.
    pub(super) code_size: usize,
    /// Belongs to the code: only `UpdateFunctionCode` changes it.
    pub(super) architectures: Vec<String>,
    pub(super) configuration: Configuration,
    pub(super) revision_id: String,
    /// This and the following moments are milliseconds since 1970.
    pub(super) modified_ms: i64,
    /// `Pending` before this moment.
    pub(super) active_from_ms: i64,
    /// `LastUpdateStatus` is `InProgress` before this moment.
    pub(super) updated_from_ms: i64,
}

/// A name for a version, or for two of them by weight.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Alias {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) description: String,
    /// Weight (0 to 1) of a second version.
    pub(super) additional_weights: BTreeMap<String, f64>,
    pub(super) revision_id: String,
}

/// The resource policy of one qualifier.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Policy {
    pub(super) statements: Vec<Statement>,
    pub(super) revision_id: String,
}

impl Store {
    /// Returns the function named, whatever the qualifier.
    pub(super) fn function(&self, of: &FunctionRef, account: &Account) -> Result<&Function, ApiError> {
        self.functions.get(&of.name).ok_or_else(|| of.not_found(account))
    }

    /// Returns the function named, whatever the qualifier, to change it.
    pub(super) fn function_mut(&mut self, of: &FunctionRef, account: &Account) -> Result<&mut Function, ApiError> {
        self.functions.get_mut(&of.name).ok_or_else(|| of.not_found(account))
    }

    /// Forgets the archives that no version needs any more.
    pub(super) fn collect_garbage(&mut self) {
        let functions = self.functions.values();
        let needed: BTreeSet<&str> = functions
            .flat_map(|function| function.versions.values().chain([&function.latest]))
            .map(|version| version.code_sha256.as_str())
            .collect();
        self.archives.retain(|sha256, _| needed.contains(sha256.as_str()));
    }
}

impl Function {
    /// Returns the version behind a qualifier; an alias is followed by weight.
    pub(super) fn version(&self, qualifier: Option<&str>) -> Option<&Arc<Version>> {
        match qualifier {
            None => Some(&self.latest),
            Some(qualifier) => match self.aliases.get(qualifier) {
                Some(alias) => self.numbered(alias.choose()),
                None => self.numbered(qualifier),
            },
        }
    }

    /// Returns the version that `$LATEST` or a number means.
    pub(super) fn numbered(&self, version: &str) -> Option<&Arc<Version>> {
        if version == LATEST {
            return Some(&self.latest);
        }
        self.versions.get(&version.parse().ok()?)
    }
}

impl Version {
    /// Returns `$LATEST` or the number.
    pub(super) fn label(&self) -> String {
        self.number
            .map_or_else(|| LATEST.to_owned(), |number| number.to_string())
    }

    pub(super) fn is_pending(&self) -> bool {
        now_ms() < self.active_from_ms
    }

    pub(super) fn is_updating(&self) -> bool {
        now_ms() < self.updated_from_ms
    }

    /// Renders AWS's `FunctionConfiguration`; `qualifier` is the one under which the caller asked.
    pub(super) fn describe(&self, account: &Account, qualifier: Option<&str>) -> Value {
        let qualifier = qualifier
            .map(str::to_owned)
            .or(self.number.map(|number| number.to_string()));
        let mut described = self.configuration.describe();
        let own = json!({
            "FunctionName": self.function,
            "FunctionArn": FunctionRef { name: self.function.clone(), qualifier }.arn(account),
            "CodeSize": self.code_size,
            "CodeSha256": self.code_sha256,
            "LastModified": moment(self.modified_ms),
            "Version": self.label(),
            "RevisionId": self.revision_id,
            "Architectures": self.architectures,
            "PackageType": "Zip",
        });
        merge(&mut described, own);
        if self.is_pending() {
            merge(
                &mut described,
                json!({
                    "State": "Pending",
                    "StateReason": "The function is being created.",
                    "StateReasonCode": "Creating",
                }),
            );
        } else {
            merge(&mut described, json!({ "State": "Active" }));
        }
        let status = if self.is_updating() || self.is_pending() {
            "InProgress"
        } else {
            "Successful"
        };
        merge(&mut described, json!({ "LastUpdateStatus": status }));
        if self.number.is_some() {
            merge(
                &mut described,
                json!({ "MasterArn": function_arn(account, &self.function) }),
            );
        }
        described
    }
}

impl Alias {
    /// Renders AWS's `AliasConfiguration`.
    pub(super) fn describe(&self, account: &Account, function: &str) -> Value {
        let mut described = json!({
            "AliasArn": format!("{}:{}", function_arn(account, function), self.name),
            "Name": self.name,
            "FunctionVersion": self.version,
            "Description": self.description,
            "RevisionId": self.revision_id,
        });
        if !self.additional_weights.is_empty() {
            let weights = json!({ "RoutingConfig": { "AdditionalVersionWeights": self.additional_weights } });
            merge(&mut described, weights);
        }
        described
    }

    /// Picks the version for one invocation, by weight.
    fn choose(&self) -> &str {
        let mut rest = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
        for (version, weight) in &self.additional_weights {
            if rest < *weight {
                return version;
            }
            rest -= weight;
        }
        &self.version
    }
}

/// Returns the present in milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Renders a moment as Lambda does, for example `2024-11-11T13:45:35.000+0000`.
pub(super) fn moment(ms: i64) -> String {
    let timestamp = Timestamp::from_millisecond(ms).unwrap_or_default();
    timestamp.strftime("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string()
}

/// Adds the members of `more` to the object `into`.
pub(super) fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}
