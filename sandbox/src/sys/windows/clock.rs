//! The clock of all time stamps: the performance counter, the same in every process.
//!
//! # Safety
//! The `unsafe` calls fill a local.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};

const NS: u64 = 1_000_000_000;

/// Ticks a second, fixed since the system started. 0: not asked for yet.
static FREQUENCY: AtomicU64 = AtomicU64::new(0);

/// Now, in ns. Never steps back. Usually no system call.
#[inline]
pub fn now_ns() -> u64 {
    let mut ticks = 0;
    // SAFETY: fills a local. Can't fail since Windows XP.
    unsafe { QueryPerformanceCounter(&mut ticks) };
    to_ns(ticks as u64, frequency())
}

/// Sleeps until then (ns of [`now_ns`]), or a tick of the system's timer longer.
pub fn sleep_until(ns: u64) {
    std::thread::sleep(std::time::Duration::from_nanos(ns.saturating_sub(now_ns())));
}

#[inline]
fn frequency() -> u64 {
    match FREQUENCY.load(Ordering::Relaxed) {
        0 => {
            let mut frequency = 0;
            // SAFETY: as above.
            unsafe { QueryPerformanceFrequency(&mut frequency) };
            let frequency = (frequency as u64).max(1);
            FREQUENCY.store(frequency, Ordering::Relaxed);
            frequency
        }
        known => known,
    }
}

/// In two parts: ticks times 10^9 would overflow within half an hour.
#[inline]
fn to_ns(ticks: u64, frequency: u64) -> u64 {
    ticks / frequency * NS + ticks % frequency * NS / frequency
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_ns_without_overflow() {
        assert_eq!(to_ns(3, 10_000_000), 300);
        assert_eq!(to_ns(10_000_000, 10_000_000), NS);
        // A year, at the frequency of older systems, which is no divisor of 10^9.
        let year = 365 * 24 * 3600;
        assert_eq!(to_ns(year * 3_579_545 + 3, 3_579_545), year * NS + 838);
    }

    #[test]
    fn it_never_steps_back() {
        let mut before = now_ns();
        for _ in 0..10_000 {
            let now = now_ns();
            assert!(now >= before);
            before = now;
        }
    }
}
