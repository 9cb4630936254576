//! A rig plays, is changed while it plays, breaks, is saved and comes back, from outside.

mod common;

use common::players::{
    FRAMES, find, options, played, rig, runs, saved_rig, settle, slot, track, until, value,
};
use common::program::Program;
use common::system::{Signal, send};
use common::{LONG, becomes_true, example, plugin, same};
use sandrack_host::play::{Command, Pace, Player, Source, View, WorkerState};
use sandrack_host::rig::{Id, Output, Rig, Send, Track, TrackKind};
use sandrack_plugins_test::param_id;
use sandrack_sandbox::format::PluginRef;
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn notes_sound_and_a_worker_that_is_killed_comes_back() {
    let rig = rig(vec![track("keys", &[("synth", "synth"), ("level", "gain")])]);
    let player = Player::open(Source::Rig(rig), options(Pace::OnTime)).expect("it plays");
    let view = until(&player, "running", |view| runs(view, "synth") && view.engine.blocks > 10);
    assert!(view.track(&"keys".into()).unwrap().takes_notes);
    assert!(player.send(Command::NoteOn { track: "keys".into(), key: 60, velocity: 1.0 }));
    let is_heard = |view: &View| view.tracks[0].meter[0].held > 0.1;
    until(&player, "heard", is_heard);
    let before = find(&player.view(), "synth").process.expect("it has a process");
    player.send(Command::SetParam("synth".into(), param_id("volume"), 0.5));
    until(&player, "set", |view| value(view, "synth", param_id("volume")) == 0.5);
    send(before, Signal::KILL);
    let view = until(&player, "back", |view| {
        let synth = find(view, "synth");
        runs(view, "synth") && synth.process.is_some_and(|id| id != before)
    });
    assert!(!view.faults.is_empty());
    assert_eq!(value(&view, "synth", param_id("volume")), 0.5);
    player.send(Command::NoteOn { track: "keys".into(), key: 64, velocity: 1.0 });
    std::thread::sleep(Duration::from_secs(2));
    until(&player, "heard again", is_heard);
    player.close().expect("it ends");
}

/// What the contract plugin tells in the samples of each block, first of all of those while it plays:
/// number of the bar times 1000 and the bar's start.
fn bars(blocks: &[Vec<f32>]) -> Vec<f32> {
    const FLAGS: usize = 4;
    const TEMPO: usize = 6;
    const BAR: usize = 14;
    let told = blocks[0].chunks_exact(FRAMES as usize).filter(|block| block[TEMPO] > 0.0);
    // By the tempo, which is known, pan and fader are taken out.
    let values = told.map(|block| [FLAGS, BAR].map(|at| block[at] / block[TEMPO] * 120.0));
    values.filter(|[flags, _]| *flags >= 16.0).map(|[_, bar]| bar.round()).collect()
}

#[test]
fn the_first_block_after_locating_is_in_the_bar_that_is_meant() {
    let contract =
        PluginRef { path: example("contract"), id: Some("org.sandrack.contract".into()) };
    let mut teller = track("teller", &[]);
    teller.plugins = vec![slot("teller", &contract)];
    let silence = [vec![0.0; 1000 * FRAMES as usize], vec![0.0; 1000 * FRAMES as usize]];
    let blocks = played(rig(vec![teller]), &silence, |player| {
        // Until all of it is heard.
        player.run_blocks(50).expect("it runs");
        player.send(Command::Locate(9.0));
        player.send(Command::Transport(true));
        player.run_blocks(50).expect("it runs");
        player.send(Command::Locate(2.0));
        player.run_blocks(50).expect("it runs");
        player.send(Command::Locate(6.0));
        player.send(Command::Transport(false));
        player.run_blocks(50).expect("it runs");
        player.send(Command::Transport(true));
    });
    let mut bars = bars(&blocks);
    bars.dedup();
    // From 6 it plays on for more than one bar.
    assert_eq!(bars[..4], [2008.0, 0.0, 1004.0, 2008.0], "{bars:?}");
}

