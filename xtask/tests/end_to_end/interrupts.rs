//! Ctrl-C, a killed deployment, and two deployments at once: real processes and real signals.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::gate::Gate;
use crate::support::{Finished, LocalCloud, PATIENCE};

/// The first call for any function.
const CREATE_FUNCTION: &str = "POST /2015-03-31/functions HTTP";

/// A command that runs, and what it has said so far.
struct Running {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let readers = vec![
            gather(child.stdout.take().unwrap(), Arc::clone(&stdout)),
            gather(child.stderr.take().unwrap(), Arc::clone(&stderr)),
        ];
        Self {
            child,
            stdout,
            stderr,
            readers,
        }
    }

    fn says(&self, words: &str) {
        let began = Instant::now();
        while !self.stderr.lock().unwrap().contains(words) {
            assert!(
                began.elapsed() < PATIENCE,
                "{words:?} is not in:\n{}",
                self.stderr.lock().unwrap()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn interrupt(&self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
        assert!(sent.success());
    }

    fn finish(mut self) -> Finished {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let text = |of: &Mutex<String>| of.lock().unwrap().clone();
        Finished {
            code,
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
        }
    }
}

fn gather(mut from: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            into.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    })
}

/// Starts a deployment through a gate, and returns when a function is about to be created.
fn held_deployment(cloud: &LocalCloud) -> (Running, Gate) {
    let gate = Gate::before(&cloud.endpoint, CREATE_FUNCTION);
    let mut command = cloud.command(&["deploy", "--yes", "--output", "json"]);
    let running = Running::start(command.env("AWS_ENDPOINT_URL", &gate.endpoint));
    gate.wait_until_held();
    (running, gate)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_ctrl_c_ends_in_order() {
    let cloud = LocalCloud::start();
    let (deployment, gate) = held_deployment(&cloud);
    deployment.interrupt();
    deployment.says("nothing new is begun");
    gate.open();
    let ended = deployment.finish();
    ended.fails_with(
        130,
        &[
            "all of it is recorded",
            "continue with: cargo xtask deploy --stage local",
        ],
    );
    let result = ended.events().pop().unwrap();
    assert_eq!(result["event"], "result");
    assert_eq!(result["interrupted"], true);
    assert_eq!(result["failed"], serde_json::json!([]));
    assert!(!result["skipped"].as_array().unwrap().is_empty(), "{result}");

    // The lock is free, and what was done is not done again.
    let again = cloud.run(&["deploy", "--yes", "--no-wait", "--output", "json"]).json();
    for step in result["changed"].as_array().unwrap() {
        assert!(
            !again["changed"].as_array().unwrap().contains(step),
            "{step} was done again"
        );
    }
    assert_eq!(cloud.run(&["diff", "--exit-code"]).code, 0);
    assert_eq!(cloud.run(&["destroy", "--yes"]).code, 0);
    assert_eq!(cloud.inventory().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_ctrl_c_leaves_at_once_and_the_next_deployment_recovers() {
    let cloud = LocalCloud::start();
    let (mut deployment, gate) = held_deployment(&cloud);
    deployment.interrupt();
    deployment.says("nothing new is begun");
    // Signals of one press come together; a second press comes later.
    let began = Instant::now();
    while deployment.child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < PATIENCE);
        deployment.interrupt();
        std::thread::sleep(Duration::from_millis(100));
    }
    deployment
        .finish()
        .fails_with(130, &["left at once", "run the same command again"]);

    // Its lock holds for a while yet; its calls may still arrive.
    cloud
        .run(&["deploy", "--yes", "--no-wait"])
        .fails_with(1, &["is being deployed by", "cargo xtask deploy --stage local"]);
    gate.open();
    let next = cloud.run(&["deploy", "--yes", "--output", "json"]);
    assert_eq!(next.json()["failed"], serde_json::json!([]));
    assert!(next.stderr.contains("gives no sign of life"), "{}", next.stderr);
    assert!(next.events().iter().any(|event| event["event"] == "waitingForLock"));
    assert_eq!(cloud.run(&["diff", "--exit-code"]).code, 0);
    assert_eq!(cloud.run(&["destroy", "--yes"]).code, 0);
    assert_eq!(cloud.inventory().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_deployments_at_once_the_second_waits_or_is_refused() {
    let cloud = LocalCloud::start();
    let (first, gate) = held_deployment(&cloud);
    let owner = format!("(process {})", first.child.id());
    for command in ["deploy", "destroy"] {
        cloud.run(&[command, "--yes", "--no-wait"]).fails_with(
            1,
            &[
                "is being deployed by",
                &owner,
                &format!("cargo xtask {command} --stage local"),
            ],
        );
    }
    let mut command = cloud.command(&["deploy", "--yes", "--output", "json"]);
    // The endpoint is in the functions' environment, so it must be the same.
    let second = Running::start(command.env("AWS_ENDPOINT_URL", &gate.endpoint));
    second.says(&format!("{owner} has been deploying this stack for"));
    gate.open();
    let first = first.finish();
    assert_eq!(first.json()["failed"], serde_json::json!([]));
    let second = second.finish();
    assert_eq!(second.json()["changed"], serde_json::json!([]), "{}", second.stderr);
    assert_eq!(second.json()["outputs"], first.json()["outputs"]);
}
