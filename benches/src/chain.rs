//! The floor's chain: N processes in series that do next to nothing but wake each other.
//!
//! Each waits on its own word of a page of shared memory by futex, multiplies 128 samples, writes
//! the block's number into the next one's word and wakes it; the last wakes the host. Or, driven
//! by round trips, the host wakes each and waits for it.
//!
//! A program that starts a chain calls [`run_if_node`] first thing in `main`: the processes are
//! that same program, started again.

use std::hint::black_box;
use std::io;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use rustix::thread::futex;
use rustix::time::Timespec;

use crate::child::{self, Children};
use crate::os::{self, Shared};

const NODE: &str = "as-node";

/// The realtime priority of the processes.
pub const NODE_PRIORITY: i32 = 70;
/// The one of the thread that drives them.
pub const HOST_PRIORITY: i32 = 71;

/// How long the host waits for an answer.
const LIMIT: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// How a block gets through the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driven {
    /// Each process wakes the next.
    HandOff,
    /// The host wakes each process and waits for it.
    RoundTrips,
}

/// What the system did not permit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// The realtime class.
    pub realtime: bool,
    /// Locking memory.
    pub lock: bool,
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

    fn create(nodes: usize) -> io::Result<Self> {
        Ok(Self { shared: Shared::create(Self::cells(nodes), 0)?, nodes })
    }

    fn inherited(nodes: usize) -> io::Result<Self> {
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

/// A chain, waiting for blocks. Its processes end when it is dropped.
pub struct Chain {
    page: Page,
    children: Children,
    driven: Driven,
    block: u32,
}

impl Chain {
    /// Starts `nodes` processes: those with an even number on the cores `even`, the others on
    /// `odd`. Returns when all are waiting.
    pub fn start(nodes: usize, even: &[usize], odd: &[usize], driven: Driven) -> io::Result<Self> {
        let page = Page::create(nodes)?;
        let mut children = Children::default();
        for index in 0..nodes {
            let cores = if index % 2 == 0 { even } else { odd };
            let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
            let hand_off = driven == Driven::HandOff;
            children.spawn(
                child::again(NODE)
                    .args([index.to_string(), nodes.to_string(), hand_off.to_string()])
                    .arg(cores.join(","))
                    .stdin(page.shared.stdio()?)
                    .stdout(Stdio::null()),
            )?;
        }
        let started = || page.ready().load(Ordering::Acquire) as usize == nodes; // with `node`
        children
            .wait_until(Duration::from_secs(20), started)
            .map_err(|why| io::Error::other(format!("the chain of processes: {why}")))?;
        Ok(Self { page, children, driven, block: 0 })
    }

    /// What the processes were not permitted.
    #[must_use]
    pub fn refused(&self) -> Refused {
        Refused {
            realtime: self.page.without_realtime().load(Ordering::Relaxed) > 0,
            lock: self.page.without_lock().load(Ordering::Relaxed) > 0,
        }
    }

    /// Sends a block through and waits for it: futex calls only. False when it got lost.
    pub fn block(&mut self) -> bool {
        self.block = self.block.wrapping_add(1);
        let (page, last) = (&self.page, self.page.nodes - 1);
        match self.driven {
            Driven::HandOff => {
                ring(page.node(0), self.block);
                wait_for(page.answer(last), self.block, Some(&LIMIT))
            }
            Driven::RoundTrips => (0..=last).all(|index| {
                ring(page.node(index), self.block);
                wait_for(page.answer(index), self.block, Some(&LIMIT))
            }),
        }
    }

    /// In words, why a block got lost.
    pub fn why_lost(&mut self) -> io::Error {
        let ended =
            self.children.first_ended().map(|(index, _)| format!(": process {index} ended"));
        io::Error::other(format!("block {} was lost{}", self.block, ended.unwrap_or_default()))
    }
}

/// If this process was started as one of a chain, is one, and does not return.
pub fn run_if_node() {
    if let Some((_, parent, arguments)) = child::role(&[NODE]) {
        let Err(error) = node(parent, &arguments);
        eprintln!("a process of the chain: {error}");
        std::process::exit(1);
    }
}

/// One process of the chain. Runs until it is killed.
fn node(parent: u32, arguments: &[String]) -> io::Result<std::convert::Infallible> {
    child::die_with_parent(parent, Signal::KILL)?;
    let by_hand = || io::Error::other("started by hand");
    let [index, nodes, hand_off, cores] = arguments else { return Err(by_hand()) };
    let number = |text: &str| text.parse::<usize>().map_err(|_| by_hand());
    let (index, nodes) = (number(index)?, number(nodes)?);
    let hand_off: bool = hand_off.parse().map_err(|_| by_hand())?;
    let cores: Vec<usize> = cores.split(',').map(number).collect::<Result<_, _>>()?;
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
    page.ready().fetch_add(1, Ordering::Release); // with the load in `Chain::start`
    let mut block = 0_u32;
    loop {
        block = block.wrapping_add(1);
        wait_for(own, block, None);
        for sample in black_box(&mut audio) {
            *sample = *sample * 0.5 + 1.0;
        }
        ring(next, block);
    }
}
