//! Waiting, on a worker's main thread, for whichever comes first: to be woken by another thread, a
//! time, a message for one of the thread's windows.
//!
//! Plugins make windows on this thread that nobody else knows of, hidden ones for timers included, so
//! messages are seen to in every wait.
//!
//! # Safety
//! The `unsafe` calls pass a handle that the value owns, and locals. What dispatching a message runs
//! are the window procedures of plugins (and `window`'s), on the thread that they were made on.
#![allow(unsafe_code)]

use super::wake::auto_reset_event;
use std::io;
use std::marker::PhantomData;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::sync::Arc;
use std::time::Instant;
use windows_sys::Win32::System::Threading::{INFINITE, SetEvent};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    DispatchMessageW, MSG, MWMO_INPUTAVAILABLE, MsgWaitForMultipleObjectsEx, PM_REMOVE,
    PeekMessageW, QS_ALLINPUT, TranslateMessage, WM_QUIT,
};

/// Something that can be watched: there is no such thing on this system.
pub type Watched = i32;

/// What a descriptor is, or is to be, ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// To be read without waiting.
    pub read: bool,
    /// To be written without waiting.
    pub write: bool,
    /// It failed, or its other end hung up.
    pub error: bool,
    /// There is no such descriptor (any more). Told, never asked for.
    pub void: bool,
}

impl Readiness {
    /// Whether there is anything to tell.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// Waits, on the thread that made it.
pub struct Sleeper(Waker, PhantomData<*const ()>);

/// Ends the [`Sleeper`]'s present or next wait. Any thread; neither allocates nor blocks.
#[derive(Clone)]
pub struct Waker(Arc<OwnedHandle>);

/// Messages that are seen to before the caller has its turn again.
const AT_ONCE: usize = 256;

impl Sleeper {
    /// For the thread that calls it.
    ///
    /// # Errors
    /// The system has no events left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Waker(Arc::new(auto_reset_event()?)), PhantomData))
    }

    /// What wakes it.
    pub fn waker(&self) -> Waker {
        self.0.clone()
    }

    /// Waits until it is woken, or `until`, or a message has come, which is then seen to. May return
    /// early for no reason. Of what is `watched` each is told to be void.
    pub fn wait(&self, watched: &mut [(Watched, Readiness)], until: Option<Instant>) {
        for (_, ready) in watched.iter_mut() {
            *ready = Readiness { void: true, ..Readiness::default() };
        }
        let ms = until.map_or(INFINITE, |until| {
            let left = until.saturating_duration_since(Instant::now());
            u32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(INFINITE - 1)
        });
        let event = [self.0.0.as_raw_handle()];
        // SAFETY: one handle, which this value owns.
        unsafe {
            MsgWaitForMultipleObjectsEx(1, event.as_ptr(), ms, QS_ALLINPUT, MWMO_INPUTAVAILABLE)
        };
        dispatch_messages();
    }
}

/// Sees to the calling thread's messages.
fn dispatch_messages() {
    let mut message = MSG::default();
    for _ in 0..AT_ONCE {
        // SAFETY: fills a local, and passes it on.
        unsafe {
            if PeekMessageW(&mut message, std::ptr::null_mut(), 0, 0, PM_REMOVE) == 0 {
                return;
            }
            // A plugin that posts it means to end a loop of its own, and not the worker.
            if message.message != WM_QUIT {
                TranslateMessage(&message);
                DispatchMessageW(&message);
            }
        }
    }
}

impl Waker {
    /// See the type.
    pub fn wake(&self) {
        // SAFETY: the handle is this value's.
        unsafe { SetEvent(self.0.as_raw_handle()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;
    use windows_sys::Win32::System::Threading::GetCurrentThreadId;
    use windows_sys::Win32::UI::WindowsAndMessaging::{PostThreadMessageW, WM_APP};

    const LONG: Duration = Duration::from_secs(60);

    fn far() -> Option<Instant> {
        Some(Instant::now() + LONG)
    }

    #[test]
    fn a_wake_before_or_during_a_wait_ends_it() {
        let began = Instant::now();
        let sleeper = Sleeper::new().unwrap();
        for round in 0..50 {
            let waker = sleeper.waker();
            let other = thread::spawn(move || waker.wake());
            if round % 3 == 0 {
                other.join().unwrap();
            }
            sleeper.wait(&mut [], far());
        }
        assert!(began.elapsed() < LONG);
    }

    #[test]
    fn a_message_ends_a_wait_and_is_taken() {
        let began = Instant::now();
        let sleeper = Sleeper::new().unwrap();
        sleeper.wait(&mut [], Some(Instant::now()));
        // SAFETY: takes numbers.
        unsafe { assert_ne!(PostThreadMessageW(GetCurrentThreadId(), WM_APP, 0, 0), 0) };
        sleeper.wait(&mut [], far());
        assert!(began.elapsed() < LONG);
        let due = Instant::now() + Duration::from_millis(30);
        sleeper.wait(&mut [], Some(due));
        assert!(Instant::now() >= due);
    }
}
