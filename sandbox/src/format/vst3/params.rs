//! A controller's parameters and units.
//!
//! # Safety
//! `unsafe` here is calls of a living controller on its main thread, with structures and texts of
//! the right kind and size.
#![allow(unsafe_code)]

use super::abi::{blank, wide};
use crate::format::Param;
use std::collections::{HashMap, HashSet};
use vst3::ComPtr;
use vst3::Steinberg::Vst::ParameterInfo_::ParameterFlags_ as flags;
use vst3::Steinberg::Vst::{
    IEditController, IEditControllerTrait, IUnitInfo, IUnitInfoTrait, ParameterInfo, String128,
    UnitID, UnitInfo, kRootUnitId,
};
use vst3::Steinberg::kResultOk;

/// Most parameters, and most units, that are believed of a plugin.
const MAX_PARAMS: i32 = 100_000;
const MAX_UNITS: i32 = 10_000;
/// Most parameters that may be missing from, or repeated in, a plugin's list before the rest of it
/// is not believed either.
const MAX_VOID: u32 = 1000;
/// Most levels of units within units; a plugin may nest them in a circle.
const MAX_LEVELS: usize = 16;

/// A value within 0..=1.
pub(super) fn normal(value: f64) -> f64 {
    if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 }
}

/// Calls `each` for every parameter, once per id.
fn for_each(controller: &ComPtr<IEditController>, mut each: impl FnMut(&ParameterInfo)) {
    // SAFETY: see the file's text.
    let count = unsafe { controller.getParameterCount() }.clamp(0, MAX_PARAMS);
    let mut known = HashSet::new();
    let mut void = 0;
    for index in 0..count {
        let mut info: ParameterInfo = blank();
        // SAFETY: see the file's text.
        let told = unsafe { controller.getParameterInfo(index, &mut info) } == kResultOk;
        if told && known.insert(info.id) {
            each(&info);
            continue;
        }
        void += 1;
        if void > MAX_VOID {
            break;
        }
    }
}

/// What is needed of a parameter while it is in use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Brief {
    pub(super) id: u32,
    pub(super) unit: UnitID,
    pub(super) steps: u32,
    pub(super) read_only: bool,
    pub(super) program: bool,
    pub(super) value: f64,
}

/// All parameters, in the plugin's order.
pub(super) fn briefs(controller: &ComPtr<IEditController>) -> Vec<Brief> {
    let mut all = Vec::new();
    for_each(controller, |info| {
        all.push(Brief {
            id: info.id,
            unit: info.unitId,
            steps: steps(info),
            read_only: info.flags & flags::kIsReadOnly != 0,
            program: info.flags & flags::kIsProgramChange != 0,
            value: value(controller, info.id),
        });
    });
    all
}

/// All parameters, in the plugin's order.
pub(super) fn list(
    controller: &ComPtr<IEditController>,
    units: Option<&ComPtr<IUnitInfo>>,
) -> Vec<Param> {
    let modules = units.map(modules).unwrap_or_default();
    let mut all = Vec::new();
    for_each(controller, |info| {
        let has = |flag| info.flags & flag != 0;
        let value = value(controller, info.id);
        all.push(Param {
            id: info.id,
            name: name(info),
            module: modules.get(&info.unitId).cloned().unwrap_or_default(),
            min: 0.0,
            max: 1.0,
            default: normal(info.defaultNormalizedValue),
            value,
            text: value_to_text(controller, info.id, value).unwrap_or_default(),
            unit: wide(&info.units),
            steps: steps(info),
            // A parameter that is only shown must not be set, whatever else it is flagged.
            automatable: has(flags::kCanAutomate) && !has(flags::kIsReadOnly),
            modulatable: false,
            per_note: false,
            read_only: has(flags::kIsReadOnly),
            hidden: has(flags::kIsHidden),
            periodic: has(flags::kIsWrapAround),
            bypass: has(flags::kIsBypass),
            program: has(flags::kIsProgramChange),
        });
    });
    all
}

fn name(info: &ParameterInfo) -> String {
    match wide(&info.title) {
        title if title.is_empty() => wide(&info.shortTitle),
        title => title,
    }
}

fn steps(info: &ParameterInfo) -> u32 {
    u32::try_from(info.stepCount).unwrap_or(0)
}

/// Its value now.
pub(super) fn value(controller: &ComPtr<IEditController>, id: u32) -> f64 {
    // SAFETY: see the file's text.
    normal(unsafe { controller.getParamNormalized(id) })
}

/// A value as the plugin writes it.
pub(super) fn value_to_text(
    controller: &ComPtr<IEditController>,
    id: u32,
    value: f64,
) -> Option<String> {
    let mut text: String128 = [0; 128];
    // SAFETY: see the file's text.
    let result = unsafe { controller.getParamStringByValue(id, normal(value), &mut text) };
    (result == kResultOk).then(|| wide(&text))
}

/// The value that a text means.
pub(super) fn text_to_value(
    controller: &ComPtr<IEditController>,
    id: u32,
    text: &str,
) -> Option<f64> {
    // Plugins may take it for a text of fixed size.
    let mut units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    units.resize(units.len().max(128), 0);
    let mut value = f64::NAN;
    // SAFETY: see the file's text.
    let result = unsafe { controller.getParamValueByString(id, units.as_mut_ptr(), &mut value) };
    (result == kResultOk && value.is_finite()).then(|| normal(value))
}

/// The path of each unit, without the root.
fn modules(units: &ComPtr<IUnitInfo>) -> HashMap<UnitID, String> {
    let mut known: HashMap<UnitID, (UnitID, String)> = HashMap::new();
    // SAFETY: see the file's text.
    let count = unsafe { units.getUnitCount() }.clamp(0, MAX_UNITS);
    for index in 0..count {
        let mut info: UnitInfo = blank();
        // SAFETY: see the file's text.
        if unsafe { units.getUnitInfo(index, &mut info) } == kResultOk {
            known.entry(info.id).or_insert_with(|| (info.parentUnitId, wide(&info.name)));
        }
    }
    known.keys().map(|&id| (id, path(&known, id))).collect()
}

fn path(units: &HashMap<UnitID, (UnitID, String)>, id: UnitID) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut at = id;
    while at != kRootUnitId && names.len() < MAX_LEVELS {
        let Some((parent, name)) = units.get(&at) else { break };
        names.push(name);
        at = *parent;
    }
    names.reverse();
    names.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_become_paths() {
        let unit = |id, parent, name: &str| (id, (parent, name.to_owned()));
        let units = HashMap::from([
            unit(0, -1, "Root"),
            unit(1, 0, "Filter"),
            unit(2, 1, "Envelope"),
            unit(3, 4, "a"),
            unit(4, 3, "b"),
        ]);
        assert_eq!(path(&units, 0), "");
        assert_eq!(path(&units, 2), "Filter/Envelope");
        assert_eq!(path(&units, 9), "");
        // A circle ends.
        assert!(path(&units, 3).len() < 2 * MAX_LEVELS);
    }

    #[test]
    fn values_stay_in_their_range() {
        let all = [f64::NAN, f64::INFINITY, -1.0, 0.25, 2.0].map(normal);
        assert_eq!(all, [0.0, 0.0, 0.0, 0.25, 1.0]);
    }
}
