//! libjack, loaded when it is first asked for: its C interface as far as it is used here.
//!
//! The `jack` crate is not used because its build asks pkg-config for libjack's headers even where it
//! loads the library at run time; this program builds without them, and runs without libjack.
//!
//! # Safety
//! The declarations are those of JACK's public headers (`jack.h`, `types.h`, `transport.h`,
//! `midiport.h`), which JACK1, JACK2 and PipeWire share and keep stable. A function pointer is taken
//! from the library under the name that its field has, and the library is never unloaded. Callers
//! keep to what each function asks for: [`client`](super::client) and [`process`](super::process)
//! are the only ones.
#![allow(unsafe_code)]
#![allow(non_camel_case_types)]

use std::ffi::{CStr, c_char, c_double, c_float, c_int, c_ulong, c_void};
use std::sync::OnceLock;

/// A client, known by its address.
#[repr(C)]
pub(super) struct jack_client_t(c_void);

/// A port, known by its address.
#[repr(C)]
pub(super) struct jack_port_t(c_void);

/// Bits of `jack_client_open`'s options.
pub(super) mod option {
    pub(in super::super) const NO_START_SERVER: i32 = 0x01;
    pub(in super::super) const SERVER_NAME: i32 = 0x04;
}

/// Bits of what `jack_client_open` says of itself.
pub(super) mod status {
    pub(in super::super) const SERVER_FAILED: i32 = 0x10;
    pub(in super::super) const SHM_FAILURE: i32 = 0x200;
    pub(in super::super) const VERSION_ERROR: i32 = 0x400;
}

/// Bits of what a port is.
pub(super) mod port_flag {
    use std::ffi::c_ulong;

    pub(in super::super) const INPUT: c_ulong = 0x1;
    pub(in super::super) const OUTPUT: c_ulong = 0x2;
    pub(in super::super) const PHYSICAL: c_ulong = 0x4;
}

/// Types of ports.
pub(super) const AUDIO: &CStr = c"32 bit float mono audio";
pub(super) const MIDI: &CStr = c"8 bit raw midi";

/// `jack_transport_state_t`: the position moves.
pub(super) const TRANSPORT_ROLLING: c_int = 1;

/// Bits of [`jack_position_t::valid`].
pub(super) mod position {
    pub(in super::super) const BBT: u32 = 0x10;
    pub(in super::super) const BBT_FRAME_OFFSET: u32 = 0x40;
    pub(in super::super) const TICK_DOUBLE: u32 = 0x200;
}

/// Where the song is. Packed on those architectures on which JACK's headers pack it.
#[cfg_attr(
    not(any(
        target_arch = "arm",
        target_arch = "aarch64",
        target_arch = "mips",
        target_arch = "powerpc",
        target_arch = "powerpc64"
    )),
    repr(C, packed)
)]
#[cfg_attr(
    any(
        target_arch = "arm",
        target_arch = "aarch64",
        target_arch = "mips",
        target_arch = "powerpc",
        target_arch = "powerpc64"
    ),
    repr(C)
)]
#[derive(Clone, Copy, Default)]
pub(super) struct jack_position_t {
    pub(super) unique_1: u64,
    pub(super) usecs: u64,
    pub(super) frame_rate: u32,
    pub(super) frame: u32,
    pub(super) valid: u32,
    pub(super) bar: i32,
    pub(super) beat: i32,
    pub(super) tick: i32,
    pub(super) bar_start_tick: c_double,
    pub(super) beats_per_bar: c_float,
    pub(super) beat_type: c_float,
    pub(super) ticks_per_beat: c_double,
    pub(super) beats_per_minute: c_double,
    pub(super) frame_time: c_double,
    pub(super) next_time: c_double,
    pub(super) bbt_offset: u32,
    pub(super) audio_frames_per_video_frame: c_float,
    pub(super) video_offset: u32,
    pub(super) tick_double: c_double,
    pub(super) padding: [i32; 5],
    pub(super) unique_2: u64,
}

/// A range of latencies in frames. Two fields of four bytes lie the same, packed or not.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct jack_latency_range_t {
    pub(super) min: u32,
    pub(super) max: u32,
}

