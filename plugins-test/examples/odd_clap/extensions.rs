//! Its ports and its state.

use crate::{Plugin, What, plugin};
use clap_sys::ext::audio_ports::*;
use clap_sys::ext::note_ports::*;
use clap_sys::ext::state::*;
use clap_sys::id::CLAP_INVALID_ID;
use clap_sys::plugin::clap_plugin;
use clap_sys::stream::{clap_istream, clap_ostream};
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

type P = *const clap_plugin;

static PORTS: clap_plugin_audio_ports =
    clap_plugin_audio_ports { count: Some(port_count), get: Some(port) };
static NOTE_PORTS: clap_plugin_note_ports =
    clap_plugin_note_ports { count: Some(note_port_count), get: Some(note_port) };
static STATE: clap_plugin_state = clap_plugin_state { save: Some(save), load: Some(load) };

pub(crate) fn get(plugin: &Plugin, id: &CStr) -> *const c_void {
    if id == CLAP_EXT_AUDIO_PORTS {
        (&raw const PORTS).cast()
    } else if id == CLAP_EXT_NOTE_PORTS && plugin.what == What::Late {
        (&raw const NOTE_PORTS).cast()
    } else if id == CLAP_EXT_STATE {
        (&raw const STATE).cast()
    } else {
        ptr::null()
    }
}

fn copy_name(text: &str, to: &mut [c_char]) {
    for (to, from) in to.iter_mut().zip(text.bytes().chain([0])) {
        *to = from as c_char;
    }
}

unsafe extern "C" fn port_count(this: P, input: bool) -> u32 {
    // SAFETY: the plugin is alive.
    let this = unsafe { plugin(this) };
    match this.what {
        _ if input => 0,
        What::Gap => 3,
        What::Brings => this.state.load(Relaxed).into(),
        _ => 1,
    }
}

unsafe extern "C" fn port(
    this: P,
    index: u32,
    input: bool,
    info: *mut clap_audio_port_info,
) -> bool {
    // SAFETY: the plugin is alive.
    let (count, this) = unsafe { (port_count(this, input), plugin(this)) };
    if index >= count || (this.what, index) == (What::Gap, 1) {
        return false;
    }
    let is_mono = this.what == What::Gap;
    let mut port = clap_audio_port_info {
        id: index,
        name: [0; _],
        flags: if index == 0 { CLAP_AUDIO_PORT_IS_MAIN } else { 0 },
        channel_count: if is_mono { 1 } else { 2 },
        port_type: if is_mono { CLAP_PORT_MONO } else { CLAP_PORT_STEREO }.as_ptr(),
        in_place_pair: CLAP_INVALID_ID,
    };
    let is_renamed = this.what == What::Renames && this.state.load(Relaxed) > 0;
    copy_name(if is_renamed { "Renamed" } else { "Output" }, &mut port.name);
    // SAFETY: the host passes valid memory.
    unsafe { info.write(port) };
    true
}

extern "C" fn note_port_count(_: P, input: bool) -> u32 {
    u32::from(!input)
}

unsafe extern "C" fn note_port(
    _: P,
    index: u32,
    input: bool,
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
    index < note_port_count(ptr::null(), input)
}

unsafe extern "C" fn save(this: P, stream: *const clap_ostream) -> bool {
    // SAFETY: the plugin is alive and the stream valid.
    unsafe {
        let state = [plugin(this).state.load(Relaxed)];
        (*stream).write.is_some_and(|write| write(stream, state.as_ptr().cast(), 1) == 1)
    }
}

unsafe extern "C" fn load(this: P, stream: *const clap_istream) -> bool {
    let mut state = [0_u8];
    // SAFETY: the plugin is alive and the stream valid.
    unsafe {
        let read = (*stream).read;
        if read.is_none_or(|read| read(stream, state.as_mut_ptr().cast(), 1) != 1) {
            return false;
        }
        let this = plugin(this);
        this.state.store(state[0], Relaxed);
        if this.what == What::Renames {
            rescan(this, 1_u32.checked_shl(state[0].into()).unwrap_or(0));
        }
    }
    true
}

/// Asks for a rescan, if the host takes such.
///
/// # Safety
/// The host is there.
unsafe fn rescan(this: &Plugin, flag: u32) {
    // SAFETY: as the caller promises.
    unsafe {
        let Some(get) = (*this.host).get_extension else { return };
        let ports = get(this.host, CLAP_EXT_AUDIO_PORTS.as_ptr()).cast::<clap_host_audio_ports>();
        let Some(ports) = ports.as_ref() else { return };
        if let (Some(is_supported), Some(rescan)) = (ports.is_rescan_flag_supported, ports.rescan)
            && is_supported(this.host, flag)
        {
            rescan(this.host, flag);
        }
    }
}
