//! Waiting on a word, and waking who waits.
//!
//! Windows can wait on an address within one process only ([`wait`], [`wake`]). A word that several
//! processes share therefore has an auto-reset event beside it, its [`Bell`], which is handed over
//! together with the memory that the word lies in. The event remembers one wake: who looks at the
//! word, and then waits, misses none.
//!
//! # Safety
//! The `unsafe` calls pass handles that the values own, and addresses of atomics that outlive the
//! call.
#![allow(unsafe_code)]

use super::clock::now_ns;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use windows_sys::Win32::Foundation::{WAIT_OBJECT_0, WAIT_TIMEOUT};
use windows_sys::Win32::System::Threading::{
    CREATE_WAITABLE_TIMER_HIGH_RESOLUTION, CreateEventW, CreateWaitableTimerExW, INFINITE,
    SetEvent, SetWaitableTimer, SwitchToThread, TIMER_ALL_ACCESS, WaitForMultipleObjects,
    WaitForSingleObject, WaitOnAddress, WakeByAddressSingle,
};

/// Why a wait returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Woken, or the word had changed, or for no reason.
    Woken,
    /// The deadline has passed.
    TimedOut,
}

/// Sleeps until [`wake`] is called on the word, unless the word is no longer `expected`; at most
/// until `deadline` (ns of [`now_ns`], `u64::MAX`: for ever), in steps of a ms. May return early for
/// no reason: the caller checks what it waits for. Threads of one process.
#[inline]
pub fn wait(word: &AtomicU32, expected: u32, deadline: u64) -> Wait {
    let ms = match deadline {
        u64::MAX => INFINITE,
        deadline => ms_until(deadline),
    };
    // SAFETY: both addresses are good for the time of the call.
    let woken = unsafe {
        WaitOnAddress((&raw const *word).cast(), (&raw const expected).cast(), size_of::<u32>(), ms)
    };
    match woken != 0 || deadline == u64::MAX || now_ns() < deadline {
        true => Wait::Woken,
        false => Wait::TimedOut,
    }
}

/// Wakes the one thread that waits on the word, if there is one. Threads of one process.
#[inline]
pub fn wake(word: &AtomicU32) {
    // SAFETY: only the address is used.
    unsafe { WakeByAddressSingle((&raw const *word).cast()) };
}

fn ms_until(deadline: u64) -> u32 {
    let left = deadline.saturating_sub(now_ns()).div_ceil(1_000_000);
    u32::try_from(left).unwrap_or(INFINITE - 1).min(INFINITE - 1)
}

/// What wakes who waits on a word in shared memory. One waits, several may ring.
#[derive(Clone)]
pub struct Bell(Arc<Event>);

struct Event {
    event: OwnedHandle,
    /// Ends waits more exactly than whole ms; only who made the bell has one.
    timer: Option<OwnedHandle>,
}

impl Bell {
    /// A new one.
    pub(super) fn new() -> io::Result<Self> {
        let timer = timer(CREATE_WAITABLE_TIMER_HIGH_RESOLUTION).or_else(|_| timer(0)).ok();
        Ok(Self(Arc::new(Event { event: auto_reset_event()?, timer })))
    }

    /// One that was handed over.
    pub(super) fn received(event: OwnedHandle) -> Self {
        Self(Arc::new(Event { event, timer: None }))
    }

    pub(super) fn event(&self) -> &OwnedHandle {
        &self.0.event
    }

    /// As the function [`wait`], of a word that other processes share. Not in steps of a ms.
    #[inline]
    pub fn wait(&self, word: &AtomicU32, expected: u32, deadline: u64) -> Wait {
        if word.load(Ordering::SeqCst) != expected {
            return Wait::Woken;
        }
        if deadline == u64::MAX {
            // SAFETY: the handle is this value's.
            unsafe { WaitForSingleObject(self.0.event.as_raw_handle(), INFINITE) };
            return Wait::Woken;
        }
        self.wait_until(word, expected, deadline)
    }

