//! `mono`: one channel in and out, multiplies by its parameter.

use std::num::NonZeroU32;
use std::sync::Arc;

use nice_plug::prelude::*;

use crate::gain::GainParams;

/// See the module's text.
#[derive(Default)]
pub(crate) struct Mono {
    params: Arc<GainParams>,
}

impl Plugin for Mono {
    crate::same_for_all!("Mono");

    const AUDIO_IO_LAYOUTS: &'static [AudioIOLayout] = &[AudioIOLayout {
        main_input_channels: NonZeroU32::new(1),
        main_output_channels: NonZeroU32::new(1),
        ..AudioIOLayout::const_default()
    }];
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
    Mono,
    "mono",
    b"SandrackTestMono",
    "Multiplies mono audio by a factor",
    [AudioEffect Mono Utility],
    [Fx Tools Mono]
);
