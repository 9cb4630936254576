//! The virtual driver: calls back as a sound card's driver does, without a sound card.
//!
//! Like an ASIO driver it has two halves of a double buffer that take turns, a fixed period on an
//! absolute clock (it never drifts), its own thread, and a position and time with each callback.
//! Inputs can be played from a WAV file and outputs recorded to one; MIDI can be played from a file, and
//! come in as it goes out.
//!
//! # Pace
//! - [on time](VirtualDriver::new): one callback per period, for live use and measurements. A
//!   callback that returns after the next was due costs that one and each further that has become
//!   due: they are counted as xruns and skipped, and the position goes on as if they had run.
//!   The same happens when the system wakes the driver too late.
//! - [free running](VirtualDriver::free_running): one callback after the other, on its own thread.
//! - [by hand](VirtualDriver::by_hand): as many as asked for, in the caller's thread. With the
//!   same callback and input, bit-identical each time.
//!
//! Without a due time there is no deadline (`u64::MAX`) and no xrun, and files are waited for.
//!
//! # Threads
//! | thread | does | may block |
//! |---|---|---|
//! | the caller's | everything on [`VirtualDriver`] | yes |
//! | `virtual driver` | the callback; the thread setup before | no, but for sleeping |
//! | `wav reader`, `wav writer` | files | yes |

mod block;
mod files;
mod midi;
mod schedule;

use std::any::Any;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Callback, Driver, DriverConfig};
use crate::error::Error;
use crate::wav::{SampleFormat, WavReader, WavSummary};
use block::{Rt, Shared};
use files::{Player, Recorder, Recording};
use midi::Tape;

/// Run once on the driver's thread at each start, before the first period begins.
type ThreadSetup = Box<dyn FnMut() + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    OnTime,
    Free,
    ByHand,
}

/// The virtual driver; see the [module](self).
pub struct VirtualDriver {
    config: DriverConfig,
    pace: Pace,
    spin_ns: u64,
    limit: u64,
    play: Option<PathBuf>,
    tape: Option<Tape>,
    midi_loops: bool,
    record: Option<Recording>,
    setup: Option<ThreadSetup>,
    shared: Arc<Shared>,
    input_lost: Arc<AtomicU64>,
    output_lost: Arc<AtomicU64>,
    run: Option<Run>,
    kept: Option<Box<dyn Callback>>,
    recorded: Option<WavSummary>,
}

/// A start that has not been stopped.
struct Run {
    engine: Engine,
    reader: Option<JoinHandle<Result<(), Error>>>,
    writer: Option<JoinHandle<Result<WavSummary, Error>>>,
}

enum Engine {
    Thread(JoinHandle<Ended>),
    /// By hand. The text is why it can't go on.
    Here(Box<Rt>, Option<String>),
}

/// What the driver's thread leaves behind.
struct Ended {
    rt: Rt,
    setup: Option<ThreadSetup>,
    panic: Option<String>,
}

impl VirtualDriver {
    /// Frames per second it can do.
    pub const RATES: RangeInclusive<u32> = 8_000..=768_000;
    /// Frames per callback it can do.
    pub const FRAMES: RangeInclusive<u32> = 16..=8192;
    /// Channels each way it can do at most.
    pub const MAX_CHANNELS: u32 = 512;
    /// Its MIDI ports.
    pub(super) const MIDI_INPUT: &str = "midi_in_1";
    pub(super) const MIDI_OUTPUT: &str = "midi_out_1";

    /// A driver that calls back on time.
    ///
    /// # Errors
    /// The rate, the frames or the number of channels is out of range.
    pub fn new(config: DriverConfig) -> Result<Self, Error> {
        let in_range = |what: &str, value: u32, range: RangeInclusive<u32>| {
            if range.contains(&value) {
                return Ok(());
            }
            Err(failed(&format!(
                "{value} {what} is out of its range: choose {} to {}",
                range.start(),
                range.end()
            )))
        };
        in_range("Hz", config.rate, Self::RATES)?;
        in_range("frames", config.frames, Self::FRAMES)?;
        in_range("input channels", config.inputs, 0..=Self::MAX_CHANNELS)?;
        in_range("output channels", config.outputs, 0..=Self::MAX_CHANNELS)?;
        Ok(Self {
            config,
            pace: Pace::OnTime,
            spin_ns: 0,
            limit: u64::MAX,
            play: None,
            tape: None,
            midi_loops: false,
            record: None,
            setup: None,
            shared: Arc::default(),
            input_lost: Arc::default(),
            output_lost: Arc::default(),
            run: None,
            kept: None,
            recorded: None,
        })
    }

