//! The zip file of one function: a single executable entry, `bootstrap`. The same binary gives the same bytes.

use std::io::{Cursor, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::workspace::write_atomically;

/// The name that `provided.al2023` starts.
const ENTRY: &str = "bootstrap";

/// How hard to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// For the local cloud, which unpacks it at once.
    Fast,
    /// For uploads and cold starts.
    Small,
}

impl Level {
    const fn deflate(self) -> i64 {
        match self {
            Self::Fast => 1,
            Self::Small => 9,
        }
    }
}

/// Packs a binary, or returns the zip file of an earlier run for the same binary. `folder` keeps the latest only.
///
/// # Errors
/// When the zip file cannot be made. A folder that cannot be written costs only time.
pub(super) fn pack_cached(binary: &[u8], level: Level, folder: &Path) -> Result<Vec<u8>, zip::result::ZipError> {
    let digest: String = Sha256::digest(binary)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let path = folder.join(format!("{digest}-{}.zip", level.deflate()));
    if let Ok(cached) = std::fs::read(&path) {
        return Ok(cached);
    }
    let zip = pack(binary, level)?;
    let _ = std::fs::remove_dir_all(folder);
    let _ = write_atomically(&path, &zip);
    Ok(zip)
}

/// Returns the SHA-256 of `bytes` in base64, as Lambda reports `CodeSha256`.
pub(super) fn sha256_base64(bytes: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(bytes))
}

/// Packs a binary.
///
/// # Errors
/// When the zip file cannot be made.
pub(super) fn pack(binary: &[u8], level: Level) -> Result<Vec<u8>, zip::result::ZipError> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(level.deflate()))
        .last_modified_time(DateTime::DEFAULT)
        .unix_permissions(0o755);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file(ENTRY, options)?;
    writer.write_all(binary)?;
    Ok(writer.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::io::Read;

    use super::*;

    fn binary() -> Vec<u8> {
        (0..100_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect()
    }

    #[test]
    fn the_same_binary_gives_the_same_bytes() {
        for level in [Level::Fast, Level::Small] {
            assert_eq!(pack(&binary(), level).unwrap(), pack(&binary(), level).unwrap());
        }
    }

    #[test]
    fn the_zip_holds_one_executable_of_a_fixed_time() {
        let zip = pack(&binary(), Level::Small).unwrap();
        let mut archive = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
        assert_eq!(archive.len(), 1);
        let mut entry = archive.by_index(0).unwrap();
        assert_eq!(entry.name().unwrap(), "bootstrap");
        assert_eq!(entry.unix_mode().unwrap() & 0o777, 0o755);
        assert_eq!(entry.last_modified().unwrap().year(), 1980);
        let mut unpacked = Vec::new();
        entry.read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, binary());
    }

    #[test]
    fn the_cache_keeps_the_latest_only() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("connect");
        let first = pack_cached(b"first", Level::Fast, &folder).unwrap();
        assert_eq!(pack_cached(b"first", Level::Fast, &folder).unwrap(), first);
        assert_ne!(pack_cached(b"second", Level::Fast, &folder).unwrap(), first);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn digests_are_as_lambda_reports_them() {
        assert_eq!(sha256_base64(b""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
