//! What the block loop reads and never writes: nodes, steps, and where everything lies.

use std::collections::HashMap;
use std::fmt;

use crate::bits::Bits;
use crate::compile::CompileConfig;
use crate::compile::latency::Timed;
use crate::compile::routes::NodeRoutes;
use crate::compile::values::Builder;
use crate::graph::{Fallback, Graph, Isolation, NodeId, NodeKind};
use crate::processor::BusRef;
use crate::remote::RemoteNodeTopology;

/// Lists of small numbers, one behind the other.
#[derive(Clone, Default)]
pub(crate) struct Lists {
    starts: Vec<u32>,
    items: Vec<u32>,
}

impl Lists {
    pub(crate) fn new(lists: &[Vec<u32>]) -> Self {
        let mut starts = vec![0];
        let mut items = Vec::new();
        for list in lists {
            items.extend(list);
            starts.push(items.len() as u32);
        }
        Self { starts, items }
    }

    #[inline]
    pub(crate) fn of(&self, at: usize) -> &[u32] {
        &self.items[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

/// One thing the engine does in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All of a local node.
    Local(u32),
    /// What a remote node (by its `RemoteIndex`) gets from the engine.
    Feed(u32),
    /// What a remote node has put out, or its fallback. Comes after those of all remote nodes
    /// that feed it, whether or not the engine reads them: this is what orders the life of
    /// values.
    Out(u32),
}

/// Where the audio of a node's input bus is, once its step has gathered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gather {
    /// Nothing is connected.
    Silent,
    /// A single source, as it is.
    Alias(u32),
    /// The sum, in a value of its own.
    Sum(u32),
}

/// A source that the engine sums.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EngineSource {
    pub(crate) value: u32,
    pub(crate) line: Option<u32>,
}

/// A source that a remote node reads by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Direct {
    pub(crate) remote: u32,
    pub(crate) bus: u32,
    /// Place in `RemoteNodeTopology::sources`.
    pub(crate) source: u32,
    /// Follows the remote side's own delay, for the fallback.
    pub(crate) line: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct InputPlan {
    pub(crate) channels: usize,
    pub(crate) gather: Gather,
    pub(crate) engine: Vec<EngineSource>,
    pub(crate) direct: Vec<Direct>,
    /// Place of the engine's part in `RemoteNodeTopology::sources`.
    pub(crate) engine_source: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct EventSource {
    pub(crate) node: u32,
    pub(crate) line: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct NodePlan {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) kind: NodeKind,
    pub(crate) inputs: Vec<InputPlan>,
    pub(crate) in_buses: Vec<BusRef>,
    /// `buffer` is the value until buffers are allocated.
    pub(crate) out_buses: Vec<BusRef>,
    /// Value of each output bus.
    pub(crate) outputs: Vec<u32>,
    /// Whether the engine reads the bus in every block.
    pub(crate) read: Vec<bool>,
    pub(crate) events: Vec<EventSource>,
    pub(crate) event_output: bool,
    /// Whether the engine passes its events on.
    pub(crate) events_read: bool,
    pub(crate) fallback: Fallback,
    /// Delays the dry signal by the node's latency.
    pub(crate) dry_line: Option<u32>,
    /// In frames.
    pub(crate) latency: u32,
    /// Whether the dry signal needs what came in earlier blocks.
    pub(crate) history: bool,
    pub(crate) remote: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct RemotePlan {
    pub(crate) node: u32,
    pub(crate) feed: u32,
    pub(crate) out: u32,
    /// Nodes with the same class are fed when the same remote nodes have finished.
    pub(crate) wait_class: u32,
}

/// Remote node `to` needs remote node `from`, without the engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// Sources of `to` that are outputs of `from`. None: only events.
    pub(crate) sources: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct ValuePlan {
    pub(crate) channels: usize,
    pub(crate) buffer: usize,
    /// The step that first writes it.
    pub(crate) begins: u32,
    /// All steps that read or write it.
    pub(crate) touched: Vec<u32>,
    /// Read after the last step: shares with nobody.
    pub(crate) kept: bool,
}

/// What a delay line is for: finds its successor in the next plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum LineKey {
    Edge {
        from: NodeId,
        from_bus: u32,
        to: NodeId,
        to_bus: u32,
    },
    /// Of a direct edge, for the fallback.
    Dry {
        from: NodeId,
        from_bus: u32,
        to: NodeId,
    },
    /// Of a node's latency, for its fallback.
    Latency(NodeId),
}

/// What the next plan has to know of a delay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) frames: u32,
    /// So many plans one after the other have had none here. The first ones still have a line: more than
    /// one may come before the end of what was heard is over.
    pub(crate) plans_without: u8,
}

