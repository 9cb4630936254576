//! Its ports, and the two ways in which a host may choose them.

use crate::{Plugin, What, plugin};
use clap_sys::ext::audio_ports::*;
use clap_sys::ext::audio_ports_config::*;
use clap_sys::ext::configurable_audio_ports::*;
use clap_sys::ext::surround::CLAP_PORT_SURROUND;
use clap_sys::id::CLAP_INVALID_ID;
use clap_sys::plugin::clap_plugin;
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

type P = *const clap_plugin;

/// Channels that `grows` has then.
const TOO_MANY: u32 = 100_000;

static PORTS: clap_plugin_audio_ports =
    clap_plugin_audio_ports { count: Some(port_count), get: Some(port) };
static CONFIGS: clap_plugin_audio_ports_config = clap_plugin_audio_ports_config {
    count: Some(config_count),
    get: Some(config),
    select: Some(select),
};
static CONFIGURABLE: clap_plugin_configurable_audio_ports = clap_plugin_configurable_audio_ports {
    can_apply_configuration: Some(can_apply),
    apply_configuration: Some(apply),
};

pub(crate) fn get(plugin: &Plugin, id: &CStr) -> *const c_void {
    let (is_listed, is_any) = match plugin.what {
        What::Any | What::Draft => (false, true),
        What::Listed => (true, false),
        What::Agrees | What::Grows => (true, true),
    };
    let configurable = match plugin.what {
        What::Draft => CLAP_EXT_CONFIGURABLE_AUDIO_PORTS_COMPAT,
        _ => CLAP_EXT_CONFIGURABLE_AUDIO_PORTS,
    };
    if id == CLAP_EXT_AUDIO_PORTS {
        (&raw const PORTS).cast()
    } else if is_listed && id == CLAP_EXT_AUDIO_PORTS_CONFIG {
        (&raw const CONFIGS).cast()
    } else if is_any && id == configurable {
        (&raw const CONFIGURABLE).cast()
    } else {
        ptr::null()
    }
}

fn copy_name(text: &str, to: &mut [c_char]) {
    for (to, from) in to.iter_mut().zip(text.bytes().chain([0])) {
        *to = from as c_char;
    }
}

fn type_of(channels: u32) -> *const c_char {
    match channels {
        1 => CLAP_PORT_MONO.as_ptr(),
        2 => CLAP_PORT_STEREO.as_ptr(),
        _ => CLAP_PORT_SURROUND.as_ptr(),
    }
}

extern "C" fn port_count(_: P, _input: bool) -> u32 {
    1
}

unsafe extern "C" fn port(
    this: P,
    index: u32,
    input: bool,
    info: *mut clap_audio_port_info,
) -> bool {
    // SAFETY: the plugin is alive.
    let this = unsafe { plugin(this) };
    let channels = if input { &this.inputs } else { &this.outputs }.load(Relaxed);
    let mut port = clap_audio_port_info {
        id: 0,
        name: [0; _],
        flags: CLAP_AUDIO_PORT_IS_MAIN,
        channel_count: channels,
        port_type: type_of(channels),
        in_place_pair: CLAP_INVALID_ID,
    };
    copy_name("Main", &mut port.name);
    // SAFETY: the host passes valid memory.
    unsafe { info.write(port) };
    index == 0
}

/// The configurations: channels in and out. Their ids are ten times their place.
const LIST: [(u32, u32); 4] = [(1, 1), (2, 2), (4, 4), (6, 2)];

extern "C" fn config_count(_: P) -> u32 {
    LIST.len() as u32
}

unsafe extern "C" fn config(_: P, index: u32, config: *mut clap_audio_ports_config) -> bool {
    let Some(&(inputs, outputs)) = LIST.get(index as usize) else { return false };
    let mut described = clap_audio_ports_config {
        id: index * 10,
        name: [0; _],
        input_port_count: 1,
        output_port_count: 1,
        has_main_input: true,
        main_input_channel_count: inputs,
        main_input_port_type: type_of(inputs),
        has_main_output: true,
        main_output_channel_count: outputs,
        main_output_port_type: type_of(outputs),
    };
    copy_name(&format!("{inputs} to {outputs}"), &mut described.name);
    // SAFETY: the host passes valid memory.
    unsafe { config.write(described) };
    true
}

unsafe extern "C" fn select(this: P, id: u32) -> bool {
    // SAFETY: the plugin is alive.
    let this = unsafe { plugin(this) };
    match LIST.get(id as usize / 10).filter(|_| id.is_multiple_of(10)) {
        Some(&(inputs, outputs)) => take(this, inputs, outputs),
        None => false,
    }
}

fn take(this: &Plugin, inputs: u32, outputs: u32) -> bool {
    let (inputs, outputs) = match this.what {
        What::Agrees => return true,
        What::Grows if inputs != 2 => (TOO_MANY, TOO_MANY),
        _ => (inputs, outputs),
    };
    let may = this.is_active.load(Relaxed) == 0;
    if may {
        this.inputs.store(inputs, Relaxed);
        this.outputs.store(outputs, Relaxed);
    }
    may
}

/// The channels that both ports are to have; `None`: they differ, or are not what they are called.
///
/// # Safety
/// As many requests as are said, each valid.
unsafe fn channels(
    requests: *const clap_audio_port_configuration_request,
    count: u32,
) -> Option<u32> {
    // SAFETY: as the caller promises.
    let requests = unsafe { std::slice::from_raw_parts(requests, count as usize) };
    let [input, output] = requests else { return None };
    let fits = |request: &clap_audio_port_configuration_request, is_input| {
        let channels = request.channel_count;
        // SAFETY: as the caller promises; a string or null, and a place for each channel.
        let is_called = unsafe {
            !request.port_type.is_null()
                && CStr::from_ptr(request.port_type) == CStr::from_ptr(type_of(channels))
                && (channels <= 2 || places(request.port_details.cast(), channels))
        };
        request.is_input == is_input && request.port_index == 0 && is_called
    };
    let channels = input.channel_count;
    let fit = fits(input, true) && fits(output, false) && output.channel_count == channels;
    (fit && (1..=8).contains(&channels)).then_some(channels)
}

/// Whether these are places in a room, each once, from the left one in front.
///
/// # Safety
/// There are so many, or it is null.
unsafe fn places(places: *const u8, count: u32) -> bool {
    if places.is_null() {
        return false;
    }
    // SAFETY: as the caller promises.
    let places = unsafe { std::slice::from_raw_parts(places, count as usize) };
    let is_once = |place| places.iter().filter(|other| *other == place).count() == 1;
    places[0] == 0 && places.iter().all(|place| *place < 18 && is_once(place))
}

unsafe extern "C" fn can_apply(
    this: P,
    requests: *const clap_audio_port_configuration_request,
    count: u32,
) -> bool {
    // SAFETY: the plugin is alive, and the host passes valid requests.
    unsafe {
        let keeps_its_word = matches!(plugin(this).what, What::Any | What::Draft);
        !keeps_its_word || channels(requests, count).is_some()
    }
}

unsafe extern "C" fn apply(
    this: P,
    requests: *const clap_audio_port_configuration_request,
    count: u32,
) -> bool {
    // SAFETY: the plugin is alive, and the host passes valid requests.
    let (this, channels) = unsafe { (plugin(this), channels(requests, count)) };
    match channels {
        Some(channels) => take(this, channels, channels),
        None => !matches!(this.what, What::Any | What::Draft),
    }
}
