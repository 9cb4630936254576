//! Host functions that clack has no types for, or none that keep an audio thread free of
//! allocations.
//!
//! # Safety
//! `unsafe` here takes the host pointer that a plugin was given back from it, as clack does, and
//! reads the texts that come with it, which the interface promises to end with NUL.
#![allow(unsafe_code)]

use super::host::{Call, SandrackHost, Shared};
use super::pool;
use clack_host::extensions::prelude::*;
use clap_sys::ext::audio_ports_config::*;
use clap_sys::ext::note_name::*;
use clap_sys::ext::note_ports::*;
use clap_sys::ext::posix_fd_support::*;
use clap_sys::ext::preset_load::*;
use clap_sys::ext::thread_pool::*;
use clap_sys::ext::voice_info::*;
use clap_sys::host::clap_host;
use std::ffi::{CStr, c_char};

macro_rules! extension {
    ($name:ident, $ids:expr, $functions:ty = $value:expr) => {
        #[derive(Clone, Copy)]
        pub(super) struct $name;

        // SAFETY: it stands for the functions below, and holds nothing.
        unsafe impl Extension for $name {
            const IDENTIFIERS: &[&CStr] = $ids;
            type ExtensionSide = HostExtensionSide;

            unsafe fn from_raw(_: RawExtension<Self::ExtensionSide>) -> Self {
                Self
            }
        }

        // SAFETY: the functions are those of the extension of this name.
        unsafe impl ExtensionImplementation<SandrackHost> for $name {
            const IMPLEMENTATION: RawExtensionImplementation = RawExtensionImplementation::new({
                const FUNCTIONS: &$functions = &$value;
                FUNCTIONS
            });
        }
    };
}

extension!(
    ThreadPool,
    &[CLAP_EXT_THREAD_POOL],
    clap_host_thread_pool = clap_host_thread_pool { request_exec: Some(request_exec) }
);
extension!(
    PresetLoad,
    &[CLAP_EXT_PRESET_LOAD, CLAP_EXT_PRESET_LOAD_COMPAT],
    clap_host_preset_load =
        clap_host_preset_load { on_error: Some(preset_on_error), loaded: Some(preset_loaded) }
);
extension!(
    VoiceInfo,
    &[CLAP_EXT_VOICE_INFO],
    clap_host_voice_info = clap_host_voice_info { changed: Some(voices_changed) }
);
extension!(
    NoteNames,
    &[CLAP_EXT_NOTE_NAME],
    clap_host_note_name = clap_host_note_name { changed: Some(note_names_changed) }
);
// clack 0.2 hands out the address of a pointer to the functions: a plugin that calls one crashes.
extension!(
    NotePorts,
    &[CLAP_EXT_NOTE_PORTS],
    clap_host_note_ports = clap_host_note_ports {
        supported_dialects: Some(supported_dialects),
        rescan: Some(note_ports_rescan),
    }
);
extension!(
    AudioPortsConfig,
    &[CLAP_EXT_AUDIO_PORTS_CONFIG],
    clap_host_audio_ports_config = clap_host_audio_ports_config { rescan: Some(config_rescan) }
);
extension!(
    PosixFd,
    &[CLAP_EXT_POSIX_FD_SUPPORT],
    clap_host_posix_fd_support = clap_host_posix_fd_support {
        register_fd: Some(register_fd),
        modify_fd: Some(modify_fd),
        unregister_fd: Some(unregister_fd),
    }
);

/// Does something with what the plugin and its host share.
///
/// # Safety
/// `host` is what the plugin was given.
unsafe fn with(host: *const clap_host, act: impl FnOnce(&Shared)) {
    // SAFETY: as the caller promises; it was made for these handlers.
    unsafe {
        HostWrapper::<SandrackHost>::handle(host, |wrapper| {
            act(&wrapper.shared().0);
            Ok(())
        });
    }
}

unsafe extern "C" fn request_exec(host: *const clap_host, count: u32) -> bool {
    // The pool knows by itself whether this thread is in process().
    let ran = pool::run(count);
    if !ran {
        // SAFETY: the plugin passes what it was given.
        unsafe { with(host, |shared| _ = shared.is_right_thread(Call::ThreadPoolExec)) };
    }
    ran
}

unsafe extern "C" fn preset_on_error(
    host: *const clap_host,
    _kind: u32,
    _location: *const c_char,
    _key: *const c_char,
    os_error: i32,
    message: *const c_char,
) {
    // SAFETY: the plugin passes what it was given, and a text or null.
    unsafe {
        let message = (!message.is_null()).then(|| CStr::from_ptr(message));
        with(host, |shared| shared.preset_failed(os_error, message));
    }
}

unsafe extern "C" fn preset_loaded(
    host: *const clap_host,
    _kind: u32,
    _location: *const c_char,
    _key: *const c_char,
) {
    // SAFETY: the plugin passes what it was given.
    unsafe {
        with(host, |shared| {
            shared.is_right_thread(Call::PresetLoaded);
            shared.raise(&shared.wishes.params);
        });
    }
}

unsafe extern "C" fn voices_changed(host: *const clap_host) {
    // SAFETY: the plugin passes what it was given.
    unsafe {
        with(host, |shared| {
            shared.is_right_thread(Call::VoiceInfoChanged);
            shared.raise(&shared.wishes.params);
        });
    }
}

unsafe extern "C" fn note_names_changed(host: *const clap_host) {
    // SAFETY: the plugin passes what it was given.
    unsafe {
        with(host, |shared| {
            shared.is_right_thread(Call::NoteNameChanged);
            shared.raise(&shared.wishes.params);
        });
    }
}

extern "C" fn supported_dialects(_host: *const clap_host) -> clap_note_dialect {
    CLAP_NOTE_DIALECT_CLAP | CLAP_NOTE_DIALECT_MIDI
}

unsafe extern "C" fn note_ports_rescan(host: *const clap_host, flags: u32) {
    // SAFETY: the plugin passes what it was given.
    unsafe {
        with(host, |shared| {
            shared.is_right_thread(Call::NotePortsRescan);
            // Which ports there are is asked when it is activated.
            if flags & CLAP_NOTE_PORTS_RESCAN_ALL != 0 {
                shared.raise(&shared.wishes.restart);
            }
        });
    }
}

unsafe extern "C" fn config_rescan(host: *const clap_host) {
    // SAFETY: the plugin passes what it was given.
    unsafe {
        with(host, |shared| {
            shared.is_right_thread(Call::AudioPortsConfigRescan);
        });
    }
}

unsafe extern "C" fn register_fd(host: *const clap_host, fd: i32, flags: u32) -> bool {
    let mut done = false;
    // SAFETY: the plugin passes what it was given.
    unsafe { with(host, |shared| done = shared.descriptors.add(shared, fd, flags)) };
    done
}

unsafe extern "C" fn modify_fd(host: *const clap_host, fd: i32, flags: u32) -> bool {
    let mut done = false;
    // SAFETY: the plugin passes what it was given.
    unsafe { with(host, |shared| done = shared.descriptors.change(shared, fd, flags)) };
    done
}

unsafe extern "C" fn unregister_fd(host: *const clap_host, fd: i32) -> bool {
    let mut done = false;
    // SAFETY: the plugin passes what it was given.
    unsafe { with(host, |shared| done = shared.descriptors.remove(fd)) };
    done
}
