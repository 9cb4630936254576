//! A plugin is taken out of a running plan, bypassed, told apart; what it tells comes back.

mod common;

use common::noise;
use common::rig::{Player, Rig, config};
use sandrack_engine::compile::{compile, compile_after};
use sandrack_engine::event::{EventKind, NoteAddress};
use sandrack_engine::graph::{Graph, Isolation, NodeId, NodeSpec};
use sandrack_engine::remote::NoRemote;

/// Passes audio on, late by its latency, beside a direct path.
fn graph(isolation: Isolation) -> (Graph, NodeId, NodeId) {
    let mut graph = Graph::new();
    let input = graph.add(NodeSpec::input("in", 1));
    let plugin = |name: &str, latency| {
        NodeSpec::plugin(name, &[1], &[1])
            .isolation(isolation)
            .latency(latency)
            .event_input(true)
            .event_output(true)
    };
    let first = graph.add(plugin("clear first", 100));
    let second = graph.add(plugin("clear second", 0));
    let wet = graph.add(NodeSpec::output("wet", 1));
    let dry = graph.add(NodeSpec::output("dry", 1).first_channel(1));
    for (from, to) in [(input, first), (first, second), (second, wet), (input, dry)] {
        graph.connect_audio(from, 0, to, 0).unwrap();
    }
    (graph, first, second)
}

#[test]
fn a_transparent_plugin_that_leaves_and_returns_is_not_heard_to() {
    for isolation in [Isolation::Local, Isolation::Remote] {
        let (graph, first, _) = graph(isolation);
        let rig = Rig::new(graph);
        let mut player = Player::new();
        player.controller.swap(rig.plan().0).unwrap();
        // A slow rise: a gap, a jump or another delay would be seen.
        let input: Vec<f32> = (0..64 * 40).map(|i| i as f32 / 4096.0).collect();
        let mut got = vec![Vec::new(); 2];
        for block in 0..40 {
            match block {
                10 => player.controller.take_out(first).unwrap(),
                20 => {
                    let out = player.controller.taken_out().expect("it was taken out");
                    assert_eq!(out.node, first);
                    assert_eq!(out.processor.is_some(), isolation == Isolation::Local);
                    assert!(player.controller.taken_out().is_none());
                    assert!(player.controller.is_settled());
                    player.controller.swap(rig.plan_starting_at(21).0).unwrap();
                    assert!(!player.controller.is_settled());
                }
                _ => {}
            }
            let part = vec![input[block * 64..][..64].to_vec()];
            let out = player.play(2, &part, &Vec::new(), |_| 64);
            got.iter_mut().zip(out).for_each(|(got, out)| got.extend(out));
        }
        assert!(player.controller.is_settled());
        // In the block in which it leaves both are there; in that in which its connections change
        // and the one in which it returns, a fade holds the last sample for a moment.
        let most = 65.0 / 4096.0;
        for (wet, dry) in got[0].iter().zip(&got[1]) {
            assert!((wet - dry).abs() <= most, "{isolation:?}: {wet} beside {dry}");
        }
        assert_eq!(got[0][64 * 26..], got[1][64 * 26..], "{isolation:?}: itself again");
    }
}

#[test]
fn a_bypassed_plugin_runs_on_and_hears_its_events() {
    for isolation in [Isolation::Local, Isolation::Remote] {
        let (graph, first, _) = graph(isolation);
        let rig = Rig::new(graph);
        let mut player = Player::new();
        player.controller.swap(rig.plan().0).unwrap();
        let input = noise(1, 64 * 30, 3);
        let mut got = vec![Vec::new(); 2];
        for block in 0..30 {
            match block {
                5 => player.controller.set_bypass(first, true).unwrap(),
                20 => player.controller.set_bypass(first, false).unwrap(),
                _ => {}
            }
            // A note adds to what the plugin puts out, for good.
            let note = EventKind::NoteOn { note: NoteAddress::ALL, velocity: 0.5 };
            let sent = if block == 8 { vec![(0, first, note)] } else { Vec::new() };
            let part = vec![input[0][block * 64..][..64].to_vec()];
            let out = player.play(2, &part, &sent, |_| 64);
            got.iter_mut().zip(out).for_each(|(got, out)| got.extend(out));
        }
        let late = |at: usize| input[0][at - 100];
        let wet = || got[0].iter().enumerate();
        for (at, wet) in wet().take(64 * 20).skip(64 * 7) {
            assert_eq!(*wet, late(at), "{isolation:?}: dry, delayed, frame {at}");
        }
        for (at, wet) in wet().skip(64 * 22) {
            // The plugin is followed by one that passes the note on, too.
            let more = wet - late(at);
            assert!(more > 0.4, "{isolation:?}: it heard the note, frame {at}: {more}");
        }
        assert!(player.records().iter().all(|record| match record {
            sandrack_engine::timing::Record::Node(node) => node.outcome.is_heard(),
            _ => true,
        }));
    }
}

