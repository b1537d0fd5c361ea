//! `cargo xtask dev`: local cloud, deployment, rebuild on save, logs; until Ctrl-C.
//!
//! The same engine deploys the same graph as in AWS. A change to the stack itself is compiled into this command line, so
//! from then on a child `cargo xtask deploy` (which cargo builds anew) takes over the deployments; the local cloud and
//! everything stored in it live on here.

mod watch;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Instant;

use infra_aws::Session;
use infra_engine::Packaging;
use tokio::sync::watch as latest;

use self::watch::{Saved, Watcher};
use crate::browser;
use crate::cli::{Dev, TokenClaims};
use crate::commands::{App, deploy, logs, outputs, token};
use crate::failure::{Exit, Failure};
use crate::local_cloud::{self, Address, CREDENTIAL, Running};
use crate::outputs::Outputs;
use crate::package::{self, ChildGroup, cargo_command};
use crate::progress::Progress;
use crate::target::{Target, load_stage};
use crate::ui::{self, BOLD, DIM, GREEN, RED, paint};

/// How many seconds the token counts that is printed at the start: a working day.
const TOKEN_LIFETIME_S: i64 = 8 * 3_600;

/// Runs it.
///
/// # Errors
/// When the port is taken, or the first deployment fails and nothing is watched that could mend it.
pub(crate) async fn run(app: &App, options: &Dev) -> Result<Exit, Failure> {
    let name = app.global.stage.as_deref().unwrap_or(local_cloud::STAGE);
    let stage = load_stage(&app.workspace.root, name, app.global.region.as_deref())?;
    let began = Instant::now();
    let cloud = Running::start(
        &app.workspace,
        options.port,
        &stage.region,
        None,
        options.unkind.settings.clone(),
    )
    .await?;
    ui::say(paint(DIM, format_args!("local cloud at {}", cloud.address().endpoint)));
    let outcome = app
        .interrupt
        .or(Box::pin(serve(app, options, name, cloud.address(), began)))
        .await;
    if app.interrupt.is_pressed() {
        ui::say("\nstopping");
    }
    cloud.stop().await;
    match outcome {
        // Ctrl-C is how it is meant to end.
        Err(failure) if failure.exit() == Exit::Interrupted => Ok(Exit::Ok),
        other => other,
    }
}

async fn serve(app: &App, options: &Dev, stage: &str, address: &Address, began: Instant) -> Result<Exit, Failure> {
    // Before the first build: what is saved while it runs is not missed.
    let mut watcher = if options.no_watch {
        None
    } else {
        Some(Watcher::start(&app.workspace.root)?)
    };
    let (deployed, mut deployments) = latest::channel(None);
    let mut dev = Development {
        app,
        stage,
        address,
        opens: options.open,
        deployed,
        stack_has_changed: false,
    };
    let working = async {
        match dev.deploy_in_process().await {
            Ok(()) => dev.welcome(began).await?,
            Err(failure) if watcher.is_some() && failure.exit() != Exit::Usage => {
                ui::report(failure);
                ui::say("waiting for a save");
            }
            Err(failure) => return Err(failure),
        }
        let Some(watcher) = &mut watcher else {
            return std::future::pending().await;
        };
        loop {
            let saved = watcher.next().await;
            dev.redeploy(&saved).await?;
        }
    };
    let showing = async {
        // The sender lives as long as `dev`.
        let _ = deployments.wait_for(Option::is_some).await;
        logs::follow_while_deployed(deployments).await
    };
    tokio::select! {
        outcome = Box::pin(working) => outcome,
        outcome = Box::pin(showing) => outcome,
    }
}

/// What is deployed in the local cloud, for those who follow its logs.
#[derive(Clone, Debug)]
pub(crate) struct Deployed {
    /// Where it is deployed.
    pub(crate) session: Session,
    /// Who writes into a log group, by its name.
    pub(crate) log_groups: BTreeMap<String, String>,
}

struct Development<'a> {
    app: &'a App,
    stage: &'a str,
    address: &'a Address,
    /// Whether the page is opened once it is there.
    opens: bool,
    deployed: latest::Sender<Option<Deployed>>,
    stack_has_changed: bool,
}

