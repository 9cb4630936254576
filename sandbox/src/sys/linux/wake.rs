//! Waiting on a word in memory shared between processes (futex).

use super::clock::timespec;
use rustix::io::Errno;
use rustix::thread::futex;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;

/// Sleeps until [`wake`] is called on the word, unless the word is no longer `expected`; at most
/// until `deadline` (ns of [`now_ns`](super::clock::now_ns), `u64::MAX`: for ever). May return
/// early for no reason: the caller checks what it waits for.
#[inline]
pub fn wait(word: &AtomicU32, expected: u32, deadline: u64) -> Wait {
    // FUTEX_WAIT_BITSET takes an absolute time, which spares a clock read and does not stretch
    // when a signal interrupts. Not PRIVATE: the word is shared between processes.
    let until = (deadline != u64::MAX).then(|| timespec(deadline));
    match futex::wait_bitset(word, futex::Flags::empty(), expected, until.as_ref(), EVERY_BIT) {
        Err(Errno::TIMEDOUT) => Wait::TimedOut,
        _ => Wait::Woken,
    }
}

const EVERY_BIT: NonZeroU32 = NonZeroU32::MAX;

/// What wakes who waits on a word in shared memory: on this system the word alone does.
#[derive(Clone, Copy)]
pub struct Bell(());

impl Bell {
    pub(super) const ONLY: Self = Self(());

    /// As the function [`wait`].
    #[inline(always)]
    pub fn wait(&self, word: &AtomicU32, expected: u32, deadline: u64) -> Wait {
        wait(word, expected, deadline)
    }

    /// As the function [`wake`].
    #[inline(always)]
    pub fn wake(&self, word: &AtomicU32) {
        wake(word);
    }
}

/// Why [`wait`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Woken, or the word had changed, or for no reason.
    Woken,
    /// The deadline has passed.
    TimedOut,
}

/// Wakes the one thread that waits on the word, if there is one.
#[inline]
pub fn wake(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}
