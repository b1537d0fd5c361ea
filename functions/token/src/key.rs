//! Signing keys, and the small fixed map in which a token's `kid` is looked up.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};

/// RFC 7518, 3.2: a key for HS256 is at least as long as the hash.
pub const KEY_BYTES_MIN: usize = 32;

/// The `kid` of the key that signs now.
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
}

impl Key {
    /// Parses the value of the SSM parameter: random bytes (the deploy tool writes 48) as base64url text without
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
    current: Key,
    others: Vec<(String, Key)>,
}

impl Keys {
    /// Returns the map with one key, known as [`CURRENT_KEY_ID`].
    pub fn new(current: Key) -> Self {
        Self {
            current,
            others: Vec::new(),
        }
    }

    /// Adds a key that counts besides the current one.
    #[must_use]
    pub fn and(mut self, kid: impl Into<String>, key: Key) -> Self {
        self.others.push((kid.into(), key));
        self
    }

    /// A token without `kid` can only mean the current key: minters other than ours may not know the name.
    pub(crate) fn find(&self, kid: Option<&str>) -> Option<&Key> {
        match kid {
            None | Some(CURRENT_KEY_ID) => Some(&self.current),
            Some(kid) => self.others.iter().find(|(name, _)| name == kid).map(|(_, key)| key),
        }
    }
}
