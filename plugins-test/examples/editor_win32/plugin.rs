//! Entry, factory and plugin: as little as the interface allows.
//!
//! # Safety
//! `unsafe` here reads what the host passes, which the interface promises to be good.

use crate::editor;
use clap_sys::entry::clap_plugin_entry;
use clap_sys::ext::gui::CLAP_EXT_GUI;
use clap_sys::factory::plugin_factory::{CLAP_PLUGIN_FACTORY_ID, clap_plugin_factory};
use clap_sys::host::clap_host;
use clap_sys::plugin::{clap_plugin, clap_plugin_descriptor};
use clap_sys::process::{CLAP_PROCESS_CONTINUE, clap_process, clap_process_status};
use clap_sys::version::CLAP_VERSION;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};

#[allow(non_upper_case_globals, reason = "the interface's name")]
#[unsafe(no_mangle)]
static clap_entry: clap_plugin_entry = clap_plugin_entry {
    clap_version: CLAP_VERSION,
    init: Some(init),
    deinit: Some(deinit),
    get_factory: Some(get_factory),
};

struct Features([*const c_char; 2]);
// SAFETY: constant strings.
unsafe impl Sync for Features {}
static FEATURES: Features = Features([c"audio-effect".as_ptr(), null()]);

static DESCRIPTOR: clap_plugin_descriptor = clap_plugin_descriptor {
    clap_version: CLAP_VERSION,
    id: c"org.sandrack.test.editor-win32".as_ptr(),
    name: c"Sandrack Test Editor".as_ptr(),
    vendor: c"Sandrack".as_ptr(),
    url: null(),
    manual_url: null(),
    support_url: null(),
    version: c"1".as_ptr(),
    description: null(),
    features: FEATURES.0.as_ptr(),
};

static FACTORY: clap_plugin_factory = clap_plugin_factory {
    get_plugin_count: Some(count),
    get_plugin_descriptor: Some(descriptor),
    create_plugin: Some(create),
};

extern "C" fn init(_path: *const c_char) -> bool {
    true
}

extern "C" fn deinit() {}

unsafe extern "C" fn get_factory(id: *const c_char) -> *const c_void {
    // SAFETY: see the file's text.
    match unsafe { CStr::from_ptr(id) } == CLAP_PLUGIN_FACTORY_ID {
        true => (&raw const FACTORY).cast(),
        false => null(),
    }
}

extern "C" fn count(_: *const clap_plugin_factory) -> u32 {
    1
}

extern "C" fn descriptor(_: *const clap_plugin_factory, _: u32) -> *const clap_plugin_descriptor {
    &DESCRIPTOR
}

extern "C" fn create(
    _: *const clap_plugin_factory,
    _host: *const clap_host,
    _id: *const c_char,
) -> *const clap_plugin {
    Box::into_raw(Box::new(clap_plugin {
        desc: &DESCRIPTOR,
        plugin_data: null_mut(),
        init: Some(yes),
        destroy: Some(destroy),
        activate: Some(activate),
        deactivate: Some(nothing),
        start_processing: Some(yes),
        stop_processing: Some(nothing),
        reset: Some(nothing),
        process: Some(process),
        get_extension: Some(get_extension),
        on_main_thread: Some(nothing),
    }))
}

extern "C" fn yes(_: *const clap_plugin) -> bool {
    true
}

extern "C" fn nothing(_: *const clap_plugin) {}

unsafe extern "C" fn destroy(plugin: *const clap_plugin) {
    // SAFETY: made in `create`, and destroyed once.
    drop(unsafe { Box::from_raw(plugin.cast_mut()) });
}

extern "C" fn activate(_: *const clap_plugin, _: f64, _: u32, _: u32) -> bool {
    true
}

extern "C" fn process(_: *const clap_plugin, _: *const clap_process) -> clap_process_status {
    CLAP_PROCESS_CONTINUE
}

unsafe extern "C" fn get_extension(_: *const clap_plugin, id: *const c_char) -> *const c_void {
    // SAFETY: see the file's text.
    match unsafe { CStr::from_ptr(id) } == CLAP_EXT_GUI {
        true => (&raw const editor::GUI).cast(),
        false => null(),
    }
}
