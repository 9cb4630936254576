//! `sandrack replay`: runs a recording of a plugin that failed again.

use super::{clean, count, print};
use crate::error::Error;
use crate::flight::details::{FaultDetails, last_events};
use crate::flight::file::{Failure, Flight};
use crate::flight::minimize::{MinimizeOptions, minimize};
use crate::flight::replay::{ReplayOptions, Replayed, replay};
use crate::wav::{SampleFormat, WavWriter};
use indicatif::{ProgressBar, ProgressStyle};
use sandrack_sandbox::crash::Call;
use sandrack_sandbox::format::PluginRef;
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use sandrack_sandbox::sys::process;
use serde_json::{Value, json};
use std::fmt::Write;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// When the failure did not come again.
const NOT_REPRODUCED: u8 = 3;

#[derive(clap::Args)]
#[command(
    after_help = "Ends with 0 if the plugin fails as it did when it was recorded, with 3 if it \
                        does not, with 1 if it can't be tried."
)]
pub(super) struct Arguments {
    /// Recording: a file crash-….sandrack
    file: PathBuf,
    /// Load this instead of the recorded plugin: another build of it
    #[arg(long, value_name = "PATH[#ID]")]
    plugin: Option<PluginRef>,
    /// Stop before the block in which it fails, and wait for a debugger
    #[arg(long, conflicts_with_all = ["minimize", "json"])]
    gdb: bool,
    /// Look for the shortest recording that still fails, and write it
    #[arg(long)]
    minimize: bool,
    /// Where --minimize writes [default: beside FILE, ending in -min.sandrack]
    #[arg(long, short, value_name = "FILE", requires = "minimize")]
    output: Option<PathBuf>,
    /// Most trials of --minimize
    #[arg(long, value_name = "N", default_value_t = 500, requires = "minimize")]
    trials: usize,
    /// Write what goes in and comes out to NAME-in.wav and NAME-out.wav
    #[arg(long, value_name = "NAME")]
    wav: Option<PathBuf>,
    /// A plugin that takes so long for a block hangs
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    limit: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, options: SupervisorOptions) -> Result<ExitCode, Error> {
    if !(arguments.limit > 0.0 && arguments.limit < 86_400.0) {
        let reason = format!("--limit {}: more than 0, less than a day", arguments.limit);
        return Err(Error::Usage(reason));
    }
    let flight = Flight::read(&arguments.file)?;
    // What hangs must not hold a core against everything else.
    let supervisor = Supervisor::new(SupervisorOptions { realtime: false, ..options })?;
    let replays = ReplayOptions {
        plugin: arguments.plugin.clone(),
        limit: Duration::from_secs_f64(arguments.limit),
        keep_output: arguments.wav.is_some(),
        ..ReplayOptions::default()
    };
    if !arguments.json {
        print(&introduce(&arguments.file, &flight));
    }
    if arguments.minimize {
        return shrink(arguments, &supervisor, &flight, &replays);
    }
    let replayed = replay(&supervisor, &flight, &replays, &mut |_, _| {})?;
    let reproduced = replayed.reproduces(&flight);
    if let Some(name) = &arguments.wav {
        write_wavs(name, &flight, &replayed)?;
    }
    match arguments.json {
        true => print_json(&to_json(&arguments.file, &flight, &replayed)),
        false => print(&tell(&flight, &replayed)),
    }
    if arguments.gdb && replayed.failure.is_some() {
        debug(&supervisor, &flight, &replays, &replayed)?;
    }
    Ok(if reproduced { ExitCode::SUCCESS } else { NOT_REPRODUCED.into() })
}

fn introduce(file: &Path, flight: &Flight) -> String {
    let head = &flight.head;
    let format = head.format.map(|format| format!(" ({format})")).unwrap_or_default();
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(head.time));
    let time = time.map(|time| humantime::format_rfc3339_seconds(time).to_string());
    let state = flight.state.as_ref().map_or_else(
        || "no state".to_owned(),
        |state| format!("a state of {}", count(state.len(), "byte")),
    );
    format!(
        "{}: {} {}{format}, {}\n  {}, {:.2} s at {} Hz, {}, {state}\nrecorded: {}\n",
        file.display(),
        clean(&head.name),
        clean(&head.version),
        time.unwrap_or_default(),
        count(flight.blocks.len(), "block"),
        flight.seconds(),
        head.activation.rate,
        count(flight.events(), "event"),
        sentence(&head.failure, &head.details, Some(head.block)),
    )
}

