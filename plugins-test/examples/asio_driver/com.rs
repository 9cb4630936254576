//! The COM side: a factory, objects with counted references, and methods that lead to [`Device`].
//!
//! # Safety
//! An object is a box that its references share; the last `Release` drops it. COM's and ASIO's
//! callers promise that `this` is such an object and that other pointers are valid for what ASIO
//! says is read or written there; what may be missing is checked.
#![allow(unsafe_code)]

use crate::CLASS;
use crate::abi::{BufferInfo, Callbacks, ChannelInfo, ClockSource, Code, Methods, Number};
use crate::device::Device;
use crate::memory;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};
use windows_sys::Win32::UI::WindowsAndMessaging::IsWindow;
use windows_sys::core::{GUID, HRESULT};

const IUNKNOWN: GUID = GUID::from_u128(0x00000000_0000_0000_c000_000000000046);
const ICLASS_FACTORY: GUID = GUID::from_u128(0x00000001_0000_0000_c000_000000000046);
const S_OK: HRESULT = 0;
const E_NOINTERFACE: HRESULT = 0x8000_4002_u32 as i32;
const E_POINTER: HRESULT = 0x8000_4003_u32 as i32;
const CLASS_NOT_AVAILABLE: HRESULT = 0x8004_0111_u32 as i32;
const NO_AGGREGATION: HRESULT = 0x8004_0110_u32 as i32;

fn same(a: &GUID, b: &GUID) -> bool {
    (a.data1, a.data2, a.data3, a.data4) == (b.data1, b.data2, b.data3, b.data4)
}

#[repr(C)]
struct Factory {
    methods: &'static FactoryMethods,
}

#[repr(C)]
struct FactoryMethods {
    query: unsafe extern "C" fn(*mut c_void, *const GUID, *mut *mut c_void) -> HRESULT,
    add_ref: unsafe extern "C" fn(*mut c_void) -> u32,
    release: unsafe extern "C" fn(*mut c_void) -> u32,
    create:
        unsafe extern "C" fn(*mut c_void, *mut c_void, *const GUID, *mut *mut c_void) -> HRESULT,
    lock: unsafe extern "C" fn(*mut c_void, i32) -> HRESULT,
}

/// One for all, never dropped: its references need no counting.
static FACTORY: Factory = Factory {
    methods: &FactoryMethods {
        query: query_factory,
        add_ref: one,
        release: one,
        create,
        lock: lock_server,
    },
};

unsafe extern "C" fn one(_: *mut c_void) -> u32 {
    1
}

unsafe extern "C" fn lock_server(_: *mut c_void, _: i32) -> HRESULT {
    S_OK
}

/// # Safety
/// See [`crate::DllGetClassObject`].
pub(crate) unsafe fn factory(
    class: *const GUID,
    id: *const GUID,
    object: *mut *mut c_void,
) -> HRESULT {
    if class.is_null() || id.is_null() || object.is_null() {
        return E_POINTER;
    }
    // SAFETY: not null, and the caller's promise.
    if !same(unsafe { &*class }, &CLASS) {
        return CLASS_NOT_AVAILABLE;
    }
    // SAFETY: as above.
    unsafe { query_factory((&raw const FACTORY).cast_mut().cast(), id, object) }
}

unsafe extern "C" fn query_factory(
    this: *mut c_void,
    id: *const GUID,
    object: *mut *mut c_void,
) -> HRESULT {
    // SAFETY: the caller's promise.
    unsafe {
        let known = same(&*id, &IUNKNOWN) || same(&*id, &ICLASS_FACTORY);
        *object = if known { this } else { std::ptr::null_mut() };
        if known { S_OK } else { E_NOINTERFACE }
    }
}

unsafe extern "C" fn create(
    _: *mut c_void,
    outer: *mut c_void,
    id: *const GUID,
    object: *mut *mut c_void,
) -> HRESULT {
    if !outer.is_null() {
        return NO_AGGREGATION;
    }
    let made = Box::new(Object {
        methods: &METHODS,
        references: AtomicU32::new(1),
        device: Device::new(),
    });
    let this: *mut c_void = Box::into_raw(made).cast();
    // SAFETY: the object was just made; the caller's promise for the rest.
    unsafe {
        let result = query(this, id, object);
        release(this);
        result
    }
}

#[repr(C)]
struct Object {
    methods: &'static Methods,
    references: AtomicU32,
    device: Device,
}