/// Two tracks that play a file, each to channels of its own, recorded while something is done.
fn recorded(edit: impl Fn(&Player)) -> Vec<Vec<f32>> {
    const BLOCKS: u32 = 3000;
    // Slow enough for a jump to be seen.
    let wave = |frame: u32| (f64::from(frame) * 0.01).sin() as f32 * 0.5;
    let left: Vec<f32> = (0..BLOCKS * FRAMES).map(wave).collect();
    let right = left.iter().map(|sample| sample * 0.5).collect();
    let input = [left, right];
    let mut left = track("left", &[("a", "gain"), ("b", "delay"), ("c", "gain")]);
    left.input = vec![1, 2];
    // Later than the other will ever be: what that does changes nothing for this one.
    let right = [("d", "gain"), ("e", "delay"), ("f", "delay"), ("g", "delay"), ("h", "delay")];
    let mut right = track("right", &right);
    right.input = vec![1, 2];
    right.output = Output::Channels(vec![3, 4]);
    let bus = Track::new("bus".into(), "bus", TrackKind::Bus);
    let mut rig = rig(vec![left, right, bus]);
    rig.driver.outputs = 4;
    played(rig, &input, |player| {
        player.run_blocks(100).unwrap();
        edit(player);
        settle(player);
        assert!(player.view().tracks.len() >= 2, "{:?}", player.view().messages);
    })
}

/// Beyond the start, where everything fades in.
const BEGUN: usize = 4000;

fn largest_step(samples: &[f32]) -> f32 {
    samples.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
}

/// Whatever is done to one track, the other is the same to the bit. `smooth`: and the one itself does
/// not jump.
#[track_caller]
fn leaves_others_alone(what: &str, smooth: bool, edit: impl Fn(&Player)) {
    let alone = recorded(|_| {});
    let edited = recorded(edit);
    for channel in [2, 3] {
        let from = BEGUN + 8 * FRAMES as usize;
        same(&[edited[channel][from..].to_vec()], &[alone[channel][from..].to_vec()], what);
    }
    let usual = largest_step(&alone[0][BEGUN..]);
    let step = largest_step(&edited[0][BEGUN..]);
    assert!(!smooth || step < usual + 0.02, "{what}: a step of {step}, usually {usual}");
    assert!(edited[0][BEGUN..].iter().any(|sample| sample.abs() > 0.1), "{what}: silence");
}

#[test]
fn a_plugin_comes_moves_and_goes_and_nobody_else_hears_of_it() {
    let track: Id = "left".into();
    leaves_others_alone("edits of a chain", true, |player| {
        let add = |place, kind: &str| Command::AddPlugin {
            track: track.clone(),
            place: Some(place),
            plugin: plugin(kind),
            group: None,
        };
        for command in [
            add(1, "gain"),
            add(0, "delay"),
            Command::MovePlugin { plugin: "b".into(), track: track.clone(), place: 0 },
            Command::Bypass("b".into(), true),
            Command::Bypass("b".into(), false),
            Command::MovePlugin { plugin: "c".into(), track: track.clone(), place: 1 },
            Command::RemovePlugin("b".into()),
            Command::RemovePlugin("a".into()),
            Command::Undo,
        ] {
            player.send(command);
            settle(player);
            player.run_blocks(20).unwrap();
        }
        let view = player.view();
        let ids: Vec<&str> = view.tracks[0].plugins.iter().map(|p| p.id.as_str()).collect();
        assert_eq!(ids, ["c", "delay", "a", "gain"], "{:?}", view.messages);
        assert!(view.messages.iter().all(|m| !m.text.contains("can't")), "{:?}", view.messages);
    });
}

