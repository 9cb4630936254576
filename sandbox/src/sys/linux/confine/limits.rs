//! Limits of a worker, and the end of its capabilities.
//!
//! # Safety
//! The `unsafe` calls change the limits of this process from a local, and have a signal ignored.

use crate::confine::Confinement;
use crate::sys::thread::priority;
use crate::sys::usage;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use std::io;

/// A single file may be as much larger than all of them may be together, in bytes: so that it is seen
/// and told what went beyond, instead of a write that fails.
const BEYOND: u64 = 64 << 20;
/// Most time in the realtime class without a pause, in us: then the kernel ends the process, by a
/// signal that says why, and a little later by one that can't be ignored.
const REALTIME_RUN: u64 = 1_000_000;
const REALTIME_GRACE: u64 = 200_000;
pub(super) fn apply(wanted: &Confinement) -> io::Result<()> {
    let limits = wanted.limits.in_force(wanted.level, usage::machine().memory);
    // What was asked for and never used counts here, not in the supervisor's eyes, which is to see it
    // first: a worker that is ended says why.
    lower(libc::RLIMIT_DATA, limits.memory.saturating_add(limits.memory / 4))?;
    lower(libc::RLIMIT_FSIZE, limits.disk.saturating_add(BEYOND))?;
    ignore_too_large();
    lower(libc::RLIMIT_CORE, 0)?;
    // Not above one that is lower already.
    limit(libc::RLIMIT_RTTIME, REALTIME_RUN, REALTIME_RUN + REALTIME_GRACE)
        .or_else(|_| lower(libc::RLIMIT_RTTIME, REALTIME_RUN))?;
    lower(libc::RLIMIT_MSGQUEUE, 0)?;
    // In the first user namespace it would count all of the user's processes, or for root none.
    if in_own_user_namespace() {
        lower(libc::RLIMIT_NPROC, limits.threads.into())?;
    }
    Ok(())
}

/// Raises the soft limit for open files as far as it goes, for what this process sends to its host before
/// it loads anything: a socket refuses a descriptor beyond that limit, and all that the user's processes
/// have sent and nobody has taken yet counts, another plugin's too.
pub(super) fn raise_files() -> io::Result<()> {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).map_err(Into::into)
}

/// Sets the limit for open files.
pub(super) fn limit_files(wanted: &Confinement) -> io::Result<()> {
    let limits = wanted.limits.in_force(wanted.level, usage::machine().memory);
    lower(libc::RLIMIT_NOFILE, limits.files.into())
}

fn in_own_user_namespace() -> bool {
    // "0 0 4294967295" is the first one's map: everything is itself.
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| !map.trim_end().ends_with("4294967295"))
}

/// A write beyond the limit of a file fails, instead of ending the process without a reason.
fn ignore_too_large() {
    // SAFETY: no handler of this process is replaced.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Lowers a limit for good. One that is lower already stays.
fn lower(which: libc::__rlimit_resource_t, to: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a local that outlives the call.
    if unsafe { libc::getrlimit(which, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let to = to.min(limit.rlim_max);
    set(which, to)
}

fn set(which: libc::__rlimit_resource_t, to: u64) -> io::Result<()> {
    limit(which, to, to)
}

/// The soft limit, and the hard one.
fn limit(which: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the pointer is to a local that outlives the call.
    match unsafe { libc::setrlimit(which, &limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives up what root may do beyond others; only the realtime class stays, where there is no other
/// way to it.
pub(super) fn drop_capabilities() -> io::Result<()> {
    let now = capabilities(None)?;
    if now.permitted.is_empty() {
        return Ok(());
    }
    // With this much, the class needs no capability.
    let by_limit = set(libc::RLIMIT_RTPRIO, priority::WORKER as u64).is_ok();
    let kept = match by_limit {
        true => CapabilitySet::empty(),
        false => now.permitted & CapabilitySet::SYS_NICE,
    };
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: none };
    Ok(set_capabilities(None, sets)?)
}
