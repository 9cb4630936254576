//! Starting worker processes, watching them, killing and reaping them.
//!
//! # Safety
//! The `unsafe` calls end this process, and remove memory by its number; neither is given an address.
#![allow(unsafe_code)]

use super::handles::HandleChannel;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// What to start for another process of this very program: not its file, which may have been replaced
/// by another version's since this process began.
pub fn this_program() -> io::Result<PathBuf> {
    let itself = PathBuf::from("/proc/self/exe");
    match itself.exists() {
        true => Ok(itself),
        false => std::env::current_exe(),
    }
}

/// Names this process for those that list processes: its file's name says nothing, see
/// [`this_program`].
pub fn name_worker() {
    let _ = rustix::thread::set_name(c"sandrack-worker");
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It called exit, or returned from main.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

impl Exit {
    /// Of a process that was ended from outside.
    pub const KILLED: Self = Self::Signal(Signal::KILL.as_raw());

    fn from_status(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (_, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }
}

impl Exit {
    /// The signal's name, such as `SIGSEGV`; `None`: it was none, or has none.
    pub fn signal_name(self) -> Option<String> {
        let Self::Signal(signal) = self else { return None };
        let named = Signal::from_named_raw(signal)?;
        let words = signal_name(named);
        match words.split_once(' ') {
            _ if words == "a signal" => None,
            Some((name, _)) => Some(name.into()),
            None => Some(words.into()),
        }
    }

    /// Whether the signal is about an address that was used in vain.
    pub fn has_address(signal: i32) -> bool {
        signal == Signal::SEGV.as_raw() || signal == Signal::BUS.as_raw()
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => match Signal::from_named_raw(*signal) {
                Some(named) => write!(f, "was ended by {}", signal_name(named)),
                None => write!(f, "was ended by signal {signal}"),
            },
        }
    }
}

fn signal_name(signal: Signal) -> &'static str {
    match signal {
        Signal::SEGV => "SIGSEGV (it used memory that is not there)",
        Signal::ABORT => "SIGABRT (it gave up: abort or a failed check)",
        Signal::BUS => "SIGBUS (it used memory that is not there)",
        Signal::ILL => "SIGILL (an instruction this processor lacks)",
        Signal::FPE => "SIGFPE (division by zero)",
        Signal::TRAP => "SIGTRAP",
        Signal::SYS => "SIGSYS (a forbidden system call)",
        Signal::KILL => "SIGKILL",
        Signal::TERM => "SIGTERM",
        Signal::XCPU => "SIGXCPU (too long at realtime priority without a pause)",
        Signal::XFSZ => "SIGXFSZ (a file larger than it may be, --limit-disk)",
        _ => "a signal",
    }
}

