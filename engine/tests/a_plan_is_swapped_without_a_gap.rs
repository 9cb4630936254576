//! Plan swaps: what both plans share goes on; what the old one had comes back to be dropped.

mod common;

use common::fake_remote::Fault;
use common::rig::{Player, Rig, config};
use common::{difference, noise};
use sandrack_engine::compile::compile;
use sandrack_engine::controller::SwapError;
use sandrack_engine::event::{EventKind, NoteAddress};
use sandrack_engine::graph::{Graph, Isolation, NodeId, NodeKind, NodeSpec};
use sandrack_engine::remote::NoRemote;

/// Everything that has a memory: plugins, delays, delayed edges of audio and events, gains.
fn graph() -> (Graph, [NodeId; 8]) {
    let mut graph = Graph::new();
    let input = graph.add(NodeSpec::input("in", 2).event_output(true));
    let plugin = |name: &str, latency| {
        NodeSpec::plugin(name, &[2], &[2])
            .isolation(Isolation::Local)
            .latency(latency)
            .event_input(true)
            .event_output(true)
    };
    let slow = graph.add(plugin("slow", 90));
    let synth = graph.add(plugin("synth", 0));
    let echo = graph.add(NodeSpec::delay("echo", 2, 333));
    let gain = graph.add(NodeSpec::gain("gain", 2, 0.5));
    let pan = graph.add(NodeSpec::pan("pan", 0.25));
    let sum = graph.add(NodeSpec::sum("sum", 2));
    let output = graph.add(NodeSpec::output("out", 2));
    let edges = [
        (input, slow),
        (slow, sum),
        (input, echo),
        (echo, sum),
        (synth, gain),
        (gain, pan),
        (pan, sum),
        (sum, output),
        (slow, synth),
    ];
    for (from, to) in edges {
        graph.connect_audio(from, 0, to, 0).unwrap();
    }
    graph.connect_events(input, synth).unwrap();
    (graph, [input, slow, synth, echo, gain, pan, sum, output])
}

#[test]
fn what_both_plans_share_goes_on_bit_by_bit() {
    let (graph, [input, _, synth, .., output]) = graph();
    let rig = Rig::new(graph.clone());
    let frames = 64 * 40;
    let inputs = noise(2, frames, 8);
    let note = NoteAddress::ALL;
    let sent: Vec<_> = (0..30)
        .map(|at| (at * 77 + 5, input, EventKind::NoteOn { note, velocity: 0.3 }))
        .chain((0..30).map(|at| (at * 77 + 40, synth, EventKind::NoteOff { note, velocity: 0.0 })))
        .collect();
    let wanted = rig.reference(2, &inputs, &sent);

    let mut player = Player::new();
    player.controller.swap(rig.plan().0).unwrap();
    let mut got = vec![Vec::new(); 2];
    for part in 0..40usize {
        // Every block runs another plan: nodes come and go that do not concern the rest.
        let mut graph = graph.clone();
        let extra = (0..part % 7).map(|at| {
            let node = graph.add(NodeSpec::delay(format!("extra {at}"), 2, 50));
            graph.connect_audio(input, 0, node, 0).unwrap();
            node
        });
        if let Some(last) = extra.last() {
            let meter = graph.add(NodeSpec::meter("meter", 2));
            graph.connect_audio(last, 0, meter, 0).unwrap();
            let aside = graph.add(NodeSpec::output("aside", 2).first_channel(2));
            graph.connect_audio(meter, 0, aside, 0).unwrap();
        }
        let max_frames = [64, 100, 128][part % 3];
        let compiled = compile(&graph, config(max_frames)).unwrap();
        let plan = compiled.into_plan(|_| None, Box::new(NoRemote)).unwrap();
        player.controller.swap(plan).unwrap();
        let range = part * 64..part * 64 + 64;
        let inputs: Vec<_> = inputs.iter().map(|c| c[range.clone()].to_vec()).collect();
        let sent = sent
            .iter()
            .filter(|s| range.contains(&s.0))
            .map(|s| (s.0 - range.start, s.1, s.2))
            .collect();
        let part = player.play(2, &inputs, &sent, |_| 64);
        got.iter_mut().zip(part).for_each(|(all, part)| all.extend(part));
    }
    for (got, wanted) in got.iter().zip(&wanted) {
        assert_eq!(difference(got, wanted), None);
    }
    let _ = output;
    // All but the one that runs have come back.
    assert!(player.controller.take_retired() <= 1);
}

