//! `cargo xtask new function NAME --route KEY`: the files and lines of a function that works, to be changed from there.
//!
//! All edits are made in memory first: a name that is taken, or a file that does not look as expected, is refused before
//! anything is written. No file is ever overwritten; what was added is seen in `git diff`, and undone by git.
//!
//! Read next: [`mod@source`] for where lines are inserted, [`mod@text`] for what is written.

mod source;
mod text;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::cli::{New, NewCommand, NewFunction};
use crate::commands::App;
use crate::failure::{Exit, Failure};
use crate::ui::{self, BOLD, GREEN, paint};
use crate::workspace::write_atomically;

use self::source::Source;
use self::text::Names;

/// Longest name: `{app}-{stage}-{name}` stays below the 64 characters of Lambda for all but the longest stages.
const NAME_LENGTH_MAX: usize = 32;
const KEY_LENGTH_MAX: usize = 64;

/// Words of Rust that are no names of modules, functions or variables (The Rust Reference, "Keywords").
const KEYWORDS: [&str; 50] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while",
];

/// Runs it.
///
/// # Errors
/// What is taken, or cannot be inserted.
pub(crate) async fn run(app: &App, options: &New) -> Result<Exit, Failure> {
    let NewCommand::Function(NewFunction { name, route }) = &options.command;
    let root = &app.workspace.root;
    let changes = changes(root, name, route)?;
    changes.write(root)?;
    for (path, _) in &changes.added {
        ui::say(paint(GREEN, format_args!("+ {}", path.display())));
    }
    for (path, _) in &changes.edited {
        ui::say(format!("~ {}", path.display()));
    }
    ui::say(paint(
        BOLD,
        format_args!("\n`{name}` answers {{\"action\":\"{route}\"}}. See it with:"),
    ));
    ui::say("  cargo xtask dev");
    ui::say(format!(
        "Left to you: what it does (functions/domain/src/{}.rs), the frames in docs/protocol.md,\n\
         and the action in the answer of functions/src/handlers/default.rs.",
        Names::new(name, route).snake
    ));
    Ok(Exit::Ok)
}

/// What is to be written.
#[derive(Debug)]
struct Changes {
    added: Vec<(PathBuf, String)>,
    edited: Vec<(PathBuf, String)>,
}

/// Decides everything and writes nothing.
fn changes(root: &Path, name: &str, route: &str) -> Result<Changes, Failure> {
    check_name(name)?;
    check_key(route)?;
    let names = Names::new(name, route);
    let snake = &names.snake;
    let added = [
        (format!("functions/domain/src/{snake}.rs"), text::use_case(&names)),
        (format!("functions/src/handlers/{snake}.rs"), text::handler(&names)),
        (format!("functions/src/bin/{name}.rs"), text::binary(&names)),
    ]
    .map(|(path, text)| (PathBuf::from(path), text));
    if let Some((path, _)) = added.iter().find(|(path, _)| root.join(path).exists()) {
        return Err(taken(format!("{} exists already", path.display())));
    }

    let mut stack = Source::read(root, "infra/src/lib.rs")?;
    if stack.has(&format!("function(\"{name}\"")) || stack.has_word(&format!("let {snake} =")) {
        return Err(taken(format!("the stack has a `{name}` already")));
    }
    if stack.has(&format!("route(\"{route}\"")) {
        return Err(taken(format!("the route `{route}` exists already")));
    }
    stack.insert_before_statement(
        ".web_socket_api(",
        &[
            &format!("    let {snake} = stack.function(\"{name}\").timeout_seconds(5);"),
            "",
        ],
    )?;
    stack.append_to_chain(
        ".web_socket_api(",
        &format!("        .replying_route(\"{route}\", &{snake})"),
    )?;

    let mut domain = Source::read(root, "functions/domain/src/lib.rs")?;
    domain.insert_sorted("mod ", &format!("mod {snake};"))?;
    domain.insert_sorted("pub use ", &format!("pub use {snake}::{};", names.pascal))?;
    domain.insert_after_table(&format!("//! | [`{}`] | somebody asks for `{route}` |", names.pascal))?;

    let mut handlers = Source::read(root, "functions/src/handlers/mod.rs")?;
    handlers.insert_sorted("mod ", &format!("mod {snake};"))?;
    handlers.insert_sorted("pub use ", &format!("pub use {snake}::{snake};"))?;

    let mut functions = Source::read(root, "functions/src/lib.rs")?;
    functions.insert_after_table(&format!(
        "//! | `{name}` | frames with `\"action\": \"{route}\"` | [`handlers::{snake}`] |"
    ))?;

    let mut grants = Source::read(root, "infra/tests/stack/grants.rs")?;
    grants.append_to_list("let expected: Vec<", &format!("            (\"{name}\", vec![]),"))?;

    let edited = [stack, domain, handlers, functions, grants];
    Ok(Changes {
        added: added.into(),
        edited: edited.map(Source::finish).into(),
    })
}

