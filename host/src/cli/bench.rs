//! `sandrack bench`

use super::{print, report_restrictions};
use crate::bench::{BenchOptions, Progress, bench, try_driver};
use crate::catalog::find::named;
use crate::drivers::{self, DeviceDetails, Rates};
use crate::error::Error;
use crate::plugins::test_plugin;
use crate::report::{Isolation, Machine, text, write_html, write_json};
use indicatif::{ProgressBar, ProgressStyle};
use sandrack_sandbox::calibrate::calibrate;
use sandrack_sandbox::format::PluginRef;
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use sandrack_sandbox::sys::idle::{awake_advice, keep_cores_awake};
use sandrack_sandbox::sys::thread::{realtime_advice, realtime_class};
use std::path::PathBuf;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Plugin to measure with [default: a test plugin whose load can be set]
    #[arg(long, value_name = "PLUGIN")]
    plugin: Option<PluginRef>,
    /// Buffer sizes in frames [default: those that the driver can do]
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    frames: Vec<u32>,
    /// Frames per second [default: as the driver is set, or 48000]
    #[arg(long)]
    rate: Option<u32>,
    /// Plugins in series
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    plugins: Vec<u32>,
    /// Such chains side by side, summed
    #[arg(long, default_value_t = 1)]
    tracks: u32,
    /// Work of each plugin in each block, in us (test plugin only)
    #[arg(long, value_delimiter = ',', value_name = "US,…")]
    load_us: Vec<f64>,
    /// Where plugins run: plugin (each in its own process), group (one process), none
    #[arg(long, value_delimiter = ',', value_parser = isolation, value_name = "WHERE,…")]
    isolation: Vec<Isolation>,
    /// Length of each run, in seconds
    #[arg(long)]
    seconds: Option<f64>,
    /// Audio driver, as 'sandrack devices' names it
    #[arg(long, default_value = "virtual", value_name = "NAME")]
    driver: String,
    /// Fewer combinations: under half a minute
    #[arg(long)]
    quick: bool,
    /// Don't search for how many plugins fit
    #[arg(long)]
    no_capacity: bool,
    /// Most plugins to try when searching for how many fit
    #[arg(long)]
    most: Option<u32>,
    /// Let idle cores sleep: spares electricity, makes waking them slower
    #[arg(long)]
    let_cores_sleep: bool,
    /// Where to write the figures
    #[arg(long, default_value = "sandrack-bench.json", value_name = "FILE")]
    json: PathBuf,
    /// Where to write the report
    #[arg(long, default_value = "sandrack-bench.html", value_name = "FILE")]
    html: PathBuf,
}

/// For clap: the word for where plugins run.
pub(super) fn isolation(word: &str) -> Result<Isolation, String> {
    Isolation::ALL
        .into_iter()
        .find(|isolation| isolation.name() == word)
        .ok_or_else(|| "plugin, group or none".to_owned())
}

fn or<T: Clone>(given: &[T], default: &[T]) -> Vec<T> {
    if given.is_empty() { default.to_vec() } else { given.to_vec() }
}

impl Arguments {
    fn options(&self) -> Result<BenchOptions, Error> {
        let usage = |what: String| Err(Error::Usage(what));
        let quick = self.quick;
        let device = drivers::probe(&self.driver)?;
        let details = device.details.unwrap_or_default();
        let frames = self.sizes(&details)?;
        let rate = self.rate(&details)?;
        let plugins = or(&self.plugins, if quick { &[1, 8] } else { &[1, 8, 32] });
        let total = plugins.iter().copied().max().unwrap_or(0).saturating_mul(self.tracks);
        if plugins.contains(&0) || self.tracks == 0 || total > 2000 {
            return usage("--plugins times --tracks: 1 to 2000 in all".into());
        }
        if let (Some(_), false) = (&self.plugin, self.load_us.is_empty()) {
            return usage(
                "--load-us: only the test plugin's load can be set; leave out --plugin".into(),
            );
        }
        let has_load = self.plugin.is_none();
        let load_us = match has_load {
            true => or(&self.load_us, if quick { &[0.0, 20.0] } else { &[0.0, 20.0, 100.0] }),
            false => vec![0.0],
        };
        if let Some(bad) = load_us.iter().find(|us| !(0.0..=10_000.0).contains(*us)) {
            return usage(format!("--load-us {bad}: 0 to 10000"));
        }
        let seconds = self.seconds.unwrap_or(if quick { 0.15 } else { 0.2 });
        if !(0.01..=3600.0).contains(&seconds) {
            return usage(format!("--seconds {seconds}: 0.01 to 3600"));
        }
        let most = self.most.unwrap_or(if quick { 64 } else { 256 });
        if !(1..=2000).contains(&most.saturating_mul(self.tracks)) {
            return usage(format!("--most {most}: 1 to 2000 in all"));
        }
        Ok(BenchOptions {
            frames,
            rate,
            plugins,
            tracks: self.tracks,
            load_us,
            isolation: or(&self.isolation, &Isolation::ALL),
            seconds,
            capacity: !self.no_capacity,
            most,
            plugin: match &self.plugin {
                Some(plugin) => named(plugin)?,
                None => test_plugin("burn")?,
            },
            has_load,
            driver: device.name,
            command: command_line(),
        })
    }

