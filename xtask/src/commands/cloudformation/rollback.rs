//! `cargo xtask rollback` and `deploy --rollback` of a stage that CloudFormation deploys.

use std::collections::BTreeMap;

use infra_aws::{StackOptions, Standing};
use infra_engine::Report;

use super::Site;
use crate::commands::{deploy, outputs};
use crate::failure::{Exit, Failure};

impl Site<'_> {
    /// Gives the stack the template that it had before its last deployment. Nobody is asked: it is for those in a hurry,
    /// and the next deployment undoes it; but nothing that is stored is lost.
    ///
    /// # Errors
    /// When there is no way back. Failed steps are shown, and end with [`Exit::Failed`].
    pub(crate) async fn roll_back(&self) -> Result<Exit, Failure> {
        let Some(stack) = self.settled(true).await? else {
            return Err(outputs::not_deployed(self.target));
        };
        let current = self.stack.template().await;
        let current = current.map_err(|error| self.cloud("the stack's template cannot be read", error))?;
        let before = self.bucket.read(&self.before_key(&current)).await;
        let before = before.map_err(|error| self.cloud("the template of before cannot be read", error))?;
        let before = before.and_then(|bytes| String::from_utf8(bytes.into()).ok());
        let Some(before) = before else {
            return Err(self.failed("there is no earlier template of this stack").help(format!(
                "check out the revision that worked, and deploy it: {}",
                self.target.scope().command("deploy")
            )));
        };
        let names = self.names(&BTreeMap::new());
        let proposition = self
            .propose_template(before, names, Some(stack), StackOptions::default())
            .await?;
        self.progress.planned(&proposition.plan);
        deploy::show(self.target, &proposition.plan);
        if proposition.plan.data_losses().next().is_some() {
            self.withdraw(&proposition).await?;
            return Err(self
                .failed("what is stored in tables would be lost; nothing was changed")
                .help(format!("see what differs: {}", self.target.scope().command("diff"))));
        }
        let ended = self.execute(&proposition).await?;
        let report = Report {
            done: ended.done,
            failed: ended.failed,
            skipped: ended.skipped,
            ..Report::default()
        };
        self.conclude(&proposition.plan, report).await
    }

    /// Ends what CloudFormation could not: a rollback that failed, or one that never was.
    ///
    /// # Errors
    /// When CloudFormation refuses. What fails again is shown, and ends with [`Exit::Failed`].
    pub(crate) async fn undo(&self) -> Result<Exit, Failure> {
        let Some(stack) = self.read().await? else {
            return Err(outputs::not_deployed(self.target));
        };
        let standing = stack.standing();
        match standing {
            Standing::FailedRollback | Standing::FailedUpdate => {}
            Standing::Settled | Standing::Busy | Standing::InReview => {
                return self.nothing_to_do(format!(
                    "The stack {} is {}: CloudFormation undoes a failed deployment by itself. To go back to the template \
                     of before: {}",
                    self.stack.name(),
                    stack.status,
                    self.target.scope().command("rollback")
                ));
            }
            Standing::FailedCreation | Standing::FailedDeletion | Standing::FailedImport | Standing::Unknown => {
                return Err(self.stuck(&stack).await);
            }
        }
        let follow = self.follow(&stack.id, self.names(&BTreeMap::new())).await?;
        let begun = self.stack.roll_back(standing).await;
        begun.map_err(|error| self.cloud("the stack cannot be rolled back", error))?;
        let ended = self.watch(follow).await?;
        let is_back = ended.standing() == Standing::Settled;
        let report = Report {
            done: ended.done,
            failed: if is_back { Vec::new() } else { ended.failed },
            skipped: if is_back { Vec::new() } else { ended.skipped },
            ..Report::default()
        };
        self.conclude(&infra_engine::Plan::default(), report).await
    }
}
