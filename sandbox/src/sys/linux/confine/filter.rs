//! Which system calls are refused. All others pass: plugins, graphics drivers and runtimes use
//! too many to name them.
//!
//! | refused by | what | why so |
//! |---|---|---|
//! | SIGSYS, then EPERM | what no plugin needs | it can be told |
//! | EPERM | starting processes; a few that libraries try and do without | the C library calls the first with all signals blocked, when a SIGSYS would kill |
//! | ENOSYS | what is newer than this list, and `clone3` | programs then use the older one, whose flags can be looked at |

use crate::confine::{Confinement, Level};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};
use std::collections::BTreeMap;
use std::io;

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
];

#[cfg(target_arch = "x86_64")]
const NEVER_HERE: &[(i64, &str)] = named![SYS_iopl, SYS_ioperm, SYS_modify_ldt];
#[cfg(not(target_arch = "x86_64"))]
const NEVER_HERE: &[(i64, &str)] = &[];

/// Refused for some of their arguments.
const SOMETIMES: &[(i64, &str)] = named![
    SYS_socket,
    SYS_kill,
    SYS_tgkill,
    SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo,
    SYS_prlimit64,
    SYS_setpriority,
    SYS_sched_setattr,
    SYS_sched_setscheduler,
    SYS_sched_setparam,
    SYS_ioprio_set,
    SYS_migrate_pages,
    SYS_move_pages,
    SYS_prctl,
    SYS_personality,
    SYS_ioctl,
];

/// Memory shared by number: with whom can't be told. Windows' pictures are passed so.
const SHARED_BY_NUMBER: &[(i64, &str)] =
    named![SYS_shmget, SYS_shmat, SYS_shmctl, SYS_semget, SYS_semop, SYS_msgget];

/// Refused without a word. Landlock does not know those that change what a file is by its name.
const SILENT: &[(i64, &str)] = named![
    SYS_fchmodat,
    SYS_fchmodat2,
    SYS_fchownat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_removexattr,
    SYS_lremovexattr,
];

