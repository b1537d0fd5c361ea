//! How callers name a function: a name, a partial or a full ARN, each with or without a qualifier.

use crate::cloud::Account;
use crate::wire::ApiError;

/// Qualifier of the unpublished version.
pub(super) const LATEST: &str = "$LATEST";

/// Longest function name that AWS accepts.
const NAME_LENGTH_MAX: usize = 64;

/// A function of this account, and which of its versions is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FunctionRef {
    pub(super) name: String,
    /// A version number or an alias. `None` means the function itself, that is its version `$LATEST`.
    pub(super) qualifier: Option<String>,
}

impl FunctionRef {
    /// Parses `name`, `name:qualifier`, `account:function:name[:qualifier]` or a full ARN; `qualifier` is the one given
    /// beside the name.
    ///
    /// # Errors
    /// `ValidationException` when the text has no such shape, `ResourceNotFoundException` when it names another account
    /// or Region, `InvalidParameterValueException` when two qualifiers contradict each other.
    pub(super) fn parse(text: &str, qualifier: Option<&str>, account: &Account) -> Result<Self, ApiError> {
        let parts: Vec<&str> = text.split(':').collect();
        let (home, rest) = match parts.as_slice() {
            ["arn", partition, "lambda", region, id, "function", rest @ ..] => {
                let home = *partition == Account::PARTITION && *region == account.region && *id == account.id;
                (home, rest)
            }
            [id, "function", rest @ ..] if is_account(id) => (*id == account.id, rest),
            ["function", rest @ ..] if !rest.is_empty() => (true, rest),
            rest => (true, rest),
        };
        let (name, own) = match rest {
            [name] => (*name, None),
            [name, own] => (*name, Some(*own)),
            _ => return Err(invalid(text)),
        };
        if !is_name(name) || own.into_iter().chain(qualifier).any(|q| q != LATEST && !is_name(q)) {
            return Err(invalid(text));
        }
        if !home {
            let message = format!("Function not found: {text}");
            return Err(ApiError::new(404, "ResourceNotFoundException", message));
        }
        if let (Some(own), Some(given)) = (own, qualifier)
            && own != given
        {
            let message = "The derived qualifier from the function name does not match the specified qualifier.";
            return Err(ApiError::new(400, "InvalidParameterValueException", message));
        }
        let qualifier = own.or(qualifier).filter(|qualifier| *qualifier != LATEST);
        Ok(Self {
            name: name.to_owned(),
            qualifier: qualifier.map(str::to_owned),
        })
    }

    /// Returns the ARN, with the qualifier if there is one.
    pub(super) fn arn(&self, account: &Account) -> String {
        match &self.qualifier {
            None => function_arn(account, &self.name),
            Some(qualifier) => format!("{}:{qualifier}", function_arn(account, &self.name)),
        }
    }

    /// Returns AWS's answer for a function, version or alias that does not exist.
    pub(super) fn not_found(&self, account: &Account) -> ApiError {
        let message = format!("Function not found: {}", self.arn(account));
        ApiError::new(404, "ResourceNotFoundException", message)
    }
}

/// Returns the unqualified ARN of a function.
pub(super) fn function_arn(account: &Account, name: &str) -> String {
    account.arn("lambda", &format!("function:{name}"))
}

/// Returns whether `text` is made of the characters of function and alias names.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_LENGTH_MAX * 2
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Returns whether a new function may have this name: at most 64 characters.
pub(super) fn is_function_name(text: &str) -> bool {
    is_name(text) && text.len() <= NAME_LENGTH_MAX
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The pattern is the one of botocore's `FunctionName`, shortened as AWS's own messages once were.
pub(super) fn invalid(text: &str) -> ApiError {
    let message = format!(
        "1 validation error detected: Value '{text}' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{{2}}(-gov)?-[a-z]+-\\d{{1}}:)?(\\d{{12}}:)?(function:)?([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?"
    );
    ApiError::new(400, "ValidationException", message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn parse(text: &str, qualifier: Option<&str>) -> Result<(String, Option<String>), String> {
        let account = Account {
            id: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
        };
        FunctionRef::parse(text, qualifier, &account)
            .map(|function| (function.name, function.qualifier))
            .map_err(|error| error.code)
    }

    #[test]
    fn a_function_is_named_by_name_or_arn() {
        let f = |qualifier: Option<&str>| Ok(("f".to_owned(), qualifier.map(str::to_owned)));
        assert_eq!(parse("f", None), f(None));
        assert_eq!(parse("f:live", None), f(Some("live")));
        assert_eq!(parse("f", Some("3")), f(Some("3")));
        assert_eq!(parse("f:$LATEST", None), f(None));
        assert_eq!(parse("000000000000:function:f", None), f(None));
        assert_eq!(
            parse("arn:aws:lambda:us-east-1:000000000000:function:f:3", Some("3")),
            f(Some("3"))
        );
    }

    #[test]
    fn what_names_no_function_here_is_refused() {
        let code = |code: &str| Err(code.to_owned());
        assert_eq!(
            parse("arn:aws:lambda:eu-west-1:000000000000:function:f", None),
            code("ResourceNotFoundException")
        );
        assert_eq!(
            parse("111111111111:function:f", None),
            code("ResourceNotFoundException")
        );
        assert_eq!(parse("f:live", Some("test")), code("InvalidParameterValueException"));
        assert_eq!(parse("a b", None), code("ValidationException"));
        assert_eq!(parse("", None), code("ValidationException"));
        assert_eq!(parse("f:a:b", None), code("ValidationException"));
        assert_eq!(parse("arn:aws:s3:::bucket", None), code("ValidationException"));
    }
}
