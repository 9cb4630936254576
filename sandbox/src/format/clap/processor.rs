//! An active CLAP plugin, on its audio thread.
//!
//! # Safety
//! `unsafe` here hands the plugin the channel addresses of [`Buffers`], whose validity is the
//! contract of [`Processor::bind`], and calls its process() with a description of the block that
//! outlives the call.
#![allow(unsafe_code)]

use super::super::steady_time::SteadyTime;
use super::super::{Buffers, ProcessBlock, Processor, Transport};
use super::cookies::Cookies;
use super::events::{Dialect, push_event, transport_event};
use super::host::{self, SandrackHost, Shared};
use super::lists::{InEvents, OutEvents};
use super::pool::Pool;
use crate::shm::layout::{EVENTS, stride};
use clack_host::events::event_types::TransportEvent;
use clack_host::process::PluginAudioProcessor;
use clap_sys::audio_buffer::clap_audio_buffer;
use clap_sys::process::{CLAP_PROCESS_CONTINUE, CLAP_PROCESS_SLEEP, clap_process};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// An active CLAP plugin.
pub(super) struct ClapProcessor {
    plugin: PluginAudioProcessor<SandrackHost>,
    shared: Arc<Shared>,
    note_ports: Vec<Dialect>,
    cookies: Cookies,
    /// What it uses once the plugin has taken back its own.
    no_cookies: Cookies,
    pool: Option<Pool>,
    /// The last block's, and the same for the plugin: it changes only while playing, and rounding
    /// its times is a call into the maths library each.
    transport: (Transport, TransportEvent),
    steady_time: SteadyTime,
    inputs: Buses,
    outputs: Buses,
    in_events: InEvents,
    out_events: OutEvents,
}

impl ClapProcessor {
    pub(super) fn new(
        plugin: PluginAudioProcessor<SandrackHost>,
        shared: Arc<Shared>,
        note_ports: Vec<Dialect>,
        cookies: Cookies,
        pool: Option<Pool>,
    ) -> Self {
        Self {
            plugin,
            shared,
            note_ports,
            cookies,
            no_cookies: Cookies::default(),
            pool,
            transport: (Transport::default(), transport_event(&Transport::default())),
            steady_time: SteadyTime::default(),
            inputs: Buses::new(&[], std::ptr::null_mut()),
            outputs: Buses::new(&[], std::ptr::null_mut()),
            in_events: InEvents::with_capacity(2 * EVENTS),
            out_events: OutEvents::new(),
        }
    }
}

// SAFETY: the addresses are good on any thread (contract of `bind`); clack's processor is Send.
unsafe impl Send for ClapProcessor {}

/// The buses of one direction.
struct Buses {
    counts: Vec<u32>,
    first: *mut f32,
    /// Never resized: `buffers` point into it. One more than there are, and null: a bus without
    /// channels points to something too.
    channels: Vec<*mut f32>,
    buffers: Vec<clap_audio_buffer>,
}

impl Buses {
    fn new(counts: &[u32], first: *mut f32) -> Self {
        let mut buses = Self {
            counts: counts.to_vec(),
            first,
            channels: vec![std::ptr::null_mut(); counts.iter().sum::<u32>() as usize + 1],
            buffers: Vec::with_capacity(counts.len()),
        };
        buses.pack(0);
        buses
    }

    /// Describes a block of so many frames: all of it anew each time, for plugins move the pointers
    /// that they are given, or forget masks in there.
    fn pack(&mut self, frames: u32) {
        let floats = stride(frames) / size_of::<f32>();
        let Some((none, channels)) = self.channels.split_last_mut() else { return };
        *none = std::ptr::null_mut();
        for (index, channel) in channels.iter_mut().enumerate() {
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
            // SAFETY: stays within `channels`.
            data32 = unsafe { data32.add(channel_count as usize) };
            buffer
        }));
    }
}

impl Buses {
    /// The buses for the plugin; null if there are none: wrappers of plugins of other formats look at
    /// that, and not at the count.
    fn address(&mut self) -> *mut clap_audio_buffer {
        match self.buffers.is_empty() {
            true => std::ptr::null_mut(),
            false => self.buffers.as_mut_ptr(),
        }
    }

    /// Silences all channels: not every plugin writes to all, and what lies there is an old block.
    fn silence(&mut self, frames: u32) {
        let floats = stride(frames) / size_of::<f32>();
        for channel in 0..self.channels.len().saturating_sub(1) {
            // SAFETY: all channels of the greatest block lie behind `first` (contract of `bind`), and
            // the plugin does not run.
            unsafe {
                let start = self.first.add(channel * floats);
                std::slice::from_raw_parts_mut(start, frames as usize).fill(0.0);
            }
        }
    }

    /// Says which channels hold one value throughout: a plugin may save itself work on these. (What
    /// a plugin says so of its outputs is not looked at: it has to fill them all the same.)
    fn mark_constant(&mut self, frames: u32) {
        let floats = stride(frames) / size_of::<f32>();
        let mut index = 0;
        for buffer in &mut self.buffers {
            for channel in 0..buffer.channel_count as usize {
                if channel < u64::BITS as usize {
                    // SAFETY: all channels of the greatest block lie behind `first` (contract of
                    // `bind`), and the plugin does not run.
                    let samples = unsafe {
                        let start = self.first.add((index + channel) * floats);
                        std::slice::from_raw_parts(start, frames as usize)
                    };
                    buffer.constant_mask |= u64::from(is_constant(samples)) << channel;
                }
            }
            index += buffer.channel_count as usize;
        }
    }
}

