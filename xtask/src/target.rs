//! What a command is about: a stage, its graph, and where it lives.

use std::path::Path;

use infra_aws::{AwsCloud, Connection, Session, SessionError, SessionOptions, StateTable};
use infra_cdk::{Graph, Mistakes, Stage};
use infra_engine::Engine;

use crate::cli::Global;
use crate::failure::{Failure, Scope};
use crate::local_cloud;
use crate::workspace::Workspace;

/// The engine as this command line uses it.
pub(crate) type AwsEngine = Engine<AwsCloud, StateTable>;

/// A stage, read and checked. No call has been made yet.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Name, Region and settings.
    pub(crate) stage: Stage,
    /// What the stack declares for the stage.
    pub(crate) graph: Graph,
    /// Endpoint of all services, where it is not AWS's own.
    endpoint: Option<String>,
    /// Whether the endpoint is a local cloud, which takes any credentials.
    is_local: bool,
    profile: Option<String>,
}

impl Target {
    /// Reads a stage and finds where it lives: at `AWS_ENDPOINT_URL`, in the running local cloud if it is the stage
    /// `local`, or else in AWS.
    ///
    /// # Errors
    /// An unknown stage, mistakes in its file or in the stack, or no local cloud for the stage `local`.
    pub(crate) fn find(workspace: &Workspace, global: &Global, default_stage: &str) -> Result<Self, Failure> {
        let name = global.stage.as_deref().unwrap_or(default_stage);
        let from_environment = environment("AWS_ENDPOINT_URL");
        let is_local = name == local_cloud::STAGE;
        let (endpoint, region) = if is_local && from_environment.is_none() {
            // The file first: a typo in it should not read as a missing local cloud.
            load_stage(&workspace.root, name, None)?;
            let address = local_cloud::find(workspace).ok_or_else(|| {
                Failure::new("no local cloud is running")
                    .help("start one in another terminal with: cargo xtask local (or, with logs and rebuild on save: cargo xtask dev)")
            })?;
            (Some(address.endpoint), global.region.clone().or(Some(address.region)))
        } else {
            (from_environment, region(global))
        };
        Self::at(workspace, global, name, region.as_deref(), endpoint, is_local)
    }

    /// Reads a stage that is to live in a local cloud of this process.
    ///
    /// # Errors
    /// An unknown stage, or mistakes in its file or in the stack.
    pub(crate) fn inside(
        workspace: &Workspace,
        global: &Global,
        stage: &str,
        address: &local_cloud::Address,
    ) -> Result<Self, Failure> {
        let endpoint = Some(address.endpoint.clone());
        Self::at(workspace, global, stage, Some(&address.region), endpoint, true)
    }

    /// Reads a stage without asking where it lives, for what makes no call.
    ///
    /// # Errors
    /// An unknown stage, or mistakes in its file or in the stack.
    pub(crate) fn declared(workspace: &Workspace, global: &Global, default_stage: &str) -> Result<Self, Failure> {
        let name = global.stage.as_deref().unwrap_or(default_stage);
        Self::at(workspace, global, name, region(global).as_deref(), None, false)
    }

    fn at(
        workspace: &Workspace,
        global: &Global,
        name: &str,
        region: Option<&str>,
        endpoint: Option<String>,
        is_local: bool,
    ) -> Result<Self, Failure> {
        let stage = load_stage(&workspace.root, name, region)?;
        let graph = infra::chat(&stage).map_err(|Mistakes(mistakes)| {
            let list: Vec<_> = mistakes.iter().map(|mistake| format!("- {mistake}")).collect();
            Failure::usage(format!("the stack cannot be deployed:\n{}", list.join("\n")))
                .help(format!("correct infra/src/lib.rs or infra/stages/{name}.yml"))
        })?;
        Ok(Self {
            stage,
            graph,
            endpoint,
            is_local,
            profile: global.profile.clone(),
        })
    }

    /// Returns the same stage with another stack.
    pub(crate) fn with(&self, graph: Graph) -> Self {
        Self { graph, ..self.clone() }
    }

    /// Returns what hints need to know.
    pub(crate) fn scope(&self) -> Scope {
        Scope {
            stage: self.stage.name.clone(),
            endpoint: self.endpoint.clone(),
            again: "deploy",
        }
    }

    /// Finds credentials and account.
    ///
    /// # Errors
    /// Missing or wrong credentials, or nobody at the endpoint.
    pub(crate) async fn session(&self) -> Result<Session, Failure> {
        let connection = self.connection().await?;
        self.identified(connection.identify().await)
    }

    /// Finds credentials and account, and meanwhile reads what is recorded for the stack; returns an engine that deploys
    /// through the session.
    ///
    /// # Errors
    /// As [`Target::session`].
    pub(crate) async fn open(&self) -> Result<(Session, AwsEngine), Failure> {
        let connection = self.connection().await?;
        let opened = StateTable::open(connection, self.graph.stack()).await;
        let (session, store) = self.identified(opened)?;
        let engine = Engine::new(AwsCloud::new(session.clone()), store, owner());
        Ok((session, engine))
    }

