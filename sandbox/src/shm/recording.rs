//! The flight recorder's memory: the last blocks that a plugin was given, for the host to read once
//! the plugin's process has ended.
//!
//! ```text
//! slot 0 | slot 1 | … | event 0 | event 1 | … | settled 0 | …
//! ```
//! A *slot* holds a block: what describes it, then the audio of all input buses as the plugin saw
//! it. Events lie in a ring of their own, so that blocks with hundreds need no room in each slot. An
//! event that is overwritten and that set a parameter is kept as *settled*: what the parameter was
//! at the recording's beginning.
//!
//! There is no common word of how far the recording has come: a page that is not touched costs
//! nothing, and the slots' own stamps tell.
//!
//! # Safety
//! `unsafe` here turns addresses inside a [`Mapping`] into references to atomics and into copies of
//! audio and events. What keeps it sound:
//! - Both ends check at construction that the mapping is as large as the shape says; all offsets
//!   come from the shape, which lies outside shared memory, and from indices taken modulo its
//!   counts.
//! - All words are atomics, for which any bits are valid. Audio and events are copied; the writer
//!   may write at the same time, and may write anything: it is numbers all the same, and the stamp
//!   is looked at again after the copy.
//! - A writer is its region's only writer in this process: it is built once, not `Clone`.
#![allow(unsafe_code)]

use super::layout::{EVENTS, MAX_CHANNELS, MAX_FRAMES, stride};
use crate::event::{Event, kind};
use crate::format::Transport;
use crate::sys::memory::Mapping;
use std::io;
use std::mem::{align_of, offset_of, size_of};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering, fence};

/// Parameters whose values from before the recording are kept.
const SETTLED: usize = 1024;
/// Places that are tried for one of them.
const PROBES: usize = 8;
/// Most events of a block: the host's and those of other plugins.
pub const MAX_EVENTS: usize = 2 * EVENTS;
/// Most channels of all input buses of a plugin that is recorded.
const MOST_CHANNELS: u32 = 4 * MAX_CHANNELS;

/// How large a recording is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RecordingShape {
    /// Channels of all input buses.
    pub channels: u32,
    /// Most frames of a block.
    pub max_frames: u32,
    /// Blocks that are kept.
    pub blocks: u32,
    /// Events that are kept, of all blocks.
    pub events: u32,
}

/// A block. Behind it: its audio, channel by channel.
#[repr(C, align(64))]
struct Slot {
    /// Counts blocks of this recording, from 1; 0: being written. States: n → 0 → n + blocks
    /// (worker; release, with the acquire in [`RecordingReader::slot`]).
    stamp: AtomicU64,
    /// The engine's number of the block.
    block: AtomicU64,
    steady_time: AtomicU64,
    /// Number of its first event, counted over the recording.
    first_event: AtomicU64,
    events: AtomicU32,
    frames: AtomicU32,
    status: AtomicU32,
    transport_flags: AtomicU32,
    /// f64 bits, in the order of [`Transport`].
    transport: [AtomicU64; 7],
    bar_number: AtomicI32,
    /// As in the block page.
    signature: AtomicU32,
}

/// Values of [`Slot::status`].
mod status {
    pub(super) const BEGUN: u32 = 0;
    pub(super) const DONE: u32 = 1;
    pub(super) const FAILED: u32 = 2;
}

#[repr(C)]
struct Settled {
    /// The parameter's number plus one; 0: free.
    param: AtomicU64,
    value: AtomicU64,
    /// The engine's number of the block in which it was set.
    block: AtomicU64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Kept {
    /// The engine's number of the block.
    block: u64,
    event: Event,
}

const _: () = {
    assert!(size_of::<Slot>() == 128 && offset_of!(Slot, transport) == 48);
    assert!(size_of::<Settled>() == 24 && size_of::<Kept>() == 48 && align_of::<Kept>() == 8);
};

impl RecordingShape {
    /// Room for so many seconds, in at most so many bytes, though never less than for 16 blocks.
    /// `None`: a plugin with so many channels is not recorded.
    pub fn new(
        channels: u32,
        max_frames: u32,
        rate: f64,
        seconds: f64,
        most_bytes: usize,
    ) -> Option<Self> {
        if channels > MOST_CHANNELS || !(1..=MAX_FRAMES).contains(&max_frames) {
            return None;
        }
        const LEAST: usize = 16;
        let mut shape = Self { channels, max_frames, blocks: 1, events: 0 };
        // The cast limits what is absurd.
        let wanted = (seconds.max(0.0) * rate / f64::from(max_frames)).ceil() as usize;
        // A tenth for events, of which at least those of one block.
        let events = most_bytes / 10 / size_of::<Kept>();
        shape.events = events.clamp(MAX_EVENTS, 64 * MAX_EVENTS) as u32;
        let room = most_bytes.saturating_sub(shape.len() - shape.slot());
        shape.blocks = wanted.min(room / shape.slot()).clamp(LEAST, 1 << 20) as u32;
        Some(shape)
    }

