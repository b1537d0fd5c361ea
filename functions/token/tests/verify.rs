//! What counts as a token, as a table, and the law that no changed token counts.

#![allow(clippy::unwrap_used, reason = "tests")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use functions_token::{
    CURRENT_KEY_ID, Claims, Expected, Key, KeyError, Keys, Refusal, TOKEN_BYTES_MAX, mint, rotate, verify,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::Sha256;

const NOW: u64 = 1_800_000_000;
const EXPECTED: Expected<'_> = Expected {
    issuer: "chat-dev",
    audience: "chat-dev",
};

fn key(byte: u8) -> Key {
    Key::parse(&key_text(byte)).unwrap()
}

fn key_text(byte: u8) -> String {
    URL_SAFE_NO_PAD.encode([byte; 48])
}

fn claims() -> Claims {
    Claims {
        sub: "alice".to_owned(),
        name: Some("Alice".to_owned()),
        roles: vec!["admin".to_owned()],
        iss: "chat-dev".to_owned(),
        aud: "chat-dev".to_owned(),
        iat: Some(NOW),
        exp: NOW + 600,
        nbf: None,
    }
}

fn check(token: &str) -> Result<Claims, Refusal> {
    verify(&Keys::new(key(7)), token, EXPECTED, NOW)
}

/// A token with any header and payload, rightly signed by the independent implementation below.
fn signed(header: &Value, payload: &Value) -> String {
    let message = format!("{}.{}", part(header), part(payload));
    let mac = Hmac::<Sha256>::new_from_slice(&[7; 48])
        .unwrap()
        .chain_update(&message)
        .finalize()
        .into_bytes();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac))
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[test]
fn a_minted_token_counts() {
    let token = mint(&key(7), CURRENT_KEY_ID, &claims());
    assert_eq!(check(&token), Ok(claims()));
}

#[test]
fn a_token_of_another_minter_counts_without_the_optional_parts() {
    let payload = json!({"sub": "alice", "iss": "chat-dev", "aud": "chat-dev", "exp": NOW + 600});
    let token = signed(&json!({"alg": "HS256"}), &payload);
    let expected = Claims {
        name: None,
        roles: vec![],
        iat: None,
        ..claims()
    };
    assert_eq!(check(&token), Ok(expected));
}

/// The example of RFC 7515, A.1. It has no audience, which is looked for after the signature.
#[test]
fn the_signature_is_the_standard_one() {
    let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                 eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
                 dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let keys = Keys::new(Key::parse(key).unwrap());
    assert_eq!(
        verify(&keys, token, EXPECTED, NOW),
        Err(Refusal::MissingClaim { name: "aud" })
    );
}

#[test]
fn headers_that_do_not_count() {
    let payload = serde_json::to_value(claims()).unwrap();
    for (header, refusal) in [
        (json!({"alg": "none"}), Refusal::WrongAlgorithm),
        (json!({"alg": "None", "typ": "JWT"}), Refusal::WrongAlgorithm),
        (json!({"alg": "HS384"}), Refusal::WrongAlgorithm),
        (json!({"alg": "RS256"}), Refusal::WrongAlgorithm),
        (json!({"alg": ["HS256"]}), Refusal::Malformed),
        (json!({"typ": "JWT"}), Refusal::Malformed),
        (json!({"alg": "HS256", "typ": "at+jwt"}), Refusal::WrongType),
        (json!({"alg": "HS256", "kid": "../../etc/passwd"}), Refusal::UnknownKey),
        (json!({"alg": "HS256", "kid": "' OR 1=1"}), Refusal::UnknownKey),
        (json!({"alg": "HS256", "crit": ["exp"]}), Refusal::Malformed),
        (json!([]), Refusal::Malformed),
    ] {
        assert_eq!(check(&signed(&header, &payload)), Err(refusal), "{header}");
    }
}

