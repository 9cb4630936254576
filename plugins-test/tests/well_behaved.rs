//! The well-behaved plugins do what they say, as CLAP.

mod common;

use std::time::{Duration, Instant};

use clap_sys::events::{
    CLAP_EVENT_NOTE_CHOKE, CLAP_EVENT_NOTE_END, CLAP_EVENT_NOTE_OFF, CLAP_EVENT_NOTE_ON,
};
use common::{Block, Clap, Event, Plugin, note, param, plugins};
use sandrack_plugins_test::param_id;

const NAMES: [&str; 8] =
    ["gain", "mono", "split", "delay", "compressor", "synth", "events", "burn"];

fn load() -> Clap {
    Clap::load(&plugins()).unwrap()
}

fn create<'a>(clap: &'a Clap, name: &str) -> Plugin<'a> {
    clap.create(&format!("org.sandrack.test.{name}")).unwrap()
}

/// No two samples alike.
fn ramp(from: usize, frames: usize) -> Vec<f32> {
    (from..from + frames).map(|i| (i + 1) as f32 / 16_384.0).collect()
}

fn notes(block: &Block) -> Vec<(u16, u32, i32, i16)> {
    let note = |event: &Event| match event {
        Event::Note(note) => (note.header.type_, note.header.time, note.note_id, note.key),
        other => panic!("{other:?}"),
    };
    block.events.iter().map(note).collect()
}

#[test]
fn the_factory_lists_every_plugin() {
    let ids: Vec<_> = load().list().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, NAMES.map(|name| format!("org.sandrack.test.{name}")));
}

#[test]
fn parameters_are_as_documented() {
    type Param = (&'static str, [f64; 3]);
    let documented: &[(&str, &[Param])] = &[
        ("gain", &[("gain", [0.0, 1.0, 1.0])]),
        ("mono", &[("gain", [0.0, 1.0, 1.0])]),
        ("split", &[]),
        ("delay", &[("delay", [0.0, 8192.0, 64.0])]),
        (
            "compressor",
            &[
                ("threshold", [0.0, 1.0, 2.0 / 3.0]),
                ("ratio", [0.0, 1.0, 3.0 / 19.0]),
                ("attack", [0.0, 200.0, 5.0]),
                ("release", [0.0, 2000.0, 50.0]),
            ],
        ),
        (
            "synth",
            &[
                ("attack", [0.0, 5000.0, 5.0]),
                ("release", [0.0, 5000.0, 50.0]),
                ("volume", [0.0, 1.0, 0.25]),
            ],
        ),
        ("events", &[("transpose", [0.0, 24.0, 12.0])]),
        (
            "burn",
            &[
                ("block", [0.0, 10_000.0, 0.0]),
                ("sample", [0.0, 100_000.0, 0.0]),
                ("memory", [0.0, 65_536.0, 0.0]),
            ],
        ),
    ];
    let clap = load();
    for (plugin, params) in documented {
        let actual = create(&clap, plugin).params();
        assert_eq!(actual.len(), params.len(), "{plugin}");
        for ((name, id, range), (documented_name, documented_range)) in actual.iter().zip(*params) {
            assert_eq!(name, documented_name, "{plugin}");
            assert_eq!(*id, param_id(name), "{plugin}: {name}");
            for (value, documented) in range.iter().zip(documented_range) {
                assert!((value - documented).abs() < 1e-3, "{plugin}: {name}: {range:?}");
            }
        }
    }
}

#[test]
fn gain_changes_at_the_very_sample() {
    let clap = load();
    let mut plugin = create(&clap, "gain");
    plugin.set(&[(param_id("gain"), 0.5)]);
    assert!(plugin.start());
    let input = ramp(0, 64);
    let output = plugin.stereo(&input, &[param(17, param_id("gain"), 0.25)]);
    for i in 0..64 {
        assert_eq!(output[i], input[i] * if i < 17 { 0.5 } else { 0.25 }, "sample {i}");
    }
    let output = plugin.stereo(&input, &[]);
    assert!(output.iter().zip(&input).all(|(o, i)| *o == i * 0.25));
}

#[test]
fn mono_has_one_channel() {
    let clap = load();
    let mut plugin = create(&clap, "mono");
    plugin.set(&[(param_id("gain"), 0.5)]);
    assert!(plugin.start());
    let input = ramp(0, 32);
    let block = plugin.process(&[vec![input.clone()]], &[1], 32, &[]);
    assert!(block.outputs[0][0].iter().zip(&input).all(|(o, i)| *o == i * 0.5));
}

#[test]
fn split_has_three_outputs() {
    let clap = load();
    let mut plugin = create(&clap, "split");
    assert!(plugin.start());
    let input = vec![ramp(0, 32), ramp(100, 32)];
    let block = plugin.process(std::slice::from_ref(&input), &[2, 2, 2], 32, &[]);
    for (port, factor) in block.outputs.iter().zip([1.0, 0.5, -1.0]) {
        for (output, input) in port.iter().zip(&input) {
            assert!(output.iter().zip(input).all(|(o, i)| *o == i * factor));
        }
    }
}

#[test]
fn delay_is_bit_exact_whatever_the_block_size() {
    let clap = load();
    for delay in [0, 1, 64, 1000, 8192] {
        let mut plugin = create(&clap, "delay");
        plugin.set(&[(param_id("delay"), delay.into())]);
        assert!(plugin.start());
        assert_eq!(plugin.latency(), delay);
        let mut output = Vec::new();
        for frames in [1, 64, 63, 7, 1024].into_iter().cycle() {
            output.extend(plugin.stereo(&ramp(output.len(), frames), &[]));
            if output.len() > 2 * delay as usize + 2000 {
                break;
            }
        }
        let mut expected = vec![0.0; delay as usize];
        expected.extend(ramp(0, output.len() - delay as usize));
        assert_eq!(output, expected);
    }
}

#[test]
fn a_change_of_delay_asks_for_a_restart_and_then_holds() {
    let clap = load();
    let mut plugin = create(&clap, "delay");
    assert!(plugin.start());
    assert_eq!(plugin.latency(), 64);
    // The framework's own request, which `delay` documents.
    plugin.stop();
    assert!(plugin.start());
    let (restarts, changes) = (plugin.restarts_requested(), plugin.latency_changes());

    let mut output = plugin.stereo(&ramp(0, 64), &[param(0, param_id("delay"), 10.0)]);
    assert_eq!(plugin.restarts_requested(), restarts + 1);
    output.extend(plugin.stereo(&ramp(64, 64), &[]));
    assert_eq!(output[64..], ramp(0, 64), "the old delay holds until the restart");
    assert_eq!(plugin.restarts_requested(), restarts + 1);

    plugin.stop();
    assert!(plugin.start());
    assert_eq!(plugin.latency_changes(), changes + 1);
    assert_eq!(plugin.restarts_requested(), restarts + 1);
    assert_eq!(plugin.latency(), 10);
    assert_eq!(plugin.stereo(&ramp(0, 64), &[])[10..], ramp(0, 54));
}

/// A synth with instant attack and release.
fn synth(clap: &Clap) -> Plugin<'_> {
    let mut plugin = create(clap, "synth");
    plugin.set(&[(param_id("attack"), 0.0), (param_id("release"), 0.0), (param_id("volume"), 0.5)]);
    assert!(plugin.start());
    plugin
}

