//! Starting worker processes, watching them, killing them.
//!
//! Each worker is in a job of its own, which ends it (and what it started) when the host's handle of
//! the job closes: none outlives the host, however that ends.
//!
//! # Safety
//! The `unsafe` calls pass handles that the values own, locals, and buffers that outlive the call.
#![allow(unsafe_code)]

use super::handles::HandleChannel;
use super::wake::{auto_reset_event, owned};
use std::ffi::{OsStr, OsString, c_void};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use windows_sys::Win32::Foundation::{
    ERROR_INTERNAL_ERROR, HANDLE, HANDLE_FLAG_INHERIT, SetHandleInformation, WAIT_OBJECT_0,
};
use windows_sys::Win32::System::Console::{GetStdHandle, STD_ERROR_HANDLE};
use windows_sys::Win32::System::Diagnostics::Debug::CheckRemoteDebuggerPresent;
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, IsProcessInJob,
    JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation,
    SetInformationJobObject, TerminateJobObject,
};
use windows_sys::Win32::System::Threading::{
    CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW, CREATE_SUSPENDED, CreateProcessW,
    DeleteProcThreadAttributeList, EXTENDED_STARTUPINFO_PRESENT, GetCurrentProcess,
    GetExitCodeProcess, INFINITE, InitializeProcThreadAttributeList, LPPROC_THREAD_ATTRIBUTE_LIST,
    OpenProcess, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, PROC_THREAD_ATTRIBUTE_JOB_LIST,
    PROCESS_INFORMATION, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE,
    RegisterWaitForSingleObject, ResumeThread, STARTF_USESTDHANDLES, STARTUPINFOEXW, SetEvent,
    TerminateProcess, UnregisterWaitEx, UpdateProcThreadAttribute, WT_EXECUTEINWAITTHREAD,
    WT_EXECUTEONLYONCE, WaitForSingleObject,
};

/// What to start for another process of this very program. Its file can't be replaced while it runs.
pub fn this_program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// Nothing to do: processes go by their file's name.
pub fn name_worker() {}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It called exit, or returned from main.
    Code(i32),
    /// An exception ended it, or another process: an NTSTATUS.
    Signal(i32),
}

/// How often a process is begun that does not come up for no reason of its own.
const TRIES: u32 = 3;

/// The code of a process that was killed from here; of those that no system uses.
const KILLED: u32 = 0xE05A_4B4C;

impl Exit {
    /// Of a process that was ended from outside.
    pub const KILLED: Self = Self::Signal(KILLED as i32);

    fn from_code(code: u32) -> Self {
        // Errors of the system or of a language's runtime, a breakpoint, a single step. Other codes
        // with the highest bit set are small negative numbers that a program gave.
        match code {
            0xC000_0000..0xD000_0000 | 0xE000_0000..0xF000_0000 | 0x8000_0003 | 0x8000_0004 => {
                Self::Signal(code as i32)
            }
            _ => Self::Code(code as i32),
        }
    }
}

impl Exit {
    /// The exception's name; `None`: it was none, or has none.
    pub fn signal_name(self) -> Option<String> {
        let Self::Signal(code) = self else { return None };
        exception_name(code as u32).map(str::to_owned)
    }

    /// Whether the exception is about an address that was used in vain.
    pub fn has_address(code: i32) -> bool {
        code as u32 == 0xC000_0005
    }
}

/// A process, to be looked at.
pub(super) fn open(process: u32) -> io::Result<OwnedHandle> {
    let rights = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE;
    // SAFETY: takes numbers; the handle is new.
    unsafe { owned(OpenProcess(rights, 0, process)) }
}

/// Whether a process has not ended.
pub fn is_there(process: u32) -> bool {
    open(process).is_ok_and(|process| !ended_within(&process, Duration::ZERO))
}