    fn slot(&self) -> usize {
        size_of::<Slot>() + self.channels as usize * stride(self.max_frames)
    }

    fn events_at(&self) -> usize {
        self.blocks as usize * self.slot()
    }

    fn settled_at(&self) -> usize {
        self.events_at() + self.events as usize * size_of::<Kept>()
    }

    /// Size of the region.
    pub fn len(&self) -> usize {
        self.settled_at() + SETTLED * size_of::<Settled>()
    }

    /// Never true.
    pub fn is_empty(&self) -> bool {
        false
    }

    fn check(&self, mapping: &Mapping) -> io::Result<()> {
        let makes_sense = self.channels <= MOST_CHANNELS
            && (1..=MAX_FRAMES).contains(&self.max_frames)
            && (1..=1 << 20).contains(&self.blocks)
            && (1..=1 << 20).contains(&self.events);
        if makes_sense && mapping.len() >= self.len() {
            return Ok(());
        }
        let what = format!("{} bytes for a recording of shape {self:?}", mapping.len());
        Err(io::Error::new(io::ErrorKind::InvalidData, what))
    }
}

/// A region of a checked shape.
struct Region {
    shape: RecordingShape,
    mapping: Arc<Mapping>,
}

impl Region {
    fn new(mapping: Arc<Mapping>, shape: RecordingShape) -> io::Result<Self> {
        shape.check(&mapping)?;
        Ok(Self { shape, mapping })
    }

    #[inline]
    fn byte(&self, at: usize) -> *mut u8 {
        debug_assert!(at < self.mapping.len());
        // SAFETY: callers give offsets within the shape, for which there is room.
        unsafe { self.mapping.as_ptr().add(at) }
    }

    #[inline]
    fn slot(&self, number: u64) -> &Slot {
        let index = (number % u64::from(self.shape.blocks)) as usize;
        // SAFETY: within the region, aligned to 64 as slots are whole cache lines; atomics.
        unsafe { &*self.byte(index * self.shape.slot()).cast() }
    }

    #[inline]
    fn audio(&self, number: u64) -> *mut u8 {
        let index = (number % u64::from(self.shape.blocks)) as usize;
        self.byte(index * self.shape.slot() + size_of::<Slot>())
    }

    #[inline]
    fn event(&self, number: u64) -> *mut Kept {
        let index = (number % u64::from(self.shape.events)) as usize;
        self.byte(self.shape.events_at() + index * size_of::<Kept>()).cast()
    }

    fn settled(&self, index: usize) -> &Settled {
        let at = self.shape.settled_at() + index % SETTLED * size_of::<Settled>();
        // SAFETY: within the region, aligned to 8; atomics.
        unsafe { &*self.byte(at).cast() }
    }
}

/// What a block is, beside its audio and events.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BlockHead {
    /// The engine's number of the block.
    pub block: u64,
    /// Frames.
    pub frames: u32,
    /// Frames since the engine was made.
    pub steady_time: u64,
    /// Song position and tempo.
    pub transport: Transport,
}

/// The worker's side, used by its audio thread.
pub struct RecordingWriter {
    region: Region,
    /// Blocks and events so far.
    blocks: u64,
    events: u64,
}

impl RecordingWriter {
    /// Begins a recording.
    pub fn new(mapping: Arc<Mapping>, shape: RecordingShape) -> io::Result<Self> {
        Ok(Self { region: Region::new(mapping, shape)?, blocks: 0, events: 0 })
    }

    /// Writes down a block that the plugin is about to be given. `input`: the first channel.
    ///
    /// # Safety
    /// `input` is good for reading all channels of the shape, each in whole cache lines
    /// ([`stride`]), of a block of so many frames.
    #[inline]
    pub unsafe fn begin(&mut self, head: &BlockHead, events: &[Event], input: *const f32) {
        let slot = self.region.slot(self.blocks);
        let shape = &self.region.shape;
        let frames = head.frames.min(shape.max_frames);
        slot.stamp.store(0, Ordering::Relaxed);
        // Before anything below: who sees some of it sees the 0, too.
        fence(Ordering::Release);
        slot.block.store(head.block, Ordering::Relaxed);
        slot.steady_time.store(head.steady_time, Ordering::Relaxed);
        slot.first_event.store(self.events, Ordering::Relaxed);
        slot.events.store(events.len() as u32, Ordering::Relaxed);
        slot.frames.store(frames, Ordering::Relaxed);
        slot.status.store(status::BEGUN, Ordering::Relaxed);
        let transport = &head.transport;
        slot.transport_flags.store(transport.flags, Ordering::Relaxed);
        for (word, value) in slot.transport.iter().zip(numbers(transport)) {
            word.store(value.to_bits(), Ordering::Relaxed);
        }
        slot.bar_number.store(transport.bar_number, Ordering::Relaxed);
        let signature = u32::from(transport.signature_numerator) << 16
            | u32::from(transport.signature_denominator);
        slot.signature.store(signature, Ordering::Relaxed);
        let bytes = shape.channels as usize * stride(frames);
        let audio = self.region.audio(self.blocks);
        // SAFETY: the caller's channels are packed as these are, and a slot has room for the
        // longest block; private and shared memory don't overlap.
        unsafe { std::ptr::copy_nonoverlapping(input.cast::<u8>(), audio, bytes) };
        for event in events {
            self.keep(head.block, event);
        }
        self.blocks += 1;
        self.region.slot(self.blocks - 1).stamp.store(self.blocks, Ordering::Release);
    }

