//! A compiled graph with all that changes while it runs. Made on a control thread, run by the
//! engine, and dropped on a control thread again.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::bits::Bits;
use crate::compile::layout::{Layout, NodePlan};
use crate::delay::{DelayLine, EventLine};
use crate::event::{Event, EventBuffer, Notes};
use crate::fallback::Declick;
use crate::graph::{Isolation, NodeId, NodeKind};
use crate::nodes::{Delay, Gain, LocalNode, Meter, MeterCell, Pan};
use crate::processor::Processor;
use crate::remote::{Remote, RemoteIndex, RemoteTimes};
use crate::timing::NodeOutcome;

/// A graph that can run. See [`Compiled::into_plan`](crate::compile::Compiled::into_plan).
pub struct Plan {
    pub(crate) layout: Layout,
    pub(crate) rt: Rt,
    pub(crate) remote: Box<dyn Remote>,
}

/// Everything that the realtime thread writes.
pub(crate) struct Rt {
    pub(crate) buffers: Vec<Box<[f32]>>,
    /// Output buffers of the node that runs: taken out so that it can read the others.
    pub(crate) taken: Vec<Box<[f32]>>,
    pub(crate) lines: Vec<DelayLine>,
    pub(crate) event_lines: Vec<EventLine>,
    pub(crate) locals: Vec<LocalNode>,
    pub(crate) events_in: Vec<EventBuffer>,
    pub(crate) events_out: Vec<EventBuffer>,
    /// Of each output bus of each plugin.
    pub(crate) declick: Vec<Vec<Declick>>,
    pub(crate) remotes: Vec<RemoteRt>,
    /// Of each node: why its fallback is heard though it runs.
    pub(crate) mutes: Vec<Mute>,
    /// For each value of a remote node's output the last block in which it was read.
    pub(crate) filled: Vec<u64>,
    /// Room for one bus: behind a delay line; a plugin's dry input; its dry output.
    pub(crate) delayed: Box<[f32]>,
    pub(crate) dry_in: Box<[f32]>,
    pub(crate) dry: Box<[f32]>,
    /// Room for one channel.
    pub(crate) channel: Box<[f32]>,
    pub(crate) agenda: Agenda,
}

/// Why a plugin that runs is not heard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mute {
    /// The controller wants its fallback, and what that means for its notes.
    pub(crate) bypass: Notes,
    /// It is about to be taken out: while it still delivers, its fallback fades in.
    pub(crate) leaving: bool,
    /// It is new: for so many frames to come, its latency, it has nothing to put out.
    pub(crate) warm_up: u32,
}

impl Mute {
    pub(crate) fn is_on(self) -> bool {
        self.bypass != Notes::Own || self.leaving || self.warm_up > 0
    }
}

/// A remote node in the present block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteRt {
    /// Whether it takes part.
    pub(crate) present: bool,
    /// It takes part, and did not in the block before.
    pub(crate) returns: bool,
    /// Whether it runs, but its fallback is heard.
    pub(crate) muted: bool,
    /// What it was told to do with its notes, in this plan.
    pub(crate) notes: Notes,
    /// The controller has taken it out of this plan.
    pub(crate) out: bool,
    /// Its input may have jumped at the start of the block, where the engine does not see it.
    pub(crate) jolted: bool,
    /// It failed in the block before.
    pub(crate) failed: bool,
    /// Sources that the engine writes in place of the predecessor.
    pub(crate) replaced: u64,
    pub(crate) outcome: NodeOutcome,
    pub(crate) times: RemoteTimes,
}

