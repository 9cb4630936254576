//! Typed views of mapped regions.
//!
//! # Safety
//! `unsafe` here turns addresses inside a [`Mapping`] into references to atomics and into copies
//! of audio and events. What keeps it sound:
//! - A view holds its mapping (`Arc`), and checks at construction that the mapping is as large as
//!   its shape says; offsets come from the shape, which lies outside shared memory, never from
//!   what another process wrote.
//! - All header fields are atomics, for which any bit pattern is valid and racing is defined.
//! - Audio and events are copied out (or in) by `ptr::copy_nonoverlapping`. Another process may
//!   write at the same time: it then gets torn numbers, which are floats and integers all the
//!   same, and are scrubbed or checked after the copy.
//! - A writer is the only writer of its region in this process: it is built once, not `Clone`.
#![allow(unsafe_code)]

use super::layout::{
    BlockPage, DOORBELL_SLOTS, Doorbell, EVENTS, InboxShape, MAGIC, Outbox, OutboxShape, VERSION,
};
use crate::event::Event;
use crate::sys::memory::{Access, Mapping};
use crate::sys::wake::{Bell, Wait};
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A mapping seen as a `T` made of atomics.
struct Header<T> {
    at: NonNull<T>,
    mapping: Arc<Mapping>,
}

// SAFETY: the address stays valid as long as `mapping`, on any thread; T is made of atomics.
unsafe impl<T: Sync> Send for Header<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Header<T> {}

impl<T> Clone for Header<T> {
    fn clone(&self) -> Self {
        Self { at: self.at, mapping: Arc::clone(&self.mapping) }
    }
}

impl<T> Header<T> {
    fn new(mapping: Arc<Mapping>, len: usize) -> io::Result<Self> {
        if mapping.len() < len || len < size_of::<T>() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("shared memory of {} bytes where {len} are needed", mapping.len()),
            ));
        }
        // Mappings begin at a page, which satisfies any alignment here.
        let at = NonNull::new(mapping.as_ptr().cast()).ok_or(io::ErrorKind::Other)?;
        Ok(Self { at, mapping })
    }

    /// Stamps a region that is used for the first time, or checks the stamp of another's.
    fn stamp(&self, magic: impl Fn(&T) -> (&AtomicU32, &AtomicU32)) -> io::Result<()> {
        let (m, v) = magic(self);
        if self.mapping.access() == Access::ReadWrite && m.load(Ordering::Relaxed) == 0 {
            v.store(VERSION, Ordering::Relaxed);
            m.store(MAGIC, Ordering::Release);
        }
        match (m.load(Ordering::Acquire), v.load(Ordering::Relaxed)) {
            (MAGIC, VERSION) => Ok(()),
            (magic, version) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "shared memory is marked {magic:#x} version {version}, not {MAGIC:#x} version \
                     {VERSION}: host and worker are of different builds"
                ),
            )),
        }
    }

    fn byte(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset <= self.mapping.len());
        // Not by way of `mapping`, which lies elsewhere: a page more.
        // SAFETY: offsets come from the shape whose length was checked in `new`.
        unsafe { self.at.as_ptr().cast::<u8>().add(offset) }
    }
}

impl<T> Deref for Header<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: large enough and aligned (see `new`), alive as long as `mapping`; T consists of
        // atomics, valid for any bits.
        unsafe { self.at.as_ref() }
    }
}

/// The block page.
#[derive(Clone)]
pub struct BlockView(Header<BlockPage>);

impl BlockView {
    /// Bytes of the block page with its table.
    pub const LEN: usize = size_of::<BlockPage>();

    /// Views a mapping of [`LEN`](Self::LEN) bytes.
    pub fn new(mapping: Arc<Mapping>) -> io::Result<Self> {
        let header = Header::<BlockPage>::new(mapping, size_of::<BlockPage>())?;
        header.stamp(|page| (&page.magic, &page.version))?;
        Ok(Self(header))
    }
}

impl Deref for BlockView {
    type Target = BlockPage;
    #[inline]
    fn deref(&self) -> &BlockPage {
        &self.0
    }
}

/// A doorbell: one's own, or one that may be rung.
#[derive(Clone)]
pub struct DoorbellView {
    header: Header<Doorbell>,
    bell: Bell,
}

impl DoorbellView {
    /// Bytes of a doorbell.
    pub const LEN: usize = size_of::<Doorbell>();

    /// Views a mapping of [`LEN`](Self::LEN) bytes, with a bell.
    pub fn new(mapping: Arc<Mapping>) -> io::Result<Self> {
        let this = Self::of_another(mapping)?;
        this.header.stamp(|bell| (&bell.magic, &bell.version))?;
        Ok(this)
    }

