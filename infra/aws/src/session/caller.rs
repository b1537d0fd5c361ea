//! Who calls AWS.

/// Who calls, as IAM's simulation takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The ARN of a user or role.
    Principal(String),
    /// The owner of the account, who may do everything.
    Root,
    /// Federated users, and what is not known.
    Other,
}

impl Caller {
    /// Reads the ARN that STS tells. Of a role with a path, STS leaves the path out, and IAM will not find it.
    pub(crate) fn of(arn: &str) -> Self {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let [_, partition, service, _, account, resource] = parts[..] else {
            return Self::Other;
        };
        match (service, resource.split('/').collect::<Vec<_>>().as_slice()) {
            (_, ["root"]) => Self::Root,
            ("iam", ["user", ..]) => Self::Principal(arn.to_owned()),
            ("sts", ["assumed-role", role, _]) => {
                Self::Principal(format!("arn:{partition}:iam::{account}:role/{role}"))
            }
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_users_roles_or_the_owner() {
        let principal = |arn: &str| Caller::Principal(arn.to_owned());
        for (arn, caller) in [
            (
                "arn:aws:iam::1:user/team/ada",
                principal("arn:aws:iam::1:user/team/ada"),
            ),
            (
                "arn:aws:sts::1:assumed-role/deploy/ci",
                principal("arn:aws:iam::1:role/deploy"),
            ),
            ("arn:aws:iam::1:root", Caller::Root),
            ("arn:aws:sts::1:federated-user/bo", Caller::Other),
            ("", Caller::Other),
        ] {
            assert_eq!(Caller::of(arn), caller, "{arn}");
        }
    }
}
