//! Where plugins and their presets are installed.
//!
//! # Safety
//! The `unsafe` calls ask the shell for a folder, whose name is copied and freed, and the system for
//! drives, with texts that end.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt;
use std::path::PathBuf;
use std::ptr::null_mut;
use windows_sys::Win32::Storage::FileSystem::{GetDriveTypeW, GetLogicalDrives};
use windows_sys::Win32::System::Com::CoTaskMemFree;
use windows_sys::Win32::UI::Shell::{
    FOLDERID_Documents, FOLDERID_LocalAppData, FOLDERID_ProgramData, FOLDERID_ProgramFilesCommon,
    FOLDERID_RoamingAppData, SHGetKnownFolderPath,
};
use windows_sys::core::GUID;

/// The folders in which plugins are looked for, each once, whether or not they exist: those that
/// the formats name, the user's own first.
pub fn plugin_folders() -> Vec<PathBuf> {
    let user = known(&FOLDERID_LocalAppData).map(|folder| folder.join("Programs").join("Common"));
    let all = known(&FOLDERID_ProgramFilesCommon);
    let parents = [user, all].into_iter().flatten();
    parents.flat_map(|parent| ["CLAP", "VST3"].map(|name| parent.join(name))).collect()
}

/// The folders in which VST3 plugins' preset files lie, each in `VENDOR/PLUGIN`, whether or not they
/// exist: the user's own first.
pub fn vst3_preset_folders() -> Vec<PathBuf> {
    [&FOLDERID_Documents, &FOLDERID_RoamingAppData, &FOLDERID_ProgramData]
        .into_iter()
        .filter_map(known)
        .map(|folder| folder.join("VST3 Presets"))
        .collect()
}

/// Where all folders begin: the drives of this machine, but for those that may keep one waiting
/// (networks, empty slots).
pub fn drives() -> Vec<PathBuf> {
    const DRIVE_FIXED: u32 = 3;
    // SAFETY: no arguments.
    let letters = unsafe { GetLogicalDrives() };
    let drive = |at: u8| format!("{}:\\", char::from(b'A' + at));
    let is_disk = |drive: &String| {
        let wide: Vec<u16> = drive.encode_utf16().chain([0]).collect();
        // SAFETY: a text that ends with 0 and outlives the call.
        unsafe { GetDriveTypeW(wide.as_ptr()) == DRIVE_FIXED }
    };
    let there = (0..26).filter(|at| letters & (1 << at) != 0).map(drive);
    there.filter(is_disk).map(PathBuf::from).collect()
}

/// A folder as the system has it, wherever its user moved it.
pub(super) fn known(id: &GUID) -> Option<PathBuf> {
    let mut name = null_mut();
    // SAFETY: fills a local with a string that ends with 0, which is freed, on success or not.
    unsafe {
        let result = SHGetKnownFolderPath(id, 0, null_mut(), &mut name);
        let path = (result >= 0 && !name.is_null()).then(|| {
            let len = (0..).take_while(|&at| *name.add(at) != 0).count();
            PathBuf::from(OsString::from_wide(std::slice::from_raw_parts(name, len)))
        });
        CoTaskMemFree(name.cast());
        path.filter(|path| path.is_absolute())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_that_the_formats_name_are_searched() {
        let folders = plugin_folders();
        let ends = |tail: &str| folders.iter().any(|folder| folder.ends_with(tail));
        assert!(ends("Common Files/VST3") && ends("Common Files/CLAP"), "{folders:?}");
        assert!(ends("Programs/Common/VST3"), "{folders:?}");
        assert!(vst3_preset_folders().iter().all(|folder| folder.is_absolute()));
    }
}
