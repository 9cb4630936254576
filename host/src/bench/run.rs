//! One run: a number of plugins, a buffer size, a load; some periods long.

use super::{BenchOptions, LOAD_PARAM};
use crate::drivers::{
    self, Callback, CallbackIo, CallbackTime, Driver, DriverConfig, DriverOptions, clock,
};
use crate::error::Error;
use crate::measure::Measurement;
use crate::report::{Empty, Isolation, Percentiles, Run};
use crate::session::{Session, realtime_setup};
use sandrack_engine::Controller;
use sandrack_engine::graph::NodeId;
use sandrack_sandbox::calibrate::Calibration;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Settling time before a run is measured: caches, parameters, priorities.
const WARM_UP: Duration = Duration::from_millis(40);

/// Of the driver, each way.
pub(super) const CHANNELS: u32 = 2;

/// Loaded plugins and what is known of the machine.
pub(super) struct Rig<'a> {
    session: Session,
    options: &'a BenchOptions,
    isolation: Isolation,
    core: Option<usize>,
    /// Open for the runs of one buffer size.
    driver: Option<Box<dyn Driver>>,
}

impl<'a> Rig<'a> {
    pub(super) fn new(
        session: Session,
        options: &'a BenchOptions,
        isolation: Isolation,
        calibration: &Calibration,
    ) -> Self {
        let core = calibration.cores.first().copied().filter(|_| calibration.pins());
        Self { session, options, isolation, core, driver: None }
    }

    pub(super) fn isolation(&self) -> Isolation {
        self.isolation
    }

    pub(super) fn into_session(self) -> Session {
        self.session
    }

    /// Measures for so long.
    pub(super) fn run(
        &mut self,
        frames: u32,
        plugins: u32,
        load_us: f64,
        length: Duration,
    ) -> Result<Run, Error> {
        let mut driver = match self.driver.take() {
            Some(driver) if driver.config().frames == frames => driver,
            other => {
                // There may be one at a time.
                drop(other);
                open(self.options, frames, self.core)?
            }
        };
        let DriverConfig { rate, inputs, outputs, .. } = *driver.config();
        let mut running =
            self.session.connect(rate, frames, plugins as usize, (inputs, outputs))?;
        let nodes: Vec<(NodeId, String)> = running.nodes.concat();
        if self.options.has_load {
            self.set_load(&mut running.controller, &nodes, load_us)?;
        }
        let period_ns = u64::from(frames) * 1_000_000_000 / u64::from(rate);
        let mut measurement = Measurement::new(&nodes, period_ns);
        driver.start(Box::new(running.callback))?;
        sleep(WARM_UP.max(Duration::from_nanos(3 * period_ns)));
        measurement.discard(&mut running.controller);
        let xruns_before = driver.xruns();
        let end = Instant::now() + length;
        while Instant::now() < end {
            sleep(Duration::from_millis(10).min(end.saturating_duration_since(Instant::now())));
            measurement.collect(&mut running.controller);
        }
        let xruns = driver.xruns() - xruns_before;
        measurement.collect(&mut running.controller);
        // The engine is dropped here, not in the driver's thread.
        drop(driver.stop()?);
        self.driver = Some(driver);
        let callback_us = Percentiles::from_ns(&measurement.callback);
        let mut run = Run {
            frames,
            rate,
            plugins: nodes.len() as u32,
            load_us,
            isolation: self.isolation,
            periods: measurement.blocks,
            xruns,
            late: measurement.late,
            callback_us,
            hop_us: Percentiles::from_ns(&measurement.hop),
            overhead_us: Percentiles::from_ns(&measurement.overhead),
            nodes: measurement.nodes(frames == 64 && load_us == 20.0),
            causes: measurement.causes(),
            ..Run::default()
        };
        run.load = callback_us.scaled(1.0 / run.period_us());
        Ok(run)
    }

    fn set_load(
        &self,
        controller: &mut Controller,
        nodes: &[(NodeId, String)],
        load_us: f64,
    ) -> Result<(), Error> {
        let info = self.session.info(0, 0);
        let param = info.params.iter().find(|param| param.name == LOAD_PARAM).ok_or_else(|| {
            Error::Usage(format!(
                "{}: it has no parameter '{LOAD_PARAM}', so its load can't be set; leave out \
                 --load-us",
                self.options.plugin
            ))
        })?;
        for (node, _) in nodes {
            controller
                .set_param(*node, param.id, load_us)
                .map_err(|e| Error::Plan { reason: e.to_string() })?;
        }
        Ok(())
    }
}

/// Opens the driver for two channels each way, if it has them.
fn open(
    options: &BenchOptions,
    frames: u32,
    core: Option<usize>,
) -> Result<Box<dyn Driver>, Error> {
    let wanted = DriverConfig { rate: options.rate, frames, inputs: CHANNELS, outputs: CHANNELS };
    let setup = Arc::new(realtime_setup(core));
    let how = DriverOptions { setup: Some(setup), ..DriverOptions::default() };
    drivers::open(&options.driver, &wanted, &how)
}

/// Whether the driver can be used at all: opens it, starts it and closes it.
///
/// # Errors
/// It can't, with what to try.
pub fn try_driver(options: &BenchOptions) -> Result<(), Error> {
    let Some(frames) = options.frames.first() else { return Ok(()) };
    let mut driver = open(options, *frames, None)?;
    let (sender, _) = std::sync::mpsc::channel();
    driver.start(Box::new(Nothing { took: Vec::new(), sender }))?;
    drop(driver.stop()?);
    Ok(())
}

/// Measures a callback that does nothing.
pub(super) fn empty(
    options: &BenchOptions,
    frames: u32,
    core: Option<usize>,
) -> Result<Empty, Error> {
    let length = options.length(frames);
    let periods = (length.as_secs_f64() * f64::from(options.rate) / f64::from(frames)) as u64 + 1;
    let mut driver = open(options, frames, core)?;
    let (sender, receiver) = std::sync::mpsc::channel();
    let took = Vec::with_capacity(periods as usize);
    driver.start(Box::new(Nothing { took, sender }))?;
    // A driver that stands still is not waited for.
    let end = Instant::now() + 2 * length + Duration::from_secs(2);
    while driver.blocks() < periods && driver.running() && Instant::now() < end {
        sleep(Duration::from_millis(1));
    }
    drop(driver.stop()?);
    let took = receiver.recv().unwrap_or_default();
    Ok(Empty {
        periods: took.len() as u64,
        xruns: driver.xruns(),
        callback_us: Percentiles::from_values(&took),
    })
}

/// A callback that only looks at the clock. Dropped on the control thread, it hands over what it
/// saw.
struct Nothing {
    took: Vec<f64>,
    sender: std::sync::mpsc::Sender<Vec<f64>>,
}

impl Callback for Nothing {
    fn process(&mut self, time: &CallbackTime, _io: &mut CallbackIo<'_>) {
        if self.took.len() < self.took.capacity() {
            self.took.push(clock::now_ns().saturating_sub(time.due_ns) as f64 / 1e3);
        }
    }
}

impl Drop for Nothing {
    fn drop(&mut self) {
        let _ = self.sender.send(std::mem::take(&mut self.took));
    }
}
