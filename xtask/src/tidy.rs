//! The workspace's dependency rules, as data, and the check of them: `cargo xtask tidy` and a test.
//!
//! They keep the parts apart that must not know each other (see `infra/ARCHITECTURE.md`), and every version and feature
//! in one place, so that cargo compiles each dependency once.

mod features;

use serde::Deserialize;

use crate::commands::App;
use crate::failure::{Exit, Failure};
use crate::package::cargo_command;
use crate::ui::{self, GREEN, RED, paint};

/// What a package must not depend on.
struct Rule {
    /// Packages that it holds for.
    packages: Packages,
    /// Names of dependencies; `*` at the end stands for any rest.
    forbidden: &'static [&'static str],
    /// Whether tests may use them all the same.
    tests_may: bool,
    /// Why.
    reason: &'static str,
}

enum Packages {
    These(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

const RULES: &[Rule] = &[
    Rule {
        packages: Packages::AllBut(&["infra-aws", "functions"]),
        forbidden: &["aws-sdk-*", "aws-config"],
        tests_may: false,
        reason: "only infra-aws and functions talk to AWS through its SDK",
    },
    Rule {
        packages: Packages::These(&["infra-cdk", "functions-domain", "functions-token"]),
        forbidden: &[
            "aws-*",
            "axum",
            "dynoxide-rs",
            "hyper",
            "hyper-*",
            "lambda_runtime",
            "notify",
            "tokio",
            "tokio-*",
        ],
        tests_may: true,
        reason: "it is pure: no I/O, no runtime",
    },
    Rule {
        packages: Packages::These(&["functions-domain"]),
        forbidden: &["http", "serde", "serde_*", "tracing", "uuid"],
        tests_may: false,
        reason: "the chat's rules know no wire format, no log and no randomness",
    },
    Rule {
        packages: Packages::These(&["infra-engine"]),
        forbidden: &[
            "aws-*", "anstream", "anstyle", "axum", "clap", "hyper", "hyper-*", "miette",
        ],
        tests_may: false,
        reason: "the engine knows neither AWS's SDK nor a terminal",
    },
    Rule {
        packages: Packages::These(&["infra-local"]),
        forbidden: &["functions", "functions-*", "infra", "infra-*", "xtask"],
        tests_may: false,
        reason: "the local cloud shares no code with what it tests, so that no misunderstanding is shared",
    },
    Rule {
        packages: Packages::AllBut(&["xtask"]),
        forbidden: &["infra"],
        tests_may: false,
        reason: "the stack is a leaf that only the command line reads",
    },
    Rule {
        packages: Packages::AllBut(&["xtask"]),
        forbidden: &["anstream", "anstyle", "clap", "miette"],
        tests_may: false,
        reason: "only xtask prints",
    },
];

/// Lines that every manifest has.
const INHERITED: &[&str] = &[
    "version.workspace = true",
    "edition.workspace = true",
    "rust-version.workspace = true",
];

/// A package, as `cargo metadata` tells it.
#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or nothing.
    kind: Option<String>,
}

/// Runs it.
///
/// # Errors
/// When cargo cannot tell the packages. Broken rules are shown and end with [`Exit::Failed`].
pub(crate) async fn run(app: &App) -> Result<Exit, Failure> {
    let mut command = cargo_command(&app.workspace.root);
    command.args(["metadata", "--no-deps", "--format-version", "1"]);
    let output = command
        .output()
        .await
        .map_err(|error| Failure::new("cannot start cargo").because(error))?;
    if !output.status.success() {
        return Err(Failure::new(format!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    let mut broken = check(&output.stdout)?;
    broken.extend(features::check(&app.workspace.root).await?);
    if app.wants_json() {
        ui::json(&serde_json::json!({ "broken": broken }))?;
    }
    if broken.is_empty() {
        ui::say(paint(GREEN, "All dependency rules hold."));
        return Ok(Exit::Ok);
    }
    for line in &broken {
        ui::say(format!("{} {line}", paint(RED, "✗")));
    }
    Ok(Exit::Failed)
}

/// Returns the broken rules of a workspace, one line each.
fn check(metadata: &[u8]) -> Result<Vec<String>, Failure> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let Metadata { packages } = serde_json::from_slice(metadata)
        .map_err(|error| Failure::new("cannot read the answer of cargo metadata").because(error))?;
    let mut broken = Vec::new();
    for package in &packages {
        broken.extend(broken_dependencies(package));
        let manifest = std::fs::read_to_string(&package.manifest_path)
            .map_err(|error| Failure::new(format!("cannot read {}", package.manifest_path)).because(error))?;
        broken.extend(broken_lines(&package.name, &manifest));
    }
    Ok(broken)
}

fn broken_dependencies(package: &Package) -> Vec<String> {
    let applies = |rule: &&Rule| match &rule.packages {
        Packages::These(names) => names.contains(&package.name.as_str()),
        Packages::AllBut(names) => !names.contains(&package.name.as_str()),
    };
    let mut broken = Vec::new();
    for rule in RULES.iter().filter(applies) {
        for dependency in &package.dependencies {
            let is_allowed = rule.tests_may && dependency.kind.as_deref() == Some("dev");
            if !is_allowed && rule.forbidden.iter().any(|pattern| matches(pattern, &dependency.name)) {
                broken.push(format!(
                    "{} depends on {}: {}",
                    package.name, dependency.name, rule.reason
                ));
            }
        }
    }
    broken
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

/// Checks the text of a manifest: what it inherits cannot be seen in `cargo metadata`.
fn broken_lines(name: &str, manifest: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for line in INHERITED {
        if !manifest.lines().any(|candidate| candidate.trim() == *line) {
            broken.push(format!("{name} lacks `{line}` in its manifest"));
        }
    }
    let mut section = "";
    let mut lints_are_inherited = false;
    for (number, line) in manifest.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
            if dependency_section(section) == Some(false) {
                broken.push(format!(
                    "{name}, line {}: write `NAME.workspace = true` instead of a section",
                    number + 1
                ));
            }
        } else if section == "lints" {
            lints_are_inherited |= line == "workspace = true";
        } else if dependency_section(section) == Some(true) && !line.is_empty() && !line.ends_with(".workspace = true")
        {
            broken.push(format!(
                "{name}, line {}: `{line}` must be `NAME.workspace = true`; versions and features live in the workspace's manifest",
                number + 1
            ));
        }
    }
    if !lints_are_inherited {
        broken.push(format!("{name} lacks `[lints] workspace = true` in its manifest"));
    }
    broken
}

/// Returns whether a section lists dependencies (`true`) or is about a single one (`false`); `None` for others.
fn dependency_section(section: &str) -> Option<bool> {
    const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
    let of_any_target = section.rsplit_once("'.").map_or(section, |(_, rest)| rest);
    KINDS.iter().find_map(|kind| {
        let rest = of_any_target.strip_prefix(kind)?;
        (rest.is_empty() || rest.starts_with('.')).then_some(rest.is_empty())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn all_rules_hold_in_this_workspace() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = std::process::Command::new(cargo)
            .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
            .current_dir(Workspace::find().root)
            .output()
            .unwrap();
        assert_eq!(check(&output.stdout).unwrap(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn the_sdk_crates_are_compiled_once() {
        let root = Workspace::find().root;
        assert_eq!(features::check(&root).await.unwrap(), Vec::<String>::new());
    }

    #[test]
    fn forbidden_dependencies_are_named_with_a_reason() {
        let cases = [
            ("infra-engine", "aws-sdk-lambda", 2),
            ("infra-cdk", "tokio", 1),
            ("functions-domain", "hyper-util", 1),
            ("infra-local", "infra-sigv4", 1),
            ("infra-aws", "infra", 1),
            ("functions", "clap", 1),
            ("infra-aws", "aws-sdk-lambda", 0),
            ("functions", "infra-sigv4", 0),
            ("xtask", "infra", 0),
            ("xtask", "aws-config", 1),
        ];
        for (name, dependency, expected) in cases {
            let package = Package {
                name: name.to_owned(),
                manifest_path: String::new(),
                dependencies: vec![Dependency {
                    name: dependency.to_owned(),
                    kind: None,
                }],
            };
            let broken = broken_dependencies(&package);
            assert_eq!(broken.len(), expected, "{name} {dependency}: {broken:?}");
        }
    }

    const GOOD: &str = "[package]\nname = \"x\"\nversion.workspace = true\nedition.workspace = true\n\
                        rust-version.workspace = true\n\n[lints]\nworkspace = true\n\n[dependencies]\nserde.workspace = true\n";

    #[test]
    fn a_manifest_that_inherits_everything_is_right() {
        assert_eq!(broken_lines("x", GOOD), Vec::<String>::new());
    }

    #[test]
    fn a_manifest_with_versions_or_features_of_its_own_is_wrong() {
        for line in [
            "tokio = \"1\"",
            "tokio = { workspace = true, features = [\"full\"] }",
            "tokio.version = \"1\"",
            "[dev-dependencies.tokio]",
            "[target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"",
        ] {
            let broken = broken_lines("x", &format!("{GOOD}{line}\n"));
            assert_eq!(broken.len(), 1, "{line}: {broken:?}");
        }
        let broken = broken_lines("x", &GOOD.replace("[lints]\nworkspace = true", ""));
        assert_eq!(broken.len(), 1, "{broken:?}");
        let broken = broken_lines("x", &GOOD.replace("edition.workspace", "edition"));
        assert_eq!(broken.len(), 1, "{broken:?}");
    }
}
