//! An order in which every node comes after all that feed it, or the cycle that forbids one.

use std::collections::{BTreeMap, BTreeSet};

use super::CompileError;
use crate::graph::{Graph, NodeId};

/// Of the nodes that could come next, the one that was added first does: the same graph always
/// gets the same order.
pub(super) fn order(graph: &Graph) -> Result<Vec<NodeId>, CompileError> {
    let mut missing: BTreeMap<NodeId, usize> = graph.nodes().map(|(id, _)| (id, 0)).collect();
    let mut after: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    let mut before: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    let audio = graph.audio_edges().iter().map(|e| (e.from, e.to));
    for (from, to) in audio.chain(graph.event_edges().iter().map(|e| (e.from, e.to))) {
        *missing.entry(to).or_default() += 1;
        after.entry(from).or_default().push(to);
        before.entry(to).or_default().push(from);
    }
    let mut next: BTreeSet<NodeId> =
        missing.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    let mut order = Vec::with_capacity(missing.len());
    while let Some(id) = next.pop_first() {
        order.push(id);
        missing.remove(&id);
        for to in after.get(&id).into_iter().flatten() {
            if let Some(count) = missing.get_mut(to) {
                *count -= 1;
                if *count == 0 {
                    next.insert(*to);
                }
            }
        }
    }
    let Some(&stuck) = missing.keys().next() else { return Ok(order) };

    // What is left has a predecessor that is left: walking backwards must come round.
    let mut path = vec![stuck];
    loop {
        let here = path[path.len() - 1];
        let back = before[&here].iter().find(|id| missing.contains_key(id));
        let back = *back.expect("a node that is left has a predecessor that is left");
        if let Some(start) = path.iter().position(|id| *id == back) {
            let mut cycle = path.split_off(start);
            cycle.reverse();
            // Begin with the node that was added first.
            let first = (0..cycle.len()).min_by_key(|at| cycle[*at]).unwrap_or(0);
            cycle.rotate_left(first);
            let name = |id| graph.node(id).map_or_else(|_| String::new(), |n| n.name.clone());
            return Err(CompileError::Cycle(cycle.into_iter().map(name).collect()));
        }
        path.push(back);
    }
}
