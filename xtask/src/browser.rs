//! The way to the browser client, with a token in place.

use std::process::{Command, Stdio};

use crate::failure::Failure;

/// Returns the address of the page with a token in its fragment: browsers keep that to themselves, no server sees it.
pub(crate) fn link(page: &str, token: &str) -> String {
    format!("{page}#token={token}")
}

/// Opens an address in the user's browser, and waits for neither.
///
/// # Errors
/// When there is no program for it.
pub(crate) fn open(url: &str) -> Result<(), Failure> {
    let (program, arguments): (&str, &[&str]) = if cfg!(target_os = "macos") {
        ("open", &[])
    } else if cfg!(windows) {
        ("rundll32", &["url.dll,FileProtocolHandler"])
    } else {
        ("xdg-open", &[])
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let started = command.spawn().map(|_| ());
    started.map_err(|error| {
        Failure::new(format!("cannot open a browser with `{program}`"))
            .because(error)
            .help("open the printed address yourself")
    })
}
