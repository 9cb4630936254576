//! Libraries, and how VST3 begins and ends with one: `LoadLibrary`, `InitDll`, `ExitDll`.
//!
//! # Safety
//! Loading a library and calling its entry functions runs code that may do anything: that is what
//! workers are for. The functions' signatures are those of the VST3 SDK. A library is never
//! unloaded, so that no address taken from it becomes stale.
#![allow(unsafe_code)]

use crate::sys::image::Image;
use libloading::os::windows::{LOAD_WITH_ALTERED_SEARCH_PATH, Library as Loaded, Symbol};
use std::ffi::{c_char, c_void};
use std::mem::ManuallyDrop;
use std::path::Path;
use windows_sys::Win32::System::Diagnostics::Debug::{
    SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX, SEM_NOOPENFILEERRORBOX, SetErrorMode,
};

/// Extension of libraries on this system (a VST3 bundle's has the format's own).
pub const EXTENSION: &str = "vst3";

/// What VST3 calls a library's entry function here.
pub const VST3_ENTRY: &str = "InitDll";

/// The folder within a VST3 bundle where this system's library lies.
pub fn vst3_folder() -> String {
    match std::env::consts::ARCH {
        "aarch64" => "arm64-win".into(),
        arch => format!("{arch}-win"),
    }
}

/// Whether a file that begins like this can be loaded here; the error says what it is instead.
pub fn check(image: &Image) -> Result<(), String> {
    match image {
        Image::Pe(machine) => machine.check(),
        other => Err(other.to_string()),
    }
}

/// A library in this process. It stays when the value is dropped: plugins leave threads and exit
/// handlers behind that run its code.
#[derive(Debug)]
pub struct Library {
    handle: isize,
    loaded: ManuallyDrop<Loaded>,
}

impl Library {
    /// Loads it, which runs its initialisers. Once loaded, it is the same for all who load it.
    /// The error is on one line.
    pub fn open(path: &Path) -> Result<Self, String> {
        // What a library lacks, and a crash, is told to the host: no dialog waits for a click.
        // SAFETY: sets a mode of this process.
        unsafe {
            SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX)
        };
        // The libraries beside it are found by it.
        // SAFETY: running the library's code is the purpose; the worker contains what it does.
        let loaded = unsafe { Loaded::load_with_flags(path, LOAD_WITH_ALTERED_SEARCH_PATH) }
            .map_err(|error| reason(&error))?;
        let handle = loaded.into_raw();
        // SAFETY: the handle is the one just taken out.
        let loaded = ManuallyDrop::new(unsafe { Loaded::from_raw(handle) });
        Ok(Self { handle: handle as isize, loaded })
    }

    /// What tells it from other libraries.
    pub fn identity(&self) -> usize {
        self.handle as usize
    }

    /// The address of something it exports.
    pub fn address(&self, name: &str) -> Option<*mut c_void> {
        // SAFETY: only the address is taken, whatever there is.
        let symbol: Symbol<*mut c_void> = unsafe { self.loaded.get(name.as_bytes()) }.ok()?;
        Some(symbol.into_raw().map_or(std::ptr::null_mut(), |a| a as *mut c_void))
            .filter(|address| !address.is_null())
    }

    /// Begins with it as a VST3 module. False: it refused.
    pub fn enter_vst3(&self) -> bool {
        // Here the SDK leaves it to the library whether it has the function.
        let Some(address) = self.address(VST3_ENTRY) else { return true };
        // C++'s bool is a byte; one that is neither 0 nor 1 must not become a `bool`.
        type Init = unsafe extern "system" fn() -> c_char;
        // SAFETY: the VST3 SDK defines what is exported by this name.
        unsafe { std::mem::transmute::<*mut c_void, Init>(address)() != 0 }
    }

    /// Ends with it as a VST3 module.
    pub fn exit_vst3(&self) {
        let Some(address) = self.address("ExitDll") else { return };
        type Exit = unsafe extern "system" fn() -> c_char;
        // SAFETY: as in `enter_vst3`.
        unsafe { std::mem::transmute::<*mut c_void, Exit>(address)() };
    }
}

/// Why it could not be loaded: `libloading`'s own text leaves out what the system said.
fn reason(error: &libloading::Error) -> String {
    use std::error::Error;
    let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    text.replace(['\n', '\r'], " ").trim().to_owned()
}
