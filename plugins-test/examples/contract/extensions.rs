//! What it has beside the bare interface.

use crate::plugin::{Contract, contract, exec, gesture, host_functions, take_events};
use crate::presets;
use clap_sys::events::{clap_input_events, clap_output_events};
use clap_sys::ext::audio_ports::*;
use clap_sys::ext::audio_ports_activation::*;
use clap_sys::ext::log::{CLAP_EXT_LOG, CLAP_LOG_INFO, clap_host_log};
use clap_sys::ext::note_name::*;
use clap_sys::ext::note_ports::*;
use clap_sys::ext::params::*;
use clap_sys::ext::preset_load::*;
use clap_sys::ext::render::*;
use clap_sys::ext::state::*;
use clap_sys::ext::state_context::*;
use clap_sys::ext::tail::*;
use clap_sys::ext::thread_pool::*;
use clap_sys::ext::timer_support::*;
use clap_sys::ext::voice_info::*;
use clap_sys::id::CLAP_INVALID_ID;
use clap_sys::plugin::clap_plugin;
use clap_sys::stream::{clap_istream, clap_ostream};
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

type P = *const clap_plugin;

static PORTS: clap_plugin_audio_ports =
    clap_plugin_audio_ports { count: Some(port_count), get: Some(port) };
static ACTIVATION: clap_plugin_audio_ports_activation = clap_plugin_audio_ports_activation {
    can_activate_while_processing: None,
    set_active: Some(set_active),
};
static NOTE_PORTS: clap_plugin_note_ports =
    clap_plugin_note_ports { count: Some(note_port_count), get: Some(note_port) };
static NOTE_NAMES: clap_plugin_note_name =
    clap_plugin_note_name { count: Some(name_count), get: Some(name) };
static PARAMS: clap_plugin_params = clap_plugin_params {
    count: Some(param_count),
    get_info: Some(param_info),
    get_value: Some(param_value),
    value_to_text: None,
    text_to_value: None,
    flush: Some(flush),
};
static RENDER: clap_plugin_render =
    clap_plugin_render { has_hard_realtime_requirement: None, set: Some(set_render) };
static STATE: clap_plugin_state =
    clap_plugin_state { save: Some(save_plain), load: Some(load_plain) };
static CONTEXT: clap_plugin_state_context =
    clap_plugin_state_context { save: Some(save), load: Some(load) };
static TAIL: clap_plugin_tail = clap_plugin_tail { get: Some(tail) };
static TIMER: clap_plugin_timer_support = clap_plugin_timer_support { on_timer: Some(on_timer) };
static POOL: clap_plugin_thread_pool = clap_plugin_thread_pool { exec: Some(exec) };
static VOICES: clap_plugin_voice_info = clap_plugin_voice_info { get: Some(voices) };
static PRESET: clap_plugin_preset_load =
    clap_plugin_preset_load { from_location: Some(presets::from_location) };

pub(crate) fn get(id: &CStr) -> *const c_void {
    let all: [(&CStr, *const c_void); 13] = [
        (CLAP_EXT_AUDIO_PORTS, (&raw const PORTS).cast()),
        (CLAP_EXT_AUDIO_PORTS_ACTIVATION, (&raw const ACTIVATION).cast()),
        (CLAP_EXT_NOTE_PORTS, (&raw const NOTE_PORTS).cast()),
        (CLAP_EXT_NOTE_NAME, (&raw const NOTE_NAMES).cast()),
        (CLAP_EXT_PARAMS, (&raw const PARAMS).cast()),
        (CLAP_EXT_RENDER, (&raw const RENDER).cast()),
        (CLAP_EXT_STATE, (&raw const STATE).cast()),
        (CLAP_EXT_STATE_CONTEXT, (&raw const CONTEXT).cast()),
        (CLAP_EXT_TAIL, (&raw const TAIL).cast()),
        (CLAP_EXT_TIMER_SUPPORT, (&raw const TIMER).cast()),
        (CLAP_EXT_THREAD_POOL, (&raw const POOL).cast()),
        (CLAP_EXT_VOICE_INFO, (&raw const VOICES).cast()),
        (CLAP_EXT_PRESET_LOAD, (&raw const PRESET).cast()),
    ];
    all.iter().find(|(name, _)| *name == id).map_or(ptr::null(), |(_, functions)| *functions)
}

fn copy_name(text: &str, to: &mut [c_char]) {
    for (to, from) in to.iter_mut().zip(text.bytes().chain([0])) {
        *to = from as c_char;
    }
}

extern "C" fn port_count(_: P, input: bool) -> u32 {
    if input { 2 } else { 1 }
}

unsafe extern "C" fn port(_: P, index: u32, input: bool, info: *mut clap_audio_port_info) -> bool {
    if index >= port_count(ptr::null(), input) {
        return false;
    }
    let mut port = clap_audio_port_info {
        id: index,
        name: [0; _],
        flags: if index == 0 { CLAP_AUDIO_PORT_IS_MAIN } else { 0 },
        channel_count: 2,
        port_type: CLAP_PORT_STEREO.as_ptr(),
        in_place_pair: CLAP_INVALID_ID,
    };
    copy_name(if index == 0 { "Main" } else { "Sidechain" }, &mut port.name);
    // SAFETY: the host passes valid memory.
    unsafe { info.write(port) };
    true
}

unsafe extern "C" fn set_active(plugin: P, input: bool, index: u32, on: bool, _size: u32) -> bool {
    if (input, index) == (true, 1) {
        // SAFETY: the plugin is alive.
        unsafe { contract(plugin) }.sidechain_active.store(on, Relaxed);
    }
    true
}

extern "C" fn note_port_count(_: P, _input: bool) -> u32 {
    1
}

