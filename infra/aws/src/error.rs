//! Turns what SDK clients and signed calls answer into [`CloudError`]s, and says what helps against each.
//!
//! [`classify`] is the whole table. It matches on AWS's error code first and on words of the message where one code has
//! several meanings. Sources: the "Errors" sections of each operation in the API references of Lambda, API Gateway V2,
//! DynamoDB, IAM, CloudWatch, CloudWatch Logs and Systems Manager, and "Common Error Types" of each service.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use infra_engine::{Class, CloudError};
use infra_sigv4::CallError;

/// Key under which the SDK clients keep the request id (`aws_types::request_id`).
const REQUEST_ID: &str = "aws_request_id";

/// Returns the class of an answered error.
pub(crate) fn classify(status: Option<u16>, code: &str, message: &str) -> Class {
    let says = |words: &str| message.to_ascii_lowercase().contains(words);
    match code {
        "InvalidParameterValueException" if says("cannot be assumed by lambda") => Class::Propagating,
        // Lambda asks KMS on behalf of a role that was made anew a moment ago.
        "InvalidParameterValueException" if says("kms key is invalid for creategrant") => Class::Propagating,
        "ContinuousBackupsUnavailableException" => Class::Propagating,
        "ResourceConflictException" if says("in progress") || says("pending") || says("currently in the following") => {
            Class::Busy
        }
        "ConflictException" if says("concurrent modification") => Class::Busy,
        "ResourceInUseException" | "ConcurrentModification" | "OperationAbortedException" | "TooManyUpdates" => {
            Class::Busy
        }
        "TransactionConflictException" | "TransactionInProgressException" => Class::Busy,
        "TransactionCanceledException" if says("transactionconflict") => Class::Busy,
        "TransactionCanceledException" if says("throttlingerror") => Class::Throttled,
        "TooManyRequestsException"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "ProvisionedThroughputExceededException"
        | "SlowDown" => Class::Throttled,
        "LimitExceededException" if says("rate exceeded") => Class::Throttled,
        "LimitExceeded"
        | "LimitExceededException"
        | "CodeStorageExceededException"
        | "PolicyLengthExceededException"
        | "LimitExceededFault"
        | "ParameterLimitExceeded"
        | "ParameterMaxVersionLimitExceeded"
        | "ServiceQuotaExceededException" => Class::Quota,
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "AuthFailure" => Class::Unauthenticated,
        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "NotAuthorized"
        | "OptInRequired"
        | "ExplicitDeny" => Class::Denied,
        "RequestTimeout" | "RequestTimeoutException" => Class::Transient,
        "InternalFailure"
        | "InternalError"
        | "InternalServerError"
        | "ServiceException"
        | "ServiceFailure"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => Class::Transient,
        _ => match status {
            Some(429) => Class::Throttled,
            Some(401) => Class::Unauthenticated,
            Some(403) => Class::Denied,
            Some(500..=599) => Class::Transient,
            Some(_) | None => Class::Permanent,
        },
    }
}

/// Returns whether the error says that the resource does not exist.
pub(crate) fn is_not_found(error: &CloudError) -> bool {
    matches!(
        error.code.as_str(),
        "NotFoundException"
            | "ResourceNotFoundException"
            | "TableNotFoundException"
            | "NoSuchEntity"
            | "ParameterNotFound"
            | "ResourceNotFound"
            | "DashboardNotFoundError"
    )
}

/// Returns whether a create call says that the name is taken.
pub(crate) fn is_already_there(error: &CloudError) -> bool {
    match error.code.as_str() {
        "EntityAlreadyExists" | "ResourceAlreadyExistsException" | "ParameterAlreadyExists" => true,
        "ConflictException" | "ResourceConflictException" => error.class == Class::Permanent,
        // DynamoDB uses it for tables that exist and for tables that are being changed; after `CreateTable` it means
        // the former.
        "ResourceInUseException" => error.operation == "dynamodb:CreateTable",
        _ => false,
    }
}

/// Returns `None` for what does not exist.
pub(crate) fn found<T>(result: Result<T, CloudError>) -> Result<Option<T>, CloudError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns success for a deletion of what is gone already.
pub(crate) fn gone<T>(result: Result<T, CloudError>) -> Result<(), CloudError> {
    found(result).map(|_| ())
}

