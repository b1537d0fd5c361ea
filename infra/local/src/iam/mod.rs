//! IAM: roles and their inline policies.

mod credentials;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cloud::SharedCloud;
use crate::wire::{ApiError, Request, Response};

pub(crate) use credentials::Session;

const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";

/// All roles of the account, and the credentials that were issued for them.
#[derive(Debug, Default)]
pub(crate) struct Iam {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By lowercase name: names differ by more than case.
    roles: BTreeMap<String, Role>,
    /// By access key id.
    sessions: BTreeMap<String, Session>,
}

#[derive(Clone, Debug)]
struct Role {
    arn: String,
    id: String,
}

impl Iam {
    /// Returns whether the role exists and its trust policy lets `service` (for example `lambda.amazonaws.com`) assume
    /// it.
    pub(crate) fn assumable_by(&self, _role_arn: &str, _service: &str) -> bool {
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a unique id as IAM makes them: a prefix that tells the kind, then letters and digits.
fn unique_id(prefix: &str, length: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let random: Vec<u8> = std::iter::repeat_with(|| *uuid::Uuid::new_v4().as_bytes())
        .take(length.div_ceil(4))
        // Only bytes without version or variant bits.
        .flat_map(|bytes| [bytes[0], bytes[1], bytes[2], bytes[3]])
        .take(length)
        .collect();
    let characters = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    prefix.chars().chain(characters).collect()
}

/// Answers one awsQuery call.
pub(crate) async fn handle(_cloud: &SharedCloud, _request: Request) -> Response {
    ApiError::new(501, "NotImplemented", "not yet").query_xml(NAMESPACE)
}
