//! What the callback thread does: buffers, one block, and the two ways of going from one block to
//! the next. Nothing here allocates, locks or logs; only the realtime loop sleeps.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::files::{Player, Recorder};
use super::midi::MidiSide;
use super::schedule::Schedule;
use crate::drivers::{Callback, CallbackIo, CallbackTime, DriverConfig, clock};

/// What both sides of the driver see while it runs.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Set by the control thread. Relaxed everywhere: nothing is handed over by it, and joining
    /// the thread orders the rest.
    pub(super) stop: AtomicBool,
    /// Blocks that were called back for. Relaxed, as are the following: they only count.
    pub(super) blocks: AtomicU64,
    /// Periods that were missed.
    pub(super) xruns: AtomicU64,
}

/// One of the two halves of the double buffer: channel after channel.
struct Half {
    inputs: Vec<f32>,
    outputs: Vec<f32>,
}

/// All that the callback thread owns.
pub(super) struct Rt {
    pub(super) callback: Box<dyn Callback>,
    pub(super) player: Option<Player>,
    pub(super) recorder: Option<Recorder>,
    pub(super) midi: MidiSide,
    halves: [Half; 2],
    /// Which half the next block gets.
    index: usize,
    frames: usize,
    rate: u32,
    channels: usize,
    /// The next period, counting those missed.
    next: u64,
    xruns: u64,
}

impl Rt {
    pub(super) fn new(callback: Box<dyn Callback>, config: &DriverConfig) -> Self {
        let frames = config.frames as usize;
        let half = || Half {
            inputs: vec![0.0; config.inputs as usize * frames],
            outputs: vec![0.0; config.outputs as usize * frames],
        };
        Self {
            callback,
            player: None,
            recorder: None,
            midi: MidiSide::new(),
            halves: [half(), half()],
            index: 0,
            frames,
            rate: config.rate,
            channels: config.inputs.max(config.outputs) as usize,
            next: 0,
            xruns: 0,
        }
    }

    /// Calls back at each due time until stopped or until `limit` periods have passed. Waits
    /// busily for the last `spin_ns` of each.
    pub(super) fn run_on_time(&mut self, shared: &Shared, limit: u64, spin_ns: u64) {
        self.touch();
        let stopped = || shared.stop.load(Ordering::Relaxed);
        let at_zero = Schedule::new(clock::now_ns(), self.frames as u32, self.rate);
        let schedule = Schedule::new(at_zero.due(1), self.frames as u32, self.rate);
        while self.next < limit {
            clock::wait_until(schedule.due(self.next), spin_ns);
            if stopped() {
                return;
            }
            // Woken so late that whole periods are over: those were missed as well.
            let reached = schedule.reached(clock::now_ns());
            if reached > self.next {
                self.miss(reached - self.next, shared);
                if self.next >= limit {
                    return;
                }
            }
            let next_due_ns = schedule.due(self.next + 1);
            self.block(schedule.due(self.next), next_due_ns, shared);
            let now = clock::now_ns();
            if now > next_due_ns {
                // The period that is running now has begun without us: it is missed, too.
                self.miss(schedule.reached(now) + 1 - self.next, shared);
            }
        }
    }

    /// Calls back without waiting until stopped or until `limit` blocks have been done.
    pub(super) fn run_freely(&mut self, shared: &Shared, limit: u64) {
        while self.next < limit && !shared.stop.load(Ordering::Relaxed) {
            self.block(clock::now_ns(), u64::MAX, shared);
        }
    }

    /// Brings the buffers into memory before the first block needs them.
    fn touch(&mut self) {
        for half in &mut self.halves {
            half.inputs.fill(0.0);
            half.outputs.fill(0.0);
        }
    }

    fn miss(&mut self, periods: u64, shared: &Shared) {
        self.next += periods;
        self.xruns += periods;
        shared.xruns.store(self.xruns, Ordering::Relaxed);
        let frames = periods * self.frames as u64;
        if let Some(player) = &mut self.player {
            player.skip(frames);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.skip(frames);
        }
    }

    /// One callback with all that belongs to it.
    fn block(&mut self, due_ns: u64, next_due_ns: u64, shared: &Shared) {
        let time = CallbackTime {
            sample_position: self.next * self.frames as u64,
            due_ns,
            next_due_ns,
            xruns: self.xruns,
        };
        let half = &mut self.halves[self.index];
        self.index ^= 1;
        if let Some(player) = &mut self.player {
            player.fill(&mut half.inputs, self.frames);
        }
        half.outputs.fill(0.0);
        self.midi.begin(time.sample_position, self.frames);
        let midi = &mut self.midi;
        let callback = &mut *self.callback;
        match self.channels {
            0..=2 => call::<2>(callback, &time, half, midi, self.frames),
            3..=16 => call::<16>(callback, &time, half, midi, self.frames),
            17..=64 => call::<64>(callback, &time, half, midi, self.frames),
            _ => call::<512>(callback, &time, half, midi, self.frames),
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.record(&half.outputs, self.frames);
        }
        self.next += 1;
        shared.blocks.fetch_add(1, Ordering::Relaxed);
    }
}

/// Calls back with the channels of `half`, `MAX` each way at most. The lists of channels live on
/// the stack, in one of a few sizes, because they borrow from the half and so can't be kept.
fn call<const MAX: usize>(
    callback: &mut dyn Callback,
    time: &CallbackTime,
    half: &mut Half,
    midi: &mut MidiSide,
    frames: usize,
) {
    let mut inputs: [&[f32]; MAX] = [&[]; MAX];
    let mut outputs: [&mut [f32]; MAX] = std::array::from_fn(|_| Default::default());
    let (mut ins, mut outs) = (0, 0);
    for (slot, channel) in inputs.iter_mut().zip(half.inputs.chunks_exact(frames)) {
        *slot = channel;
        ins += 1;
    }
    for (slot, channel) in outputs.iter_mut().zip(half.outputs.chunks_exact_mut(frames)) {
        *slot = channel;
        outs += 1;
    }
    let mut io = CallbackIo::new(&inputs[..ins], &mut outputs[..outs]);
    (io.midi_in, io.midi_out) = (&midi.input, Some(&mut midi.output));
    callback.process(time, &mut io);
}
