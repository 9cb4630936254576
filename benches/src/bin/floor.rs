//! The floor of a hop: what handing a block from one process to the next costs when nothing but
//! the hand-off is done.
//!
//! N processes stand in a chain on one page of shared memory. Each waits on its own word by
//! futex, multiplies 128 samples, writes the block's number into the next one's word and wakes
//! it; the last wakes the host. The host takes the time from waking the first to being woken, so
//! a block has N + 1 switches; it is divided by N. With `--round-trips` the host wakes each
//! process and waits for it, as hosts with a plugin bridge do.
//!
//! Three placements, measured in turns so that a machine's good and bad moments fall on all: all
//! on one core, alternating between two cores, left to the scheduler. SCHED_FIFO (processes 70,
//! host 71) and locked memory where the system permits it; where it does not, that is said and
//! the figures are those of the normal scheduler.
//!
//! ```text
//! cargo run --release -p sandrack-benches --bin floor -- --nodes 32 --blocks 3000 --json floor.json
//! ```
//!
//! Prints per placement: microseconds per hop (p50, p99) and per block (p50, p99, max). Exit
//! code 0, or 1 with one line that says why.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use sandrack_benches::chain::{self, Chain, Driven, HOST_PRIORITY, Refused};
use sandrack_benches::os;
use sandrack_benches::stats::{self, Summary};
use serde_json::json;

/// The bare cost of handing a block from one process to the next.
#[derive(Parser)]
struct Options {
    /// Processes in the chain
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    nodes: u16,
    /// Blocks measured per placement
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    blocks: u32,
    /// Microseconds of rest between blocks [the default is a period of 64 frames at 48 kHz]
    #[arg(long, default_value_t = 1333)]
    gap_us: u32,
    /// Turns the blocks are spread over
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// The host wakes each process and waits for it, instead of each waking the next
    #[arg(long)]
    round_trips: bool,
    /// Also write the figures to FILE; `-` prints them instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    chain::run_if_node();
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Where the processes of a chain run.
struct Placement {
    name: &'static str,
    key: &'static str,
    /// The cores of the host, of the even nodes and of the odd nodes.
    host: Vec<usize>,
    even: Vec<usize>,
    odd: Vec<usize>,
}

fn placements(all: &[usize]) -> Vec<Placement> {
    let place = |name, key, host: &[usize], even: &[usize], odd: &[usize]| Placement {
        name,
        key,
        host: host.to_vec(),
        even: even.to_vec(),
        odd: odd.to_vec(),
    };
    let first = &all[..1];
    let mut placements = vec![place("same core", "same_core", first, first, first)];
    if let Some(second) = all.get(1..2) {
        placements.push(place("alternate", "alternate", first, first, second));
    }
    placements.push(place("free", "free", all, all, all));
    placements
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    let cores = os::cores()?;
    let placements = placements(&cores);
    let mut samples: Vec<Vec<u64>> = placements.iter().map(|_| Vec::new()).collect();
    let mut refused = Refused {
        realtime: os::set_realtime(HOST_PRIORITY).is_err(),
        lock: os::lock_memory().is_err(),
    };
    for round in 0..options.rounds {
        // Spread so that the sum over all rounds is exactly the number asked for.
        let blocks =
            options.blocks / options.rounds + u32::from(round < options.blocks % options.rounds);
        for (placement, samples) in placements.iter().zip(&mut samples) {
            run(options, placement, blocks, samples, &mut refused)
                .map_err(|error| format!("{}: {error}", placement.name))?;
        }
    }
    os::pin(&cores)?;
    report(options, &placements, &samples, &cores, &refused)
}

/// Starts a chain, runs `blocks` blocks through it and adds their times to `samples`.
fn run(
    options: &Options,
    placement: &Placement,
    blocks: u32,
    samples: &mut Vec<u64>,
    refused: &mut Refused,
) -> Result<(), Box<dyn Error>> {
    let driven = if options.round_trips { Driven::RoundTrips } else { Driven::HandOff };
    os::pin(&placement.host)?;
    let nodes = usize::from(options.nodes);
    let mut chain = Chain::start(nodes, &placement.even, &placement.odd, driven)?;
    refused.realtime |= chain.refused().realtime;
    refused.lock |= chain.refused().lock;

    let gap = Duration::from_micros(u64::from(options.gap_us));
    samples.reserve(blocks as usize);
    std::thread::sleep(Duration::from_millis(100));
    for _ in 0..blocks {
        std::thread::sleep(gap);
        let start = os::now_ns();
        let arrived = chain.block();
        let end = os::now_ns();
        if !arrived {
            return Err(chain.why_lost().into());
        }
        samples.push(end - start);
    }
    Ok(())
}

fn report(
    options: &Options,
    placements: &[Placement],
    samples: &[Vec<u64>],
    cores: &[usize],
    refused: &Refused,
) -> Result<(), Box<dyn Error>> {
    let nodes = usize::from(options.nodes);
    if refused.realtime {
        eprintln!(
            "SCHED_FIFO is not permitted here: these are figures of the normal scheduler, as a \
             rule higher. It takes root, or an rtprio limit of {HOST_PRIORITY} (`ulimit -r`)."
        );
    }
    if refused.lock {
        eprintln!("Locking memory is not permitted here (`ulimit -l`): p99 and max may be higher.");
    }
    let figures: Vec<(&Placement, Summary, Summary)> = placements
        .iter()
        .zip(samples)
        .map(|(placement, ns)| (placement, Summary::of(ns, nodes), Summary::of(ns, 1)))
        .collect();
    let value = json!({
        "bench": "floor",
        "nodes": nodes,
        "driven": if options.round_trips { "round_trips" } else { "hand_off" },
        "gap_us": options.gap_us,
        "cores": cores.len(),
        "realtime": !refused.realtime,
        "memory_locked": !refused.lock,
        "placements": figures.iter().map(|(placement, hop, block)| json!({
            "placement": placement.key,
            "blocks": hop.count,
            "hop_us": hop.json(),
            "block_us": block.json(),
        })).collect::<Vec<_>>(),
    });
    if let Some(file) = &options.json {
        stats::write_json(file, &value)?;
        if file.as_os_str() == "-" {
            return Ok(());
        }
    }
    println!(
        "Floor of a hop: {nodes} processes in series, {}, {} blocks",
        if options.round_trips { "host wakes each" } else { "each wakes the next" },
        options.blocks
    );
    println!("{:<12}{:^18}{:^26}", "", "us per hop", "us per block");
    println!("{:<12}{:>8}{:>8}  {:>8}{:>8}{:>8}", "placement", "p50", "p99", "p50", "p99", "max");
    for (placement, hop, block) in &figures {
        println!(
            "{:<12}{}{}  {}{}{}",
            placement.name,
            stats::cell(hop.p50),
            stats::cell(hop.p99),
            stats::cell(block.p50),
            stats::cell(block.p99),
            stats::cell(block.max)
        );
    }
    if cores.len() < 2 {
        println!("alternate: not measured, there is one core only");
    }
    Ok(())
}