#[test]
fn synth_starts_and_ends_notes_at_the_very_sample() {
    let clap = load();
    let mut plugin = synth(&clap);
    let events =
        [note(CLAP_EVENT_NOTE_ON, 17, 7, 69, 0.5), note(CLAP_EVENT_NOTE_OFF, 40, 7, 69, 0.0)];
    let block = plugin.process(&[], &[2], 64, &events);
    let output = &block.outputs[0][0];
    assert_eq!(*output, block.outputs[0][1]);
    assert!(output[..17].iter().all(|&s| s == 0.0));
    assert_eq!(output[17], 0.25);
    assert!(output[18..40].iter().all(|&s| s != 0.0));
    assert!(output[40..].iter().all(|&s| s == 0.0));
    assert_eq!(notes(&block), [(CLAP_EVENT_NOTE_END, 40, 7, 69)]);
}

#[test]
fn synth_tells_notes_apart_by_id() {
    let clap = load();
    let mut plugin = synth(&clap);
    let events = [
        note(CLAP_EVENT_NOTE_ON, 0, 1, 60, 1.0),
        note(CLAP_EVENT_NOTE_ON, 0, 2, 60, 1.0),
        note(CLAP_EVENT_NOTE_CHOKE, 8, 1, 60, 0.0),
    ];
    let block = plugin.process(&[], &[2], 16, &events);
    let output = &block.outputs[0][0];
    assert_eq!(output[0], 1.0);
    assert!(output[8] != 0.0 && output[8].abs() <= 0.5);
    assert_eq!(notes(&block), [(CLAP_EVENT_NOTE_END, 8, 1, 60)]);
}

#[test]
fn synth_steals_the_oldest_voice_and_is_deterministic() {
    let clap = load();
    let play = || {
        let mut plugin = synth(&clap);
        let on: Vec<_> = (0..17)
            .map(|i| note(CLAP_EVENT_NOTE_ON, 2 * i, i as i32, 40 + i as i16, 0.7))
            .collect();
        let block = plugin.process(&[], &[2], 64, &on);
        assert_eq!(notes(&block), [(CLAP_EVENT_NOTE_END, 32, 0, 40)]);
        block.outputs
    };
    assert_eq!(play(), play());
}

