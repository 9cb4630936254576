//! Many tracks: does a mix with hundreds of worker processes hold its deadline?
//!
//! 100 tracks of 3 gain plugins, a worker process each, summed to stereo, at 256 frames; in turns
//! with an empty callback on the same driver, which shows what the machine itself does to a
//! callback in the same minutes.
//!
//! Judged: periods missed, no more than the empty callback's; and the callback's p50, at most half
//! the period. Printed beside: p99 of both, counted from when the callback was due as well; and
//! blocks in which the engine stopped waiting for a plugin and let its fallback be heard, which
//! the driver does not see.
//!
//! An empty callback uses one core for a moment, and the plugins use all for a third of the
//! period: the machine's stalls hit them more often. So a third callback takes its turns, the
//! *witness*: as busy as Sandrack's at its p50, on as many cores, with no plugin and no process in
//! it (see `sandrack_benches::witness`). What it misses is the machine's doing.
//!
//! ```text
//! cargo run --release -p sandrack-benches --bin tracks
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use sandrack_benches::rig::{self, Blocks, Failure, Rig, Slice, Slot};
use sandrack_benches::stats::{Summary, cell};
use sandrack_benches::verdict::{self, Check, Output};
use sandrack_host::plugins::test_plugin;
use sandrack_host::report::Isolation;
use serde_json::json;

/// The engine stops waiting for plugins at this share of the period.
const DEADLINE: f64 = 0.95;

/// Many tracks of plugins, a process each, against an empty callback.
#[derive(Parser)]
struct Options {
    /// Tracks [default: 100]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    tracks: Option<u16>,
    /// Plugins in series on each track
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=60))]
    plugins: u16,
    /// Frames per period, at 48 kHz
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(16..=8192))]
    frames: u32,
    /// Seconds to measure, as many for the empty callback [default: 60]
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds of a turn [default: 2]
    #[arg(long)]
    turn: Option<f64>,
    /// Where the processes run: on one core a track, or wherever the scheduler puts them
    #[arg(long, value_enum, default_value_t)]
    placement: rig::Placement,
    #[command(flatten)]
    output: Output,
}

