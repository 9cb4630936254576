//! The control half: sends plans, events and the transport, fetches what was measured.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer};

use crate::block::Transport;
use crate::event::{Event, EventKind, NoteAddress, Notes};
use crate::graph::NodeId;
use crate::nodes::{Level, MeterCell, PARAM_GAIN, PARAM_PAN};
use crate::plan::Plan;
use crate::processor::Processor;
use crate::timing::{NodeRecord, Record, Recorded};

/// What the engine is told. Large only where it is rare: a plan comes as a pointer.
pub(crate) enum Command {
    Swap(Box<Plan>),
    Event(NodeId, Event),
    Transport(Transport),
    Reset,
    TakeOut(NodeId),
    Bypass(NodeId, Notes),
}

/// What a plugin told its host in a block: a parameter it moved, a gesture, the end of a note.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PluginEvent {
    /// The plugin's node.
    pub node: NodeId,
    /// Number of the block, as in timing records.
    pub block: u64,
    /// [`ParamValue`](EventKind::ParamValue), [`ParamGesture`](EventKind::ParamGesture) or
    /// [`NoteEnd`](EventKind::NoteEnd); its time counts from the start of the block.
    pub event: Event,
}

/// A node that takes part in no block any more; see [`Controller::take_out`].
pub struct TakenOut {
    /// The node.
    pub node: NodeId,
    /// Of a local plugin: its processor.
    pub processor: Option<Box<dyn Processor>>,
}

/// The engine's ends of the queues, but for those of records.
pub(crate) struct Queues {
    pub(crate) commands: Producer<Command>,
    pub(crate) retired: Consumer<Box<Plan>>,
    pub(crate) taken_out: Consumer<TakenOut>,
    pub(crate) plugin_events: Consumer<PluginEvent>,
    pub(crate) lost_plugin_events: Arc<AtomicU64>,
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
    queues: Queues,
    recorded: Recorded,
    /// Plans that were sent and have not come back.
    plans: usize,
    meters: HashMap<NodeId, Arc<MeterCell>>,
    /// Local plugins of the plan that was sent last.
    plugins: HashSet<NodeId>,
}

impl Controller {
    pub(crate) fn new(queues: Queues, recorded: Recorded) -> Self {
        let (meters, plugins) = (HashMap::new(), HashSet::new());
        Self { queues, recorded, plans: 0, meters, plugins }
    }

    fn send(&mut self, command: Command) -> Result<(), QueueFull> {
        self.queues.commands.push(command).map_err(|_| QueueFull)
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
        match self.queues.commands.push(Command::Swap(plan)) {
            Ok(()) => {
                (self.meters, self.plugins) = (meters, plugins);
                self.plans += 1;
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
        let count = std::iter::from_fn(|| self.queues.retired.pop().ok()).map(drop).count();
        self.plans -= count;
        count
    }

    /// Whether the engine runs the plan that was sent last, and every earlier one has come back.
    /// (Of the very first it can't be told whether it runs.)
    pub fn is_settled(&mut self) -> bool {
        self.take_retired();
        self.plans <= 1
    }

    /// Takes a plugin out of the present plan: in the next block its fallback is faded in, after
    /// that it takes no part, as if its process were gone, and nobody waits for it. As soon as [`taken_out`](Self::taken_out)
    /// has told so it may be deactivated. It is back with the next plan that has it: when it has
    /// been processing for as long as its latency it is heard again, with a ramp.
    pub fn take_out(&mut self, node: NodeId) -> Result<(), QueueFull> {
        self.send(Command::TakeOut(node))
    }

    /// The next node that takes part in no block any more.
    pub fn taken_out(&mut self) -> Option<TakenOut> {
        self.queues.taken_out.pop().ok()
    }

    /// Lets a plugin's fallback be heard (an effect's input, as late as it itself would be; an
    /// instrument's silence) or the plugin again, with a ramp; the notes that it is given go on in place
    /// of its own. It runs all the while. Later plans keep to it.
    pub fn set_bypass(&mut self, node: NodeId, on: bool) -> Result<(), QueueFull> {
        self.send(Command::Bypass(node, if on { Notes::Passed } else { Notes::Own }))
    }

    /// The same for one that is about to be taken out: its notes end, and no others go on.
    pub fn silence(&mut self, node: NodeId) -> Result<(), QueueFull> {
        self.send(Command::Bypass(node, Notes::Ended))
    }

    /// The queue of what plugins tell their host while they run.
    pub fn plugin_events(&mut self) -> &mut Consumer<PluginEvent> {
        &mut self.queues.plugin_events
    }

    /// How many of these were lost because the queue was full.
    pub fn lost_plugin_events(&self) -> u64 {
        self.queues.lost_plugin_events.load(Ordering::Relaxed)
    }

    /// The queue of timing records.
    pub fn timing(&mut self) -> &mut Consumer<Record> {
        &mut self.recorded.records
    }

    /// The queue of those records that tell of a fault, once more: for whoever sees to faults,
    /// beside whoever measures. What does not fit is forgotten.
    pub fn faults(&mut self) -> &mut Consumer<NodeRecord> {
        &mut self.recorded.faults
    }

    /// Number of the block that was done last.
    pub fn last_block(&self) -> u64 {
        self.recorded.blocks.load(Ordering::Relaxed)
    }

    /// Frames that were done since the engine was made, whatever the sizes of the blocks.
    pub fn frames_done(&self) -> u64 {
        self.recorded.frames.load(Ordering::Relaxed)
    }

    /// How many timing records were lost because the queue was full.
    pub fn lost_records(&self) -> u64 {
        self.recorded.lost.load(Ordering::Relaxed)
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
