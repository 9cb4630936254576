//! `gain`: stereo, or six channels, multiplies by its parameter.

use std::num::NonZeroU32;
use std::sync::Arc;

use nice_plug::prelude::*;

/// Parameters of `gain` and `mono`.
#[derive(Params)]
pub(crate) struct GainParams {
    /// A factor, not decibels, and not smoothed: each sample is multiplied by exactly the
    /// value in force at that sample. The range is 0..1 so that normalized and plain
    /// values are the same.
    #[id = "gain"]
    pub(crate) gain: FloatParam,
}

impl Default for GainParams {
    fn default() -> Self {
        Self { gain: FloatParam::new("gain", 1.0, FloatRange::Linear { min: 0.0, max: 1.0 }) }
    }
}

impl GainParams {
    pub(crate) fn apply(&self, buffer: &mut Buffer) {
        let gain = self.gain.value();
        for sample in buffer.as_slice().iter_mut().flat_map(|channel| channel.iter_mut()) {
            *sample *= gain;
        }
    }
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Gain {
    params: Arc<GainParams>,
}

impl Plugin for Gain {
    crate::same_for_all!("Gain");

    const AUDIO_IO_LAYOUTS: &'static [AudioIOLayout] = &[
        crate::STEREO,
        AudioIOLayout {
            main_input_channels: NonZeroU32::new(6),
            main_output_channels: NonZeroU32::new(6),
            ..AudioIOLayout::const_default()
        },
    ];
    const SAMPLE_ACCURATE_AUTOMATION: bool = true;

    fn process(
        &mut self,
        buffer: &mut Buffer,
        _aux: &mut AuxiliaryBuffers,
        _context: &mut impl ProcessContext<Self>,
    ) -> ProcessStatus {
        self.params.apply(buffer);
        ProcessStatus::Normal
    }
}

crate::formats!(
    Gain,
    "gain",
    b"SandrackTestGain",
    "Multiplies stereo audio by a factor",
    [AudioEffect Stereo Utility],
    [Fx Tools Stereo]
);