    /// The plugin has come back from the block that was begun last.
    #[inline]
    pub fn end(&mut self, done: bool) {
        let slot = self.region.slot(self.blocks.wrapping_sub(1));
        slot.status.store(if done { status::DONE } else { status::FAILED }, Ordering::Release);
    }

    fn keep(&mut self, block: u64, event: &Event) {
        let at = self.region.event(self.events);
        if self.events >= u64::from(self.region.shape.events) {
            // SAFETY: within the region (see `event`), aligned; any bits are a Kept.
            self.settle(unsafe { at.read_volatile() });
        }
        // SAFETY: as above.
        unsafe { at.write_volatile(Kept { block, event: *event }) };
        self.events += 1;
    }

    /// Keeps a parameter's value whose event is overwritten.
    fn settle(&self, Kept { block, event }: Kept) {
        if event.kind != kind::PARAM_VALUE || !is_for_all(&event) {
            return;
        }
        let (param, home) = (u64::from(event.param) + 1, hash(event.param));
        for probe in 0..PROBES {
            let place = self.region.settled(home + probe);
            let known = place.param.load(Ordering::Relaxed);
            if known == 0 || known == param {
                place.value.store(event.value.to_bits(), Ordering::Relaxed);
                place.block.store(block, Ordering::Relaxed);
                place.param.store(param, Ordering::Release);
                return;
            }
        }
    }
}

fn hash(param: u32) -> usize {
    (param.wrapping_mul(0x9e37_79b9) >> 16) as usize
}

/// Whether a parameter's value is for the whole plugin, not for one of its notes.
fn is_for_all(event: &Event) -> bool {
    event.note_id == -1 && event.port == -1 && event.channel == -1 && event.key == -1
}

fn numbers(transport: &Transport) -> [f64; 7] {
    [
        transport.tempo,
        transport.tempo_increment,
        transport.position_beats,
        transport.position_seconds,
        transport.loop_start_beats,
        transport.loop_end_beats,
        transport.bar_start_beats,
    ]
}

/// A recorded block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordedBlock {
    /// Counts blocks since the plugin was activated (or first recorded), from 0.
    pub number: u64,
    /// What it is.
    pub head: BlockHead,
    /// Whether the plugin came back from it.
    pub ended: bool,
    /// What happened in it.
    pub events: Vec<Event>,
    /// Samples of all input channels, one after the other.
    pub audio: Vec<f32>,
}

/// What was in a recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// The last blocks, oldest first, without a gap.
    pub blocks: Vec<RecordedBlock>,
    /// Parameters set before the first of them: number, value, the engine's number of the block.
    pub params: Vec<(u32, f64, u64)>,
}

/// The host's side. Nothing in the memory is trusted.
pub struct RecordingReader(Region);

impl RecordingReader {
    /// Views a mapping of the shape's length.
    pub fn new(mapping: Arc<Mapping>, shape: RecordingShape) -> io::Result<Self> {
        Region::new(mapping, shape).map(Self)
    }

    /// All that is there. Bounded by the shape, whatever the worker wrote; while it runs, blocks
    /// that are being overwritten are left out.
    pub fn read(&self) -> Recorded {
        let shape = self.0.shape;
        let mut stamps: Vec<u64> = (0..u64::from(shape.blocks))
            .filter_map(|index| {
                let number = self.0.slot(index).stamp.load(Ordering::Relaxed).checked_sub(1)?;
                (number % u64::from(shape.blocks) == index).then_some(number)
            })
            .collect();
        stamps.sort_unstable();
        let mut recorded = Recorded::default();
        // Backwards, up to the first gap, of the longest run: all of a worker that keeps its word.
        let runs = stamps.chunk_by(|a, b| a.checked_add(1) == Some(*b));
        let run = runs.max_by_key(|run| run.len()).unwrap_or(&[]);
        let mut first_event = None;
        for &number in run.iter().rev() {
            let Some((block, events)) = self.slot(number, first_event) else { break };
            first_event = Some(events);
            recorded.blocks.push(block);
        }
        recorded.blocks.reverse();
        if let (Some(event), Some(first)) = (first_event, recorded.blocks.first()) {
            recorded.params = self.params(event, first.head.block);
        }
        recorded
    }

