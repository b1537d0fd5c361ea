//! Which names a parameter may have. Pure.
//!
//! See <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html>.

use super::{arn, constraint, invalid};
use crate::cloud::Account;
use crate::wire::ApiError;

/// Characters of a name, the ARN in front included.
const ARN_MAX: usize = 1011;
const LEVELS_MAX: usize = 15;

/// Checks the name of a new parameter.
pub(super) fn check(account: &Account, name: &str) -> Result<(), ApiError> {
    if name.is_empty() {
        return Err(constraint(
            "name",
            name,
            "Member must have length greater than or equal to 1",
        ));
    }
    let levels: Vec<&str> = name.strip_prefix('/').unwrap_or(name).split('/').collect();
    let is_level = |level: &&str| {
        !level.is_empty()
            && level
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    let first = levels.first().map(|level| level.to_lowercase()).unwrap_or_default();
    if first.starts_with("aws") || first.starts_with("ssm") || !levels.iter().all(is_level) {
        return Err(invalid(
            "Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_",
        ));
    }
    if levels.len() > 1 && !name.starts_with('/') {
        return Err(invalid("Parameter name must be a fully qualified name."));
    }
    if levels.len() > LEVELS_MAX {
        return Err(ApiError::new(
            400,
            "HierarchyLevelLimitExceededException",
            format!("A hierarchy can have a maximum of {LEVELS_MAX} levels."),
        ));
    }
    if arn(account, name).len() > ARN_MAX {
        return Err(invalid(format!(
            "The parameter name must not be longer than {ARN_MAX} characters, its ARN included."
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_or_fully_qualified_paths() {
        let account = Account {
            id: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
        };
        let code = |name: &str| check(&account, name).map_err(|error| error.code);
        for name in ["plain", "/a", "/chat/dev/token-key_1.x"] {
            assert_eq!(code(name), Ok(()), "{name}");
        }
        let long = "x".repeat(ARN_MAX);
        for name in ["", "a/b", "/a//b", "/a/", "a b", "aws-key", "/SSM/key", long.as_str()] {
            assert_eq!(code(name), Err("ValidationException".to_owned()), "{name}");
        }
        let deep = "/a".repeat(LEVELS_MAX + 1);
        assert_eq!(code(&deep), Err("HierarchyLevelLimitExceededException".to_owned()));
    }
}
