//! `cargo xtask invoke` and `cargo xtask chat`, as scripts use them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};

use crate::support::{Finished, LocalCloud, root};

/// Runs a command with a text in its stdin.
fn fed(command: &mut Command, stdin: &str) -> Finished {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its options reads nothing.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Finished {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_are_invoked_and_people_chat_from_scripts() {
    let cloud = LocalCloud::start();
    let outputs = cloud.deploy()["outputs"].clone();

    let event = std::fs::read_to_string(root().join("functions/tests/events/message.json")).unwrap();
    let answered = fed(&mut cloud.command(&["invoke", "default", "--output", "json"]), &event);
    let answer = answered.json();
    assert_eq!(answer["functionError"], Json::Null, "{answer}");
    assert_eq!(answer["payload"]["statusCode"], 200, "{answer}");
    assert_eq!(answer["report"]["coldStart"], true, "{answer}");
    let human = fed(&mut cloud.command(&["invoke", "default"]), &event);
    assert!(human.stdout.contains("\"statusCode\": 200"), "{}", human.stdout);
    assert!(human.stderr.contains("success after"), "{}", human.stderr);

    let failed = cloud.run(&["invoke", "connect", "--payload", "[]", "--output", "json"]);
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    assert_eq!(failed.events()[0]["functionError"], "Unhandled");
    cloud
        .run(&["invoke", "nobody"])
        .fails_with(2, &["there is no function `nobody`", "authorize"]);
    cloud
        .run(&["invoke", "connect", "--payload", "{"])
        .fails_with(2, &["the payload is no JSON"]);

    // One listens, the other talks.
    let mut listener = cloud
        .command(&[
            "chat", "--user", "ana", "--room", "red", "--linger", "1h", "--output", "json",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut heard = BufReader::new(listener.stdout.take().unwrap()).lines();
    let mut hear = |kind: &str| -> Json {
        loop {
            let frame: Json = serde_json::from_str(&heard.next().unwrap().unwrap()).unwrap();
            if frame["type"] == kind {
                return frame;
            }
        }
    };
    let talk = |arguments: &[&str], lines: &str| {
        let mut command = cloud.command(&["chat", "--room", "red"]);
        fed(command.args(arguments), lines)
    };
    // Until the listener is in the room.
    while !talk(&["--user", "bo", "--output", "json"], "/who\n")
        .stdout
        .contains("\"ana\"")
    {}
    let said = talk(&["--user", "bo"], "Hello, World!\n/who\n");
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(
        said.stdout.contains("in red: ") && said.stdout.contains("ana"),
        "{}",
        said.stdout
    );
    let message = hear("message");
    assert_eq!(
        (&message["data"], &message["from"]["sub"]),
        (&json!("Hello, World!"), &json!("bo"))
    );

    // What is answered by an error ends with 1, and so does what is not understood.
    let refused = talk(&["--user", "bo"], "/announce tea\n");
    assert_eq!(refused.code, 1);
    assert!(refused.stdout.contains("forbidden"), "{}", refused.stdout);
    assert_eq!(talk(&["--user", "bo"], "/dance\n").code, 1);
    assert_eq!(talk(&["--user", "bo", "--role", "admin"], "/announce tea\n").code, 0);
    assert_eq!(hear("announcement")["data"], "tea");
    let history = talk(&["--user", "cy"], "/history\n");
    assert!(history.stdout.contains("bo  Hello, World!"), "{}", history.stdout);

    // A token of one's own, at any address.
    let (url, token) = (outputs["webSocketUrl"].as_str().unwrap(), cloud.token(&["--sub", "di"]));
    let mut command = cloud.command(&["chat", url]);
    assert_eq!(fed(command.env("CHAT_TOKEN", &token), "hi\n").code, 0);
    let expired = cloud.token(&["--sub", "di", "--expires-in", "-1h"]);
    let refused = cloud.run(&["chat", url, "--token", &expired]);
    refused.fails_with(1, &["HTTP 403", "cargo xtask chat --user"]);
    assert!(!refused.stderr.contains(&expired));
    cloud
        .run(&["chat", "--room", "no room"])
        .fails_with(2, &["no name of a room"]);

    let killed = Command::new("kill").args(["-INT", &listener.id().to_string()]).status();
    assert!(killed.unwrap().success());
    assert_eq!(listener.wait().unwrap().code(), Some(0));
}
