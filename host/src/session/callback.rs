//! The engine as a driver's callback, and what its thread needs.

use crate::drivers::{Callback, CallbackIo, CallbackTime};
use crate::midi::{MidiRt, shared};
use assert_no_alloc::assert_no_alloc;
use sandrack_engine::Deadlines;
use sandrack_engine::engine::Engine;
use sandrack_sandbox::sys::clock::now_ns;
use sandrack_sandbox::sys::fpu::{FlushToZero, set_flush_to_zero};
use sandrack_sandbox::sys::thread;

/// Runs the engine in a driver's callback.
pub struct EngineCallback {
    pub(super) engine: Engine,
    pub(super) midi: Option<MidiRt>,
}

impl Callback for EngineCallback {
    fn process(&mut self, time: &CallbackTime, io: &mut CallbackIo<'_>) {
        set_flush_to_zero();
        let deadlines = deadlines(time, now_ns());
        assert_no_alloc(|| match &mut self.midi {
            Some(midi) => midi.process(&mut self.engine, time, io, deadlines),
            None => {
                if let Some(led) = io.transport {
                    self.engine.lead(shared(led, self.engine.transport()));
                }
                self.engine.process(io.inputs, io.outputs, deadlines);
            }
        });
    }

    fn take_midi(&mut self) -> Option<MidiRt> {
        self.midi.take()
    }
}

impl EngineCallback {
    /// Plays what comes in by MIDI; see [`midi`](crate::midi).
    pub fn with_midi(mut self, midi: MidiRt) -> Self {
        self.midi = Some(midi);
        self
    }

    /// A block outside a driver, with as much time as it takes, up to `timeout`.
    pub fn process_offline(
        &mut self,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        timeout: std::time::Duration,
    ) {
        let _flush = FlushToZero::new();
        let hard = now_ns().saturating_add(timeout.as_nanos() as u64);
        let deadlines = Deadlines { soft: u64::MAX, hard };
        assert_no_alloc(|| self.engine.process(inputs, outputs, deadlines));
    }
}

/// When to stop waiting: an eighth before the next callback is due, but no more than half a
/// millisecond and no less than a twentieth. Fallbacks are still to be mixed then, and whoever waits
/// is woken late where a plugin keeps the kernel busy. A callback that itself begins late has half a
/// period all the same: the output is too late in any case, and the plugins are not to blame.
fn deadlines(time: &CallbackTime, now: u64) -> Deadlines {
    if time.next_due_ns == u64::MAX {
        return Deadlines { soft: u64::MAX, hard: u64::MAX };
    }
    /// ns.
    const MOST: u64 = 500_000;
    let period = time.next_due_ns.saturating_sub(time.due_ns);
    let margin = (period / 8).min(MOST).max(period / 20);
    let hard = (time.next_due_ns - margin).max(now + period / 2);
    Deadlines { soft: hard - period / 2, hard }
}

/// What a driver's thread does before it first calls the engine: the realtime class, its core.
pub fn realtime_setup(core: Option<usize>) -> impl Fn() + Send + Sync + 'static {
    move || {
        if let Some(core) = core {
            let _ = thread::pin_current(core);
        }
        let _ = thread::set_realtime(thread::priority::ENGINE);
        thread::lock_stack();
    }
}
