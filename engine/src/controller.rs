//! The control half: sends plans, events and the transport, fetches what was measured.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer};

use crate::block::Transport;
use crate::event::{Event, EventKind, NoteAddress};
use crate::graph::NodeId;
use crate::nodes::{Level, MeterCell, PARAM_GAIN, PARAM_PAN};
use crate::plan::Plan;
use crate::timing::Record;

/// What the engine is told. Large only where it is rare: a plan comes as a pointer.
pub(crate) enum Command {
    Swap(Box<Plan>),
    Event(NodeId, Event),
    Transport(Transport),
    Reset,
}

/// The queue to the engine is full: it is not running, or not fast enough. Try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue to the engine is full")]
pub struct QueueFull;

/// Why a plan was not sent. The plan comes back.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// Try again later.
    #[error("the queue to the engine is full")]
    QueueFull(Box<Plan>),
    /// A local plugin was to keep its processor, but the plan before has none.
    #[error("the plan before has no processor of \"{node}\" to keep")]
    NoProcessor {
        /// Name of the node.
        node: String,
        /// The plan.
        plan: Box<Plan>,
    },
}

/// The control half of an [`Engine`](crate::engine::Engine). Lives on any other thread.
pub struct Controller {
    commands: Producer<Command>,
    retired: Consumer<Box<Plan>>,
    records: Consumer<Record>,
    lost_records: Arc<AtomicU64>,
    meters: HashMap<NodeId, Arc<MeterCell>>,
    /// Local plugins of the plan that was sent last.
    plugins: HashSet<NodeId>,
}

impl Controller {
    pub(crate) fn new(
        commands: Producer<Command>,
        retired: Consumer<Box<Plan>>,
        records: Consumer<Record>,
        lost_records: Arc<AtomicU64>,
    ) -> Self {
        let (meters, plugins) = (HashMap::new(), HashSet::new());
        Self { commands, retired, records, lost_records, meters, plugins }
    }

    fn send(&mut self, command: Command) -> Result<(), QueueFull> {
        self.commands.push(command).map_err(|_| QueueFull)
    }

    /// Replaces the plan at the next block. Nodes and edges that both plans have go on where they
    /// were. Also drops the plans that have come back, as [`take_retired`](Self::take_retired).
    pub fn swap(&mut self, plan: Plan) -> Result<(), SwapError> {
        self.take_retired();
        let mut plan = Box::new(plan);
        let (plugins, missing) = plan.local_plugins(&self.plugins);
        if let Some(node) = missing {
            return Err(SwapError::NoProcessor { node, plan });
        }
        let meters = plan.meters(&self.meters);
        match self.commands.push(Command::Swap(plan)) {
            Ok(()) => {
                (self.meters, self.plugins) = (meters, plugins);
                Ok(())
            }
            Err(rtrb::PushError::Full(Command::Swap(plan))) => Err(SwapError::QueueFull(plan)),
            Err(_) => unreachable!("the queue gives back what it could not take"),
        }
    }

    /// Sends an event to a node. Its time counts from the start of what the driver asks for next.
    pub fn send_event(&mut self, node: NodeId, event: Event) -> Result<(), QueueFull> {
        self.send(Command::Event(node, event))
    }

    /// Sets a parameter of a node to a plain value at the start of the next block.
    pub fn set_param(&mut self, node: NodeId, param: u32, value: f64) -> Result<(), QueueFull> {
        let kind = EventKind::ParamValue { param, note: NoteAddress::ALL, value };
        self.send_event(node, Event { time: 0, kind })
    }

    /// Moves a gain node to a linear factor within 5 ms.
    pub fn set_gain(&mut self, node: NodeId, linear: f32) -> Result<(), QueueFull> {
        self.set_param(node, PARAM_GAIN, linear.into())
    }

    /// Moves a pan node to a position, -1 ..= 1, within 5 ms.
    pub fn set_pan(&mut self, node: NodeId, pan: f32) -> Result<(), QueueFull> {
        self.set_param(node, PARAM_PAN, pan.into())
    }

    /// Sets the transport from the next block on. While it plays it moves by itself.
    pub fn transport(&mut self, transport: Transport) -> Result<(), QueueFull> {
        self.send(Command::Transport(transport))
    }

    /// Empties all delay lines and resets all local nodes, as before playing from elsewhere.
    pub fn reset(&mut self) -> Result<(), QueueFull> {
        self.send(Command::Reset)
    }

    /// Drops the plans that the engine no longer uses; returns how many. To be called now and
    /// then: plans hold memory, and what their `Remote` holds.
    pub fn take_retired(&mut self) -> usize {
        std::iter::from_fn(|| self.retired.pop().ok()).map(drop).count()
    }

    /// The queue of timing records.
    pub fn timing(&mut self) -> &mut Consumer<Record> {
        &mut self.records
    }

    /// How many timing records were lost because the queue was full.
    pub fn lost_records(&self) -> u64 {
        self.lost_records.load(Ordering::Relaxed)
    }

    /// What a meter node of the plan sent last shows for a channel.
    pub fn level(&self, node: NodeId, channel: usize) -> Option<Level> {
        self.meters.get(&node)?.read(channel)
    }

    /// A meter's cell, to be read from any thread.
    pub fn meter(&self, node: NodeId) -> Option<Arc<MeterCell>> {
        self.meters.get(&node).cloned()
    }
}