/// `jack_latency_callback_mode_t`.
pub(super) const CAPTURE_LATENCY: c_int = 0;
pub(super) const PLAYBACK_LATENCY: c_int = 1;

/// A MIDI message of a port's buffer.
#[repr(C)]
pub(super) struct jack_midi_event_t {
    pub(super) time: u32,
    pub(super) size: usize,
    pub(super) buffer: *mut u8,
}

/// `JackProcessCallback`, `JackBufferSizeCallback`, `JackSampleRateCallback`. JACK2 may cancel
/// the thread that runs it, which unwinds it.
pub(super) type FramesCallback = unsafe extern "C-unwind" fn(u32, *mut c_void) -> c_int;
pub(super) type XrunCallback = unsafe extern "C" fn(*mut c_void) -> c_int;
pub(super) type FreewheelCallback = unsafe extern "C" fn(c_int, *mut c_void);
pub(super) type LatencyCallback = unsafe extern "C" fn(c_int, *mut c_void);
pub(super) type RegistrationCallback = unsafe extern "C" fn(u32, c_int, *mut c_void);
pub(super) type ShutdownCallback = unsafe extern "C" fn(c_int, *const c_char, *mut c_void);
pub(super) type LogFunction = unsafe extern "C" fn(*const c_char);

/// Declares the functions, and how all of them are found.
macro_rules! functions {
    ($($name:ident: $type:ty;)*) => {
        /// libjack's functions.
        pub(super) struct Library {
            $(pub(super) $name: $type,)*
        }

        impl Library {
            fn load() -> Result<Self, String> {
                // SAFETY: libjack's initialisers are those of an ordinary library.
                let library = unsafe { libloading::Library::new(FILE) }
                    .map_err(|e| format!("{FILE} can't be loaded ({e})"))?;
                let found = Self {
                    $(
                        // SAFETY: the type is that of the function of this name in JACK's headers.
                        $name: *unsafe { library.get::<$type>(stringify!($name).as_bytes()) }
                            .map_err(|_| format!(
                                "{FILE} is too old: it has no {}", stringify!($name)
                            ))?,
                    )*
                };
                // Its threads may run until the process ends.
                std::mem::forget(library);
                Ok(found)
            }
        }
    };
}

type Client = *mut jack_client_t;
type Port = *mut jack_port_t;

