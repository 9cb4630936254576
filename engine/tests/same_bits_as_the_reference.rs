//! Random graphs against a reference that knows nothing of plans, blocks and buffers.

mod common;

use common::rig::{Rig, Sent};
use common::{Dice, difference, noise};
use proptest::prelude::*;
use sandrack_engine::event::{EventKind, NoteAddress};
use sandrack_engine::graph::{Graph, Isolation, NodeId, NodeKind, NodeSpec};

/// A random graph without cycles: edges go from what was added first to what came later, except
/// that some nodes are added out of order.
fn graph(seed: u64, nodes: u64, local: u64) -> (Graph, Vec<NodeId>) {
    let mut dice = Dice(seed);
    let mut graph = Graph::new();
    let mut ids = Vec::new();
    let width = |dice: &mut Dice| [1, 2, 2, 2, 3, 4][dice.roll(6) as usize];
    for at in 0..2 {
        let channels = 1 + dice.roll(2) as u32;
        let input = NodeSpec::input(format!("in {at}"), channels).first_channel(at * 2);
        ids.push(graph.add(input.event_output(dice.roll(2) == 0)));
    }
    for at in 0..nodes {
        let channels = width(&mut dice);
        let name = format!("node {at}");
        let spec = match dice.roll(12) {
            0 => NodeSpec::gain(name, channels, dice.sample()),
            1 => NodeSpec::sum(name, channels),
            2 => NodeSpec::pan(name, dice.sample()),
            3 => NodeSpec::meter(name, channels),
            4 => NodeSpec::delay(name, channels, dice.roll(150) as u32),
            _ => {
                let mut inputs = vec![width(&mut dice)];
                let mut outputs = vec![width(&mut dice)];
                match dice.roll(6) {
                    0 => inputs.clear(),
                    1 => inputs.push(width(&mut dice)),
                    2 => outputs.push(width(&mut dice)),
                    _ => {}
                }
                let isolation = match dice.roll(10) < local {
                    true => Isolation::Local,
                    false => Isolation::Remote,
                };
                NodeSpec::plugin(name, &inputs, &outputs).isolation(isolation)
            }
        };
        let latency = match spec.kind {
            NodeKind::Plugin { .. } if dice.roll(3) == 0 => dice.roll(200) as u32,
            _ => 0,
        };
        let events = dice.roll(2) == 0;
        ids.push(graph.add(spec.latency(latency).event_input(events).event_output(events)));
    }
    for at in 0..1 + dice.roll(2) as u32 {
        let output = NodeSpec::output(format!("out {at}"), 1 + dice.roll(2) as u32);
        ids.push(graph.add(output.first_channel(at)));
    }
    // The order in which edges may go is not that in which nodes were added.
    let mut order = ids.clone();
    for _ in 0..nodes / 2 {
        let (a, b) = (2 + dice.roll(nodes), 2 + dice.roll(nodes));
        order.swap(a as usize, b as usize);
    }
    for output in &order[2 + nodes as usize..] {
        for _ in 0..4 {
            let from = order[1 + dice.roll(nodes + 1) as usize];
            let _ = graph.connect_audio(from, 0, *output, 0);
        }
    }
    let edges = nodes * (1 + dice.roll(4));
    for _ in 0..edges {
        let to = 1 + dice.roll(order.len() as u64 - 1) as usize;
        let from = match dice.roll(2) {
            0 => dice.roll(to as u64) as usize,
            _ => to - 1 - dice.roll(to.min(3) as u64) as usize,
        };
        let (from, to) = (order[from], order[to]);
        // Most of these are possible; those that are not are part of the game.
        let _ = graph.connect_audio(from, dice.roll(2) as u32, to, dice.roll(2) as u32);
        let _ = graph.connect_audio(from, 0, to, 0);
        if dice.roll(2) == 0 {
            let _ = graph.connect_events(from, to);
        }
    }
    (graph, ids)
}

fn notes(dice: &mut Dice, ids: &[NodeId], frames: usize) -> Sent {
    let mut sent: Sent = (0..40)
        .map(|_| {
            let node = ids[dice.roll(ids.len() as u64) as usize];
            let note = NoteAddress::ALL;
            let velocity = dice.roll(100) as f64 / 100.0;
            let kind = match dice.roll(2) {
                0 => EventKind::NoteOn { note, velocity },
                _ => EventKind::NoteOff { note, velocity },
            };
            (dice.roll(frames as u64) as usize, node, kind)
        })
        .collect();
    sent.sort_by_key(|s| s.0);
    sent
}

