//! Pedals, buttons and keys that do what a performer's foot controller is there for.

mod common;

use common::players::{find, options, rig, runs, saved_rig, track, until};
use common::{LONG, becomes_true};
use sandrack_host::play::{Command, Learning, Pace, Player, Source, View};
use sandrack_host::rig::{Action, Mapping, Rig};
use std::sync::Arc;
use std::time::Duration;

/// Two tracks and what is mapped; of the three snapshots each has another pan.
fn stage(mappings: &str) -> Rig {
    let mut rig = rig(vec![
        track("keys", &[("synth", "synth"), ("level", "gain")]),
        track("pad", &[("soft", "synth")]),
    ]);
    let text = format!("{}{mappings}", rig.to_text("").expect("it can be written"));
    rig = Rig::parse("stage".as_ref(), &text).unwrap_or_else(|error| panic!("{error}: {text}"));
    rig
}

fn open(rig: Rig) -> Player {
    let player = Player::open(Source::Rig(rig), options(Pace::OnTime)).expect("it plays");
    until(&player, "running", |view| runs(view, "synth") && view.engine.blocks > 10);
    player
}

fn midi(player: &Player, data: [u8; 3]) {
    player.send(Command::Midi { port: "keyboard".into(), data });
}

/// Presses a foot switch and lets it go.
fn press(player: &Player, controller: u8) {
    midi(player, [0xb0, controller, 127]);
    midi(player, [0xb0, controller, 0]);
}

/// Waits long enough for something to happen that must not.
fn pause() {
    std::thread::sleep(Duration::from_millis(300));
}

const MAPPINGS: &str = r#"
[[mapping]]
controller = 80
command = "mute"
track = "keys"

[[mapping]]
controller = 81
command = "solo"
track = "pad"
mode = "direct"

[[mapping]]
controller = 82
command = "bypass"
plugin = "level"

[[mapping]]
key = 24
command = "bypass"
track = "keys"

[[mapping]]
program = 7
command = "play"

[[mapping]]
controller = 83
command = "rewind"

[[mapping]]
controller = 84
command = "next-snapshot"

[[mapping]]
controller = 85
command = "previous-snapshot"

[[mapping]]
controller = 86
command = "panic"

[[snapshot]]
id = "first"
track = [{ id = "pad", pan = -0.5 }]

[[snapshot]]
id = "second"
track = [{ id = "pad", pan = 0.0 }]

[[snapshot]]
id = "third"
track = [{ id = "pad", pan = 0.5 }]
"#;

#[test]
fn a_foot_controller_mutes_bypasses_plays_and_steps_through_the_snapshots() {
    let player = open(stage(MAPPINGS));
    let muted = |view: &View| view.tracks[0].mute;
    press(&player, 80);
    until(&player, "muted", muted);
    press(&player, 80);
    until(&player, "heard again", |view| !muted(view));
    // A pedal that sends nothing when it is let go.
    midi(&player, [0xb0, 80, 127]);
    until(&player, "muted", muted);
    midi(&player, [0xb0, 80, 127]);
    until(&player, "heard again", |view| !muted(view));

    // One that latches: it is on as long as it says so, and saying it twice changes nothing.
    let solo = |view: &View| view.tracks[1].solo;
    midi(&player, [0xb0, 81, 127]);
    midi(&player, [0xb0, 81, 127]);
    until(&player, "solo", solo);
    midi(&player, [0xb0, 81, 0]);
    until(&player, "not solo", |view| !solo(view));

    let bypassed = |view: &View, id: &str| find(view, id).is_bypassed;
    press(&player, 82);
    until(&player, "bypassed", |view| bypassed(view, "level") && !bypassed(view, "synth"));
    // Of the whole track; however softly the key is struck. It is not played.
    midi(&player, [0x90, 24, 1]);
    midi(&player, [0x80, 24, 0]);
    until(&player, "all bypassed", |view| bypassed(view, "level") && bypassed(view, "synth"));
    midi(&player, [0x90, 24, 1]);
    midi(&player, [0x80, 24, 0]);
    let view = until(&player, "none", |view| !bypassed(view, "level") && !bypassed(view, "synth"));
    assert!(view.tracks[0].meter[0].held < 1e-3, "key 24 was played");

    midi(&player, [0xc0, 6, 0]);
    until(&player, "playing", |view| view.transport.is_playing && view.transport.beats > 0.5);
    midi(&player, [0xc0, 6, 0]);
    until(&player, "stopped", |view| !view.transport.is_playing && view.transport.beats > 0.5);
    press(&player, 83);
    until(&player, "at the start", |view| view.transport.beats == 0.0);

    let current = |view: &View| {
        let current = view.snapshots.iter().find(|snapshot| snapshot.is_current);
        current.map(|snapshot| snapshot.id.to_string())
    };
    for (pedal, id) in [(84, "first"), (84, "second"), (85, "first"), (84, "second"), (84, "third")]
    {
        press(&player, pedal);
        until(&player, id, |view| current(view).as_deref() == Some(id));
    }
    press(&player, 84);
    let ended = |view: &View| view.messages.iter().any(|m| m.text == "this is the last snapshot");
    let view = until(&player, "at the end", ended);
    assert_eq!(current(&view).as_deref(), Some("third"));
    assert_eq!(view.tracks[1].pan, 0.5);

    midi(&player, [0x90, 60, 127]);
    until(&player, "heard", |view| view.tracks[0].meter[0].peak > 0.05);
    press(&player, 86);
    until(&player, "silent", |view| view.tracks[0].meter[0].peak < 1e-4);
    player.close().expect("it ends");
}

