//! Audio buses of a block, as a VST 3 plugin sees them.
//!
//! # Safety
//! Addresses of channels come from [`Buffers`](super::super::Buffers), whose validity is the
//! contract of `Processor::bind`, or from memory of this value that is never resized. Pointers to
//! them lie in `channels`, which isn't either.
#![allow(unsafe_code)]

use super::processor::Bus;
use crate::shm::layout::stride;
use std::ffi::c_void;
use vst3::Steinberg::Vst::{AudioBusBuffers, AudioBusBuffers__type0};

/// Where a channel is.
#[derive(Clone, Copy)]
enum Place {
    /// So many channels behind the first of the node.
    Node(usize),
    /// Nowhere in the node: silence, or waste.
    Private,
}

/// The buses of one direction.
pub(super) struct Buses {
    /// The first channel of the node.
    first: *mut f32,
    /// Channels that the node has.
    node_channels: usize,
    layout: Vec<(i32, bool)>,
    places: Vec<Place>,
    /// Of every channel; never resized: `buffers` point into it. One more than there are, and null:
    /// a bus without channels points to something too.
    channels: Vec<*mut c_void>,
    buffers: Vec<AudioBusBuffers>,
    /// For channels that the node does not have, one for all.
    private: Box<[f64]>,
    has_private: bool,
    /// 64-bit samples of every channel, if the plugin takes only such.
    wide: Option<Box<[f64]>>,
    max_frames: usize,
}

impl Buses {
    /// No channels are bound yet: all are private.
    pub(super) fn new(buses: &[Bus], double: bool, max_frames: u32) -> Self {
        let channels = buses.iter().map(|bus| bus.channels as usize).sum();
        let max_frames = max_frames as usize;
        Self {
            first: std::ptr::null_mut(),
            node_channels: 0,
            layout: buses.iter().map(|bus| (bus.channels as i32, bus.active)).collect(),
            places: vec![Place::Private; channels],
            channels: vec![std::ptr::null_mut(); channels + 1],
            buffers: Vec::with_capacity(buses.len()),
            private: vec![0.0; max_frames].into(),
            has_private: channels > 0,
            wide: double.then(|| vec![0.0; channels * max_frames].into()),
            max_frames,
        }
    }

    /// Takes the node's channels: `counts` in each bus, from `first` on.
    pub(super) fn bind(&mut self, counts: &[u32], first: *mut f32) {
        self.first = first;
        self.node_channels = counts.iter().sum::<u32>() as usize;
        let (mut place, mut begin) = (0, 0);
        for (bus, &(channels, active)) in self.layout.iter().enumerate() {
            let there = counts.get(bus).map_or(0, |count| *count as usize);
            for channel in 0..channels as usize {
                // An inactive bus is never the plugin's to read or write.
                self.places[place] = if active && channel < there {
                    Place::Node(begin + channel)
                } else {
                    Place::Private
                };
                place += 1;
            }
            begin += there;
        }
        self.has_private = self.places.iter().any(|place| matches!(place, Place::Private));
    }

    fn address(&self, place: Place, frames: u32) -> Option<*mut f32> {
        match place {
            Place::Node(channel) => {
                let floats = channel * (stride(frames) / size_of::<f32>());
                // SAFETY: all channels of the node lie behind `first` (contract of `bind`).
                Some(unsafe { self.first.add(floats) })
            }
            Place::Private => None,
        }
    }

    /// A channel's samples, if the node has it.
    fn samples(&mut self, place: Place, frames: u32) -> Option<&mut [f32]> {
        let address = self.address(place, frames)?;
        // SAFETY: good for all frames of the block, and nobody else uses it (contract of `bind`).
        Some(unsafe { std::slice::from_raw_parts_mut(address, frames as usize) })
    }

