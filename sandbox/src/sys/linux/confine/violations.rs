//! Records the system calls that are refused.
//!
//! The filter answers such a call with SIGSYS. The handler runs in whichever thread called, the
//! audio thread included: it sets a bit, wakes the main thread, and makes the call fail with EPERM.
//!
//! # Safety
//! The handler touches atomics, a waker that neither allocates nor locks, and the context that the
//! kernel passes it.

use super::filter;
use crate::sys::poll::Waker;
use std::io;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// System calls that are told apart.
const CALLS: usize = 576;

/// Refused since [`take`], a bit each.
static REFUSED: [AtomicU64; CALLS / 64] = [const { AtomicU64::new(0) }; CALLS / 64];
/// Told already: each is told once.
static TOLD: [AtomicU64; CALLS / 64] = [const { AtomicU64::new(0) }; CALLS / 64];
static WAKER: OnceLock<Waker> = OnceLock::new();

/// Something that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The system call.
    pub what: String,
    /// What would allow it.
    pub grant: &'static str,
}

/// Has the main thread woken when something is refused.
pub fn wake_on(waker: Waker) {
    let _ = WAKER.set(waker);
}

/// What has been refused and not been told yet.
pub fn take() -> Vec<Violation> {
    let mut all = Vec::new();
    for (index, (refused, told)) in REFUSED.iter().zip(&TOLD).enumerate() {
        let new = refused.swap(0, Ordering::Relaxed);
        let new = new & !told.fetch_or(new, Ordering::Relaxed);
        for bit in (0..64).filter(|bit| new >> bit & 1 == 1) {
            let (what, grant) = filter::describe((index * 64 + bit) as i64);
            all.push(Violation { what, grant });
        }
    }
    all
}

/// Installs the handler.
pub(super) fn catch() -> io::Result<()> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all zeros is a valid `sigaction`, which is filled in and passed from a local; the
    // handler has the signature that SA_SIGINFO asks for.
    let result = unsafe {
        let action = action.assume_init_mut();
        action.sa_sigaction = on_refused as *const () as libc::sighandler_t;
        // ONSTACK: where a plugin's thread has an own stack for signals, use it.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        libc::sigaction(libc::SIGSYS, action, std::ptr::null_mut())
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn on_refused(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    /// Where the kernel puts the number of the system call in a `siginfo_t`: behind signal, errno,
    /// code, padding and the address of the call.
    const CALL: usize = 24;
    // SAFETY: the kernel passes both, valid for the time of this call; the offset lies within.
    let call = unsafe {
        let context = &mut *context.cast::<libc::ucontext_t>();
        refuse(context);
        info.cast::<u8>().add(CALL).cast::<i32>().read_unaligned()
    };
    let call = call as usize;
    if let Some(word) = REFUSED.get(call / 64) {
        word.fetch_or(1 << (call % 64), Ordering::Relaxed);
    }
    if let Some(waker) = WAKER.get() {
        waker.wake();
    }
}

/// Makes the call that was interrupted return EPERM.
#[cfg(target_arch = "x86_64")]
fn refuse(context: &mut libc::ucontext_t) {
    context.uc_mcontext.gregs[libc::REG_RAX as usize] = i64::from(-libc::EPERM);
}

#[cfg(target_arch = "aarch64")]
fn refuse(context: &mut libc::ucontext_t) {
    context.uc_mcontext.regs[0] = i64::from(-libc::EPERM) as u64;
}
