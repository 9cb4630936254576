//! `torture`: healthy chains beside attacked ones, and the proof that the healthy ones don't notice.
//!
//! A rig of chains runs on the virtual driver, in real time. In some, a hostile plugin strikes again
//! and again, in a way chosen at random, and is brought back each time. What the healthy ones put out
//! is compared in each block, bit for bit, with what they put out when nothing else was there. Between
//! runs with faults the same rig runs as long without any: what the machine does by itself is known so.
//!
//! # Threads
//! All of it on the caller's thread, but for the driver's (`judge`) and that of `loads`.

mod attack;
mod judge;
mod kinds;
mod loads;
mod random;
mod report;
mod tally;

pub use report::{ByKind, Milliseconds, TortureReport};

use crate::drivers::virtual_driver::VirtualDriver;
use crate::drivers::{Driver, DriverConfig};
use crate::errand::Errand;
use crate::error::Error;
use crate::plugins::test_plugin;
use crate::report::Isolation;
use crate::session::{
    Live, NamedNodes, PluginAt, RecoveryOptions, Running, Session, SessionConfig, SessionEvent,
    realtime_setup,
};
use attack::{Attacked, Weapons};
use judge::{CHANNELS, Counts, Difference, Judge, Late, MOST_OUTPUTS, Reference, Told};
use kinds::{Kind, Then};
use loads::Loads;
use random::Random;
use sandrack_engine::Controller;
use sandrack_engine::graph::NodeId;
use sandrack_engine::timing::Record;
use sandrack_sandbox::confine::Level;
use sandrack_sandbox::format::PluginRef;
use sandrack_sandbox::limits::Limits;
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use sandrack_sandbox::sys::traces;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tally::Tally;

/// What to do.
#[derive(Clone, Debug)]
pub struct TortureOptions {
    /// Faults to inject.
    pub faults: u64,
    /// What chooses them.
    pub seed: u64,
    /// Frames per callback.
    pub frames: u32,
    /// Kinds of faults, by name; none: all.
    pub kinds: Vec<String>,
    /// Attacked chains.
    pub attacked: usize,
    /// Whether promises about time are judged: on a machine that has nothing else to do.
    pub judge_times: bool,
    /// The libraries of hostile plugins: CLAP and VST3.
    pub hostile: [PathBuf; 2],
}

/// Tells how far it is.
pub trait Progress {
    /// So many faults of all have been injected.
    fn faults(&self, done: u64);
}

/// Frames per second.
const RATE: u32 = 48_000;
/// Length of a run with faults. Then plugins that are away are waited for, so long at most.
const RUN: Duration = Duration::from_secs(8);
const DRAIN: Duration = Duration::from_secs(20);
/// Between two looks of the control thread.
const TICK: Duration = Duration::from_millis(1);
/// The control thread should never be away for so long.
const HELD_UP: Duration = Duration::from_millis(10);
/// Blocks at the beginning of each run that may take as long as they need.
const PATIENT_BLOCKS: usize = 16;
/// Blocks of silence before, at least: until nothing has been under way for so many.
const SETTLING_BLOCKS: usize = 64;
/// How long what is left over is waited for in the end.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// The healthy chains. None of their plugins lets its input through unchanged, so that a block
/// that it misses can be told, and none remembers more than a few blocks, so that it is told once.
const HEALTHY: [&[&str]; 3] = [&["gain", "delay", "gain"], &["delay", "gain"], &["gain", "mono"]];

/// What plugins under attack may use: enough for any, and soon reached.
const LIMITS: Limits = Limits {
    memory: Some(400_000_000),
    threads: Some(100),
    files: Some(256),
    disk: Some(30_000_000),
    cpu: Some(120),
};

