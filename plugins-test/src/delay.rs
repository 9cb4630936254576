//! `delay`: outputs its input, bit for bit, as many frames later as it reports as latency.
//!
//! The delay in use is the parameter's value when the plugin was activated. A later change
//! is reported to the host at once, with a request to restart; until the host does, the old
//! delay goes on, so that the audio matches what the host compensates for.
//!
//! The framework learns of a latency only on activation, so that it also asks for one
//! restart right after the first activation. Hosts that read the latency after activating
//! may ignore that.

use std::sync::Arc;

use nice_plug::prelude::*;

/// Parameters of `delay`.
#[derive(Params)]
struct DelayParams {
    /// In frames.
    #[id = "delay"]
    delay: IntParam,
}

impl Default for DelayParams {
    fn default() -> Self {
        Self {
            delay: IntParam::new("delay", 64, IntRange::Linear { min: 0, max: 8192 })
                .with_unit(" frames"),
        }
    }
}

impl DelayParams {
    fn frames(&self) -> u32 {
        self.delay.value().unsigned_abs()
    }
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Delay {
    params: Arc<DelayParams>,
    /// Each as long as the delay in use.
    lines: [Vec<f32>; 2],
    position: usize,
    /// The latency the host was last told.
    reported: u32,
}

impl Plugin for Delay {
    crate::same_for_all!("Delay");

    const AUDIO_IO_LAYOUTS: &'static [AudioIOLayout] = &[crate::STEREO];

    fn activate(
        &mut self,
        _audio_io_layout: &AudioIOLayout,
        _buffer_config: &BufferConfig,
        context: &mut impl ActivateContext<Self>,
    ) -> bool {
        self.reported = self.params.frames();
        self.lines = std::array::from_fn(|_| vec![0.0; self.reported as usize]);
        self.position = 0;
        context.set_latency_samples(self.reported);
        true
    }

    fn reset(&mut self) {
        self.lines.iter_mut().for_each(|line| line.fill(0.0));
        self.position = 0;
    }

    fn process(
        &mut self,
        buffer: &mut Buffer,
        _aux: &mut AuxiliaryBuffers,
        context: &mut impl ProcessContext<Self>,
    ) -> ProcessStatus {
        let wanted = self.params.frames();
        if wanted != self.reported {
            self.reported = wanted;
            context.set_latency_samples(wanted);
        }

        let delay = self.lines[0].len();
        if delay == 0 {
            return ProcessStatus::Normal;
        }
        for (channel, line) in buffer.as_slice().iter_mut().zip(&mut self.lines) {
            let mut position = self.position;
            for sample in channel.iter_mut() {
                std::mem::swap(sample, &mut line[position]);
                position += 1;
                if position == delay {
                    position = 0;
                }
            }
        }
        self.position = (self.position + buffer.samples()) % delay;
        ProcessStatus::Tail(delay as u32)
    }
}

crate::formats!(
    Delay,
    "delay",
    b"SandrackTestDely",
    "Delays by exactly the latency it reports",
    [AudioEffect Stereo Delay Utility],
    [Fx Delay]
);
