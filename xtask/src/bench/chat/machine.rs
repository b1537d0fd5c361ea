//! What the machine gives: open files, and the memory that processes take.

use std::collections::BTreeMap;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::Failure;

/// Files that a process has open besides its connections.
const FILES_BESIDES: usize = 500;

/// Memory of the local cloud and of the function processes that it runs, in KiB. Only Linux tells.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Of the local cloud: resident now.
    pub(crate) cloud: u64,
    /// The most that it ever was.
    pub(crate) cloud_peak: u64,
    /// Of all functions together: resident now.
    pub(crate) functions: u64,
    /// Of the largest of them, the most that it ever was.
    pub(crate) function_peak: u64,
    /// How many there are.
    pub(crate) processes: usize,
}

/// Lets this process and those that it starts open as many files as they may.
///
/// # Errors
/// When that is too few for so many connections.
pub(crate) fn allow_files(connections: usize) -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where the hard limit is "unlimited" systems refuse that as a soft one: then what is there must do.
    let allowed = if setrlimit(Resource::Nofile, raised).is_ok() {
        limit.maximum
    } else {
        limit.current
    };
    let needed = connections + FILES_BESIDES;
    match allowed {
        Some(allowed) if allowed < needed as u64 => Err(Failure::new(format!(
            "{connections} connections need {needed} open files, and this process may have {allowed}"
        ))
        .help(format!(
            "raise the hard limit (as root: ulimit -Hn {needed}), or measure fewer: cargo xtask bench chat --connections {}",
            allowed.saturating_sub(FILES_BESIDES as u64)
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Returns the memory of a local cloud and its functions; nothing where the system does not tell.
pub(crate) fn memory_of(cloud: u32) -> Memory {
    let mut memory = Memory::default();
    let Some(own) = status(cloud) else { return memory };
    (memory.cloud, memory.cloud_peak) = (kib(&own, "VmRSS"), kib(&own, "VmHWM"));
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for function in ids.filter_map(status).filter(|of| kib(of, "PPid") == u64::from(cloud)) {
        memory.processes += 1;
        memory.functions += kib(&function, "VmRSS");
        memory.function_peak = memory.function_peak.max(kib(&function, "VmHWM"));
    }
    memory
}

fn status(process: u32) -> Option<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    Some(
        lines
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect(),
    )
}

fn kib(status: &BTreeMap<String, String>, name: &str) -> u64 {
    let value = status.get(name).and_then(|value| value.split_whitespace().next());
    value.and_then(|number| number.parse().ok()).unwrap_or(0)
}
