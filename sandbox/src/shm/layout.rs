//! The one place where the layout of shared memory is written down.
//!
//! Six kinds of region, each its own memory object:
//!
//! | region | written by | read by |
//! |---|---|---|
//! | [`BlockPage`], one a host | host | every worker |
//! | [`Doorbell`], one a worker and one for the host | whoever may ring it | its owner |
//! | inbox ([`InboxShape`]), one a node and plan | host | the node's worker |
//! | [`Outbox`], one a node | the node's worker | host and the node's successors |
//! | [recording](super::recording), one a node, where asked for | the node's worker | host |
//! | [crash page](super::crash_page), one a worker | the worker | host |
//!
//! What a block touches lies together: a worker that is woken finds none of its address translations
//! cached (the processor keeps those of a few processes only), so each page it touches costs up to
//! 100 ns. Hence channels are packed by the frames of the block at hand, not by the most there
//! may be, and what the host tells each node lies in one table behind the block page.
//!
//! Nothing in memory says how large anything is: sizes and offsets ([`InboxShape`],
//! [`OutboxShape`]) travel over the control path and are kept outside shared memory.
//!
//! # Sequence numbers
//! A block is known here by a `u32` that is never 0 ([`sequence`]); consecutive blocks have
//! consecutive numbers, and two are compared by their wrapping difference.
//!
//! # Ordering
//! The data of a block (audio, events, times) is plain or relaxed; what orders it is the pair
//! named at each word below.

use crate::event::Event;
use std::mem::{align_of, offset_of, size_of};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};

/// First word of each region.
pub const MAGIC: u32 = 0x5352_4b31; // "SRK1"
/// Changes with any change of layout or meaning. Workers of another version are refused.
pub const VERSION: u32 = 2;

/// Most frames a block may have.
pub const MAX_FRAMES: u32 = 8192;
/// Events that fit into one inbox, and into one outbox, a block.
pub const EVENTS: usize = 256;
/// Most sources of one node, so that a `u64` holds a bit for each.
pub const MAX_SOURCES: usize = 64;
/// Most channels of one bus.
pub const MAX_CHANNELS: u32 = 256;
/// Most frames of delay that a plugin is believed to have: 11 s at 48 kHz.
pub const MAX_LATENCY: u32 = 1 << 19;

/// The sequence number of a block: `1..=u32::MAX`, consecutive, 0 left out.
#[inline]
pub fn sequence(block: u64) -> u32 {
    (block % u64::from(u32::MAX)) as u32 + 1
}

/// Whether `a` is later than `b`, by at most half the range.
#[inline]
pub fn is_later(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < u32::MAX / 2
}

/// What all nodes need to know of the present block. Written by the host only.
#[repr(C, align(64))]
pub struct BlockPage {
    /// [`MAGIC`].
    pub magic: AtomicU32,
    /// [`VERSION`].
    pub version: AtomicU32,
    /// Sequence number of the block in work; 0 between blocks.
    /// States: 0 → n (host, `begin`, SeqCst, with the load in `AudioNode::run`) → 0 (host, `end`).
    /// A node that stores `Outbox::started` and then reads another number here does not run:
    /// with the host's store here and load there, one of the two sees the other.
    pub open: AtomicU32,
    /// Which plan the block belongs to: names the topology that nodes have to use.
    pub generation: AtomicU32,
    /// Frames in the block.
    pub frames: AtomicU32,
    /// Bits of [`TransportFlags`](crate::event::transport_flags).
    pub transport_flags: AtomicU32,
    /// Frames since the engine was made.
    pub steady_time: AtomicU64,
    /// f64 bits: quarter notes per minute.
    pub tempo: AtomicU64,
    /// f64 bits: change of tempo per frame.
    pub tempo_increment: AtomicU64,
    /// f64 bits: quarter notes.
    pub position_beats: AtomicU64,
    /// f64 bits: seconds.
    pub position_seconds: AtomicU64,
    /// f64 bits: quarter notes.
    pub loop_start_beats: AtomicU64,
    /// f64 bits: quarter notes.
    pub loop_end_beats: AtomicU64,
    /// f64 bits: quarter notes.
    pub bar_start_beats: AtomicU64,
    /// From 0.
    pub bar_number: AtomicI32,
    /// Numerator in the upper half, denominator in the lower.
    pub signature: AtomicU32,
    /// Number in the plan, plus one, of the node whose end the host waits for; 0: none.
    /// SeqCst, with `Outbox::ended`: the node stores its end, then reads this; the host stores
    /// this, then reads the end. One of the two sees the other, so no wake is lost.
    pub watched: AtomicU32,
    _to_word: u32,
    /// The engine's own number of the block: names it in reports and recordings.
    pub number: AtomicU64,
    _to_line: [u32; 4],
    /// What concerns one node alone, by its number in the plan.
    pub nodes: [NodeEntry; MAX_NODES],
}

