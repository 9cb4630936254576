//! A driver's thread: a single-threaded COM apartment with a message loop, in which the driver is
//! made, called and let go.
//!
//! Whoever asks it waits with a time limit. A driver that does not come back from a call is left
//! alone with its thread, which can't be ended: nothing is asked of it any more.
//!
//! # Safety
//! The `unsafe` calls are of the system, with pointers to locals. The event is closed by the last
//! owner of [`Bell`], so no thread can signal a handle that is another one by then. The window
//! belongs to the apartment's thread, which makes it and destroys it.
#![allow(unsafe_code)]

use super::object::Object;
use std::collections::VecDeque;
use std::ptr::null;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use windows_core::GUID;
use windows_sys::Win32::Foundation::{CloseHandle, HANDLE, HWND};
use windows_sys::Win32::System::Com::{COINIT_APARTMENTTHREADED, CoInitializeEx, CoUninitialize};
use windows_sys::Win32::System::Threading::{CreateEventW, GetCurrentThreadId, INFINITE, SetEvent};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    CreateWindowExW, DestroyWindow, DispatchMessageW, EnumThreadWindows, IsWindowVisible, MSG,
    MWMO_INPUTAVAILABLE, MsgWaitForMultipleObjectsEx, PM_REMOVE, PeekMessageW, QS_ALLINPUT,
    TranslateMessage, WS_OVERLAPPED,
};
use windows_sys::core::BOOL;

/// What lives on the apartment's thread.
pub(super) struct Inside {
    /// The driver, once it is made.
    pub(super) object: Option<Object>,
    /// A window of ours, never shown: drivers want one to belong to.
    pub(super) window: HWND,
}

impl Inside {
    /// Makes the driver.
    pub(super) fn make(&mut self, class: &GUID) -> Result<(), String> {
        self.object = Some(Object::make(class)?);
        Ok(())
    }
}

type Job = Box<dyn FnOnce(&mut Inside) + Send>;

struct Bell(HANDLE);

// SAFETY: an event's handle may be used from any thread.
unsafe impl Send for Bell {}
// SAFETY: as above.
unsafe impl Sync for Bell {}

impl Drop for Bell {
    fn drop(&mut self) {
        // SAFETY: made in `Apartment::start`, closed once.
        unsafe { CloseHandle(self.0) };
    }
}

struct Queue {
    jobs: Mutex<VecDeque<Job>>,
    bell: Bell,
    end: AtomicBool,
}

impl Queue {
    fn ring(&self) {
        // SAFETY: the event lives as long as this.
        unsafe { SetEvent(self.bell.0) };
    }

    fn next(&self) -> Option<Job> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// The thread, from outside.
pub(super) struct Apartment {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
    thread_id: u32,
    /// What the driver did not come back from.
    hangs_in: Mutex<Option<&'static str>>,
}

impl Apartment {
    /// Starts the thread. The text of an error says what the system refused.
    pub(super) fn start(name: &str) -> Result<Self, String> {
        // SAFETY: no attributes, no name: a new auto-reset event that is not signalled.
        let event = unsafe { CreateEventW(null(), 0, 0, null()) };
        if event.is_null() {
            return Err(format!("no event for it ({})", std::io::Error::last_os_error()));
        }
        let queue = Arc::new(Queue {
            jobs: Mutex::default(),
            bell: Bell(event),
            end: AtomicBool::new(false),
        });
        let (send, ready) = sync_channel(1);
        let of_thread = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name(format!("asio {name}"))
            .spawn(move || run(&of_thread, &send))
            .map_err(|e| format!("no thread for it ({e})"))?;
        match ready.recv() {
            Ok(Ok(thread_id)) => {
                let hangs_in = Mutex::new(None);
                Ok(Self { queue, thread: Some(thread), thread_id, hangs_in })
            }
            Ok(Err(reason)) => Err(reason),
            Err(_) => Err("its thread ended before it began".to_owned()),
        }
    }

    /// The apartment's thread, as the system knows it.
    pub(super) fn thread_id(&self) -> u32 {
        self.thread_id
    }

