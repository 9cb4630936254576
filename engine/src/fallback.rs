//! What is heard in place of a plugin, and how the change is kept from clicking.

use crate::mix::{self, Channels};

/// Which of the two a listener heard last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Plugin,
    Fallback,
}

/// What was heard last of one output bus, where the engine hands it on.
#[derive(Debug)]
pub(crate) struct Declick {
    heard: Heard,
    block: u64,
    /// Last sample of each channel.
    last: Box<[f32]>,
    /// The plugin is new in a plan that follows another: what was heard in its place goes on in
    /// its fallback.
    is_new: bool,
}

impl Declick {
    pub(crate) fn new(channels: usize) -> Self {
        let last = vec![0.0; channels].into();
        Self { heard: Heard::Plugin, block: 0, last, is_new: false }
    }

    /// Whether the engine knows what was heard in the block before `block`.
    #[inline]
    pub(crate) fn knows(&self, block: u64) -> bool {
        self.block + 1 == block
    }

    /// What was heard in the block before `block`. If the engine did not read the bus then, its
    /// listeners read the plugin itself.
    #[inline]
    pub(crate) fn heard(&self, block: u64) -> Heard {
        match self.is_new {
            true => Heard::Fallback,
            false if self.knows(block) => self.heard,
            false => Heard::Plugin,
        }
    }

    /// The last sample that was heard, or 0 if the engine does not know it.
    pub(crate) fn last(&self, block: u64, channel: usize) -> f32 {
        if self.knows(block) { self.last[channel] } else { 0.0 }
    }

    /// Where the way from the fallback to the plugin begins, `fallback` being its first sample.
    pub(crate) fn start(&self, block: u64, channel: usize, fallback: f32) -> f32 {
        if self.is_new { fallback } else { self.last(block, channel) }
    }

    /// It is new in a plan that follows another.
    pub(crate) fn begin_with_fallback(&mut self) {
        self.is_new = true;
    }

    /// Remembers what is heard in `block`.
    #[inline]
    pub(crate) fn remember(&mut self, block: u64, heard: Heard, audio: &[f32], at: Stride) {
        (self.block, self.heard, self.is_new) = (block, heard, false);
        for (channel, last) in self.last.iter_mut().enumerate() {
            *last = audio[channel * at.stride + at.frames - 1];
        }
    }

    pub(crate) fn take_over(&mut self, old: &mut Self) {
        if self.last.len() == old.last.len() {
            std::mem::swap(self, old);
        }
    }
}

/// How the channels of a buffer lie in this block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stride {
    pub(crate) stride: usize,
    pub(crate) frames: usize,
}

/// Fades a signal in, while the last sample heard decays.
pub(crate) fn fade_in(signal: &mut [f32], last: f32, ramp: usize) {
    let ramp = ramp.clamp(1, signal.len());
    let step = 1.0 / ramp as f32;
    for (at, sample) in signal[..ramp - 1].iter_mut().enumerate() {
        let weight = (at + 1) as f32 * step;
        *sample = last * (1.0 - weight) + *sample * weight;
    }
}

/// Goes from the fallback back to the plugin. The fallback may not go on where it was (its own
/// source may just have come back): what it is off from the last sample heard decays.
pub(crate) fn cross_over(fallback: &mut [f32], plugin: &[f32], last: f32, ramp: usize) {
    let ramp = ramp.clamp(1, fallback.len());
    let step = 1.0 / ramp as f32;
    let off = last - fallback[0];
    for (at, (sample, plugin)) in fallback.iter_mut().zip(plugin).enumerate() {
        let weight = (at + 1) as f32 * step;
        *sample = if at + 1 < ramp {
            (*sample + off) * (1.0 - weight) + plugin * weight
        } else {
            *plugin
        };
    }
}

/// Goes from the plugin, which still delivers, to the fallback.
pub(crate) fn cross_to(fallback: &mut [f32], plugin: &[f32], ramp: usize) {
    let ramp = ramp.clamp(1, fallback.len());
    let step = 1.0 / ramp as f32;
    for (at, (sample, plugin)) in fallback[..ramp - 1].iter_mut().zip(plugin).enumerate() {
        let weight = (at + 1) as f32 * step;
        *sample = plugin * (1.0 - weight) + *sample * weight;
    }
}

/// The dry signal: `source` as far as a bus of `channels` can carry it.
pub(crate) fn dry(source: Channels<'_>, into: &mut [f32], channels: usize, frames: usize) {
    if source.channels == channels || source.channels == 1 || channels == 1 {
        mix::accumulate(into, channels, source, frames, true);
        return;
    }
    for channel in 0..channels {
        let into = &mut into[channel * source.stride..][..frames];
        if channel < source.channels {
            into.copy_from_slice(source.get(channel, frames));
        } else {
            into.fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ramps_have_small_steps_and_end_where_they_should() {
        let mut fallback = vec![-1.0f32; 256];
        fade_in(&mut fallback, 1.0, 128);
        let mut before = 1.0;
        for sample in &fallback {
            assert!((sample - before).abs() <= 2.0 / 128.0 + 1e-6);
            before = *sample;
        }
        assert_eq!(fallback[127..], [-1.0; 129]);
        fallback.fill(-1.0);
        let plugin = vec![1.0f32; 256];
        cross_over(&mut fallback, &plugin, -0.5, 64);
        assert!((fallback[0] + 0.5).abs() <= 1.5 / 64.0 + 1e-6);
        assert_eq!(fallback[63..], [1.0; 193]);
    }
}
