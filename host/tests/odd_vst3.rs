//! VST3 plugins that keep the rules in ways not often seen, block by block.

mod common;

use common::example;
use sandrack_sandbox::event::{Event, kind, transport_flags};
use sandrack_sandbox::format::{Notice, PluginRef, Preset, StateContext, Transport};
use sandrack_sandbox::local::{LocalPlugin, LocalProcessor};
use sandrack_sandbox::protocol::Activation;
use sandrack_sandbox::sysex::{self, Joiner};

const FRAMES: usize = 64;
const GAIN: u32 = 1;

fn class(name: &str) -> PluginRef {
    PluginRef { path: example("hostile_vst3"), id: Some(name.to_owned()) }
}

/// A plugin in this process, with its audio.
struct Rig {
    // Dropped before the plugin.
    processor: LocalProcessor,
    plugin: LocalPlugin,
    latency: u32,
    time: u64,
}

impl Rig {
    fn new(what: &str) -> Self {
        Self::connected(&format!("Odd {what}"), 1)
    }

    /// With these inputs connected, a bit each.
    fn connected(name: &str, inputs: u64) -> Self {
        Self::of(LocalPlugin::load(&class(name)).unwrap(), inputs)
    }

    /// With values that were set before it was activated.
    fn with_values(name: &str, values: &[(u32, f64)]) -> Self {
        let mut plugin = LocalPlugin::load(&class(name)).unwrap();
        plugin.instance().set_params(values).unwrap();
        Self::of(plugin, 1)
    }

    fn of(mut plugin: LocalPlugin, inputs: u64) -> Self {
        let activation = Activation {
            connected_inputs: inputs,
            connected_outputs: u64::MAX,
            ..Activation::new(48_000.0, FRAMES as u32)
        };
        let (processor, latency) = plugin.activate(activation).unwrap();
        Self { processor, plugin, latency, time: 0 }
    }

    /// Activated anew.
    fn restarted(self) -> Self {
        drop(self.processor);
        Self::of(self.plugin, 1)
    }

    /// One block; the input is the number of its bus (from 1) over 16, in all channels.
    fn step(&mut self, events: &[Event]) {
        let info = self.plugin.info().clone();
        for (bus, port) in info.inputs.iter().enumerate() {
            for channel in 0..port.channels as usize {
                let samples = self.processor.input(bus, channel, FRAMES).unwrap();
                samples.fill((bus + 1) as f32 / 16.0);
            }
        }
        let transport =
            Transport { flags: transport_flags::PLAYING, tempo: 120.0, ..Transport::default() };
        assert!(self.processor.process(FRAMES as u32, self.time, &transport, events));
        self.time += FRAMES as u64;
    }

    /// The last sample of a block of an output bus's first channel.
    fn heard(&self, bus: usize) -> f32 {
        let mut samples = [f32::NAN; FRAMES];
        self.processor.output(bus, 0, &mut samples);
        samples[FRAMES - 1]
    }
}

const INPUT: f32 = 1.0 / 16.0;

#[test]
fn gains_of_every_kind_follow_their_parameter() {
    for what in ["double", "split", "mono", "empty", "latency", "sloppy"] {
        let mut rig = Rig::new(what);
        rig.step(&[]);
        assert_eq!(rig.heard(0), INPUT, "{what}");
        rig.step(&[Event::param_value(0, GAIN, 0.25)]);
        assert_eq!(rig.heard(0), INPUT / 4.0, "{what}");
        rig.step(&[]);
        assert_eq!(rig.heard(0), INPUT / 4.0, "{what}");
    }
}

#[test]
fn what_a_plugin_puts_out_is_heard_though_it_marks_it_as_silence() {
    let mut rig = Rig::new("silent");
    for _ in 0..102 {
        rig.step(&[]);
        assert_eq!(rig.heard(0), 0.75);
    }
}

#[test]
fn parameters_of_other_numbers_are_obeyed_after_a_restart() {
    const VALUE: u32 = 8;
    let mut rig = Rig::new("remaps");
    rig.step(&[Event::param_value(0, GAIN, 0.25)]);
    assert_eq!(rig.heard(0), INPUT / 4.0);
    for _ in 0..99 {
        rig.step(&[]);
    }
    rig.plugin.idle();
    let asked =
        |plugin: &mut LocalPlugin| plugin.take_notices().contains(&Notice::RestartRequested);
    assert!(!asked(&mut rig.plugin));
    rig.step(&[]);
    rig.plugin.idle();
    assert!(asked(&mut rig.plugin));
    let mut rig = rig.restarted();
    rig.step(&[Event::param_value(0, VALUE, 0.125)]);
    assert_eq!(rig.heard(0), INPUT / 8.0);
    rig.plugin.idle();
    assert!(!asked(&mut rig.plugin));
}

