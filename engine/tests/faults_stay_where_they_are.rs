//! Late, hung, gone, failed and broken remote nodes: what is heard, and that nobody else notices.

mod common;

use common::fake_remote::{Call, Fault};
use common::rig::Rig;
use common::{Dice, difference, noise};
use sandrack_engine::graph::{Fallback, Graph, NodeId, NodeSpec};
use sandrack_engine::timing::NodeOutcome;

const FRAMES: usize = 64 * 20;

/// Chains of `length` remote plugins, each from two driver channels to two of its own.
fn chains(count: u32, length: usize, relayed: bool, name: &str) -> (Graph, Vec<Vec<NodeId>>) {
    let mut graph = Graph::new();
    let input = graph.add(NodeSpec::input("in", 2));
    let chains = (0..count).map(|chain| {
        let mut last = input;
        let plugins = (0..length).map(|at| {
            let plugin = graph.add(NodeSpec::plugin(format!("{name} {chain}.{at}"), &[2], &[2]));
            graph.connect_audio(last, 0, plugin, 0).unwrap();
            last = plugin;
            if relayed {
                let gain = graph.add(NodeSpec::gain(format!("gain {chain}.{at}"), 2, 0.75));
                graph.connect_audio(last, 0, gain, 0).unwrap();
                last = gain;
            }
            plugin
        });
        let plugins = plugins.collect();
        let output = NodeSpec::output(format!("out {chain}"), 2).first_channel(chain * 2);
        let output = graph.add(output);
        graph.connect_audio(last, 0, output, 0).unwrap();
        plugins
    });
    let chains = chains.collect();
    (graph, chains)
}

fn assert_same(got: &[Vec<f32>], wanted: &[Vec<f32>], channels: std::ops::Range<usize>) {
    for channel in channels {
        assert_eq!(difference(&got[channel], &wanted[channel]), None, "channel {channel}");
    }
}

fn largest_step(signal: &[f32]) -> f32 {
    signal.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max)
}

#[test]
fn every_fault_leaves_other_chains_bit_identical() {
    let inputs = noise(2, FRAMES, 1);
    for relayed in [false, true] {
        let (graph, nodes) = chains(3, 4, relayed, "plugin");
        let mut rig = Rig::new(graph);
        let wanted = rig.run_even(6, &inputs, &Vec::new()).outputs;
        for fault in [Fault::Hangs, Fault::Busy, Fault::Gone, Fault::Fails, Fault::Nan] {
            for node in &nodes[1] {
                rig.faults = vec![(*node, 5..9, fault)];
                let played = rig.run_even(6, &inputs, &Vec::new());
                assert_same(&played.outputs, &wanted, 0..2);
                assert_same(&played.outputs, &wanted, 4..6);
                // Before, its own chain is untouched, too.
                assert_same(
                    &[played.outputs[2][..4 * 64].to_vec()],
                    &[wanted[2][..4 * 64].to_vec()],
                    0..1,
                );
                assert!(difference(&played.outputs[2], &wanted[2]).is_some());
                assert!(played.outputs.iter().flatten().all(|s| s.is_finite()));
            }
        }
    }
}

#[test]
fn each_fault_is_recorded_with_the_node_at_fault() {
    let (graph, nodes) = chains(2, 3, false, "plugin");
    let mut rig = Rig::new(graph);
    let inputs = noise(2, 64 * 8, 1);
    let expect = [
        (Fault::Hangs, NodeOutcome::Running),
        (Fault::Busy, NodeOutcome::Busy),
        (Fault::Gone, NodeOutcome::Gone),
        (Fault::Fails, NodeOutcome::Failed),
    ];
    for (fault, outcome) in expect {
        rig.faults = vec![(nodes[0][1], 3..4, fault)];
        let played = rig.run_even(4, &inputs, &Vec::new());
        let mut wanted = vec![NodeOutcome::Finished; 8];
        wanted[2] = outcome;
        assert_eq!(played.outcomes(nodes[0][1]), wanted);
        let late = played.blocks()[2].late_nodes;
        assert_eq!(late, if fault == Fault::Hangs { 2 } else { 0 });
        let victim = played.outcomes(nodes[0][2])[2];
        let hurt = fault == Fault::Hangs;
        assert_eq!(victim, if hurt { NodeOutcome::NotReady } else { NodeOutcome::Finished });
        assert_eq!(played.outcomes(nodes[1][1]), [NodeOutcome::Finished; 8]);
    }
    // What the engine does not read it does not see; this one it reads.
    rig.faults = vec![(nodes[0][2], 3..4, Fault::Nan)];
    let played = rig.run_even(4, &inputs, &Vec::new());
    assert_eq!(played.outcomes(nodes[0][2])[2], NodeOutcome::NotFinite);
    assert!(played.outputs[0][128..192].iter().all(|s| *s == 0.0));
}