/// Runs it.
///
/// # Errors
/// Plugins or the driver can't be used, or a kind does not exist. That promises are broken is no
/// error, but [`TortureReport::broken`].
pub fn torture(
    options: &TortureOptions,
    mut supervisor: SupervisorOptions,
    progress: &dyn Progress,
) -> Result<TortureReport, Error> {
    let start = Instant::now();
    let is_confined = supervisor.confinement.level != Level::Off;
    let mut kinds = kinds::choose(&options.kinds, is_confined)?;
    let most = MOST_OUTPUTS / CHANNELS - HEALTHY.len();
    if !(1..=most).contains(&options.attacked) {
        return Err(Error::Usage(format!("--attacked {}: 1 to {most}", options.attacked)));
    }
    let loads: Vec<Kind> = kinds.extract_if(.., |kind| kind.then == Then::Loads).collect();
    if supervisor.confinement.limits == Limits::default() {
        supervisor.confinement.limits = LIMITS;
    }
    let reference = reference(options, &supervisor)?;
    let host = Supervisor::new(supervisor.clone())?;
    let mut rig = Rig::new(options, &host, kinds, reference)?;
    while rig.tally.faults < options.faults {
        let loads = match loads.is_empty() {
            true => None,
            false => {
                let hostile = options.hostile.clone();
                let find = move |format: usize, kind: &str| of_kind(&hostile[format], format, kind);
                let seed = rig.random.bits();
                Some(Loads::start(&supervisor, loads.clone(), find, seed)?)
            }
        };
        let callbacks = rig.run(Some(options.faults), loads, u64::MAX, progress)?;
        rig.run(None, None, callbacks, progress)?;
    }
    let mut report = rig.end();
    drop(host);
    look_for_leftovers(&mut report);
    report.seconds = start.elapsed().as_secs_f64();
    if !is_confined {
        report.notes.push(
            "without confinement, kinds of faults that would hit this machine were left out".into(),
        );
    }
    report.judge(options.judge_times);
    Ok(report)
}

/// The plugin for one kind of fault.
fn of_kind(library: &Path, format: usize, kind: &str) -> PluginRef {
    let id = match format {
        0 => format!("org.sandrack.hostile.{kind}"),
        _ => format!("Hostile {kind}"),
    };
    PluginRef { path: library.to_owned(), id: Some(id) }
}

fn healthy() -> Result<Vec<Vec<PluginRef>>, Error> {
    HEALTHY.iter().map(|chain| chain.iter().map(|name| test_plugin(name)).collect()).collect()
}

fn blocks_of_a_run(frames: u32) -> usize {
    ((RUN + DRAIN).as_secs_f64() * f64::from(RATE) / f64::from(frames)) as usize
}

/// Makes the healthy plugins do something: sets those that have a gain.
fn prepare(running: &mut Running, session: &Session) -> Result<(), Error> {
    let mut number = 0;
    for (track, chain) in HEALTHY.iter().enumerate() {
        for plugin in 0..chain.len() {
            let params = &session.info(track, plugin).params;
            let Some(gain) = params.iter().find(|param| param.name == "gain") else { continue };
            number += 1;
            let value = 1.0 - f64::from(number) / 16.0;
            let node = running.nodes[track][plugin].0;
            running
                .controller
                .set_param(node, gain.id, value)
                .map_err(|e| Error::Plan { reason: e.to_string() })?;
        }
    }
    Ok(())
}

/// What the healthy chains put out, block by block, when nothing else is there.
fn reference(options: &TortureOptions, supervisor: &SupervisorOptions) -> Result<Reference, Error> {
    let supervisor = Supervisor::new(supervisor.clone())?;
    let config = SessionConfig {
        tracks: healthy()?,
        isolation: Isolation::Plugin,
        separate: true,
        ..SessionConfig::default()
    };
    let mut session = Session::load(&supervisor, &config, &|| {})?;
    let (chains, most) = (HEALTHY.len(), longest(&config.tracks));
    let outputs = chains * CHANNELS;
    let channels = (CHANNELS as u32, outputs as u32);
    let mut running = session.connect(RATE, options.frames, most, channels)?;
    prepare(&mut running, &session)?;
    let none: Reference = Arc::from([]);
    let Running { callback, controller, nodes, live, .. } = running;
    let (mut judge, ..) = Judge::new(callback, options.frames as usize, chains, none, options.seed);
    let mut playing = Playing { controller, live, nodes };
    settle(&mut judge, outputs, &mut session, &mut playing)?;
    let hashes = judge.play_patiently(blocks_of_a_run(options.frames), outputs);
    drop(judge);
    session.quit();
    Ok(hashes.into())
}