    fn wait_until(&self, word: &AtomicU32, expected: u32, deadline: u64) -> Wait {
        /// Timers end up to so many ns late. A wait therefore ends so much earlier, and the rest is
        /// spent looking at the word, leaving the core to whoever wants it.
        const LATE: u64 = 600_000;
        let left = deadline.saturating_sub(now_ns());
        if left > LATE && self.sleep(left - LATE) {
            return Wait::Woken;
        }
        loop {
            if word.load(Ordering::SeqCst) != expected {
                return Wait::Woken;
            }
            if now_ns() >= deadline {
                return Wait::TimedOut;
            }
            // SAFETY: takes nothing.
            unsafe { SwitchToThread() };
        }
    }

    /// True: woken.
    fn sleep(&self, ns: u64) -> bool {
        let event = self.0.event.as_raw_handle();
        if let Some(timer) = &self.0.timer {
            let timer = timer.as_raw_handle();
            // In units of 100 ns; negative: from now.
            let due = -i64::try_from(ns / 100).unwrap_or(i64::MAX);
            // SAFETY: the handles are this value's; `due` outlives the call.
            unsafe {
                if SetWaitableTimer(timer, &due, 0, None, null(), 0) != 0 {
                    let both = [event, timer];
                    return WaitForMultipleObjects(2, both.as_ptr(), 0, INFINITE) == WAIT_OBJECT_0;
                }
            }
        }
        let ms = u32::try_from(ns / 1_000_000).unwrap_or(INFINITE - 1);
        // SAFETY: the handle is this value's.
        ms > 0 && unsafe { WaitForSingleObject(event, ms) } != WAIT_TIMEOUT
    }

    /// Wakes who waits, or will wait next.
    #[inline]
    pub fn wake(&self, _word: &AtomicU32) {
        // SAFETY: the handle is this value's.
        unsafe { SetEvent(self.0.event.as_raw_handle()) };
    }
}

fn timer(flags: u32) -> io::Result<OwnedHandle> {
    // SAFETY: no pointers but null; the handle is new, and nobody else's.
    unsafe {
        let timer = CreateWaitableTimerExW(null(), null(), flags, TIMER_ALL_ACCESS);
        owned(timer)
    }
}

/// An event that one wait takes back.
pub(super) fn auto_reset_event() -> io::Result<OwnedHandle> {
    // SAFETY: as in `timer`.
    unsafe { owned(CreateEventW(null(), 0, 0, null())) }
}

/// A new handle, or why there is none.
///
/// # Safety
/// It must be nobody else's.
pub(super) unsafe fn owned(
    handle: windows_sys::Win32::Foundation::HANDLE,
) -> io::Result<OwnedHandle> {
    if handle.is_null() || handle == windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller's word.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_wake_before_a_wait_is_not_lost() {
        let (bell, word) = (Bell::new().unwrap(), AtomicU32::new(7));
        bell.wake(&word);
        assert_eq!(bell.wait(&word, 7, u64::MAX), Wait::Woken);
        assert_eq!(bell.wait(&word, 6, u64::MAX), Wait::Woken);
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_not_before() {
        let (bell, word) = (Bell::new().unwrap(), AtomicU32::new(7));
        for us in [0, 100, 700, 1500, 20_000] {
            let deadline = now_ns() + us * 1000;
            assert_eq!(bell.wait(&word, 7, deadline), Wait::TimedOut);
            assert!(now_ns() >= deadline);
        }
        let deadline = now_ns() + 2_000_000;
        while wait(&word, 7, deadline) == Wait::Woken {}
        assert!(now_ns() >= deadline);
    }

    #[test]
    fn who_waits_is_woken_by_another_thread() {
        let (bell, word) = (Bell::new().unwrap(), Arc::new(AtomicU32::new(0)));
        let began = Instant::now();
        for round in 1..=200 {
            let (bell_too, word_too) = (bell.clone(), Arc::clone(&word));
            let other = std::thread::spawn(move || {
                word_too.store(round, Ordering::SeqCst);
                bell_too.wake(&word_too);
                wake(&word_too);
            });
            while word.load(Ordering::SeqCst) != round {
                match round % 2 {
                    0 => bell.wait(&word, round - 1, now_ns() + 60_000_000_000),
                    _ => wait(&word, round - 1, u64::MAX),
                };
            }
            other.join().unwrap();
        }
        assert!(began.elapsed() < Duration::from_secs(50));
    }
}