/// Returns an error of our own: AWS was not asked, or answered with success and without what was asked for.
pub(crate) fn refused(operation: &str, class: Class, message: impl Into<String>) -> CloudError {
    CloudError {
        operation: operation.to_owned(),
        code: String::new(),
        message: message.into(),
        request_id: None,
        class,
    }
}

/// Translates the error of an SDK client.
pub(crate) fn from_sdk<E>(operation: &str, error: &SdkError<E, HttpResponse>) -> CloudError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let without_answer = |class| refused(operation, class, explain(error));
    match error {
        SdkError::ServiceError(answer) => {
            let metadata = answer.err().meta();
            let status = answer.raw().status().as_u16();
            let code = metadata.code().unwrap_or_default();
            let message = metadata.message().map_or_else(|| explain(error), str::to_owned);
            CloudError {
                operation: operation.to_owned(),
                class: classify(Some(status), code, &message),
                code: code.to_owned(),
                message,
                request_id: metadata.extra(REQUEST_ID).map(str::to_owned),
            }
        }
        _ if has_credentials_error(error) => without_answer(Class::Unauthenticated),
        // A connection that ends before the answer is neither `is_io` nor `is_timeout`.
        SdkError::DispatchFailure(failure) if !failure.is_user() => without_answer(class_of_connection(error)),
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => without_answer(class_of_connection(error)),
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => without_answer(Class::Permanent),
        // The enumeration may grow; a repetition decides nothing that is not known now.
        _ => without_answer(Class::Permanent),
    }
}

/// Translates the error of a signed call.
pub(crate) fn from_call(operation: &str, error: &CallError) -> CloudError {
    match error {
        CallError::Service {
            status,
            code,
            message,
            request_id,
            ..
        } => CloudError {
            operation: operation.to_owned(),
            code: code.clone(),
            message: message.clone(),
            request_id: request_id.clone(),
            class: classify(Some(*status), code, message),
        },
        CallError::Credentials { .. } => refused(operation, Class::Unauthenticated, explain(error)),
        CallError::Transport { .. } => refused(operation, class_of_connection(error), explain(error)),
        CallError::Request { .. } | CallError::Answer { .. } => refused(operation, Class::Permanent, explain(error)),
        // The enumeration may grow.
        _ => refused(operation, Class::Permanent, explain(error)),
    }
}

/// Returns the error and its causes on one line.
pub(crate) fn explain(error: &(impl Error + ?Sized)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let line = inner.to_string();
        if !text.ends_with(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = inner.source();
    }
    text
}

/// A connection that was refused, or a name that does not resolve, is not worth waiting for; a broken one is.
fn class_of_connection(error: &(dyn Error + 'static)) -> Class {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>()
            && matches!(
                io.kind(),
                std::io::ErrorKind::ConnectionRefused
                    | std::io::ErrorKind::HostUnreachable
                    | std::io::ErrorKind::NetworkUnreachable
            )
        {
            return Class::Unreachable;
        }
        let text = inner.to_string();
        if text.contains("dns error") || text.contains("failed to lookup address") {
            return Class::Unreachable;
        }
        cause = inner.source();
    }
    Class::Transient
}