/// Lets plugins do what they want to do when they begin.
fn settle(
    judge: &mut Judge,
    outputs: usize,
    session: &mut Session,
    playing: &mut Playing,
) -> Result<(), Error> {
    const AT_ONCE: usize = 4;
    let give_up = Instant::now() + DRAIN;
    let mut quiet = 0;
    while quiet < SETTLING_BLOCKS && Instant::now() < give_up {
        judge.settle(AT_ONCE, outputs);
        // What a plugin wants has to be heard now, not in the middle of a run.
        session.workers().iter().try_for_each(|worker| worker.sync())?;
        playing.live.service(session, &mut playing.controller)?;
        quiet = if playing.live.is_busy() { 0 } else { quiet + AT_ONCE };
        while playing.controller.timing().pop().is_ok() {}
        std::thread::sleep(TICK);
    }
    Ok(())
}

fn longest(tracks: &[Vec<PluginRef>]) -> usize {
    tracks.iter().map(Vec::len).max().unwrap_or(0)
}

/// Loaded plugins, and what was counted so far.
struct Rig<'a> {
    options: &'a TortureOptions,
    session: Session,
    tracks: usize,
    longest: usize,
    weapons: Weapons,
    attacked: Vec<Attacked>,
    reference: Reference,
    tally: Tally,
    random: Random,
    report: TortureReport,
    /// Data folders of the attacked.
    folders: Vec<PathBuf>,
}

impl<'a> Rig<'a> {
    fn new(
        options: &'a TortureOptions,
        supervisor: &Supervisor,
        kinds: Vec<Kind>,
        reference: Reference,
    ) -> Result<Self, Error> {
        let mut tracks = healthy()?;
        let healthy_plugins = tracks.iter().map(Vec::len).sum();
        for number in 0..options.attacked {
            let format = number % 2;
            let any = of_kind(&options.hostile[format], format, "any");
            tracks.push(vec![any, test_plugin("gain")?]);
        }
        let config = SessionConfig {
            tracks,
            isolation: Isolation::Plugin,
            separate: true,
            ..SessionConfig::default()
        };
        let mut session = Session::load(supervisor, &config, &|| {})?;
        let mut random = Random::new(options.seed);
        let now = Instant::now();
        let attacked: Vec<Attacked> = (0..options.attacked)
            .map(|number| {
                let at = PluginAt { track: HEALTHY.len() + number, plugin: 0 };
                Attacked::new(at, number % 2, random.bits(), now)
            })
            .collect();
        let mut values = [Vec::new(), Vec::new()];
        for (format, values) in values.iter_mut().enumerate().take(options.attacked) {
            let track = HEALTHY.len() + format;
            for kind in &kinds {
                let value = session.text_to_value(track, 0, attack::KIND, kind.name)?;
                let name = kind.name;
                values.push(value.ok_or_else(|| {
                    let path = options.hostile[format].display();
                    Error::Usage(format!("{path}: it can't strike as '{name}': build it anew"))
                })?);
            }
        }
        let enforced: Vec<_> = session.workers().iter().filter_map(|w| w.enforced()).collect();
        let report = TortureReport {
            version: env!("CARGO_PKG_VERSION").into(),
            seed: options.seed,
            frames: options.frames,
            rate: RATE,
            healthy_chains: HEALTHY.len(),
            healthy_plugins,
            attacked_plugins: options.attacked,
            confinement: enforced.first().map(ToString::to_string).unwrap_or_default(),
            ..TortureReport::default()
        };
        let mut folders: Vec<PathBuf> = enforced.into_iter().filter_map(|e| e.folder).collect();
        folders.sort_unstable();
        folders.dedup();
        Ok(Self {
            options,
            session,
            tracks: config.tracks.len(),
            longest: longest(&config.tracks),
            weapons: Weapons { kinds, values },
            attacked,
            reference,
            tally: Tally::default(),
            random,
            report,
            folders,
        })
    }

