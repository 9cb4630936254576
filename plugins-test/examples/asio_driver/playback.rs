//! The audio thread, and what it shares with the methods.
//!
//! # Safety
//! Buffers are written by the host, in its callback, and by this driver, before and after it: never
//! at once, for callbacks follow one another (but where it is told to misbehave: then the host must
//! leave one of two alone). Hosts promise that their callbacks stay valid from `createBuffers` to
//! `disposeBuffers`; late calls are misbehaviour and asked for.
#![allow(unsafe_code)]

use crate::abi::{
    BufferInfo, Callbacks, Number, SAMPLE_POSITION_VALID, SAMPLE_RATE_VALID, SYSTEM_TIME_VALID,
    Time, TimeCode, TimeInfo, message,
};
use crate::memory::{self, Count, count};
use crate::samples;
use crate::settings::{Happening, Settings};
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Memory of both halves of all channels.
pub(crate) struct Buffers {
    pub(crate) frames: usize,
    inputs: Vec<Channel>,
    outputs: Vec<Channel>,
}

struct Channel {
    number: i32,
    format: i32,
    halves: [UnsafeCell<Box<[u8]>>; 2],
}

// SAFETY: see the top of the file.
unsafe impl Sync for Buffers {}

impl Buffers {
    pub(crate) fn new(infos: &mut [BufferInfo], frames: usize, settings: &Settings) -> Self {
        let mut all = Self { frames, inputs: Vec::new(), outputs: Vec::new() };
        for info in infos {
            let is_input = info.is_input != 0;
            let number = info.channel;
            let format = settings.format(is_input, number);
            // Not silence: hosts have to make it so. And not aligned to anything.
            let half = || UnsafeCell::new(vec![0x5a; frames * format.bytes].into_boxed_slice());
            let channel = Channel { number, format: format.number, halves: [half(), half()] };
            let pointer = |half: usize| -> *mut c_void {
                // SAFETY: nobody else has it yet.
                unsafe { (*channel.halves[half].get()).as_mut_ptr().cast() }
            };
            info.buffers = match settings.is_bad("null-buffers") {
                true => [null_mut(); 2],
                false => [pointer(0), pointer(1)],
            };
            if is_input { all.inputs.push(channel) } else { all.outputs.push(channel) }
        }
        // What is recorded before anything was played is silence.
        for input in &all.inputs {
            for half in &input.halves {
                // SAFETY: as above.
                unsafe { (*half.get()).fill(0) };
            }
        }
        all
    }

    /// What was played from this half two blocks ago comes in now.
    fn loop_back(&self, half: usize) {
        for input in &self.inputs {
            let Some(output) = self.outputs.iter().find(|output| output.number == input.number)
            else {
                continue;
            };
            // SAFETY: see the top of the file; two different boxes.
            let (to, from) =
                unsafe { (&mut **input.halves[half].get(), &**output.halves[half].get()) };
            match input.format == output.format {
                true => to.copy_from_slice(from),
                false => samples::convert(from, output.format, to, input.format),
            }
        }
    }
}

/// What the audio thread and the methods share.
#[derive(Default)]
pub(crate) struct Shared {
    session: Mutex<Option<Session>>,
    blocks: AtomicU64,
    position: AtomicU64,
    stop: AtomicBool,
}

#[derive(Clone)]
struct Session {
    settings: Arc<Settings>,
    rate: u32,
    callbacks: Callbacks,
    host_takes_time: bool,
}

fn number(value: u64, swapped: bool) -> Number {
    let (hi, lo) = ((value >> 32) as u32, value as u32);
    if swapped { Number { hi: lo, lo: hi } } else { Number { hi, lo } }
}

