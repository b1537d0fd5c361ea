//! A stage that CloudFormation deploys: what its commands have in common.
//!
//! The stack is made from the template of the same graph. What CloudFormation cannot make (secrets) is deployed beside it
//! by the direct engine, whose record also says that the stage belongs to CloudFormation. See `docs/cloudformation.md`.
//!
//! Read next: [`deploy`], then [`follow`]; `migrate` moves a stage between the engines.

mod deploy;
mod destroy;
mod follow;
mod rollback;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use infra_aws::{
    Asset, AssetBucket, CloudFormation, Names, Session, StackInfo, StackResource, Standing, TemplateSource,
};
use infra_cdk::{Delivery, EngineName, Entry, Graph, Template, asset_key, outside_of_template};
use infra_engine::{CloudError, Packages};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::cli::Deploy;
use crate::commands::{App, outputs, synth};
use crate::failure::{Failure, Scope};
use crate::outputs::Outputs;
use crate::progress::Progress;
use crate::target::{AwsEngine, Target};
use crate::ui::{self, YELLOW, paint};

/// Pause between two looks at a stack that somebody else is changing.
const PAUSE: Duration = Duration::from_secs(2);

/// Returns the engine that is asked for: by the command line, or else by the stage file.
///
/// # Errors
/// When the two do not agree, or an option is not for that engine.
pub(crate) fn asked(target: &Target, options: Option<&Deploy>) -> Result<Option<EngineName>, Failure> {
    let in_file = target.stage.settings.engine;
    let Some(Deploy { cloudformation, .. }) = options else {
        return Ok(in_file);
    };
    let on_command_line = cloudformation.engine.map(EngineName::from);
    if let (Some(asked), Some(file)) = (on_command_line, in_file)
        && asked != file
    {
        let name = &target.stage.name;
        return Err(Failure::usage(format!(
            "infra/stages/{name}.yml says `engine: {file}`, and --engine says {asked}"
        ))
        .help(format!(
            "move the stage: {} --to {asked}; then change the file",
            target.scope().command("migrate")
        )));
    }
    Ok(on_command_line.or(in_file))
}

/// A stage at CloudFormation.
pub(crate) struct Site<'a> {
    app: &'a App,
    target: &'a Target,
    session: Session,
    progress: &'a Progress,
    pub(crate) stack: CloudFormation,
    pub(crate) bucket: AssetBucket,
}

/// The template of a stage, ready to be handed in.
pub(crate) struct Synthesised {
    pub(crate) text: String,
    pub(crate) template: Template,
    pub(crate) names: Names,
}

impl<'a> Site<'a> {
    /// Returns the stage's stack and bucket. Makes no call.
    pub(crate) fn new(app: &'a App, target: &'a Target, session: Session, progress: &'a Progress) -> Self {
        Self {
            app,
            target,
            stack: CloudFormation::new(session.clone(), target.graph.stack()),
            bucket: AssetBucket::new(session.clone()),
            session,
            progress,
        }
    }

    /// Returns what the stage tells its users now, for those who show it to programs: nothing before it is deployed.
    pub(crate) async fn known_outputs(&self) -> Result<Outputs, Failure> {
        if !self.app.wants_json() {
            return Ok(Outputs::default());
        }
        let look = look(self.target, &self.session).await?;
        Ok(look.outputs(self.target).unwrap_or_default())
    }

    /// Returns what deploys beside the stack what CloudFormation cannot make, and refuses stages of the direct engine.
    fn beside(&self) -> AwsEngine {
        self.target.engine(&self.session).beside_cloudformation()
    }

    /// Returns what CloudFormation cannot make.
    fn outside(&self) -> Result<Graph, Failure> {
        outside_of_template(&self.target.graph)
            .map_err(|mistakes| self.failed("the stack cannot be divided").because(mistakes))
    }

    /// Returns the stage's template.
    pub(crate) fn synthesise(&self, packages: &Packages) -> Result<Synthesised, Failure> {
        let cannot = |error| self.failed("there is no template").because(error);
        let template = infra_cdk::synth(&self.target.graph, &synth::digests(packages)?).map_err(cannot)?;
        Ok(Synthesised {
            text: template.to_yaml().map_err(cannot)?,
            names: self.names(template.entries()),
            template,
        })
    }

    pub(crate) fn names(&self, entries: &BTreeMap<String, Entry>) -> Names {
        Names::new(&self.target.graph, entries)
    }

