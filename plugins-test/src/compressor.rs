//! `compressor`: a stereo compressor with a stereo side chain.
//!
//! It listens to the loudest channel of the main input and the side chain together, so that
//! an unconnected (silent) side chain makes it an ordinary compressor.

use std::sync::Arc;

use nice_plug::prelude::*;

/// Parameters of `compressor`.
#[derive(Params)]
struct CompressorParams {
    /// In decibels.
    #[id = "threshold"]
    threshold: FloatParam,
    /// To one.
    #[id = "ratio"]
    ratio: FloatParam,
    /// In milliseconds.
    #[id = "attack"]
    attack: IntParam,
    /// In milliseconds.
    #[id = "release"]
    release: IntParam,
}

impl Default for CompressorParams {
    fn default() -> Self {
        Self {
            threshold: FloatParam::new(
                "threshold",
                -20.0,
                FloatRange::Linear { min: -60.0, max: 0.0 },
            )
            .with_unit(" dB"),
            ratio: FloatParam::new("ratio", 4.0, FloatRange::Linear { min: 1.0, max: 20.0 }),
            attack: IntParam::new("attack", 5, IntRange::Linear { min: 0, max: 200 })
                .with_unit(" ms"),
            release: IntParam::new("release", 50, IntRange::Linear { min: 0, max: 2000 })
                .with_unit(" ms"),
        }
    }
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Compressor {
    params: Arc<CompressorParams>,
    sample_rate: f32,
    envelope: f32,
}

impl Compressor {
    /// By how much of the remaining way the envelope moves in one sample.
    fn coefficient(&self, milliseconds: i32) -> f32 {
        if milliseconds == 0 {
            1.0
        } else {
            1.0 - (-1000.0 / (milliseconds as f32 * self.sample_rate)).exp()
        }
    }
}

impl Plugin for Compressor {
    crate::same_for_all!("Compressor");

    const AUDIO_IO_LAYOUTS: &'static [AudioIOLayout] = &[AudioIOLayout {
        aux_input_ports: &[new_nonzero_u32(2)],
        names: PortNames { aux_inputs: &["Side chain"], ..PortNames::const_default() },
        ..crate::STEREO
    }];
    const SAMPLE_ACCURATE_AUTOMATION: bool = true;

    fn activate(
        &mut self,
        _audio_io_layout: &AudioIOLayout,
        buffer_config: &BufferConfig,
        _context: &mut impl ActivateContext<Self>,
    ) -> bool {
        self.sample_rate = buffer_config.sample_rate;
        true
    }

    fn reset(&mut self) {
        self.envelope = 0.0;
    }

    fn process(
        &mut self,
        buffer: &mut Buffer,
        aux: &mut AuxiliaryBuffers,
        _context: &mut impl ProcessContext<Self>,
    ) -> ProcessStatus {
        let threshold = util::db_to_gain(self.params.threshold.value());
        let exponent = 1.0 / self.params.ratio.value() - 1.0;
        let attack = self.coefficient(self.params.attack.value());
        let release = self.coefficient(self.params.release.value());

        let side_chain = aux.inputs.first().map_or(&[][..], |input| input.as_slice_immutable());
        let main = buffer.as_slice();
        let frames = main.first().map_or(0, |channel| channel.len());
        for i in 0..frames {
            let level = |channels: &[&mut [f32]]| {
                let at_i = channels.iter().map(|channel| channel.get(i).map_or(0.0, |s| s.abs()));
                at_i.fold(0.0, f32::max)
            };
            let level = level(main).max(level(side_chain));
            let coefficient = if level > self.envelope { attack } else { release };
            self.envelope += coefficient * (level - self.envelope);
            if self.envelope > threshold {
                let gain = (self.envelope / threshold).powf(exponent);
                main.iter_mut().for_each(|channel| channel[i] *= gain);
            }
        }
        ProcessStatus::Normal
    }
}

crate::formats!(
    Compressor,
    "compressor",
    b"SandrackTestComp",
    "Compresses by the louder of its main input and its side chain",
    [AudioEffect Stereo Compressor],
    [Fx Dynamics]
);
