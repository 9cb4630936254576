//! The hop against the floor: what Sandrack's hand-off from one worker to the next costs, as a
//! multiple of the bare one.
//!
//! Gain plugins in series, a worker process each, run by the engine in the virtual driver's
//! callback. In turns with it, round by round: the floor's chain of as many processes
//! ([`sandrack_benches::chain`]) in the same driver's callback, on the same cores with the same
//! period; the floor of `sandrack calibrate`; and an empty callback. With `--jack` also as many
//! JACK clients, at 512 frames and at those of the run, on the same core and as JACK comes, left
//! to the scheduler, with Sandrack at the same frames. Judged is the like: 512 frames, as with
//! JACK's own default, and the same placement.
//!
//! All figures are microseconds per hop, p50:
//! - *wait*: from the end of one plugin to the start of the next: the hand-off. It is held against
//!   the floor, whose blocks hold one more hand-off, the one back to the host.
//! - *whole*: the callback divided by the plugins: hand-offs, plugins, engine, everything. It is
//!   held against JACK's time from the begin of the first client to the end of the last.
//! - *engine*: what is left of a block (not of a hop) without the plugins' waits and runs: the
//!   engine's own work and the way back to it.
//!
//! ```text
//! cargo run --release -p sandrack-benches --bin hop
//! cargo build --release -p sandrack-benches --features jack && target/release/hop --jack
//! ```

use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Parser;
use sandrack_benches::chain::{self, Chain, Driven};
use sandrack_benches::os;
use sandrack_benches::rig::{self, Blocks, Failure, FloorCallback, Rig, Slot};
use sandrack_benches::stats::{Summary, cell, median, round};
use sandrack_benches::verdict::{self, Check, Output};
use sandrack_host::plugins::test_plugin;
use sandrack_host::report::Isolation;
use sandrack_sandbox::calibrate;
use serde_json::{Value, json};

/// Most times the floor that a hand-off may cost.
const MOST_FLOORS: f64 = 1.4;
/// So many times dearer JACK has to be.
const JACK_FACTOR: f64 = 3.0;
/// Frames at which JACK is measured in any case.
const JACK_FRAMES: u32 = 512;

/// A chain of plugins, a process each, against the bare hand-off.
#[derive(Parser)]
struct Options {
    /// Plugins in series
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(2..=60))]
    plugins: u16,
    /// Frames per period, at 48 kHz
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=8192))]
    frames: u32,
    /// Rounds, in each of which everything has its turn [default: 8]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Seconds of a turn [default: 1.5]
    #[arg(long)]
    seconds: Option<f64>,
    /// Where all processes run
    #[arg(long, value_enum, default_value_t)]
    placement: rig::Placement,
    /// Also against JACK, in the first three rounds, with the program jack_peer beside this one
    #[arg(long)]
    jack: bool,
    #[command(flatten)]
    output: Output,
}

/// p50s of one round, us per hop; `engine` per block.
#[derive(Clone, Copy, Debug)]
struct Round {
    floor: f64,
    calibrated: f64,
    wait: f64,
    run: f64,
    whole: f64,
    engine: f64,
    empty: f64,
}

/// A figure of the table, and how it follows from a round.
type Column = (&'static str, fn(&Round) -> f64);

/// p50s of JACK and of Sandrack at the same frames, us per hop.
#[derive(Clone, Copy, Debug)]
struct Jack {
    frames: u32,
    /// On one core, instead of left to the scheduler.
    pinned: bool,
    jack_whole: f64,
    jack_wait: f64,
    whole: f64,
    wait: f64,
}

fn main() -> ExitCode {
    sandrack_sandbox::worker::run_if_worker();
    chain::run_if_node();
    match measure(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hop: {error}");
            ExitCode::FAILURE
        }
    }
}

fn p50(ns: &[u64], by: usize) -> Result<f64, Failure> {
    Summary::of(ns, by).p50.ok_or_else(|| "too few blocks for a median: more --seconds".into())
}

struct Bench<'a> {
    options: &'a Options,
    rig: Rig,
    cores: Vec<usize>,
    length: Duration,
}

