//! What happens to a stack, told as the engine tells of its own steps.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_cloudformation::types::{ResourceStatus, StackEvent};
use infra_cdk::{Kind, LogicalId};
use infra_engine::{Action, Class, CloudError, Event};

use super::names::{Named, Names};
use super::{CloudFormation, StackResource, Standing, is_absent};
use crate::error::refused;
use crate::repeat::repeated;
use crate::throttle::Service;

/// Pause between two looks at the events of a stack.
const PAUSE: Duration = Duration::from_secs(2);
/// The same behind an endpoint override, where nobody counts calls.
const PAUSE_ELSEWHERE: Duration = Duration::from_millis(200);

/// After so many polls without an event it is asked whether the stack still exists.
const QUIET_POLLS: u32 = 5;

/// Reads the events of one stack, each once.
#[derive(Debug)]
pub struct Follow {
    stack: CloudFormation,
    /// ARN of the stack: leads to its events even when it is deleted.
    id: String,
    names: Names,
    last_event: Option<String>,
    /// When each resource's step began, in milliseconds since 1970, and what it does.
    running: BTreeMap<LogicalId, (i64, Action)>,
    ended: Ended,
    /// Whether the stack is being made or changed, not deleted.
    is_deployed: bool,
    /// Why the stack goes back, where CloudFormation says so.
    reason: Option<(String, StackEvent)>,
    quiet_polls: u32,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// To a resource.
    Step(Event),
    /// CloudFormation undoes what it has done, since something failed.
    GoingBack,
    /// Nothing more will happen.
    Ended(Ended),
}

/// How it ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ended {
    /// The stack's last status, in CloudFormation's words.
    pub status: String,
    /// Steps that ended well, before anything was undone.
    pub done: Vec<(LogicalId, Action)>,
    /// Steps that failed, the first one first: the cause of the others, more often than not.
    pub failed: Vec<(LogicalId, Action, CloudError)>,
    /// Steps that CloudFormation gave up since another one failed.
    pub skipped: Vec<(LogicalId, Action)>,
    /// Whether CloudFormation has undone what it did: by a rollback, or by deleting a stack that it could not make.
    pub is_undone: bool,
}

impl Ended {
    /// Returns whether the stack is what was asked for.
    #[must_use]
    pub fn is_well(&self) -> bool {
        !self.is_undone
            && matches!(
                self.status.as_str(),
                "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "IMPORT_COMPLETE" | "DELETE_COMPLETE"
            )
    }

    /// Returns what the stack's last status allows.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::of(&self.status)
    }
}

impl Follow {
    /// Follows a stack from now on: what has happened already is not told.
    ///
    /// # Errors
    /// When its events cannot be read.
    pub async fn from_now(stack: &CloudFormation, id: &str, names: Names) -> Result<Self, CloudError> {
        let mut follow = Self {
            stack: stack.clone(),
            id: id.to_owned(),
            names,
            last_event: None,
            running: BTreeMap::new(),
            ended: Ended::default(),
            is_deployed: false,
            reason: None,
            quiet_polls: 0,
        };
        let (newest, _) = stack.events(id, None).await?;
        follow.last_event = newest.first().and_then(|event| event.event_id.clone());
        Ok(follow)
    }

    /// Waits, and returns what has happened since the last time, in order.
    ///
    /// # Errors
    /// When the events cannot be read. Nothing is lost: the next call brings them.
    pub async fn next(&mut self) -> Result<Vec<Happening>, CloudError> {
        tokio::time::sleep(self.stack.session.pace(PAUSE, PAUSE_ELSEWHERE)).await;
        let events = self.new_events().await?;
        let mut happenings = Vec::new();
        for event in &events {
            self.read(event, &mut happenings);
        }
        // A stack that is gone tells nothing more: its last event may have been missed.
        self.quiet_polls = if events.is_empty() { self.quiet_polls + 1 } else { 0 };
        if self.quiet_polls % QUIET_POLLS == QUIET_POLLS - 1 && self.stack.read_as(&self.id).await?.is_none() {
            self.ended.is_undone |= self.is_deployed;
            happenings.push(self.ends("DELETE_COMPLETE"));
        }
        Ok(happenings)
    }

