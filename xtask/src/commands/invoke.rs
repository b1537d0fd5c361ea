//! `cargo xtask invoke`: one call of a function, with its answer, its log and what it took.

use std::io::{IsTerminal, Read};
use std::time::Instant;

use serde_json::{Value as Json, json};

use crate::cli::Invoke;
use crate::commands::{App, DEFAULT_STAGE, logs, outputs};
use crate::failure::{Exit, Failure};
use crate::target::Target;
use crate::ui::{self, DIM, RED, paint};

/// Runs it. A function that fails ends with [`Exit::Failed`].
///
/// # Errors
/// An unknown function, a payload that is no JSON, or when Lambda does not run the function.
pub(crate) async fn run(app: &App, options: &Invoke) -> Result<Exit, Failure> {
    let payload = payload(options).await?;
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let scope = target.scope();
    let invoking = Box::pin(async {
        let (session, outputs) = outputs::open(&target).await?;
        let functions = outputs.functions;
        let function = functions.get(&options.function).ok_or_else(|| {
            let known: Vec<_> = functions.keys().map(String::as_str).collect();
            Failure::usage(format!("there is no function `{}`", options.function))
                .help(format!("deployed functions are {}", known.join(", ")))
        })?;
        let began = Instant::now();
        let invocation = infra_aws::invoke(&session, function, payload.into_bytes())
            .await
            .map_err(|error| Failure::cloud(format!("{} cannot be invoked", options.function), error, &scope))?;
        Ok((invocation, began.elapsed()))
    });
    let (invocation, elapsed) = app.interrupt.or(invoking).await?;
    let answer = String::from_utf8_lossy(&invocation.payload);
    let read = serde_json::from_str::<Json>(&answer);
    let error = invocation.function_error.as_deref();
    let version = invocation.version.as_deref().unwrap_or("?");
    if app.wants_json() {
        ui::json(&json!({
            "function": options.function,
            "version": version,
            "functionError": error,
            "payload": read.unwrap_or_else(|_| json!(answer)),
            "elapsedMs": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "report": invocation.log.iter().find_map(|line| logs::report(line)),
            "log": invocation.log,
        }))?;
    } else {
        for line in invocation.log.iter().filter_map(|line| logs::readable(line)) {
            ui::say(line);
        }
        let outcome = match error {
            None => paint(
                DIM,
                format_args!("version {version} answered after {}", ui::duration(elapsed)),
            ),
            Some(error) => paint(
                RED,
                format_args!("version {version} failed after {}: {error}", ui::duration(elapsed)),
            ),
        };
        ui::say(outcome);
        match read.and_then(|answer| serde_json::to_string_pretty(&answer)) {
            Ok(pretty) => ui::data(pretty)?,
            Err(_) => ui::data(answer)?,
        }
    }
    Ok(if error.is_none() { Exit::Ok } else { Exit::Failed })
}

/// Returns what is sent: the option, or what stands in stdin, or `{}`.
async fn payload(options: &Invoke) -> Result<String, Failure> {
    let text = match &options.payload {
        Some(payload) if payload != "-" => payload.clone(),
        None if std::io::stdin().is_terminal() => String::new(),
        Some(_) | None => {
            let reading = tokio::task::spawn_blocking(|| {
                let mut text = String::new();
                std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
            });
            let read = reading.await.unwrap_or_else(|_| Ok(String::new()));
            read.map_err(|error| Failure::usage("stdin cannot be read").because(error))?
        }
    };
    if text.trim().is_empty() {
        return Ok("{}".to_owned());
    }
    match serde_json::from_str::<Json>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::usage("the payload is no JSON")
            .because(error)
            .help("write for example --payload '{\"requestContext\":{}}', or pipe a file: cargo xtask invoke connect < event.json")),
    }
}
