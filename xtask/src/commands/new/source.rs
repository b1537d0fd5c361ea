//! One source file to which lines are added, where its own lines say: by syntax as `rustfmt` writes it, without markers.
//!
//! A file that was restructured so that the place is not found is an error, which names what was looked for.

use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A file, read and changed in memory.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    lines: Vec<String>,
}

impl Source {
    /// Reads a file of the workspace.
    pub(super) fn read(root: &Path, path: &str) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(root.join(path))
            .map_err(|error| Failure::new(format!("cannot read {path}")).because(error))?;
        Ok(Self {
            path: path.into(),
            lines: text.lines().map(str::to_owned).collect(),
        })
    }

    /// Returns where the file lies, and its text.
    pub(super) fn finish(self) -> (PathBuf, String) {
        (self.path, self.lines.join("\n") + "\n")
    }

    /// Returns whether any line of code has the text.
    pub(super) fn has(&self, text: &str) -> bool {
        self.lines
            .iter()
            .any(|line| line.contains(text) && !line.trim_start().starts_with("//"))
    }

    /// Returns whether any line begins so, spaces aside.
    pub(super) fn has_word(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.trim_start().starts_with(text))
    }

    /// Inserts an item among its like, which stand at the margin one below the other, by the alphabet. `prefix` is `mod ` or
    /// `pub use `; private and public modules are sorted together, as `rustfmt` does.
    pub(super) fn insert_sorted(&mut self, prefix: &str, item: &str) -> Result<(), Failure> {
        let name = |line: &str| {
            let line = line.strip_prefix("pub ").filter(|_| prefix == "mod ").unwrap_or(line);
            let name = line.strip_prefix(prefix)?.trim_end_matches(';');
            Some(name.split("::").next().unwrap_or(name).to_owned())
        };
        let new = name(item);
        let mut at = self.find(|line| name(line).is_some(), prefix)?;
        while let Some(here) = self.lines.get(at).and_then(|line| name(line)) {
            if Some(here) > new {
                break;
            }
            // An item of several lines ends with the one that has its semicolon.
            while self.lines.get(at).is_some_and(|line| !line.ends_with(';')) {
                at += 1;
            }
            at += 1;
        }
        self.insert(at, &[item]);
        Ok(())
    }

    /// Inserts lines before the `let` statement that has a text.
    pub(super) fn insert_before_statement(&mut self, text: &str, lines: &[&str]) -> Result<(), Failure> {
        let mut at = self.find(|line| line.contains(text), text)?;
        while !self.lines[at].trim_start().starts_with("let ") {
            at = at.checked_sub(1).ok_or_else(|| self.restructured(text))?;
        }
        // What stands above it without a space stays with it.
        while at > 0 && self.lines[at - 1].trim_start().starts_with("//") {
            at -= 1;
        }
        // The last statement before the empty line is one of the same kind.
        let (at, lines) = match at.checked_sub(1).filter(|above| self.lines[*above].is_empty()) {
            Some(above) => (above, &lines[..lines.len() - 1]),
            None => (at, lines),
        };
        self.insert(at, lines);
        Ok(())
    }

    /// Appends a call to the chain of calls that has a text.
    pub(super) fn append_to_chain(&mut self, text: &str, call: &str) -> Result<(), Failure> {
        let begin = self.find(|line| line.contains(text), text)?;
        let end = self.lines[begin..].iter().position(|line| line.ends_with(';'));
        let end = begin + end.ok_or_else(|| self.restructured(text))?;
        if !self.lines[end].trim_start().starts_with('.') {
            return Err(self.restructured(text));
        }
        self.lines[end].pop();
        self.insert(end + 1, &[&format!("{call};")]);
        Ok(())
    }

    /// Appends an item to the list that begins with a text.
    pub(super) fn append_to_list(&mut self, text: &str, item: &str) -> Result<(), Failure> {
        let begin = self.find(|line| line.contains(text), text)?;
        let end = self.lines[begin..].iter().position(|line| line.trim() == "];");
        let end = begin + end.ok_or_else(|| self.restructured(text))?;
        self.insert(end, &[item]);
        Ok(())
    }

    /// Appends a row to the table in the module's documentation.
    pub(super) fn insert_after_table(&mut self, row: &str) -> Result<(), Failure> {
        let last = self.lines.iter().rposition(|line| line.starts_with("//! | "));
        let last = last.ok_or_else(|| self.restructured("//! | "))?;
        self.insert(last + 1, &[row]);
        Ok(())
    }

    fn insert(&mut self, at: usize, lines: &[&str]) {
        let lines = lines.iter().map(|line| (*line).to_owned());
        self.lines.splice(at..at, lines);
    }

    fn find(&self, matches: impl Fn(&str) -> bool, text: &str) -> Result<usize, Failure> {
        let found = self.lines.iter().position(|line| matches(line));
        found.ok_or_else(|| self.restructured(text))
    }

    fn restructured(&self, text: &str) -> Failure {
        Failure::new(format!(
            "{} has been restructured: the place of `{}` was not found",
            self.path.display(),
            text.trim()
        ))
        .help("nothing was written; add the function by hand, as docs/how-to.md says")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn source(text: &str) -> Source {
        Source {
            path: "a.rs".into(),
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    #[test]
    fn lines_are_sorted_in_and_long_items_stay_whole() {
        let text = "mod a;\npub mod c;\n\npub use a::{\n    X,\n};\npub use c::Y;\n";
        for (module, expected) in [
            (
                "b",
                "mod a;\nmod b;\npub mod c;\n\npub use a::{\n    X,\n};\npub use b::Z;\npub use c::Y;\n",
            ),
            (
                "d",
                "mod a;\npub mod c;\nmod d;\n\npub use a::{\n    X,\n};\npub use c::Y;\npub use d::Z;\n",
            ),
        ] {
            let mut source = source(text);
            source.insert_sorted("mod ", &format!("mod {module};")).unwrap();
            source
                .insert_sorted("pub use ", &format!("pub use {module}::Z;"))
                .unwrap();
            assert_eq!(source.finish().1, expected);
        }
    }

    #[test]
    fn a_chain_is_made_longer_and_statements_come_before_it() {
        let mut source = source("let a = 1;\n\n// Why.\nlet api = stack\n    .api(\"x\")\n    .route(\"y\", &a);\n");
        source.insert_before_statement(".api(", &["let b = 2;", ""]).unwrap();
        source.append_to_chain(".api(", "    .route(\"z\", &b)").unwrap();
        let expected = "let a = 1;\nlet b = 2;\n\n// Why.\nlet api = stack\n    .api(\"x\")\n    .route(\"y\", &a)\n    .route(\"z\", &b);\n";
        assert_eq!(source.finish().1, expected);
    }

    #[test]
    fn what_is_not_found_is_named() {
        let failure = source("fn main() {}\n").append_to_chain(".api(", "x").unwrap_err();
        assert!(
            failure
                .to_string()
                .contains("a.rs has been restructured: the place of `.api(`"),
            "{failure}"
        );
    }
}
