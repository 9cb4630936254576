//! `split`: one stereo input, three stereo outputs: the input, its half and its inverse.
//! Added up, the outputs are half the input: any that a host mixes up is heard and seen.

use std::sync::Arc;

use nice_plug::prelude::*;

/// None.
#[derive(Params, Default)]
struct SplitParams {}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Split {
    params: Arc<SplitParams>,
}

/// What the auxiliary outputs multiply by.
const FACTORS: [f32; 2] = [0.5, -1.0];

impl Plugin for Split {
    crate::same_for_all!("Split");

    const AUDIO_IO_LAYOUTS: &'static [AudioIOLayout] = &[AudioIOLayout {
        aux_output_ports: &[new_nonzero_u32(2); FACTORS.len()],
        names: PortNames { aux_outputs: &["Half", "Inverse"], ..PortNames::const_default() },
        ..crate::STEREO
    }];

    fn process(
        &mut self,
        buffer: &mut Buffer,
        aux: &mut AuxiliaryBuffers,
        _context: &mut impl ProcessContext<Self>,
    ) -> ProcessStatus {
        for (output, factor) in aux.outputs.iter_mut().zip(FACTORS) {
            for (to, from) in output.as_slice().iter_mut().zip(buffer.as_slice_immutable()) {
                for (to, from) in to.iter_mut().zip(from.iter()) {
                    *to = from * factor;
                }
            }
        }
        ProcessStatus::Normal
    }
}

crate::formats!(
    Split,
    "split",
    b"SandrackTestSplt",
    "Copies its input to three outputs, as it is, halved and inverted",
    [AudioEffect Stereo Utility],
    [Fx Tools]
);
