//! Change sets: made, executed or withdrawn. `plan` reads them.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_cloudformation::operation::describe_change_set::DescribeChangeSetOutput;
use aws_sdk_cloudformation::types::{
    Capability, Change as StackChange, ChangeSetStatus, ChangeSetType, DeploymentMode, EventFilter, ExecutionStatus,
    OnStackFailure, Parameter, ResourceChange, ResourceToImport, Tag,
};
use infra_cdk::{APP_TAG, ASSET_BUCKET, STAGE_TAG};
use infra_engine::{Class, CloudError};
use uuid::Uuid;

use super::{CloudFormation, Standing, express};
use crate::error::refused;
use crate::repeat::repeated;
use crate::throttle::Service;

/// Pause between two looks at a change set that is being made.
const PAUSE: Duration = Duration::from_secs(1);
/// The same behind an endpoint override, where nobody counts calls.
const PAUSE_ELSEWHERE: Duration = Duration::from_millis(100);

/// What is to become of a stack.
#[derive(Clone, Debug)]
pub struct Proposal<'a> {
    /// The template, or where it is.
    pub template: &'a Template,
    /// What for.
    pub purpose: Purpose,
    /// The bucket of the packages.
    pub bucket: &'a str,
    /// How.
    pub options: Options,
}

/// Where a template is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Template {
    /// Here.
    Inline(String),
    /// In the asset bucket, at this address.
    Uploaded(String),
}

impl Template {
    /// Returns its text or its address, as CloudFormation's calls take it.
    pub(super) fn parts(&self) -> (Option<String>, Option<String>) {
        match self {
            Self::Inline(body) => (Some(body.clone()), None),
            Self::Uploaded(url) => (None, Some(url.clone())),
        }
    }
}

/// What a change set is for.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// To make a stack that does not exist yet.
    Create,
    /// To change one that does.
    Update,
    /// To make a stack of resources that exist.
    Import(Vec<Imported>),
}

/// A resource that exists, to be imported.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Its name in the template.
    pub name: String,
    /// Its type, in CloudFormation's words.
    pub kind: String,
    /// The properties that identify it, and their values.
    pub identifier: BTreeMap<String, String>,
}

/// What CloudFormation offers beside its usual ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Express mode: done when every change has been accepted, without waiting until resources are ready.
    pub express: bool,
    /// Do without the validation before deployment, which is on by default.
    pub skip_validation: bool,
    /// Bring changes made by hand back to the template (drift-aware change set).
    pub revert_drift: bool,
    /// Take over what exists under the names of the template and belongs to no stack.
    pub adopt: bool,
}

/// What CloudFormation makes of a proposal.
#[derive(Clone, Debug)]
pub enum Proposed {
    /// The stack is as proposed.
    NoChanges,
    /// It would be changed.
    Changes(ChangeSet),
}

/// A change set that can be executed.
#[derive(Clone, Debug)]
pub struct ChangeSet {
    /// ARN of the change set.
    pub id: String,
    /// ARN of its stack, which a proposal to create has made, without resources.
    pub stack_id: String,
    pub(super) changes: Vec<ResourceChange>,
}

