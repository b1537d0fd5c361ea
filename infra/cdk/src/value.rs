//! Property values: literals, and references that are resolved when they become known.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::{Kind, LogicalId};

/// A property value in a [`crate::Graph`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Text.
    String(String),
    /// An ordered list.
    List(Vec<Value>),
    /// Named values.
    Map(BTreeMap<String, Value>),
    /// Texts put together without a separator.
    Join(Vec<Value>),
    /// An attribute of another resource of the same graph, for example the `Arn` of a function.
    Attribute {
        /// Whose attribute.
        of: LogicalId,
        /// Its name, see [`Kind::attributes`].
        name: &'static str,
    },
    /// `aws`, `aws-cn` or `aws-us-gov`: CloudFormation's `AWS::Partition`.
    Partition,
    /// The Region of the deployment: CloudFormation's `AWS::Region`.
    Region,
    /// The account of the deployment: CloudFormation's `AWS::AccountId`.
    AccountId,
    /// The package of the function binary of this name; resolves to its digest, `{"Sha256": BASE64}`.
    Package(String),
}

impl Value {
    /// Returns a map of the given entries.
    pub fn map<K: Into<String>, V: Into<Self>>(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::Map(
            entries
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }

    /// Returns a list of the given items.
    pub fn list<V: Into<Self>>(items: impl IntoIterator<Item = V>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }

    /// Returns the text of this value as JSON; what is known later is filled in as text, too.
    #[must_use]
    pub fn into_json_text(self) -> Self {
        let mut pieces = Vec::new();
        self.write_json(&mut pieces);
        Self::Join(pieces)
    }

    fn write_json(self, pieces: &mut Vec<Self>) {
        match self {
            Self::Bool(value) => push_text(pieces, &value.to_string()),
            Self::Integer(value) => push_text(pieces, &value.to_string()),
            Self::String(text) => push_text(pieces, &Json::from(text).to_string()),
            Self::List(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    push_text(pieces, if index == 0 { "[" } else { "," });
                    item.write_json(pieces);
                }
                push_text(pieces, "]");
            }
            Self::Map(entries) => {
                for (index, (key, entry)) in entries.into_iter().enumerate() {
                    push_text(pieces, if index == 0 { "{" } else { "," });
                    push_text(pieces, &format!("{}:", Json::from(key)));
                    entry.write_json(pieces);
                }
                push_text(pieces, "}");
            }
            // Names, ARNs, Regions and ids have no character that JSON would escape.
            text @ (Self::Join(_)
            | Self::Attribute { .. }
            | Self::Partition
            | Self::Region
            | Self::AccountId
            | Self::Package(_)) => {
                push_text(pieces, "\"");
                pieces.push(text);
                push_text(pieces, "\"");
            }
        }
    }

    /// Calls `visit` for every reference to an attribute inside this value.
    pub fn references(&self, visit: &mut impl FnMut(&LogicalId, &'static str)) {
        match self {
            Self::Attribute { of, name } => visit(of, name),
            Self::List(items) | Self::Join(items) => items.iter().for_each(|item| item.references(visit)),
            Self::Map(entries) => entries.values().for_each(|entry| entry.references(visit)),
            Self::Bool(_)
            | Self::Integer(_)
            | Self::String(_)
            | Self::Partition
            | Self::Region
            | Self::AccountId
            | Self::Package(_) => {}
        }
    }

    /// Returns the value with all references replaced.
    ///
    /// `attribute` answers an attribute of another resource, `package` the base64 SHA-256 of a function's package.
    ///
    /// # Errors
    /// [`Unknown`] names the first reference that has no answer yet.
    pub fn resolve(
        &self,
        context: &Context,
        attribute: &impl Fn(&LogicalId, &str) -> Option<String>,
        package: &impl Fn(&str) -> Option<String>,
    ) -> Result<Json, Unknown> {
        Ok(match self {
            Self::Bool(value) => Json::Bool(*value),
            Self::Integer(value) => Json::from(*value),
            Self::String(value) => Json::String(value.clone()),
            Self::List(items) => Json::Array(
                items
                    .iter()
                    .map(|item| item.resolve(context, attribute, package))
                    .collect::<Result<_, _>>()?,
            ),
            Self::Map(entries) => Json::Object(
                entries
                    .iter()
                    .map(|(key, entry)| Ok((key.clone(), entry.resolve(context, attribute, package)?)))
                    .collect::<Result<Map<_, _>, Unknown>>()?,
            ),
            Self::Join(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part.resolve(context, attribute, package)? {
                        Json::String(piece) => text.push_str(&piece),
                        other => text.push_str(&other.to_string()),
                    }
                }
                Json::String(text)
            }
            Self::Attribute { of, name } => {
                Json::String(attribute(of, name).ok_or_else(|| Unknown::Attribute { of: of.clone(), name })?)
            }
            Self::Partition => Json::String(context.partition.clone()),
            Self::Region => Json::String(context.region.clone()),
            Self::AccountId => Json::String(context.account.clone()),
            Self::Package(name) => {
                let sha256 = package(name).ok_or_else(|| Unknown::Package { name: name.clone() })?;
                Json::Object(Map::from_iter([("Sha256".to_owned(), Json::String(sha256))]))
            }
        })
    }
}

