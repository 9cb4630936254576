//! The realtime half: runs the present plan, block by block.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rtrb::{Consumer, Producer, RingBuffer};

use crate::block::{Block, Transport};
use crate::controller::{Command, Queues, TakenOut};
use crate::event::Event;
use crate::graph::NodeId;
use crate::plan::Plan;
use crate::schedule::Context;
use crate::taps::Taps;
use crate::timing::Recorder;
use crate::transport;

pub use crate::controller::Controller;
pub use crate::schedule::Deadlines;
pub use crate::taps::Tapped;

/// What an engine is made with; all queues have a fixed size.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Reads a monotonic clock in ns, the one that deadlines and remote nodes' times refer to.
    /// Realtime-safe.
    pub clock: fn() -> u64,
    /// Plans, events and other commands on their way to the engine.
    pub commands: usize,
    /// Timing records on their way from it: one per plugin and block, and one per block.
    pub records: usize,
    /// What plugins tell, on its way from it.
    pub plugin_events: usize,
    /// The longest ramp between a plugin and its fallback, in frames, 64 ..= 256. No ramp is
    /// longer than a block.
    pub ramp_frames: u32,
}

impl EngineConfig {
    /// Usual sizes: 4096 commands, 65536 records, 4096 plugins' events, ramps of 128 frames.
    pub fn new(clock: fn() -> u64) -> Self {
        let (commands, plugin_events) = (4096, 4096);
        Self { clock, commands, records: 65536, plugin_events, ramp_frames: 128 }
    }
}

/// The realtime half. Lives on the driver's thread; nothing in [`process`](Self::process)
/// allocates, locks, logs or frees.
pub struct Engine {
    rt: EngineRt,
    commands: Consumer<Command>,
    retired: Producer<Box<Plan>>,
    taken_out: Producer<TakenOut>,
    /// See [`lead`](Self::lead).
    lead: Option<Transport>,
    began_with: Transport,
}

struct EngineRt {
    plan: Option<Box<Plan>>,
    /// A plan for which the queue of retired plans had no room.
    retiring: Option<Box<Plan>>,
    /// Nodes that have this call's blocks to fade out, and are taken out at the next.
    fading: Vec<NodeId>,
    /// A node for which the queue of those taken out had no room.
    leaving: Option<TakenOut>,
    /// Events that came, until their block.
    events: Vec<(NodeId, Event)>,
    transport: Transport,
    number: u64,
    steady_time: u64,
    context: Context,
}

impl Engine {
    /// Makes both halves.
    pub fn new(config: EngineConfig) -> (Self, Controller) {
        let (command_producer, commands) = RingBuffer::new(config.commands.max(1));
        // Plans are few, and fetched whenever another is sent.
        let (retired, retired_consumer) = RingBuffer::new(64);
        let (taken_out, taken_out_consumer) = RingBuffer::new(64);
        let (told, plugin_events) = RingBuffer::new(config.plugin_events.max(1));
        let lost_plugin_events = Arc::new(AtomicU64::new(0));
        let (recorder, recorded) = Recorder::new(config.records);
        let rt = EngineRt {
            plan: None,
            retiring: None,
            fading: Vec::with_capacity(64),
            leaving: None,
            events: Vec::with_capacity(config.commands.max(1)),
            transport: Transport::default(),
            number: 0,
            steady_time: 0,
            context: Context {
                clock: config.clock,
                ramp: config.ramp_frames.clamp(64, 256) as usize,
                recorder,
                lost_events: 0,
                told,
                lost_told: Arc::clone(&lost_plugin_events),
                taps: Taps::new(),
            },
        };
        let (lead, began_with) = (None, Transport::default());
        let engine = Self { rt, commands, retired, taken_out, lead, began_with };
        let queues = Queues {
            commands: command_producer,
            retired: retired_consumer,
            taken_out: taken_out_consumer,
            plugin_events,
            lost_plugin_events,
        };
        (engine, Controller::new(queues, recorded))
    }

    /// From the realtime thread: an event for a node in what is processed next, where its time
    /// counts from. False (and counted): there is no room.
    pub fn event(&mut self, node: NodeId, event: Event) -> bool {
        self.rt.keep_event(node, event)
    }

    /// From the realtime thread: notes that these nodes put out are kept from now on, besides going
    /// where the plan leads them; a fixed number of nodes at most.
    pub fn listen(&mut self, nodes: impl Iterator<Item = NodeId>) {
        self.rt.context.taps.listen(nodes);
    }

    /// What those nodes put out in what was processed last, node by node. Times in one node's are in
    /// order.
    pub fn heard(&self) -> &[Tapped] {
        self.rt.context.taps.heard()
    }

    /// Song position and tempo at the first frame of what is processed next, as far as is known:
    /// the controller may have sent another.
    pub fn transport(&self) -> &Transport {
        &self.rt.transport
    }

    /// Song position and tempo at the first frame of what was processed last.
    pub fn began_with(&self) -> &Transport {
        &self.began_with
    }

    /// From the realtime thread: where something else that leads (the driver, a MIDI clock) says
    /// that the song is. It counts for what is processed next, whatever the controller has sent.
    pub fn lead(&mut self, transport: Transport) {
        self.lead = Some(transport);
    }

