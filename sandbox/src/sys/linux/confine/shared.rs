//! What stands for `/dev/shm` to a plugin: memory by name that only workers of the same plugin file
//! share, within one host. Plugins pass each other audio through such memory (LSP's sends and
//! returns); they shall not reach that of other programs, the audio server's among them.
//!
//! The host holds it and hands over what a worker asks for. Nothing lies in the file system: when the
//! last of the workers is gone, or the host is, however it ended, so is the memory.

use super::listener::lock;
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags};
use rustix::io::{Errno, Result};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, Weak};

/// Where programs look for memory by name.
const PLACE: &str = "/dev/shm";
/// Most files of one plugin, and most bytes in all, with which another one may be made.
const MOST_FILES: usize = 16;
const MOST_BYTES: u64 = 256 << 20;

/// The memory of each plugin that has workers, by the plugin's name in [`super::super::Reached`].
static ALL: Mutex<BTreeMap<String, Weak<Named>>> = Mutex::new(BTreeMap::new());

/// The memory that the workers of one plugin file share.
#[derive(Default)]
pub(super) struct Named(Mutex<BTreeMap<OsString, OwnedFd>>);

/// The name of what a path stands for there; `None`: it stands for something else.
pub(super) fn name_of(path: &Path) -> Option<&OsStr> {
    let mut parts = path.strip_prefix(PLACE).ok()?.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) => Some(name),
        _ => None,
    }
}

impl Named {
    /// That of a plugin, for as long as somebody holds it.
    pub(super) fn of(plugin: &str) -> Arc<Self> {
        let mut all = lock(&ALL);
        all.retain(|_, memory| memory.strong_count() > 0);
        if let Some(memory) = all.get(plugin).and_then(Weak::upgrade) {
            return memory;
        }
        let memory = Arc::<Self>::default();
        all.insert(plugin.to_owned(), Arc::downgrade(&memory));
        memory
    }

    /// Opens a piece with the flags of `open`, and makes it if that is asked for.
    pub(super) fn open(&self, name: &OsStr, flags: i32) -> Result<OwnedFd> {
        let asked = OFlags::from_bits_retain(flags as u32);
        let mut pieces = lock(&self.0);
        if !pieces.contains_key(name) {
            if !asked.contains(OFlags::CREATE) {
                return Err(Errno::NOENT);
            }
            has_room(&pieces)?;
            let piece = rustix::fs::memfd_create(c"sandrack-plugin", MemfdFlags::CLOEXEC)?;
            pieces.insert(name.to_owned(), piece);
        } else if asked.contains(OFlags::CREATE | OFlags::EXCL) {
            return Err(Errno::EXIST);
        }
        // Opened anew rather than duplicated: with an offset, locks and a direction of its own.
        let path = format!("/proc/self/fd/{}", pieces[name].as_raw_fd());
        let kept = OFlags::RDWR | OFlags::WRONLY | OFlags::TRUNC;
        rustix::fs::openat(CWD, path, (asked & kept) | OFlags::CLOEXEC, Mode::empty())
    }

    /// Takes its name from a piece: whoever has it open keeps it.
    pub(super) fn remove(&self, name: &OsStr) -> Result<()> {
        lock(&self.0).remove(name).map(drop).ok_or(Errno::NOENT)
    }
}

fn has_room(pieces: &BTreeMap<OsString, OwnedFd>) -> Result<()> {
    // What lies there, not what was asked for: it may be full of holes.
    let blocks = pieces.values().filter_map(|piece| rustix::fs::fstat(piece).ok());
    let bytes: u64 = blocks.map(|stat| stat.st_blocks as u64 * 512).sum();
    match pieces.len() < MOST_FILES && bytes < MOST_BYTES {
        true => Ok(()),
        false => Err(Errno::NOSPC),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_by_name_is_a_plugins_own_and_goes_with_its_workers() {
        let (plugin, name) = (format!("test-{}", std::process::id()), OsStr::new("memory"));
        let make = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
        let memory = Named::of(&plugin);
        assert_eq!(memory.open(name, libc::O_RDWR).unwrap_err(), Errno::NOENT);
        let made = memory.open(name, make).unwrap();
        rustix::io::write(&made, b"x").unwrap();
        assert_eq!(memory.open(name, make).unwrap_err(), Errno::EXIST);
        let another = Named::of(&plugin);
        let again = another.open(name, libc::O_RDONLY).unwrap();
        let mut byte = [0];
        assert_eq!(rustix::io::read(&again, &mut byte), Ok(1));
        assert_eq!(rustix::io::write(&again, b"y"), Err(Errno::BADF));
        assert_eq!(Named::of("test-other").open(name, libc::O_RDWR).unwrap_err(), Errno::NOENT);
        assert!(!Path::new(PLACE).join(name).exists());
        for number in 1..MOST_FILES {
            drop(memory.open(OsStr::new(&format!("more-{number}")), make).unwrap());
        }
        assert_eq!(memory.open(OsStr::new("one"), make).unwrap_err(), Errno::NOSPC);
        memory.remove(name).unwrap();
        memory.open(OsStr::new("one"), make).unwrap();
        drop((memory, another));
        let empty = Named::of(&plugin);
        assert_eq!(empty.open(OsStr::new("one"), libc::O_RDWR).unwrap_err(), Errno::NOENT);
    }

    #[test]
    fn only_what_lies_right_there_is_meant() {
        let name = |path: &str| name_of(Path::new(path)).map(|n| n.to_string_lossy().into_owned());
        assert_eq!(name("/dev/shm/a"), Some("a".into()));
        for path in ["/dev/shm", "/dev/shm/", "/dev/shm/a/b", "/dev/shm/..", "/dev/shm/../a", "/a"]
        {
            assert_eq!(name(path), None, "{path}");
        }
    }
}
