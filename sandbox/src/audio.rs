//! A node's private audio memory: channels packed by the frames of the block at hand.

use crate::shm::layout::stride;

/// Channels one after the other, each beginning at a cache line.
pub(crate) struct Packed {
    samples: Box<[f32]>,
    /// The first sample at a cache line.
    first: usize,
}

const LINE: usize = 64;

impl Packed {
    /// Room for so many channels of blocks of at most so many frames.
    pub(crate) fn new(channels: u32, max_frames: u32) -> Self {
        let room = channels as usize * floats(max_frames) + LINE / size_of::<f32>();
        let samples: Box<[f32]> = vec![0.0; room].into();
        let first = samples.as_ptr().align_offset(LINE);
        Self { samples, first }
    }

    /// Address of the first channel; it never moves.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.samples[self.first..].as_mut_ptr()
    }

    /// A channel in a block of so many frames.
    #[inline]
    pub(crate) fn channel_mut(&mut self, channel: usize, frames: usize) -> &mut [f32] {
        let at = self.first + channel * floats(frames as u32);
        &mut self.samples[at..at + frames]
    }

    /// A channel in a block of so many frames.
    #[inline]
    pub(crate) fn channel(&self, channel: usize, frames: usize) -> &[f32] {
        let at = self.first + channel * floats(frames as u32);
        &self.samples[at..at + frames]
    }
}

const fn floats(frames: u32) -> usize {
    stride(frames) / size_of::<f32>()
}
