//! Whether a worker's audio thread is in the realtime class. Outlives plans.

use crate::sys::thread::{self, ThreadId, priority};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The class of an audio thread, as the host made it last.
#[derive(Default)]
pub(crate) struct Class {
    demoted: AtomicBool,
    /// By how many it is to be kept off.
    held: AtomicU32,
}

impl Class {
    /// Whether it is off the realtime class.
    pub(crate) fn is_demoted(&self) -> bool {
        self.demoted.load(Ordering::Relaxed)
    }

    /// Takes the thread off the class. At most one system call on Linux, three on Windows.
    pub(crate) fn demote(&self, thread: ThreadId) {
        if !self.demoted.swap(true, Ordering::Relaxed) {
            thread::demote(thread);
        }
    }

    /// Puts it back, if it was taken off and is not kept off. As many system calls.
    pub(crate) fn promote(&self, thread: ThreadId) {
        if self.is_demoted() && self.held.load(Ordering::Relaxed) == 0 {
            self.demoted.store(false, Ordering::Relaxed);
            let _ = thread::promote(thread, priority::WORKER);
        }
    }
}

/// Keeps a thread off the class until dropped. The first block after that puts it back.
pub(super) struct Calm(Option<Arc<Class>>);

impl Calm {
    /// `thread`: if it is meant to be in the class at all.
    pub(super) fn new(class: Arc<Class>, thread: Option<ThreadId>) -> Self {
        Self(thread.map(|thread| {
            class.held.fetch_add(1, Ordering::Relaxed);
            // Also if it seems to be off: the realtime thread may be putting it back just now.
            thread::demote(thread);
            class.demoted.store(true, Ordering::Relaxed);
            class
        }))
    }
}

impl Drop for Calm {
    fn drop(&mut self) {
        if let Some(class) = &self.0 {
            class.held.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
