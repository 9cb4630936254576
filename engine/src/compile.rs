//! From a [`Graph`] to a [`Plan`]: everything that can be decided before audio runs.
//!
//! 1. `order`: an order in which every node comes after what feeds it, or the cycle.
//! 2. `latency`: how much each edge has to be delayed.
//! 3. `routes`: which edges the engine carries, and which remote nodes share directly.
//! 4. `layout`: steps and what each waits for, values and where they lie.
//! 5. `buffers`: values that never live at the same time share memory; a verifier that does not
//!    trust the allocator proves it.

mod buffers;
mod latency;
pub(crate) mod layout;
mod order;
mod routes;
mod values;

use crate::graph::{BusSpec, Graph, MAX_CHANNELS, NodeId, NodeKind, NodeSpec};
use crate::plan::Plan;
use crate::processor::Processor;
use crate::remote::{Remote, RemoteNodeTopology};
use layout::{Known, Layout, LineKey};
use std::collections::HashMap;

/// The longest block, in frames.
pub const MAX_FRAMES: u32 = 8192;

/// The longest latency, summed along a path, and the longest delay node, in frames.
pub const MAX_LATENCY: u32 = 1 << 24;

/// What a plan is compiled for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompileConfig {
    /// Frames per second.
    pub rate: f64,
    /// The longest block, 1 ..= [`MAX_FRAMES`]. The engine splits what is longer.
    pub max_frames: u32,
    /// Events that a node can receive, or put out, in a block; 1 ..= 65536.
    pub event_capacity: u32,
}

/// Why a graph can't be compiled.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CompileError {
    /// The nodes feed each other in a circle.
    #[error("the graph has a cycle: {}", quoted(.0))]
    Cycle(Vec<String>),
    /// Not a sample rate.
    #[error("a sample rate of {0} frames per second is impossible")]
    Rate(f64),
    /// Not a block size.
    #[error("blocks of {0} frames: must be 1 to {MAX_FRAMES}")]
    MaxFrames(u32),
    /// Not a capacity.
    #[error("room for {0} events per block: must be 1 to 65536")]
    EventCapacity(u32),
    /// A bus without channels, or too many.
    #[error("\"{node}\" has a bus of {channels} channels: must be 1 to {MAX_CHANNELS}")]
    Channels {
        /// Name of the node.
        node: String,
        /// Channels of the bus.
        channels: u32,
    },
    /// A node other than a plugin whose buses are not those of its kind.
    #[error("\"{node}\" is a {kind} node: it must have {wanted}")]
    Shape {
        /// Name of the node.
        node: String,
        /// What it is.
        kind: &'static str,
        /// What that takes.
        wanted: &'static str,
    },
    /// A gain, pan or delay that is no such thing.
    #[error("\"{node}\": {value} is not a {what}")]
    Value {
        /// Name of the node.
        node: String,
        /// What it should be.
        what: &'static str,
        /// What it is.
        value: f64,
    },
    /// A path through the graph is later than [`MAX_LATENCY`].
    #[error("the latency up to \"{node}\" is {frames} frames: more than {MAX_LATENCY}")]
    Latency {
        /// Name of the node.
        node: String,
        /// Frames.
        frames: u64,
    },
    /// Two values that live at the same time were given the same memory: a bug in the compiler.
    #[error("the plan is not sound: {0}")]
    Unsound(String),
}

fn quoted(names: &[String]) -> String {
    let mut text = String::new();
    for name in names {
        text += &format!("\"{name}\" -> ");
    }
    text + &names.first().map_or(String::new(), |name| format!("\"{name}\""))
}

/// A compiled graph that lacks only what makes it run.
#[derive(Debug)]
pub struct Compiled {
    layout: Layout,
}

/// How much a plan delays what, for the plan that is to follow it.
#[derive(Clone, Debug, Default)]
pub struct Delays(HashMap<LineKey, Known>);

/// Compiles a graph.
pub fn compile(graph: &Graph, config: CompileConfig) -> Result<Compiled, CompileError> {
    compile_after(graph, config, &Delays::default())
}

/// Compiles a graph whose plan will follow another one. Where the delay of a connection changes,
/// the old delay is heard until the new one's line is full; then one turns into the other within
/// 256 frames. (With [`compile`], a delay that appears or vanishes altogether does so at once.)
pub fn compile_after(
    graph: &Graph,
    config: CompileConfig,
    before: &Delays,
) -> Result<Compiled, CompileError> {
    check_config(config)?;
    for (_, spec) in graph.nodes() {
        check_node(spec)?;
    }
    let order = order::order(graph)?;
    let timed = latency::compensate(graph, &order)?;
    let routes = routes::route(graph, &order, &timed);
    let mut layout = layout::lay_out(graph, config, &order, &timed, routes, &before.0);
    buffers::allocate(&mut layout);
    buffers::verify(&layout).map_err(CompileError::Unsound)?;
    Ok(Compiled { layout })
}