impl Known {
    /// Nothing is heard any more of a delay that there was.
    pub(crate) const OVER: u8 = 8;
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LinePlan {
    pub(crate) key: LineKey,
    pub(crate) channels: usize,
    pub(crate) frames: u32,
    /// It takes the place of no delay: the plan before had no line here, but the connection.
    pub(crate) was_none: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct EventLinePlan {
    pub(crate) key: (NodeId, NodeId),
    pub(crate) frames: u32,
}

#[derive(Default)]
pub(crate) struct Layout {
    pub(crate) rate: f64,
    pub(crate) max_frames: usize,
    pub(crate) event_capacity: usize,
    pub(crate) latency: u32,
    pub(crate) output_latencies: Vec<(NodeId, u32)>,
    /// In compiled order.
    pub(crate) nodes: Vec<NodePlan>,
    /// Sorted.
    pub(crate) by_id: Vec<(NodeId, u32)>,
    /// Output nodes.
    pub(crate) sinks: Vec<u32>,
    /// In compiled order.
    pub(crate) remotes: Vec<RemotePlan>,
    pub(crate) topology: Vec<RemoteNodeTopology>,
    pub(crate) links: Vec<Link>,
    pub(crate) links_from: Lists,
    pub(crate) links_to: Lists,
    /// How many things a remote node starts on: the engine's ring, and its links.
    pub(crate) launch_count: Vec<u32>,
    /// Nodes that the engine rings in every block, and that it waits for.
    pub(crate) rung: Bits,
    pub(crate) waited: Bits,
    pub(crate) values: Vec<ValuePlan>,
    /// Channels of each buffer; the last one is silent.
    pub(crate) buffers: Vec<usize>,
    /// Sorted by key.
    pub(crate) lines: Vec<LinePlan>,
    /// Every delay, those of 0 frames too.
    pub(crate) delays: HashMap<LineKey, Known>,
    /// Sorted by key.
    pub(crate) event_lines: Vec<EventLinePlan>,
    /// First those that lead to a remote node, then the rest, each in compiled order.
    pub(crate) steps: Vec<Step>,
    pub(crate) before: Lists,
    pub(crate) after: Lists,
    pub(crate) counts: Vec<u32>,
    /// Steps with nothing before them.
    pub(crate) first: Bits,
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layout")
            .field("nodes", &self.nodes.len())
            .field("remotes", &self.remotes.len())
            .field("steps", &self.steps.len())
            .field("values", &self.values.len())
            .field("buffers", &self.buffers.len())
            .finish_non_exhaustive()
    }
}

impl Layout {
    pub(crate) fn find(&self, id: NodeId) -> Option<usize> {
        let at = self.by_id.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.by_id[at].1 as usize)
    }
}

pub(super) fn lay_out(
    graph: &Graph,
    config: CompileConfig,
    order: &[NodeId],
    timed: &Timed,
    routes: Vec<NodeRoutes>,
    before: &HashMap<LineKey, Known>,
) -> Layout {
    let mut layout = Layout {
        rate: config.rate,
        max_frames: config.max_frames as usize,
        event_capacity: config.event_capacity as usize,
        latency: timed.latency,
        output_latencies: timed.outputs.clone(),
        ..Layout::default()
    };
    let specs: Vec<_> = order.iter().filter_map(|id| Some((*id, graph.node(*id).ok()?))).collect();
    for (at, (id, spec)) in specs.iter().enumerate() {
        let remote = (spec.plugin_isolation() == Some(Isolation::Remote)).then(|| {
            let node = at as u32;
            layout.remotes.push(RemotePlan { node, feed: 0, out: 0, wait_class: 0 });
            layout.remotes.len() as u32 - 1
        });
        layout.nodes.push(NodePlan {
            id: *id,
            name: spec.name.clone(),
            kind: spec.kind,
            inputs: Vec::new(),
            in_buses: Vec::new(),
            out_buses: Vec::new(),
            outputs: Vec::new(),
            read: vec![false; spec.outputs.len()],
            events: Vec::new(),
            event_output: spec.event_output,
            events_read: false,
            fallback: spec.fallback,
            dry_line: None,
            latency: spec.latency,
            history: false,
            remote,
        });
        if let NodeKind::Output { .. } = spec.kind {
            layout.sinks.push(at as u32);
        }
    }
    layout.by_id = order.iter().enumerate().map(|(at, id)| (*id, at as u32)).collect();
    layout.by_id.sort_unstable();
    Builder::new(layout, specs, routes, before).build()
}
