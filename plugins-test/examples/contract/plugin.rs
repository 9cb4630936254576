//! The plugin: what it keeps, and its blocks.

use crate::{extensions, registers};
use clap_sys::events::*;
use clap_sys::ext::note_ports::{
    CLAP_EXT_NOTE_PORTS, CLAP_NOTE_DIALECT_CLAP, CLAP_NOTE_DIALECT_MIDI, clap_host_note_ports,
};
use clap_sys::ext::thread_pool::{CLAP_EXT_THREAD_POOL, clap_host_thread_pool};
use clap_sys::fixedpoint::CLAP_BEATTIME_FACTOR;
use clap_sys::host::clap_host;
use clap_sys::plugin::{clap_plugin, clap_plugin_descriptor};
use clap_sys::process::{CLAP_PROCESS_CONTINUE, CLAP_PROCESS_ERROR, clap_process};
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Tasks that each block is split into.
const TASKS: u32 = 16;

pub(crate) struct Contract {
    clap: clap_plugin,
    pub(crate) host: *const clap_host,
    /// Parameter 0, bits of an f64.
    pub(crate) param: AtomicU64,
    pub(crate) render_mode: AtomicU32,
    pub(crate) sidechain_active: AtomicBool,
    pub(crate) context: AtomicU32,
    pub(crate) timer: AtomicU32,
    modulation: AtomicU64,
    expression: AtomicU64,
    both: AtomicU32,
    results: [AtomicU32; TASKS as usize],
    exec_in_task: AtomicU32,
    sysex: AtomicU32,
}

pub(crate) fn create(
    host: *const clap_host,
    desc: &'static clap_plugin_descriptor,
) -> *const clap_plugin {
    let contract = Box::into_raw(Box::new(Contract {
        clap: clap_plugin {
            desc,
            plugin_data: ptr::null_mut(),
            init: Some(init),
            destroy: Some(destroy),
            activate: Some(activate),
            deactivate: Some(nothing),
            start_processing: Some(start),
            stop_processing: Some(nothing),
            reset: Some(nothing),
            process: Some(process),
            get_extension: Some(get_extension),
            on_main_thread: Some(nothing),
        },
        host,
        param: AtomicU64::new(0.5_f64.to_bits()),
        render_mode: AtomicU32::new(0),
        sidechain_active: AtomicBool::new(true),
        context: AtomicU32::new(0),
        timer: AtomicU32::new(0),
        modulation: AtomicU64::new(0),
        expression: AtomicU64::new(0),
        both: AtomicU32::new(0),
        results: [const { AtomicU32::new(0) }; TASKS as usize],
        exec_in_task: AtomicU32::new(0),
        sysex: AtomicU32::new(0),
    }));
    // SAFETY: `contract` was just allocated and nobody else knows it.
    unsafe {
        (*contract).clap.plugin_data = contract.cast();
        &raw const (*contract).clap
    }
}

/// # Safety
/// `plugin` comes from [`create`] and wasn't destroyed.
pub(crate) unsafe fn contract<'a>(plugin: *const clap_plugin) -> &'a Contract {
    // SAFETY: `plugin_data` is what `create` set it to.
    unsafe { &*(*plugin).plugin_data.cast() }
}

/// The host's functions of an extension.
///
/// # Safety
/// `T` is what the name stands for.
pub(crate) unsafe fn host_functions<'a, T>(host: *const clap_host, name: &CStr) -> Option<&'a T> {
    // SAFETY: the host outlives the plugin; its extensions too.
    unsafe { (*host).get_extension?(host, name.as_ptr()).cast::<T>().as_ref() }
}

/// Asks for tasks. `None`: the host has no thread pool.
unsafe fn request_exec(host: *const clap_host, tasks: u32) -> Option<bool> {
    // SAFETY: as in `host_functions`.
    unsafe {
        let pool = host_functions::<clap_host_thread_pool>(host, CLAP_EXT_THREAD_POOL)?;
        Some(pool.request_exec?(host, tasks))
    }
}