    /// A run: with faults until there have been so many in all, or without any for so many callbacks.
    /// How many callbacks it took.
    fn run(
        &mut self,
        faults: Option<u64>,
        loads: Option<Loads>,
        callbacks: u64,
        progress: &dyn Progress,
    ) -> Result<u64, Error> {
        let outputs = self.tracks * CHANNELS;
        let channels = (CHANNELS as u32, outputs as u32);
        // What a healthy plugin remembers of the run before must not be heard.
        self.session.restart();
        let frames = self.options.frames;
        let mut running = self.session.connect(RATE, frames, self.longest, channels)?;
        prepare(&mut running, &self.session)?;
        let Running { callback, controller, nodes, mut live, .. } = running;
        live.enable_recovery(
            &self.session,
            RecoveryOptions {
                // Or there would soon be nobody left to attack.
                most_faults: usize::MAX,
                first_pause: Duration::ZERO,
                ..RecoveryOptions::default()
            },
        );
        let mut playing = Playing { controller, live, nodes };
        let (chains, reference) = (HEALTHY.len(), Arc::clone(&self.reference));
        let (mut judge, counts, mut told) =
            Judge::new(callback, frames as usize, chains, reference, self.options.seed);
        settle(&mut judge, outputs, &mut self.session, &mut playing)?;
        judge.play_patiently(PATIENT_BLOCKS, outputs);
        let settling = judge.settling();
        let (inputs, outputs) = channels;
        let mut driver = VirtualDriver::new(DriverConfig { rate: RATE, frames, inputs, outputs })?
            .with_thread_setup(realtime_setup(None));
        driver.start(Box::new(judge))?;

        let mut lateness = Lateness::new(&playing.nodes, frames, settling);
        let begin = Instant::now();
        self.attacked.iter_mut().for_each(|attacked| attacked.begin(begin));
        loop {
            std::thread::sleep(TICK);
            let now = Instant::now();
            let strikes = faults.is_some_and(|most| self.tally.faults < most) && now < begin + RUN;
            self.serve(&mut playing, now, strikes)?;
            let held_up = now.elapsed();
            if held_up > HELD_UP {
                tracing::debug!(?held_up, "the control thread was held up");
            }
            lateness.collect(&mut playing.controller, &mut told);
            if let Some(loads) = &loads {
                loads.struck().for_each(|kind| self.tally.strike(kind));
                if !strikes {
                    loads.stop();
                }
                progress.faults(self.tally.faults);
            }
            let is_over = match faults {
                None => counts.callbacks.load(Relaxed) >= callbacks,
                Some(_) => !strikes && (self.is_at_rest(&playing) || now > begin + RUN + DRAIN),
            };
            if is_over || !driver.running() {
                break;
            }
        }
        let xruns = driver.xruns();
        // The engine is dropped here, not in the driver's thread.
        drop(driver.stop()?);
        lateness.collect(&mut playing.controller, &mut told);
        drop(loads);
        self.count(faults.is_some(), &counts, xruns, lateness.explained());
        Ok(counts.callbacks.load(Relaxed))
    }

    fn serve(&mut self, playing: &mut Playing, now: Instant, strikes: bool) -> Result<(), Error> {
        let events = playing.live.service(&mut self.session, &mut playing.controller)?;
        let (session, weapons, tally) = (&mut self.session, &self.weapons, &mut self.tally);
        let mut step = attack::Step { playing, session, weapons, tally, now, strikes };
        for event in &events {
            let Some(at) = whom(event) else { continue };
            let number = at.track.wrapping_sub(HEALTHY.len());
            if let Some(attacked) = self.attacked.get_mut(number).filter(|_| at.plugin == 0) {
                attacked.hear(event, &mut step);
            }
            if matches!(event, SessionEvent::Killed { .. }) {
                // It may have filled its folder, for which it need not be why it was killed.
                let folders = self.folders.clone();
                let empty = move || folders.iter().for_each(|folder| empty(folder));
                drop(Errand::start("torture", empty));
            }
        }
        for attacked in &mut self.attacked {
            let most = self.options.faults;
            step.strikes &= step.tally.faults < most;
            attacked.step(&mut step);
        }
        Ok(())
    }

    fn is_at_rest(&self, playing: &Playing) -> bool {
        self.attacked.iter().all(Attacked::is_resting)
            && !playing.live.is_busy()
            && !self.session.workers().iter().any(|worker| worker.is_gone())
    }

    fn count(&mut self, with_faults: bool, counts: &Counts, xruns: u64, late: u64) {
        let Counts { callbacks, late: late_callbacks, compared, differing } = counts;
        let report = &mut self.report;
        let add = |with: &mut u64, without: &mut u64, count: u64| {
            *if with_faults { with } else { without } += count;
        };
        let of = |count: &std::sync::atomic::AtomicU64| count.load(Relaxed);
        add(&mut report.callbacks, &mut report.callbacks_fault_free, of(callbacks));
        add(&mut report.late_callbacks, &mut report.late_callbacks_fault_free, of(late_callbacks));
        add(&mut report.xruns, &mut report.xruns_fault_free, xruns);
        add(&mut report.healthy_blocks, &mut report.healthy_blocks_fault_free, of(compared));
        add(
            &mut report.healthy_blocks_differing,
            &mut report.healthy_blocks_differing_fault_free,
            of(differing),
        );
        add(&mut report.healthy_blocks_late, &mut report.healthy_blocks_late_fault_free, late);
    }

