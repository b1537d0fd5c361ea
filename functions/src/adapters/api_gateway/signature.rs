//! Signature Version 4 for one kind of request: `POST` without a query to one endpoint, thousands of times in a row.
//!
//! A general signer derives the key and sorts the headers of every request. Here the key is derived once a day, and
//! everything that does not change is laid out beforehand. Key derivation and the last HMAC are `aws-sigv4`'s; the tests
//! hold every signature against that crate's own.
//!
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use sha2::{Digest, Sha256};

/// The name of the service in signatures for the `@connections` API.
const SERVICE: &str = "execute-api";

/// Signs posts to one host. Its `Debug` form holds no secret: [`Credentials`] and [`Now`] see to it.
#[derive(Debug)]
pub(super) struct Signer {
    credentials: Credentials,
    region: String,
    /// What stands in the canonical request before the date: the host.
    host_line: String,
    /// And after it: the session token, if there is one, and the names of the signed headers.
    after_date: String,
    signed_headers: &'static str,
    now: Mutex<Option<Arc<Now>>>,
}

/// What holds for a second, and but for the date for a day.
struct Now {
    seconds: i64,
    /// E.g. `20261122T101500Z`.
    date: String,
    scope: String,
    key: Arc<[u8]>,
}

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Now")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// The headers that make a request a signed one, together with `x-amz-security-token`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    /// `x-amz-date`, e.g. `20261122T101500Z`.
    pub(super) date: String,
    /// `authorization`.
    pub(super) authorization: String,
}

impl Signer {
    /// Returns a signer for requests to `host` (with the port, where it is not the scheme's own) in `region`.
    pub(super) fn new(credentials: Credentials, region: String, host: &str) -> Self {
        // What must be signed is signed: the host and everything that begins with `x-amz-`.
        let (token_line, signed_headers) = match credentials.session_token() {
            Some(token) => (
                format!("x-amz-security-token:{token}\n"),
                "host;x-amz-date;x-amz-security-token",
            ),
            None => (String::new(), "host;x-amz-date"),
        };
        Self {
            host_line: format!("\n\nhost:{host}\nx-amz-date:"),
            after_date: format!("\n{token_line}\n{signed_headers}\n"),
            signed_headers,
            credentials,
            region,
            now: Mutex::new(None),
        }
    }

    /// Signs a post at `time` to `canonical_path`, which is percent-encoded twice, as all services but S3 want it.
    /// `payload` is [`digest`] of the body.
    pub(super) fn sign(&self, canonical_path: &str, payload: &str, time: SystemTime) -> Signed {
        let now = self.now(time);
        let canonical = [
            "POST\n",
            canonical_path,
            &self.host_line,
            &now.date,
            &self.after_date,
            payload,
        ];
        let canonical = canonical.into_iter().fold(Sha256::new(), Sha256::chain_update);
        let canonical = hex(&canonical.finalize());
        let to_sign = ["AWS4-HMAC-SHA256\n", &now.date, "\n", &now.scope, "\n", &canonical].concat();
        let signature = calculate_signature(&now.key, to_sign.as_bytes());
        let authorization = [
            "AWS4-HMAC-SHA256 Credential=",
            self.credentials.access_key_id(),
            "/",
            &now.scope,
            ", SignedHeaders=",
            self.signed_headers,
            ", Signature=",
            &signature,
        ]
        .concat();
        Signed {
            date: now.date.clone(),
            authorization,
        }
    }

    fn now(&self, time: SystemTime) -> Arc<Now> {
        let seconds = DateTime::from(time).secs();
        // Nothing can panic while the lock is held; what is behind it is whole in any case.
        let mut known = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = known.as_ref().filter(|now| now.seconds == seconds) {
            return Arc::clone(now);
        }
        let date = amz_date(seconds);
        let day = date.split('T').next().unwrap_or(&date);
        let now = match known.as_ref().filter(|now| now.date.starts_with(day)) {
            Some(now) => Now {
                scope: now.scope.clone(),
                key: Arc::clone(&now.key),
                seconds,
                date,
            },
            None => Now {
                scope: format!("{day}/{}/{SERVICE}/aws4_request", self.region),
                key: generate_signing_key(self.credentials.secret_access_key(), time, &self.region, SERVICE)
                    .as_ref()
                    .into(),
                seconds,
                date,
            },
        };
        Arc::clone(known.insert(Arc::new(now)))
    }
}

/// Returns seconds since 1970 as `20261122T101500Z`.
fn amz_date(seconds: i64) -> String {
    let mut text = DateTime::from_secs(seconds).fmt(Format::DateTime).unwrap_or_default();
    text.retain(|character| !matches!(character, '-' | ':'));
    text
}

/// Returns SHA-256 in lower-case hexadecimal digits.
pub(super) fn digest(data: &[u8]) -> String {
    hex(&Sha256::digest(data))
}

fn hex(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::{Duration, UNIX_EPOCH};

    use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
    use aws_sigv4::sign::v4;

    use super::*;

    /// Returns what `aws-sigv4` makes of the same request.
    fn reference(credentials: &Credentials, path: &str, body: &[u8], time: SystemTime) -> Signed {
        let identity = credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-west-1")
            .name(SERVICE)
            .time(time)
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let url = format!("https://abc.execute-api.eu-west-1.amazonaws.com{path}");
        let request = SignableRequest::new("POST", url.as_str(), [].into_iter(), SignableBody::Bytes(body)).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        let header = |wanted| {
            instructions
                .headers()
                .find(|(name, _)| *name == wanted)
                .unwrap()
                .1
                .to_owned()
        };
        Signed {
            date: header("x-amz-date"),
            authorization: header("authorization"),
        }
    }

    #[test]
    fn signatures_are_those_of_aws_sigv4() {
        let midnight = UNIX_EPOCH + Duration::from_secs(1_800_057_600);
        for token in [None, Some("FwoGZXIvYXdzEBc//token+==".to_owned())] {
            let credentials = Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", token, None, "test");
            let host = "abc.execute-api.eu-west-1.amazonaws.com";
            let signer = Signer::new(credentials.clone(), "eu-west-1".to_owned(), host);
            // Twice within a day, across its end, and back.
            for time in [
                midnight - Duration::from_millis(1_500),
                midnight - Duration::from_secs(1),
                midnight,
                midnight,
            ] {
                for (path, canonical, body) in [
                    ("/prod/@connections/BFaT%3D", "/prod/%40connections/BFaT%253D", "Hello"),
                    ("/@connections/a_b-c", "/%40connections/a_b-c", ""),
                ] {
                    let ours = signer.sign(canonical, &digest(body.as_bytes()), time);
                    assert_eq!(
                        ours,
                        reference(&credentials, path, body.as_bytes(), time),
                        "{path} {time:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn nothing_printable_holds_a_secret() {
        let credentials = Credentials::new("AKIDEXAMPLE", "very-secret", None, None, "test");
        let signer = Signer::new(credentials, "eu-west-1".to_owned(), "host");
        signer.sign("/", &digest(b""), UNIX_EPOCH);
        let shown = format!("{signer:?}");
        assert!(
            shown.contains("19700101/eu-west-1") && !shown.contains("very-secret"),
            "{shown}"
        );
    }
}
