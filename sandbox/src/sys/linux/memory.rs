//! Shared memory: a memfd that can't be truncated under a reader, and mappings of it.
//!
//! # Safety
//! `unsafe` here is `mmap`/`munmap` and handing out the address. What keeps it sound: a
//! [`Mapping`] owns its address range from `mmap` to `munmap`; its file is sealed against
//! shrinking, so no access can fault; the typed views over it (`shm`) use atomics, or copy.
#![allow(unsafe_code)]

use super::handles::Handle;
use super::wake::Bell;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;

/// What a mapping may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Loads only; a store would fault, and the mapping can't be made writable later.
    Read,
    /// Loads and stores.
    ReadWrite,
}

/// A piece of shared memory, zeroed, of fixed size. Freed by the system when the last process
/// that maps it or holds it has ended, however it ended.
pub struct SharedMemory {
    fd: OwnedFd,
    len: usize,
}

impl SharedMemory {
    /// Makes `len` bytes, rounded up to whole pages. `name` is seen in `/proc/PID/maps`.
    pub fn new(name: &str, len: usize) -> io::Result<Self> {
        let memory = Self::for_one_writer(name, len)?;
        rustix::fs::fcntl_add_seals(&memory.fd, SealFlags::SEAL)?;
        Ok(memory)
    }

    /// The same; once its writer has mapped it, [`seal_writes`](Self::seal_writes).
    pub fn for_one_writer(name: &str, len: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let len = len.max(1).next_multiple_of(page);
        // NOEXEC_SEAL: can never be started as a program. Kernels before 6.3 don't know it.
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL)
            .or_else(|_| rustix::fs::memfd_create(name, flags))?;
        rustix::fs::ftruncate(&fd, len as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW)?;
        Ok(Self { fd, len })
    }

    /// From now on nobody can begin to write to it; mappings that can, still can. A handle to read
    /// it is a file in `/proc` to whoever holds it, which could be opened again to be written to.
    pub fn seal_writes(&self) -> io::Result<()> {
        rustix::fs::fcntl_add_seals(&self.fd, SealFlags::FUTURE_WRITE | SealFlags::SEAL)
            // Kernels before 5.1 don't know it.
            .or_else(|_| rustix::fs::fcntl_add_seals(&self.fd, SealFlags::SEAL))
            .map_err(io::Error::from)
    }

    /// As [`new`](Self::new), with so many bells, for words in it that are waited on.
    pub fn with_bells(name: &str, len: usize, _bells: usize) -> io::Result<Self> {
        Self::new(name, len)
    }

    /// Size in bytes, a multiple of the page size.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true: the smallest is a page.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Maps it into this process.
    pub fn map(&self, access: Access) -> io::Result<Mapping> {
        Mapping::new(&self.fd, self.len, access)
    }

    /// Maps it for reading; pages that nobody has touched take up no memory.
    pub fn map_unlocked(&self) -> io::Result<Mapping> {
        Mapping::map(&self.fd, self.len, Access::Read, MapFlags::SHARED)
    }

    /// A handle to give to another process, with which it can map the memory with this access and
    /// no more.
    pub fn handle(&self, access: Access) -> io::Result<Handle> {
        let fd = match access {
            Access::ReadWrite => self.fd.try_clone()?,
            // A read-only file description: a mapping of it can't be made writable by mprotect.
            Access::Read => rustix::fs::open(
                format!("/proc/self/fd/{}", self.fd.as_raw_fd()),
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )?,
        };
        Ok(Handle(fd))
    }
}

/// A range of this process's addresses that is shared memory.
pub struct Mapping {
    at: NonNull<u8>,
    len: usize,
    access: Access,
}

// SAFETY: a Mapping is an address range that stays valid on whatever thread; all access through
// it is by atomics or by copying raw bytes.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps what another process handed over, and closes the handle. `len`: what the sender says
    /// it has; an error if there is less.
    pub fn from_handle(handle: Handle, len: usize, access: Access) -> io::Result<Self> {
        Self::check_handle(&handle, len)?;
        Self::new(&handle.0, len, access)
    }

    /// The same, but pages are there, and take up memory, from when they are first touched.
    pub fn from_handle_unlocked(handle: Handle, len: usize, access: Access) -> io::Result<Self> {
        Self::check_handle(&handle, len)?;
        Self::map(&handle.0, len, access, MapFlags::SHARED)
    }

    fn check_handle(handle: &Handle, len: usize) -> io::Result<()> {
        let size = rustix::fs::fstat(&handle.0)?.st_size as usize;
        let seals = rustix::fs::fcntl_get_seals(&handle.0)?;
        if size < len || !seals.contains(SealFlags::SHRINK) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("shared memory of {size} bytes where {len} sealed ones were promised"),
            ));
        }
        Ok(())
    }

    fn new(fd: impl AsFd, len: usize, access: Access) -> io::Result<Self> {
        // POPULATE: all pages are there now, none faults in a callback.
        let mapping = Self::map(fd, len, access, MapFlags::SHARED | MapFlags::POPULATE)?;
        // Refused without the right to lock memory; `thread::Realtime` reports that once.
        // SAFETY: the range was mapped just now.
        let _ = unsafe { rustix::mm::mlock(mapping.at.as_ptr().cast(), len) };
        Ok(mapping)
    }

    fn map(fd: impl AsFd, len: usize, access: Access, flags: MapFlags) -> io::Result<Self> {
        let protection = match access {
            Access::Read => ProtFlags::READ,
            Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        };
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let at = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, flags, fd, 0)? };
        let at = NonNull::new(at.cast::<u8>()).ok_or(io::ErrorKind::Other)?;
        Ok(Self { at, len, access })
    }

    /// The bell of a word in it, by number; `None`: it was made with fewer.
    pub fn bell(&self, _index: usize) -> Option<Bell> {
        Some(Bell::ONLY)
    }

    /// First byte.
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.at.as_ptr()
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true: the smallest is a page.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// What it allows.
    pub fn access(&self) -> Access {
        self.access
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is this value's own, and nothing borrows from it any more.
        let _ = unsafe { rustix::mm::munmap(self.at.as_ptr().cast(), self.len) };
    }
}
