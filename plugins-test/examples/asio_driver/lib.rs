//! A virtual ASIO driver, to test hosts with: a real COM library in Windows' list of ASIO drivers,
//! without hardware. What is played comes back at its inputs, to the bit, two blocks later. Its
//! sizes, rates, formats, clock and misbehaviour are set in a line of text; docs/asio.md has all.
//!
//! Written from the interface's layout, without Steinberg's SDK and without the declarations that
//! Sandrack's own host side uses: were one of the two wrong, they would not fit.
//!
//! | file | is |
//! |---|---|
//! | `abi` | methods and structs of ASIO |
//! | `com` | the object that hosts see, its factory |
//! | `device` | what its methods do |
//! | `playback` | its audio thread |
//! | `samples` | from one format to another |
//! | `settings` | the line of text |
//! | `memory` | what outlasts an instance: what is set in the control panel, what has happened |
//! | `register` | entering itself into Windows' lists |
//!
//! # Threads
//! Methods are called on the host's apartment thread; `outputReady` and `getSamplePosition` also
//! inside callbacks, which come from the audio thread.
//!
//! # Safety
//! Functions exported by name: the names are COM's, or begin with `sandrack_`.
#![cfg(windows)]
#![allow(unsafe_code)]

mod abi;
mod com;
mod device;
mod memory;
mod playback;
mod register;
mod samples;
mod settings;

use std::ffi::c_void;
use windows_sys::core::{GUID, HRESULT};

/// Class of the driver and, as ASIO has it, id of its interface.
const CLASS: GUID = GUID::from_u128(0x5a4d7a3c_91e0_4c5e_9d0b_0f2b8f7a1660);

/// For COM: the factory of the class.
///
/// # Safety
/// As COM has it: two ids to be read, a pointer to be written.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn DllGetClassObject(
    class: *const GUID,
    id: *const GUID,
    object: *mut *mut c_void,
) -> HRESULT {
    // SAFETY: the caller's promise.
    unsafe { com::factory(class, id, object) }
}

/// For COM: whether nobody uses the library. Never: late callbacks may still be under way.
#[unsafe(no_mangle)]
pub extern "system" fn DllCanUnloadNow() -> HRESULT {
    const S_FALSE: HRESULT = 1;
    S_FALSE
}

/// For `regsvr32 FILE`: enters the driver into the lists of classes and of ASIO drivers.
#[unsafe(no_mangle)]
pub extern "system" fn DllRegisterServer() -> HRESULT {
    register::register()
}

/// For `regsvr32 /u FILE`.
#[unsafe(no_mangle)]
pub extern "system" fn DllUnregisterServer() -> HRESULT {
    register::unregister()
}

/// For tests: how often something has happened in this process since the settings were last
/// changed (see [`memory::Count`] for the numbers).
#[unsafe(no_mangle)]
pub extern "system" fn sandrack_asio_count(what: u32) -> u64 {
    memory::count_of(what)
}
