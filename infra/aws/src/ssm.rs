//! Parameters with generated secret values.
//!
//! A value is made here, sent to AWS and forgotten: it is never part of properties, records, errors or logs.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use infra_engine::{Class, CloudError, Desired, Live, Ownership, Target};
use serde_json::{Value as Json, json};

use crate::Session;
use crate::error::{found, gone, is_already_there, refused};
use crate::iam::ours;
use crate::shape::{
    Shape, Tags, as_desired, changed_tags, declared_tags, incomplete, integer, listed_tags, name_of, ownership,
    required, tag_list, unrecorded,
};

/// A secret. Neither printed nor compared; wiped from no memory.
#[derive(Clone)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// Returns a new secret: so many random bytes in base64url, which every consumer can keep as text.
    ///
    /// # Errors
    /// When this machine gives no random bytes.
    pub fn random(length: usize) -> Result<Self, CloudError> {
        let mut bytes = vec![0; length];
        getrandom::fill(&mut bytes).map_err(|error| {
            refused(
                "ssm:PutParameter",
                Class::Permanent,
                format!("this machine gives no random bytes: {error}"),
            )
        })?;
        Ok(Self(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Returns the secret, to be used and not to be shown.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretText(…)")
    }
}

/// Returns the decrypted value of a parameter.
///
/// # Errors
/// When the parameter does not exist or may not be read.
pub async fn parameter(session: &Session, name: &str) -> Result<SecretText, CloudError> {
    let answer = session
        .ssm("GetParameter", &json!({"Name": name, "WithDecryption": true}))
        .await?;
    match answer.pointer("/Parameter/Value") {
        Some(Json::String(value)) => Ok(SecretText(value.clone())),
        _ => Err(refused(
            "ssm:GetParameter",
            Class::Permanent,
            format!("the answer has no value of {name}"),
        )),
    }
}

/// Replaces the value of a parameter that exists, whose type stays. Deployments never do that.
///
/// # Errors
/// When it may not be written.
pub async fn replace_parameter(session: &Session, name: &str, value: &SecretText) -> Result<(), CloudError> {
    let input = json!({"Name": name, "Type": "SecureString", "Value": value.expose(), "Overwrite": true});
    session.ssm("PutParameter", &input).await.map(drop)
}

/// Reads a parameter, not its value: that stays encrypted and is dropped.
pub(crate) async fn observe(session: &Session, target: &Target) -> Result<Option<Live>, CloudError> {
    let Some(name) = name_of(target, "Name") else {
        return Ok(None);
    };
    let input = json!({"Name": name, "WithDecryption": false});
    let Some(answer) = found(session.ssm("GetParameter", &input).await)? else {
        return Ok(None);
    };
    let tags = match target.physical_id {
        Some(_) => None,
        None => Some(tags(session, name).await?),
    };
    let mut shape = Shape::default();
    shape
        .set("Name", Some(name))
        .set("Type", answer.pointer("/Parameter/Type").cloned())
        .copy("GeneratedBytes", target)
        .set_tags(tags.as_ref(), target);
    Ok(Some(Live {
        physical_id: name.to_owned(),
        attributes: session.computed_attributes(target.kind, &shape.0),
        properties: shape.0,
        ownership: tags.map_or(Ownership::Ours, |tags| ownership(&tags, &target.stack, &target.id)),
    }))
}

/// Creates a parameter with a new value. An existing value is never replaced.
pub(crate) async fn reconcile(session: &Session, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
    let name = required(desired, "Name")?;
    let attributes = session.computed_attributes(desired.kind, &desired.properties);
    let adopted;
    let live = match live {
        Some(live) => live,
        None => {
            let input = json!({
                "Name": name,
                "Type": required(desired, "Type")?,
                "Value": generated(desired)?.expose(),
                "Overwrite": false,
                "Tags": tag_list(&declared_tags(&desired.properties)),
            });
            match session.ssm("PutParameter", &input).await {
                Ok(_) => return Ok(as_desired(desired, name, attributes)),
                Err(error) if is_already_there(&error) => {
                    adopted = ours(error, observe(session, &unrecorded(desired)).await?)?;
                    &adopted
                }
                Err(error) => return Err(error),
            }
        }
    };
    if let Some(tags) = changed_tags(desired, live) {
        let input = json!({"ResourceType": "Parameter", "ResourceId": name, "Tags": tag_list(&tags)});
        session.ssm("AddTagsToResource", &input).await?;
    }
    Ok(as_desired(desired, name, attributes))
}

/// Deletes a parameter.
pub(crate) async fn delete(session: &Session, name: &str) -> Result<(), CloudError> {
    gone(session.ssm("DeleteParameter", &json!({"Name": name})).await)
}

/// Returns the first value of a parameter.
fn generated(desired: &Desired) -> Result<SecretText, CloudError> {
    let length = integer(&desired.properties, "GeneratedBytes")
        .and_then(|length| usize::try_from(length).ok())
        // 4,096 characters are the most that a standard parameter holds.
        .filter(|length| (16..=3_072).contains(length))
        .ok_or_else(|| incomplete(desired, "GeneratedBytes"))?;
    SecretText::random(length)
}

async fn tags(session: &Session, name: &str) -> Result<Tags, CloudError> {
    let input = json!({"ResourceType": "Parameter", "ResourceId": name});
    let answer = session.ssm("ListTagsForResource", &input).await?;
    Ok(listed_tags(answer.get("TagList")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use infra_cdk::{Kind, StackId};

    use super::*;

    #[test]
    fn values_are_random_text_of_the_asked_length() {
        let mut desired = Desired {
            stack: StackId {
                app: "chat".into(),
                stage: "dev".into(),
            },
            id: "Key".parse().unwrap(),
            kind: Kind::Parameter,
            properties: json!({"GeneratedBytes": 48}).as_object().unwrap().clone(),
            cleared: Vec::new(),
            package: None,
        };
        let (one, two) = (generated(&desired).unwrap(), generated(&desired).unwrap());
        let (one, two) = (one.expose(), two.expose());
        assert_eq!(one.len(), 64);
        assert_ne!(one, two);
        assert!(one.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        for unusable in [json!(0), json!(4_000), json!("48")] {
            desired.properties.insert("GeneratedBytes".into(), unusable);
            assert!(generated(&desired).is_err());
        }
    }

    #[test]
    fn a_secret_is_not_shown_by_debug() {
        assert_eq!(format!("{:?}", SecretText("key".into())), "SecretText(…)");
    }
}
