//! `cargo xtask doctor`: what is missing on this machine and in the account, each with the command that mends it.
//!
//! Looks only: nothing is installed or changed. Read next: [`machine`] and [`account`].

mod account;
mod machine;

use serde::Serialize;
use serde_json::json;

use crate::commands::{App, DEFAULT_STAGE};
use crate::failure::{Exit, Failure};
use crate::target::Target;
use crate::ui::{self, BOLD, DIM, GREEN, RED, YELLOW, paint};

/// What was found about one thing.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// What it is about, such as `compiler`.
    about: &'static str,
    state: State,
    /// What was found.
    found: String,
    /// The command that mends it, or what else to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Good,
    /// It works, and may not always.
    Doubtful,
    /// Something needed is missing.
    Missing,
    /// It was not or could not be looked at.
    Skipped,
}

impl Finding {
    fn good(about: &'static str, found: impl Into<String>) -> Self {
        Self {
            about,
            state: State::Good,
            found: found.into(),
            mend: None,
        }
    }

    fn of(about: &'static str, state: State, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            state,
            mend: Some(mend.into()),
            ..Self::good(about, found)
        }
    }

    /// Says what a command would fail with.
    fn failed(about: &'static str, state: State, failure: &Failure) -> Self {
        let failure = failure.json();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let causes = failure["causes"].as_array().into_iter().flatten().map(text);
        let found: Vec<String> = std::iter::once(text(&failure["message"])).chain(causes).collect();
        Self {
            mend: failure["help"].as_str().map(str::to_owned),
            ..Self::of(about, state, found.join(": "), "")
        }
    }

    fn human(&self) -> String {
        let mark = match self.state {
            State::Good => paint(GREEN, "✓"),
            State::Doubtful => paint(YELLOW, "!"),
            State::Missing => paint(RED, "✗"),
            State::Skipped => paint(DIM, "-"),
        };
        let mut text = format!("{mark} {BOLD}{:12}{BOLD:#} {}", self.about, self.found);
        if let Some(mend) = &self.mend {
            for line in mend.lines() {
                text.push_str(&format!("\n    {DIM}→{DIM:#} {line}"));
            }
        }
        text
    }
}

/// Runs it. Something that is missing ends with [`Exit::Failed`].
///
/// # Errors
/// An unknown stage, or a mistake in its file.
pub(crate) async fn run(app: &App) -> Result<Exit, Failure> {
    let declared = Target::declared(&app.workspace, &app.global, DEFAULT_STAGE)?;
    let has_profile = app.global.profile.is_some() || std::env::var_os("AWS_PROFILE").is_some();
    let looking = Box::pin(async {
        let mut findings = machine::look(&app.workspace, &declared.stage).await;
        findings.extend(match Target::find(&app.workspace, &app.global, DEFAULT_STAGE) {
            Ok(target) => Box::pin(account::look(&target, has_profile)).await,
            Err(failure) => vec![Finding::failed("account", State::Skipped, &failure)],
        });
        Ok(findings)
    });
    let findings: Vec<Finding> = app.interrupt.or(looking).await?;
    let is_whole = findings.iter().all(|finding| finding.state != State::Missing);
    if app.wants_json() {
        let stage = &declared.stage.name;
        ui::json(&json!({"stage": stage, "ok": is_whole, "findings": findings}))?;
    } else {
        for finding in &findings {
            ui::data(finding.human())?;
        }
        ui::say(match is_whole {
            true => paint(
                GREEN,
                format_args!("\nstage `{}` can be worked with", declared.stage.name),
            ),
            false => paint(
                RED,
                format_args!("\nsomething that stage `{}` needs is missing", declared.stage.name),
            ),
        });
    }
    Ok(if is_whole { Exit::Ok } else { Exit::Failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_read_well() {
        let findings = [
            Finding::good("compiler", "rustc 1.95.0"),
            Finding::of(
                "port",
                State::Doubtful,
                "port 4566 is taken",
                "cargo xtask dev --port 0",
            ),
            Finding::of(
                "linker",
                State::Missing,
                "there is no `cc`",
                "sudo apt install gcc\nor: xcode-select --install",
            ),
            Finding::failed(
                "account",
                State::Skipped,
                &Failure::new("stage `dev` cannot be reached")
                    .because("no AWS credentials found")
                    .help("sign in"),
            ),
        ];
        let lines: Vec<_> = findings.iter().map(Finding::human).collect();
        insta::assert_snapshot!(anstream::adapter::strip_str(&lines.join("\n")));
    }
}
