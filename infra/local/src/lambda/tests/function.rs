//! A function for tests, built with the real `lambda_runtime`: this test binary itself, started by its archive's
//! `bootstrap`. So there is nothing to build beforehand, and it is always the function that the tests expect.
//!
//! The payload says what it does, for example `{"print": ["a line"], "sleep_ms": 5}`; it returns the payload. With
//! `FAIL_INIT` in its environment it ends before its first event.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its output is what the tests look at"
)]

use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

use super::zip;

/// The archive to create the function from.
pub(crate) fn archive() -> Vec<u8> {
    let binary = std::env::current_exe().unwrap();
    let name = "lambda::tests::function::serves_when_it_is_started_as_a_function";
    let script = format!(
        "#!/bin/sh\nexec '{}' --exact {name} --nocapture --quiet\n",
        binary.display()
    );
    zip(&[("bootstrap", 0o755, script.as_bytes())])
}

#[tokio::test]
async fn serves_when_it_is_started_as_a_function() {
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        return;
    }
    if let Ok(code) = std::env::var("FAIL_INIT") {
        std::process::exit(code.parse().unwrap());
    }
    lambda_runtime::run(service_fn(handle)).await.unwrap();
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let payload = event.payload;
    for line in payload["print"].as_array().into_iter().flatten() {
        println!("{}", line.as_str().unwrap());
    }
    for line in payload["print_error"].as_array().into_iter().flatten() {
        eprintln!("{}", line.as_str().unwrap());
    }
    if let Some(sleep_ms) = payload["sleep_ms"].as_u64() {
        tokio::time::sleep(Duration::from_millis(sleep_ms)).await;
    }
    if let Some(code) = payload["exit"].as_i64() {
        std::process::exit(i32::try_from(code)?);
    }
    if let Some(message) = payload["panic"].as_str() {
        panic!("{message}");
    }
    if let Some(message) = payload["error"].as_str() {
        return Err(message.into());
    }
    if let Some(bytes) = payload["return_bytes"].as_u64() {
        return Ok(Value::String("x".repeat(usize::try_from(bytes)?)));
    }
    if payload["describe"] == true {
        let variables: serde_json::Map<String, Value> = std::env::vars()
            .map(|(name, value)| (name, Value::String(value)))
            .collect();
        return Ok(json!({
            "pid": std::process::id(),
            "environment": variables,
            "folder": std::env::current_dir()?,
            "arn": event.context.invoked_function_arn,
            "request_id": event.context.request_id,
            "deadline": event.context.deadline,
        }));
    }
    Ok(payload)
}
