//! A plugin that is a sum, a filter, a latency and a note, computed sample by sample.

use sandrack_engine::block::Block;
use sandrack_engine::event::{Event, EventKind};
use sandrack_engine::graph::NodeSpec;
use sandrack_engine::processor::{AudioIo, EventIo, Processor};

#[derive(Clone)]
pub struct Machine {
    inputs: usize,
    outputs: usize,
    latency: usize,
    flavour: f32,
    /// Passes its input on unchanged (but late), so that dry and wet agree.
    transparent: bool,
    filter: Vec<f32>,
    ring: Vec<f32>,
    at: usize,
    level: f32,
}

pub const MAX_CHANNELS: usize = 32;

impl Machine {
    pub fn new(spec: &NodeSpec, seed: u64) -> Self {
        let count = |buses: &[sandrack_engine::graph::BusSpec]| {
            buses.iter().map(|b| b.channels as usize).sum::<usize>()
        };
        let (inputs, outputs) = (count(&spec.inputs), count(&spec.outputs));
        assert!(inputs <= MAX_CHANNELS && outputs <= MAX_CHANNELS);
        Self {
            inputs,
            outputs,
            latency: spec.latency as usize,
            flavour: 0.25 + (seed % 97) as f32 / 200.0,
            transparent: spec.name.starts_with("clear"),
            filter: vec![0.0; outputs],
            ring: vec![0.0; outputs * spec.latency as usize],
            at: 0,
            level: 0.0,
        }
    }

    pub fn event(&mut self, kind: &EventKind) {
        match kind {
            EventKind::NoteOn { velocity, .. } => self.level = self.level * 0.5 + *velocity as f32,
            EventKind::NoteOff { .. } => self.level *= 0.25,
            EventKind::ParamValue { value, .. } => self.flavour = *value as f32,
            _ => {}
        }
    }

    pub fn tick(&mut self, input: &[f32], output: &mut [f32]) {
        for (channel, output) in output[..self.outputs].iter_mut().enumerate() {
            let mut value = self.level;
            if self.inputs > 0 {
                value += input[channel % self.inputs];
                if !self.transparent {
                    value = value * self.flavour + input[(channel * 7 + 3) % self.inputs] * 0.125;
                }
            }
            if !self.transparent {
                self.filter[channel] = value + self.filter[channel] * 0.25;
                value = self.filter[channel];
            }
            if self.latency > 0 {
                let slot = &mut self.ring[channel * self.latency + self.at];
                std::mem::swap(slot, &mut value);
            }
            *output = value;
        }
        if self.latency > 0 {
            self.at = (self.at + 1) % self.latency;
        }
    }

    /// What it puts out of an event: it plays along, an octave of velocity lower.
    pub fn echo(kind: &EventKind) -> Option<EventKind> {
        match kind {
            EventKind::NoteOn { note, velocity } => {
                Some(EventKind::NoteOn { note: *note, velocity: velocity * 0.5 })
            }
            EventKind::NoteOff { .. } | EventKind::ParamValue { .. } => Some(*kind),
            _ => None,
        }
    }

    pub fn forget(&mut self) {
        self.filter.fill(0.0);
        self.ring.fill(0.0);
        self.level = 0.0;
    }
}

impl Processor for Machine {
    fn process(&mut self, block: &Block, mut audio: AudioIo<'_>, events: EventIo<'_>) -> bool {
        let (mut input, mut output) = ([0.0; MAX_CHANNELS], [0.0; MAX_CHANNELS]);
        let mut next = 0;
        for frame in 0..block.frames as usize {
            while let Some(event) = events.input.get(next).filter(|e| e.time as usize <= frame) {
                self.event(&event.kind);
                if let Some(kind) = Self::echo(&event.kind) {
                    events.output.push(Event { time: event.time, kind });
                }
                next += 1;
            }
            let mut at = 0;
            for bus in 0..audio.inputs.buses() {
                for channel in audio.inputs.iter(bus) {
                    input[at] = channel[frame];
                    at += 1;
                }
            }
            self.tick(&input, &mut output);
            for (channel, sample) in audio.outputs.all_mut().zip(&output) {
                channel[frame] = *sample;
            }
        }
        true
    }

    fn reset(&mut self) {
        self.forget();
    }
}
