//! What is attacked, how, and at which call; and how attacks are put together into rounds.

use std::collections::VecDeque;

use super::proxy::Fault;

/// Calls of one operation that are attacked in one way, unless all are.
const SAMPLES: usize = 6;

/// What is attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// The first deployment.
    First,
    /// A deployment that changes functions, log groups and the API's stage.
    Update,
    /// The destruction.
    Destroy,
}

impl Operation {
    /// All of them, in the order of a stack's life.
    pub(crate) const ALL: [Self; 3] = [Self::First, Self::Update, Self::Destroy];

    const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Update => "update",
            Self::Destroy => "destroy",
        }
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// One attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// What is attacked.
    pub(crate) operation: Operation,
    /// How.
    pub(crate) fault: Fault,
    /// Number of the call, from 1.
    pub(crate) call: usize,
}

impl std::fmt::Display for Case {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}:{}", self.operation, way(self.fault), self.call)
    }
}

impl std::str::FromStr for Case {
    type Err = String;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let parsed = match parts[..] {
            [operation, fault, call] => {
                let operation = Operation::ALL.into_iter().find(|one| one.name() == operation);
                let fault = FAULTS.into_iter().find(|one| way(*one) == fault);
                let call = call.parse().ok();
                operation.zip(fault).zip(call)
            }
            _ => None,
        };
        let ((operation, fault), call) = parsed.ok_or_else(|| {
            format!("`{text}` is no case; write for example first:kill-before:12, update:kill-after:3 or destroy:lose-answer:7")
        })?;
        Ok(Self { operation, fault, call })
    }
}

const FAULTS: [Fault; 4] = [Fault::HoldCall, Fault::HoldAnswer, Fault::LoseCall, Fault::LoseAnswer];

const fn way(fault: Fault) -> &'static str {
    match fault {
        Fault::LoseCall => "lose-call",
        Fault::LoseAnswer => "lose-answer",
        Fault::HoldCall => "kill-before",
        Fault::HoldAnswer => "kill-after",
    }
}

/// Returns the attacks on an operation that makes so many calls.
pub(crate) fn cases(operation: Operation, calls: usize, all: bool) -> Vec<Case> {
    let step = if all { 1 } else { calls.div_ceil(SAMPLES).max(1) };
    let faults = [Fault::HoldCall, Fault::HoldAnswer, Fault::LoseAnswer];
    faults
        .into_iter()
        .enumerate()
        // Samples of different faults fall on different calls.
        .flat_map(|(number, fault)| {
            let first = 1 + number * step / faults.len();
            (first..=calls)
                .step_by(step)
                .map(move |call| Case { operation, fault, call })
        })
        .collect()
}

/// One life of a stack: deployed, updated and destroyed, each attacked at most once.
///
/// What an attack leaves, once healed, is compared with what an undisturbed operation leaves: so the next attack begins
/// with the same, and no attack needs a stack of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round(Vec<Case>);

impl Round {
    /// Puts attacks together, in their order, into as few rounds as there can be.
    pub(crate) fn of(cases: impl IntoIterator<Item = Case>) -> VecDeque<Self> {
        let mut queues: [VecDeque<Case>; 3] = Default::default();
        for case in cases {
            queues[case.operation as usize].push_back(case);
        }
        let rounds = std::iter::from_fn(|| {
            let round: Vec<Case> = queues.iter_mut().filter_map(VecDeque::pop_front).collect();
            (!round.is_empty()).then_some(Self(round))
        });
        rounds.collect()
    }

    /// Returns the attack on an operation.
    pub(crate) fn attack(&self, operation: Operation) -> Option<Case> {
        self.0.iter().copied().find(|case| case.operation == operation)
    }

    /// Returns the attacks up to an operation, which is part of them, and the round of those that are left.
    pub(crate) fn split_after(&self, operation: Operation) -> (Vec<Case>, Option<Self>) {
        let (done, left): (Vec<_>, Vec<_>) = self.0.iter().partition(|case| case.operation <= operation);
        (done, (!left.is_empty()).then_some(Self(left)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_case_is_written_and_read_alike() {
        let all = cases(Operation::Update, 20, true);
        assert_eq!(all.len(), 60);
        for case in all {
            assert_eq!(case.to_string().parse::<Case>().unwrap(), case);
        }
        assert!("first:kill:1".parse::<Case>().is_err());
    }

    #[test]
    fn rounds_hold_every_attack_once() {
        let attack = |text: &str| text.parse::<Case>().unwrap();
        let all = [
            "first:kill-before:1",
            "first:kill-before:2",
            "first:kill-before:3",
            "destroy:kill-after:1",
            "destroy:kill-after:2",
        ];
        let rounds = Round::of(all.map(attack));
        assert_eq!(rounds.len(), 3);
        assert_eq!(rounds[1].attack(Operation::First), Some(attack(all[1])));
        assert_eq!(rounds[1].attack(Operation::Update), None);
        assert_eq!(rounds[2].attack(Operation::Destroy), None);
        let (done, left) = rounds[0].split_after(Operation::Update);
        assert_eq!(done, [attack(all[0])]);
        assert_eq!(left.unwrap().attack(Operation::Destroy), Some(attack(all[3])));
        assert_eq!(rounds[0].split_after(Operation::Destroy).1, None);
    }
}
