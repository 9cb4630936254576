//! The graph that is edited: nodes, and the edges between their buses.
//!
//! Any number of edges may end at an input bus: they are summed. Edges keep the order in which
//! they were made, and so does the sum. An edge may join equal channel counts, one channel to
//! any number (copied), or any number to one (averaged).

mod spec;

use std::collections::BTreeMap;
use std::fmt;

pub use spec::{BusSpec, Fallback, Isolation, MAX_CHANNELS, NodeKind, NodeSpec};

/// A node of a [`Graph`]. Never used again by the same graph, not even for the same plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u64);

impl NodeId {
    /// The number behind the id.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// An id from its number, as for reading back a report.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Why the graph did not change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// The id is not, or no longer, a node of this graph.
    #[error("the graph has no node {0}")]
    NoSuchNode(NodeId),
    /// The node has fewer audio output buses.
    #[error("\"{node}\" has no audio output {bus}: it has {count}")]
    NoSuchOutput {
        /// Name of the node.
        node: String,
        /// What was asked for.
        bus: u32,
        /// What there is.
        count: usize,
    },
    /// The node has fewer audio input buses.
    #[error("\"{node}\" has no audio input {bus}: it has {count}")]
    NoSuchInput {
        /// Name of the node.
        node: String,
        /// What was asked for.
        bus: u32,
        /// What there is.
        count: usize,
    },
    /// Neither equal, nor one of them mono.
    #[error(
        "can't connect {from_channels} channels of \"{from}\" to {to_channels} channels of \
         \"{to}\": the counts must be equal, or one of them 1"
    )]
    Channels {
        /// Name of the source.
        from: String,
        /// Channels of its output bus.
        from_channels: u32,
        /// Name of the destination.
        to: String,
        /// Channels of its input bus.
        to_channels: u32,
    },
    /// The node puts out no events.
    #[error("\"{0}\" puts out no events")]
    NoEventOutput(String),
    /// The node takes no events.
    #[error("\"{0}\" takes no events from other nodes")]
    NoEventInput(String),
    /// The edge exists.
    #[error("\"{from}\" is already connected to \"{to}\" in this way")]
    Duplicate {
        /// Name of the source.
        from: String,
        /// Name of the destination.
        to: String,
    },
    /// The edge does not exist.
    #[error("\"{from}\" is not connected to \"{to}\" in this way")]
    NotConnected {
        /// Name of the source.
        from: String,
        /// Name of the destination.
        to: String,
    },
}

/// A connection from an audio output bus to an audio input bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AudioEdge {
    /// Source.
    pub from: NodeId,
    /// Its output bus.
    pub from_bus: u32,
    /// Destination.
    pub to: NodeId,
    /// Its input bus.
    pub to_bus: u32,
}

/// A connection that carries events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventEdge {
    /// Source.
    pub from: NodeId,
    /// Destination.
    pub to: NodeId,
}

/// Nodes and edges, to be edited and compiled.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: BTreeMap<NodeId, NodeSpec>,
    audio: Vec<AudioEdge>,
    events: Vec<EventEdge>,
    last_id: u64,
}

impl Graph {
    /// A graph without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node.
    pub fn add(&mut self, spec: NodeSpec) -> NodeId {
        self.last_id += 1;
        let id = NodeId(self.last_id);
        self.nodes.insert(id, spec);
        id
    }

    /// Adds a node under an id that it had in an earlier graph, so that it goes on in the next plan
    /// where it was in the one before. Replaces a node that has this id.
    pub fn insert(&mut self, id: NodeId, spec: NodeSpec) {
        self.last_id = self.last_id.max(id.0);
        self.nodes.insert(id, spec);
    }

    /// Removes a node and its edges.
    pub fn remove(&mut self, node: NodeId) -> Result<NodeSpec, GraphError> {
        let spec = self.nodes.remove(&node).ok_or(GraphError::NoSuchNode(node))?;
        self.audio.retain(|edge| edge.from != node && edge.to != node);
        self.events.retain(|edge| edge.from != node && edge.to != node);
        Ok(spec)
    }

    /// The description of a node.
    pub fn node(&self, node: NodeId) -> Result<&NodeSpec, GraphError> {
        self.nodes.get(&node).ok_or(GraphError::NoSuchNode(node))
    }

