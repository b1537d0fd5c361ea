//! Between the handlers and the Lambda runtime: start, serve, log failures.

use std::error::Error;
use std::fmt;
use std::future::Future;

use functions_domain::ports::PortError;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::adapters::Emf;
use crate::config::Environment;
use crate::metrics;

/// Why an invocation has no result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The authorizer's way to have the client asked for credentials. API Gateway recognises exactly this text and
    /// answers the handshake with 401.
    #[error("Unauthorized")]
    Unauthorized,
    /// Something outside did not work. API Gateway answers with 500, or an error frame.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Why a function cannot start. Its `Debug` form is what a person should read, because `main` prints that one.
pub struct StartError(String);

impl<E: Error> From<E> for StartError {
    fn from(error: E) -> Self {
        Self(chain(&error))
    }
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Begins to log, as `AWS_LAMBDA_LOG_FORMAT` and `AWS_LAMBDA_LOG_LEVEL` say, and returns the environment.
pub fn start() -> Environment {
    lambda_runtime::tracing::init_default_subscriber();
    Environment::of_process()
}

/// Handles events until Lambda ends the process. One event at a time, as Lambda sends them.
///
/// # Errors
///
/// When the Runtime API cannot be reached.
pub async fn serve<E, R, F>(handler: impl Fn(E) -> F) -> Result<(), StartError>
where
    E: DeserializeOwned,
    R: Serialize,
    F: Future<Output = Result<R, Failure>>,
{
    serve_until(|event, _| handler(event)).await
}

/// As [`serve`], for handlers that must know when Lambda ends the invocation, in milliseconds since 1970.
///
/// # Errors
///
/// When the Runtime API cannot be reached.
pub async fn serve_until<E, R, F>(handler: impl Fn(E, u64) -> F) -> Result<(), StartError>
where
    E: DeserializeOwned,
    R: Serialize,
    F: Future<Output = Result<R, Failure>>,
{
    let emf = Emf::of(&Environment::of_process());
    let service = service_fn(|event: LambdaEvent<E>| {
        let answer = handler(event.payload, event.context.deadline);
        async {
            let answer = answer.await;
            let counts = metrics::take();
            if let Some(emf) = &emf {
                emf.write(&counts);
            }
            answer.map_err(diagnostic)
        }
    });
    lambda_runtime::run(service)
        .await
        .map_err(|error| StartError(chain(error.as_ref())))
}

fn diagnostic(failure: Failure) -> Diagnostic {
    match failure {
        Failure::Unauthorized => Diagnostic {
            error_type: "Unauthorized".to_owned(),
            error_message: "Unauthorized".to_owned(),
        },
        Failure::Port(error) => {
            tracing::error!(error = chain(&error), "invocation failed");
            Diagnostic {
                error_type: "PortError".to_owned(),
                error_message: error.to_string(),
            }
        }
    }
}

/// Returns an error and its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_gateway_recognises_the_exact_text() {
        assert_eq!(diagnostic(Failure::Unauthorized).error_message, "Unauthorized");
    }

    #[test]
    fn people_read_the_whole_chain() {
        let inner = PortError::new("reach SSM", "refused");
        let error = StartError::from(PortError::new("read the key", inner));
        assert_eq!(
            format!("{error:?}"),
            "failed to read the key: failed to reach SSM: refused"
        );
    }
}