#[test]
fn routes_faders_and_tracks_change_and_nobody_else_hears_of_it() {
    let left: Id = "left".into();
    leaves_others_alone("edits of routes", true, |player| {
        let send = Send { to: "bus".into(), gain_db: -6.0, pre: true };
        for command in [
            Command::SetGain(left.clone(), -12.0),
            Command::SetSend(left.clone(), send),
            Command::SetOutput(left.clone(), Output::Bus("bus".into())),
            Command::RemoveSend(left.clone(), "bus".into()),
            Command::Mute(left.clone(), true),
            Command::Mute(left.clone(), false),
            Command::SetPan(left.clone(), 0.5),
            Command::AddTrack { name: "new".into(), kind: TrackKind::Track, place: Some(0) },
            Command::SetInput("new".into(), vec![1, 2]),
            Command::RemoveTrack("new".into()),
            Command::SetPan(left.clone(), 0.0),
            Command::SetGain(left.clone(), 0.0),
        ] {
            player.send(command);
            settle(player);
            player.run_blocks(20).unwrap();
        }
        assert_eq!(player.view().tracks[0].output, Output::Bus("bus".into()));
    });
}

#[test]
fn what_is_saved_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved_rig(folder.path(), &rig(vec![track("keys", &[("synth", "synth")])]));
    let player = Player::open(Source::File(path.clone()), options(Pace::OnTime)).expect("it plays");
    let volume = param_id("volume");
    player.send(Command::SetParam("synth".into(), volume, 0.75));
    player.send(Command::SetGain("keys".into(), -3.5));
    player.send(Command::AddPlugin {
        track: "keys".into(),
        place: None,
        plugin: plugin("gain"),
        group: None,
    });
    until(&player, "added", |view| view.tracks[0].plugins.len() == 2 && runs(view, "gain"));
    player.send(Command::SetParam("gain".into(), param_id("gain"), 0.25));
    player.send(Command::StoreSnapshot("Verse".into()));
    until(&player, "stored", |view| view.snapshots.len() == 1);
    player.close().expect("it is saved");
    let again = Player::open(Source::File(path), options(Pace::OnTime)).expect("it plays");
    let view = until(&again, "running", |view| runs(view, "gain"));
    assert_eq!(value(&view, "synth", volume), 0.75);
    assert_eq!(value(&view, "gain", param_id("gain")), 0.25);
    assert_eq!(view.tracks[0].gain_db, -3.5);
    assert_eq!(view.snapshots[0].name, "Verse");
    again.close().expect("it ends");
}

#[test]
fn a_missing_plugin_keeps_its_state_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("here.clap");
    std::fs::copy(plugin("gain").path, &copy).unwrap();
    let mut keys = track("keys", &[("synth", "synth"), ("level", "gain")]);
    keys.plugins[1].path = copy.clone();
    let path = saved_rig(folder.path(), &rig(vec![keys]));
    let open = || Player::open(Source::File(path.clone()), options(Pace::OnTime)).expect("plays");
    let player = open();
    player.send(Command::SetParam("level".into(), param_id("gain"), 0.125));
    player.close().expect("it is saved");
    let saved = Rig::read(&path).unwrap();
    assert!(saved.tracks[0].plugins[1].state.is_some(), "{saved:?}");
    std::fs::remove_file(&copy).unwrap();
    let player = open();
    let view = player.view();
    assert_eq!(find(&view, "level").state, WorkerState::Missing);
    assert!(find(&view, "level").reason.contains("here.clap"), "{}", find(&view, "level").reason);
    until(&player, "the others play", |v| runs(v, "synth"));
    player.send(Command::SetGain("keys".into(), -1.0));
    until(&player, "done", |view| view.tracks[0].gain_db == -1.0);
    player.close().expect("it is saved");
    let again = Rig::read(&path).unwrap();
    assert_eq!(again.tracks[0].plugins, saved.tracks[0].plugins);
    std::fs::copy(plugin("gain").path, &copy).unwrap();
    let player = open();
    let view = until(&player, "back", |v| runs(v, "level"));
    assert_eq!(value(&view, "level", param_id("gain")), 0.125);
    player.close().expect("it ends");
}