/// What is done and what is to be done in the present block.
#[derive(Default)]
pub(crate) struct Agenda {
    /// For each step, how many before it are not done.
    pub(crate) counts: Vec<u32>,
    pub(crate) done: Bits,
    pub(crate) left: usize,
    /// Steps that can run now.
    pub(crate) ready: Bits,
    /// No step below is ready.
    pub(crate) lowest: usize,
    /// Remote nodes that alone are missing: all before them is done.
    pub(crate) awaited: Bits,
    /// Remote nodes that take part and have not been found finished.
    pub(crate) open: Bits,
    /// Remote nodes that the engine rings in this block, and those it has yet to ring.
    pub(crate) rung: Bits,
    pub(crate) unrung: Bits,
    /// For each remote node, how many of the engine's ring and its links are missing until it
    /// can be waited for: it then needs nothing more from the engine.
    pub(crate) launch_counts: Vec<u32>,
    pub(crate) launched: Bits,
    /// Links whose audio the engine carries in this block.
    pub(crate) carried: Bits,
    pub(crate) wait_set: Vec<RemoteIndex>,
    pub(crate) stack: Vec<u32>,
    pub(crate) seen: Bits,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl Plan {
    pub(crate) fn new(
        layout: Layout,
        mut processors: impl FnMut(NodeId) -> Option<Box<dyn Processor>>,
        remote: Box<dyn Remote>,
    ) -> Self {
        let stride = layout.max_frames;
        let bus = |channels: usize| -> Box<[f32]> { vec![0.0; channels * stride].into() };
        let capacity = layout.event_capacity;
        let widest = layout.buffers.iter().copied().max().unwrap_or(0);
        let buses = layout.nodes.iter().map(|n| n.outputs.len()).max().unwrap_or(0);
        let locals = layout
            .nodes
            .iter()
            .map(|node| match node.kind {
                NodeKind::Plugin { isolation: Isolation::Local } => {
                    LocalNode::Plugin(processors(node.id))
                }
                _ => built_in(node, layout.rate),
            })
            .collect();
        let events = |wanted: bool| EventBuffer::with_capacity(if wanted { capacity } else { 0 });
        let plugin = |node: &NodePlan| matches!(node.kind, NodeKind::Plugin { .. });
        let rt = Rt {
            buffers: layout.buffers.iter().map(|channels| bus(*channels)).collect(),
            taken: Vec::with_capacity(buses),
            lines: layout
                .lines
                .iter()
                .map(|line| {
                    let new = DelayLine::new(line.channels, line.frames as usize);
                    if line.was_none { new.after_no_delay() } else { new }
                })
                .collect(),
            event_lines: layout
                .event_lines
                .iter()
                .map(|line| EventLine::new(capacity, line.frames))
                .collect(),
            locals,
            events_in: layout.nodes.iter().map(|_| events(true)).collect(),
            events_out: layout
                .nodes
                .iter()
                .map(|node| events(node.event_output || plugin(node)))
                .collect(),
            declick: layout.nodes.iter().map(declick).collect(),
            remotes: vec![
                RemoteRt {
                    present: true,
                    returns: false,
                    muted: false,
                    notes: Notes::Own,
                    out: false,
                    jolted: false,
                    failed: false,
                    replaced: 0,
                    outcome: NodeOutcome::Finished,
                    times: RemoteTimes::default(),
                };
                layout.remotes.len()
            ],
            mutes: vec![Mute::default(); layout.nodes.len()],
            filled: vec![0; layout.values.len()],
            delayed: bus(widest),
            dry_in: bus(widest),
            dry: bus(widest),
            channel: bus(1),
            agenda: Agenda::new(&layout),
        };
        Self { layout, rt, remote }
    }

    /// Latency from the driver's inputs to its outputs, in frames.
    pub fn latency(&self) -> u32 {
        self.layout.latency
    }

    /// The longest block it can run, in frames.
    pub fn max_frames(&self) -> u32 {
        self.layout.max_frames as u32
    }

    /// The nodes, in the order in which they were compiled.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &str)> {
        self.layout.nodes.iter().map(|node| (node.id, node.name.as_str()))
    }

    /// Gives a node an event for the next block. False: the node is unknown, or has no room.
    pub(crate) fn push_event(&mut self, node: NodeId, event: Event) -> bool {
        match self.layout.find(node) {
            Some(at) => self.rt.events_in[at].push(event),
            None => false,
        }
    }

