//! A CLAP library that tries, in `clap_entry.init`, what a confined plugin may not, and says on standard
//! error how each went: `escape WHAT: done` or `escape WHAT: refused (REASON)`. It then returns false.
//!
//! Each attempt is made so that it harms nobody where it succeeds: signal 0, a mount on a place that is
//! not there, the same priority again. So the same library shows, without confinement, what the
//! confinement is for.
//!
//! | variable | names |
//! |---|---|
//! | `SANDRACK_ESCAPE_MEMORY` | a file in `/dev/shm` |
//! | `SANDRACK_ESCAPE_SOCKET` | a local socket that somebody listens at |
//! | `SANDRACK_ESCAPE_ABSTRACT` | another, without a place in the file system |
//!
//! # Safety
//! All of it is `unsafe`, system calls without a wrapper; arguments are locals that outlive the call.
#![allow(unsafe_code, reason = "what it tries has no safe name")]
#![cfg_attr(not(target_os = "linux"), allow(unused_macros))]

#[macro_use]
mod bad_entry;

clap_entry!({
    #[cfg(target_os = "linux")]
    escapes::try_all();
    false
});

#[cfg(target_os = "linux")]
mod escapes {
    use std::ffi::CString;
    use std::fs;
    use std::io;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
    use std::path::PathBuf;
    use std::ptr::null_mut;

    type Attempt = fn() -> io::Result<()>;