impl Processor for ClapProcessor {
    fn start(&mut self) -> bool {
        let _audio = host::enter_audio_thread();
        if let Some(pool) = &self.pool {
            pool.take_priority();
        }
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
        if !self.plugin.is_started() {
            return false;
        }
        self.in_events.clear();
        let void = self.shared.cookies_void.load(Ordering::Relaxed);
        let cookies = if void { &self.no_cookies } else { &self.cookies };
        for event in block.events {
            push_event(&mut self.in_events, event, &self.note_ports, cookies);
        }
        self.out_events.begin(block.frames);
        self.inputs.pack(block.frames);
        self.outputs.pack(block.frames);
        self.outputs.silence(block.frames);
        self.inputs.mark_constant(block.frames);
        if self.transport.0 != *block.transport {
            self.transport = (*block.transport, transport_event(block.transport));
        }
        let steady_time = self.steady_time.of_block(block.steady_time, block.frames);
        let (in_events, out_events) = (self.in_events.list(), self.out_events.list());
        let process = clap_process {
            steady_time: steady_time as i64 & i64::MAX,
            frames_count: block.frames,
            transport: self.transport.1.as_raw(),
            audio_inputs: self.inputs.address(),
            audio_outputs: self.outputs.address(),
            audio_inputs_count: self.inputs.buffers.len() as u32,
            audio_outputs_count: self.outputs.buffers.len() as u32,
            in_events: in_events.as_ptr(),
            out_events: out_events.as_ptr(),
        };
        let _pool = self.pool.as_ref().map(Pool::enter);
        let plugin = self.plugin.plugin_handle();
        let Some(call) = plugin.as_raw().process else { return false };
        // SAFETY: the plugin is active and started, and this is its audio thread. The buffers are
        // good for the greatest block (contract of `bind`), and a block is never greater: the
        // worker checks `frames` against what it was activated for. All lists live until after.
        let status = unsafe { call(plugin.as_raw_ptr(), &process) };
        self.out_events.take(block.out_events);
        self.shared.count_dropped(self.out_events.dropped() + self.in_events.lost());
        self.shared.count_late(self.out_events.late());
        // All that isn't an error means the same here: every active node runs in every block.
        (CLAP_PROCESS_CONTINUE..=CLAP_PROCESS_SLEEP).contains(&status)
    }
}

/// Whether all samples have the same bits. Of a signal, this reads the first two.
fn is_constant(samples: &[f32]) -> bool {
    let [first, rest @ ..] = samples else { return true };
    let first = first.to_bits();
    // In runs, so that a silent channel costs next to nothing.
    rest.first().is_none_or(|next| next.to_bits() == first)
        && rest.chunks(16).all(|run| run.iter().fold(true, |same, s| same & (s.to_bits() == first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_of_one_value_are_marked() {
        let floats = stride(40) / size_of::<f32>();
        let mut audio = vec![0.0_f32; 4 * floats];
        audio[floats + 39] = -0.0;
        audio[2 * floats..2 * floats + 40].fill(0.25);
        // What lies behind the block's end does not count.
        audio[3 * floats + 40..].fill(1.0);
        let mut buses = Buses::new(&[2, 2], audio.as_mut_ptr());
        buses.pack(40);
        buses.mark_constant(40);
        assert_eq!(buses.buffers.iter().map(|b| b.constant_mask).collect::<Vec<_>>(), [1, 3]);
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
            assert_eq!(buses.channels[..3], [0, 1, 2].map(|n| first.wrapping_add(n * floats)));
            assert!(buses.channels[3].is_null());
            assert_eq!(buses.buffers[2].data32.cast_const(), &raw const buses.channels[2]);
            // As a plugin might.
            buses.channels[1] = std::ptr::null_mut();
            buses.buffers[0].constant_mask = 3;
            buses.buffers[2].channel_count = 9;
            buses.buffers[2].data32 = std::ptr::null_mut();
        }
    }

    #[test]
    fn where_there_is_no_bus_there_is_no_address() {
        let mut buses = Buses::new(&[], std::ptr::null_mut());
        buses.pack(64);
        buses.silence(64);
        assert!(buses.address().is_null());
        let mut buses = Buses::new(&[0], std::ptr::null_mut());
        buses.pack(64);
        buses.silence(64);
        // SAFETY: one bus, and behind it the address that says that no channel is there.
        assert!(unsafe { (*(*buses.address()).data32).is_null() });
    }

    #[test]
    fn what_lay_in_the_outputs_is_gone_before_the_plugin_runs() {
        let floats = stride(40) / size_of::<f32>();
        let mut audio = vec![1.0_f32; 3 * floats];
        let mut buses = Buses::new(&[2], audio.as_mut_ptr());
        buses.pack(40);
        buses.silence(40);
        let sums = [0, 1, 2].map(|n| audio[n * floats..n * floats + 40].iter().sum::<f32>());
        assert_eq!(sums, [0.0, 0.0, 40.0]);
    }
}
