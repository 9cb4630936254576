//! The functions that drivers call. ASIO gives them no word about which driver is calling, so there
//! is a set of functions for each of a few slots, and a driver gets a slot of its own.
//!
//! Nothing here waits. Whatever a driver says is kept in atomics for the control thread; the
//! callback tries the slot's lock, and finds it taken only while the control thread puts a stream
//! in or takes it out, or while another thread of the driver is already in there.
//!
//! # Safety
//! The functions live as long as the process, and so do the slots: a driver that calls too late
//! finds an empty slot. Pointers from drivers are read where they are said to be valid, unaligned,
//! field by field: by the book these structs are packed to 4 bytes.
#![allow(unsafe_code)]

use super::object::rate_in_hz;
use super::stream::Stream;
use crate::drivers::block_clock::{Halves, Told};
use crate::drivers::clock;
use azo_sys::utils::I64Split;
use azo_sys::{Bool, Callbacks, MessageSelector, Time, TimeInfoFlags};
use std::ffi::c_void;
use std::ptr::{addr_of, null_mut};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

/// Drivers that can be open at once.
const SLOTS: usize = 8;

static SLOT: [Slot; SLOTS] = [const { Slot::new() }; SLOTS];
static CALLBACKS: [Callbacks; SLOTS] = [
    callbacks::<0>(),
    callbacks::<1>(),
    callbacks::<2>(),
    callbacks::<3>(),
    callbacks::<4>(),
    callbacks::<5>(),
    callbacks::<6>(),
    callbacks::<7>(),
];
/// The slot to begin looking at: one that was left is used again as late as possible.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// What a driver has said since it was last asked. Relaxed everywhere: each stands for itself.
#[derive(Default)]
pub(super) struct Said {
    pub(super) reset: AtomicBool,
    pub(super) resync: AtomicBool,
    pub(super) latency: AtomicBool,
    pub(super) overload: AtomicBool,
    /// Frames; 0: nothing.
    pub(super) size: AtomicU32,
    /// Hz; 0: nothing.
    pub(super) rate: AtomicU32,
}

/// What a slot counts. Relaxed as well.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) blocks: AtomicU64,
    pub(super) xruns: AtomicU64,
    /// Callbacks that came while another was running, and were not served.
    pub(super) overlaps: AtomicU64,
    /// Whether the callback has panicked, and is not called any more.
    pub(super) panicked: AtomicBool,
    /// When the last callback came, ns of the monotonic clock; 0: none did.
    pub(super) last_ns: AtomicU64,
}

/// A driver's place.
pub(super) struct Slot {
    taken: AtomicBool,
    stream: Mutex<Option<Stream>>,
    pub(super) said: Said,
    pub(super) counts: Counts,
}

