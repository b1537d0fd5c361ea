//! `cargo xtask destroy` of a stage that CloudFormation deploys.

use std::collections::BTreeMap;

use infra_aws::{Standing, removal};
use infra_cdk::retained_names;
use infra_engine::{Packages, Plan};
use serde_json::Value as Json;

use super::Site;
use super::deploy::together;
use crate::cli::Destroy;
use crate::commands::deploy::{self, Done};
use crate::commands::destroy::{kept, say_kept};
use crate::failure::{Exit, Failure};
use crate::ui;

impl Site<'_> {
    /// Deletes the stack, then what was made beside it.
    ///
    /// # Errors
    /// Why nothing was deleted. What could not be deleted is shown, and ends with [`Exit::Failed`].
    pub(crate) async fn destroy(&self, options: &Destroy) -> Result<Exit, Failure> {
        let names = self.names(&BTreeMap::new());
        let outside = self.outside()?;
        let engine = self.beside();
        let scope = self.target.scope().with_again("destroy");
        let beside = engine.plan_destroy(&outside).await.map_err(|error| {
            Failure::engine(
                format!("{} cannot be planned", self.target.graph.stack()),
                error,
                &scope,
            )
        })?;
        let stack = match self.read().await? {
            Some(stack) if stack.standing() == Standing::Busy => self.settled(!options.no_wait).await?,
            stack => stack,
        };
        let of_stack = match &stack {
            None => Plan::default(),
            Some(_) => {
                let resources = self.stack.resources().await;
                let resources = resources.map_err(|error| self.cloud("the stack's resources cannot be read", error))?;
                let retained = match self.stack.template().await {
                    Ok(template) => retained_names(&template).unwrap_or_default(),
                    // A stack in review may have none.
                    Err(_) if resources.is_empty() => Default::default(),
                    Err(error) => return Err(self.cloud("the stack's template cannot be read", error)),
                };
                removal(&resources, &retained, &names)
            }
        };
        let plan = together(&beside.plan, of_stack);
        self.progress.planned(&plan);
        deploy::show(self.target, &plan);
        if plan.data_losses().next().is_some() {
            deploy::confirm_losses(self.app, &plan).await?;
        } else if !self.app.global.yes {
            deploy::ask(self.app, &format!("Delete {}?", self.target.graph.stack())).await?;
        }
        let ended = match &stack {
            None => None,
            Some(stack) => {
                let follow = self.follow(&stack.id, names).await?;
                let deleting = self.stack.delete(&stack.id).await;
                deleting.map_err(|error| self.cloud("the stack cannot be deleted", error))?;
                Some(self.watch(follow).await?)
            }
        };
        let is_gone = ended.as_ref().is_none_or(infra_aws::Ended::is_well);
        let mut report = if is_gone {
            let observer = |event| self.progress.show(&event);
            engine
                .apply(&outside, &Packages::new(), beside, self.app.interrupt.flag(), &observer)
                .await
                .map_err(|error| Failure::engine("what was made beside the stack is still there", error, &scope))?
        } else {
            infra_engine::Report::default()
        };
        if let Some(ended) = ended {
            report.done.extend(ended.done);
            report.failed.extend(ended.failed);
            report.skipped.extend(ended.skipped);
        }
        self.progress.finish();
        self.say_failures(&report);
        if is_gone && report.failed.is_empty() {
            say_kept(&kept(&plan));
            ui::say(format!("{}: destroyed", self.target.graph.stack()));
        } else if let Some(info) = self.read().await? {
            ui::report(self.stuck(&info).await);
        }
        let done = Done::new(&plan, report, None);
        let mut result = done.json(self.target, &self.session);
        result["outputs"] = Json::Null;
        self.progress.result(result)?;
        Ok(match is_gone {
            true => done.exit(),
            false => Exit::Failed,
        })
    }
}
