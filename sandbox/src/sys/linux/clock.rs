//! The clock of all time stamps: CLOCK_MONOTONIC, the same in every process.

use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Now, in ns. Never steps back. About 30 ns a call (vDSO, no system call).
#[inline]
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Sleeps until then (ns of [`now_ns`]), or a little less.
pub fn sleep_until(ns: u64) {
    let _ = clock_nanosleep_absolute(ClockId::Monotonic, &timespec(ns));
}

pub(super) fn timespec(ns: u64) -> Timespec {
    Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 }
}
