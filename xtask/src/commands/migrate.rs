//! `cargo xtask migrate`: moves a deployed stage to the other engine. Nothing is made anew, in either direction.
//!
//! Each step may be repeated: who was interrupted runs the same command again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use infra_aws::{Ended, Proposal, Proposed, Purpose, StackOptions, Standing, TemplateSource};
use infra_cdk::{EngineName, Template, code_digests, retained};
use infra_engine::{Action, EngineError, Package, Packages, Plan, Record};
use serde_json::json;

use crate::cli::Migrate;
use crate::commands::cloudformation::{Site, Synthesised};
use crate::commands::{App, DEFAULT_STAGE, deploy, outputs};
use crate::failure::{Exit, Failure};
use crate::package;
use crate::progress::Progress;
use crate::target::{AwsEngine, Target};
use crate::ui::{self, GREEN, paint};

/// Runs it.
///
/// # Errors
/// Why the stage stays where it is. What failed on the way is shown.
pub(crate) async fn run(app: &App, options: &Migrate) -> Result<Exit, Failure> {
    let progress = Progress::start(app.wants_json() && !options.dry_run);
    deploy::concluded(&progress, Box::pin(migrate(app, options, &progress)).await)
}

async fn migrate(app: &App, options: &Migrate, progress: &Progress) -> Result<Exit, Failure> {
    let target = Target::find(&app.workspace, &app.global, DEFAULT_STAGE)?;
    progress.begun("migrate", &target.graph, &target.stage.region);
    let session = app.interrupt.or(Box::pin(target.session())).await?;
    // What the stack has made is the stage's, whether or not it still carries its tags.
    let adopts = EngineName::from(options.to) == EngineName::Direct;
    let engine = target.engine(&session).taking_over().adopting(adopts);
    let record = engine.record(&target.graph).await;
    let record = record
        .map_err(|error| Failure::engine("the record cannot be read", error, &target.scope()))?
        .unwrap_or_default();
    let migration = Migration {
        app,
        options,
        target: &target,
        engine,
        site: Site::new(app, &target, session, progress),
        progress,
    };
    match (record.engine(), EngineName::from(options.to)) {
        (None, _) => Err(outputs::not_deployed(&target)),
        (Some(EngineName::Direct), EngineName::CloudFormation) => migration.into_cloudformation(&record).await,
        (Some(EngineName::CloudFormation), EngineName::Direct) => migration.into_direct().await,
        (Some(EngineName::Direct), EngineName::Direct)
        | (Some(EngineName::CloudFormation), EngineName::CloudFormation) => {
            migration.done(format!("it belongs to {} already", EngineName::from(options.to)))
        }
    }
}

struct Migration<'a> {
    app: &'a App,
    options: &'a Migrate,
    target: &'a Target,
    engine: AwsEngine,
    site: Site<'a>,
    progress: &'a Progress,
}