    /// Processes what the driver asks for: as many frames as the longest channel has. Channels
    /// that the plan does not write become silent.
    pub fn process(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]], deadlines: Deadlines) {
        self.take_commands();
        if let Some(transport) = self.lead.take() {
            self.rt.transport = transport;
        }
        self.began_with = self.rt.transport;
        self.rt.context.taps.begin();
        let written = outputs.iter().map(|c| c.len());
        let frames = written.chain(inputs.iter().map(|c| c.len())).max().unwrap_or(0);
        self.rt.process(inputs, outputs, frames, deadlines);
        self.rt.context.recorder.reached(self.rt.steady_time);
    }

    fn take_commands(&mut self) {
        if let Some(plan) = self.rt.retiring.take() {
            self.retire(plan);
        }
        if let Some(node) = self.rt.leaving.take() {
            self.give_back(node);
        }
        while self.rt.leaving.is_none()
            && let Some(node) = self.rt.fading.pop()
        {
            self.take_out(node);
        }
        // While a plan or node is stuck, nothing is taken: a second could not be kept.
        while self.rt.retiring.is_none() && self.rt.leaving.is_none() {
            match self.commands.pop() {
                Ok(Command::Swap(plan)) => {
                    if let Some(old) = self.rt.swap(plan) {
                        self.retire(old);
                    }
                }
                Ok(Command::Event(node, event)) => {
                    self.rt.keep_event(node, event);
                }
                Ok(Command::Transport(transport)) => self.rt.transport = transport,
                Ok(Command::Reset) => {
                    if let Some(plan) = &mut self.rt.plan {
                        plan.reset();
                    }
                }
                Ok(Command::TakeOut(node)) => match &mut self.rt.plan {
                    Some(plan) if self.rt.fading.len() < self.rt.fading.capacity() => {
                        plan.fade_out(node);
                        self.rt.fading.push(node);
                    }
                    _ => self.take_out(node),
                },
                Ok(Command::Bypass(node, notes)) => {
                    if let Some(plan) = &mut self.rt.plan {
                        plan.bypass(node, notes);
                    }
                }
                Err(_) => return,
            }
        }
    }

    fn take_out(&mut self, node: NodeId) {
        let processor = self.rt.plan.as_mut().and_then(|plan| plan.take_out(node));
        self.give_back(TakenOut { node, processor });
    }

    fn give_back(&mut self, node: TakenOut) {
        if let Err(rtrb::PushError::Full(node)) = self.taken_out.push(node) {
            self.rt.leaving = Some(node);
        }
    }

    fn retire(&mut self, plan: Box<Plan>) {
        if let Err(rtrb::PushError::Full(plan)) = self.retired.push(plan) {
            self.rt.retiring = Some(plan);
        }
    }
}

impl EngineRt {
    fn swap(&mut self, mut plan: Box<Plan>) -> Option<Box<Plan>> {
        if let Some(old) = &mut self.plan {
            plan.take_over(old);
        }
        self.plan.replace(plan)
    }

    fn keep_event(&mut self, node: NodeId, event: Event) -> bool {
        let fits = self.events.len() < self.events.capacity();
        if fits {
            self.events.push((node, event));
        } else {
            self.context.lost_events += 1;
        }
        fits
    }

    fn process(
        &mut self,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        frames: usize,
        deadlines: Deadlines,
    ) {
        let Some(plan) = &mut self.plan else {
            outputs.iter_mut().for_each(|channel| channel.fill(0.0));
            self.context.lost_events += self.events.len() as u64;
            self.events.clear();
            self.steady_time += frames as u64;
            return;
        };
        let longest = plan.layout.max_frames;
        let begun = (self.context.clock)();
        let mut start = begun;
        let mut offset = 0;
        while offset < frames {
            let count = longest.min(frames - offset);
            self.context.taps.begin_block(offset);
            let last = offset + count == frames;
            let lost = &mut self.context.lost_events;
            self.events.retain_mut(|(node, event)| {
                // Later than this block: for the next one, if there is one.
                if event.time as usize >= count {
                    if !last {
                        event.time -= count as u32;
                        return true;
                    }
                    event.time = count as u32 - 1;
                }
                *lost += u64::from(!plan.push_event(*node, *event));
                false
            });
            self.number += 1;
            let block = Block {
                number: self.number,
                frames: count as u32,
                steady_time: self.steady_time,
                transport: self.transport,
            };
            let part = (offset + count) as f64 / frames as f64;
            let deadlines = if last { deadlines } else { deadlines.part(begun, part) };
            start =
                plan.run(&block, inputs, outputs, offset, (start, deadlines), &mut self.context);
            self.steady_time += count as u64;
            transport::advance(&mut self.transport, count as u32, plan.layout.rate);
            offset += count;
        }
    }
}

impl Deadlines {
    /// The deadlines of the first of several blocks that share these.
    fn part(self, begun: u64, part: f64) -> Self {
        let scale = |deadline: u64| match deadline {
            u64::MAX => u64::MAX,
            _ => begun + (deadline.saturating_sub(begun) as f64 * part) as u64,
        };
        Self { soft: scale(self.soft), hard: scale(self.hard) }
    }
}
