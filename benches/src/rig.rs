//! Sandrack as the thing measured: callbacks that take turns on the virtual driver.
//!
//! A [`Slot`] is any callback that can be run for a while, stopped, and run again: the engine
//! ([`Rig`]), the floor's chain ([`FloorCallback`]), nothing at all ([`Slot::empty`]). All are
//! timed by the same clock reads around the callback.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sandrack_engine::Controller;
use sandrack_engine::graph::NodeId;
use sandrack_engine::timing::{NodeOutcome, Record};
use sandrack_host::drivers::virtual_driver::VirtualDriver;
use sandrack_host::drivers::{Callback, CallbackIo, CallbackTime, Driver, DriverConfig};
use sandrack_host::report::Isolation;
use sandrack_host::session::{Session, SessionConfig, realtime_setup};
use sandrack_sandbox::calibrate::{Calibration, calibrate};
use sandrack_sandbox::format::PluginRef;
use sandrack_sandbox::supervisor::{RecorderOptions, Supervisor, SupervisorOptions};
use sandrack_sandbox::sys::thread::realtime_advice;
use sandrack_sandbox::sys::usage::stolen;

use crate::chain::Chain;
use crate::os;
use crate::stolen::Missed;
use crate::witness::Witness;

/// Frames per second, in all benchmarks.
pub const RATE: u32 = 48_000;

/// Before a slice is measured: caches, priorities, frequencies settle.
const WARM_UP: Duration = Duration::from_millis(150);

/// Blocks that a slice can hold: a minute of 16 frames.
const MOST_BLOCKS: usize = 180_000;

/// Why there are no figures.
pub type Failure = Box<dyn Error>;

/// A period in microseconds.
#[must_use]
pub fn period_us(frames: u32) -> f64 {
    f64::from(frames) * 1e6 / f64::from(RATE)
}

/// Where processes in series run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Placement {
    /// What the calibration leads to, as in the program
    #[default]
    Calibrated,
    /// On one core
    Core,
    /// Left to the scheduler
    Free,
}

/// A supervisor for workers that are this program, started again, and the cores to use, the
/// engine's first; none when they are left to the scheduler.
pub fn supervisor(placement: Placement) -> Result<(Supervisor, Calibration, Vec<usize>), Failure> {
    let options = SupervisorOptions::new()?;
    let calibration = calibrate(&options.program)?;
    let pins = match placement {
        Placement::Calibrated => calibration.pins(),
        Placement::Core => true,
        Placement::Free => false,
    };
    let cores = if pins { calibration.cores.clone() } else { Vec::new() };
    if !calibration.realtime {
        eprintln!("note: {}", realtime_advice());
    }
    Ok((Supervisor::new(options)?, calibration, cores))
}

/// What the callback's thread writes down of each block; only counts, so Relaxed.
struct Log {
    blocks: Box<[[AtomicU64; 2]]>,
    count: AtomicUsize,
}

/// Runs a callback and times it.
struct Timed {
    inner: Box<dyn Callback>,
    log: Arc<Log>,
}

impl Callback for Timed {
    fn process(&mut self, time: &CallbackTime, io: &mut CallbackIo<'_>) {
        let entered = os::now_ns();
        self.inner.process(time, io);
        let left = os::now_ns();
        let count = self.log.count.load(Ordering::Relaxed);
        if let Some([busy, since_due]) = self.log.blocks.get(count) {
            busy.store(left - entered, Ordering::Relaxed);
            since_due.store(left.saturating_sub(time.due_ns), Ordering::Relaxed);
            self.log.count.store(count + 1, Ordering::Relaxed);
        }
    }
}

/// A callback that takes turns with others. Between turns it is kept as it is.
pub struct Slot {
    callback: Option<Box<dyn Callback>>,
    log: Arc<Log>,
}

/// One turn of a callback. Times are in ns, one per block.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    /// From entering the callback to leaving it.
    pub busy: Vec<u64>,
    /// From when the callback was due to leaving it.
    pub since_due: Vec<u64>,
    /// Periods that were missed.
    pub missed: Missed,
    /// What the hypervisor took of all cores together.
    pub stolen: Duration,
}

impl Slot {
    /// Of a callback.
    #[must_use]
    pub fn new(inner: Box<dyn Callback>) -> Self {
        // Written once: not to fault in the callback.
        let blocks = (0..MOST_BLOCKS).map(|_| [1, 1].map(AtomicU64::new)).collect();
        let log = Arc::new(Log { blocks, count: AtomicUsize::new(0) });
        Self { callback: Some(Box::new(Timed { inner, log: Arc::clone(&log) })), log }
    }

