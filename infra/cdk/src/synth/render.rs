//! Values as CloudFormation writes them.
//!
//! Every reference becomes a list of pieces first: literal text, `Ref`, `Fn::GetAtt`. One piece alone is printed as it
//! is, several as one `Fn::Sub`. ARNs are the same as those that the direct engine computes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use super::{ASSET_BUCKET, SynthError, asset_key};
use crate::{Graph, Kind, LogicalId, Value};

/// Part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// As it stands.
    Text(String),
    /// `Ref`: a resource, a parameter or a pseudo parameter.
    Ref(String),
    /// `Fn::GetAtt`: a resource and its attribute.
    GetAtt(String, &'static str),
}

/// Renders values of one graph.
pub(super) struct Renderer<'a> {
    graph: &'a Graph,
    digests: &'a BTreeMap<String, String>,
    /// Logical ids in the template where they differ from those in the graph.
    renamed: BTreeMap<&'a LogicalId, String>,
    /// Logical ids of the versions that functions publish.
    versions: BTreeMap<&'a LogicalId, String>,
}

impl<'a> Renderer<'a> {
    pub(super) fn new(graph: &'a Graph, digests: &'a BTreeMap<String, String>) -> Self {
        let renamed = graph
            .resources()
            .iter()
            .filter(|(_, resource)| resource.kind == Kind::Deployment)
            .filter_map(|(id, resource)| {
                let Value::String(trigger) = resource.properties.get("Trigger")? else {
                    return None;
                };
                Some((id, with_suffix(id, trigger)))
            })
            .collect();
        Self {
            graph,
            digests,
            renamed,
            versions: BTreeMap::new(),
        }
    }

    /// Names the version that a function publishes: after a digest of the function, so that any change makes a new one.
    pub(super) fn set_version(&mut self, function: &'a LogicalId, digest: &str) {
        let version = LogicalId::from_words(&[function.as_str(), "version"]);
        self.versions.insert(function, with_suffix(&version, digest));
    }

    /// Returns all versions by their functions.
    pub(super) fn versions(&self) -> impl Iterator<Item = (&LogicalId, &str)> {
        self.versions
            .iter()
            .map(|(function, version)| (*function, version.as_str()))
    }

    /// Returns the logical id that a resource has in the template.
    pub(super) fn name<'b>(&'b self, id: &'b LogicalId) -> &'b str {
        self.renamed.get(id).map_or(id.as_str(), String::as_str)
    }

    /// Renders a property. Adds the resources that the result refers to, by their names in the template, to `referred`.
    pub(super) fn json(
        &self,
        subject: &str,
        value: &Value,
        referred: &mut BTreeSet<String>,
    ) -> Result<Json, SynthError> {
        Ok(match value {
            Value::Bool(value) => Json::Bool(*value),
            Value::Integer(value) => Json::from(*value),
            Value::List(items) => items
                .iter()
                .map(|item| self.json(subject, item, referred))
                .collect::<Result<Vec<_>, _>>()?
                .into(),
            Value::Map(entries) => entries
                .iter()
                .map(|(key, entry)| Ok((key.clone(), self.json(subject, entry, referred)?)))
                .collect::<Result<Map<_, _>, SynthError>>()?
                .into(),
            Value::Package(binary) => {
                let digest = self
                    .digests
                    .get(binary)
                    .ok_or_else(|| SynthError::MissingPackage(binary.clone()))?;
                json!({ "S3Bucket": { "Ref": ASSET_BUCKET }, "S3Key": asset_key(&self.graph.stack().app, digest) })
            }
            Value::String(_)
            | Value::Join(_)
            | Value::Attribute { .. }
            | Value::Partition
            | Value::Region
            | Value::AccountId => {
                let pieces = self.pieces(subject, value)?;
                referred.extend(pieces.iter().filter_map(|piece| match piece {
                    Piece::Text(_) => None,
                    Piece::Ref(name) | Piece::GetAtt(name, _) => Some(name.clone()),
                }));
                written(pieces)
            }
        })
    }

    /// Renders a value that must be one text.
    pub(super) fn text(&self, subject: &str, value: &Value) -> Result<Json, SynthError> {
        Ok(written(self.pieces(subject, value)?))
    }

    fn pieces(&self, subject: &str, value: &Value) -> Result<Vec<Piece>, SynthError> {
        Ok(match value {
            Value::Bool(value) => vec![Piece::Text(value.to_string())],
            Value::Integer(value) => vec![Piece::Text(value.to_string())],
            Value::String(text) => vec![Piece::Text(text.clone())],
            Value::Join(parts) => parts
                .iter()
                .map(|part| self.pieces(subject, part))
                .collect::<Result<Vec<_>, _>>()?
                .concat(),
            Value::Attribute { of, name } => self.attribute(subject, of, name)?,
            Value::Partition => vec![pseudo("Partition")],
            Value::Region => vec![pseudo("Region")],
            Value::AccountId => vec![pseudo("AccountId")],
            Value::List(_) | Value::Map(_) | Value::Package(_) => {
                return Err(SynthError::NotText {
                    subject: subject.to_owned(),
                });
            }
        })
    }

