//! What CLAP has hosts do beside running blocks, seen by a plugin that reports it, in a worker.
//!
//! Linux: it counts threads in /proc.
#![cfg(target_os = "linux")]

mod common;

use common::{LONG, becomes_true, example, supervisor};
use sandrack_sandbox::event::{Event, kind, transport_flags};
use sandrack_sandbox::format::{
    Notice, ParamEdit, PluginRef, Preset, StateContext, Transport, Voices,
};
use sandrack_sandbox::protocol::Activation;
use sandrack_sandbox::remote::{NodeWiring, Outcome, RemoteSet, SourceWiring};
use sandrack_sandbox::supervisor::{Node, Supervisor};
use sandrack_sandbox::sys::clock::now_ns;
use sandrack_sandbox::sysex;
use std::path::Path;

const FRAMES: u32 = 64;

/// As in the plugin.
mod registers {
    pub(crate) const RENDER_MODE: usize = 0;
    pub(crate) const POOL_SUM: usize = 1;
    pub(crate) const SIDECHAIN_ACTIVE: usize = 2;
    pub(crate) const INPUT_CONSTANT: usize = 3;
    pub(crate) const TRANSPORT_FLAGS: usize = 4;
    pub(crate) const SIGNATURE: usize = 5;
    pub(crate) const TEMPO: usize = 6;
    pub(crate) const PARAM: usize = 7;
    pub(crate) const MODULATION: usize = 8;
    pub(crate) const EXPRESSION: usize = 9;
    pub(crate) const NOTE_OF_BOTH: usize = 10;
    pub(crate) const STATE_CONTEXT: usize = 11;
    pub(crate) const EXEC_IN_TASK: usize = 12;
}

fn contract(path: &Path) -> PluginRef {
    PluginRef { path: path.to_owned(), id: Some("org.sandrack.contract".into()) }
}

struct Rig {
    set: Option<RemoteSet>,
    node: Node,
    supervisor: Supervisor,
    time: u64,
}

impl Rig {
    fn load() -> Self {
        let supervisor = supervisor();
        let worker = supervisor.start_worker("contract", None).unwrap();
        let node = worker.load(&contract(&example("contract"))).unwrap();
        Self { set: None, node, supervisor, time: 0 }
    }

    fn active() -> Self {
        let mut rig = Self::load();
        rig.activate(Activation::new(48_000.0, FRAMES));
        rig
    }

    fn activate(&mut self, activation: Activation) {
        self.set = None;
        self.node.activate(activation).unwrap();
        let wiring = NodeWiring {
            node: &self.node,
            sources: vec![SourceWiring { bus: 0, channels: 2, direct: None }],
            event_sources: vec![],
            predecessors: vec![],
        };
        let set = RemoteSet::connect(&self.supervisor, &[wiring], FRAMES).unwrap();
        self.set = Some(set);
    }

    /// One block: the registers and the events that come out.
    fn block(
        &mut self,
        events: &[Event],
        transport: &Transport,
        input: [f32; 2],
    ) -> (Vec<f32>, Vec<Event>) {
        let set = self.set.as_mut().expect("active");
        set.state(0);
        set.prepare(0, 0, true);
        events.iter().for_each(|event| assert!(set.push_event(0, event)));
        set.begin(self.time / u64::from(FRAMES) + 1, FRAMES, self.time, transport);
        self.time += u64::from(FRAMES);
        // The left channel moves, the right one stays.
        for (frame, sample) in set.input(0, 0, 0).iter_mut().enumerate() {
            *sample = input[0] * frame as f32;
        }
        set.input(0, 0, 1).fill(input[1]);
        set.ring(0);
        set.wait([0].into_iter(), now_ns() + LONG.as_nanos() as u64);
        assert_eq!(set.outcome(0), Outcome::Finished);
        let mut out = vec![0.0; FRAMES as usize];
        assert!(set.output(0, 0, 0, &mut out));
        let mut events = vec![];
        set.events(0, |event| events.push(event));
        set.end();
        (out, events)
    }

    fn registers(&mut self, events: &[Event]) -> Vec<f32> {
        self.block(events, &Transport::default(), [0.0, 0.0]).0
    }