fn check(seed: u64, nodes: u64, local: u64) -> Result<(), TestCaseError> {
    let (graph, ids) = graph(seed, nodes, local);
    let frames = 700;
    let inputs = noise(4, frames, seed);
    let sent = notes(&mut Dice(seed ^ 99), &ids, frames);
    let mut rig = Rig::new(graph);
    rig.seed = seed;
    rig.max_frames = [1, 16, 64, 100, 256][(seed % 5) as usize];
    let compiled = rig.compile();
    compiled.verify().unwrap();
    let machine = |id| Rig::machine(&rig.graph, id);
    let latency = common::reference::Reference::new(&rig.graph, &inputs, &sent, &machine).latency();
    prop_assert_eq!(compiled.latency() as usize, latency);
    let wanted = rig.reference(4, &inputs, &sent);
    let got = rig.run(4, &inputs, &sent);
    for (channel, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        prop_assert_eq!(difference(got, wanted), None, "channel {}", channel);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn remote_plugins_give_the_same_bits(seed: u64, nodes in 1u64..25) {
        check(seed, nodes, 0)?;
    }

    #[test]
    fn local_plugins_give_the_same_bits(seed: u64, nodes in 1u64..25) {
        check(seed, nodes, 10)?;
    }

    #[test]
    fn remote_and_local_plugins_mixed_give_the_same_bits(seed: u64, nodes in 1u64..25) {
        check(seed, nodes, 5)?;
    }
}

#[test]
fn more_sources_than_there_are_bits_give_the_same_bits() {
    let mut graph = Graph::new();
    let input = graph.add(NodeSpec::input("in", 2));
    let bus = graph.add(NodeSpec::plugin("bus", &[2, 2, 1], &[2]));
    let output = graph.add(NodeSpec::output("out", 2));
    graph.connect_audio(bus, 0, output, 0).unwrap();
    graph.connect_audio(input, 0, bus, 1).unwrap();
    for at in 0..100 {
        let plugin = graph.add(NodeSpec::plugin(format!("plugin {at}"), &[2], &[2]));
        graph.connect_audio(input, 0, plugin, 0).unwrap();
        graph.connect_audio(plugin, 0, bus, at % 3).unwrap();
    }
    let inputs = noise(2, 500, 3);
    let rig = Rig::new(graph);
    let compiled = rig.compile();
    assert!(compiled.topology().iter().all(|node| node.sources.len() <= 64));
    let got = rig.run(2, &inputs, &Vec::new());
    let wanted = rig.reference(2, &inputs, &Vec::new());
    for (got, wanted) in got.iter().zip(&wanted) {
        assert_eq!(difference(got, wanted), None);
    }
}

#[test]
fn the_random_graphs_are_worth_it() {
    use sandrack_engine::remote::SourceFrom;

    let (mut heard, mut direct, mut delayed, mut summed, mut notes, mut shared) =
        (0, 0, 0, 0, 0, 0);
    for seed in 0..200 {
        let (graph, _) = graph(seed, 20, 2);
        let rig = Rig::new(graph);
        let compiled = rig.compile();
        for node in compiled.topology() {
            notes += node.event_sources.len();
            for source in &node.sources {
                match &source.from {
                    SourceFrom::Engine => summed += 1,
                    SourceFrom::Direct(source) => {
                        direct += 1;
                        delayed += u32::from(source.delay > 0);
                    }
                }
            }
        }
        let (buffers, values) = compiled.buffers();
        shared += usize::from(buffers < values);
        let outputs = rig.reference(4, &noise(4, 300, seed), &Vec::new());
        heard += u32::from(outputs.iter().flatten().any(|s| *s != 0.0));
    }
    println!("{heard} heard, {direct} direct, {delayed} delayed, {summed} summed, {notes} notes");
    assert!(heard > 140 && direct > 400 && delayed > 80 && summed > 400 && notes > 40);
    assert!(shared > 100, "only {shared} graphs share buffers");
}