impl Compiled {
    /// Latency from the driver's inputs to its outputs, in frames. All outputs share it.
    pub fn latency(&self) -> u32 {
        self.layout.latency
    }

    /// What [`compile_after`] has to know of this plan.
    pub fn delays(&self) -> Delays {
        Delays(self.layout.delays.clone())
    }

    /// For each output node the latency that it has by itself, before it was delayed to match
    /// the latest.
    pub fn output_latencies(&self) -> &[(NodeId, u32)] {
        &self.layout.output_latencies
    }

    /// How remote nodes are connected, by [`RemoteIndex`](crate::remote::RemoteIndex).
    pub fn topology(&self) -> &[RemoteNodeTopology] {
        &self.layout.topology
    }

    /// How many buffers the plan has for how many values.
    pub fn buffers(&self) -> (usize, usize) {
        (self.layout.buffers.len(), self.layout.values.len())
    }

    /// Checks again that no two values that live at the same time share memory.
    pub fn verify(&self) -> Result<(), CompileError> {
        buffers::verify(&self.layout).map_err(CompileError::Unsound)
    }

    /// Adds what makes it run. `processors` is asked for each local plugin; `None` keeps the
    /// processor of the plan that runs when this one is swapped in.
    pub fn into_plan(
        self,
        processors: impl FnMut(NodeId) -> Option<Box<dyn Processor>>,
        remote: Box<dyn Remote>,
    ) -> Result<Plan, CompileError> {
        self.verify()?;
        Ok(Plan::new(self.layout, processors, remote))
    }
}

fn check_config(config: CompileConfig) -> Result<(), CompileError> {
    if !(config.rate.is_finite() && config.rate >= 1.0) {
        return Err(CompileError::Rate(config.rate));
    }
    if !(1..=MAX_FRAMES).contains(&config.max_frames) {
        return Err(CompileError::MaxFrames(config.max_frames));
    }
    if !(1..=65536).contains(&config.event_capacity) {
        return Err(CompileError::EventCapacity(config.event_capacity));
    }
    Ok(())
}

fn check_node(spec: &NodeSpec) -> Result<(), CompileError> {
    let node = || spec.name.clone();
    for &BusSpec { channels } in spec.inputs.iter().chain(&spec.outputs) {
        if !(1..=MAX_CHANNELS).contains(&channels) {
            return Err(CompileError::Channels { node: node(), channels });
        }
    }
    let same = spec.inputs.len() == 1 && spec.inputs == spec.outputs;
    const SAME: &str = "one input and one output bus of as many channels";
    let (kind, fits, wanted) = match spec.kind {
        NodeKind::Plugin { .. } => return check_latency(spec),
        NodeKind::Input { .. } => (
            "input",
            spec.inputs.is_empty() && spec.outputs.len() <= 1,
            "no input and at most one output bus",
        ),
        NodeKind::Output { .. } => (
            "output",
            spec.outputs.is_empty() && spec.inputs.len() == 1,
            "one input and no output bus",
        ),
        NodeKind::Gain { .. } => ("gain", same, SAME),
        NodeKind::Sum => ("sum", same, SAME),
        NodeKind::Meter => ("meter", same, SAME),
        NodeKind::Delay { .. } => ("delay", same, SAME),
        NodeKind::Pan { .. } => {
            ("pan", same && spec.inputs[0].channels == 2, "one stereo input and one stereo output")
        }
    };
    if !fits {
        return Err(CompileError::Shape { node: node(), kind, wanted });
    }
    let (what, value, fits) = match spec.kind {
        NodeKind::Gain { gain } => ("gain", f64::from(gain), gain.is_finite()),
        NodeKind::Pan { pan } => ("pan of -1 to 1", f64::from(pan), (-1.0..=1.0).contains(&pan)),
        NodeKind::Delay { frames } => ("delay", f64::from(frames), frames <= MAX_LATENCY),
        _ => return check_latency(spec),
    };
    if !fits {
        return Err(CompileError::Value { node: node(), what, value });
    }
    check_latency(spec)
}

fn check_latency(spec: &NodeSpec) -> Result<(), CompileError> {
    if spec.latency > MAX_LATENCY {
        let frames = spec.latency.into();
        return Err(CompileError::Latency { node: spec.name.clone(), frames });
    }
    Ok(())
}
