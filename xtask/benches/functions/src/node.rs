//! Makes the Node handler ready: installs what its lock file names and bundles it into one minified file.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

/// Returns the command that runs the handler, or why there is none.
pub(crate) async fn build(sources: &Path) -> Result<Vec<String>, String> {
    let version = Command::new("node").arg("--version").output().await;
    let version = version.map_err(|error| format!("`node` does not start ({error}); install Node 20 or later"))?;
    eprintln!("Node {}", String::from_utf8_lossy(&version.stdout).trim());
    for arguments in [
        &["ci", "--ignore-scripts", "--no-audit", "--no-fund"][..],
        &["run", "build"][..],
    ] {
        let status = Command::new("npm")
            .args(arguments)
            .current_dir(sources)
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status()
            .await
            .map_err(|error| format!("`npm` does not start ({error}); install it"))?;
        if !status.success() {
            return Err(format!("`npm {}` fails in {}", arguments.join(" "), sources.display()));
        }
    }
    let node = std::env::var("PATH").unwrap_or_default();
    let node = std::env::split_paths(&node)
        .map(|folder| folder.join("node"))
        .find(|path| path.is_file());
    let node = node.ok_or("`node` is not on the search path")?;
    Ok(vec![
        node.display().to_string(),
        sources.join("runtime.cjs").display().to_string(),
    ])
}