    /// The buffer sizes to measure: those that the driver can do.
    fn sizes(&self, driver: &DeviceDetails) -> Result<Vec<u32>, Error> {
        let usual: &[u32] = match self.quick {
            true => &[64, 256],
            false => &[16, 32, 64, 128, 256, 512, 1024, 2048],
        };
        let Some(sizes) = &driver.frames else {
            return Ok(or(&self.frames, usual));
        };
        if let Some(bad) = self.frames.iter().find(|frames| !sizes.allows(**frames)) {
            return Err(Error::Usage(format!(
                "--frames {bad}: driver {} can do {}",
                self.driver,
                sizes.words()
            )));
        }
        if !self.frames.is_empty() {
            return Ok(self.frames.clone());
        }
        let some: Vec<u32> = usual.iter().copied().filter(|n| sizes.allows(*n)).collect();
        Ok(match self.driver == "virtual" {
            true => some,
            false if !self.quick => sizes.list(),
            // One with sizes of its own, such as 441.
            false if some.is_empty() => vec![sizes.preferred],
            false => some,
        })
    }

    fn rate(&self, driver: &DeviceDetails) -> Result<u32, Error> {
        let wanted = self.rate;
        let usage = |can: String| {
            let rate = wanted.unwrap_or_default();
            Err(Error::Usage(format!("--rate {rate}: driver {} can do {can}", self.driver)))
        };
        match &driver.rates {
            Rates::Between(least, most) => {
                let rate = wanted.unwrap_or(48_000);
                if !(*least..=*most).contains(&rate) {
                    return usage(format!("{least} to {most}"));
                }
                Ok(rate)
            }
            // Whether it can do one that is not usual shows when it is opened.
            Rates::These { now, .. } => match wanted.unwrap_or(*now) {
                0 => Ok(48_000),
                rate => Ok(rate),
            },
        }
    }
}

fn command_line() -> String {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    format!("sandrack {}", arguments.join(" "))
}

struct Bar(ProgressBar);

impl Progress for Bar {
    fn steps(&self, steps: u64) {
        self.0.set_length(steps);
    }
    fn step(&self, what: &str) {
        self.0.inc(1);
        self.0.set_message(what.to_owned());
    }
}

pub(super) fn run(arguments: Arguments, supervisor: SupervisorOptions) -> Result<(), Error> {
    let options = arguments.options()?;
    let bar = Bar(ProgressBar::new(1));
    bar.0.set_style(
        ProgressStyle::with_template("{bar:30} {percent:>3}%  {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.0.set_message("calibrating");
    let program = supervisor.program.clone();
    let wants_realtime = supervisor.realtime;
    let supervisor = Supervisor::new(supervisor)?;
    // A driver or plugin that can't be used is said at once, not after a minute of measuring.
    try_driver(&options)?;
    let worker = supervisor.start_worker(&options.plugin.to_string(), None)?;
    worker.load(&options.plugin)?;
    worker.quit();
    let awake = (!arguments.let_cores_sleep).then(keep_cores_awake);
    let calibration = calibrate(&program)?;
    let report = bench(&options, &supervisor, &program, &calibration, &bar);
    bar.0.finish_and_clear();
    let mut report = report?;
    report.machine = machine(&supervisor, wants_realtime);
    report.machine.idle_cores = match &awake {
        Some(Ok(_)) => "cores kept awake".to_owned(),
        Some(Err(error)) => format!("cores may sleep: {error}; {}", awake_advice()),
        None => "cores may sleep (--let-cores-sleep)".to_owned(),
    };
    report_restrictions(&supervisor);
    write_json(&report, &arguments.json)?;
    write_html(&report, &arguments.html)?;
    print(&text(&report));
    print(&format!(
        "\nFigures: {}\nReport:  {}\n",
        arguments.json.display(),
        arguments.html.display()
    ));
    Ok(())
}

fn machine(supervisor: &Supervisor, wants_realtime: bool) -> Machine {
    let restrictions = supervisor.restrictions();
    let mut machine = Machine::gather();
    machine.realtime_granted = wants_realtime && restrictions.not_realtime.is_none();
    machine.realtime = match (wants_realtime, machine.realtime_granted) {
        (false, _) => "no: not asked for (--no-realtime)".to_owned(),
        (_, true) => realtime_class(),
        (_, false) => format!("no: {}", realtime_advice()),
    };
    machine.locked_memory_granted = !restrictions.not_locked;
    machine.locked_memory = match restrictions.not_locked {
        false => "yes".to_owned(),
        true => "no: raise the limit 'memlock' (ulimit -l)".to_owned(),
    };
    machine
}