    /// Returns how a template reaches CloudFormation: a large one is uploaded first.
    pub(crate) async fn deliver(&self, text: &str) -> Result<TemplateSource, Failure> {
        let delivery = Delivery::of(text.len()).map_err(|error| self.failed("there is no template").because(error))?;
        match delivery {
            Delivery::Inline => Ok(TemplateSource::Inline(text.to_owned())),
            Delivery::Upload => {
                let asset = Asset {
                    key: format!("{}/{}.yaml", self.target.graph.stack().app, digest(text)),
                    content: Bytes::from(text.to_owned()),
                };
                let url = self.bucket.url(&asset.key);
                self.bucket
                    .upload(&[asset])
                    .await
                    .map_err(|error| self.cloud("the template cannot be uploaded", error))?;
                Ok(TemplateSource::Uploaded(url))
            }
        }
    }

    /// Uploads the packages that the bucket does not have yet.
    async fn upload(&self, packages: &Packages) -> Result<(), Failure> {
        let app = &self.target.graph.stack().app;
        let digests = synth::digests(packages)?;
        let assets: Vec<_> = digests
            .iter()
            .map(|(name, digest)| Asset {
                key: asset_key(app, digest),
                content: Bytes::copy_from_slice(&packages[name].zip),
            })
            .collect();
        let new = self
            .bucket
            .upload(&assets)
            .await
            .map_err(|error| self.cloud("the packages cannot be uploaded", error))?;
        ui::say(format!(
            "  packages in {}: {new} new of {}",
            self.bucket.name(),
            assets.len()
        ));
        Ok(())
    }