#[test]
fn what_plugins_tell_their_host_comes_back_and_nothing_else() {
    for isolation in [Isolation::Local, Isolation::Remote] {
        let (graph, first, second) = graph(isolation);
        let rig = Rig::new(graph);
        let mut player = Player::new();
        player.controller.swap(rig.plan().0).unwrap();
        // These machines put out each parameter value that they receive, and lower notes.
        let note = EventKind::NoteOn { note: NoteAddress::ALL, velocity: 0.5 };
        let value = |value| EventKind::ParamValue { param: 7, note: NoteAddress::ALL, value };
        let sent = vec![(70, first, note), (75, second, value(0.25)), (130, first, value(0.5))];
        player.play(2, &noise(1, 64 * 4, 3), &sent, |_| 64);
        let told: Vec<_> =
            std::iter::from_fn(|| player.controller.plugin_events().pop().ok()).collect();
        let got: Vec<_> =
            told.iter().map(|t| (t.node, t.block, t.event.time, t.event.kind)).collect();
        assert_eq!(got, [(second, 2, 11, value(0.25)), (first, 3, 2, value(0.5))]);
        // A queue that nobody empties loses the rest, and counts.
        for _ in 0..40 {
            let flood = (0..200).map(|_| (0, first, value(0.5))).collect();
            player.play(2, &noise(1, 64, 3), &flood, |_| 64);
        }
        assert_eq!(player.controller.lost_plugin_events(), 40 * 200 - 4096);
    }
}

#[test]
fn a_delay_that_appears_or_vanishes_does_so_without_a_gap() {
    let with = |latency| {
        let (mut graph, first, _) = graph(Isolation::Local);
        graph.set_latency(first, latency).unwrap();
        graph
    };
    let rig = Rig::new(with(0));
    let mut player = Player::new();
    let compiled = rig.compile();
    let mut delays = compiled.delays();
    player.controller.swap(rig.plan().0).unwrap();
    let input: Vec<f32> = (0..64 * 60).map(|i| i as f32 / 4096.0).collect();
    let mut dry = Vec::new();
    for block in 0..60 {
        if let 10 | 30 = block {
            let compiled =
                compile_after(&with(if block == 10 { 200 } else { 0 }), config(64), &delays)
                    .unwrap();
            delays = compiled.delays();
            let plan = compiled.into_plan(|_| None, Box::new(NoRemote)).unwrap();
            player.controller.swap(plan).unwrap();
        }
        let part = vec![input[block * 64..][..64].to_vec()];
        dry.extend(player.play(2, &part, &Vec::new(), |_| 64).remove(1));
    }
    let steps = dry.windows(2).map(|w| (w[1] - w[0]).abs() * 4096.0);
    assert!(steps.fold(0.0, f32::max) < 2.0, "no step much larger than the input's");
    let late = |at: usize, by: usize| dry[at] == input[at - by];
    assert!((64 * 18..64 * 30).all(|at| late(at, 200)));
    assert!((64 * 35..64 * 60).all(|at| late(at, 0)));
    // With nothing left to fade, the next plan has no line at all.
    let again = compile_after(&with(0), config(64), &delays).unwrap();
    assert_eq!(again.buffers(), compile(&with(0), config(64)).unwrap().buffers());
}
