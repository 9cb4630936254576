//! The controller: parameters, and what MIDI controllers move.

use std::process;
use std::ptr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use vst3::ComRef;
use vst3::Steinberg::Vst::ParameterInfo_::ParameterFlags_::{
    kCanAutomate, kIsList, kIsProgramChange, kIsReadOnly,
};
use vst3::Steinberg::Vst::{
    CtrlNumber, IComponentHandler, IEditControllerTrait, IMidiMappingTrait, ParamID, ParamValue,
    ParameterInfo, String128, TChar,
};
use vst3::Steinberg::{
    FIDString, IBStream, IPlugView, int16, int32, kInternalError, kInvalidArgument,
    kNotImplemented, kResultFalse, kResultOk, tresult,
};

use crate::plugin::{
    BEND, BLOCK, BLOCK_DEFAULT, BLOCK_MAX, EDITS, GAIN, KIND, KINDS, OTHER_PROGRAM, PRESSURE,
    PROGRAM, PROGRAMS, Plugin, VALUE, VOLUME, sleep_forever,
};
use crate::strikes::Strike;
use crate::text::wide;
use crate::what::What;
use crate::{component, lies};

/// How many there are once `param-list-changes` has struck.
const MORE: int32 = 50;

fn name(param: u32) -> &'static str {
    match param {
        BLOCK => "block",
        GAIN => "gain",
        VOLUME => "volume",
        BEND => "bend",
        PRESSURE => "pressure",
        OTHER_PROGRAM | PROGRAM => "program",
        KIND => "kind",
        VALUE => "value",
        EDITS => "edits",
        _ => "late",
    }
}

impl<K> Plugin<K> {
    fn param(&self, index: int32) -> Option<ParameterInfo> {
        let params = self.params();
        let more = self.has_more_params.load(Relaxed) && (0..MORE).contains(&index);
        let id = match params.get(usize::try_from(index).ok()?) {
            Some(id) => *id,
            None if more => 1000 + index as u32,
            None => return None,
        };
        let mut info = ParameterInfo {
            id,
            title: [0; _],
            shortTitle: [0; _],
            units: [0; _],
            stepCount: match id {
                BLOCK => BLOCK_MAX as int32,
                OTHER_PROGRAM | PROGRAM => PROGRAMS as int32 - 1,
                KIND => KINDS as int32,
                _ => 0,
            },
            defaultNormalizedValue: match id {
                BLOCK if self.what == What::Any => 0.0,
                BLOCK => BLOCK_DEFAULT / BLOCK_MAX,
                GAIN | VOLUME | PROGRAM => 1.0,
                BEND | VALUE => 0.5,
                _ => 0.0,
            },
            unitId: match id {
                OTHER_PROGRAM => 1,
                PROGRAM => 2,
                _ => 0,
            },
            flags: match id {
                PRESSURE => kIsReadOnly,
                OTHER_PROGRAM | PROGRAM => kCanAutomate | kIsProgramChange | kIsList,
                _ => kCanAutomate,
            } as int32,
        };
        wide(name(id), &mut info.title);
        Some(info)
    }

    /// What a parameter's normalized value is multiplied with to be plain.
    fn most(param: u32) -> f64 {
        match param {
            BLOCK => BLOCK_MAX,
            KIND => KINDS,
            _ => 1.0,
        }
    }
}

fn kind_name(value: f64) -> &'static str {
    let index = ((value * KINDS).round() as usize).checked_sub(1);
    index.and_then(|index| Strike::ALL.get(index)).map_or("none", |strike| strike.name())
}

fn kind_named(name: &str) -> Option<f64> {
    let index = Strike::ALL.iter().position(|strike| strike.name() == name);
    index.map(|index| (index + 1) as f64 / KINDS).or((name == "none").then_some(0.0))
}

impl<K> IEditControllerTrait for Plugin<K> {
    unsafe fn setComponentState(&self, state: *mut IBStream) -> tresult {
        match self.what {
            What::AllErrors => return kInternalError,
            // It has a state of its own.
            What::OddTwins => return kResultOk,
            _ => {}
        }
        // SAFETY: the host passes a stream, or null.
        if let Some(values) = unsafe { component::read(state) } {
            self.take(values);
        }
        self.fine()
    }

