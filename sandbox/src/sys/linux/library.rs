//! Libraries, and how VST3 begins and ends with one: `dlopen`, `ModuleEntry`, `ModuleExit`.
//!
//! # Safety
//! Loading a library and calling its entry functions runs code that may do anything: that is what
//! workers are for. The functions' signatures are those of the VST3 SDK. A library is never
//! unloaded, so that no address taken from it becomes stale.
#![allow(unsafe_code)]

use crate::sys::image::Image;
use libloading::os::unix::{Library as Loaded, Symbol};
use std::ffi::{c_char, c_void};
use std::mem::ManuallyDrop;
use std::path::Path;

/// Extension of libraries on this system.
pub const EXTENSION: &str = "so";

/// What VST3 calls a library's entry function here.
pub const VST3_ENTRY: &str = "ModuleEntry";

/// The folder within a VST3 bundle where this system's library lies.
pub fn vst3_folder() -> String {
    format!("{}-linux", std::env::consts::ARCH)
}

/// Whether a file that begins like this can be loaded here; the error says what it is instead.
pub fn check(image: &Image) -> Result<(), String> {
    match image {
        Image::Elf(machine) => machine.check(),
        other => Err(other.to_string()),
    }
}

/// A library in this process. It stays when the value is dropped: plugins leave threads and exit
/// handlers behind that run its code.
#[derive(Debug)]
pub struct Library {
    handle: *mut c_void,
    loaded: ManuallyDrop<Loaded>,
}

impl Library {
    /// Loads it, which runs its initialisers. Once loaded, it is the same for all who load it.
    /// The error is on one line.
    pub fn open(path: &Path) -> Result<Self, String> {
        // SAFETY: running the library's code is the purpose; the worker contains what it does.
        let loaded = unsafe { Loaded::new(path) }.map_err(|e| e.to_string().replace('\n', " "))?;
        let handle = loaded.into_raw();
        // SAFETY: the handle is the one just taken out.
        let loaded = ManuallyDrop::new(unsafe { Loaded::from_raw(handle) });
        Ok(Self { handle, loaded })
    }

    /// What tells it from other libraries.
    pub fn identity(&self) -> usize {
        self.handle as usize
    }

    /// The address of something it exports.
    pub fn address(&self, name: &str) -> Option<*mut c_void> {
        // SAFETY: only the address is taken, whatever there is.
        let symbol: Symbol<*mut c_void> = unsafe { self.loaded.get(name.as_bytes()) }.ok()?;
        Some(symbol.into_raw()).filter(|address| !address.is_null())
    }

    /// Begins with it as a VST3 module. False: it refused.
    pub fn enter_vst3(&self) -> bool {
        // The SDK demands the function, and works without it.
        let Some(address) = self.address(VST3_ENTRY) else { return true };
        // C++'s bool is a byte; one that is neither 0 nor 1 must not become a `bool`.
        type Entry = unsafe extern "C" fn(*mut c_void) -> c_char;
        // SAFETY: the VST3 SDK defines what is exported by this name.
        unsafe { std::mem::transmute::<*mut c_void, Entry>(address)(self.handle) != 0 }
    }

    /// Ends with it as a VST3 module.
    pub fn exit_vst3(&self) {
        let Some(address) = self.address("ModuleExit") else { return };
        type Exit = unsafe extern "C" fn() -> c_char;
        // SAFETY: as in `enter_vst3`.
        unsafe { std::mem::transmute::<*mut c_void, Exit>(address)() };
    }
}