impl CloudFormation {
    /// Makes a change set and waits until CloudFormation knows what it would do. No resource is changed.
    ///
    /// # Errors
    /// What is wrong with the template, or with the stack.
    pub async fn propose(&self, proposal: &Proposal<'_>) -> Result<Proposed, CloudError> {
        let name = format!("stackwright-{}", Uuid::new_v4());
        let Proposal {
            template,
            purpose,
            bucket,
            options,
        } = proposal;
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let (body, url) = template.parts();
        let (kind, on_failure) = match purpose {
            // What failed to be made leaves nothing behind, not even a stack that could only be deleted.
            Purpose::Create => (ChangeSetType::Create, Some(OnStackFailure::Delete)),
            Purpose::Update => (ChangeSetType::Update, None),
            Purpose::Import(_) => (ChangeSetType::Import, None),
        };
        let made = repeated(|| {
            let client = self.session.cloudformation();
            let parameter = Parameter::builder()
                .parameter_key(ASSET_BUCKET)
                .parameter_value(*bucket);
            let call = client
                .create_change_set()
                .stack_name(&self.name)
                .change_set_name(&name)
                .client_token(&name)
                .change_set_type(kind.clone())
                .set_template_body(body.clone())
                .set_template_url(url.clone())
                .parameters(parameter.build())
                .capabilities(Capability::CapabilityNamedIam)
                .tags(tag(APP_TAG, &self.stack.app))
                .tags(tag(STAGE_TAG, &self.stack.stage))
                .set_on_stack_failure(on_failure.clone())
                .set_resources_to_import(resources_to_import(purpose))
                .set_import_existing_resources(options.adopt.then_some(true))
                .set_deployment_config(options.express.then(express))
                .set_deployment_mode(options.revert_drift.then_some(DeploymentMode::RevertDrift))
                .set_disable_validation(options.skip_validation.then_some(true));
            self.session
                .sdk(Service::CloudFormation, "cloudformation:CreateChangeSet", call.send())
        })
        .await;
        let (id, stack_id) = match made {
            Ok(made) => (made.id, made.stack_id),
            // Nobody else knows the name: the answer to an earlier attempt was lost.
            Err(error) if error.code == "AlreadyExistsException" => (None, None),
            Err(error) => return Err(error),
        };
        let described = self.described(id.as_deref().unwrap_or(&name)).await?;
        let mut change_set = ChangeSet {
            id: id.or(described.change_set_id.clone()).unwrap_or(name),
            stack_id: stack_id
                .or(described.stack_id.clone())
                .unwrap_or_else(|| self.name.clone()),
            changes: Vec::new(),
        };
        let reason = described.status_reason.clone().unwrap_or_default();
        match described.status {
            Some(ChangeSetStatus::CreateComplete) => {
                change_set.changes = self.all_changes(&change_set.id, described).await?;
                Ok(Proposed::Changes(change_set))
            }
            _ if is_no_change(&reason) => {
                self.withdraw(&change_set, purpose).await?;
                Ok(Proposed::NoChanges)
            }
            _ => {
                let message = match self.validation_failures(&change_set).await {
                    failures if failures.is_empty() => reason,
                    failures => format!("{reason}: {}", failures.join("; ")),
                };
                let error = refused("cloudformation:CreateChangeSet", Class::Permanent, message);
                // Why it failed matters more than what is left of it.
                let _ = self.withdraw(&change_set, purpose).await;
                Err(error)
            }
        }
    }

    /// Drops a change set, and the stack that only it has made.
    ///
    /// # Errors
    /// When CloudFormation refuses.
    pub async fn withdraw(&self, change_set: &ChangeSet, purpose: &Purpose) -> Result<(), CloudError> {
        repeated(|| {
            let client = self.session.cloudformation();
            let call = client
                .delete_change_set()
                .change_set_name(&change_set.id)
                .stack_name(&change_set.stack_id);
            self.session
                .sdk(Service::CloudFormation, "cloudformation:DeleteChangeSet", call.send())
        })
        .await?;
        match purpose {
            Purpose::Update => Ok(()),
            Purpose::Create | Purpose::Import(_) => match self.read_as(&change_set.stack_id).await? {
                Some(stack) if stack.standing() == Standing::InReview => self.delete(&change_set.stack_id).await,
                // Somebody has executed another change set meanwhile, and the stack holds what that made; or it is gone.
                Some(_) | None => Ok(()),
            },
        }
    }

    /// Begins to do what a change set says.
    ///
    /// # Errors
    /// When CloudFormation refuses: something else happened to the stack since.
    pub async fn execute(&self, change_set: &ChangeSet, purpose: &Purpose) -> Result<(), CloudError> {
        let token = Uuid::new_v4().to_string();
        // Of what is new, nothing stays after a rollback, whatever its deletion policy: it holds no data yet, and its name
        // would be taken at the next attempt. An import makes nothing, and must not delete anything.
        let retains = match purpose {
            Purpose::Create | Purpose::Update => Some(true),
            Purpose::Import(_) => None,
        };
        let executed = repeated(|| {
            let client = self.session.cloudformation();
            let call = client
                .execute_change_set()
                .change_set_name(&change_set.id)
                .stack_name(&change_set.stack_id)
                .client_request_token(&token)
                .set_retain_except_on_create(retains);
            self.session
                .sdk(Service::CloudFormation, "cloudformation:ExecuteChangeSet", call.send())
        })
        .await;
        match executed {
            // The answer to an earlier attempt was lost, or somebody has executed it in the console.
            Err(error) if error.code == "InvalidChangeSetStatus" && self.is_executed(change_set).await? => Ok(()),
            executed => executed.map(drop),
        }
    }

