//! Remote nodes in memory, as the contract wants them: they read each other directly, start when
//! everything before them has finished, and misbehave on demand.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use sandrack_engine::block::Block;
use sandrack_engine::event::{Event, EventBuffer};
use sandrack_engine::graph::{NodeId, NodeSpec};
use sandrack_engine::mix;
use sandrack_engine::remote::*;

use super::machine::{MAX_CHANNELS, Machine};
use super::{Dice, clock, set_clock};

/// What a node does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Starts and never finishes.
    Hangs,
    /// Can't start as long as `.0` hangs without having been demoted.
    HeldBy(NodeId),
    /// Is still busy.
    Busy,
    /// Is gone.
    Gone,
    /// Says so.
    Fails,
    /// Puts out NaN.
    Nan,
}

pub type Faults = Vec<(NodeId, Range<u64>, Fault)>;

/// What the engine did, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Call {
    Begin(u64),
    Ring(NodeId),
    /// How many nodes, and the first of them.
    Wait(usize, NodeId),
    Demote(NodeId),
    End,
}

pub type Log = Arc<Mutex<Vec<Call>>>;

struct Node {
    machine: Machine,
    spec: NodeSpec,
    /// By source and channel.
    inputs: Vec<Vec<Vec<f32>>>,
    /// By source: one ring for each channel.
    delays: Vec<Vec<(Vec<f32>, usize)>>,
    outputs: Vec<Vec<Vec<f32>>>,
    received: EventBuffer,
    sent: EventBuffer,
    present: bool,
    replaced: u64,
    ring: bool,
    rung: bool,
    demoted: bool,
    outcome: RemoteOutcome,
    times: RemoteTimes,
}

pub struct FakeRemote {
    topology: Vec<RemoteNodeTopology>,
    nodes: Vec<Node>,
    faults: Faults,
    dice: Dice,
    block: Option<Block>,
    begun: bool,
    number: u64,
    log: Log,
    mixed: Vec<Vec<f32>>,
    scratch: Vec<f32>,
}

impl FakeRemote {
    pub fn new(
        topology: &[RemoteNodeTopology],
        spec: impl Fn(NodeId) -> (NodeSpec, Machine),
        max_frames: usize,
        faults: Faults,
        seed: u64,
    ) -> (Self, Log) {
        let nodes = topology
            .iter()
            .map(|node| {
                let (spec, machine) = spec(node.node);
                let bus = |channels: u32| vec![vec![0.0; max_frames]; channels as usize];
                let delay = |source: &Source| {
                    let frames = match &source.from {
                        SourceFrom::Direct(direct) => direct.delay as usize,
                        SourceFrom::Engine => 0,
                    };
                    vec![(vec![0.0; frames], 0); source.channels as usize]
                };
                Node {
                    machine,
                    inputs: node.sources.iter().map(|s| bus(s.channels)).collect(),
                    delays: node.sources.iter().map(delay).collect(),
                    outputs: spec.outputs.iter().map(|b| bus(b.channels)).collect(),
                    spec,
                    received: EventBuffer::with_capacity(256),
                    sent: EventBuffer::with_capacity(256),
                    present: false,
                    replaced: 0,
                    ring: false,
                    rung: false,
                    demoted: false,
                    outcome: RemoteOutcome::NotReady,
                    times: RemoteTimes::default(),
                }
            })
            .collect();
        let log: Log = Arc::new(Mutex::new(Vec::with_capacity(1 << 20)));
        let remote = Self {
            topology: topology.to_vec(),
            nodes,
            faults,
            dice: Dice(seed),
            block: None,
            begun: false,
            number: 0,
            log: log.clone(),
            mixed: vec![vec![0.0; max_frames]; MAX_CHANNELS],
            scratch: vec![0.0; max_frames],
        };
        (remote, log)
    }

    /// For a plan that is swapped in when the engine has run some blocks.
    pub fn starting_at(mut self, block: u64) -> Self {
        self.number = block - 1;
        self
    }

    fn note(&self, call: Call) {
        let mut log = self.log.lock().unwrap();
        if log.len() < log.capacity() {
            log.push(call);
        }
    }

    fn fault(&self, node: usize) -> Option<Fault> {
        let id = self.topology[node].node;
        self.faults
            .iter()
            .find(|(node, blocks, _)| *node == id && blocks.contains(&self.number))
            .map(|f| f.2)
    }

    /// Whether `node` waits for `before` in this block.
    fn awaits(&self, node: usize, before: usize) -> bool {
        let replaced = self.topology[node].sources.iter().enumerate().any(|(at, source)| {
            let direct = match &source.from {
                SourceFrom::Direct(direct) => direct.node.0 as usize == before,
                SourceFrom::Engine => false,
            };
            direct && self.nodes[node].replaced & (1 << at) != 0
        });
        self.nodes[before].present && !replaced
    }

    fn is_ready(&self, node: usize) -> bool {
        let state = &self.nodes[node];
        self.begun
            && state.present
            && state.rung == state.ring
            && self.topology[node].predecessors.iter().all(|before| {
                let before = before.0 as usize;
                !self.awaits(node, before) || is_over(self.nodes[before].outcome)
            })
    }

