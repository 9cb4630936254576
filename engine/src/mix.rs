//! Arithmetic on audio: sums, channel conversion, scrubbing.
//!
//! Several channels lie in one slice, channel after channel, `stride` samples apart.

/// Replaces NaN, infinities and denormals by zero (and -0 by 0). Returns false if there was a
/// NaN or an infinity.
pub fn scrub(samples: &mut [f32]) -> bool {
    // The exponent's bits tell: all ones is NaN or infinite, all zeros is zero or denormal.
    const EXPONENT: u32 = 0x7f80_0000;
    let mut bad = 0u32;
    for sample in samples {
        let exponent = sample.to_bits() & EXPONENT;
        let broken = exponent == EXPONENT;
        bad |= u32::from(broken);
        *sample = if broken | (exponent == 0) { 0.0 } else { *sample };
    }
    bad == 0
}

/// Several channels of a slice.
#[derive(Clone, Copy)]
pub(crate) struct Channels<'a> {
    pub(crate) samples: &'a [f32],
    pub(crate) channels: usize,
    pub(crate) stride: usize,
}

impl<'a> Channels<'a> {
    #[inline]
    pub(crate) fn get(&self, channel: usize, frames: usize) -> &'a [f32] {
        &self.samples[channel * self.stride..][..frames]
    }
}

/// Writes, or adds, channel `channel` of `source` as seen by a bus of `channels`.
pub(crate) fn convert(
    source: Channels<'_>,
    channel: usize,
    channels: usize,
    into: &mut [f32],
    first: bool,
) {
    let frames = into.len();
    if source.channels == channels || source.channels == 1 {
        let from = source.get(if source.channels == 1 { 0 } else { channel }, frames);
        if first {
            into.copy_from_slice(from);
        } else {
            add(into, from);
        }
    } else {
        mean(source, into, first);
    }
}

fn add(into: &mut [f32], from: &[f32]) {
    for (sum, sample) in into.iter_mut().zip(from) {
        *sum += sample;
    }
}

/// The mean of all channels: their sum in channel order, times 1/n.
fn mean(source: Channels<'_>, into: &mut [f32], first: bool) {
    const CHUNK: usize = 64;
    let scale = 1.0 / source.channels as f32;
    let frames = into.len();
    let mut sum = [0.0f32; CHUNK];
    for (index, into) in into.chunks_mut(CHUNK).enumerate() {
        let sum = &mut sum[..into.len()];
        let part = index * CHUNK..index * CHUNK + into.len();
        sum.copy_from_slice(&source.get(0, frames)[part.clone()]);
        for channel in 1..source.channels {
            add(sum, &source.get(channel, frames)[part.clone()]);
        }
        for (into, sum) in into.iter_mut().zip(sum) {
            let mean = *sum * scale;
            *into = if first { mean } else { *into + mean };
        }
    }
}

/// Writes, or adds, all channels of `source` to a bus.
pub(crate) fn accumulate(
    into: &mut [f32],
    channels: usize,
    source: Channels<'_>,
    frames: usize,
    first: bool,
) {
    for channel in 0..channels {
        let into = &mut into[channel * source.stride..][..frames];
        convert(source, channel, channels, into, first);
    }
}

/// Zeroes all channels of a bus.
pub(crate) fn silence(into: &mut [f32], channels: usize, stride: usize, frames: usize) {
    for channel in 0..channels {
        into[channel * stride..][..frames].fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_no_normal_number_becomes_zero() {
        let mut samples = [1.5, -0.25, f32::MIN_POSITIVE, f32::MAX, 0.0, 1e-40];
        assert!(scrub(&mut samples));
        assert_eq!(samples, [1.5, -0.25, f32::MIN_POSITIVE, f32::MAX, 0.0, 0.0]);
        let mut broken = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.0];
        assert!(!scrub(&mut broken));
        assert_eq!(broken, [0.0, 0.0, 0.0, 2.0]);
    }

    #[test]
    fn channels_are_copied_or_averaged() {
        let samples: Vec<f32> = (0..300).map(|i| i as f32).collect();
        let stereo = Channels { samples: &samples, channels: 3, stride: 100 };
        let mut mono = vec![1.0; 100];
        accumulate(&mut mono, 1, stereo, 100, false);
        assert_eq!(mono[99], 1.0 + (99.0 + 199.0 + 299.0) * (1.0 / 3.0f32));
        let mut both = vec![0.0; 200];
        accumulate(&mut both, 2, Channels { channels: 1, ..stereo }, 100, true);
        assert_eq!(both[..100], both[100..]);
    }
}
