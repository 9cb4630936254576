//! Builds and runs a graph of [`Machine`]s.

use sandrack_engine::compile::{CompileConfig, Compiled, compile};
use sandrack_engine::engine::{Controller, Deadlines, Engine, EngineConfig};
use sandrack_engine::event::{Event, EventKind};
use sandrack_engine::graph::{Graph, NodeId};
use sandrack_engine::plan::Plan;
use sandrack_engine::timing::{BlockRecord, NodeOutcome, NodeRecord, Record};

use super::fake_remote::{FakeRemote, Faults, Log};
use super::machine::Machine;
use super::reference::Reference;
use super::{Dice, clock};

pub const RATE: f64 = 48000.0;
pub type Sent = Vec<(usize, NodeId, EventKind)>;

pub struct Rig {
    pub graph: Graph,
    pub max_frames: u32,
    pub faults: Faults,
    pub seed: u64,
}

pub fn config(max_frames: u32) -> CompileConfig {
    CompileConfig { rate: RATE, max_frames, event_capacity: 256 }
}

impl Rig {
    pub fn new(graph: Graph) -> Self {
        Self { graph, max_frames: 64, faults: Vec::new(), seed: 7 }
    }

    pub fn machine(graph: &Graph, id: NodeId) -> Machine {
        Machine::new(graph.node(id).unwrap(), id.raw() * 31)
    }

    pub fn compile(&self) -> Compiled {
        compile(&self.graph, config(self.max_frames)).unwrap()
    }

    pub fn plan(&self) -> (Plan, Log) {
        self.plan_starting_at(1)
    }

    /// A plan that is swapped in before this block, counted from 1.
    pub fn plan_starting_at(&self, block: u64) -> (Plan, Log) {
        let compiled = self.compile();
        let (remote, log) = FakeRemote::new(
            compiled.topology(),
            |id| (self.graph.node(id).unwrap().clone(), Self::machine(&self.graph, id)),
            self.max_frames as usize,
            self.faults.clone(),
            self.seed,
        );
        let local = |id| Some(Box::new(Self::machine(&self.graph, id)) as _);
        (compiled.into_plan(local, Box::new(remote.starting_at(block))).unwrap(), log)
    }

    pub fn reference(&self, channels: usize, inputs: &[Vec<f32>], sent: &Sent) -> Vec<Vec<f32>> {
        let machine = |id| Self::machine(&self.graph, id);
        Reference::new(&self.graph, inputs, sent, &machine).outputs(channels)
    }

    /// Runs it in blocks of any size up to the plan's.
    pub fn run(&self, channels: usize, inputs: &[Vec<f32>], sent: &Sent) -> Vec<Vec<f32>> {
        let mut player = Player::new();
        player.controller.swap(self.plan().0).unwrap();
        let mut dice = Dice(self.seed);
        let max = self.max_frames as u64;
        player.play(channels, inputs, sent, |_| 1 + dice.roll(max) as usize)
    }

    /// Runs it in blocks of the plan's size.
    pub fn run_even(&self, channels: usize, inputs: &[Vec<f32>], sent: &Sent) -> Played {
        let mut player = Player::new();
        let (plan, log) = self.plan();
        player.controller.swap(plan).unwrap();
        let outputs = player.play(channels, inputs, sent, |_| self.max_frames as usize);
        Played { outputs, records: player.records(), log }
    }
}

pub struct Played {
    pub outputs: Vec<Vec<f32>>,
    pub records: Vec<Record>,
    pub log: Log,
}

impl Played {
    pub fn node(&self, node: NodeId) -> Vec<NodeRecord> {
        let of = |record: &Record| match record {
            Record::Node(record) if record.node == node => Some(*record),
            _ => None,
        };
        self.records.iter().filter_map(of).collect()
    }

    pub fn outcomes(&self, node: NodeId) -> Vec<NodeOutcome> {
        self.node(node).iter().map(|record| record.outcome).collect()
    }

    pub fn blocks(&self) -> Vec<BlockRecord> {
        let of = |record: &Record| match record {
            Record::Block(record) => Some(*record),
            _ => None,
        };
        self.records.iter().filter_map(of).collect()
    }
}

pub struct Player {
    pub engine: Engine,
    pub controller: Controller,
    /// Relative to the start of each call.
    pub soft: u64,
    pub hard: u64,
    pub played: usize,
}

impl Player {
    pub fn new() -> Self {
        let (engine, controller) = Engine::new(EngineConfig::new(clock));
        Self { engine, controller, soft: 500_000, hard: 1_000_000, played: 0 }
    }

    /// Plays all of `inputs`, in calls of the sizes that `size` says.
    pub fn play(
        &mut self,
        channels: usize,
        inputs: &[Vec<f32>],
        sent: &Sent,
        mut size: impl FnMut(usize) -> usize,
    ) -> Vec<Vec<f32>> {
        let frames = inputs[0].len();
        let mut outputs = vec![vec![0.5; frames]; channels];
        let mut at = 0;
        while at < frames {
            let count = size(at).min(frames - at);
            for (time, node, kind) in sent {
                if (at..at + count).contains(time) {
                    let event = Event { time: (time - at) as u32, kind: *kind };
                    self.controller.send_event(*node, event).unwrap();
                }
            }
            let ins: Vec<&[f32]> = inputs.iter().map(|c| &c[at..at + count]).collect();
            let mut outs: Vec<&mut [f32]> =
                outputs.iter_mut().map(|c| &mut c[at..at + count]).collect();
            let now = clock();
            let deadlines = Deadlines { soft: now + self.soft, hard: now + self.hard };
            assert_no_alloc::assert_no_alloc(|| self.engine.process(&ins, &mut outs, deadlines));
            at += count;
        }
        self.played += frames;
        outputs
    }

    pub fn records(&mut self) -> Vec<Record> {
        let timing = self.controller.timing();
        std::iter::from_fn(|| timing.pop().ok()).collect()
    }
}
