//! Audio and note ports, parameters, state and latency, true and false.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

use clap_sys::events::{clap_input_events, clap_output_events};
use clap_sys::ext::audio_ports::{
    CLAP_AUDIO_PORT_IS_MAIN, CLAP_EXT_AUDIO_PORTS, CLAP_PORT_STEREO, clap_audio_port_info,
    clap_plugin_audio_ports,
};
use clap_sys::ext::latency::{CLAP_EXT_LATENCY, clap_plugin_latency};
use clap_sys::ext::note_ports::{
    CLAP_EXT_NOTE_PORTS, CLAP_NOTE_DIALECT_CLAP, clap_note_port_info, clap_plugin_note_ports,
};
use clap_sys::ext::params::{
    CLAP_EXT_PARAMS, CLAP_PARAM_IS_AUTOMATABLE, CLAP_PARAM_IS_STEPPED, clap_param_info,
    clap_plugin_params,
};
use clap_sys::ext::state::{CLAP_EXT_STATE, clap_plugin_state};
use clap_sys::id::CLAP_INVALID_ID;
use clap_sys::plugin::clap_plugin;
use clap_sys::stream::{clap_istream, clap_ostream};

use crate::plugin::{BLOCK, BLOCK_DEFAULT, BLOCK_MAX, EDITS, Hostile, KIND, VALUE, hostile};
use crate::strikes::{Entry, Strike};
use crate::what::What;

static AUDIO_PORTS: clap_plugin_audio_ports =
    clap_plugin_audio_ports { count: Some(audio_ports_count), get: Some(audio_ports_get) };
static NOTE_PORTS: clap_plugin_note_ports =
    clap_plugin_note_ports { count: Some(note_ports_count), get: Some(note_ports_get) };
static PARAMS: clap_plugin_params = clap_plugin_params {
    count: Some(params_count),
    get_info: Some(params_get_info),
    get_value: Some(params_get_value),
    value_to_text: Some(params_value_to_text),
    text_to_value: Some(params_text_to_value),
    flush: Some(params_flush),
};
static STATE: clap_plugin_state = clap_plugin_state { save: Some(save), load: Some(load) };
static LATENCY: clap_plugin_latency = clap_plugin_latency { get: Some(latency) };

/// The extension called `id`.
///
/// # Safety
///
/// `id` is a string.
pub(crate) unsafe fn get(what: What, id: *const c_char) -> *const c_void {
    // SAFETY: as the caller promises.
    let id = unsafe { CStr::from_ptr(id) };
    if id == CLAP_EXT_AUDIO_PORTS {
        (&raw const AUDIO_PORTS).cast()
    } else if id == CLAP_EXT_NOTE_PORTS && has_notes(what) {
        (&raw const NOTE_PORTS).cast()
    } else if id == CLAP_EXT_PARAMS {
        (&raw const PARAMS).cast()
    } else if id == CLAP_EXT_STATE {
        (&raw const STATE).cast()
    } else if id == CLAP_EXT_LATENCY {
        (&raw const LATENCY).cast()
    } else {
        editor(what, id)
    }
}

fn has_notes(what: What) -> bool {
    matches!(what, What::Any | What::Strike(Strike::BadEvents | Strike::EventFlood))
}

#[cfg(unix)]
fn editor(what: What, id: &CStr) -> *const c_void {
    crate::gui::get(what, id)
}

#[cfg(not(unix))]
fn editor(_what: What, _id: &CStr) -> *const c_void {
    ptr::null()
}

/// # Safety
///
/// The plugin is alive.
unsafe fn is(plugin: *const clap_plugin, what: What) -> bool {
    // SAFETY: as the caller promises.
    unsafe { hostile(plugin) }.what == what
}

fn copy_name(text: &CStr, to: &mut [c_char]) {
    for (to, &from) in to.iter_mut().zip(text.to_bytes_with_nul()) {
        *to = from as c_char;
    }
}