#[test]
fn a_plugin_may_say_that_it_has_no_state() {
    let mut rig = Rig::new("stateless");
    let state = rig.plugin.instance().save_state(StateContext::Project).unwrap();
    rig.plugin.instance().load_state(&state, StateContext::Project).unwrap();
    rig.step(&[]);
    assert_eq!(rig.heard(0), INPUT);
}

#[test]
fn a_controller_of_its_own_gets_its_state_even_if_it_is_the_same_as_its_components() {
    let gain = |plugin: &mut LocalPlugin| plugin.instance().info().params[0].value;
    let mut rig = Rig::with_values("Odd twins", &[(GAIN, 0.25)]);
    rig.step(&[]);
    assert_eq!((rig.heard(0), gain(&mut rig.plugin)), (INPUT / 4.0, 0.25));
    let state = rig.plugin.instance().save_state(StateContext::Project).unwrap();
    let mut other = Rig::new("twins");
    other.plugin.instance().load_state(&state, StateContext::Project).unwrap();
    assert_eq!(gain(&mut other.plugin), 0.25);
}

#[test]
fn of_many_buses_those_that_are_connected_are_heard() {
    for (connected, expected) in [(0b1, 1.0), (0b101, 4.0), (0x7ff, 66.0)] {
        let mut rig = Rig::connected("Odd buses", connected);
        let info = rig.plugin.info();
        assert_eq!((info.inputs.len(), info.outputs.len()), (11, 3));
        assert!(info.inputs.iter().all(|port| port.main == (port.name == "Input 1")));
        rig.step(&[]);
        assert_eq!([0, 1, 2].map(|bus| rig.heard(bus)), [expected * INPUT; 3], "{connected:b}");
    }
}

#[test]
fn a_bus_may_have_more_channels_than_there_are_silence_flags() {
    let mut rig = Rig::new("wide");
    rig.step(&[]);
    for channel in [0, 63, 64, 199] {
        let mut samples = [f32::NAN; FRAMES];
        rig.processor.output(0, channel, &mut samples);
        assert_eq!(samples, [INPUT; FRAMES], "channel {channel}");
    }
}

#[test]
fn a_latency_that_changes_while_playing_is_told() {
    let mut rig = Rig::new("latency");
    assert_eq!(rig.latency, 64);
    for _ in 0..100 {
        rig.step(&[]);
    }
    rig.plugin.idle();
    assert!(!rig.plugin.take_notices().contains(&Notice::LatencyChanged));
    rig.step(&[]);
    rig.plugin.idle();
    assert!(rig.plugin.take_notices().contains(&Notice::LatencyChanged));
}

fn note(kind: u16, time: u32) -> Event {
    Event { port: 0, channel: 2, key: 60, value: 0.5, ..Event::new(kind, time) }
}

fn midi(time: u32, bytes: [u8; 3]) -> Event {
    let [a, b, c] = bytes;
    Event { port: 0, midi: [a, b, c, 0], ..Event::new(kind::MIDI, time) }
}

#[test]
fn midi_that_a_plugin_puts_out_comes_out() {
    let mut rig = Rig::new("midi-out");
    rig.step(&[note(kind::NOTE_ON, 7)]);
    let out: Vec<_> = rig.processor.events().iter().map(|e| (e.kind, e.time, e.midi)).collect();
    let bytes = [[0xb2, 74, 60, 0], [0xd2, 60, 0, 0], [0xe2, 60, 64, 0], [0xc2, 60, 0, 0]];
    assert_eq!(out, bytes.map(|bytes| (kind::MIDI, 7, bytes)));
    rig.step(&[]);
    assert!(rig.processor.events().is_empty());
}