    /// Calls back without waiting, on its own thread.
    pub fn free_running(mut self) -> Self {
        self.pace = Pace::Free;
        self
    }

    /// Calls back only in [`run_blocks`](Self::run_blocks), in the caller's thread.
    pub fn by_hand(mut self) -> Self {
        self.pace = Pace::ByHand;
        self
    }

    /// Ends by itself after this many periods, those missed included.
    pub fn with_limit(mut self, periods: u64) -> Self {
        self.limit = periods;
        self
    }

    /// Waits busily for the last part of each period. Takes wake-up time out of the callbacks on
    /// processors that are slow to wake; holds a core all the more for it. Default: none.
    pub fn with_spin(mut self, spin: Duration) -> Self {
        self.spin_ns = spin.as_nanos().try_into().unwrap_or(u64::MAX);
        self
    }

    /// Runs `setup` on the driver's thread at each start, before the first period begins: the
    /// place to ask for realtime priority. It may take its time and allocate.
    pub fn with_thread_setup(mut self, setup: impl FnMut() + Send + 'static) -> Self {
        self.setup = Some(Box::new(setup));
        self
    }

    /// Plays a WAV file into the first inputs from each start on; silence after its end.
    ///
    /// # Errors
    /// The file can't be read, or its rate or number of channels don't fit the driver.
    pub fn with_input(mut self, path: &Path) -> Result<Self, Error> {
        let reader = WavReader::open(path)?;
        files::check_fit(path, &reader, self.config.rate, self.config.inputs)?;
        self.play = Some(path.to_owned());
        Ok(self)
    }

    /// Plays a MIDI file into its MIDI input from each start on, again and again.
    ///
    /// # Errors
    /// The file can't be read, or there is nothing in it.
    pub fn with_midi(mut self, path: &Path) -> Result<Self, Error> {
        self.tape = Some(Tape::read(path, self.config.rate)?);
        Ok(self)
    }

    /// What goes out by MIDI comes in again a block later, on the port of the same number.
    pub fn with_midi_loop(mut self) -> Self {
        self.midi_loops = true;
        self
    }

    /// Records all outputs to a WAV file, which appears, or is replaced, at each stop.
    pub fn with_recording(mut self, path: &Path, format: SampleFormat) -> Self {
        self.record = Some(Recording { path: path.to_owned(), format });
        self
    }

    /// Calls back `blocks` times, or until the limit, in this thread and without waiting; returns
    /// how often that was. It neither allocates nor locks, apart from waiting for files.
    ///
    /// # Errors
    /// The driver isn't driven by hand or not started, or the callback panicked.
    pub fn run_blocks(&mut self, blocks: u64) -> Result<u64, Error> {
        let Some(Run { engine: Engine::Here(rt, failure), .. }) = &mut self.run else {
            return Err(failed(
                "blocks can be run by hand only on a driver made with by_hand() that was started",
            ));
        };
        let shared = &self.shared;
        let before = shared.blocks.load(Ordering::Relaxed);
        let until = before.saturating_add(blocks).min(self.limit);
        if failure.is_none() {
            *failure = catch(|| rt.run_freely(shared, until));
        }
        match failure {
            Some(text) => Err(panicked(text)),
            None => Ok(shared.blocks.load(Ordering::Relaxed) - before),
        }
    }