/// Whether a debugger is attached to a process and lets it run.
pub fn is_debugged(process: u32) -> bool {
    open(process).is_ok_and(|process| {
        let mut debugged = 0;
        // SAFETY: fills a local; the handle is borrowed.
        unsafe { CheckRemoteDebuggerPresent(process.as_raw_handle(), &mut debugged) };
        debugged != 0
    })
}

/// What keeps debuggers from being attached to workers here, and what to do about it.
pub fn attach_hint() -> Option<&'static str> {
    None
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(code) => match exception_name(*code as u32) {
                Some(name) => write!(f, "was ended by {name}"),
                None => write!(f, "was ended by exception {:#010x}", *code as u32),
            },
        }
    }
}

fn exception_name(code: u32) -> Option<&'static str> {
    Some(match code {
        KILLED => "the host",
        0x8000_0003 => "a breakpoint",
        0xC000_0005 => "an access violation (it used memory that is not there)",
        0xC000_0006 => "an error reading its memory from a file",
        0xC000_0017 => "a lack of memory",
        0xC000_001D => "an illegal instruction (one this processor lacks)",
        0xC000_0025 => "an exception that can't be continued from",
        0xC000_008C => "an array bound exceeded",
        0xC000_008E | 0xC000_0094 => "a division by zero",
        0xC000_00FD => "a stack overflow",
        0xC000_0135 => "a missing library",
        0xC000_013A => "Ctrl-C",
        0xC000_0374 => "damage to its heap",
        0xC000_0409 => "a fast failure (it gave up: abort or a failed check)",
        0xE06D_7363 => "a C++ exception that nobody caught",
        _ => return None,
    })
}

/// A started worker process. Dropping it kills it.
pub struct Process {
    handle: Arc<OwnedHandle>,
    job: Arc<OwnedHandle>,
    id: u32,
}

impl Process {
    /// Starts a program whose standard input is its end of a handle channel. It inherits nothing
    /// else; its standard output is closed, its standard error goes where `show_errors` says.
    pub fn start(
        program: &Path,
        arguments: &[&OsStr],
        handles: HandleChannel,
        show_errors: bool,
    ) -> io::Result<Self> {
        let job = job()?;
        let (stdin, worker) = handles.into_parts();
        let nul = OwnedHandle::from(File::options().read(true).write(true).open("NUL")?);
        // SAFETY: takes a number.
        let console = unsafe { GetStdHandle(STD_ERROR_HANDLE) };
        let stderr = match show_errors && inherit(console).is_ok() {
            true => console,
            false => nul.as_raw_handle(),
        };
        inherit(stdin.as_raw_handle())?;
        inherit(nul.as_raw_handle())?;
        let mut inherited = vec![stdin.as_raw_handle(), nul.as_raw_handle()];
        if stderr != nul.as_raw_handle() {
            inherited.push(stderr);
        }
        // Put into its job by the call that makes it: a host that is killed between two calls would
        // leave it behind.
        let jobs = [job.as_raw_handle()];
        let attributes = Attributes::new(&inherited, &jobs)?;
        let mut startup = STARTUPINFOEXW::default();
        startup.StartupInfo.cb = size_of::<STARTUPINFOEXW>() as u32;
        startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
        startup.StartupInfo.hStdInput = stdin.as_raw_handle();
        startup.StartupInfo.hStdOutput = nul.as_raw_handle();
        startup.StartupInfo.hStdError = stderr;
        startup.lpAttributeList = attributes.list();
        let name = wide(program.as_os_str())?;
        let mut line = wide(&command_line(program.as_os_str(), arguments))?;
        // Ctrl-C in a console is for the host, which ends its workers in order.
        let console = if show_errors { CREATE_NEW_PROCESS_GROUP } else { CREATE_NO_WINDOW };
        let flags = EXTENDED_STARTUPINFO_PRESENT | CREATE_SUSPENDED | console;
        let mut started = PROCESS_INFORMATION::default();
        // SAFETY: all buffers outlive the call; both handles are new.
        let (process, thread) = unsafe {
            let (no_security, inherits) = (null(), 1);
            let mut tries = 0;
            while CreateProcessW(
                name.as_ptr(),
                line.as_mut_ptr(),
                no_security,
                no_security,
                inherits,
                flags,
                null(),
                null(),
                &raw const startup.StartupInfo,
                &mut started,
            ) == 0
            {
                let error = io::Error::last_os_error();
                tries += 1;
                // Wine says so now and then of a process that did not come up; the next one does.
                if error.raw_os_error() != Some(ERROR_INTERNAL_ERROR as i32) || tries == TRIES {
                    return Err(error);
                }
            }
            (owned(started.hProcess)?, owned(started.hThread)?)
        };
        let process =
            Self { handle: Arc::new(process), job: Arc::new(job), id: started.dwProcessId };
        // SAFETY: the handles are owned here, the number is a local.
        unsafe {
            let (own, job) = (process.handle.as_raw_handle(), process.job.as_raw_handle());
            let mut is_there = 0;
            IsProcessInJob(own, job, &mut is_there);
            // Systems that don't know of jobs at the start (before Windows 10).
            if is_there == 0 && AssignProcessToJobObject(job, own) == 0 {
                let error = io::Error::last_os_error();
                TerminateProcess(own, KILLED);
                return Err(error);
            }
            let _ = worker.set(process.handle.try_clone()?);
            ResumeThread(thread.as_raw_handle());
        }
        Ok(process)
    }