#[test]
fn a_hung_node_does_not_keep_other_chains_from_being_fed() {
    // Each step of each chain goes through the engine; the first chain is the one that hangs.
    let (graph, nodes) = chains(8, 6, true, "plugin");
    let mut rig = Rig::new(graph);
    let inputs = noise(2, FRAMES, 2);
    let wanted = rig.run_even(16, &inputs, &Vec::new()).outputs;
    for at in 0..6 {
        rig.faults = vec![(nodes[0][at], 4..5, Fault::Hangs), (nodes[3][5], 4..5, Fault::Hangs)];
        let played = rig.run_even(16, &inputs, &Vec::new());
        assert_same(&played.outputs, &wanted, 2..6);
        assert_same(&played.outputs, &wanted, 8..16);
        let block = played.blocks()[3];
        assert!(block.end < block.start + 1_100_000, "returns at the deadline");
        // The others did not have to wait for the deadline.
        let end = |node| played.node(node)[3].end;
        for chain in [1, 2, 4, 5, 6, 7] {
            assert!(end(nodes[chain][5]) < block.start + 500_000, "chain {chain}");
        }
    }
}

#[test]
fn a_node_that_holds_a_core_is_demoted_so_that_its_neighbours_run() {
    let (graph, nodes) = chains(3, 2, false, "plugin");
    let mut rig = Rig::new(graph);
    let inputs = noise(2, FRAMES, 3);
    let wanted = rig.run_even(6, &inputs, &Vec::new()).outputs;
    let hog = nodes[1][0];
    rig.faults = vec![(hog, 4..5, Fault::Hangs), (nodes[2][0], 4..5, Fault::HeldBy(hog))];
    let played = rig.run_even(6, &inputs, &Vec::new());
    assert_same(&played.outputs, &wanted, 0..2);
    assert_same(&played.outputs, &wanted, 4..6);
    let log = played.log.lock().unwrap();
    let demoted = log.iter().filter(|call| matches!(call, Call::Demote(_)));
    assert_eq!(demoted.collect::<Vec<_>>(), [&Call::Demote(hog)]);
}

#[test]
fn a_node_that_is_gone_from_the_start_makes_nobody_late() {
    let (graph, nodes) = chains(4, 3, false, "plugin");
    let mut rig = Rig::new(graph);
    let inputs = noise(2, FRAMES, 4);
    let wanted = rig.run_even(8, &inputs, &Vec::new()).outputs;
    rig.faults = vec![(nodes[2][1], 0..1000, Fault::Gone)];
    let played = rig.run_even(8, &inputs, &Vec::new());
    assert_same(&played.outputs, &wanted, 0..4);
    assert_same(&played.outputs, &wanted, 6..8);
    for block in played.blocks() {
        assert_eq!((block.late_nodes, block.absent_nodes), (0, 1));
        assert!(block.end - block.start < 100_000);
    }
    assert_eq!(played.outcomes(nodes[2][2]), [NodeOutcome::Finished; 20]);
}

