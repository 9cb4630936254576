//! Makes a driver from its library, without COM.
//!
//! Some drivers' entries in the registry say nothing of threads, or the wrong thing. COM makes such a
//! driver on another thread and hands out something that stands for it, which it can't for ASIO's
//! methods: it says that there are none. Made on the apartment's own thread, these drivers work as
//! they do in hosts that call them from the first thread of the program.
//!
//! # Safety
//! The functions are called as COM calls them, with ids and places that are locals; texts end with 0.
//! The library is never let go of.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use windows_core::GUID;
use windows_registry::CLASSES_ROOT;
use windows_sys::Win32::System::Environment::ExpandEnvironmentStringsW;
use windows_sys::Win32::System::LibraryLoader::{
    GetProcAddress, LOAD_WITH_ALTERED_SEARCH_PATH, LoadLibraryExW,
};

const ICLASS_FACTORY: GUID = GUID::from_u128(0x00000001_0000_0000_c000_000000000046);

type GetClassObject = unsafe extern "system" fn(*const GUID, *const GUID, *mut *mut c_void) -> i32;

#[repr(C)]
struct FactoryMethods {
    query: unsafe extern "system" fn(*mut c_void, *const GUID, *mut *mut c_void) -> i32,
    add_ref: unsafe extern "system" fn(*mut c_void) -> u32,
    release: unsafe extern "system" fn(*mut c_void) -> u32,
    create:
        unsafe extern "system" fn(*mut c_void, *const c_void, *const GUID, *mut *mut c_void) -> i32,
}

/// An object of this class, as its interface of the same id, with one reference. `None`: its library
/// is not there, or makes none.
pub(super) fn make(class: &GUID) -> Option<*mut c_void> {
    let entry = CLASSES_ROOT.open(format!(r"CLSID\{{{class:?}}}\InprocServer32")).ok()?;
    let path = entry.get_string("").ok()?;
    let path = expanded(path.trim_matches('"'));
    let (mut factory, mut made) = (null_mut(), null_mut());
    // SAFETY: see the top of the file. The function of this name has this signature in every library
    // that COM loads; a factory that was given begins with the table of its methods.
    unsafe {
        let library = LoadLibraryExW(path.as_ptr(), null_mut(), LOAD_WITH_ALTERED_SEARCH_PATH);
        if library.is_null() {
            return None;
        }
        let function = GetProcAddress(library, c"DllGetClassObject".as_ptr().cast())?;
        let get_class_object: GetClassObject = std::mem::transmute(function);
        if get_class_object(class, &ICLASS_FACTORY, &mut factory) < 0 || factory.is_null() {
            return None;
        }
        let methods: *const FactoryMethods = *factory.cast();
        let result = ((*methods).create)(factory, null(), class, &mut made);
        ((*methods).release)(factory);
        (result >= 0 && !made.is_null()).then_some(made)
    }
}

/// A path with what stands for `%SystemRoot%` and the like, for the system.
fn expanded(path: &str) -> Vec<u16> {
    let path: Vec<u16> = path.encode_utf16().chain([0]).collect();
    let mut full = vec![0u16; 32_768];
    // SAFETY: a text that ends with 0, and a buffer of the stated length.
    let length =
        unsafe { ExpandEnvironmentStringsW(path.as_ptr(), full.as_mut_ptr(), full.len() as u32) };
    match length as usize {
        0 => path,
        length if length > full.len() => path,
        length => full[..length].to_vec(),
    }
}
