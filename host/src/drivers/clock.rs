//! The monotonic clock that drivers keep time by.

/// Now, in ns of the clock of all time stamps ([`sandrack_sandbox::sys::clock`]). Neither allocates
/// nor locks.
#[inline]
pub fn now_ns() -> u64 {
    system::now_ns()
}

/// Sleeps until `due_ns` of the clock of [`now_ns`]; returns at once if that has passed. May
/// return late, never early.
pub fn sleep_until(due_ns: u64) {
    system::sleep_until(due_ns);
}

/// Sleeps until `spin_ns` before `due_ns` and busy-waits the rest, which takes the wake-up time
/// of an idle core out of the callback at the cost of that much processor time.
pub fn wait_until(due_ns: u64, spin_ns: u64) {
    sleep_until(due_ns.saturating_sub(spin_ns));
    while now_ns() < due_ns {
        std::hint::spin_loop();
    }
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::io::Errno;
    use rustix::thread::clock_nanosleep_absolute;
    use rustix::time::{ClockId, Timespec, clock_gettime};

    const NS: u64 = 1_000_000_000;

    pub(super) fn now_ns() -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        now.tv_sec as u64 * NS + now.tv_nsec as u64
    }

    pub(super) fn sleep_until(due_ns: u64) {
        let due = Timespec {
            tv_sec: (due_ns / NS).try_into().unwrap_or(i64::MAX),
            tv_nsec: (due_ns % NS) as _,
        };
        // Absolute, so that an interrupted sleep goes on without drifting.
        while clock_nanosleep_absolute(ClockId::Monotonic, &due) == Err(Errno::INTR) {}
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::time::Duration;

    pub(super) use sandrack_sandbox::sys::clock::now_ns;

    pub(super) fn sleep_until(due_ns: u64) {
        loop {
            let now = now_ns();
            if now >= due_ns {
                return;
            }
            std::thread::sleep(Duration::from_nanos(due_ns - now));
        }
    }
}