unsafe extern "C" fn query(
    this: *mut c_void,
    id: *const GUID,
    object: *mut *mut c_void,
) -> HRESULT {
    // SAFETY: the caller's promise.
    unsafe {
        if same(&*id, &IUNKNOWN) || same(&*id, &CLASS) {
            add_ref(this);
            *object = this;
            return S_OK;
        }
        *object = std::ptr::null_mut();
        E_NOINTERFACE
    }
}

unsafe extern "C" fn add_ref(this: *mut c_void) -> u32 {
    // SAFETY: the caller's promise.
    let object = unsafe { &*this.cast::<Object>() };
    object.references.fetch_add(1, Ordering::Relaxed) + 1
}

unsafe extern "C" fn release(this: *mut c_void) -> u32 {
    // SAFETY: the caller's promise.
    let left = unsafe { &*this.cast::<Object>() }.references.fetch_sub(1, Ordering::AcqRel) - 1;
    if left == 0 {
        // SAFETY: this was the last reference to what `create` made.
        drop(unsafe { Box::from_raw(this.cast::<Object>()) });
    }
    left
}

/// # Safety
/// `this` is an object that is there.
unsafe fn device<'a>(this: *mut c_void) -> &'a Device {
    // SAFETY: the caller's promise.
    unsafe { &(*this.cast::<Object>()).device }
}

/// # Safety
/// `to` is null or may be written.
unsafe fn put<T>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: the caller's promise; alignment is not promised.
        unsafe { to.write_unaligned(value) };
    }
}

/// Writes what came out, if it is well.
///
/// # Safety
/// As of [`put`].
unsafe fn put_both<T>(result: Result<(T, T), Code>, one: *mut T, other: *mut T) -> Code {
    match result {
        Ok((a, b)) => {
            // SAFETY: the caller's promise.
            unsafe {
                put(one, a);
                put(other, b);
            }
            ok()
        }
        Err(code) => code,
    }
}

fn code(result: Result<(), Code>) -> Code {
    result.err().unwrap_or_else(ok)
}

/// By the book 0.
fn ok() -> Code {
    memory::OK.load(Ordering::Relaxed)
}