/// Returns whether a chain of causes begins with missing credentials.
fn has_credentials_error(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if inner.is::<CredentialsError>() {
            return true;
        }
        cause = inner.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use infra_sigv4::CallError;

    use super::*;

    #[test]
    fn every_error_has_its_class() {
        for (status, code, message, expected) in [
            (
                400,
                "InvalidParameterValueException",
                "The role defined for the function cannot be assumed by Lambda.",
                Class::Propagating,
            ),
            (
                400,
                "InvalidParameterValueException",
                "Unzipped size must be smaller",
                Class::Permanent,
            ),
            (
                409,
                "ResourceConflictException",
                "The operation cannot be performed at this time. An update is in progress for resource: f",
                Class::Busy,
            ),
            (
                409,
                "ResourceConflictException",
                "The function is currently in the following state: Pending",
                Class::Busy,
            ),
            (
                409,
                "ResourceConflictException",
                "Function already exist: f",
                Class::Permanent,
            ),
            (
                409,
                "ConflictException",
                "Unable to complete operation due to concurrent modification. Please try again later.",
                Class::Busy,
            ),
            (
                409,
                "ConflictException",
                "Route with key $connect already exists",
                Class::Permanent,
            ),
            (400, "ResourceInUseException", "Table is being updated", Class::Busy),
            (409, "ConcurrentModification", "", Class::Busy),
            (400, "ContinuousBackupsUnavailableException", "", Class::Propagating),
            (429, "TooManyRequestsException", "Too Many Requests", Class::Throttled),
            (400, "ThrottlingException", "Rate exceeded", Class::Throttled),
            (400, "Throttling", "Rate exceeded", Class::Throttled),
            (429, "", "", Class::Throttled),
            (400, "LimitExceededException", "Subscriber limit exceeded", Class::Quota),
            (400, "LimitExceededException", "Rate exceeded for API", Class::Throttled),
            (
                409,
                "LimitExceeded",
                "Cannot exceed quota for RolesPerAccount: 1000",
                Class::Quota,
            ),
            (400, "CodeStorageExceededException", "", Class::Quota),
            (403, "ExpiredTokenException", "", Class::Unauthenticated),
            (403, "ExpiredToken", "", Class::Unauthenticated),
            (403, "UnrecognizedClientException", "", Class::Unauthenticated),
            (403, "InvalidClientTokenId", "", Class::Unauthenticated),
            (403, "SignatureDoesNotMatch", "", Class::Unauthenticated),
            (403, "AccessDenied", "", Class::Denied),
            (400, "AccessDeniedException", "", Class::Denied),
            (403, "SomethingNew", "", Class::Denied),
            (500, "ServiceException", "", Class::Transient),
            (503, "SomethingNew", "", Class::Transient),
            (400, "ValidationException", "", Class::Permanent),
            (404, "NotFoundException", "", Class::Permanent),
        ] {
            assert_eq!(
                classify(Some(status), code, message),
                expected,
                "{status} {code}: {message}"
            );
        }
    }

    #[test]
    fn a_connection_that_ends_early_is_transient() {
        use aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityError;
        use aws_smithy_runtime_api::client::result::ConnectorError;
        let class = |error| {
            let error: SdkError<GetCallerIdentityError, HttpResponse> = SdkError::dispatch_failure(error);
            from_sdk("sts:GetCallerIdentity", &error).class
        };
        let cut = || "connection closed before message completed".into();
        assert_eq!(class(ConnectorError::other(cut(), None)), Class::Transient);
        assert_eq!(class(ConnectorError::io(cut())), Class::Transient);
        assert_eq!(class(ConnectorError::user("not a URL".into())), Class::Permanent);
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(class(ConnectorError::other(refused.into(), None)), Class::Unreachable);
    }

    #[test]
    fn taken_names_are_told_from_busy_resources() {
        let error = |operation: &str, code: &str, message: &str| CloudError {
            operation: operation.to_owned(),
            code: code.to_owned(),
            message: message.to_owned(),
            request_id: None,
            class: classify(Some(409), code, message),
        };
        for (operation, code, message, expected) in [
            ("iam:CreateRole", "EntityAlreadyExists", "", true),
            ("ssm:PutParameter", "ParameterAlreadyExists", "", true),
            (
                "lambda:CreateFunction",
                "ResourceConflictException",
                "Function already exist: f",
                true,
            ),
            (
                "lambda:CreateFunction",
                "ResourceConflictException",
                "The operation cannot be performed at this time: a deletion is in progress",
                false,
            ),
            (
                "dynamodb:CreateTable",
                "ResourceInUseException",
                "Table already exists: t",
                true,
            ),
            (
                "dynamodb:UpdateTable",
                "ResourceInUseException",
                "Table is being updated",
                false,
            ),
            (
                "apigateway:CreateStage",
                "ConflictException",
                "Stage already exists",
                true,
            ),
            (
                "apigateway:CreateStage",
                "NotFoundException",
                "Invalid API identifier",
                false,
            ),
        ] {
            assert_eq!(
                is_already_there(&error(operation, code, message)),
                expected,
                "{operation} {message}"
            );
        }
    }

    #[test]
    fn a_refused_connection_is_told_from_a_broken_one() {
        let failed = |kind: std::io::ErrorKind| {
            let error = CallError::Transport {
                call: "iam GetRole".to_owned(),
                maybe_sent: true,
                source: Box::new(std::io::Error::from(kind)),
            };
            from_call("iam:GetRole", &error)
        };
        let refused = failed(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(refused.class, Class::Unreachable);
        assert!(refused.message.contains("connection refused"), "{}", refused.message);
        assert_eq!(failed(std::io::ErrorKind::ConnectionReset).class, Class::Transient);
    }
}