impl Slot {
    const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            stream: Mutex::new(None),
            said: Said {
                reset: AtomicBool::new(false),
                resync: AtomicBool::new(false),
                latency: AtomicBool::new(false),
                overload: AtomicBool::new(false),
                size: AtomicU32::new(0),
                rate: AtomicU32::new(0),
            },
            counts: Counts {
                blocks: AtomicU64::new(0),
                xruns: AtomicU64::new(0),
                overlaps: AtomicU64::new(0),
                panicked: AtomicBool::new(false),
                last_ns: AtomicU64::new(0),
            },
        }
    }

    /// From the control thread: the stream, as soon as no callback is in it. `None`: one has been
    /// in it for two seconds.
    pub(super) fn stream(&self) -> Option<MutexGuard<'_, Option<Stream>>> {
        let end = Instant::now() + Duration::from_secs(2);
        loop {
            match self.stream.try_lock() {
                Ok(stream) => return Some(stream),
                Err(TryLockError::Poisoned(stream)) => return Some(stream.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() > end => return None,
                // Never by waiting at the lock itself: the callback would have to wake us.
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }

    /// Forgets what was said and counted.
    pub(super) fn forget(&self) {
        let Said { reset, resync, latency, overload, size, rate } = &self.said;
        [reset, resync, latency, overload].iter().for_each(|s| s.store(false, Ordering::Relaxed));
        [size, rate].iter().for_each(|s| s.store(0, Ordering::Relaxed));
        self.forget_counts();
    }

    /// Forgets what was counted.
    pub(super) fn forget_counts(&self) {
        let Counts { blocks, xruns, overlaps, panicked, last_ns } = &self.counts;
        panicked.store(false, Ordering::Relaxed);
        [blocks, xruns, overlaps, last_ns].iter().for_each(|c| c.store(0, Ordering::Relaxed));
    }

    fn switch(&self, index: i32, told: impl FnOnce(&Stream) -> Told) {
        let entered_ns = clock::now_ns();
        let mut stream = match self.stream.try_lock() {
            Ok(stream) => stream,
            Err(TryLockError::Poisoned(stream)) => stream.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.counts.overlaps.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        let Some(stream) = &mut *stream else { return };
        self.counts.last_ns.store(entered_ns.max(1), Ordering::Relaxed);
        let told = told(stream);
        stream.switch(index, entered_ns, told, &self.counts);
    }

    fn rate_changed(&self, rate: f64) {
        // 0: it has lost its clock, and does not know.
        let rate = rate_in_hz(rate);
        if rate > 0 {
            self.said.rate.store(rate, Ordering::Relaxed);
        }
    }

    fn message(&self, selector: MessageSelector, value: i32) -> i32 {
        let said = &self.said;
        let note = |flag: &AtomicBool| {
            flag.store(true, Ordering::Relaxed);
            1
        };
        match selector {
            MessageSelector::SELECTOR_SUPPORTED => i32::from(is_served(MessageSelector(value))),
            MessageSelector::ENGINE_VERSION => 2,
            MessageSelector::RESET_REQUEST => note(&said.reset),
            MessageSelector::RESYNC_REQUEST => note(&said.resync),
            MessageSelector::LATENCIES_CHANGED => note(&said.latency),
            MessageSelector::OVERLOAD => note(&said.overload),
            MessageSelector::SUPPORTS_TIME_INFO => 1,
            MessageSelector::BUFFER_SIZE_CHANGE => match u32::try_from(value) {
                Ok(frames @ 1..=8192) => {
                    said.size.store(frames, Ordering::Relaxed);
                    1
                }
                // Not a size: it may still ask for a reset, and state its sizes anew.
                _ => 0,
            },
            _ => 0,
        }
    }
}

fn is_served(selector: MessageSelector) -> bool {
    [
        MessageSelector::SELECTOR_SUPPORTED,
        MessageSelector::ENGINE_VERSION,
        MessageSelector::RESET_REQUEST,
        MessageSelector::BUFFER_SIZE_CHANGE,
        MessageSelector::RESYNC_REQUEST,
        MessageSelector::LATENCIES_CHANGED,
        MessageSelector::SUPPORTS_TIME_INFO,
        MessageSelector::OVERLOAD,
    ]
    .contains(&selector)
}

/// A slot that was taken; it is free again when this is dropped.
pub(super) struct Taken(usize);

impl Taken {
    /// `None`: all are in use.
    pub(super) fn take() -> Option<Self> {
        let begin = NEXT.load(Ordering::Relaxed) as usize;
        let free = |at: &usize| {
            let order = (Ordering::Acquire, Ordering::Relaxed);
            SLOT[*at].taken.compare_exchange(false, true, order.0, order.1).is_ok()
        };
        let at = (begin..begin + SLOTS).map(|n| n % SLOTS).find(free)?;
        NEXT.store(at as u32 + 1, Ordering::Relaxed);
        SLOT[at].forget();
        Some(Self(at))
    }

    pub(super) fn slot(&self) -> &'static Slot {
        &SLOT[self.0]
    }

    pub(super) fn callbacks(&self) -> &'static Callbacks {
        &CALLBACKS[self.0]
    }

    /// Never gives the slot back: its driver hangs, and may call some time.
    pub(super) fn keep_forever(self) {
        std::mem::forget(self);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        match self.slot().stream() {
            Some(mut stream) => drop(stream.take()),
            // Someone is in there: it can't be another's.
            None => return,
        }
        self.slot().taken.store(false, Ordering::Release);
    }
}

const fn callbacks<const AT: usize>() -> Callbacks {
    // None is ever missing: drivers call what they like, whatever they were told.
    Callbacks {
        buffer_switch: buffer_switch::<AT>,
        sample_rate_did_change: sample_rate_did_change::<AT>,
        asio_message: asio_message::<AT>,
        buffer_switch_time_info: buffer_switch_time_info::<AT>,
    }
}

unsafe extern "system" fn buffer_switch<const AT: usize>(index: i32, _direct: Bool) {
    SLOT[AT].switch(index, Stream::ask_position);
}

unsafe extern "system" fn sample_rate_did_change<const AT: usize>(rate: f64) {
    SLOT[AT].rate_changed(rate);
}

unsafe extern "system" fn asio_message<const AT: usize>(
    selector: MessageSelector,
    value: i32,
    _message: *const c_void,
    _option: *const f64,
) -> i32 {
    SLOT[AT].message(selector, value)
}

unsafe extern "system" fn buffer_switch_time_info<const AT: usize>(
    time: *mut Time,
    index: i32,
    _direct: Bool,
) -> *mut Time {
    let slot = &SLOT[AT];
    if time.is_null() {
        slot.switch(index, Stream::ask_position);
        return null_mut();
    }
    // SAFETY: a driver's `ASIOTime`, valid during this call. Read unaligned.
    let (flags, rate, position, stamp) = unsafe {
        let info = addr_of!((*time).time_info);
        (
            addr_of!((*info).flags).read_unaligned(),
            addr_of!((*info).sample_rate).read_unaligned(),
            addr_of!((*info).sample_position).read_unaligned(),
            addr_of!((*info).system_time).read_unaligned(),
        )
    };
    if flags.contains(TimeInfoFlags::SAMPLE_RATE_CHANGED) {
        slot.rate_changed(rate);
    }
    if flags.contains(TimeInfoFlags::CLOCK_SOURCE_CHANGED) {
        slot.said.resync.store(true, Ordering::Relaxed);
    }
    slot.switch(index, |_| Told {
        position: flags.contains(TimeInfoFlags::SAMPLE_POSITION_VALID).then(|| halves(position)),
        stamp: flags.contains(TimeInfoFlags::SYSTEM_TIME_VALID).then(|| halves(stamp)),
    });
    // Nothing was changed in it.
    null_mut()
}

pub(super) fn halves(I64Split { hi, lo }: I64Split) -> Halves {
    Halves { hi, lo }
}
