//! A job within the host's job, with limits that nobody can raise: its only handle is closed.

use super::super::process::set_limits;
use super::super::wake::owned;
use crate::limits::InForce;
use std::ffi::c_void;
use std::io;
use std::os::windows::io::AsRawHandle;
use std::ptr::null;
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_ACTIVE_PROCESS,
    JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION, JOB_OBJECT_LIMIT_JOB_MEMORY,
    JOB_OBJECT_UILIMIT_DESKTOP, JOB_OBJECT_UILIMIT_DISPLAYSETTINGS, JOB_OBJECT_UILIMIT_EXITWINDOWS,
    JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS, JOBOBJECT_BASIC_UI_RESTRICTIONS,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectBasicUIRestrictions, SetInformationJobObject,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

/// Memory, and no processes beside this one.
pub(super) fn apply(most: &InForce) -> io::Result<()> {
    // SAFETY: no pointers but null; the handle is new.
    let job = unsafe { owned(CreateJobObjectW(null(), null()))? };
    let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_ACTIVE_PROCESS
        | JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION
        | JOB_OBJECT_LIMIT_JOB_MEMORY;
    limits.BasicLimitInformation.ActiveProcessLimit = 1;
    // What was asked for and never used counts here, not in the supervisor's eyes, which is to see it
    // first: a worker that is ended says why.
    let memory = most.memory.saturating_add(most.memory / 4);
    limits.JobMemoryLimit = usize::try_from(memory).unwrap_or(usize::MAX);
    set_limits(&job, &limits)?;
    // Editors go on working: windows, clipboard, drag and drop are as for any program.
    let user = JOBOBJECT_BASIC_UI_RESTRICTIONS {
        UIRestrictionsClass: JOB_OBJECT_UILIMIT_DESKTOP
            | JOB_OBJECT_UILIMIT_DISPLAYSETTINGS
            | JOB_OBJECT_UILIMIT_EXITWINDOWS
            | JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS,
    };
    let (at, size) = ((&raw const user).cast::<c_void>(), size_of_val(&user) as u32);
    // SAFETY: the class is that of the structure, whose size is told; the handles are borrowed.
    let done = unsafe {
        let job = job.as_raw_handle();
        SetInformationJobObject(job, JobObjectBasicUIRestrictions, at, size) != 0
            && AssignProcessToJobObject(job, GetCurrentProcess()) != 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}
