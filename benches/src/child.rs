//! The processes of a benchmark: this program started again, and never left behind.
//!
//! A child ends in one of three ways: by itself, when its [`Children`] is dropped (an error or a
//! panic included), or by the kernel's parent-death signal when the benchmark is killed.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::Signal;

/// A command that runs this program again in the role `role`, which the program finds as its
/// first argument and passes to [`die_with_parent`] at its start.
#[must_use]
pub fn again(role: &str) -> Command {
    // Not current_exe(): that names a file which a build may have replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg(role).arg(std::process::id().to_string());
    command
}

/// The role [`again`] gave this process, with the parent's number and the arguments left, or
/// `None` in the process the user started.
#[must_use]
pub fn role(known: &[&str]) -> Option<(String, u32, Vec<String>)> {
    let mut arguments = std::env::args().skip(1);
    let role = arguments.next().filter(|role| known.contains(&role.as_str()))?;
    let parent = arguments.next()?.parse().ok()?;
    Some((role, parent, arguments.collect()))
}

/// Has the kernel send `signal` to this process when its parent ends. The setting survives exec.
pub fn die_with_parent(parent: u32, signal: Signal) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(signal))?;
    // The parent may have ended just before: then no signal comes.
    match rustix::process::getppid() {
        Some(now) if now.as_raw_nonzero().get().cast_unsigned() == parent => Ok(()),
        _ => Err(io::Error::other("the benchmark that started this process is gone")),
    }
}

/// Child processes, killed and reaped when dropped.
#[derive(Default)]
pub struct Children(Vec<Child>);

impl Children {
    /// Starts one more.
    pub fn spawn(&mut self, command: &mut Command) -> io::Result<()> {
        self.0.push(command.spawn()?);
        Ok(())
    }

    /// The process numbers, in the order of starting.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(Child::id)
    }

    /// Waits until `ready` says so. An error when a child ends meanwhile or time runs out: with
    /// the number of that child and how it ended.
    pub fn wait_until(
        &mut self,
        limit: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<(), NotReady> {
        let end = Instant::now() + limit;
        while !ready() {
            if let Some((index, status)) = self.first_ended() {
                return Err(NotReady::Ended(index, status));
            }
            if Instant::now() > end {
                return Err(NotReady::TimedOut);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The first child found to have ended.
    pub fn first_ended(&mut self) -> Option<(usize, ExitStatus)> {
        let ended = |(index, child): (usize, &mut Child)| {
            child.try_wait().ok().flatten().map(|status| (index, status))
        };
        self.0.iter_mut().enumerate().find_map(ended)
    }

    /// Whether child `index` ends within `limit`. If not, it is killed on drop.
    pub fn ends(&mut self, index: usize, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while matches!(self.0[index].try_wait(), Ok(None)) {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Closes the pipes that are the children's standard input, if they have one.
    pub fn close_stdin(&mut self) {
        for child in &mut self.0 {
            drop(child.stdin.take());
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

/// Why the children are not all ready.
#[derive(Debug)]
pub enum NotReady {
    /// This child ended.
    Ended(usize, ExitStatus),
    /// They took too long.
    TimedOut,
}

impl std::fmt::Display for NotReady {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended(index, status) => match (status.code(), status.signal()) {
                (_, Some(signal)) => write!(f, "process {index} ended by signal {signal}"),
                (code, _) => write!(f, "process {index} ended with code {}", code.unwrap_or(-1)),
            },
            Self::TimedOut => f.write_str("timed out"),
        }
    }
}

/// Whether any thread of process `id` is in a realtime class (SCHED_FIFO or SCHED_RR), as
/// `/proc` tells.
#[must_use]
pub fn has_realtime_thread(id: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{id}/task")) else { return false };
    tasks.flatten().any(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // Field 41 is the policy; fields from the third on follow the name in brackets.
        let policy = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(38));
        matches!(policy, Some("1" | "2"))
    })
}
