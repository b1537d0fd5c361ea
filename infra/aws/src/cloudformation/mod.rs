//! A stack at CloudFormation: what it is, and what can be done with it.
//!
//! Nothing here decides whether a change is wanted: [`CloudFormation::propose`] makes a change set and returns it as a
//! [`Plan`](infra_engine::Plan), [`CloudFormation::execute`] lets CloudFormation do it, and [`Follow`] tells what happens
//! as the engine tells it of its own steps. Sources: CloudFormation API Reference, and the User Guide's pages "Stack
//! status codes" and "Troubleshooting CloudFormation".
//!
//! Read next: [`status`] for what a stack's status allows, [`change_set`] for how changes are proposed, [`plan`] for how they
//! are read.

mod change_set;
mod follow;
mod import;
mod names;
mod plan;
mod removal;
mod status;

use std::collections::BTreeMap;

use aws_sdk_cloudformation::types::{DeploymentConfig, DeploymentConfigMode, TemplateStage};
use infra_cdk::{APP_TAG, STAGE_TAG, StackId};
use infra_engine::{Class, CloudError};

use crate::Session;
use crate::error::refused;
use crate::repeat::repeated;
use crate::throttle::Service;

pub use self::change_set::{ChangeSet, Imported, Options, Proposal, Proposed, Purpose, Template};
pub use self::follow::{Ended, Follow, Happening};
pub use self::names::Names;
pub use self::removal::removal;
pub use self::status::Standing;

/// One stage's stack.
#[derive(Clone, Debug)]
pub struct CloudFormation {
    session: Session,
    stack: StackId,
    name: String,
}

/// A stack as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct StackInfo {
    /// Its ARN: leads to it even when it is deleted.
    pub id: String,
    /// Its status, in CloudFormation's words.
    pub status: String,
    /// Why, where CloudFormation says so.
    pub reason: Option<String>,
    /// What it tells its users.
    pub outputs: BTreeMap<String, String>,
}

impl StackInfo {
    /// Returns what the status allows.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::of(&self.status)
    }
}

/// One resource of a stack.
#[derive(Clone, Debug, PartialEq)]
pub struct StackResource {
    /// Its name in the template.
    pub name: String,
    /// Its type, in CloudFormation's words.
    pub kind: String,
    /// What CloudFormation knows it by.
    pub physical_id: Option<String>,
    /// Its status, in CloudFormation's words.
    pub status: String,
    /// Why, where CloudFormation says so.
    pub reason: Option<String>,
}

impl StackResource {
    /// Returns whether something went wrong with it, and not only because of another one.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.status.ends_with("_FAILED") && !self.reason.as_deref().is_some_and(follow::is_cascade)
    }
}

impl CloudFormation {
    /// Returns the stack of a stage: `chat-dev`. Makes no call.
    #[must_use]
    pub fn new(session: Session, stack: &StackId) -> Self {
        Self {
            session,
            name: format!("{}-{}", stack.app, stack.stage),
            stack: stack.clone(),
        }
    }

    /// Returns the stack's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the stack; `None` when there is none of its name, or a deleted one.
    ///
    /// # Errors
    /// When it cannot be read, or carries another stage's tags.
    pub async fn read(&self) -> Result<Option<StackInfo>, CloudError> {
        self.read_as(&self.name).await
    }

