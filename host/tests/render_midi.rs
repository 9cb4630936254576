//! `render --midi`: notes at the very sample, whatever the tempo does and wherever plugins run.

mod common;

use common::render::{Render, constant, heard, midi, noise};
use common::{difference, example, is_silent, same};
use sandrack_sandbox::format::PluginRef;

/// No attack, no release: a note sounds from its first sample to the one before its end.
const SHARP: [&str; 4] = ["--param", "attack=0", "--param", "release=0"];

fn with<'a>(arguments: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [arguments, &SHARP, more].concat()
}

/// Where sound begins and where it ends, frame by frame.
fn spans(channel: &[f32]) -> Vec<(usize, usize)> {
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for (at, sample) in channel.iter().enumerate() {
        // The wave itself goes through zero.
        if sample.abs() > 1e-6 {
            match spans.last_mut() {
                Some((_, end)) if at - *end < 8 => *end = at + 1,
                _ => spans.push((at, at + 1)),
            }
        }
    }
    spans
}

/// 120 a minute, then 60 from the second quarter note on; notes on each quarter but the first.
fn song() -> Vec<u8> {
    midi(&[
        &[(480, &[0xff, 0x51, 3, 0x0f, 0x42, 0x40])],
        &[
            (480, &[0x90, 60, 127]),
            (240, &[0x80, 60, 0]),
            (240, &[0x90, 72, 64]),
            // Note on with velocity 0, in running status.
            (240, &[72, 0]),
            (241, &[0x90, 48, 127]),
            (479, &[0xb0, 7, 1]),
        ],
    ])
}

#[test]
fn notes_begin_and_end_at_their_sample_across_a_change_of_tempo() {
    let arguments = with(&["out.wav", "--midi", "song.mid"], &["--param", "volume=0.5"]);
    let out = Render::new(&["synth"]).file("song.mid", song()).hear(&arguments);
    // 480 ticks: half a second, from then on a second.
    let expected = [(24_000, 48_000), (72_000, 96_000), (120_100, 168_000)];
    let found = spans(&out[0]);
    assert_eq!(found.len(), 3, "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.0, expected.0);
        assert!(found.1.abs_diff(expected.1) <= 4, "{found:?} {expected:?}");
    }
    // The third is not ended by the file, but with it.
    assert_eq!(out[0].len(), 168_000);
    assert_eq!(out[0][24_000], 0.5);
    assert_eq!(out[0][72_000], 0.5 * (64.0 / 127.0));
}

#[test]
fn what_still_sounds_is_released_at_the_end_and_rings_out() {
    let arguments = ["out.wav", "--midi", "song.mid", "--tail", "0.2", "--param", "release=100"];
    let out = Render::new(&["synth"]).file("song.mid", song()).hear(&arguments);
    let ring = &out[0][168_000..];
    assert_eq!(ring.len(), 9600);
    assert!(ring[..2400].iter().any(|x| *x != 0.0), "it rings");
    assert!(ring[4810..].iter().all(|x| *x == 0.0), "it ends");
}

#[test]
fn each_run_each_place_and_each_block_size_give_the_same_bits() {
    let render = |arguments: &[&str]| {
        let arguments = [&["out.wav", "--midi", "song.mid"], arguments].concat();
        Render::new(&["synth", "delay", "compressor"]).file("song.mid", song()).hear(&arguments)
    };
    let first = render(&[]);
    assert!(!is_silent(&first));
    for other in [
        &[][..],
        &["--serial"],
        &["--isolation", "none"],
        &["--isolation", "group"],
        &["--frames", "77"],
        &["--frames", "4096"],
    ] {
        same(&render(other), &first, &format!("{other:?}"));
    }
}

#[test]
fn notes_go_through_a_note_effect_to_the_instrument_behind_it() {
    let file = midi(&[&[(480, &[0x90, 60, 127]), (480, &[0x80, 60, 0])]]);
    let plain = with(&["out.wav", "--midi", "a.mid"], &[]);
    let high = midi(&[&[(480, &[0x90, 72, 127]), (480, &[0x80, 72, 0])]]);
    let through = Render::new(&["events", "synth"]).file("a.mid", &file).hear(&plain);
    let direct = Render::new(&["synth"]).file("a.mid", &high).hear(&plain);
    same(&through, &direct, "an octave higher");
    for other in [["--isolation", "none"], ["--frames", "64"]] {
        let arguments = with(&["out.wav", "--midi", "a.mid"], &other);
        let again = Render::new(&["events", "synth"]).file("a.mid", &file).hear(&arguments);
        same(&again, &direct, &format!("{other:?}"));
    }
}