impl Changes {
    fn write(&self, root: &Path) -> Result<(), Failure> {
        let cannot = |path: &Path, error| Failure::new(format!("cannot write {}", path.display())).because(error);
        for (path, text) in &self.added {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(root.join(path))
                .map_err(|error| cannot(path, error))?;
            file.write_all(text.as_bytes()).map_err(|error| cannot(path, error))?;
        }
        for (path, text) in &self.edited {
            write_atomically(&root.join(path), text.as_bytes()).map_err(|error| cannot(path, error))?;
        }
        Ok(())
    }
}

fn taken(what: String) -> Failure {
    Failure::usage(what).help("nothing was written; choose another name or route")
}

/// Checks that a name is good for a binary, a module, a variable and a Lambda function.
fn check_name(name: &str) -> Result<(), Failure> {
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let fits = name.len() <= NAME_LENGTH_MAX && name.split('-').all(is_word);
    // Names that the stack, handlers or crates have for something else.
    let is_reserved =
        KEYWORDS.contains(&name) || ["api", "stack", "stage", "web", "std", "core", "test", "tests"].contains(&name);
    if fits && !is_reserved {
        return Ok(());
    }
    Err(Failure::usage(format!("`{name}` cannot be the name of a function")).help(format!(
        "write up to {NAME_LENGTH_MAX} lowercase letters, digits and hyphens, such as `read-receipts`; no word of Rust"
    )))
}

/// Checks that a client can ask for a route: keys with `$` are API Gateway's own.
fn check_key(key: &str) -> Result<(), Failure> {
    let fits = (1..=KEY_LENGTH_MAX).contains(&key.len())
        && key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if fits {
        return Ok(());
    }
    Err(
        Failure::usage(format!("`{key}` cannot be the key of a route")).help(format!(
            "write up to {KEY_LENGTH_MAX} letters, digits, hyphens and underscores, such as `readReceipts`"
        )),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
    }

    #[test]
    fn bad_names_and_keys_are_refused() {
        for name in [
            "",
            "Time",
            "a--b",
            "-a",
            "a-",
            "2a",
            "a_b",
            "a b",
            "match",
            "stack",
            "../x",
            &"a".repeat(33),
        ] {
            assert_eq!(check_name(name).unwrap_err().exit(), Exit::Usage, "{name}");
        }
        for key in ["", "$connect", "$default", "a b", "2a", "a\"", "ä", &"a".repeat(65)] {
            assert_eq!(check_key(key).unwrap_err().exit(), Exit::Usage, "{key}");
        }
        assert!(check_name("read-receipts2").is_ok());
        assert!(check_key("readReceipts_2").is_ok());
    }

    #[test]
    fn what_exists_is_refused() {
        for (name, route, why) in [
            ("connect", "fresh", "functions/domain/src/connect.rs exists already"),
            ("send-message", "fresh", "exists already"),
            ("rates", "fresh", "the stack has a `rates` already"),
            ("fresh", "join", "the route `join` exists already"),
        ] {
            let failure = changes(&root(), name, route).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage);
            assert!(failure.to_string().contains(why), "{failure}");
        }
    }

    #[test]
    fn each_file_is_added_to_and_nothing_is_taken_away() {
        let changes = changes(&root(), "server-time", "serverTime").unwrap();
        assert_eq!(changes.edited.len(), 5);
        for (path, text) in &changes.edited {
            let before = std::fs::read_to_string(root().join(path)).unwrap();
            let mut after = text.lines();
            for line in before.lines() {
                let line = line.trim_end_matches(';');
                assert!(
                    after.any(|kept| kept.trim_end_matches(';') == line),
                    "{}: {line}",
                    path.display()
                );
            }
        }
        let stack = &changes.edited[0].1;
        assert!(stack.contains("    let server_time = stack.function(\"server-time\").timeout_seconds(5);\n"));
        assert!(stack.contains("        .replying_route(\"serverTime\", &server_time);\n"));
    }

    #[test]
    fn a_restructured_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["infra/src/lib.rs", "functions/domain/src/lib.rs"] {
            std::fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
            std::fs::write(folder.path().join(path), "fn nothing() {}\n").unwrap();
        }
        let failure = changes(folder.path(), "fresh", "fresh").unwrap_err();
        assert!(failure.to_string().contains("infra/src/lib.rs"), "{failure}");
    }
}
