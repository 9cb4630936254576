//! CLAP plugins, through clack-host.
//!
//! # Safety
//! `unsafe` here is loading a library, which may do anything: that is what workers are for.
#![allow(unsafe_code)]

use super::editor::{Editor, Readiness, Watched};
use super::{
    AudioPort, Descriptor, Format, Instance, KeepsLoaded, ListedPreset, Notice, Param, ParamEdit,
    PluginInfo, PluginRef, Preset, Processor, StateContext,
};
use crate::error::PluginError;
use crate::event::{Event, kind};
use crate::protocol::Activation;
use crate::shm::layout::MAX_CHANNELS;
use crate::sys::library::Library;
use clack_extensions::gui::PluginGui;
use clack_extensions::latency::PluginLatency;
use clack_extensions::params::{ParamInfoBuffer, ParamInfoFlags, PluginParams};
use clack_extensions::timer::PluginTimer;
use clack_host::prelude::*;
use std::collections::{HashSet, VecDeque};
use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

mod cookies;
mod descriptors;
mod editor;
mod events;
mod extensions;
mod host;
mod lists;
mod more_host;
mod pool;
mod ports;
mod presets;
mod processor;

use cookies::Cookies;
use events::Dialect;
use extensions::Extensions;
use host::{HostMain, HostShared, SandrackHost, Shared};
use lists::OutEvents;
use pool::Pool;
use processor::ClapProcessor;

/// Most parameters that are believed of a plugin.
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
    // It stays, as VST3's do: plugins leave threads and exit handlers behind that run its code. (Why it
    // can't be loaded is told below.)
    drop(Library::open(&full));
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
pub fn list(path: &Path) -> Result<(Vec<Descriptor>, KeepsLoaded), PluginError> {
    let entry = load_entry(path)?;
    let all = descriptors(&entry, path)?.into_iter().map(|(_, d)| d).collect();
    Ok((all, Box::new(entry)))
}

/// Presets that a file declares for the plugins in it.
pub fn presets(path: &Path) -> Result<(Vec<ListedPreset>, KeepsLoaded), PluginError> {
    let entry = load_entry(path)?;
    Ok((presets::list(&entry), Box::new(entry)))
}

/// Most edits that wait to be told: the rest of a flood is not worth its memory.
const MAX_EDITS: usize = 4096;

/// A loaded CLAP plugin.
pub struct ClapInstance {
    instance: PluginInstance<SandrackHost>,
    shared: Arc<Shared>,
    descriptor: Descriptor,
    name: String,
    /// As told last.
    latency: u32,
    /// Whether it was told that it renders to a file.
    offline: bool,
    /// Channels of its ports, in and out, as it was activated.
    channels: (Vec<u32>, Vec<u32>),
    /// Ports that it was told are not used: whether an input, and which.
    unused_ports: HashSet<(bool, u32)>,
    /// What its user did to parameters while it was inactive.
    edits: VecDeque<Notice>,
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
        Ok(Self {
            instance,
            shared,
            descriptor,
            name,
            latency: 0,
            offline: false,
            channels: (vec![], vec![]),
            unused_ports: HashSet::new(),
            edits: VecDeque::new(),
        })
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

    /// What its parameters' events carry from here on.
    fn cookies(&mut self) -> Cookies {
        self.shared.cookies_void.store(false, Ordering::Relaxed);
        Cookies::read(&self.instance.plugin_handle(), MAX_PARAMS)
    }

    /// Gives an inactive plugin values of parameters and lets it put out its own changes. Of an
    /// active one, each block does. False: it takes none.
    fn flush(&mut self, events: &[Event]) -> bool {
        if self.instance.is_active() {
            return false;
        }
        let mut out = OutEvents::new();
        let cookies = self.cookies();
        let taken = self.extensions().flush(events, &cookies, &mut out);
        for event in out.events() {
            let edit = match event.kind {
                kind::GESTURE_BEGIN => ParamEdit::Begin,
                kind::GESTURE_END => ParamEdit::End,
                kind::PARAM_VALUE => ParamEdit::Value(event.value),
                _ => continue,
            };
            if self.edits.len() < MAX_EDITS {
                self.edits.push_back(Notice::ParamEdited { param: event.param, edit });
            }
        }
        if !out.events().is_empty() {
            self.shared.raise(&self.shared.wishes.params);
        }
        taken
    }

