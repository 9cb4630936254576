//! What tells the program to end: Ctrl-C, Ctrl-Break, its console closed, its user logged off.
//!
//! # Safety
//! The one `unsafe` call registers a function, which lives for ever.
#![allow(unsafe_code)]

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, CTRL_C_EVENT, SetConsoleCtrlHandler};

type Handler = Box<dyn FnMut(i32) + Send>;

static HANDLER: Mutex<Option<Handler>> = Mutex::new(None);

/// From now on calls this whenever the program is told to end, on a thread of its own, with the exit
/// code that tells of it. One handler a program.
pub fn on_end(handler: impl FnMut(i32) + Send + 'static) -> io::Result<()> {
    *HANDLER.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(handler));
    // SAFETY: a function of the signature that is asked for.
    match unsafe { SetConsoleCtrlHandler(Some(handle), 1) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

unsafe extern "system" fn handle(event: u32) -> i32 {
    // What processes end with that have no handler.
    const STATUS_CONTROL_C_EXIT: u32 = 0xC000_013A;
    if let Some(handler) = &mut *HANDLER.lock().unwrap_or_else(PoisonError::into_inner) {
        handler(STATUS_CONTROL_C_EXIT as i32);
    }
    if event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT {
        // The system ends the program when this returns, or after about five seconds.
        std::thread::sleep(Duration::from_secs(10));
    }
    1
}