#[test]
fn a_sound_bends_and_is_silenced_by_controllers() {
    let notes = |more: &[(u32, &[u8])]| {
        let track = [&[(0, &[0x90, 60, 127][..])], more, &[(960, &[0xb0, 7, 0])]].concat();
        let file = midi(&[&track]);
        let arguments = with(&["out.wav", "--midi", "a.mid"], &[]);
        Render::new(&["synth"]).file("a.mid", file).hear(&arguments)
    };
    let plain = notes(&[]);
    let bent = notes(&[(480, &[0xe0, 0, 127])]);
    assert_eq!(difference(&[plain[0][..24_000].to_vec()], &[bent[0][..24_000].to_vec()]), None);
    assert_ne!(plain[0][24_100..25_000], bent[0][24_100..25_000]);
    let cut = notes(&[(480, &[0xb0, 120, 0])]);
    assert!(cut[0][24_000..].iter().all(|x| *x == 0.0));
}

#[test]
fn thousands_of_events_at_a_time_arrive() {
    // 3000 controllers with the note's start, and 3000 with its end.
    let mut track: Vec<(u32, &[u8])> = vec![(0, &[0xb0, 1, 1]); 3000];
    track.push((480, &[0x90, 60, 127]));
    track.extend(vec![(0, &[0xb0, 1, 1][..]); 3000]);
    track.push((480, &[0x80, 60, 0]));
    let render = |arguments: &[&str]| {
        let arguments = with(&["out.wav", "--midi", "a.mid", "--tail", "0.1"], arguments);
        Render::new(&["synth"]).file("a.mid", midi(&[&track])).run(&arguments)
    };
    let finished = render(&[]);
    assert_eq!(finished.stderr, "", "nothing is lost");
    let out = heard(&finished).channels;
    assert_eq!(spans(&out[0])[0].0, 24_000);
    assert_eq!(spans(&out[0]).len(), 1);
    same(&heard(&render(&["--isolation", "none"])).channels, &out, "in-process");
}

#[test]
fn notes_come_in_step_with_audio_from_a_file() {
    // The synth has no audio input: what comes before it is not heard, and does not delay it.
    let file = midi(&[&[(480, &[0x90, 60, 127]), (480, &[0x80, 60, 0])]]);
    let arguments = with(&["in.wav", "out.wav", "--midi", "a.mid"], &[]);
    let render = Render::new(&["delay", "synth"]).file("a.mid", file);
    let out = render.wav("in.wav", &noise(60_000)).hear(&arguments);
    assert_eq!(out[0].len(), 60_000);
    assert_eq!(spans(&out[0])[0].0, 24_000);
}

/// What the `contract` plugin makes of a message.
fn sum(message: impl IntoIterator<Item = u8>) -> f32 {
    message.into_iter().fold(0, |sum, byte| (sum * 31 + u32::from(byte)) & 0xffff) as f32
}

