//! What the flight recorder costs: a chain of plugins that are recorded against the same chain that
//! is not, in turns.
//!
//! Gain plugins in series, a worker process each, run by the engine in the virtual driver's callback,
//! as in `hop`. Of each pair of turns, the second begins the next pair, so that a drift of the machine
//! favours neither. Figures are microseconds per hop, p50:
//! - *run*: the plugin, with the recording, which is written before it.
//! - *whole*: the callback divided by the plugins. The ratio of the two wholes is judged.
//!
//! ```text
//! cargo run --release -p sandrack-benches --bin recorder
//! ```

use clap::Parser;
use sandrack_benches::rig::{self, Failure, Rig};
use sandrack_benches::stats::{Summary, cell, median, round};
use sandrack_benches::verdict::{self, Check, Output};
use sandrack_host::flight::RecorderOptions;
use sandrack_host::plugins::test_plugin;
use sandrack_host::report::Isolation;
use sandrack_sandbox::supervisor;
use serde_json::json;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

/// Most times the hop without it that a hop with the recorder may cost.
const MOST: f64 = 1.05;

/// A chain of plugins that are recorded, against one that is not.
#[derive(Parser)]
struct Options {
    /// Plugins in series
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(2..=60))]
    plugins: u16,
    /// Frames per period, at 48 kHz
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=8192))]
    frames: u32,
    /// Pairs of turns [default: 12]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Seconds of a turn [default: 1.5]
    #[arg(long)]
    seconds: Option<f64>,
    #[command(flatten)]
    output: Output,
}

/// p50s of one turn, us per hop.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    wait: f64,
    run: f64,
    whole: f64,
}

fn main() -> ExitCode {
    sandrack_sandbox::worker::run_if_worker();
    match measure(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("recorder: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<ExitCode, Failure> {
    let rounds = options.output.or(options.rounds, 12, 2);
    let length = Duration::from_secs_f64(options.output.or(options.seconds, 1.5, 0.4));
    let _awake = options.output.keep_cores_awake();
    let (supervisor, _, cores) = rig::supervisor(rig::Placement::default())?;
    let plugins = usize::from(options.plugins);
    let here: Vec<usize> = cores.into_iter().take(1).collect();
    let plugin = test_plugin("gain")?;
    let mut rig = Rig::load(&supervisor, &plugin, (1, plugins), Isolation::Plugin, &here)?;
    rig.connect(options.frames, plugins)?;
    let usual = RecorderOptions::default();
    let recorder =
        supervisor::RecorderOptions { seconds: usual.seconds, most_bytes: usual.most_bytes };
    let p50 = |ns: &[u64], by: usize| {
        Summary::of(ns, by).p50.ok_or("too few blocks for a median: more --seconds")
    };
    let mut turn = |recorded: bool| -> Result<Turn, Failure> {
        rig.record(recorded.then_some(recorder))?;
        let blocks = rig.run(length)?;
        Ok(Turn {
            wait: p50(&blocks.wait, 1)?,
            run: p50(&blocks.run, 1)?,
            whole: p50(&blocks.slice.busy, plugins)?,
        })
    };
    let mut pairs = Vec::new();
    for round in 0..rounds {
        let first = turn(round % 2 == 1)?;
        let second = turn(round % 2 == 0)?;
        pairs.push(if round % 2 == 0 { (first, second) } else { (second, first) });
    }
    rig.quit();
    report(options, &pairs)
}

fn report(options: &Options, pairs: &[(Turn, Turn)]) -> Result<ExitCode, Failure> {
    let mut text = format!(
        "Recorder: {} gain plugins in series, a process each, {} frames at {} Hz; p50, us per hop\n\n\
         {:<7}{:>24}{:>24}\n{:<7}{names}{names} {:>7}\n",
        options.plugins,
        options.frames,
        rig::RATE,
        "",
        "not recorded",
        "recorded",
        "round",
        "ratio",
        names = format!("{:>8}{:>8}{:>8}", "wait", "run", "whole"),
    );
    let cells = |turn: &Turn| {
        [turn.wait, turn.run, turn.whole].map(|figure| format!(" {}", cell(Some(figure)))).concat()
    };
    for (number, (without, with)) in pairs.iter().enumerate() {
        let ratio = cell(Some(with.whole / without.whole));
        let _ = writeln!(text, "{:<7}{}{} {ratio}", number + 1, cells(without), cells(with));
    }
    let of = |get: &dyn Fn(&(Turn, Turn)) -> f64| median(pairs.iter().map(get));
    let ratio = of(&|(without, with)| with.whole / without.whole);
    let extra = of(&|(without, with)| (with.whole - without.whole) * 1e3);
    let _ = writeln!(text, "\nmedian: {} ns more a hop", extra.map_or(0.0, f64::round));
    let checks = [Check::at_most("recorded hop, multiple of one that is not", ratio, MOST)];
    let row =
        |turn: &Turn| json!({ "wait_us": turn.wait, "run_us": turn.run, "whole_us": turn.whole });
    let rows: Vec<_> = pairs
        .iter()
        .map(|(without, with)| json!({ "without": row(without), "with": row(with) }))
        .collect();
    let value = json!({
        "bench": "recorder",
        "plugins": options.plugins,
        "frames": options.frames,
        "rate": rig::RATE,
        "rounds": rows,
        "ratio": round(ratio),
        "extra_ns": extra.map(f64::round),
    });
    Ok(verdict::finish(&options.output, &text, value, &checks)?)
}
