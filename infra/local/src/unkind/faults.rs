//! Which calls are lost or fail: decided by the seed, the operation, and how many such calls came before. Pure.

use std::collections::BTreeMap;

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

/// Counts calls, so that repetitions of a call are decided anew.
#[derive(Debug, Default)]
pub(super) struct Faults {
    calls: BTreeMap<(&'static str, String), u64>,
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
