//! Shared memory: a file mapping without a file and without a name, of fixed size, which can't be
//! mapped to be executed.
//!
//! # Safety
//! `unsafe` here is mapping and unmapping, and handing out the address. What keeps it sound: a
//! [`Mapping`] owns its address range until it is unmapped; its section can neither shrink nor be
//! decommitted, so no access can fault; the typed views over it (`shm`) use atomics, or copy.
#![allow(unsafe_code)]

use super::handles::{Handle, duplicate};
use super::thread;
use super::wake::{Bell, owned};
use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr::{NonNull, null};
use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::Storage::FileSystem::SYNCHRONIZE;
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_READ, FILE_MAP_WRITE, MEMORY_BASIC_INFORMATION,
    MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile, PAGE_READWRITE, SEC_COMMIT, UnmapViewOfFile,
    VirtualLock, VirtualQuery,
};
use windows_sys::Win32::System::Threading::EVENT_MODIFY_STATE;

const PAGE: usize = 4096;
const RING_AND_WAIT: u32 = SYNCHRONIZE | EVENT_MODIFY_STATE;

/// What a mapping may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Loads only; a store would fault, and the mapping can't be made writable later.
    Read,
    /// Loads and stores.
    ReadWrite,
}

impl Access {
    fn rights(self) -> u32 {
        match self {
            Self::Read => FILE_MAP_READ,
            Self::ReadWrite => FILE_MAP_READ | FILE_MAP_WRITE,
        }
    }
}

/// A piece of shared memory, zeroed, of fixed size. Freed by the system when the last process
/// that maps it or holds it has ended, however it ended.
pub struct SharedMemory {
    section: OwnedHandle,
    bells: Box<[Bell]>,
    len: usize,
}

impl SharedMemory {
    /// Makes `len` bytes, rounded up to whole pages. `name` is not used here: names can be guessed.
    pub fn new(name: &str, len: usize) -> io::Result<Self> {
        Self::with_bells(name, len, 0)
    }

    /// The same; once its writer has mapped it, [`seal_writes`](Self::seal_writes).
    pub fn for_one_writer(name: &str, len: usize) -> io::Result<Self> {
        Self::new(name, len)
    }

    /// Nothing is to do: a handle never has more rights than the one it was made from.
    pub fn seal_writes(&self) -> io::Result<()> {
        Ok(())
    }

    /// As [`new`](Self::new), with so many bells, for words in it that are waited on.
    pub fn with_bells(_name: &str, len: usize, bells: usize) -> io::Result<Self> {
        let len = len.max(1).next_multiple_of(PAGE);
        let (high, low) = ((len as u64 >> 32) as u32, len as u32);
        let kind = PAGE_READWRITE | SEC_COMMIT;
        // SAFETY: no pointers but null; the handle is new.
        let section = unsafe {
            owned(CreateFileMappingW(INVALID_HANDLE_VALUE, null(), kind, high, low, null()))?
        };
        let bells = (0..bells).map(|_| Bell::new()).collect::<io::Result<_>>()?;
        Ok(Self { section, bells, len })
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
        Mapping::new(&self.section, self.len, access, self.bells.clone())
    }

    /// Maps it for reading; pages that nobody has touched take up no memory.
    pub fn map_unlocked(&self) -> io::Result<Mapping> {
        Mapping::of(&self.section, self.len, Access::Read, self.bells.clone())
    }

    /// A handle to give to another process, with which it can map the memory with this access and
    /// no more, and ring its bells.
    pub fn handle(&self, access: Access) -> io::Result<Handle> {
        let mut all = vec![duplicate(&self.section, access.rights())?];
        for bell in &self.bells {
            all.push(duplicate(bell.event(), RING_AND_WAIT)?);
        }
        Ok(Handle(all))
    }
}

