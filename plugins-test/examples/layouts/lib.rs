//! CLAP plugins that leave the channels of their ports to the host, `org.sandrack.layouts.WHAT`.
//! Each halves what comes in, channel by channel.
//!
//! | WHAT | at first | then |
//! |---|---|---|
//! | `any` | stereo | one to eight channels in and out (configurable-audio-ports), if they are called what they are: mono, stereo, surround with a place for each |
//! | `draft` | stereo | the same, by the name that the way had as a draft |
//! | `listed` | mono | mono, stereo, four channels, or six in and two out (audio-ports-config) |
//! | `agrees` | stereo | agrees to everything, and stays stereo |
//! | `grows` | stereo | agrees to everything, and has 100000 channels then, unless asked for stereo |
//!
//! # Safety
//! All files here implement a C interface and trust the host to keep its rules about pointers,
//! threads and the order of calls.
#![allow(unsafe_code, reason = "implements a C interface, see above")]

mod ports;

use clap_sys::entry::clap_plugin_entry;
use clap_sys::factory::plugin_factory::{CLAP_PLUGIN_FACTORY_ID, clap_plugin_factory};
use clap_sys::host::clap_host;
use clap_sys::plugin::{clap_plugin, clap_plugin_descriptor};
use clap_sys::plugin_features::CLAP_PLUGIN_FEATURE_AUDIO_EFFECT;
use clap_sys::process::{CLAP_PROCESS_CONTINUE, clap_process};
use clap_sys::version::CLAP_VERSION;
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Which plugin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Any,
    Draft,
    Listed,
    Agrees,
    Grows,
}

const ALL: [(What, &CStr); 5] = [
    (What::Any, c"org.sandrack.layouts.any"),
    (What::Listed, c"org.sandrack.layouts.listed"),
    (What::Agrees, c"org.sandrack.layouts.agrees"),
    (What::Grows, c"org.sandrack.layouts.grows"),
    (What::Draft, c"org.sandrack.layouts.draft"),
];

/// A plugin.
pub(crate) struct Plugin {
    clap: clap_plugin,
    pub(crate) what: What,
    pub(crate) inputs: AtomicU32,
    pub(crate) outputs: AtomicU32,
    /// Whether its ports may not be changed.
    pub(crate) is_active: AtomicU32,
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
static FEATURES: Features = Features([CLAP_PLUGIN_FEATURE_AUDIO_EFFECT.as_ptr(), ptr::null()]);

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
        description: c"Leaves its channels to the host".as_ptr(),
        features: (&raw const FEATURES.0).cast(),
    }
}

static DESCRIPTORS: [clap_plugin_descriptor; 5] =
    [descriptor_of(0), descriptor_of(1), descriptor_of(2), descriptor_of(3), descriptor_of(4)];

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
    _host: *const clap_host,
    id: *const c_char,
) -> *const clap_plugin {
    // SAFETY: the host passes a string.
    let id = unsafe { CStr::from_ptr(id) };
    let Some(index) = ALL.iter().position(|(_, known)| *known == id) else { return ptr::null() };
    let what = ALL[index].0;
    let channels = if what == What::Listed { 1 } else { 2 };
    let plugin = Box::into_raw(Box::new(Plugin {
        clap: clap_plugin {
            desc: &DESCRIPTORS[index],
            plugin_data: ptr::null_mut(),
            init: Some(begin),
            destroy: Some(destroy),
            activate: Some(activate),
            deactivate: Some(deactivate),
            start_processing: Some(begin),
            stop_processing: Some(nothing),
            reset: Some(nothing),
            process: Some(process),
            get_extension: Some(get_extension),
            on_main_thread: Some(nothing),
        },
        what,
        inputs: AtomicU32::new(channels),
        outputs: AtomicU32::new(channels),
        is_active: AtomicU32::new(0),
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
    unsafe { plugin(this) }.is_active.store(1, Relaxed);
    true
}

unsafe extern "C" fn deactivate(this: *const clap_plugin) {
    // SAFETY: the plugin is alive.
    unsafe { plugin(this) }.is_active.store(0, Relaxed);
}

unsafe extern "C" fn get_extension(this: *const clap_plugin, id: *const c_char) -> *const c_void {
    // SAFETY: the plugin is alive, and the host passes a string.
    unsafe { ports::get(plugin(this), CStr::from_ptr(id)) }
}

unsafe extern "C" fn process(_: *const clap_plugin, process: *const clap_process) -> i32 {
    // SAFETY: the host describes the block correctly.
    unsafe {
        let process = &*process;
        let (input, output) = (&*process.audio_inputs, &*process.audio_outputs);
        for channel in 0..output.channel_count as usize {
            let to = *output.data32.add(channel);
            let has_input = channel < input.channel_count as usize;
            for frame in 0..process.frames_count as usize {
                let from = match has_input {
                    true => *(*input.data32.add(channel)).add(frame),
                    false => 0.0,
                };
                to.add(frame).write(from * 0.5);
            }
        }
    }
    CLAP_PROCESS_CONTINUE
}