    /// Returns an engine that deploys through `session`.
    pub(crate) fn engine(&self, session: &Session) -> AwsEngine {
        let store = StateTable::new(session.connection().clone());
        Engine::new(AwsCloud::new(session.clone()), store, owner())
    }

    async fn connection(&self) -> Result<Connection, Failure> {
        let credentials = self
            .is_local
            .then(|| (local_cloud::CREDENTIAL.to_owned(), local_cloud::CREDENTIAL.to_owned()));
        let options = SessionOptions {
            profile: self.profile.clone().filter(|_| !self.is_local),
            region: self.stage.region.clone(),
            endpoint_url: self.endpoint.clone(),
            credentials,
        };
        self.identified(Connection::open(options).await)
    }

    fn identified<T>(&self, result: Result<T, SessionError>) -> Result<T, Failure> {
        result.map_err(|error| Failure::session(error, &self.scope()))
    }
}

/// Returns the Region asked for outside the stage file. AWS's own tools read both variables.
pub(crate) fn region(global: &Global) -> Option<String> {
    global
        .region
        .clone()
        .or_else(|| environment("AWS_REGION"))
        .or_else(|| environment("AWS_DEFAULT_REGION"))
}

/// Reads `infra/stages/NAME.yml`.
///
/// # Errors
/// An unknown stage with those that exist, or the place of the mistake in the file.
pub(crate) fn load_stage(root: &Path, name: &str, region: Option<&str>) -> Result<Stage, Failure> {
    let folder = root.join("infra/stages");
    let file = format!("infra/stages/{name}.yml");
    let stages = stage_names(&folder);
    if !stages.iter().any(|stage| stage == name) {
        return Err(Failure::usage(format!("there is no stage `{name}`")).help(format!(
            "stages are {}; for a new one, copy a file of infra/stages to NAME.yml: 1 to 20 lowercase letters, digits and hyphens",
            stages.join(", ")
        )));
    }
    let text = std::fs::read_to_string(folder.join(format!("{name}.yml")))
        .map_err(|error| Failure::usage(format!("cannot read {file}")).because(error))?;
    infra::stage(name, region, &text).map_err(|error| {
        let place = error.location();
        let offset = place.as_ref().map_or(0, serde_yaml::Location::index);
        let at = place.map_or_else(
            || file.clone(),
            |place| format!("{file}:{}:{}", place.line(), place.column()),
        );
        Failure::usage(format!("{at} is no valid stage file"))
            .at(&file, &text, offset, error.to_string())
            .help("the keys are those of `Settings` in infra/cdk/src/stage.rs")
    })
}

/// Returns the names of all stages.
pub(crate) fn stage_names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".yml").map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// Returns who deploys, for those who find the stack locked: `ada@laptop (process 4711)`.
fn owner() -> String {
    let user = environment("USER")
        .or_else(|| environment("LOGNAME"))
        .unwrap_or_else(|| "somebody".to_owned());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .or_else(|| environment("HOSTNAME"))
        .unwrap_or_else(|| "some host".to_owned());
    format!("{user}@{host} (process {})", std::process::id())
}

/// Returns a variable that is set and not empty.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::failure::Exit;

    fn root_with(stage: &str, yaml: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let stages = folder.path().join("infra/stages");
        std::fs::create_dir_all(&stages).unwrap();
        std::fs::write(stages.join("prod.yml"), "").unwrap();
        std::fs::write(stages.join(format!("{stage}.yml")), yaml).unwrap();
        folder
    }

    fn report(failure: Failure) -> String {
        let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor())
            .with_width(110)
            .with_links(false);
        let mut text = String::new();
        handler.render_report(&mut text, &failure).unwrap();
        text
    }

    #[test]
    fn an_unknown_stage_lists_those_that_exist() {
        let folder = root_with("dev", "");
        let failure = load_stage(folder.path(), "staging", None).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        insta::assert_snapshot!(report(failure));
    }

    #[test]
    fn a_path_is_no_stage() {
        let folder = root_with("dev", "");
        assert!(load_stage(folder.path(), "../stages/dev", None).is_err());
    }

    #[test]
    fn a_typo_is_shown_in_its_line() {
        let folder = root_with("dev", "region: eu-central-1\nlogRetentionDay: 7\n");
        let failure = load_stage(folder.path(), "dev", None).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        insta::assert_snapshot!(report(failure));
    }

    #[test]
    fn the_command_line_wins_over_the_stage_file() {
        let folder = root_with("dev", "region: eu-central-1\narchitecture: arm64\n");
        assert_eq!(load_stage(folder.path(), "dev", None).unwrap().region, "eu-central-1");
        assert_eq!(
            load_stage(folder.path(), "dev", Some("us-west-2")).unwrap().region,
            "us-west-2"
        );
    }

    #[test]
    fn the_stages_of_this_project_are_valid() {
        let root = Workspace::find().root;
        for name in stage_names(&root.join("infra/stages")) {
            let stage = load_stage(&root, &name, None).unwrap();
            assert!(infra::chat(&stage).is_ok(), "{name}");
        }
    }
}