/// A range of this process's addresses that is shared memory.
pub struct Mapping {
    at: NonNull<u8>,
    len: usize,
    access: Access,
    bells: Box<[Bell]>,
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
        let mapping = Self::from_handle_unlocked(handle, len, access)?;
        mapping.make_resident();
        Ok(mapping)
    }

    /// The same, but pages are there, and take up memory, from when they are first touched.
    pub fn from_handle_unlocked(handle: Handle, len: usize, access: Access) -> io::Result<Self> {
        let mut all = handle.0.into_iter();
        let section = all.next().ok_or(io::ErrorKind::InvalidData)?;
        Self::of(&section, len, access, all.map(Bell::received).collect())
    }

    fn new(
        section: &OwnedHandle,
        len: usize,
        access: Access,
        bells: Box<[Bell]>,
    ) -> io::Result<Self> {
        let mapping = Self::of(section, len, access, bells)?;
        mapping.make_resident();
        Ok(mapping)
    }

    fn of(
        section: &OwnedHandle,
        len: usize,
        access: Access,
        bells: Box<[Bell]>,
    ) -> io::Result<Self> {
        // SAFETY: a new view of the whole section, at an address of the system's choice.
        let view = unsafe { MapViewOfFile(section.as_raw_handle(), access.rights(), 0, 0, 0) };
        let at = NonNull::new(view.Value.cast::<u8>()).ok_or_else(io::Error::last_os_error)?;
        let mapping = Self { at, len, access, bells };
        let size = mapping.size();
        if size < len {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("shared memory of {size} bytes where {len} were promised"),
            ));
        }
        Ok(mapping)
    }

    /// All pages are there from now on, and stay: none faults in a callback.
    fn make_resident(&self) {
        for page in (0..self.len).step_by(PAGE) {
            // SAFETY: within the view.
            unsafe { self.at.as_ptr().add(page).read_volatile() };
        }
        thread::allow_locking();
        // Refused beyond the process's working set; `thread::lock_stack` reports that once.
        // SAFETY: within the view.
        unsafe { VirtualLock(self.at.as_ptr().cast(), self.len) };
    }

    /// Bytes that are mapped, as the system knows it.
    fn size(&self) -> usize {
        let mut info = MEMORY_BASIC_INFORMATION::default();
        // SAFETY: fills a local, whose size it is told.
        let known = unsafe { VirtualQuery(self.at.as_ptr().cast(), &mut info, size_of_val(&info)) };
        if known == 0 { 0 } else { info.RegionSize }
    }

    /// The bell of a word in it, by number; `None`: it was made with fewer.
    pub fn bell(&self, index: usize) -> Option<Bell> {
        self.bells.get(index).cloned()
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
        // SAFETY: the view is this value's own, and nothing borrows from it any more.
        unsafe { UnmapViewOfFile(MEMORY_MAPPED_VIEW_ADDRESS { Value: self.at.as_ptr().cast() }) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windows_sys::Win32::System::Memory::{PAGE_EXECUTE_READWRITE, VirtualProtect};

    #[test]
    fn what_is_handed_over_to_be_read_cannot_be_written() {
        let memory = SharedMemory::new("test", 5000).unwrap();
        assert_eq!(memory.len(), 8192);
        let mine = memory.map(Access::ReadWrite).unwrap();
        // SAFETY: within the mapping.
        unsafe { mine.as_ptr().add(4999).write_volatile(7) };
        let handle = memory.handle(Access::Read).unwrap();
        assert!(Mapping::new(&handle.0[0], 8192, Access::ReadWrite, Box::default()).is_err());
        let read = Mapping::from_handle(handle, 8192, Access::Read).unwrap();
        let mut before = 0;
        // SAFETY: within the mapping.
        unsafe {
            assert_eq!(read.as_ptr().add(4999).read_volatile(), 7);
            let at = read.as_ptr().cast();
            assert_eq!(VirtualProtect(at, 4096, PAGE_READWRITE, &mut before), 0);
            let at = mine.as_ptr().cast();
            assert_eq!(VirtualProtect(at, 4096, PAGE_EXECUTE_READWRITE, &mut before), 0);
            // That no new view can be had to execute is Windows' word: Wine gives one.
        }
    }

    #[test]
    fn less_memory_than_promised_is_an_error() {
        let memory = SharedMemory::new("test", 4096).unwrap();
        let handle = memory.handle(Access::Read).unwrap();
        let Err(error) = Mapping::from_handle(handle, 8192, Access::Read) else { panic!() };
        assert!(error.to_string().contains("4096 bytes where 8192"), "{error}");
    }
}
