//! In a worker: where an exception hit that is about to end the process. Not written down here yet:
//! the host knows the exception's code, and which entry point of the plugin it was in.

use super::handles::Handle;
use super::memory::{Access, Mapping};
use crate::shm::crash_page::{CrashView, LEN};
use std::io;
use std::sync::Arc;

/// Views the memory; nothing is caught.
pub fn install(handle: Handle) -> io::Result<CrashView> {
    CrashView::new(Arc::new(Mapping::from_handle(handle, LEN, Access::ReadWrite)?))
}

/// Called by the audio thread as it begins.
pub fn enter_audio_thread() {}

/// In the host: asks a worker's thread where it is. Nothing answers here.
pub fn ask_where(_process: u32, _thread: super::thread::ThreadId) {}
