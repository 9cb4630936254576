//! Where a plugin runs changes no bit of what is heard.

mod common;

use common::offline::{Offline, PATIENT};
use common::score::{self, Events, MAX, SIZES};
use common::{Noise, is_silent, plugin, same};
use sandrack_engine::event::{Event, EventKind, NoteAddress};
use sandrack_host::report::Isolation;

/// Plays a chain; the same each time, wherever its plugins are.
fn play(chain: &[&str], isolation: Isolation) -> Vec<Vec<f32>> {
    let track: Vec<_> = chain.iter().map(|name| plugin(name)).collect();
    let mut offline = Offline::new(&[track], isolation, MAX, false);
    score::play(&mut offline, Events::All);
    offline.quit()
}

#[track_caller]
fn sounds_the_same_everywhere(chain: &[&str]) {
    let here = play(chain, Isolation::None);
    assert!(!is_silent(&here), "{chain:?} puts out silence, which proves nothing");
    same(&here, &play(chain, Isolation::Plugin), &format!("{chain:?}: here and in workers"));
    same(&here, &play(chain, Isolation::Group), &format!("{chain:?}: here and in a group"));
}

#[test]
fn gains_sound_the_same_in_workers() {
    sounds_the_same_everywhere(&["gain", "gain", "gain"]);
}

#[test]
fn mono_plugins_sound_the_same_in_workers() {
    sounds_the_same_everywhere(&["mono", "mono", "mono"]);
}

#[test]
fn plugins_of_several_outputs_sound_the_same_in_workers() {
    sounds_the_same_everywhere(&["split", "split", "split"]);
}

#[test]
fn delays_sound_the_same_in_workers() {
    sounds_the_same_everywhere(&["delay", "delay", "delay"]);
}

#[test]
fn compressors_sound_the_same_in_workers() {
    sounds_the_same_everywhere(&["compressor", "compressor", "compressor"]);
}

#[test]
fn synths_sound_the_same_in_workers() {
    sounds_the_same_everywhere(&["synth", "compressor", "delay"]);
}

#[test]
fn notes_go_from_plugin_to_plugin_the_same_in_workers() {
    sounds_the_same_everywhere(&["events", "events", "synth"]);
}

#[test]
fn burners_sound_the_same_in_workers() {
    sounds_the_same_everywhere(&["burn", "burn", "burn"]);
}

#[test]
fn plugins_of_different_channels_sound_the_same_in_workers() {
    sounds_the_same_everywhere(&["split", "mono", "delay", "mono", "gain"]);
}

#[test]
fn a_session_sounds_the_same_when_it_is_played_again() {
    let chain = ["compressor", "delay", "gain"];
    same(&play(&chain, Isolation::Plugin), &play(&chain, Isolation::Plugin), "first and second");
}

#[test]
fn a_plugin_in_the_middle_of_a_track_hears_notes_only_from_plugins_before_it() {
    // The note effect is behind the synth: the synth stays silent.
    let track = vec![plugin("synth"), plugin("events")];
    let mut offline = Offline::new(&[track], Isolation::Plugin, MAX, false);
    let note = NoteAddress { note_id: -1, port: 0, channel: 0, key: 60 };
    let on = EventKind::NoteOn { note, velocity: 1.0 };
    offline.send(0, 1, Event { time: 3, kind: on });
    for _ in 0..10 {
        offline.step(&vec![vec![0.0; 64]; 2], PATIENT);
    }
    offline.assert_all_well();
    assert!(is_silent(&offline.heard));
    // Played itself, it sounds.
    offline.send(0, 0, Event { time: 3, kind: on });
    offline.step(&vec![vec![0.0; 64]; 2], PATIENT);
    assert!(!is_silent(&offline.heard));
}

#[test]
fn tracks_side_by_side_come_out_aligned() {
    for isolation in Isolation::ALL {
        let tracks = [vec![plugin("delay")], vec![plugin("gain")]];
        let mut offline = Offline::new(&tracks, isolation, MAX, false);
        assert_eq!(offline.running.latency, 64);
        let mut noise = Noise(7);
        let mut input = vec![Vec::new(); 2];
        for &frames in SIZES {
            let block: Vec<Vec<f32>> =
                (0..2).map(|_| (0..frames).map(|_| noise.unit() as f32 - 0.5).collect()).collect();
            offline.step(&block, PATIENT);
            input.iter_mut().zip(block).for_each(|(all, block)| all.extend(block));
        }
        offline.assert_all_well();
        let expected: Vec<Vec<f32>> = input
            .iter()
            .map(|channel| {
                let late = std::iter::repeat_n(0.0, 64).chain(channel.iter().map(|x| 2.0 * x));
                late.take(channel.len()).collect()
            })
            .collect();
        same(&offline.heard, &expected, isolation.words());
    }
}

#[test]
fn parameters_change_at_their_very_frame() {
    let gain = sandrack_plugins_test::param_id("gain");
    for isolation in Isolation::ALL {
        let mut offline = Offline::new(&[vec![plugin("gain")]], isolation, MAX, false);
        for (time, value) in [(200, 0.25), (10, 0.5)] {
            let kind = EventKind::ParamValue { param: gain, note: NoteAddress::ALL, value };
            offline.send(0, 0, Event { time, kind });
        }
        offline.step(&vec![vec![1.0; 300]; 2], PATIENT);
        let expected: Vec<f32> = (0..300)
            .map(|at| {
                if at < 10 {
                    1.0
                } else if at < 200 {
                    0.5
                } else {
                    0.25
                }
            })
            .collect();
        same(&offline.heard, &[expected.clone(), expected], isolation.words());
    }
}
