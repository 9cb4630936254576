//! `burn`: passes stereo audio through and burns processor time: so much per block, so much
//! per sample, and so much memory touched per block. Never depends on the audio.
//!
//! Times hold for the processor speed at calibration (see `work.rs`); the amount of work is
//! the same in every block, whatever else the machine does.

use std::hint::black_box;
use std::sync::Arc;

use nice_plug::prelude::*;

use crate::work;

/// One cache line on the machines in question.
const LINE: usize = 64;

/// Parameters of `burn`.
#[derive(Params)]
struct BurnParams {
    /// Work per block, in microseconds.
    #[id = "block"]
    block: IntParam,
    /// Work per sample, in nanoseconds.
    #[id = "sample"]
    sample: IntParam,
    /// Memory touched per block, in KiB: one byte written in each cache line. Allocated
    /// and made resident on activation. A later increase takes a restart, which is asked
    /// for; meanwhile what there is is touched.
    #[id = "memory"]
    memory: IntParam,
}

impl Default for BurnParams {
    fn default() -> Self {
        let param = |name, max, unit| {
            IntParam::new(name, 0, IntRange::Linear { min: 0, max }).with_unit(unit)
        };
        Self {
            block: param("block", 10_000, " us"),
            sample: param("sample", 100_000, " ns"),
            memory: param("memory", 65_536, " KiB"),
        }
    }
}

impl BurnParams {
    fn memory_bytes(&self) -> usize {
        self.memory.value().unsigned_abs() as usize * 1024
    }
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Burn {
    params: Arc<BurnParams>,
    iterations_per_us: f64,
    memory: Vec<u8>,
    asked_for_restart: bool,
}

impl Plugin for Burn {
    crate::same_for_all!("Burn");

    const AUDIO_IO_LAYOUTS: &'static [AudioIOLayout] = &[crate::STEREO];

    fn activate(
        &mut self,
        _audio_io_layout: &AudioIOLayout,
        _buffer_config: &BufferConfig,
        _context: &mut impl ActivateContext<Self>,
    ) -> bool {
        // Even if there is nothing to burn yet: hosts may set parameters while processing,
        // when it is too late to calibrate.
        self.iterations_per_us = work::iterations_per_us();
        // Not zero, which would leave the pages to be faulted in while processing.
        self.memory = vec![1; self.params.memory_bytes()];
        self.asked_for_restart = false;
        true
    }

    fn process(
        &mut self,
        buffer: &mut Buffer,
        _aux: &mut AuxiliaryBuffers,
        context: &mut impl ProcessContext<Self>,
    ) -> ProcessStatus {
        let bytes = self.params.memory_bytes();
        if bytes > self.memory.len() && !self.asked_for_restart {
            self.asked_for_restart = true;
            context.request_restart();
        }
        let touched = bytes.min(self.memory.len());
        for byte in self.memory[..touched].iter_mut().step_by(LINE) {
            *byte = byte.wrapping_add(1);
        }
        black_box(&mut self.memory);

        let block_us = f64::from(self.params.block.value());
        let sample_us = f64::from(self.params.sample.value()) / 1000.0;
        let us = block_us + sample_us * buffer.samples() as f64;
        work::work((us * self.iterations_per_us) as u64);
        ProcessStatus::Normal
    }
}

crate::formats!(
    Burn,
    "burn",
    b"SandrackTestBurn",
    "Passes audio through and burns processor time",
    [AudioEffect Stereo Utility],
    [Fx Tools]
);
