//! Realtime class (MMCSS "Pro Audio"), cores and locked memory of threads.
//!
//! # Safety
//! The `unsafe` calls pass handles of threads, locals, and ranges of the calling thread's own stack;
//! none touches Rust's view of memory.
#![allow(unsafe_code)]

use super::wake::owned;
use std::cell::Cell;
use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use windows_sys::Win32::Foundation::{ERROR_THREAD_ALREADY_IN_TASK, GetLastError, HANDLE};
use windows_sys::Win32::System::Memory::VirtualLock;
use windows_sys::Win32::System::Threading::{
    AVRT_PRIORITY_CRITICAL, AVRT_PRIORITY_HIGH, AvSetMmThreadCharacteristicsW,
    AvSetMmThreadPriority, GetCurrentProcess, GetCurrentProcessorNumber, GetCurrentThread,
    GetCurrentThreadId, GetProcessAffinityMask, GetProcessIdOfThread, GetProcessWorkingSetSize,
    OpenThread, SetProcessWorkingSetSize, SetThreadAffinityMask, SetThreadPriority,
    THREAD_PRIORITY_BELOW_NORMAL, THREAD_PRIORITY_HIGHEST, THREAD_PRIORITY_NORMAL,
    THREAD_PRIORITY_TIME_CRITICAL, THREAD_QUERY_INFORMATION, THREAD_QUERY_LIMITED_INFORMATION,
    THREAD_SET_INFORMATION,
};
use windows_sys::w;

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

/// The calling thread.
pub fn current() -> ThreadId {
    // SAFETY: takes nothing.
    ThreadId(unsafe { GetCurrentThreadId() })
}

fn open(thread: ThreadId, rights: u32) -> io::Result<OwnedHandle> {
    // SAFETY: takes numbers; the handle is new.
    unsafe { owned(OpenThread(rights, 0, thread.0)) }
}

