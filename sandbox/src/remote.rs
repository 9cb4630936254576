//! The host's side of a block: publishes it, rings the first nodes, waits for the last.
//!
//! [`RemoteSet`] is the realtime half of one plan: it is built on a control thread
//! ([`RemoteSet::connect`]), used on the realtime thread, and dropped on a control thread again.
//! Its methods, `connect` apart, do nothing but touch shared memory, wake, wait and read the clock.

#[cfg(test)]
mod fuzz;
mod wiring;

pub use wiring::{Connecting, DirectWiring, NodeWiring, SourceWiring};

use crate::error::Error;
use crate::event::Event;
use crate::format::Transport;
use crate::protocol::Slots;
use crate::shm::layout::{MAX_NODES, sequence, status};
use crate::shm::marks::{self, is_complete, ring};
use crate::shm::{BlockView, DoorbellView, InboxWriter, OutboxReader};
use crate::supervisor::{Class, Supervisor};
use crate::sys::clock::{now_ns, sleep_until};
use crate::sys::memory::Access;
use crate::sys::thread::ThreadId;
use crate::sys::wake::Wait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use wiring::{Layout, absurd};

/// Whether a node can take part in the next block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Yes.
    Ready,
    /// It is still at an earlier block, or did not wake up for it.
    Busy,
    /// Its process has ended.
    Gone,
}

/// How far a node has come in the present block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran and finished.
    Finished,
    /// It ran, and the plugin reported an error.
    Failed,
    /// It has started.
    Running,
    /// It has all it waits for.
    NotStarted,
    /// It waits for others.
    NotReady,
}

/// When a node ran, in ns of [`now_ns`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Its doorbell rang.
    pub ready: u64,
    /// It began.
    pub start: u64,
    /// It had finished.
    pub end: u64,
}

/// No block takes as long as this.
const LONGEST_BLOCK_NS: u64 = 1_000_000_000_000;

/// See the module.
pub struct RemoteSet {
    page: BlockView,
    bell: DoorbellView,
    generation: u32,
    blocks: Arc<AtomicU64>,
    sequence: u32,
    frames: u32,
    /// When the last block began.
    begun_ns: u64,
    nodes: Vec<RtNode>,
    /// By worker: whether one of its nodes is still at an earlier block. One thread runs them
    /// all, so none of the others will answer either.
    busy: Vec<bool>,
    busy_is_known: bool,
    /// How many workers have ended so far, as the watcher counts them; as of the last look; and
    /// which nodes can't end this block because of it.
    deaths: Arc<AtomicU32>,
    deaths_seen: u32,
    lost: Vec<bool>,
}

/// One node, for the realtime thread.
struct RtNode {
    inbox: InboxWriter,
    outbox: OutboxReader,
    bell: DoorbellView,
    slots: Slots,
    predecessors: Vec<u32>,
    worker: usize,
    gone: Arc<AtomicBool>,
    thread: Option<ThreadId>,
    /// In this block.
    takes_part: bool,
    host_rings: bool,
    events: usize,
    rung_ns: u64,
    /// It finished the last block: there is no need to look.
    is_idle: bool,
    /// Longest run of late, ns: what is usual for it.
    usual_ns: u64,
    /// Whether its worker's thread is off the realtime class; outlives this plan.
    class: Arc<Class>,
    /// Since when it has not come to an end of a block that it could have, by the host's clock; 0: it
    /// has.
    missing_since: u64,
    /// It did not start though it could have; until it answers a wake it is not counted on.
    suspect: Option<u32>,
}

impl RtNode {
    /// It has not come to an end of a block that it could have, whatever it says it is doing. After a
    /// while it is off the realtime class, so that it holds no core against others.
    fn miss(&mut self, begun_ns: u64) {
        const MOMENT_NS: u64 = 10_000_000;
        if self.missing_since == 0 {
            self.missing_since = begun_ns;
        }
        if let Some(thread) = self.thread
            && begun_ns.saturating_sub(self.missing_since) > MOMENT_NS
        {
            self.class.demote(thread);
        }
    }
}