unsafe extern "C" fn audio_ports_count(plugin: *const clap_plugin, is_input: bool) -> u32 {
    // SAFETY: the plugin is alive.
    let hostile = unsafe { hostile(plugin) };
    match hostile.what {
        What::LiesAudioPorts => 1_000_000,
        What::LiesPortCounts => 1 + hostile.asked.load(Relaxed) % 7,
        What::Grows if !is_input && hostile.rested.load(Relaxed) => 2,
        _ => 1,
    }
}

unsafe extern "C" fn audio_ports_get(
    plugin: *const clap_plugin,
    index: u32,
    is_input: bool,
    info: *mut clap_audio_port_info,
) -> bool {
    // SAFETY: the plugin is alive.
    let (lies, what) = unsafe { (is(plugin, What::LiesAudioPorts), hostile(plugin).what) };
    if what == What::RefusesAll {
        return false;
    }
    // SAFETY: the plugin is alive.
    let asked = unsafe { hostile(plugin) }.asked.fetch_add(1, Relaxed);
    // Lies alternate between ports that are far too large and ports that aren't there.
    let counts = what == What::LiesPortCounts;
    let count = if counts {
        u32::MAX
    } else {
        // SAFETY: the plugin is alive.
        unsafe { audio_ports_count(plugin, is_input) }
    };
    let absent = if lies { index % 2 == 1 } else { index >= count };
    if absent {
        return false;
    }
    let mut port = clap_audio_port_info {
        id: if lies { 0 } else { index },
        name: [0; _],
        flags: if lies || counts || index == 0 { CLAP_AUDIO_PORT_IS_MAIN } else { 0 },
        channel_count: match what {
            What::LiesAudioPorts => u32::MAX,
            What::LiesPortCounts => 8u32.saturating_sub(asked),
            _ => 2,
        },
        port_type: CLAP_PORT_STEREO.as_ptr(),
        in_place_pair: if lies { u32::MAX - 1 } else { CLAP_INVALID_ID },
    };
    copy_name(c"Main", &mut port.name);
    // SAFETY: the host passes valid memory.
    unsafe { info.write(port) };
    true
}

extern "C" fn note_ports_count(_plugin: *const clap_plugin, is_input: bool) -> u32 {
    u32::from(!is_input)
}

unsafe extern "C" fn note_ports_get(
    _plugin: *const clap_plugin,
    index: u32,
    is_input: bool,
    info: *mut clap_note_port_info,
) -> bool {
    if is_input || index > 0 {
        return false;
    }
    let mut port = clap_note_port_info {
        id: 0,
        supported_dialects: CLAP_NOTE_DIALECT_CLAP,
        preferred_dialect: CLAP_NOTE_DIALECT_CLAP,
        name: [0; _],
    };
    copy_name(c"Notes", &mut port.name);
    // SAFETY: the host passes valid memory.
    unsafe { info.write(port) };
    true
}

unsafe extern "C" fn params_count(plugin: *const clap_plugin) -> u32 {
    // SAFETY: the plugin is alive.
    let hostile = unsafe { hostile(plugin) };
    match hostile.what {
        What::LiesParams => 4_000_000_000,
        What::ParamsChange => 1 + (hostile.processed.load(Relaxed) % 2) as u32,
        What::Any => 1 + MORE.len() as u32,
        _ => 1,
    }
}

/// What `any` has beside `block`: ids, names, and the greatest values.
const MORE: [(u32, &CStr, u32); 3] =
    [(KIND, c"kind", Strike::ALL.len() as u32), (VALUE, c"value", 1), (EDITS, c"edits", 1)];

fn more(index: usize) -> clap_param_info {
    let (id, text, most) = MORE[index];
    let mut name = [0; _];
    copy_name(text, &mut name);
    clap_param_info {
        id,
        flags: if id == KIND { CLAP_PARAM_IS_STEPPED } else { 0 } | CLAP_PARAM_IS_AUTOMATABLE,
        cookie: ptr::null_mut(),
        name,
        module: [0; _],
        min_value: 0.0,
        max_value: most.into(),
        default_value: if id == VALUE { 0.5 } else { 0.0 },
    }
}