/// Ns of a clock that all of this process share.
fn system_ns() -> u64 {
    static BEGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    // An hour and a bit after the machine was switched on: both halves count.
    3_600_000_001_234 + BEGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Calls in the midst of `createBuffers`, before there are buffers.
pub(crate) fn call_early(callbacks: &Callbacks) {
    // SAFETY: the host gave them in this very call.
    unsafe { (callbacks.buffer_switch)(0, 1) };
}

impl Shared {
    pub(crate) fn prepare(&self, settings: &Settings, rate: u32, callbacks: Callbacks) {
        let session = Session {
            settings: Arc::new(settings.clone()),
            rate,
            callbacks,
            host_takes_time: false,
        };
        *self.lock() = Some(session);
        self.blocks.store(0, Ordering::Relaxed);
        self.position.store(0, Ordering::Relaxed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never held while the host is called: it may call back.
    fn session(&self) -> Option<Session> {
        self.lock().clone()
    }

    /// What drivers ask in `createBuffers`.
    pub(crate) fn ask_host(&self) {
        let Some(session) = self.session() else { return };
        let ask = |what, value| session.message(what, value);
        let right = ask(message::ENGINE_VERSION, 0) == 2
            && ask(message::SELECTOR_SUPPORTED, message::RESET_REQUEST) == 1
            && ask(message::SELECTOR_SUPPORTED, message::LATENCIES_CHANGED) == 1
            && ask(message::SELECTOR_SUPPORTED, 4711) == 0
            && ask(4711, 1) == 0
            // Nothing of time code, commands for machines, meters and gains.
            && (8..15).all(|what| ask(message::SELECTOR_SUPPORTED, what) == 0 && ask(what, 0) == 0)
            && ask(message::SELECTOR_SUPPORTED, message::OVERLOAD) == 1
            && [i32::MIN, -1, 0].iter().all(|what| ask(message::SELECTOR_SUPPORTED, *what) == 0);
        if !right {
            count(Count::WrongAnswer);
        }
        let takes = ask(message::SUPPORTS_TIME_INFO, 0) == 1;
        if let Some(session) = &mut *self.lock() {
            session.host_takes_time = takes;
        }
    }

    pub(crate) fn wants_output_ready(&self) -> bool {
        self.session().is_some_and(|session| !session.settings.is_bad("no-output-ready"))
    }

    /// Position and stamp, as `getSamplePosition` gives them.
    pub(crate) fn time(&self) -> Option<(Number, Number)> {
        let session = self.session()?;
        if session.settings.is_bad("no-position") {
            return None;
        }
        let swapped = session.settings.is_bad("swapped");
        let position = self.position.load(Ordering::Relaxed);
        Some((number(position, swapped), number(system_ns(), swapped)))
    }

    pub(crate) fn wait_for_blocks(&self, blocks: u64) {
        let end = Instant::now() + Duration::from_secs(5);
        while self.blocks.load(Ordering::Acquire) < blocks && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// One callback, and what belongs to it.
    pub(crate) fn call(&self, buffers: &Buffers, half: usize) {
        let Some(session) = self.session() else { return };
        buffers.loop_back(half);
        let position = self.position.load(Ordering::Relaxed);
        session.switch(half as i32, position);
        if session.settings.is_bad("overlap") {
            let other = session.clone();
            let half = half as i32;
            let one = std::thread::spawn(move || other.switch(half, position));
            session.switch(half, position);
            let _ = one.join();
        }
        if session.settings.is_bad("nags") {
            for what in [message::RESYNC_REQUEST, message::OVERLOAD, message::LATENCIES_CHANGED] {
                session.message(what, 0);
            }
        }
        count(Count::Blocks);
        self.position.fetch_add(buffers.frames as u64, Ordering::Relaxed);
        self.blocks.fetch_add(1, Ordering::Release);
    }

    /// Calls after it was stopped, and once more when the buffers are gone.
    pub(crate) fn call_late(&self) {
        let Some(session) = self.session() else { return };
        session.switch(0, 0);
        let late = move || {
            std::thread::sleep(Duration::from_millis(30));
            session.switch(1, 0);
            session.message(message::RESET_REQUEST, 0);
        };
        drop(std::thread::spawn(late));
    }

    /// True: it calls back no more.
    pub(crate) fn happens(&self, what: &Happening) -> bool {
        let Some(session) = self.session() else { return false };
        match what {
            Happening::Reset => {
                session.message(message::RESET_REQUEST, 0);
            }
            Happening::ResetSize(frames) => {
                memory::with(|memory| memory.preferred = Some(*frames));
                session.message(message::RESET_REQUEST, 0);
            }
            Happening::ResetRate(rate) => {
                memory::with(|memory| memory.rate = Some(*rate));
                session.message(message::RESET_REQUEST, 0);
            }
            Happening::Size(frames) => {
                memory::with(|memory| memory.preferred = Some(*frames));
                session.message(message::BUFFER_SIZE_CHANGE, *frames);
            }
            Happening::Rate(rate) => {
                memory::with(|memory| memory.rate = Some(*rate));
                // SAFETY: see the top of the file.
                unsafe { (session.callbacks.sample_rate_did_change)(f64::from(*rate)) };
            }
            Happening::Latency(input, output) => {
                memory::with(|memory| memory.latency = Some((*input, *output)));
                session.message(message::LATENCIES_CHANGED, 0);
            }
            Happening::Resync => {
                self.position.fetch_add(session.rate.into(), Ordering::Relaxed);
                session.message(message::RESYNC_REQUEST, 0);
            }
            Happening::Overload => {
                session.message(message::OVERLOAD, 0);
            }
            Happening::Vanish(time) => {
                memory::with(|memory| memory.vanish(*time));
                return true;
            }
            Happening::Stall => return true,
            Happening::Skip(_) => {}
        }
        false
    }
}

impl Session {
    fn message(&self, what: i32, value: i32) -> i32 {
        // SAFETY: see the top of the file.
        unsafe { (self.callbacks.message)(what, value, null_mut(), null_mut()) }
    }

    fn switch(&self, half: i32, position: u64) {
        let settings = &self.settings;
        let half = if settings.is_bad("index") { half + 2 } else { half };
        if settings.is_bad("no-time-info") || !self.host_takes_time {
            // SAFETY: see the top of the file.
            unsafe { (self.callbacks.buffer_switch)(half, 1) };
            return;
        }
        if settings.is_bad("null-time") {
            // SAFETY: see the top of the file; that the time is null is the misbehaviour asked for.
            unsafe { (self.callbacks.buffer_switch_time_info)(null_mut(), half, 1) };
            return;
        }
        let swapped = settings.is_bad("swapped");
        let position_flag = if settings.is_bad("no-position") { 0 } else { SAMPLE_POSITION_VALID };
        let info = TimeInfo {
            speed: 1.0,
            system_time: number(system_ns(), swapped),
            sample_position: number(position, swapped),
            sample_rate: f64::from(self.rate),
            flags: SYSTEM_TIME_VALID | SAMPLE_RATE_VALID | position_flag,
            reserved: [0; 12],
        };
        let code = TimeCode { speed: 0.0, samples: number(0, false), flags: 0, reserved: [0; 64] };
        // By the book aligned to 4 bytes only: here always to 4 and never to 8.
        #[repr(C, align(8))]
        struct Misaligned {
            before: u32,
            time: Time,
        }
        let mut time = Misaligned { before: 0, time: Time { reserved: [0; 4], info, code } };
        // SAFETY: see the top of the file.
        unsafe { (self.callbacks.buffer_switch_time_info)(&raw mut time.time, half, 1) };
    }
}

/// The audio thread, running.
pub(crate) struct Playback {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Playback {
    pub(crate) fn start(shared: Arc<Shared>, buffers: Arc<Buffers>) -> Option<Self> {
        shared.stop.store(false, Ordering::Release);
        shared.blocks.store(0, Ordering::Relaxed);
        let session = shared.session()?;
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("virtual asio".into())
            .spawn(move || run(&of_thread, &session, &buffers))
            .ok()?;
        Some(Self { shared, thread })
    }

    /// Returns when it calls back no more.
    pub(crate) fn stop(self) {
        self.shared.stop.store(true, Ordering::Release);
        let _ = self.thread.join();
    }
}

fn run(shared: &Arc<Shared>, session: &Session, buffers: &Arc<Buffers>) {
    let settings = &session.settings;
    let speed = f64::from(session.rate) * (1.0 + settings.drift_ppm / 1e6);
    let period = Duration::from_secs_f64(buffers.frames as f64 / speed);
    if settings.is_bad("slow-start") {
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end && !shared.stop.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let other = settings.is_bad("two-threads").then(|| second_thread(shared, buffers));
    let mut due = Instant::now();
    let mut random = 1u32;
    let mut half = 0;
    let mut block = 0u64;
    while !shared.stop.load(Ordering::Acquire) {
        for (number, (at, what)) in settings.at.iter().enumerate() {
            // Each once in the life of these settings, not of each instance.
            if *at == block && memory::with(|memory| memory.done.insert(number)) {
                if let Happening::Skip(blocks) = what {
                    let frames = blocks * buffers.frames as u64;
                    shared.position.fetch_add(frames, Ordering::Relaxed);
                    due += period * *blocks as u32;
                }
                if shared.happens(what) {
                    return;
                }
            }
        }
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let late = settings.jitter.mul_f64(f64::from(random >> 8) / f64::from(1u32 << 24));
        let wait = (due + late).saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        if settings.is_bad("new-threads") {
            std::thread::scope(|scope| {
                scope.spawn(|| shared.call(buffers, half));
            });
        } else if let Some((tell, done)) = other.as_ref().filter(|_| block % 2 == 1) {
            let _ = tell.send(half);
            let _ = done.recv();
        } else {
            shared.call(buffers, half);
        }
        half ^= 1;
        block += 1;
        // A host that takes too long is waited for: nothing is lost.
        due = (due + period).max(Instant::now());
    }
}

/// A thread that calls when it is told to, and tells when it has.
fn second_thread(
    shared: &Arc<Shared>,
    buffers: &Arc<Buffers>,
) -> (SyncSender<usize>, Receiver<()>) {
    let (tell, halves) = sync_channel::<usize>(1);
    let (done, is_done) = sync_channel(1);
    let (shared, buffers) = (Arc::clone(shared), Arc::clone(buffers));
    std::thread::spawn(move || {
        for half in halves {
            shared.call(&buffers, half);
            let _ = done.send(());
        }
    });
    (tell, is_done)
}
