//! CLAP plugins, through clack-host.
//!
//! # Safety
//! `unsafe` here is loading a library (which may do anything: that is what workers are for),
//! and handing clack the channel addresses of [`Buffers`], whose validity is the contract of
//! [`Processor::bind`].
#![allow(unsafe_code)]

use super::{
    AudioPort, Buffers, Descriptor, Instance, NotePort, Notice, Param, PluginInfo, PluginRef,
    ProcessBlock, Processor,
};
use crate::error::PluginError;
use crate::shm::layout::{MAX_CHANNELS, stride};
use clack_extensions::audio_ports::{AudioPortFlags, AudioPortInfoBuffer, PluginAudioPorts};
use clack_extensions::gui::PluginGui;
use clack_extensions::latency::PluginLatency;
use clack_extensions::note_ports::{
    NoteDialect, NoteDialects, NotePortInfoBuffer, PluginNotePorts,
};
use clack_extensions::params::{ParamInfoBuffer, ParamInfoFlags, PluginParams};
use clack_extensions::state::PluginState;
use clack_extensions::timer::PluginTimer;
use clack_host::events::io::EventBuffer;
use clack_host::prelude::*;
use clack_host::process::PluginAudioProcessor;
use clap_sys::audio_buffer::clap_audio_buffer;
use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

mod events;
mod host;

use events::{Dialect, OutEvents, push_event, transport_event};
use host::{HostMain, HostShared, SandrackHost, Shared};

/// Most buses, and most parameters, that are believed of a plugin.
const MAX_PORTS: u32 = 256;
const MAX_PARAMS: u32 = 100_000;

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

fn c_text(text: Option<&CStr>) -> String {
    text.map(|t| t.to_string_lossy().into_owned()).unwrap_or_default()
}

fn load_entry(path: &Path) -> Result<PluginEntry, PluginError> {
    let shown = path.display().to_string();
    // Relative names would be looked up in the library search path. Links are not followed: a
    // plugin is told its path, and may look for its resources beside it.
    let full = std::path::absolute(path)
        .map_err(|e| PluginError::Unreadable { path: shown.clone(), reason: e.to_string() })?;
    // SAFETY: running the library's code is the purpose; the worker contains what it does.
    unsafe { PluginEntry::load(&full) }.map_err(|error| {
        use clack_host::entry::PluginEntryError as E;
        let reason = match error {
            E::LibraryLoadingError(e) => {
                let said = e.to_string().replace('\n', " ");
                match said.contains("clap_entry") {
                    true => "it is a library but not a CLAP plugin (no clap_entry)".into(),
                    false => said,
                }
            }
            E::EntryInitFailed => "its entry function init() returned false".into(),
            E::NullEntryPointer => "its clap_entry is null".into(),
            E::IncompatibleClapVersion { plugin_version } => {
                format!("it is for CLAP {plugin_version}, which is too old or too new")
            }
            other => other.to_string(),
        };
        PluginError::Load { path: shown, reason }
    })
}

fn descriptors(
    entry: &PluginEntry,
    path: &Path,
) -> Result<Vec<(CString, Descriptor)>, PluginError> {
    let factory = entry.get_plugin_factory().ok_or_else(|| PluginError::Load {
        path: path.display().to_string(),
        reason: "it has no plugin factory".into(),
    })?;
    let known = factory.plugin_descriptors().filter_map(|d| {
        let id = d.id()?;
        let descriptor = Descriptor {
            id: id.to_string_lossy().into_owned(),
            name: c_text(d.name()),
            vendor: c_text(d.vendor()),
            version: c_text(d.version()),
            description: c_text(d.description()),
            features: d.features().map(|f| f.to_string_lossy().into_owned()).collect(),
        };
        Some((id.to_owned(), descriptor))
    });
    Ok(known.take(10_000).collect())
}

/// What is in a file.
pub fn list(path: &Path) -> Result<Vec<Descriptor>, PluginError> {
    let entry = load_entry(path)?;
    Ok(descriptors(&entry, path)?.into_iter().map(|(_, d)| d).collect())
}

/// A loaded CLAP plugin.
pub struct ClapInstance {
    instance: PluginInstance<SandrackHost>,
    shared: Arc<Shared>,
    descriptor: Descriptor,
    name: String,
    /// As told last.
    latency: u32,
}