/// What failed where, in a line.
fn sentence(failure: &Failure, details: &FaultDetails, block: Option<u64>) -> String {
    let mut text = failure.to_string();
    if let Some(address) = &details.address {
        let _ = write!(text, " at {}", clean(address));
    }
    if let Some(block) = block {
        let _ = write!(text, ", block {block}");
    }
    match details.place() {
        place if place.is_empty() => text,
        place => text + ", " + &clean(&place),
    }
}

fn tell(flight: &Flight, replayed: &Replayed) -> String {
    let mut text = String::new();
    if replayed.lost_events > 0 {
        let lost = count(replayed.lost_events, "event");
        let _ = writeln!(text, "note: {lost} could not be given again");
    }
    let Some(failure) = &replayed.failure else {
        text += "replayed: it came to the recording's end\nnot reproduced\n";
        return text;
    };
    let what = sentence(failure, &replayed.details, replayed.block);
    let _ = writeln!(text, "replayed: {what}");
    if let Some(at) = replayed.at {
        let _ = writeln!(text, "  the recording's block {} of {}", at + 1, flight.blocks.len());
    }
    let FaultDetails { module, symbol, backtrace, .. } = &replayed.details;
    if let Some(module) = module {
        let symbol = symbol.as_ref().map(|symbol| format!(" {}", clean(symbol)));
        let _ = writeln!(text, "  code: {}{}", clean(module), symbol.unwrap_or_default());
    }
    for (depth, frame) in backtrace.iter().enumerate() {
        let _ = writeln!(text, "  {depth:>3} {}", clean(&frame.to_string()));
    }
    if !flight.head.details.events.is_empty() {
        text += "last events:\n";
        for event in &flight.head.details.events {
            let _ = writeln!(text, "  {event}");
        }
    }
    text += match (replayed.reproduces(flight), is_same_block(flight, replayed)) {
        (true, true) => "reproduced, in the same block\n",
        (true, false) => "reproduced, in another block\n",
        (false, _) => "not reproduced: it failed in another way\n",
    };
    text
}

/// Whether it failed where it did when it was recorded: in the last block, or behind it.
fn is_same_block(flight: &Flight, replayed: &Replayed) -> bool {
    match replayed.block {
        Some(block) => block == flight.head.block,
        None => flight.head.details.call != Some(Call::Process),
    }
}

fn to_json(file: &Path, flight: &Flight, replayed: &Replayed) -> Value {
    let head = &flight.head;
    json!({
        "file": file,
        "plugin": head.plugin,
        "name": head.name,
        "version": head.version,
        "recorded": {
            "failure": head.failure,
            "block": head.block,
            "time": head.time,
            "blocks": flight.blocks.len(),
            "events": flight.events(),
            "seconds": flight.seconds(),
            "state_bytes": flight.state.as_ref().map(Vec::len),
            "confinement": head.confinement,
            "details": head.details,
        },
        "replayed": replayed,
        "reproduced": replayed.reproduces(flight),
        "same_block": is_same_block(flight, replayed),
    })
}

fn print_json(value: &Value) {
    print(&format!("{value:#}\n"));
}