pub(crate) unsafe extern "C" fn exec(plugin: *const clap_plugin, task: u32) {
    // SAFETY: the plugin is alive.
    let contract = unsafe { contract(plugin) };
    // Work enough for other threads to wake up meanwhile.
    let mut sum = task;
    for n in 0..20_000_u32 {
        sum = std::hint::black_box(sum.wrapping_mul(3).wrapping_add(n));
    }
    if task == 7 {
        // SAFETY: the host is there. It has to refuse.
        let granted = unsafe { request_exec(contract.host, 2) } == Some(true);
        contract.exec_in_task.store(granted.into(), Relaxed);
    }
    contract.results[task as usize].store(task * task, Relaxed);
}

unsafe extern "C" fn init(plugin: *const clap_plugin) -> bool {
    // SAFETY: the plugin is alive.
    unsafe {
        let contract = contract(plugin);
        extensions::register_timer(contract);
        let ports = host_functions::<clap_host_note_ports>(contract.host, CLAP_EXT_NOTE_PORTS);
        let dialects = ports.and_then(|ports| Some(ports.supported_dialects?(contract.host)));
        // Outside of process(), this has to be refused.
        request_exec(contract.host, 1) == Some(false)
            && dialects == Some(CLAP_NOTE_DIALECT_CLAP | CLAP_NOTE_DIALECT_MIDI)
    }
}

unsafe extern "C" fn destroy(plugin: *const clap_plugin) {
    // SAFETY: `create` allocated it so; the host gives it up with this call.
    drop(unsafe { Box::from_raw((*plugin).plugin_data.cast::<Contract>()) });
}

extern "C" fn activate(_: *const clap_plugin, _rate: f64, _min: u32, _max: u32) -> bool {
    true
}
extern "C" fn start(_: *const clap_plugin) -> bool {
    true
}
extern "C" fn nothing(_: *const clap_plugin) {}

unsafe extern "C" fn get_extension(_: *const clap_plugin, id: *const c_char) -> *const c_void {
    // SAFETY: the host passes a string.
    extensions::get(unsafe { CStr::from_ptr(id) })
}

fn header<T>(type_: u16, time: u32) -> clap_event_header {
    let size = size_of::<T>() as u32;
    clap_event_header { size, time, space_id: CLAP_CORE_EVENT_SPACE_ID, type_, flags: 0 }
}

/// Puts out that the user moved parameter 1.
///
/// # Safety
/// The list is valid.
pub(crate) unsafe fn gesture(out: *const clap_output_events, time: u32, value: f64) {
    let ends = |type_| clap_event_param_gesture {
        header: header::<clap_event_param_gesture>(type_, time),
        param_id: 1,
    };
    let begin = ends(CLAP_EVENT_PARAM_GESTURE_BEGIN);
    let end = ends(CLAP_EVENT_PARAM_GESTURE_END);
    let moved = clap_event_param_value {
        header: header::<clap_event_param_value>(CLAP_EVENT_PARAM_VALUE, time),
        param_id: 1,
        cookie: ptr::null_mut(),
        note_id: -1,
        port_index: -1,
        channel: -1,
        key: -1,
        value,
    };
    // SAFETY: as the caller promises.
    unsafe {
        let Some(push) = (*out).try_push else { return };
        push(out, &raw const begin.header);
        push(out, &raw const moved.header);
        push(out, &raw const end.header);
    }
}