/// A started worker process. Dropping it kills and reaps it.
pub struct Process {
    child: std::process::Child,
    pidfd: OwnedFd,
    ended: Option<Exit>,
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
        let child = Command::new(program)
            // As its user knows it.
            .arg0(std::env::args_os().next().unwrap_or_else(|| program.into()))
            .args(arguments)
            // Ctrl-C in a terminal is for the host, which ends its workers in order.
            .process_group(0)
            .stdin(handles.into_fd())
            .stdout(Stdio::null())
            .stderr(if show_errors { Stdio::inherit() } else { Stdio::null() })
            .spawn()?;
        let pid = rustix::process::Pid::from_child(&child);
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                let mut child = child;
                let _ = child.kill();
                let _ = child.wait();
                return Err(error.into());
            }
        };
        Ok(Self { child, pidfd, ended: None })
    }

    /// The system's number for it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Something that tells when it has ended, without reaping it.
    pub fn watch(&self) -> io::Result<Watch> {
        Ok(Watch(self.pidfd.try_clone()?))
    }

    /// Something that ends it from another thread, without reaping it.
    pub fn killer(&self) -> io::Result<Killer> {
        Ok(Killer(self.pidfd.try_clone()?))
    }

    /// How it ended, if it has; reaps it.
    pub fn ended(&mut self) -> Option<Exit> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten().map(Exit::from_status);
            if self.ended.is_some() {
                remove_shared_by_number(self.id());
            }
        }
        self.ended
    }

    /// Waits for its end, at most so long; reaps it.
    pub fn wait(&mut self, timeout: Duration) -> Option<Exit> {
        if self.ended.is_none() && !ended_within(&self.pidfd, timeout) {
            return None;
        }
        self.ended()
    }

    /// Ends it at once and reaps it.
    pub fn kill(&mut self) -> Exit {
        if let Some(exit) = self.ended() {
            return exit;
        }
        let _ = self.child.kill();
        let exit = self.child.wait().map_or(Exit::Signal(0), Exit::from_status);
        remove_shared_by_number(self.id());
        *self.ended.insert(exit)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Removes memory shared by number (System V's) that a process which has ended made and left: nobody else
/// would, until the machine is started anew.
fn remove_shared_by_number(process: u32) {
    let Ok(all) = std::fs::read_to_string("/proc/sysvipc/shm") else { return };
    let user = rustix::process::geteuid().as_raw();
    for line in all.lines().skip(1) {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok());
        // Key, number, permissions, size, who made it, who used it last, users, owner: proc(5).
        let is_left = number(4) == Some(process) && number(6) == Some(0);
        if let (Some(id), true) = (number(1), is_left && number(7) == Some(user)) {
            // SAFETY: takes no address for this.
            unsafe { libc::shmctl(id as i32, libc::IPC_RMID, std::ptr::null_mut()) };
        }
    }
}

/// Ends a process, and never another one that has got its number since.
pub struct Killer(OwnedFd);

impl Killer {
    /// Ends the process at once, if it has not ended. It still has to be reaped.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }
}

/// Tells when a process has ended.
pub struct Watch(OwnedFd);

impl Watch {
    /// Whether it has ended (it may still be waiting to be reaped).
    pub fn ended(&self) -> bool {
        ended_within(&self.0, Duration::ZERO)
    }
}

fn ended_within(pidfd: &OwnedFd, timeout: Duration) -> bool {
    let timeout = rustix::event::Timespec {
        tv_sec: timeout.as_secs() as i64,
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&timeout)), Ok(n) if n > 0)
}

/// Waits until any of the watched processes ends, or `waker` is woken; gives the index of one
/// that has ended.
pub fn wait_any(watches: &[&Watch], waker: &Waker) -> Option<usize> {
    let mut fds: Vec<PollFd<'_>> =
        watches.iter().map(|w| PollFd::new(&w.0, PollFlags::IN)).collect();
    fds.push(PollFd::new(&waker.0, PollFlags::IN));
    let _ = poll(&mut fds, None);
    let mut count = [0u8; 8];
    if fds.last().is_some_and(|f| !f.revents().is_empty()) {
        let _ = rustix::io::read(&waker.0, &mut count);
    }
    fds[..watches.len()].iter().position(|f| !f.revents().is_empty())
}

/// Interrupts [`wait_any`].
pub struct Waker(OwnedFd);

impl Waker {
    /// Not woken.
    pub fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// The next (or present) [`wait_any`] returns.
    pub fn wake(&self) {
        let _ = rustix::io::write(self.0.as_fd(), &1u64.to_ne_bytes());
    }
}

/// Whether a process has not ended.
pub fn is_there(process: u32) -> bool {
    status_line(process, "State:").is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// Whether a debugger is attached to a process and lets it run: all its threads.
pub fn is_debugged(process: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return false };
    // A debugger takes hold of one thread after the other, and keeps those that it has stopped.
    threads.flatten().all(|thread| {
        let Some(thread) = thread.file_name().to_str().and_then(|name| name.parse().ok()) else {
            return false;
        };
        let is_traced = status_line(thread, "TracerPid:").is_some_and(|tracer| tracer != "0");
        is_traced && status_line(thread, "State:").is_some_and(|state| !state.starts_with('t'))
    })
}

/// What keeps debuggers from being attached to workers here, and what to do about it.
pub fn attach_hint() -> Option<&'static str> {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok()?;
    match scope.trim() {
        "0" => None,
        "1" | "2" => Some("debuggers may not be attached here by others than root: use sudo gdb"),
        _ => Some("this system allows no debuggers to be attached (kernel.yama.ptrace_scope)"),
    }
}

fn status_line(process: u32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().to_owned())
}

/// In a worker: makes the kernel end this process when the host ends, however it ends.
///
/// # Errors
/// When the host has ended already.
pub fn end_with_parent(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The host may have ended before the line above took effect.
    match rustix::process::getppid() {
        Some(now) if now.as_raw_nonzero().get() as u32 == parent => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "the host has ended")),
    }
}

/// Ends this process at once: no destructor, no exit handler (a plugin's may hang).
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes any code and does not return.
    unsafe { libc::_exit(code) }
}
