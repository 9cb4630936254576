//! What depends on the operating system. Where a thing can't be done, it sleeps or is refused.

#[cfg(unix)]
pub(super) use unix::*;

#[cfg(not(unix))]
pub(super) use elsewhere::*;

#[cfg(unix)]
mod unix {
    use rustix::process::{
        Signal, getpid, getppid, kill_process, setpriority_process, test_kill_process,
    };
    use std::io;
    use std::process::Command;
    use std::ptr;
    use std::time::Duration;

    /// Stops the process until somebody continues it.
    pub(crate) fn stop() {
        if kill_process(getpid(), Signal::STOP).is_ok() {
            // Another thread may take the signal; this one is stopped a moment later. Without
            // waiting for that, it could finish the block.
            std::thread::sleep(Duration::from_millis(10));
            return;
        }
        super::super::sleep_forever();
    }

    /// A file in memory, which has no place.
    #[cfg(target_os = "linux")]
    pub(crate) fn memory_file() -> io::Result<std::fs::File> {
        Ok(rustix::fs::memfd_create("hidden", rustix::fs::MemfdFlags::CLOEXEC)?.into())
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn memory_file() -> io::Result<std::fs::File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes memory shared by number, uses it, and lets go of it.
    pub(crate) fn leave_memory(bytes: usize) -> io::Result<()> {
        // SAFETY: what is attached is written to within its bounds, and detached.
        unsafe {
            let id = libc::shmget(libc::IPC_PRIVATE, bytes, libc::IPC_CREAT | 0o600);
            let start = libc::shmat(id, ptr::null(), 0);
            if id < 0 || start as isize == -1 {
                return Err(io::Error::last_os_error());
            }
            ptr::write_bytes(start.cast::<u8>(), 1, bytes);
            libc::shmdt(start);
        }
        Ok(())
    }

    pub(crate) fn parent() -> io::Result<u32> {
        let parent = getppid().ok_or(io::ErrorKind::NotFound)?;
        Ok(parent.as_raw_nonzero().get() as u32)
    }

    /// `for_good`: not only asks whether it may.
    pub(crate) fn kill_parent(for_good: bool) -> io::Result<()> {
        let parent = getppid().ok_or(io::ErrorKind::NotFound)?;
        match for_good {
            true => Ok(kill_process(parent, Signal::KILL)?),
            false => Ok(test_kill_process(parent)?),
        }
    }

    /// Takes hold of the parent as debuggers do, and lets go of it.
    #[cfg(target_os = "linux")]
    pub(crate) fn trace_parent() -> io::Result<()> {
        let parent = parent()? as i32;
        // SAFETY: no address of this process is passed.
        unsafe {
            if libc::ptrace(libc::PTRACE_SEIZE, parent, 0, 0) != 0 {
                return Err(io::Error::last_os_error());
            }
            libc::ptrace(libc::PTRACE_DETACH, parent, 0, 0);
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn trace_parent() -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Comes back only if it fails.
    pub(crate) fn execute(program: &str) -> io::Result<()> {
        use std::os::unix::process::CommandExt;
        Err(Command::new(program).exec())
    }

    /// Starts a process that does nothing for some seconds.
    pub(crate) fn fork_sleeper() -> io::Result<()> {
        // SAFETY: the new process calls nothing that would not be safe in it.
        unsafe {
            match libc::fork() {
                -1 => Err(io::Error::last_os_error()),
                0 => {
                    libc::sleep(5);
                    libc::_exit(0)
                }
                _ => Ok(()),
            }
        }
    }

    #[cfg(target_os = "linux")]
    pub(crate) use super::super::descriptors::write_descriptors;

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn write_descriptors(_with_sockets: bool) {
        super::super::sleep_forever();
    }

    pub(crate) fn close_descriptors() {
        for descriptor in 0..4096 {
            // SAFETY: none; they are others'. This is the fault the plugin is for.
            unsafe { libc::close(descriptor) };
        }
    }

    /// As urgent as may be, in every way there is.
    pub(crate) fn change_priority() {
        let _ = setpriority_process(None, -20);
        become_realtime();
    }

    /// This thread.
    pub(crate) fn become_realtime() {
        for priority in [99, 70, 50, 1] {
            let parameter = libc::sched_param { sched_priority: priority };
            // SAFETY: the pointer is to a local that outlives the call.
            let done = unsafe {
                libc::pthread_setschedparam(libc::pthread_self(), libc::SCHED_FIFO, &parameter)
            };
            if done == 0 {
                eprintln!("hostile plugin runs at realtime priority {priority}");
                return;
            }
        }
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn pin(core: usize) {
        let mut set = rustix::thread::CpuSet::new();
        set.set(core % rustix::thread::CpuSet::MAX_CPU);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn pin(_core: usize) {}

    /// In this thread.
    pub(crate) fn block_all_signals() {
        // SAFETY: the pointers are to a local that outlives the calls, or null.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_BLOCK, &all, ptr::null_mut());
        }
    }

    /// Installs a handler that does nothing for every signal that may have one.
    pub(crate) fn ignore_all_signals() {
        extern "C" fn nothing(_signal: libc::c_int) {}
        for signal in 1..=64 {
            // SAFETY: the handler does nothing at all, which is safe whenever.
            unsafe { libc::signal(signal, nothing as *const () as libc::sighandler_t) };
        }
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use super::super::sleep_forever;
    use std::io;

    fn refused() -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn stop() {
        sleep_forever();
    }

    pub(crate) fn memory_file() -> io::Result<std::fs::File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn leave_memory(_bytes: usize) -> io::Result<()> {
        refused()
    }

    pub(crate) fn parent() -> io::Result<u32> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn kill_parent(_for_good: bool) -> io::Result<()> {
        refused()
    }

    pub(crate) fn trace_parent() -> io::Result<()> {
        refused()
    }

    pub(crate) fn execute(_program: &str) -> io::Result<()> {
        refused()
    }

    pub(crate) fn fork_sleeper() -> io::Result<()> {
        refused()
    }

    pub(crate) fn write_descriptors(_with_sockets: bool) {
        sleep_forever();
    }

    pub(crate) fn close_descriptors() {}

    pub(crate) fn change_priority() {}

    pub(crate) fn become_realtime() {}

    pub(crate) fn pin(_core: usize) {}

    pub(crate) fn block_all_signals() {}

    pub(crate) fn ignore_all_signals() {}
}