#[test]
fn system_exclusive_messages_arrive_whole_and_go_on_to_the_next_plugin() {
    let contract =
        PluginRef { path: example("contract"), id: Some("org.sandrack.contract".into()) };
    let message = |len: usize| -> Vec<u8> {
        let inner = (2..len).map(|n| (n * 7 % 128) as u8);
        [0xf0].into_iter().chain(inner).chain([0xf7]).collect()
    };
    let event = |message: &[u8]| -> Vec<u8> {
        // Its length is a number of at most two bytes.
        let len = message.len() - 1;
        [&[0xf0, 0x80 | (len >> 7) as u8, (len & 127) as u8], &message[1..]].concat()
    };
    for len in [2, 20, 21, 3840] {
        // Much else at the same time.
        let (first, sysex) = (event(&message(300)), event(&message(len)));
        let mut track = vec![(480, &[0xb0, 1, 1][..]), (0, &first)];
        track.extend(vec![(0, &[0xb0, 1, 1][..]); 150]);
        track.extend([(0, &sysex[..]), (480, &[0xb0, 1, 1][..])]);
        let render = |chain: &[PluginRef], more: &[&str]| {
            let arguments = [&["out.wav", "--midi", "a.mid", "--frames", "64"], more].concat();
            let finished = Render::of(chain).file("a.mid", midi(&[&track])).run(&arguments);
            assert_eq!(finished.stderr, "", "nothing is lost");
            heard(&finished).channels
        };
        let one = render(std::slice::from_ref(&contract), &[]);
        let is_in = |sum: f32, out: &[f32]| out.contains(&sum);
        assert!(is_in(sum(message(len)), &one[0][24_000..]), "{len}");
        assert!(!is_in(sum(message(len)), &one[0][..24_000]), "{len}");
        let two = render(&[contract.clone(), contract.clone()], &[]);
        assert!(is_in(sum(message(len).into_iter().rev()), &two[0][24_000..]), "{len}");
        same(
            &render(std::slice::from_ref(&contract), &["--isolation", "none"]),
            &one,
            "in-process",
        );
    }
    let long = event(&message(3841));
    let song = midi(&[&[(0, &long), (0, &event(&message(5))), (480, &[0xb0, 1, 1])]]);
    let render = Render::of(&[contract]).file("a.mid", song);
    let finished = render.run(&["out.wav", "--midi", "a.mid"]);
    assert!(finished.stderr.contains("a.mid: 1 system-exclusive"), "{}", finished.stderr);
    assert_eq!(heard(&finished).channels[0][1024 + 13], sum(message(5)));
}

#[test]
fn what_can_not_be_played_is_refused() {
    let song = midi(&[&[(480, &[0x90, 60, 127])]]);
    for (content, parts) in [
        (&b""[..], ["a.mid", "not a standard MIDI file"]),
        (b"MThd", ["a.mid", "not a standard MIDI file"]),
        (&song[..14], ["a.mid", "there is no track"]),
    ] {
        let render = Render::new(&["synth"]).file("a.mid", content);
        render.run(&["out.wav", "--midi", "a.mid"]).assert_error(&parts);
    }
    let render = Render::new(&["gain"]).file("a.mid", &song).wav("in.wav", &constant(0.5, 10));
    render
        .run(&["in.wav", "out.wav", "--midi", "a.mid"])
        .assert_error(&["a.mid", "no plugin of the chain takes notes"]);
    Render::new(&["synth"]).run(&["out.wav"]).assert_error(&["--midi", "--seconds"]);
    Render::new(&["synth"]).run(&["out.wav", "--midi", "no.mid"]).assert_error(&["no.mid"]);
}

#[test]
fn a_broken_file_is_played_as_far_as_it_goes() {
    let song = midi(&[&[(480, &[0x90, 60, 127]), (480, &[0x80, 60, 0])]]);
    let render = Render::new(&["synth"]).file("a.mid", &song[..song.len() - 4]);
    let finished = render.run(&with(&["out.wav", "--midi", "a.mid"], &[]));
    assert!(finished.stderr.contains("a.mid: track 1 breaks off"), "{}", finished.stderr);
    assert_eq!(spans(&heard(&finished).channels[0])[0].0, 24_000);
}

#[test]
fn a_length_and_a_rate_are_taken_as_given() {
    let finished = Render::new(&["synth"]).run(&["out.wav", "--seconds", "1.5", "--rate", "44100"]);
    let wav = heard(&finished);
    assert_eq!((wav.rate, wav.channels[0].len()), (44_100, 66_150));
    let render = Render::new(&["gain"]).wav("in.wav", &noise(1000));
    let out = render.hear(&["in.wav", "out.wav", "--seconds", "0.01"]);
    same(&out, &noise(1000).iter().map(|c| c[..480].to_vec()).collect::<Vec<_>>(), "cut");
    let render = Render::new(&["gain"]).wav("in.wav", &noise(1000));
    render.run(&["in.wav", "out.wav", "--rate", "44100"]).assert_error(&["44100", "48000"]);
}