unsafe extern "C" fn note_port(
    _: P,
    index: u32,
    _in: bool,
    info: *mut clap_note_port_info,
) -> bool {
    let mut port = clap_note_port_info {
        id: 0,
        supported_dialects: CLAP_NOTE_DIALECT_CLAP | CLAP_NOTE_DIALECT_MIDI,
        preferred_dialect: CLAP_NOTE_DIALECT_CLAP,
        name: [0; _],
    };
    copy_name("Notes", &mut port.name);
    // SAFETY: the host passes valid memory.
    unsafe { info.write(port) };
    index == 0
}

extern "C" fn name_count(_: P) -> u32 {
    // One more than there are.
    3
}

unsafe extern "C" fn name(_: P, index: u32, name: *mut clap_note_name) -> bool {
    let Some(text) = ["Kick", "Snare"].get(index as usize) else { return false };
    let key = 36 + 2 * index as i16;
    let mut named = clap_note_name { name: [0; _], port: -1, key, channel: 9 };
    copy_name(text, &mut named.name);
    // SAFETY: the host passes valid memory.
    unsafe { name.write(named) };
    true
}

extern "C" fn param_count(_: P) -> u32 {
    2
}

unsafe extern "C" fn param_info(_: P, index: u32, info: *mut clap_param_info) -> bool {
    let mut param = clap_param_info {
        id: index,
        flags: CLAP_PARAM_IS_AUTOMATABLE
            | CLAP_PARAM_IS_MODULATABLE
            | CLAP_PARAM_IS_MODULATABLE_PER_KEY,
        cookie: ptr::null_mut(),
        name: [0; _],
        module: [0; _],
        min_value: 0.0,
        max_value: 1.0,
        default_value: 0.5,
    };
    copy_name("value", &mut param.name);
    // SAFETY: the host passes valid memory.
    unsafe { info.write(param) };
    index < 2
}

unsafe extern "C" fn param_value(plugin: P, _id: u32, value: *mut f64) -> bool {
    // SAFETY: the plugin is alive, and the host passes valid memory.
    unsafe { value.write(f64::from_bits(contract(plugin).param.load(Relaxed))) };
    true
}

unsafe extern "C" fn flush(
    plugin: P,
    events: *const clap_input_events,
    out: *const clap_output_events,
) {
    // SAFETY: the plugin is alive and the lists valid.
    unsafe { take_events(contract(plugin), events, |value| gesture(out, 0, value / 2.0), out) };
}

unsafe extern "C" fn set_render(plugin: P, mode: i32) -> bool {
    // SAFETY: the plugin is alive.
    unsafe { contract(plugin) }.render_mode.store(mode as u32, Relaxed);
    true
}

unsafe extern "C" fn save_plain(plugin: P, stream: *const clap_ostream) -> bool {
    // SAFETY: as the host calls this.
    unsafe { save(plugin, stream, 0) }
}

unsafe extern "C" fn load_plain(plugin: P, stream: *const clap_istream) -> bool {
    // SAFETY: as the host calls this.
    unsafe { load(plugin, stream, 0) }
}

/// A state is the context that it was saved for, and the parameter.
unsafe extern "C" fn save(plugin: P, stream: *const clap_ostream, context: u32) -> bool {
    // SAFETY: the plugin is alive and the stream valid.
    unsafe {
        let param = contract(plugin).param.load(Relaxed).to_le_bytes();
        let Some(write) = (*stream).write else { return false };
        write(stream, [context as u8].as_ptr().cast(), 1) == 1
            && write(stream, param.as_ptr().cast(), 8) == 8
    }
}

unsafe extern "C" fn load(plugin: P, stream: *const clap_istream, context: u32) -> bool {
    let mut state = [0_u8; 100];
    // SAFETY: the plugin is alive and the stream valid.
    unsafe {
        let Some(read) = (*stream).read else { return false };
        let room = state.as_mut_ptr();
        if read(stream, room.cast(), 4) != 4
            || read(stream, room.add(4).cast(), 96) != 5
            || read(stream, room.add(9).cast(), 91) != 0
        {
            return false;
        }
        let saved_for = u32::from(state[0]);
        let param: [u8; 8] = state[1..9].try_into().unwrap_or_default();
        contract(plugin).param.store(u64::from_le_bytes(param), Relaxed);
        contract(plugin).context.store(saved_for * 10 + context, Relaxed);
    }
    true
}

extern "C" fn tail(_: P) -> u32 {
    4800
}

unsafe extern "C" fn voices(_: P, info: *mut clap_voice_info) -> bool {
    let flags = CLAP_VOICE_INFO_SUPPORTS_OVERLAPPING_NOTES;
    // SAFETY: the host passes valid memory.
    unsafe { info.write(clap_voice_info { voice_count: 3, voice_capacity: 16, flags }) };
    true
}

/// # Safety
/// The host is there.
pub(crate) unsafe fn register_timer(contract: &Contract) {
    // SAFETY: as the caller promises.
    unsafe {
        let host = contract.host;
        let timers = host_functions::<clap_host_timer_support>(host, CLAP_EXT_TIMER_SUPPORT);
        let mut id = 0;
        if let Some(register) = timers.and_then(|timers| timers.register_timer) {
            register(host, 20, &mut id);
        }
    }
}

unsafe extern "C" fn on_timer(plugin: P, _id: u32) {
    // SAFETY: the plugin is alive, and the host there.
    unsafe {
        let contract = contract(plugin);
        if contract.timer.fetch_add(1, Relaxed) == 2 {
            let log = host_functions::<clap_host_log>(contract.host, CLAP_EXT_LOG);
            if let Some(log) = log.and_then(|log| log.log) {
                log(contract.host, CLAP_LOG_INFO, c"third call of the timer".as_ptr());
            }
        }
    }
}
