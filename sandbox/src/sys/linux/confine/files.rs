//! What a call does to which file, and whether a worker's confinement allows it. For reports: what
//! is enforced, Landlock enforces by itself, whatever is thought of it here.

use crate::confine::Reached;
use std::path::{Path, PathBuf};

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// It is read, or listed.
    Read,
    /// What is in it is changed.
    Change,
    /// It is made in, removed from or moved within its folder.
    Place,
    /// Its mode, owner or times are changed: never allowed.
    Describe,
}

/// Where a call has its path, and what it does there.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathCall {
    /// The argument that is the folder which the path begins at; `None`: the working folder.
    pub(super) folder: Option<usize>,
    /// The argument that points to the path.
    pub(super) path: usize,
    pub(super) does: Does,
}

/// What a call does, as far as its number tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// Opens, with flags in this argument.
    Open(usize),
    /// Opens, with flags in what this argument points to.
    OpenHow(usize),
    /// Opens for writing, and makes it if need be.
    Create,
    /// Makes what must not be there yet.
    Make,
    /// Removes or moves what must be there.
    Remove,
    /// Is moved there.
    MoveTo,
    /// Changes its length.
    Truncate,
    /// Changes what is said of it.
    Describe,
}

/// The paths of a call.
pub(super) fn paths_of(call: i64) -> Vec<PathCall> {
    use Does::*;
    let at = |folder, does| PathCall { folder: Some(folder), path: folder + 1, does };
    match call {
        libc::SYS_openat => vec![at(0, Open(2))],
        libc::SYS_openat2 => vec![at(0, OpenHow(2))],
        libc::SYS_mkdirat | libc::SYS_mknodat => vec![at(0, Make)],
        libc::SYS_unlinkat => vec![at(0, Remove)],
        libc::SYS_renameat | libc::SYS_renameat2 => vec![at(0, Remove), at(2, MoveTo)],
        libc::SYS_linkat => vec![at(0, Remove), at(2, Make)],
        libc::SYS_symlinkat => vec![at(1, Make)],
        libc::SYS_truncate => vec![PathCall { folder: None, path: 0, does: Truncate }],
        libc::SYS_fchmodat | libc::SYS_fchmodat2 | libc::SYS_fchownat | libc::SYS_utimensat => {
            vec![at(0, Describe)]
        }
        libc::SYS_setxattr
        | libc::SYS_lsetxattr
        | libc::SYS_removexattr
        | libc::SYS_lremovexattr => vec![PathCall { folder: None, path: 0, does: Describe }],
        call => older(call),
    }
}

/// Those that only x86-64 still has.
#[cfg(target_arch = "x86_64")]
fn older(call: i64) -> Vec<PathCall> {
    use Does::*;
    let plain = |path, does| PathCall { folder: None, path, does };
    match call {
        libc::SYS_open => vec![plain(0, Open(1))],
        libc::SYS_creat => vec![plain(0, Create)],
        libc::SYS_mkdir | libc::SYS_mknod => vec![plain(0, Make)],
        libc::SYS_rmdir | libc::SYS_unlink => vec![plain(0, Remove)],
        libc::SYS_rename => vec![plain(0, Remove), plain(1, MoveTo)],
        libc::SYS_link => vec![plain(0, Remove), plain(1, Make)],
        libc::SYS_symlink => vec![plain(1, Make)],
        libc::SYS_chmod
        | libc::SYS_chown
        | libc::SYS_lchown
        | libc::SYS_utime
        | libc::SYS_utimes
        | libc::SYS_futimesat => vec![plain(0, Describe)],
        _ => vec![],
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn older(_: i64) -> Vec<PathCall> {
    vec![]
}

/// A file that a call is about: where it really lies, and what is done to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) path: PathBuf,
    pub(super) acts: Vec<Act>,
}

impl Wish {
    /// `None`: the call fails, or passes, for other reasons. `flags`: of an opening.
    pub(super) fn of(path: &Path, does: Does, flags: i32) -> Option<Self> {
        if path.as_os_str().is_empty() {
            return None;
        }
        // Links in the last part of a path are followed by what uses a file, not by what places it.
        let follows = flags & libc::O_NOFOLLOW == 0;
        let used = || if follows { path.canonicalize().ok() } else { placed(path) };
        let there = |path: &PathBuf| path.symlink_metadata().is_ok();
        match does {
            Does::Open(_) | Does::OpenHow(_) | Does::Create => {
                if flags & libc::O_PATH != 0 {
                    return None;
                }
                let makes = flags & libc::O_CREAT != 0;
                match used().filter(there) {
                    Some(path) => Some(Self { path, acts: acts_of(flags) }),
                    None if makes => Some(Self { path: placed(path)?, acts: vec![Act::Place] }),
                    None => None,
                }
            }
            Does::Make => {
                let path = placed(path).filter(|path| !there(path))?;
                Some(Self { path, acts: vec![Act::Place] })
            }
            Does::Remove => {
                Some(Self { path: placed(path).filter(there)?, acts: vec![Act::Place] })
            }
            Does::MoveTo => Some(Self { path: placed(path)?, acts: vec![Act::Place] }),
            Does::Truncate => Some(Self { path: used()?, acts: vec![Act::Change] }),
            Does::Describe => Some(Self { path: used()?, acts: vec![Act::Describe] }),
        }
    }

    /// Whether it only reads.
    pub(super) fn only_reads(&self) -> bool {
        self.acts == [Act::Read]
    }

    /// What of it lies out of reach.
    pub(super) fn refused(&self, reached: &Reached) -> Option<Act> {
        let lies_in = |places: &[PathBuf], path: &Path| places.iter().any(|p| path.starts_with(p));
        self.acts.iter().copied().find(|act| match act {
            Act::Read => !lies_in(&reached.read, &self.path) && !self.is_writable(reached),
            Act::Change => !self.is_writable(reached),
            Act::Place => {
                let folder = self.path.parent().unwrap_or(&self.path);
                !lies_in(&reached.write, folder)
            }
            Act::Describe => true,
        })
    }

    fn is_writable(&self, reached: &Reached) -> bool {
        let places = reached.write.iter().chain(&reached.devices);
        places.into_iter().any(|place| self.path.starts_with(place))
    }
}

fn acts_of(flags: i32) -> Vec<Act> {
    let mut acts = match flags & libc::O_ACCMODE {
        libc::O_RDONLY => vec![Act::Read],
        libc::O_WRONLY => vec![Act::Change],
        _ => vec![Act::Read, Act::Change],
    };
    if flags & libc::O_TRUNC != 0 && !acts.contains(&Act::Change) {
        acts.push(Act::Change);
    }
    acts
}

/// Where a file lies, its own name left as it is.
fn placed(path: &Path) -> Option<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => {
            let folder = if folder.as_os_str().is_empty() { Path::new("/") } else { folder };
            Some(folder.canonicalize().ok()?.join(name))
        }
        _ => path.canonicalize().ok(),
    }
}

