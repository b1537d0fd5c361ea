//! Where the project lies on disk.

use std::path::{Path, PathBuf};

/// Folders of this checkout.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// `target/stackwright`, or `STACKWRIGHT_SCRATCH`: packages and the address of the local cloud. May be deleted at any
    /// time.
    pub(crate) scratch: PathBuf,
}

impl Workspace {
    /// Finds the checkout that this command line belongs to, from any current folder.
    pub(crate) fn find() -> Self {
        // `cargo run` says where the package is now; without it, it is where it was compiled.
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.parent().unwrap_or(&package).to_owned();
        // Tests, and second local clouds of one checkout, keep apart by this variable.
        if let Some(scratch) = std::env::var_os("STACKWRIGHT_SCRATCH").map(PathBuf::from) {
            return Self { root, scratch };
        }
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
        Self {
            scratch: target.join("stackwright"),
            root,
        }
    }
}

/// Writes a file that other processes see either whole or not at all. Makes its folder.
///
/// # Errors
/// What the operating system said.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    std::fs::write(&temporary, content)?;
    std::fs::rename(&temporary, path)
}
