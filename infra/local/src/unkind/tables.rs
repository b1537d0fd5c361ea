//! Tables that take their time: `CREATING`, `UPDATING` and `DELETING`, and what DynamoDB refuses meanwhile.
//!
//! The embedded library does everything at once; here its answers are changed, and calls that come too early refused.
//! Sources: DynamoDB API Reference, `TableStatus` and the errors of each action.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::wire::ApiError;

/// What is happening to tables, by name.
#[derive(Debug, Default)]
pub(super) struct Tables {
    changes: BTreeMap<String, Change>,
}

#[derive(Debug)]
struct Change {
    status: Status,
    until: Instant,
    /// `TableDescription` of a table that is being deleted: the library has forgotten it.
    last: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Creating,
    Updating,
    Deleting,
}

impl Status {
    const fn name(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Updating => "UPDATING",
            Self::Deleting => "DELETING",
        }
    }

    fn in_use(self, table: &str) -> ApiError {
        let what = match self {
            Self::Creating => "created",
            Self::Updating => "updated",
            Self::Deleting => "deleted",
        };
        let message = format!("Attempt to change a resource which is still in use: Table is being {what}: {table}");
        ApiError::new(400, "ResourceInUseException", message)
    }

    fn show(self, description: &mut Value) {
        description["TableStatus"] = json!(self.name());
        let indexes = description
            .get_mut("GlobalSecondaryIndexes")
            .and_then(Value::as_array_mut);
        for index in indexes.into_iter().flatten() {
            index["IndexStatus"] = json!(self.name());
        }
    }
}

impl Tables {
    /// Answers or refuses a call; `None` leaves it to the library.
    pub(super) fn answer(&mut self, action: &str, table: &str, now: Instant) -> Result<Option<Value>, ApiError> {
        self.changes.retain(|_, change| now < change.until);
        let Some(Change { status, last, .. }) = self.changes.get(table) else {
            return Ok(None);
        };
        match (*status, action) {
            (Status::Deleting, "DescribeTable") => Ok(Some(json!({ "Table": last }))),
            (_, "UpdateTable" | "DeleteTable" | "UpdateTimeToLive") | (Status::Deleting, "CreateTable") => {
                Err(status.in_use(table))
            }
            (Status::Creating, "UpdateContinuousBackups") => {
                let message = format!("Backups are being enabled for the table: {table}. Please retry later");
                Err(ApiError::new(400, "ContinuousBackupsUnavailableException", message))
            }
            (
                Status::Creating,
                "BatchGetItem" | "BatchWriteItem" | "DeleteItem" | "GetItem" | "PutItem" | "Query" | "Scan"
                | "UpdateItem",
            ) => Err(ApiError::new(
                400,
                "ResourceNotFoundException",
                "Requested resource not found",
            )),
            _ => Ok(None),
        }
    }

    /// Notes what a successful call began, which takes `time`, and returns its answer as it looks meanwhile.
    pub(super) fn answered(&mut self, action: &str, table: &str, answer: Bytes, time: Duration, now: Instant) -> Bytes {
        let begun = match action {
            "CreateTable" => Some(Status::Creating),
            "UpdateTable" => Some(Status::Updating),
            "DeleteTable" => Some(Status::Deleting),
            _ => None,
        };
        if let Some(status) = begun.filter(|_| !time.is_zero()) {
            let until = now + time;
            let last = Value::Null;
            self.changes.insert(table.to_owned(), Change { status, until, last });
        }
        let member = if begun.is_some() { "TableDescription" } else { "Table" };
        let Some(change) = self.changes.get_mut(table) else {
            return answer;
        };
        if begun.is_none() && action != "DescribeTable" {
            return answer;
        }
        let Ok(mut body) = serde_json::from_slice::<Value>(&answer) else {
            return answer;
        };
        let Some(description) = body.get_mut(member) else {
            return answer;
        };
        change.status.show(description);
        if change.status == Status::Deleting {
            change.last = description.clone();
        }
        Bytes::from(body.to_string())
    }
}
