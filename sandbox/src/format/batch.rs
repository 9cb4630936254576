//! Several blocks in one go: what a processor is given is longer than what the plugin is.
//!
//! Offline, waking a process for each block costs more than many plugins need for it. So the host
//! hands over thousands of frames at once, and the plugin still gets blocks of the size that it was
//! activated for.
//!
//! # Safety
//! `unsafe` here makes slices of the addresses of [`Buffers`], whose validity for the greatest batch
//! is the contract of [`Processor::bind`], and hands the plugin addresses of boxed memory of its
//! own that lives as long as the plugin's processor, in the same value.
#![allow(unsafe_code)]

use super::{Buffers, Instance, ProcessBlock, Processor, Transport};
use crate::audio::Packed;
use crate::error::PluginError;
use crate::event::{Event, transport_flags};
use crate::protocol::Activation;
use crate::shm::layout::{EVENTS, stride};

/// Prepares a plugin for audio, in batches if that is what is asked for.
pub(crate) fn activate(
    instance: &mut dyn Instance,
    activation: Activation,
) -> Result<Box<dyn Processor>, PluginError> {
    let plugin = instance.activate(activation)?;
    if activation.batch_frames <= activation.max_frames {
        return Ok(plugin);
    }
    Ok(Box::new(Batch::new(plugin, activation.max_frames, activation.rate)))
}

/// A plugin that is given long blocks in parts.
struct Batch {
    // First: dropped before the memory that it knows the addresses of.
    plugin: Box<dyn Processor>,
    max_frames: u32,
    rate: f64,
    given: Buffers,
    input: Packed,
    output: Packed,
    events: Vec<Event>,
    out_events: Vec<Event>,
}

// SAFETY: the addresses in `given` are good on any thread (contract of `bind`).
unsafe impl Send for Batch {}

impl Batch {
    fn new(plugin: Box<dyn Processor>, max_frames: u32, rate: f64) -> Self {
        let nowhere = std::ptr::null_mut();
        Self {
            plugin,
            max_frames,
            rate,
            given: Buffers { inputs: vec![], input: nowhere, outputs: vec![], output: nowhere },
            input: Packed::new(0, max_frames),
            output: Packed::new(0, max_frames),
            events: Vec::with_capacity(2 * EVENTS),
            out_events: Vec::with_capacity(EVENTS),
        }
    }

    /// Runs the frames `from..from + frames` of a batch of `all`.
    fn part(&mut self, block: &mut ProcessBlock<'_>, part: Part<'_>) -> bool {
        let Part { from, frames, transport, last } = part;
        let floats = stride(block.frames) / size_of::<f32>();
        for channel in 0..self.given.inputs.iter().sum::<u32>() as usize {
            // SAFETY: within the channel: `from + frames` is at most the batch's frames.
            let given = unsafe {
                let first = self.given.input.add(channel * floats + from as usize);
                std::slice::from_raw_parts(first, frames as usize)
            };
            self.input.channel_mut(channel, frames as usize).copy_from_slice(given);
        }
        self.events.clear();
        let end = from + frames;
        let mine = block.events.iter().filter(|e| e.time >= from && (e.time < end || last));
        // What is beyond the batch comes with its last frame, as without batches.
        let moved = mine.map(|e| Event { time: (e.time - from).min(frames - 1), ..*e });
        self.events.extend(moved.take(self.events.capacity()));
        self.out_events.clear();
        let done = self.plugin.process(ProcessBlock {
            frames,
            steady_time: block.steady_time + u64::from(from),
            transport,
            events: &self.events,
            out_events: &mut self.out_events,
        });
        let room = block.out_events.capacity() - block.out_events.len();
        let moved =
            self.out_events.iter().map(|e| Event { time: e.time.saturating_add(from), ..*e });
        block.out_events.extend(moved.take(room));
        for channel in 0..self.given.outputs.iter().sum::<u32>() as usize {
            // SAFETY: as above.
            let given = unsafe {
                let first = self.given.output.add(channel * floats + from as usize);
                std::slice::from_raw_parts_mut(first, frames as usize)
            };
            given.copy_from_slice(self.output.channel(channel, frames as usize));
        }
        done
    }
}

/// A part of a batch.
struct Part<'a> {
    from: u32,
    frames: u32,
    transport: &'a Transport,
    last: bool,
}

impl Processor for Batch {
    fn start(&mut self) -> bool {
        self.plugin.start()
    }

    fn stop(&mut self) {
        self.plugin.stop();
    }

    fn reset(&mut self) {
        self.plugin.reset();
    }

    unsafe fn bind(&mut self, buffers: Buffers) {
        let input = Packed::new(buffers.inputs.iter().sum(), self.max_frames);
        let output = Packed::new(buffers.outputs.iter().sum(), self.max_frames);
        let mut own = (input, output);
        let for_plugin = Buffers {
            inputs: buffers.inputs.clone(),
            input: own.0.as_mut_ptr(),
            outputs: buffers.outputs.clone(),
            output: own.1.as_mut_ptr(),
        };
        // SAFETY: boxed, with room for the greatest part; they live until others are bound or this
        // value, and the processor in it first, is dropped; not touched while the plugin runs.
        unsafe { self.plugin.bind(for_plugin) };
        (self.input, self.output) = own;
        self.given = buffers;
    }

    fn process(&mut self, mut block: ProcessBlock<'_>) -> bool {
        let mut transport = *block.transport;
        let mut from = 0;
        while from < block.frames {
            let frames = self.max_frames.min(block.frames - from);
            let last = from + frames == block.frames;
            let part = Part { from, frames, transport: &transport, last };
            if !self.part(&mut block, part) {
                return false;
            }
            advance(&mut transport, frames, self.rate);
            from += frames;
        }
        true
    }
}

/// Moves the song position on by a block, to the same bits as the engine does.
fn advance(transport: &mut Transport, frames: u32, rate: f64) {
    if transport.flags & transport_flags::PLAYING == 0 || rate <= 0.0 {
        return;
    }
    let frames = f64::from(frames);
    let seconds = frames / rate;
    let tempo = transport.tempo;
    transport.tempo += transport.tempo_increment * frames;
    transport.position_beats += seconds * (tempo + transport.tempo) / 2.0 / 60.0;
    transport.position_seconds += seconds;
    let bar = f64::from(transport.signature_numerator) * 4.0
        / f64::from(transport.signature_denominator.max(1));
    if bar > 0.0 {
        let bars = ((transport.position_beats - transport.bar_start_beats) / bar).floor();
        transport.bar_start_beats += bars * bar;
        transport.bar_number += bars as i32;
    }
}
