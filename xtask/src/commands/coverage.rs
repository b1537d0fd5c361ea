//! `cargo xtask coverage`: all tests, instrumented, and how much of each crate they run.
//!
//! Fails when the functions, what users depend on, are covered less than [`GATE`] asks; the other crates are reported.
//! What is missing on the machine is installed, and said: see [`tools`].

mod tools;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use serde::Deserialize;
use serde_json::json;

use crate::cli::Coverage;
use crate::commands::App;
use crate::failure::{Exit, Failure};
use crate::package::{ChildGroup, cargo_command};
use crate::ui::{self, GREEN, RED, paint};

/// Folder of the crates that must be covered.
const GATED: &str = "functions";

/// What they must have, in per cent.
const GATE: [(&str, f64); 3] = [("lines", 90.0), ("regions", 90.0), ("functions", 80.0)];

/// So many of the least covered files are named when the gate fails.
const FILES_SHOWN: usize = 5;

/// Runs it.
///
/// # Errors
/// When tools are missing and cannot be installed, or when tests fail. Too little coverage ends with [`Exit::Failed`].
pub(crate) async fn run(app: &App, options: &Coverage) -> Result<Exit, Failure> {
    let root = &app.workspace.root;
    let environment = app.interrupt.or(tools::ensure(&app.workspace)).await?;
    let report = app.workspace.scratch.join("coverage.json");
    let mut command = cargo_command(root);
    command
        .arg("llvm-cov")
        .args(["--json", "--summary-only", "--output-path"])
        .arg(&report)
        .envs(environment)
        .stdin(Stdio::null())
        // Whatever tests print is no data.
        .stdout(std::io::stderr());
    if options.packages.is_empty() {
        command.arg("--workspace");
    }
    for package in &options.packages {
        command.args(["--package", package]);
    }
    std::fs::create_dir_all(&app.workspace.scratch)
        .map_err(|error| Failure::new("cannot make a folder for the report").because(error))?;
    let passed = app
        .interrupt
        .or(async { ChildGroup::spawn(command)?.wait().await })
        .await?
        .success();
    if !passed {
        return Err(Failure::new("tests failed under coverage").help("run them without it: cargo xtask test"));
    }
    let text = std::fs::read_to_string(&report)
        .map_err(|error| Failure::new(format!("cannot read {}", report.display())).because(error))?;
    let coverage = Measured::parse(&text, root)?;
    if app.wants_json() {
        ui::json(&coverage.json())?;
    } else {
        ui::data(coverage.table())?;
    }
    let missed = coverage.missed();
    if missed.is_empty() {
        ui::say(paint(GREEN, "The functions are covered as they must be."));
        return Ok(Exit::Ok);
    }
    for line in missed {
        ui::say(format!("{} {line}", paint(RED, "✗")));
    }
    ui::say(format!("Least covered: {}", coverage.least().join(", ")));
    Ok(Exit::Failed)
}

/// Covered and countable lines, regions or functions.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Count {
    covered: u64,
    count: u64,
}

/// All counts of a file or of several.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Counts {
    lines: Count,
    regions: Count,
    functions: Count,
}

/// What was measured, by the files' paths below the workspace.
#[derive(Debug)]
struct Measured {
    files: BTreeMap<String, Counts>,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.covered += other.covered;
        self.count += other.count;
    }

    /// What has nothing to cover is covered.
    fn percent(self) -> f64 {
        if self.count == 0 {
            return 100.0;
        }
        self.covered as f64 * 100.0 / self.count as f64
    }
}

impl Counts {
    fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        all.into_iter().fold(Self::default(), |mut sum, one| {
            sum.lines.add(one.lines);
            sum.regions.add(one.regions);
            sum.functions.add(one.functions);
            sum
        })
    }

    /// In the order of [`GATE`].
    fn percents(self) -> [f64; 3] {
        [self.lines.percent(), self.regions.percent(), self.functions.percent()]
    }
}