// SAFETY, of all blocks below: see the top of the file.
static METHODS: Methods = Methods {
    query,
    add_ref,
    release,
    init: {
        unsafe extern "C" fn init(this: *mut c_void, window: *mut c_void) -> i32 {
            // SAFETY: see the top of the file; any handle may be asked about.
            unsafe { device(this).init(IsWindow(window) != 0) }
        }
        init
    },
    driver_name: {
        unsafe extern "C" fn name(this: *mut c_void, to: *mut u8) {
            // SAFETY: see the top of the file; hosts have room for 32.
            unsafe { std::ptr::copy_nonoverlapping(device(this).name().as_ptr(), to, 32) }
        }
        name
    },
    driver_version: {
        unsafe extern "C" fn version(_: *mut c_void) -> i32 {
            1
        }
        version
    },
    error_message: {
        unsafe extern "C" fn message(this: *mut c_void, to: *mut u8) {
            // SAFETY: see the top of the file; hosts have room for 124.
            unsafe {
                let text = device(this).error();
                let text = &text.as_bytes()[..text.len().min(123)];
                std::ptr::copy_nonoverlapping(text.as_ptr(), to, text.len());
                to.add(text.len()).write(0);
            }
        }
        message
    },
    start: {
        unsafe extern "C" fn start(this: *mut c_void) -> Code {
            // SAFETY: see the top of the file.
            code(unsafe { device(this) }.start())
        }
        start
    },
    stop: {
        unsafe extern "C" fn stop(this: *mut c_void) -> Code {
            // SAFETY: see the top of the file.
            code(unsafe { device(this) }.stop())
        }
        stop
    },
    channels: {
        unsafe extern "C" fn channels(this: *mut c_void, ins: *mut i32, outs: *mut i32) -> Code {
            // SAFETY: see the top of the file.
            unsafe { put_both(device(this).channels(), ins, outs) }
        }
        channels
    },
    latencies: {
        unsafe extern "C" fn latencies(this: *mut c_void, ins: *mut i32, outs: *mut i32) -> Code {
            // SAFETY: see the top of the file.
            unsafe { put_both(device(this).latencies(), ins, outs) }
        }
        latencies
    },
    buffer_size: {
        unsafe extern "C" fn size(
            this: *mut c_void,
            min: *mut i32,
            max: *mut i32,
            preferred: *mut i32,
            granularity: *mut i32,
        ) -> Code {
            // SAFETY: see the top of the file.
            unsafe {
                match device(this).sizes() {
                    Ok([a, b, c, d]) => {
                        put(min, a);
                        put(max, b);
                        put(preferred, c);
                        put(granularity, d);
                        ok()
                    }
                    Err(code) => code,
                }
            }
        }
        size
    },
    can_sample_rate: {
        unsafe extern "C" fn can(this: *mut c_void, rate: f64) -> Code {
            // SAFETY: see the top of the file.
            code(unsafe { device(this) }.can_rate(rate))
        }
        can
    },
    get_sample_rate: {
        unsafe extern "C" fn get(this: *mut c_void, to: *mut f64) -> Code {
            // SAFETY: see the top of the file.
            unsafe { code(device(this).rate().map(|rate| put(to, f64::from(rate)))) }
        }
        get
    },
    set_sample_rate: {
        unsafe extern "C" fn set(this: *mut c_void, rate: f64) -> Code {
            // SAFETY: see the top of the file.
            code(unsafe { device(this) }.set_rate(rate))
        }
        set
    },
    clock_sources: {
        unsafe extern "C" fn clocks(
            this: *mut c_void,
            to: *mut ClockSource,
            count: *mut i32,
        ) -> Code {
            // SAFETY: see the top of the file.
            unsafe {
                let (clocks, said) = device(this).clocks();
                let room = usize::try_from(count.read_unaligned()).unwrap_or(0);
                for (at, clock) in clocks.into_iter().take(room).enumerate() {
                    to.add(at).write_unaligned(clock);
                }
                put(count, said);
            }
            ok()
        }
        clocks
    },
    set_clock_source: {
        unsafe extern "C" fn set(this: *mut c_void, index: i32) -> Code {
            // SAFETY: see the top of the file.
            code(unsafe { device(this) }.set_clock(index))
        }
        set
    },
    sample_position: {
        unsafe extern "C" fn position(
            this: *mut c_void,
            position: *mut Number,
            stamp: *mut Number,
        ) -> Code {
            // SAFETY: see the top of the file.
            unsafe { put_both(device(this).position(), position, stamp) }
        }
        position
    },
    channel_info: {
        unsafe extern "C" fn info(this: *mut c_void, info: *mut ChannelInfo) -> Code {
            // SAFETY: see the top of the file.
            unsafe {
                let mut filled = info.read_unaligned();
                let result = device(this).channel(&mut filled);
                info.write_unaligned(filled);
                code(result)
            }
        }
        info
    },
    create_buffers: {
        unsafe extern "C" fn create(
            this: *mut c_void,
            infos: *mut BufferInfo,
            channels: i32,
            frames: i32,
            callbacks: *const Callbacks,
        ) -> Code {
            if infos.is_null() || callbacks.is_null() || channels < 1 {
                return crate::abi::INVALID_PARAMETER;
            }
            // SAFETY: see the top of the file.
            unsafe {
                let infos = std::slice::from_raw_parts_mut(infos, channels as usize);
                code(device(this).create_buffers(infos, frames, callbacks.read_unaligned()))
            }
        }
        create
    },
    dispose_buffers: {
        unsafe extern "C" fn dispose(this: *mut c_void) -> Code {
            // SAFETY: see the top of the file.
            code(unsafe { device(this) }.dispose_buffers())
        }
        dispose
    },
    control_panel: {
        unsafe extern "C" fn panel(this: *mut c_void) -> Code {
            // SAFETY: see the top of the file.
            code(unsafe { device(this) }.panel())
        }
        panel
    },
    future: {
        unsafe extern "C" fn future(this: *mut c_void, selector: i32, option: *mut c_void) -> Code {
            // SAFETY: see the top of the file. The one struct that is read has its state as the
            // fourth of five numbers.
            unsafe {
                let on = match option.is_null() {
                    true => None,
                    false => Some(option.cast::<[i32; 5]>().read_unaligned()[3] != 0),
                };
                device(this).future(selector, on)
            }
        }
        future
    },
    output_ready: {
        unsafe extern "C" fn ready(this: *mut c_void) -> Code {
            // SAFETY: see the top of the file.
            code(unsafe { device(this) }.output_ready())
        }
        ready
    },
};
