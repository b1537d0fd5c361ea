//! Whether a binary can start on `provided.al2023`: right machine, and no newer C library than there is.
//!
//! Pure: bytes in, an answer out.

use infra_cdk::Architecture;
use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::SymbolIndex;
use object::read::elf::{FileHeader, SectionTable, Sym};

/// A version of glibc: major and minor.
pub(super) type Glibc = (u32, u32);

/// The C library of Amazon Linux 2023, on which `provided.al2023` is based (Amazon Linux 2023 User Guide, "glibc").
pub(super) const GLIBC_OF_AL2023: Glibc = (2, 34);

/// What to do when [`check`] refuses.
pub(super) const HELP: &str = "compile against the older library: pip install ziglang && cargo install --locked cargo-zigbuild, and set \
     `architecture: arm64` or `x86_64` other than this machine's; or build on Debian 12, Amazon Linux 2023 or older";

/// Why a binary would not start.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum ElfError {
    /// Not a 64-bit ELF file, or a damaged one.
    #[error("the binary is no 64-bit Linux program: {0}")]
    Unreadable(String),
    /// For another processor.
    #[error("the binary is for machine {found}, and the function runs on {expected}")]
    WrongMachine {
        /// ELF's number of it.
        found: u16,
        /// Lambda's name of the right one.
        expected: &'static str,
    },
    /// Needs a newer C library.
    #[error("`{symbol}` needs GLIBC_{}.{}, and provided.al2023 has {}.{}", needed.0, needed.1, available.0, available.1)]
    NewerGlibc {
        /// A symbol that needs it.
        symbol: String,
        /// The version that it needs.
        needed: Glibc,
        /// The version that there is.
        available: Glibc,
    },
}

/// Checks that `binary` runs on `architecture` with the C library `available`.
///
/// # Errors
/// The first reason why it would not.
pub(super) fn check(binary: &[u8], architecture: Architecture, available: Glibc) -> Result<(), ElfError> {
    let unreadable = |error: object::Error| ElfError::Unreadable(error.to_string());
    let header = FileHeader64::<Endianness>::parse(binary).map_err(unreadable)?;
    let endian = header.endian().map_err(unreadable)?;
    let machine = match architecture {
        Architecture::Arm64 => elf::EM_AARCH64,
        Architecture::X86_64 => elf::EM_X86_64,
    };
    let found = header.e_machine(endian);
    if found != machine {
        return Err(ElfError::WrongMachine {
            found,
            expected: architecture.as_str(),
        });
    }
    let sections = header.sections(endian, binary).map_err(unreadable)?;
    match newest_requirement(&sections, endian, binary).map_err(unreadable)? {
        Some((needed, symbol)) if needed > available => Err(ElfError::NewerGlibc {
            symbol,
            needed,
            available,
        }),
        Some(_) | None => Ok(()),
    }
}

/// Returns the newest glibc version that a dynamic symbol asks for, and that symbol; `None` for static programs.
fn newest_requirement(
    sections: &SectionTable<'_, FileHeader64<Endianness>>,
    endian: Endianness,
    binary: &[u8],
) -> object::Result<Option<(Glibc, String)>> {
    let Some(versions) = sections.versions(endian, binary)? else {
        return Ok(None);
    };
    let symbols = sections.symbols(endian, binary, elf::SHT_DYNSYM)?;
    let mut newest: Option<(Glibc, String)> = None;
    for (index, symbol) in symbols.enumerate() {
        let index = SymbolIndex(index.0);
        let Some(version) = versions.version(versions.version_index(endian, index))? else {
            continue;
        };
        if let Some(needed) = std::str::from_utf8(version.name()).ok().and_then(glibc)
            && newest.as_ref().is_none_or(|(so_far, _)| needed > *so_far)
        {
            let name = symbol.name(endian, symbols.strings())?;
            newest = Some((needed, String::from_utf8_lossy(name).into_owned()));
        }
    }
    Ok(newest)
}

/// Reads `GLIBC_2.34` or `GLIBC_2.2.5`; `None` for other libraries' versions.
fn glibc(version: &str) -> Option<Glibc> {
    let mut numbers = version.strip_prefix("GLIBC_")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// The test program itself is a binary of this machine.
    fn own_binary() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn a_binary_of_this_machine_runs_on_this_machine() {
        assert_eq!(check(&own_binary(), Architecture::of_host(), (2, 99)), Ok(()));
    }

    #[test]
    fn a_newer_c_library_is_refused_with_a_symbol_that_needs_it() {
        let error = check(&own_binary(), Architecture::of_host(), (2, 2)).unwrap_err();
        let ElfError::NewerGlibc { symbol, needed, .. } = error else {
            panic!("{error:?}");
        };
        assert!(!symbol.is_empty());
        assert!(needed > (2, 2));
    }

    #[test]
    fn another_machine_is_refused() {
        let other = match Architecture::of_host() {
            Architecture::Arm64 => Architecture::X86_64,
            Architecture::X86_64 => Architecture::Arm64,
        };
        let error = check(&own_binary(), other, (2, 99)).unwrap_err();
        assert!(matches!(error, ElfError::WrongMachine { .. }), "{error}");
    }

    #[test]
    fn other_files_are_refused() {
        for bytes in [&b""[..], b"#!/bin/sh\n", &own_binary()[..100]] {
            let error = check(bytes, Architecture::of_host(), (2, 99)).unwrap_err();
            assert!(matches!(error, ElfError::Unreadable(_)), "{error}");
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(glibc("GLIBC_2.34"), Some((2, 34)));
        assert_eq!(glibc("GLIBC_2.2.5"), Some((2, 2)));
        assert_eq!(glibc("GCC_3.0"), None);
        assert_eq!(glibc("GLIBC_PRIVATE"), None);
        assert!(glibc("GLIBC_2.4") < glibc("GLIBC_2.34"));
    }
}