unsafe extern "C" fn params_get_info(
    plugin: *const clap_plugin,
    index: u32,
    info: *mut clap_param_info,
) -> bool {
    // SAFETY: the plugin is alive.
    let (lies, what) = unsafe { (is(plugin, What::LiesParams), hostile(plugin).what) };
    if what == What::Any && (1..=MORE.len()).contains(&(index as usize)) {
        // SAFETY: the host passes valid memory.
        unsafe { info.write(more(index as usize - 1)) };
        return true;
    }
    let more = what == What::ParamsChange;
    let absent = if lies { index % 2 == 1 } else { index > 0 && !more };
    if absent || what == What::RefusesAll {
        return false;
    }
    let mut param = clap_param_info {
        id: if more { BLOCK + index } else { BLOCK },
        flags: CLAP_PARAM_IS_STEPPED | CLAP_PARAM_IS_AUTOMATABLE,
        cookie: ptr::null_mut(),
        name: [0; _],
        module: [0; _],
        min_value: 0.0,
        max_value: BLOCK_MAX.into(),
        default_value: if what == What::Any { 0.0 } else { BLOCK_DEFAULT.into() },
    };
    copy_name(c"block", &mut param.name);
    if lies {
        param.flags = u32::MAX;
        param.cookie = ptr::without_provenance_mut(64);
        // No NUL, and no UTF-8 either.
        param.name.fill(-1i8 as c_char);
        param.module.fill(-1i8 as c_char);
        param.min_value = f64::INFINITY;
        param.max_value = f64::NEG_INFINITY;
        param.default_value = f64::NAN;
    }
    // SAFETY: the host passes valid memory.
    unsafe { info.write(param) };
    true
}

unsafe extern "C" fn params_get_value(
    plugin: *const clap_plugin,
    id: u32,
    value: *mut f64,
) -> bool {
    // SAFETY: the plugin is alive.
    if let Some(more) = unsafe { hostile(plugin) }.more(id) {
        // SAFETY: the host passes valid memory.
        unsafe { value.write(more) };
        return true;
    }
    // SAFETY: the plugin is alive.
    if id != BLOCK || unsafe { is(plugin, What::RefusesAll) } {
        return false;
    }
    // SAFETY: the plugin is alive and the host passes valid memory.
    unsafe {
        let hostile = hostile(plugin);
        value.write(match hostile.what {
            What::LiesParams => f64::NAN,
            _ => hostile.block.load(Relaxed).into(),
        });
    }
    true
}

unsafe extern "C" fn params_value_to_text(
    plugin: *const clap_plugin,
    id: u32,
    value: f64,
    text: *mut c_char,
    capacity: u32,
) -> bool {
    // SAFETY: the plugin is alive.
    let (hostile, refuses) = unsafe { (hostile(plugin), is(plugin, What::RefusesAll)) };
    if (id != BLOCK && hostile.more(id).is_none()) || capacity == 0 || refuses {
        return false;
    }
    let capacity = capacity as usize;
    // SAFETY: the plugin is alive and the host passes as much memory as it says.
    unsafe {
        if is(plugin, What::LiesParams) {
            ptr::write_bytes(text, 0xff, capacity);
        } else {
            let digits = match id {
                KIND => kind_name(value).to_owned(),
                BLOCK => format!("{value:.0}"),
                _ => format!("{value}"),
            };
            let len = digits.len().min(capacity - 1);
            ptr::copy_nonoverlapping(digits.as_ptr().cast(), text, len);
            text.add(len).write(0);
        }
    }
    true
}

fn kind_name(value: f64) -> &'static str {
    let index = (value.round() as usize).checked_sub(1);
    index.and_then(|index| Strike::ALL.get(index)).map_or("none", |strike| strike.name())
}

