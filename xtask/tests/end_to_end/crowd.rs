//! `cargo xtask bench chat` in small: a crowd in one room, and people who come and go while calls fail.

use crate::support::{finish, xtask};

#[test]
fn a_crowd_gets_every_message_once() {
    let scratch = tempfile::tempdir().unwrap();
    let arguments = [
        "bench",
        "chat",
        "--connections",
        "60",
        "--messages",
        "2",
        "--output",
        "json",
    ];
    let figures = finish(xtask().args(arguments).env("STACKWRIGHT_SCRATCH", scratch.path())).json();
    assert_eq!(
        (&figures["lost"], &figures["twice"]),
        (&0.into(), &0.into()),
        "{figures}"
    );
    assert_eq!(figures["connections"], 60, "{figures}");
}

#[test]
fn nothing_is_lost_while_posts_and_tables_fail_and_people_come_and_go() {
    let scratch = tempfile::tempdir().unwrap();
    let arguments = ["bench", "chat", "--soak", "40s", "--clients", "40", "--output", "json"];
    let figures = finish(xtask().args(arguments).env("STACKWRIGHT_SCRATCH", scratch.path())).json();
    assert_eq!(figures["rowsLeft"], 0, "{figures}");
    assert!(figures["owed"].as_u64() > Some(0), "{figures}");
}