impl ClapInstance {
    /// Loads, creates and initialises it. `file` is the library that `plugin` means.
    pub fn load(
        plugin: &PluginRef,
        file: &Path,
        wake_main: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self, PluginError> {
        let path = plugin.path.display().to_string();
        let entry = load_entry(file)?;
        let all = descriptors(&entry, file)?;
        let found = match &plugin.id {
            Some(id) => all.iter().find(|(_, d)| d.id == *id),
            None => all.first(),
        };
        let Some((id, descriptor)) = found.cloned() else {
            let has: Vec<_> = all.iter().map(|(_, d)| d.id.as_str()).collect();
            return Err(match &plugin.id {
                Some(id) => PluginError::NoSuchId { path, id: id.clone(), has: has.join(", ") },
                None => PluginError::Load { path, reason: "there is no plugin in it".into() },
            });
        };
        let name = format!("{path}#{}", descriptor.id);
        let shared = Arc::new(Shared::new(wake_main));
        let host =
            HostInfo::new("Sandrack", "Sandrack contributors", "", env!("CARGO_PKG_VERSION"))
                .map_err(|e| PluginError::Absurd { plugin: name.clone(), what: e.to_string() })?;
        let for_host = Arc::clone(&shared);
        let instance = PluginInstance::<SandrackHost>::new(
            move |_| HostShared(for_host),
            |shared| HostMain(&shared.0),
            &entry,
            &id,
            &host,
        )
        .map_err(|error| {
            use clack_host::plugin::PluginInstanceError as E;
            let (call, reason) = match error {
                E::InstantiationFailed => ("create or init", "the plugin refused".to_owned()),
                other => ("create", other.to_string()),
            };
            PluginError::Call { plugin: name.clone(), call: call.into(), reason }
        })?;
        Ok(Self { instance, shared, descriptor, name, latency: 0 })
    }

    fn audio_ports(&mut self, input: bool) -> Vec<AudioPort> {
        let handle = self.instance.plugin_handle();
        let Some(ports) = handle.get_extension::<PluginAudioPorts>() else { return vec![] };
        let count = ports.count(&handle, input).min(MAX_PORTS);
        let mut buffer = AudioPortInfoBuffer::new();
        let mut all = Vec::new();
        for index in 0..count {
            if let Some(info) = ports.get(&handle, index, input, &mut buffer) {
                all.push(AudioPort {
                    name: text(info.name),
                    channels: info.channel_count,
                    main: info.flags.contains(AudioPortFlags::IS_MAIN),
                });
            }
        }
        all
    }

    fn note_ports(&mut self, input: bool) -> Vec<NotePort> {
        let handle = self.instance.plugin_handle();
        let Some(ports) = handle.get_extension::<PluginNotePorts>() else { return vec![] };
        let count = ports.count(&handle, input).min(MAX_PORTS);
        let mut buffer = NotePortInfoBuffer::new();
        let mut all = Vec::new();
        for index in 0..count {
            if let Some(info) = ports.get(&handle, index, input, &mut buffer) {
                all.push(NotePort {
                    name: text(info.name),
                    clap: info.supported_dialects.supports(NoteDialect::Clap),
                    midi: info
                        .supported_dialects
                        .intersects(NoteDialects::MIDI | NoteDialects::MIDI_MPE),
                    prefers_midi: matches!(
                        info.preferred_dialect,
                        Some(NoteDialect::Midi | NoteDialect::MidiMpe)
                    ),
                });
            }
        }
        all
    }

    fn params(&mut self) -> Vec<Param> {
        let handle = self.instance.plugin_handle();
        let Some(params) = handle.get_extension::<PluginParams>() else { return vec![] };
        let count = params.count(&handle).min(MAX_PARAMS);
        let mut buffer = ParamInfoBuffer::new();
        let mut all = Vec::new();
        for index in 0..count {
            let Some(info) = params.get_info(&handle, index, &mut buffer) else { continue };
            let (id, flags) = (info.id, info.flags);
            let mut param = Param {
                id: id.get(),
                name: text(info.name),
                module: text(info.module),
                min: info.min_value,
                max: info.max_value,
                default: info.default_value,
                value: info.default_value,
                text: String::new(),
                stepped: flags.contains(ParamInfoFlags::IS_STEPPED),
                automatable: flags.contains(ParamInfoFlags::IS_AUTOMATABLE),
                read_only: flags.contains(ParamInfoFlags::IS_READONLY),
                bypass: flags.contains(ParamInfoFlags::IS_BYPASS),
            };
            param.value = params.get_value(&handle, id).unwrap_or(param.default);
            let mut shown = [0u8; 256];
            if let Ok(shown) = params.value_to_text(&handle, id, param.value, &mut shown) {
                param.text = text(shown);
            }
            all.push(param);
        }
        all
    }

    /// Lets an inactive plugin put out its parameters' changes. Of an active one, each block does.
    fn flush(&mut self) {
        let mut out = OutEvents::new();
        out.begin(1);
        if let Some(mut handle) = self.instance.inactive_plugin_handle()
            && let Some(params) = handle.get_extension::<PluginParams>()
        {
            let mut events = OutputEvents::from_buffer(&mut out);
            params.flush(&mut handle, &InputEvents::empty(), &mut events);
        }
        if !out.is_empty() {
            self.shared.raise(&self.shared.wishes.params);
        }
    }

    /// Whether the latency is another than it was last told. Some plugins say so whenever they are
    /// set up; and of an inactive one the next activation tells.
    fn latency_changed(&mut self) -> bool {
        self.shared.wishes.latency.fulfil();
        let told = self.latency;
        self.instance.is_active() && self.latency() != told
    }

    fn call_failed(&self, call: &str, reason: impl ToString) -> PluginError {
        PluginError::Call {
            plugin: self.name.clone(),
            call: call.into(),
            reason: reason.to_string(),
        }
    }
}

impl Instance for ClapInstance {
    fn info(&mut self) -> PluginInfo {
        self.shared.wishes.params.fulfil();
        let handle = self.instance.plugin_handle();
        PluginInfo {
            descriptor: self.descriptor.clone(),
            format: "CLAP".into(),
            has_state: handle.get_extension::<PluginState>().is_some(),
            has_editor: handle.get_extension::<PluginGui>().is_some(),
            inputs: self.audio_ports(true),
            outputs: self.audio_ports(false),
            note_inputs: self.note_ports(true),
            note_outputs: self.note_ports(false),
            params: self.params(),
        }
    }

