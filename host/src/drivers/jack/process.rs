//! What JACK's threads call.
//!
//! # Threads
//! | thread | runs | touches |
//! |---|---|---|
//! | JACK's process thread | [`process`] | [`Rt`], all of it; atomics |
//! | JACK's notification thread | the other callbacks | atomics, ports' latencies, names of new ports |
//!
//! # Safety
//! Every callback gets the address of a [`Context`], which is pinned from before the client knows of it
//! until the client is closed, at the latest when it is dropped. [`Rt`] in it belongs to the process thread while the
//! client is open: JACK runs one process callback at a time. Port buffers are valid during the callback
//! that asked for them, and hold as many frames as it was given. Those of inputs may be other
//! programs' outputs: they are copied, never referred to. Those of our outputs are distinct.
//!
//! JACK2 ends a client's threads with `pthread_cancel`, at any instruction. So cancellation
//! is held off while our code runs that could not bear it; where it is let in again no frame has anything to drop, so
//! that it may unwind them.
#![allow(unsafe_code)]

use super::client::{Client, Port};
use super::library::{CAPTURE_LATENCY, PLAYBACK_LATENCY, jack_midi_event_t, jack_position_t};
use super::ports::Ports;
use super::transport::Follower;
use crate::drivers::{Callback, CallbackIo, CallbackTime, ThreadSetup, clock};
use crate::midi::MidiBuffer;
use rtrb::{Consumer, Producer};
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomPinned;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Most frames of a block: as many as any JACK server takes.
pub(super) const MOST_FRAMES: usize = 8192;

/// Channels each way at most.
pub(super) const MOST_CHANNELS: usize = 512;

/// What the process thread owns.
pub(super) struct Rt {
    pub(super) callback: Option<Box<dyn Callback>>,
    pub(super) incoming: Consumer<Box<dyn Callback>>,
    pub(super) outgoing: Producer<Box<dyn Callback>>,
    pub(super) setup: Option<ThreadSetup>,
    pub(super) is_set_up: bool,
    /// Copies of the inputs, each [`MOST_FRAMES`] long.
    pub(super) inputs: Vec<f32>,
    pub(super) midi_in: MidiBuffer,
    pub(super) midi_out: MidiBuffer,
    pub(super) transport: Follower,
    pub(super) position: u64,
    /// JACK's frame time at the start of the block before.
    pub(super) last_frame: Option<u32>,
}

/// What all threads see. Relaxed everywhere: each is a figure of its own, and what is handed over
/// goes through queues.
pub(super) struct Shared {
    /// The callback is wanted back.
    pub(super) wants_back: AtomicBool,
    /// A panic in the callback; it is not called again.
    pub(super) has_panicked: AtomicBool,
    pub(super) blocks: AtomicU64,
    pub(super) xruns: AtomicU64,
    pub(super) frames: AtomicU32,
    pub(super) rate: AtomicU32,
    pub(super) freewheels: AtomicBool,
    /// Delay between our inputs and our outputs, frames.
    pub(super) graph_latency: AtomicU32,
    /// Counts how often latencies were computed.
    pub(super) latencies: AtomicU64,
    /// Messages that did not fit into MIDI output ports.
    pub(super) lost_midi: AtomicU64,
    /// Why the server is gone.
    pub(super) gone: OnceLock<String>,
    /// Ports of any client that have come. Not for the process thread.
    pub(super) registered: Mutex<Vec<String>>,
}