    /// Describes the inputs of a block: all of it anew each time, for plugins move the pointers
    /// that they are given. A channel that is zero throughout is marked as silent: plugins may
    /// skip work for it, and looking stops at the first sample that isn't.
    pub(super) fn pack_inputs(&mut self, frames: u32) -> *mut AudioBusBuffers {
        if self.has_private {
            self.private.fill(0.0);
        }
        self.pack(frames);
        let mut place = 0;
        for bus in 0..self.layout.len() {
            let mut silent = 0;
            for channel in 0..self.layout[bus].0 as usize {
                let is_silent = match self.samples(self.places[place], frames) {
                    Some(samples) => samples.iter().all(|sample| *sample == 0.0),
                    None => true,
                };
                if is_silent && channel < 64 {
                    silent |= 1 << channel;
                }
                self.widen(place, frames);
                place += 1;
            }
            self.buffers[bus].silenceFlags = silent;
        }
        self.buses_address()
    }

    /// The buses for the plugin; null if there are none: plugins made with common wrappers look at
    /// that, and not at the count.
    fn buses_address(&mut self) -> *mut AudioBusBuffers {
        match self.buffers.is_empty() {
            true => std::ptr::null_mut(),
            false => self.buffers.as_mut_ptr(),
        }
    }

    /// Describes the outputs of a block, and silences them: not every plugin writes to all.
    pub(super) fn pack_outputs(&mut self, frames: u32) -> *mut AudioBusBuffers {
        for channel in 0..self.node_channels {
            if let Some(samples) = self.samples(Place::Node(channel), frames) {
                samples.fill(0.0);
            }
        }
        if let Some(wide) = &mut self.wide {
            wide.fill(0.0);
        }
        self.pack(frames);
        self.buses_address()
    }

    /// Brings the plugin's output to the node. What it marks as silent is not looked at: it has to
    /// write silence all the same, and not a few hand on the marks of their input while they sound on.
    pub(super) fn finish_outputs(&mut self, frames: u32) {
        for place in 0..self.places.len() {
            self.narrow(place, frames);
        }
    }

    fn pack(&mut self, frames: u32) {
        let private = self.private.as_mut_ptr().cast::<c_void>();
        for index in 0..self.places.len() {
            let node = self.address(self.places[index], frames);
            self.channels[index] = match (&mut self.wide, node) {
                (Some(wide), Some(_)) => wide[index * self.max_frames..].as_mut_ptr().cast(),
                (None, Some(address)) => address.cast(),
                (_, None) => private,
            };
        }
        if let Some(none) = self.channels.last_mut() {
            *none = std::ptr::null_mut();
        }
        let mut channels = self.channels.as_mut_ptr();
        self.buffers.clear();
        // Within its capacity.
        self.buffers.extend(self.layout.iter().map(|&(count, _)| {
            let buffer = AudioBusBuffers {
                numChannels: count,
                silenceFlags: 0,
                // The same for samples of both sizes: a union of two pointers.
                __field0: AudioBusBuffers__type0 { channelBuffers32: channels.cast() },
            };
            // SAFETY: stays within `channels`.
            channels = unsafe { channels.add(count as usize) };
            buffer
        }));
    }

    fn widen(&mut self, place: usize, frames: u32) {
        let Some(mut wide) = self.wide.take() else { return };
        let first = place * self.max_frames;
        if let Some(samples) = self.samples(self.places[place], frames) {
            for (wide, sample) in wide[first..].iter_mut().zip(samples) {
                *wide = f64::from(*sample);
            }
        }
        self.wide = Some(wide);
    }

    fn narrow(&mut self, place: usize, frames: u32) {
        let Some(wide) = self.wide.take() else { return };
        let first = place * self.max_frames;
        if let Some(samples) = self.samples(self.places[place], frames) {
            for (wide, sample) in wide[first..].iter().zip(samples) {
                *sample = *wide as f32;
            }
        }
        self.wide = Some(wide);
    }

    /// Number of buses.
    pub(super) fn len(&self) -> usize {
        self.layout.len()
    }
}

#[cfg(test)]
#[path = "buffers/tests.rs"]
mod tests;