#[test]
fn the_tempo_is_tapped() {
    let player = open(stage("\n[[mapping]]\ncontroller = 64\ncommand = \"tap-tempo\"\n"));
    // On a busy machine taps come late; what counts is when they came.
    let mut taps = Vec::new();
    for _ in 0..4 {
        taps.push(std::time::Instant::now());
        press(&player, 64);
        std::thread::sleep(Duration::from_millis(400));
    }
    let view = until(&player, "tapped", |view| view.transport.tempo != 120.0);
    pause();
    let tempo = player.view().transport.tempo;
    let passed = taps[3] - taps[0];
    let expected = 3.0 * 60.0 / passed.as_secs_f64();
    assert!((tempo / expected - 1.0).abs() < 0.2, "{tempo}, not {expected}; {}", view.number);
    player.close().expect("it ends");
}

#[test]
fn what_does_something_is_learned_and_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = saved_rig(folder.path(), &stage(""));
    let player = Player::open(Source::File(file.clone()), options(Pace::OnTime)).expect("it plays");
    until(&player, "running", |view| runs(view, "synth") && view.engine.blocks > 10);
    let mute =
        Mapping { command: Some(Action::Mute), track: Some("keys".into()), ..Mapping::default() };
    let learn = || {
        player.send(Command::LearnMapping(Some(mute.clone())));
        until(&player, "learning", |view| view.learning == Some(Learning::Mapping(mute.clone())));
    };
    let learned = |mapping: Mapping| -> Arc<View> {
        until(&player, "learned", |view| {
            view.learning.is_none() && *view.mappings == [mapping.clone()]
        })
    };
    learn();
    press(&player, 90);
    let (port, channel) = (Some("keyboard".into()), Some(1));
    let view = learned(Mapping { port, channel, controller: Some(90), ..mute.clone() });
    assert!(!view.tracks[0].mute, "what is learned is not done");
    press(&player, 90);
    until(&player, "muted", |view| view.tracks[0].mute);
    // Another one takes its place: a program, of another channel.
    learn();
    midi(&player, [0xc2, 9, 0]);
    let (port, channel) = (Some("keyboard".into()), Some(3));
    let second = Mapping { port, channel, program: Some(10), ..mute.clone() };
    learned(second.clone());
    press(&player, 90);
    pause();
    assert!(player.view().tracks[0].mute, "it does nothing any more");
    midi(&player, [0xc2, 9, 0]);
    until(&player, "heard again", |view| !view.tracks[0].mute);
    player.send(Command::Save);
    let written = || Rig::read(&file).expect("it is a rig").mappings;
    assert!(becomes_true(LONG, || written() == [second.clone()]), "{:?}", written());
    player.send(Command::RemoveMapping(second.clone()));
    until(&player, "forgotten", |view| view.mappings.is_empty());
    player.send(Command::Undo);
    until(&player, "there again", |view| *view.mappings == [second.clone()]);
    midi(&player, [0xc2, 9, 0]);
    until(&player, "muted by what is there again", |view| view.tracks[0].mute);
    player.close().expect("it ends");
}
