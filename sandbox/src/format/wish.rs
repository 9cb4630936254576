//! What a plugin asks of its host, or tells it, however often.

use std::sync::atomic::{AtomicU8, Ordering};

/// Something the plugin asks for or tells: passed on once, however often it is said, until it is
/// fulfilled.
///
/// | state | on [`raise`](Self::raise) | on [`take`](Self::take) | on [`fulfil`](Self::fulfil) |
/// |---|---|---|---|
/// | `NONE` | `RAISED` | | |
/// | `RAISED` | | `TOLD` | `NONE` |
/// | `TOLD` | | | `NONE` |
#[derive(Default)]
pub(super) struct Wish(AtomicU8);

const NONE: u8 = 0;
const RAISED: u8 = 1;
const TOLD: u8 = 2;

impl Wish {
    /// True: it is new.
    pub(super) fn raise(&self) -> bool {
        // Release, with the load in `take`.
        self.0.compare_exchange(NONE, RAISED, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Whether it is to be passed on now.
    pub(super) fn take(&self) -> bool {
        // Acquire, with `raise`: what the plugin did before is visible.
        self.0.compare_exchange(RAISED, TOLD, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Begins anew. True: it had been raised.
    pub(super) fn fulfil(&self) -> bool {
        self.0.swap(NONE, Ordering::AcqRel) != NONE
    }

    /// Whether it has been raised and not been fulfilled.
    pub(super) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed) != NONE
    }
}
