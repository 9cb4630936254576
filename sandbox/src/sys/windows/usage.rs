//! What a process uses. Job objects hold it to its limits here; nobody has to look.

use std::fs;
use std::path::Path;

/// What a process uses at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory of its own, bytes.
    pub memory: u64,
    /// Threads.
    pub threads: u32,
    /// Open handles; 0 where that can't be seen.
    pub files: u32,
    /// Processor time since its start, ns.
    pub cpu_ns: u64,
    /// Bytes it has written since its start; 0 where that can't be seen.
    pub written: u64,
}

/// What a process uses; `None`: it is not looked at.
pub fn of(_process: u32) -> Option<Usage> {
    None
}

/// How a whole machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Memory in all, bytes.
    pub memory: u64,
    /// Memory that nobody uses, bytes.
    pub free: u64,
    /// Processes and threads; wraps.
    pub threads: u16,
}

/// How this machine is doing: as if it had memory without end.
pub fn machine() -> Machine {
    Machine { memory: u64::MAX, free: u64::MAX, threads: 0 }
}

/// Bytes that all that lies in a folder takes. Looks at so many entries at most: a folder with more
/// has no size that matters. Links are not followed.
pub fn folder_size(folder: &Path, most_entries: usize) -> u64 {
    let (mut size, mut entries) = (0_u64, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            entries += 1;
            if entries > most_entries {
                return u64::MAX;
            }
            let Ok(entry_is) = entry.metadata() else { continue };
            size = size.saturating_add(entry_is.len());
            if entry_is.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    size
}
