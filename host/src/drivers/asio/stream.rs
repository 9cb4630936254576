//! One block in a driver's callback: its samples to floats, the callback, floats to its samples.
//! Nothing here allocates, locks or waits, but for the thread's setup before its first block.
//!
//! # Safety
//! The pointers are to buffers that the driver made for this stream, of so many frames in the
//! layout it stated for the channel. The stream is in its slot only between `createBuffers` and
//! `disposeBuffers`: whoever disposes of the buffers takes the stream out first, which waits for a
//! callback that is in it.
#![allow(unsafe_code)]

use super::object::FromCallback;
use super::slots::{Counts, halves};
use crate::drivers::block_clock::{BlockClock, Told};
use crate::drivers::planar;
use crate::drivers::registry::ThreadSetup;
use crate::drivers::samples::{Noise, SampleLayout};
use crate::drivers::{Callback, DriverConfig, clock};
use assert_no_alloc::assert_no_alloc;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use windows_sys::Win32::System::Threading::GetCurrentThreadId;

/// Runs of all drivers so far.
static RUNS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The run that a driver's thread was set up for last; 0: none.
    static IS_SET_UP_FOR: Cell<u64> = const { Cell::new(0) };
}

/// A channel's two buffers.
pub(super) struct ChannelBuffers {
    layout: SampleLayout,
    halves: [*mut u8; 2],
    /// Of an output that is dithered.
    noise: Option<Noise>,
}

// SAFETY: the driver's memory, used by whoever has the stream.
unsafe impl Send for ChannelBuffers {}

impl ChannelBuffers {
    /// `None`: the driver gave no memory.
    pub(super) fn new(
        layout: SampleLayout,
        halves: [*mut std::ffi::c_void; 2],
        noise: Option<Noise>,
    ) -> Option<Self> {
        if halves[0].is_null() {
            return None;
        }
        // A driver that has one buffer only may leave the second out.
        let second = if halves[1].is_null() { halves[0] } else { halves[1] };
        Some(Self { layout, halves: [halves[0].cast(), second.cast()], noise })
    }

    fn half(&mut self, index: usize, frames: usize) -> &mut [u8] {
        // SAFETY: see the top of the file; the borrow is of the one who has the stream.
        unsafe { std::slice::from_raw_parts_mut(self.halves[index], frames * self.layout.bytes()) }
    }
}

/// All that the callback needs.
pub(super) struct Stream {
    pub(super) callback: Option<Box<dyn Callback>>,
    /// Why it is not called any more: its panic.
    pub(super) panicked: Option<String>,
    /// `None`: a channel that the driver does not know, silent.
    inputs: Vec<Option<ChannelBuffers>>,
    outputs: Vec<Option<ChannelBuffers>>,
    planar_in: Vec<f32>,
    planar_out: Vec<f32>,
    frames: usize,
    clock: BlockClock,
    setup: Option<ThreadSetup>,
    /// Number of the run that threads are set up for.
    run: u64,
    /// The thread that must not be set up.
    apartment: u32,
    driver: FromCallback,
    tell_ready: bool,
}

/// What a [`Stream`] is made of.
pub(super) struct Parts {
    pub(super) inputs: Vec<Option<ChannelBuffers>>,
    pub(super) outputs: Vec<Option<ChannelBuffers>>,
    pub(super) setup: Option<ThreadSetup>,
    pub(super) apartment: u32,
    pub(super) driver: FromCallback,
    /// Whether the driver wants to hear of output that is ready.
    pub(super) tell_ready: bool,
}

impl Stream {
    /// Silent until it is [given](Self::play) a callback.
    pub(super) fn new(config: &DriverConfig, parts: Parts) -> Self {
        let frames = config.frames as usize;
        let Parts { inputs, outputs, setup, apartment, driver, tell_ready } = parts;
        Self {
            callback: None,
            panicked: None,
            planar_in: vec![0.0; inputs.len() * frames],
            planar_out: vec![0.0; outputs.len() * frames],
            inputs,
            outputs,
            frames,
            clock: BlockClock::new(config.rate, config.frames),
            setup,
            run: 0,
            apartment,
            driver,
            tell_ready,
        }
    }

    /// From now on this is called.
    pub(super) fn play(&mut self, callback: Box<dyn Callback>, config: &DriverConfig) {
        self.clock = BlockClock::new(config.rate, config.frames);
        self.panicked = None;
        self.run = RUNS.fetch_add(1, Ordering::Relaxed) + 1;
        // What was played before is not to be heard again.
        self.silence(0);
        self.silence(1);
        self.callback = Some(callback);
    }

    /// From the callback of a driver that tells no time with it: asks for it.
    pub(super) fn ask_position(&self) -> Told {
        match self.driver.position() {
            Some([position, stamp]) => {
                Told { position: Some(halves(position)), stamp: Some(halves(stamp)) }
            }
            None => Told::default(),
        }
    }

    /// One callback of the driver's. It plays the half of this index next.
    pub(super) fn switch(&mut self, index: i32, entered_ns: u64, told: Told, counts: &Counts) {
        let index = (index & 1) as usize;
        if self.callback.is_none() || self.panicked.is_some() {
            self.silence(index);
        } else {
            self.set_up_thread();
            self.block(index, entered_ns, told, counts);
        }
        if self.tell_ready {
            self.driver.output_ready();
        }
    }

    fn silence(&mut self, index: usize) {
        for channel in self.outputs.iter_mut().flatten() {
            // Zero is silence in every layout.
            channel.half(index, self.frames).fill(0);
        }
    }

    /// Drivers may go on with another thread at any time, or with several in turn; some make the
    /// first call from inside their `start`, on the thread that called it, which is not to become a
    /// realtime one.
    fn set_up_thread(&mut self) {
        let Some(setup) = &self.setup else { return };
        // SAFETY: no arguments.
        if IS_SET_UP_FOR.get() == self.run || unsafe { GetCurrentThreadId() } == self.apartment {
            return;
        }
        IS_SET_UP_FOR.set(self.run);
        setup();
    }

    fn block(&mut self, index: usize, entered_ns: u64, told: Told, counts: &Counts) {
        let frames = self.frames;
        let time = self.clock.begin(entered_ns, told);
        assert_no_alloc(|| {
            let to = self.planar_in.chunks_exact_mut(frames);
            for (channel, to) in self.inputs.iter_mut().zip(to) {
                if let Some(channel) = channel {
                    let layout = channel.layout;
                    layout.read(channel.half(index, frames), to);
                }
            }
            self.planar_out.fill(0.0);
        });
        if let Some(callback) = &mut self.callback {
            let (inputs, outputs) = (&self.planar_in, &mut self.planar_out);
            // Not to unwind into the driver. After a panic it is not called again.
            let result = catch_unwind(AssertUnwindSafe(|| {
                planar::with_channels(inputs, outputs, frames, |io| callback.process(&time, io));
            }));
            if let Err(panic) = result {
                self.panicked = Some(planar::text_of(&*panic));
                counts.panicked.store(true, Ordering::Relaxed);
                self.planar_out.fill(0.0);
            }
        }
        assert_no_alloc(|| {
            let from = self.planar_out.chunks_exact(frames);
            for (channel, from) in self.outputs.iter_mut().zip(from) {
                let Some(channel) = channel else { continue };
                let layout = channel.layout;
                let mut noise = channel.noise.take();
                layout.write(from, channel.half(index, frames), noise.as_mut());
                channel.noise = noise;
            }
        });
        self.clock.end(clock::now_ns());
        counts.xruns.store(time.xruns, Ordering::Relaxed);
        counts.blocks.fetch_add(1, Ordering::Relaxed);
    }
}
