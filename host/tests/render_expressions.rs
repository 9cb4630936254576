//! `render` gives single notes expressions: from MPE zones of a MIDI file, and from automation.

mod common;

use common::bundle::Bundle;
use common::render::{Render, midi};
use common::{difference, is_silent, same};
use sandrack_sandbox::format::{Format, PluginRef};

const FORMATS: [Format; 2] = [Format::Clap, Format::Vst3];
/// Where the bend is, in frames: after a quarter note at 120 a minute.
const BENT: usize = 24_000;

/// On channel 1 to all of the file: 15 members belong to me.
const DECLARED: [(u32, &[u8]); 3] =
    [(0, &[0xb0, 101, 0]), (0, &[0xb0, 100, 6]), (0, &[0xb0, 6, 15])];

/// Two notes of a quarter note and a half; one of them is bent up by six semitones (of 48) in the
/// midst.
fn song(declared: bool, bent: bool) -> Vec<u8> {
    let mut track: Vec<(u32, &[u8])> = if declared { DECLARED.to_vec() } else { Vec::new() };
    track.extend([(0, &[0x91, 60, 100][..]), (0, &[0x92, 67, 100])]);
    track.push((480, if bent { &[0xe1, 0, 64 + 8] } else { &[0xe1, 0, 64] }));
    track.extend([(240, &[0x81, 60, 0][..]), (0, &[0x82, 67, 0])]);
    midi(&[&track])
}

fn render(plugin: &PluginRef, song: &[u8], automation: &str, arguments: &[&str]) -> Vec<Vec<f32>> {
    let with = ["out.wav", "--midi", "song.mid", "--automation", "a.csv", "--tail", "0.1"];
    let automation = format!("time,param,value,ramp,note\n{automation}");
    Render::of(std::slice::from_ref(plugin))
        .file("song.mid", song)
        .file("a.csv", automation)
        .hear(&[&with, arguments].concat())
}

/// Below what anybody hears: VST3 has its values in other numbers.
fn alike(a: &[Vec<f32>], b: &[Vec<f32>]) {
    for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
        assert!((a - b).abs() < 1e-3, "{a} {b}");
    }
}

#[test]
fn a_note_of_an_mpe_zone_is_bent_alone() {
    let bundle = Bundle::new();
    let [clap, vst3] = FORMATS.map(|format| {
        let synth = bundle.of(format, "synth");
        let plain = render(&synth, &song(true, false), "", &[]);
        let bent = render(&synth, &song(true, true), "", &[]);
        assert!(!is_silent(&plain));
        for (plain, bent) in plain.iter().zip(&bent) {
            assert_eq!(plain[..BENT], bent[..BENT], "nothing is bent before its time");
            assert_ne!(plain[BENT..BENT + 100], bent[BENT..BENT + 100]);
        }
        // The same said by automation, of the one note's key.
        let by_hand = render(&synth, &song(true, false), "24000f,note:tuning,6.0007326,,60\n", &[]);
        alike(&bent, &by_hand);
        // And not of the other's.
        let other = render(&synth, &song(true, false), "24000f,note:tuning,6.0007326,,67\n", &[]);
        assert!(difference(&by_hand, &other).is_some());
        bent
    });
    alike(&clap, &vst3);
}

#[test]
fn whether_channels_are_notes_is_said_by_the_file_or_the_user() {
    let bundle = Bundle::new();
    for format in FORMATS {
        let synth = bundle.of(format, "synth");
        let heard =
            |declared, arguments: &[&str]| render(&synth, &song(declared, true), "", arguments);
        let as_notes = heard(true, &[]);
        same(&heard(false, &["--mpe", "on"]), &as_notes, "without declaration, but asked for");
        let as_channels = heard(false, &[]);
        same(&heard(true, &["--mpe", "off"]), &as_channels, "declared, but not wanted");
        // A bend of a channel is of two semitones.
        assert!(difference(&as_notes, &as_channels).is_some(), "{format}");
    }
}

#[test]
fn expressions_ramp_and_reach_all_notes_unless_one_is_named() {
    let bundle = Bundle::new();
    for format in FORMATS {
        let synth = bundle.of(format, "synth");
        let heard = |automation: &str| render(&synth, &song(false, false), automation, &[]);
        let up = heard("24000f,note:tuning,12,linear,\n");
        let each = heard("24000f,note:tuning,12,linear,60\n24000f,note:tuning,12,linear,67\n");
        same(&up, &each, "all, and one by one");
        let at_once = heard("24000f,note:tuning,12,,\n");
        assert!(difference(&up, &at_once).is_some(), "a ramp is no step");
    }
}

#[test]
fn mistakes_are_told_by_line_and_column() {
    let bundle = Bundle::new();
    for (plugin, line, parts) in [
        ("synth", "0,note:tunig,1,60", ["a.csv:2:", "'note:tuning'"]),
        ("synth", "0,note:pan,2,60", ["a.csv:2:", "from 0 to 1"]),
        ("synth", "0,note:pan,1,C4", ["a.csv:2:", "'note'"]),
        ("synth", "0,volume,1,60", ["a.csv:2:", "'note'"]),
        ("gain", "0,note:pan,1,", ["a.csv:2:", "takes note expressions"]),
    ] {
        Render::of(&[bundle.plugin(plugin)])
            .file("a.csv", format!("time,param,value,note\n{line}\n"))
            .run(&["out.wav", "--seconds", "0.1", "--automation", "a.csv"])
            .assert_error(&parts);
    }
}