impl Bench<'_> {
    fn plugins(&self) -> usize {
        usize::from(self.options.plugins)
    }

    fn sandrack(&mut self, frames: u32) -> Result<Blocks, Failure> {
        self.rig.connect(frames, usize::from(self.options.plugins))?;
        let blocks = self.rig.run(self.length)?;
        let many = blocks.late_blocks * 20 > blocks.slice.busy.len() as u64;
        if many && !self.options.output.smoke {
            let late = blocks.late_blocks;
            return Err(format!("{late} blocks were late at {frames} frames: no figures").into());
        }
        Ok(blocks)
    }

    /// JACK on the same core, if there is one, and left to the scheduler, and Sandrack at the same
    /// frames. Where JACK can't hold the period there is nothing to compare with.
    fn jack(&mut self, frames: u32, known: Option<&Round>) -> Result<Vec<Jack>, Failure> {
        let (whole, wait) = match known {
            Some(round) => (round.whole, round.wait),
            None => {
                let blocks = self.sandrack(frames)?;
                (p50(&blocks.slice.busy, self.plugins())?, p50(&blocks.wait, 1)?)
            }
        };
        let mut found = Vec::new();
        for pinned in [true, false] {
            if pinned && self.cores.is_empty() {
                continue;
            }
            let Some(figures) = self.jack_peer(frames, pinned)? else { continue };
            let p50 = |name: &str| figures[name]["p50"].as_f64();
            if let (Some(jack_whole), Some(jack_wait)) = (p50("hop_us"), p50("wait_us")) {
                found.push(Jack { frames, pinned, jack_whole, jack_wait, whole, wait });
            }
        }
        Ok(found)
    }

    fn jack_peer(&self, frames: u32, pinned: bool) -> Result<Option<Value>, Failure> {
        let program: PathBuf = std::env::current_exe()?.with_file_name("jack_peer");
        if !program.is_file() {
            return Err(format!(
                "{} is not there: cargo build --release -p sandrack-benches --features jack",
                program.display()
            )
            .into());
        }
        let mut command = Command::new(program);
        command.args(["--json", "-", "--frames", &frames.to_string()]);
        command.args(["--clients", &self.options.plugins.to_string()]);
        let seconds = self.length.as_secs_f64().ceil().max(1.0) as u32;
        command.args(["--seconds", &seconds.to_string()]);
        if pinned {
            command.arg("--pin");
        }
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
        // It has said why.
        if output.status.code() == Some(2) {
            return Err("JACK is not there".into());
        }
        Ok(output.status.success().then(|| serde_json::from_slice(&output.stdout)).transpose()?)
    }
}

fn measure(options: &Options) -> Result<ExitCode, Failure> {
    let rounds = options.output.or(options.rounds, 8, 2);
    let seconds = options.output.or(options.seconds, 1.5, 0.4);
    // Not where JACK is measured in turns: it does without, and would profit from ours.
    let _awake = if options.jack { None } else { options.output.keep_cores_awake() };
    let (supervisor, calibration, cores) = rig::supervisor(options.placement)?;
    let plugins = usize::from(options.plugins);
    let core = cores.first().copied();
    let here: Vec<usize> = cores.iter().copied().take(1).collect();
    let plugin = test_plugin("gain")?;
    let rig = Rig::load(&supervisor, &plugin, (1, plugins), Isolation::Plugin, &here)?;
    let length = Duration::from_secs_f64(seconds);
    let mut bench = Bench { options, rig, cores: here, length };

    let all = os::cores()?;
    let nodes = if bench.cores.is_empty() { &all } else { &bench.cores };
    let (floor, lost) = FloorCallback::new(Chain::start(plugins, nodes, nodes, Driven::HandOff)?);
    let mut floor = Slot::new(Box::new(floor));
    let mut empty = Slot::empty();
    let program = std::env::current_exe()?;
    let placement = match core {
        Some(core) => calibrate::Placement::SameCore(core),
        None => calibrate::Placement::AnyCore,
    };

    let (mut table, mut jacks) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let mut run_floor = || {
            let slice = floor.run(options.frames, core, length)?;
            match lost.load(Ordering::Relaxed) {
                true => Err("a block got lost in the floor's chain".into()),
                false => p50(&slice.busy, plugins),
            }
        };
        // Who comes first changes, so that a drift of the machine favours neither.
        let (floor_us, blocks) = if round % 2 == 0 {
            let blocks = bench.sandrack(options.frames)?;
            (run_floor()?, blocks)
        } else {
            (run_floor()?, bench.sandrack(options.frames)?)
        };
        let links = if options.output.smoke { 50 } else { 300 };
        let (calibrated, _) = calibrate::measure(
            &program,
            plugins,
            placement,
            links,
            Duration::from_micros(u64::from(options.frames) * 1_000_000 / 48_000),
        )?;
        let nothing = empty.run(options.frames, core, length / 4)?;
        table.push(Round {
            floor: floor_us,
            calibrated: calibrated.p50 / 1e3,
            wait: p50(&blocks.wait, 1)?,
            run: p50(&blocks.run, 1)?,
            whole: p50(&blocks.slice.busy, plugins)?,
            engine: p50(&blocks.overhead, 1)?,
            empty: p50(&nothing.since_due, 1)?,
        });
        if options.jack && round < 3 {
            let mut sizes = vec![JACK_FRAMES, options.frames];
            sizes.dedup();
            for frames in sizes {
                let known = table.last().filter(|_| frames == options.frames);
                jacks.extend(bench.jack(frames, known)?);
            }
        }
    }
    bench.rig.quit();
    let place = match core {
        Some(core) => format!("all on core {core}"),
        None => "left to the scheduler".to_owned(),
    };
    report(options, &place, calibration.realtime, &table, &jacks)
}