#[test]
fn a_processor_that_is_not_there_can_not_be_kept() {
    let (graph, _) = graph();
    let compiled = compile(&graph, config(64)).unwrap();
    let plan = compiled.into_plan(|_| None, Box::new(NoRemote)).unwrap();
    let mut player = Player::new();
    let error = player.controller.swap(plan).unwrap_err();
    assert!(matches!(&error, SwapError::NoProcessor { node, .. } if node == "slow"), "{error}");
}

#[test]
fn many_swaps_between_two_blocks_lose_nothing_and_drop_nothing_on_the_realtime_thread() {
    let (graph, _) = graph();
    let rig = Rig::new(graph);
    let mut player = Player::new();
    // More than the engine can give back at once.
    for _ in 0..200 {
        player.controller.swap(rig.plan().0).unwrap();
    }
    let inputs = noise(2, 64, 1);
    let mut retired = 0;
    for _ in 0..6 {
        player.play(2, &inputs, &Vec::new(), |_| 64);
        retired += player.controller.take_retired();
    }
    assert_eq!(retired, 199);
}

#[test]
fn a_changed_gain_moves_smoothly_and_an_unchanged_one_keeps_what_was_set() {
    let mut graph = Graph::new();
    let input = graph.add(NodeSpec::input("in", 1));
    let gain = graph.add(NodeSpec::gain("gain", 1, 1.0));
    let output = graph.add(NodeSpec::output("out", 1));
    graph.connect_audio(input, 0, gain, 0).unwrap();
    graph.connect_audio(gain, 0, output, 0).unwrap();
    let ones = vec![vec![1.0f32; 480]];
    let mut player = Player::new();
    let mut all = Vec::new();
    let mut last = |player: &mut Player| {
        let out = player.play(1, &ones, &Vec::new(), |_| 64).remove(0);
        all.extend(out.clone());
        *out.last().unwrap()
    };
    let plan = |graph: &Graph| Rig::new(graph.clone()).plan().0;
    player.controller.swap(plan(&graph)).unwrap();
    assert_eq!(last(&mut player), 1.0);
    player.controller.set_gain(gain, 0.25).unwrap();
    assert_eq!(last(&mut player), 0.25);
    player.controller.swap(plan(&graph)).unwrap();
    assert_eq!(last(&mut player), 0.25);
    graph.set_kind(gain, NodeKind::Gain { gain: 0.75 }).unwrap();
    player.controller.swap(plan(&graph)).unwrap();
    assert_eq!(last(&mut player), 0.75);
    assert!(all.windows(2).all(|w| (w[1] - w[0]).abs() < 0.75 / 240.0 + 1e-6));
}

#[test]
fn a_node_that_comes_back_with_a_new_plan_comes_back_without_a_jump() {
    let mut graph = Graph::new();
    let input = graph.add(NodeSpec::input("in", 1));
    let plugin = graph.add(NodeSpec::plugin("plugin", &[1], &[1]));
    let output = graph.add(NodeSpec::output("out", 1));
    graph.connect_audio(input, 0, plugin, 0).unwrap();
    graph.connect_audio(plugin, 0, output, 0).unwrap();
    let mut rig = Rig::new(graph);
    rig.max_frames = 256;
    let constant = vec![vec![0.5f32; 256 * 4]];
    rig.faults = vec![(plugin, 1..100, Fault::Gone)];
    let mut player = Player::new();
    player.controller.swap(rig.plan().0).unwrap();
    let mut out = player.play(1, &constant, &Vec::new(), |_| 256).remove(0);
    assert_eq!(out[1023], 0.5);
    // The new plan's remote nodes count blocks from where the engine is.
    rig.faults.clear();
    let compiled = rig.compile();
    let (remote, _) = common::fake_remote::FakeRemote::new(
        compiled.topology(),
        |id| (rig.graph.node(id).unwrap().clone(), Rig::machine(&rig.graph, id)),
        256,
        Vec::new(),
        1,
    );
    let remote = remote.starting_at(5);
    player.controller.swap(compiled.into_plan(|_| None, Box::new(remote)).unwrap()).unwrap();
    let back = player.play(1, &constant, &Vec::new(), |_| 256).remove(0);
    assert!((back[1023] - 0.5).abs() > 0.01, "the plugin is heard");
    out.extend(back);
    let step = out[256..].windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
    assert!(step < 0.01, "steps by {step}");
}