    fn activate(
        &mut self,
        rate: f64,
        frames: (u32, u32),
    ) -> Result<Box<dyn Processor>, PluginError> {
        let configuration = PluginAudioConfiguration {
            sample_rate: rate,
            min_frames_count: frames.0,
            max_frames_count: frames.1,
        };
        let ports = [self.audio_ports(true), self.audio_ports(false)].concat();
        if let Some(port) = ports.iter().find(|port| port.channels > MAX_CHANNELS) {
            let (port, channels) = (&port.name, port.channels);
            let what = format!(
                "its audio port '{port}' claims {channels} channels; more than {MAX_CHANNELS} are \
                 not believed"
            );
            return Err(PluginError::Absurd { plugin: self.name.clone(), what });
        }
        // Ports change only while a plugin is inactive.
        let note_ports = self.note_ports(true).iter().map(Dialect::of).collect();
        self.shared.before_activate();
        let stopped = self
            .instance
            .activate(|_, _| host::HostAudio, configuration)
            .map_err(|e| self.call_failed("activate", e))?;
        self.shared.after_activate();
        Ok(Box::new(ClapProcessor {
            plugin: stopped.into(),
            note_ports,
            steady_time: SteadyTime::default(),
            shared: Arc::clone(&self.shared),
            inputs: Buses::new(&[], std::ptr::null_mut()),
            outputs: Buses::new(&[], std::ptr::null_mut()),
            in_events: EventBuffer::with_capacity(2 * crate::shm::layout::EVENTS),
            out_events: OutEvents::new(),
        }))
    }

    fn deactivate(&mut self) -> Result<(), PluginError> {
        self.instance.try_deactivate().map_err(|e| self.call_failed("deactivate", e))
    }

    fn latency(&mut self) -> u32 {
        if !self.instance.is_active() {
            return 0;
        }
        let handle = self.instance.plugin_handle();
        let extension = handle.get_extension::<PluginLatency>();
        self.latency = extension.map_or(0, |latency| latency.get(&handle));
        self.latency
    }

    fn save_state(&mut self) -> Result<Vec<u8>, PluginError> {
        // What changes from here on may be missing in it.
        self.shared.wishes.dirty.fulfil();
        let handle = self.instance.plugin_handle();
        let mut state = Vec::new();
        match handle.get_extension::<PluginState>() {
            None => Ok(state),
            Some(extension) => match extension.save(&handle, &mut state) {
                Ok(()) => Ok(state),
                Err(e) => Err(self.call_failed("state.save", e)),
            },
        }
    }

    fn load_state(&mut self, state: &[u8]) -> Result<(), PluginError> {
        let handle = self.instance.plugin_handle();
        match handle.get_extension::<PluginState>() {
            None if state.is_empty() => Ok(()),
            None => Err(self.call_failed("state.load", "the plugin has no state")),
            Some(extension) => {
                let mut reader = state;
                extension.load(&handle, &mut reader).map_err(|e| self.call_failed("state.load", e))
            }
        }
    }

    fn idle(&mut self) -> Option<Instant> {
        if self.shared.take_callback() {
            self.instance.call_on_main_thread_callback();
        }
        if self.shared.take_flush() {
            self.flush();
        }
        let (due, next) = self.shared.due_timers(Instant::now());
        if !due.is_empty() {
            let handle = self.instance.plugin_handle();
            if let Some(timer) = handle.get_extension::<PluginTimer>() {
                due.into_iter().for_each(|id| timer.on_timer(&handle, id));
            }
        }
        [next, self.shared.log_opens()].into_iter().flatten().min()
    }

    fn take_notice(&mut self) -> Option<Notice> {
        loop {
            let notice = self.shared.take_notice()?;
            if notice == Notice::LatencyChanged && !self.latency_changed() {
                continue;
            }
            return Some(notice);
        }
    }
}

/// An active CLAP plugin.
struct ClapProcessor {
    plugin: PluginAudioProcessor<SandrackHost>,
    shared: Arc<Shared>,
    note_ports: Vec<Dialect>,
    steady_time: SteadyTime,
    inputs: Buses,
    outputs: Buses,
    in_events: EventBuffer,
    out_events: OutEvents,
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
        let transport = transport_event(block.transport);
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
            Some(&transport),
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