/// The table of JACK's figures, and the one that is judged.
fn jack_report(wanted: bool, jacks: &[Jack], checks: &mut Vec<Check>) -> (String, Vec<Value>) {
    let (mut text, mut rows) = (String::new(), Vec::new());
    if !wanted {
        return (text, rows);
    }
    let mut kinds: Vec<(u32, bool)> = jacks.iter().map(|jack| (jack.frames, jack.pinned)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let _ = writeln!(text, "\n{:<26}{:>11}{:>18}{:>18}", "", "JACK", "Sandrack", "ratio");
    let names = format!("{:>9}{:>9}", "whole", "wait");
    let _ = writeln!(text, "{:<26}{names}{names}{names}", "");
    let mut judged = None;
    for (frames, pinned) in kinds {
        let of = |get: fn(&Jack) -> f64| {
            let same = |jack: &&Jack| (jack.frames, jack.pinned) == (frames, pinned);
            median(jacks.iter().filter(same).map(get))
        };
        let figures = [
            of(|jack| jack.jack_whole),
            of(|jack| jack.jack_wait),
            of(|jack| jack.whole),
            of(|jack| jack.wait),
            of(|jack| jack.jack_whole / jack.whole),
            of(|jack| jack.jack_wait / jack.wait),
        ];
        let place = if pinned { "same core" } else { "left alone" };
        let cells: String = figures.iter().map(|figure| format!(" {}", cell(*figure))).collect();
        let _ = writeln!(text, "{:<26}{cells}", format!("{frames} frames, {place}"));
        rows.push(json!({
            "frames": frames,
            "placement": if pinned { "same_core" } else { "free" },
            "jack_whole_us": round(figures[0]),
            "jack_wait_us": round(figures[1]),
            "whole_us": round(figures[2]),
            "wait_us": round(figures[3]),
            "whole_ratio": round(figures[4]),
            "wait_ratio": round(figures[5]),
        }));
        let any_pinned = jacks.iter().any(|jack| jack.pinned);
        if frames == JACK_FRAMES && pinned == any_pinned {
            judged = figures[4];
        }
    }
    let what = format!("JACK's hop, multiple of Sandrack's, both whole, at {JACK_FRAMES} frames");
    checks.push(Check::at_least(what, judged, JACK_FACTOR));
    (text, rows)
}

fn report(
    options: &Options,
    place: &str,
    realtime: bool,
    rounds: &[Round],
    jacks: &[Jack],
) -> Result<ExitCode, Failure> {
    let columns: [Column; 9] = [
        ("floor", |r| r.floor),
        ("calib.", |r| r.calibrated),
        ("wait", |r| r.wait),
        ("run", |r| r.run),
        ("whole", |r| r.whole),
        ("engine", |r| r.engine),
        ("empty", |r| r.empty),
        ("wait/fl", |r| r.wait / r.floor),
        ("whole/fl", |r| r.whole / r.floor),
    ];
    let mut text = format!(
        "Hop: {} gain plugins in series, a process each, {} frames at {} Hz, {place}; p50, us \
         per hop\n(engine and empty: per block; /fl: multiples of the floor of the same round)\n\n",
        options.plugins,
        options.frames,
        rig::RATE,
    );
    let medians: Vec<Option<f64>> =
        columns.iter().map(|(_, get)| median(rounds.iter().map(get))).collect();
    let names: String = columns.iter().map(|(name, _)| format!(" {name:>8}")).collect();
    let _ = writeln!(text, "{:<7}{names}", "round");
    let mut row = |name: String, figures: &mut dyn Iterator<Item = Option<f64>>| {
        let cells: String = figures.map(|figure| format!(" {}", cell(figure))).collect();
        let _ = writeln!(text, "{name:<7}{cells}");
    };
    for (number, round) in rounds.iter().enumerate() {
        row((number + 1).to_string(), &mut columns.iter().map(|(_, get)| Some(get(round))));
    }
    row("median".to_owned(), &mut medians.iter().copied());

    let mut checks =
        vec![Check::at_most("hand-off, multiple of the floor", medians[7], MOST_FLOORS)];
    let (jack_text, jack_json) = jack_report(options.jack, jacks, &mut checks);
    text += &jack_text;
    let keys = [
        "floor_us",
        "calibrated_floor_us",
        "wait_us",
        "run_us",
        "whole_us",
        "engine_block_us",
        "empty_block_us",
        "wait_ratio",
        "whole_ratio",
    ];
    let object = |values: &mut dyn Iterator<Item = Option<f64>>| -> Value {
        keys.iter().zip(values).map(|(key, v)| ((*key).to_owned(), json!(round(v)))).collect()
    };
    let table: Vec<Value> = rounds
        .iter()
        .map(|round| object(&mut columns.iter().map(|(_, get)| Some(get(round)))))
        .collect();
    let value = json!({
        "bench": "hop",
        "plugins": options.plugins,
        "frames": options.frames,
        "rate": rig::RATE,
        "placement": place,
        "realtime": realtime,
        "rounds": table,
        "median": object(&mut medians.into_iter()),
        "jack": jack_json,
    });
    Ok(verdict::finish(&options.output, &text, value, &checks)?)
}
