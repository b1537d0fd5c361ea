//! Names: of stacks, of resources inside a stack, and of what they become at AWS.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One deployed copy of an application: `chat/dev`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StackId {
    /// Name of the application, for example `chat`.
    pub app: String,
    /// Name of the stage, for example `dev`.
    pub stage: String,
}

impl StackId {
    /// Returns the mark in the description of a resource that can carry no tags: `stackwright chat/dev/ChatConnectIntegration`.
    #[must_use]
    pub fn mark(&self, id: &LogicalId) -> String {
        format!("stackwright {self}/{id}")
    }

    /// Returns the mark of a snapshot, which ends in the digest of what it was taken of.
    #[must_use]
    pub fn mark_of_snapshot(&self, id: &LogicalId, digest: &str) -> String {
        format!("{} {digest}", self.mark(id))
    }
}

impl fmt::Display for StackId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.app, self.stage)
    }
}

/// Name of a resource inside one stack, for example `Connections`. Never sent to AWS but as a mark of ownership.
///
/// Invariant: 1 to 255 of `[A-Za-z0-9]`, the characters that CloudFormation allows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogicalId(String);

impl LogicalId {
    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Joins parts in any case style to one id: `["Chat", "send-message", "Route"]` becomes `ChatSendMessageRoute`.
    ///
    /// Characters other than letters and digits only separate words.
    #[must_use]
    pub fn from_words(parts: &[&str]) -> Self {
        let mut text = String::new();
        for word in parts
            .iter()
            .flat_map(|part| part.split(|c: char| !c.is_ascii_alphanumeric()))
        {
            let mut characters = word.chars();
            text.extend(characters.next().map(|first| first.to_ascii_uppercase()));
            text.extend(characters);
        }
        if text.is_empty() {
            text.push('X');
        }
        text.truncate(255);
        Self(text)
    }
}

impl fmt::Display for LogicalId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Text that cannot be a [`LogicalId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a logical id: 1 to 255 letters and digits")]
pub struct LogicalIdError(String);

impl FromStr for LogicalId {
    type Err = LogicalIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for LogicalId {
    type Error = LogicalIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=255).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric());
        if fits {
            Ok(Self(text))
        } else {
            Err(LogicalIdError(text))
        }
    }
}

impl From<LogicalId> for String {
    fn from(id: LogicalId) -> Self {
        id.0
    }
}

/// Returns `parts` joined by `-`, at most `length_max` characters.
///
/// A longer name keeps its beginning and ends in eight hexadecimal digits of its SHA-256, so that it stays the same
/// from run to run and different from its neighbours. Roles and functions allow 64 characters (IAM and Lambda API
/// references, `RoleName` and `FunctionName`).
#[must_use]
pub fn physical_name(parts: &[&str], length_max: usize) -> String {
    let name = parts.join("-");
    if name.len() <= length_max {
        return name;
    }
    let digest = Sha256::digest(name.as_bytes());
    let suffix: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let kept: String = name.chars().take(length_max.saturating_sub(9)).collect();
    format!("{kept}-{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_any_style_make_one_id() {
        assert_eq!(
            LogicalId::from_words(&["Chat", "send-message", "Route"]).as_str(),
            "ChatSendMessageRoute"
        );
        assert_eq!(LogicalId::from_words(&["Chat", "$connect"]).as_str(), "ChatConnect");
        assert_eq!(
            LogicalId::from_words(&["chat", "sendMessage"]).as_str(),
            "ChatSendMessage"
        );
    }

    #[test]
    fn ids_refuse_what_cloudformation_refuses() {
        for text in ["", "send-message", "a b", "ü", &"x".repeat(256)] {
            assert!(text.parse::<LogicalId>().is_err(), "{text}");
        }
        assert!("Connections2".parse::<LogicalId>().is_ok());
    }

    #[test]
    fn long_names_are_shortened_stably_and_distinctly() {
        let long = "a".repeat(70);
        let name = physical_name(&["chat", "dev", &long], 64);
        assert_eq!(name.len(), 64);
        assert_eq!(name, physical_name(&["chat", "dev", &long], 64));
        assert_ne!(name, physical_name(&["chat", "dev", &format!("{long}b")], 64));
        assert_eq!(physical_name(&["chat", "dev", "connect"], 64), "chat-dev-connect");
    }
}