    const ALL: &[(&str, Attempt)] = &[
        ("read-home", || fs::read(home().join(".ssh/id")).map(drop)),
        ("list-home", || fs::read_dir(home()).map(drop)),
        ("write-home", || fs::write(home().join("written"), "x")),
        ("remove-home", || fs::remove_file(home().join("victim"))),
        ("rename-home", || fs::rename(home().join("victim"), home().join("moved"))),
        ("link-in", || fs::hard_link(home().join(".ssh/id"), private().join("linked"))),
        ("symlink-in", symlink_in),
        ("make-device", || {
            at(libc::SYS_mknodat, private().join("device"), [0o600 | libc::S_IFCHR as i64, 0x103])
        }),
        ("change-mode", || at(libc::SYS_fchmodat, home().join(".ssh/id"), [0o600, 0])),
        ("change-owner", || at(libc::SYS_fchownat, home().join(".ssh/id"), [-1, -1])),
        ("temporary", || {
            fs::write("/tmp/sandrack-escaped", "x")
                .and_then(|()| fs::remove_file("/tmp/sandrack-escaped"))
        }),
        ("shared-memory", || fs::read(variable("SANDRACK_ESCAPE_MEMORY")).map(drop)),
        ("spoil-shared-memory", || {
            fs::OpenOptions::new().write(true).open(variable("SANDRACK_ESCAPE_MEMORY")).map(drop)
        }),
        ("link-shared-memory", || {
            fs::hard_link(variable("SANDRACK_ESCAPE_MEMORY"), private().join("memory"))
        }),
        ("remove-shared-memory", || fs::remove_file(variable("SANDRACK_ESCAPE_MEMORY"))),
        ("list-shared-memory", || fs::read_dir("/dev/shm").map(drop)),
        ("device-memory", || fs::File::open("/dev/mem").map(drop)),
        ("sysfs-write", || {
            fs::OpenOptions::new()
                .write(true)
                .open("/sys/kernel/mm/transparent_hugepage/enabled")
                .map(drop)
        }),
        ("parent-environment", || fs::read(format!("/proc/{}/environ", parent())).map(drop)),
        ("parent-memory", || {
            fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(format!("/proc/{}/mem", parent()))
                .map(drop)
        }),
        ("parent-files", || fs::read_dir(format!("/proc/{}/fd", parent())).map(drop)),
        ("other-processes", || fs::read_dir("/proc").map(drop)),
        ("reopen-memory", reopen_memory),
        ("inherited-files", inherited_files),
        ("socket-inet", || {
            call(libc::SYS_socket, [libc::AF_INET as i64, libc::SOCK_STREAM as i64, 0, 0, 0, 0])
        }),
        ("socket-inet6", || {
            call(libc::SYS_socket, [libc::AF_INET6 as i64, libc::SOCK_DGRAM as i64, 0, 0, 0, 0])
        }),
        ("socket-netlink", || {
            call(libc::SYS_socket, [libc::AF_NETLINK as i64, libc::SOCK_RAW as i64, 0, 0, 0, 0])
        }),
        ("socket-packet", || {
            call(libc::SYS_socket, [libc::AF_PACKET as i64, libc::SOCK_RAW as i64, 0, 0, 0, 0])
        }),
        ("socket-vsock", || call(libc::SYS_socket, [40, libc::SOCK_STREAM as i64, 0, 0, 0, 0])),
        ("socket-datagram", || UnixDatagram::unbound().map(drop)),
        ("socket-pair-datagram", || UnixDatagram::pair().map(drop)),
        ("connect-path", || UnixStream::connect(variable("SANDRACK_ESCAPE_SOCKET")).map(drop)),
        ("connect-symlink", connect_symlink),
        ("connect-abstract", connect_abstract),
        ("execute", || std::process::Command::new("/bin/true").status().map(drop)),
        ("fork", fork),
        ("vfork-thread", || {
            std::thread::spawn(fork).join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
        }),
        ("signal-parent", || call(libc::SYS_kill, [parent(), 0, 0, 0, 0, 0])),
        ("signal-all", || call(libc::SYS_kill, [-1, 0, 0, 0, 0, 0])),
        ("signal-parent-thread", || call(libc::SYS_tgkill, [parent(), parent(), 0, 0, 0, 0])),
        ("own-signals-parent", || {
            call(libc::SYS_fcntl, [0, libc::F_SETOWN as i64, parent(), 0, 0, 0])
        }),
        ("trace-parent", || {
            call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as i64, parent(), 0, 0, 0, 0])
        }),
        ("read-parent", || remote(libc::SYS_process_vm_readv)),
        ("write-parent", || remote(libc::SYS_process_vm_writev)),
        ("open-parent", || call(libc::SYS_pidfd_open, [parent(), 0, 0, 0, 0, 0])),
        ("limit-parent", limit_parent),
        ("pin-parent", pin_parent),
        ("class-of-parent", class_of_parent),
        ("nice-parent", || call(libc::SYS_setpriority, [0, parent(), 19, 0, 0, 0])),
        ("nice-user", || call(libc::SYS_setpriority, [libc::PRIO_USER as i64, 0, 0, 0, 0, 0])),
        ("realtime", || class(libc::SCHED_FIFO, 1)),
        ("realtime-attr", realtime_attr),
        ("io-uring", || call(libc::SYS_io_uring_setup, [4, with([0; 128]), 0, 0, 0, 0])),
        ("userfaultfd", || call(libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0])),
        ("add-key", add_key),
        ("keyctl", || call(libc::SYS_keyctl, [0, -3, 1, 0, 0, 0])),
        ("bpf", bpf),
        ("perf-events", perf_events),
        ("mount", || at_mount(libc::SYS_mount)),
        ("unmount", || call(libc::SYS_umount2, [with([b'/', b'n', 0]), 0, 0, 0, 0, 0])),
        ("new-namespace", || call(libc::SYS_unshare, [libc::CLONE_NEWUSER as i64, 0, 0, 0, 0, 0])),
        ("change-root", || call(libc::SYS_chroot, [with([b'/', 0]), 0, 0, 0, 0, 0])),
        ("file-by-handle", file_by_handle),
        ("new-filter", new_filter),
        ("stay-hidden", || call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as i64, 0, 0, 0, 0, 0])),
        ("outlive-parent", || {
            call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as i64, 0, 0, 0, 0, 0])
        }),
        ("message-queue", message_queue),
        ("set-clock", || call(libc::SYS_clock_settime, [1, 0, 0, 0, 0, 0])),
        ("become-other", || call(libc::SYS_setresuid, [12345, 12345, 12345, 0, 0, 0])),
    ];

    pub(crate) fn try_all() {
        for (name, attempt) in ALL {
            match attempt() {
                Ok(()) => eprintln!("escape {name}: done"),
                Err(error) => eprintln!("escape {name}: refused ({error})"),
            }
        }
    }

    fn variable(name: &str) -> PathBuf {
        PathBuf::from(std::env::var_os(name).unwrap_or_default())
    }

    fn home() -> PathBuf {
        variable("HOME")
    }

    /// Where it may write.
    fn private() -> PathBuf {
        let folder = variable("XDG_CONFIG_HOME");
        let _ = fs::create_dir_all(&folder);
        folder
    }

    fn parent() -> i64 {
        std::os::unix::process::parent_id().into()
    }

    fn call(number: i64, arguments: [i64; 6]) -> io::Result<()> {
        let [a, b, c, d, e, f] = arguments;
        // SAFETY: see the file's first page.
        match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// The address of bytes that are never freed.
    fn with<const N: usize>(bytes: [u8; N]) -> i64 {
        Box::leak(Box::new(bytes)).as_mut_ptr() as i64
    }

    fn path(path: PathBuf) -> i64 {
        let text = CString::new(path.into_os_string().into_encoded_bytes()).unwrap_or_default();
        text.into_raw() as i64
    }

    fn at(number: i64, file: PathBuf, rest: [i64; 2]) -> io::Result<()> {
        call(number, [libc::AT_FDCWD.into(), path(file), rest[0], rest[1], 0, 0])
    }

    fn at_mount(number: i64) -> io::Result<()> {
        let kind = path("tmpfs".into());
        match call(number, [kind, path("/sandrack-not-there".into()), kind, 0, 0, 0]) {
            // It may: the place only is not there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn symlink_in() -> io::Result<()> {
        let link = private().join("link");
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(home().join(".ssh/id"), &link)?;
        fs::read(link).map(drop)
    }

    fn connect_symlink() -> io::Result<()> {
        let link = private().join("socket");
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(variable("SANDRACK_ESCAPE_SOCKET"), &link)?;
        UnixStream::connect(link).map(drop)
    }

    fn connect_abstract() -> io::Result<()> {
        let name = variable("SANDRACK_ESCAPE_ABSTRACT").into_os_string().into_encoded_bytes();
        UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(drop)
    }

    /// Opens memory that it may only read once more, to write to it.
    fn reopen_memory() -> io::Result<()> {
        let maps = fs::read_to_string("/proc/self/maps")?;
        let read_only = |line: &&str| line.contains("memfd:sandrack") && line.contains(" r--s ");
        let mut outcome = Err(io::Error::other("there is none"));
        for line in maps.lines().filter(read_only) {
            let range = line.split(' ').next().unwrap_or_default();
            outcome = fs::OpenOptions::new()
                .write(true)
                .open(format!("/proc/self/map_files/{range}"))
                .map(drop);
            if outcome.is_ok() {
                return outcome;
            }
        }
        outcome
    }

    /// Files that the host, or whoever started it, had open.
    fn inherited_files() -> io::Result<()> {
        let all = fs::read_dir("/proc/self/fd")?.flatten();
        let odd: Vec<_> = all
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .filter(|target| {
                let text = target.to_string_lossy();
                let own = ["socket:", "anon_inode:", "/dev/null", "/proc/", "/memfd:"];
                !own.iter().any(|prefix| text.starts_with(prefix))
                    && !text.ends_with("/stderr")
                    && !text.starts_with("pipe:")
            })
            .collect();
        match odd.as_slice() {
            [] => Err(io::Error::other("there is none")),
            some => {
                eprintln!("inherited: {some:?}");
                Ok(())
            }
        }
    }

    fn fork() -> io::Result<()> {
        // SAFETY: the child does nothing but end.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            // SAFETY: as above.
            0 => unsafe { libc::_exit(0) },
            child => {
                // SAFETY: it is ours.
                unsafe { libc::waitpid(child, null_mut(), 0) };
                Ok(())
            }
        }
    }

    fn remote(number: i64) -> io::Result<()> {
        let mut byte = 0u8;
        let own = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        // An address that is not there: may it, or may it not?
        let other = libc::iovec { iov_base: 16 as *mut libc::c_void, iov_len: 1 };
        let (own, other) = (&raw const own as i64, &raw const other as i64);
        match call(number, [parent(), own, 1, other, 1, 0]) {
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(()),
            result => result,
        }
    }

    fn limit_parent() -> io::Result<()> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        let which = i64::from(libc::RLIMIT_CORE);
        call(libc::SYS_prlimit64, [parent(), which, 0, &raw mut limit as i64, 0, 0])
    }

    fn pin_parent() -> io::Result<()> {
        let mut cores = [0u8; 128];
        let bytes = cores.as_mut_ptr() as i64;
        call(libc::SYS_sched_getaffinity, [parent(), 128, bytes, 0, 0, 0])?;
        call(libc::SYS_sched_setaffinity, [parent(), 128, bytes, 0, 0, 0])
    }

    fn class_of_parent() -> io::Result<()> {
        let parameter = libc::sched_param { sched_priority: 0 };
        let class = i64::from(libc::SCHED_OTHER);
        call(libc::SYS_sched_setscheduler, [parent(), class, &raw const parameter as i64, 0, 0, 0])
    }

    fn class(class: i32, priority: i32) -> io::Result<()> {
        let try_it = move || {
            let parameter = libc::sched_param { sched_priority: priority };
            let address = &raw const parameter as i64;
            call(libc::SYS_sched_setscheduler, [0, class.into(), address, 0, 0, 0])
        };
        // A thread of its own: it ends with its class.
        std::thread::spawn(try_it).join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    }

    fn realtime_attr() -> io::Result<()> {
        // size, policy (FIFO), flags, nice, priority, …
        let words: [u32; 12] = [48, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let try_it = move || call(libc::SYS_sched_setattr, [0, words.as_ptr() as i64, 0, 0, 0, 0]);
        std::thread::spawn(try_it).join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    }

    fn add_key() -> io::Result<()> {
        let (kind, name) = (path("user".into()), path("sandrack-escaped".into()));
        // Of this process alone.
        call(libc::SYS_add_key, [kind, name, with(*b"x"), 1, -2, 0])
    }

    fn bpf() -> io::Result<()> {
        // A map of one number.
        let words: [u32; 32] = std::array::from_fn(|i| [2, 4, 4, 1].get(i).copied().unwrap_or(0));
        call(libc::SYS_bpf, [0, words.as_ptr() as i64, 128, 0, 0, 0])
    }

    fn perf_events() -> io::Result<()> {
        // Software, 128 bytes, the processor's clock.
        let mut words = [0u32; 32];
        (words[0], words[1]) = (1, 128);
        call(libc::SYS_perf_event_open, [words.as_ptr() as i64, 0, -1, -1, 0, 0])
    }

    fn file_by_handle() -> io::Result<()> {
        match call(libc::SYS_open_by_handle_at, [libc::AT_FDCWD.into(), with([0; 64]), 0, 0, 0, 0])
        {
            // It may: what it names only is nothing.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            result => result,
        }
    }

    /// One at which it could listen, and let through what others refuse.
    fn new_filter() -> io::Result<()> {
        call(libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS as i64, 1, 0, 0, 0, 0])?;
        let code = (libc::BPF_RET | libc::BPF_K) as u16;
        let mut pass = libc::sock_filter { code, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
        let program = libc::sock_fprog { len: 1, filter: &raw mut pass };
        let listens = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as i64;
        call(libc::SYS_seccomp, [1, listens, &raw const program as i64, 0, 0, 0])
    }

    fn message_queue() -> io::Result<()> {
        let name = path("sandrack-escaped".into());
        let flags = i64::from(libc::O_CREAT | libc::O_RDWR);
        call(libc::SYS_mq_open, [name, flags, 0o600, 0, 0, 0])?;
        call(libc::SYS_mq_unlink, [name, 0, 0, 0, 0, 0])
    }
}