    /// The same of a mapping that others than its maker have written to: its stamp may be anything by
    /// now, and says nothing.
    pub fn of_another(mapping: Arc<Mapping>) -> io::Result<Self> {
        let no_bell = || io::Error::new(io::ErrorKind::InvalidData, "a doorbell without a bell");
        let bell = mapping.bell(0).ok_or_else(no_bell)?;
        Ok(Self { header: Header::new(mapping, Self::LEN)?, bell })
    }

    /// Some consecutive slots: those of one node. `None` if they are not all there.
    pub fn slots(&self, first: u32, count: u32) -> Option<&[AtomicU32]> {
        let first = first as usize;
        let end = first.checked_add(count as usize).filter(|&end| end <= DOORBELL_SLOTS)?;
        self.header.slots.get(first..end)
    }

    /// Changes the word and wakes the owner.
    #[inline]
    pub fn wake(&self) {
        self.word.fetch_add(1, Ordering::SeqCst);
        self.bell.wake(&self.word);
    }

    /// Waits, as its owner, for a wake, unless the word has changed; see [`Bell::wait`].
    #[inline]
    pub fn wait(&self, expected: u32, deadline: u64) -> Wait {
        self.bell.wait(&self.word, expected, deadline)
    }
}

impl Deref for DoorbellView {
    type Target = Doorbell;
    #[inline]
    fn deref(&self) -> &Doorbell {
        &self.header
    }
}

/// The host's side of an inbox.
pub struct InboxWriter {
    mapping: Arc<Mapping>,
    shape: InboxShape,
}

