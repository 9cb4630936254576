//! Processes as the system shows them, and what ends them: the part of the tests that differs from
//! system to system.
#![allow(unsafe_code, reason = "Windows has no safe calls for it")]

#[allow(unused_imports, reason = "each test uses what it needs")]
pub(crate) use this_system::{
    ABORT, ABORT_CODE, KILLED, KILLED_CODE, SEGFAULT, SEGFAULT_CODE, Signal, children_of, crashed,
    is_stopped, send,
};

#[cfg(unix)]
mod this_system {
    pub(crate) use rustix::process::Signal;
    use std::fs;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    /// What errors call it.
    pub(crate) const ABORT: &str = "SIGABRT";
    pub(crate) const SEGFAULT: &str = "SIGSEGV";
    pub(crate) const KILLED: &str = "SIGKILL";

    /// The system's numbers for the same.
    pub(crate) const ABORT_CODE: i32 = Signal::ABORT.as_raw();
    pub(crate) const SEGFAULT_CODE: i32 = Signal::SEGV.as_raw();
    pub(crate) const KILLED_CODE: i32 = Signal::KILL.as_raw();

    pub(crate) fn crashed(status: ExitStatus) -> bool {
        status.signal().is_some()
    }

    pub(crate) fn send(process: u32, signal: Signal) {
        let process = rustix::process::Pid::from_raw(process as i32).expect("a process number");
        rustix::process::kill_process(process, signal).expect("a signal can be sent");
    }

    pub(crate) fn is_stopped(process: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().starts_with('T')
    }

    /// Live processes that a host has started to work for it, by what they were started with: also
    /// when the host has ended.
    pub(crate) fn children_of(host: u32) -> Vec<u32> {
        let host = host.to_string();
        let mine = |process: &u32| {
            let Ok(line) = fs::read(format!("/proc/{process}/cmdline")) else { return false };
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            match words.get(1) {
                Some(&b"--sandrack-worker") => words.get(3) == Some(&host.as_bytes()),
                Some(&b"--sandrack-floor") => words.get(2) == Some(&host.as_bytes()),
                _ => false,
            }
        };
        let Ok(entries) = fs::read_dir("/proc") else { panic!("/proc can't be read") };
        entries
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
            .filter(mine)
            .collect()
    }
}

#[cfg(windows)]
mod this_system {
    use std::path::Path;
    use std::process::ExitStatus;
    use windows_sys::Win32::Foundation::{CloseHandle, HANDLE, INVALID_HANDLE_VALUE, NTSTATUS};
    use windows_sys::Win32::System::Diagnostics::ToolHelp::{
        CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW,
        TH32CS_SNAPPROCESS,
    };
    use windows_sys::Win32::System::Threading::{
        OpenProcess, PROCESS_ALL_ACCESS, TerminateProcess,
    };

    pub(crate) const ABORT: &str = "abort";
    pub(crate) const SEGFAULT: &str = "access violation";
    pub(crate) const KILLED: &str = "0xc0000001";

    pub(crate) const ABORT_CODE: i32 = 0xC000_0409_u32 as i32;
    pub(crate) const SEGFAULT_CODE: i32 = 0xC000_0005_u32 as i32;
    pub(crate) const KILLED_CODE: i32 = 0xC000_0001_u32 as i32;

    /// What can be done to a process, by the names that Unix has for it.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Signal {
        Kill,
        Abort,
        Stop,
        Continue,
    }

    impl Signal {
        pub(crate) const KILL: Self = Self::Kill;
        pub(crate) const ABORT: Self = Self::Abort;
        pub(crate) const STOP: Self = Self::Stop;
        pub(crate) const CONT: Self = Self::Continue;
    }

    #[link(name = "ntdll")]
    unsafe extern "system" {
        fn NtSuspendProcess(process: HANDLE) -> NTSTATUS;
        fn NtResumeProcess(process: HANDLE) -> NTSTATUS;
    }

    pub(crate) fn crashed(status: ExitStatus) -> bool {
        status.code().is_some_and(|code| code < 0)
    }

    pub(crate) fn send(process: u32, signal: Signal) {
        // SAFETY: the handle is checked, used, and closed.
        unsafe {
            let handle = OpenProcess(PROCESS_ALL_ACCESS, 0, process);
            assert!(!handle.is_null(), "process {process} can't be opened");
            let done = match signal {
                Signal::Kill => TerminateProcess(handle, 0xC000_0001) != 0,
                Signal::Abort => TerminateProcess(handle, 0xC000_0409) != 0,
                Signal::Stop => NtSuspendProcess(handle) >= 0,
                Signal::Continue => NtResumeProcess(handle) >= 0,
            };
            CloseHandle(handle);
            assert!(done, "{signal:?} had no effect on process {process}");
        }
    }

    /// Here a process is stopped as soon as it has been told to.
    pub(crate) fn is_stopped(_process: u32) -> bool {
        true
    }

    /// Live processes of the program under test that a host has started, also when the host has
    /// ended.
    pub(crate) fn children_of(host: u32) -> Vec<u32> {
        let program = Path::new(crate::common::PROGRAM).file_name().expect("it has a name");
        let mut all = Vec::new();
        // SAFETY: fills a local that says how large it is; the handle is checked and closed.
        unsafe {
            let list = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
            assert!(list != INVALID_HANDLE_VALUE, "processes can't be listed");
            let mut entry = PROCESSENTRY32W {
                dwSize: size_of::<PROCESSENTRY32W>() as u32,
                ..Default::default()
            };
            let mut there = Process32FirstW(list, &mut entry) != 0;
            while there {
                let end = entry.szExeFile.iter().position(|unit| *unit == 0).unwrap_or(0);
                let name = String::from_utf16_lossy(&entry.szExeFile[..end]);
                if entry.th32ParentProcessID == host
                    && Path::new(&name).file_name() == Some(program)
                {
                    all.push(entry.th32ProcessID);
                }
                there = Process32NextW(list, &mut entry) != 0;
            }
            CloseHandle(list);
        }
        all
    }
}
