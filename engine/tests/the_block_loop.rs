//! What the engine does when: rings before it waits, waits once, splits what is too long,
//! records everything, delivers events to the frame.

mod common;

use common::fake_remote::Call;
use common::rig::{Player, Rig, config};
use common::{clock, difference, noise};
use sandrack_engine::block::{Block, Transport};
use sandrack_engine::compile::compile;
use sandrack_engine::engine::{Deadlines, Engine, EngineConfig};
use sandrack_engine::event::{Event, EventKind, NoteAddress};
use sandrack_engine::graph::{Graph, Isolation, NodeId, NodeSpec};
use sandrack_engine::processor::{AudioIo, EventIo, Processor};
use sandrack_engine::remote::NoRemote;
use sandrack_engine::timing::Record;

/// `tracks` of three plugins and a fader, groups of ten, a plugin for each group, a master.
fn mixer(tracks: usize) -> Graph {
    let mut graph = Graph::new();
    let input = graph.add(NodeSpec::input("in", 2));
    let master = graph.add(NodeSpec::plugin("master", &[2], &[2]));
    let output = graph.add(NodeSpec::output("out", 2));
    graph.connect_audio(master, 0, output, 0).unwrap();
    let mut group = None;
    for track in 0..tracks {
        if track % 10 == 0 {
            let sum = graph.add(NodeSpec::sum(format!("group {track}"), 2));
            let effect = graph.add(NodeSpec::plugin(format!("effect {track}"), &[2], &[2]));
            let fader = graph.add(NodeSpec::gain(format!("fader {track}"), 2, 0.5));
            graph.connect_audio(sum, 0, effect, 0).unwrap();
            graph.connect_audio(effect, 0, fader, 0).unwrap();
            graph.connect_audio(fader, 0, master, 0).unwrap();
            group = Some(sum);
        }
        let mut last = input;
        for at in 0..3 {
            let plugin = graph.add(NodeSpec::plugin(format!("plugin {track}.{at}"), &[2], &[2]));
            graph.connect_audio(last, 0, plugin, 0).unwrap();
            last = plugin;
        }
        let fader = graph.add(NodeSpec::gain(format!("track {track}"), 2, 0.1));
        graph.connect_audio(last, 0, fader, 0).unwrap();
        graph.connect_audio(fader, 0, group.unwrap(), 0).unwrap();
    }
    graph
}

#[test]
fn everything_that_can_be_rung_is_rung_before_the_first_wait() {
    let rig = Rig::new(mixer(30));
    let played = rig.run_even(2, &noise(2, 64 * 4, 1), &Vec::new());
    let log = played.log.lock().unwrap();
    let mut blocks = 0;
    for block in log.split(|call| *call == Call::End).filter(|block| !block.is_empty()) {
        let first = block.iter().position(|call| matches!(call, Call::Wait(..))).unwrap();
        let rung = block[..first].iter().filter(|call| matches!(call, Call::Ring(_))).count();
        assert!(rung >= 30, "rung {rung} of 30 tracks");
        // One wait for each group at most, one for the master's input, one for its output.
        let waits = block.iter().filter(|call| matches!(call, Call::Wait(..))).count();
        assert!(waits <= 5, "{waits} waits");
        blocks += 1;
    }
    assert_eq!(blocks, 4);
}

#[test]
fn a_chain_of_remote_plugins_costs_one_ring_and_one_wait() {
    let mut graph = Graph::new();
    let mut last = graph.add(NodeSpec::input("in", 2));
    let mut nodes = Vec::new();
    for at in 0..50 {
        let plugin = graph.add(NodeSpec::plugin(format!("plugin {at}"), &[2], &[2]));
        graph.connect_audio(last, 0, plugin, 0).unwrap();
        nodes.push(plugin);
        last = plugin;
    }
    let output = graph.add(NodeSpec::output("out", 2));
    graph.connect_audio(last, 0, output, 0).unwrap();
    let mut rig = Rig::new(graph);
    // With this seed nothing finishes before the engine waits.
    rig.seed = 3;
    let played = rig.run_even(2, &noise(2, 64, 1), &Vec::new());
    let log = played.log.lock().unwrap();
    let ring = Call::Ring(nodes[0]);
    let rings = log.iter().filter(|call| matches!(call, Call::Ring(_))).count();
    let waits: Vec<_> = log.iter().filter(|call| matches!(call, Call::Wait(..))).collect();
    assert!(log.contains(&ring) && rings == 1);
    assert_eq!(waits, [&Call::Wait(1, nodes[49])]);
    let compiled = rig.compile();
    let topology = compiled.topology();
    assert!(topology[0].engine_rings && topology[1..].iter().all(|node| !node.engine_rings));
    assert!(topology[49].engine_waits && topology[..49].iter().all(|node| !node.engine_waits));
}

