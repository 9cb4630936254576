//! What runs on the engine's thread: built-in nodes, and plugins that are not isolated.

use crate::block::Block;
use crate::event::{Event, EventBuffer, Notes};
use crate::mix::Channels;

/// Processes blocks on the realtime thread. None of its methods may allocate, lock, log or block.
pub trait Processor: Send {
    /// Processes one block. Every output channel must be written: it holds old audio. False: the
    /// output is not to be used, the node's fallback is heard.
    fn process(&mut self, block: &Block, audio: AudioIo<'_>, events: EventIo<'_>) -> bool;

    /// Forgets all that was heard, keeps all that was set.
    fn reset(&mut self);

    /// Says what becomes of its notes from the next block on. Whoever puts out notes keeps to it.
    fn set_notes(&mut self, _notes: Notes) {}
}

/// A node's audio in one block. The two sides are separate fields, so that one can be read while
/// the other is written.
#[derive(Debug)]
pub struct AudioIo<'a> {
    /// Input buses.
    pub inputs: Inputs<'a>,
    /// Output buses.
    pub outputs: Outputs<'a>,
}

/// Where a bus lies.
#[derive(Clone, Copy, Debug)]
pub struct BusRef {
    /// Which of the buffers.
    pub buffer: usize,
    /// Channels, one after the other in the buffer.
    pub channels: usize,
}

/// The input buses of a node.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    buffers: &'a [Box<[f32]>],
    buses: &'a [BusRef],
    stride: usize,
    frames: usize,
}

impl<'a> Inputs<'a> {
    /// Buses in `buffers`, whose channels are `stride` samples apart, `frames` of them in use.
    pub fn new(
        buffers: &'a [Box<[f32]>],
        buses: &'a [BusRef],
        stride: usize,
        frames: usize,
    ) -> Self {
        Self { buffers, buses, stride, frames }
    }

    /// How many buses.
    pub fn buses(&self) -> usize {
        self.buses.len()
    }

    /// How many channels a bus has.
    pub fn channels(&self, bus: usize) -> usize {
        self.buses[bus].channels
    }

    /// The samples of one channel.
    pub fn channel(&self, bus: usize, channel: usize) -> &'a [f32] {
        self.bus(bus).get(channel, self.frames)
    }

    /// The channels of a bus, in order.
    pub fn iter(&self, bus: usize) -> impl ExactSizeIterator<Item = &'a [f32]> + use<'a> {
        let (channels, frames) = (self.bus(bus), self.frames);
        (0..channels.channels).map(move |channel| channels.get(channel, frames))
    }

    pub(crate) fn bus(&self, bus: usize) -> Channels<'a> {
        let at = self.buses[bus];
        Channels { samples: &self.buffers[at.buffer], channels: at.channels, stride: self.stride }
    }
}

/// The output buses of a node: bus `i` lies in buffer `i`.
#[derive(Debug)]
pub struct Outputs<'a> {
    buffers: &'a mut [Box<[f32]>],
    stride: usize,
    frames: usize,
    channels: &'a [BusRef],
}

impl<'a> Outputs<'a> {
    /// Bus `i` in `buffers[i]`, of `buses[i].channels`, which are `stride` samples apart, `frames`
    /// of them in use.
    pub fn new(
        buffers: &'a mut [Box<[f32]>],
        buses: &'a [BusRef],
        stride: usize,
        frames: usize,
    ) -> Self {
        Self { buffers, stride, frames, channels: buses }
    }

    /// How many buses.
    pub fn buses(&self) -> usize {
        self.channels.len()
    }

    /// How many channels a bus has.
    pub fn channels(&self, bus: usize) -> usize {
        self.channels[bus].channels
    }

    /// The samples of one channel, to be written.
    pub fn channel(&mut self, bus: usize, channel: usize) -> &mut [f32] {
        assert!(channel < self.channels[bus].channels);
        &mut self.buffers[bus][channel * self.stride..][..self.frames]
    }

    /// The channels of a bus, in order, to be written.
    pub fn iter_mut(&mut self, bus: usize) -> impl ExactSizeIterator<Item = &mut [f32]> {
        let (frames, stride) = (self.frames, self.stride);
        let used = self.channels[bus].channels * stride;
        self.buffers[bus][..used].chunks_exact_mut(stride).map(move |c| &mut c[..frames])
    }

    /// All channels of all buses, to be written.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let (frames, stride) = (self.frames, self.stride);
        self.buffers.iter_mut().zip(self.channels).flat_map(move |(buffer, bus)| {
            buffer[..bus.channels * stride].chunks_exact_mut(stride).map(move |c| &mut c[..frames])
        })
    }
}

/// A node's events in one block.
#[derive(Debug)]
pub struct EventIo<'a> {
    /// What it receives, sorted by time.
    pub input: &'a [Event],
    /// What it puts out. Empty at first.
    pub output: &'a mut EventBuffer,
}
