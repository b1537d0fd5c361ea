//! A local cloud in a process of its own, with the chat deployed on it.

use std::process::Stdio;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::cli::Global;
use crate::commands::App;
use crate::commands::token::Minter;
use crate::failure::Failure;
use crate::local_cloud::{self, Address};
use crate::outputs::Outputs;
use crate::package::ChildGroup;
use crate::target::Target;
use crate::workspace::Workspace;

/// The deployed chat. Everything ends when it is dropped.
pub(crate) struct House {
    cloud: ChildGroup,
    address: Address,
    outputs: Outputs,
    minter: Minter,
    scratch: std::path::PathBuf,
}

impl House {
    /// Starts a local cloud and deploys the stage `local` on it.
    ///
    /// # Errors
    /// When it does not start, or the chat cannot be built or deployed.
    pub(crate) async fn open(app: &App, unkindness: &str) -> Result<Self, Failure> {
        let scratch = app.workspace.scratch.join(format!("chat-{}", std::process::id()));
        let workspace = Workspace {
            root: app.workspace.root.clone(),
            scratch: scratch.clone(),
        };
        let failed = |what: &str| Failure::new(format!("{what}; see above"));
        let mut command = xtask(&workspace)?;
        command.args(["local", "--port", "0", "--output", "json"]);
        if !unkindness.is_empty() {
            command.args(["--unkind", unkindness]);
        }
        let mut cloud = ChildGroup::spawn(command)?;
        let mut line = String::new();
        if let Some(stdout) = cloud.stdout() {
            let _ = BufReader::new(stdout).read_line(&mut line).await;
        }
        let address: Address = serde_json::from_str(&line).map_err(|_| failed("the local cloud did not start"))?;

        let mut command = xtask(&workspace)?;
        command.args(["deploy", "--stage", local_cloud::STAGE, "--yes", "--output", "json"]);
        let mut deploy = ChildGroup::spawn(command)?;
        let mut events = String::new();
        if let Some(mut stdout) = deploy.stdout() {
            let _ = stdout.read_to_string(&mut events).await;
        }
        if !deploy.wait().await?.success() {
            return Err(failed("the chat was not deployed"));
        }

        let global = Global {
            stage: Some(local_cloud::STAGE.to_owned()),
            ..app.global.clone()
        };
        let target = Target::inside(&workspace, &global, local_cloud::STAGE, &address)?;
        let session = target.session().await?;
        let outputs = crate::commands::outputs::read(&target, &session).await?;
        let minter = Minter::of_stage(&target, &session, &outputs).await?;
        Ok(Self {
            cloud,
            address,
            outputs,
            minter,
            scratch,
        })
    }

    /// Returns where clients connect.
    pub(crate) fn url(&self) -> &str {
        self.outputs.web_socket_url.as_deref().unwrap_or_default()
    }

    /// Returns a token for a user.
    ///
    /// # Errors
    /// When the stage's key is damaged.
    pub(crate) fn token(&self, sub: String) -> Result<String, Failure> {
        self.minter.mint(&crate::cli::TokenClaims {
            sub,
            name: None,
            roles: Vec::new(),
            expires_in: 4 * 3_600,
        })
    }

    /// Returns the process id of the local cloud.
    pub(crate) fn cloud(&self) -> u32 {
        self.address.pid
    }

    /// Returns how many rows the table of connections has.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) async fn rows(&self) -> Result<u64, Failure> {
        let tables = &self.outputs.tables;
        let table = tables.iter().find(|(id, _)| id.as_str().starts_with("Connections"));
        let Some((_, table)) = table else {
            return Err(Failure::new("the stage has no table of connections"));
        };
        let (mut rows, mut after) = (0, Json::Null);
        loop {
            let mut input = json!({ "TableName": table, "Select": "COUNT", "ConsistentRead": true });
            if !after.is_null() {
                input["ExclusiveStartKey"] = after;
            }
            let page = self.scan(&input).await?;
            rows += page["Count"].as_u64().unwrap_or(0);
            after = page["LastEvaluatedKey"].clone();
            if after.is_null() {
                return Ok(rows);
            }
        }
    }

    async fn scan(&self, input: &Json) -> Result<Json, Failure> {
        let unread = || Failure::new("the table of connections cannot be read");
        let request = hyper::Request::post(&self.address.endpoint)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", "DynamoDB_20120810.Scan")
            // The local cloud reads only the scope of a signature.
            .header(
                "authorization",
                format!(
                    "AWS4-HMAC-SHA256 Credential=local/20260101/{}/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
                    self.address.region
                ),
            )
            .body(Full::new(Bytes::from(input.to_string())))
            .map_err(|error| unread().because(error))?;
        let client = Http::builder(TokioExecutor::new()).build_http();
        let answer = client.request(request).await.map_err(|error| unread().because(error))?;
        let body = answer.into_body().collect().await;
        let body = body.map_err(|error| unread().because(error))?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| unread().because(error))
    }

    /// Ends the local cloud and waits for it.
    pub(crate) async fn close(mut self) {
        self.cloud.terminate();
        let _ = self.cloud.wait().await;
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}

/// Returns this command line, with nothing of the machine's AWS settings.
fn xtask(workspace: &Workspace) -> Result<Command, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::new("cannot find this program").because(error))?;
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
    }
    command
        .env("STACKWRIGHT_SCRATCH", &workspace.scratch)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    Ok(command)
}
