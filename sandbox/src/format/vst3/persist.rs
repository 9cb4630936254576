//! Saving and restoring: states, preset files, programs.
//!
//! # Safety
//! `unsafe` here is calls of the plugin's objects, which live, on their main thread, with streams
//! that outlive the calls.
#![allow(unsafe_code)]

use super::abi::{meaning, normal_hex};
use super::instance::Vst3Instance;
use super::state::{self, Chunks};
use super::stream::{Stream, as_argument};
use super::{params, programs};
use crate::error::PluginError;
use crate::format::StateContext;
use crate::protocol::Activation;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use vst3::Steinberg::Vst::{IComponentTrait, IEditControllerTrait};
use vst3::Steinberg::{IBStream, kNotImplemented, kResultFalse, kResultOk, tresult};

/// Largest preset file that is read.
const MAX_PRESET: u64 = 256 << 20;

/// What a call wrote; `Err`: what it returned. Some plugins write all, and answer "no"; those that
/// have nothing to write answer so too.
fn written(
    context: StateContext,
    call: impl FnOnce(*mut IBStream) -> tresult,
) -> Result<Vec<u8>, tresult> {
    let stream = Stream::new(vec![], context, None);
    match call(as_argument(&stream).as_ptr()) {
        kResultOk => Ok(stream.take()),
        other => match stream.take() {
            written if other == kResultFalse && !written.is_empty() => Ok(written),
            _ => Err(other),
        },
    }
}

impl Vst3Instance {
    /// A state as a preset file.
    pub(super) fn save(&mut self, context: StateContext) -> Result<Vec<u8>, PluginError> {
        // What the audio thread has set belongs to it; what changes from here on may be missing.
        self.take_news();
        self.flush_edits();
        self.shared.wishes.dirty.fulfil();
        // SAFETY: see the file's text.
        let component = match written(context, |s| unsafe { self.component.getState(s) }) {
            Ok(data) => Some(data),
            Err(kNotImplemented | kResultFalse) => None,
            Err(other) => return Err(self.call_failed("getState", meaning(other))),
        };
        let controller = self.controller.as_ref().and_then(|controller| {
            // SAFETY: see the file's text. A controller need not have a state of its own.
            written(context, |s| unsafe { controller.getState(s) }).ok()
        });
        // Of an object that is both, and has one function for both, once is enough. One of its own
        // gets back what it gave, whatever that is like.
        let controller = controller
            .filter(|data| !data.is_empty() && (self.separate || component.as_ref() != Some(data)));
        Ok(state::write(&Chunks {
            class: &self.descriptor.id,
            component: component.as_deref(),
            controller: controller.as_deref(),
        }))
    }

    /// Takes a state. `file` is the preset file it is of.
    pub(super) fn restore(
        &mut self,
        state: &[u8],
        context: StateContext,
        file: Option<&Path>,
    ) -> Result<(), PluginError> {
        let call = "load_state";
        let failed = |reason: String| match file {
            Some(file) => format!("{}: {reason}", file.display()),
            None => reason,
        };
        let chunks = state::read(state).map_err(|reason| {
            self.call_failed(call, failed(format!("not a state of a VST3 plugin: {reason}")))
        })?;
        if normal_hex(chunks.class).as_ref() != Some(&self.descriptor.id) {
            let reason = format!("it is of another plugin, of class {}", chunks.class.trim());
            return Err(self.call_failed(call, failed(reason)));
        }
        let stream = |data: &[u8]| Stream::new(data.to_vec(), context, file);
        if !self.was_set_up {
            // LSP's plugins divide by their rate when they take a state. Any rate will do: theirs
            // comes with the activation. One that refuses it may still take the state.
            let _ = self.set_up(&Activation::new(48_000.0, 1024));
        }
        // What came before must not come after it.
        self.take_news();
        self.link.forget_edits();
        if let Some(data) = chunks.component {
            // SAFETY: see the file's text.
            let result = unsafe { self.component.setState(as_argument(&stream(data)).as_ptr()) };
            // DPF's plugins without parameters save a lone zero, and refuse to read it.
            let nothing_lost = data.iter().all(|&byte| byte == 0);
            match result {
                kResultOk => {}
                _ if nothing_lost => {}
                // Other hosts never look, so some plugins say no and do it all the same.
                kResultFalse | kNotImplemented => self.log(
                    3,
                    &failed("setState: the plugin refused; it goes on with what it took".into()),
                ),
                other => return Err(self.call_failed("setState", failed(meaning(other)))),
            }
            if let Some(controller) = &self.controller {
                // A controller that does not want to know is told its parameters all the same,
                // should they differ.
                // SAFETY: see the file's text.
                unsafe { controller.setComponentState(as_argument(&stream(data)).as_ptr()) };
            }
        }
        if let (Some(controller), Some(data)) = (&self.controller, chunks.controller) {
            // SAFETY: see the file's text.
            let result = unsafe { controller.setState(as_argument(&stream(data)).as_ptr()) };
            if result != kResultOk {
                self.log(3, &format!("its controller did not take its state: {}", meaning(result)));
            }
        }
        self.remember_values();
        Ok(())
    }

