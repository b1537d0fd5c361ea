//! The documents keep their word: command lines parse, links lead somewhere, named files exist, and the deployer's policy
//! is what deployments call.
//!
//! Documents are read as text and nothing in them is run: that commands do what they say is the end-to-end tests' matter.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use clap::error::ErrorKind;
use serde_json::Value as Json;

use infra_aws::deployer_policy;
use infra_cdk::{Context, Graph};

use crate::cli::Cli;
use crate::target::{load_stage, stage_names};

/// What a command line begins with.
const COMMAND: &str = "cargo xtask ";

/// A document.
struct Page {
    /// Where it lies, from the workspace's root.
    path: PathBuf,
    /// Lines in code blocks.
    code: Vec<String>,
    /// All other lines.
    prose: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn pages() -> Vec<Page> {
    let mut paths = vec![PathBuf::from("README.md"), PathBuf::from("infra/ARCHITECTURE.md")];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = Path::new("docs").join(entry.unwrap().file_name());
        if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    paths.into_iter().map(Page::read).collect()
}

impl Page {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        let mut page = Self {
            path,
            code: Vec::new(),
            prose: Vec::new(),
        };
        let mut is_code = false;
        // A command may go on in the next line.
        for line in text.replace("\\\n", " ").lines() {
            if line.trim_start().starts_with("```") {
                is_code = !is_code;
            } else if is_code {
                page.code.push(line.to_owned());
            } else {
                page.prose.push(line.to_owned());
            }
        }
        page
    }

    /// Returns what stands between backticks.
    fn spans(&self) -> impl Iterator<Item = &str> {
        self.prose.iter().flat_map(|line| line.split('`').skip(1).step_by(2))
    }

    /// Returns the targets of links and images.
    fn links(&self) -> Vec<String> {
        let mut targets = Vec::new();
        for line in &self.prose {
            let outside: String = line.split('`').step_by(2).collect();
            for (before, after) in [("](", ')'), ("src=\"", '"'), ("href=\"", '"')] {
                for (start, _) in outside.match_indices(before) {
                    let rest = &outside[start + before.len()..];
                    targets.push(rest.split(after).next().unwrap_or(rest).to_owned());
                }
            }
        }
        targets
    }

    /// Returns the names under which a link finds the headings.
    fn anchors(&self) -> BTreeSet<String> {
        let headings = self.prose.iter().filter(|line| line.starts_with('#'));
        headings
            .map(|heading| {
                let text = heading.trim_start_matches('#').trim().to_lowercase();
                text.chars()
                    .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                    .map(|c| if c == ' ' { '-' } else { c })
                    .collect()
            })
            .collect()
    }
}

/// Returns the arguments of a command at the beginning of `text`, up to what ends a command in a shell.
fn arguments(text: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut argument: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => argument.get_or_insert_default().push(c),
            None => match c {
                '\'' | '"' => {
                    quote = Some(c);
                    argument.get_or_insert_default();
                }
                ' ' => arguments.extend(argument.take()),
                '#' if argument.is_none() => break,
                '|' | ';' | '&' | '>' | ')' => break,
                c => argument.get_or_insert_default().push(c),
            },
        }
    }
    arguments.extend(argument);
    arguments
}

/// Returns why the command line refuses these arguments.
fn refusal(arguments: &[String]) -> Option<clap::Error> {
    let line = std::iter::once("cargo xtask").chain(arguments.iter().map(String::as_str));
    let error = Cli::try_parse_from(line).err()?;
    (error.kind() != ErrorKind::DisplayHelp).then_some(error)
}

#[test]
fn arguments_are_read_as_a_shell_does() {
    for (text, expected) in [
        ("dev      # everything", &["dev"] as &[&str]),
        ("token --sub ana)\"", &["token", "--sub", "ana"]),
        (
            "token --name 'Ada Lovelace' --sub \"a b\"",
            &["token", "--name", "Ada Lovelace", "--sub", "a b"],
        ),
        ("outputs --output json | jq .x", &["outputs", "--output", "json"]),
        ("synth > template.yaml", &["synth"]),
    ] {
        assert_eq!(arguments(text), expected, "{text}");
    }
}

