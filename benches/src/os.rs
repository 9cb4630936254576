//! The OS calls the benchmarks need: a memory page that processes share, the realtime class,
//! cores and the clock.
//!
//! # Safety
//! This is the crate's one module with `unsafe`: mapping memory and `sched_setscheduler` have no
//! safe wrapper. The mapping stays sound because it is made of atomics only (any bit pattern is
//! a value, and another process writing at the same time is no data race), because the memory is
//! sealed against changing its size (no SIGBUS), and because its geometry is fixed when it is
//! mapped and checked against the file.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, MlockAllFlags, ProtFlags};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// A word to wait on and wake by, alone on its cache line.
#[repr(C, align(64))]
pub struct Cell(pub AtomicU32);

/// Memory that the benchmark and its child processes share: `cells`, then `words`.
pub struct Shared {
    start: NonNull<u8>,
    cells: usize,
    words: usize,
    file: OwnedFd,
}

// SAFETY: nothing but atomics can be reached through a `Shared`, and the mapping lives as long as
// the value does, whichever thread holds it.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// New memory, all zero, every page present.
    pub fn create(cells: usize, words: usize) -> io::Result<Self> {
        let file = rustix::fs::memfd_create(
            "sandrack-bench",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )?;
        rustix::fs::ftruncate(&file, Self::len(cells, words)? as u64)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Self::map(cells, words, file)
    }

    /// The memory that [`Shared::stdio`] handed to this process as its standard input. `cells`
    /// and `words` must be those it was created with: another size is an error.
    pub fn from_stdin(cells: usize, words: usize) -> io::Result<Self> {
        let file = io::stdin().as_fd().try_clone_to_owned()?;
        let sealed = rustix::fs::fcntl_get_seals(&file)?;
        let len = rustix::fs::fstat(&file)?.st_size;
        if !sealed.contains(SealFlags::SHRINK) || len != Self::len(cells, words)? as i64 {
            return Err(io::Error::other("standard input is not the benchmark's memory"));
        }
        Self::map(cells, words, file)
    }

    /// A handle on the memory, to be a child's standard input: so it needs no number to be
    /// passed and no other process inherits it.
    pub fn stdio(&self) -> io::Result<Stdio> {
        Ok(Stdio::from(File::from(self.file.try_clone()?)))
    }

    /// The words to wait on.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        // SAFETY: the mapping starts with `cells` cells, page aligned, and lives as long as
        // `self`; a cell is an atomic and padding, so any content is valid.
        unsafe { std::slice::from_raw_parts(self.start.cast().as_ptr(), self.cells) }
    }

    /// The words for figures.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: `words` words follow the cells (whose size is a multiple of 64) in the mapping;
        // the rest as in `cells`.
        unsafe {
            let start = self.start.add(self.cells * size_of::<Cell>());
            std::slice::from_raw_parts(start.cast().as_ptr(), self.words)
        }
    }

    fn len(cells: usize, words: usize) -> io::Result<usize> {
        let cells = cells.checked_mul(size_of::<Cell>());
        let words = words.checked_mul(size_of::<AtomicU64>());
        cells
            .zip(words)
            .and_then(|(cells, words)| cells.checked_add(words))
            .filter(|&len| len > 0 && len <= 1 << 32)
            .ok_or_else(|| io::Error::other("so many blocks don't fit in shared memory"))
    }

    fn map(cells: usize, words: usize, file: OwnedFd) -> io::Result<Self> {
        let len = Self::len(cells, words)?;
        // POPULATE: a first touch in the middle of a measured block would be a page fault in it.
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address the kernel chooses overlaps nothing; the file has
        // this length and is sealed against shrinking.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                flags,
                &file,
                0,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { start, cells, words, file })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Ok(len) = Self::len(self.cells, self.words) {
            // SAFETY: mapped in `map` with this length; no slice of it outlives `self`.
            let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), len) };
        }
    }
}

/// Puts the calling thread in the SCHED_FIFO class.
pub fn set_realtime(priority: i32) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: 0 is the calling thread; the parameter is read during the call only.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Keeps all of this process's memory from being paged out, now and later.
pub fn lock_memory() -> io::Result<()> {
    Ok(rustix::mm::mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)?)
}

/// The cores this process may run on, in their order.
pub fn cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// Lets the calling thread, and what it starts from now on, run on `cores` only.
pub fn pin(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// CLOCK_MONOTONIC in nanoseconds: the same for every process.
#[must_use]
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
