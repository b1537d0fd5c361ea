//! How a command ends, and what it says when it fails.
//!
//! Libraries return typed errors; here they become reports for people: what failed, why, and the command to run next.

use std::error::Error;
use std::fmt::Display;

use infra_aws::SessionError;
use infra_cdk::EngineName;
use infra_engine::{Class, CloudError, EngineError, StoreError};
use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

/// How the process ends. The numbers are part of the command line's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// Something failed.
    Failed = 1,
    /// The question was wrong: bad arguments, unknown stage, missing confirmation.
    Usage = 2,
    /// `diff --exit-code` found changes.
    Changes = 3,
    /// Ctrl-C.
    Interrupted = 130,
}

/// An error for people.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    message: String,
    #[source]
    cause: Option<Box<dyn Error + Send + Sync>>,
    help: Option<String>,
    place: Option<Box<Place>>,
    exit: Exit,
}

/// A place in a file.
#[derive(Debug)]
struct Place {
    text: NamedSource<String>,
    label: LabeledSpan,
}

impl Diagnostic for Failure {
    fn help<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.as_ref().map(|place| &place.text as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.place.as_ref()?;
        Some(Box::new(std::iter::once(place.label.clone())))
    }
}

impl Failure {
    /// Something failed; ends with 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            cause: None,
            help: None,
            place: None,
            exit: Exit::Failed,
        }
    }

    /// The question was wrong; ends with 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            ..Self::new(message)
        }
    }

    /// Ctrl-C; ends with 130.
    pub(crate) fn interrupted() -> Self {
        Self {
            exit: Exit::Interrupted,
            ..Self::new("interrupted")
        }
    }

    /// Says what an interrupt means: what has been done, and how to go on. Other failures say it already.
    pub(crate) fn when_interrupted(self, message: impl Into<String>) -> Self {
        match self.exit {
            Exit::Interrupted => Self {
                message: message.into(),
                ..self
            },
            Exit::Ok | Exit::Failed | Exit::Usage | Exit::Changes => self,
        }
    }

    /// Adds the error behind it; its whole chain is shown.
    pub(crate) fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds what to do next.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Shows the place in a file: `offset` bytes from its start.
    pub(crate) fn at(mut self, file: &str, text: &str, offset: usize, label: impl Into<String>) -> Self {
        self.place = Some(Box::new(Place {
            label: LabeledSpan::at_offset(offset.min(text.len()), label),
            text: NamedSource::new(file, text.to_owned()),
        }));
        self
    }

    /// Returns how the process ends.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Returns whether it is that nobody reads stdout any more.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        let cause = self
            .cause
            .as_ref()
            .and_then(|cause| cause.downcast_ref::<std::io::Error>());
        cause.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// Returns whether it is that there are no credentials at all.
    pub(crate) fn has_no_credentials(&self) -> bool {
        let cause = self
            .cause
            .as_ref()
            .and_then(|cause| cause.downcast_ref::<SessionError>());
        matches!(cause, Some(SessionError::NoCredentials))
    }

    /// Returns the failure for programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        let mut causes = Vec::new();
        let mut cause = self.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        serde_json::json!({ "message": self.message, "causes": causes, "help": self.help })
    }

    /// A failed call to AWS, with what helps against it.
    pub(crate) fn cloud(doing: impl Into<String>, error: CloudError, scope: &Scope) -> Self {
        let help = help_for(&error, scope);
        Self::new(doing).because(error).help(help)
    }

    /// No credentials, or nobody who takes them.
    pub(crate) fn session(error: SessionError, scope: &Scope) -> Self {
        let help = match &error {
            SessionError::NoCredentials
            | SessionError::Credentials { .. }
            | SessionError::Expired { .. }
            | SessionError::Unauthenticated { .. } => SIGN_IN.to_owned(),
            SessionError::Denied { source }
            | SessionError::Unreachable { source, .. }
            | SessionError::Identity { source } => help_for(source, scope),
            _ => "check AWS_ENDPOINT_URL and the root certificates of this machine".to_owned(),
        };
        Self::new(format!("stage `{}` cannot be reached", scope.stage))
            .because(error)
            .help(help)
    }

    /// A deployment that could not begin.
    pub(crate) fn engine(doing: impl Into<String>, error: EngineError, scope: &Scope) -> Self {
        let help = match &error {
            EngineError::Read(cause) | EngineError::Store(StoreError::Cloud(cause)) => help_for(cause, scope),
            EngineError::Store(StoreError::Locked { lock, now, .. }) => format!(
                "wait for its end with: {}; if its process is gone, the lock ends by itself in {} s",
                scope.again(),
                lock.lease_until.saturating_sub(*now)
            ),
            EngineError::NotPackaged => format!("correct what cargo reports above, then: {}", scope.again()),
            EngineError::Store(StoreError::Overtaken { .. }) => {
                format!("run it again, to plan from what is deployed now: {}", scope.again())
            }
            EngineError::Store(StoreError::Newer { .. }) => "update this checkout: git pull".to_owned(),
            EngineError::Store(StoreError::Damaged { .. }) => {
                format!(
                    "restore the record, or delete it and adopt what exists: {}",
                    scope.command("deploy")
                )
            }
            EngineError::Store(_) => format!("run it again: {}", scope.again()),
            EngineError::Foreign(_) => format!(
                "take over what is there: {} --adopt; or delete or rename it, or give the stage another name in infra/stages",
                scope.command("deploy")
            ),
            EngineError::Record(_) => format!("make it again from what exists: {}", scope.command("state rebuild")),
            EngineError::OtherEngine { engine, .. } => {
                let other = match engine {
                    EngineName::Direct => EngineName::CloudFormation,
                    EngineName::CloudFormation => EngineName::Direct,
                };
                format!(
                    "go on with that engine: {} --engine {engine}; or move the stage: {} --to {other}",
                    scope.command("deploy"),
                    scope.command("migrate")
                )
            }
            EngineError::NothingBefore => format!(
                "check out the revision that worked, and deploy it: {}",
                scope.command("deploy")
            ),
            _ => format!("run it again: {}", scope.again()),
        };
        Self::new(doing).because(error).help(help)
    }
}