/// What the host tells one node for one block.
#[repr(C, align(16))]
pub struct NodeEntry {
    /// Bit i: source i is read from the inbox and not from its predecessor.
    pub replaced: AtomicU64,
    /// Events in the inbox; at most [`EVENTS`].
    pub events: AtomicU32,
    /// 0: the host does not ring this node in this block, and its slot, the first, does not count.
    /// (Marking that slot all the same would cost the host a page of each worker in each block.)
    pub host_rings: AtomicU32,
}

/// Most nodes in a plan.
pub const MAX_NODES: usize = 4088;

/// Where a worker (or the host) is woken. Its owner waits on `word`; whoever rings writes a slot,
/// and wakes the owner if that completes a node.
#[repr(C, align(64))]
pub struct Doorbell {
    /// [`MAGIC`].
    pub magic: AtomicU32,
    /// [`VERSION`].
    pub version: AtomicU32,
    /// Changes at each wake. Only a hint: the owner decides by slots and marks.
    pub word: AtomicU32,
    /// Not 0: the worker's main thread wants something of its audio thread.
    pub commands: AtomicU32,
    /// The value of `word` that the owner saw last: whether a worker that missed a block is alive
    /// again shows when it answers a wake.
    pub answered: AtomicU32,
    _to_line: [u32; 11],
    /// One word for each thing a node waits for: the sequence number of the last block for which
    /// it was there. Only grows (`ring`), so that one who is late can't undo what is newer.
    pub slots: [AtomicU32; DOORBELL_SLOTS],
}

/// Slots in a doorbell. Half of them serve plans of even generation, half those of odd; see
/// `remote::slot_areas`.
pub const DOORBELL_SLOTS: usize = 4080;

/// What one node put out. Behind it, by [`OutboxShape`]: events, audio.
#[repr(C, align(64))]
pub struct Outbox {
    /// [`MAGIC`].
    pub magic: AtomicU32,
    /// [`VERSION`].
    pub version: AtomicU32,
    /// Block that the node began last. States: ended → n (worker, `AudioNode::run`, SeqCst).
    pub started: AtomicU32,
    /// Block that the node finished last; all below is of this block. States: → started (worker,
    /// SeqCst release, with the acquire load in `RemoteSet::outcome` and `AudioNode::gather`).
    pub ended: AtomicU32,
    /// 1: the plugin processed the block. 2: it reported an error. 0: skipped, nothing below.
    pub status: AtomicU32,
    /// Events below; a reader takes at most [`EVENTS`].
    pub events: AtomicU32,
    /// ns: when the node began.
    pub start_ns: AtomicU64,
    /// ns: when it had finished.
    pub end_ns: AtomicU64,
}

/// Values of [`Outbox::status`].
pub mod status {
    /// Not processed.
    pub const SKIPPED: u32 = 0;
    /// Processed.
    pub const DONE: u32 = 1;
    /// The plugin reported an error.
    pub const FAILED: u32 = 2;
}

/// Where things lie in an inbox: the sources' channels one after the other.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct InboxShape {
    /// Channels of each source.
    pub sources: Vec<u32>,
    /// Most frames of a block.
    pub max_frames: u32,
}

