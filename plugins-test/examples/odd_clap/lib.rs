//! CLAP plugins that keep the rules in ways not often seen, `org.sandrack.odd.WHAT`.
//!
//! | WHAT | is |
//! |---|---|
//! | `source` | without inputs: puts out 0.5 where it is given no address of any, as wrappers of plugins of other formats look at it, and -1 otherwise |
//! | `lazy` | puts out 0.5 in the first block after its activation, and writes nothing from then on |
//! | `gap` | three mono outputs, of which the second can't be described; puts out 1/4 and 3/4 in those that can |
//! | `brings` | as many stereo outputs as its state says, 1 at first; puts out the number of each, over 16, in all of those that it knows of |
//! | `late` | puts out a note and a message in each block, behind its end |
//! | `renames` | when it takes a state, renames its ports and asks for a rescan with the flag of the state's number, if its host says that it knows it |
//!
//! States are one byte.
//!
//! # Safety
//! All files here implement a C interface and trust the host to keep its rules about pointers,
//! threads and the order of calls.
#![allow(unsafe_code, reason = "implements a C interface, see above")]

mod extensions;
mod process;

use clap_sys::entry::clap_plugin_entry;
use clap_sys::factory::plugin_factory::{CLAP_PLUGIN_FACTORY_ID, clap_plugin_factory};
use clap_sys::host::clap_host;
use clap_sys::plugin::{clap_plugin, clap_plugin_descriptor};
use clap_sys::plugin_features::CLAP_PLUGIN_FEATURE_INSTRUMENT;
use clap_sys::version::CLAP_VERSION;
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

/// Which plugin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Source,
    Lazy,
    Gap,
    Brings,
    Late,
    Renames,
}

const ALL: [(What, &CStr); 6] = [
    (What::Source, c"org.sandrack.odd.source"),
    (What::Lazy, c"org.sandrack.odd.lazy"),
    (What::Gap, c"org.sandrack.odd.gap"),
    (What::Brings, c"org.sandrack.odd.brings"),
    (What::Late, c"org.sandrack.odd.late"),
    (What::Renames, c"org.sandrack.odd.renames"),
];

/// A plugin.
pub(crate) struct Plugin {
    clap: clap_plugin,
    pub(crate) host: *const clap_host,
    pub(crate) what: What,
    pub(crate) state: AtomicU8,
    /// Since its activation.
    pub(crate) blocks: AtomicU32,
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

struct Features([*const c_char; 2]);
// SAFETY: nobody writes to it, nor to the strings it points to.
unsafe impl Sync for Features {}
static FEATURES: Features = Features([CLAP_PLUGIN_FEATURE_INSTRUMENT.as_ptr(), ptr::null()]);

const fn descriptor_of(index: usize) -> clap_plugin_descriptor {
    clap_plugin_descriptor {
        clap_version: CLAP_VERSION,
        id: ALL[index].1.as_ptr(),
        name: ALL[index].1.as_ptr(),
        vendor: c"Sandrack".as_ptr(),
        url: c"".as_ptr(),
        manual_url: c"".as_ptr(),
        support_url: c"".as_ptr(),
        version: c"1.0.0".as_ptr(),
        description: c"Keeps the rules in ways not often seen".as_ptr(),
        features: (&raw const FEATURES.0).cast(),
    }
}

static DESCRIPTORS: [clap_plugin_descriptor; ALL.len()] = [
    descriptor_of(0),
    descriptor_of(1),
    descriptor_of(2),
    descriptor_of(3),
    descriptor_of(4),
    descriptor_of(5),
];

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
    // SAFETY: the host passes a string.
    let is_ours = unsafe { CStr::from_ptr(id) } == CLAP_PLUGIN_FACTORY_ID;
    if is_ours { (&raw const FACTORY).cast() } else { ptr::null() }
}

extern "C" fn count(_factory: *const clap_plugin_factory) -> u32 {
    ALL.len() as u32
}

extern "C" fn descriptor(
    _factory: *const clap_plugin_factory,
    index: u32,
) -> *const clap_plugin_descriptor {
    DESCRIPTORS.get(index as usize).map_or(ptr::null(), ptr::from_ref)
}

unsafe extern "C" fn create(
    _factory: *const clap_plugin_factory,
    host: *const clap_host,
    id: *const c_char,
) -> *const clap_plugin {
    // SAFETY: the host passes a string.
    let id = unsafe { CStr::from_ptr(id) };
    let Some(index) = ALL.iter().position(|(_, known)| *known == id) else { return ptr::null() };
    let what = ALL[index].0;
    let plugin = Box::into_raw(Box::new(Plugin {
        clap: clap_plugin {
            desc: &DESCRIPTORS[index],
            plugin_data: ptr::null_mut(),
            init: Some(begin),
            destroy: Some(destroy),
            activate: Some(activate),
            deactivate: Some(nothing),
            start_processing: Some(begin),
            stop_processing: Some(nothing),
            reset: Some(nothing),
            process: Some(process::process),
            get_extension: Some(get_extension),
            on_main_thread: Some(nothing),
        },
        host,
        what,
        state: AtomicU8::new(u8::from(what == What::Brings)),
        blocks: AtomicU32::new(0),
    }));
    // SAFETY: it was just allocated and nobody else knows it.
    unsafe {
        (*plugin).clap.plugin_data = plugin.cast();
        &raw const (*plugin).clap
    }
}

/// # Safety
/// It comes from [`create`] and wasn't destroyed.
pub(crate) unsafe fn plugin<'a>(plugin: *const clap_plugin) -> &'a Plugin {
    // SAFETY: `plugin_data` is what `create` set it to.
    unsafe { &*(*plugin).plugin_data.cast() }
}

extern "C" fn begin(_: *const clap_plugin) -> bool {
    true
}

extern "C" fn nothing(_: *const clap_plugin) {}

unsafe extern "C" fn destroy(plugin: *const clap_plugin) {
    // SAFETY: `create` allocated it so; the host gives it up with this call.
    drop(unsafe { Box::from_raw((*plugin).plugin_data.cast::<Plugin>()) });
}

unsafe extern "C" fn activate(this: *const clap_plugin, _rate: f64, _min: u32, _max: u32) -> bool {
    // SAFETY: the plugin is alive.
    unsafe { plugin(this) }.blocks.store(0, Relaxed);
    true
}

unsafe extern "C" fn get_extension(this: *const clap_plugin, id: *const c_char) -> *const c_void {
    // SAFETY: the plugin is alive, and the host passes a string.
    unsafe { extensions::get(plugin(this), CStr::from_ptr(id)) }
}
