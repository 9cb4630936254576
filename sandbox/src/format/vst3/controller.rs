//! Keeping a plugin's controller, its processor and the host of one mind.
//!
//! # Safety
//! `unsafe` here is calls of a living controller on its main thread.
#![allow(unsafe_code)]

use super::buses;
use super::connection;
use super::expressions::Expressions;
use super::instance::Vst3Instance;
use super::midi::{MidiMap, PROGRAM_CHANGE};
use super::params;
use crate::format::{NotePort, Notice, ParamEdit};
use std::collections::HashMap;
use vst3::Steinberg::Vst::BusDirections_::kInput;
use vst3::Steinberg::Vst::ControllerNumbers_::kCountCtrlNumber;
use vst3::Steinberg::Vst::MediaTypes_::kEvent;
use vst3::Steinberg::Vst::RestartFlags_::*;
use vst3::Steinberg::Vst::{
    BusDirection, IAudioProcessor, IAudioProcessorTrait, IEditControllerTrait, IMidiMapping,
    IMidiMappingTrait, IUnitInfoTrait, MediaType, UnitID,
};
use vst3::Steinberg::kResultTrue;

/// Most edits taken at a time, and most notices that wait for whoever wants to know.
const EDITS: usize = 8192;
const NOTICES: usize = 16_384;
/// Most event buses whose controllers are asked for: over 2000 calls each.
const MAPPED_BUSES: usize = 16;

impl Vst3Instance {
    /// Deals with all that the plugin has said, and with values from the audio thread.
    pub(super) fn take_news(&mut self) {
        connection::deliver(&self.shared);
        self.take_edits();
        self.take_values();
        self.take_flags();
        self.take_bus_requests();
        self.notices.extend(self.shared.take_misuse());
        let dropped = self.link.take_dropped();
        if dropped > 0 {
            self.log(6, &format!("{dropped} of its events or values did not fit or were bad"));
        }
    }

    /// What its user does goes to the processor, and to the host.
    fn take_edits(&mut self) {
        for _ in 0..EDITS {
            let Some((param, edit)) = self.shared.take_edit() else { break };
            if let ParamEdit::Value(value) = edit {
                self.link.edit(param, value);
                self.values.insert(param, value);
            }
            self.tell_edit(param, edit);
        }
        if self.shared.take_edits_lost() {
            self.send_changed_values();
            self.shared.raise(&self.shared.wishes.params);
        }
    }

    fn tell_edit(&mut self, param: u32, edit: ParamEdit) {
        // Of values one after the other, nobody misses those between.
        if let (
            ParamEdit::Value(new),
            Some(Notice::ParamEdited { param: last, edit: ParamEdit::Value(value) }),
        ) = (edit, self.notices.back_mut())
            && *last == param
        {
            *value = new;
        } else if self.notices.len() < NOTICES {
            self.notices.push_back(Notice::ParamEdited { param, edit });
        } else {
            self.shared.raise(&self.shared.wishes.params);
        }
    }

    /// The controller shows what the audio thread has set.
    fn take_values(&mut self) {
        while let Some((param, value, _)) = self.link.take() {
            self.values.insert(param, value);
            if let Some(controller) = &self.controller {
                // SAFETY: see the file's text.
                unsafe { controller.setParamNormalized(param, value) };
            }
        }
    }

    fn take_flags(&mut self) {
        let flags = self.shared.take_flags();
        let has = |any: i32| flags & any != 0;
        let wishes = &self.shared.wishes;
        if has(kReloadComponent | kIoChanged) {
            self.shared.raise(&wishes.restart);
        }
        if has(kReloadComponent
            | kIoChanged
            | kIoTitlesChanged
            | kParamValuesChanged
            | kParamTitlesChanged
            | kParamIDMappingChanged)
        {
            self.shared.raise(&wishes.params);
        }
        if has(kLatencyChanged) && self.active {
            self.latency_changed();
        }
        if has(kParamValuesChanged) {
            self.send_changed_values();
        }
        if has(kReloadComponent | kParamTitlesChanged | kParamIDMappingChanged)
            && self.has_other_params()
        {
            self.shared.raise(&self.shared.wishes.restart);
        }
        if has(kNoteExpressionChanged) && self.active {
            let expressions = self.read_expressions();
            if expressions != self.expressions {
                self.shared.raise(&self.shared.wishes.restart);
            }
        }
        if has(kMidiCCAssignmentChanged) && self.active {
            let midi = self.read_midi_map(self.buses.event_inputs.len());
            if midi != self.midi {
                self.shared.raise(&self.shared.wishes.restart);
            }
        }
    }

    /// Whether its parameters are others than the processor was given, which keeps to those.
    fn has_other_params(&self) -> bool {
        let (Some(given), Some(controller)) = (&self.given_params, &self.controller) else {
            return false;
        };
        let briefs = params::briefs(controller);
        let mut now: Vec<_> = briefs.iter().map(|param| (param.id, param.read_only)).collect();
        now.sort_by_key(|(id, _)| *id);
        now != *given
    }

