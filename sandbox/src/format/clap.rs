//! CLAP plugins, through clack-host.
//!
//! # Safety
//! `unsafe` here is loading a library, which may do anything: that is what workers are for.
#![allow(unsafe_code)]

use super::{
    AudioPort, Descriptor, Format, Instance, NotePort, Notice, Param, PluginInfo, PluginRef,
    Preset, Processor, StateContext,
};
use crate::error::PluginError;
use crate::protocol::Activation;
use crate::shm::layout::MAX_CHANNELS;
use clack_extensions::audio_ports::{AudioPortFlags, AudioPortInfoBuffer, PluginAudioPorts};
use clack_extensions::gui::PluginGui;
use clack_extensions::latency::PluginLatency;
use clack_extensions::note_ports::{
    NoteDialect, NoteDialects, NotePortInfoBuffer, PluginNotePorts,
};
use clack_extensions::params::{ParamInfoBuffer, ParamInfoFlags, PluginParams};
use clack_extensions::state::PluginState;
use clack_extensions::timer::PluginTimer;
use clack_host::prelude::*;
use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

mod events;
mod host;
mod processor;

use events::{Dialect, OutEvents};
use host::{HostMain, HostShared, SandrackHost, Shared};
use processor::ClapProcessor;

/// Most buses, and most parameters, that are believed of a plugin.
const MAX_PORTS: u32 = 256;
const MAX_PARAMS: u32 = 100_000;
/// Most parameters that may be missing from, or repeated in, a plugin's list before the rest of it
/// is not believed either.
const MAX_VOID: u32 = 1000;

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

/// The plugin of a name, if only one has it.
fn named<'a>(all: &'a [(CString, Descriptor)], name: &str) -> Option<&'a (CString, Descriptor)> {
    let mut found = all.iter().filter(|(_, d)| d.name == name);
    found.next().filter(|_| found.next().is_none())
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
            Some(id) => all.iter().find(|(_, d)| d.id == *id).or_else(|| named(&all, id)),
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
                    active: true,
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
                    channels: 16,
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
        let mut known = HashSet::new();
        let mut void = 0;
        for index in 0..count {
            let info = params.get_info(&handle, index, &mut buffer);
            // An id names one parameter: what comes again, or does not come, is no parameter.
            let Some(info) = info.filter(|info| known.insert(info.id.get())) else {
                void += 1;
                if void > MAX_VOID {
                    break;
                }
                continue;
            };
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
                unit: String::new(),
                steps: match flags.contains(ParamInfoFlags::IS_STEPPED) {
                    true => (info.max_value - info.min_value).max(1.0) as u32,
                    false => 0,
                },
                automatable: flags.contains(ParamInfoFlags::IS_AUTOMATABLE),
                modulatable: flags.contains(ParamInfoFlags::IS_MODULATABLE),
                per_note: flags.intersects(
                    ParamInfoFlags::IS_AUTOMATABLE_PER_NOTE_ID
                        | ParamInfoFlags::IS_MODULATABLE_PER_NOTE_ID
                        | ParamInfoFlags::IS_AUTOMATABLE_PER_KEY
                        | ParamInfoFlags::IS_MODULATABLE_PER_KEY,
                ),
                read_only: flags.contains(ParamInfoFlags::IS_READONLY),
                hidden: flags.contains(ParamInfoFlags::IS_HIDDEN),
                periodic: flags.contains(ParamInfoFlags::IS_PERIODIC),
                bypass: flags.contains(ParamInfoFlags::IS_BYPASS),
                program: false,
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
    fn input_channels(&mut self) -> Vec<u32> {
        self.audio_ports(true).iter().map(|port| port.channels).collect()
    }

    fn info(&mut self) -> PluginInfo {
        self.shared.wishes.params.fulfil();
        let handle = self.instance.plugin_handle();
        PluginInfo {
            descriptor: self.descriptor.clone(),
            format: Format::Clap,
            presets: vec![],
            has_state: handle.get_extension::<PluginState>().is_some(),
            has_editor: handle.get_extension::<PluginGui>().is_some(),
            inputs: self.audio_ports(true),
            outputs: self.audio_ports(false),
            note_inputs: self.note_ports(true),
            note_outputs: self.note_ports(false),
            params: self.params(),
        }
    }

    fn activate(&mut self, activation: Activation) -> Result<Box<dyn Processor>, PluginError> {
        let configuration = PluginAudioConfiguration {
            sample_rate: activation.rate,
            min_frames_count: activation.min_frames,
            max_frames_count: activation.max_frames,
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
        Ok(Box::new(ClapProcessor::new(stopped.into(), Arc::clone(&self.shared), note_ports)))
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

    fn tail(&mut self) -> u32 {
        0
    }

    fn value_to_text(&mut self, param: u32, value: f64) -> Option<String> {
        let handle = self.instance.plugin_handle();
        let params = handle.get_extension::<PluginParams>()?;
        let mut shown = [0u8; 256];
        let id = ClapId::from_raw(param)?;
        params.value_to_text(&handle, id, value, &mut shown).ok().map(|shown| text(shown))
    }

    fn text_to_value(&mut self, param: u32, text: &str) -> Option<f64> {
        let handle = self.instance.plugin_handle();
        let params = handle.get_extension::<PluginParams>()?;
        let text = CString::new(text).ok()?;
        params.text_to_value(&handle, ClapId::from_raw(param)?, &text)
    }

    fn save_state(&mut self, _context: StateContext) -> Result<Vec<u8>, PluginError> {
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

    fn load_state(&mut self, state: &[u8], _context: StateContext) -> Result<(), PluginError> {
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

    fn load_preset(&mut self, preset: &Preset) -> Result<(), PluginError> {
        Err(self.call_failed("preset_load", format!("preset '{}'", preset.name)))
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