#[cfg(target_arch = "x86_64")]
const SILENT_HERE: &[(i64, &str)] = named![
    SYS_fork,
    SYS_vfork,
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
    SYS_utime,
    SYS_utimes,
    SYS_futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const SILENT_HERE: &[(i64, &str)] = &[];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Filters this thread's system calls from now on, and those of the threads it starts.
pub(super) fn apply(wanted: &Confinement) -> io::Result<()> {
    let programs = programs(wanted, std::process::id())
        .map_err(|error| io::Error::other(error.to_string()))?;
    for program in &programs {
        seccompiler::apply_filter_all_threads(program)
            .map_err(|error| io::Error::other(error.to_string()))?;
    }
    Ok(())
}

fn programs(wanted: &Confinement, own: u32) -> Outcome<[BpfProgram; 4]> {
    let compile = |rules: Rules, action| -> Outcome<BpfProgram> {
        let arch = std::env::consts::ARCH.try_into()?;
        Ok(SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?.try_into()?)
    };
    let errno = |number: i32| SeccompAction::Errno(number as u32);
    Ok([
        compile([(libc::SYS_clone3, vec![])].into(), errno(libc::ENOSYS))?,
        compile(silent()?, errno(libc::EPERM))?,
        compile(told(wanted, own)?, SeccompAction::Trap)?,
        newer(),
    ])
}

/// What is newer than [`LAST`] is not there. So is what has another numbering, such as the
/// 32-bit one that x86-64 kernels may have beside their own.
fn newer() -> BpfProgram {
    let code = |code: u32| code as u16;
    let load = code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS);
    let greater = code(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K);
    let answer = code(libc::BPF_RET | libc::BPF_K);
    let not_there = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    vec![
        // The number is the first that a filter is shown.
        sock_filter { code: load, jt: 0, jf: 0, k: 0 },
        sock_filter { code: greater, jt: 0, jf: 1, k: LAST },
        sock_filter { code: answer, jt: 0, jf: 0, k: not_there },
        sock_filter { code: answer, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ]
}

fn silent() -> Outcome<Rules> {
    let mut rules: Rules =
        SILENT.iter().chain(SILENT_HERE).map(|&(call, _)| (call, vec![])).collect();
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_clone, vec![all(&[is(0, SeccompCmpOp::MaskedEq(thread), 0)?])?]);
    // Times of a file that is open may be set, of one by name not.
    let by_name = SeccompCondition::new(1, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    rules.insert(libc::SYS_utimensat, vec![all(&[by_name])?]);
    // The handler stays.
    let handler = is(0, SeccompCmpOp::Eq, libc::SIGSYS)?;
    let sets = SeccompCondition::new(1, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    rules.insert(libc::SYS_rt_sigaction, vec![all(&[handler, sets])?]);
    Ok(rules)
}

fn told(wanted: &Confinement, own: u32) -> Outcome<Rules> {
    let mut rules: Rules =
        NEVER.iter().chain(NEVER_HERE).map(|&(call, _)| (call, vec![])).collect();
    rules.insert(OPEN_TREE_ATTR, vec![]);
    let own = own as i32;
    let not = |argument, value| is(argument, SeccompCmpOp::Ne, value);

    let strict = wanted.level == Level::Strict;
    let mut families = Vec::new();
    if !strict {
        families.push(libc::AF_UNIX);
    }
    if wanted.network {
        families.extend([libc::AF_INET, libc::AF_INET6]);
    }
    let none_of = families.iter().map(|family| not(0, *family)).collect::<Result<Vec<_>, _>>()?;
    let refused = match (none_of.as_slice(), wanted.network) {
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
    rules.insert(libc::SYS_socket, refused);

    // 0 is the process's own group: it leads one of its own.
    rules.insert(libc::SYS_kill, vec![all(&[not(0, own)?, not(0, 0)?])?]);
    for call in [libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo] {
        rules.insert(call, vec![all(&[not(0, own)?])?]);
    }
    for call in [libc::SYS_prlimit64, libc::SYS_migrate_pages, libc::SYS_move_pages] {
        rules.insert(call, vec![all(&[not(0, own)?, not(0, 0)?])?]);
    }
    for call in [libc::SYS_setpriority, libc::SYS_ioprio_set] {
        rules.insert(call, vec![all(&[not(1, 0)?])?]);
    }
    rules.insert(libc::SYS_sched_setattr, vec![all(&[not(0, 0)?])?]);
    if strict {
        // Threads are named by numbers that may be another process's.
        for call in [libc::SYS_sched_setscheduler, libc::SYS_sched_setparam] {
            rules.insert(call, vec![all(&[not(0, 0)?])?]);
        }
        rules.extend(SHARED_BY_NUMBER.iter().map(|&(call, _)| (call, vec![])));
    }
    let one_of = |argument, values: &[i32]| {
        let rule = |value: &i32| all(&[is(argument, SeccompCmpOp::Eq, *value)?]);
        values.iter().map(rule).collect::<Outcome<Vec<_>>>()
    };
    let settings =
        [libc::PR_SET_PDEATHSIG, libc::PR_SET_DUMPABLE, libc::PR_SET_PTRACER, libc::PR_SET_MM];
    rules.insert(libc::SYS_prctl, one_of(0, &settings)?);
    // -1 asks only.
    rules.insert(libc::SYS_personality, vec![all(&[not(0, -1)?])?]);
    // Typing into a terminal, in the user's name.
    rules.insert(libc::SYS_ioctl, one_of(1, &[libc::TIOCSTI as i32, 0x541c, 0x541d])?);
    Ok(rules)
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

/// The name of a call that was refused, and what would allow it.
pub(super) fn describe(call: i64) -> (String, &'static str) {
    let tables = [NEVER, NEVER_HERE, SOMETIMES, SHARED_BY_NUMBER];
    let name = tables.iter().copied().flatten().find(|(number, _)| *number == call);
    let name = match name {
        Some((_, name)) => name.trim_start_matches("SYS_").to_owned(),
        None => format!("system call {call}"),
    };
    let grant = match call {
        libc::SYS_socket => "--grant-network",
        _ if SHARED_BY_NUMBER.iter().any(|(number, _)| *number == call) => "--confinement standard",
        _ => "--confinement off",
    };
    (name, grant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_filters_that_the_kernel_would_take() {
        for level in [Level::Standard, Level::Strict] {
            for network in [false, true] {
                let wanted = Confinement { network, ..Confinement::of(level) };
                let programs = programs(&wanted, 4711).unwrap();
                assert!(programs.iter().all(|program| (1..4096).contains(&program.len())));
            }
        }
    }

    #[test]
    fn what_is_refused_has_a_name_and_a_way_out() {
        assert_eq!(describe(libc::SYS_socket), ("socket".into(), "--grant-network"));
        assert_eq!(describe(libc::SYS_execve), ("execve".into(), "--confinement off"));
        let wanted = Confinement::of(Level::Strict);
        for call in told(&wanted, 1).unwrap().into_keys().filter(|&call| call != OPEN_TREE_ATTR) {
            assert!(!describe(call).0.contains("system call"), "{call} has no name");
        }
    }
}