#[test]
fn blocks_longer_than_the_plan_s_are_split_and_give_the_same_bits() {
    let mut graph = mixer(10);
    let synth = graph.add(NodeSpec::plugin("synth", &[], &[2]));
    let aside = graph.add(NodeSpec::output("aside", 2).first_channel(2));
    graph.connect_audio(synth, 0, aside, 0).unwrap();
    let rig = Rig::new(graph);
    let inputs = noise(2, 1000, 5);
    let on = |velocity| EventKind::NoteOn { note: NoteAddress::ALL, velocity };
    let sent = vec![(3, synth, on(0.1)), (70, synth, on(0.2)), (640, synth, on(0.3))];
    let wanted = rig.reference(4, &inputs, &sent);
    let mut player = Player::new();
    player.controller.swap(rig.plan().0).unwrap();
    let got = player.play(4, &inputs, &sent, |_| 500);
    for (got, wanted) in got.iter().zip(&wanted) {
        assert_eq!(difference(got, wanted), None);
    }
    let blocks: Vec<_> = player
        .records()
        .into_iter()
        .filter_map(|record| match record {
            Record::Block(block) => Some(block),
            _ => None,
        })
        .collect();
    assert_eq!(blocks.iter().map(|b| b.frames).sum::<u32>(), 1000);
    assert_eq!(blocks.len(), 16);
    assert!(blocks[..8].windows(2).all(|b| b[0].deadline < b[1].deadline));
}

#[test]
fn every_plugin_and_every_block_is_recorded_or_counted() {
    let mut graph = mixer(10);
    let local = NodeSpec::plugin("local", &[2], &[2]).isolation(Isolation::Local);
    let local = graph.add(local);
    let rig = Rig::new(graph);
    let played = rig.run_even(2, &noise(2, 64 * 5, 1), &Vec::new());
    let plugins = rig.compile().topology().len() + 1;
    assert_eq!(played.records.len(), 5 * (plugins + 1));
    for (at, block) in played.blocks().iter().enumerate() {
        assert_eq!((block.block, block.frames, block.late_nodes), (at as u64 + 1, 64, 0));
        assert!(block.start < block.end && block.wait > 0 && block.local > 0);
        assert_eq!((block.lost_records, block.lost_events), (0, 0));
    }
    for record in played.node(local) {
        assert!(record.ready <= record.start && record.start < record.end);
    }

    let config = EngineConfig { records: 10, ..EngineConfig::new(clock) };
    let (engine, controller) = Engine::new(config);
    let mut player = Player { engine, controller, ..Player::new() };
    player.controller.swap(rig.plan().0).unwrap();
    player.play(2, &noise(2, 64 * 2, 1), &Vec::new(), |_| 64);
    let kept = player.records().len();
    let lost = player.controller.lost_records();
    assert_eq!((kept, kept as u64 + lost), (10, 2 * (plugins as u64 + 1)));
    // The next block tells.
    player.play(2, &noise(2, 64, 1), &Vec::new(), |_| 64);
    assert_eq!(player.controller.lost_records(), lost + plugins as u64 + 1 - 10);
}

/// Keeps what it was given.
struct Witness {
    seen: rtrb::Producer<(Block, Option<Event>)>,
}

impl Processor for Witness {
    fn process(&mut self, block: &Block, _: AudioIo<'_>, events: EventIo<'_>) -> bool {
        let _ = self.seen.push((*block, None));
        for event in events.input {
            let _ = self.seen.push((*block, Some(*event)));
        }
        true
    }

    fn reset(&mut self) {}
}

