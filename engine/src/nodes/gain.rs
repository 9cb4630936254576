//! Gain.

use super::smooth::Smooth;
use crate::block::Block;
use crate::event::{Event, EventKind};
use crate::processor::{AudioIo, EventIo, Processor};

/// The parameter of a gain node: its linear factor.
pub const PARAM_GAIN: u32 = 0;

/// Multiplies all channels by one factor, which changes smoothly.
#[derive(Debug)]
pub(crate) struct Gain(pub(crate) Smooth);

impl Gain {
    pub(crate) fn new(gain: f32, rate: f64) -> Self {
        Self(Smooth::new(gain, rate))
    }
}

/// The value that `event` gives to parameter `wanted`.
pub(super) fn value_of(event: &Event, wanted: u32) -> Option<f32> {
    match event.kind {
        EventKind::ParamValue { param, value, .. } if param == wanted => Some(value as f32),
        _ => None,
    }
}

/// Splits a block where the parameter takes a value: calls `part` with the value that comes into
/// force, if any, and the frames up to the next.
pub(super) fn split(
    frames: usize,
    events: &[Event],
    wanted: u32,
    mut part: impl FnMut(Option<f32>, std::ops::Range<usize>),
) {
    let (mut from, mut value) = (0, None);
    for event in events {
        if let Some(new) = value_of(event, wanted) {
            let at = (event.time as usize).min(frames);
            if at > from {
                part(value, from..at);
                from = at;
            }
            value = Some(new);
        }
    }
    part(value, from..frames);
}

impl Processor for Gain {
    fn process(&mut self, block: &Block, mut audio: AudioIo<'_>, events: EventIo<'_>) -> bool {
        split(block.frames as usize, events.input, PARAM_GAIN, |value, part| {
            if let Some(value) = value {
                self.0.set(value);
            }
            let before = self.0;
            for channel in 0..audio.outputs.channels(0) {
                self.0 = before;
                let input = &audio.inputs.channel(0, channel)[part.clone()];
                let output = &mut audio.outputs.channel(0, channel)[part.clone()];
                self.0.apply(input, output);
            }
        });
        true
    }

    fn reset(&mut self) {
        self.0.finish();
    }
}
