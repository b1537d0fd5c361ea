//! Signing keys, the small fixed map in which a token's `kid` is looked up, and its rotation.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::{Deserialize, Serialize};

use crate::{Claims, mint};

/// RFC 7518, 3.2: a key for HS256 is at least as long as the hash.
pub const KEY_BYTES_MIN: usize = 32;

/// The `kid` of the first key, until it is rotated out.
pub const CURRENT_KEY_ID: &str = "current";

/// A secret key for HS256. Its bytes leave this crate only as signatures.
#[derive(Clone)]
pub struct Key(Vec<u8>);

/// Why a text is no [`Key`]. Never repeats it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not base64url.
    #[error("key is not base64url text")]
    NotBase64Url,
    /// Shorter than [`KEY_BYTES_MIN`].
    #[error("key has {bytes} bytes, fewer than {KEY_BYTES_MIN}")]
    TooShort {
        /// Its length.
        bytes: usize,
    },
    /// It begins like two keys, and is not.
    #[error("keys are not JSON with `current` and `previous`")]
    NotKeys,
    /// Two keys have one name.
    #[error("two keys have the same kid")]
    SameId,
}

impl Key {
    /// Parses one key: random bytes (the deploy tool writes 48) as base64url text without
    /// padding. White space around it is ignored, because editors add line ends.
    ///
    /// # Errors
    ///
    /// When the text is not base64url, or the key shorter than [`KEY_BYTES_MIN`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim())
            .map_err(|_| KeyError::NotBase64Url)?;
        if bytes.len() < KEY_BYTES_MIN {
            Err(KeyError::TooShort { bytes: bytes.len() })
        } else {
            Ok(Self(bytes))
        }
    }

    pub(crate) fn encoding(&self) -> EncodingKey {
        EncodingKey::from_secret(&self.0)
    }

    pub(crate) fn decoding(&self) -> DecodingKey {
        DecodingKey::from_secret(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(redacted)")
    }
}

/// The keys that count, by `kid`. During a rotation the previous one stays until its last token has expired.
#[derive(Clone, Debug)]
pub struct Keys {
    current: NamedKey,
    previous: Option<NamedKey>,
}

#[derive(Clone, Debug)]
struct NamedKey {
    kid: String,
    key: Key,
}

/// How a parameter holds two keys: `{"current":{"kid":…,"key":…},"previous":{"kid":…,"key":…}}`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct KeysText {
    current: NamedKeyText,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<NamedKeyText>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct NamedKeyText {
    kid: String,
    key: String,
}

impl Keys {
    /// Returns the map with one key, known as [`CURRENT_KEY_ID`].
    pub fn new(current: Key) -> Self {
        let kid = CURRENT_KEY_ID.to_owned();
        Self {
            current: NamedKey { kid, key: current },
            previous: None,
        }
    }

    /// Parses the value of the SSM parameter: one key as [`Key::parse`] reads it, which is what a first deployment
    /// writes, or what [`rotate`] made of it.
    ///
    /// # Errors
    ///
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if !text.trim_start().starts_with('{') {
            return Ok(Self::new(Key::parse(text)?));
        }
        let named = |NamedKeyText { kid, key }| {
            let key = Key::parse(&key)?;
            Ok(NamedKey { kid, key })
        };
        let text: KeysText = serde_json::from_str(text).map_err(|_| KeyError::NotKeys)?;
        let keys = Self {
            current: named(text.current)?,
            previous: text.previous.map(named).transpose()?,
        };
        match &keys.previous {
            Some(previous) if previous.kid == keys.current.kid => Err(KeyError::SameId),
            Some(_) | None => Ok(keys),
        }
    }

    /// Returns a token with `claims`, signed with the current key.
    pub fn mint(&self, claims: &Claims) -> String {
        mint(&self.current.key, &self.current.kid, claims)
    }

    /// Returns the keys that a token may be signed with. One without `kid` may be from a minter that does not know our
    /// names, and means any of them.
    pub(crate) fn find(&self, kid: Option<&str>) -> impl Iterator<Item = &Key> {
        [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .filter(move |named| kid.is_none_or(|kid| kid == named.kid))
            .map(|named| &named.key)
    }
}

/// Returns the parameter's value after a rotation: the key `new`, named `kid`, signs from now on; the one that signed
/// until now still counts, and the one before it no more.
///
/// # Errors
///
/// When `parameter` or `new` is no key, or `kid` the name of the key that signed until now.
pub fn rotate(parameter: &str, kid: &str, new: &str) -> Result<String, KeyError> {
    let previous = if Keys::parse(parameter)?.current.kid == kid {
        return Err(KeyError::SameId);
    } else if parameter.trim_start().starts_with('{') {
        let text: KeysText = serde_json::from_str(parameter).map_err(|_| KeyError::NotKeys)?;
        text.current
    } else {
        NamedKeyText {
            kid: CURRENT_KEY_ID.to_owned(),
            key: parameter.trim().to_owned(),
        }
    };
    Key::parse(new)?;
    let current = NamedKeyText {
        kid: kid.to_owned(),
        key: new.to_owned(),
    };
    let text = KeysText {
        current,
        previous: Some(previous),
    };
    Ok(serde_json::to_string(&text).expect("structs of texts serialise"))
}