    /// The system's number for it.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Something that tells when it has ended.
    pub fn watch(&self) -> io::Result<Watch> {
        Watch::new(Arc::clone(&self.handle))
    }

    /// Something that ends it from another thread.
    pub fn killer(&self) -> io::Result<Killer> {
        Ok(Killer(Arc::clone(&self.job)))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<Exit> {
        self.wait(Duration::ZERO)
    }

    /// Waits for its end, at most so long.
    pub fn wait(&mut self, timeout: Duration) -> Option<Exit> {
        ended_within(&self.handle, timeout).then(|| {
            let mut code = 0;
            // SAFETY: fills a local.
            unsafe { GetExitCodeProcess(self.handle.as_raw_handle(), &mut code) };
            Exit::from_code(code)
        })
    }

    /// Ends it at once.
    pub fn kill(&mut self) -> Exit {
        if let Some(exit) = self.ended() {
            return exit;
        }
        end_job(&self.job);
        // What the system does for it may have to end first.
        self.wait(Duration::from_secs(5)).unwrap_or(Exit::from_code(KILLED))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn end_job(job: &OwnedHandle) {
    // SAFETY: the handle is borrowed.
    unsafe { TerminateJobObject(job.as_raw_handle(), KILLED) };
}

fn job() -> io::Result<OwnedHandle> {
    let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    // A crash is the host's to tell of: no dialog waits for a click.
    limits.BasicLimitInformation.LimitFlags =
        JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION;
    // SAFETY: no pointers but null; the handle is new.
    let job = unsafe { owned(CreateJobObjectW(null(), null()))? };
    set_limits(&job, &limits)?;
    Ok(job)
}

/// Limits what is in a job.
pub(super) fn set_limits(
    job: &OwnedHandle,
    limits: &JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
) -> io::Result<()> {
    let (at, size) = ((&raw const *limits).cast::<c_void>(), size_of_val(limits) as u32);
    // SAFETY: the class is that of the structure, whose size is told.
    let done = unsafe {
        SetInformationJobObject(job.as_raw_handle(), JobObjectExtendedLimitInformation, at, size)
    };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn inherit(handle: HANDLE) -> io::Result<()> {
    // SAFETY: changes a flag of a handle, or fails if there is none.
    match unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The list that says which handles a process inherits, whatever else can be inherited, and which
/// jobs it is in.
struct Attributes<'a> {
    list: Vec<usize>,
    _lists: [&'a [HANDLE]; 2],
}

impl<'a> Attributes<'a> {
    fn new(handles: &'a [HANDLE], jobs: &'a [HANDLE]) -> io::Result<Self> {
        const COUNT: u32 = 2;
        let mut bytes = 0;
        // SAFETY: asks for the size, which it puts into a local.
        unsafe { InitializeProcThreadAttributeList(null_mut(), COUNT, 0, &mut bytes) };
        let mut list = vec![0usize; bytes.div_ceil(size_of::<usize>())];
        // SAFETY: the list is as large as was asked for, and aligned.
        let at = list.as_mut_ptr().cast();
        // SAFETY: as above.
        if unsafe { InitializeProcThreadAttributeList(at, COUNT, 0, &mut bytes) } == 0 {
            return Err(io::Error::last_os_error());
        }
        let attributes = Self { list, _lists: [handles, jobs] };
        for (what, list) in
            [(PROC_THREAD_ATTRIBUTE_HANDLE_LIST, handles), (PROC_THREAD_ATTRIBUTE_JOB_LIST, jobs)]
        {
            let (what, at, bytes) = (what as usize, list.as_ptr().cast(), size_of_val(list));
            // SAFETY: the attributes refer to the list, which is borrowed for as long as they live.
            let done = unsafe {
                let (of, nowhere) = (attributes.list(), null_mut());
                UpdateProcThreadAttribute(of, 0, what, at, bytes, nowhere, null())
            };
            if done == 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(attributes)
    }

    fn list(&self) -> LPPROC_THREAD_ATTRIBUTE_LIST {
        self.list.as_ptr().cast_mut().cast()
    }
}

impl Drop for Attributes<'_> {
    fn drop(&mut self) {
        // SAFETY: it was initialised.
        unsafe { DeleteProcThreadAttributeList(self.list()) };
    }
}

fn wide(text: &OsStr) -> io::Result<Vec<u16>> {
    let mut wide: Vec<u16> = text.encode_wide().collect();
    if wide.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a NUL in a command line"));
    }
    wide.push(0);
    Ok(wide)
}

/// Quotes a command line in the way that all C libraries, and Rust's, take one apart.
fn command_line(program: &OsStr, arguments: &[&OsStr]) -> OsString {
    const QUOTE: u16 = b'"' as u16;
    const BACKSLASH: u16 = b'\\' as u16;
    let mut line: Vec<u16> = vec![QUOTE];
    // A program's name can't hold quotes.
    line.extend(program.encode_wide());
    line.push(QUOTE);
    for argument in arguments {
        line.extend([u16::from(b' '), QUOTE]);
        let mut backslashes = 0;
        for unit in argument.encode_wide() {
            match unit {
                BACKSLASH => backslashes += 1,
                QUOTE => {
                    line.extend(std::iter::repeat_n(BACKSLASH, backslashes + 1));
                    backslashes = 0;
                }
                _ => backslashes = 0,
            }
            line.push(unit);
        }
        line.extend(std::iter::repeat_n(BACKSLASH, backslashes));
        line.push(QUOTE);
    }
    OsString::from_wide(&line)
}

/// Ends a process, and never another one that has got its number since.
pub struct Killer(Arc<OwnedHandle>);

impl Killer {
    /// Ends the process at once, if it has not ended.
    pub fn kill(&self) {
        end_job(&self.0);
    }
}

/// Tells when a process has ended.
pub struct Watch {
    process: Arc<OwnedHandle>,
    registered: HANDLE,
}

// SAFETY: the handle names a registration, which any thread may end.
unsafe impl Send for Watch {}
// SAFETY: as above; it is used by the drop alone.
unsafe impl Sync for Watch {}

impl Watch {
    fn new(process: Arc<OwnedHandle>) -> io::Result<Self> {
        let mut registered: HANDLE = null_mut();
        let flags = WT_EXECUTEONLYONCE | WT_EXECUTEINWAITTHREAD;
        // SAFETY: fills a local; the function outlives everything; the process's handle is kept
        // for longer than the registration.
        let done = unsafe {
            RegisterWaitForSingleObject(
                &mut registered,
                process.as_raw_handle(),
                Some(on_end),
                null(),
                INFINITE,
                flags,
            )
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(Self { process, registered }) }
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        ended_within(&self.process, Duration::ZERO)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: registered in `new`. A call that is under way is not waited for: it uses nothing
        // of this value.
        unsafe { UnregisterWaitEx(self.registered, null_mut()) };
    }
}

/// Wait functions take 64 handles at most; a mix has hundreds of workers. So the system's own thread
/// for waits watches them, and tells whoever waits in [`wait_any`] that it is time to look.
unsafe extern "system" fn on_end(_context: *mut c_void, _timed_out: bool) {
    let waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    for event in waiting.iter().filter_map(Weak::upgrade) {
        set(&event);
    }
}

static WAITING: Mutex<Vec<Weak<OwnedHandle>>> = Mutex::new(Vec::new());

fn set(event: &OwnedHandle) {
    // SAFETY: the handle is borrowed.
    unsafe { SetEvent(event.as_raw_handle()) };
}

fn ended_within(process: &OwnedHandle, timeout: Duration) -> bool {
    let ms = u32::try_from(timeout.as_millis()).unwrap_or(INFINITE).min(INFINITE - 1);
    // SAFETY: the handle is borrowed.
    unsafe { WaitForSingleObject(process.as_raw_handle(), ms) == WAIT_OBJECT_0 }
}

/// Waits until any of the watched processes ends, or `waker` is woken; gives the index of one
/// that has ended.
pub fn wait_any(watches: &[&Watch], waker: &Waker) -> Option<usize> {
    // One that ended before: several may end for one wake.
    let ended = || watches.iter().position(|watch| watch.ended());
    ended().or_else(|| {
        // SAFETY: the handle is the waker's.
        unsafe { WaitForSingleObject(waker.0.as_raw_handle(), INFINITE) };
        ended()
    })
}

/// Interrupts [`wait_any`].
pub struct Waker(Arc<OwnedHandle>);

impl Waker {
    /// Not woken.
    pub fn new() -> io::Result<Self> {
        let event = Arc::new(auto_reset_event()?);
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|event| event.strong_count() > 0);
        waiting.push(Arc::downgrade(&event));
        Ok(Self(event))
    }

    /// The next (or present) [`wait_any`] returns.
    pub fn wake(&self) {
        set(&self.0);
    }
}

/// In a worker: the job that the host put it into ends it with the host. Nothing is left to do.
///
/// # Errors
/// None here.
pub fn end_with_parent(_parent: u32) -> io::Result<()> {
    Ok(())
}

/// Ends this process at once: no destructor, no exit handler (a plugin's may hang).
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends this process; does not return.
    unsafe { TerminateProcess(GetCurrentProcess(), code as u32) };
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_quoted() {
        let arguments = ["a b", r"c:\d\", r#"say "hi""#, r#"\""#, ""];
        let line = command_line("C:\\Program Files\\x.exe".as_ref(), &arguments.map(OsStr::new));
        let expected = r#""C:\Program Files\x.exe" "a b" "c:\d\\" "say \"hi\"" "\\\"" """#;
        assert_eq!(line, expected);
    }

    #[test]
    fn exits_are_told_in_words() {
        let text = |code| Exit::from_code(code).to_string();
        assert_eq!(text(3), "exited with code 3");
        assert_eq!(text(-1_i32 as u32), "exited with code -1");
        assert!(text(0xC000_0005).contains("access violation"));
        assert_eq!(text(0xC012_3456), "was ended by exception 0xc0123456");
        assert_eq!(text(KILLED), "was ended by the host");
    }
}