/// Where things lie in an outbox: the output buses' channels one after the other.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OutboxShape {
    /// Channels of each output bus.
    pub buses: Vec<u32>,
    /// Most frames of a block.
    pub max_frames: u32,
}

/// Bytes from one channel to the next in a block of so many frames: whole cache lines.
#[inline]
pub const fn stride(frames: u32) -> usize {
    (frames as usize * size_of::<f32>()).next_multiple_of(64)
}

impl InboxShape {
    /// Bytes from the start of the region to a channel of a source.
    #[inline]
    pub fn channel_at(&self, source: usize, channel: u32, frames: u32) -> usize {
        let before: u32 = self.sources[..source].iter().sum();
        (before + channel) as usize * stride(frames)
    }

    /// Bytes from the start of the region to the events.
    pub fn events_at(&self) -> usize {
        self.channel_at(self.sources.len(), 0, self.max_frames)
    }

    /// Size of the region.
    pub fn len(&self) -> usize {
        self.events_at() + EVENTS * size_of::<Event>()
    }

    /// Never true.
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl OutboxShape {
    /// Bytes from the start of the region to a channel, counted over all buses.
    #[inline]
    pub fn audio_at(channel: u32, frames: u32) -> usize {
        size_of::<Outbox>() + channel as usize * stride(frames)
    }

    /// Bytes from the start of the region to a channel of a bus.
    pub fn channel_at(&self, bus: usize, channel: u32, frames: u32) -> usize {
        let before: u32 = self.buses[..bus].iter().sum();
        Self::audio_at(before + channel, frames)
    }

    /// Bytes from the start of the region to the events.
    pub fn events_at(&self) -> usize {
        self.channel_at(self.buses.len(), 0, self.max_frames)
    }

    /// Size of the region.
    pub fn len(&self) -> usize {
        self.events_at() + EVENTS * size_of::<Event>()
    }

    /// Never true.
    pub fn is_empty(&self) -> bool {
        false
    }
}

// The layout, checked: a change here is a change of VERSION.
const _: () = {
    assert!(size_of::<BlockPage>() == 16 * 4096 && align_of::<BlockPage>() == 64);
    assert!(
        offset_of!(BlockPage, number) == 104
            && offset_of!(BlockPage, nodes) == 128
            && size_of::<NodeEntry>() == 16
    );
    assert!(offset_of!(BlockPage, open) == 8 && offset_of!(BlockPage, steady_time) == 24);
    assert!(size_of::<Doorbell>() == 64 + 4 * DOORBELL_SLOTS);
    assert!(offset_of!(Doorbell, word) == 8 && offset_of!(Doorbell, slots) == 64);
    assert!(size_of::<Doorbell>() == 4 * 4096);
    assert!(size_of::<Outbox>() == 64 && offset_of!(Outbox, start_ns) == 24);
    assert!(size_of::<Event>() == 40 && align_of::<Event>() == 8);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_are_consecutive_and_never_zero_across_the_wrap() {
        let wrap = u64::from(u32::MAX);
        for block in [0, 1, wrap - 2, wrap - 1, wrap, wrap + 1, 2 * wrap] {
            let (now, next) = (sequence(block), sequence(block + 1));
            assert_ne!(now, 0);
            assert!(is_later(next, now), "{next} after {now}");
            assert!(!is_later(now, next));
        }
        assert!(!is_later(7, 7));
    }

    #[test]
    fn channels_do_not_overlap_and_lie_before_the_events() {
        let shape = OutboxShape { buses: vec![2, 1, 0, 3], max_frames: 33 };
        for frames in [1, 16, 17, 33] {
            let mut at = vec![];
            for (bus, &channels) in shape.buses.iter().enumerate() {
                at.extend((0..channels).map(|c| shape.channel_at(bus, c, frames)));
            }
            assert!(at[0] >= size_of::<Outbox>());
            assert!(at.windows(2).all(|w| w[1] - w[0] >= frames as usize * 4));
            assert!(at.iter().all(|at| at % 64 == 0));
            assert!(at[5] + frames as usize * 4 <= shape.events_at());
        }
        assert_eq!(shape.events_at() % align_of::<Event>(), 0);
    }
}
