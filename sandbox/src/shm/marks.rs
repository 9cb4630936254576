//! The marks by which processes tell each other, within a block, what is there: the few functions on
//! which everything hangs, by themselves, so that every order of their steps can be tried (see the
//! tests: loom does).
//!
//! | one side | other side | one of the two sees the other |
//! |---|---|---|
//! | [`ring`] | [`ring`] of another slot | so that a node whose last two marks come at the same time is woken |
//! | [`begin_work`] | [`close`], then [`is_at_work`] | so that no node runs a block that the host has closed and thinks nobody is at |
//! | [`end_work`] | [`watch`] | so that the host is woken for the node that it waits for |

use super::layout::is_later;
use std::sync::atomic::{AtomicU32, Ordering};

/// A word in shared memory. What is written before a `store` or `advance` is visible to who sees it by
/// a `load`; all three have one order for everybody (SeqCst).
pub trait Word {
    /// Without any order.
    fn peek(&self) -> u32;
    /// See the trait.
    fn load(&self) -> u32;
    /// See the trait.
    fn store(&self, value: u32);
    /// Stores `to` if the word still is `seen`; otherwise, what it is.
    fn advance(&self, seen: u32, to: u32) -> Result<(), u32>;
}

impl Word for AtomicU32 {
    #[inline]
    fn peek(&self) -> u32 {
        AtomicU32::load(self, Ordering::Relaxed)
    }

    #[inline]
    fn load(&self) -> u32 {
        AtomicU32::load(self, Ordering::SeqCst)
    }

    #[inline]
    fn store(&self, value: u32) {
        AtomicU32::store(self, value, Ordering::SeqCst);
    }

    #[inline]
    fn advance(&self, seen: u32, to: u32) -> Result<(), u32> {
        self.compare_exchange(seen, to, Ordering::SeqCst, Ordering::Relaxed).map(drop)
    }
}

/// A node's slots, without the host's if the host does not ring it in this block.
#[inline]
fn counted<W>(slots: &[W], host_rings: bool) -> &[W] {
    match host_rings {
        true => slots,
        false => slots.get(1..).unwrap_or(&[]),
    }
}

/// Whether everything a node waits for is there for this block: then what the ringers wrote before
/// is visible.
#[inline]
pub fn is_complete<W: Word>(slots: &[W], host_rings: bool, sequence: u32) -> bool {
    counted(slots, host_rings).iter().all(|slot| slot.load() == sequence)
}

/// Marks one of a node's slots with a block, unless it shows a later one already, and tells
/// whether the node now has all it waits for. Of two that ring at the same time, at least one sees
/// both marks.
#[inline]
pub fn ring<W: Word>(slots: &[W], slot: usize, host_rings: bool, sequence: u32) -> bool {
    let mine = &slots[slot];
    let mut seen = mine.peek();
    while is_later(sequence, seen) || seen == 0 {
        match mine.advance(seen, sequence) {
            Ok(()) => break,
            Err(now) => seen = now,
        }
    }
    is_complete(slots, host_rings, sequence)
}

/// Empties slots that show a later block than the last that there was: whoever may ring may also have
/// written rubbish, and a ringer does not go back.
#[cold]
pub fn mend<W: Word>(slots: &[W], last: u32) {
    for slot in slots {
        let seen = slot.load();
        if is_later(seen, last) {
            let _ = slot.advance(seen, 0);
        }
    }
}

/// A node says that it begins a block. False: the host has closed the block, and the node must touch
/// nothing of it. Otherwise the host finds it [at work](is_at_work).
#[inline]
pub fn begin_work<W: Word>(started: &W, open: &W, sequence: u32) -> bool {
    started.store(sequence);
    open.load() == sequence
}

/// The host closes the block.
#[inline]
pub fn close<W: Word>(open: &W) {
    open.store(0);
}

/// Whether a node is at a block that it has begun. Of the one that was [closed](close) before: if it is
/// not, it never will be.
#[inline]
pub fn is_at_work<W: Word>(started: &W, ended: &W) -> bool {
    started.load() != ended.load()
}

/// A node has ended a block; all it wrote before is visible to who sees that. Whether the host waits
/// for just this node, whose name to the host is `watch`, and has to be woken.
#[inline]
pub fn end_work<W: Word>(ended: &W, watched: &W, watch: u32, sequence: u32) -> bool {
    ended.store(sequence);
    watched.load() == watch
}

/// The host says which node it waits for; whether that has ended by now. If not, the node will see
/// that it is waited for.
#[inline]
pub fn watch<W: Word>(watched: &W, watch: u32, ended: &W, sequence: u32) -> bool {
    watched.store(watch);
    ended.load() == sequence
}