impl Measured {
    /// Reads what `llvm-cov export` wrote.
    fn parse(text: &str, root: &Path) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Export {
            data: Vec<Data>,
        }
        #[derive(Deserialize)]
        struct Data {
            files: Vec<File>,
        }
        #[derive(Deserialize)]
        struct File {
            filename: String,
            summary: Counts,
        }
        let export: Export = serde_json::from_str(text)
            .map_err(|error| Failure::new("llvm-cov's report is unreadable").because(error))?;
        let files = export.data.into_iter().flat_map(|data| data.files);
        let below = |file: File| {
            let path = Path::new(&file.filename).strip_prefix(root).ok()?;
            Some((path.display().to_string(), file.summary))
        };
        Ok(Self {
            files: files.filter_map(below).collect(),
        })
    }

    /// Returns the counts of each crate, by its folder.
    fn crates(&self) -> BTreeMap<&str, Counts> {
        let mut crates: BTreeMap<&str, Counts> = BTreeMap::new();
        for (path, counts) in &self.files {
            let folder = path.split("/src/").next().unwrap_or(path);
            let known = crates.entry(folder).or_default();
            *known = Counts::sum([&*known, counts]);
        }
        crates
    }

    fn gated(&self) -> impl Iterator<Item = (&String, &Counts)> {
        self.files
            .iter()
            .filter(|(path, _)| path.starts_with(&format!("{GATED}/")))
    }

    /// Returns which limits of the gate do not hold.
    fn missed(&self) -> Vec<String> {
        let sum = Counts::sum(self.gated().map(|(_, counts)| counts));
        let pairs = GATE.into_iter().zip(sum.percents());
        pairs
            .filter(|((_, least), percent)| percent < least)
            .map(|((what, least), percent)| {
                format!("{percent:.2} % of the {what} in {GATED}* are covered; {least} % must be")
            })
            .collect()
    }

    /// Returns the gated files that miss most lines.
    fn least(&self) -> Vec<String> {
        let mut files: Vec<_> = self.gated().collect();
        files.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.lines.count - counts.lines.covered));
        let shown = files.into_iter().take(FILES_SHOWN);
        shown
            .map(|(path, counts)| format!("{path} ({:.0} %)", counts.lines.percent()))
            .collect()
    }

    fn rows(&self) -> Vec<(String, Counts)> {
        let all = format!("{GATED}* together");
        let sum = Counts::sum(self.gated().map(|(_, counts)| counts));
        let crates = self
            .crates()
            .into_iter()
            .map(|(name, counts)| (name.to_owned(), counts));
        crates.chain([(all, sum)]).collect()
    }

    fn table(&self) -> String {
        let mut text = format!("{:<24} {:>8} {:>8} {:>10}", "crate", "lines", "regions", "functions");
        for (name, counts) in self.rows() {
            let [lines, regions, functions] = counts.percents();
            text.push_str(&format!(
                "\n{name:<24} {lines:>6.2} % {regions:>6.2} % {functions:>8.2} %"
            ));
        }
        text
    }

    fn json(&self) -> serde_json::Value {
        let percents = |counts: Counts| {
            let [lines, regions, functions] = counts.percents();
            json!({ "lines": lines, "regions": regions, "functions": functions })
        };
        let crates: serde_json::Map<_, _> = self
            .crates()
            .into_iter()
            .map(|(name, counts)| (name.to_owned(), percents(counts)))
            .collect();
        let sum = Counts::sum(self.gated().map(|(_, counts)| counts));
        json!({ "crates": crates, "gated": percents(sum), "missed": self.missed() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn measured(of_functions: u64) -> Measured {
        let file = |name: &str, covered: u64| {
            let counts = json!({ "count": 100, "covered": covered, "percent": 0.0 });
            json!({ "filename": name, "summary": { "lines": counts, "regions": counts, "functions": counts } })
        };
        let export = json!({ "data": [{ "files": [
            file("/w/functions/src/lib.rs", of_functions),
            file("/w/functions/domain/src/connect.rs", 95),
            file("/w/infra/cdk/src/deep/graph.rs", 10),
            file("/elsewhere/src/lib.rs", 0),
        ] }] });
        Measured::parse(&export.to_string(), Path::new("/w")).unwrap()
    }

    #[test]
    fn only_the_functions_are_gated() {
        let good = measured(85);
        assert_eq!(good.missed(), Vec::<String>::new());
        assert_eq!(
            good.crates().keys().copied().collect::<Vec<_>>(),
            ["functions", "functions/domain", "infra/cdk"]
        );
    }

    #[test]
    fn each_limit_that_does_not_hold_is_named() {
        assert_eq!(
            measured(84).missed(),
            [
                "89.50 % of the lines in functions* are covered; 90 % must be",
                "89.50 % of the regions in functions* are covered; 90 % must be",
            ]
        );
        assert_eq!(measured(64).missed().len(), 3);
        assert_eq!(measured(84).least()[0], "functions/src/lib.rs (84 %)");
    }

    #[test]
    fn a_table_reads_well() {
        insta::assert_snapshot!(measured(85).table(), @"
        crate                       lines  regions  functions
        functions                 85.00 %  85.00 %    85.00 %
        functions/domain          95.00 %  95.00 %    95.00 %
        infra/cdk                 10.00 %  10.00 %    10.00 %
        functions* together       90.00 %  90.00 %    90.00 %
        ");
    }
}
