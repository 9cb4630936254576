//! A delay that is meant to be heard.

use crate::block::Block;
use crate::delay::DelayLine;
use crate::processor::{AudioIo, EventIo, Processor};

#[derive(Debug)]
pub(crate) struct Delay(DelayLine);

impl Delay {
    pub(crate) fn new(channels: u32, frames: u32) -> Self {
        Self(DelayLine::new(channels as usize, frames as usize))
    }

    pub(crate) fn take_over(&mut self, old: &mut Self) {
        self.0.take_over(&mut old.0);
    }
}

impl Processor for Delay {
    fn process(&mut self, block: &Block, mut audio: AudioIo<'_>, _: EventIo<'_>) -> bool {
        for channel in 0..audio.outputs.channels(0) {
            let input = audio.inputs.channel(0, channel);
            self.0.run(channel, input, audio.outputs.channel(0, channel));
        }
        self.0.advance(block.frames as usize);
        true
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}
