//! What a worker costs: time to start, memory of its own.
//!
//! Starts 300 workers, several at once as a session does, each with the gain plugin, active and
//! ready for blocks; runs some blocks through all of them, so that what a block touches is there;
//! reads each one's private memory (`Private_Clean` + `Private_Dirty` in
//! `/proc/PID/smaps_rollup`); and ends them all, to see that none is left.
//!
//! ```text
//! cargo run --release -p sandrack-benches --bin workers
//! ```

use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use sandrack_benches::os;
use sandrack_benches::rig::{self, Failure};
use sandrack_benches::stats::{Summary, cell, median, round};
use sandrack_benches::verdict::{self, Check, Output};
use sandrack_host::plugins::test_plugin;
use sandrack_sandbox::error::Error;
use sandrack_sandbox::format::{PluginRef, Transport};
use sandrack_sandbox::protocol::Activation;
use sandrack_sandbox::remote::{NodeWiring, RemoteSet, SourceWiring};
use sandrack_sandbox::supervisor::{Node, Supervisor, SupervisorOptions};
use serde_json::json;

/// Milliseconds that a worker may take.
const MOST_MS: f64 = 15.0;
/// Megabytes (of 1024 KiB) that a worker may have of its own.
const MOST_MB: f64 = 6.0;
/// Frames of the blocks.
const FRAMES: u32 = 256;
/// Blocks before memory is looked at.
const BLOCKS: u32 = 50;

/// Start-up time and private memory of workers with the gain plugin.
#[derive(Parser)]
struct Options {
    /// Workers [default: 300]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    workers: Option<u16>,
    /// Started at once [default: two a core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    at_once: Option<u16>,
    #[command(flatten)]
    output: Output,
}

fn main() -> ExitCode {
    sandrack_sandbox::worker::run_if_worker();
    match measure(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("workers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// When one start came how far, from its beginning.
#[derive(Clone, Copy, Debug)]
struct Start {
    /// The process runs, its audio thread is ready.
    started: Duration,
    /// The plugin is loaded.
    loaded: Duration,
    /// The plugin is active, the node waits for blocks.
    ready: Duration,
}

fn start(
    supervisor: &Supervisor,
    plugin: &PluginRef,
    core: Option<usize>,
) -> Result<(Node, Start), Error> {
    let begin = Instant::now();
    let worker = supervisor.start_worker(&plugin.to_string(), core)?;
    let started = begin.elapsed();
    let mut node = worker.load(plugin)?;
    let loaded = begin.elapsed();
    let rate = f64::from(rig::RATE);
    node.activate(Activation::new(rate, FRAMES))?;
    Ok((node, Start { started, loaded, ready: begin.elapsed() }))
}

/// Starts `count` workers from `threads` threads.
fn start_all(
    supervisor: &Supervisor,
    plugin: &PluginRef,
    count: usize,
    threads: usize,
    cores: &[usize],
) -> Result<Vec<(Node, Start)>, Error> {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Vec::with_capacity(count));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        break;
                    }
                    let core = cores.get(at % cores.len().max(1)).copied();
                    let result = start(supervisor, plugin, core);
                    if result.is_err() {
                        next.fetch_max(count, Ordering::Relaxed);
                    }
                    if let Ok(mut all) = all.lock() {
                        all.push(result);
                    }
                }
            });
        }
    });
    all.into_inner().unwrap_or_default().into_iter().collect()
}

/// Runs blocks through all nodes, side by side.
fn run_blocks(supervisor: &Supervisor, nodes: &[Node]) -> Result<(), Failure> {
    let wirings: Vec<NodeWiring<'_>> = nodes
        .iter()
        .map(|node| NodeWiring {
            node,
            sources: vec![SourceWiring { bus: 0, channels: 2, direct: None }],
            event_sources: vec![],
            predecessors: vec![],
        })
        .collect();
    let mut set = RemoteSet::connect(supervisor, &wirings, FRAMES)?;
    let transport = Transport { tempo: 120.0, ..Transport::default() };
    for block in 0..BLOCKS {
        for node in 0..nodes.len() {
            set.state(node);
            set.prepare(node, 0, true);
        }
        set.begin(u64::from(block) + 1, FRAMES, u64::from(block * FRAMES), &transport);
        for node in 0..nodes.len() {
            for channel in 0..2 {
                set.input(node, 0, channel).fill(0.5);
            }
            set.ring(node);
        }
        if !set.wait(0..nodes.len(), os::now_ns() + 2_000_000_000) {
            return Err("some workers did not finish a block within two seconds".into());
        }
        set.end();
    }
    Ok(())
}

/// Private memory of a process in KiB: all of it, and what it has written to.
fn private_kib(process: u32) -> Result<(u64, u64), Failure> {
    let path = format!("/proc/{process}/smaps_rollup");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let field = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    let dirty = field("Private_Dirty:");
    Ok((field("Private_Clean:") + dirty, dirty))
}