    fn notices(&self) -> Vec<Notice> {
        self.node.worker().sync().unwrap();
        self.node.worker().take_notices().into_iter().map(|(_, notice)| notice).collect()
    }
}

fn note(kind: u16, key: i16, value: f64) -> Event {
    Event { port: 0, channel: 0, key, value, ..Event::new(kind, 3) }
}

#[test]
fn a_plugin_knows_whether_it_renders_to_a_file() {
    let mut rig = Rig::active();
    assert_eq!(rig.registers(&[])[registers::RENDER_MODE], 0.0);
    let realtime = Activation::new(48_000.0, FRAMES);
    rig.activate(Activation { offline: true, ..realtime });
    assert_eq!(rig.registers(&[])[registers::RENDER_MODE], 1.0);
    rig.activate(realtime);
    assert_eq!(rig.registers(&[])[registers::RENDER_MODE], 0.0);
}

#[test]
fn the_tasks_of_a_block_all_run_and_within_the_block_only() {
    let mut rig = Rig::active();
    let expected: u32 = (0..16).map(|n| n * n).sum();
    for _ in 0..200 {
        let registers = rig.registers(&[]);
        assert_eq!(registers[registers::POOL_SUM], expected as f32);
        assert_eq!(registers[registers::EXEC_IN_TASK], 0.0);
    }
    // The threads end with the activation.
    let tasks = format!("/proc/{}/task", rig.node.worker().id());
    let threads = || std::fs::read_dir(&tasks).unwrap().count();
    let with = threads();
    rig.set = None;
    rig.node.deactivate().unwrap();
    assert!(threads() < with, "{} of {with}", threads());
}

#[test]
fn a_sidechain_that_nothing_is_connected_to_is_said_to_be_unused() {
    let mut rig = Rig::active();
    assert_eq!(rig.registers(&[])[registers::SIDECHAIN_ACTIVE], 0.0);
    let activation = Activation::new(48_000.0, FRAMES);
    rig.activate(Activation { connected_inputs: 0b11, ..activation });
    assert_eq!(rig.registers(&[])[registers::SIDECHAIN_ACTIVE], 1.0);
    rig.activate(activation);
    assert_eq!(rig.registers(&[])[registers::SIDECHAIN_ACTIVE], 0.0);
}

#[test]
fn channels_of_one_value_and_the_transport_are_described() {
    let mut rig = Rig::active();
    let transport = Transport {
        flags: transport_flags::PLAYING | transport_flags::RECORDING,
        tempo: 97.5,
        signature_numerator: 7,
        signature_denominator: 8,
        ..Transport::default()
    };
    let (registers, _) = rig.block(&[], &transport, [0.1, 0.5]);
    assert_eq!(registers[registers::INPUT_CONSTANT], 2.0);
    assert_eq!(registers[registers::TEMPO], 97.5);
    assert_eq!(registers[registers::SIGNATURE], 708.0);
    // Tempo, both timelines, signature, playing, recording.
    assert_eq!(registers[registers::TRANSPORT_FLAGS], f32::from(0b11_1111_u8));
    let (registers, _) = rig.block(&[], &Transport::default(), [0.0, 0.0]);
    assert_eq!(registers[registers::INPUT_CONSTANT], 3.0);
    assert_eq!(registers[registers::TRANSPORT_FLAGS], 4.0);
}

#[test]
fn modulation_and_expression_reach_single_notes() {
    let mut rig = Rig::active();
    let modulation = Event { param: 0, ..note(kind::PARAM_MOD, 60, 0.25) };
    let tuning = Event { expression: 2, ..note(kind::NOTE_EXPRESSION, 60, -1.5) };
    let value = Event { time: 9, ..Event::param_value(0, 0, 0.125) };
    let registers = rig.registers(&[modulation, tuning, value]);
    assert_eq!(registers[registers::MODULATION], 60.25);
    assert_eq!(registers[registers::EXPRESSION], 18.5);
    // Offset is not value.
    assert_eq!(registers[registers::PARAM], 0.125);
}

