//! Deployments that are killed or lose an answer, and are run again. `cargo xtask bench kill --all` does this with every
//! call; here are those that leave most behind.

use serde_json::json;

use crate::support::{finish, xtask};

#[test]
fn what_is_killed_or_lost_is_healed() {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = xtask();
    command
        .args(["bench", "kill", "--output", "json"])
        .env("STACKWRIGHT_SCRATCH", scratch.path());
    let cases = [
        "first:kill-before:9",
        "first:kill-after:12",
        "first:kill-after:60",
        "first:lose-answer:40",
        "update:kill-after:48",
        "destroy:kill-after:8",
        "destroy:lose-answer:20",
    ];
    for case in cases {
        command.args(["--only", case]);
    }
    let report = finish(&mut command).json();
    assert_eq!(report["exceptions"], json!([]));
    assert_eq!(report["healed"], cases.len());
    assert_eq!(report["mutatingAfterLostRecord"], json!([]));
}
