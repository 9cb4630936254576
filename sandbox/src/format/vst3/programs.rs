//! Programs: presets that the plugin itself lists.
//!
//! # Safety
//! `unsafe` here is calls of a living controller on its main thread, with structures and texts of
//! the right kind and size.
#![allow(unsafe_code)]

use super::abi::{blank, wide};
use super::params::Brief;
use crate::format::Preset;
use vst3::ComPtr;
use vst3::Steinberg::Vst::{IUnitInfo, IUnitInfoTrait, ProgramListInfo, String128, UnitInfo};
use vst3::Steinberg::kResultOk;

/// Most program lists, and most programs of all of them, that are looked at.
const MAX_LISTS: i32 = 1000;
const MAX_PROGRAMS: usize = 10_000;

/// All programs of a plugin. Their keys are `LIST:INDEX`.
pub(super) fn list(units: &ComPtr<IUnitInfo>) -> Vec<Preset> {
    let lists = lists(units);
    let several = lists.len() > 1;
    let mut presets = Vec::new();
    for info in &lists {
        let list = wide(&info.name);
        for index in 0..info.programCount.max(0) {
            if presets.len() >= MAX_PROGRAMS {
                return presets;
            }
            let mut name: String128 = [0; 128];
            // SAFETY: see the file's text.
            let told = unsafe { units.getProgramName(info.id, index, &mut name) } == kResultOk;
            let name = match told {
                true => wide(&name),
                false => format!("Program {}", index + 1),
            };
            presets.push(Preset {
                name: if several { format!("{list}/{name}") } else { name },
                file: None,
                key: Some(format!("{}:{index}", info.id)),
            });
        }
    }
    presets
}

fn lists(units: &ComPtr<IUnitInfo>) -> Vec<ProgramListInfo> {
    // SAFETY: see the file's text.
    let count = unsafe { units.getProgramListCount() }.clamp(0, MAX_LISTS);
    let info = |index| {
        let mut info: ProgramListInfo = blank();
        // SAFETY: see the file's text.
        let told = unsafe { units.getProgramListInfo(index, &mut info) } == kResultOk;
        told.then_some(info)
    };
    (0..count).filter_map(info).collect()
}

/// The parameters, and the value for each, that choose a program. The error says what is wrong with
/// the key.
pub(super) fn choice(
    units: &ComPtr<IUnitInfo>,
    params: &[Brief],
    key: &str,
) -> Result<Vec<(u32, f64)>, String> {
    let numbers = key
        .split_once(':')
        .and_then(|(list, index)| Some((list.parse::<i32>().ok()?, index.parse::<i32>().ok()?)));
    let (list, index) = numbers.ok_or_else(|| format!("'{key}' names none of its programs"))?;
    let count =
        lists(units).iter().find(|info| info.id == list).map_or(0, |info| info.programCount);
    if !(0..count).contains(&index) {
        return Err(format!("'{key}' names none of its programs"));
    }
    // SAFETY: see the file's text.
    let unit_count = unsafe { units.getUnitCount() }.clamp(0, MAX_LISTS);
    let of_list = |index| {
        let mut info: UnitInfo = blank();
        // SAFETY: see the file's text.
        let told = unsafe { units.getUnitInfo(index, &mut info) } == kResultOk;
        (told && info.programListId == list).then_some(info.id)
    };
    let of_list: Vec<_> = (0..unit_count).filter_map(of_list).collect();
    let mut choosers: Vec<_> =
        params.iter().filter(|param| param.program && of_list.contains(&param.unit)).collect();
    // A plugin with one list and one such parameter means it, whichever unit it is in.
    if choosers.is_empty() {
        choosers = params.iter().filter(|param| param.program).collect();
        choosers.truncate(if choosers.len() == 1 { 1 } else { 0 });
    }
    if choosers.is_empty() {
        return Err("no parameter of it chooses its programs".into());
    }
    let value = |param: &Brief| {
        let last = if param.steps > 0 { param.steps } else { count.max(2) as u32 - 1 };
        (f64::from(index) / f64::from(last)).min(1.0)
    };
    Ok(choosers.into_iter().map(|param| (param.id, value(param))).collect())
}
