//! ASIO's interface as it lies in memory. Structs are packed to 4 bytes, as its header has them.

use std::ffi::c_void;
use windows_sys::core::{GUID, HRESULT};

/// A result.
pub(crate) type Code = i32;
pub(crate) const OK: Code = 0;
/// Yes, of `future`.
pub(crate) const SUCCESS: Code = 0x3f48_47a0;
pub(crate) const NOT_PRESENT: Code = -1000;
pub(crate) const MALFUNCTION: Code = -999;
pub(crate) const INVALID_PARAMETER: Code = -998;
pub(crate) const INVALID_MODE: Code = -997;
pub(crate) const NO_CLOCK: Code = -995;

/// A 64-bit number, upper half first.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Number {
    pub(crate) hi: u32,
    pub(crate) lo: u32,
}

#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub(crate) struct BufferInfo {
    pub(crate) is_input: i32,
    pub(crate) channel: i32,
    pub(crate) buffers: [*mut c_void; 2],
}

#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub(crate) struct ChannelInfo {
    pub(crate) channel: i32,
    pub(crate) is_input: i32,
    pub(crate) is_active: i32,
    pub(crate) group: i32,
    pub(crate) sample_type: i32,
    pub(crate) name: [u8; 32],
}

#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub(crate) struct ClockSource {
    pub(crate) index: i32,
    pub(crate) channel: i32,
    pub(crate) group: i32,
    pub(crate) is_current: i32,
    pub(crate) name: [u8; 32],
}

#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub(crate) struct TimeInfo {
    pub(crate) speed: f64,
    pub(crate) system_time: Number,
    pub(crate) sample_position: Number,
    pub(crate) sample_rate: f64,
    pub(crate) flags: u32,
    pub(crate) reserved: [u8; 12],
}

pub(crate) const SYSTEM_TIME_VALID: u32 = 1;
pub(crate) const SAMPLE_POSITION_VALID: u32 = 2;
pub(crate) const SAMPLE_RATE_VALID: u32 = 4;

#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub(crate) struct TimeCode {
    pub(crate) speed: f64,
    pub(crate) samples: Number,
    pub(crate) flags: u32,
    pub(crate) reserved: [u8; 64],
}

#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub(crate) struct Time {
    pub(crate) reserved: [i32; 4],
    pub(crate) info: TimeInfo,
    pub(crate) code: TimeCode,
}

const _: () = {
    assert!(size_of::<BufferInfo>() == 24);
    assert!(size_of::<ChannelInfo>() == 52);
    assert!(size_of::<ClockSource>() == 48);
    assert!(size_of::<TimeInfo>() == 48);
    assert!(size_of::<Time>() == 16 + 48 + 84 && align_of::<Time>() == 4);
};

/// What a host gives the driver to call. By the book none is missing, so that a host which leaves
/// one out crashes here as it does with other drivers.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Callbacks {
    pub(crate) buffer_switch: unsafe extern "C" fn(i32, i32),
    pub(crate) sample_rate_did_change: unsafe extern "C" fn(f64),
    pub(crate) message: unsafe extern "C" fn(i32, i32, *mut c_void, *mut f64) -> i32,
    pub(crate) buffer_switch_time_info: unsafe extern "C" fn(*mut Time, i32, i32) -> *mut Time,
}

/// What a driver asks or tells its host.
pub(crate) mod message {
    pub(crate) const SELECTOR_SUPPORTED: i32 = 1;
    pub(crate) const ENGINE_VERSION: i32 = 2;
    pub(crate) const RESET_REQUEST: i32 = 3;
    pub(crate) const BUFFER_SIZE_CHANGE: i32 = 4;
    pub(crate) const RESYNC_REQUEST: i32 = 5;
    pub(crate) const LATENCIES_CHANGED: i32 = 6;
    pub(crate) const SUPPORTS_TIME_INFO: i32 = 7;
    pub(crate) const OVERLOAD: i32 = 15;
}

/// What a host asks by `future`.
pub(crate) mod selector {
    pub(crate) const SET_INPUT_MONITOR: i32 = 3;
    pub(crate) const CAN_INPUT_MONITOR: i32 = 9;
    pub(crate) const CAN_TIME_INFO: i32 = 10;
}

type This = *mut c_void;

/// The methods, in order. (`thiscall` and the C convention are one for 64-bit programs.)
#[repr(C)]
pub(crate) struct Methods {
    pub(crate) query: unsafe extern "C" fn(This, *const GUID, *mut *mut c_void) -> HRESULT,
    pub(crate) add_ref: unsafe extern "C" fn(This) -> u32,
    pub(crate) release: unsafe extern "C" fn(This) -> u32,
    pub(crate) init: unsafe extern "C" fn(This, *mut c_void) -> i32,
    pub(crate) driver_name: unsafe extern "C" fn(This, *mut u8),
    pub(crate) driver_version: unsafe extern "C" fn(This) -> i32,
    pub(crate) error_message: unsafe extern "C" fn(This, *mut u8),
    pub(crate) start: unsafe extern "C" fn(This) -> Code,
    pub(crate) stop: unsafe extern "C" fn(This) -> Code,
    pub(crate) channels: unsafe extern "C" fn(This, *mut i32, *mut i32) -> Code,
    pub(crate) latencies: unsafe extern "C" fn(This, *mut i32, *mut i32) -> Code,
    pub(crate) buffer_size:
        unsafe extern "C" fn(This, *mut i32, *mut i32, *mut i32, *mut i32) -> Code,
    pub(crate) can_sample_rate: unsafe extern "C" fn(This, f64) -> Code,
    pub(crate) get_sample_rate: unsafe extern "C" fn(This, *mut f64) -> Code,
    pub(crate) set_sample_rate: unsafe extern "C" fn(This, f64) -> Code,
    pub(crate) clock_sources: unsafe extern "C" fn(This, *mut ClockSource, *mut i32) -> Code,
    pub(crate) set_clock_source: unsafe extern "C" fn(This, i32) -> Code,
    pub(crate) sample_position: unsafe extern "C" fn(This, *mut Number, *mut Number) -> Code,
    pub(crate) channel_info: unsafe extern "C" fn(This, *mut ChannelInfo) -> Code,
    pub(crate) create_buffers:
        unsafe extern "C" fn(This, *mut BufferInfo, i32, i32, *const Callbacks) -> Code,
    pub(crate) dispose_buffers: unsafe extern "C" fn(This) -> Code,
    pub(crate) control_panel: unsafe extern "C" fn(This) -> Code,
    pub(crate) future: unsafe extern "C" fn(This, i32, *mut c_void) -> Code,
    pub(crate) output_ready: unsafe extern "C" fn(This) -> Code,
}