#[test]
fn a_rig_with_a_mistake_is_refused_with_its_line() {
    let mut program = Program::new(["play", "rig.toml"]);
    let text = "sandrack_rig = 1\n\n[[track]]\nid = \"keys\"\ngain = -3\n";
    std::fs::write(program.folder().join("rig.toml"), text).unwrap();
    program.command();
    let finished = program.run();
    assert!(!finished.status.success());
    assert!(finished.stderr.contains("rig.toml:5"), "{}", finished.stderr);
    assert!(finished.stderr.contains("'gain_db'"), "{}", finished.stderr);
}

#[test]
fn the_program_plays_the_demo_and_tells_how_it_went() {
    plugin("synth");
    let finished = Program::new([
        "--no-realtime",
        "play",
        "--seconds",
        "2",
        "--json",
        "--let-cores-sleep",
        "--frames",
        "1024",
    ])
    .run();
    assert!(finished.status.success(), "{}", finished.stderr);
    let lines: Vec<serde_json::Value> =
        finished.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let event = |name: &str| lines.iter().find(|line| line["event"] == name);
    assert_eq!(event("playing").expect("it plays")["plugins"], 3, "{}", finished.stdout);
    let ended = event("ended").expect("it ends");
    assert!(ended["blocks"].as_u64().unwrap() > 30, "{ended}");
    let state = &ended["plugins"][0]["state"];
    assert!(state == "running" || state == "late", "{ended}");
}

#[test]
fn a_snapshot_is_recalled_and_undone_and_held_notes_sound_on() {
    let rig = rig(vec![track("keys", &[("synth", "synth")])]);
    let player = Player::open(Source::Rig(rig), options(Pace::OnTime)).expect("it plays");
    let volume = param_id("volume");
    player.send(Command::SetParam("synth".into(), volume, 0.5));
    // Until it is remembered.
    std::thread::sleep(Duration::from_millis(1500));
    player.send(Command::StoreSnapshot("Loud".into()));
    player.send(Command::SetParam("synth".into(), volume, 0.125));
    std::thread::sleep(Duration::from_millis(1500));
    player.send(Command::StoreSnapshot("Soft".into()));
    let view = until(&player, "prepared", |view| view.snapshots.iter().any(|s| s.is_ready));
    assert!(view.snapshots[1].is_current);
    let before = find(&view, "synth").process.unwrap();
    player.send(Command::NoteOn { track: "keys".into(), key: 69, velocity: 1.0 });
    until(&player, "heard", |view| view.tracks[0].meter[0].rms > 0.01);
    player.send(Command::RecallSnapshot("loud".into()));
    let view = until(&player, "recalled", |view| {
        find(view, "synth").process.is_some_and(|id| id != before) && !view.is_changing
    });
    assert_eq!(value(&view, "synth", volume), 0.5);
    assert!(view.snapshots[0].is_current);
    // The note was begun by the instance before, and is held.
    std::thread::sleep(Duration::from_secs(3));
    assert!(player.view().tracks[0].meter[0].rms > 0.01, "the held note has ended");
    assert!(Path::new(&format!("/proc/{before}")).exists());
    player.send(Command::NoteOff { track: "keys".into(), key: 69 });
    until(&player, "silent", |view| view.tracks[0].meter[0].rms < 0.001);
    assert!(becomes_true(LONG, || !Path::new(&format!("/proc/{before}")).exists()));
    player.send(Command::Undo);
    until(&player, "undone", |view| value(view, "synth", volume) == 0.125);
    player.close().expect("it ends");
}

