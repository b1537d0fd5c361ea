//! The Invoke API, and the way from a function's name to one of its processes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::IgnoredAny;

use super::host::{Finished, Invocation, Target};
use super::name::FunctionRef;
use super::{Invoker, Outcome, policy};
use crate::cloud::SharedCloud;
use crate::wire::{ApiError, Request, Response, request_id, respond};

/// Largest payload of a synchronous invocation, in either direction: 6 MB.
pub(super) const SYNCHRONOUS_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Largest payload of an asynchronous invocation: 1 MB.
const ASYNCHRONOUS_BYTES_MAX: usize = 1024 * 1024;

/// Pauses before the retries of a failed asynchronous invocation. AWS waits one and two minutes, too long at a desk.
const RETRY_PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(1)];

/// First and longest pause before a throttled asynchronous invocation is tried again. AWS begins with a second too, and ends
/// with five minutes ("How Lambda handles errors and retries with asynchronous invocation").
const THROTTLED_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

/// How long an asynchronous invocation is kept, as on AWS.
const EVENT_AGE_MAX: Duration = Duration::from_secs(6 * 60 * 60);

/// `Invoke`.
pub(super) async fn handle(cloud: &SharedCloud, of: &FunctionRef, request: &Request) -> Result<Response, ApiError> {
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    let payload = request.body.clone();
    check_json(&payload)?;
    match header("x-amz-invocation-type").unwrap_or("RequestResponse") {
        "RequestResponse" => {
            let finished = synchronous(cloud, of, payload, &Invoker::Account).await?;
            Ok(answer(&finished, header("x-amz-log-type") == Some("Tail")))
        }
        "Event" => {
            let (target, invocation) = prepare(cloud, of, payload, &Invoker::Account, ASYNCHRONOUS_BYTES_MAX)?;
            let version = target.version.label();
            asynchronous(cloud, of.clone(), target, invocation);
            Ok(respond(
                202,
                "application/json",
                Bytes::new(),
                &[("X-Amz-Executed-Version", &version)],
            ))
        }
        "DryRun" => {
            let (target, _) = prepare(cloud, of, payload, &Invoker::Account, SYNCHRONOUS_BYTES_MAX)?;
            let version = target.version.label();
            Ok(respond(
                204,
                "application/json",
                Bytes::new(),
                &[("X-Amz-Executed-Version", &version)],
            ))
        }
        other => {
            let mut violations = super::validation::Violations::default();
            violations.one_of("invocationType", Some(other), &["Event", "RequestResponse", "DryRun"]);
            violations.finish()?;
            Err(super::validation::invalid_parameter("unknown invocation type"))
        }
    }
}

/// Invokes and waits.
pub(super) async fn synchronous(
    cloud: &SharedCloud,
    of: &FunctionRef,
    payload: Bytes,
    invoker: &Invoker,
) -> Result<Finished, ApiError> {
    let (target, invocation) = prepare(cloud, of, payload, invoker, SYNCHRONOUS_BYTES_MAX)?;
    cloud.lambda.host.run(cloud, target, invocation).await
}

