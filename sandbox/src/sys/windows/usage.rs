//! What a process uses, as the system counts it.
//!
//! # Safety
//! The `unsafe` calls fill locals whose sizes they are told, by a handle that is owned here.
#![allow(unsafe_code)]

use super::process::open;
use std::fs;
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::System::ProcessStatus::{
    K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS, PROCESS_MEMORY_COUNTERS_EX,
};
use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};
use windows_sys::Win32::System::Threading::{
    GetProcessHandleCount, GetProcessIoCounters, GetProcessTimes, IO_COUNTERS,
};

/// What a process uses at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory of its own, bytes.
    pub memory: u64,
    /// Shared memory that counts besides; none here.
    pub shared: u64,
    /// Threads; 0: not counted here.
    pub threads: u32,
    /// Open handles; 0 where that can't be seen.
    pub files: u32,
    /// Processor time since its start, ns.
    pub cpu_ns: u64,
    /// Bytes it has written since its start; 0 where that can't be seen.
    pub written: u64,
}

/// What files without a name take that a process holds open, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Of files that exist in memory only.
    pub memory: u64,
    /// Of files on a disk.
    pub disk: u64,
}

/// Nothing: files have names here until they are closed.
pub fn held(_process: u32) -> Held {
    Held::default()
}

/// What a process uses; `None`: it has ended, or can't be looked at.
pub fn of(process: u32) -> Option<Usage> {
    let process = open(process).ok()?;
    let process = process.as_raw_handle();
    let mut memory = PROCESS_MEMORY_COUNTERS_EX::default();
    let (mut files, mut io) = (0, IO_COUNTERS::default());
    let mut times = [FILETIME::default(); 4];
    // SAFETY: see the file's text. The larger structure begins like the smaller one.
    unsafe {
        let (at, size) =
            ((&raw mut memory).cast::<PROCESS_MEMORY_COUNTERS>(), size_of_val(&memory));
        if K32GetProcessMemoryInfo(process, at, size as u32) == 0 {
            return None;
        }
        GetProcessHandleCount(process, &mut files);
        GetProcessIoCounters(process, &mut io);
        let [made, ended, kernel, user] = &mut times;
        GetProcessTimes(process, made, ended, kernel, user);
    }
    // In units of 100 ns.
    let ns = |time: &FILETIME| {
        (u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)).saturating_mul(100)
    };
    Some(Usage {
        shared: 0,
        memory: memory.PrivateUsage as u64,
        threads: 0,
        files,
        cpu_ns: ns(&times[2]).saturating_add(ns(&times[3])),
        written: io.WriteTransferCount,
    })
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

/// How this machine is doing.
pub fn machine() -> Machine {
    let mut status =
        MEMORYSTATUSEX { dwLength: size_of::<MEMORYSTATUSEX>() as u32, ..Default::default() };
    // SAFETY: fills a local, which says how large it is.
    unsafe { GlobalMemoryStatusEx(&mut status) };
    Machine { memory: status.ullTotalPhys, free: status.ullAvailPhys, threads: 0 }
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