fn main() -> ExitCode {
    sandrack_sandbox::worker::run_if_worker();
    match measure(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tracks: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<ExitCode, Failure> {
    let tracks = usize::from(options.output.or(options.tracks, 100, 10));
    let seconds = options.output.or(options.seconds, 60.0, 0.8);
    let turn = options.output.or(options.turn, 2.0, 0.4).min(seconds).max(0.05);
    let turns = (seconds / turn).round().max(1.0) as u32;
    let length = Duration::from_secs_f64(turn);
    let _awake = options.output.keep_cores_awake();
    let (supervisor, calibration, cores) = rig::supervisor(options.placement)?;
    let core = cores.first().copied();
    let plugins = usize::from(options.plugins);
    let plugin = test_plugin("gain")?;
    let shape = (tracks, plugins);
    let mut rig = Rig::load(&supervisor, &plugin, shape, Isolation::Plugin, &cores)?;
    rig.connect(options.frames, plugins)?;
    // How busy the witness has to be.
    let busy = Summary::of(&rig.run(length)?.slice.busy, 1).p50.unwrap_or(0.0);
    let mut nothing = Slot::empty();
    let mut witness = Slot::witness((busy * 1e3) as u64, cores.get(1..).unwrap_or_default());
    let mut blocks = Blocks::default();
    let (mut empty, mut witnessed) = (Slice::default(), Slice::default());
    for number in 0..turns {
        for turn in 0..3 {
            match (number + turn) % 3 {
                0 => blocks.add(rig.run(length)?),
                1 => empty.add(nothing.run(options.frames, core, length)?),
                _ => witnessed.add(witness.run(options.frames, core, length)?),
            }
        }
    }
    rig.quit();
    let measured = f64::from(turns) * turn;
    report(
        options,
        (tracks, cores.len()),
        measured,
        calibration.realtime,
        &blocks,
        (&empty, &witnessed),
    )
}

fn report(
    options: &Options,
    (tracks, cores): (usize, usize),
    seconds: f64,
    realtime: bool,
    blocks: &Blocks,
    (empty, witness): (&Slice, &Slice),
) -> Result<ExitCode, Failure> {
    let period = rig::period_us(options.frames);
    let (busy, since_due) =
        (Summary::of(&blocks.slice.busy, 1), Summary::of(&blocks.slice.since_due, 1));
    let (empty_busy, empty_since_due) =
        (Summary::of(&empty.busy, 1), Summary::of(&empty.since_due, 1));
    let (wait, run) = (Summary::of(&blocks.wait, 1), Summary::of(&blocks.run, 1));
    let witness_since_due = Summary::of(&witness.since_due, 1);
    let late_witness =
        witness.since_due.iter().filter(|&&ns| ns as f64 / 1e3 > DEADLINE * period).count();

    let place = if cores > 0 { format!("spread over {cores} cores") } else { "free".into() };
    let mut text = format!(
        "Tracks: {tracks} x {} gain plugins, a process each, {} frames at {} Hz (a period is \
         {period:.0} us), {place}; {seconds} s each\n\n{:<34}{:>8}{:>8}{:>8}\n",
        options.plugins,
        options.frames,
        rig::RATE,
        "us",
        "p50",
        "p99",
        "max",
    );
    for (name, summary) in [
        ("callback", busy),
        ("callback, from when it was due", since_due),
        ("empty callback", empty_busy),
        ("empty, from when it was due", empty_since_due),
        ("witness, from when it was due", witness_since_due),
        ("a plugin's wait", wait),
        ("a plugin's run", run),
    ] {
        let Summary { p50, p99, max, .. } = summary;
        let _ = writeln!(text, "{name:<34}{}{}{}", cell(p50), cell(p99), cell(max));
    }
    let _ = writeln!(
        text,
        "\nperiods missed: {}, of the empty callback {}, of the witness {}\n\
         beside a theft of the cores by the hypervisor: {} ({} ms), {} ({} ms), {} ({} ms)\nblocks with a fallback: \
         {} of {}; of {} witnesses {late_witness} were as late",
        blocks.slice.missed.all,
        empty.missed.all,
        witness.missed.all,
        blocks.slice.missed.beside_theft,
        blocks.slice.stolen.as_millis(),
        empty.missed.beside_theft,
        empty.stolen.as_millis(),
        witness.missed.beside_theft,
        witness.stolen.as_millis(),
        blocks.late_blocks,
        busy.count,
        witness_since_due.count,
    );
    let mut late: BTreeMap<String, u32> = BTreeMap::new();
    for node in &blocks.late {
        *late.entry(format!("{:?}", node.outcome)).or_default() += 1;
    }
    for (outcome, count) in &late {
        let example = blocks.late.iter().find(|late| format!("{:?}", late.outcome) == *outcome);
        let example = example.map_or("", |late| late.node.as_str());
        let _ = writeln!(text, "  {count} nodes {outcome}, for one {example}");
    }
    let value = json!({
        "bench": "tracks",
        "tracks": tracks,
        "plugins_per_track": options.plugins,
        "frames": options.frames,
        "rate": rig::RATE,
        "seconds": seconds,
        "cores": cores,
        "realtime": realtime,
        "period_us": period,
        "blocks": busy.count,
        "callback_us": busy.json(),
        "callback_since_due_us": since_due.json(),
        "wait_us": wait.json(),
        "run_us": run.json(),
        "xruns": blocks.slice.missed.all,
        "xruns_beside_theft": blocks.slice.missed.beside_theft,
        "stolen_ms": blocks.slice.stolen.as_millis() as u64,
        "blocks_with_fallback": blocks.late_blocks,
        "late_nodes": late,
        "empty": {
            "blocks": empty_busy.count,
            "callback_us": empty_busy.json(),
            "callback_since_due_us": empty_since_due.json(),
            "xruns": empty.missed.all,
            "xruns_beside_theft": empty.missed.beside_theft,
            "stolen_ms": empty.stolen.as_millis() as u64,
        },
        "witness": {
            "blocks": witness_since_due.count,
            "callback_since_due_us": witness_since_due.json(),
            "xruns": witness.missed.all,
            "xruns_beside_theft": witness.missed.beside_theft,
            "stolen_ms": witness.stolen.as_millis() as u64,
            "late_blocks": late_witness,
        },
        "cores_awake": !options.output.let_cores_sleep,
    });
    let xruns = blocks.slice.missed.all as f64;
    let checks = [
        Check::at_most(
            "periods missed, against an empty callback",
            Some(xruns),
            empty.missed.all as f64,
        ),
        Check::at_most("callback p50, share of the period", busy.p50.map(|us| us / period), 0.5),
    ];
    Ok(verdict::finish(&options.output, &text, value, &checks)?)
}
