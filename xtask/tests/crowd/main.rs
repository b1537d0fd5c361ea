//! `cargo xtask bench chat` in small: a crowd in one room, and people who come and go while calls fail.
//!
//! A program of its own, and one test after the other: what they measure is a machine that has nothing else to do. Where
//! everything takes ten times as long, functions are killed at their time-outs, as on AWS.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value as Json;

static ONE_AFTER_THE_OTHER: Mutex<()> = Mutex::new(());

/// Runs `cargo xtask bench chat` and returns its figures; nothing was lost then.
fn bench_chat(options: &[&str]) -> Json {
    let _turn = ONE_AFTER_THE_OTHER.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    let finished = command
        .args(["bench", "chat", "--output", "json"])
        .args(options)
        .env("STACKWRIGHT_SCRATCH", scratch.path())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stdout = String::from_utf8(finished.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&finished.stderr);
    assert!(finished.status.success(), "{stderr}\n{stdout}");
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

#[test]
fn a_crowd_gets_every_message_once() {
    let figures = bench_chat(&["--connections", "60", "--messages", "2"]);
    assert_eq!(
        (&figures["lost"], &figures["twice"]),
        (&0.into(), &0.into()),
        "{figures}"
    );
    assert_eq!(figures["connections"], 60, "{figures}");
}

#[test]
fn nothing_is_lost_while_posts_and_tables_fail_and_people_come_and_go() {
    let figures = bench_chat(&["--soak", "40s", "--clients", "40"]);
    assert_eq!(figures["rowsLeft"], 0, "{figures}");
    assert!(figures["owed"].as_u64() > Some(0), "{figures}");
}
