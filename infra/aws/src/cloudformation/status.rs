//! What the status of a stack allows. All of CloudFormation's statuses are in one table, each way out is named once.

/// What can be done with a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can be updated.
    Settled,
    /// Something is being done to it.
    Busy,
    /// A change set was made for its creation and never executed: there is nothing in it.
    InReview,
    /// Its creation failed: it can only be deleted.
    FailedCreation,
    /// A change failed and was left as it was: it can be rolled back.
    FailedUpdate,
    /// A change failed, and its rollback too: that can be continued.
    FailedRollback,
    /// Its deletion failed: it can be deleted again.
    FailedDeletion,
    /// An import failed, and its rollback too: only the stack can be deleted, without its resources.
    FailedImport,
    /// CloudFormation knows a status that this program does not.
    Unknown,
}

impl Standing {
    /// Returns what a status allows (CloudFormation User Guide, "Stack status codes").
    #[must_use]
    pub fn of(status: &str) -> Self {
        match status {
            "CREATE_COMPLETE"
            | "UPDATE_COMPLETE"
            | "UPDATE_ROLLBACK_COMPLETE"
            | "IMPORT_COMPLETE"
            | "IMPORT_ROLLBACK_COMPLETE" => Self::Settled,
            "REVIEW_IN_PROGRESS" => Self::InReview,
            "CREATE_FAILED" | "ROLLBACK_COMPLETE" | "ROLLBACK_FAILED" => Self::FailedCreation,
            "UPDATE_FAILED" => Self::FailedUpdate,
            "UPDATE_ROLLBACK_FAILED" => Self::FailedRollback,
            "DELETE_FAILED" => Self::FailedDeletion,
            "IMPORT_ROLLBACK_FAILED" => Self::FailedImport,
            busy if busy.ends_with("_IN_PROGRESS") => Self::Busy,
            _ => Self::Unknown,
        }
    }

    /// Returns the command that leads out, as the command line has it; `None` where nothing is wrong.
    #[must_use]
    pub const fn way_out(self) -> Option<&'static str> {
        match self {
            Self::Settled | Self::Busy | Self::Unknown => None,
            Self::InReview => Some("deploy"),
            Self::FailedCreation | Self::FailedDeletion => Some("destroy"),
            Self::FailedImport => Some("migrate --to cloudformation"),
            Self::FailedUpdate | Self::FailedRollback => Some("deploy --rollback"),
        }
    }

    /// Returns what is the matter, to be put after the stack's name.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Settled => "is settled",
            Self::Busy => "is being changed",
            Self::InReview => "was proposed and never executed: there is nothing in it yet",
            Self::FailedCreation => "could not be created, and CloudFormation can only delete it",
            Self::FailedUpdate => "could not be changed, and was left as it was then",
            Self::FailedRollback => "could not be changed, and could not be rolled back either",
            Self::FailedDeletion => "could not be deleted",
            Self::FailedImport => "could not import resources, and could not let them go again either",
            Self::Unknown => "is in a state that this program does not know",
        }
    }
}