fn witness(graph: &Graph) -> (Player, rtrb::Consumer<(Block, Option<Event>)>) {
    let (seen, consumer) = rtrb::RingBuffer::new(1000);
    let mut witness = Some(Box::new(Witness { seen }) as Box<dyn Processor>);
    let mut player = Player::new();
    let plan = compile(graph, config(64)).unwrap();
    let plan = plan.into_plan(|_| witness.take(), Box::new(NoRemote)).unwrap();
    player.controller.swap(plan).unwrap();
    (player, consumer)
}

fn listener(events: bool) -> (Graph, NodeId) {
    let mut graph = Graph::new();
    let node = NodeSpec::plugin("listener", &[], &[]).isolation(Isolation::Local);
    let node = graph.add(node.event_input(events));
    (graph, node)
}

#[test]
fn the_transport_moves_by_itself_and_blocks_are_counted() {
    let (graph, _) = listener(false);
    let (mut player, mut seen) = witness(&graph);
    let silence = vec![vec![0.0; 64 * 3]];
    player.play(1, &silence, &Vec::new(), |_| 64);
    let tempo = 48000.0 * 60.0 / 64.0;
    let transport = Transport { playing: true, tempo, ..Transport::default() };
    player.controller.transport(transport).unwrap();
    player.play(1, &silence, &Vec::new(), |_| 64);
    let blocks: Vec<Block> = std::iter::from_fn(|| seen.pop().ok()).map(|s| s.0).collect();
    for (at, block) in blocks.iter().enumerate() {
        assert_eq!((block.number, block.steady_time), (at as u64 + 1, at as u64 * 64));
        let moved = at.saturating_sub(3) as f64;
        assert!((block.transport.position_beats - moved).abs() < 1e-9);
    }
    assert_eq!(blocks.len(), 6);
    // The controller can follow, whatever the driver's blocks are.
    assert_eq!(player.controller.frames_done(), 6 * 64);
    player.play(7, &[vec![0.0; 100]], &Vec::new(), |_| 10);
    assert_eq!(player.controller.frames_done(), 6 * 64 + 100);
}

#[test]
fn events_keep_their_order_and_their_frame_through_a_delayed_edge() {
    let (mut graph, node) = listener(true);
    let keys = graph.add(NodeSpec::input("keys", 0).event_output(true));
    let slow = NodeSpec::plugin("slow", &[], &[]).latency(100).event_output(true);
    let slow = graph.add(slow);
    graph.connect_events(keys, node).unwrap();
    graph.connect_events(slow, node).unwrap();
    let (mut player, mut seen) = witness(&graph);
    let event = |at| EventKind::Midi { port: 0, data: [0x90, at, 1] };
    let sent = vec![
        (5, keys, event(1)),
        (5, keys, event(2)),
        (60, keys, event(3)),
        (160, node, event(4)),
        (63, keys, event(5)),
        // A parameter is no business of the next node.
        (70, keys, EventKind::ParamValue { param: 1, note: NoteAddress::ALL, value: 1.0 }),
    ];
    player.play(1, &[vec![0.0; 64 * 5]], &sent, |_| 64);
    let got: Vec<_> = std::iter::from_fn(|| seen.pop().ok())
        .filter_map(|(block, event)| Some((block, event?)))
        .map(|(block, event)| (block.steady_time + u64::from(event.time), event.kind))
        .collect();
    let wanted = [
        (105, event(1)),
        (105, event(2)),
        // At the same frame, what the controller sends comes first.
        (160, event(4)),
        (160, event(3)),
        (163, event(5)),
    ];
    assert_eq!(got, wanted);
}

#[test]
fn without_a_plan_there_is_silence() {
    let mut player = Player::new();
    let out = player.play(2, &noise(1, 100, 1), &Vec::new(), |_| 64);
    assert!(out.iter().flatten().all(|s| *s == 0.0));
}

