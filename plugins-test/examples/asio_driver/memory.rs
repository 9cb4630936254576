//! What outlasts an instance of the driver, in this process: what its user has set, which
//! happenings are over, when it is back, and counts. All is forgotten when the settings change.

use crate::settings::Settings;
use std::collections::HashSet;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is remembered.
#[derive(Default)]
pub(crate) struct Memory {
    text: String,
    pub(crate) preferred: Option<i32>,
    pub(crate) rate: Option<u32>,
    pub(crate) latency: Option<(i32, i32)>,
    pub(crate) clock: i32,
    /// Numbers of the happenings that are over.
    pub(crate) done: HashSet<usize>,
    gone_until: Option<Instant>,
}

/// What methods answer when all is well.
pub(crate) static OK: AtomicI32 = AtomicI32::new(crate::abi::OK);

static MEMORY: Mutex<Option<Memory>> = Mutex::new(None);

/// With what is remembered.
pub(crate) fn with<T>(work: impl FnOnce(&mut Memory) -> T) -> T {
    let mut memory: MutexGuard<'_, Option<Memory>> =
        MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    work(memory.get_or_insert_default())
}

/// Begins anew if the settings are not those of before.
pub(crate) fn settings_are(settings: &Settings) {
    with(|memory| {
        if memory.text != settings.text {
            *memory = Memory { text: settings.text.clone(), ..Memory::default() };
            COUNTS.iter().for_each(|count| count.store(0, Ordering::Relaxed));
            OK.store(settings.is_bad("ok-is-1").into(), Ordering::Relaxed);
        }
    });
}

impl Memory {
    pub(crate) fn is_gone(&self) -> bool {
        self.gone_until.is_some_and(|until| Instant::now() < until)
    }

    pub(crate) fn vanish(&mut self, time: Duration) {
        self.gone_until = Some(Instant::now() + time);
    }
}

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Count {
    /// Callbacks to the host.
    Blocks = 0,
    /// `outputReady` of the host.
    OutputReady = 1,
    /// Instances made.
    Instances = 2,
    /// Instances that are there.
    Alive = 3,
    /// `start` that did not fail.
    Starts = 4,
    /// `stop`.
    Stops = 5,
    /// Hardware connections made, less those taken back.
    Monitors = 6,
    /// `createBuffers` that did not fail, less `disposeBuffers`.
    Buffers = 7,
    /// Methods called on a thread other than that which made the instance.
    WrongThread = 8,
    /// Calls that come too early or twice: `start` without buffers, a second `createBuffers`.
    WrongOrder = 9,
    /// Calls to `getLatencies`.
    Latencies = 10,
    /// Answers of the host that are not those of ASIO 2.
    WrongAnswer = 11,
}

const KINDS: usize = 12;
static COUNTS: [AtomicU64; KINDS] = [const { AtomicU64::new(0) }; KINDS];

pub(crate) fn count(what: Count) {
    COUNTS[what as usize].fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn uncount(what: Count) {
    let less = |count: u64| count.checked_sub(1);
    let _ = COUNTS[what as usize].fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
}

pub(crate) fn count_of(what: u32) -> u64 {
    COUNTS.get(what as usize).map_or(u64::MAX, |count| count.load(Ordering::Relaxed))
}
