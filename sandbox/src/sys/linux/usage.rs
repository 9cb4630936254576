//! What a process uses, read from /proc: cheap enough for once a second and process.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What a process uses at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory of its own, swapped out or not, bytes.
    pub memory: u64,
    /// Shared memory that it has touched, bytes.
    pub shared: u64,
    /// Threads.
    pub threads: u32,
    /// Open descriptors; 0 where that can't be seen.
    pub files: u32,
    /// Processor time since its start, ns.
    pub cpu_ns: u64,
    /// Bytes it has handed to write calls since its start; 0 where that can't be seen.
    pub written: u64,
}

/// What a process uses; `None`: it has ended, or can't be looked at.
pub fn of(process: u32) -> Option<Usage> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{process}/{name}")).ok();
    let (status, stat) = (read("status")?, read("stat")?);
    let number = |text: &str, name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    let bytes_of = |name: &str| number(&status, name) * 1024;

    // Behind the name, which may hold anything: state, and 11 more before the two times.
    let behind = stat.rsplit_once(')')?.1;
    let ticks: u64 =
        behind.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    let ns_a_tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    Some(Usage {
        memory: bytes_of("RssAnon:") + bytes_of("VmSwap:"),
        shared: bytes_of("RssShmem:"),
        threads: number(&status, "Threads:") as u32,
        files: files(process),
        cpu_ns: ticks * ns_a_tick,
        written: read("io").map_or(0, |io| number(&io, "wchar:")),
    })
}

/// What files without a name take that a process holds open, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Of files that exist in memory only, mapped or not.
    pub memory: u64,
    /// Of files on a disk.
    pub disk: u64,
}

/// Looks through a process's descriptors: one file counts once.
pub fn held(process: u32) -> Held {
    use std::os::unix::fs::MetadataExt;
    let (mut held, mut seen) = (Held::default(), HashSet::new());
    for entry in fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten() {
        let Ok(name) = fs::read_link(entry.path()) else { continue };
        let name = name.to_string_lossy();
        let is_memory = name.starts_with("/memfd:") || name.starts_with("/dev/shm/");
        if !is_memory && !name.ends_with(" (deleted)") {
            continue;
        }
        // Through the link: it leads to the file itself, which has no other way to it.
        let Ok(file) = fs::metadata(entry.path()) else { continue };
        if seen.insert((file.dev(), file.ino())) {
            let to = if is_memory { &mut held.memory } else { &mut held.disk };
            *to = to.saturating_add(file.blocks().saturating_mul(512));
        }
    }
    held
}

fn files(process: u32) -> u32 {
    let path = format!("/proc/{process}/fd");
    // Since 6.2 the folder's size is their number.
    match fs::metadata(&path).map(|folder| folder.len()) {
        Ok(0) => fs::read_dir(&path).map_or(0, |entries| entries.count() as u32),
        Ok(count) => count as u32,
        Err(_) => 0,
    }
}

/// How a whole machine is doing, at the cost of one system call.
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
    let info = rustix::system::sysinfo();
    let bytes = |units: u64| units.saturating_mul(u64::from(info.mem_unit));
    Machine {
        memory: bytes(info.totalram as u64),
        free: bytes(info.freeram as u64),
        threads: info.procs,
    }
}

/// Time that the hypervisor gave to others while cores of this machine wanted to run, of all of them
/// together since it started. Linux counts it in the `steal` column of `/proc/stat` (proc(5)); not
/// every hypervisor tells, and short thefts are never told.
pub fn stolen() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks_a_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(stolen_ticks(&stat).unwrap_or(0).saturating_mul(1000) / ticks_a_second)
}

/// The eighth number of the first line, which is of all cores.
fn stolen_ticks(stat: &str) -> Option<u64> {
    stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace().nth(7)?.parse().ok()
}

/// Bytes that all that lies in a folder takes on the disk. Looks at so many entries at most: a
/// folder with more has no size that matters. Links are not followed.
pub fn folder_size(folder: &Path, most_entries: usize) -> u64 {
    use std::os::unix::fs::MetadataExt;
    const BLOCK: u64 = 512;
    let (mut size, mut entries) = (0_u64, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            entries += 1;
            if entries > most_entries {
                return u64::MAX;
            }
            let Ok(entry_is) = entry.metadata() else { continue };
            size = size.saturating_add(entry_is.blocks() * BLOCK);
            if entry_is.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn the_steal_column_is_the_eighth() {
        let stat = "cpu  10 20 30 40 50 60 70 80 90 100\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(stolen_ticks(stat), Some(80));
        assert_eq!(stolen_ticks("cpu  10 20 30 40\n"), None);
        assert_eq!(stolen_ticks(""), None);
    }

    #[test]
    fn what_this_process_uses_is_seen() {
        let me = std::process::id();
        let before = of(me).unwrap();
        assert!(before.memory > 1 << 16 && before.threads >= 1 && before.files >= 3, "{before:?}");
        let memory = black_box(vec![1_u8; 64 << 20]);
        let files: Vec<_> = (0..10).map(|_| fs::File::open("/proc/self/status").unwrap()).collect();
        let after = of(me).unwrap();
        assert!(after.memory >= before.memory + (48 << 20), "{before:?} {after:?}");
        assert!(after.files >= before.files + 5, "{before:?} {after:?}");
        drop((black_box(memory), files));
        assert_eq!(of(u32::MAX), None);
        let machine = machine();
        assert!(machine.memory > machine.free && machine.threads > 0);
    }

    #[test]
    fn files_without_a_name_count_as_memory_or_disk() {
        use std::io::Write;
        let me = std::process::id();
        let before = held(me);
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let memory = rustix::fs::memfd_create("hidden", flags).unwrap();
        let mut memory = fs::File::from(memory);
        let mut disk = tempfile::tempfile_in(std::env::current_dir().unwrap()).unwrap();
        for file in [&mut memory, &mut disk] {
            file.write_all(&vec![7; 3 << 20]).unwrap();
            file.sync_all().unwrap();
        }
        let again = memory.try_clone().unwrap();
        let after = held(me);
        let grown = |before: u64, after: u64| after.saturating_sub(before) >> 20;
        assert_eq!(grown(before.memory, after.memory), 3, "{before:?} {after:?}");
        assert_eq!(grown(before.disk, after.disk), 3, "{before:?} {after:?}");
        drop((memory, again, disk));
    }

    #[test]
    fn a_folder_is_as_large_as_what_is_in_it_and_in_its_folders() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(folder_size(&folder.path().join("none"), 10), 0);
        fs::create_dir(folder.path().join("inner")).unwrap();
        for name in ["a", "inner/b"] {
            fs::write(folder.path().join(name), vec![7; 100_000]).unwrap();
        }
        std::os::unix::fs::symlink("/usr", folder.path().join("link")).unwrap();
        let size = folder_size(folder.path(), 100);
        assert!((200_000..400_000).contains(&size), "{size}");
        assert_eq!(folder_size(folder.path(), 3), u64::MAX);
    }
}