#[test]
fn dry_is_latency_compensated_after_one_period() {
    // All plugins pass audio on unchanged, but late: dry and wet must agree. One chain has other
    // latencies than the one it is mixed with, so that there are delayed edges between remote
    // nodes as well.
    let mut graph = Graph::new();
    let input = graph.add(NodeSpec::input("in", 1));
    let clear = |name: &str, latency| NodeSpec::plugin(name, &[2], &[2]).latency(latency);
    let a = graph.add(clear("clear a", 100));
    let b = graph.add(clear("clear b", 37));
    let c = graph.add(clear("clear c", 250));
    let d = graph.add(clear("clear d", 5));
    let e = graph.add(clear("clear e", 0));
    let output = graph.add(NodeSpec::output("out", 2));
    for (from, to) in [(input, a), (a, b), (b, d), (input, c), (c, d), (d, e), (e, output)] {
        graph.connect_audio(from, 0, to, 0).unwrap();
    }
    let mut rig = Rig::new(graph);
    assert_eq!(rig.compile().latency(), 255);
    let inputs = noise(1, FRAMES, 5);
    let wanted = rig.run_even(2, &inputs, &Vec::new()).outputs;
    for fault in [Fault::Hangs, Fault::Fails] {
        for node in [a, b, c, d, e] {
            rig.faults = vec![(node, 8..9, fault), (node, 9..100, Fault::Gone)];
            let played = rig.run_even(2, &inputs, &Vec::new());
            // The period in which it happened, and the one in which those behind it come back.
            // After that, those behind it hold nothing of the lost period but their latency.
            let lost = 7 * 64;
            let heard = lost + 128 + 256;
            assert_eq!(difference(&played.outputs[0][..lost], &wanted[0][..lost]), None);
            let (got, wanted) = (&played.outputs[0][heard..], &wanted[0][heard..]);
            for (got, wanted) in got.iter().zip(wanted) {
                assert!((got - wanted).abs() < 1e-6, "{fault:?} of {node}");
            }
        }
    }
    // The last of the chain: nobody behind it, so one period is all.
    rig.faults = vec![(e, 8..9, Fault::Hangs), (e, 9..100, Fault::Gone)];
    let played = rig.run_even(2, &inputs, &Vec::new());
    let heard = 8 * 64;
    assert_eq!(difference(&played.outputs[0][heard..], &wanted[0][heard..]), None);
}

#[test]
fn an_instrument_falls_silent_and_comes_back_without_a_jump() {
    let mut graph = Graph::new();
    let input = graph.add(NodeSpec::input("in", 1));
    let synth = graph.add(NodeSpec::plugin("clear synth", &[1], &[1]).fallback(Fallback::Silence));
    let output = graph.add(NodeSpec::output("out", 1));
    graph.connect_audio(input, 0, synth, 0).unwrap();
    graph.connect_audio(synth, 0, output, 0).unwrap();
    let mut rig = Rig::new(graph);
    for (frames, ramp) in [(256, 128.0), (64, 64.0), (16, 16.0)] {
        rig.max_frames = frames;
        let n = frames as usize;
        let inputs = vec![vec![0.5f32; n * 12]];
        for fault in [Fault::Hangs, Fault::Fails, Fault::Gone, Fault::Busy] {
            rig.faults = vec![(synth, 4..7, fault)];
            let played = rig.run_even(1, &inputs, &Vec::new());
            let out = &played.outputs[0];
            let step = largest_step(out);
            assert!(step <= 0.5 / ramp + 1e-6, "{fault:?} steps by {step}");
            assert_eq!(out[3 * n - 1], 0.5);
            // Silent when the first period is over, back when the last is.
            assert!(out[4 * n..6 * n].iter().all(|s| *s == 0.0));
            assert!(out[7 * n..].iter().all(|s| *s == 0.5));
        }
    }
}

#[test]
fn no_fault_anywhere_in_a_chain_is_heard_as_a_jump() {
    let kinds = [Fault::Hangs, Fault::Busy, Fault::Gone, Fault::Fails];
    for (relayed, frames) in [(false, 256), (true, 256), (false, 64)] {
        let (graph, nodes) = chains(1, 4, relayed, "plugin");
        let mut rig = Rig::new(graph);
        rig.max_frames = frames;
        let inputs = vec![vec![0.5f32; frames as usize * 16]; 2];
        let clean = rig.run_even(2, &inputs, &Vec::new()).outputs;
        // Once the plugins' own filters have settled.
        let from = frames as usize;
        let loudest = clean[0].iter().fold(0.5f32, |a, b| a.max(b.abs()));
        for at in 0..4 {
            for kind in kinds {
                for also in [None, Some(Fault::Hangs), Some(Fault::Gone)] {
                    rig.faults = vec![(nodes[0][at], 5..9, kind)];
                    if let Some(also) = also {
                        // A second one, before or after, for a part of the time.
                        rig.faults.push((nodes[0][(at + 1) % 4], 7..8, also));
                        rig.faults.push((nodes[0][(at + 2) % 4], 4..11, also));
                    }
                    let played = rig.run_even(2, &inputs, &Vec::new());
                    let step = largest_step(&played.outputs[0][from..]);
                    let bound = 2.5 * loudest / (frames as f32).min(128.0);
                    assert!(
                        step <= bound,
                        "steps by {step} > {bound}: {:?}, relayed {relayed}, {frames} frames",
                        rig.faults
                    );
                }
            }
        }
    }
}