#[test]
fn every_command_line_in_the_documents_is_understood() {
    let mut seen = 0;
    for page in pages() {
        for line in &page.code {
            for (start, _) in line.match_indices(COMMAND) {
                if let Some(error) = refusal(&arguments(&line[start + COMMAND.len()..])) {
                    panic!("{}: {line}\n{error}", page.path.display());
                }
                seen += 1;
            }
        }
        for span in page.spans() {
            let Some(rest) = span.strip_prefix(COMMAND).filter(|rest| !rest.contains('…')) else {
                continue;
            };
            // Prose names commands without all that they need.
            let refused = refusal(&arguments(rest)).filter(|error| {
                !matches!(
                    error.kind(),
                    ErrorKind::MissingRequiredArgument
                        | ErrorKind::MissingSubcommand
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                )
            });
            if let Some(error) = refused {
                panic!("{}: {span}\n{error}", page.path.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} command lines were found");
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    for page in pages() {
        for link in page.links() {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = match link.split_once('#') {
                Some((file, anchor)) => (file, Some(anchor)),
                None => (link.as_str(), None),
            };
            let target = match file {
                "" => page.path.clone(),
                file => page.path.parent().unwrap().join(file),
            };
            let place = format!("{}: {link}", page.path.display());
            assert!(root().join(&target).exists(), "{place}: no such file");
            if let Some(anchor) = anchor {
                assert!(
                    Page::read(target).anchors().contains(anchor),
                    "{place}: no such heading"
                );
            }
        }
    }
}

#[test]
fn every_file_that_the_documents_name_exists() {
    const FOLDERS: [&str; 5] = ["infra/", "functions/", "xtask/", "docs/", ".ci/"];
    for page in pages() {
        for span in page.spans() {
            let is_path = FOLDERS.iter().any(|folder| span.starts_with(folder));
            let is_pattern = span.contains(['*', '{', '…', ' ']) || span.contains("NAME");
            if is_path && !is_pattern {
                assert!(
                    root().join(span).exists(),
                    "{}: {span} does not exist",
                    page.path.display()
                );
            }
        }
    }
}

/// Collects the sources below a folder, without their tests.
fn sources(folder: &Path, texts: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, texts);
        // What is allowed is no source of what is called.
        } else if !path.ends_with("policy.rs") {
            let text = fs::read_to_string(&path).unwrap();
            texts.push(text.split("#[cfg(test)]").next().unwrap_or_default().to_owned());
        }
    }
}

/// Returns the word up to the next quote, if it is the name of an operation.
fn operation(text: &str) -> Option<&str> {
    let name = text.split('"').next()?;
    let is_name = name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric());
    is_name.then_some(name)
}

/// Returns the IAM actions that an operation asks for (Service Authorization Reference).
fn actions(service: &str, operation: &str) -> Vec<String> {
    let names = match (service, operation) {
        // Everybody may ask who they are.
        ("sts", _) => vec![],
        ("dynamodb", "TransactWriteItems") => vec!["ConditionCheckItem", "DeleteItem", "PutItem"],
        // API Gateway's actions are the methods of its REST interface.
        ("apigateway", name) if name.starts_with("Create") => vec!["POST"],
        ("apigateway", name) if name.starts_with("Get") => vec!["GET"],
        ("apigateway", name) if name.starts_with("Update") => vec!["PATCH"],
        ("apigateway", name) if name.starts_with("Delete") => vec!["DELETE"],
        ("apigateway", "TagResource") => vec!["POST", "PUT"],
        ("s3", "HeadObject") => vec!["GetObject"],
        ("s3", "PutPublicAccessBlock") => vec!["PutBucketPublicAccessBlock"],
        ("s3", "PutBucketEncryption") => vec!["PutEncryptionConfiguration"],
        ("s3", "PutBucketLifecycleConfiguration") => vec!["PutLifecycleConfiguration"],
        (_, name) => vec![name],
    };
    names.iter().map(|name| format!("{service}:{name}")).collect()
}

