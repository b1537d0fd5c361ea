//! The table of handshakes in `docs/protocol.md`: every row of it, at the real door.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value as Json, json};
use sha2::Sha256;

use crate::support::{Client, LocalCloud, root};

/// Returns the answers of the table by what a handshake has.
fn documented() -> BTreeMap<String, u16> {
    let text = std::fs::read_to_string(root().join("docs/protocol.md")).unwrap();
    let table = text.split("| the handshake has | answer |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let (what, answer) = row.trim_matches('|').rsplit_once('|').unwrap();
        (what.trim().to_owned(), answer.trim().parse().unwrap())
    })
    .collect()
}

/// Makes tokens that no honest minter would.
struct Forge {
    key: Vec<u8>,
    audience: String,
}

impl Forge {
    async fn of(cloud: &LocalCloud, outputs: &Json) -> Self {
        let input = json!({"Name": outputs["tokenKey"], "WithDecryption": true});
        let parameter = cloud.aws_json("ssm", "AmazonSSM.GetParameter", input).await;
        let key = parameter["Parameter"]["Value"].as_str().unwrap();
        Self {
            key: URL_SAFE_NO_PAD.decode(key).unwrap(),
            audience: "chat-local".to_owned(),
        }
    }

    fn claims(&self) -> Json {
        json!({"sub": "ana", "iss": self.audience, "aud": self.audience, "exp": now() + 600})
    }

    fn sign(&self, header: &Json, claims: &Json) -> String {
        let part = |value: &Json| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).unwrap();
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    /// Returns a good token after a change of its claims.
    fn token(&self, change: impl FnOnce(&mut Json)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        self.sign(&header(), &claims)
    }

    /// Returns a good token with another header.
    fn headed(&self, field: &str, value: Json) -> String {
        let mut header = header();
        header[field] = value;
        self.sign(&header, &self.claims())
    }
}

fn header() -> Json {
    json!({"alg": "HS256", "typ": "JWT", "kid": "current"})
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Returns the bad or good tokens of every row that is about tokens alone.
fn tokens(forge: &Forge) -> BTreeMap<&'static str, Vec<String>> {
    let good = forge.token(|_| {});
    let without = |name: &str| {
        forge.token(|claims| {
            claims.as_object_mut().unwrap().remove(name);
        })
    };
    let with = |name: &str, value: Json| forge.token(|claims| claims[name] = value);
    let mut changed: Vec<_> = good.split('.').map(str::to_owned).collect();
    let mut admin = forge.claims();
    admin["roles"] = json!(["admin"]);
    changed[1] = URL_SAFE_NO_PAD.encode(admin.to_string());
    let other_key = Forge {
        key: vec![7; 32],
        audience: forge.audience.clone(),
    };
    let required = ["exp", "iss", "aud", "sub"];
    let mut incomplete: Vec<_> = required.into_iter().map(without).collect();
    incomplete.extend(["iss", "aud", "sub"].map(|name| with(name, json!(""))));
    incomplete.extend(required.map(|name| with(name, json!(["x"]))));
    BTreeMap::from([
        ("a good token", vec![good.clone(), with("nbf", json!(now()))]),
        (
            "a text that is no token: not three parts of base64url with JSON in them",
            vec![
                "hello".into(),
                "a.b.c".into(),
                good.rsplit_once('.').unwrap().0.to_owned(),
                format!("{good}.x"),
            ],
        ),
        (
            "a token of more than 4,096 bytes (API Gateway allows no longer URL; a longer header is read no further)",
            vec![with("name", json!("x".repeat(4_096)))],
        ),
        (
            "`alg` that is not `HS256`: `none`, `HS384`, `RS256`, …",
            ["none", "None", "HS384", "RS256", "hs256"]
                .map(|alg| forge.headed("alg", json!(alg)))
                .to_vec(),
        ),
        (
            "`typ` that is there and not `JWT`; `crit`",
            vec![
                forge.headed("typ", json!("at+jwt")),
                forge.headed("crit", json!(["exp"])),
            ],
        ),
        (
            "`kid` that names neither the current nor the previous key",
            ["k1", "../current", "' OR 1=1"]
                .map(|kid| forge.headed("kid", json!(kid)))
                .to_vec(),
        ),
        (
            "a wrong signature, or anything changed after signing",
            vec![changed.join("."), other_key.token(|_| {})],
        ),
        (
            "`exp`, `iss`, `aud` or `sub` missing or empty, or of another type",
            incomplete,
        ),
        (
            "`iss` or `aud` of another stage or application",
            vec![with("iss", json!("chat-prod")), with("aud", json!("chat-prod"))],
        ),
        (
            "`exp` past by 5 seconds or more",
            vec![with("exp", json!(now() - 5)), with("exp", json!(0))],
        ),
        (
            "`nbf` to come in more than 5 seconds",
            vec![with("nbf", json!(now() + 600))],
        ),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_answers_as_documented() {
    let cloud = LocalCloud::start();
    let outputs = cloud.deploy()["outputs"].clone();
    let url = outputs["webSocketUrl"].as_str().unwrap();
    let forge = Forge::of(&cloud, &outputs).await;
    let good = forge.token(|_| {});
    let mut rows = documented();
    let mut expected = |what: &str| rows.remove(what).unwrap_or_else(|| panic!("no row {what:?}"));
    let knock = |headers: Vec<(&'static str, String)>, query: &'static str| async move {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Client::connect_with(&format!("{url}{query}"), &headers)
            .await
            .err()
            .unwrap_or(101)
    };
    let bearing = |token: &str| vec![("authorization", token.to_owned())];

    let what = "no token in any of the three places, or an empty one";
    let answer = expected(what);
    assert_eq!(knock(vec![], "").await, answer, "{what}");
    assert_eq!(knock(vec![], "?token=").await, answer, "{what}");
    assert_eq!(
        knock(vec![("sec-websocket-protocol", "chat.v1".to_owned())], "").await,
        answer,
        "{what}"
    );

    for (what, tokens) in tokens(&forge) {
        let answer = expected(what);
        for token in tokens {
            assert_eq!(knock(bearing(&token), "").await, answer, "{what}: {token:.200}");
        }
    }
    let what = "a good token, and `?room=` that is no room's name";
    assert_eq!(knock(bearing(&good), "?room=no%20room").await, expected(what), "{what}");

    let authorize = outputs["functions"]["authorize"].as_str().unwrap();
    let origins = "https://chat.example,https://b.example";
    cloud.set_variables(authorize, &[("ALLOWED_ORIGINS", origins)]).await;
    let from = |origin: &str| vec![("authorization", good.clone()), ("origin", origin.to_owned())];
    let what = "a good token, from a web page that `allowedOrigins` does not list";
    let answer = expected(what);
    for foreign in [
        "https://evil.example",
        "https://chat.example.evil",
        "http://chat.example",
        "null",
    ] {
        assert_eq!(knock(from(foreign), "").await, answer, "{what}: {foreign}");
    }
    for listed in origins.split(',') {
        assert_eq!(knock(from(listed), "").await, 101, "{listed}");
    }

    cloud
        .set_variables(authorize, &[("TOKEN_KEY_PARAMETER", "/chat/local/Lost")])
        .await;
    let what = "any token, while the key cannot be read";
    let answer = expected(what);
    for token in [good.as_str(), "hello"] {
        assert_eq!(knock(bearing(token), "").await, answer, "{what}");
    }
    assert!(rows.is_empty(), "rows without a check: {rows:?}");
}
