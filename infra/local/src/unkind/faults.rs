//! Which calls are lost or fail: decided by the seed, the operation, and how many such calls came before. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::call::Call;
use super::settings::Unkindness;
use crate::wire::ApiError;

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It happens, and is answered.
    Answered,
    /// The connection ends; `happened` tells whether the call has had its effect.
    Lost { happened: bool },
    /// A server error is answered; `happened` tells whether the call has had its effect all the same.
    Failed { happened: bool },
}

impl Fate {
    /// Returns whether the call has its effect.
    pub(crate) const fn happens(self) -> bool {
        match self {
            Self::Answered => true,
            Self::Lost { happened } | Self::Failed { happened } => happened,
        }
    }
}

/// What becomes of one post to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The client is just leaving: 410.
    Gone,
    /// Too many posts: 429.
    Busy,
    /// A server error is answered; `happened` tells whether the client gets the frame all the same.
    Failed { happened: bool },
    /// The answer comes late; `happened` tells whether the frame goes before or after that time.
    Slow { after: Duration, happened: bool },
}

/// The longest that a slow post takes: longer than callers wait for one.
const SLOW_MS_MAX: u64 = 5_000;

/// Counts calls, so that repetitions of a call are decided anew.
#[derive(Debug, Default)]
pub(super) struct Faults {
    calls: BTreeMap<(&'static str, String), u64>,
    posts: u64,
    table_calls: u64,
}

impl Faults {
    pub(super) fn decide(&mut self, unkindness: &Unkindness, call: &Call) -> Fate {
        let count = self.calls.entry((call.service, call.operation.clone())).or_default();
        *count += 1;
        let text = format!("{} {} {} {count}", unkindness.seed, call.service, call.operation);
        let digest = Sha256::digest(text);
        let draw = |at: usize| f64::from(u16::from_be_bytes([digest[at], digest[at + 1]])) / 65_536.0;
        let happened = digest[4] % 2 == 0;
        if draw(0) < unkindness.lost {
            Fate::Lost { happened }
        } else if draw(2) < unkindness.error {
            Fate::Failed { happened }
        } else {
            Fate::Answered
        }
    }

    /// Decides about a post; `None`: nothing is wrong with it.
    pub(super) fn post(&mut self, unkindness: &Unkindness) -> Option<Trouble> {
        self.posts += 1;
        let digest = Sha256::digest(format!("{} post {}", unkindness.seed, self.posts));
        let draw = f64::from(u16::from_be_bytes([digest[0], digest[1]])) / 65_536.0;
        let happened = digest[4] % 2 == 0;
        (draw < unkindness.posts).then(|| match digest[2] % 8 {
            0 => Trouble::Gone,
            1..=3 => Trouble::Busy,
            4..=5 => Trouble::Failed { happened },
            _ => Trouble::Slow {
                after: Duration::from_millis(SLOW_MS_MAX * u64::from(digest[3]) / 255),
                happened,
            },
        })
    }

    /// Decides about a function's call of DynamoDB.
    pub(super) fn table_call(&mut self, unkindness: &Unkindness) -> Fate {
        self.table_calls += 1;
        let digest = Sha256::digest(format!("{} table {}", unkindness.seed, self.table_calls));
        let draw = f64::from(u16::from_be_bytes([digest[0], digest[1]])) / 65_536.0;
        if draw < unkindness.tables {
            Fate::Failed {
                happened: digest[4] % 2 == 0,
            }
        } else {
            Fate::Answered
        }
    }
}

/// Returns a service's words for a failure of its own.
pub(super) fn failure(service: &str) -> ApiError {
    let (status, code) = match service {
        "apigateway" | "logs" => (503, "ServiceUnavailableException"),
        "dynamodb" | "ssm" => (500, "InternalServerError"),
        "iam" => (500, "ServiceFailure"),
        "lambda" => (500, "ServiceException"),
        _ => (500, "InternalFailure"),
    };
    let message = "The request processing has failed because of an unknown error, exception or failure.";
    ApiError::new(status, code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(unkindness: &Unkindness) -> Vec<Fate> {
        let mut faults = Faults::default();
        let call = Call {
            service: "iam",
            operation: "CreateRole".to_owned(),
            changed_api: None,
        };
        (0..4000).map(|_| faults.decide(unkindness, &call)).collect()
    }

    #[test]
    fn shares_are_kept_and_half_of_the_faults_happen() {
        let unkindness = Unkindness {
            lost: 0.1,
            error: 0.2,
            ..Unkindness::default()
        };
        let fates = fates(&unkindness);
        let count = |fate| fates.iter().filter(|other| **other == fate).count();
        for happened in [true, false] {
            assert!((150..250).contains(&count(Fate::Lost { happened })));
            assert!((300..420).contains(&count(Fate::Failed { happened })));
        }
        assert!(fates.iter().all(|fate| *fate != Fate::Answered || fate.happens()));
    }

    #[test]
    fn posts_and_tables_have_shares_of_their_own() {
        let unkindness = Unkindness {
            posts: 0.4,
            tables: 0.2,
            ..Unkindness::default()
        };
        let mut faults = Faults::default();
        let troubles: Vec<_> = (0..4_000).filter_map(|_| faults.post(&unkindness)).collect();
        assert!((1_400..1_800).contains(&troubles.len()), "{}", troubles.len());
        let gone = troubles.iter().filter(|trouble| **trouble == Trouble::Gone).count();
        assert!((140..260).contains(&gone), "{gone}");
        let failed = (0..4_000)
            .filter(|_| faults.table_call(&unkindness) != Fate::Answered)
            .count();
        assert!((700..900).contains(&failed), "{failed}");
        assert_eq!(faults.post(&Unkindness::default()), None);
    }

    #[test]
    fn a_seed_decides_and_kindness_never_fails() {
        let unkindness = |seed| Unkindness {
            lost: 0.5,
            seed,
            ..Unkindness::default()
        };
        assert_eq!(fates(&unkindness(1)), fates(&unkindness(1)));
        assert_ne!(fates(&unkindness(1)), fates(&unkindness(2)));
        assert!(fates(&Unkindness::default()).iter().all(|fate| *fate == Fate::Answered));
    }
}