    /// Returns the events since the last one that was seen, in order.
    async fn new_events(&mut self) -> Result<Vec<StackEvent>, CloudError> {
        let mut new = Vec::new();
        let mut next_token = None;
        'pages: loop {
            let (page, token) = self.stack.events(&self.id, next_token).await?;
            for event in page {
                if event.event_id.is_some() && event.event_id == self.last_event {
                    break 'pages;
                }
                new.push(event);
            }
            if token.is_none() {
                break;
            }
            next_token = token;
        }
        if let Some(newest) = new.first() {
            self.last_event.clone_from(&newest.event_id);
        }
        new.reverse();
        Ok(new)
    }

    fn read(&mut self, event: &StackEvent, happenings: &mut Vec<Happening>) {
        let status = event.resource_status.as_ref().map_or("", ResourceStatus::as_str);
        let name = event.logical_resource_id().unwrap_or_default();
        let kind = event.resource_type().unwrap_or_default();
        let at_ms = event.timestamp.and_then(|at| at.to_millis().ok()).unwrap_or_default();
        if is_of_stack(event) {
            self.read_of_stack(status, event, happenings);
            return;
        }
        let (id, kind) = match self.names.named(name, kind) {
            Some(Named::Resource(id, kind)) => (id, kind),
            // Only worth a word when it fails.
            Some(Named::Version(function)) if status.ends_with("_FAILED") => (function, Kind::Function),
            Some(Named::Version(_)) | None => return,
        };
        let action = action(status, self.running.get(&id).map(|(_, action)| *action));
        let reason = event.resource_status_reason().unwrap_or_default();
        if status.ends_with("_IN_PROGRESS") {
            // A second event of the same step tells the physical id.
            if !self.running.contains_key(&id) {
                self.running.insert(id.clone(), (at_ms, action));
                happenings.push(Happening::Step(Event::Started { id, kind, action }));
            }
            return;
        }
        let began_ms = self.running.remove(&id).map(|(began_ms, _)| began_ms);
        if status.ends_with("_FAILED") {
            self.failed(id, kind, action, reason, event, happenings);
        } else if status.ends_with("_COMPLETE") || status == "DELETE_SKIPPED" {
            let elapsed_ms = began_ms.map_or(0, |began_ms| u64::try_from(at_ms - began_ms).unwrap_or_default());
            if !self.ended.is_undone {
                self.ended.done.push((id.clone(), action));
            }
            happenings.push(Happening::Step(Event::Finished {
                id,
                kind,
                action,
                elapsed_ms,
            }));
        }
    }

    fn failed(
        &mut self,
        id: LogicalId,
        kind: Kind,
        action: Action,
        reason: &str,
        event: &StackEvent,
        happenings: &mut Vec<Happening>,
    ) {
        if is_cascade(reason) {
            let needs = self.ended.failed.first().map(|(id, ..)| id.clone());
            self.ended.skipped.push((id.clone(), action));
            happenings.push(Happening::Step(Event::Skipped {
                id,
                kind,
                action,
                needs,
            }));
            return;
        }
        let error = error_of(reason, event);
        self.ended.failed.push((id.clone(), action, error.clone()));
        happenings.push(Happening::Step(Event::Failed {
            id,
            kind,
            action,
            error,
        }));
    }

    fn read_of_stack(&mut self, status: &str, event: &StackEvent, happenings: &mut Vec<Happening>) {
        self.is_deployed |= is_deployment(status);
        // What could not be made is deleted: `OnStackFailure`.
        let goes_back = status.contains("ROLLBACK") || (status.starts_with("DELETE_") && self.is_deployed);
        if goes_back && !self.ended.is_undone {
            self.ended.is_undone = true;
            happenings.push(Happening::GoingBack);
        }
        if let Some(reason) = event.resource_status_reason()
            && self.reason.is_none()
            && (self.ended.is_undone || status.ends_with("_FAILED"))
        {
            self.reason = Some((reason.to_owned(), event.clone()));
        }
        match Standing::of(status) {
            Standing::Busy | Standing::InReview => {}
            Standing::Settled
            | Standing::FailedCreation
            | Standing::FailedUpdate
            | Standing::FailedRollback
            | Standing::FailedDeletion
            | Standing::FailedImport
            | Standing::Unknown => happenings.push(self.ends(status)),
        }
    }

    fn ends(&mut self, status: &str) -> Happening {
        self.ended.status = status.to_owned();
        // A stack may fail without any of its resources: by a hook, or because somebody stopped it.
        if !self.ended.is_well() && self.ended.failed.is_empty() {
            let id = LogicalId::from_words(&[self.stack.name()]);
            let error = match &self.reason {
                Some((reason, event)) => error_of(reason, event),
                None => refused(
                    "cloudformation:stack",
                    Class::Permanent,
                    format!("it ended as {status}, and no reason is given"),
                ),
            };
            self.ended.failed.push((id, Action::Update, error));
        }
        Happening::Ended(self.ended.clone())
    }
}

