//! What a plugin's calls leave for its main thread.
//!
//! The SDK ties the host's interfaces to the main thread, and plugins break that. So everything
//! here is an atomic or a lock-free queue: no call allocates or waits, whatever thread it is on.

use crate::format::wish::Wish;
use crate::format::{Notice, ParamEdit};
use crossbeam_queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::thread::{self, ThreadId};
use vst3::ComPtr;
use vst3::Steinberg::Vst::{IConnectionPoint, IMessage};

/// Most edits that wait for the main thread. Beyond them, all parameters are read anew.
const EDITS: usize = 8192;
/// Most requests for buses that wait. Beyond them, they are refused.
const BUS_REQUESTS: usize = 256;
/// Most messages from other threads that wait.
const MESSAGES: usize = 1024;

/// Wakes the main thread.
pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

/// Calls that belong on the main thread, a bit each: made elsewhere, they are told once.
#[derive(Clone, Copy)]
pub(super) enum MainCall {
    Edit,
    Restart,
    Dirty,
    Unit,
    Message,
    Bus,
}

const MAIN_CALLS: [&str; 6] = [
    "beginEdit, performEdit or endEdit",
    "restartComponent",
    "setDirty",
    "a unit notification",
    "IConnectionPoint::notify",
    "requestBusActivation",
];

/// A message on its way, and who gets it.
pub(super) struct Letter {
    pub(super) to: ComPtr<IConnectionPoint>,
    pub(super) message: ComPtr<IMessage>,
}

/// A plugin wants an audio bus to be active, or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BusRequest {
    pub(super) is_input: bool,
    pub(super) index: usize,
    pub(super) active: bool,
}

/// Each is fulfilled by what the comment says.
#[derive(Default)]
pub(super) struct Wishes {
    /// Activation.
    pub(super) restart: Wish,
    /// Activation, which reads the latency.
    pub(super) latency: Wish,
    /// Reading the parameters.
    pub(super) params: Wish,
    /// Saving the state.
    pub(super) dirty: Wish,
}

/// What plugin and host share.
pub(super) struct Shared {
    main_thread: ThreadId,
    wake: Wake,
    pub(super) wishes: Wishes,
    /// Flags of `restartComponent` not yet looked at.
    flags: AtomicI32,
    edits: ArrayQueue<(u32, ParamEdit)>,
    edits_lost: AtomicBool,
    bus_requests: ArrayQueue<BusRequest>,
    letters: ArrayQueue<Letter>,
    misuse: AtomicU32,
    told: AtomicU32,
}

impl Shared {
    /// Of the thread that calls it.
    pub(super) fn new(wake: Wake) -> Self {
        Self {
            main_thread: thread::current().id(),
            wake,
            wishes: Wishes::default(),
            flags: AtomicI32::new(0),
            edits: ArrayQueue::new(EDITS),
            edits_lost: AtomicBool::new(false),
            bus_requests: ArrayQueue::new(BUS_REQUESTS),
            letters: ArrayQueue::new(MESSAGES),
            misuse: AtomicU32::new(0),
            told: AtomicU32::new(0),
        }
    }

    pub(super) fn wake(&self) -> Wake {
        Arc::clone(&self.wake)
    }

    pub(super) fn is_main_thread(&self) -> bool {
        thread::current().id() == self.main_thread
    }

    /// To be called by what belongs on the main thread. (Hosted in-process and offline, the main
    /// thread may be the audio thread too: then nothing is noticed.)
    pub(super) fn check(&self, call: MainCall) {
        if cfg!(debug_assertions) && !self.is_main_thread() {
            let bit = 1 << call as u32;
            if self.misuse.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
                (self.wake)();
            }
        }
    }

    pub(super) fn raise(&self, wish: &Wish) {
        if wish.raise() {
            (self.wake)();
        }
    }

    /// `restartComponent`.
    pub(super) fn restart(&self, flags: i32) {
        // Release, with the swap in `take_flags`.
        if self.flags.fetch_or(flags, Ordering::Release) & flags != flags {
            (self.wake)();
        }
    }

    pub(super) fn take_flags(&self) -> i32 {
        self.flags.swap(0, Ordering::Acquire)
    }

    pub(super) fn edit(&self, param: u32, edit: ParamEdit) {
        if self.edits.push((param, edit)).is_err() {
            self.edits_lost.store(true, Ordering::Release);
        }
        (self.wake)();
    }

    pub(super) fn take_edit(&self) -> Option<(u32, ParamEdit)> {
        self.edits.pop()
    }

    /// Whether edits did not fit since the last call.
    pub(super) fn take_edits_lost(&self) -> bool {
        self.edits_lost.swap(false, Ordering::Acquire)
    }

    /// False: too many wait already.
    pub(super) fn request_bus(&self, request: BusRequest) -> bool {
        let taken = self.bus_requests.push(request).is_ok();
        (self.wake)();
        taken
    }

    pub(super) fn take_bus_request(&self) -> Option<BusRequest> {
        self.bus_requests.pop()
    }

    /// Has the main thread deliver a message. False: too many wait already.
    pub(super) fn post(&self, letter: Letter) -> bool {
        let posted = self.letters.push(letter).is_ok();
        (self.wake)();
        posted
    }

    pub(super) fn take_letter(&self) -> Option<Letter> {
        self.letters.pop()
    }

    /// Lines about calls from the wrong thread, each once.
    pub(super) fn take_misuse(&self) -> Vec<Notice> {
        let misuse = self.misuse.load(Ordering::Relaxed);
        let new = misuse & !self.told.swap(misuse, Ordering::Relaxed);
        MAIN_CALLS
            .iter()
            .enumerate()
            .filter(|(bit, _)| new & (1 << bit) != 0)
            .map(|(_, call)| Notice::Log(6, format!("called {call} not on the main thread")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_from_the_wrong_thread_is_told_once() {
        let shared = Shared::new(Arc::new(|| {}));
        shared.check(MainCall::Dirty);
        assert!(shared.take_misuse().is_empty());
        for expected in [1, 0] {
            thread::scope(|scope| {
                scope.spawn(|| shared.check(MainCall::Dirty));
            });
            assert_eq!(shared.take_misuse().len(), expected);
        }
    }

    #[test]
    fn edits_beyond_what_fits_are_known_to_be_lost() {
        let shared = Shared::new(Arc::new(|| {}));
        for n in 0..EDITS {
            shared.edit(n as u32, ParamEdit::Begin);
        }
        assert!(!shared.take_edits_lost());
        shared.edit(0, ParamEdit::Value(1.0));
        assert!(shared.take_edits_lost() && !shared.take_edits_lost());
        assert_eq!(shared.take_edit(), Some((0, ParamEdit::Begin)));
    }
}
