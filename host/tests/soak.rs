//! A rig that is changed at random, and breaks, for a long time.

mod common;

use common::players::{find, options, rig, saved_rig, settle, track};
use common::system::{Signal, send};
use common::{Noise, plugin};
use sandrack_host::play::{Command, Pace, Player, Source};
use sandrack_host::rig::{Id, Output, Send, Track, TrackKind};
use sandrack_plugins_test::param_id;

/// Memory (kB) and descriptors of this process and its workers.
fn used() -> (usize, usize) {
    let read = |id: &str, file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}"));
    let rss = read("self", "status").unwrap_or_default();
    let kb = rss
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, |all| all.count());
    (kb.unwrap_or(0), descriptors)
}

/// Random edits, snapshots, restarts and faults, as long as `rounds`; the last track is untouched.
fn soak(rounds: u32) {
    let mut noise = Noise(7);
    let untouched =
        Track { output: Output::Channels(vec![3, 4]), ..track("calm", &[("calm", "synth")]) };
    let mut all = rig(vec![
        track("one", &[("s1", "synth"), ("g1", "gain")]),
        track("two", &[("s2", "synth"), ("d2", "delay")]),
        Track::new("bus".into(), "bus", TrackKind::Bus),
        untouched,
    ]);
    all.driver.outputs = 4;
    let folder = tempfile::tempdir().unwrap();
    let path = saved_rig(folder.path(), &all);
    let player = Player::open(Source::File(path), options(Pace::ByHand)).expect("it plays");
    settle(&player);
    player.send(Command::StoreSnapshot("a".into()));
    player.send(Command::SetParam("s1".into(), param_id("volume"), 0.5));
    settle(&player);
    player.send(Command::StoreSnapshot("b".into()));
    player.send(Command::NoteOn { track: "calm".into(), key: 60, velocity: 1.0 });
    player.run_blocks(50).unwrap();
    let process = find(&player.view(), "calm").process;
    let mut begun = (0, 0);
    let tracks = ["one", "two", "bus"];
    for round in 0..rounds {
        let view = player.view();
        let plugins: Vec<Id> = view.tracks[..3]
            .iter()
            .flat_map(|track| track.plugins.iter().map(|plugin| plugin.id.clone()))
            .collect();
        let track: Id = tracks[noise.below(3) as usize].into();
        let any =
            |noise: &mut Noise| plugins.get(noise.below(plugins.len() as u32) as usize).cloned();
        let command = match noise.below(14) {
            0 if plugins.len() < 8 => {
                let kind = ["gain", "delay", "compressor"][noise.below(3) as usize];
                let place = Some(noise.below(4) as usize);
                Some(Command::AddPlugin { track, place, plugin: plugin(kind), group: None })
            }
            1 if plugins.len() > 3 => any(&mut noise).map(Command::RemovePlugin),
            2 | 3 => any(&mut noise).map(|plugin| Command::MovePlugin {
                plugin,
                track,
                place: noise.below(4) as usize,
            }),
            4 => any(&mut noise).map(|id| Command::Bypass(id, noise.below(2) == 0)),
            5 => Some(Command::SetGain(track, -f64::from(noise.below(40)))),
            6 => Some(Command::Mute(track, noise.below(2) == 0)),
            7 => Some(Command::RecallSnapshot(["a", "b"][noise.below(2) as usize].into())),
            8 => Some(Command::Undo),
            9 => Some(Command::Redo),
            10 => any(&mut noise).map(Command::Restart),
            11 => {
                let id = any(&mut noise);
                if let Some(id) = id.and_then(|id| find(&view, id.as_str()).process) {
                    send(id, Signal::KILL);
                }
                None
            }
            12 => Some(Command::SetSend(
                "one".into(),
                Send {
                    to: "bus".into(),
                    gain_db: -f64::from(noise.below(30)),
                    pre: noise.below(2) == 0,
                },
            )),
            _ => Some(Command::NoteOn { track, key: 40 + noise.below(40) as u8, velocity: 0.7 }),
        };
        if let Some(command) = command {
            assert!(player.send(command));
        }
        player.run_blocks(u64::from(1 + noise.below(200))).unwrap();
        if round % 10 == 9 {
            settle(&player);
            player.send(Command::Panic);
            player.send(Command::NoteOn { track: "calm".into(), key: 60, velocity: 1.0 });
        }
        if round == rounds / 3 {
            settle(&player);
            begun = used();
        }
    }
    settle(&player);
    let ended = used();
    println!("memory and descriptors: {begun:?}, then {ended:?}");
    let view = player.view();
    assert_eq!(find(&view, "calm").process, process, "the untouched track's plugin was restarted");
    assert_eq!(view.tracks.last().unwrap().id.as_str(), "calm");
    // What differs is how many plugins there are, and what can be undone.
    assert!(ended.0 < begun.0 + begun.0 / 2 + 30_000, "memory: {begun:?}, then {ended:?}");
    assert!(ended.1 < begun.1 + 200, "descriptors: {begun:?}, then {ended:?}");
    player.close().expect("it ends");
}

#[test]
fn it_survives_random_edits_snapshots_and_faults() {
    soak(60);
}

/// The 60 minutes' worth of it.
#[test]
#[ignore = "takes long"]
fn it_survives_an_hour_of_random_edits_snapshots_and_faults() {
    soak(4000);
}