    /// From the next block on the node takes no part. Returns a local plugin's processor.
    pub(crate) fn take_out(&mut self, node: NodeId) -> Option<Box<dyn Processor>> {
        let at = self.layout.find(node)?;
        self.rt.mutes[at].leaving = false;
        if let Some(remote) = self.layout.nodes[at].remote {
            self.rt.remotes[remote as usize].out = true;
        }
        self.rt.locals[at].take_plugin()
    }

    /// From the next block on its fallback is heard.
    pub(crate) fn fade_out(&mut self, node: NodeId) {
        if let Some(at) = self.layout.find(node) {
            self.rt.mutes[at].leaving = true;
        }
    }

    pub(crate) fn bypass(&mut self, node: NodeId, notes: Notes) {
        if let Some(at) = self.layout.find(node) {
            self.rt.mutes[at].bypass = notes;
        }
    }

    pub(crate) fn reset(&mut self) {
        self.rt.lines.iter_mut().for_each(DelayLine::reset);
        self.rt.event_lines.iter_mut().for_each(EventLine::reset);
        for local in &mut self.rt.locals {
            if let Some(processor) = local.processor() {
                processor.reset();
            }
        }
    }

    /// Takes over all that is heard of the plan before: on the realtime thread, by moving.
    pub(crate) fn take_over(&mut self, old: &mut Self) {
        let (layout, rt) = (&self.layout, &mut self.rt);
        rt.begin_softly(layout);
        let nodes = |layout: &Layout, at: usize| layout.by_id.get(at).map(|(id, _)| *id);
        join(
            |at| nodes(layout, at),
            |at| nodes(&old.layout, at),
            |new, before| {
                let (new, before) =
                    (layout.by_id[new].1 as usize, old.layout.by_id[before].1 as usize);
                let was_absent = old.rt.locals[before].is_absent();
                rt.locals[new].take_over(&mut old.rt.locals[before]);
                for event in old.rt.events_in[before].as_slice() {
                    rt.events_in[new].push(*event);
                }
                for (new, old) in rt.declick[new].iter_mut().zip(&mut old.rt.declick[before]) {
                    new.take_over(old);
                }
                rt.mutes[new] = old.rt.mutes[before];
                let latency = layout.nodes[new].latency;
                let is_new = match (layout.nodes[new].remote, old.layout.nodes[before].remote) {
                    (Some(to), Some(from)) => {
                        let (to, from) =
                            (&mut rt.remotes[to as usize], old.rt.remotes[from as usize]);
                        *to = RemoteRt { out: false, notes: Notes::Own, ..from };
                        from.out || from.outcome == NodeOutcome::Gone
                    }
                    _ => was_absent && rt.locals[new].is_plugin(),
                };
                if is_new {
                    rt.mutes[new].warm_up = latency;
                }
            },
        );
        join(
            |at| layout.lines.get(at).map(|line| line.key),
            |at| old.layout.lines.get(at).map(|line| line.key),
            |new, before| rt.lines[new].take_over(&mut old.rt.lines[before]),
        );
        join(
            |at| layout.event_lines.get(at).map(|line| line.key),
            |at| old.layout.event_lines.get(at).map(|line| line.key),
            |new, before| rt.event_lines[new].take_over(&mut old.rt.event_lines[before]),
        );
    }

    /// On the control thread: lets its meters go on in the cells that are read already, and
    /// returns the cells of all its meters.
    pub(crate) fn meters(
        &mut self,
        known: &HashMap<NodeId, Arc<MeterCell>>,
    ) -> HashMap<NodeId, Arc<MeterCell>> {
        let mut cells = HashMap::new();
        for (node, local) in self.layout.nodes.iter().zip(&mut self.rt.locals) {
            if let LocalNode::Meter(meter) = local {
                if let Some(cell) = known.get(&node.id) {
                    meter.use_cell(cell);
                }
                cells.insert(node.id, meter.cell().clone());
            }
        }
        cells
    }