    /// Gives the controller the state that the component has.
    pub(super) fn tell_controller_the_state(&mut self, context: StateContext) {
        // SAFETY: see the file's text.
        let state = written(context, |s| unsafe { self.component.getState(s) });
        if let (Some(controller), Ok(state)) = (&self.controller, state) {
            let stream = Stream::new(state, context, None);
            // SAFETY: see the file's text.
            unsafe { controller.setComponentState(as_argument(&stream).as_ptr()) };
        }
    }

    /// Takes a `.vstpreset` file.
    pub(super) fn load_preset_file(&mut self, file: &Path) -> Result<(), PluginError> {
        let unreadable =
            |reason: String| PluginError::Unreadable { path: file.display().to_string(), reason };
        let mut bytes = Vec::new();
        File::open(file)
            .and_then(|file| match file.metadata()?.is_file() {
                true => file.take(MAX_PRESET + 1).read_to_end(&mut bytes),
                false => Err(std::io::Error::other("it is not a file")),
            })
            .map_err(|e| unreadable(e.to_string()))?;
        if bytes.len() as u64 > MAX_PRESET {
            return Err(unreadable(format!("it is greater than {MAX_PRESET} bytes")));
        }
        self.restore(&bytes, StateContext::Preset, Some(file))?;
        self.shared.raise(&self.shared.wishes.params);
        Ok(())
    }

    /// Chooses one of the plugin's programs.
    pub(super) fn choose_program(&mut self, key: &str) -> Result<(), PluginError> {
        let call = "load_preset";
        let (Some(controller), Some(units)) = (&self.controller, &self.units) else {
            return Err(self.call_failed(call, "the plugin has no programs"));
        };
        let chosen = programs::choice(units, &params::briefs(controller), key)
            .map_err(|reason| self.call_failed(call, reason))?;
        self.set_values(&chosen);
        Ok(())
    }

    /// Sets parameters while it is inactive.
    pub(super) fn set_inactive(&mut self, values: &[(u32, f64)]) -> Result<(), PluginError> {
        let refused = |me: &Self, why: String| Err(me.call_failed("change of parameters", why));
        if self.active {
            return refused(self, "it is active: it takes values with its blocks".into());
        }
        let briefs = self.controller.as_ref().map(params::briefs).unwrap_or_default();
        for (id, value) in values {
            let Some(param) = briefs.iter().find(|param| param.id == *id) else {
                return refused(self, format!("it has no parameter {id}"));
            };
            if param.read_only {
                return refused(self, format!("parameter {id} is only shown, not set"));
            }
            if !value.is_finite() {
                return refused(self, format!("the value of parameter {id} is not a number"));
            }
        }
        self.set_values(values);
        Ok(())
    }

    /// Sets parameters of the controller, and of the processor with its next block.
    fn set_values(&mut self, values: &[(u32, f64)]) {
        let Some(controller) = &self.controller else { return };
        for &(param, value) in values {
            let value = params::normal(value);
            // SAFETY: see the file's text.
            unsafe { controller.setParamNormalized(param, value) };
            self.link.edit(param, value);
            self.values.insert(param, value);
        }
        self.shared.raise(&self.shared.wishes.params);
    }
}
