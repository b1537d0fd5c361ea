//! The chat's tokens: HS256 JSON Web Tokens (RFC 7519), minted by the command line and verified by the authorizer.
//!
//! [`mint`] and [`verify`] are pure: the key, the expectations and the time come in as arguments. Tokens, keys and
//! signatures never appear in errors or `Debug` output. The rules follow RFC 8725 (JWT best current practices): one
//! algorithm, fixed here; a key at least as long as the hash; `kid` is only ever looked up in [`Keys`].
//!
//! The key is shared through one SSM parameter (a SecureString); [`Keys::parse`] defines its format.

mod hs256;
mod key;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};

pub use crate::key::{CURRENT_KEY_ID, KEY_BYTES_MIN, Key, KeyError, Keys, rotate};

/// Clocks of the minting and the verifying machine may differ by this many seconds.
pub const LEEWAY_SECONDS: u64 = 5;

/// Longer tokens are refused unread. A URL on API Gateway has at most 4,096 characters in any case.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// What a token says. Times are seconds since 1970, UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claims {
    /// Who the user is: stable, unique, never empty.
    pub sub: String,
    /// What others see, if it differs from `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the user may do beyond chatting.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Who minted the token.
    pub iss: String,
    /// For whom it was minted.
    pub aud: String,
    /// When it was minted. Informational.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// From when on it no longer counts.
    pub exp: u64,
    /// From when on it counts, if not at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
}

/// Whose tokens count. Both are the same text in this project, but have different meanings in RFC 7519.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The only accepted `iss`.
    pub issuer: &'a str,
    /// The only accepted `aud`.
    pub audience: &'a str,
}

/// Why a token does not count. Never repeats any part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Longer than [`TOKEN_BYTES_MAX`].
    #[error("token has {bytes} bytes, more than {TOKEN_BYTES_MAX}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Not three parts of base64url with the JSON that they should hold.
    #[error("token is malformed")]
    Malformed,
    /// `alg` is not HS256.
    #[error("token is not signed with HS256")]
    WrongAlgorithm,
    /// `typ` is there and not `JWT`: a document made for another purpose.
    #[error("token is of another type than JWT")]
    WrongType,
    /// `kid` names no key of ours.
    #[error("token names an unknown key")]
    UnknownKey,
    /// Not signed with our key, or changed since.
    #[error("token has a wrong signature")]
    BadSignature,
    /// A required claim is absent or empty.
    #[error("token lacks the claim `{name}`")]
    MissingClaim {
        /// Its name.
        name: &'static str,
    },
    /// `exp` is past.
    #[error("token expired at {at}")]
    Expired {
        /// `exp`.
        at: u64,
    },
    /// `nbf` is to come.
    #[error("token is not valid before {from}")]
    NotYetValid {
        /// `nbf`.
        from: u64,
    },
    /// `iss` is another.
    #[error("token is from another issuer")]
    WrongIssuer,
    /// `aud` is another.
    #[error("token is for another audience")]
    WrongAudience,
}

/// Returns a token with `claims`, signed with `key`, which the verifier knows as `kid`.
pub fn mint(key: &Key, kid: &str, claims: &Claims) -> String {
    hs256::install();
    let header = Header {
        kid: Some(kid.to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    jsonwebtoken::encode(&header, claims, &key.encoding()).expect("plain texts and numbers serialise, and HMAC signs")
}

/// Returns the claims of `token` if it was signed with one of `keys`, is as `expected` and counts at `now`
/// (seconds since 1970).
///
/// # Errors
///
/// The first reason found against it. The signature is checked before any claim is looked at.
pub fn verify(keys: &Keys, token: &str, expected: Expected<'_>, now: u64) -> Result<Claims, Refusal> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refusal::TooLarge { bytes: token.len() });
    }
    let header = checked_header(token)?;
    let mut result = Err(Refusal::UnknownKey);
    for key in keys.find(header.kid.as_deref()) {
        result = signed_claims(token, key);
        if !matches!(result, Err(Refusal::BadSignature)) {
            break;
        }
    }
    let unchecked = result?;
    let claims = unchecked.complete()?;
    if claims.iss != expected.issuer {
        return Err(Refusal::WrongIssuer);
    }
    if claims.aud != expected.audience {
        return Err(Refusal::WrongAudience);
    }
    if now >= claims.exp.saturating_add(LEEWAY_SECONDS) {
        return Err(Refusal::Expired { at: claims.exp });
    }
    match claims.nbf {
        Some(from) if now.saturating_add(LEEWAY_SECONDS) < from => Err(Refusal::NotYetValid { from }),
        Some(_) | None => Ok(claims),
    }
}

/// The part of the header that we look at. It is not trusted: it can only lead to a refusal or to one of our keys.
#[derive(Deserialize)]
struct UncheckedHeader {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

fn checked_header(token: &str) -> Result<UncheckedHeader, Refusal> {
    let (header, _) = token.split_once('.').ok_or(Refusal::Malformed)?;
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| Refusal::Malformed)?;
    let header: UncheckedHeader = serde_json::from_slice(&header).map_err(|_| Refusal::Malformed)?;
    if header.alg != "HS256" {
        return Err(Refusal::WrongAlgorithm);
    }
    if header
        .typ
        .as_deref()
        .is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT"))
    {
        return Err(Refusal::WrongType);
    }
    // RFC 7515, 4.1.11: extensions listed here must be understood or the token refused. We know none.
    if header.crit.is_some() {
        return Err(Refusal::Malformed);
    }
    Ok(header)
}

/// Claims of a token whose signature is right.
#[derive(Deserialize)]
struct UncheckedClaims {
    sub: Option<String>,
    name: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    iss: Option<String>,
    aud: Option<String>,
    iat: Option<u64>,
    exp: Option<u64>,
    nbf: Option<u64>,
}

impl UncheckedClaims {
    fn complete(self) -> Result<Claims, Refusal> {
        fn text(value: Option<String>, name: &'static str) -> Result<String, Refusal> {
            value
                .filter(|value| !value.is_empty())
                .ok_or(Refusal::MissingClaim { name })
        }
        Ok(Claims {
            exp: self.exp.ok_or(Refusal::MissingClaim { name: "exp" })?,
            iss: text(self.iss, "iss")?,
            aud: text(self.aud, "aud")?,
            sub: text(self.sub, "sub")?,
            name: self.name.filter(|name| !name.is_empty()),
            roles: self.roles,
            iat: self.iat,
            nbf: self.nbf,
        })
    }
}

fn signed_claims(token: &str, key: &Key) -> Result<UncheckedClaims, Refusal> {
    hs256::install();
    // The library's own checks use the system clock and skip what is absent; ours, in `verify`, do neither.
    let mut signature_only = Validation::new(Algorithm::HS256);
    signature_only.required_spec_claims.clear();
    signature_only.validate_exp = false;
    signature_only.validate_aud = false;
    match jsonwebtoken::decode(token, &key.decoding(), &signature_only) {
        Ok(data) => Ok(data.claims),
        Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => Err(Refusal::BadSignature),
        Err(_) => Err(Refusal::Malformed),
    }
}