    /// A block, and the number of its first event. `next_event`: that of the block after it.
    fn slot(&self, number: u64, next_event: Option<u64>) -> Option<(RecordedBlock, u64)> {
        let (slot, shape) = (self.0.slot(number), self.0.shape);
        if slot.stamp.load(Ordering::Acquire) != number + 1 {
            return None;
        }
        let float = |word: &AtomicU64| f64::from_bits(word.load(Ordering::Relaxed));
        let [tempo, increment, beats, seconds, loop_start, loop_end, bar] = &slot.transport;
        let signature = slot.signature.load(Ordering::Relaxed);
        let head = BlockHead {
            block: slot.block.load(Ordering::Relaxed),
            frames: slot.frames.load(Ordering::Relaxed),
            steady_time: slot.steady_time.load(Ordering::Relaxed),
            transport: Transport {
                flags: slot.transport_flags.load(Ordering::Relaxed),
                tempo: float(tempo),
                tempo_increment: float(increment),
                position_beats: float(beats),
                position_seconds: float(seconds),
                loop_start_beats: float(loop_start),
                loop_end_beats: float(loop_end),
                bar_start_beats: float(bar),
                bar_number: slot.bar_number.load(Ordering::Relaxed),
                signature_numerator: (signature >> 16) as u16,
                signature_denominator: signature as u16,
            },
        };
        let (first, count) =
            (slot.first_event.load(Ordering::Relaxed), slot.events.load(Ordering::Relaxed));
        let fits = (1..=shape.max_frames).contains(&head.frames)
            && count as usize <= MAX_EVENTS
            && next_event.is_none_or(|next| first.checked_add(count.into()) == Some(next));
        if !fits {
            return None;
        }
        let mut events = Vec::with_capacity(count as usize);
        for index in first..first.saturating_add(count.into()) {
            // SAFETY: within the region (see `event`), aligned; any bits are a Kept. Copied before
            // it is looked at.
            let kept = unsafe { self.0.event(index).read_volatile() };
            if kept.block != head.block {
                return None; // overwritten: more events than there is room for
            }
            if kept.event.is_valid(u32::MAX) {
                events.push(kept.event);
            }
        }
        let mut audio = vec![0.0; (shape.channels * head.frames) as usize];
        for (channel, samples) in audio.chunks_exact_mut(head.frames as usize).enumerate() {
            let at = channel * stride(head.frames);
            // SAFETY: channels of a block no longer than the longest lie within its slot.
            unsafe {
                let from = self.0.audio(number).add(at).cast::<f32>();
                std::ptr::copy_nonoverlapping(from, samples.as_mut_ptr(), samples.len());
            }
        }
        let ended = slot.status.load(Ordering::Relaxed) != status::BEGUN;
        // With the writer's fence: if anything above is of a later block, this is not its stamp.
        fence(Ordering::Acquire);
        let is_still = slot.stamp.load(Ordering::Relaxed) == number + 1;
        is_still.then_some((RecordedBlock { number, head, ended, events, audio }, first))
    }

    /// Parameters set before the event of this number, the first of this block or a later one.
    fn params(&self, first_event: u64, first_block: u64) -> Vec<(u32, f64, u64)> {
        let mut params: Vec<(u32, f64, u64)> = Vec::new();
        let mut set = |param: u32, value: f64, block| {
            if value.is_finite() {
                params.retain(|(known, ..)| *known != param);
                params.push((param, value, block));
            }
        };
        for index in 0..SETTLED {
            let place = self.0.settled(index);
            let param = place.param.load(Ordering::Acquire).checked_sub(1);
            if let Some(param) = param.and_then(|param| u32::try_from(param).ok()) {
                let value = f64::from_bits(place.value.load(Ordering::Relaxed));
                set(param, value, place.block.load(Ordering::Relaxed));
            }
        }
        // Of blocks that are overwritten, events that are not yet.
        let events = u64::from(self.0.shape.events);
        for index in first_event.saturating_sub(events)..first_event {
            // SAFETY: as in `slot`.
            let Kept { block, event } = unsafe { self.0.event(index).read_volatile() };
            // Later blocks: the ring has been overwritten here.
            if event.kind == kind::PARAM_VALUE && is_for_all(&event) && block < first_block {
                set(event.param, event.value, block);
            }
        }
        params
    }
}

#[cfg(test)]
mod tests;
