//! Large writes of workers take turns.
//!
//! A kernel that does not preempt itself (`preempt=none`, `voluntary`) gives a core to nobody else while
//! it copies what a process writes: 0.3 to 1 ms for a megabyte, whatever the priority of whoever waits
//! for that core, the audio callback included. One such write in a period can be borne; several
//! plugins that write, each on a core, and one write right behind the other, can not. So what is
//! large is asked for, and begins only when the one before it should be over.

use super::listener::lock;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Bytes from which on a write is large.
pub(super) const LARGE: u64 = 64 << 10;
/// Bytes per second of large writes, of all workers of this process.
const RATE: u64 = 256_000_000;
/// No write is held up for longer.
const LONGEST: Duration = Duration::from_millis(250);

/// When the next may begin.
static FREE: Mutex<Option<Instant>> = Mutex::new(None);

/// Waits for the turn of a write of so many bytes.
pub(super) fn wait(bytes: u64) {
    let now = Instant::now();
    let begin = {
        let mut free = lock(&FREE);
        let begin = free.map_or(now, |free| free.clamp(now, now + LONGEST));
        *free = Some(begin + duration(bytes));
        begin
    };
    std::thread::sleep(begin - now);
}

fn duration(bytes: u64) -> Duration {
    Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / RATE).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_writes_take_turns_and_none_waits_for_ever() {
        let start = Instant::now();
        for _ in 0..6 {
            wait(2_560_000);
        }
        assert!(start.elapsed() >= Duration::from_millis(45), "{:?}", start.elapsed());
        assert_eq!(duration(u64::MAX), LONGEST);
    }
}
