//! Deployment packages: what AWS checks when one is uploaded, and unpacking one to disk.

use std::fs;
use std::io::{self, Cursor};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::validation::invalid_parameter;
use crate::wire::ApiError;

/// Largest archive in a request: 50 MB. AWS takes bigger ones through S3 only.
const ZIPPED_BYTES_MAX: usize = 50 * 1024 * 1024;

/// Largest unpacked package: 250 MB.
const UNZIPPED_BYTES_MAX: u64 = 250 * 1024 * 1024;

/// `Code` of `CreateFunction`, and the same members of `UpdateFunctionCode`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CodeSource {
    zip_file: Option<String>,
    s3_bucket: Option<String>,
    s3_key: Option<String>,
    image_uri: Option<String>,
}

impl CodeSource {
    /// Returns whether the request brings any code.
    pub(super) fn is_empty(&self) -> bool {
        self.zip_file.is_none() && self.s3_bucket.is_none() && self.s3_key.is_none() && self.image_uri.is_none()
    }
}

/// An uploaded archive that can be read.
#[derive(Clone, Debug)]
pub(super) struct Package {
    pub(super) bytes: Bytes,
    /// Base64, as in `CodeSha256`.
    pub(super) sha256: String,
}

impl Package {
    /// Decodes and checks an upload.
    ///
    /// # Errors
    /// `InvalidParameterValueException` for what is no archive, comes from S3 or is an image;
    /// `RequestEntityTooLargeException` above 50 MB.
    pub(super) fn read(source: CodeSource) -> Result<Self, ApiError> {
        if source.s3_bucket.is_some() || source.s3_key.is_some() || source.image_uri.is_some() {
            return Err(invalid_parameter(
                "the local cloud has no S3 and no images: upload the code as ZipFile",
            ));
        }
        let Some(encoded) = source.zip_file else {
            return Err(invalid_parameter("Please provide a source for function code."));
        };
        let unreadable =
            || invalid_parameter("Could not unzip uploaded file. Please check your file, then try to upload again.");
        let bytes = STANDARD.decode(encoded).map_err(|_| unreadable())?;
        if bytes.is_empty() {
            return Err(invalid_parameter("Uploaded file must be a non-empty zip"));
        }
        if bytes.len() > ZIPPED_BYTES_MAX {
            let message = format!("Request must be smaller than {ZIPPED_BYTES_MAX} bytes of zipped code");
            return Err(ApiError::new(413, "RequestEntityTooLargeException", message));
        }
        let archive = ZipArchive::new(Cursor::new(&bytes)).map_err(|_| unreadable())?;
        if archive.is_empty() {
            return Err(invalid_parameter("Uploaded file must be a non-empty zip"));
        }
        if archive
            .decompressed_size()
            .is_some_and(|size| size > u128::from(UNZIPPED_BYTES_MAX))
        {
            let message = format!("Unzipped size must be smaller than {UNZIPPED_BYTES_MAX} bytes");
            return Err(invalid_parameter(message));
        }
        Ok(Self {
            sha256: STANDARD.encode(Sha256::digest(&bytes)),
            bytes: bytes.into(),
        })
    }
}

/// A private folder for unpacked packages; removed when dropped.
#[derive(Debug)]
pub(super) struct Unpacked {
    root: PathBuf,
}

impl Unpacked {
    pub(super) fn new() -> io::Result<Self> {
        let name = format!("{PREFIX}{}-{}", std::process::id(), uuid::Uuid::new_v4().simple());
        remove_orphans(&std::env::temp_dir());
        let root = std::env::temp_dir().join(name);
        // Private: the code may carry what other users of the machine must not read, nor replace before it runs.
        fs::DirBuilder::new().mode(0o700).create(&root)?;
        Ok(Self { root })
    }

    /// Returns the task root of a package, unpacking it on first use. Blocks: call it where blocking is allowed.
    pub(super) fn task_root(&self, sha256: &str, archive: &[u8]) -> io::Result<PathBuf> {
        let digest = STANDARD.decode(sha256).unwrap_or_default();
        let folder = self.root.join(URL_SAFE_NO_PAD.encode(digest));
        if folder.exists() {
            return Ok(folder);
        }
        let partial = self.root.join(uuid::Uuid::new_v4().simple().to_string());
        unpack(archive, &partial)?;
        match fs::rename(&partial, &folder) {
            // Another worker was faster.
            Err(_) if folder.exists() => fs::remove_dir_all(&partial)?,
            renamed => renamed?,
        }
        Ok(folder)
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            tracing::debug!(folder = %self.root.display(), %error, "cannot remove unpacked functions");
        }
    }
}

const PREFIX: &str = "local-lambda-";

/// Removes the folders of local clouds that were killed before they could tidy up.
fn remove_orphans(parent: &Path) {
    // Without /proc nobody can tell which owner lives.
    if !Path::new("/proc/self").exists() {
        return;
    }
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|rest| rest.split('-').next());
        if let Some(owner) = owner.filter(|owner| !owner.is_empty() && owner.bytes().all(|byte| byte.is_ascii_digit()))
            && !Path::new("/proc").join(owner).exists()
        {
            // Fails for folders of other users, which is right.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn unpack(archive: &[u8], into: &Path) -> io::Result<()> {
    let mut archive = ZipArchive::new(Cursor::new(archive))?;
    let mut left = UNZIPPED_BYTES_MAX;
    fs::create_dir_all(into)?;
    for index in 0..archive.len() {
        let entry = archive.by_index(index)?;
        // `None` for absolute names and names with `..`; symlinks could point outside as well.
        let Some(name) = entry.enclosed_name().filter(|_| !entry.is_symlink()) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the archive has an entry that leaves its folder",
            ));
        };
        let path = into.join(name);
        if entry.is_dir() {
            fs::create_dir_all(&path)?;
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        // As on AWS the archive decides whether a file can be executed.
        let mode = entry.unix_mode().unwrap_or(0o644) & 0o755 | 0o644;
        let mut file = fs::File::create(&path)?;
        let written = io::copy(&mut io::Read::take(entry, left + 1), &mut file)?;
        left = left.checked_sub(written).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the archive unpacks to more than it declares",
            )
        })?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}
