//! What this process's token lets it do: privileges, integrity level.

use super::super::wake::owned;
use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Security::{
    AdjustTokenPrivileges, GetLengthSid, GetSidSubAuthority, GetSidSubAuthorityCount,
    GetTokenInformation, LUID_AND_ATTRIBUTES, SE_PRIVILEGE_REMOVED, SID_AND_ATTRIBUTES,
    SetTokenInformation, TOKEN_ADJUST_DEFAULT, TOKEN_ADJUST_PRIVILEGES, TOKEN_MANDATORY_LABEL,
    TOKEN_PRIVILEGES, TOKEN_QUERY, TokenIntegrityLevel, TokenPrivileges,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// `SECURITY_MANDATORY_LOW_RID`: below that of the user's files, windows and other processes.
const LOW: u32 = 0x1000;
/// `SE_GROUP_INTEGRITY`.
const INTEGRITY: u32 = 0x20;

fn own_token() -> io::Result<OwnedHandle> {
    let mut token: HANDLE = null_mut();
    let rights = TOKEN_QUERY | TOKEN_ADJUST_DEFAULT | TOKEN_ADJUST_PRIVILEGES;
    // SAFETY: fills a local; the handle is new.
    unsafe {
        match OpenProcessToken(GetCurrentProcess(), rights, &mut token) {
            0 => Err(io::Error::last_os_error()),
            _ => owned(token),
        }
    }
}

/// What the token says of itself, aligned to 8.
fn information(token: &OwnedHandle, class: i32) -> io::Result<Vec<u64>> {
    let mut bytes = 0;
    // SAFETY: asks for the size, which goes into a local.
    unsafe { GetTokenInformation(token.as_raw_handle(), class, null_mut(), 0, &mut bytes) };
    let mut all = vec![0u64; (bytes as usize).div_ceil(8).max(1)];
    let at = all.as_mut_ptr().cast();
    // SAFETY: the buffer is as large as is said.
    match unsafe { GetTokenInformation(token.as_raw_handle(), class, at, bytes, &mut bytes) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(all),
    }
}

/// Removes all privileges but that of passing through folders, for good.
pub(super) fn drop_privileges() -> io::Result<()> {
    /// `SeChangeNotifyPrivilege`: its number is the same on all machines. Everybody has it, and
    /// without it hardly a file can be opened.
    const CHANGE_NOTIFY: u32 = 23;
    let token = own_token()?;
    let held = information(&token, TokenPrivileges)?;
    // SAFETY: this class fills such a structure, and behind it as many entries as it says.
    let held: Vec<LUID_AND_ATTRIBUTES> = unsafe {
        let all = held.as_ptr().cast::<TOKEN_PRIVILEGES>();
        let count = (*all).PrivilegeCount as usize;
        std::slice::from_raw_parts((&raw const (*all).Privileges).cast(), count).to_vec()
    };
    for privilege in held.iter().filter(|one| one.Luid.LowPart != CHANGE_NOTIFY) {
        let removed =
            LUID_AND_ATTRIBUTES { Luid: privilege.Luid, Attributes: SE_PRIVILEGE_REMOVED };
        let one = TOKEN_PRIVILEGES { PrivilegeCount: 1, Privileges: [removed] };
        // SAFETY: the structure outlives the call.
        let done = unsafe {
            let token = token.as_raw_handle();
            AdjustTokenPrivileges(token, 0, &one, 0, null_mut(), null_mut())
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Lowers this process below all that is the user's: it can't write to it any more.
///
/// # Errors
/// The system refused, or accepted it and did nothing, as Wine does.
pub(super) fn lower_integrity() -> io::Result<()> {
    // S-1-16-4096, as bytes: revision 1, one authority of 16.
    let mut sid = [1u8, 1, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0];
    sid[8..].copy_from_slice(&LOW.to_le_bytes());
    let token = own_token()?;
    let label = TOKEN_MANDATORY_LABEL {
        Label: SID_AND_ATTRIBUTES { Sid: sid.as_mut_ptr().cast(), Attributes: INTEGRITY },
    };
    // SAFETY: the structure, and the SID that it points to, outlive the call.
    let done = unsafe {
        let size = size_of_val(&label) as u32 + GetLengthSid(sid.as_mut_ptr().cast());
        let at = (&raw const label).cast();
        SetTokenInformation(token.as_raw_handle(), TokenIntegrityLevel, at, size)
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    match integrity(&token)? {
        level if level <= LOW => Ok(()),
        level => Err(io::Error::other(format!("the level stayed {level:#x}"))),
    }
}

fn integrity(token: &OwnedHandle) -> io::Result<u32> {
    let label = information(token, TokenIntegrityLevel)?;
    // SAFETY: this class fills such a structure, which points to a SID behind it.
    unsafe {
        let sid = (*label.as_ptr().cast::<TOKEN_MANDATORY_LABEL>()).Label.Sid;
        if sid.is_null() || sid.cast_const() == null() {
            return Err(io::Error::other("the system has no integrity levels"));
        }
        let last = GetSidSubAuthorityCount(sid).read().max(1) - 1;
        Ok(GetSidSubAuthority(sid, last.into()).read())
    }
}
