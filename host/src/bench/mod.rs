//! `bench`: how buffer size, number of plugins and load per plugin interact on this machine.
//!
//! Every combination runs for a fraction of a second on the driver; then, for each buffer size
//! and load, the largest number of plugins that still fits is searched. An empty callback is
//! measured beside each buffer size: what it shows is the machine's own noise.

mod capacity;
mod run;

use crate::error::Error;
use crate::report::{Isolation, Report};
use crate::session::{Session, SessionConfig};
use run::Rig;
pub use run::try_driver;
use sandrack_sandbox::calibrate::{Calibration, Placement, measure};
use sandrack_sandbox::format::PluginRef;
use sandrack_sandbox::supervisor::Supervisor;
use std::path::Path;
use std::time::Duration;

/// What to measure.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// Frames per period.
    pub frames: Vec<u32>,
    /// Frames per second.
    pub rate: u32,
    /// Plugins in series.
    pub plugins: Vec<u32>,
    /// Such chains side by side.
    pub tracks: u32,
    /// Work per plugin and block, us. Only for the test plugin that has such a parameter.
    pub load_us: Vec<f64>,
    /// Where the plugins run.
    pub isolation: Vec<Isolation>,
    /// Length of a run; longer where that would be too few periods.
    pub seconds: f64,
    /// Whether to search for the capacity.
    pub capacity: bool,
    /// Most plugins to try in that search.
    pub most: u32,
    /// The plugin.
    pub plugin: PluginRef,
    /// Whether it is the test plugin whose load can be set.
    pub has_load: bool,
    /// The driver, by its name.
    pub driver: String,
    /// The command line, for the report.
    pub command: String,
}

/// The parameter of the test plugin that sets its work per block, in us.
const LOAD_PARAM: &str = "block";

/// The fewest periods of a run.
const LEAST_PERIODS: u32 = 12;

/// Processes in series when the floor is measured.
const FLOOR_LINKS: usize = 32;

/// A callback that takes more than this share of the period does not count as fitting.
const CAPACITY_LIMIT: f64 = 0.8;

/// Tells what is going on.
pub trait Progress: Sync {
    /// So many steps in all, now known better.
    fn steps(&self, steps: u64);
    /// One of them is done; what follows.
    fn step(&self, what: &str);
}

impl BenchOptions {
    fn length(&self, frames: u32) -> Duration {
        let least = f64::from(LEAST_PERIODS * frames) / f64::from(self.rate);
        Duration::from_secs_f64(self.seconds.max(least))
    }

    /// Whether so many plugins with so much work can fit into the period at all, on any machine.
    fn can_fit(&self, frames: u32, plugins: u32, load_us: f64, cores: usize) -> bool {
        let period_us = f64::from(frames) * 1e6 / f64::from(self.rate);
        let side_by_side = (self.tracks as usize).min(cores) as f64;
        f64::from(plugins * self.tracks) * load_us < period_us * side_by_side
    }
}

/// The floor at this buffer size, us: the cores rest as long between two rounds as between two
/// callbacks.
fn floor(
    program: &Path,
    calibration: &Calibration,
    options: &BenchOptions,
    frames: u32,
) -> Result<f64, Error> {
    let placement = match (calibration.pins(), calibration.cores.first()) {
        (true, Some(&core)) => Placement::SameCore(core),
        _ => Placement::AnyCore,
    };
    let period = Duration::from_secs_f64(f64::from(frames) / f64::from(options.rate));
    // A median needs no more, however long the runs are.
    let length = options.length(frames).min(Duration::from_secs(1));
    let rounds = (length.as_secs_f64() / period.as_secs_f64()) as usize;
    let (floor, _) = measure(program, FLOOR_LINKS, placement, rounds.max(10), period)?;
    Ok(floor.p50 / 1e3)
}

/// Runs the whole bench. `program`: what is started for the floor; it calls
/// [`run_if_worker`](sandrack_sandbox::worker::run_if_worker) first thing.
pub fn bench(
    options: &BenchOptions,
    supervisor: &Supervisor,
    program: &Path,
    calibration: &Calibration,
    progress: &dyn Progress,
) -> Result<Report, Error> {
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        date: crate::report::now_utc(),
        command: options.command.clone(),
        plugin: options.plugin.to_string(),
        driver: options.driver.clone(),
        capacity_limit: CAPACITY_LIMIT,
        ..Report::default()
    };
    report.floor.same_core_us = calibration.same_core.p50 / 1e3;
    report.floor.any_core_us = calibration.any_core.p50 / 1e3;

    let searches = if options.capacity { options.frames.len() * options.load_us.len() } else { 0 };
    let sweep = options.frames.len() * options.plugins.len() * options.load_us.len();
    let per_isolation = (sweep + 4 * searches) as u64;
    progress.steps(options.isolation.len() as u64 * per_isolation + options.frames.len() as u64);

    let cores = if calibration.pins() { calibration.cores.clone() } else { Vec::new() };
    let mut empty = Vec::with_capacity(options.frames.len());
    let mut floors = Vec::with_capacity(options.frames.len());
    for &frames in &options.frames {
        progress.step(&format!("empty callback, {frames} frames"));
        empty.push(run::empty(options, frames, cores.first().copied())?);
        floors.push(floor(program, calibration, options, frames)?);
    }
    let mut left_out = 0;
    for &isolation in &options.isolation {
        let most = options.plugins.iter().copied().max().unwrap_or(1);
        let most = if options.capacity { most.max(options.most) } else { most };
        progress.step(&format!("loading {} plugins, {}", most * options.tracks, isolation.words()));
        let config = SessionConfig {
            tracks: vec![vec![options.plugin.clone(); most as usize]; options.tracks as usize],
            isolation,
            cores: cores.clone(),
            ..SessionConfig::default()
        };
        let mut session = Session::load(supervisor, &config, &|| {})?;
        session.fit_all(run::CHANNELS)?;
        let mut rig = Rig::new(session, options, isolation, calibration);
        let beside = empty.iter().zip(&floors);
        for (&frames, (empty, &floor_us)) in options.frames.iter().zip(beside) {
            for &load_us in &options.load_us {
                for &plugins in &options.plugins {
                    progress.step(&format!(
                        "{frames} frames, {plugins} plugins of {load_us} us, {}",
                        isolation.words()
                    ));
                    if !options.can_fit(frames, plugins, load_us, calibration.cores.len()) {
                        left_out += 1;
                        continue;
                    }
                    let mut run = rig.run(frames, plugins, load_us, options.length(frames))?;
                    run.empty = Some(empty.clone());
                    run.floor_us = floor_us;
                    report.runs.push(run);
                }
                if options.capacity && (load_us > 0.0 || !options.has_load) {
                    let found =
                        capacity::search(&mut rig, options, frames, load_us, empty, || {
                            progress.step(&format!(
                                "how many plugins of {load_us} us fit into {frames} frames, {}",
                                isolation.words()
                            ));
                        })?;
                    report.capacity.push(found);
                }
            }
        }
        rig.into_session().quit();
    }
    report.runs.sort_by(|a, b| {
        (a.frames, a.plugins, a.isolation, a.load_us)
            .partial_cmp(&(b.frames, b.plugins, b.isolation, b.load_us))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    if left_out > 0 {
        report.notes.push(format!(
            "{left_out} combinations were left out: the plugins' work alone is longer than the \
             period."
        ));
    }
    Ok(report)
}
