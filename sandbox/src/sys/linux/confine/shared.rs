//! What stands for `/dev/shm` to a plugin: a folder there that only workers of the same plugin file
//! share. Plugins pass each other audio through such memory (LSP's sends and returns); they shall not
//! reach that of other programs, the audio server's among them.
//!
//! The host opens what a worker asks for and hands it over; the worker cannot reach the folder.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

/// Where programs look for memory by name.
const PLACE: &str = "/dev/shm";
/// Most files of one plugin, and most bytes in all, with which another one may be made.
const MOST_FILES: usize = 16;
const MOST_BYTES: u64 = 256 << 20;

/// The name of what a path stands for there; `None`: it stands for something else.
pub(super) fn name_of(path: &Path) -> Option<&OsStr> {
    let mut parts = path.strip_prefix(PLACE).ok()?.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) => Some(name),
        _ => None,
    }
}

/// Opens it, and makes it if that is asked for.
pub(super) fn open(plugin: &str, name: &OsStr, flags: i32, mode: u32) -> Result<OwnedFd> {
    let asked = OFlags::from_bits_retain(flags as u32);
    let folder = folder(plugin, asked.contains(OFlags::CREATE))?;
    if asked.contains(OFlags::CREATE) {
        has_room(&folder)?;
    }
    let kept = OFlags::RDWR | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::TRUNC;
    let flags = (asked & kept) | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = match asked.contains(OFlags::CREATE) {
        true => Mode::from_raw_mode(mode & 0o600),
        false => Mode::empty(),
    };
    rustix::fs::openat2(
        folder,
        name,
        flags,
        mode,
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )
}

/// Removes it.
pub(super) fn remove(plugin: &str, name: &OsStr) -> Result<()> {
    rustix::fs::unlinkat(folder(plugin, false)?, name, AtFlags::empty())
}

fn folder(plugin: &str, makes: bool) -> Result<OwnedFd> {
    let own = rustix::process::geteuid();
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = |at: &OwnedFd, name: &str| {
        if makes {
            match rustix::fs::mkdirat(at, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
        let folder = rustix::fs::openat(at, name, flags, Mode::empty())?;
        // Anybody may make folders there: this must be ours, and nobody else's.
        let stat = rustix::fs::fstat(&folder)?;
        match stat.st_uid == own.as_raw() && stat.st_mode & 0o077 == 0 {
            true => Ok(folder),
            false => Err(Errno::ACCESS),
        }
    };
    let place = rustix::fs::openat(CWD, PLACE, flags, Mode::empty())?;
    inner(&inner(&place, &format!("sandrack-{}", own.as_raw()))?, plugin)
}

fn has_room(folder: &OwnedFd) -> Result<()> {
    let (mut files, mut bytes) = (0, 0);
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        if let Ok(stat) = rustix::fs::statat(folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
            && stat.st_mode & libc::S_IFMT == libc::S_IFREG
        {
            files += 1;
            // What was asked for, and what lies there: it may be full of holes.
            bytes += (stat.st_blocks as u64) * 512;
        }
    }
    match files < MOST_FILES && bytes < MOST_BYTES {
        true => Ok(()),
        false => Err(Errno::NOSPC),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_by_name_is_a_plugins_own() {
        let (plugin, name) = (format!("test-{}", std::process::id()), OsStr::new("memory"));
        let make = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
        assert_eq!(open(&plugin, name, libc::O_RDWR, 0).unwrap_err(), Errno::NOENT);
        let made = open(&plugin, name, make, 0o666).unwrap();
        rustix::io::write(&made, b"x").unwrap();
        assert_eq!(open(&plugin, name, make, 0o666).unwrap_err(), Errno::EXIST);
        let again = open(&plugin, name, libc::O_RDONLY, 0).unwrap();
        let mut byte = [0];
        assert_eq!(rustix::io::read(again, &mut byte), Ok(1));
        assert!(!Path::new(PLACE).join(name).exists());
        for number in 1..MOST_FILES {
            let name = format!("more-{number}");
            drop(open(&plugin, OsStr::new(&name), make, 0o600).unwrap());
        }
        assert_eq!(open(&plugin, OsStr::new("one"), make, 0o600).unwrap_err(), Errno::NOSPC);
        remove(&plugin, name).unwrap();
        open(&plugin, OsStr::new("one"), make, 0o600).unwrap();
        let own = rustix::process::geteuid().as_raw();
        std::fs::remove_dir_all(format!("{PLACE}/sandrack-{own}/{plugin}")).unwrap();
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