    /// Does something on the apartment's thread; `Err`: the driver has not come back within `limit`,
    /// now or earlier.
    pub(super) fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        limit: Duration,
        job: impl FnOnce(&mut Inside) -> T + Send + 'static,
    ) -> Result<T, String> {
        let hang = |what: &str| {
            format!(
                "it has not come back from '{what}': end the programs that use it, or plug the \
                 device out and in again, then start Sandrack again"
            )
        };
        let mut hangs_in = self.hangs_in.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(what) = *hangs_in {
            return Err(hang(what));
        }
        let (send, receive) = sync_channel(1);
        self.post(move |inside| {
            let _ = send.send(job(inside));
        });
        match receive.recv_timeout(limit) {
            Ok(value) => Ok(value),
            Err(RecvTimeoutError::Timeout) => {
                *hangs_in = Some(what);
                Err(hang(what))
            }
            Err(RecvTimeoutError::Disconnected) => {
                *hangs_in = Some(what);
                Err(format!("its thread ended in '{what}': report this"))
            }
        }
    }

    /// Does something there some time, without waiting.
    pub(super) fn post(&self, job: impl FnOnce(&mut Inside) + Send + 'static) {
        self.queue.jobs.lock().unwrap_or_else(PoisonError::into_inner).push_back(Box::new(job));
        self.queue.ring();
    }

    /// Whether a driver hangs in there for good.
    pub(super) fn hangs(&self) -> bool {
        self.hangs_in.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether there are windows to be seen that the driver made on this thread.
    pub(super) fn shows_windows(&self) -> bool {
        unsafe extern "system" fn look(window: HWND, found: isize) -> BOOL {
            // SAFETY: a window's handle may be asked about at any time; `found` points to the
            // local below, which outlives the enumeration.
            unsafe {
                if IsWindowVisible(window) != 0 {
                    *(found as *mut bool) = true;
                }
            }
            1
        }
        let mut found = false;
        // SAFETY: the callback only runs within this call.
        unsafe { EnumThreadWindows(self.thread_id, Some(look), &raw mut found as isize) };
        found
    }
}

impl Drop for Apartment {
    fn drop(&mut self) {
        self.queue.end.store(true, Ordering::Release);
        self.queue.ring();
        let Some(thread) = self.thread.take() else { return };
        // It lets go of the driver, which may hang like any other call.
        let end = Instant::now() + super::driver::LONG;
        while !self.hangs() && Instant::now() < end {
            if thread.is_finished() {
                let _ = thread.join();
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The thread.
fn run(queue: &Queue, ready: &std::sync::mpsc::SyncSender<Result<u32, String>>) {
    // SAFETY: once, on a thread of its own; taken back below.
    let result = unsafe { CoInitializeEx(null(), COINIT_APARTMENTTHREADED as u32) };
    if result < 0 {
        let _ = ready.send(Err(format!("COM can't be used here (0x{result:08x})")));
        return;
    }
    let mut inside = Inside { object: None, window: hidden_window() };
    // SAFETY: no arguments.
    let _ = ready.send(Ok(unsafe { GetCurrentThreadId() }));
    while !queue.end.load(Ordering::Acquire) {
        wait(queue);
        dispatch();
        while let Some(job) = queue.next() {
            job(&mut inside);
            dispatch();
        }
    }
    // The driver before its window, both before COM.
    drop(inside.object.take());
    dispatch();
    if !inside.window.is_null() {
        // SAFETY: made on this thread.
        unsafe { DestroyWindow(inside.window) };
    }
    // SAFETY: once for the call above.
    unsafe { CoUninitialize() };
}

/// A window of a class that the system has. Null, should it refuse: drivers can do without.
fn hidden_window() -> HWND {
    let class: Vec<u16> = "STATIC\0".encode_utf16().collect();
    let title: Vec<u16> = "Sandrack\0".encode_utf16().collect();
    // SAFETY: both texts end with 0 and outlive the call.
    unsafe {
        CreateWindowExW(
            0,
            class.as_ptr(),
            title.as_ptr(),
            WS_OVERLAPPED,
            0,
            0,
            0,
            0,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            null(),
        )
    }
}

/// Until there is a job or a message.
fn wait(queue: &Queue) {
    // SAFETY: one handle, which lives as long as the queue.
    unsafe {
        MsgWaitForMultipleObjectsEx(1, &queue.bell.0, INFINITE, QS_ALLINPUT, MWMO_INPUTAVAILABLE)
    };
}

/// Sees to the messages that are there.
fn dispatch() {
    // SAFETY: all zeros is a message; it is filled in before it is used.
    let mut message: MSG = unsafe { std::mem::zeroed() };
    // SAFETY: the message is a local; windows of this thread.
    while unsafe { PeekMessageW(&mut message, std::ptr::null_mut(), 0, 0, PM_REMOVE) } != 0 {
        // SAFETY: as above.
        unsafe {
            TranslateMessage(&message);
            DispatchMessageW(&message);
        }
    }
}