/// The option that would have allowed it.
pub(super) fn grant_for(path: &Path, act: Act) -> String {
    match act {
        Act::Read => format!("--grant-files {}", quoted(path)),
        Act::Change => format!("--grant-files {}", quoted(&with_suffix(path))),
        Act::Place => {
            let folder = path.parent().unwrap_or(path);
            format!("--grant-files {}", quoted(&with_suffix(folder)))
        }
        Act::Describe => "--confinement off".into(),
    }
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(":rw");
    text.into()
}

/// As a shell takes it, without what would spoil a terminal.
pub(super) fn quoted(path: &Path) -> String {
    let text = shown(path);
    let plain = |c: char| c.is_alphanumeric() || "/._-+:,@%=".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// On one line, and not without end.
pub(super) fn shown(path: &Path) -> String {
    const LONGEST: usize = 300;
    let text = path.to_string_lossy();
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_wants_is_seen_and_judged() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (inside, outside) = (root.join("in"), root.join("out"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(inside.join("file"), "x").unwrap();
        std::fs::write(outside.join("file"), "x").unwrap();
        std::os::unix::fs::symlink(outside.join("file"), inside.join("link")).unwrap();
        let read = Reached { read: vec![inside.clone()], ..Reached::default() };
        let write = Reached { write: vec![inside.clone()], ..Reached::default() };
        let open = |path: &Path, flags, reached| {
            Wish::of(path, Does::Open(1), flags).and_then(|wish| wish.refused(reached))
        };
        let (rd, wr, make) = (libc::O_RDONLY, libc::O_WRONLY, libc::O_WRONLY | libc::O_CREAT);
        assert_eq!(open(&inside.join("file"), rd, &read), None);
        assert_eq!(open(&inside.join("file"), wr, &read), Some(Act::Change));
        assert_eq!(open(&inside.join("new"), make, &read), Some(Act::Place));
        assert_eq!(open(&inside.join("new"), make, &write), None);
        assert_eq!(open(&inside.join("new"), rd, &read), None, "it is not there");
        assert_eq!(open(&outside.join("file"), rd, &write), Some(Act::Read));
        assert_eq!(open(&inside.join("link"), rd, &read), Some(Act::Read), "a link leads out");
        assert_eq!(open(&inside.join("../out/file"), rd, &read), Some(Act::Read));
        assert_eq!(open(&outside.join("file"), libc::O_PATH, &read), None);
        let remove =
            |path: &Path| Wish::of(path, Does::Remove, 0).and_then(|wish| wish.refused(&write));
        assert_eq!(remove(&inside.join("link")), None, "the link itself goes");
        assert_eq!(remove(&outside.join("file")), Some(Act::Place));
        assert_eq!(remove(&outside.join("none")), None);
    }

    #[test]
    fn a_grant_can_be_typed() {
        let path = Path::new("/a/b c");
        assert_eq!(grant_for(path, Act::Read), "--grant-files '/a/b c'");
        assert_eq!(grant_for(path, Act::Change), "--grant-files '/a/b c:rw'");
        assert_eq!(grant_for(path, Act::Place), "--grant-files /a:rw");
        assert_eq!(quoted(Path::new("/a\x1b[31m'")), "'/a?[31m'\\'''");
    }
}
