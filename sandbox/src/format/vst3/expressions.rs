//! Which note expressions a plugin knows, and what the gestures of an MPE keyboard mean to it.
//!
//! # Safety
//! `unsafe` here is calls of a living controller on its main thread, with structures of the right
//! kind that outlive the calls.
#![allow(unsafe_code)]

use super::abi::blank;
use crate::event::expression;
use vst3::ComPtr;
use vst3::Steinberg::Vst::PhysicalUITypeIDs_::{kPUIPressure, kPUIXMovement, kPUIYMovement};
use vst3::Steinberg::Vst::{
    IEditController, INoteExpressionController, INoteExpressionControllerTrait,
    INoteExpressionPhysicalUIMapping, INoteExpressionPhysicalUIMappingTrait, NoteExpressionTypeID,
    NoteExpressionTypeInfo, PhysicalUIMap, PhysicalUIMapList,
};
use vst3::Steinberg::{kResultOk, kResultTrue};

/// Most buses that are asked for, and most expressions on one.
const BUSES: usize = 16;
const MOST: i32 = 256;
const CHANNELS: usize = 16;
/// The SDK's `kInvalidTypeID`.
const NONE: NoteExpressionTypeID = u32::MAX;
/// How far a finger bends a note on an MPE keyboard, in semitones either way.
const GESTURE: f64 = 48.0;

/// What one channel of an event bus knows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Known {
    /// A bit for each of the SDK's own types; `None`: it does not say.
    listed: Option<u32>,
    /// What it makes of a finger's sideways and forward movement, and of its pressure.
    gestures: [Option<NoteExpressionTypeID>; 3],
}

/// What to give a plugin for an expression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Given {
    /// A note expression of this type, 0 to 1.
    Expression(NoteExpressionTypeID, f64),
    /// The key's pressure.
    Pressure(f64),
    /// Nothing: it knows nothing of the kind.
    Nothing,
}

impl Known {
    /// An expression as CLAP counts and measures it.
    pub(super) fn give(&self, which: u16, value: f64) -> Given {
        let gesture = |at: usize, value: f64| {
            self.gestures[at].map(|id| Given::Expression(id, value.clamp(0.0, 1.0)))
        };
        if which == expression::PRESSURE {
            return gesture(2, value).unwrap_or(Given::Pressure(value.clamp(0.0, 1.0)));
        }
        if which > expression::PRESSURE {
            return Given::Nothing;
        }
        // VST 3 numbers those before pressure alike.
        if self.listed.is_none_or(|listed| listed & 1 << which != 0) {
            return Given::Expression(which.into(), to_vst3(which, value));
        }
        let instead = match which {
            expression::TUNING => gesture(0, value / (2.0 * GESTURE) + 0.5),
            expression::BRIGHTNESS => gesture(1, value),
            _ => None,
        };
        instead.unwrap_or(Given::Nothing)
    }
}

/// A note expression's value, from CLAP's range (volume: gain 0 to 4, tuning: -120 to 120
/// semitones, else 0 to 1) to VST 3's, which is 0 to 1.
fn to_vst3(which: u16, value: f64) -> f64 {
    match which {
        expression::VOLUME => value / 4.0,
        expression::TUNING => value / 240.0 + 0.5,
        _ => value,
    }
    .clamp(0.0, 1.0)
}

/// The other way.
pub(super) fn from_vst3(which: u16, value: f64) -> f64 {
    let value = value.clamp(0.0, 1.0);
    match which {
        expression::VOLUME => value * 4.0,
        expression::TUNING => (value - 0.5) * 240.0,
        _ => value,
    }
}

/// What a plugin knows, by event bus and channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Expressions {
    buses: Vec<[Known; CHANNELS]>,
}

