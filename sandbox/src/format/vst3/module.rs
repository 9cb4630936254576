//! A library as a VST3 module: entered once, left when nobody uses it any more.
//!
//! # Safety
//! `unsafe` here is the library's `GetPluginFactory`, as the VST3 SDK defines it: it gives a
//! reference, or null.
#![allow(unsafe_code)]

use crate::sys::library::{Library, VST3_ENTRY};
use std::collections::HashMap;
use std::ffi::c_void;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};
use vst3::ComPtr;
use vst3::Steinberg::IPluginFactory;

/// How many [`Module`]s there are of each library. A module is entered once in a process, however
/// many plugins of it are loaded.
static ENTERED: LazyLock<Mutex<HashMap<usize, usize>>> = LazyLock::new(Mutex::default);

/// A library that has been entered.
pub(super) struct Module {
    library: Library,
}

impl Module {
    /// Loads and enters it. The error says what is wrong with the file.
    pub(super) fn open(file: &Path) -> Result<Self, String> {
        // Relative names would be looked up in the library search path.
        let full = std::path::absolute(file).map_err(|e| e.to_string())?;
        let library = Library::open(&full)?;
        if library.address("GetPluginFactory").is_none() {
            return Err("it is a library but not a VST3 plugin (no GetPluginFactory)".into());
        }
        let mut entered = ENTERED.lock().unwrap_or_else(PoisonError::into_inner);
        let users = entered.entry(library.identity()).or_default();
        if *users == 0 && !library.enter_vst3() {
            return Err(format!("its entry function {VST3_ENTRY} returned false"));
        }
        *users += 1;
        Ok(Self { library })
    }

    /// Its factory; `None`: it has none.
    pub(super) fn factory(&self) -> Option<ComPtr<IPluginFactory>> {
        type Get = unsafe extern "system" fn() -> *mut c_void;
        let address = self.library.address("GetPluginFactory")?;
        // SAFETY: the VST3 SDK defines what is exported by this name, and that it gives a reference
        // to a factory, or null.
        unsafe {
            let get = std::mem::transmute::<*mut c_void, Get>(address);
            ComPtr::from_raw(get().cast())
        }
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let mut entered = ENTERED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(users) = entered.get_mut(&self.library.identity()) {
            *users -= 1;
            if *users == 0 {
                self.library.exit_vst3();
            }
        }
    }
}
