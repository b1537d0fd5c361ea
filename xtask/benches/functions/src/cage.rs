//! The CPU share and the memory of a Lambda function of some size, by control groups.
//!
//! Lambda gives CPU in proportion to memory, one vCPU at 1,769 MB
//! (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>). Both generations of Linux's control groups
//! do; where none can be written, nothing is measured under a share, rather than something else.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// Memory of one vCPU.
const MB_PER_CPU: u64 = 1_769;

/// How long a share is reckoned over. Short, so that a share is a slow CPU and not one that stands still for long.
const PERIOD_US: u64 = 20_000;

/// A control group around one process; removed when dropped, after the process.
pub(crate) struct Cage {
    folders: Vec<PathBuf>,
}

impl Cage {
    /// Puts a process and its threads into a new group.
    pub(crate) fn around(process: u32, memory_mb: u32, limit_memory: bool) -> Result<Self, Box<dyn Error>> {
        let name = format!("bench-functions-{process}");
        let quota = PERIOD_US * u64::from(memory_mb) / MB_PER_CPU;
        let bytes = (u64::from(memory_mb) * 1024 * 1024).to_string();
        let first = Path::new("/sys/fs/cgroup/cpu");
        let mut cage = Self { folders: Vec::new() };
        if first.is_dir() {
            cage.enter(
                first.join(&name),
                process,
                &[
                    ("cpu.cfs_period_us", PERIOD_US.to_string()),
                    ("cpu.cfs_quota_us", quota.to_string()),
                ],
            )?;
            if limit_memory {
                let folder = Path::new("/sys/fs/cgroup/memory").join(&name);
                cage.enter(folder, process, &[("memory.limit_in_bytes", bytes)])?;
            }
        } else {
            let mut limits = vec![("cpu.max", format!("{quota} {PERIOD_US}"))];
            if limit_memory {
                limits.push(("memory.max", bytes));
            }
            cage.enter(Path::new("/sys/fs/cgroup").join(&name), process, &limits)?;
        }
        Ok(cage)
    }

    fn enter(&mut self, folder: PathBuf, process: u32, limits: &[(&str, String)]) -> Result<(), Box<dyn Error>> {
        let failed = |error| {
            format!(
                "cannot set a CPU share in {}: {error}; run it as root",
                folder.display()
            )
        };
        fs::create_dir(&folder).map_err(failed)?;
        self.folders.push(folder.clone());
        for (file, value) in limits {
            fs::write(folder.join(file), value).map_err(failed)?;
        }
        fs::write(folder.join("cgroup.procs"), process.to_string()).map_err(failed)?;
        Ok(())
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        for folder in &self.folders {
            // The process was killed a moment ago; until it is gone the group cannot be removed.
            for _ in 0..100 {
                if fs::remove_dir(folder).is_ok() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }
}