#[test]
fn missing_driver_channels_are_silent_and_surplus_ones_too() {
    let mut graph = Graph::new();
    let input = graph.add(NodeSpec::input("in", 2).first_channel(1));
    let output = graph.add(NodeSpec::output("out", 2).first_channel(1));
    let double = graph.add(NodeSpec::output("double", 1).first_channel(1));
    graph.connect_audio(input, 0, output, 0).unwrap();
    graph.connect_audio(input, 0, double, 0).unwrap();
    let mut player = Player::new();
    player.controller.swap(Rig::new(graph).plan().0).unwrap();
    let inputs = vec![vec![1.0f32; 64], vec![0.5f32; 64]];
    let out = player.play(4, &inputs, &Vec::new(), |_| 64);
    let first: Vec<f32> = out.iter().map(|c| c[63]).collect();
    // "double" gets the mean of 0.5 and nothing.
    assert_eq!(first, [0.0, 0.75, 0.0, 0.0]);
}

#[test]
fn a_local_plugin_that_fails_is_replaced_as_a_remote_one_is() {
    struct Fails(u32);
    impl Processor for Fails {
        fn process(&mut self, _: &Block, mut audio: AudioIo<'_>, _: EventIo<'_>) -> bool {
            audio.outputs.all_mut().for_each(|channel| channel.fill(f32::NAN));
            self.0 += 1;
            self.0.is_multiple_of(2)
        }
        fn reset(&mut self) {}
    }
    let mut graph = Graph::new();
    let input = graph.add(NodeSpec::input("in", 1));
    let node = NodeSpec::plugin("fails", &[1], &[2]).isolation(Isolation::Local);
    let node = graph.add(node);
    let output = graph.add(NodeSpec::output("out", 2));
    graph.connect_audio(input, 0, node, 0).unwrap();
    graph.connect_audio(node, 0, output, 0).unwrap();
    let plan = compile(&graph, config(64)).unwrap();
    let plan = plan.into_plan(|_| Some(Box::new(Fails(0)) as _), Box::new(NoRemote)).unwrap();
    let mut player = Player::new();
    player.controller.swap(plan).unwrap();
    let out = player.play(2, &[vec![1.0; 64 * 4]], &Vec::new(), |_| 64);
    for channel in &out {
        // Dry, then NaN made silent, and so on; never a jump.
        assert_eq!([channel[63], channel[127], channel[191]], [1.0, 0.0, 1.0]);
        assert!(channel.windows(2).all(|w| (w[1] - w[0]).abs() <= 1.0 / 64.0 + 1e-6));
    }
}

#[test]
fn meters_show_what_passed() {
    let mut graph = Graph::new();
    let input = graph.add(NodeSpec::input("in", 1));
    let meter = graph.add(NodeSpec::meter("meter", 1));
    graph.connect_audio(input, 0, meter, 0).unwrap();
    let rig = Rig::new(graph);
    let mut player = Player::new();
    player.controller.swap(rig.plan().0).unwrap();
    player.play(0, &[vec![-0.5f32; 48000]], &Vec::new(), |_| 64);
    // The cell that is being read survives a swap.
    let cell = player.controller.meter(meter).unwrap();
    player.controller.swap(rig.plan().0).unwrap();
    player.play(0, &[vec![0.25f32; 64]], &Vec::new(), |_| 64);
    let level = cell.read(0).unwrap();
    assert_eq!(level.peak, 0.5);
    assert!((level.peak_dbfs() + 6.0206).abs() < 0.001);
    assert!((level.rms - 0.5).abs() < 0.05);
    assert_eq!(player.controller.level(meter, 0).unwrap().peak, 0.0);
    assert_eq!(player.controller.level(meter, 1), None);
}

#[test]
fn smoothing_does_not_depend_on_block_sizes() {
    let mut graph = Graph::new();
    let input = graph.add(NodeSpec::input("in", 2));
    let gain = graph.add(NodeSpec::gain("gain", 2, 1.0));
    let pan = graph.add(NodeSpec::pan("pan", 0.0));
    let output = graph.add(NodeSpec::output("out", 2));
    for (from, to) in [(input, gain), (gain, pan), (pan, output)] {
        graph.connect_audio(from, 0, to, 0).unwrap();
    }
    let inputs = vec![vec![1.0f32; 2000]; 2];
    let value = |value| EventKind::ParamValue { param: 0, note: NoteAddress::ALL, value };
    let sent = vec![(100, gain, value(0.0)), (250, gain, value(2.0)), (700, pan, value(1.0))];
    let rig = Rig::new(graph);
    let mut outputs = [1usize, 7, 64].map(|size| {
        let mut player = Player::new();
        player.controller.swap(rig.plan().0).unwrap();
        player.play(2, &inputs, &sent, |_| size)
    });
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(outputs[0], outputs[2]);
    let last = outputs[0].iter_mut().map(|c| c[1999]).collect::<Vec<_>>();
    assert_eq!(last, [0.0, 2.0]);
    assert!(outputs[0][0].windows(2).all(|w| (w[1] - w[0]).abs() < 2.1 / 240.0));
}