    /// On the control thread: its local plugins; and the first that has no processor and is not
    /// among `known`.
    pub(crate) fn local_plugins(
        &self,
        known: &HashSet<NodeId>,
    ) -> (HashSet<NodeId>, Option<String>) {
        let mut all = HashSet::new();
        let mut missing = None;
        for (node, local) in self.layout.nodes.iter().zip(&self.rt.locals) {
            if let LocalNode::Plugin(processor) = local {
                all.insert(node.id);
                if processor.is_none() && !known.contains(&node.id) && missing.is_none() {
                    missing = Some(node.name.clone());
                }
            }
        }
        (all, missing)
    }
}

impl Rt {
    /// As if every node were new in a plan that follows another: plugins are heard after their
    /// fallback, as those that return; gains fade in.
    fn begin_softly(&mut self, layout: &Layout) {
        for (at, node) in layout.nodes.iter().enumerate() {
            match (&mut self.locals[at], node.kind) {
                (LocalNode::Gain(gain), _) => gain.0.fade_in(),
                (_, NodeKind::Plugin { .. }) => {
                    self.mutes[at].warm_up = node.latency;
                    self.declick[at].iter_mut().for_each(Declick::begin_with_fallback);
                }
                _ => {}
            }
            if let Some(remote) = node.remote {
                self.remotes[remote as usize].present = false;
            }
        }
    }
}

impl Agenda {
    fn new(layout: &Layout) -> Self {
        let (steps, remotes) = (layout.steps.len(), layout.remotes.len());
        Self {
            counts: layout.counts.clone(),
            done: Bits::new(steps),
            left: 0,
            ready: Bits::new(steps),
            lowest: 0,
            awaited: Bits::new(remotes),
            open: Bits::new(remotes),
            rung: Bits::new(remotes),
            unrung: Bits::new(remotes),
            launch_counts: layout.launch_count.clone(),
            launched: Bits::new(remotes),
            carried: Bits::new(layout.links.len()),
            wait_set: Vec::with_capacity(remotes),
            stack: Vec::with_capacity(steps + layout.links.len()),
            seen: Bits::new(steps),
        }
    }
}

impl Agenda {
    pub(crate) fn make_ready(&mut self, step: usize) {
        self.ready.set(step);
        self.lowest = self.lowest.min(step);
    }

    /// Takes the first step that is ready.
    pub(crate) fn next(&mut self) -> Option<usize> {
        let step = self.ready.next(self.lowest)?;
        self.ready.clear(step);
        self.lowest = step;
        Some(step)
    }
}

fn built_in(node: &NodePlan, rate: f64) -> LocalNode {
    let channels = node.inputs.first().map_or(0, |bus| bus.channels as u32);
    match node.kind {
        NodeKind::Gain { gain } => LocalNode::Gain(Gain::new(gain, rate)),
        NodeKind::Pan { pan } => LocalNode::Pan(Pan::new(pan, rate)),
        NodeKind::Meter => LocalNode::Meter(Meter::new(channels, rate)),
        NodeKind::Delay { frames } => LocalNode::Delay(Delay::new(channels, frames)),
        _ => LocalNode::None,
    }
}

fn declick(node: &NodePlan) -> Vec<Declick> {
    match node.kind {
        NodeKind::Plugin { .. } => {
            node.out_buses.iter().map(|bus| Declick::new(bus.channels)).collect()
        }
        _ => Vec::new(),
    }
}

/// Calls `both` with the places of each key that two sorted lists share.
fn join<K: Ord>(
    new: impl Fn(usize) -> Option<K>,
    old: impl Fn(usize) -> Option<K>,
    mut both: impl FnMut(usize, usize),
) {
    let (mut a, mut b) = (0, 0);
    while let (Some(left), Some(right)) = (new(a), old(b)) {
        match left.cmp(&right) {
            std::cmp::Ordering::Less => a += 1,
            std::cmp::Ordering::Greater => b += 1,
            std::cmp::Ordering::Equal => {
                both(a, b);
                (a, b) = (a + 1, b + 1);
            }
        }
    }
}
