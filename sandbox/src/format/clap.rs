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
use crate::shm::layout::stride;
use clack_extensions::audio_ports::{AudioPortFlags, AudioPortInfoBuffer, PluginAudioPorts};
use clack_extensions::gui::PluginGui;
use clack_extensions::latency::PluginLatency;
use clack_extensions::note_ports::{NoteDialect, NotePortInfoBuffer, PluginNotePorts};
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

use events::{OutEvents, push_event, transport_event};
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
    // Relative names would be looked up in the library search path.
    let full = std::fs::canonicalize(path)
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
}

impl ClapInstance {
    /// Loads, creates and initialises it.
    pub fn load(
        plugin: &PluginRef,
        wake_main: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self, PluginError> {
        let path = plugin.path.display().to_string();
        let entry = load_entry(&plugin.path)?;
        let all = descriptors(&entry, &plugin.path)?;
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
        Ok(Self { instance, shared, descriptor, name })
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
                    midi: info.supported_dialects.supports(NoteDialect::Midi),
                    prefers_midi: info.preferred_dialect == Some(NoteDialect::Midi),
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
        let stopped = self
            .instance
            .activate(|_, _| host::HostAudio, configuration)
            .map_err(|e| self.call_failed("activate", e))?;
        Ok(Box::new(ClapProcessor {
            plugin: stopped.into(),
            shared: Arc::clone(&self.shared),
            inputs: Buses::new(&[], std::ptr::null_mut()),
            outputs: Buses::new(&[], std::ptr::null_mut()),
            frames: 0,
            in_events: EventBuffer::with_capacity(2 * crate::shm::layout::EVENTS),
            out_events: OutEvents::new(),
        }))
    }

    fn deactivate(&mut self) -> Result<(), PluginError> {
        self.instance.try_deactivate().map_err(|e| self.call_failed("deactivate", e))
    }

    fn latency(&mut self) -> u32 {
        let handle = self.instance.plugin_handle();
        handle.get_extension::<PluginLatency>().map_or(0, |latency| latency.get(&handle))
    }

    fn save_state(&mut self) -> Result<Vec<u8>, PluginError> {
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
        let (due, next) = self.shared.due_timers(Instant::now());
        if !due.is_empty() {
            let handle = self.instance.plugin_handle();
            if let Some(timer) = handle.get_extension::<PluginTimer>() {
                due.into_iter().for_each(|id| timer.on_timer(&handle, id));
            }
        }
        next
    }

    fn take_notice(&mut self) -> Option<Notice> {
        self.shared.take_notice()
    }
}

/// An active CLAP plugin.
struct ClapProcessor {
    plugin: PluginAudioProcessor<SandrackHost>,
    shared: Arc<Shared>,
    inputs: Buses,
    outputs: Buses,
    /// For which the channel addresses are worked out.
    frames: u32,
    in_events: EventBuffer,
    out_events: OutEvents,
}

// SAFETY: the addresses are good on any thread (contract of `bind`); clack's processor is Send.
unsafe impl Send for ClapProcessor {}

/// The buses of one direction. `buffers` point into `channels`, which is never resized.
struct Buses {
    first: *mut f32,
    channels: Vec<*mut f32>,
    buffers: Vec<clap_audio_buffer>,
}

impl Buses {
    fn new(counts: &[u32], first: *mut f32) -> Self {
        let mut channels = vec![first; counts.iter().sum::<u32>() as usize];
        let mut data32 = channels.as_mut_ptr();
        let mut buffers = Vec::with_capacity(counts.len());
        for &channel_count in counts {
            buffers.push(clap_audio_buffer {
                data32,
                data64: std::ptr::null_mut(),
                channel_count,
                latency: 0,
                constant_mask: 0,
            });
            // SAFETY: stays within `channels`, or one past its end for the last.
            data32 = unsafe { data32.add(channel_count as usize) };
        }
        Self { first, channels, buffers }
    }

    /// Works out the channels' addresses for blocks of so many frames.
    fn pack(&mut self, frames: u32) {
        let floats = stride(frames) / size_of::<f32>();
        for (index, channel) in self.channels.iter_mut().enumerate() {
            // SAFETY: all channels of the greatest block lie behind `first` (contract of `bind`).
            *channel = unsafe { self.first.add(index * floats) };
        }
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
        self.frames = 0;
    }

    fn process(&mut self, block: ProcessBlock<'_>) -> bool {
        let _audio = host::enter_audio_thread();
        let Ok(plugin) = self.plugin.as_started_mut() else { return false };
        self.in_events.clear();
        block.events.iter().for_each(|event| push_event(&mut self.in_events, event));
        self.out_events.begin(block.frames);
        if self.frames != block.frames {
            self.frames = block.frames;
            self.inputs.pack(block.frames);
            self.outputs.pack(block.frames);
        }
        for output in &mut self.outputs.buffers {
            output.constant_mask = 0;
        }
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
            Some(block.steady_time),
            Some(&transport),
        );
        self.out_events.take(block.out_events);
        self.shared.count_dropped(self.out_events.dropped());
        result.is_ok()
    }
}
