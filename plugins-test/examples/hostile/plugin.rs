//! The plugin itself: valid, but for the fault it is created with.

use std::ffi::{c_char, c_void};
use std::process;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use clap_sys::audio_buffer::clap_audio_buffer;
use clap_sys::events::{
    CLAP_CORE_EVENT_SPACE_ID, CLAP_EVENT_PARAM_VALUE, clap_event_param_value, clap_input_events,
};
use clap_sys::host::clap_host;
use clap_sys::plugin::{clap_plugin, clap_plugin_descriptor};
use clap_sys::process::{CLAP_PROCESS_CONTINUE, CLAP_PROCESS_ERROR, clap_process};

use crate::what::What;
use crate::{calls, escape, extensions, strike, sys};

/// The id of the parameter `block`.
pub(crate) const BLOCK: u32 = 0;
pub(crate) const BLOCK_MAX: u32 = 1_000_000;
pub(crate) const BLOCK_DEFAULT: u32 = 100;

/// Overrides the parameter.
const BLOCK_VARIABLE: &str = "SANDRACK_HOSTILE_BLOCK";

/// What `clap_plugin::plugin_data` points to.
pub(crate) struct Hostile {
    clap: clap_plugin,
    pub(crate) host: *const clap_host,
    /// Whether it was deactivated.
    pub(crate) rested: AtomicBool,
    pub(crate) what: What,
    /// The parameter.
    pub(crate) block: AtomicU32,
    /// The environment variable.
    block_override: Option<u32>,
    /// Blocks processed since activation.
    pub(crate) processed: AtomicU64,
    /// Ports that were asked about.
    pub(crate) asked: AtomicU32,
    /// What `scribble` may write to, as of `init`: later it may be unable to look.
    pub(crate) mappings: sys::Mappings,
}

/// A new plugin, which [`destroy`] frees.
pub(crate) fn create(
    what: What,
    desc: &'static clap_plugin_descriptor,
    host: *const clap_host,
) -> *const clap_plugin {
    let hostile = Box::into_raw(Box::new(Hostile {
        clap: clap_plugin {
            desc,
            plugin_data: ptr::null_mut(),
            init: Some(init),
            destroy: Some(destroy),
            activate: Some(activate),
            deactivate: Some(deactivate),
            start_processing: Some(start_processing),
            stop_processing: Some(stop_processing),
            reset: Some(reset),
            process: Some(process),
            get_extension: Some(get_extension),
            on_main_thread: Some(on_main_thread),
        },
        host,
        rested: AtomicBool::new(false),
        what,
        block: AtomicU32::new(BLOCK_DEFAULT),
        block_override: std::env::var(BLOCK_VARIABLE).ok().and_then(|text| text.parse().ok()),
        processed: AtomicU64::new(0),
        asked: AtomicU32::new(0),
        mappings: sys::Mappings::default(),
    }));
    // SAFETY: `hostile` was just allocated and nobody else knows it.
    unsafe {
        (*hostile).clap.plugin_data = hostile.cast();
        &raw const (*hostile).clap
    }
}

/// The plugin behind a pointer that a host passes.
///
/// # Safety
///
/// `plugin` comes from [`create`] and wasn't destroyed.
pub(crate) unsafe fn hostile<'a>(plugin: *const clap_plugin) -> &'a Hostile {
    // SAFETY: `plugin_data` is what `create` set it to, alive until `destroy`.
    unsafe { &*(*plugin).plugin_data.cast() }
}

pub(crate) fn sleep_forever() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

unsafe extern "C" fn init(plugin: *const clap_plugin) -> bool {
    // SAFETY: the plugin is alive, and in `init` nobody else uses it.
    let hostile = unsafe { &mut *(*plugin).plugin_data.cast::<Hostile>() };
    match hostile.what {
        What::InitFails => return false,
        What::InitPanics => panic!("hostile plugin panics in init, on purpose"),
        What::InitAborts => process::abort(),
        What::InitExits => process::exit(0),
        What::InitHangs => sleep_forever(),
        What::Scribble => hostile.mappings = sys::Mappings::find(),
        what => escape::attempt(what),
    }
    true
}

unsafe extern "C" fn destroy(plugin: *const clap_plugin) {
    // SAFETY: `create` allocated it so; the host gives it up with this call.
    let hostile = unsafe { Box::from_raw((*plugin).plugin_data.cast::<Hostile>()) };
    if hostile.what == What::DestroyHangs {
        sleep_forever();
    }
}