    /// Returns an attribute. What `Ref` and `Fn::GetAtt` return stands at each type in the CloudFormation Template
    /// Reference, under "Return values".
    fn attribute(&self, subject: &str, of: &LogicalId, name: &'static str) -> Result<Vec<Piece>, SynthError> {
        let resource = &self.graph.resources()[of];
        let reference = Piece::Ref(self.name(of).to_owned());
        Ok(match resource.kind {
            Kind::Api => match name {
                "ApiEndpoint" => vec![Piece::GetAtt(self.name(of).to_owned(), name)],
                "ManagementEndpoint" => vec![
                    text("https://"),
                    reference,
                    text(".execute-api."),
                    pseudo("Region"),
                    text("."),
                    pseudo("URLSuffix"),
                ],
                _ => vec![reference],
            },
            Kind::Table | Kind::Role | Kind::Function | Kind::Alarm => match (name, self.versions.get(of)) {
                ("Arn", _) => vec![Piece::GetAtt(self.name(of).to_owned(), name)],
                ("Version", Some(version)) => vec![Piece::GetAtt(version.clone(), name)],
                _ => vec![reference],
            },
            // `Ref` would return the ARN of what it is the address of.
            Kind::Url => vec![Piece::GetAtt(self.name(of).to_owned(), name)],
            // `Fn::GetAtt` would return an ARN that ends in `:*`.
            Kind::LogGroup => match name {
                "Arn" => arn("logs", vec![text("log-group:"), reference]),
                _ => vec![reference],
            },
            // Not in the template: its name is written out.
            Kind::Parameter => {
                let physical = match resource.properties.get("Name") {
                    Some(physical) => self.pieces(subject, physical)?,
                    None => Vec::new(),
                };
                match name {
                    "Arn" => {
                        let mut path = merged(physical);
                        if let Some(Piece::Text(first)) = path.first_mut() {
                            *first = first.trim_start_matches('/').to_owned();
                        }
                        path.insert(0, text("parameter/"));
                        arn("ssm", path)
                    }
                    _ => physical,
                }
            }
            Kind::Authorizer
            | Kind::Deployment
            | Kind::Integration
            | Kind::Route
            | Kind::RouteResponse
            | Kind::Stage
            | Kind::RolePolicy
            | Kind::Alias
            | Kind::Permission
            | Kind::Account
            | Kind::Dashboard => vec![reference],
        })
    }
}

fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}

fn pseudo(name: &str) -> Piece {
    Piece::Ref(format!("AWS::{name}"))
}

/// Returns `arn:{partition}:SERVICE:{region}:{account}:` and what follows.
fn arn(service: &str, rest: Vec<Piece>) -> Vec<Piece> {
    let mut pieces = vec![
        text("arn:"),
        pseudo("Partition"),
        Piece::Text(format!(":{service}:")),
        pseudo("Region"),
        text(":"),
        pseudo("AccountId"),
        text(":"),
    ];
    pieces.extend(rest);
    pieces
}

/// Returns the pieces with neighbouring texts put together, and without empty ones.
fn merged(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut merged: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match (merged.last_mut(), piece) {
            (_, Piece::Text(text)) if text.is_empty() => {}
            (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
            (_, piece) => merged.push(piece),
        }
    }
    merged
}

/// Writes pieces in the shortest form.
fn written(pieces: Vec<Piece>) -> Json {
    let pieces = merged(pieces);
    match pieces.as_slice() {
        [] => Json::String(String::new()),
        [Piece::Text(text)] => Json::String(text.clone()),
        [Piece::Ref(name)] => json!({ "Ref": name }),
        [Piece::GetAtt(name, attribute)] => json!({ "Fn::GetAtt": [name, attribute] }),
        [..] => {
            let pattern: String = pieces
                .iter()
                .map(|piece| match piece {
                    // `${!x}` stands for a literal `${x}` (CloudFormation Template Reference, `Fn::Sub`).
                    Piece::Text(text) => text.replace("${", "${!"),
                    Piece::Ref(name) => format!("${{{name}}}"),
                    Piece::GetAtt(name, attribute) => format!("${{{name}.{attribute}}}"),
                })
                .collect();
            json!({ "Fn::Sub": pattern })
        }
    }
}

/// Returns a logical id that ends in the digest of a snapshot, so that another snapshot is another resource.
fn with_suffix(id: &LogicalId, digest: &str) -> String {
    let suffix: String = digest.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
    let kept: String = id.as_str().chars().take(255 - suffix.len()).collect();
    kept + &suffix
}