/// Which stage at which endpoint a call was for; hints need it.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Name of the stage.
    pub(crate) stage: String,
    /// Endpoint of all services, where it is not AWS's own.
    pub(crate) endpoint: Option<String>,
    /// The command that goes on with what failed.
    pub(crate) again: &'static str,
}

impl Scope {
    /// Returns a complete command line for this stage.
    pub(crate) fn command(&self, command: &str) -> String {
        format!("cargo xtask {command} --stage {}", self.stage)
    }

    /// Returns the complete command line that goes on with what failed.
    pub(crate) fn again(&self) -> String {
        self.command(self.again)
    }

    /// Names another command that goes on with what failed.
    pub(crate) fn with_again(self, again: &'static str) -> Self {
        Self { again, ..self }
    }
}

/// How to get credentials.
const SIGN_IN: &str = "sign in with `aws sso login` or `aws configure` and choose with --profile NAME or AWS_PROFILE, or set \
     AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; without an account: cargo xtask dev";

/// Returns what helps against an error.
pub(crate) fn help_for(error: &CloudError, scope: &Scope) -> String {
    match error.class {
        Class::Unreachable => match &scope.endpoint {
            Some(endpoint) => format!("nobody answers at {endpoint}; start a local cloud with: cargo xtask local"),
            None => "check the network, and the Region: cargo xtask … --region REGION".to_owned(),
        },
        Class::Unauthenticated => SIGN_IN.to_owned(),
        Class::Denied => format!(
            "ask for the permission {} for these credentials, then run it again: {}",
            error.operation,
            scope.again()
        ),
        Class::Quota => format!(
            "raise the quota in the Service Quotas console or delete what is unused, then: {}",
            scope.again()
        ),
        Class::Throttled | Class::Busy | Class::Propagating | Class::Transient => {
            format!("run it again, it continues where it stopped: {}", scope.again())
        }
        Class::Permanent => format!("see what differs: {}", scope.command("diff")),
    }
}