fn check_len(mapping: &Mapping, len: usize) -> io::Result<()> {
    if mapping.len() < len {
        let what = format!("shared memory of {} bytes where {len} are needed", mapping.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(())
}

#[inline]
fn byte_of(mapping: &Mapping, offset: usize) -> *mut u8 {
    debug_assert!(offset <= mapping.len());
    // SAFETY: offsets come from a shape whose length was checked against the mapping's.
    unsafe { mapping.as_ptr().add(offset) }
}

impl InboxWriter {
    /// Views a writable mapping of the shape's length.
    pub fn new(mapping: Arc<Mapping>, shape: InboxShape) -> io::Result<Self> {
        check_len(&mapping, shape.len())?;
        Ok(Self { mapping, shape })
    }

    /// A channel of a source, to be written, in a block of `frames`; at most the shape's.
    #[inline]
    pub fn channel_mut(&mut self, source: usize, channel: u32, frames: u32) -> &mut [f32] {
        assert!(frames <= self.shape.max_frames && channel < self.shape.sources[source]);
        let at = self.shape.channel_at(source, channel, frames);
        let at = byte_of(&self.mapping, at).cast::<f32>();
        // SAFETY: within the region (shape), aligned to 64; this is the region's only writer, and
        // `&mut self` its only user in this process.
        unsafe { std::slice::from_raw_parts_mut(at, frames as usize) }
    }

    /// Writes event number `index`. False: no room.
    #[inline]
    pub fn write_event(&mut self, index: usize, event: &Event) -> bool {
        write_event(byte_of(&self.mapping, self.shape.events_at()), index, event)
    }
}

/// A worker's side of an inbox.
pub struct InboxReader {
    mapping: Arc<Mapping>,
    shape: InboxShape,
}

impl InboxReader {
    /// Views a mapping of the shape's length.
    pub fn new(mapping: Arc<Mapping>, shape: InboxShape) -> io::Result<Self> {
        check_len(&mapping, shape.len())?;
        Ok(Self { mapping, shape })
    }

    /// Copies a channel of a source in a block of `into`'s length.
    #[inline]
    pub fn read_channel(&self, source: usize, channel: u32, into: &mut [f32]) {
        let frames = into.len() as u32;
        assert!(frames <= self.shape.max_frames && channel < self.shape.sources[source]);
        copy_audio(byte_of(&self.mapping, self.shape.channel_at(source, channel, frames)), into);
    }

    /// Inserts this block's events, of which there are `count`.
    #[inline]
    pub fn read_events(&self, count: u32, into: &mut Vec<Event>) {
        let count = (count as usize).min(EVENTS);
        copy_events(byte_of(&self.mapping, self.shape.events_at()), count, |event| {
            crate::event::insert_sorted(into, event);
        });
    }
}

/// A worker's side of its own outbox.
pub struct OutboxWriter {
    header: Header<Outbox>,
    shape: OutboxShape,
}

impl OutboxWriter {
    /// Views a writable mapping of the shape's length, and resets it: whatever a predecessor in
    /// this place (a worker that crashed) left there is void.
    pub fn new(mapping: Arc<Mapping>, shape: OutboxShape) -> io::Result<Self> {
        let header = Header::<Outbox>::new(mapping, shape.len())?;
        header.stamp(|outbox| (&outbox.magic, &outbox.version))?;
        header.ended.store(0, Ordering::SeqCst);
        header.started.store(0, Ordering::SeqCst);
        Ok(Self { header, shape })
    }

    /// The fixed part.
    #[inline]
    pub fn header(&self) -> &Outbox {
        &self.header
    }

    /// Address of the first channel, for the plugin to write to.
    pub fn audio_ptr(&self) -> *mut f32 {
        self.header.byte(size_of::<Outbox>()).cast()
    }

    /// Writes event number `index`. False: no room.
    #[inline]
    pub fn write_event(&self, index: usize, event: &Event) -> bool {
        write_event(self.header.byte(self.shape.events_at()), index, event)
    }

    /// What it looks like.
    pub fn shape(&self) -> &OutboxShape {
        &self.shape
    }
}

/// Somebody else's view of an outbox: nothing in it is trusted.
#[derive(Clone)]
pub struct OutboxReader {
    header: Header<Outbox>,
    /// Channels of all buses, and most frames: what a block needs of the shape, whose buses lie
    /// in another page.
    channels: u32,
    max_frames: u32,
    shape: OutboxShape,
}

impl OutboxReader {
    /// Views a mapping of the shape's length.
    pub fn new(mapping: Arc<Mapping>, shape: OutboxShape) -> io::Result<Self> {
        let header = Header::new(mapping, shape.len())?;
        let (channels, max_frames) = (shape.buses.iter().sum(), shape.max_frames);
        Ok(Self { header, channels, max_frames, shape })
    }

    /// The fixed part.
    #[inline]
    pub fn header(&self) -> &Outbox {
        &self.header
    }

    /// What it looks like.
    pub fn shape(&self) -> &OutboxShape {
        &self.shape
    }

    /// Place of a bus's first channel among those of all buses.
    pub fn first_channel(&self, bus: usize) -> u32 {
        self.shape.buses[..bus].iter().sum()
    }

    /// Copies a channel of a bus in a block of `into`'s length, and scrubs it. False: there was
    /// something that is not a number. A channel that is not there is silent.
    #[inline]
    pub fn read_channel(&self, bus: usize, channel: u32, into: &mut [f32]) -> bool {
        if self.shape.buses.get(bus).is_none_or(|&channels| channel >= channels) {
            into.fill(0.0);
            return true;
        }
        let frames = into.len() as u32;
        self.read_part(self.first_channel(bus) + channel, frames, 0, into)
    }

    /// As [`read_channel`](Self::read_channel), a part of a block of `frames` that begins at
    /// frame `from`, of a channel named by its place among those of all buses.
    #[inline]
    pub fn read_part(&self, channel: u32, frames: u32, from: usize, into: &mut [f32]) -> bool {
        assert!(frames <= self.max_frames && from + into.len() <= frames as usize);
        assert!(channel < self.channels);
        let at = OutboxShape::audio_at(channel, frames) + from * size_of::<f32>();
        let from = self.header.byte(at).cast::<f32>();
        let mut bad = 0;
        // One pass, and no call into the C library, whose code would be a page more.
        for (index, sample) in into.iter_mut().enumerate() {
            // SAFETY: the region has room for this block's channels (see the shape). Read once:
            // what is checked is what is kept, whatever the writer does meanwhile.
            *sample = crate::scrub::scrubbed(unsafe { from.add(index).read() }, &mut bad);
        }
        bad == 0
    }

    /// Hands over this block's events that are valid for a block of so many frames.
    pub fn read_events(&self, frames: u32, mut take: impl FnMut(Event)) {
        let count = (self.header.events.load(Ordering::Relaxed) as usize).min(EVENTS);
        copy_events(self.header.byte(self.shape.events_at()), count, |event| {
            if event.is_valid(frames) {
                take(event);
            }
        });
    }
}

#[inline]
fn copy_audio(from: *const u8, into: &mut [f32]) {
    // SAFETY: the caller took `from` from a shape whose channels have room for `into`; a private
    // buffer never overlaps shared memory.
    unsafe { std::ptr::copy_nonoverlapping(from.cast::<f32>(), into.as_mut_ptr(), into.len()) };
}

#[inline]
fn write_event(list: *mut u8, index: usize, event: &Event) -> bool {
    if index >= EVENTS {
        return false;
    }
    // SAFETY: the caller's region has room for EVENTS events at `list`, aligned to 64.
    unsafe { list.cast::<Event>().add(index).write(*event) };
    true
}

#[inline]
fn copy_events(from: *const u8, count: usize, mut take: impl FnMut(Event)) {
    for index in 0..count {
        // SAFETY: `count` is at most EVENTS, for which the region has room; every bit pattern is
        // an Event. Copied before it is looked at, so that it can't change after a check.
        take(unsafe { from.cast::<Event>().add(index).read_volatile() });
    }
}