    fn extensions(&mut self) -> Extensions<'_> {
        Extensions::of(self.instance.plugin_handle().as_raw())
    }

    /// Before activation: how it is going to be used.
    fn tell_use(&mut self, activation: Activation, inputs: &[AudioPort], outputs: &[AudioPort]) {
        if activation.offline != self.offline {
            // One that drives hardware goes on as if it were heard.
            let bound = activation.offline && self.extensions().is_bound_to_realtime();
            if !bound && self.extensions().set_render_mode(activation.offline) != Some(false) {
                self.offline = activation.offline;
            }
        }
        for (input, ports, connected) in [
            (true, inputs, activation.connected_inputs),
            (false, outputs, activation.connected_outputs),
        ] {
            for (index, port) in (0_u32..).zip(ports).take(64) {
                // Main ports are left as they are: plugins rely on them more than they say. So is
                // whatever the plugin does not agree to.
                let used = port.main || index == 0 || connected >> index & 1 == 1;
                if used == self.unused_ports.contains(&(input, index))
                    && self.extensions().set_port_active(input, index, used)
                {
                    match used {
                        true => self.unused_ports.remove(&(input, index)),
                        false => self.unused_ports.insert((input, index)),
                    };
                }
            }
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
    fn channels(&mut self) -> (Vec<u32>, Vec<u32>) {
        self.channels.clone()
    }

    fn arrange(&mut self, channels: u32) {
        self.arrange_ports(channels);
    }

    fn info(&mut self) -> PluginInfo {
        self.shared.wishes.params.fulfil();
        let extensions = self.extensions();
        let (voices, note_names) = (extensions.voices(), extensions.note_names());
        let (has_state, realtime_only) =
            (extensions.has_state(), extensions.is_bound_to_realtime());
        let handle = self.instance.plugin_handle();
        PluginInfo {
            voices,
            note_names,
            realtime_only,
            descriptor: self.descriptor.clone(),
            format: Format::Clap,
            presets: vec![],
            has_state,
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
        let (inputs, outputs) = (self.audio_ports(true), self.audio_ports(false));
        if let Some(port) = inputs.iter().chain(&outputs).find(|port| port.channels > MAX_CHANNELS)
        {
            let (port, channels) = (&port.name, port.channels);
            let what = format!(
                "its audio port '{port}' claims {channels} channels; more than {MAX_CHANNELS} are \
                 not believed"
            );
            return Err(PluginError::Absurd { plugin: self.name.clone(), what });
        }
        // Ports change only while a plugin is inactive.
        let channels =
            |ports: &[AudioPort]| -> Vec<u32> { ports.iter().map(|port| port.channels).collect() };
        self.channels = (channels(&inputs), channels(&outputs));
        let note_ports = self.note_ports(true).iter().map(Dialect::of).collect();
        self.tell_use(activation, &inputs, &outputs);
        self.shared.before_activate();
        let stopped = self
            .instance
            .activate(|shared, _| host::HostAudio(Arc::clone(&shared.0)), configuration)
            .map_err(|e| self.call_failed("activate", e))?;
        self.shared.after_activate();
        let cookies = self.cookies();
        let pool = self.extensions().exec().and_then(|(plugin, exec)| Pool::start(plugin, exec));
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(ClapProcessor::new(stopped.into(), shared, note_ports, cookies, pool)))
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
        if self.instance.is_active() { self.extensions().tail() } else { 0 }
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

    fn save_state(&mut self, context: StateContext) -> Result<Vec<u8>, PluginError> {
        // What changes from here on may be missing in it.
        self.shared.wishes.dirty.fulfil();
        let extensions = self.extensions();
        if !extensions.has_state() {
            return Ok(Vec::new());
        }
        let state = extensions.save(context);
        state.ok_or_else(|| self.call_failed("state.save", "the plugin failed to write it"))
    }

    fn load_state(&mut self, state: &[u8], context: StateContext) -> Result<(), PluginError> {
        let extensions = self.extensions();
        match extensions.has_state() {
            false if state.is_empty() => Ok(()),
            false => Err(self.call_failed("state.load", "the plugin has no state")),
            true if extensions.load(state, context) => Ok(()),
            true => Err(self.call_failed("state.load", "the plugin did not take it")),
        }
    }

    fn set_params(&mut self, values: &[(u32, f64)]) -> Result<(), PluginError> {
        let refused = |me: &Self, why: &str| Err(me.call_failed("params.flush", why));
        if self.instance.is_active() {
            return refused(self, "it is active: it takes values with its blocks");
        }
        if values.iter().any(|(_, value)| !value.is_finite()) {
            return refused(self, "a value is not a number");
        }
        let event = |&(param, value): &(u32, f64)| Event::param_value(0, param, value);
        match self.flush(&values.iter().map(event).collect::<Vec<_>>()) {
            true => Ok(()),
            false => refused(self, "the plugin takes no values while it is inactive"),
        }
    }

    fn load_preset(&mut self, preset: &Preset) -> Result<(), PluginError> {
        self.shared.take_preset_error();
        let done = self.extensions().load_preset(preset.file.as_deref(), preset.key.as_deref());
        let reason = match done {
            Some(true) => {
                // Whether it says so or not.
                self.shared.raise(&self.shared.wishes.params);
                return Ok(());
            }
            Some(false) => {
                let said = self.shared.take_preset_error().filter(|said| !said.is_empty());
                said.unwrap_or_else(|| "the plugin did not take it".into())
            }
            None => "the plugin loads no presets".into(),
        };
        let named = preset.file.as_ref().map(|file| file.display().to_string());
        let named = named.or_else(|| preset.key.clone()).unwrap_or_else(|| preset.name.clone());
        Err(self.call_failed(&format!("load of preset '{named}'"), reason))
    }

    fn idle(&mut self) -> Option<Instant> {
        if self.shared.take_callback() {
            self.instance.call_on_main_thread_callback();
        }
        if self.shared.take_flush() {
            self.flush(&[]);
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

    fn editor(&mut self) -> Option<&mut dyn Editor> {
        let has_one = self.instance.plugin_handle().get_extension::<PluginGui>().is_some();
        has_one.then_some(self)
    }

    fn add_watched(&self, all: &mut Vec<(Watched, Readiness)>) {
        Self::add_watched(self, all);
    }

    fn watched_ready(&mut self, watched: Watched, ready: Readiness) {
        Self::watched_ready(self, watched, ready);
    }

    fn take_notice(&mut self) -> Option<Notice> {
        if let Some(edit) = self.edits.pop_front() {
            return Some(edit);
        }
        loop {
            let notice = self.shared.take_notice()?;
            if notice == Notice::LatencyChanged && !self.latency_changed() {
                continue;
            }
            return Some(notice);
        }
    }
}
