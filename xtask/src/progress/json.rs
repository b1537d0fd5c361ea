//! A deployment as events for programs: one JSON object per line. `docs/events-json.md` says what each means.
//!
//! Names here are a promise: add, never rename; a change that breaks readers raises [`SCHEMA_VERSION`].

use infra_cdk::{Kind, LogicalId};
use infra_engine::{Action, CloudError, Event};
use serde_json::{Value as Json, json};

/// Version of all events and of the result.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// Returns an event of the engine.
pub(super) fn of_engine(event: &Event) -> Json {
    match event {
        Event::WaitingForLock {
            owner,
            since_s,
            seconds_left,
        } => json!({
            "event": "waitingForLock",
            "owner": owner,
            "sinceSeconds": since_s,
            "secondsLeft": seconds_left,
        }),
        Event::Started { id, kind, action } => step("started", id, *kind, *action),
        Event::Retrying {
            id,
            error: cause,
            delay_ms,
        } => json!({
            "event": "retrying",
            "id": id,
            "error": error(cause),
            "delayMs": delay_ms,
        }),
        Event::Finished {
            id,
            kind,
            action,
            elapsed_ms,
        } => {
            let mut finished = step("finished", id, *kind, *action);
            finished["elapsedMs"] = (*elapsed_ms).into();
            finished
        }
        Event::Failed {
            id,
            kind,
            action,
            error: cause,
        } => {
            let mut failed = step("failed", id, *kind, *action);
            failed["error"] = error(cause);
            failed
        }
        Event::Skipped {
            id,
            kind,
            action,
            needs,
        } => {
            let mut skipped = step("skipped", id, *kind, *action);
            skipped["needs"] = json!(needs);
            skipped
        }
    }
}

/// Returns a failed call.
pub(crate) fn error(error: &CloudError) -> Json {
    json!({
        "operation": error.operation,
        "code": error.code,
        "message": error.message,
        "requestId": error.request_id,
    })
}

fn step(event: &str, id: &LogicalId, kind: Kind, action: Action) -> Json {
    json!({ "event": event, "id": id, "type": kind.cloudformation_type(), "action": action })
}