    /// Waits until a driver with a [limit](Self::with_limit) has reached it, then stops it.
    ///
    /// # Errors
    /// As [`stop`](Driver::stop); also when nothing would end the wait.
    pub fn finish(&mut self) -> Result<Box<dyn Callback>, Error> {
        if self.limit == u64::MAX && self.running() {
            return Err(failed("it has no limit to wait for: stop it instead"));
        }
        match &self.run {
            Some(Run { engine: Engine::Here(..), .. }) => {
                self.run_blocks(u64::MAX)?;
            }
            Some(Run { engine: Engine::Thread(thread), .. }) => {
                while !thread.is_finished() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            None => {}
        }
        self.stop()
    }

    /// Frames since the last start that the input file could not deliver in time (silence was
    /// played) and that could not be recorded in time (silence was recorded). Not counting those
    /// of missed periods.
    pub fn lost_frames(&self) -> (u64, u64) {
        (self.input_lost.load(Ordering::Relaxed), self.output_lost.load(Ordering::Relaxed))
    }

    /// What the last stop has recorded.
    pub fn recorded(&self) -> Option<WavSummary> {
        self.recorded
    }

    /// The callback, when [`start`](Driver::start) or [`stop`](Driver::stop) had an error to
    /// return in its place. After a panic it may be in any state.
    pub fn take_callback(&mut self) -> Option<Box<dyn Callback>> {
        self.kept.take()
    }

    fn try_start(&mut self, rt: &mut Rt) -> Result<Helpers, Error> {
        let DriverConfig { rate, frames, inputs, outputs } = self.config;
        let patient = self.pace != Pace::OnTime;
        let mut helpers = Helpers::default();
        if let Some(path) = &self.play {
            let shape = (rate, frames as usize, inputs);
            let (player, reader) = Player::start(path, shape, patient, self.input_lost.clone())?;
            rt.player = Some(player);
            helpers.reader = Some(reader);
        }
        if let Some(Recording { path, format }) = &self.record {
            let shape = (rate, frames as usize, outputs);
            let (recorder, writer) =
                Recorder::start(path, *format, shape, patient, self.output_lost.clone())?;
            rt.recorder = Some(recorder);
            helpers.writer = Some(writer);
        }
        Ok(helpers)
    }

    /// Starts the thread, which owns `rt` from then on.
    fn spawn(&mut self, mut rt: Rt) -> Result<Engine, Error> {
        if self.pace == Pace::ByHand {
            return Ok(Engine::Here(Box::new(rt), None));
        }
        let shared = self.shared.clone();
        let (pace, limit, spin_ns) = (self.pace, self.limit, self.spin_ns);
        let mut setup = self.setup.take();
        // The state goes through a channel: a thread that can't be started would take it along.
        let (send, receive) = std::sync::mpsc::sync_channel::<Rt>(1);
        let thread = std::thread::Builder::new().name("virtual driver".into()).spawn(move || {
            let Ok(mut rt) = receive.recv() else {
                unreachable!("the sender sends before it is dropped");
            };
            let panic = catch(|| {
                if let Some(setup) = &mut setup {
                    setup();
                }
                match pace {
                    Pace::OnTime => rt.run_on_time(&shared, limit, spin_ns),
                    Pace::Free | Pace::ByHand => rt.run_freely(&shared, limit),
                }
            });
            Ended { rt, setup, panic }
        });
        match thread {
            Ok(thread) => {
                if let Err(std::sync::mpsc::SendError(back)) = send.send(rt) {
                    rt = back;
                    self.kept = Some(rt.callback);
                    return Err(failed("its thread ended before it began: try again"));
                }
                Ok(Engine::Thread(thread))
            }
            Err(e) => {
                self.kept = Some(rt.callback);
                Err(failed(&format!("no thread for it ({e}): close other programs and try again")))
            }
        }
    }
}

#[derive(Default)]
struct Helpers {
    reader: Option<JoinHandle<Result<(), Error>>>,
    writer: Option<JoinHandle<Result<WavSummary, Error>>>,
}

impl Driver for VirtualDriver {
    fn name(&self) -> &str {
        NAME
    }

    fn config(&self) -> &DriverConfig {
        &self.config
    }