impl Development<'_> {
    /// Brings the local cloud to what is saved, and tells what happened. What does not compile or deploy leaves the
    /// running functions alone.
    async fn redeploy(&mut self, saved: &Saved) -> Result<(), Failure> {
        ui::say(paint(BOLD, format_args!("\n{saved}")));
        if saved.stack && !self.stack_has_changed {
            self.stack_has_changed = true;
            ui::say(paint(
                DIM,
                "the stack is compiled into the command line: cargo builds that first",
            ));
        }
        let first = self.deployed.borrow().is_none();
        let began = Instant::now();
        let outcome = if self.stack_has_changed {
            self.deploy_in_child().await
        } else {
            self.deploy_in_process().await
        };
        match outcome {
            Ok(()) if first => self.welcome(began).await?,
            Ok(()) => ui::say(paint(
                GREEN,
                format_args!("up to date after {}", ui::duration(began.elapsed())),
            )),
            Err(failure) if failure.exit() == Exit::Interrupted => return Err(failure),
            Err(failure) => {
                ui::report(failure);
                ui::say(paint(RED, "the functions that ran before go on running"));
            }
        }
        Ok(())
    }

    async fn deploy_in_process(&mut self) -> Result<(), Failure> {
        let target = self.target()?;
        let names = package::binaries(&target.graph);
        let packages = Box::pin(package::build(&self.app.workspace, &target.stage, &names)).await?;
        let (session, engine) = Box::pin(target.open()).await?;
        let prepared = Box::pin(deploy::plan_all(&engine, &target, &packages)).await?;
        let progress = Progress::start(false);
        progress.planned(&prepared.plan);
        let run = deploy::Run {
            app: self.app,
            engine: &engine,
            target: &target,
            scope: target.scope(),
            progress: &progress,
        };
        let done = Box::pin(run.apply(&Packaging::from(packages), prepared)).await?;
        match (done.exit(), done.outputs) {
            (Exit::Ok, Some(outputs)) => {
                self.note(session, outputs);
                Ok(())
            }
            (Exit::Interrupted, _) => Err(Failure::interrupted()),
            _ => {
                Err(Failure::new("not everything could be deployed; see above")
                    .help("save any source file to try again"))
            }
        }
    }

    async fn deploy_in_child(&mut self) -> Result<(), Failure> {
        let mut command = cargo_command(&self.app.workspace.root);
        command
            .args(["run", "--quiet", "--package", env!("CARGO_PKG_NAME"), "--"])
            .args([
                "deploy",
                "--yes",
                "--stage",
                self.stage,
                "--region",
                &self.address.region,
            ])
            .env("AWS_ENDPOINT_URL", &self.address.endpoint)
            .env("AWS_ACCESS_KEY_ID", CREDENTIAL)
            .env("AWS_SECRET_ACCESS_KEY", CREDENTIAL)
            .stdin(Stdio::null());
        let status = ChildGroup::spawn(command)?.wait().await?;
        if !status.success() {
            return Err(Failure::new("the changed stack could not be deployed; see above").help("correct it and save"));
        }
        let target = self.target()?;
        let (session, outputs) = outputs::open(&target).await?;
        self.note(session, outputs);
        Ok(())
    }

    fn target(&self) -> Result<Target, Failure> {
        Target::inside(&self.app.workspace, &self.app.global, self.stage, self.address)
    }

    fn note(&mut self, session: Session, outputs: Outputs) {
        self.deployed.send_replace(Some(Deployed {
            session,
            log_groups: outputs.log_groups,
        }));
    }

    /// Says where everything is, with a token that is ready to use.
    async fn welcome(&self, began: Instant) -> Result<(), Failure> {
        let target = self.target()?;
        let Some(session) = self.deployed.borrow().as_ref().map(|deployed| deployed.session.clone()) else {
            return Ok(());
        };
        let outputs = outputs::read(&target, &session).await?;
        let claims = TokenClaims {
            sub: "ada".to_owned(),
            name: Some("Ada".to_owned()),
            roles: Vec::new(),
            expires_in: TOKEN_LIFETIME_S,
        };
        let token = token::of_stage(&target, &session, &outputs, &claims).await?;
        let page = outputs
            .web_url
            .as_deref()
            .map(|page| browser::link(page, &token))
            .unwrap_or_default();
        if self.opens
            && !page.is_empty()
            && let Err(failure) = browser::open(&page)
        {
            ui::report(failure);
        }
        if self.app.wants_json() {
            let mut json = outputs.json();
            json["endpoint"] = self.address.endpoint.as_str().into();
            json["token"] = token.into();
            json["link"] = page.into();
            return ui::json(&json);
        }
        let url = outputs.web_socket_url.as_deref().unwrap_or_default();
        let Address { endpoint, region, .. } = self.address;
        ui::data(format!(
            "\n{}\n\n  \
             page       {BOLD}{page}{BOLD:#}\n  \
             WebSocket  {BOLD}{url}{BOLD:#}\n  \
             connect    npx wscat -c {url} -H \"Authorization: {token}\"\n  \
             send       {{\"action\":\"sendMessage\",\"data\":\"Hello, World!\"}}\n\n  \
             another    cargo xtask token --stage {} --sub grace --link\n  \
             AWS tools  export AWS_ENDPOINT_URL={endpoint} AWS_REGION={region} AWS_DEFAULT_REGION={region} AWS_ACCESS_KEY_ID={CREDENTIAL} AWS_SECRET_ACCESS_KEY={CREDENTIAL}\n",
            paint(
                GREEN,
                format_args!(
                    "{} is ready after {}",
                    target.graph.stack(),
                    ui::duration(began.elapsed())
                )
            ),
            self.stage,
        ))?;
        ui::say(paint(DIM, "Save a source file to update it; Ctrl-C ends it.\n"));
        Ok(())
    }
}