    /// A callback that does nothing: what it shows is the machine's own noise.
    #[must_use]
    pub fn empty() -> Self {
        struct Nothing;
        impl Callback for Nothing {
            fn process(&mut self, _: &CallbackTime, _: &mut CallbackIo<'_>) {}
        }
        Self::new(Box::new(Nothing))
    }

    /// A callback that is busy for `busy_ns` on all cores, without plugins; see [`Witness`].
    #[must_use]
    pub fn witness(busy_ns: u64, others: &[usize]) -> Self {
        Self::new(Box::new(Witness::new(busy_ns, others)))
    }

    /// Runs it for `length` after a warm-up, on `core` if there is one.
    pub fn run(
        &mut self,
        frames: u32,
        core: Option<usize>,
        length: Duration,
    ) -> Result<Slice, Failure> {
        self.run_watched(frames, core, length, |_| {})
    }

    /// The same; `watch` is called now and then, the first time, with `true`, when the warm-up is
    /// over, and a last time at the end.
    fn run_watched(
        &mut self,
        frames: u32,
        core: Option<usize>,
        length: Duration,
        mut watch: impl FnMut(bool),
    ) -> Result<Slice, Failure> {
        let config = DriverConfig { rate: RATE, frames, inputs: 2, outputs: 2 };
        let mut driver = VirtualDriver::new(config)?.with_thread_setup(realtime_setup(core));
        let callback = self.callback.take().ok_or("a callback was lost in an earlier error")?;
        self.log.count.store(0, Ordering::Relaxed);
        driver.start(callback)?;
        sleep(WARM_UP);
        watch(true);
        let first = self.log.count.load(Ordering::Relaxed);
        let mut samples = vec![(driver.xruns(), stolen())];
        let end = Instant::now() + length;
        while let left = end.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            // Seldom enough to disturb little, often enough for the queue of records.
            sleep(left.min(Duration::from_millis(50)));
            watch(false);
            samples.push((driver.xruns(), stolen()));
        }
        let last = self.log.count.load(Ordering::Relaxed);
        let taken = samples.last().map_or_else(Duration::default, |last| last.1 - samples[0].1);
        self.callback = Some(driver.stop()?);
        let column = |at: usize| {
            let blocks = &self.log.blocks[first..last];
            blocks.iter().map(|block| block[at].load(Ordering::Relaxed)).collect()
        };
        Ok(Slice {
            busy: column(0),
            since_due: column(1),
            missed: Missed::of(&samples),
            stolen: taken,
        })
    }
}

/// The floor's chain as a callback.
pub struct FloorCallback {
    chain: Chain,
    lost: Arc<AtomicBool>,
}

impl FloorCallback {
    /// A chain, and the flag that says that a block got lost.
    #[must_use]
    pub fn new(chain: Chain) -> (Self, Arc<AtomicBool>) {
        let lost = Arc::new(AtomicBool::new(false));
        (Self { chain, lost: Arc::clone(&lost) }, lost)
    }
}

impl Callback for FloorCallback {
    fn process(&mut self, _: &CallbackTime, _: &mut CallbackIo<'_>) {
        if !self.lost.load(Ordering::Relaxed) && !self.chain.block() {
            self.lost.store(true, Ordering::Relaxed);
        }
    }
}

/// A node that was not done at the deadline, and its times in that block, us.
#[derive(Clone, Debug)]
pub struct Late {
    /// Its name.
    pub node: String,
    /// How far it had come.
    pub outcome: NodeOutcome,
    /// From being ready to starting, if it came to that.
    pub wait_us: f64,
}

/// Most late nodes that are kept.
const MOST_LATE: usize = 100;

/// One turn of the engine. Times are in ns.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    /// The callback.
    pub slice: Slice,
    /// From ready to start, of every node in every block.
    pub wait: Vec<u64>,
    /// From start to end, of every node in every block.
    pub run: Vec<u64>,
    /// What a block took beyond the waits and runs of its nodes: says something for a single
    /// chain only.
    pub overhead: Vec<u64>,
    /// Blocks in which a node's fallback was heard: it was not done at the deadline, or still busy
    /// with an earlier block.
    pub late_blocks: u64,
    /// Such nodes, the first of them.
    pub late: Vec<Late>,
    /// Waits and runs of the block whose records are coming in.
    in_nodes: u64,
}

/// Loaded plugins, and the engine that runs them in turns with other callbacks.
pub struct Rig {
    // Before the session: an engine must be gone before another is made.
    connected: Option<Connected>,
    session: Session,
    core: Option<usize>,
}

struct Connected {
    slot: Slot,
    controller: Controller,
    nodes: Vec<(NodeId, String)>,
    frames: u32,
    plugins: usize,
}