#[test]
fn a_node_that_missed_a_block_gets_its_events_in_the_next() {
    use sandrack_engine::event::{EventKind, NoteAddress};

    let (graph, nodes) = chains(1, 2, false, "plugin");
    let mut rig = Rig::new(graph);
    let inputs = vec![vec![0.0f32; 64 * 10]; 2];
    let on = EventKind::NoteOn { note: NoteAddress::ALL, velocity: 0.5 };
    // In block 5, to the second node, which is a victim of the first.
    let sent = vec![(4 * 64 + 10, nodes[0][1], on)];
    rig.faults = vec![(nodes[0][0], 5..6, Fault::Hangs)];
    let played = rig.run_even(2, &inputs, &sent);
    assert!(played.outputs[0][..5 * 64].iter().all(|s| *s == 0.0));
    assert!(played.outputs[0][6 * 64] > 0.1);
    // Busy for longer: a note that was to begin is not played late.
    rig.faults = vec![(nodes[0][1], 5..7, Fault::Busy)];
    let played = rig.run_even(2, &inputs, &sent);
    assert!(played.outputs[0].iter().all(|s| *s == 0.0));
}

/// Whether audio or events of `from` can reach `to`.
fn reaches(graph: &Graph, from: NodeId, to: NodeId) -> bool {
    from == to
        || graph.audio_edges().iter().any(|e| e.from == from && reaches(graph, e.to, to))
        || graph.event_edges().iter().any(|e| e.from == from && reaches(graph, e.to, to))
}

#[test]
fn random_faults_in_random_graphs_stay_in_their_own_chains() {
    let mut compared = 0;
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut graph = Graph::new();
        let input = graph.add(NodeSpec::input("in", 2));
        let mut all = vec![input];
        let mut plugins = Vec::new();
        for at in 0..5 + dice.roll(20) {
            let latency = [0, 0, 30, 100][dice.roll(4) as usize];
            let local = dice.roll(4) == 0;
            let node = graph.add(match local {
                true => NodeSpec::gain(format!("gain {at}"), 2, 0.5),
                false => NodeSpec::plugin(format!("plugin {at}"), &[2], &[2])
                    .latency(latency)
                    .event_input(true)
                    .event_output(true),
            });
            for _ in 0..1 + dice.roll(2) {
                let from = all[all.len() - 1 - dice.roll(all.len().min(6) as u64) as usize];
                let _ = graph.connect_audio(from, 0, node, 0);
                if dice.roll(3) == 0 {
                    let _ = graph.connect_events(from, node);
                }
            }
            all.push(node);
            if !local {
                plugins.push(node);
            }
        }
        let outputs: Vec<NodeId> = (0..4)
            .map(|at| {
                let output = NodeSpec::output(format!("out {at}"), 1).first_channel(at);
                let output = graph.add(output);
                let from = all[dice.roll(all.len() as u64) as usize];
                graph.connect_audio(from, 0, output, 0).unwrap();
                output
            })
            .collect();
        if plugins.is_empty() {
            continue;
        }
        let mut rig = Rig::new(graph);
        rig.seed = seed;
        rig.max_frames = 32;
        let inputs = noise(2, 32 * 16, seed);
        let wanted = rig.run_even(4, &inputs, &Vec::new()).outputs;
        let kinds = [Fault::Hangs, Fault::Busy, Fault::Gone, Fault::Fails, Fault::Nan];
        for _ in 0..1 + dice.roll(3) {
            let node = plugins[dice.roll(plugins.len() as u64) as usize];
            let from = 1 + dice.roll(10);
            let fault = kinds[dice.roll(5) as usize];
            rig.faults.push((node, from..from + 1 + dice.roll(4), fault));
        }
        let played = rig.run_even(4, &inputs, &Vec::new());
        assert!(played.outputs.iter().flatten().all(|s| s.is_finite()));
        for (channel, output) in outputs.iter().enumerate() {
            if !rig.faults.iter().any(|f| reaches(&rig.graph, f.0, *output)) {
                assert_same(&played.outputs, &wanted, channel..channel + 1);
                compared += 1;
            }
        }
    }
    assert!(compared > 200, "only {compared}");
}