    /// On an error [`take_callback`](VirtualDriver::take_callback) gives the callback back.
    fn start(&mut self, callback: Box<dyn Callback>) -> Result<(), Error> {
        if self.run.is_some() {
            self.kept = Some(callback);
            return Err(failed("it is already started: stop it first"));
        }
        self.shared = Arc::default();
        self.input_lost = Arc::default();
        self.output_lost = Arc::default();
        self.recorded = None;
        let mut rt = Rt::new(callback, &self.config);
        rt.midi.tape = self.tape.clone();
        rt.midi.loops = self.midi_loops;
        let helpers = match self.try_start(&mut rt) {
            Ok(helpers) => helpers,
            Err(e) => {
                self.kept = Some(rt.callback);
                return Err(e);
            }
        };
        let engine = self.spawn(rt)?;
        self.run = Some(Run { engine, reader: helpers.reader, writer: helpers.writer });
        Ok(())
    }

    /// Returns within a period, plus the time that the callback takes and that a recording takes
    /// to complete. On an error [`take_callback`](VirtualDriver::take_callback) gives the callback
    /// back.
    fn stop(&mut self) -> Result<Box<dyn Callback>, Error> {
        let Some(Run { engine, reader, writer }) = self.run.take() else {
            return Err(failed("it is not started: start it before stopping it"));
        };
        self.shared.stop.store(true, Ordering::Relaxed);
        let (rt, panic) = match engine {
            Engine::Here(rt, panic) => (*rt, panic),
            Engine::Thread(thread) => match thread.join() {
                Ok(ended) => {
                    self.setup = ended.setup;
                    (ended.rt, ended.panic)
                }
                Err(panic) => return Err(panicked(&text_of(&*panic))),
            },
        };
        let Rt { callback, player, recorder, .. } = rt;
        // Their rings tell the helpers to end.
        drop((player, recorder));
        let read = reader.map_or(Ok(()), |helper| join(helper, "reader"));
        let written = writer.map(|helper| join(helper, "writer")).transpose();
        let outcome = match panic {
            Some(text) => Err(panicked(&text)),
            None => read,
        };
        match (outcome, written) {
            (Ok(()), Ok(summary)) => {
                self.recorded = summary;
                Ok(callback)
            }
            (Err(e), written) => {
                self.recorded = written.ok().flatten();
                self.kept = Some(callback);
                Err(e)
            }
            (Ok(()), Err(e)) => {
                self.kept = Some(callback);
                Err(e)
            }
        }
    }

    fn midi_ports(&self) -> (Vec<String>, Vec<String>) {
        let name = |port| format!("virtual:{port}");
        (vec![name(Self::MIDI_INPUT)], vec![name(Self::MIDI_OUTPUT)])
    }

    fn running(&self) -> bool {
        match &self.run {
            None => false,
            Some(Run { engine: Engine::Thread(thread), .. }) => !thread.is_finished(),
            Some(Run { engine: Engine::Here(_, failure), .. }) => {
                failure.is_none() && self.blocks() < self.limit
            }
        }
    }

    fn blocks(&self) -> u64 {
        self.shared.blocks.load(Ordering::Relaxed)
    }

    fn xruns(&self) -> u64 {
        self.shared.xruns.load(Ordering::Relaxed)
    }
}

impl Drop for VirtualDriver {
    fn drop(&mut self) {
        // The callback must never run after the driver is gone. Errors have nowhere to go.
        if self.run.is_some() {
            let _ = self.stop();
        }
    }
}

const NAME: &str = "virtual";

fn failed(reason: &str) -> Error {
    Error::Driver { driver: NAME.into(), reason: reason.into() }
}

fn panicked(text: &str) -> Error {
    failed(&format!(
        "stopped because its callback panicked ({text}): report this, it is a fault in the program"
    ))
}

/// The text of a panic in `run`, if there is one.
fn catch(run: impl FnOnce()) -> Option<String> {
    // Unwind safe: after a panic the state is only taken apart, never run again.
    catch_unwind(AssertUnwindSafe(run)).err().map(|panic| text_of(&*panic))
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "no reason given".to_owned(),
    }
}

fn join<T>(helper: JoinHandle<Result<T, Error>>, what: &str) -> Result<T, Error> {
    helper.thread().unpark();
    helper.join().unwrap_or_else(|panic| {
        Err(failed(&format!("the WAV {what} panicked ({})", text_of(&*panic))))
    })
}
