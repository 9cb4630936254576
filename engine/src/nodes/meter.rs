//! Peak and RMS, read by the control thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::block::Block;
use crate::processor::{AudioIo, EventIo, Processor};

/// What a meter shows for one channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Largest magnitude since it was last read; 1 is full scale.
    pub peak: f32,
    /// Root mean square, averaged over about 300 ms; 1 is full scale.
    pub rms: f32,
}

impl Level {
    /// Peak in dBFS; silence is minus infinity.
    pub fn peak_dbfs(&self) -> f32 {
        20.0 * self.peak.log10()
    }

    /// RMS in dBFS; silence is minus infinity.
    pub fn rms_dbfs(&self) -> f32 {
        20.0 * self.rms.log10()
    }
}

/// Where a meter leaves what it measured. No value depends on another, so all orderings are
/// relaxed.
#[derive(Debug)]
pub struct MeterCell {
    channels: Box<[Cell]>,
}

#[derive(Debug, Default)]
struct Cell {
    /// Bits of a number that is not negative: these order as the numbers do.
    peak: AtomicU32,
    mean_square: AtomicU32,
}

impl MeterCell {
    pub(crate) fn new(channels: u32) -> Self {
        Self { channels: (0..channels).map(|_| Cell::default()).collect() }
    }

    /// How many channels it has.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Reads a channel, and begins a new peak.
    pub fn read(&self, channel: usize) -> Option<Level> {
        let cell = self.channels.get(channel)?;
        Some(Level {
            peak: f32::from_bits(cell.peak.swap(0, Ordering::Relaxed)),
            rms: f32::from_bits(cell.mean_square.load(Ordering::Relaxed)).sqrt(),
        })
    }
}

#[derive(Debug)]
pub(crate) struct Meter {
    cell: Arc<MeterCell>,
    mean_square: Box<[f32]>,
    rate: f64,
}

/// Time constant of the RMS.
const SECONDS: f64 = 0.3;

impl Meter {
    pub(crate) fn new(channels: u32, rate: f64) -> Self {
        Self {
            cell: Arc::new(MeterCell::new(channels)),
            mean_square: vec![0.0; channels as usize].into(),
            rate,
        }
    }

    pub(crate) fn cell(&self) -> &Arc<MeterCell> {
        &self.cell
    }

    /// On the control thread: goes on in the cell that is being read already.
    pub(crate) fn use_cell(&mut self, cell: &Arc<MeterCell>) {
        if cell.channels() == self.cell.channels() {
            self.cell = cell.clone();
        }
    }

    pub(crate) fn take_over(&mut self, old: &Self) {
        if self.mean_square.len() == old.mean_square.len() {
            self.mean_square.copy_from_slice(&old.mean_square);
        }
    }
}

impl Processor for Meter {
    fn process(&mut self, block: &Block, mut audio: AudioIo<'_>, _: EventIo<'_>) -> bool {
        let frames = f64::from(block.frames);
        let weight = (1.0 - (-frames / (SECONDS * self.rate)).exp()) as f32;
        for (channel, mean) in self.mean_square.iter_mut().enumerate() {
            let input = audio.inputs.channel(0, channel);
            audio.outputs.channel(0, channel).copy_from_slice(input);
            let mut peak = 0.0f32;
            let mut square = 0.0f32;
            for sample in input {
                peak = peak.max(sample.abs());
                square += sample * sample;
            }
            *mean += (square / block.frames as f32 - *mean) * weight;
            let cell = &self.cell.channels[channel];
            cell.peak.fetch_max(peak.to_bits(), Ordering::Relaxed);
            cell.mean_square.store(mean.max(0.0).to_bits(), Ordering::Relaxed);
        }
        true
    }

    fn reset(&mut self) {
        self.mean_square.fill(0.0);
    }
}
