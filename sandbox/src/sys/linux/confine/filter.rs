//! Which system calls a worker may make. All that are not named here pass: plugins, graphics
//! drivers and runtimes use too many to name them.
//!
//! | named | what becomes of it |
//! |---|---|
//! | what no plugin needs; new processes; what files are called by name to change | refused: EPERM |
//! | what names a thread | looked at by the host: of this process it may be, of another not |
//! | `connect` | made by the host in the worker's name, or refused: EACCES |
//! | what opens, makes or removes files | looked at by the host, which answers that it go on: Landlock decides |
//! | what is newer than this list, and `clone3` | ENOSYS: programs then use the older one, whose flags can be looked at |
//!
//! The host's [`Listener`](super::Listener) is told of all but the last, and answers. Where the
//! kernel allows no listener (another one is there already) all are refused silently, and files are
//! left to Landlock alone.
//!
//! # Safety
//! The `unsafe` calls hand programs to the kernel, which copies them.

use super::writes;
use crate::confine::{Confinement, Level};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// The last system call that this list has been written for.
const LAST: u32 = 469;
const OPEN_TREE_ATTR: i64 = 467;

macro_rules! named {
    ($($call:ident),* $(,)?) => { &[$((libc::$call, stringify!($call))),*] };
}

/// What no plugin needs, whatever its arguments.
const NEVER: &[(i64, &str)] = named![
    SYS_execve,
    SYS_execveat,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_process_madvise,
    SYS_process_mrelease,
    SYS_kcmp,
    SYS_pidfd_open,
    SYS_pidfd_getfd,
    SYS_pidfd_send_signal,
    SYS_tkill,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_move_mount,
    SYS_open_tree,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_kexec_file_load,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    SYS_setns,
    SYS_unshare,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_settimeofday,
    SYS_adjtimex,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_acct,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_syslog,
    SYS_vhangup,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_open_by_handle_at,
    SYS_fanotify_init,
    SYS_mq_open,
    SYS_mq_unlink,
    SYS_sched_setattr,
    SYS_sched_setparam,
];

#[cfg(target_arch = "x86_64")]
const NEVER_HERE: &[(i64, &str)] =
    named![SYS_iopl, SYS_ioperm, SYS_modify_ldt, SYS_fork, SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[(i64, &str)] = &[];

/// Refused for some of their arguments.
const SOMETIMES: &[(i64, &str)] = named![
    SYS_clone,
    SYS_seccomp,
    SYS_socket,
    SYS_socketpair,
    SYS_kill,
    SYS_tgkill,
    SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo,
    SYS_prlimit64,
    SYS_setpriority,
    SYS_sched_setaffinity,
    SYS_sched_setscheduler,
    SYS_ioprio_set,
    SYS_migrate_pages,
    SYS_move_pages,
    SYS_prctl,
    SYS_personality,
    SYS_fcntl,
    SYS_ioctl,
    SYS_connect,
];

/// Memory shared by number: with whom can't be told. Windows' pictures are passed so.
const MEMORY_BY_NUMBER: &[(i64, &str)] = named![SYS_shmget, SYS_shmat, SYS_shmctl];

/// Queues and semaphores by number: they stay when the process is gone, and nobody knows whose they were.
const QUEUES_BY_NUMBER: &[(i64, &str)] =
    named![SYS_semget, SYS_semop, SYS_semtimedop, SYS_msgget, SYS_msgsnd];

/// Change what a file is by its name, of which Landlock knows nothing.
const BY_NAME: &[(i64, &str)] = named![
    SYS_fchmodat,
    SYS_fchmodat2,
    SYS_fchownat,
    SYS_utimensat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_removexattr,
    SYS_lremovexattr,
];

#[cfg(target_arch = "x86_64")]
const BY_NAME_HERE: &[(i64, &str)] =
    named![SYS_chmod, SYS_chown, SYS_lchown, SYS_utime, SYS_utimes, SYS_futimesat];
#[cfg(not(target_arch = "x86_64"))]
const BY_NAME_HERE: &[(i64, &str)] = &[];

/// Left to Landlock; the host only looks on.
const FILES: &[(i64, &str)] = named![
    SYS_openat,
    SYS_openat2,
    SYS_mkdirat,
    SYS_mknodat,
    SYS_unlinkat,
    SYS_renameat,
    SYS_renameat2,
    SYS_linkat,
    SYS_symlinkat,
    SYS_truncate,
];

#[cfg(target_arch = "x86_64")]
const FILES_HERE: &[(i64, &str)] = named![
    SYS_open,
    SYS_creat,
    SYS_mkdir,
    SYS_mknod,
    SYS_rmdir,
    SYS_unlink,
    SYS_rename,
    SYS_link,
    SYS_symlink,
];
#[cfg(not(target_arch = "x86_64"))]
const FILES_HERE: &[(i64, &str)] = &[];

/// Go on when the host lets them, if they are large.
const WRITES: &[(i64, &str)] = named![SYS_write, SYS_pwrite64];

/// What an audio thread calls in every block: let through first. (Kernels since 5.11 remember what
/// always passes, and run no filter for it at all.)
const HOT: &[i64] =
    &[libc::SYS_futex, libc::SYS_clock_gettime, libc::SYS_clock_nanosleep, libc::SYS_sched_yield];

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Filters this thread's system calls from now on, and those of the threads it starts. What the
/// host listens at; `None`: the kernel allows none.
pub(super) fn apply(wanted: &Confinement) -> io::Result<Option<OwnedFd>> {
    let text = |error: Box<dyn std::error::Error>| io::Error::other(error.to_string());
    let own = std::process::id();
    rustix::thread::set_no_new_privs(true)?;
    let not_there = SeccompAction::Errno(libc::ENOSYS as u32);
    load(&compile([(libc::SYS_clone3, vec![])].into(), not_there).map_err(text)?, 0)?;
    load(&newer(), 0)?;
    // These last: making a filter is among what they refuse.
    let told = compile(told(wanted, own).map_err(text)?, notify()).map_err(text)?;
    let listen = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // KILLABLE: a signal does not interrupt a call that the host is looking at. Since 5.19.
    let listener = match load(&told, listen | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => load(&told, listen),
        result => result,
    };
    match listener {
        // SAFETY: the kernel made this descriptor just now, for this call alone.
        Ok(number) => Ok(Some(unsafe { OwnedFd::from_raw_fd(number) })),
        Err(_) => {
            let refused = refused(wanted, own).map_err(text)?;
            let not_permitted = SeccompAction::Errno(libc::EPERM as u32);
            load(&compile(refused, not_permitted).map_err(text)?, 0)?;
            Ok(None)
        }
    }
}

fn load(program: &BpfProgram, flags: libc::c_ulong) -> io::Result<i32> {
    // Of the same layout: it is the kernel's.
    let filter = program.as_ptr().cast_mut().cast::<libc::sock_filter>();
    let program = libc::sock_fprog { len: program.len() as u16, filter };
    // SPEC_ALLOW: older kernels would slow down all code of the process, against attacks on
    // secrets within it. It holds none that its plugins do not have.
    let flags = flags | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: the kernel copies the program, which outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        number => Ok(number as i32),
    }
}

