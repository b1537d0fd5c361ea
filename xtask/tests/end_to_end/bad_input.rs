//! What goes wrong before anything is done: a clear message, the next command, the right exit code.

use std::net::TcpListener;
use std::process::Stdio;

use crate::support::{LocalCloud, finish, root, xtask};

#[test]
fn an_unknown_stage_names_those_that_exist() {
    finish(xtask().args(["outputs", "--stage", "nowhere"])).fails_with(2, &["nowhere", "dev", "local", "prod"]);
}

#[test]
fn an_unknown_option_is_bad_usage() {
    finish(xtask().args(["deploy", "--frobnicate"])).fails_with(2, &["--frobnicate", "--help"]);
}

#[test]
fn missing_credentials_say_where_they_could_come_from() {
    finish(xtask().args(["outputs", "--stage", "dev"])).fails_with(1, &["credentials", "AWS_PROFILE"]);
}

#[test]
fn an_endpoint_where_nobody_answers_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let finished = finish(
        xtask()
            .args(["outputs", "--stage", "dev"])
            .env("AWS_ENDPOINT_URL", &endpoint)
            .env("AWS_ACCESS_KEY_ID", "x")
            .env("AWS_SECRET_ACCESS_KEY", "y"),
    );
    finished.fails_with(1, &[&endpoint]);
}

#[test]
fn no_local_cloud_says_how_to_start_one() {
    let scratch = tempfile::tempdir().unwrap();
    finish(
        xtask()
            .args(["outputs", "--stage", "local"])
            .env("STACKWRIGHT_SCRATCH", scratch.path()),
    )
    .fails_with(1, &["cargo xtask local"]);
}

#[test]
fn a_port_in_use_says_how_to_choose_another() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    for command in ["local", "dev"] {
        let scratch = tempfile::tempdir().unwrap();
        finish(
            xtask()
                .args([command, "--port", &port])
                .env("STACKWRIGHT_SCRATCH", scratch.path()),
        )
        .fails_with(1, &[&port, "--port"]);
    }
}

#[test]
fn a_typo_in_a_stage_file_is_shown_with_its_line() {
    let name = format!("typo-{}", std::process::id());
    let path = root().join(format!("infra/stages/{name}.yml"));
    std::fs::write(&path, "region: us-east-1\nlogRetentoinDays: 7\n").unwrap();
    let finished = finish(xtask().args(["outputs", "--stage", &name]));
    std::fs::remove_file(&path).unwrap();
    finished.fails_with(2, &[&format!("{name}.yml:2:1"), "logRetentoinDays"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_needs_a_deployed_key() {
    let cloud = LocalCloud::start();
    cloud
        .run(&["token", "--sub", "ana"])
        .fails_with(1, &["cargo xtask deploy --stage local"]);
}

#[test]
fn nobody_who_reads_is_no_failure() {
    let mut command = xtask();
    command.args(["sim", "--seed", "1"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.is_empty(), "{}: {said}", ended.status);
}