    unsafe fn setState(&self, state: *mut IBStream) -> tresult {
        if self.what == What::OddTwins {
            // SAFETY: the host passes a stream, or null.
            let Some(values) = (unsafe { component::read(state) }) else { return kResultFalse };
            self.take(values);
            return kResultOk;
        }
        // The component's is all there is. (Of the whole plugin, this is another function than the
        // component's of the same name.)
        kNotImplemented
    }

    unsafe fn getState(&self, state: *mut IBStream) -> tresult {
        // SAFETY: the host passes a stream, or null.
        match self.what == What::OddTwins && unsafe { self.save(state) } {
            true => kResultOk,
            false => kNotImplemented,
        }
    }

    unsafe fn getParameterCount(&self) -> int32 {
        match self.what {
            What::NegativeParams | What::AllErrors => -1,
            What::LiesParams => int32::MAX,
            What::OddRemaps => self.params().len() as int32,
            _ if self.has_more_params.load(Relaxed) => MORE,
            _ => self.params().len() as int32,
        }
    }

    unsafe fn getParameterInfo(&self, index: int32, info: *mut ParameterInfo) -> tresult {
        let param = match self.what {
            What::AllErrors => return kInternalError,
            What::LiesParams => lies::param(index),
            _ => self.param(index),
        };
        let Some(param) = param else { return kInvalidArgument };
        // SAFETY: the host passes valid memory.
        unsafe { info.write(param) };
        kResultOk
    }

    unsafe fn getParamStringByValue(
        &self,
        id: ParamID,
        value: ParamValue,
        text: *mut String128,
    ) -> tresult {
        if self.what == What::AllErrors {
            return kInternalError;
        }
        // SAFETY: the host passes valid memory.
        let text = unsafe { &mut *text };
        match self.what {
            What::LiesParams => text.fill(0xd800),
            _ if id == KIND => wide(kind_name(value), text),
            _ => wide(&format!("{}", value * Self::most(id)), text),
        }
        kResultOk
    }

    unsafe fn getParamValueByString(
        &self,
        id: ParamID,
        text: *mut TChar,
        value: *mut ParamValue,
    ) -> tresult {
        // SAFETY: the host passes a text with a NUL at its end, and a variable.
        unsafe {
            let length = (0..).take_while(|at| *text.add(*at) != 0).count();
            let text = String::from_utf16_lossy(std::slice::from_raw_parts(text, length));
            let parsed = match id {
                KIND => kind_named(text.trim()),
                _ => text.trim().parse().ok().map(|plain: f64| plain / Self::most(id)),
            };
            match parsed {
                Some(parsed) => value.write(parsed),
                None => return kResultFalse,
            }
        }
        self.fine()
    }

    unsafe fn normalizedParamToPlain(&self, id: ParamID, value: ParamValue) -> ParamValue {
        if self.what == What::LiesParams { f64::NAN } else { value * Self::most(id) }
    }

    unsafe fn plainParamToNormalized(&self, id: ParamID, value: ParamValue) -> ParamValue {
        value / Self::most(id)
    }

    unsafe fn getParamNormalized(&self, id: ParamID) -> ParamValue {
        match self.what {
            What::LiesParams | What::AllErrors => f64::NAN,
            _ => self.value(id),
        }
    }

    unsafe fn setParamNormalized(&self, id: ParamID, value: ParamValue) -> tresult {
        self.set(id, value);
        self.fine()
    }

    unsafe fn setComponentHandler(&self, handler: *mut IComponentHandler) -> tresult {
        // SAFETY: the host passes its handler, or null.
        let handler = unsafe { ComRef::from_raw(handler) };
        *self.handler.lock().unwrap_or_else(PoisonError::into_inner) =
            handler.map(|handler| handler.to_com_ptr());
        self.fine()
    }

    unsafe fn createView(&self, _name: FIDString) -> *mut IPlugView {
        match self.what {
            What::ViewAborts => process::abort(),
            What::ViewHangs => sleep_forever(),
            _ => ptr::null_mut(),
        }
    }
}

impl<K> IMidiMappingTrait for Plugin<K> {
    unsafe fn getMidiControllerAssignment(
        &self,
        bus: int32,
        channel: int16,
        controller: CtrlNumber,
        id: *mut ParamID,
    ) -> tresult {
        let param = match controller {
            7 => VOLUME,
            128 => PRESSURE,
            129 => BEND,
            _ => return kResultFalse,
        };
        if self.what != What::OddMidiMapping || bus != 0 || channel != 0 {
            return kResultFalse;
        }
        // SAFETY: the host passes valid memory.
        unsafe { id.write(param) };
        kResultOk
    }
}