#[test]
fn what_a_plugin_does_to_its_parameters_in_a_block_comes_out_with_its_gestures() {
    let mut rig = Rig::active();
    let (_, events) =
        rig.block(&[note(kind::NOTE_ON, 60, 0.75)], &Transport::default(), [0.0, 0.0]);
    let got: Vec<_> = events.iter().map(|e| (e.kind, e.time, e.param, e.value)).collect();
    let expected = [
        (kind::GESTURE_BEGIN, 3, 1, 0.0),
        (kind::PARAM_VALUE, 3, 1, 0.75),
        (kind::GESTURE_END, 3, 1, 0.0),
    ];
    assert_eq!(got, expected);
}

#[test]
fn system_exclusive_messages_go_both_ways() {
    let mut rig = Rig::active();
    for len in [3, 20, 21, 300] {
        let mut message: Vec<u8> = (0..len).map(|n| n as u8 & 0x7f).collect();
        (message[0], message[len - 1]) = (0xf0, 0xf7);
        let pieces: Vec<Event> = sysex::split(5, 0, &message).collect();
        let (_, events) = rig.block(&pieces, &Transport::default(), [0.0, 0.0]);
        let mut joiner = sysex::Joiner::default();
        joiner.begin_block();
        let mut back = None;
        for piece in &events {
            assert_eq!((piece.kind, piece.time, piece.port), (kind::SYSEX, 5, 0));
            back = joiner.push(piece);
        }
        message.reverse();
        assert_eq!(joiner.bytes()[back.expect("the message ends")], message);
    }
}

#[test]
fn a_port_that_prefers_notes_gets_notes_and_midi_besides() {
    let mut rig = Rig::active();
    let midi = Event { port: 0, midi: [0xb0, 1, 64, 0], ..Event::new(kind::MIDI, 0) };
    assert_eq!(rig.registers(&[note(kind::NOTE_ON, 60, 0.5)])[registers::NOTE_OF_BOTH], 1.0);
    assert_eq!(rig.registers(&[midi])[registers::NOTE_OF_BOTH], 3.0);
}

#[test]
fn a_state_is_saved_and_loaded_for_what_it_is_for() {
    let mut rig = Rig::active();
    let contexts =
        [(StateContext::Preset, 1), (StateContext::Duplicate, 2), (StateContext::Project, 3)];
    for (context, number) in contexts {
        rig.registers(&[Event::param_value(0, 0, 0.5 / f64::from(number))]);
        let state = rig.node.save_state(context).unwrap();
        assert_eq!(state[0], number);
        rig.registers(&[Event::param_value(0, 0, 0.0)]);
        rig.node.load_state(state, StateContext::Duplicate).unwrap();
        let registers = rig.registers(&[]);
        assert_eq!(registers[registers::PARAM], 0.5 / f32::from(number));
        assert_eq!(registers[registers::STATE_CONTEXT], f32::from(number) * 10.0 + 2.0);
    }
    let error = rig.node.load_state(vec![1, 2, 3], StateContext::Project).unwrap_err().to_string();
    assert!(error.contains("org.sandrack.contract: state.load failed"), "{error}");
}

#[test]
fn an_inactive_plugin_takes_values_and_tells_what_came_of_them() {
    let mut rig = Rig::load();
    rig.notices();
    rig.node.set_params(&[(0, 0.5)]).unwrap();
    let edit = |edit| Notice::ParamEdited { param: 1, edit };
    let expected = [edit(ParamEdit::Begin), edit(ParamEdit::Value(0.25)), edit(ParamEdit::End)];
    let told = rig.notices();
    let edits: Vec<_> =
        told.iter().filter(|n| matches!(n, Notice::ParamEdited { .. })).cloned().collect();
    assert_eq!(edits, expected);
    assert!(told.contains(&Notice::ParamsChanged), "{told:?}");
    assert_eq!(rig.node.refresh_info().unwrap().params[0].value, 0.5);
    assert!(rig.node.set_params(&[(0, f64::NAN)]).is_err());
    rig.activate(Activation::new(48_000.0, FRAMES));
    let error = rig.node.set_params(&[(0, 1.0)]).unwrap_err().to_string();
    assert!(error.contains("it is active"), "{error}");
}