    fn hogged(&self, by: NodeId) -> bool {
        let at = self.topology.iter().position(|node| node.node == by).unwrap();
        self.nodes[at].outcome == RemoteOutcome::Running && !self.nodes[at].demoted
    }

    /// Lets a node go as far as it can. False: no further.
    fn drive(&mut self, node: usize) -> bool {
        let outcome = self.nodes[node].outcome;
        if !matches!(outcome, RemoteOutcome::NotReady | RemoteOutcome::NotStarted)
            || !self.is_ready(node)
        {
            return false;
        }
        let fault = self.fault(node);
        let start = clock();
        self.nodes[node].times = RemoteTimes { ready: start, start, end: start };
        self.nodes[node].outcome = match fault {
            Some(Fault::Hangs) => RemoteOutcome::Running,
            Some(Fault::HeldBy(by)) if self.hogged(by) => {
                self.nodes[node].outcome = RemoteOutcome::NotStarted;
                return false;
            }
            Some(Fault::Fails) => {
                self.run(node);
                for channel in self.nodes[node].outputs.iter_mut().flatten() {
                    channel.fill(0.0);
                }
                self.nodes[node].sent.clear();
                RemoteOutcome::Failed
            }
            _ => {
                self.run(node);
                RemoteOutcome::Finished
            }
        };
        if fault == Some(Fault::Nan) {
            for channel in self.nodes[node].outputs.iter_mut().flatten() {
                channel.fill(f32::NAN);
            }
        }
        self.nodes[node].times.end = clock();
        true
    }

    /// Some nodes, in any order: time passes while the engine does other things.
    fn pass(&mut self) {
        for _ in 0..self.dice.roll(3) {
            let node = self.dice.roll(self.nodes.len() as u64) as usize;
            self.drive(node);
        }
    }

    fn run(&mut self, at: usize) {
        let frames = self.block.unwrap().frames as usize;
        let (mut base, mut source) = (0, 0);
        for bus in 0..self.nodes[at].spec.inputs.len() {
            let channels = self.nodes[at].spec.inputs[bus].channels as usize;
            for mixed in &mut self.mixed[base..base + channels] {
                mixed[..frames].fill(0.0);
            }
            let mut first = true;
            while self.topology[at].sources.get(source).is_some_and(|s| s.bus as usize == bus) {
                for channel in 0..channels {
                    self.read(at, source, channel, channels, frames);
                    let mixed = &mut self.mixed[base + channel][..frames];
                    for (sum, sample) in mixed.iter_mut().zip(&self.scratch) {
                        *sum = if first { *sample } else { *sum + sample };
                    }
                }
                first = false;
                source += 1;
            }
            base += channels;
        }
        for before in 0..self.topology[at].event_sources.len() {
            let before = self.topology[at].event_sources[before].0 as usize;
            // By index: both are in the same list.
            for event in 0..self.nodes[before].sent.as_slice().len() {
                let event = self.nodes[before].sent.as_slice()[event];
                if self.nodes[before].present && event.kind.passes_on() {
                    self.nodes[at].received.push(event);
                }
            }
        }
        let node = &mut self.nodes[at];
        node.sent.clear();
        let (mut input, mut output) = ([0.0; MAX_CHANNELS], [0.0; MAX_CHANNELS]);
        let mut next = 0;
        for frame in 0..frames {
            let events = node.received.as_slice();
            while let Some(event) = events.get(next).filter(|e| e.time as usize <= frame) {
                node.machine.event(&event.kind);
                if let Some(kind) = Machine::echo(&event.kind) {
                    node.sent.push(Event { time: event.time, kind });
                }
                next += 1;
            }
            for (sample, mixed) in input.iter_mut().zip(&self.mixed) {
                *sample = mixed[frame];
            }
            node.machine.tick(&input, &mut output);
            for (channel, sample) in node.outputs.iter_mut().flatten().zip(&output) {
                channel[frame] = *sample;
            }
        }
    }

    /// One channel of a source, delayed, into `scratch`.
    fn read(&mut self, at: usize, source: usize, channel: usize, channels: usize, frames: usize) {
        let scratch = &mut self.scratch[..frames];
        let direct = match &self.topology[at].sources[source].from {
            SourceFrom::Direct(d) if self.nodes[at].replaced & (1 << source) == 0 => Some(d),
            _ => None,
        };
        match direct {
            None => scratch.copy_from_slice(&self.nodes[at].inputs[source][channel][..frames]),
            Some(direct) => {
                let from = &self.nodes[direct.node.0 as usize].outputs[direct.bus as usize];
                let count = from.len();
                for (frame, sample) in scratch.iter_mut().enumerate() {
                    *sample = if count == channels {
                        from[channel][frame]
                    } else if count == 1 {
                        from[0][frame]
                    } else {
                        let sum = from[1..].iter().fold(from[0][frame], |sum, c| sum + c[frame]);
                        sum * (1.0 / count as f32)
                    };
                }
                mix::scrub(scratch);
            }
        }
        let (ring, place) = &mut self.nodes[at].delays[source][channel];
        if !ring.is_empty() {
            for sample in scratch {
                std::mem::swap(sample, &mut ring[*place]);
                *place = (*place + 1) % ring.len();
            }
        }
    }
}