impl Migration<'_> {
    /// Imports everything that is recorded into a new stack, and forgets it here.
    async fn into_cloudformation(self, record: &Record) -> Result<Exit, Failure> {
        let packages = self.deployed_packages(record)?;
        self.demand_nothing_to_change(&packages).await?;
        let Synthesised { text, template, names } = self.site.synthesise(&packages)?;
        let import = self.import_template(template.clone())?;
        let source = self.site.deliver(&import).await?;
        let entries = template.entries();
        let importable = self
            .site
            .stack
            .importable(&source)
            .await
            .map_err(|error| self.site.cloud("CloudFormation does not take the template", error))?;
        self.demand_importable(&import, &importable)?;
        let identifiers = self
            .site
            .stack
            .identifiers(entries, &importable, record)
            .map_err(|error| self.site.cloud("the resources cannot be imported", error))?;
        if self.needs_import().await? {
            let proposal = Proposal {
                template: &source,
                purpose: Purpose::Import(identifiers),
                bucket: self.site.bucket.name(),
                options: StackOptions::default(),
            };
            let Proposed::Changes(changes) = self.propose(&proposal).await? else {
                return Err(self.site.failed("CloudFormation finds nothing to import"));
            };
            let plan = changes.plan(&self.target.graph, &names, &BTreeMap::new());
            let plan = plan.map_err(|error| self.site.cloud("the resources cannot be imported", error))?;
            deploy::show(self.target, &plan);
            let agreed = match only(&plan, &[Action::Adopt]) {
                true if self.options.dry_run => None,
                true => Some(self.ask("Import these resources into a stack?").await),
                false => Some(Err(self
                    .site
                    .failed("CloudFormation would do more than import; nothing was changed"))),
            };
            match agreed {
                Some(Ok(())) => {}
                refused => {
                    let withdrawn = self.site.stack.withdraw(&changes, &proposal.purpose).await;
                    withdrawn.map_err(|error| self.site.cloud("the change set cannot be deleted", error))?;
                    return refused.unwrap_or(Ok(())).map(|()| Exit::Ok);
                }
            }
            let follow = self.site.follow(&changes.stack_id, names).await?;
            let executed = self.site.stack.execute(&changes, &proposal.purpose).await;
            executed.map_err(|error| self.site.cloud("the import cannot be executed", error))?;
            let ended = self.site.watch(follow).await?;
            self.demand_well(
                &ended,
                "the import failed; the stage still belongs to the engine `direct`",
            )?;
        }
        let handed = self.engine.hand_over(&self.target.graph).await;
        handed.map_err(|error| self.engine_failure("the stack is made, but the record does not say so yet", error))?;
        // Outputs and removal policies may not come with an import.
        self.update(
            &text,
            "the stage belongs to CloudFormation now, but its outputs are missing",
        )
        .await?;
        self.done("it belongs to CloudFormation now; nothing was made anew".to_owned())
    }

    /// Records everything that is in the stack, and deletes the stack with all of it retained.
    async fn into_direct(mut self) -> Result<Exit, Failure> {
        if self.site.settled(true).await?.is_some() {
            let resources = self.site.stack.resources().await;
            let resources =
                resources.map_err(|error| self.site.cloud("the stack's resources cannot be read", error))?;
            let names = self.site.names(&BTreeMap::new());
            self.engine = self.engine.knowing(names.unmarked(&resources));
            let template = self.site.stack.template().await;
            let template = template.map_err(|error| self.site.cloud("the stack's template cannot be read", error))?;
            let plan = self.adoption(&template).await?;
            deploy::show(self.target, &plan);
            let lost: Vec<_> = plan.steps.iter().filter(|step| !is_harmless(step.action)).collect();
            if !lost.is_empty() {
                let lines: Vec<_> = lost
                    .iter()
                    .map(|step| format!("{} {}: {}", step.kind.cloudformation_type(), step.id, step.reason))
                    .collect();
                return Err(self
                    .site
                    .failed(&format!(
                        "these would be made anew; nothing was changed\n{}",
                        lines.join("\n")
                    ))
                    .help(format!(
                        "deploy first, so that the stack is as declared: {}",
                        self.target.scope().command("deploy")
                    )));
            }
            if self.options.dry_run {
                return Ok(Exit::Ok);
            }
            self.ask("Release the stack and keep its resources?").await?;
            self.release(&template).await?;
        }
        let rebuilt = self.engine.rebuild(&self.target.graph).await;
        let rebuilt = rebuilt
            .map_err(|error| self.engine_failure("the stack is released, but nothing is recorded yet", error))?;
        if !rebuilt.missing.is_empty() || !rebuilt.foreign.is_empty() {
            let missing = rebuilt
                .missing
                .iter()
                .chain(rebuilt.foreign.iter().map(|foreign| &foreign.id));
            let missing: Vec<_> = missing.map(ToString::to_string).collect();
            return Err(self
                .site
                .failed(&format!("not found: {}", missing.join(", ")))
                .help(format!("see what differs: {}", self.target.scope().command("diff"))));
        }
        self.done("it belongs to the engine `direct` now; nothing was made anew".to_owned())
    }

    /// Returns the packages as they are deployed: a build of today may give others.
    fn deployed_packages(&self, record: &Record) -> Result<Packages, Failure> {
        let names = package::binaries(&self.target.graph);
        let given = match &self.options.packages {
            Some(folder) => package::from_folder(folder, &names)?,
            None => Packages::new(),
        };
        let mut packages = Packages::new();
        let mut missing = Vec::new();
        for (id, resource) in self.target.graph.resources() {
            for name in resource.packages() {
                let recorded = record.resources.get(id);
                let sha256 = recorded.and_then(|recorded| recorded.properties.get("Code")?.get("Sha256")?.as_str());
                let given = given
                    .get(name)
                    .filter(|package| Some(package.sha256.as_str()) == sha256);
                let kept = || Some((sha256?, package::kept(&self.app.workspace, sha256?)?));
                match (given, kept()) {
                    (Some(package), _) => {
                        packages.insert(name.to_owned(), package.clone());
                    }
                    (None, Some((sha256, zip))) => {
                        let sha256 = sha256.to_owned();
                        packages.insert(
                            name.to_owned(),
                            Package {
                                sha256,
                                zip: zip.into(),
                            },
                        );
                    }
                    (None, None) => missing.push(name.to_owned()),
                }
            }
        }
        if missing.is_empty() {
            return Ok(packages);
        }
        Err(self
            .site
            .failed(&format!(
                "the deployed code of {} is not on this machine; nothing was changed",
                missing.join(", ")
            ))
            .help(format!(
                "deploy it from here first: {}",
                self.target.scope().command("deploy")
            )))
    }

    /// An import takes resources as they are, and believes the template: both must say the same.
    async fn demand_nothing_to_change(&self, packages: &Packages) -> Result<(), Failure> {
        let prepared = self.engine.plan_deploy(&self.target.graph, packages).await;
        let prepared = prepared.map_err(|error| self.engine_failure("the stage cannot be read", error))?;
        if prepared.plan.is_empty() {
            return Ok(());
        }
        deploy::show(self.target, &prepared.plan);
        Err(self
            .site
            .failed("it is not as declared; nothing was changed")
            .help(format!("deploy it first: {}", self.target.scope().command("deploy"))))
    }

    /// Returns the template of the import: without outputs, and with everything retained, whatever goes wrong.
    fn import_template(&self, template: Template) -> Result<String, Failure> {
        let cannot = |error| self.site.failed("there is no template").because(error);
        let text = template.without_outputs().to_yaml().map_err(cannot)?;
        Ok(retained(&text).map_err(cannot)?.unwrap_or(text))
    }

    /// Says which types CloudFormation cannot import.
    fn demand_importable(&self, template: &str, importable: &BTreeMap<String, Vec<String>>) -> Result<(), Failure> {
        let types =
            infra_cdk::types(template).map_err(|error| self.site.failed("there is no template").because(error))?;
        let cannot: BTreeSet<_> = types
            .iter()
            .filter(|(_, kind)| !importable.contains_key(*kind))
            .map(|(name, kind)| format!("{kind} ({name})"))
            .collect();
        if cannot.is_empty() {
            return Ok(());
        }
        let cannot: Vec<_> = cannot.into_iter().collect();
        Err(self
            .site
            .failed(&format!(
                "CloudFormation cannot import these; nothing was changed\n{}",
                cannot.join("\n")
            ))
            .help(format!(
                "the stage stays with the engine `direct`; a new stage can be made by CloudFormation: \
                 cargo xtask deploy --engine cloudformation --stage NAME (not {})",
                self.target.stage.name
            )))
    }

    /// Returns whether the stack is still to be made. What an earlier attempt left is cleared away: it has no resources, or
    /// retains them.
    async fn needs_import(&self) -> Result<bool, Failure> {
        let Some(info) = self.site.read().await? else {
            return Ok(true);
        };
        match info.standing() {
            Standing::Settled if info.status != "IMPORT_ROLLBACK_COMPLETE" => Ok(false),
            Standing::Settled | Standing::InReview | Standing::FailedImport => {
                let follow = self.site.follow(&info.id, self.site.names(&BTreeMap::new())).await?;
                let deleted = self.site.stack.delete(&info.id).await;
                deleted.map_err(|error| self.site.cloud("what an earlier attempt left cannot be deleted", error))?;
                let ended = self.site.watch(follow).await?;
                self.demand_well(&ended, "what an earlier attempt left cannot be deleted")?;
                Ok(true)
            }
            Standing::Busy
            | Standing::FailedCreation
            | Standing::FailedUpdate
            | Standing::FailedRollback
            | Standing::FailedDeletion
            | Standing::Unknown => {
                self.site.settled(true).await?;
                Ok(false)
            }
        }
    }

    /// Returns what the direct engine would do with what the stack has made.
    async fn adoption(&self, template: &str) -> Result<Plan, Failure> {
        let digests =
            code_digests(template).map_err(|error| self.site.failed("the stack's template").because(error))?;
        let mut packages = Packages::new();
        for (id, resource) in self.target.graph.resources() {
            for name in resource.packages() {
                let digest = digests.get(id.as_str()).map_or("", String::as_str);
                let zip = Arc::from([]);
                let sha256 = STANDARD.encode(bytes(digest));
                packages.insert(name.to_owned(), Package { sha256, zip });
            }
        }
        let prepared = self.engine.plan_deploy(&self.target.graph, &packages).await;
        let prepared = prepared.map_err(|error| self.engine_failure("the stack's resources cannot be read", error))?;
        Ok(prepared.plan)
    }

    /// Deletes the stack, and nothing that is in it.
    async fn release(&self, template: &str) -> Result<(), Failure> {
        let unreadable = |error| self.site.failed("the stack's template").because(error);
        if let Some(retaining) = retained(template).map_err(unreadable)? {
            self.update(
                &retaining,
                "the stack would still delete its resources, and was not released",
            )
            .await?;
        }
        let now = self.site.stack.template().await;
        let now = now.map_err(|error| self.site.cloud("the stack's template cannot be read", error))?;
        // Whatever CloudFormation said: a stack that might delete anything is not deleted.
        if retained(&now).map_err(unreadable)?.is_some() {
            return Err(self
                .site
                .failed("the stack would still delete its resources, and was not released"));
        }
        let Some(info) = self.site.read().await? else {
            return Ok(());
        };
        let follow = self.site.follow(&info.id, self.site.names(&BTreeMap::new())).await?;
        let deleting = self.site.stack.delete(&info.id).await;
        deleting.map_err(|error| self.site.cloud("the stack cannot be released", error))?;
        let ended = self.site.watch(follow).await?;
        self.demand_well(&ended, "the stack could not be released")
    }

    /// Gives the stack another template that changes no resource.
    async fn update(&self, template: &str, otherwise: &str) -> Result<(), Failure> {
        let source: TemplateSource = self.site.deliver(template).await?;
        let proposal = Proposal {
            template: &source,
            purpose: Purpose::Update,
            bucket: self.site.bucket.name(),
            options: StackOptions::default(),
        };
        let Proposed::Changes(changes) = self.propose(&proposal).await? else {
            return Ok(());
        };
        let names = self.site.names(&BTreeMap::new());
        let before = self.site.stack.template().await;
        let before = before.map_err(|error| self.site.cloud("the stack's template cannot be read", error))?;
        let differences = self.site.differences(Some(&before), template)?;
        let plan = changes.plan(&self.target.graph, &names, &differences);
        let plan = plan.map_err(|error| self.site.cloud(otherwise, error))?;
        if !only(&plan, &[Action::Update]) {
            deploy::show(self.target, &plan);
            let withdrawn = self.site.stack.withdraw(&changes, &proposal.purpose).await;
            withdrawn.map_err(|error| self.site.cloud("the change set cannot be deleted", error))?;
            return Err(self
                .site
                .failed(otherwise)
                .help(format!("see what differs: {}", self.target.scope().command("diff"))));
        }
        let follow = self.site.follow(&changes.stack_id, names).await?;
        let executed = self.site.stack.execute(&changes, &proposal.purpose).await;
        executed.map_err(|error| self.site.cloud(otherwise, error))?;
        let ended = self.site.watch(follow).await?;
        self.demand_well(&ended, otherwise)
    }

    async fn propose(&self, proposal: &Proposal<'_>) -> Result<Proposed, Failure> {
        let proposed = self.site.stack.propose(proposal).await;
        proposed.map_err(|error| self.site.cloud("CloudFormation does not take the stack", error))
    }

    fn demand_well(&self, ended: &Ended, otherwise: &str) -> Result<(), Failure> {
        if ended.is_well() {
            return Ok(());
        }
        let again = format!(
            "correct it, then: {} --to {}",
            self.target.scope().command("migrate"),
            EngineName::from(self.options.to)
        );
        let failure = self.site.failed(otherwise).help(again);
        Err(match ended.failed.first() {
            Some((_, _, error)) => failure.because(error.clone()),
            None => failure,
        })
    }

    async fn ask(&self, question: &str) -> Result<(), Failure> {
        if self.app.global.yes {
            return Ok(());
        }
        deploy::ask(self.app, question).await
    }

    fn engine_failure(&self, doing: &str, error: EngineError) -> Failure {
        Failure::engine(
            format!("{}: {doing}", self.target.graph.stack()),
            error,
            &self.target.scope(),
        )
    }

    fn done(&self, text: String) -> Result<Exit, Failure> {
        let stack = self.target.graph.stack();
        self.progress.finish();
        ui::say(paint(GREEN, format_args!("{stack}: {text}")));
        self.progress
            .result(json!({ "stack": stack.to_string(), "engine": EngineName::from(self.options.to) }))?;
        Ok(Exit::Ok)
    }
}

/// Returns whether a plan has steps of some kinds only.
fn only(plan: &Plan, actions: &[Action]) -> bool {
    plan.steps.iter().all(|step| actions.contains(&step.action))
}

/// Returns whether a step makes nothing anew and takes nothing away.
const fn is_harmless(action: Action) -> bool {
    match action {
        Action::Adopt | Action::Update => true,
        Action::Create | Action::Replace | Action::Delete | Action::Retain | Action::Forget => false,
    }
}

/// Returns the bytes of a hexadecimal text.
fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits
        .chunks_exact(2)
        .filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok())
        .collect()
}
