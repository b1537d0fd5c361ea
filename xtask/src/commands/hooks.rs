//! `cargo xtask hooks`: a Git hook that rejects a push which tests or coverage would reject.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::process::Command;

use crate::commands::App;
use crate::failure::{Exit, Failure};
use crate::ui;

/// What is installed. The second line is how our own hook is recognised.
const HOOK: &str = "\
#!/bin/sh
# Installed by `cargo xtask hooks`. Skip it once with: git push --no-verify
# Git tells hooks where its repository is; tests that use Git must not take it for theirs.
unset $(git rev-parse --local-env-vars)
cd \"$(git rev-parse --show-toplevel)\" || exit 1
if ! cargo xtask test; then
    echo 'push rejected: tests or dependency rules failed; see: cargo xtask test' >&2
    exit 1
fi
if ! cargo xtask coverage; then
    echo 'push rejected: coverage; see: cargo xtask coverage' >&2
    exit 1
fi
";

/// The line by which an older version of our hook is known, too.
const MARK: &str = "# Installed by `cargo xtask hooks`.";

/// Runs it.
///
/// # Errors
/// Outside of a Git repository, or when somebody else's hook is in the way: without `--yes` it stays as it is.
pub(crate) async fn run(app: &App) -> Result<Exit, Failure> {
    let folder = hooks_folder(&app.workspace.root).await?;
    let (path, saved) = install(&folder, app.global.yes)?;
    if app.wants_json() {
        ui::json(&json!({ "hook": path, "saved": saved }))?;
        return Ok(Exit::Ok);
    }
    if let Some(saved) = &saved {
        ui::say(format!("The hook that was there is now {}", saved.display()));
    }
    ui::say(format!("Installed {}", path.display()));
    ui::say(
        "Before each push it runs `cargo xtask test` and `cargo xtask coverage`, which installs cargo-llvm-cov and the\ntoolchain's llvm-tools when they are missing. A push that they reject is not sent.",
    );
    Ok(Exit::Ok)
}

/// Asks Git where hooks are: it knows worktrees and `core.hooksPath`.
async fn hooks_folder(root: &Path) -> Result<PathBuf, Failure> {
    let output = Command::new("git")
        .args(["rev-parse", "--git-path", "hooks"])
        .current_dir(root)
        .output()
        .await
        .map_err(|error| {
            Failure::new("cannot start git")
                .because(error)
                .help("install Git from https://git-scm.com")
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure::new(format!("{} is no Git repository: {said}", root.display())).help("run: git init"));
    }
    let answer = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    Ok(root.join(answer))
}

/// Writes the hook; returns its path, and that to which a foreign one was moved.
fn install(folder: &Path, replace: bool) -> Result<(PathBuf, Option<PathBuf>), Failure> {
    let path = folder.join("pre-push");
    let cannot = |error| Failure::new(format!("cannot write {}", path.display())).because(error);
    let foreign = match std::fs::read(&path) {
        Ok(content) => !String::from_utf8_lossy(&content).contains(MARK),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(cannot(error)),
    };
    let saved = foreign.then(|| folder.join("pre-push.before-xtask"));
    if let Some(saved) = &saved {
        if !replace || saved.exists() {
            return Err(
                Failure::usage(format!("there is another hook already: {}", path.display())).help(format!(
                    "keep it and call `cargo xtask test` and `cargo xtask coverage` from it, or have it replaced: \
                 cargo xtask hooks --yes (it is kept as {}, which must not exist)",
                    saved.display()
                )),
            );
        }
        std::fs::rename(&path, saved).map_err(cannot)?;
    }
    std::fs::create_dir_all(folder).map_err(cannot)?;
    std::fs::write(&path, HOOK).map_err(cannot)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).map_err(cannot)?;
    Ok((path, saved))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::process::Output;

    use super::*;

    async fn git(folder: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new("git");
        // Nothing of the user's, nor of a hook that runs these tests.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GIT_")) {
            command.env_remove(name);
        }
        let identity = [
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "-c",
            "init.defaultBranch=main",
        ];
        let output = command.args(identity).args(arguments).current_dir(folder);
        output.env("GIT_CONFIG_GLOBAL", "/dev/null").output().await.unwrap()
    }

    #[tokio::test]
    async fn the_configured_folder_is_honoured() {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "-q"]).await;
        assert_eq!(
            hooks_folder(folder.path()).await.unwrap(),
            folder.path().join(".git/hooks")
        );
        git(folder.path(), &["config", "core.hooksPath", ".my-hooks"]).await;
        assert_eq!(
            hooks_folder(folder.path()).await.unwrap(),
            folder.path().join(".my-hooks")
        );
    }

    #[tokio::test]
    async fn outside_of_a_repository_is_said() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            hooks_folder(folder.path())
                .await
                .unwrap_err()
                .to_string()
                .contains("no Git repository")
        );
    }

    #[test]
    fn a_foreign_hook_is_neither_overwritten_nor_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pre-push");
        std::fs::write(&path, "#!/bin/sh\nmine").unwrap();
        assert_eq!(install(folder.path(), false).unwrap_err().exit(), Exit::Usage);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "#!/bin/sh\nmine");
        let (_, saved) = install(folder.path(), true).unwrap();
        assert_eq!(std::fs::read_to_string(saved.unwrap()).unwrap(), "#!/bin/sh\nmine");
        // Our own is simply written again.
        assert_eq!(install(folder.path(), false).unwrap(), (path, None));
    }

    /// Pushes in a repository whose `cargo` is a script that notes its arguments and fails for `failing`.
    async fn push(failing: &str) -> (Output, String) {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        git(here, &["init", "-q", "--bare", "remote"]).await;
        git(here, &["init", "-q", "work"]).await;
        let (work, notes) = (here.join("work"), here.join("notes"));
        install(&hooks_folder(&work).await.unwrap(), false).unwrap();
        let cargo = here.join("cargo");
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> {}\n[ \"$2\" != '{failing}' ]\n",
            notes.display()
        );
        std::fs::write(&cargo, script).unwrap();
        std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
        git(&work, &["commit", "-q", "--allow-empty", "-m", "m"]).await;
        let path = format!("{}:{}", here.display(), std::env::var("PATH").unwrap());
        let pushed = Command::new("git")
            .args(["push", "-q", "../remote", "HEAD:main"])
            .current_dir(&work)
            .env("PATH", path)
            .output()
            .await
            .unwrap();
        (pushed, std::fs::read_to_string(notes).unwrap_or_default())
    }

    #[tokio::test]
    async fn a_push_is_rejected_when_tests_or_coverage_are() {
        let (pushed, notes) = push("nothing").await;
        assert!(pushed.status.success(), "{pushed:?}");
        assert_eq!(notes, "xtask test\nxtask coverage\n");
        for failing in ["test", "coverage"] {
            let (pushed, _) = push(failing).await;
            assert!(!pushed.status.success(), "{failing}");
            let said = String::from_utf8_lossy(&pushed.stderr).into_owned();
            assert!(said.contains(&format!("cargo xtask {failing}")), "{said}");
        }
    }
}
