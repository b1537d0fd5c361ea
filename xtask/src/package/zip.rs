//! The zip file of one function: a single executable entry, `bootstrap`. The same binary gives the same bytes.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::workspace::write_atomically;

/// The name that `provided.al2023` starts.
const ENTRY: &str = "bootstrap";

/// Zip files of one function that are kept.
const KEPT: usize = 5;

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

/// Packs a binary, or returns the zip file of an earlier run for the same binary. `folder` keeps the latest
/// few, for those who want to go back.
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
    let _ = write_atomically(&path, &zip);
    for outdated in by_age(folder).skip(KEPT) {
        let _ = std::fs::remove_file(outdated);
    }
    Ok(zip)
}

/// Returns the zip file of this digest from any earlier run; `cache` has one folder per profile and function.
pub(super) fn kept(cache: &Path, sha256: &str) -> Option<Vec<u8>> {
    let folders = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path())
    };
    folders(cache)
        .flat_map(|profile| folders(&profile))
        .flat_map(|function| by_age(&function))
        .filter_map(|file| std::fs::read(file).ok())
        .find(|zip| sha256_base64(zip) == sha256)
}

/// Returns the files of a folder, the youngest first.
fn by_age(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    files.into_iter().rev().map(|(_, path)| path)
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
    fn the_cache_keeps_the_latest_few_and_finds_them_by_their_digests() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("dev").join("connect");
        let first = pack_cached(b"first", Level::Fast, &folder).unwrap();
        assert_eq!(pack_cached(b"first", Level::Fast, &folder).unwrap(), first);
        let second = pack_cached(b"second", Level::Fast, &folder).unwrap();
        for zip in [&first, &second] {
            assert_eq!(kept(cache.path(), &sha256_base64(zip)).as_ref(), Some(zip));
        }
        assert_eq!(kept(cache.path(), &sha256_base64(b"other")), None);
        for number in 0..10_u8 {
            pack_cached(&[number], Level::Fast, &folder).unwrap();
        }
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), KEPT);
    }

    #[test]
    fn digests_are_as_lambda_reports_them() {
        assert_eq!(sha256_base64(b""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