/// Takes what the host sends. Returns the values that parameter 0 got.
///
/// # Safety
/// The lists are valid.
pub(crate) unsafe fn take_events(
    contract: &Contract,
    events: *const clap_input_events,
    mut each_value: impl FnMut(f64),
    out: *const clap_output_events,
) {
    // SAFETY: as the caller promises; an event of a kind begins the struct of that kind.
    unsafe {
        let (Some(size), Some(get)) = ((*events).size, (*events).get) else { return };
        for index in 0..size(events) {
            let event = get(events, index);
            match (*event).type_ {
                CLAP_EVENT_PARAM_VALUE => {
                    let value = (*event.cast::<clap_event_param_value>()).value;
                    contract.param.store(value.to_bits(), Relaxed);
                    each_value(value);
                }
                CLAP_EVENT_PARAM_MOD => {
                    let e = &*event.cast::<clap_event_param_mod>();
                    // Of one note only: its key is a part of the sum.
                    let sum = e.amount + f64::from(e.key);
                    contract.modulation.store(sum.to_bits(), Relaxed);
                }
                CLAP_EVENT_NOTE_EXPRESSION => {
                    let e = &*event.cast::<clap_event_note_expression>();
                    let sum = e.value + f64::from(e.expression_id) * 10.0;
                    contract.expression.store(sum.to_bits(), Relaxed);
                }
                CLAP_EVENT_NOTE_ON => {
                    contract.both.fetch_or(1, Relaxed);
                    let e = &*event.cast::<clap_event_note>();
                    gesture(out, e.header.time, e.velocity);
                }
                CLAP_EVENT_MIDI => _ = contract.both.fetch_or(2, Relaxed),
                CLAP_EVENT_MIDI_SYSEX => {
                    let e = &*event.cast::<clap_event_midi_sysex>();
                    let message = std::slice::from_raw_parts(e.buffer, e.size as usize);
                    let sum = |sum: u32, byte: &u8| (sum * 31 + u32::from(*byte)) & 0xffff;
                    contract.sysex.store(message.iter().fold(0, sum), Relaxed);
                    let back: Vec<u8> = message.iter().rev().copied().collect();
                    let echo = clap_event_midi_sysex { buffer: back.as_ptr(), ..*e };
                    if let Some(push) = (*out).try_push {
                        push(out, &raw const echo.header);
                    }
                }
                _ => {}
            }
        }
    }
}

unsafe extern "C" fn process(plugin: *const clap_plugin, process: *const clap_process) -> i32 {
    // SAFETY: the plugin is alive and the host describes the block correctly.
    unsafe {
        let (contract, process) = (contract(plugin), &*process);
        if process.audio_inputs_count != 2 || process.audio_outputs_count != 1 {
            return CLAP_PROCESS_ERROR;
        }
        take_events(contract, process.in_events, |_| (), process.out_events);
        contract.results.iter().for_each(|result| result.store(0, Relaxed));
        if request_exec(contract.host, TASKS) != Some(true) {
            return CLAP_PROCESS_ERROR;
        }
        let number = |word: &AtomicU64| f64::from_bits(word.load(Relaxed)) as f32;
        let mut values = [0.0_f32; registers::COUNT];
        values[registers::RENDER_MODE] = contract.render_mode.load(Relaxed) as f32;
        let sum: u32 = contract.results.iter().map(|result| result.load(Relaxed)).sum();
        values[registers::POOL_SUM] = sum as f32;
        values[registers::SIDECHAIN_ACTIVE] = contract.sidechain_active.load(Relaxed).into();
        values[registers::INPUT_CONSTANT] = (*process.audio_inputs).constant_mask as f32;
        if let Some(transport) = process.transport.as_ref() {
            values[registers::TRANSPORT_FLAGS] = transport.flags as f32;
            values[registers::SIGNATURE] =
                f32::from(transport.tsig_num) * 100.0 + f32::from(transport.tsig_denom);
            values[registers::TEMPO] = transport.tempo as f32;
            let start = transport.bar_start as f64 / CLAP_BEATTIME_FACTOR as f64;
            values[registers::BAR] = transport.bar_number as f32 * 1000.0 + start as f32;
        }
        values[registers::PARAM] = number(&contract.param);
        values[registers::MODULATION] = number(&contract.modulation);
        values[registers::EXPRESSION] = number(&contract.expression);
        values[registers::NOTE_OF_BOTH] = contract.both.load(Relaxed) as f32;
        values[registers::STATE_CONTEXT] = contract.context.load(Relaxed) as f32;
        values[registers::EXEC_IN_TASK] = contract.exec_in_task.load(Relaxed) as f32;
        values[registers::SYSEX] = contract.sysex.load(Relaxed) as f32;
        let output = &*process.audio_outputs;
        for channel in 0..output.channel_count as usize {
            let to = *output.data32.add(channel);
            for frame in 0..process.frames_count as usize {
                to.add(frame).write(values.get(frame).copied().unwrap_or(0.0));
            }
        }
    }
    CLAP_PROCESS_CONTINUE
}