#[cfg(test)]
mod tests {
    //! Every order of steps, and every value that a weakly ordered processor may show (loom).

    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU32 as LoomU32, fence};
    use loom::thread;

    const SEQUENCE: u32 = 7;

    /// Loom knows no total order of SeqCst accesses, only of fences: with one beside each access
    /// it tries what the processor may do with SeqCst accesses, and no more.
    struct Checked(LoomU32);

    impl Checked {
        fn new(value: u32) -> Self {
            Self(LoomU32::new(value))
        }
    }

    impl Word for Checked {
        fn peek(&self) -> u32 {
            self.0.load(Ordering::Relaxed)
        }

        fn load(&self) -> u32 {
            fence(Ordering::SeqCst);
            self.0.load(Ordering::Acquire)
        }

        fn store(&self, value: u32) {
            self.0.store(value, Ordering::Release);
            fence(Ordering::SeqCst);
        }

        fn advance(&self, seen: u32, to: u32) -> Result<(), u32> {
            let result = self.0.compare_exchange(seen, to, Ordering::AcqRel, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            result.map(drop)
        }
    }

    /// What a block holds: plain memory. Loom fails if two touch it at the same time, or one does
    /// not see what another wrote.
    struct Plain(UnsafeCell<u32>);

    impl Plain {
        fn new() -> Arc<Self> {
            Arc::new(Self(UnsafeCell::new(0)))
        }

        fn write(&self, value: u32) {
            // SAFETY: loom tells if it is not.
            #[allow(unsafe_code)]
            self.0.with_mut(|plain| unsafe { *plain = value });
        }

        fn read(&self) -> u32 {
            // SAFETY: loom tells if it is not.
            #[allow(unsafe_code)]
            self.0.with(|plain| unsafe { *plain })
        }
    }

    // SAFETY: in a model loom sees to it, and tells.
    #[allow(unsafe_code)]
    unsafe impl Send for Plain {}
    // SAFETY: as above.
    #[allow(unsafe_code)]
    unsafe impl Sync for Plain {}

    /// Two predecessors ring at the same time: at least one wakes the node, and when it runs it sees
    /// what both have written.
    #[test]
    fn a_node_whose_last_marks_come_at_once_is_woken_and_sees_all() {
        loom::model(|| {
            // Of the host, which does not ring, and of two predecessors.
            let slots: Arc<[Checked; 3]> = Arc::new([0, 0, SEQUENCE - 1].map(Checked::new));
            let outputs = [Plain::new(), Plain::new()];
            let ringers: Vec<_> = (1..3)
                .map(|slot| {
                    let (slots, output) = (Arc::clone(&slots), Arc::clone(&outputs[slot - 1]));
                    thread::spawn(move || {
                        output.write(slot as u32);
                        ring(&slots[..], slot, false, SEQUENCE)
                    })
                })
                .collect();
            // The node may look at any time.
            if is_complete(&slots[..], false, SEQUENCE) {
                assert_eq!((outputs[0].read(), outputs[1].read()), (1, 2));
            }
            let wakes = ringers.into_iter().filter(|_| true).map(|r| r.join().unwrap());
            assert!(wakes.filter(|woken| *woken).count() >= 1, "nobody wakes the node");
            assert!(is_complete(&slots[..], false, SEQUENCE));
        });
    }

    /// One that is a block late does not undo a newer mark.
    #[test]
    fn a_mark_never_goes_back() {
        loom::model(|| {
            let slots = Arc::new([Checked::new(SEQUENCE - 1)]);
            let other = Arc::clone(&slots);
            let late = thread::spawn(move || ring(&other[..], 0, true, SEQUENCE));
            ring(&slots[..], 0, true, SEQUENCE + 1);
            late.join().unwrap();
            assert_eq!(slots[0].load(), SEQUENCE + 1);
        });
    }

    /// The host closes a block at its deadline while a node is about to begin it: either the host
    /// knows that the node is at work, or the node does not touch the block.
    #[test]
    fn no_node_runs_a_block_that_is_closed_and_given_up() {
        loom::model(|| {
            let words = Arc::new((Checked::new(SEQUENCE), Checked::new(0), Checked::new(0)));
            let block = Plain::new();
            let (of_node, its_block) = (Arc::clone(&words), Arc::clone(&block));
            let node = thread::spawn(move || {
                let (open, started, ended) = &*of_node;
                if begin_work(started, open, SEQUENCE) {
                    // Reads its input, writes its output.
                    its_block.write(1);
                }
                ended.store(SEQUENCE);
            });
            let (open, started, ended) = &*words;
            close(open);
            if !is_at_work(started, ended) {
                // The next block is written where the node would have read this one.
                block.write(2);
            }
            node.join().unwrap();
        });
    }

    /// The host begins to wait for a node while it ends: it sees the end, or is woken; and then sees
    /// what the node put out.
    #[test]
    fn the_host_is_woken_for_the_node_that_it_waits_for() {
        loom::model(|| {
            let words = Arc::new((Checked::new(0), Checked::new(0)));
            let output = Plain::new();
            let (of_node, its_output) = (Arc::clone(&words), Arc::clone(&output));
            let node = thread::spawn(move || {
                let (ended, watched) = &*of_node;
                its_output.write(5);
                end_work(ended, watched, 1, SEQUENCE)
            });
            let (ended, watched) = &*words;
            let has_ended = watch(watched, 1, ended, SEQUENCE);
            if has_ended {
                assert_eq!(output.read(), 5);
            }
            let wakes = node.join().unwrap();
            assert!(has_ended || wakes, "the host sleeps, and nobody wakes it");
        });
    }
}