/// The cost of the loop itself. Run it alone, optimised:
/// `cargo test --release -p sandrack-engine --test the_block_loop -- --ignored --nocapture`
#[test]
#[ignore = "measures time"]
fn the_loop_costs_little() {
    use sandrack_engine::event::EventBuffer;
    use sandrack_engine::remote::*;
    use std::time::Instant;

    /// Always finished, and as fast to ask as shared memory.
    struct Instantly {
        silence: Vec<f32>,
    }
    impl Remote for Instantly {
        fn state(&mut self, _: RemoteIndex) -> RemoteState {
            RemoteState::Ready
        }
        fn prepare(&mut self, _: RemoteIndex, _: u64, _: bool) {}
        fn push_event(&mut self, _: RemoteIndex, _: &Event) -> bool {
            true
        }
        fn begin(&mut self, _: &Block) {}
        fn input(&mut self, _: RemoteIndex, _: SourceIndex, _: u32) -> &mut [f32] {
            &mut self.silence
        }
        fn ring(&mut self, _: RemoteIndex) {}
        fn wait(&mut self, _: &[RemoteIndex], _: u64) -> bool {
            true
        }
        fn outcome(&mut self, _: RemoteIndex) -> RemoteOutcome {
            RemoteOutcome::Finished
        }
        fn demote(&mut self, _: RemoteIndex) {}
        fn output(&mut self, _: RemoteIndex, _: u32, _: u32, into: &mut [f32]) -> bool {
            into.copy_from_slice(&self.silence[..into.len()]);
            true
        }
        fn events(&mut self, _: RemoteIndex, _: &mut EventBuffer) {}
        fn times(&mut self, _: RemoteIndex) -> RemoteTimes {
            RemoteTimes::default()
        }
        fn end(&mut self) {}
    }

    // 100 tracks of 3 plugins into one sum.
    let mut graph = Graph::new();
    let input = graph.add(NodeSpec::input("in", 2));
    let sum = graph.add(NodeSpec::sum("sum", 2));
    let output = graph.add(NodeSpec::output("out", 2));
    graph.connect_audio(sum, 0, output, 0).unwrap();
    for track in 0..100 {
        let mut last = input;
        for at in 0..3 {
            let plugin = graph.add(NodeSpec::plugin(format!("plugin {track}.{at}"), &[2], &[2]));
            graph.connect_audio(last, 0, plugin, 0).unwrap();
            last = plugin;
        }
        graph.connect_audio(last, 0, sum, 0).unwrap();
    }
    for (name, graph) in [("100 x 3 into a sum", graph), ("mixer of 100 x 3", mixer(100))] {
        let compiled = compile(&graph, config(256)).unwrap();
        let silence = vec![0.0; 256];
        let plan = compiled.into_plan(|_| None, Box::new(Instantly { silence })).unwrap();
        let (mut engine, mut controller) = Engine::new(EngineConfig::new(|| {
            use std::sync::OnceLock;
            static START: OnceLock<Instant> = OnceLock::new();
            START.get_or_init(Instant::now).elapsed().as_nanos() as u64
        }));
        controller.swap(plan).unwrap();
        let inputs = noise(2, 256, 1);
        let inputs: Vec<&[f32]> = inputs.iter().map(|c| &c[..]).collect();
        let (mut left, mut right) = (vec![0.0; 256], vec![0.0; 256]);
        let mut times: Vec<u128> = (0..2000)
            .map(|_| {
                let start = Instant::now();
                engine.process(&inputs, &mut [&mut left, &mut right], Deadlines::NONE);
                let time = start.elapsed().as_nanos();
                while controller.timing().pop().is_ok() {}
                time
            })
            .collect();
        times.sort_unstable();
        println!("{name}: p50 {} ns, p99 {} ns", times[1000], times[1980]);
    }
}