    /// As [`CloudFormation::read`], by name or ARN.
    async fn read_as(&self, name_or_id: &str) -> Result<Option<StackInfo>, CloudError> {
        let answer = repeated(|| {
            let call = self.session.cloudformation().describe_stacks().stack_name(name_or_id);
            self.session
                .sdk(Service::CloudFormation, "cloudformation:DescribeStacks", call.send())
        })
        .await;
        let stacks = match answer {
            Ok(answer) => answer.stacks.unwrap_or_default(),
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(stack) = stacks.into_iter().next() else {
            return Ok(None);
        };
        let status = stack
            .stack_status
            .as_ref()
            .map_or("", |status| status.as_str())
            .to_owned();
        if status == "DELETE_COMPLETE" {
            return Ok(None);
        }
        let tag = |name: &str| {
            let mut tags = stack.tags.iter().flatten();
            tags.find(|tag| tag.key() == Some(name)).and_then(|tag| tag.value())
        };
        let found = (tag(APP_TAG), tag(STAGE_TAG));
        // A stack in review may have lost its tags: they belong to its change set.
        if found != (Some(&self.stack.app), Some(&self.stack.stage)) && Standing::of(&status) != Standing::InReview {
            let message = format!("the stack {} exists and carries no tags of {}", self.name, self.stack);
            return Err(refused("cloudformation:DescribeStacks", Class::Permanent, message));
        }
        let outputs = stack.outputs.unwrap_or_default().into_iter();
        Ok(Some(StackInfo {
            id: stack.stack_id.unwrap_or_else(|| self.name.clone()),
            status,
            reason: stack.stack_status_reason,
            outputs: outputs
                .filter_map(|output| Some((output.output_key?, output.output_value?)))
                .collect(),
        }))
    }

    /// Returns the resources of the stack.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn resources(&self) -> Result<Vec<StackResource>, CloudError> {
        let mut resources = Vec::new();
        let mut next_token = None;
        loop {
            let page = repeated(|| {
                let client = self.session.cloudformation();
                let call = client
                    .list_stack_resources()
                    .stack_name(&self.name)
                    .set_next_token(next_token.clone());
                self.session.sdk(
                    Service::CloudFormation,
                    "cloudformation:ListStackResources",
                    call.send(),
                )
            })
            .await?;
            let summaries = page.stack_resource_summaries.unwrap_or_default().into_iter();
            resources.extend(summaries.map(|summary| {
                StackResource {
                    name: summary.logical_resource_id.unwrap_or_default(),
                    kind: summary.resource_type.unwrap_or_default(),
                    physical_id: summary.physical_resource_id.filter(|id| !id.is_empty()),
                    status: summary
                        .resource_status
                        .map_or_else(String::new, |status| status.as_str().to_owned()),
                    reason: summary.resource_status_reason,
                }
            }));
            next_token = page.next_token;
            if next_token.is_none() {
                return Ok(resources);
            }
        }
    }

    /// Returns the template of the stack, as it was handed in.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn template(&self) -> Result<String, CloudError> {
        let answer = repeated(|| {
            let client = self.session.cloudformation();
            let call = client
                .get_template()
                .stack_name(&self.name)
                .template_stage(TemplateStage::Original);
            self.session
                .sdk(Service::CloudFormation, "cloudformation:GetTemplate", call.send())
        })
        .await?;
        answer.template_body.ok_or_else(|| {
            let message = format!("the answer has no template of {}", self.name);
            refused("cloudformation:GetTemplate", Class::Permanent, message)
        })
    }

    /// Begins to delete a stack, by its ARN. Repeating it does no harm.
    ///
    /// # Errors
    /// When CloudFormation refuses, as for a stack with termination protection.
    pub async fn delete(&self, id: &str) -> Result<(), CloudError> {
        repeated(|| {
            let client = self.session.cloudformation();
            let call = client.delete_stack().stack_name(id);
            self.session
                .sdk(Service::CloudFormation, "cloudformation:DeleteStack", call.send())
        })
        .await
        .map(drop)
    }

    /// Begins to bring a stack back whose rollback has failed, or whose failed operation was not rolled back.
    ///
    /// # Errors
    /// When CloudFormation refuses: the stack is in another state.
    pub async fn roll_back(&self, standing: Standing) -> Result<(), CloudError> {
        let client = self.session.cloudformation();
        if standing == Standing::FailedRollback {
            repeated(|| {
                let call = client.continue_update_rollback().stack_name(&self.name);
                self.session.sdk(
                    Service::CloudFormation,
                    "cloudformation:ContinueUpdateRollback",
                    call.send(),
                )
            })
            .await
            .map(drop)
        } else {
            repeated(|| {
                let call = client
                    .rollback_stack()
                    .stack_name(&self.name)
                    .retain_except_on_create(true);
                self.session
                    .sdk(Service::CloudFormation, "cloudformation:RollbackStack", call.send())
            })
            .await
            .map(drop)
        }
    }
}

/// Returns the setting for express mode (CloudFormation User Guide, "Express mode").
fn express() -> DeploymentConfig {
    DeploymentConfig::builder().mode(DeploymentConfigMode::Express).build()
}

/// Returns whether an error says that there is no such stack: CloudFormation calls that a wrong parameter.
fn is_absent(error: &CloudError) -> bool {
    error.code == "ValidationError" && error.message.contains("does not exist")
}

#[cfg(test)]
mod tests;