    /// Returns the stack once nobody changes it; `None` where there is none.
    ///
    /// # Errors
    /// When it is stuck: with the way out.
    pub(crate) async fn settled(&self, waits: bool) -> Result<Option<StackInfo>, Failure> {
        let mut told = None;
        loop {
            let Some(info) = self.read().await? else {
                return Ok(None);
            };
            match info.standing() {
                Standing::Settled | Standing::InReview => return Ok(Some(info)),
                Standing::Busy if waits => {
                    if told.as_ref() != Some(&info.status) {
                        ui::say(paint(
                            YELLOW,
                            format_args!(
                                "  … the stack {} is {}; waiting for its end",
                                self.stack.name(),
                                info.status
                            ),
                        ));
                        told = Some(info.status);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Standing::Busy
                | Standing::FailedCreation
                | Standing::FailedUpdate
                | Standing::FailedRollback
                | Standing::FailedDeletion
                | Standing::FailedImport
                | Standing::Unknown => return Err(self.stuck(&info).await),
            }
        }
    }

    /// Returns the stack as it is.
    pub(crate) async fn read(&self) -> Result<Option<StackInfo>, Failure> {
        let read = self.stack.read().await;
        read.map_err(|error| self.cloud(format!("the stack {} cannot be read", self.stack.name()), error))
    }

    /// Returns what is wrong with a stack, which of its resources failed, and the command that leads out.
    async fn stuck(&self, info: &StackInfo) -> Failure {
        let standing = info.standing();
        let mut text = format!(
            "the stack {} is {}: it {}",
            self.stack.name(),
            info.status,
            standing.explanation()
        );
        // What failed is only an explanation: the state is told without it, too.
        let mut failed = self.stack.resources().await.unwrap_or_default();
        failed.retain(StackResource::has_failed);
        if failed.is_empty() {
            // A rollback deletes the resource that could not be made; the events still tell of it.
            failed.extend(self.stack.first_failure(&info.id).await.ok().flatten());
        }
        for resource in failed {
            text.push_str(&format!("\n{}", failure_line(&resource)));
        }
        let failure = Failure::new(text);
        let failure = match &info.reason {
            Some(reason) => failure.because(reason.clone()),
            None => failure,
        };
        let scope = self.target.scope();
        match standing.way_out() {
            Some(command) => failure.help(way_out(standing, &scope, command, self.stack.name())),
            None => failure.help(format!("wait for its end, then: {}", scope.again())),
        }
    }

    pub(crate) fn failed(&self, doing: &str) -> Failure {
        Failure::new(format!("{}: {doing}", self.target.graph.stack()))
    }

    pub(crate) fn cloud(&self, doing: impl Into<String>, error: CloudError) -> Failure {
        Failure::cloud(doing, error, &self.target.scope())
    }
}

/// Returns the outputs of a stage that CloudFormation deploys.
///
/// # Errors
/// When it is not deployed or cannot be read.
pub(crate) async fn outputs(target: &Target, session: &Session) -> Result<Outputs, Failure> {
    look(target, session).await?.outputs(target)
}

/// How a stack is, for those who only look.
pub(crate) struct Look {
    name: String,
    info: Option<StackInfo>,
    resources: Vec<StackResource>,
}

/// Looks at the stack of a stage.
///
/// # Errors
/// When it cannot be read.
pub(crate) async fn look(target: &Target, session: &Session) -> Result<Look, Failure> {
    let stack = CloudFormation::new(session.clone(), target.graph.stack());
    let scope = target.scope();
    let failed = |error| Failure::cloud(format!("the stack {} cannot be read", stack.name()), error, &scope);
    let (info, resources) = tokio::join!(stack.read(), stack.resources());
    let info = info.map_err(failed)?;
    let resources = match info {
        Some(_) => resources.map_err(failed)?,
        None => Vec::new(),
    };
    Ok(Look {
        name: stack.name().to_owned(),
        info,
        resources,
    })
}

impl Look {
    /// Returns the stack's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the stack's resources.
    pub(crate) fn resources(&self) -> &[StackResource] {
        &self.resources
    }

    /// Returns what the stage tells its users.
    ///
    /// # Errors
    /// When nothing of it is deployed.
    pub(crate) fn outputs(&self, target: &Target) -> Result<Outputs, Failure> {
        let is_there = |resource: &&StackResource| {
            let status = resource.status.as_str();
            !matches!(status, "DELETE_COMPLETE" | "CREATE_FAILED")
        };
        let there = self.resources.iter().filter(is_there);
        let names: BTreeSet<String> = there.map(|resource| resource.name.clone()).collect();
        match &self.info {
            Some(info) if !names.is_empty() => Ok(Outputs::of_stack(&target.graph, &info.outputs, &names)),
            Some(_) | None => Err(outputs::not_deployed(target)),
        }
    }

    /// Returns it for programs.
    pub(crate) fn json(&self) -> Json {
        let info = self.info.as_ref();
        let failed: Vec<Json> = self
            .failed()
            .map(|resource| json!({ "id": resource.name, "status": resource.status, "reason": resource.reason }))
            .collect();
        json!({
            "name": self.name,
            "status": info.map(|info| &info.status),
            "reason": info.and_then(|info| info.reason.as_ref()),
            "wayOut": info.and_then(|info| info.standing().way_out()),
            "resources": self.resources.len(),
            "failed": failed,
        })
    }

    /// Returns it as lines.
    pub(crate) fn human(&self, scope: &Scope) -> String {
        let Some(info) = &self.info else {
            return format!("The stack {} does not exist.", self.name);
        };
        let mut text = format!("The stack {} is {}", self.name, info.status);
        if let Some(reason) = &info.reason {
            text.push_str(&format!(": {reason}"));
        }
        text.push_str(&format!("; {} resources", self.resources.len()));
        for resource in self.failed() {
            text.push_str(&format!("\n  {}", failure_line(resource)));
        }
        if let Some(command) = info.standing().way_out() {
            text.push_str(&format!("\n{}", way_out(info.standing(), scope, command, &self.name)));
        }
        text
    }

    fn failed(&self) -> impl Iterator<Item = &StackResource> {
        self.resources.iter().filter(|resource| resource.has_failed())
    }
}

/// Returns what is wrong with a resource.
fn failure_line(resource: &StackResource) -> String {
    let StackResource { kind, name, status, .. } = resource;
    let reason = resource.reason.as_deref().unwrap_or("no reason is given");
    format!("{kind} {name} {status}: {reason}")
}

/// Returns what to do about a stack that is stuck.
fn way_out(standing: Standing, scope: &Scope, command: &str, stack: &str) -> String {
    let first = scope.command(command);
    match standing {
        Standing::FailedCreation => format!(
            "delete what is left of it: {first}; then again: {}",
            scope.command("deploy")
        ),
        Standing::FailedRollback => format!(
            "correct what the rollback met, then go on with it: {first}; to leave a resource as it is: \
             aws cloudformation continue-update-rollback --stack-name {stack} --resources-to-skip NAME"
        ),
        Standing::FailedUpdate => format!("bring it back to what it was: {first}"),
        Standing::FailedDeletion => format!("correct what kept it, then again: {first}"),
        Standing::FailedImport => format!("begin again: {first}"),
        Standing::InReview | Standing::Settled | Standing::Busy | Standing::Unknown => first,
    }
}

/// Returns what names a template: the digest of its text. CloudFormation returns it without the last line break.
pub(crate) fn digest(template: &str) -> String {
    let digest = Sha256::digest(template.trim_end());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