#[test]
fn the_policy_for_cloudformation_is_what_its_commands_call() {
    let mut texts = Vec::new();
    sources(&root().join("infra/aws/src/cloudformation"), &mut texts);
    texts.push(fs::read_to_string(root().join("infra/aws/src/assets.rs")).unwrap());
    // Without it, S3 answers "denied" about what is missing.
    let mut called = BTreeSet::from(["s3:ListBucket".to_owned()]);
    for text in &texts {
        // `sdk(Service::CloudFormation, "cloudformation:X", …)`, `self.call("X", Method::…)` and `self.request("X", Method::…)`.
        let stacks = text.split("Service::CloudFormation,").skip(1);
        let stacks = stacks.filter_map(|rest| operation(rest.trim_start().strip_prefix("\"cloudformation:")?));
        called.extend(stacks.map(|name| format!("cloudformation:{name}")));
        let requests = text.split("\n").filter(|line| line.contains("Method::"));
        let objects = requests.filter_map(|line| operation(line.split('"').nth(1)?));
        // Settings stand in a table, each with its subresource.
        let settings = text.split("\"Put").skip(1).filter_map(|rest| rest.split('"').next());
        let settings = settings.map(|name| format!("Put{name}"));
        for name in objects.map(str::to_owned).chain(settings) {
            called.extend(actions("s3", &name));
        }
    }
    assert_eq!(
        allowed("docs/cloudformation-policy.json"),
        called,
        "docs/cloudformation-policy.json (left) and the calls in infra/aws/src (right)"
    );
}

/// Returns all actions that a policy allows.
fn allowed(policy: &str) -> BTreeSet<String> {
    let policy: Json = serde_json::from_str(&fs::read_to_string(root().join(policy)).unwrap()).unwrap();
    let statements = policy["Statement"].as_array().unwrap().iter();
    statements
        .flat_map(|statement| statement["Action"].as_array().unwrap())
        .map(|action| action.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_deployers_policy_is_what_the_command_prints() {
    let root = root();
    let stages = stage_names(&root.join("infra/stages")).into_iter();
    // Tests in other processes have stages of their own.
    let graphs: Vec<Graph> = stages
        .filter(|name| ["dev", "prod"].contains(&name.as_str()))
        .map(|name| infra::chat(&load_stage(&root, &name, None).unwrap()).unwrap())
        .collect();
    let context = Context {
        partition: "aws".to_owned(),
        region: "us-east-1".to_owned(),
        account: "123456789012".to_owned(),
    };
    let policy = deployer_policy(&graphs.iter().collect::<Vec<_>>(), &context);
    let printed = policy.to_json().unwrap() + "\n";
    let kept = fs::read_to_string(root.join("docs/deployer-policy.json")).unwrap();
    assert_eq!(
        kept, printed,
        "make it anew: cargo xtask policy --all-stages --account 123456789012 --region us-east-1 > docs/deployer-policy.json"
    );
}

#[test]
fn the_deployers_policy_is_what_deployments_call() {
    // Asked for in the course of other calls: roles of functions, the first API of an account, tags in `GetFunction`.
    let mut called: BTreeSet<String> = ["iam:PassRole", "iam:CreateServiceLinkedRole", "lambda:ListTags"]
        .map(str::to_owned)
        .into();
    let mut texts = Vec::new();
    sources(&root().join("infra/aws/src"), &mut texts);
    for text in &texts {
        for service in [
            "apigateway",
            "cloudwatch",
            "dynamodb",
            "iam",
            "lambda",
            "logs",
            "ssm",
            "sts",
        ] {
            let named = format!("\"{service}:");
            let signed = format!(".{service}(");
            let named = text.split(&named).skip(1).filter_map(operation);
            let signed = text.split(&signed).skip(1);
            let signed = signed.filter_map(|rest| operation(rest.trim_start().strip_prefix('"')?));
            called.extend(named.chain(signed).flat_map(|operation| actions(service, operation)));
        }
    }
    // Condition keys in the policies of functions look like operations.
    for key in ["lambda:FunctionUrlAuthType", "lambda:InvokedViaFunctionUrl"] {
        called.remove(key);
    }
    assert_eq!(
        allowed("docs/deployer-policy.json"),
        called,
        "docs/deployer-policy.json (left) and the calls in infra/aws/src (right)"
    );
}