/// Adds a text to those before it.
fn push_text(pieces: &mut Vec<Value>, more: &str) {
    match pieces.last_mut() {
        Some(Value::String(text)) => text.push_str(more),
        Some(_) | None => pieces.push(more.into()),
    }
}

/// What cannot be resolved yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// AWS assigns this attribute when it makes the resource.
    Attribute {
        /// Whose attribute.
        of: LogicalId,
        /// Its name.
        name: &'static str,
    },
    /// The function has not been packaged.
    Package {
        /// Name of the function binary.
        name: String,
    },
}

/// Where a graph is deployed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: String,
    /// For example `eu-central-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
}

impl Context {
    /// Returns an attribute that follows from the resource's own name, or `None` where AWS assigns it.
    ///
    /// ARN formats: Service Authorization Reference, "resource types" of each service.
    #[must_use]
    pub fn computed_attribute(&self, kind: Kind, name: &str, properties: &Map<String, Json>) -> Option<String> {
        let physical = properties.get(kind.name_property()?)?.as_str()?;
        if name == kind.name_property()? {
            return Some(physical.to_owned());
        }
        let Self {
            partition,
            region,
            account,
        } = self;
        let (service, region, resource) = match kind {
            Kind::Table => ("dynamodb", region.as_str(), format!("table/{physical}")),
            Kind::Role => ("iam", "", format!("role/{physical}")),
            Kind::LogGroup => ("logs", region.as_str(), format!("log-group:{physical}")),
            Kind::Parameter => (
                "ssm",
                region.as_str(),
                format!("parameter/{}", physical.trim_start_matches('/')),
            ),
            Kind::Function => ("lambda", region.as_str(), format!("function:{physical}")),
            Kind::Alarm => ("cloudwatch", region.as_str(), format!("alarm:{physical}")),
            Kind::Dashboard => ("cloudwatch", "", format!("dashboard/{physical}")),
            Kind::RolePolicy
            | Kind::Account
            | Kind::Alias
            | Kind::Permission
            | Kind::Url
            | Kind::Api
            | Kind::Integration
            | Kind::Authorizer
            | Kind::Route
            | Kind::RouteResponse
            | Kind::Deployment
            | Kind::Stage => return None,
        };
        (name == "Arn").then(|| format!("arn:{partition}:{service}:{region}:{account}:{resource}"))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Integer(i64::from(value))
    }
}

impl<V: Into<Self>> From<Vec<V>> for Value {
    fn from(items: Vec<V>) -> Self {
        Self::list(items)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn context() -> Context {
        Context {
            partition: "aws".into(),
            region: "eu-central-1".into(),
            account: "123456789012".into(),
        }
    }

    #[test]
    fn a_join_resolves_pseudo_parameters_and_attributes() {
        let api: LogicalId = "Api".parse().unwrap();
        let value = Value::Join(vec![
            "arn:".into(),
            Value::Partition,
            ":execute-api:".into(),
            Value::Region,
            ":".into(),
            Value::AccountId,
            ":".into(),
            Value::Attribute {
                of: api.clone(),
                name: "ApiId",
            },
            "/*".into(),
        ]);
        let known = |of: &LogicalId, name: &str| (of == &api && name == "ApiId").then(|| "abc".to_owned());
        let resolved = value.resolve(&context(), &known, &|_| None).unwrap();
        assert_eq!(resolved, json!("arn:aws:execute-api:eu-central-1:123456789012:abc/*"));
        let unknown = value.resolve(&context(), &|_, _| None, &|_| None).unwrap_err();
        assert_eq!(unknown, Unknown::Attribute { of: api, name: "ApiId" });
    }

    #[test]
    fn names_give_arns_without_asking_aws() {
        let properties = |key: &str, name: &str| Map::from_iter([(key.to_owned(), json!(name))]);
        let arn = |kind: Kind, name| {
            context()
                .computed_attribute(kind, "Arn", &properties(kind.name_property().unwrap(), name))
                .unwrap()
        };
        assert_eq!(arn(Kind::Role, "r"), "arn:aws:iam::123456789012:role/r");
        assert_eq!(
            arn(Kind::Table, "t"),
            "arn:aws:dynamodb:eu-central-1:123456789012:table/t"
        );
        assert_eq!(
            arn(Kind::Parameter, "/chat/dev/Key"),
            "arn:aws:ssm:eu-central-1:123456789012:parameter/chat/dev/Key"
        );
        assert_eq!(
            context().computed_attribute(Kind::Api, "ApiId", &properties("Name", "x")),
            None
        );
    }
}
