//! The price of sandboxing: how many plugins fit in workers, against how many fit in-process.
//!
//! Plugins in series that each work for 20 us a block. For each buffer size the largest number is
//! searched whose callback stays under 80 % of the period, in workers and in-process in turns, by
//! p50 and by p99. By p99 it is judged where an empty callback in the same minutes shows a p99,
//! from when it was due, below a fifth of the period; where the machine is less quiet than that,
//! by p50. A number that does not fit gets a second try.
//!
//! All processes do the same amount of work: how much takes a microsecond is found out once.
//!
//! ```text
//! cargo run --release -p sandrack-benches --bin capacity
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Parser;
use sandrack_benches::rig::{self, Failure, Rig, Slot};
use sandrack_benches::stats::{Summary, cell, median, round};
use sandrack_benches::verdict::{self, Check, Output};
use sandrack_host::plugins::test_plugin;
use sandrack_host::report::Isolation;
use serde_json::json;

/// The share of the period that a callback may take.
const LIMIT: f64 = 0.8;
/// Workers must carry this share of what fits in-process.
const LEAST_SHARE: f64 = 0.75;
/// An empty callback's p99 may be this share of the period for p99 to decide.
const QUIET: f64 = 0.2;
/// Most numbers that one round tries, for both percentiles.
const MOST_TRIES: usize = 24;
/// A percentile p99 takes so many blocks.
const BLOCKS_FOR_P99: f64 = 1010.0;
/// Tells the test plugins how much work a microsecond is.
const BURN: &str = "SANDRACK_BURN_ITERATIONS_PER_US";

/// How many plugins fit into a period: in workers against in-process.
#[derive(Parser)]
struct Options {
    /// Buffer sizes in frames, at 48 kHz [default: 64,128,256]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(16..=8192))]
    frames: Vec<u32>,
    /// Work of each plugin in each block, us
    #[arg(long, default_value_t = 20.0)]
    load_us: f64,
    /// Searches per buffer size [default: 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Seconds of a run; more where p99 takes more blocks [default: 1]
    #[arg(long)]
    seconds: Option<f64>,
    /// Where the workers run
    #[arg(long, value_enum, default_value_t)]
    placement: rig::Placement,
    #[command(flatten)]
    output: Output,
}

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    P50,
    P99,
}

/// Load, as a share of the period.
#[derive(Clone, Copy, Debug)]
struct Load {
    p50: Option<f64>,
    p99: Option<f64>,
}

impl Load {
    fn by(&self, by: By) -> Option<f64> {
        match by {
            By::P50 => self.p50,
            By::P99 => self.p99,
        }
    }

    fn fits(&self, by: By) -> bool {
        self.by(by).is_some_and(|load| load <= LIMIT)
    }
}

/// One way of running plugins, and what is known of it at one buffer size.
struct Side {
    name: &'static str,
    rig: Rig,
    most: u32,
    runs: BTreeMap<u32, Vec<Load>>,
    /// A plugin's run p50 in all its turns, us.
    run_us: Vec<f64>,
}

