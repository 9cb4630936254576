//! What a host has left behind, as far as the system tells.

use crate::protocol::WORKER_ARGUMENT;
use std::fs;

/// Processes that are workers of this host, or were started by one: whoever their parent is now.
pub fn workers_of(host: u32) -> Vec<u32> {
    let host = host.to_string();
    let is_worker = |process: &u32| {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0).skip(1);
        // Name of the channel, number of the host.
        words.next() == Some(WORKER_ARGUMENT.as_bytes()) && words.nth(1) == Some(host.as_bytes())
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.filter(is_worker).collect()
}

/// Pieces of shared memory that this process still holds or maps. It makes none that has a name in the
/// file system.
pub fn shared_memory() -> usize {
    let descriptors = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    let held = targets.filter(|target| target.to_string_lossy().contains("memfd:sandrack")).count();
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mapped = maps.lines().filter(|line| line.contains("memfd:sandrack")).count();
    held + mapped
}