#[test]
fn claims_that_do_not_count() {
    let missing = |name| Refusal::MissingClaim { name };
    for (claim, value, refusal) in [
        ("sub", Value::Null, missing("sub")),
        ("sub", json!(""), missing("sub")),
        ("exp", Value::Null, missing("exp")),
        ("iss", Value::Null, missing("iss")),
        ("aud", Value::Null, missing("aud")),
        ("iss", json!("chat-prod"), Refusal::WrongIssuer),
        ("aud", json!("chat-prod"), Refusal::WrongAudience),
        ("aud", json!(["chat-dev"]), Refusal::Malformed),
        ("exp", json!(NOW - 5), Refusal::Expired { at: NOW - 5 }),
        ("exp", json!(0), Refusal::Expired { at: 0 }),
        ("exp", json!("never"), Refusal::Malformed),
        ("exp", json!(-1), Refusal::Malformed),
        ("nbf", json!(NOW + 6), Refusal::NotYetValid { from: NOW + 6 }),
        ("nbf", json!(u64::MAX), Refusal::NotYetValid { from: u64::MAX }),
        ("nbf", json!("soon"), Refusal::Malformed),
        ("roles", json!("admin"), Refusal::Malformed),
    ] {
        let mut payload = serde_json::to_value(claims()).unwrap();
        payload[claim] = value.clone();
        assert_eq!(
            check(&signed(&json!({"alg": "HS256"}), &payload)),
            Err(refusal),
            "{claim} = {value}"
        );
    }
}

#[test]
fn clocks_may_differ_a_little() {
    for (claim, value) in [("exp", NOW - 4), ("nbf", NOW + 5), ("exp", u64::MAX)] {
        let mut payload = serde_json::to_value(claims()).unwrap();
        payload[claim] = json!(value);
        assert!(
            check(&signed(&json!({"alg": "HS256"}), &payload)).is_ok(),
            "{claim} = {value}"
        );
    }
}

#[test]
fn texts_that_are_no_tokens() {
    let token = mint(&key(7), CURRENT_KEY_ID, &claims());
    let (message, _) = token.rsplit_once('.').unwrap();
    for text in [
        "",
        ".",
        "..",
        "a.b.c",
        "Bearer",
        "\u{0}",
        message,
        &format!("{token}."),
        &format!(" {token}"),
    ] {
        assert_eq!(check(text), Err(Refusal::Malformed), "{text:?}");
    }
    assert_eq!(check(&format!("{message}.")), Err(Refusal::BadSignature));
    let long = "a".repeat(TOKEN_BYTES_MAX + 1);
    assert_eq!(
        check(&long),
        Err(Refusal::TooLarge {
            bytes: TOKEN_BYTES_MAX + 1
        })
    );
}

#[test]
fn only_a_known_key_counts() {
    assert_eq!(
        check(&mint(&key(8), CURRENT_KEY_ID, &claims())),
        Err(Refusal::BadSignature)
    );

    let previous = mint(&key(8), "previous", &claims());
    assert_eq!(check(&previous), Err(Refusal::UnknownKey));
    let pair = format!(
        r#"{{"current":{{"kid":"k2","key":"{}"}},"previous":{{"kid":"previous","key":"{}"}}}}"#,
        key_text(7),
        key_text(8)
    );
    let both = Keys::parse(&pair).unwrap();
    assert_eq!(verify(&both, &previous, EXPECTED, NOW), Ok(claims()));
    assert_eq!(
        verify(&both, &mint(&key(7), "previous", &claims()), EXPECTED, NOW),
        Err(Refusal::BadSignature)
    );
}

#[test]
fn a_rotation_keeps_one_key_back() {
    let first = key_text(1);
    let second = rotate(&format!("{first}\n"), "k2", &key_text(2)).unwrap();
    let third = rotate(&second, "k3", &key_text(3)).unwrap();
    let values = [first, second, third];
    let keys: Vec<_> = values.iter().map(|value| Keys::parse(value).unwrap()).collect();
    for (minter, verifier, counts) in [
        (0, 0, true),
        (0, 1, true),
        (0, 2, false),
        (1, 0, false),
        (1, 1, true),
        (1, 2, true),
        (2, 1, false),
        (2, 2, true),
    ] {
        let token = keys[minter].mint(&claims());
        let result = verify(&keys[verifier], &token, EXPECTED, NOW);
        assert_eq!(result.is_ok(), counts, "{minter} {verifier} {result:?}");
    }
    // Minters that give no name are understood all along.
    let nameless = json!({"sub": "alice", "iss": "chat-dev", "aud": "chat-dev", "exp": NOW + 600});
    let token = signed(&json!({"alg": "HS256"}), &nameless);
    let rotated = Keys::parse(&rotate(&key_text(7), "k2", &key_text(2)).unwrap()).unwrap();
    assert!(verify(&rotated, &token, EXPECTED, NOW).is_ok());
}

