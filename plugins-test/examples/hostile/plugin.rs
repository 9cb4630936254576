//! The plugin itself: valid, but for the fault it is created with.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use clap_sys::audio_buffer::clap_audio_buffer;
use clap_sys::events::{
    CLAP_CORE_EVENT_SPACE_ID, CLAP_EVENT_PARAM_VALUE, clap_event_param_value, clap_input_events,
};
use clap_sys::host::clap_host;
use clap_sys::plugin::{clap_plugin, clap_plugin_descriptor};
use clap_sys::process::{CLAP_PROCESS_CONTINUE, CLAP_PROCESS_ERROR, clap_process};

use crate::strikes::{Entry, Memory, Strike};
use crate::what::What;
use crate::{calls, extensions, strike};

/// The id of the parameter `block`.
pub(crate) const BLOCK: u32 = 0;
pub(crate) const BLOCK_MAX: u32 = 1_000_000;
pub(crate) const BLOCK_DEFAULT: u32 = 100;
/// The id of the parameter `kind`.
pub(crate) const KIND: u32 = 7;
/// The ids of what is in the state of `any`.
pub(crate) const VALUE: u32 = 8;
pub(crate) const EDITS: u32 = 9;

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
    /// The number of its strike, plus one, if it is the plugin that can be any.
    pub(crate) kind: AtomicU32,
    /// Bits of two parameters of that plugin.
    pub(crate) value: AtomicU64,
    pub(crate) edits: AtomicU64,
    pub(crate) memory: Memory,
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
        block: AtomicU32::new(if what == What::Any { 0 } else { BLOCK_DEFAULT }),
        block_override: std::env::var(BLOCK_VARIABLE).ok().and_then(|text| text.parse().ok()),
        processed: AtomicU64::new(0),
        asked: AtomicU32::new(0),
        kind: AtomicU32::new(0),
        value: AtomicU64::new(0.5_f64.to_bits()),
        edits: AtomicU64::new(0),
        memory: Memory::default(),
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

unsafe extern "C" fn init(plugin: *const clap_plugin) -> bool {
    // SAFETY: the plugin is alive, and in `init` nobody else uses it.
    let hostile = unsafe { &mut *(*plugin).plugin_data.cast::<Hostile>() };
    if hostile.what == What::InitPanics {
        panic!("hostile plugin panics in init, on purpose");
    }
    if let Some(strike) = hostile.strike() {
        strike.prepare(&mut hostile.memory);
    }
    hostile.enter(Entry::Init)
}

unsafe extern "C" fn destroy(plugin: *const clap_plugin) {
    // SAFETY: `create` allocated it so; the host gives it up with this call.
    let hostile = unsafe { Box::from_raw((*plugin).plugin_data.cast::<Hostile>()) };
    hostile.enter(Entry::Destroy);
}

unsafe extern "C" fn activate(
    plugin: *const clap_plugin,
    _sample_rate: f64,
    _min_frames_count: u32,
    _max_frames_count: u32,
) -> bool {
    // SAFETY: the plugin is alive.
    let hostile = unsafe { hostile(plugin) };
    #[cfg(unix)]
    if hostile.what == What::Editor {
        crate::gui::activated();
    }
    hostile.processed.store(0, Relaxed);
    hostile.memory.forget();
    hostile.enter(Entry::Activate)
}

unsafe extern "C" fn deactivate(plugin: *const clap_plugin) {
    // SAFETY: the plugin is alive.
    let hostile = unsafe { hostile(plugin) };
    hostile.enter(Entry::Deactivate);
    hostile.rested.store(true, Relaxed);
}

unsafe extern "C" fn start_processing(plugin: *const clap_plugin) -> bool {
    // SAFETY: the plugin is alive.
    unsafe { hostile(plugin) }.enter(Entry::Start)
}

unsafe extern "C" fn stop_processing(plugin: *const clap_plugin) {
    // SAFETY: the plugin is alive.
    unsafe { hostile(plugin) }.enter(Entry::Stop);
}

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
    if hostile.what == What::ParamsChange {
        // SAFETY: the host outlives the plugin. The thread is the wrong one: that is the fault.
        unsafe { calls::rescan_params(hostile.host) };
    }
    if now < block {
        return CLAP_PROCESS_CONTINUE;
    }
    // SAFETY: as above.
    unsafe { strike::strike(hostile, now, process) }
}

impl Hostile {
    /// Its strike, if it is for one.
    pub(crate) fn strike(&self) -> Option<Strike> {
        match self.what {
            What::Strike(strike) => Some(strike),
            What::Any => {
                let index = (self.kind.load(Relaxed) as usize).checked_sub(1)?;
                Strike::ALL.get(index).copied()
            }
            _ => None,
        }
    }

    /// On entering a function; false: it has to fail.
    pub(crate) fn enter(&self, entry: Entry) -> bool {
        self.strike().is_none_or(|strike| strike.enter(entry))
    }

    /// A value of the plugin that can be any.
    pub(crate) fn more(&self, param: u32) -> Option<f64> {
        let bits = |value: &AtomicU64| f64::from_bits(value.load(Relaxed));
        match param {
            _ if self.what != What::Any => None,
            KIND => Some(self.kind.load(Relaxed).into()),
            VALUE => Some(bits(&self.value)),
            EDITS => Some(bits(&self.edits)),
            _ => None,
        }
    }

    fn set(&self, param: u32, value: f64) {
        match param {
            // The cast turns NaN into 0.
            BLOCK => self.block.store((value as u32).min(BLOCK_MAX), Relaxed),
            _ if self.what != What::Any => {}
            KIND => self.kind.store(value.round() as u32, Relaxed),
            VALUE => self.value.store(value.to_bits(), Relaxed),
            EDITS => self.edits.store(value.to_bits(), Relaxed),
            _ => {}
        }
    }

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
                self.set(event.param_id, event.value);
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