    /// What it wants of its buses is granted when it is activated.
    pub(super) fn take_bus_requests(&mut self) {
        while let Some(request) = self.shared.take_bus_request() {
            let buses = if request.is_input { &self.buses.inputs } else { &self.buses.outputs };
            let place = (request.is_input, request.index);
            if request.index < buses.len()
                && self.wanted_buses.insert(place, request.active) != Some(request.active)
                && self.active
            {
                self.shared.raise(&self.shared.wishes.restart);
            }
        }
    }

    /// Some plugins tell their new latency at once, others only when they are activated anew. One
    /// that says so again and again, and whose latency stays what it was, is not believed.
    fn latency_changed(&mut self) {
        let Some(processor) = self.component.cast::<IAudioProcessor>() else { return };
        // SAFETY: see the file's text.
        let differs = unsafe { processor.getLatencySamples() } != self.latency.told;
        if differs || !self.latency.doubtful {
            self.latency.doubtful = !differs;
            self.shared.raise(&self.shared.wishes.latency);
        }
    }

    /// Takes the controller's values for known to the processor.
    pub(super) fn remember_values(&mut self) {
        let briefs = self.controller.as_ref().map(params::briefs).unwrap_or_default();
        self.values = briefs.iter().map(|param| (param.id, param.value)).collect();
    }

    /// Values that the controller has changed without an edit: the processor gets them too.
    fn send_changed_values(&mut self) {
        let briefs = self.controller.as_ref().map(params::briefs).unwrap_or_default();
        for param in briefs.iter().filter(|param| !param.read_only && !param.program) {
            if self.values.insert(param.id, param.value) != Some(param.value) {
                self.link.edit(param.id, param.value);
            }
        }
    }

    /// Which note expressions it knows.
    pub(super) fn read_expressions(&self) -> Expressions {
        Expressions::read(self.controller.as_ref(), self.buses.event_inputs.len())
    }

    /// Its event inputs as hosts see them.
    pub(super) fn note_inputs(&self) -> Vec<NotePort> {
        let expressions = self.read_expressions();
        let mut ports = buses::note_ports(&self.buses.event_inputs);
        for (bus, port) in ports.iter_mut().enumerate() {
            port.expressions = expressions.any(bus);
        }
        ports
    }

    /// Which parameters the plugin moves by MIDI controllers.
    pub(super) fn read_midi_map(&self, buses: usize) -> MidiMap {
        let mut map = MidiMap::new(buses);
        self.map_program_changes(buses, &mut map);
        let mapping = self.controller.as_ref().and_then(|c| c.cast::<IMidiMapping>());
        let Some(mapping) = mapping else { return map };
        for bus in 0..buses.min(MAPPED_BUSES) {
            for channel in 0..16_u8 {
                // Numbers beyond are for legacy output events: plugins take offence.
                for controller in 0..kCountCtrlNumber as u16 {
                    let mut param = 0;
                    // SAFETY: see the file's text.
                    let result = unsafe {
                        mapping.getMidiControllerAssignment(
                            bus as i32,
                            channel.into(),
                            controller as i16,
                            &mut param,
                        )
                    };
                    if result == kResultTrue {
                        map.set(bus, channel, controller, param);
                    }
                }
            }
        }
        map
    }

    /// Which parameter chooses the programs of the unit that listens to a channel.
    fn map_program_changes(&self, buses: usize, map: &mut MidiMap) {
        let (Some(controller), Some(units)) = (&self.controller, &self.units) else { return };
        let choosers = params::briefs(controller).into_iter().filter(|param| param.program);
        let choosers: HashMap<UnitID, u32> = choosers.map(|param| (param.unit, param.id)).collect();
        if choosers.is_empty() {
            return;
        }
        for bus in 0..buses.min(MAPPED_BUSES) {
            for channel in 0..16_u8 {
                let (media, direction) = (kEvent as MediaType, kInput as BusDirection);
                let mut unit = -1;
                // SAFETY: see the file's text.
                let result = unsafe {
                    units.getUnitByBus(media, direction, bus as i32, channel.into(), &mut unit)
                };
                let param = choosers.get(&unit).filter(|_| result == kResultTrue);
                if let Some(&param) = param {
                    map.set(bus, channel, PROGRAM_CHANGE, param);
                }
            }
        }
    }

    /// The next of what is to be passed on.
    pub(super) fn next_notice(&mut self) -> Option<Notice> {
        if let Some(notice) = self.notices.pop_front() {
            return Some(notice);
        }
        let wishes = &self.shared.wishes;
        [
            (&wishes.latency, Notice::LatencyChanged),
            (&wishes.params, Notice::ParamsChanged),
            (&wishes.restart, Notice::RestartRequested),
            (&wishes.dirty, Notice::StateDirty),
        ]
        .into_iter()
        .find_map(|(wish, notice)| wish.take().then_some(notice))
    }
}