fn shrink(
    arguments: &Arguments,
    supervisor: &Supervisor,
    flight: &Flight,
    replays: &ReplayOptions,
) -> Result<ExitCode, Error> {
    let output = arguments.output.clone().unwrap_or_else(|| {
        let stem = arguments.file.file_stem().unwrap_or_default().to_string_lossy();
        arguments.file.with_file_name(format!("{stem}-min.sandrack"))
    });
    let bar = ProgressBar::new_spinner();
    bar.set_style(
        ProgressStyle::with_template("{spinner} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    let options = MinimizeOptions { trials: arguments.trials, ..MinimizeOptions::default() };
    let found = minimize(supervisor, flight, replays, options, &mut |trials, best| {
        let (blocks, events) = (best.blocks.len(), best.events());
        bar.set_message(format!("trial {trials}: {blocks} blocks, {events} events"));
        bar.tick();
    });
    bar.finish_and_clear();
    let Some(found) = found? else {
        if arguments.json {
            print_json(&json!({ "file": arguments.file, "reproduced": false }));
        } else {
            print("not reproduced: there is nothing to shrink\n");
        }
        return Ok(NOT_REPRODUCED.into());
    };
    let mut short = found.flight;
    short.head.details =
        FaultDetails { events: last_events(&short.blocks), ..found.replayed.details.clone() };
    short.head.block = short.blocks.last().map_or(short.head.block, |block| block.head.block);
    short.write(&output)?;
    if let Some(name) = &arguments.wav {
        write_wavs(name, &short, &found.replayed)?;
    }
    if arguments.json {
        let mut value = to_json(&arguments.file, flight, &found.replayed);
        value["minimized"] = json!({
            "file": output,
            "blocks": short.blocks.len(),
            "events": short.events(),
            "state_bytes": short.state.as_ref().map(Vec::len),
            "trials": found.trials,
            "done": found.is_done,
        });
        print_json(&value);
        return Ok(ExitCode::SUCCESS);
    }
    let trials = count(found.trials, "trial");
    let rest = if found.is_done { "" } else { "; there may be a shorter one" };
    print(&format!(
        "shortest: {}, {}, {} after {trials}{rest}\n  {}\n{}: written\n",
        count(short.blocks.len(), "block"),
        count(short.events(), "event"),
        if short.state.is_some() { "with a state" } else { "no state" },
        sentence(&short.head.failure, &short.head.details, None),
        output.display(),
    ));
    Ok(ExitCode::SUCCESS)
}

fn write_wavs(name: &Path, flight: &Flight, replayed: &Replayed) -> Result<(), Error> {
    let with = |ending: &str| {
        let mut path = name.as_os_str().to_owned();
        path.push(ending);
        PathBuf::from(path)
    };
    let rate = flight.head.activation.rate.round() as u32;
    let mut input = vec![Vec::new(); flight.channels()];
    for block in &flight.blocks {
        let channels = block.audio.chunks_exact(block.head.frames as usize);
        input.iter_mut().zip(channels).for_each(|(all, channel)| all.extend_from_slice(channel));
    }
    for (ending, channels) in [("-in.wav", &input), ("-out.wav", &replayed.output)] {
        if channels.is_empty() {
            continue;
        }
        let path = with(ending);
        let mut wav = WavWriter::create(&path, channels.len() as u32, rate, SampleFormat::Float32)?;
        wav.write(&channels.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        wav.finish()?;
    }
    Ok(())
}

/// Runs it once more, up to the block in which it fails, and lets somebody watch that block.
fn debug(
    supervisor: &Supervisor,
    flight: &Flight,
    replays: &ReplayOptions,
    failed: &Replayed,
) -> Result<(), Error> {
    // Before the last block, if it fails behind it.
    let stop = failed.at.unwrap_or(flight.blocks.len().saturating_sub(1));
    let options = ReplayOptions { limit: Duration::MAX, backtrace: false, ..replays.clone() };
    let go_on = Arc::new(AtomicBool::new(false));
    let mut before = |worker: u32, at: usize| {
        if at == stop {
            wait_for_debugger(worker, flight.blocks[at].head.block, &go_on);
        }
    };
    let replayed = replay(supervisor, flight, &options, &mut before)?;
    match replayed.failure {
        Some(failure) => print(&format!("{failure}\n")),
        None => print("it came to the recording's end\n"),
    }
    Ok(())
}

fn wait_for_debugger(worker: u32, block: u64, go_on: &Arc<AtomicBool>) {
    let mut text = format!(
        "stopped before block {block}, in process {worker}. In another terminal:\n  gdb -p {worker} \
         -ex continue\nIt goes on when the debugger lets it, or with Enter.\n"
    );
    if let Some(hint) = process::attach_hint() {
        let _ = writeln!(text, "note: {hint}");
    }
    print(&text);
    let entered = Arc::clone(go_on);
    std::thread::spawn(move || {
        let mut line = String::new();
        // The end of the input is nobody's wish.
        if std::io::stdin().lock().read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            entered.store(true, Ordering::Relaxed);
        }
    });
    // Twice: between stopping one thread and the next, a debugger has stopped none.
    let mut debugged = 0;
    while !go_on.load(Ordering::Relaxed) && process::is_there(worker) && debugged < 2 {
        std::thread::sleep(Duration::from_millis(50));
        debugged = if process::is_debugged(worker) { debugged + 1 } else { 0 };
    }
}