/// Whether the thread belongs to the process: a worker's word for its own thread is not taken.
pub fn belongs_to(thread: ThreadId, process: u32) -> bool {
    // SAFETY: the handle is borrowed.
    open(thread, THREAD_QUERY_LIMITED_INFORMATION)
        .is_ok_and(|thread| unsafe { GetProcessIdOfThread(thread.as_raw_handle()) } == process)
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

/// `None`: Windows tells how long a thread ran, but not whether it waits for a core.
pub fn core_use(_thread: ThreadId, _process: u32) -> Option<CoreUse> {
    None
}

thread_local! {
    /// What the calling thread was given by `set_realtime`.
    static REALTIME: Cell<Option<i32>> = const { Cell::new(None) };
}

/// Whether the service that gives realtime priority was found not to run.
static NO_SERVICE: AtomicBool = AtomicBool::new(false);

/// Puts the calling thread into the class of realtime audio: MMCSS's task "Pro Audio", or, where the
/// service does not run, the highest priority that a thread can have without it.
///
/// # Errors
/// When neither is permitted; [`realtime_advice`] says what the user can do.
pub fn set_realtime(priority: i32) -> io::Result<()> {
    let mut task = 0;
    // SAFETY: a constant string, and a local. The registration ends with the thread.
    let class = unsafe { AvSetMmThreadCharacteristicsW(w!("Pro Audio"), &mut task) };
    // SAFETY: takes nothing.
    if class.is_null() && unsafe { GetLastError() } == ERROR_THREAD_ALREADY_IN_TASK {
        // A driver's thread that the driver itself has put there, or that played before: what could be
        // set here is lower.
        REALTIME.set(Some(priority));
        return Ok(());
    }
    NO_SERVICE.store(class.is_null(), Ordering::Relaxed);
    if class.is_null() {
        // SAFETY: the pseudo-handle of the calling thread.
        set_priority(unsafe { GetCurrentThread() }, raw_priority(priority))?;
    } else {
        let within =
            if priority >= priority::ENGINE { AVRT_PRIORITY_CRITICAL } else { AVRT_PRIORITY_HIGH };
        // SAFETY: the handle is the one above.
        unsafe { AvSetMmThreadPriority(class, within) };
    }
    REALTIME.set(Some(priority));
    Ok(())
}

fn raw_priority(priority: i32) -> i32 {
    if priority >= priority::WORKER {
        THREAD_PRIORITY_TIME_CRITICAL
    } else {
        THREAD_PRIORITY_HIGHEST
    }
}

fn set_priority(thread: HANDLE, priority: i32) -> io::Result<()> {
    // SAFETY: the handle is borrowed.
    match unsafe { SetThreadPriority(thread, priority) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Takes a thread off the realtime class. Three system calls.
#[inline]
pub fn demote(thread: ThreadId) {
    if let Ok(thread) = open(thread, THREAD_SET_INFORMATION) {
        let _ = set_priority(thread.as_raw_handle(), THREAD_PRIORITY_NORMAL);
    }
}

/// Has a thread that is off the realtime class stand back behind all others there, or not any more.
pub fn stand_back(thread: ThreadId, back: bool) {
    if let Ok(thread) = open(thread, THREAD_SET_INFORMATION) {
        let priority = if back { THREAD_PRIORITY_BELOW_NORMAL } else { THREAD_PRIORITY_NORMAL };
        let _ = set_priority(thread.as_raw_handle(), priority);
    }
}

/// Puts another thread into the realtime class, as far as that can be done from outside: MMCSS takes
/// a thread at its own request only.
pub fn promote(thread: ThreadId, priority: i32) -> io::Result<()> {
    set_priority(open(thread, THREAD_SET_INFORMATION)?.as_raw_handle(), raw_priority(priority))
}

/// The calling thread's priority in the realtime class; `None`: it is in another.
pub fn realtime_priority() -> Option<i32> {
    REALTIME.get()
}

/// The realtime class in words, for whoever reads a report.
pub fn realtime_class() -> String {
    match NO_SERVICE.load(Ordering::Relaxed) {
        false => "MMCSS Pro Audio, critical; workers high",
        true => "time-critical threads, without MMCSS",
    }
    .to_owned()
}

/// What a user has to do so that [`set_realtime`] is permitted.
pub fn realtime_advice() -> &'static str {
    "no realtime priority: the service 'Multimedia Class Scheduler' does not run; start it in \
     services.msc and set it to start automatically"
}

/// The cores that this process may use, ascending. Of a machine with more than 64: those of the
/// group that Windows put the process into.
pub fn cores() -> Vec<usize> {
    let (mut own, mut all) = (0, 0);
    // SAFETY: fills two locals.
    let known = unsafe { GetProcessAffinityMask(GetCurrentProcess(), &mut own, &mut all) };
    if known == 0 || own == 0 {
        return vec![0];
    }
    (0..usize::BITS as usize).filter(|&core| own >> core & 1 == 1).collect()
}

/// Keeps the calling thread on one core.
pub fn pin_current(core: usize) -> io::Result<()> {
    // SAFETY: the pseudo-handle of the calling thread.
    set_cores(unsafe { GetCurrentThread() }, mask(core)?)
}

/// Keeps a thread on one core.
pub fn pin(thread: ThreadId, core: usize) -> io::Result<()> {
    let rights = THREAD_SET_INFORMATION | THREAD_QUERY_INFORMATION;
    set_cores(open(thread, rights)?.as_raw_handle(), mask(core)?)
}

/// Undoes [`pin_current`]: the calling thread may run on any of the cores.
pub fn unpin_current(cores: &[usize]) -> io::Result<()> {
    let all = cores.iter().filter_map(|&core| mask(core).ok()).fold(0, |all, core| all | core);
    // SAFETY: the pseudo-handle of the calling thread.
    set_cores(unsafe { GetCurrentThread() }, all)
}

fn mask(core: usize) -> io::Result<usize> {
    u32::try_from(core)
        .ok()
        .and_then(|core| 1usize.checked_shl(core))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("no core {core}")))
}

fn set_cores(thread: HANDLE, cores: usize) -> io::Result<()> {
    // SAFETY: the handle is borrowed.
    match unsafe { SetThreadAffinityMask(thread, cores) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The core that the calling thread runs on now.
pub fn current_core() -> usize {
    // SAFETY: takes nothing.
    unsafe { GetCurrentProcessorNumber() as usize }
}

/// Touches this much of the calling thread's stack below the caller and locks it in memory, so
/// that no page of it faults in a callback. Returns whether it could be locked.
#[inline(never)]
pub fn lock_stack() -> bool {
    const BYTES: usize = 256 * 1024;
    allow_locking();
    // Entering this function has touched its pages in order, which Windows insists on.
    let mut stack = std::mem::MaybeUninit::<[u8; BYTES]>::uninit();
    let start = stack.as_mut_ptr().cast::<u8>();
    for page in (0..BYTES).step_by(4096) {
        // SAFETY: within the array above; volatile, so that the touch is not optimised away.
        unsafe { start.add(page).write_volatile(0) };
    }
    // SAFETY: locking pages of the stack changes no byte of them.
    unsafe { VirtualLock(start.cast(), BYTES) != 0 }
}

/// Windows locks no more than a process's smallest working set, which is about 200 KiB.
pub(super) fn allow_locking() {
    const MORE: usize = 64 << 20;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (mut least, mut most) = (0, 0);
        // SAFETY: fills two locals, and takes numbers.
        unsafe {
            let process = GetCurrentProcess();
            if GetProcessWorkingSetSize(process, &mut least, &mut most) != 0 {
                SetProcessWorkingSetSize(process, least + MORE, most.max(least) + 2 * MORE);
            }
        }
    });
}

/// Nothing to raise here: a process may hold 16 million handles.
pub fn raise_descriptor_limit() {}