impl CloudFormation {
    /// Returns the step that failed first when the stack was last made, changed or deleted, if CloudFormation still
    /// knows: what failed because of it is left out.
    ///
    /// # Errors
    /// When the events cannot be read.
    pub async fn first_failure(&self, id: &str) -> Result<Option<StackResource>, CloudError> {
        let mut first = None;
        let mut next_token = None;
        loop {
            let (page, token) = self.events(id, next_token).await?;
            // The newest comes first.
            for event in page {
                let status = event.resource_status.as_ref().map_or("", ResourceStatus::as_str);
                let resource = StackResource {
                    name: event.logical_resource_id().unwrap_or_default().to_owned(),
                    kind: event.resource_type().unwrap_or_default().to_owned(),
                    physical_id: event.physical_resource_id().map(str::to_owned),
                    status: status.to_owned(),
                    reason: event.resource_status_reason().map(str::to_owned),
                };
                if is_of_stack(&event) {
                    if is_deployment(status) || (status == "DELETE_IN_PROGRESS" && first.is_some()) {
                        return Ok(first);
                    }
                } else if resource.has_failed() {
                    first = Some(resource);
                }
            }
            if token.is_none() {
                return Ok(first);
            }
            next_token = token;
        }
    }

    /// Returns a page of a stack's events, the newest first; nothing for a stack that does not exist.
    async fn events(
        &self,
        id: &str,
        next_token: Option<String>,
    ) -> Result<(Vec<StackEvent>, Option<String>), CloudError> {
        let page = repeated(|| {
            let client = self.session.cloudformation();
            let call = client
                .describe_stack_events()
                .stack_name(id)
                .set_next_token(next_token.clone());
            self.session.sdk(
                Service::CloudFormation,
                "cloudformation:DescribeStackEvents",
                call.send(),
            )
        })
        .await;
        match page {
            Ok(page) => Ok((page.stack_events.unwrap_or_default(), page.next_token)),
            Err(error) if is_absent(&error) => Ok((Vec::new(), None)),
            Err(error) => Err(error),
        }
    }
}

/// Returns whether an event is the stack's own.
fn is_of_stack(event: &StackEvent) -> bool {
    event.resource_type() == Some("AWS::CloudFormation::Stack") && event.physical_resource_id() == event.stack_id()
}

/// Returns whether a status of a stack says that it is being made or changed.
fn is_deployment(status: &str) -> bool {
    matches!(
        status,
        "CREATE_IN_PROGRESS" | "UPDATE_IN_PROGRESS" | "IMPORT_IN_PROGRESS"
    )
}

/// Returns what a status says is done to a resource.
fn action(status: &str, begun: Option<Action>) -> Action {
    match status.split('_').next() {
        Some("CREATE") => Action::Create,
        _ if status == "DELETE_SKIPPED" => Action::Retain,
        Some("DELETE") => Action::Delete,
        Some("IMPORT") => Action::Adopt,
        _ => begun.unwrap_or(Action::Update),
    }
}

/// Returns whether a failure only follows from another one (User Guide, "Troubleshooting CloudFormation").
pub(super) fn is_cascade(reason: &str) -> bool {
    reason.contains("creation cancelled")
        || reason.contains("update cancelled")
        || reason.contains("deletion cancelled")
        || reason.contains("Resource cancelled")
}

/// Returns a failure as that of a call. Providers name the kind of an error at the end of their message:
/// `(RequestToken: …, HandlerErrorCode: AlreadyExists)`.
fn error_of(reason: &str, event: &StackEvent) -> CloudError {
    let after = |key: &str| {
        let rest = reason.split(key).nth(1)?;
        Some(rest.split([',', ')']).next()?.trim().to_owned())
    };
    let code = after("HandlerErrorCode:")
        .or_else(|| after("Error Code:"))
        .unwrap_or_default();
    let class = match code.as_str() {
        "AccessDenied" | "AccessDeniedException" | "InvalidCredentials" => Class::Denied,
        "ServiceLimitExceeded" | "LimitExceededException" => Class::Quota,
        "Throttling" => Class::Throttled,
        "NetworkFailure" | "ServiceInternalError" | "InternalFailure" => Class::Transient,
        _ if reason.contains("is not authorized to perform") => Class::Denied,
        _ => Class::Permanent,
    };
    CloudError {
        operation: format!("cloudformation:{}", event.resource_type().unwrap_or("stack")),
        code,
        message: if reason.is_empty() {
            "no reason is given".to_owned()
        } else {
            reason.to_owned()
        },
        request_id: after("Request ID:").or_else(|| after("RequestToken:")),
        class,
    }
}
