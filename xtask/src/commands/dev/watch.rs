//! Tells when sources were saved: one event for all files that an editor or `git` writes together.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use crate::failure::Failure;

/// Files saved within this time of each other belong together.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Names that are shown; a `git switch` may write hundreds.
const NAMES_SHOWN_MAX: usize = 3;

/// Watches the sources.
#[derive(Debug)]
pub(super) struct Watcher {
    root: PathBuf,
    paths: mpsc::UnboundedReceiver<PathBuf>,
    _watcher: RecommendedWatcher,
}

/// What was saved.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    /// Paths from the root of the workspace.
    files: BTreeSet<PathBuf>,
    /// Whether the stack or what deploys it is among them: then this command line itself is outdated.
    pub(super) stack: bool,
}

impl Watcher {
    /// Begins to watch.
    ///
    /// # Errors
    /// When the operating system refuses, for example because of its limit of watches.
    pub(super) fn start(root: &Path) -> Result<Self, Failure> {
        let refused = |error: notify::Error| {
            Failure::new("cannot watch the sources").because(error).help(
                "raise the limit (sysctl fs.inotify.max_user_watches), or run without it: cargo xtask dev --no-watch",
            )
        };
        let (sender, paths) = mpsc::unbounded_channel();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if let Ok(event) = event
                && is_change(event.kind)
            {
                for path in event.paths {
                    // Nobody listens any more at the very end only.
                    let _ = sender.send(path);
                }
            }
        })
        .map_err(refused)?;
        for folder in ["functions", "infra"] {
            watcher
                .watch(&root.join(folder), RecursiveMode::Recursive)
                .map_err(refused)?;
        }
        // The folder, not the file: editors replace files, and the watch would go with the old one.
        watcher.watch(root, RecursiveMode::NonRecursive).map_err(refused)?;
        Ok(Self {
            root: root.to_owned(),
            paths,
            _watcher: watcher,
        })
    }

    /// Returns when sources were saved and no more came for a moment.
    pub(super) async fn next(&mut self) -> Saved {
        let mut saved = Saved::default();
        loop {
            let path = if saved.files.is_empty() {
                self.paths.recv().await
            } else {
                match tokio::time::timeout(DEBOUNCE, self.paths.recv()).await {
                    Ok(path) => path,
                    Err(_) => return saved,
                }
            };
            match path {
                Some(path) => saved.add(&self.root, &path),
                // The watcher lives in `self` and holds the other end.
                None => std::future::pending().await,
            }
        }
    }
}

impl Saved {
    fn add(&mut self, root: &Path, path: &Path) {
        let Some(file) = path.strip_prefix(root).ok().filter(|file| is_source(file)) else {
            return;
        };
        let is_rust = file
            .extension()
            .is_some_and(|extension| extension == "rs" || extension == "toml");
        self.stack |= file.starts_with("infra") && is_rust;
        self.files.insert(file.to_owned());
    }
}

impl fmt::Display for Saved {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self
            .files
            .iter()
            .take(NAMES_SHOWN_MAX)
            .map(|file| file.display().to_string())
            .collect();
        write!(formatter, "saved {}", names.join(", "))?;
        match self.files.len().saturating_sub(NAMES_SHOWN_MAX) {
            0 => Ok(()),
            more => write!(formatter, " and {more} more"),
        }
    }
}

/// Returns whether an event means other content. Cargo's reading, and new access times, do not.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Create(_) | EventKind::Remove(_) => true,
        EventKind::Modify(ModifyKind::Metadata(_)) | EventKind::Access(_) | EventKind::Any | EventKind::Other => false,
        EventKind::Modify(_) => true,
    }
}

/// Returns whether functions, stack or stages are made from a file. Tests, notes and editors' swap files are not.
fn is_source(file: &Path) -> bool {
    let in_functions = file.starts_with("functions");
    let in_infra = file.starts_with("infra");
    let is_test = file.components().any(|part| part.as_os_str() == "tests");
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("rs") => (in_functions || in_infra) && !is_test,
        Some("toml") => in_functions || in_infra || file == Path::new("Cargo.toml"),
        // Those of the browser client, which its function has inside.
        Some("css" | "html" | "js" | "svg") => file.parent() == Some(Path::new("functions/web")),
        Some("yml") => file.starts_with("infra/stages"),
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn only_sources_count() {
        for file in [
            "functions/src/bin/connect.rs",
            "infra/src/lib.rs",
            "functions/web/index.html",
            "infra/stages/local.yml",
            "Cargo.toml",
        ] {
            assert!(is_source(Path::new(file)), "{file}");
        }
        for file in [
            "functions/src/bin/.connect.rs.swp",
            "functions/tests/chat.rs",
            "functions/web/tests/chat.js",
            "Cargo.lock",
            "README.md",
            "xtask/src/main.rs",
            "infra/ARCHITECTURE.md",
        ] {
            assert!(!is_source(Path::new(file)), "{file}");
        }
    }

    #[test]
    fn a_changed_stack_is_told_from_changed_functions() {
        let root = Path::new("/project");
        let saved = |files: &[&str]| {
            let mut saved = Saved::default();
            for file in files {
                saved.add(root, &root.join(file));
            }
            saved
        };
        assert!(saved(&["infra/src/lib.rs"]).stack);
        assert!(!saved(&["infra/stages/local.yml", "functions/src/lib.rs"]).stack);
        let many: Vec<_> = ["a", "b", "c", "d", "e"]
            .map(|name| format!("functions/src/{name}.rs"))
            .into();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(
            saved(&many).to_string(),
            "saved functions/src/a.rs, functions/src/b.rs, functions/src/c.rs and 2 more"
        );
    }

    #[tokio::test]
    async fn files_saved_together_are_one_event() {
        let folder = tempfile::tempdir().unwrap();
        // Temporary folders may be links, and the operating system reports where they lead.
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("functions/src")).unwrap();
        std::fs::create_dir_all(root.join("infra")).unwrap();
        let mut watcher = Watcher::start(&root).unwrap();
        std::fs::write(root.join("functions/src/a.rs"), "a").unwrap();
        std::fs::write(root.join("functions/src/b.rs"), "b").unwrap();
        std::fs::write(root.join("functions/src/notes.txt"), "c").unwrap();
        let saved = tokio::time::timeout(Duration::from_secs(10), watcher.next())
            .await
            .unwrap();
        assert_eq!(saved.files.len(), 2, "{saved}");
    }
}
