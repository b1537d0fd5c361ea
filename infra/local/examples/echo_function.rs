//! A function for tests of the local Lambda, built with the real `lambda_runtime`.
//!
//! The payload says what it does, for example `{"print": ["a line"], "sleep_ms": 5, "return": 1}`; without `return` it
//! returns the payload. `FAIL_INIT` in its environment makes it end before its first event.

use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if let Ok(code) = std::env::var("FAIL_INIT") {
        std::process::exit(code.parse()?);
    }
    lambda_runtime::run(service_fn(handle)).await
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its output is what the tests look at"
)]
async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let payload = event.payload;
    for line in payload["print"].as_array().into_iter().flatten() {
        println!("{}", line.as_str().unwrap_or_default());
    }
    for line in payload["print_error"].as_array().into_iter().flatten() {
        eprintln!("{}", line.as_str().unwrap_or_default());
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
