//! Stereo balance.

use std::f32::consts::FRAC_PI_2;

use super::gain::split;
use super::smooth::Smooth;
use crate::block::Block;
use crate::processor::{AudioIo, EventIo, Processor};

/// The parameter of a pan node: -1 left, 0 centre, 1 right.
pub const PARAM_PAN: u32 = 0;

/// Balance: the side turned to keeps its level, the other is faded by a quarter of a sine.
#[derive(Debug)]
pub(crate) struct Pan {
    specified: f32,
    sides: [Smooth; 2],
}

fn gains(pan: f32) -> [f32; 2] {
    let pan = pan.clamp(-1.0, 1.0);
    // Exactly 1 at the centre, exactly 0 at the ends.
    let faded = |away: f32| {
        if away >= 1.0 { 0.0 } else { (away.max(0.0) * FRAC_PI_2).cos() }
    };
    [faded(pan), faded(-pan)]
}

impl Pan {
    pub(crate) fn new(pan: f32, rate: f64) -> Self {
        Self { specified: pan, sides: gains(pan).map(|gain| Smooth::new(gain, rate)) }
    }

    fn set(&mut self, pan: f32) {
        if pan.is_finite() {
            for (side, gain) in self.sides.iter_mut().zip(gains(pan)) {
                side.set(gain);
            }
        }
    }

    pub(crate) fn take_over(&mut self, old: &Self) {
        let specified = self.specified;
        self.sides = old.sides;
        if specified != old.specified {
            self.set(specified);
        }
    }
}

impl Processor for Pan {
    fn process(&mut self, block: &Block, mut audio: AudioIo<'_>, events: EventIo<'_>) -> bool {
        split(block.frames as usize, events.input, PARAM_PAN, |value, part| {
            if let Some(value) = value {
                self.set(value);
            }
            for (channel, side) in self.sides.iter_mut().enumerate() {
                let input = &audio.inputs.channel(0, channel)[part.clone()];
                let output = &mut audio.outputs.channel(0, channel)[part.clone()];
                side.apply(input, output);
            }
        });
        true
    }

    fn reset(&mut self) {
        for side in &mut self.sides {
            side.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::gains;

    #[test]
    fn the_centre_changes_nothing_and_the_ends_are_silent() {
        assert_eq!(gains(0.0), [1.0, 1.0]);
        assert_eq!(gains(1.0), [0.0, 1.0]);
        assert_eq!(gains(-1.0), [1.0, 0.0]);
    }
}