impl Rig {
    /// Loads `tracks` chains of `plugins` plugins.
    pub fn load(
        supervisor: &Supervisor,
        plugin: &PluginRef,
        (tracks, plugins): (usize, usize),
        isolation: Isolation,
        cores: &[usize],
    ) -> Result<Self, Failure> {
        let config = SessionConfig {
            tracks: vec![vec![plugin.clone(); plugins]; tracks],
            isolation,
            cores: cores.to_vec(),
            ..SessionConfig::default()
        };
        let session = Session::load(supervisor, &config, &|| {})?;
        Ok(Self { connected: None, session, core: cores.first().copied() })
    }

    /// Makes an engine for the first `plugins` plugins of each track in blocks of `frames`, if
    /// that is not what the present one is for. True: a new one.
    pub fn connect(&mut self, frames: u32, plugins: usize) -> Result<bool, Failure> {
        let same = |c: &Connected| c.frames == frames && c.plugins == plugins;
        if self.connected.as_ref().is_some_and(same) {
            return Ok(false);
        }
        self.connected = None;
        let running = self.session.connect(RATE, frames, plugins, (2, 2))?;
        self.connected = Some(Connected {
            slot: Slot::new(Box::new(running.callback)),
            controller: running.controller,
            nodes: running.nodes.concat(),
            frames,
            plugins,
        });
        Ok(true)
    }

    /// Sets a parameter of all connected plugins, by its name.
    pub fn set_param(&mut self, name: &str, value: f64) -> Result<(), Failure> {
        let Some(connected) = &mut self.connected else { return Ok(()) };
        let mut params = self.session.info(0, 0).params.iter();
        let param = params.find(|param| param.name == name).ok_or("there is no such parameter")?;
        for (node, _) in &connected.nodes {
            connected.controller.set_param(*node, param.id, value)?;
        }
        Ok(())
    }

    /// Records what all plugins are given, or does so no more.
    pub fn record(&self, options: Option<RecorderOptions>) -> Result<(), Failure> {
        for track in 0.. {
            let nodes = (0..).map_while(|plugin| self.session.node(track, plugin));
            let mut any = false;
            for node in nodes {
                node.record(options)?;
                any = true;
            }
            if !any {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Runs the engine for a while.
    pub fn run(&mut self, length: Duration) -> Result<Blocks, Failure> {
        let connected = self.connected.as_mut().ok_or("the plugins are not connected")?;
        let Connected { slot, controller, nodes, frames, .. } = connected;
        let (mut blocks, mut lost_before) = (Blocks::default(), 0);
        let slice = slot.run_watched(*frames, self.core, length, |begins| {
            match begins {
                true => {
                    while controller.timing().pop().is_ok() {}
                    lost_before = controller.lost_records();
                }
                false => blocks.take(controller, nodes),
            };
        })?;
        blocks.slice = slice;
        if let Some((plugin, how)) = self.session.gone_plugin() {
            return Err(format!("{plugin}: its worker is gone: {how}").into());
        }
        if controller.lost_records() > lost_before {
            return Err("the engine wrote more records than its queue holds".into());
        }
        Ok(blocks)
    }

    /// Ends all workers.
    pub fn quit(self) {
        drop(self.connected);
        self.session.quit();
    }
}

impl Blocks {
    fn take(&mut self, controller: &mut Controller, nodes: &[(NodeId, String)]) {
        while let Ok(record) = controller.timing().pop() {
            match record {
                Record::Node(node) => {
                    let wait = node.start.saturating_sub(node.ready);
                    let run = node.end.saturating_sub(node.start);
                    if node.outcome.is_heard() {
                        self.in_nodes += wait + run;
                        self.wait.push(wait);
                        self.run.push(run);
                    } else if self.late.len() < MOST_LATE {
                        let name = nodes.iter().find(|(id, _)| *id == node.node);
                        self.late.push(Late {
                            node: name.map_or_else(|| "?".into(), |(_, name)| name.clone()),
                            outcome: node.outcome,
                            wait_us: wait as f64 / 1e3,
                        });
                    }
                }
                Record::Block(block) => {
                    let took = block.end.saturating_sub(block.start);
                    self.overhead.push(took.saturating_sub(self.in_nodes));
                    self.late_blocks += u64::from(block.late_nodes + block.absent_nodes > 0);
                    self.in_nodes = 0;
                }
            }
        }
    }

    /// Adds another turn.
    pub fn add(&mut self, other: Self) {
        self.slice.add(other.slice);
        self.wait.extend(other.wait);
        self.run.extend(other.run);
        self.overhead.extend(other.overhead);
        self.late_blocks += other.late_blocks;
        self.late.extend(other.late);
    }
}

impl Slice {
    /// Adds another turn.
    pub fn add(&mut self, other: Self) {
        self.busy.extend(other.busy);
        self.since_due.extend(other.since_due);
        self.missed += other.missed;
        self.stolen += other.stolen;
    }
}