#[test]
fn synth_bends() {
    let clap = load();
    let period = |bend: Option<[u8; 3]>| {
        let mut plugin = synth(&clap);
        let mut events = vec![note(CLAP_EVENT_NOTE_ON, 0, -1, 69, 1.0)];
        if let Some(data) = bend {
            let header = clap_sys::events::clap_event_header {
                size: size_of::<clap_sys::events::clap_event_midi>() as u32,
                time: 0,
                space_id: clap_sys::events::CLAP_CORE_EVENT_SPACE_ID,
                type_: clap_sys::events::CLAP_EVENT_MIDI,
                flags: 0,
            };
            let midi = clap_sys::events::clap_event_midi { header, port_index: 0, data };
            events.push(Event::Midi(midi));
        }
        let output = plugin.process(&[], &[2], 1024, &events).outputs.swap_remove(0).swap_remove(0);
        let rises: Vec<_> =
            (1..1024).filter(|&i| output[i - 1] < 0.0 && output[i] >= 0.0).collect();
        (rises[rises.len() - 1] - rises[0]) as f64 / (rises.len() - 1) as f64
    };
    assert!((period(None) - 48_000.0 / 440.0).abs() < 0.5);
    let whole_tone_up = 48_000.0 / 440.0 / 2f64.powf(2.0 / 12.0);
    assert!((period(Some([0xe0, 0x7f, 0x7f])) - whole_tone_up).abs() < 0.5);
}

#[test]
fn compressor_listens_to_its_side_chain() {
    let clap = load();
    let mut plugin = create(&clap, "compressor");
    plugin.set(&[(param_id("attack"), 0.0)]);
    assert!(plugin.start());
    let constant = |level| vec![vec![level; 64]; 2];
    let mut last = |main, side| {
        let block = plugin.process(&[constant(main), constant(side)], &[2], 64, &[]);
        block.outputs[0][0][63]
    };
    assert_eq!(last(0.05, 0.0), 0.05, "below the threshold of 0.1");
    // 20 dB above the threshold at 4 to 1: 15 dB less.
    assert!((last(1.0, 0.0) - 0.1778).abs() < 1e-3);
    assert!((last(0.05, 1.0) - 0.05 * 0.1778).abs() < 1e-4);
}

#[test]
fn events_transposes_and_leaves_no_note_hanging() {
    let clap = load();
    let mut plugin = create(&clap, "events");
    assert!(plugin.start());
    let on = [note(CLAP_EVENT_NOTE_ON, 3, 9, 60, 1.0), note(CLAP_EVENT_NOTE_ON, 4, 1, 120, 1.0)];
    let block = plugin.process(&[], &[], 64, &on);
    assert_eq!(notes(&block), [(CLAP_EVENT_NOTE_ON, 3, 9, 72)]);
    let off = [
        param(0, param_id("transpose"), 1.0),
        note(CLAP_EVENT_NOTE_OFF, 5, 9, 60, 0.0),
        note(CLAP_EVENT_NOTE_OFF, 5, 1, 120, 0.0),
        note(CLAP_EVENT_NOTE_ON, 6, 2, 60, 1.0),
    ];
    let block = plugin.process(&[], &[], 64, &off);
    let expected = [(CLAP_EVENT_NOTE_OFF, 5, 9, 72), (CLAP_EVENT_NOTE_ON, 6, 2, 61)];
    assert_eq!(notes(&block), expected);
}

/// The shortest of several blocks.
fn fastest(plugin: &mut Plugin, frames: usize) -> Duration {
    let input = ramp(0, frames);
    let time = |_| {
        let start = Instant::now();
        assert_eq!(plugin.stereo(&input, &[]), input);
        start.elapsed()
    };
    (0..30).map(time).min().unwrap()
}

/// Machines are busy and change their speed: one good attempt is enough.
fn eventually(what: &str, mut attempt: impl FnMut() -> Result<(), String>) {
    let failures: Vec<_> = (0..5).map_while(|_| attempt().err()).collect();
    assert!(failures.len() < 5, "{what}: {failures:?}");
}

#[test]
fn burn_burns_in_proportion() {
    let clap = load();
    let mut plugin = create(&clap, "burn");
    assert!(plugin.start());
    let mut ratio = |frames: [usize; 2], settings: [&[(u32, f64)]; 2]| {
        let mut times = [Duration::ZERO; 2];
        for i in 0..2 {
            plugin.set(settings[i]);
            times[i] = fastest(&mut plugin, frames[i]);
        }
        let ratio = times[1].as_secs_f64() / times[0].as_secs_f64();
        let fits = (4.0..25.0).contains(&ratio);
        fits.then_some(()).ok_or_else(|| format!("{times:?}"))
    };
    let block = param_id("block");
    eventually("per block", || ratio([16, 16], [&[(block, 20.0)], &[(block, 200.0)]]));
    let per_sample: &[_] = &[(block, 0.0), (param_id("sample"), 1000.0)];
    eventually("per sample", || ratio([64, 640], [per_sample, per_sample]));
}

#[test]
fn burn_touches_memory_set_before_activation() {
    let clap = load();
    let mut plugin = create(&clap, "burn");
    plugin.set(&[(param_id("memory"), 1024.0)]);
    assert!(plugin.start());
    fastest(&mut plugin, 16);
    assert_eq!(plugin.restarts_requested(), 0);
    plugin.set(&[(param_id("memory"), 2048.0)]);
    fastest(&mut plugin, 16);
    assert_eq!(plugin.restarts_requested(), 1);
}