impl Expressions {
    /// Asks a controller. `buses`: how many event inputs the plugin has.
    pub(super) fn read(controller: Option<&ComPtr<IEditController>>, buses: usize) -> Self {
        let Some(controller) = controller else { return Self::default() };
        let lists = controller.cast::<INoteExpressionController>();
        let gestures = controller.cast::<INoteExpressionPhysicalUIMapping>();
        if lists.is_none() && gestures.is_none() {
            return Self::default();
        }
        let of = |bus: usize| {
            std::array::from_fn(|channel| Known {
                listed: lists.as_ref().map(|lists| listed(lists, bus, channel)),
                gestures: gestures
                    .as_ref()
                    .map_or([None; 3], |mapping| mapped(mapping, bus, channel)),
            })
        };
        Self { buses: (0..buses.min(BUSES)).map(of).collect() }
    }

    /// Of a note's bus and channel.
    pub(super) fn of(&self, bus: i16, channel: i16) -> Known {
        let at = |number: i16| usize::try_from(number).unwrap_or(0);
        self.buses.get(at(bus)).and_then(|of| of.get(at(channel))).copied().unwrap_or_default()
    }

    /// Whether a bus lists any.
    pub(super) fn any(&self, bus: usize) -> bool {
        let knows = |known: &Known| known.listed.is_some_and(|listed| listed != 0);
        self.buses.get(bus).is_some_and(|of| of.iter().any(knows))
    }
}

fn listed(lists: &ComPtr<INoteExpressionController>, bus: usize, channel: usize) -> u32 {
    let (bus, channel) = (bus as i32, channel as i16);
    // SAFETY: see the file's text.
    let count = unsafe { lists.getNoteExpressionCount(bus, channel) }.clamp(0, MOST);
    let mut all = 0;
    for index in 0..count {
        let mut info: NoteExpressionTypeInfo = blank();
        // SAFETY: as above.
        let result = unsafe { lists.getNoteExpressionInfo(bus, channel, index, &mut info) };
        if matches!(result, kResultOk) && info.typeId < u32::from(expression::PRESSURE) {
            all |= 1 << info.typeId;
        }
    }
    all
}

fn mapped(
    mapping: &ComPtr<INoteExpressionPhysicalUIMapping>,
    bus: usize,
    channel: usize,
) -> [Option<NoteExpressionTypeID>; 3] {
    let mut map = [kPUIXMovement, kPUIYMovement, kPUIPressure].map(|gesture| PhysicalUIMap {
        physicalUITypeID: gesture as u32,
        noteExpressionTypeID: NONE,
    });
    let mut list = PhysicalUIMapList { count: map.len() as u32, map: map.as_mut_ptr() };
    // SAFETY: see the file's text; the list is as long as it says.
    let result = unsafe { mapping.getPhysicalUIMapping(bus as i32, channel as i16, &mut list) };
    map.map(|one| {
        let id = one.noteExpressionTypeID;
        (result == kResultTrue && id != NONE).then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_does_not_list_goes_to_the_gesture_it_has_instead() {
        let silent = Known::default();
        assert_eq!(silent.give(expression::TUNING, 12.0), Given::Expression(2, 0.55));
        assert_eq!(silent.give(expression::PRESSURE, 2.0), Given::Pressure(1.0));
        let volume_only = Known { listed: Some(1), gestures: [Some(7), None, Some(9)] };
        assert_eq!(volume_only.give(expression::VOLUME, 1.0), Given::Expression(0, 0.25));
        assert_eq!(volume_only.give(expression::TUNING, 24.0), Given::Expression(7, 0.75));
        assert_eq!(volume_only.give(expression::BRIGHTNESS, 0.5), Given::Nothing);
        assert_eq!(volume_only.give(expression::PRESSURE, 0.5), Given::Expression(9, 0.5));
        assert_eq!(volume_only.give(7, 0.5), Given::Nothing);
    }

    #[test]
    fn values_come_back_as_they_were() {
        for (which, value) in [(0, 2.0), (1, 0.25), (2, -7.5), (3, 1.0)] {
            let there = to_vst3(which, value);
            assert!((from_vst3(which, there) - value).abs() < 1e-9, "{which}");
        }
    }
}