functions! {
    jack_client_open: unsafe extern "C" fn(*const c_char, c_int, *mut c_int, ...) -> Client;
    jack_client_close: unsafe extern "C" fn(Client) -> c_int;
    jack_get_client_name: unsafe extern "C" fn(Client) -> *const c_char;
    jack_activate: unsafe extern "C" fn(Client) -> c_int;
    jack_deactivate: unsafe extern "C" fn(Client) -> c_int;
    jack_get_sample_rate: unsafe extern "C" fn(Client) -> u32;
    jack_get_buffer_size: unsafe extern "C" fn(Client) -> u32;
    jack_set_buffer_size: unsafe extern "C" fn(Client, u32) -> c_int;
    jack_get_time: unsafe extern "C" fn() -> u64;
    jack_get_cycle_times:
        unsafe extern "C" fn(Client, *mut u32, *mut u64, *mut u64, *mut c_float) -> c_int;
    jack_is_realtime: unsafe extern "C" fn(Client) -> c_int;
    jack_set_process_callback: unsafe extern "C" fn(Client, FramesCallback, *mut c_void) -> c_int;
    jack_set_buffer_size_callback:
        unsafe extern "C" fn(Client, FramesCallback, *mut c_void) -> c_int;
    jack_set_sample_rate_callback:
        unsafe extern "C" fn(Client, FramesCallback, *mut c_void) -> c_int;
    jack_set_xrun_callback: unsafe extern "C" fn(Client, XrunCallback, *mut c_void) -> c_int;
    jack_set_freewheel_callback:
        unsafe extern "C" fn(Client, FreewheelCallback, *mut c_void) -> c_int;
    jack_set_latency_callback: unsafe extern "C" fn(Client, LatencyCallback, *mut c_void) -> c_int;
    jack_set_port_registration_callback:
        unsafe extern "C" fn(Client, RegistrationCallback, *mut c_void) -> c_int;
    jack_on_info_shutdown: unsafe extern "C" fn(Client, ShutdownCallback, *mut c_void);
    jack_set_error_function: unsafe extern "C" fn(LogFunction);
    jack_set_info_function: unsafe extern "C" fn(LogFunction);
    jack_port_register:
        unsafe extern "C" fn(Client, *const c_char, *const c_char, c_ulong, c_ulong) -> Port;
    jack_port_get_buffer: unsafe extern "C" fn(Port, u32) -> *mut c_void;
    jack_port_name: unsafe extern "C" fn(Port) -> *const c_char;
    jack_port_by_name: unsafe extern "C" fn(Client, *const c_char) -> Port;
    jack_port_by_id: unsafe extern "C" fn(Client, u32) -> Port;
    jack_port_name_size: unsafe extern "C" fn() -> c_int;
    jack_port_get_aliases: unsafe extern "C" fn(Port, *const *mut c_char) -> c_int;
    jack_port_get_all_connections: unsafe extern "C" fn(Client, Port) -> *mut *const c_char;
    jack_port_get_latency_range:
        unsafe extern "C" fn(Port, c_int, *mut jack_latency_range_t);
    jack_port_set_latency_range:
        unsafe extern "C" fn(Port, c_int, *mut jack_latency_range_t);
    jack_recompute_total_latencies: unsafe extern "C" fn(Client) -> c_int;
    jack_get_ports:
        unsafe extern "C" fn(Client, *const c_char, *const c_char, c_ulong) -> *mut *const c_char;
    jack_connect: unsafe extern "C" fn(Client, *const c_char, *const c_char) -> c_int;
    jack_disconnect: unsafe extern "C" fn(Client, *const c_char, *const c_char) -> c_int;
    jack_free: unsafe extern "C" fn(*mut c_void);
    jack_transport_query: unsafe extern "C" fn(Client, *mut jack_position_t) -> c_int;
    jack_midi_get_event_count: unsafe extern "C" fn(*mut c_void) -> u32;
    jack_midi_event_get: unsafe extern "C" fn(*mut jack_midi_event_t, *mut c_void, u32) -> c_int;
    jack_midi_clear_buffer: unsafe extern "C" fn(*mut c_void);
    jack_midi_event_write: unsafe extern "C" fn(*mut c_void, u32, *const u8, usize) -> c_int;
}

/// The file that JACK's and PipeWire's packages have in common.
const FILE: &str = "libjack.so.0";

/// libjack; `Err`: why it can't be used, and what to do.
pub(super) fn library() -> Result<&'static Library, String> {
    static LIBRARY: OnceLock<Result<Library, String>> = OnceLock::new();
    let loaded = LIBRARY.get_or_init(|| {
        let library = Library::load()?;
        // SAFETY: `log` may be called from any thread, at any time.
        unsafe {
            (library.jack_set_error_function)(log);
            (library.jack_set_info_function)(log);
        }
        Ok(library)
    });
    let advice = "install JACK (Debian: jackd2) or PipeWire's replacement (pipewire-jack)";
    loaded.as_ref().map_err(|why| format!("{why}: {advice}"))
}

/// What libjack would print. It queues what its realtime threads say.
unsafe extern "C" fn log(text: *const c_char) {
    if !text.is_null() {
        // SAFETY: libjack gives a C string that outlives the call.
        let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
        tracing::debug!("libjack: {}", text.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_position_lies_as_in_the_c_header() {
        assert_eq!(offset_of!(jack_position_t, bar), 28);
        assert_eq!(offset_of!(jack_position_t, bar_start_tick), 40);
        assert_eq!(offset_of!(jack_position_t, beats_per_minute), 64);
        assert_eq!(offset_of!(jack_position_t, tick_double), 100);
        assert_eq!(size_of::<jack_position_t>(), 136);
    }
}