#[test]
fn buffer_size_changes_while_it_plays_and_nothing_is_lost() {
    let rig = rig(vec![track("keys", &[("synth", "synth"), ("echo", "delay")])]);
    let player = Player::open(Source::Rig(rig), options(Pace::OnTime)).expect("it plays");
    player.send(Command::SetParam("synth".into(), param_id("volume"), 0.5));
    player.send(Command::Bypass("echo".into(), true));
    for (frames, rate) in [(128, 48_000), (256, 44_100), (64, 48_000)] {
        let mut settings = player.view().driver.settings.clone();
        (settings.frames, settings.rate) = (frames, rate);
        player.send(Command::SetDriver(settings));
        let view = until(&player, "changed", |view| {
            view.driver.frames == frames && view.driver.rate == rate && view.engine.blocks > 10
        });
        assert!(find(&view, "echo").is_bypassed);
        until(&player, "running", |view| runs(view, "synth"));
        assert_eq!(value(&player.view(), "synth", param_id("volume")), 0.5);
        player.send(Command::NoteOn { track: "keys".into(), key: 69, velocity: 1.0 });
        until(&player, "heard", |view| view.tracks[0].meter[0].rms > 0.01);
        player.send(Command::NoteOff { track: "keys".into(), key: 69 });
    }
    let mut settings = player.view().driver.settings.clone();
    settings.name = "none".into();
    player.send(Command::SetDriver(settings));
    let view = until(&player, "told", |view| {
        view.messages.iter().any(|message| message.text.contains("'virtual'"))
    });
    assert!(view.driver.is_running);
    player.close().expect("it ends");
}

#[test]
fn a_plugin_whose_file_changed_is_loaded_anew_and_keeps_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("here.clap");
    std::fs::copy(plugin("gain").path, &copy).unwrap();
    let mut keys = track("keys", &[("synth", "synth"), ("level", "gain")]);
    keys.plugins[1].path = copy.clone();
    let player =
        Player::open(Source::Rig(rig(vec![keys])), options(Pace::OnTime)).expect("it plays");
    player.send(Command::SetParam("level".into(), param_id("gain"), 0.5));
    let view = until(&player, "running", |v| runs(v, "level"));
    let before = find(&view, "level").process.unwrap();
    // As installers do it: another file in the place of the old one.
    let new = folder.path().join("new");
    std::fs::copy(plugin("gain").path, &new).unwrap();
    std::fs::rename(&new, &copy).unwrap();
    let view = until(&player, "loaded anew", |view| {
        let level = find(view, "level");
        level.process.is_some_and(|id| id != before) && runs(view, "level")
    });
    assert_eq!(value(&view, "level", param_id("gain")), 0.5);
    player.close().expect("it ends");
}

/// What the test below starts, and kills.
#[test]
#[ignore = "only as a part of another test"]
fn a_host_that_is_killed() {
    let path = std::env::var("SANDRACK_TEST_RIG").expect("the other test says which");
    let player = Player::open(Source::File(path.into()), options(Pace::OnTime)).expect("it plays");
    let begun = Instant::now();
    for step in 1..1000u32 {
        let value = f64::from(step) / 1000.0;
        player.send(Command::SetParam("synth".into(), param_id("volume"), value));
        println!("set {} {value}", begun.elapsed().as_millis());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_host_that_is_killed_loses_nothing_older_than_two_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved_rig(folder.path(), &rig(vec![track("keys", &[("synth", "synth")])]));
    let told = folder.path().join("told");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "a_host_that_is_killed", "--nocapture"])
        .env("SANDRACK_TEST_RIG", &path)
        .stdout(std::fs::File::create(&told).unwrap())
        .spawn()
        .expect("it starts");
    let set = || -> Vec<(u64, f64)> {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once("set ")?.1.split_once(' '));
        lines.filter_map(|(ms, value)| Some((ms.parse().ok()?, value.parse().ok()?))).collect()
    };
    assert!(becomes_true(LONG, || set().len() > 100), "{:?}", set());
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    let set = set();
    let (end, _) = *set.last().unwrap();
    let (_, least) = *set.iter().rfind(|(ms, _)| ms + 2000 <= end).expect("it ran for longer");
    let player = Player::open(Source::File(path), options(Pace::OnTime)).expect("it plays");
    let view = until(&player, "running", |v| runs(v, "synth"));
    let kept = value(&view, "synth", param_id("volume"));
    assert!(kept >= least, "{kept} is older than two seconds: {least} at least");
    player.close().expect("it ends");
}