/// Stands for what `seccompiler` has no name for; see [`compile`].
fn notify() -> SeccompAction {
    SeccompAction::Trace(libc::SECCOMP_RET_DATA)
}

fn compile(rules: Rules, action: SeccompAction) -> Outcome<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into()?;
    let marked = u32::from(notify());
    let body: BpfProgram =
        SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?.try_into()?;
    let returns = (libc::BPF_RET | libc::BPF_K) as u16;
    let mut program = let_pass(HOT);
    program.extend(body.into_iter().map(|mut line| {
        if line.code == returns && line.k == marked {
            line.k = libc::SECCOMP_RET_USER_NOTIF;
        }
        line
    }));
    Ok(program)
}

fn line(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

/// Ends with what follows it, if the call is none of these.
fn let_pass(calls: &[i64]) -> BpfProgram {
    /// Where a filter finds them in what it is shown.
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    let read = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let count = calls.len() as u8;
    let mut program = vec![
        line(read, 0, 0, ARCHITECTURE),
        // Another numbering: past all of it.
        line(equal, 0, count + 2, ARCH),
        line(read, 0, 0, NUMBER),
    ];
    for (index, &call) in calls.iter().enumerate() {
        let left = count - 1 - index as u8;
        // The last one that differs jumps over the answer.
        program.push(line(equal, left, u8::from(left == 0), call as u32));
    }
    program.push(line(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    program
}

/// What is newer than [`LAST`] is not there. So is what has another numbering, such as the
/// 32-bit one that x86-64 kernels may have beside their own.
fn newer() -> BpfProgram {
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let greater = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
    let answer = libc::BPF_RET | libc::BPF_K;
    let not_there = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    vec![
        // The number is the first that a filter is shown.
        line(load, 0, 0, 0),
        line(greater, 0, 1, LAST),
        line(answer, 0, 0, not_there),
        line(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

/// All that the host is told of.
fn told(wanted: &Confinement, own: u32) -> Outcome<Rules> {
    let mut rules = refused(wanted, own)?;
    rules.extend(FILES.iter().chain(FILES_HERE).map(|&(call, _)| (call, vec![])));
    let least = writes::LARGE;
    let is_large = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ge, least)?;
    for &(call, _) in WRITES {
        rules.insert(call, vec![all(std::slice::from_ref(&is_large))?]);
    }
    Ok(rules)
}

/// What is refused, unless the host finds that it may be.
fn refused(wanted: &Confinement, own: u32) -> Outcome<Rules> {
    let always = NEVER.iter().chain(NEVER_HERE).chain(BY_NAME).chain(BY_NAME_HERE);
    let mut rules: Rules = always.map(|&(call, _)| (call, vec![])).collect();
    rules.insert(OPEN_TREE_ATTR, vec![]);
    let own = own as i32;
    let not = |argument, value| is(argument, SeccompCmpOp::Ne, value);
    let strict = wanted.level == Level::Strict;

    let thread = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_clone, vec![all(&[is(0, SeccompCmpOp::MaskedEq(thread), 0)?])?]);
    // More filters only refuse more; but who listens at one could let through what this refuses.
    let listens = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let listens = is(1, SeccompCmpOp::MaskedEq(listens), listens as i32)?;
    rules.insert(libc::SYS_seccomp, vec![all(&[listens])?]);
    // Times of a file that is open may be set, of one by name not.
    let by_name = SeccompCondition::new(1, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    rules.insert(libc::SYS_utimensat, vec![all(&[by_name])?]);

    sockets(&mut rules, wanted)?;
    // 0 is the process's own group: it leads one of its own.
    rules.insert(libc::SYS_kill, vec![all(&[not(0, own)?, not(0, 0)?])?]);
    for call in [libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo] {
        rules.insert(call, vec![all(&[not(0, own)?])?]);
    }
    for call in [libc::SYS_prlimit64, libc::SYS_migrate_pages, libc::SYS_move_pages] {
        rules.insert(call, vec![all(&[not(0, own)?, not(0, 0)?])?]);
    }
    // The calling thread's own, named 0, pass; so does no other class than the usual ones.
    rules.insert(libc::SYS_sched_setaffinity, vec![all(&[not(0, 0)?])?]);
    for (call, process) in
        [(libc::SYS_setpriority, libc::PRIO_PROCESS as i32), (libc::SYS_ioprio_set, 1)]
    {
        rules.insert(call, vec![all(&[not(0, process)?])?, all(&[not(1, 0)?])?]);
    }
    let realtime = |class| {
        is(1, SeccompCmpOp::MaskedEq(!(libc::SCHED_RESET_ON_FORK as u64) & 0xffff_ffff), class)
    };
    rules.insert(
        libc::SYS_sched_setscheduler,
        vec![
            all(&[not(0, 0)?])?,
            all(&[realtime(libc::SCHED_FIFO)?])?,
            all(&[realtime(libc::SCHED_RR)?])?,
            all(&[realtime(libc::SCHED_DEADLINE)?])?,
        ],
    );
    if strict {
        rules.extend(MEMORY_BY_NUMBER.iter().map(|&(call, _)| (call, vec![])));
    }
    rules.extend(QUEUES_BY_NUMBER.iter().map(|&(call, _)| (call, vec![])));
    let one_of = |argument, values: &[i32]| {
        let rule = |value: &i32| all(&[is(argument, SeccompCmpOp::Eq, *value)?]);
        values.iter().map(rule).collect::<Outcome<Vec<_>>>()
    };
    const PR_SCHED_CORE: i32 = 62;
    let settings = [
        libc::PR_SET_PDEATHSIG,
        libc::PR_SET_DUMPABLE,
        libc::PR_SET_PTRACER,
        libc::PR_SET_MM,
        libc::PR_SET_SECCOMP,
        PR_SCHED_CORE,
    ];
    rules.insert(libc::SYS_prctl, one_of(0, &settings)?);
    // -1 asks only.
    rules.insert(libc::SYS_personality, vec![all(&[not(0, -1)?])?]);
    // Signals to others when something can be read.
    rules.insert(
        libc::SYS_fcntl,
        vec![
            all(&[is(1, SeccompCmpOp::Eq, libc::F_SETOWN)?, not(2, own)?, not(2, 0)?])?,
            all(&[is(1, SeccompCmpOp::Eq, F_SETOWN_EX)?])?,
        ],
    );
    // Typing into a terminal, in the user's name; and signals, as above.
    let through = [libc::TIOCSTI as i32, 0x541c, 0x541d, 0x8901, 0x8902];
    rules.insert(libc::SYS_ioctl, one_of(1, &through)?);
    Ok(rules)
}

const F_SETOWN_EX: i32 = 15;

fn sockets(rules: &mut Rules, wanted: &Confinement) -> Outcome<()> {
    let not = |argument, value| is(argument, SeccompCmpOp::Ne, value);
    let local = wanted.level != Level::Strict;
    let mut families = Vec::new();
    if local {
        families.push(libc::AF_UNIX);
    }
    if wanted.network {
        families.extend([libc::AF_INET, libc::AF_INET6]);
    }
    let none_of = families.iter().map(|family| not(0, *family)).collect::<Result<Vec<_>, _>>()?;
    let mut refused = match (none_of.as_slice(), wanted.network) {
        ([], _) => vec![],
        // Looking up a name asks the kernel for the machine's addresses.
        (none_of, true) => {
            let mut with_route = none_of.to_vec();
            with_route.push(not(0, libc::AF_NETLINK)?);
            let mut other_protocol = none_of.to_vec();
            other_protocol.push(not(2, libc::NETLINK_ROUTE)?);
            vec![all(&with_route)?, all(&other_protocol)?]
        }
        (none_of, false) => vec![all(none_of)?],
    };
    // What needs no `connect` to send: to any socket that has a name.
    let kind = |kind| is(1, SeccompCmpOp::MaskedEq(0xf), kind);
    let is_local = || is(0, SeccompCmpOp::Eq, libc::AF_UNIX);
    let unconnected = [libc::SOCK_DGRAM, libc::SOCK_RAW];
    let mut pairs = vec![all(&[not(0, libc::AF_UNIX)?])?];
    for what in unconnected {
        pairs.push(all(&[is_local()?, kind(what)?])?);
        if local {
            refused.push(all(&[is_local()?, kind(what)?])?);
        }
    }
    rules.insert(libc::SYS_socket, refused);
    rules.insert(libc::SYS_socketpair, pairs);
    if local {
        rules.insert(libc::SYS_connect, vec![]);
    }
    Ok(())
}

fn is(
    argument: u8,
    how: SeccompCmpOp,
    value: i32,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    // The kernel takes 32 bits of all that is looked at so.
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, u64::from(value as u32))
}

fn all(conditions: &[SeccompCondition]) -> Outcome<SeccompRule> {
    Ok(SeccompRule::new(conditions.to_vec())?)
}

/// Whether it is a write, told of because it is large.
pub(super) fn is_write(call: i64) -> bool {
    WRITES.iter().any(|(write, _)| *write == call)
}

/// The name of a call that the host is told of.
pub(super) fn name(call: i64) -> String {
    let refused = [NEVER, NEVER_HERE, SOMETIMES, MEMORY_BY_NUMBER, QUEUES_BY_NUMBER];
    let files = [BY_NAME, BY_NAME_HERE, FILES, FILES_HERE, WRITES];
    let tables = refused.into_iter().chain(files);
    let name = tables.flatten().find(|(number, _)| *number == call);
    match name {
        Some((_, name)) => name.trim_start_matches("SYS_").to_owned(),
        None => format!("system call {call}"),
    }
}

/// What would allow a call with these arguments, that was refused.
pub(super) fn grant(call: i64, arguments: &[u64; 6]) -> &'static str {
    match call {
        libc::SYS_socket if [libc::AF_INET, libc::AF_INET6].contains(&(arguments[0] as i32)) => {
            "--grant-network"
        }
        libc::SYS_socket if arguments[0] as i32 == libc::AF_UNIX => "--confinement standard",
        _ if MEMORY_BY_NUMBER.iter().any(|(number, _)| *number == call) => "--confinement standard",
        _ => "--confinement off",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_filters_that_the_kernel_would_take() {
        for level in [Level::Standard, Level::Strict] {
            for network in [false, true] {
                let wanted = Confinement { network, ..Confinement::of(level) };
                let program = compile(told(&wanted, 4711).unwrap(), notify()).unwrap();
                assert!((1..4096).contains(&program.len()));
                let returns = (libc::BPF_RET | libc::BPF_K) as u16;
                let answers = |k| program.iter().any(|line| line.code == returns && line.k == k);
                assert!(answers(libc::SECCOMP_RET_USER_NOTIF), "the host is told of nothing");
                assert!(!answers(u32::from(notify())));
            }
        }
    }

    #[test]
    fn what_is_refused_has_a_name_and_a_way_out() {
        assert_eq!(
            grant(libc::SYS_socket, &[libc::AF_INET as u64, 0, 0, 0, 0, 0]),
            "--grant-network"
        );
        assert_eq!(grant(libc::SYS_execve, &[0; 6]), "--confinement off");
        let wanted = Confinement::of(Level::Strict);
        for call in told(&wanted, 1).unwrap().into_keys().filter(|&call| call != OPEN_TREE_ATTR) {
            assert!(!name(call).contains("system call"), "{call} has no name");
        }
    }
}