#[test]
fn midi_controllers_move_what_a_plugin_assigns_to_them() {
    const NOTE: f32 = 0.125;
    let mut rig = Rig::new("midi-mapping");
    rig.step(&[]);
    assert_eq!(rig.heard(0), 0.0);
    rig.step(&[midi(0, [0x90, 60, 100])]);
    assert_eq!(rig.heard(0), NOTE);
    rig.step(&[midi(5, [0xb0, 7, 0])]);
    assert_eq!(rig.heard(0), 0.0, "volume");
    rig.step(&[midi(5, [0xe0, 0x7f, 0x7f])]);
    assert_eq!(rig.heard(0), NOTE / 2.0, "bend");
    rig.step(&[midi(5, [0xd0, 127, 0])]);
    assert_eq!(rig.heard(0), NOTE * 1.5, "pressure");
    rig.step(&[midi(5, [0xb1, 7, 127])]);
    assert_eq!(rig.heard(0), NOTE * 1.5, "of another channel");
    // Which notes sound the plugin is not asked: each is ended by name.
    rig.step(&[note(kind::NOTE_ON, 0), midi(5, [0xb0, 123, 0])]);
    assert_eq!(rig.heard(0), NOTE * 1.5, "all notes of the channel");
    rig.step(&[Event::new(kind::NOTE_CHOKE, 0)]);
    assert_eq!(rig.heard(0), 0.0);
}

#[test]
fn a_controller_of_its_own_class_knows_what_its_component_does() {
    let gain = |plugin: &mut LocalPlugin| {
        let info = plugin.instance().info();
        info.params.iter().find(|param| param.id == GAIN).map(|param| param.value)
    };
    let mut rig = Rig::new("split");
    assert_eq!(gain(&mut rig.plugin), Some(1.0));
    rig.step(&[Event::param_value(0, GAIN, 0.25)]);
    rig.plugin.idle();
    assert_eq!(gain(&mut rig.plugin), Some(0.25));
    let state = rig.plugin.instance().save_state(StateContext::Project).unwrap();
    let mut other = Rig::new("split");
    other.plugin.instance().load_state(&state, StateContext::Project).unwrap();
    assert_eq!(gain(&mut other.plugin), Some(0.25));
    other.step(&[]);
    assert_eq!(other.heard(0), INPUT / 4.0);
}

/// Values of a plugin's parameters by id, as it tells them.
fn value(plugin: &mut LocalPlugin, param: u32) -> Option<f64> {
    let info = plugin.instance().info();
    info.params.iter().find(|p| p.id == param).map(|p| p.value)
}

#[test]
fn values_set_while_inactive_are_heard_and_saved() {
    // Where one object is both sides, and where the processor has to be told.
    for what in ["mono", "split"] {
        let mut plugin = LocalPlugin::load(&class(&format!("Odd {what}"))).unwrap();
        plugin.instance().set_params(&[(GAIN, 0.5)]).unwrap();
        assert!(plugin.take_notices().contains(&Notice::ParamsChanged));
        assert_eq!(value(&mut plugin, GAIN), Some(0.5), "{what}");
        // The processor hears of it in its first block, or when it is asked for its state.
        let state = plugin.instance().save_state(StateContext::Project).unwrap();
        let mut other = Rig::new(what);
        other.plugin.instance().load_state(&state, StateContext::Project).unwrap();
        other.step(&[]);
        assert_eq!(other.heard(0), INPUT / 2.0, "{what}");

        let mut rig = Rig::with_values(&format!("Odd {what}"), &[(GAIN, 0.25)]);
        rig.step(&[]);
        assert_eq!(rig.heard(0), INPUT / 4.0, "{what}");
        let error = rig.plugin.instance().set_params(&[(GAIN, 1.0)]).unwrap_err().to_string();
        assert!(error.contains("it is active"), "{error}");
    }
}

