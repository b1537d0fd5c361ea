//! `cargo xtask deploy` and `diff` of a stage that CloudFormation deploys.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use infra_aws::{
    Asset, ChangeSet, Ended, FollowStack, Names, Proposal, Proposed, Purpose, StackInfo, StackOptions, Standing,
};
use infra_cdk::{Difference, Graph, differences};
use infra_engine::{Packages, Plan, Prepared, Report};
use serde_json::json;

use super::{Site, digest, outputs};
use crate::cli::{CloudFormationOptions, Deploy};
use crate::commands::deploy::{self, Done};
use crate::commands::diff;
use crate::failure::{Exit, Failure, help_for};
use crate::plan_view;
use crate::ui::{self, DIM, GREEN, RED, paint};

/// A change that CloudFormation has agreed to make.
pub(super) struct Proposition {
    purpose: Purpose,
    /// `None` when the stack is as it shall be.
    changes: Option<ChangeSet>,
    /// The stack's changes, after those beside it.
    pub(super) plan: Plan,
    /// The template that the stack has now.
    before: Option<String>,
    text: String,
    names: Names,
}

impl Site<'_> {
    /// Deploys everything.
    ///
    /// # Errors
    /// Why nothing was changed. Failed steps are shown, and end with [`Exit::Failed`].
    pub(crate) async fn deploy(&self, packages: &Packages, options: &Deploy) -> Result<Exit, Failure> {
        if let Some(function) = options.functions.first() {
            return Err(
                Failure::usage(format!("CloudFormation deploys whole stacks, not `{function}` alone"))
                    .help(format!("deploy everything: {}", self.target.scope().command("deploy"))),
            );
        }
        let outside = self.outside()?;
        let beside = self.plan_beside(&outside, options.no_wait).await?;
        let how = stack_options(&options.cloudformation, options.adopt);
        let proposing = self.propose(packages, how, !options.no_wait);
        let mut proposition = self.app.interrupt.or(Box::pin(proposing)).await?;
        proposition.plan = together(&beside.plan, proposition.plan);
        if options.dry_run {
            self.progress.finish();
            let outputs = self.known_outputs().await?;
            diff::show(self.app, self.target, &proposition.plan, &outputs)?;
            self.withdraw(&proposition).await?;
            return Ok(Exit::Ok);
        }
        self.progress.planned(&proposition.plan);
        ui::say(format!(
            "{} as stack {}\n\n{}\n",
            deploy::heading(self.target),
            self.stack.name(),
            plan_view::human(&proposition.plan)
        ));
        if let Err(refusal) = self.agree(&proposition, options).await {
            self.withdraw(&proposition).await?;
            return Err(refusal);
        }
        let beside = async {
            if proposition.changes.is_some() {
                self.app.interrupt.or(self.upload(packages)).await?;
            }
            self.apply_beside(&outside, beside).await
        };
        let mut report = match beside.await {
            Ok(report) => report,
            Err(failure) => return Err(self.unchanged_by(failure, &proposition).await),
        };
        if report.failed.is_empty() && report.skipped.is_empty() {
            let ended = Box::pin(self.execute(&proposition)).await?;
            report.done.extend(ended.done);
            report.failed.extend(ended.failed);
            report.skipped.extend(ended.skipped);
        } else {
            self.withdraw(&proposition).await?;
        }
        self.conclude(&proposition.plan, report).await
    }

    /// Returns what a deployment would change; drops the change set again.
    ///
    /// # Errors
    /// What is wrong with the template, or with the stack.
    pub(crate) async fn plan(&self, packages: &Packages, revert_drift: bool) -> Result<Plan, Failure> {
        let outside = self.outside()?;
        let beside = self.plan_beside(&outside, false).await?;
        let how = StackOptions {
            revert_drift,
            ..StackOptions::default()
        };
        let proposition = self.propose(packages, how, true).await?;
        self.withdraw(&proposition).await?;
        Ok(together(&beside.plan, proposition.plan))
    }

    /// Plans what CloudFormation cannot make; refuses a stage of the direct engine.
    async fn plan_beside(&self, outside: &Graph, no_wait: bool) -> Result<Prepared, Failure> {
        let mut engine = self.beside();
        if no_wait {
            engine = engine.without_waiting();
        }
        let prepared = engine.plan_deploy(outside, &Packages::new()).await;
        prepared.map_err(|error| {
            let doing = format!("{} cannot be deployed by CloudFormation", self.target.graph.stack());
            Failure::engine(doing, error, &self.target.scope())
        })
    }

    async fn apply_beside(&self, outside: &Graph, beside: Prepared) -> Result<Report, Failure> {
        let observer = |event| self.progress.show(&event);
        let interrupted: &AtomicBool = self.app.interrupt.flag();
        self.beside()
            .apply(outside, &Packages::new(), beside, interrupted, &observer)
            .await
            .map_err(|error| {
                let doing = format!("{} was not changed", self.target.graph.stack());
                Failure::engine(doing, error, &self.target.scope())
            })
    }

    /// Lets CloudFormation say what the template would change.
    async fn propose(&self, packages: &Packages, how: StackOptions, waits: bool) -> Result<Proposition, Failure> {
        let synthesised = self.synthesise(packages)?;
        let stack = self.settled(waits).await?;
        self.propose_template(synthesised.text, synthesised.names, stack, how)
            .await
    }

    /// As above, for any template.
    pub(super) async fn propose_template(
        &self,
        text: String,
        names: Names,
        stack: Option<StackInfo>,
        how: StackOptions,
    ) -> Result<Proposition, Failure> {
        let exists = stack.is_some_and(|stack| stack.standing() == Standing::Settled);
        let (purpose, before) = if exists {
            let before = self.stack.template().await;
            let before = before.map_err(|error| self.cloud("the stack's template cannot be read", error))?;
            (Purpose::Update, Some(before))
        } else {
            (Purpose::Create, None)
        };
        // As CloudFormation would say, only sooner: it compares templates, too.
        if before
            .as_ref()
            .is_some_and(|before| before.trim_end() == text.trim_end())
            && !how.revert_drift
        {
            return Ok(Proposition {
                purpose,
                changes: None,
                plan: self.unchanged(&names),
                before,
                text,
                names,
            });
        }
        let template = self.deliver(&text).await?;
        let proposal = Proposal {
            template: &template,
            purpose: purpose.clone(),
            bucket: self.bucket.name(),
            options: how,
        };
        let refused = |error| {
            self.cloud(
                format!("CloudFormation does not take the stack {}", self.stack.name()),
                error,
            )
        };
        let proposed = self.stack.propose(&proposal).await.map_err(refused)?;
        let (changes, plan) = match proposed {
            Proposed::NoChanges => (None, self.unchanged(&names)),
            Proposed::Changes(changes) => {
                let differences = self.differences(before.as_deref(), &text)?;
                let plan = changes
                    .plan(&self.target.graph, &names, &differences)
                    .map_err(refused)?;
                (Some(changes), plan)
            }
        };
        Ok(Proposition {
            purpose,
            changes,
            plan,
            before,
            text,
            names,
        })
    }

    /// Returns what two templates of the stack say differently.
    pub(crate) fn differences(
        &self,
        before: Option<&str>,
        after: &str,
    ) -> Result<BTreeMap<String, Vec<Difference>>, Failure> {
        let Some(before) = before else {
            return Ok(BTreeMap::new());
        };
        differences(before, after).map_err(|error| self.failed("the stack's template cannot be read").because(error))
    }

    fn unchanged(&self, names: &Names) -> Plan {
        Plan {
            steps: Vec::new(),
            unchanged: names.resources().cloned().collect(),
        }
    }

    pub(super) async fn withdraw(&self, proposition: &Proposition) -> Result<(), Failure> {
        match &proposition.changes {
            Some(changes) => self
                .stack
                .withdraw(changes, &proposition.purpose)
                .await
                .map_err(|error| self.cloud("the change set was not executed, and cannot be deleted", error)),
            None => Ok(()),
        }
    }

    /// Refuses to lose data, and asks whether to go on.
    async fn agree(&self, proposition: &Proposition, options: &Deploy) -> Result<(), Failure> {
        deploy::refuse_losses(&proposition.plan, self.target, options)?;
        if proposition.plan.is_empty() || self.app.global.yes {
            return Ok(());
        }
        if proposition.plan.data_losses().next().is_some() {
            return deploy::confirm_losses(self.app, &proposition.plan).await;
        }
        deploy::ask(self.app, "Execute this change set?").await
    }

    /// Lets CloudFormation do what was proposed, and keeps the template of before for a rollback.
    ///
    /// # Errors
    /// Why nothing was changed; after Ctrl-C, whether CloudFormation goes on.
    pub(super) async fn execute(&self, proposition: &Proposition) -> Result<Ended, Failure> {
        let Some(changes) = &proposition.changes else {
            return Ok(Ended::default());
        };
        let preparing = self.app.interrupt.or(self.prepare(proposition, changes));
        let follow = match preparing.await {
            Ok(follow) => follow,
            Err(failure) => return Err(self.unchanged_by(failure, proposition).await),
        };
        self.stack
            .execute(changes, &proposition.purpose)
            .await
            .map_err(|error| self.cloud("the change set cannot be executed", error))?;
        self.watch(follow).await
    }

    async fn prepare(&self, proposition: &Proposition, changes: &ChangeSet) -> Result<FollowStack, Failure> {
        if let Some(before) = &proposition.before {
            let asset = Asset {
                key: self.before_key(&proposition.text),
                content: Bytes::from(before.clone()),
            };
            let kept = self.bucket.write(&asset).await;
            kept.map_err(|error| self.cloud("the template of before cannot be kept; nothing was changed", error))?;
        }
        self.follow(&changes.stack_id, proposition.names.clone()).await
    }

    /// Drops what was proposed since something came between, and returns that.
    async fn unchanged_by(&self, failure: Failure, proposition: &Proposition) -> Failure {
        // Why it was not executed matters more than what is left of it.
        let _ = self.withdraw(proposition).await;
        failure.when_interrupted(format!(
            "interrupted; the stack {} was not changed. To deploy: {}",
            self.stack.name(),
            self.target.scope().again()
        ))
    }

    /// Returns where the template is kept that the stack had before it got another one.
    pub(super) fn before_key(&self, template: &str) -> String {
        let stack = self.target.graph.stack();
        format!("{}/{}/before-{}.yaml", stack.app, stack.stage, digest(template))
    }

    /// Says how it ended.
    pub(super) async fn conclude(&self, plan: &Plan, report: Report) -> Result<Exit, Failure> {
        let elapsed = ui::duration(self.progress.finish());
        let scope = self.target.scope();
        let stack = self.target.graph.stack();
        let ended_well = report.failed.is_empty() && report.skipped.is_empty() && !report.interrupted;
        self.say_failures(&report);
        let (style, text) = if !ended_well {
            let (failed, skipped) = (report.failed.len(), report.skipped.len());
            (RED, format!("{failed} failed, {skipped} given up, after {elapsed}"))
        } else if report.done.is_empty() {
            (DIM, "nothing to change".to_owned())
        } else {
            (GREEN, format!("{} done in {elapsed}", report.done.len()))
        };
        ui::say(paint(style, format_args!("{stack}: {text}")));
        if !ended_well && let Some(info) = self.read().await? {
            match info.standing().way_out() {
                Some(_) => ui::report(self.stuck(&info).await),
                None => ui::say(format!(
                    "The stack {} is {}. Correct it, then: {}",
                    self.stack.name(),
                    info.status,
                    scope.command("deploy")
                )),
            }
        }
        let outputs = match ended_well {
            true => Some(outputs(self.target, &self.session).await?),
            false => None,
        };
        let done = Done::new(plan, report, outputs);
        self.progress.result(done.json(self.target, &self.session))?;
        if let Some(outputs) = done.outputs.as_ref().filter(|_| !self.app.wants_json()) {
            ui::data(outputs.human())?;
        }
        Ok(done.exit())
    }

    /// Shows what failed first; the rest follows from it more often than not, and stands above.
    pub(super) fn say_failures(&self, report: &Report) {
        let Some((id, action, error)) = report.failed.first() else {
            return;
        };
        let others = match report.failed.len() - 1 {
            0 => String::new(),
            1 => "; another one failed, see above".to_owned(),
            others => format!("; {others} others failed, see above"),
        };
        ui::report(
            Failure::new(format!("{action} {id} failed first{others}"))
                .because(error.clone())
                .help(help_for(error, &self.target.scope())),
        );
    }

    /// Ends without anything to do.
    pub(super) fn nothing_to_do(&self, why: String) -> Result<Exit, Failure> {
        ui::say(why);
        self.progress
            .result(json!({ "stack": self.target.graph.stack().to_string(), "changed": [] }))?;
        Ok(Exit::Ok)
    }
}

/// Returns one plan of what is done beside the stack and what is done by it.
pub(super) fn together(beside: &Plan, stack: Plan) -> Plan {
    let mut plan = beside.clone();
    plan.steps.extend(stack.steps);
    plan.unchanged.extend(stack.unchanged);
    plan
}

fn stack_options(options: &CloudFormationOptions, adopt: bool) -> StackOptions {
    StackOptions {
        express: options.express,
        skip_validation: options.no_validation,
        revert_drift: options.revert_drift,
        adopt,
    }
}