impl Shared {
    /// Ports that have come since the last call.
    pub(super) fn take_registered(&self) -> Vec<String> {
        std::mem::take(&mut *self.registered.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the callbacks are about.
pub(super) struct Context {
    /// The first to be dropped, which closes it.
    pub(super) client: Client,
    pub(super) ports: Ports,
    pub(super) shared: Shared,
    /// What is to be added to JACK's clock to get ours, ns.
    pub(super) clock_offset_ns: i64,
    pub(super) rt: UnsafeCell<Rt>,
    pub(super) _pinned: PhantomPinned,
}

// SAFETY: `rt` is used by the process thread only while there is one, and by the owner afterwards.
unsafe impl Sync for Context {}

impl Context {
    /// Gives it a place where JACK's threads find it, and tells JACK.
    pub(super) fn pin(self) -> Result<Pin<Box<Self>>, String> {
        let context = Box::pin(self);
        let library = context.client.library;
        let Some(client) = context.client.raw() else { return Err("it is closed".to_owned()) };
        let argument = std::ptr::from_ref(&*context).cast_mut().cast::<c_void>();
        // SAFETY: the argument is what these functions expect, as long as they are called.
        let codes = unsafe {
            (library.jack_on_info_shutdown)(client, shutdown, argument);
            [
                (library.jack_set_process_callback)(client, process, argument),
                (library.jack_set_buffer_size_callback)(client, buffer_size, argument),
                (library.jack_set_sample_rate_callback)(client, sample_rate, argument),
                (library.jack_set_xrun_callback)(client, xrun, argument),
                (library.jack_set_freewheel_callback)(client, freewheel, argument),
                (library.jack_set_latency_callback)(client, latency, argument),
                (library.jack_set_port_registration_callback)(client, registration, argument),
            ]
        };
        match codes {
            [0, 0, 0, 0, 0, 0, 0] => Ok(context),
            _ => Err(format!("it can't be called back ({codes:?}): restart the JACK server")),
        }
    }

    /// Ends the client, and takes the callback from the thread that is no more.
    pub(super) fn close(self: Pin<&mut Self>) -> Option<Box<dyn Callback>> {
        self.client.close();
        // SAFETY: the process thread has ended, and `self` is not shared with another.
        let rt = unsafe { &mut *self.rt.get() };
        rt.callback.take().or_else(|| rt.incoming.pop().ok())
    }

    /// Enters the server's graph. A server that is busy lets nobody in within ten of its periods:
    /// it is asked again.
    pub(super) fn activate(self: Pin<&mut Self>) -> bool {
        const TIMES: u32 = 10;
        const PAUSE: Duration = Duration::from_millis(100);
        let library = self.client.library;
        for _ in 0..TIMES {
            let Some(raw) = self.client.raw() else { return false };
            // SAFETY: the client is open.
            if unsafe { (library.jack_activate)(raw) } == 0 {
                return true;
            }
            // SAFETY: as above.
            unsafe { (library.jack_deactivate)(raw) };
            // SAFETY: the process thread has ended, and `self` is not shared with another.
            unsafe { (*self.rt.get()).is_set_up = false };
            if self.shared.gone.get().is_some() {
                return false;
            }
            std::thread::sleep(PAUSE);
        }
        false
    }
}

unsafe extern "C-unwind" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

const CANCEL_DISABLE: c_int = 1;

unsafe extern "C-unwind" fn process(frames: u32, argument: *mut c_void) -> c_int {
    let mut before: c_int = 0;
    // SAFETY: `before` outlives the call. Nothing here has to be dropped.
    unsafe { pthread_setcancelstate(CANCEL_DISABLE, &raw mut before) };
    {
        // SAFETY: see the module.
        let context = unsafe { &*argument.cast::<Context>() };
        // SAFETY: see the module: this is the process thread.
        let rt = unsafe { &mut *context.rt.get() };
        rt.block(context, frames);
    }
    // SAFETY: as above; a null pointer is allowed.
    unsafe { pthread_setcancelstate(before, std::ptr::null_mut()) };
    0
}

impl Rt {
    /// One process callback.
    fn block(&mut self, context: &Context, frames: u32) {
        let shared = &context.shared;
        if !std::mem::replace(&mut self.is_set_up, true)
            && let Some(setup) = &self.setup
        {
            // Once: JACK has set up its thread by now, and would undo what was done earlier.
            setup();
        }
        if self.callback.is_none() && !shared.wants_back.load(Relaxed) {
            self.callback = self.incoming.pop().ok();
        }
        if shared.wants_back.load(Relaxed)
            && let Some(callback) = self.callback.take()
            && let Err(rtrb::PushError::Full(callback)) = self.outgoing.push(callback)
        {
            self.callback = Some(callback);
        }
        let channels = context.ports.inputs.len().max(context.ports.outputs.len());
        match channels {
            0..=2 => self.call::<2>(context, frames as usize),
            3..=16 => self.call::<16>(context, frames as usize),
            17..=64 => self.call::<64>(context, frames as usize),
            _ => self.call::<MOST_CHANNELS>(context, frames as usize),
        }
    }

    /// Calls back with at most `MAX` channels each way. The lists of channels live on the stack, in
    /// one of a few sizes, because they borrow and so can't be kept.
    fn call<const MAX: usize>(&mut self, context: &Context, frames: usize) {
        let Context { client, ports, shared, .. } = context;
        // First the inputs are copied, so that nothing refers to memory that outputs may share.
        let fits = frames <= MOST_FRAMES;
        let mut is_there = fits;
        if fits {
            for (port, copy) in ports.inputs.iter().zip(self.inputs.chunks_exact_mut(MOST_FRAMES)) {
                is_there &= copy_input(client, *port, &mut copy[..frames]);
            }
        }
        let mut outputs: [&mut [f32]; MAX] = std::array::from_fn(|_| Default::default());
        for (slot, port) in outputs.iter_mut().zip(&ports.outputs) {
            match port_buffer(client, *port, frames as u32) {
                Some(buffer) => {
                    // SAFETY: the buffer of an output of ours: ours alone during this callback,
                    // and so long.
                    *slot = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<f32>(), frames) }
                }
                None => is_there = false,
            }
            slot.fill(0.0);
        }
        self.midi_in.clear();
        self.midi_out.clear();
        for (number, port) in ports.midi_inputs.iter().enumerate() {
            read_midi(client, port, number as u16, frames as u32, &mut self.midi_in);
        }
        if is_there && !shared.has_panicked.load(Relaxed) {
            let time = self.time(context, frames as u32);
            let transport = self.song(context);
            if let Some(callback) = &mut self.callback {
                let mut inputs: [&[f32]; MAX] = [&[]; MAX];
                for (slot, copy) in inputs.iter_mut().zip(self.inputs.chunks_exact(MOST_FRAMES)) {
                    *slot = &copy[..frames];
                }
                let mut io = CallbackIo {
                    inputs: &inputs[..ports.inputs.len()],
                    outputs: &mut outputs[..ports.outputs.len()],
                    midi_in: &self.midi_in,
                    midi_out: Some(&mut self.midi_out),
                    transport,
                };
                // Unwind safe: after a panic the callback is only given back.
                let outcome = catch_unwind(AssertUnwindSafe(|| callback.process(&time, &mut io)));
                if outcome.is_err() {
                    shared.has_panicked.store(true, Relaxed);
                    io.outputs.iter_mut().for_each(|output| output.fill(0.0));
                    if let Some(midi) = io.midi_out {
                        midi.clear();
                    }
                    // What it carries would have to be freed here.
                    std::mem::forget(outcome);
                }
                shared.blocks.fetch_add(1, Relaxed);
            }
        }
        for (number, port) in ports.midi_outputs.iter().enumerate() {
            let lost = write_midi(client, port, number as u16, frames as u32, &self.midi_out);
            shared.lost_midi.fetch_add(lost, Relaxed);
        }
    }

    /// Where the block lies in time, by the cycle's own clock.
    fn time(&mut self, context: &Context, frames: u32) -> CallbackTime {
        let (mut at_frame, mut now_us, mut next_us, mut period_us) = (0u32, 0u64, 0u64, 0f32);
        // SAFETY: the client is open, the places outlive the call, and this is the process thread.
        let code = context.client.raw().map_or(-1, |raw| unsafe {
            (context.client.library.jack_get_cycle_times)(
                raw,
                &raw mut at_frame,
                &raw mut now_us,
                &raw mut next_us,
                &raw mut period_us,
            )
        });
        // The frame time wraps, and is counted anew when the server changes its driver.
        let passed = self.last_frame.map_or(0, |last| at_frame.wrapping_sub(last));
        self.position += match passed {
            0..0x8000_0000 if code == 0 => u64::from(passed),
            _ => u64::from(frames),
        };
        self.last_frame = Some(at_frame);
        let ours =
            |us: u64| (us.saturating_mul(1000)).saturating_add_signed(context.clock_offset_ns);
        let rate = context.shared.rate.load(Relaxed).max(1);
        let period_ns = u64::from(frames) * 1_000_000_000 / u64::from(rate);
        let (due_ns, next_due_ns) = match code == 0 && next_us > now_us {
            true => (ours(now_us), ours(next_us)),
            // A server that can't say: the block began a moment ago.
            false => (clock::now_ns(), clock::now_ns() + period_ns),
        };
        let freewheels = context.shared.freewheels.load(Relaxed);
        CallbackTime {
            sample_position: self.position,
            due_ns,
            next_due_ns: if freewheels { u64::MAX } else { next_due_ns },
            xruns: context.shared.xruns.load(Relaxed),
        }
    }

    fn song(&mut self, context: &Context) -> Option<crate::drivers::DriverTransport> {
        let mut position = jack_position_t::default();
        // SAFETY: the client is open and the place outlives the call.
        let state = context.client.raw().map_or(0, |raw| unsafe {
            (context.client.library.jack_transport_query)(raw, &raw mut position)
        });
        self.transport.block(state, &position, context.shared.rate.load(Relaxed))
    }
}

/// A port's buffer, for this callback.
fn port_buffer(client: &Client, port: Port, frames: u32) -> Option<*mut c_void> {
    // SAFETY: the port belongs to the client, and this is the process thread.
    let buffer = unsafe { (client.library.jack_port_get_buffer)(port.0.as_ptr(), frames) };
    (!buffer.is_null()).then_some(buffer)
}

fn copy_input(client: &Client, port: Port, to: &mut [f32]) -> bool {
    let Some(buffer) = port_buffer(client, port, to.len() as u32) else { return false };
    // SAFETY: the buffer holds as many frames as were asked for, and `to` is memory of our own.
    unsafe { std::ptr::copy_nonoverlapping(buffer.cast::<f32>(), to.as_mut_ptr(), to.len()) };
    true
}

fn read_midi(client: &Client, port: Port, number: u16, frames: u32, into: &mut MidiBuffer) {
    let Some(buffer) = port_buffer(client, port, frames) else { return };
    // SAFETY: the buffer of a MIDI port.
    let count = unsafe { (client.library.jack_midi_get_event_count)(buffer) };
    for index in 0..count {
        let mut event = jack_midi_event_t { time: 0, size: 0, buffer: std::ptr::null_mut() };
        // SAFETY: as above; `event` outlives the call.
        let code = unsafe { (client.library.jack_midi_event_get)(&raw mut event, buffer, index) };
        if code == 0 && !event.buffer.is_null() {
            // SAFETY: libjack says that so many bytes lie there, for this callback.
            let bytes = unsafe { std::slice::from_raw_parts(event.buffer, event.size) };
            into.push(event.time.min(frames.saturating_sub(1)), number, bytes);
        }
    }
}

/// Writes the messages for a port; returns how many did not fit.
fn write_midi(client: &Client, port: Port, number: u16, frames: u32, from: &MidiBuffer) -> u64 {
    let Some(buffer) = port_buffer(client, port, frames) else { return 0 };
    // SAFETY: the buffer of a MIDI output of ours.
    unsafe { (client.library.jack_midi_clear_buffer)(buffer) };
    let mut lost = 0;
    for message in from.iter().filter(|message| message.port == number) {
        let frame = message.frame.min(frames.saturating_sub(1));
        let (bytes, size) = (message.bytes.as_ptr(), message.bytes.len());
        // SAFETY: as above; the bytes outlive the call.
        let code = unsafe { (client.library.jack_midi_event_write)(buffer, frame, bytes, size) };
        lost += u64::from(code != 0);
    }
    lost
}

/// The context of a callback.
///
/// # Safety
/// It was set by [`Context::set_callbacks`].
unsafe fn context<'a>(argument: *mut c_void) -> &'a Context {
    // SAFETY: see the module.
    unsafe { &*argument.cast::<Context>() }
}

unsafe extern "C-unwind" fn buffer_size(frames: u32, argument: *mut c_void) -> c_int {
    // SAFETY: JACK gives what it was given.
    unsafe { context(argument) }.shared.frames.store(frames, Relaxed);
    0
}

unsafe extern "C-unwind" fn sample_rate(rate: u32, argument: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe { context(argument) }.shared.rate.store(rate, Relaxed);
    0
}

unsafe extern "C" fn xrun(argument: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe { context(argument) }.shared.xruns.fetch_add(1, Relaxed);
    0
}

unsafe extern "C" fn freewheel(starting: c_int, argument: *mut c_void) {
    // SAFETY: as above.
    unsafe { context(argument) }.shared.freewheels.store(starting != 0, Relaxed);
}

/// What lies before our inputs lies, with our own delay, before our outputs; and behind them
/// likewise.
unsafe extern "C" fn latency(mode: c_int, argument: *mut c_void) {
    // SAFETY: as above.
    let Context { client, ports, shared, .. } = unsafe { context(argument) };
    let ours = shared.graph_latency.load(Relaxed);
    let (from, to) = match mode {
        CAPTURE_LATENCY => (&ports.inputs, &ports.outputs),
        PLAYBACK_LATENCY => (&ports.outputs, &ports.inputs),
        _ => return,
    };
    let ranges = from.iter().map(|port| client.latency(*port, mode));
    let all = ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or_default();
    for port in to {
        client.set_latency(*port, mode, (all.0.saturating_add(ours), all.1.saturating_add(ours)));
    }
    shared.latencies.fetch_add(1, Relaxed);
}

/// Remembers the name of a port that has come: whoever was connected to one of the same name before has
/// to be connected anew.
unsafe extern "C" fn registration(port: u32, comes: c_int, argument: *mut c_void) {
    /// Names that are kept until somebody asks for them.
    const MOST: usize = 4096;
    let mut before: c_int = 0;
    // SAFETY: `before` outlives the call. Nothing here has to be dropped.
    unsafe { pthread_setcancelstate(CANCEL_DISABLE, &raw mut before) };
    {
        // SAFETY: as above.
        let context = unsafe { context(argument) };
        let name = context.client.name_by_id(port).filter(|_| comes != 0);
        let registered = context.shared.registered.lock();
        let mut registered = registered.unwrap_or_else(PoisonError::into_inner);
        if registered.len() < MOST {
            registered.extend(name);
        }
    }
    // SAFETY: as above; a null pointer is allowed.
    unsafe { pthread_setcancelstate(before, std::ptr::null_mut()) };
}

unsafe extern "C" fn shutdown(_code: c_int, reason: *const c_char, argument: *mut c_void) {
    // SAFETY: as above.
    let context = unsafe { context(argument) };
    let reason = match reason.is_null() {
        true => String::new(),
        // SAFETY: libjack gives a C string that outlives the call.
        false => unsafe { CStr::from_ptr(reason) }.to_string_lossy().trim().to_owned(),
    };
    let reason = match reason.is_empty() {
        true => "the JACK server has ended".to_owned(),
        false => format!("the JACK server has ended, or shut us out ({reason})"),
    };
    let _ = context.shared.gone.set(reason);
}