/// Processes that this one started and that are still there, zombies included.
fn children() -> Vec<u32> {
    let own = std::process::id();
    let numbers = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |number: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        // Field 4 is the parent; the name before it, in brackets, may hold anything.
        let rest = stat.rsplit_once(')').map(|(_, rest)| rest);
        rest.and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok()) == Some(own)
    };
    numbers.filter(is_child).collect()
}

fn measure(options: &Options) -> Result<ExitCode, Failure> {
    let count = usize::from(options.output.or(options.workers, 300, 12));
    let cores = os::cores()?;
    let threads = options.at_once.map_or((2 * cores.len()).clamp(1, 16), usize::from);
    let plugin = test_plugin("gain")?;
    let supervisor = Supervisor::new(SupervisorOptions::new()?)?;

    let begin = Instant::now();
    let started = start_all(&supervisor, &plugin, count, threads, &cores)?;
    let total = begin.elapsed();
    let (nodes, starts): (Vec<Node>, Vec<Start>) = started.into_iter().unzip();
    run_blocks(&supervisor, &nodes)?;
    let memory: Vec<(u64, u64)> =
        nodes.iter().map(|node| private_kib(node.worker().id())).collect::<Result<_, _>>()?;

    let begin = Instant::now();
    let workers: Vec<_> = nodes.iter().map(|node| node.worker().clone()).collect();
    drop(nodes);
    std::thread::scope(|scope| {
        for some in workers.chunks(workers.len().div_ceil(threads).max(1)) {
            scope.spawn(move || some.iter().for_each(|worker| worker.quit()));
        }
    });
    drop(workers);
    let ended = begin.elapsed();
    let left = children();

    let ms = |get: fn(&Start) -> Duration| {
        let ns: Vec<u64> = starts.iter().map(|start| get(start).as_nanos() as u64).collect();
        Summary::of(&ns, 1000)
    };
    let (process, loaded, ready) =
        (ms(|s| s.started), ms(|s| s.loaded - s.started), ms(|s| s.ready - s.loaded));
    let own = ms(|s| s.ready);
    let each = total.as_secs_f64() * 1e3 / count as f64;
    let mb = |kib: u64| kib as f64 / 1024.0;
    let p50 = |get: fn(&(u64, u64)) -> u64| median(memory.iter().map(get).map(mb));
    let max = |get: fn(&(u64, u64)) -> u64| memory.iter().map(get).max().map(mb);

    let mut text = format!(
        "Workers: {count}, {threads} at once, ready in {:.0} ms: {each:.2} ms each; ended in {:.0} \
         ms, {} left\n\n{:<40}{:>8}{:>8}{:>8}\n",
        total.as_secs_f64() * 1e3,
        ended.as_secs_f64() * 1e3,
        left.len(),
        "ms, as the one who starts it sees it",
        "p50",
        "p99",
        "max",
    );
    for (name, summary) in [
        ("from start to ready", own),
        ("  process and audio thread", process),
        ("  loading the plugin", loaded),
        ("  activating it", ready),
    ] {
        let Summary { p50, p99, max, .. } = summary;
        let _ = writeln!(text, "{name:<40}{}{}{}", cell(p50), cell(p99), cell(max));
    }
    let _ = writeln!(text, "\n{:<40}{:>8}{:>8}{:>8}", "MB after some blocks", "p50", "", "max");
    let all: fn(&(u64, u64)) -> u64 = |m| m.0;
    let dirty: fn(&(u64, u64)) -> u64 = |m| m.1;
    for (name, get) in [("private", all), ("  of it written to", dirty)] {
        let _ = writeln!(text, "{name:<40}{}{:>8}{}", cell(p50(get)), "", cell(max(get)));
    }
    let value = json!({
        "bench": "workers",
        "workers": count,
        "at_once": threads,
        "total_ms": round(Some(total.as_secs_f64() * 1e3)),
        "each_ms": round(Some(each)),
        "own_ms": own.json(),
        "process_ms": process.json(),
        "load_ms": loaded.json(),
        "activate_ms": ready.json(),
        "private_mb": { "p50": round(p50(all)), "max": round(max(all)) },
        "private_dirty_mb": { "p50": round(p50(dirty)), "max": round(max(dirty)) },
        "ended_ms": round(Some(ended.as_secs_f64() * 1e3)),
        "left": left.len(),
    });
    let checks = [
        Check::at_most("ms per worker", Some(each), MOST_MS),
        Check::at_most("MB of private memory, the largest", max(all), MOST_MB),
        Check::at_most("processes left", Some(left.len() as f64), 0.0),
    ];
    Ok(verdict::finish(&options.output, &text, value, &checks)?)
}