/// Invokes in the background, under one request id: as soon as there is a place, again after a function error, twice at
/// most, and after throttling for as long as the event is kept. What the name stands for is looked up at each attempt.
fn asynchronous(cloud: &SharedCloud, of: FunctionRef, mut target: Target, invocation: Invocation) {
    let (weak, arrived) = (Arc::downgrade(cloud), Instant::now());
    cloud.lambda.host.spawn(async move {
        let mut after_errors = RETRY_PAUSES.into_iter();
        let (mut after_throttling, longest) = THROTTLED_PAUSES;
        loop {
            // Not held while it waits, so that a cloud that is going away is not kept alive by its own backlog.
            let Some(place) = weak.upgrade().map(|cloud| cloud.lambda.host.place()) else {
                return;
            };
            let Some(place) = place.await else { return };
            let Some(cloud) = weak.upgrade() else { return };
            match find(&cloud, &of, &Invoker::Account) {
                Ok(found) => target = found,
                Err(error) if error.status == 404 => return,
                // It is being updated; then the old one serves it still.
                Err(_) => {}
            }
            let host = &cloud.lambda.host;
            let result = host.run_at(place, &cloud, target.clone(), invocation.clone()).await;
            drop(cloud);
            let pause = match &result {
                Ok(finished) if matches!(finished.outcome, Outcome::Success(_)) => return,
                Err(error) if error.status == 429 && arrived.elapsed() < EVENT_AGE_MAX => {
                    let pause = after_throttling;
                    after_throttling = (pause * 2).min(longest);
                    Some(pause)
                }
                Ok(_) | Err(_) => after_errors.next(),
            };
            let Some(pause) = pause else {
                tracing::warn!(function = %target.version.function, "asynchronous event dropped");
                return;
            };
            tokio::time::sleep(pause).await;
        }
    });
}

/// Makes an invocation, and finds what it runs.
fn prepare(
    cloud: &SharedCloud,
    of: &FunctionRef,
    payload: Bytes,
    invoker: &Invoker,
    bytes_max: usize,
) -> Result<(Target, Invocation), ApiError> {
    let target = find(cloud, of, invoker)?;
    if payload.len() > bytes_max {
        let message = format!("Request must be smaller than {bytes_max} bytes for the InvokeFunction operation");
        return Err(ApiError::new(413, "RequestTooLargeException", message));
    }
    let invocation = Invocation {
        request_id: request_id(),
        invoked_arn: of.arn(&cloud.account),
        payload: if payload.is_empty() {
            Bytes::from_static(b"{}")
        } else {
            payload
        },
    };
    Ok((target, invocation))
}

/// Finds the version to run and checks whether this invoker may.
fn find(cloud: &SharedCloud, of: &FunctionRef, invoker: &Invoker) -> Result<Target, ApiError> {
    let account = &cloud.account;
    let store = cloud.lambda.store();
    // To a service without permission a missing function and a forbidden one look alike on AWS; the truth helps more.
    let function = store.function(of, account)?;
    if let Invoker::Service { principal, source_arn } = invoker {
        policy::authorize(function, of, principal, source_arn, account)?;
    }
    let version = function
        .version(of.qualifier.as_deref())
        .ok_or_else(|| of.not_found(account))?;
    if version.is_pending() {
        return Err(ApiError::new(
            409,
            "ResourceConflictException",
            "The operation cannot be performed at this time. The function is currently in the following state: Pending",
        ));
    }
    let archive = store
        .archives
        .get(&version.code_sha256)
        .map(|archive| archive.0.clone())
        .ok_or_else(|| {
            ApiError::new(
                502,
                "InvalidZipFileException",
                "the code of this function is lost: upload it again",
            )
        })?;
    Ok(Target {
        version: Arc::clone(version),
        archive,
        reserved_concurrency: function.reserved_concurrency,
    })
}

fn answer(finished: &Finished, tail: bool) -> Response {
    let mut headers = vec![("X-Amz-Executed-Version", finished.version.as_str())];
    let log_result = STANDARD.encode(&finished.log_tail);
    if tail {
        headers.push(("X-Amz-Log-Result", &log_result));
    }
    let payload = match &finished.outcome {
        Outcome::Success(payload) => payload,
        Outcome::FunctionError(payload) => {
            headers.push(("X-Amz-Function-Error", "Unhandled"));
            payload
        }
    };
    respond(200, "application/json", payload.clone(), &headers)
}

fn check_json(payload: &[u8]) -> Result<(), ApiError> {
    if payload.is_empty() {
        return Ok(());
    }
    serde_json::from_slice::<IgnoredAny>(payload)
        .map(|_| ())
        .map_err(|error| {
            let message = format!("Could not parse request body into json: {error}");
            ApiError::new(400, "InvalidRequestContentException", message)
        })
}
