//! A CLAP library with a plugin, of which nothing but its description can be had, and whose
//! `clap_entry.deinit` aborts.
//!
//! # Safety
//! It implements a C interface and trusts the host to keep its rules about pointers.
#![allow(unsafe_code, reason = "implements a C interface, see above")]

use clap_sys::entry::clap_plugin_entry;
use clap_sys::factory::plugin_factory::{CLAP_PLUGIN_FACTORY_ID, clap_plugin_factory};
use clap_sys::host::clap_host;
use clap_sys::plugin::{clap_plugin, clap_plugin_descriptor};
use clap_sys::version::CLAP_VERSION;
use std::ffi::{CStr, c_char, c_void};
use std::ptr;

/// The entry point of CLAP.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "CLAP says how it is spelt")]
pub static clap_entry: clap_plugin_entry = clap_plugin_entry {
    clap_version: CLAP_VERSION,
    init: Some(init),
    deinit: Some(deinit),
    get_factory: Some(get_factory),
};

struct Features([*const c_char; 1]);
// SAFETY: nobody writes to it.
unsafe impl Sync for Features {}
static FEATURES: Features = Features([ptr::null()]);

static DESCRIPTOR: clap_plugin_descriptor = clap_plugin_descriptor {
    clap_version: CLAP_VERSION,
    id: c"org.sandrack.bad-exit".as_ptr(),
    name: c"Sandrack Bad Exit".as_ptr(),
    vendor: c"Sandrack".as_ptr(),
    url: c"".as_ptr(),
    manual_url: c"".as_ptr(),
    support_url: c"".as_ptr(),
    version: c"1.0.0".as_ptr(),
    description: c"Can't end".as_ptr(),
    features: (&raw const FEATURES.0).cast(),
};

static FACTORY: clap_plugin_factory = clap_plugin_factory {
    get_plugin_count: Some(count),
    get_plugin_descriptor: Some(descriptor),
    create_plugin: Some(create),
};

extern "C" fn init(_path: *const c_char) -> bool {
    true
}

extern "C" fn deinit() {
    std::process::abort();
}

unsafe extern "C" fn get_factory(id: *const c_char) -> *const c_void {
    // SAFETY: the host passes a string.
    let is_ours = unsafe { CStr::from_ptr(id) } == CLAP_PLUGIN_FACTORY_ID;
    if is_ours { (&raw const FACTORY).cast() } else { ptr::null() }
}

extern "C" fn count(_factory: *const clap_plugin_factory) -> u32 {
    1
}

extern "C" fn descriptor(
    _factory: *const clap_plugin_factory,
    index: u32,
) -> *const clap_plugin_descriptor {
    if index == 0 { &DESCRIPTOR } else { ptr::null() }
}

extern "C" fn create(
    _factory: *const clap_plugin_factory,
    _host: *const clap_host,
    _id: *const c_char,
) -> *const clap_plugin {
    ptr::null()
}