fn kind_named(name: &str) -> Option<f64> {
    let index = Strike::ALL.iter().position(|strike| strike.name() == name);
    index.map(|index| (index + 1) as f64).or((name == "none").then_some(0.0))
}

unsafe extern "C" fn params_text_to_value(
    plugin: *const clap_plugin,
    id: u32,
    text: *const c_char,
    value: *mut f64,
) -> bool {
    // SAFETY: the host passes a string.
    let text = unsafe { CStr::from_ptr(text) };
    // SAFETY: the plugin is alive.
    let has_more = unsafe { hostile(plugin) }.more(id).is_some();
    let parse = |text: &str| match id {
        KIND => kind_named(text.trim()),
        _ => text.trim().parse().ok(),
    };
    match text.to_str().ok().and_then(parse) {
        Some(parsed) if id == BLOCK || has_more => {
            // SAFETY: the host passes valid memory.
            unsafe { value.write(parsed) };
            true
        }
        _ => false,
    }
}

unsafe extern "C" fn params_flush(
    plugin: *const clap_plugin,
    events: *const clap_input_events,
    _out: *const clap_output_events,
) {
    // SAFETY: the plugin is alive and the list valid.
    unsafe { hostile(plugin).read_events(events) }
}

/// The parameter, or of the plugin that can be any what is not about its strike.
fn state_of(hostile: &Hostile) -> Vec<u8> {
    match hostile.what {
        What::Any => {
            let bits = [hostile.value.load(Relaxed), hostile.edits.load(Relaxed)];
            bits.into_iter().flat_map(u64::to_le_bytes).collect()
        }
        _ => hostile.block.load(Relaxed).to_le_bytes().to_vec(),
    }
}

unsafe extern "C" fn save(plugin: *const clap_plugin, stream: *const clap_ostream) -> bool {
    // SAFETY: the plugin is alive.
    let hostile = unsafe { hostile(plugin) };
    hostile.enter(Entry::SaveState);
    if hostile.what == What::RefusesAll {
        return false;
    }
    let state = state_of(hostile);
    let mut rest = &state[..];
    while !rest.is_empty() {
        // SAFETY: the stream is valid and reads no more than it is given.
        let written = unsafe {
            let Some(write) = (*stream).write else { return false };
            write(stream, rest.as_ptr().cast(), rest.len() as u64)
        };
        match usize::try_from(written) {
            Ok(written @ 1..) => rest = &rest[written.min(rest.len())..],
            _ => return false,
        }
    }
    true
}

unsafe extern "C" fn load(plugin: *const clap_plugin, stream: *const clap_istream) -> bool {
    // SAFETY: the plugin is alive.
    let hostile = unsafe { hostile(plugin) };
    hostile.enter(Entry::LoadState);
    let mut state = vec![0; if hostile.what == What::Any { 16 } else { 4 }];
    let mut have = 0;
    while have < state.len() {
        let rest = &mut state[have..];
        // SAFETY: the stream is valid and writes no more than it is asked for.
        let read = unsafe {
            let Some(read) = (*stream).read else { return false };
            read(stream, rest.as_mut_ptr().cast(), rest.len() as u64)
        };
        match usize::try_from(read) {
            Ok(read @ 1..) => have += read.min(rest.len()),
            _ => return false,
        }
    }
    if let ([value, edits], []) = state.as_chunks() {
        hostile.value.store(u64::from_le_bytes(*value), Relaxed);
        hostile.edits.store(u64::from_le_bytes(*edits), Relaxed);
    } else if let Some(block) = state.first_chunk() {
        hostile.block.store(u32::from_le_bytes(*block).min(BLOCK_MAX), Relaxed);
    }
    true
}

unsafe extern "C" fn latency(plugin: *const clap_plugin) -> u32 {
    // SAFETY: the plugin is alive.
    match unsafe { is(plugin, What::LiesLatency) } {
        true => u32::MAX,
        false => 0,
    }
}