fn is_over(outcome: RemoteOutcome) -> bool {
    matches!(outcome, RemoteOutcome::Finished | RemoteOutcome::Failed)
}

impl Remote for FakeRemote {
    fn state(&mut self, node: RemoteIndex) -> RemoteState {
        let node = node.0 as usize;
        if node == 0 {
            // The first question of a block.
            self.number += 1;
            for node in &mut self.nodes {
                node.present = false;
                node.rung = false;
                node.demoted = false;
                node.received.clear();
                node.outcome = RemoteOutcome::NotReady;
            }
        }
        match self.fault(node) {
            Some(Fault::Busy) => RemoteState::Busy,
            Some(Fault::Gone) => RemoteState::Gone,
            _ => RemoteState::Ready,
        }
    }

    fn prepare(&mut self, node: RemoteIndex, replaced: u64, ring: bool) {
        assert!(!self.begun);
        for (at, source) in self.topology[node.0 as usize].sources.iter().enumerate() {
            let direct = matches!(source.from, SourceFrom::Direct(_));
            assert!(replaced & (1 << at) == 0 || (direct && ring), "only direct sources");
        }
        let node = &mut self.nodes[node.0 as usize];
        assert!(!node.present, "prepared twice");
        (node.present, node.replaced, node.ring) = (true, replaced, ring);
    }

    fn push_event(&mut self, node: RemoteIndex, event: &Event) -> bool {
        let node = &mut self.nodes[node.0 as usize];
        assert!(node.present && !node.rung && (node.ring || !self.begun));
        assert!(node.received.as_slice().last().is_none_or(|last| last.time <= event.time));
        node.received.push(*event)
    }

    fn begin(&mut self, block: &Block) {
        self.begun = true;
        self.block = Some(*block);
        self.note(Call::Begin(block.number));
        assert!(self.topology.is_empty() || self.number == block.number);
    }

    fn input(&mut self, node: RemoteIndex, source: SourceIndex, channel: u32) -> &mut [f32] {
        let frames = self.block.unwrap().frames as usize;
        let node = &mut self.nodes[node.0 as usize];
        assert!(node.present && !node.rung && self.begun);
        &mut node.inputs[source.0 as usize][channel as usize][..frames]
    }

    fn ring(&mut self, node: RemoteIndex) {
        self.note(Call::Ring(self.topology[node.0 as usize].node));
        let state = &mut self.nodes[node.0 as usize];
        assert!(state.present && state.ring && !state.rung);
        state.rung = true;
        self.pass();
    }

    fn wait(&mut self, nodes: &[RemoteIndex], deadline: u64) -> bool {
        assert!(!nodes.is_empty());
        self.note(Call::Wait(nodes.len(), self.topology[nodes[0].0 as usize].node));
        loop {
            if nodes.iter().all(|node| is_over(self.nodes[node.0 as usize].outcome)) {
                return true;
            }
            let first = self.dice.roll(self.nodes.len() as u64) as usize;
            let count = self.nodes.len();
            if (0..count).any(|at| self.drive((first + at) % count)) {
                continue;
            }
            let excused = (0..count).any(|at| self.nodes[at].present && self.fault(at).is_some());
            assert!(excused, "the engine waits for nodes that wait for the engine: {nodes:?}");
            assert!(deadline < u64::MAX, "would wait for ever");
            set_clock(deadline);
            return false;
        }
    }

    fn outcome(&mut self, node: RemoteIndex) -> RemoteOutcome {
        self.pass();
        self.nodes[node.0 as usize].outcome
    }

    fn demote(&mut self, node: RemoteIndex) {
        self.note(Call::Demote(self.topology[node.0 as usize].node));
        assert_eq!(self.nodes[node.0 as usize].outcome, RemoteOutcome::Running);
        self.nodes[node.0 as usize].demoted = true;
    }

    fn output(&mut self, node: RemoteIndex, bus: u32, channel: u32, into: &mut [f32]) -> bool {
        let node = &self.nodes[node.0 as usize];
        assert_eq!(node.outcome, RemoteOutcome::Finished);
        into.copy_from_slice(&node.outputs[bus as usize][channel as usize][..into.len()]);
        mix::scrub(into)
    }

    fn events(&mut self, node: RemoteIndex, into: &mut EventBuffer) {
        let node = &self.nodes[node.0 as usize];
        assert_eq!(node.outcome, RemoteOutcome::Finished);
        for event in node.sent.as_slice() {
            into.push(*event);
        }
    }

    fn times(&mut self, node: RemoteIndex) -> RemoteTimes {
        self.nodes[node.0 as usize].times
    }

    fn end(&mut self) {
        self.begun = false;
        self.note(Call::End);
    }
}
