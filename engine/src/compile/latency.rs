//! Delay compensation: what arrives at a node together was put in together.

use std::collections::HashMap;

use super::{CompileError, MAX_LATENCY};
use crate::graph::{AudioEdge, EventEdge, Graph, NodeId, NodeKind};

/// How much each edge is delayed, in frames.
pub(super) struct Timed {
    pub(super) audio: HashMap<AudioEdge, u32>,
    pub(super) events: HashMap<EventEdge, u32>,
    pub(super) latency: u32,
    pub(super) outputs: Vec<(NodeId, u32)>,
}

pub(super) fn compensate(graph: &Graph, order: &[NodeId]) -> Result<Timed, CompileError> {
    let mut sources: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
    for edge in graph.audio_edges() {
        sources.entry(edge.to).or_default().push(edge.from);
    }
    for edge in graph.event_edges() {
        sources.entry(edge.to).or_default().push(edge.from);
    }
    // How late what arrives at a node, and what leaves it, is.
    let mut arrives: HashMap<NodeId, u32> = HashMap::new();
    let mut leaves: HashMap<NodeId, u32> = HashMap::new();
    let mut outputs = Vec::new();
    for &id in order {
        let Ok(spec) = graph.node(id) else { continue };
        let latest =
            sources.get(&id).into_iter().flatten().map(|from| leaves[from]).max().unwrap_or(0);
        let total = u64::from(latest) + u64::from(spec.latency);
        if total > MAX_LATENCY.into() {
            return Err(CompileError::Latency { node: spec.name.clone(), frames: total });
        }
        arrives.insert(id, latest);
        leaves.insert(id, total as u32);
        if let NodeKind::Output { .. } = spec.kind {
            outputs.push((id, latest));
        }
    }
    let latency = outputs.iter().map(|(_, frames)| *frames).max().unwrap_or(0);
    for (id, _) in &outputs {
        arrives.insert(*id, latency);
    }
    let delay = |from, to| arrives[to] - leaves[from];
    Ok(Timed {
        audio: graph.audio_edges().iter().map(|e| (*e, delay(&e.from, &e.to))).collect(),
        events: graph.event_edges().iter().map(|e| (*e, delay(&e.from, &e.to))).collect(),
        latency,
        outputs,
    })
}