#[test]
fn values_that_make_no_sense_are_refused_all_of_them() {
    let mut plugin = LocalPlugin::load(&class("Odd midi-mapping")).unwrap();
    let mut refused = |values: &[(u32, f64)], expected: &str| {
        let error = plugin.instance().set_params(values).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(&[(2, 0.5), (77, 0.5)], "no parameter 77");
    refused(&[(2, 0.5), (2, f64::NAN)], "not a number");
    refused(&[(2, 0.5), (4, 0.5)], "only shown");
    assert_eq!(value(&mut plugin, 2), Some(1.0));
}

#[test]
fn a_state_overrules_values_set_before() {
    let mut plugin = LocalPlugin::load(&class("Odd split")).unwrap();
    let state = plugin.instance().save_state(StateContext::Project).unwrap();
    plugin.instance().set_params(&[(GAIN, 0.25)]).unwrap();
    plugin.instance().load_state(&state, StateContext::Project).unwrap();
    let mut rig = Rig::of(plugin, 1);
    rig.step(&[]);
    assert_eq!(rig.heard(0), INPUT);
}

#[test]
fn programs_are_chosen_by_name_and_by_midi() {
    let mut plugin = LocalPlugin::load(&class("Odd programs")).unwrap();
    let presets = plugin.info().presets.clone();
    let names: Vec<_> = presets.iter().map(|preset| preset.name.as_str()).collect();
    assert_eq!((names.len(), names[0], names[7]), (10, "List 1/0 of 4", "List 2/2 of 4"));
    plugin.instance().load_preset(&presets[7]).unwrap();
    assert_eq!(value(&mut plugin, 6), Some(0.5));
    assert_eq!(value(&mut plugin, 5), Some(0.0), "of the other unit");
    let state = plugin.instance().save_state(StateContext::Project).unwrap();
    let wrong = Preset { key: Some("2:5".into()), ..presets[7].clone() };
    let error = plugin.instance().load_preset(&wrong).unwrap_err().to_string();
    assert!(error.contains("'2:5' names none of its programs"), "{error}");

    let mut rig = Rig::of(plugin, 1);
    rig.step(&[]);
    assert_eq!(rig.heard(0), INPUT / 2.0);
    // The first channel's programs are the other unit's.
    rig.step(&[midi(3, [0xc0, 3, 0])]);
    assert_eq!(rig.heard(0), INPUT / 2.0);
    rig.step(&[midi(3, [0xc1, 1, 0])]);
    assert_eq!(rig.heard(0), INPUT / 4.0);
    // There is no such program, and no unit for the third channel.
    rig.step(&[midi(3, [0xc1, 5, 0]), midi(4, [0xc2, 4, 0])]);
    assert_eq!(rig.heard(0), INPUT / 4.0);
    rig.plugin.idle();
    assert_eq!([5, 6].map(|id| value(&mut rig.plugin, id)), [Some(0.75), Some(0.25)]);

    let mut other = Rig::new("programs");
    other.plugin.instance().load_state(&state, StateContext::Project).unwrap();
    other.step(&[]);
    assert_eq!(other.heard(0), INPUT / 2.0, "the program was saved");
}

#[test]
fn system_exclusive_messages_go_through_a_plugin_and_back() {
    let message = |len: u8| -> Vec<u8> {
        [0xf0].into_iter().chain((0..len).map(|n| n % 128)).chain([0xf7]).collect()
    };
    let mut rig = Rig::new("sysex");
    let long = message(250);
    let mut events: Vec<Event> = sysex::split(5, 0, &message(3)).collect();
    events.extend(sysex::split(9, 0, &long));
    // For a bus that it does not have.
    events.extend(sysex::split(9, 1, &message(7)));
    for _ in 0..2 {
        rig.step(&events);
        let mut joiner = Joiner::default();
        joiner.begin_block();
        let mut heard = vec![];
        for event in rig.processor.events() {
            assert_eq!((event.kind, event.port), (kind::SYSEX, 0));
            if let Some(place) = joiner.push(event) {
                heard.push((event.time, joiner.bytes()[place].to_vec()));
            }
        }
        let backwards = |mut message: Vec<u8>| {
            let last = message.len() - 1;
            message[1..last].reverse();
            message
        };
        assert_eq!(heard, [(5, backwards(message(3))), (9, backwards(long.clone()))]);
    }
    rig.step(&[]);
    assert!(rig.processor.events().is_empty());
}

#[test]
fn a_bus_that_a_plugin_asks_for_takes_part_once_it_is_activated_anew() {
    let mut rig = Rig::new("asks");
    rig.step(&[]);
    assert_eq!(rig.heard(0), INPUT);
    rig.plugin.idle();
    assert!(rig.plugin.take_notices().contains(&Notice::RestartRequested));
    let Rig { processor, plugin, .. } = rig;
    drop(processor);
    let mut rig = Rig::of(plugin, 1);
    rig.step(&[]);
    assert_eq!(rig.heard(0), 3.0 * INPUT);
    // It asks for what it has: nothing is left to be done.
    rig.plugin.idle();
    assert!(!rig.plugin.take_notices().contains(&Notice::RestartRequested));
}