unsafe extern "C" fn activate(
    plugin: *const clap_plugin,
    _sample_rate: f64,
    _min_frames_count: u32,
    _max_frames_count: u32,
) -> bool {
    // SAFETY: the plugin is alive.
    let hostile = unsafe { hostile(plugin) };
    match hostile.what {
        What::Editor => crate::gui::activated(),
        What::ActivateFails => return false,
        What::ActivateAborts => process::abort(),
        What::ActivateExits => process::exit(0),
        What::ActivateHangs => sleep_forever(),
        _ => {}
    }
    hostile.processed.store(0, Relaxed);
    true
}

unsafe extern "C" fn deactivate(plugin: *const clap_plugin) {
    // SAFETY: the plugin is alive.
    unsafe { hostile(plugin) }.rested.store(true, Relaxed);
}

unsafe extern "C" fn start_processing(plugin: *const clap_plugin) -> bool {
    // SAFETY: the plugin is alive.
    unsafe { hostile(plugin) }.what != What::StartFails
}

extern "C" fn stop_processing(_plugin: *const clap_plugin) {}

extern "C" fn reset(_plugin: *const clap_plugin) {}

extern "C" fn on_main_thread(_plugin: *const clap_plugin) {}

unsafe extern "C" fn get_extension(plugin: *const clap_plugin, id: *const c_char) -> *const c_void {
    // SAFETY: the plugin is alive and `id` a string.
    unsafe { extensions::get(hostile(plugin).what, id) }
}

unsafe extern "C" fn process(plugin: *const clap_plugin, process: *const clap_process) -> i32 {
    if process.is_null() {
        return CLAP_PROCESS_ERROR;
    }
    // SAFETY: the plugin is alive; the host describes the block correctly.
    let (hostile, process) = unsafe { (hostile(plugin), &*process) };
    // SAFETY: as above.
    unsafe {
        hostile.read_events(process.in_events);
        pass_through(process);
    }

    let block = hostile.block_override.unwrap_or_else(|| hostile.block.load(Relaxed)).into();
    let now = hostile.processed.fetch_add(1, Relaxed);
    match hostile.what {
        // SAFETY: the host outlives the plugin. The thread is the wrong one: that is the fault.
        What::ParamsChange => unsafe { calls::rescan_params(hostile.host) },
        // SAFETY: as above.
        What::WrongThreads => unsafe { calls::from_here_and_elsewhere(hostile.host, now) },
        _ => {}
    }
    if now < block {
        return CLAP_PROCESS_CONTINUE;
    }
    // SAFETY: as above.
    unsafe { strike::strike(hostile, now, now == block, process) }
}

impl Hostile {
    /// Takes parameter values from a host's events.
    ///
    /// # Safety
    ///
    /// `events` is null or a valid list.
    pub(crate) unsafe fn read_events(&self, events: *const clap_input_events) {
        // SAFETY: as the caller promises; a valid list holds valid events, and one of this
        // type starts a `clap_event_param_value`.
        unsafe {
            let Some(list) = events.as_ref() else { return };
            let (Some(size), Some(get)) = (list.size, list.get) else { return };
            for index in 0..size(events) {
                let event = get(events, index);
                if event.is_null()
                    || (*event).space_id != CLAP_CORE_EVENT_SPACE_ID
                    || (*event).type_ != CLAP_EVENT_PARAM_VALUE
                {
                    continue;
                }
                let event = &*event.cast::<clap_event_param_value>();
                if event.param_id == BLOCK {
                    // The cast turns NaN into 0.
                    self.block.store((event.value as u32).min(BLOCK_MAX), Relaxed);
                }
            }
        }
    }
}

/// Copies the first input to the first output; silence where there is no input.
///
/// # Safety
///
/// `process` describes valid buffers.
unsafe fn pass_through(process: &clap_process) {
    // SAFETY: as the caller promises. Source and destination may be the same.
    unsafe {
        let inputs = match process.audio_inputs_count {
            0 => &[],
            _ => channels(&*process.audio_inputs),
        };
        for (index, &output) in outputs(process).first().into_iter().flat_map(channels).enumerate()
        {
            match inputs.get(index) {
                Some(&input) => ptr::copy(input, output, process.frames_count as usize),
                None => ptr::write_bytes(output, 0, process.frames_count as usize),
            }
        }
    }
}

/// The output ports.
///
/// # Safety
///
/// `process` describes valid buffers.
pub(crate) unsafe fn outputs(process: &clap_process) -> &[clap_audio_buffer] {
    match process.audio_outputs_count {
        0 => &[],
        // SAFETY: as the caller promises.
        n => unsafe { slice::from_raw_parts(process.audio_outputs, n as usize) },
    }
}

/// A port's channels.
pub(crate) fn channels(buffer: &clap_audio_buffer) -> &[*mut f32] {
    if buffer.data32.is_null() {
        return &[];
    }
    // SAFETY: a port in a `clap_process` describes as many channels as it says.
    unsafe { slice::from_raw_parts(buffer.data32, buffer.channel_count as usize) }
}
