//! Checks that whatever is built, the SDK crates are compiled with the same features, and so only once.
//!
//! Cargo unites features over the packages that it is told to build. A feature that only the functions or only the tests
//! switch on, in any crate below an SDK crate, would compile all of these again: minutes on a laptop. The cure is to name
//! that feature in the workspace's manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::failure::Failure;
use crate::package::cargo_command;

/// What costs minutes to compile.
const EXPENSIVE: [&str; 3] = ["aws-sdk-apigatewayv2", "aws-sdk-dynamodb", "aws-sdk-lambda"];

/// What people build, one after the other: cargo's arguments, and what they stand for. The first is what the others are
/// compared with.
const BUILDS: [(&str, &[&str]); 3] = [
    ("the command line", &["--edges=normal,build", "--package=xtask"]),
    (
        "the functions",
        &["--edges=normal,build", "--package=xtask", "--package=functions"],
    ),
    ("the tests", &["--edges=normal,build,dev", "--workspace"]),
];

/// Features of crates by name and version.
type Features = BTreeMap<String, BTreeSet<String>>;

/// Returns the differences, one line each.
///
/// # Errors
/// When cargo cannot tell.
pub(super) async fn check(root: &Path) -> Result<Vec<String>, Failure> {
    let expensive: Vec<String> = EXPENSIVE.iter().map(|name| format!("--package={name}")).collect();
    let mut arguments = vec!["--edges=normal,build"];
    arguments.extend(expensive.iter().map(String::as_str));
    let below = tree(root, &arguments).await?;
    let mut builds = Vec::new();
    for (name, arguments) in BUILDS {
        builds.push((name, tree(root, arguments).await?));
    }
    Ok(differences(&below, &builds))
}

async fn tree(root: &Path, arguments: &[&str]) -> Result<Features, Failure> {
    let mut command = cargo_command(root);
    command
        .args(["tree", "--prefix=none", "--format={p}|{f}"])
        .args(arguments);
    let output = command
        .output()
        .await
        .map_err(|error| Failure::new("cannot start cargo").because(error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure::new(format!("cargo tree failed: {said}")));
    }
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads lines such as `uuid v1.29.1|std,v4 (*)`.
fn parse(text: &str) -> Features {
    let mut features = Features::new();
    for line in text.lines() {
        let line = line.trim().trim_end_matches("(*)").trim_end();
        if let Some((package, list)) = line.split_once('|') {
            let package = package.trim_end_matches("(proc-macro)").trim_end();
            let names = list.split(',').filter(|name| !name.is_empty()).map(str::to_owned);
            features.entry(package.to_owned()).or_default().extend(names);
        }
    }
    features
}

fn differences(below: &Features, builds: &[(&str, Features)]) -> Vec<String> {
    let mut found = Vec::new();
    let Some(((first_name, first), others)) = builds.split_first() else {
        return found;
    };
    for package in below.keys() {
        let Some(expected) = first.get(package) else { continue };
        for (name, features) in others {
            let Some(actual) = features.get(package) else { continue };
            let only: Vec<_> = actual.symmetric_difference(expected).map(String::as_str).collect();
            if !only.is_empty() {
                found.push(format!(
                    "{package} has not the same features in {first_name} and in {name} ({}), so all SDK crates are \
                     compiled twice: name them in the root Cargo.toml and let xtask depend on the crate",
                    only.join(", ")
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_that_only_one_build_has_is_named() {
        let below = parse("aws-sdk-lambda v1.0.0|rt-tokio\nuuid v1.0.0|std");
        let same = parse("uuid v1.0.0|std,v4 (*)\nclap v4.0.0|std");
        let other = parse("uuid v1.0.0|rng,std,v4\nclap v4.0.0|derive,std");
        assert_eq!(
            differences(&below, &[("a", same.clone()), ("b", same.clone())]),
            Vec::<String>::new()
        );
        let found = differences(&below, &[("a", same), ("b", other)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("uuid v1.0.0") && found[0].contains("(rng)"),
            "{found:?}"
        );
    }
}
