//! Calls of the host on threads where they may not be made.

use clap_sys::ext::audio_ports::*;
use clap_sys::ext::latency::*;
use clap_sys::ext::log::*;
use clap_sys::ext::note_ports::*;
use clap_sys::ext::params::*;
use clap_sys::ext::preset_load::*;
use clap_sys::ext::state::*;
use clap_sys::ext::tail::*;
use clap_sys::ext::thread_pool::*;
use clap_sys::ext::timer_support::*;
use clap_sys::host::clap_host;
use std::ffi::CStr;
use std::thread;

/// # Safety
/// The host is there, and `T` is what the name stands for.
unsafe fn functions<'a, T>(host: *const clap_host, name: &CStr) -> Option<&'a T> {
    // SAFETY: as the caller promises.
    unsafe { (*host).get_extension?(host, name.as_ptr()).cast::<T>().as_ref() }
}

/// # Safety
/// The host is there.
pub(crate) unsafe fn rescan_params(host: *const clap_host) {
    // SAFETY: as the caller promises.
    unsafe {
        let params = functions::<clap_host_params>(host, CLAP_EXT_PARAMS);
        if let Some(rescan) = params.and_then(|params| params.rescan) {
            rescan(host, CLAP_PARAM_RESCAN_ALL);
        }
    }
}

/// # Safety
/// The host is there.
pub(crate) unsafe fn log_lines(host: *const clap_host, count: u32) {
    // SAFETY: as the caller promises.
    let log = unsafe { functions::<clap_host_log>(host, CLAP_EXT_LOG) };
    let Some(log) = log.and_then(|log| log.log) else { return };
    for _ in 0..count {
        // SAFETY: as the caller promises.
        unsafe { log(host, CLAP_LOG_WARNING, c"one line of very many".as_ptr()) };
    }
}

/// # Safety
/// The host is there until the plugin is destroyed.
pub(crate) unsafe fn from_here_and_elsewhere(host: *const clap_host, elsewhere: bool) {
    // SAFETY: as the caller promises.
    unsafe { all(host) };
    if elsewhere {
        let host = host.expose_provenance();
        let other = thread::spawn(move || {
            // SAFETY: as the caller promises; it is waited for below.
            unsafe { all(std::ptr::with_exposed_provenance(host)) };
        });
        let _ = other.join();
    }
}

/// Everything that is tied to the main thread, and what may be called anywhere.
unsafe fn all(host: *const clap_host) {
    // SAFETY: as the caller promises; the threads aren't right: that is the fault.
    unsafe {
        macro_rules! call {
            ($type:ty, $name:expr, $function:ident $(, $argument:expr)*) => {
                if let Some(f) = functions::<$type>(host, $name).and_then(|f| f.$function) {
                    f(host $(, $argument)*);
                }
            };
        }
        if let Some(request) = (*host).request_restart {
            request(host);
        }
        if let Some(request) = (*host).request_callback {
            request(host);
        }
        call!(clap_host_latency, CLAP_EXT_LATENCY, changed);
        call!(clap_host_state, CLAP_EXT_STATE, mark_dirty);
        call!(clap_host_params, CLAP_EXT_PARAMS, rescan, u32::MAX);
        call!(clap_host_params, CLAP_EXT_PARAMS, clear, 0, u32::MAX);
        call!(clap_host_params, CLAP_EXT_PARAMS, request_flush);
        call!(clap_host_audio_ports, CLAP_EXT_AUDIO_PORTS, rescan, u32::MAX);
        call!(clap_host_note_ports, CLAP_EXT_NOTE_PORTS, rescan, u32::MAX);
        call!(clap_host_tail, CLAP_EXT_TAIL, changed);
        call!(clap_host_thread_pool, CLAP_EXT_THREAD_POOL, request_exec, u32::MAX);
        let nothing = std::ptr::null();
        call!(clap_host_preset_load, CLAP_EXT_PRESET_LOAD, loaded, 9, nothing, nothing);
        call!(
            clap_host_preset_load,
            CLAP_EXT_PRESET_LOAD,
            on_error,
            9,
            nothing,
            nothing,
            2,
            nothing
        );
        let mut id = 0;
        call!(clap_host_timer_support, CLAP_EXT_TIMER_SUPPORT, register_timer, 0, &mut id);
        call!(clap_host_timer_support, CLAP_EXT_TIMER_SUPPORT, unregister_timer, id);
    }
}