    /// Returns whether CloudFormation does what a change set says, or has done it.
    async fn is_executed(&self, change_set: &ChangeSet) -> Result<bool, CloudError> {
        let described = self.page(&change_set.id, None).await?;
        Ok(matches!(
            described.execution_status,
            Some(ExecutionStatus::ExecuteInProgress | ExecutionStatus::ExecuteComplete)
        ))
    }

    /// Returns a change set once CloudFormation has ended making it.
    async fn described(&self, id: &str) -> Result<DescribeChangeSetOutput, CloudError> {
        loop {
            let described = self.page(id, None).await?;
            let is_pending = matches!(
                described.status,
                Some(ChangeSetStatus::CreatePending | ChangeSetStatus::CreateInProgress)
            );
            if !is_pending {
                return Ok(described);
            }
            tokio::time::sleep(self.session.pace(PAUSE, PAUSE_ELSEWHERE)).await;
        }
    }

    async fn all_changes(&self, id: &str, first: DescribeChangeSetOutput) -> Result<Vec<ResourceChange>, CloudError> {
        let changes = |page: &mut DescribeChangeSetOutput| page.changes.take().unwrap_or_default();
        let mut page = first;
        let mut all: Vec<StackChange> = changes(&mut page);
        while let Some(token) = page.next_token.take() {
            page = self.page(id, Some(token)).await?;
            all.extend(changes(&mut page));
        }
        Ok(all.into_iter().filter_map(|change| change.resource_change).collect())
    }

    async fn page(&self, id: &str, next_token: Option<String>) -> Result<DescribeChangeSetOutput, CloudError> {
        repeated(|| {
            let client = self.session.cloudformation();
            let call = client
                .describe_change_set()
                .change_set_name(id)
                .stack_name(&self.name)
                .include_property_values(true)
                .set_next_token(next_token.clone());
            self.session
                .sdk(Service::CloudFormation, "cloudformation:DescribeChangeSet", call.send())
        })
        .await
    }

    /// Returns what the validation before deployment has found; nothing where the service cannot say so.
    async fn validation_failures(&self, change_set: &ChangeSet) -> Vec<String> {
        let mut failures = Vec::new();
        let mut next_token = None;
        loop {
            let answer = repeated(|| {
                let client = self.session.cloudformation();
                let call = client
                    .describe_events()
                    .change_set_name(&change_set.id)
                    .filters(EventFilter::builder().failed_events(true).build())
                    .set_next_token(next_token.clone());
                self.session
                    .sdk(Service::CloudFormation, "cloudformation:DescribeEvents", call.send())
            })
            .await;
            let Ok(page) = answer else { return failures };
            let events = page.operation_events.unwrap_or_default().into_iter();
            failures.extend(events.filter_map(|event| {
                let reason = event.validation_status_reason.or(event.hook_status_reason)?;
                let place = event.logical_resource_id.into_iter().chain(event.validation_path);
                Some(place.chain([reason]).collect::<Vec<_>>().join(" "))
            }));
            next_token = page.next_token;
            if next_token.is_none() {
                return failures;
            }
        }
    }
}

fn resources_to_import(purpose: &Purpose) -> Option<Vec<ResourceToImport>> {
    let Purpose::Import(resources) = purpose else {
        return None;
    };
    let import = |imported: &Imported| {
        ResourceToImport::builder()
            .logical_resource_id(&imported.name)
            .resource_type(&imported.kind)
            .set_resource_identifier(Some(imported.identifier.clone().into_iter().collect()))
            .build()
    };
    Some(resources.iter().map(import).collect())
}

/// Returns whether a change set failed because there is nothing to change: CloudFormation has two wordings.
fn is_no_change(reason: &str) -> bool {
    reason.contains("didn't contain changes") || reason.contains("No updates are to be performed")
}
