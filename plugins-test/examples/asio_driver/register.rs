//! Windows' lists: of classes, of ASIO drivers; and whether another program uses the driver.
//!
//! # Safety
//! The `unsafe` calls are of the system, with texts that end with 0 and places that are locals.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_ALREADY_EXISTS, ERROR_SUCCESS, GetLastError, HANDLE, HMODULE,
};
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
    GetModuleFileNameW, GetModuleHandleExW,
};
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_LOCAL_MACHINE, REG_SZ, RRF_RT_REG_SZ, RegCloseKey, RegCreateKeyW, RegDeleteTreeW,
    RegGetValueW, RegSetValueExW,
};
use windows_sys::Win32::System::Threading::CreateMutexW;
use windows_sys::core::HRESULT;

const CLASS_TEXT: &str = "{5A4D7A3C-91E0-4C5E-9D0B-0F2B8F7A1660}";
const NAME: &str = "Sandrack Virtual ASIO";
const FAILED: HRESULT = 0x8004_0201_u32 as i32;

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

fn class_key() -> String {
    format!(r"SOFTWARE\Classes\CLSID\{CLASS_TEXT}")
}

fn driver_key() -> String {
    format!(r"SOFTWARE\ASIO\{NAME}")
}

/// Sets values of a key, which is made if it is not there. No name: the key's own value.
fn set(path: &str, values: &[(Option<&str>, &str)]) -> bool {
    let mut key: HKEY = null_mut();
    // SAFETY: see the top of the file.
    if unsafe { RegCreateKeyW(HKEY_LOCAL_MACHINE, wide(path).as_ptr(), &mut key) } != ERROR_SUCCESS
    {
        return false;
    }
    let all = values.iter().all(|(name, value)| {
        let name = name.map(wide);
        let name = name.as_ref().map_or(null(), |name| name.as_ptr());
        let value = wide(value);
        let bytes = 2 * value.len() as u32;
        // SAFETY: see the top of the file.
        let result = unsafe { RegSetValueExW(key, name, 0, REG_SZ, value.as_ptr().cast(), bytes) };
        result == ERROR_SUCCESS
    });
    // SAFETY: opened above.
    unsafe { RegCloseKey(key) };
    all
}

/// This library's file.
fn file() -> Option<String> {
    let mut module: HMODULE = null_mut();
    let flags =
        GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    let here: *const c_void = register as fn() -> HRESULT as *const c_void;
    let mut path = [0u16; 1024];
    // SAFETY: see the top of the file.
    let length = unsafe {
        if GetModuleHandleExW(flags, here.cast(), &mut module) == 0 {
            return None;
        }
        GetModuleFileNameW(module, path.as_mut_ptr(), path.len() as u32)
    };
    let path = path.get(..length as usize).filter(|path| !path.is_empty())?;
    Some(String::from_utf16_lossy(path))
}

pub(crate) fn register() -> HRESULT {
    let Some(file) = file() else { return FAILED };
    let class = class_key();
    let all = set(&class, &[(None, NAME)])
        && set(
            &format!(r"{class}\InprocServer32"),
            &[(None, &file), (Some("ThreadingModel"), "Apartment")],
        )
        && set(&driver_key(), &[(Some("CLSID"), CLASS_TEXT), (Some("Description"), NAME)]);
    if all { 0 } else { FAILED }
}

pub(crate) fn unregister() -> HRESULT {
    let gone = [class_key(), driver_key()].map(|path| {
        // SAFETY: see the top of the file.
        unsafe { RegDeleteTreeW(HKEY_LOCAL_MACHINE, wide(&path).as_ptr()) }
    });
    if gone.iter().all(|result| *result == ERROR_SUCCESS) { 0 } else { FAILED }
}

/// The value `Settings` of its entry in the list of ASIO drivers.
pub(crate) fn registered_settings() -> Option<String> {
    let mut text = [0u16; 2048];
    let mut bytes = size_of_val(&text) as u32;
    // SAFETY: see the top of the file.
    let result = unsafe {
        RegGetValueW(
            HKEY_LOCAL_MACHINE,
            wide(&driver_key()).as_ptr(),
            wide("Settings").as_ptr(),
            RRF_RT_REG_SZ,
            null_mut(),
            text.as_mut_ptr().cast(),
            &mut bytes,
        )
    };
    let length = (bytes as usize / 2).saturating_sub(1);
    (result == ERROR_SUCCESS).then(|| String::from_utf16_lossy(&text[..length.min(text.len())]))
}

/// Held as long as this program uses the driver.
pub(crate) struct Alone(HANDLE);

// SAFETY: a handle may be closed on any thread.
unsafe impl Send for Alone {}

impl Drop for Alone {
    fn drop(&mut self) {
        // SAFETY: made below, closed once.
        unsafe { CloseHandle(self.0) };
    }
}

/// `None`: another program uses it.
pub(crate) fn alone() -> Option<Alone> {
    // SAFETY: see the top of the file.
    unsafe {
        let handle = CreateMutexW(null(), 0, wide(r"Local\Sandrack Virtual ASIO").as_ptr());
        if handle.is_null() {
            return None;
        }
        let alone = Alone(handle);
        (GetLastError() != ERROR_ALREADY_EXISTS).then_some(alone)
    }
}