    /// All nodes, in the order in which they were added.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &NodeSpec)> {
        self.nodes.iter().map(|(id, spec)| (*id, spec))
    }

    /// All audio edges, in the order in which they were made.
    pub fn audio_edges(&self) -> &[AudioEdge] {
        &self.audio
    }

    /// All event edges, in the order in which they were made.
    pub fn event_edges(&self) -> &[EventEdge] {
        &self.events
    }

    /// Changes a node's latency (frames), as when a plugin reports a new one.
    pub fn set_latency(&mut self, node: NodeId, frames: u32) -> Result<(), GraphError> {
        self.node_mut(node)?.latency = frames;
        Ok(())
    }

    /// Changes what is heard in a node's place.
    pub fn set_fallback(&mut self, node: NodeId, to: Fallback) -> Result<(), GraphError> {
        self.node_mut(node)?.fallback = to;
        Ok(())
    }

    /// Changes what a node does; its buses stay.
    pub fn set_kind(&mut self, node: NodeId, to: NodeKind) -> Result<(), GraphError> {
        self.node_mut(node)?.kind = to;
        Ok(())
    }

    fn node_mut(&mut self, node: NodeId) -> Result<&mut NodeSpec, GraphError> {
        self.nodes.get_mut(&node).ok_or(GraphError::NoSuchNode(node))
    }

    /// Connects an output bus to an input bus.
    pub fn connect_audio(
        &mut self,
        from: NodeId,
        from_bus: u32,
        to: NodeId,
        to_bus: u32,
    ) -> Result<(), GraphError> {
        let (source, sink) = (self.node(from)?, self.node(to)?);
        let output = source.outputs.get(from_bus as usize).ok_or(GraphError::NoSuchOutput {
            node: source.name.clone(),
            bus: from_bus,
            count: source.outputs.len(),
        })?;
        let input = sink.inputs.get(to_bus as usize).ok_or(GraphError::NoSuchInput {
            node: sink.name.clone(),
            bus: to_bus,
            count: sink.inputs.len(),
        })?;
        if output.channels != input.channels && output.channels != 1 && input.channels != 1 {
            return Err(GraphError::Channels {
                from: source.name.clone(),
                from_channels: output.channels,
                to: sink.name.clone(),
                to_channels: input.channels,
            });
        }
        let edge = AudioEdge { from, from_bus, to, to_bus };
        if self.audio.contains(&edge) {
            return Err(self.duplicate(from, to));
        }
        self.audio.push(edge);
        Ok(())
    }

    /// Removes a connection of audio.
    pub fn disconnect_audio(
        &mut self,
        from: NodeId,
        from_bus: u32,
        to: NodeId,
        to_bus: u32,
    ) -> Result<(), GraphError> {
        let edge = AudioEdge { from, from_bus, to, to_bus };
        match self.audio.iter().position(|e| *e == edge) {
            Some(at) => {
                self.audio.remove(at);
                Ok(())
            }
            None => Err(self.not_connected(from, to)),
        }
    }

    /// Lets a node receive the notes, expressions and MIDI that another puts out.
    pub fn connect_events(&mut self, from: NodeId, to: NodeId) -> Result<(), GraphError> {
        let (source, sink) = (self.node(from)?, self.node(to)?);
        if !source.event_output {
            return Err(GraphError::NoEventOutput(source.name.clone()));
        }
        if !sink.event_input {
            return Err(GraphError::NoEventInput(sink.name.clone()));
        }
        let edge = EventEdge { from, to };
        if self.events.contains(&edge) {
            return Err(self.duplicate(from, to));
        }
        self.events.push(edge);
        Ok(())
    }

    /// Removes a connection of events.
    pub fn disconnect_events(&mut self, from: NodeId, to: NodeId) -> Result<(), GraphError> {
        match self.events.iter().position(|e| *e == EventEdge { from, to }) {
            Some(at) => {
                self.events.remove(at);
                Ok(())
            }
            None => Err(self.not_connected(from, to)),
        }
    }

    fn names(&self, from: NodeId, to: NodeId) -> (String, String) {
        let name = |id| self.nodes.get(&id).map_or_else(|| id.to_string(), |n| n.name.clone());
        (name(from), name(to))
    }

    fn duplicate(&self, from: NodeId, to: NodeId) -> GraphError {
        let (from, to) = self.names(from, to);
        GraphError::Duplicate { from, to }
    }

    fn not_connected(&self, from: NodeId, to: NodeId) -> GraphError {
        let (from, to) = self.names(from, to);
        GraphError::NotConnected { from, to }
    }
}
