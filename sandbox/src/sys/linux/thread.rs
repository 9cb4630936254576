//! Realtime class, cores and locked memory of threads.
//!
//! # Safety
//! `unsafe` here calls `sched_setscheduler` and `mlock2` through libc with pointers to locals and
//! address ranges that the caller owns; neither touches Rust's view of memory.
#![allow(unsafe_code)]

use rustix::process::{Pid, Resource, getrlimit, setpriority_process, setrlimit};
use rustix::thread::{CapabilitySet, CpuSet, capabilities, sched_getaffinity, sched_setaffinity};
use std::io;
use std::time::Duration;

/// Priorities of the realtime class, one above the other.
pub mod priority {
    /// Workers' audio threads.
    pub const WORKER: i32 = 70;
    /// The engine: above the workers, so that it can take a spinning one off the class.
    pub const ENGINE: i32 = 71;
}

/// Names a thread to [`demote`] and [`pin`]; of this process or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ThreadId(u32);

impl ThreadId {
    pub(super) fn number(self) -> u32 {
        self.0
    }
}

/// The calling thread.
pub fn current() -> ThreadId {
    ThreadId(rustix::thread::gettid().as_raw_nonzero().get() as u32)
}

/// Whether the thread belongs to the process: a worker's word for its own thread is not taken.
pub fn belongs_to(thread: ThreadId, process: u32) -> bool {
    std::path::Path::new(&format!("/proc/{process}/task/{}", thread.0)).exists()
}

/// What a thread has had of the cores.
#[derive(Clone, Copy, Debug)]
pub struct CoreUse {
    /// How long it ran since it began.
    pub ran: Duration,
    /// How long it waited for a core since it began, up to when it was given one last.
    pub waited: Duration,
    /// It runs or would, if it were given a core: it doesn't wait for anything else.
    pub wants_core: bool,
}

/// What a thread of a process has had of the cores. `None`: it is gone, or the kernel does not tell.
///
/// From `schedstat` (ns on a core, as of the last tick, and ns waiting for one: the kernel's
/// `sched-stats.rst`) and `stat` (the state: proc(5)).
pub fn core_use(thread: ThreadId, process: u32) -> Option<CoreUse> {
    let read = |what| std::fs::read_to_string(format!("/proc/{process}/task/{}/{what}", thread.0));
    let schedstat = read("schedstat").ok()?;
    let mut times = schedstat.split_ascii_whitespace().map_while(|ns| ns.parse().ok());
    let (ran, waited) = (Duration::from_nanos(times.next()?), Duration::from_nanos(times.next()?));
    // The program's name comes before, in parentheses, with whatever it may contain.
    let wants_core = read("stat").ok()?.rsplit_once(") ")?.1.starts_with('R');
    Some(CoreUse { ran, waited, wants_core })
}

/// Puts the calling thread into the realtime class (SCHED_FIFO).
///
/// # Errors
/// When not permitted; [`realtime_advice`] says what the user can do.
pub fn set_realtime(priority: i32) -> io::Result<()> {
    schedule(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, priority)
}

/// Takes a thread off the realtime class. One system call.
#[inline]
pub fn demote(thread: ThreadId) {
    let _ = schedule(thread.0 as i32, libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, 0);
}

/// Has a thread that is off the realtime class stand back behind all others there, or not any more.
/// Does nothing where that could not be taken back.
pub fn stand_back(thread: ThreadId, back: bool) {
    let may_nice = || {
        let raised =
            capabilities(None).is_ok_and(|c| c.effective.contains(CapabilitySet::SYS_NICE));
        // The limit for nice values counts from 20, which is nice 0, upwards.
        raised || getrlimit(Resource::Nice).current.is_none_or(|most| most >= 20)
    };
    if (!back || may_nice())
        && let Some(thread) = Pid::from_raw(thread.0 as i32)
    {
        let _ = setpriority_process(Some(thread), if back { 10 } else { 0 });
    }
}

/// Takes the calling thread off the realtime class. One system call, for a signal handler too.
pub(super) fn demote_self() {
    demote(ThreadId(0));
}

/// Puts another thread into the realtime class.
pub fn promote(thread: ThreadId, priority: i32) -> io::Result<()> {
    schedule(thread.0 as i32, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, priority)
}

/// The calling thread's priority in the realtime class; `None`: it is in another.
pub fn realtime_priority() -> Option<i32> {
    let mut parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a local that outlives the call.
    let (class, known) =
        unsafe { (libc::sched_getscheduler(0), libc::sched_getparam(0, &mut parameter)) };
    let class = class & !libc::SCHED_RESET_ON_FORK;
    (known == 0 && class == libc::SCHED_FIFO).then_some(parameter.sched_priority)
}

#[inline]
fn schedule(thread: i32, policy: i32, priority: i32) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: the pointer is to a local that outlives the call.
    match unsafe { libc::sched_setscheduler(thread, policy, &parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The realtime class in words, for whoever reads a report.
pub fn realtime_class() -> String {
    format!("SCHED_FIFO {}, workers {}", priority::ENGINE, priority::WORKER)
}

/// What a user has to do so that [`set_realtime`] and memory locking are permitted.
pub fn realtime_advice() -> &'static str {
    "no realtime priority: add the user to the group 'audio' (or 'realtime') and give that group \
     'rtprio 95' and 'memlock unlimited' in /etc/security/limits.d/audio.conf, then log in again; \
     in a container, add the capability SYS_NICE and the limits rtprio=95, memlock=-1"
}

/// The cores that this process may use, ascending.
pub fn cores() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect(),
        Err(_) => vec![0],
    }
}

/// Keeps the calling thread on one core.
pub fn pin_current(core: usize) -> io::Result<()> {
    pin_raw(None, core)
}

/// Keeps a thread on one core.
pub fn pin(thread: ThreadId, core: usize) -> io::Result<()> {
    pin_raw(rustix::thread::Pid::from_raw(thread.0 as i32), core)
}

fn pin_raw(thread: Option<rustix::thread::Pid>, core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no core {core}")));
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(thread, &set)?)
}

/// Undoes [`pin_current`]: the calling thread may run on any of the cores.
pub fn unpin_current(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    cores.iter().filter(|&&core| core < CpuSet::MAX_CPU).for_each(|&core| set.set(core));
    Ok(sched_setaffinity(None, &set)?)
}

/// The core that the calling thread runs on now.
pub fn current_core() -> usize {
    rustix::thread::sched_getcpu()
}

/// Touches this much of the calling thread's stack below the caller and locks it in memory, so
/// that no page of it faults in a callback. Returns whether it could be locked.
#[inline(never)]
pub fn lock_stack() -> bool {
    const BYTES: usize = 256 * 1024;
    let mut stack = std::mem::MaybeUninit::<[u8; BYTES]>::uninit();
    let start = stack.as_mut_ptr().cast::<u8>();
    for page in (0..BYTES).step_by(4096) {
        // SAFETY: within the array above; volatile, so that the touch is not optimised away.
        unsafe { start.add(page).write_volatile(0) };
    }
    // SAFETY: locking pages of the stack changes no byte of them.
    unsafe { libc::mlock(start.cast(), BYTES) == 0 }
}

/// Raises the number of descriptors that this process may hold to what the system allows: a
/// worker costs the host about eight.
pub fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
    }
}
