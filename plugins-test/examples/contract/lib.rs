//! A CLAP plugin that reports what its host does: `org.sandrack.contract`.
//!
//! It uses what frameworks for plugins leave out, and shows what came of it:
//!
//! | where | what |
//! |---|---|
//! | first channel of the output, frame N | register N of [`registers`], as of the block |
//! | output events | each system exclusive message backwards; for a note on, a gesture of parameter 1 with its velocity |
//! | `params.flush` | a gesture of parameter 1 with half of each value that parameter 0 gets |
//! | log | the third call of its timer |
//! | presets | `soft` and `hard` of its own; in the folder `presets` beside the library, files `*.value` that hold a number |
//!
//! # Safety
//! All files here implement a C interface and trust the host to keep its rules about pointers,
//! threads and the order of calls.
#![allow(unsafe_code, reason = "implements a C interface, see above")]

mod extensions;
mod plugin;
mod presets;

use clap_sys::entry::clap_plugin_entry;
use clap_sys::factory::plugin_factory::{CLAP_PLUGIN_FACTORY_ID, clap_plugin_factory};
use clap_sys::factory::preset_discovery::CLAP_PRESET_DISCOVERY_FACTORY_ID;
use clap_sys::host::clap_host;
use clap_sys::plugin::{clap_plugin, clap_plugin_descriptor};
use clap_sys::plugin_features::CLAP_PLUGIN_FEATURE_INSTRUMENT;
use clap_sys::version::CLAP_VERSION;
use std::ffi::{CStr, c_char, c_void};
use std::path::PathBuf;
use std::ptr;
use std::sync::OnceLock;

/// Numbers of the registers.
pub(crate) mod registers {
    pub(crate) const RENDER_MODE: usize = 0;
    pub(crate) const POOL_SUM: usize = 1;
    pub(crate) const SIDECHAIN_ACTIVE: usize = 2;
    pub(crate) const INPUT_CONSTANT: usize = 3;
    pub(crate) const TRANSPORT_FLAGS: usize = 4;
    pub(crate) const SIGNATURE: usize = 5;
    pub(crate) const TEMPO: usize = 6;
    pub(crate) const PARAM: usize = 7;
    pub(crate) const MODULATION: usize = 8;
    pub(crate) const EXPRESSION: usize = 9;
    pub(crate) const NOTE_OF_BOTH: usize = 10;
    pub(crate) const STATE_CONTEXT: usize = 11;
    pub(crate) const EXEC_IN_TASK: usize = 12;
    /// Of the last system exclusive message: each byte, and 31 times those before, modulo 65536.
    pub(crate) const SYSEX: usize = 13;
    /// Number of the bar, times 1000, and the quarter notes at which it begins.
    pub(crate) const BAR: usize = 14;
    pub(crate) const COUNT: usize = 15;
}

/// The entry point of CLAP.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "CLAP says how it is spelt")]
pub static clap_entry: clap_plugin_entry = clap_plugin_entry {
    clap_version: CLAP_VERSION,
    init: Some(init),
    deinit: Some(deinit),
    get_factory: Some(get_factory),
};

pub(crate) const ID: &CStr = c"org.sandrack.contract";

/// Where the presets' files are.
pub(crate) static PRESETS: OnceLock<PathBuf> = OnceLock::new();

struct Features([*const c_char; 2]);
// SAFETY: nobody writes to it, nor to the strings it points to.
unsafe impl Sync for Features {}
static FEATURES: Features = Features([CLAP_PLUGIN_FEATURE_INSTRUMENT.as_ptr(), ptr::null()]);

static DESCRIPTOR: clap_plugin_descriptor = clap_plugin_descriptor {
    clap_version: CLAP_VERSION,
    id: ID.as_ptr(),
    name: c"Sandrack Contract".as_ptr(),
    vendor: c"Sandrack".as_ptr(),
    url: c"".as_ptr(),
    manual_url: c"".as_ptr(),
    support_url: c"".as_ptr(),
    version: c"1.0.0".as_ptr(),
    description: c"Reports what its host does".as_ptr(),
    features: (&raw const FEATURES.0).cast(),
};

static FACTORY: clap_plugin_factory = clap_plugin_factory {
    get_plugin_count: Some(count),
    get_plugin_descriptor: Some(descriptor),
    create_plugin: Some(create),
};

unsafe extern "C" fn init(path: *const c_char) -> bool {
    // SAFETY: the host passes a string.
    let path = PathBuf::from(unsafe { CStr::from_ptr(path) }.to_string_lossy().into_owned());
    PRESETS.get_or_init(|| path.with_file_name("presets"));
    true
}

extern "C" fn deinit() {}

unsafe extern "C" fn get_factory(id: *const c_char) -> *const c_void {
    // SAFETY: the host passes a string.
    let id = unsafe { CStr::from_ptr(id) };
    if id == CLAP_PLUGIN_FACTORY_ID {
        (&raw const FACTORY).cast()
    } else if id == CLAP_PRESET_DISCOVERY_FACTORY_ID {
        (&raw const presets::FACTORY).cast()
    } else {
        ptr::null()
    }
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

unsafe extern "C" fn create(
    _factory: *const clap_plugin_factory,
    host: *const clap_host,
    id: *const c_char,
) -> *const clap_plugin {
    // SAFETY: the host passes a string.
    if unsafe { CStr::from_ptr(id) } == ID {
        plugin::create(host, &DESCRIPTOR)
    } else {
        ptr::null()
    }
}
