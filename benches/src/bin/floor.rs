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
use std::hint::black_box;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clap::Parser;
use rustix::process::Signal;
use rustix::thread::futex;
use rustix::time::Timespec;
use sandrack_benches::child::{self, Children};
use sandrack_benches::os::{self, Shared};
use sandrack_benches::stats::{self, Summary};
use serde_json::json;

const NODE: &str = "as-node";
const NODE_PRIORITY: i32 = 70;
const HOST_PRIORITY: i32 = 71;

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

/// The shared page: the start-up counts, a word per node, and a word per node on which the host
/// waits for that node.
struct Page {
    shared: Shared,
    nodes: usize,
}

impl Page {
    fn cells(nodes: usize) -> usize {
        3 + 2 * nodes
    }

    fn create(nodes: usize) -> std::io::Result<Self> {
        Ok(Self { shared: Shared::create(Self::cells(nodes), 0)?, nodes })
    }

    fn inherited(nodes: usize) -> std::io::Result<Self> {
        Ok(Self { shared: Shared::from_stdin(Self::cells(nodes), 0)?, nodes })
    }

    fn cell(&self, index: usize) -> &AtomicU32 {
        &self.shared.cells()[index].0
    }

    fn ready(&self) -> &AtomicU32 {
        self.cell(0)
    }

    fn without_realtime(&self) -> &AtomicU32 {
        self.cell(1)
    }

    fn without_lock(&self) -> &AtomicU32 {
        self.cell(2)
    }

    fn node(&self, index: usize) -> &AtomicU32 {
        self.cell(3 + index)
    }

    fn answer(&self, index: usize) -> &AtomicU32 {
        self.cell(3 + self.nodes + index)
    }
}

/// Publishes the block's number in `word` and wakes who waits for it.
fn ring(word: &AtomicU32, block: u32) {
    word.store(block, Ordering::Release); // with the load in `wait_for`
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}

/// Waits until `word` holds `block`; false when `limit` runs out first.
fn wait_for(word: &AtomicU32, block: u32, limit: Option<&Timespec>) -> bool {
    loop {
        let seen = word.load(Ordering::Acquire); // with the store in `ring`
        if seen == block {
            return true;
        }
        // AGAIN (the word changed meanwhile) and INTR lead to another look.
        if futex::wait(word, futex::Flags::empty(), seen, limit) == Err(rustix::io::Errno::TIMEDOUT)
        {
            return false;
        }
    }
}

fn main() -> ExitCode {
    let result = match child::role(&[NODE]) {
        Some((_, parent, arguments)) => node(parent, &arguments),
        None => measure(&Options::parse()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One process of the chain. Runs until it is killed.
fn node(parent: u32, arguments: &[String]) -> Result<(), Box<dyn Error>> {
    child::die_with_parent(parent, Signal::KILL)?;
    let [index, nodes, hand_off, cores] = arguments else {
        return Err("a process of the chain was started by hand".into());
    };
    let (index, nodes): (usize, usize) = (index.parse()?, nodes.parse()?);
    let hand_off: bool = hand_off.parse()?;
    let cores: Vec<usize> = cores.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let page = Page::inherited(nodes)?;
    os::pin(&cores)?;
    if os::set_realtime(NODE_PRIORITY).is_err() {
        page.without_realtime().fetch_add(1, Ordering::Relaxed);
    }
    if os::lock_memory().is_err() {
        page.without_lock().fetch_add(1, Ordering::Relaxed);
    }
    let next =
        if hand_off && index + 1 < nodes { page.node(index + 1) } else { page.answer(index) };
    let own = page.node(index);
    let mut audio = [0.0_f32; 128];
    page.ready().fetch_add(1, Ordering::Release); // with the load in `chain`
    for block in 1.. {
        wait_for(own, block, None);
        for sample in black_box(&mut audio) {
            *sample = *sample * 0.5 + 1.0;
        }
        ring(next, block);
    }
    Ok(())
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

/// What the system did not permit.
#[derive(Default)]
struct Refused {
    realtime: bool,
    lock: bool,
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
            chain(options, placement, blocks, samples, &mut refused)
                .map_err(|error| format!("{}: {error}", placement.name))?;
        }
    }
    os::pin(&cores)?;
    report(options, &placements, &samples, &cores, &refused)
}

/// Starts a chain, runs `blocks` blocks through it and adds their times to `samples`.
fn chain(
    options: &Options,
    placement: &Placement,
    blocks: u32,
    samples: &mut Vec<u64>,
    refused: &mut Refused,
) -> Result<(), Box<dyn Error>> {
    let nodes = usize::from(options.nodes);
    let page = Page::create(nodes)?;
    let hand_off = !options.round_trips;
    let mut children = Children::default();
    os::pin(&placement.host)?;
    for index in 0..nodes {
        let cores = if index % 2 == 0 { &placement.even } else { &placement.odd };
        let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
        children.spawn(
            child::again(NODE)
                .args([index.to_string(), nodes.to_string(), hand_off.to_string()])
                .arg(cores.join(","))
                .stdin(page.shared.stdio()?)
                .stdout(Stdio::null()),
        )?;
    }
    let started = || page.ready().load(Ordering::Acquire) as usize == nodes; // with `node`
    children.wait_until(Duration::from_secs(20), started).map_err(|why| why.to_string())?;
    refused.realtime |= page.without_realtime().load(Ordering::Relaxed) > 0;
    refused.lock |= page.without_lock().load(Ordering::Relaxed) > 0;

    let gap = Duration::from_micros(u64::from(options.gap_us));
    let limit = Timespec { tv_sec: 2, tv_nsec: 0 };
    samples.reserve(blocks as usize);
    std::thread::sleep(Duration::from_millis(100));
    for block in 1..=blocks {
        std::thread::sleep(gap);
        let start = os::now_ns();
        let mut arrived = true;
        if hand_off {
            ring(page.node(0), block);
            arrived &= wait_for(page.answer(nodes - 1), block, Some(&limit));
        } else {
            for index in 0..nodes {
                ring(page.node(index), block);
                arrived &= wait_for(page.answer(index), block, Some(&limit));
            }
        }
        let end = os::now_ns();
        if !arrived {
            let ended = children.first_ended().map(|(index, _)| format!(": process {index} ended"));
            return Err(format!("block {block} was lost{}", ended.unwrap_or_default()).into());
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