fn main() -> ExitCode {
    sandrack_sandbox::worker::run_if_worker();
    let options = Options::parse();
    if std::env::var_os(BURN).is_none() {
        let iterations = sandrack_plugins_test::iterations_per_us();
        let Ok(program) = std::env::current_exe() else { return ExitCode::FAILURE };
        let again = Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(BURN, iterations.to_string())
            .exec();
        eprintln!("capacity: starting this program again: {again}");
        return ExitCode::FAILURE;
    }
    match measure(&options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("capacity: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Side {
    /// What to try next, or `None`: found.
    fn next(&self, by: By, expected: u32) -> Option<u32> {
        let (fits, fails) = (self.fits(by), self.fails(by));
        if fails <= fits + 1 || self.runs.len() >= MOST_TRIES {
            return None;
        }
        // Cost grows evenly: from the run that came closest to the limit.
        let closest = self
            .runs
            .iter()
            .filter_map(|(&plugins, loads)| {
                let load = loads.iter().filter_map(|load| load.by(by)).min_by(f64::total_cmp)?;
                Some((plugins, load))
            })
            .min_by(|a, b| (a.1 - LIMIT).abs().total_cmp(&(b.1 - LIMIT).abs()));
        let guess = match closest {
            Some((plugins, load)) if load > 0.0 => (f64::from(plugins) * LIMIT / load) as u32,
            _ => expected,
        };
        Some(guess.clamp(fits + 1, fails - 1))
    }

    fn fits(&self, by: By) -> u32 {
        let fails = self.fails(by);
        let fits = |(_, loads): &(&u32, &Vec<Load>)| loads.iter().any(|load| load.fits(by));
        self.runs.range(..fails).filter(fits).map(|(&plugins, _)| plugins).max().unwrap_or(0)
    }

    fn fails(&self, by: By) -> u32 {
        let fails = |(_, loads): &(&u32, &Vec<Load>)| !loads.iter().any(|load| load.fits(by));
        self.runs.iter().find(fails).map_or(self.most + 1, |(&plugins, _)| plugins)
    }

    fn run(
        &mut self,
        frames: u32,
        plugins: u32,
        us: f64,
        length: Duration,
    ) -> Result<Load, Failure> {
        if self.rig.connect(frames, plugins as usize)? {
            self.rig.set_param("block", us)?;
        }
        let blocks = self.rig.run(length)?;
        let busy = Summary::of(&blocks.slice.busy, 1);
        self.run_us.extend(Summary::of(&blocks.run, 1).p50);
        let share = |us: Option<f64>| us.map(|us| us / rig::period_us(frames));
        Ok(Load { p50: share(busy.p50), p99: share(busy.p99) })
    }

    /// A run, and a second one if the first does not fit.
    fn try_number(
        &mut self,
        frames: u32,
        plugins: u32,
        us: f64,
        by: By,
        length: Duration,
    ) -> Result<(), Failure> {
        for _ in 0..2 {
            let load = self.run(frames, plugins, us, length)?;
            self.runs.entry(plugins).or_default().push(load);
            if load.fits(by) {
                break;
            }
        }
        Ok(())
    }
}

/// What was found at one buffer size.
struct Found {
    frames: u32,
    by: By,
    empty_p99: Option<f64>,
    /// Of each round: workers and in-process by p50, then by p99.
    rounds: Vec<[u32; 4]>,
    run_us: [Option<f64>; 2],
}

impl Found {
    fn ratio(&self, by: By) -> Option<f64> {
        let at = if by == By::P50 { 0 } else { 2 };
        let ratios = self.rounds.iter().filter(|round| round[at + 1] > 0);
        median(ratios.map(|round| f64::from(round[at]) / f64::from(round[at + 1])))
    }
}

fn measure(options: &Options) -> Result<ExitCode, Failure> {
    let smoke = options.output.smoke;
    let sizes = match (options.frames.as_slice(), smoke) {
        ([], true) => vec![64],
        ([], false) => vec![64, 128, 256],
        (given, _) => given.to_vec(),
    };
    let rounds = options.output.or(options.rounds, 3, 1);
    let seconds = options.output.or(options.seconds, 1.0, 0.1);
    let _awake = options.output.keep_cores_awake();
    let (supervisor, calibration, cores) = rig::supervisor(options.placement)?;
    let core: Vec<usize> = cores.iter().copied().take(1).collect();
    let plugin = test_plugin("burn")?;
    // As many as there could be if nothing but their own work cost anything, and some.
    let largest = sizes.iter().copied().max().unwrap_or(64);
    let most_for = |frames| (LIMIT * rig::period_us(frames) / options.load_us * 1.1) as u32 + 2;
    let most = if smoke { 6 } else { most_for(largest) };
    let side = |name, isolation| -> Result<Side, Failure> {
        let shape = (1, most as usize);
        let rig = Rig::load(&supervisor, &plugin, shape, isolation, &core)?;
        Ok(Side { name, rig, most, runs: BTreeMap::new(), run_us: Vec::new() })
    };
    let mut sides = [side("workers", Isolation::Plugin)?, side("in-process", Isolation::None)?];
    let mut nothing = Slot::empty();
    let mut found = Vec::new();
    for &frames in &sizes {
        let blocks = if smoke { 0.0 } else { BLOCKS_FOR_P99 };
        let seconds = seconds.max(blocks * rig::period_us(frames) / 1e6);
        let length = Duration::from_secs_f64(seconds);
        let mut at_size =
            Found { frames, by: By::P99, empty_p99: None, rounds: vec![], run_us: [None; 2] };
        let mut empty = nothing.run(frames, core.first().copied(), length)?;
        sides.iter_mut().for_each(|side| side.run_us.clear());
        let mut expected = [(LIMIT * rig::period_us(frames) / (options.load_us + 6.0)) as u32; 2];
        for _ in 0..rounds {
            for side in &mut sides {
                side.most = most.min(most_for(frames));
                side.runs.clear();
            }
            let mut counts = [0; 4];
            for (by, at) in [(By::P50, 0), (By::P99, 2)] {
                loop {
                    let mut more = false;
                    for (side, expected) in sides.iter_mut().zip(expected) {
                        if let Some(plugins) = side.next(by, expected) {
                            side.try_number(frames, plugins, options.load_us, by, length)?;
                            more = true;
                        }
                    }
                    if !more {
                        break;
                    }
                    empty.add(nothing.run(frames, core.first().copied(), length / 4)?);
                }
                counts[at] = sides[0].fits(by);
                counts[at + 1] = sides[1].fits(by);
            }
            expected = [counts[0].max(1), counts[1].max(1)];
            at_size.rounds.push(counts);
        }
        at_size.empty_p99 = Summary::of(&empty.since_due, 1).p99;
        let quiet = |p99: f64| p99 < QUIET * rig::period_us(frames);
        at_size.by = if at_size.empty_p99.is_some_and(quiet) { By::P99 } else { By::P50 };
        for (run_us, side) in at_size.run_us.iter_mut().zip(&sides) {
            *run_us = median(side.run_us.iter().copied());
        }
        found.push(at_size);
    }
    let names = [sides[0].name, sides[1].name];
    sides.into_iter().for_each(|side| side.rig.quit());
    report(options, core.first(), calibration.realtime, names, &found)
}

fn report(
    options: &Options,
    core: Option<&usize>,
    realtime: bool,
    names: [&str; 2],
    found: &[Found],
) -> Result<ExitCode, Failure> {
    let place = core.map_or("left to the scheduler".to_owned(), |core| format!("on core {core}"));
    let mut text = format!(
        "Capacity: plugins of {} us in series under {} % of the period, {place}; median of the \
         rounds\n\n{:<8}{:>10}{:>12}{:>8}{:>12}{:>12}{:>8}   {:<24}{}\n",
        options.load_us,
        LIMIT * 100.0,
        "frames",
        names[0],
        names[1],
        "ratio",
        names[0],
        names[1],
        "ratio",
        "a plugin's run p50, us",
        "empty p99, us",
    );
    text.insert_str(
        text.rfind("frames").unwrap_or(0),
        &format!("{:<8}{:^30}{:^32}\n", "", "by p50", "by p99"),
    );
    let (mut checks, mut sizes) = (Vec::new(), Vec::new());
    for size in found {
        let column = |at: usize| median(size.rounds.iter().map(|round| f64::from(round[at])));
        let count = |at: usize| column(at).map_or("-".to_owned(), |n| n.to_string());
        let run = |at: usize| cell(size.run_us[at]).trim().to_owned();
        let _ = writeln!(
            text,
            "{:<8}{:>10}{:>12}{}{:>12}{:>12}{}   {:<24}{}",
            size.frames,
            count(0),
            count(1),
            cell(size.ratio(By::P50)),
            count(2),
            count(3),
            cell(size.ratio(By::P99)),
            format!("{} / {}", run(0), run(1)),
            cell(size.empty_p99).trim(),
        );
        let by = if size.by == By::P50 { "p50" } else { "p99" };
        checks.push(Check::at_least(
            format!("workers against in-process at {} frames, by {by}", size.frames),
            size.ratio(size.by),
            LEAST_SHARE,
        ));
        let ns = |at: usize| size.rounds.iter().map(|round| round[at]).collect::<Vec<_>>();
        sizes.push(json!({
            "frames": size.frames,
            "judged_by": by,
            "empty_p99_us": round(size.empty_p99),
            "p50": { "workers": ns(0), "in_process": ns(1), "ratio": round(size.ratio(By::P50)) },
            "p99": { "workers": ns(2), "in_process": ns(3), "ratio": round(size.ratio(By::P99)) },
            "run_p50_us": { "workers": round(size.run_us[0]), "in_process": round(size.run_us[1]) },
        }));
    }
    let value = json!({
        "bench": "capacity",
        "load_us": options.load_us,
        "limit": LIMIT,
        "rate": rig::RATE,
        "placement": place,
        "realtime": realtime,
        "sizes": sizes,
    });
    Ok(verdict::finish(&options.output, &text, value, &checks)?)
}
