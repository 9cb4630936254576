//! An active CLAP plugin, on its audio thread.
//!
//! # Safety
//! `unsafe` here hands clack the channel addresses of [`Buffers`], whose validity is the contract
//! of [`Processor::bind`].
#![allow(unsafe_code)]

use super::super::{Buffers, ProcessBlock, Processor, Transport};
use super::events::{Dialect, OutEvents, push_event, transport_event};
use super::host::{self, SandrackHost, Shared};
use crate::shm::layout::{EVENTS, stride};
use clack_host::events::event_types::TransportEvent;
use clack_host::events::io::EventBuffer;
use clack_host::prelude::*;
use clack_host::process::PluginAudioProcessor;
use clap_sys::audio_buffer::clap_audio_buffer;
use std::sync::Arc;

/// An active CLAP plugin.
pub(super) struct ClapProcessor {
    plugin: PluginAudioProcessor<SandrackHost>,
    shared: Arc<Shared>,
    note_ports: Vec<Dialect>,
    /// The last block's, and the same for the plugin: it changes only while playing, and rounding
    /// its times is a call into the maths library each.
    transport: (Transport, TransportEvent),
    steady_time: SteadyTime,
    inputs: Buses,
    outputs: Buses,
    in_events: EventBuffer,
    out_events: OutEvents,
}

impl ClapProcessor {
    pub(super) fn new(
        plugin: PluginAudioProcessor<SandrackHost>,
        shared: Arc<Shared>,
        note_ports: Vec<Dialect>,
    ) -> Self {
        Self {
            plugin,
            shared,
            note_ports,
            transport: (Transport::default(), transport_event(&Transport::default())),
            steady_time: SteadyTime::default(),
            inputs: Buses::new(&[], std::ptr::null_mut()),
            outputs: Buses::new(&[], std::ptr::null_mut()),
            in_events: EventBuffer::with_capacity(2 * EVENTS),
            out_events: OutEvents::new(),
        }
    }
}

// SAFETY: the addresses are good on any thread (contract of `bind`); clack's processor is Send.
unsafe impl Send for ClapProcessor {}

/// Frames since activation or so, for the plugin: never back, though a new engine counts from 0.
#[derive(Default)]
struct SteadyTime {
    added: u64,
    next: u64,
}

impl SteadyTime {
    fn of_block(&mut self, time: u64, frames: u32) -> u64 {
        let behind = self.next.saturating_sub(time.saturating_add(self.added));
        self.added += behind;
        let time = time.saturating_add(self.added);
        self.next = time.saturating_add(u64::from(frames));
        time
    }
}

/// The buses of one direction.
struct Buses {
    counts: Vec<u32>,
    first: *mut f32,
    /// Never resized: `buffers` point into it.
    channels: Vec<*mut f32>,
    buffers: Vec<clap_audio_buffer>,
}

impl Buses {
    fn new(counts: &[u32], first: *mut f32) -> Self {
        let mut buses = Self {
            counts: counts.to_vec(),
            first,
            channels: vec![first; counts.iter().sum::<u32>() as usize],
            buffers: Vec::with_capacity(counts.len()),
        };
        buses.pack(0);
        buses
    }

    /// Describes a block of so many frames: all of it anew each time, for plugins move the pointers
    /// that they are given, or forget masks in there.
    fn pack(&mut self, frames: u32) {
        let floats = stride(frames) / size_of::<f32>();
        for (index, channel) in self.channels.iter_mut().enumerate() {
            // SAFETY: all channels of the greatest block lie behind `first` (contract of `bind`).
            *channel = unsafe { self.first.add(index * floats) };
        }
        let mut data32 = self.channels.as_mut_ptr();
        self.buffers.clear();
        // Within its capacity.
        self.buffers.extend(self.counts.iter().map(|&channel_count| {
            let buffer = clap_audio_buffer {
                data32,
                data64: std::ptr::null_mut(),
                channel_count,
                latency: 0,
                constant_mask: 0,
            };
            // SAFETY: stays within `channels`, or one past its end for the last.
            data32 = unsafe { data32.add(channel_count as usize) };
            buffer
        }));
    }
}

impl Processor for ClapProcessor {
    fn start(&mut self) -> bool {
        let _audio = host::enter_audio_thread();
        self.plugin.ensure_processing_started().is_ok()
    }

    fn stop(&mut self) {
        let _audio = host::enter_audio_thread();
        self.plugin.ensure_processing_stopped();
    }

    fn reset(&mut self) {
        let _audio = host::enter_audio_thread();
        self.plugin.reset();
    }

    unsafe fn bind(&mut self, buffers: Buffers) {
        self.inputs = Buses::new(&buffers.inputs, buffers.input);
        self.outputs = Buses::new(&buffers.outputs, buffers.output);
    }

    fn process(&mut self, block: ProcessBlock<'_>) -> bool {
        let _audio = host::enter_audio_thread();
        let Ok(plugin) = self.plugin.as_started_mut() else { return false };
        self.in_events.clear();
        for event in block.events {
            push_event(&mut self.in_events, event, &self.note_ports);
        }
        self.out_events.begin(block.frames);
        self.inputs.pack(block.frames);
        self.outputs.pack(block.frames);
        if self.transport.0 != *block.transport {
            self.transport = (*block.transport, transport_event(block.transport));
        }
        // SAFETY: the buffers are good for the greatest block (contract of `bind`), and a block
        // is never greater: the worker checks `frames` against what it was activated for.
        let (inputs, mut outputs) = unsafe {
            (
                InputAudioBuffers::from_raw_buffers(&self.inputs.buffers, block.frames),
                OutputAudioBuffers::from_raw_buffers(&mut self.outputs.buffers, block.frames),
            )
        };
        let result = plugin.process(
            &inputs,
            &mut outputs,
            &self.in_events.as_input(),
            &mut OutputEvents::from_buffer(&mut self.out_events),
            Some(self.steady_time.of_block(block.steady_time, block.frames)),
            Some(&self.transport.1),
        );
        self.out_events.take(block.out_events);
        self.shared.count_dropped(self.out_events.dropped());
        result.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_time_never_goes_back() {
        let mut time = SteadyTime::default();
        // Blocks that the node took no part in are counted; an engine that begins anew goes on.
        let times = [0, 64, 192, 0, 64, 1000].map(|t| time.of_block(t, 64));
        assert_eq!(times, [0, 64, 192, 256, 320, 1256]);
    }

    #[test]
    fn a_block_is_described_anew_whatever_the_plugin_did_to_the_last() {
        let mut audio = vec![0.0_f32; 3 * stride(64) / size_of::<f32>()];
        let mut buses = Buses::new(&[2, 0, 1], audio.as_mut_ptr());
        for frames in [16, 64] {
            buses.pack(frames);
            let floats = stride(frames) / size_of::<f32>();
            let counts: Vec<u32> = buses.buffers.iter().map(|b| b.channel_count).collect();
            assert_eq!(counts, [2, 0, 1]);
            assert!(buses.buffers.iter().all(|b| b.constant_mask == 0 && b.latency == 0));
            let first = audio.as_mut_ptr();
            assert_eq!(buses.channels, [0, 1, 2].map(|n| first.wrapping_add(n * floats)));
            assert_eq!(buses.buffers[2].data32.cast_const(), &raw const buses.channels[2]);
            // As a plugin might.
            buses.channels[1] = std::ptr::null_mut();
            buses.buffers[0].constant_mask = 3;
            buses.buffers[2].channel_count = 9;
            buses.buffers[2].data32 = std::ptr::null_mut();
        }
    }
}