    /// Lets go of all, and tells what was counted.
    fn end(self) -> TortureReport {
        let Self { session, tally, mut report, folders, .. } = self;
        session.quit();
        folders.iter().for_each(|folder| empty(folder));
        report.faults = tally.faults;
        report.recovery_ms = tally.recovery_ms();
        report.not_recovered = tally.lost;
        (report.states, report.state_lost) = (tally.states, tally.states_lost);
        report.by_kind = tally.by_kind();
        if tally.late_deaths > 0 {
            report.notes.push(format!(
                "{} times a plugin ended of what it had done earlier",
                tally.late_deaths
            ));
        }
        report
    }
}

/// What a driver and an engine leave to the control thread.
struct Playing {
    controller: Controller,
    live: Live,
    nodes: NamedNodes,
}

fn whom(event: &SessionEvent) -> Option<PluginAt> {
    match event {
        SessionEvent::Died { at, .. }
        | SessionEvent::Killed { at, .. }
        | SessionEvent::Recovered { at, .. }
        | SessionEvent::RestartFailed(at, _) => Some(*at),
        _ => None,
    }
}

/// Makes room again where a plugin has filled its data folder.
fn empty(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
    }
}

/// Which healthy plugins were late, and which differing blocks that explains.
struct Lateness {
    chain_of: HashMap<NodeId, usize>,
    /// Blocks in which a plugin of a chain missed its deadline.
    late: Vec<(usize, u64)>,
    differences: Vec<Difference>,
    /// Blocks for which a missed one can be heard.
    heard_for: u64,
    /// The engine's number of the first block.
    first: u64,
}

impl Lateness {
    fn new(nodes: &NamedNodes, frames: u32, settling: u64) -> Self {
        let healthy = nodes.iter().enumerate().take(HEALTHY.len());
        let chain_of = healthy.flat_map(|(chain, nodes)| nodes.iter().map(move |n| (n.0, chain)));
        Self {
            chain_of: chain_of.collect(),
            late: Vec::new(),
            differences: Vec::new(),
            // The delays of a chain, those that compensate for others', and ramps.
            heard_for: 4 + 512 / u64::from(frames),
            // It counts from 1.
            first: settling + 1,
        }
    }

    fn collect(&mut self, controller: &mut Controller, told: &mut Told) {
        while let Ok(record) = controller.timing().pop() {
            if let Record::Node(node) = record
                && node.outcome.is_fault()
                && let Some(chain) = self.chain_of.get(&node.node)
            {
                // Those before the first are of no interest.
                if let Some(block) = node.block.checked_sub(self.first) {
                    tracing::debug!(chain, block, outcome = ?node.outcome, "a healthy plugin was late");
                    self.late.push((*chain, block));
                }
            }
        }
        while let Ok(difference) = told.differences.pop() {
            self.differences.push(difference);
        }
        while let Ok(late) = told.late.pop() {
            let Late { block, began_ns, took_ns } = late;
            tracing::debug!(block, began_ns, took_ns, "a callback was late");
        }
    }

    /// How many of the differing blocks are, or follow, one that was missed.
    fn explained(&self) -> u64 {
        let is_explained = |difference: &&Difference| {
            self.late.iter().any(|(chain, block)| {
                let since = difference.block.checked_sub(*block);
                *chain == difference.chain && since.is_some_and(|since| since <= self.heard_for)
            })
        };
        self.differences.iter().filter(is_explained).count() as u64
    }
}

/// Looks for what should be gone by now.
fn look_for_leftovers(report: &mut TortureReport) {
    let give_up = Instant::now() + GONE_WITHIN;
    loop {
        report.leftover_processes = traces::workers_of(std::process::id()).len();
        report.leftover_shm = traces::shared_memory();
        let clean = report.leftover_processes == 0 && report.leftover_shm == 0;
        if clean || Instant::now() > give_up {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