#[test]
fn what_a_plugin_says_of_voices_notes_and_tail_is_known() {
    let mut rig = Rig::active();
    assert_eq!(rig.node.tail(), Some(4800));
    let info = rig.node.refresh_info().unwrap();
    assert_eq!(info.voices, Some(Voices { count: 3, capacity: 16, overlapping: true }));
    let names: Vec<_> =
        info.note_names.iter().map(|n| (n.name.as_str(), n.port, n.channel, n.key)).collect();
    assert_eq!(names, [("Kick", -1, 9, 36), ("Snare", -1, 9, 38)]);
    assert!(!info.realtime_only);
}

#[test]
fn timers_run_and_calls_on_the_wrong_thread_are_told_in_debug_builds() {
    let rig = Rig::load();
    let mut told = vec![];
    let timer = Notice::Log(1, "third call of the timer".into());
    assert!(becomes_true(LONG, || {
        told.extend(rig.notices());
        told.contains(&timer)
    }));
    // It asked for tasks while it was made.
    let wrong = |n: &&Notice| matches!(n, Notice::Log(6, text) if text.contains("request_exec"));
    assert_eq!(told.iter().filter(wrong).count(), usize::from(cfg!(debug_assertions)), "{told:?}");
}

#[test]
fn each_call_on_the_wrong_thread_is_told_once_with_its_name() {
    let plugin = common::hostile("wrong-threads");
    let mut offline = common::offline::Offline::tracks(
        &[vec![plugin]],
        sandrack_host::report::Isolation::Plugin,
        FRAMES,
    );
    for _ in 0..120 {
        offline.step(&vec![vec![0.25; FRAMES as usize]; 2], common::offline::PATIENT);
    }
    offline.assert_all_well();
    let worker = offline.session.workers()[0].clone();
    worker.sync().unwrap();
    let told: Vec<String> = worker
        .take_notices()
        .into_iter()
        .filter_map(|(_, notice)| match notice {
            Notice::Log(6, text) => Some(text),
            _ => None,
        })
        .collect();
    for call in [
        "latency.changed",
        "state.mark_dirty",
        "params.rescan",
        "params.clear",
        "params.request_flush",
        "audio_ports.rescan",
        "note_ports.rescan",
        "preset_load.loaded",
        "timer_support.register_timer",
    ] {
        let count = told.iter().filter(|text| text.starts_with(call)).count();
        assert_eq!(count, usize::from(cfg!(debug_assertions)), "{call}: {told:?}");
    }
}

#[test]
fn presets_are_listed_without_a_plugin_and_loaded_into_one() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("contract.clap");
    std::fs::copy(example("contract"), &library).unwrap();
    let deep = folder.path().join("presets/more");
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("Third.value"), "0.375").unwrap();
    std::fs::write(deep.join("readme.txt"), "not a preset").unwrap();

    let supervisor = supervisor();
    let listed = supervisor.presets(&library).unwrap();
    let names: Vec<&str> = listed.iter().map(|p| p.preset.name.as_str()).collect();
    assert_eq!(names, ["Soft", "Hard", "Third"]);
    assert_eq!(listed[2].preset.file, Some(deep.join("Third.value")));
    for preset in &listed {
        assert_eq!(preset.plugins, ["org.sandrack.contract"]);
        assert_eq!(preset.creators, ["Nobody"]);
    }

    let worker = supervisor.start_worker("contract", None).unwrap();
    let mut node = worker.load(&contract(&library)).unwrap();
    for (listed, value) in listed.iter().zip([0.25, 0.75, 0.375]) {
        node.load_preset(listed.preset.clone()).unwrap();
        assert_eq!(node.refresh_info().unwrap().params[0].value, value);
    }
    let wrong = Preset { key: Some("loud".into()), ..Preset::default() };
    let error = node.load_preset(wrong).unwrap_err().to_string();
    assert!(error.contains("load of preset 'loud' failed: it is not one of mine"), "{error}");
    // One that has none, and a plugin that loads none.
    let gain = common::plugin("gain");
    assert_eq!(supervisor.presets(&gain.path).unwrap(), []);
    let node = worker.load(&gain).unwrap();
    let error = node.load_preset(Preset::default()).unwrap_err().to_string();
    assert!(error.contains("the plugin loads no presets"), "{error}");
}