impl RemoteSet {
    /// Wires the workers of a new plan: makes the inboxes and sends each worker its connections.
    /// The workers use them from the first block that this set begins; until then the set of the
    /// plan before goes on. Both read the same outboxes, and only one of the two may begin blocks:
    /// once this one has begun its first, the other must not be used again, only dropped. A set
    /// that is followed by another before it has begun a block is forgotten by the workers.
    ///
    /// # Errors
    /// A worker has ended, can't take its part, or does not answer.
    pub fn connect(
        supervisor: &Supervisor,
        wirings: &[NodeWiring<'_>],
        max_frames: u32,
    ) -> Result<Self, Error> {
        let (set, connecting) = Self::begin_connecting(supervisor, wirings, max_frames)?;
        connecting.wait()?;
        Ok(set)
    }

    /// The same, without waiting for the workers; see [`Connecting`] for what has to come before the set
    /// begins its first block.
    ///
    /// # Errors
    /// A worker has ended.
    pub fn begin_connecting(
        supervisor: &Supervisor,
        wirings: &[NodeWiring<'_>],
        max_frames: u32,
    ) -> Result<(Self, Connecting), Error> {
        let generation = supervisor.next_generation();
        if wirings.len() > MAX_NODES {
            return Err(absurd(format!("{} plugins; at most {MAX_NODES}", wirings.len())));
        }
        let layout = Layout::new(wirings, generation, max_frames)?;
        let mut workers: Vec<u32> = wirings.iter().map(|w| w.node.worker().id()).collect();
        workers.sort_unstable();
        workers.dedup();
        let mut nodes = Vec::with_capacity(wirings.len());
        for (index, wiring) in wirings.iter().enumerate() {
            let worker = wiring.node.worker();
            let (_, reader, _) = layout.outbox(index)?;
            let mapping = layout.inboxes[index]
                .0
                .map(Access::ReadWrite)
                .map_err(Error::system("mapping an inbox"))?;
            let sealed = layout.inboxes[index].0.seal_writes();
            sealed.map_err(Error::system("sealing an inbox"))?;
            let inbox = InboxWriter::new(Arc::new(mapping), layout.inboxes[index].1.clone())
                .map_err(Error::system("mapping an inbox"))?;
            nodes.push(RtNode {
                inbox,
                outbox: reader.clone(),
                bell: worker.bell().0,
                slots: layout.slots[index],
                predecessors: wiring.predecessors.iter().map(|&p| p as u32).collect(),
                worker: workers.partition_point(|&id| id < worker.id()),
                gone: match layout.is_absent(index) {
                    true => Arc::new(AtomicBool::new(true)),
                    false => worker.gone_flag(),
                },
                thread: worker.realtime_thread(),
                takes_part: false,
                host_rings: false,
                events: 0,
                rung_ns: 0,
                is_idle: false,
                usual_ns: 0,
                class: worker.class(),
                missing_since: 0,
                suspect: None,
            });
        }
        let connecting = layout.send(supervisor)?;
        let (bell, _) = supervisor.bell();
        let page = supervisor.page();
        let busy = vec![false; workers.len()];
        let set = Self {
            page,
            bell,
            generation,
            blocks: supervisor.blocks(),
            sequence: 0,
            frames: 0,
            begun_ns: 0,
            nodes,
            busy,
            busy_is_known: false,
            deaths: supervisor.deaths(),
            deaths_seen: 0,
            lost: vec![false; wirings.len()],
        };
        Ok((set, connecting))
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether the node can take part in the next block.
    #[inline]
    pub fn state(&mut self, node: usize) -> State {
        if !self.busy_is_known {
            self.find_busy();
        }
        let node = &mut self.nodes[node];
        if node.gone.load(Ordering::Acquire) {
            return State::Gone;
        }
        if self.busy[node.worker] {
            node.miss(self.begun_ns);
            return State::Busy;
        }
        if let Some(word) = node.suspect {
            if node.bell.answered.load(Ordering::Relaxed).wrapping_sub(word) as i32 >= 0 {
                node.suspect = None;
            } else {
                // Stopped, starved or stuck elsewhere: knock; it answers when it runs again.
                node.suspect = Some(node.bell.word.load(Ordering::Relaxed).wrapping_add(1));
                node.bell.wake();
                node.miss(self.begun_ns);
                return State::Busy;
            }
        }
        if let Some(thread) = node.thread {
            node.class.promote(thread);
        }
        State::Ready
    }

    fn find_busy(&mut self) {
        // Before anybody is asked whether it is gone: who ends later is found by `find_lost`.
        self.deaths_seen = self.deaths.load(Ordering::Acquire);
        self.lost.fill(false);
        self.busy.fill(false);
        for node in &mut self.nodes {
            node.takes_part = false;
            if node.is_idle {
                continue;
            }
            let header = node.outbox.header();
            self.busy[node.worker] |= marks::is_at_work(&header.started, &header.ended);
        }
        self.busy_is_known = true;
    }

    /// Says how the node takes part in the next block; see the engine's trait.
    #[inline]
    pub fn prepare(&mut self, node: usize, replaced: u64, host_rings: bool) {
        let entry = &self.page.nodes[node];
        entry.replaced.store(replaced, Ordering::Relaxed);
        entry.events.store(0, Ordering::Relaxed);
        entry.host_rings.store(u32::from(host_rings), Ordering::Relaxed);
        let node = &mut self.nodes[node];
        node.takes_part = true;
        node.host_rings = host_rings;
        node.rung_ns = 0;
        node.events = 0;
    }

    /// Gives the node an event. False: no room.
    #[inline]
    pub fn push_event(&mut self, node: usize, event: &Event) -> bool {
        let (entry, node) = (&self.page.nodes[node], &mut self.nodes[node]);
        let written = node.inbox.write_event(node.events, event);
        node.events += usize::from(written);
        entry.events.store(node.events as u32, Ordering::Relaxed);
        written
    }

    /// Publishes the block. `number`: the engine's, by which reports name it.
    pub fn begin(&mut self, number: u64, frames: u32, steady_time: u64, transport: &Transport) {
        // Counted by the supervisor, over all its engines: workers outlive them.
        let sequence = sequence(self.blocks.fetch_add(1, Ordering::Relaxed));
        self.sequence = sequence;
        self.frames = frames;
        self.begun_ns = now_ns();
        // Nobody rings for those who take no part: their marks are set on their behalf.
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            if !node.takes_part {
                // It waits for a ring that does not come, whatever its predecessors mark.
                self.page.nodes[index].host_rings.store(1, Ordering::Relaxed);
                continue;
            }
            for (slot, &predecessor) in node.predecessors.iter().enumerate() {
                if !self.nodes[predecessor as usize].takes_part
                    && let Some(slots) = node.bell.slots(node.slots.first, node.slots.count)
                {
                    ring(slots, slot + 1, node.host_rings, sequence);
                }
            }
        }
        let page = &self.page;
        let set = |word: &AtomicU64, value: f64| word.store(value.to_bits(), Ordering::Relaxed);
        page.generation.store(self.generation, Ordering::Relaxed);
        page.number.store(number, Ordering::Relaxed);
        page.frames.store(frames, Ordering::Relaxed);
        page.steady_time.store(steady_time, Ordering::Relaxed);
        page.transport_flags.store(transport.flags, Ordering::Relaxed);
        set(&page.tempo, transport.tempo);
        set(&page.tempo_increment, transport.tempo_increment);
        set(&page.position_beats, transport.position_beats);
        set(&page.position_seconds, transport.position_seconds);
        set(&page.loop_start_beats, transport.loop_start_beats);
        set(&page.loop_end_beats, transport.loop_end_beats);
        set(&page.bar_start_beats, transport.bar_start_beats);
        page.bar_number.store(transport.bar_number, Ordering::Relaxed);
        let signature = u32::from(transport.signature_numerator) << 16
            | u32::from(transport.signature_denominator);
        page.signature.store(signature, Ordering::Relaxed);
        // Release: all of the above, and the inboxes, before the block opens.
        page.open.store(sequence, Ordering::SeqCst);
    }

    /// The host's buffer for a channel of a source, of the block's frames.
    #[inline]
    pub fn input(&mut self, node: usize, source: usize, channel: u32) -> &mut [f32] {
        let frames = self.frames;
        self.nodes[node].inbox.channel_mut(source, channel, frames)
    }

    /// The host's part of the input is there.
    #[inline]
    pub fn ring(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.rung_ns = now_ns();
        if let Some(slots) = node.bell.slots(node.slots.first, node.slots.count)
            && ring(slots, 0, true, self.sequence)
        {
            node.bell.wake();
        }
    }

    fn has_ended(&self, node: usize) -> bool {
        // SeqCst: with `BlockPage::watched`.
        self.nodes[node].outbox.header().ended.load(Ordering::SeqCst) == self.sequence
    }

    /// Whether the node can't end this block any more: its process has ended, or that of a node it
    /// waits for.
    #[inline]
    pub fn is_lost(&mut self, node: usize) -> bool {
        self.find_lost();
        self.lost[node]
    }

    #[inline]
    fn find_lost(&mut self) {
        // Acquire, with the watcher in `supervisor`: the flags of who has ended are visible.
        let deaths = self.deaths.load(Ordering::Acquire);
        if deaths == self.deaths_seen {
            return;
        }
        self.deaths_seen = deaths;
        // Predecessors have lower numbers.
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            let waits_for_lost = || node.predecessors.iter().any(|&p| self.lost[p as usize]);
            self.lost[index] = node.takes_part
                && !self.has_ended(index)
                && (node.gone.load(Ordering::Relaxed) || waits_for_lost());
        }
    }

    /// Waits until all have ended this block or are [lost](Self::is_lost), or until the deadline
    /// (ns of [`now_ns`]).
    ///
    /// Of all the nodes only one, the last that has not ended, wakes the host: nodes end roughly
    /// in order, so it is woken about once a core and not once a node.
    pub fn wait(
        &mut self,
        nodes: impl DoubleEndedIterator<Item = usize> + Clone,
        deadline: u64,
    ) -> bool {
        // A worker that scribbles on the doorbell's word makes waits return at once; it must not
        // make the host spin above everybody else.
        const PATIENCE: usize = 64;
        const PAUSE_NS: u64 = 100_000;
        let patience = PATIENCE + self.nodes.len();
        let mut woken = 0;
        let all = loop {
            let word = self.bell.word.load(Ordering::SeqCst);
            self.find_lost();
            let last = nodes.clone().rev().find(|&node| !self.has_ended(node) && !self.lost[node]);
            let Some(last) = last else {
                break nodes.clone().all(|node| self.has_ended(node));
            };
            let ended = &self.nodes[last].outbox.header().ended;
            if marks::watch(&self.page.watched, last as u32 + 1, ended, self.sequence) {
                continue;
            }
            woken += 1;
            let waited = match woken > patience {
                true => {
                    sleep_until(deadline.min(now_ns() + PAUSE_NS));
                    Wait::Woken
                }
                false => self.bell.wait(word, deadline),
            };
            // Whoever writes to the word makes a wait return as if it had been rung, however late it is.
            if waited == Wait::TimedOut || now_ns() >= deadline {
                break nodes.clone().all(|node| self.has_ended(node));
            }
        };
        self.page.watched.store(0, Ordering::SeqCst);
        all
    }

    /// How far the node has come.
    pub fn outcome(&self, node: usize) -> Outcome {
        let sequence = self.sequence;
        let node = &self.nodes[node];
        let header = node.outbox.header();
        // Acquire, with the store of `ended` in `AudioNode::run`: all of the outbox is visible.
        if header.ended.load(Ordering::Acquire) == sequence {
            return match header.status.load(Ordering::Relaxed) {
                status::DONE => Outcome::Finished,
                status::FAILED => Outcome::Failed,
                _ => Outcome::NotStarted,
            };
        }
        if header.started.load(Ordering::SeqCst) == sequence {
            return Outcome::Running;
        }
        let slots = node.bell.slots(node.slots.first, node.slots.count).unwrap_or(&[]);
        match is_complete(slots, node.host_rings, sequence) {
            true => Outcome::NotStarted,
            false => Outcome::NotReady,
        }
    }

    /// Takes a node's thread off the realtime class, if it has been running for far longer than it
    /// usually does. [`state`](Self::state) puts it back when it has come to an end.
    pub fn demote(&mut self, node: usize) {
        const LEAST_NS: u64 = 50_000;
        let now = now_ns();
        let node = &mut self.nodes[node];
        let since = node.outbox.header().start_ns.load(Ordering::Relaxed);
        // It may say what it likes, but not that it began before the block or begins later.
        let since = if since > now { self.begun_ns } else { since.max(self.begun_ns) };
        let running = now.saturating_sub(since);
        if let Some(thread) = node.thread
            && running > LEAST_NS.max(node.usual_ns.saturating_mul(4))
        {
            node.class.demote(thread);
        }
    }

    /// Copies and scrubs a channel. False: there was something that is not a number.
    #[inline]
    pub fn output(&self, node: usize, bus: usize, channel: u32, into: &mut [f32]) -> bool {
        self.nodes[node].outbox.read_channel(bus, channel, into)
    }

    /// Hands over a node's events.
    pub fn events(&self, node: usize, take: impl FnMut(Event)) {
        self.nodes[node].outbox.read_events(self.frames, take);
    }

    /// When a node that has finished ran.
    pub fn times(&self, node: usize) -> Times {
        // Workers write these: made to be of this block, and in order, whatever they wrote.
        let begun = self.begun_ns;
        let sane = |ns: u64| if ns.wrapping_sub(begun) < LONGEST_BLOCK_NS { ns } else { begun };
        let end_of = |node: &RtNode| sane(node.outbox.header().end_ns.load(Ordering::Relaxed));
        let node = &self.nodes[node];
        let rung = if node.host_rings { node.rung_ns } else { 0 };
        let ready = node
            .predecessors
            .iter()
            .map(|&p| &self.nodes[p as usize])
            .filter(|p| p.takes_part)
            .map(end_of)
            .fold(rung, u64::max);
        let start = sane(node.outbox.header().start_ns.load(Ordering::Relaxed)).max(ready);
        Times { ready, start, end: end_of(node).max(start) }
    }

    /// Closes the block.
    pub fn end(&mut self) {
        for index in 0..self.nodes.len() {
            if !self.nodes[index].takes_part {
                continue;
            }
            let outcome = self.outcome(index);
            let node = &mut self.nodes[index];
            node.is_idle = matches!(outcome, Outcome::Finished | Outcome::Failed);
            match outcome {
                Outcome::NotStarted => {
                    node.suspect = Some(node.bell.word.load(Ordering::Relaxed).wrapping_add(1));
                    node.bell.wake();
                    node.miss(self.begun_ns);
                }
                Outcome::Running => node.miss(self.begun_ns),
                Outcome::Finished => {
                    let header = node.outbox.header();
                    let end = header.end_ns.load(Ordering::Relaxed);
                    let run = end.saturating_sub(header.start_ns.load(Ordering::Relaxed));
                    let run = if run < LONGEST_BLOCK_NS { run } else { 0 };
                    node.usual_ns = run.max(node.usual_ns - node.usual_ns / 1024);
                    node.missing_since = 0;
                }
                Outcome::Failed => node.missing_since = 0,
                Outcome::NotReady => {
                    if let Some(slots) = node.bell.slots(node.slots.first, node.slots.count) {
                        marks::mend(slots, self.sequence);
                    }
                }
            }
        }
        self.busy_is_known = false;
        marks::close(&self.page.open);
    }
}
