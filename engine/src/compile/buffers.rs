//! Which values share memory.
//!
//! The block loop does not run steps in a fixed order: whatever is ready runs. Two values may
//! share a buffer only if every step that touches one comes before the step that begins the
//! other in *every* order, that is, along the edges between steps.

use super::layout::{Gather, Layout, ValuePlan};
use crate::bits::Bits;
use crate::processor::BusRef;

/// For each step, all that come before it.
fn ancestors(layout: &Layout) -> Vec<Bits> {
    let count = layout.steps.len();
    let mut sets: Vec<Bits> = Vec::with_capacity(count);
    for at in 0..count {
        let mut set = Bits::new(count);
        for before in layout.before.of(at) {
            set.add_all(&sets[*before as usize]);
            set.set(*before as usize);
        }
        sets.push(set);
    }
    sets
}

/// Gives every value a buffer, and every input bus its place.
pub(super) fn allocate(layout: &mut Layout) {
    let ancestors = ancestors(layout);
    let mut order: Vec<usize> = (0..layout.values.len()).collect();
    order.sort_by_key(|at| layout.values[*at].begins);
    // The latest value in each buffer. Those before it were over when it began.
    let mut latest: Vec<usize> = Vec::new();
    for at in order {
        let value = &layout.values[at];
        let before = &ancestors[value.begins as usize];
        let free = latest.iter().position(|other| {
            let other: &ValuePlan = &layout.values[*other];
            !other.kept
                && other.channels == value.channels
                && other.touched.iter().all(|step| before.has(*step as usize))
        });
        let buffer = free.unwrap_or(latest.len());
        match free {
            Some(buffer) => latest[buffer] = at,
            None => {
                latest.push(at);
                layout.buffers.push(value.channels);
            }
        }
        layout.values[at].buffer = buffer;
    }

    let silent = layout.buffers.len();
    let widest = layout.nodes.iter().flat_map(|n| &n.inputs).map(|i| i.channels).max();
    layout.buffers.push(widest.unwrap_or(0));
    for node in &mut layout.nodes {
        for input in &node.inputs {
            let buffer = match input.gather {
                Gather::Silent => silent,
                Gather::Alias(value) | Gather::Sum(value) => layout.values[value as usize].buffer,
            };
            node.in_buses.push(BusRef { buffer, channels: input.channels });
        }
        for bus in &mut node.out_buses {
            bus.buffer = layout.values[bus.buffer].buffer;
        }
    }
}

/// Checks every pair of values in a buffer, by walking back from each value's beginning. Uses
/// nothing that the allocator computed but its result.
pub(super) fn verify(layout: &Layout) -> Result<(), String> {
    let mut sharing: Vec<Vec<&ValuePlan>> = vec![Vec::new(); layout.buffers.len()];
    for value in &layout.values {
        sharing
            .get_mut(value.buffer)
            .ok_or_else(|| format!("there is no buffer {}", value.buffer))?
            .push(value);
        if layout.buffers[value.buffer] < value.channels {
            return Err(format!("buffer {} is too small", value.buffer));
        }
    }
    if sharing.last().is_some_and(|values| !values.is_empty()) {
        return Err("the silent buffer is written".into());
    }
    let mut reached = Bits::new(layout.steps.len());
    let mut stack = Vec::new();
    for values in sharing.iter().filter(|values| values.len() > 1) {
        for (at, value) in values.iter().enumerate() {
            reached.clear_all();
            stack.push(value.begins);
            while let Some(step) = stack.pop() {
                for before in layout.before.of(step as usize) {
                    if !reached.has(*before as usize) {
                        reached.set(*before as usize);
                        stack.push(*before);
                    }
                }
            }
            // Each other value is over when this one begins, or begins when this one is over
            // (which shows when it is its turn): steps are numbered in an order that keeps this.
            for other in values.iter().enumerate().filter(|(o, _)| *o != at).map(|(_, o)| o) {
                if other.begins > value.begins {
                    continue;
                }
                let over = other.touched.iter().all(|step| reached.has(*step as usize));
                if !over || other.kept || other.begins == value.begins {
                    return Err(format!(
                        "buffer {} is taken at step {} while steps {:?} still use it",
                        value.buffer, value.begins, other.touched
                    ));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::compile::{CompileConfig, compile};
    use crate::graph::{Graph, NodeSpec};

    #[test]
    fn the_verifier_sees_shared_memory() {
        let mut graph = Graph::new();
        let input = graph.add(NodeSpec::input("in", 2));
        let mut last = input;
        for at in 0..10 {
            let gain = graph.add(NodeSpec::gain(format!("gain {at}"), 2, 0.5));
            graph.connect_audio(last, 0, gain, 0).unwrap();
            last = gain;
        }
        let output = graph.add(NodeSpec::output("out", 2));
        graph.connect_audio(last, 0, output, 0).unwrap();
        let config = CompileConfig { rate: 48000.0, max_frames: 64, event_capacity: 16 };
        let mut compiled = compile(&graph, config).unwrap();
        let (buffers, values) = compiled.buffers();
        assert!(buffers < values, "{buffers} buffers for {values} values");
        let layout = &mut compiled.layout;
        assert_eq!(super::verify(layout), Ok(()));
        for at in 1..layout.values.len() {
            let buffer = layout.values[at].buffer;
            layout.values[at].buffer = layout.values[at - 1].buffer;
            assert!(super::verify(layout).is_err(), "value {at} and its source");
            layout.values[at].buffer = buffer;
        }
    }
}