#[test]
fn what_is_no_pair_of_keys() {
    let (good, name) = (key_text(1), "k");
    for (value, error) in [
        ("{".to_owned(), KeyError::NotKeys),
        ("{}".to_owned(), KeyError::NotKeys),
        (
            json!({"current": {"kid": name, "key": good}, "other": 1}).to_string(),
            KeyError::NotKeys,
        ),
        (
            json!({"current": {"kid": name, "key": "AAAA"}}).to_string(),
            KeyError::TooShort { bytes: 3 },
        ),
        (
            json!({"current": {"kid": name, "key": good}, "previous": {"kid": name, "key": good}}).to_string(),
            KeyError::SameId,
        ),
    ] {
        assert_eq!(Keys::parse(&value).err(), Some(error), "{value}");
    }
    assert_eq!(rotate(&good, CURRENT_KEY_ID, &good), Err(KeyError::SameId));
    assert_eq!(rotate(&good, name, "AAAA"), Err(KeyError::TooShort { bytes: 3 }));
    assert!(rotate("no key", name, &good).is_err());
}

#[test]
fn keys_are_long_enough_and_never_shown() {
    let text = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![1; bytes]);
    assert_eq!(Key::parse(&text(31)).err(), Some(KeyError::TooShort { bytes: 31 }));
    assert_eq!(Key::parse("not base64!").err(), Some(KeyError::NotBase64Url));
    assert_eq!(Key::parse("").err(), Some(KeyError::TooShort { bytes: 0 }));
    let key = Key::parse(&format!("{}\n", text(32))).unwrap();
    assert_eq!(format!("{key:?}"), "Key(redacted)");
    assert!(!format!("{:?}", Keys::new(key)).contains("AQEB"));
}

#[derive(Clone, Debug)]
enum Change {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Truncate(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    let byte = || prop::sample::select(b"ABCDEFGabcdefg0123456789-_=.+/ ".as_slice());
    prop_oneof![
        (index(), byte()).prop_map(|(at, with)| Change::Replace(at, with)),
        (index(), byte()).prop_map(|(at, with)| Change::Insert(at, with)),
        index().prop_map(Change::Remove),
        index().prop_map(Change::Truncate),
    ]
}

fn apply(token: &str, change: &Change) -> String {
    let mut bytes = token.as_bytes().to_vec();
    match change {
        Change::Replace(at, with) => bytes[at.index(token.len())] = *with,
        Change::Insert(at, with) => bytes.insert(at.index(token.len() + 1), *with),
        Change::Remove(at) => drop(bytes.remove(at.index(token.len()))),
        Change::Truncate(at) => bytes.truncate(at.index(token.len())),
    }
    String::from_utf8(bytes).unwrap()
}

proptest! {
    #[test]
    fn a_changed_token_never_counts(changes in prop::collection::vec(change(), 1..4)) {
        let token = mint(&key(7), CURRENT_KEY_ID, &claims());
        let changed = changes.iter().fold(token.clone(), |token, change| {
            if token.is_empty() { token } else { apply(&token, change) }
        });
        prop_assume!(changed != token);
        prop_assert!(check(&changed).is_err());
    }

    #[test]
    fn any_text_is_refused_and_never_repeated(text in "\\PC{8,200}") {
        let refusal = check(&text).unwrap_err();
        prop_assert!(!refusal.to_string().contains(&text));
    }

    #[test]
    fn whatever_is_minted_comes_back(sub in "\\PC{1,40}", name in proptest::option::of("\\PC{1,40}"),
                                     roles in prop::collection::vec("[a-z]{1,9}", 0..4), life in 0..100_000_u64) {
        let claims = Claims { sub, name, roles, exp: NOW + life, ..claims() };
        prop_assert_eq!(check(&mint(&key(7), CURRENT_KEY_ID, &claims)), Ok(claims));
    }
}
