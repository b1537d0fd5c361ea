//! What needs no code is provisioned while cargo compiles; and what programs and plain logs see of a deployment.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::{Value as Json, json};

use crate::support::LocalCloud;

/// A cargo that does nothing until it is released; then it compiles, or fails.
struct SlowCargo {
    folder: tempfile::TempDir,
}

impl SlowCargo {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("cargo");
        let real = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let text = format!(
            "#!/bin/sh\nwhile [ ! -e '{0}/go' ] && [ ! -e '{0}/fail' ]; do sleep 0.05; done\n\
             [ -e '{0}/fail' ] && {{ echo 'error: it does not compile' >&2; exit 101; }}\nexec '{real}' \"$@\"\n",
            folder.path().display()
        );
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("cargo")
    }

    fn then(&self, what: &str) {
        std::fs::write(self.folder.path().join(what), "").unwrap();
    }
}

/// Starts a deployment and returns its events until `is_last` says so.
#[expect(clippy::zombie_processes, reason = "the caller waits for it")]
fn deploy_until(
    cloud: &LocalCloud,
    cargo: &SlowCargo,
    is_last: impl Fn(&Json) -> bool,
) -> (Child, BufReader<std::process::ChildStdout>, Vec<Json>) {
    let mut child = cloud
        .command(&["deploy", "--yes", "--output", "json"])
        .env("CARGO", cargo.path())
        .env_remove("NO_COLOR")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut events = Vec::new();
    loop {
        let mut line = String::new();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "{events:#?}");
        let event: Json = serde_json::from_str(&line).unwrap();
        let found = is_last(&event);
        events.push(event);
        if found {
            return (child, lines, events);
        }
    }
}

fn rest(mut child: Child, lines: impl BufRead) -> (i32, Vec<Json>, String) {
    let mut stderr = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    let events = lines.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
    let events = events.collect();
    let code = child.wait().unwrap().code().unwrap();
    (code, events, reader.join().unwrap())
}

fn is(event: &Json, name: &str, id: &str) -> bool {
    event["event"] == name && event["id"] == id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_deployment_does_not_wait_for_the_compiler() {
    let cloud = LocalCloud::start();
    let cargo = SlowCargo::new();
    let (child, lines, before) = deploy_until(&cloud, &cargo, |event| is(event, "finished", "ChatApi"));
    assert_eq!(before[0]["event"], "begun");
    assert_eq!(before[0]["schemaVersion"], 1);
    assert_eq!(before[0]["stack"], "chat/local");
    cargo.then("go");
    let (code, after, stderr) = rest(child, lines);
    assert_eq!(code, 0, "{stderr}");
    let all: Vec<&Json> = before.iter().chain(&after).collect();
    let at = |name: &str| all.iter().position(|event| event["event"] == name).unwrap();
    assert!(at("plan") < at("started") && at("started") < at("packaged"));
    let first_function = all
        .iter()
        .position(|event| event["event"] == "started" && event["type"] == "AWS::Lambda::Function")
        .unwrap();
    assert!(at("packaged") < first_function);
    let steps = all[at("plan")]["actions"].as_array().unwrap().len();
    for name in ["started", "finished"] {
        assert_eq!(
            all.iter().filter(|event| event["event"] == name).count(),
            steps,
            "{name}"
        );
    }
    assert!(
        all.iter()
            .all(|event| event["atMs"].is_u64() || event["event"] == "result")
    );
    let result = all.last().unwrap();
    assert_eq!(result["event"], "result");
    assert_eq!(result["schemaVersion"], 1);
    assert_eq!(result["calls"]["lambda:CreateFunction"], 9);
    assert_eq!(result["changed"].as_array().unwrap().len(), steps);

    // Not a terminal: one plain line per event, and no control characters.
    assert!(!stderr.contains('\u{1b}') && !stderr.contains('\r'), "{stderr}");
    for line in [
        "+ AWS::ApiGatewayV2::Api ChatApi …",
        "+ AWS::ApiGatewayV2::Api ChatApi ",
    ] {
        assert!(stderr.contains(line), "{stderr}");
    }
    assert_eq!(cloud.run(&["diff", "--exit-code"]).code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_compilation_keeps_what_was_provisioned() {
    let cloud = LocalCloud::start();
    let cargo = SlowCargo::new();
    let (child, lines, _) = deploy_until(&cloud, &cargo, |event| is(event, "finished", "ChatApi"));
    cargo.then("fail");
    let (code, after, stderr) = rest(child, lines);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("the functions do not compile"), "{stderr}");
    assert!(
        stderr.contains("continue with: cargo xtask deploy --stage local"),
        "{stderr}"
    );
    let result = after.last().unwrap();
    assert_eq!(result["error"]["message"], "the functions do not compile");
    assert_eq!(result["failed"], json!([]));
    let api = json!({"id": "ChatApi", "type": "AWS::ApiGatewayV2::Api", "action": "create"});
    assert!(result["changed"].as_array().unwrap().contains(&api), "{result}");

    let next = cloud.deploy();
    assert_eq!(next["failed"], json!([]));
    assert!(!next["changed"].as_array().unwrap().contains(&api), "{next}");
    assert_eq!(cloud.run(&["diff", "--exit-code"]).code, 0);

    // An update compiles first: nothing is begun with code that may not come.
    let inventory = cloud.inventory().await;
    let mut failing = cloud.command(&["deploy", "--yes", "--output", "json"]);
    let failed = crate::support::finish(failing.env("CARGO", cargo.path()));
    failed.fails_with(1, &["the functions do not compile"]);
    let result = failed.events().pop().unwrap();
    assert_eq!(result["error"]["message"], "the functions do not compile");
    assert!(result.get("changed").is_none(), "{result}");
    assert_eq!(cloud.inventory().await, inventory);
}
