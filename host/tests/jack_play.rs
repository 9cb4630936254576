//! A rig that is played through JACK, by the program as it is started: whatever the server does.
#![cfg(unix)]

mod common;

use common::jack_clients::{Expected, Others, RATE};
use common::jackd::Jackd;
use common::program::{Program, Started};
use common::{LONG, PROGRAM, becomes_true, plugin};
use rustix::process::Signal;
use sandrack_host::play::{Command, PlayOptions, Player, Source};
use sandrack_host::rig::Rig;
use std::time::{Duration, Instant};

/// Numbers pass three plugins on one track; notes are played by a synth on another. Each plugin has a
/// process of its own.
fn rig(server: &Jackd, frames: u32) -> String {
    let path = |kind: &str| plugin(kind).path.display().to_string();
    let id = |kind: &str| plugin(kind).id.unwrap_or_default();
    let slot = |name: &str, kind: &str, params: &str| {
        format!(
            "  [[track.plugin]]\n  id = \"{name}\"\n  plugin = \"{}\"\n  path = \"{}\"\n  \
             params = {{ {params} }}\n",
            id(kind),
            path(kind)
        )
    };
    format!(
        "sandrack_rig = 1\n[driver]\nname = \"{}\"\nrate = {RATE}\nframes = {frames}\ninputs = 2\n\
         outputs = 4\n[[track]]\nid = \"numbers\"\ninput = [1, 2]\noutput = [1, 2]\nmidi = \
         [{{ channel = 16 }}]\n{}{}{}[[track]]\nid = \"notes\"\noutput = [3, 4]\n{}",
        server.driver(),
        slot("half", "gain", "gain = 0.5"),
        slot("late", "delay", "delay = 64"),
        slot("quarter", "gain", "gain = 0.5"),
        slot("synth", "synth", "attack = 0, release = 0"),
    )
}

/// Starts the program with a rig.
fn play(text: &str) -> Started {
    let mut program = Program::new(["play", "rig.toml", "--json", "--let-cores-sleep"]);
    std::fs::write(program.folder().join("rig.toml"), text).expect("it is written");
    program.command();
    program.start()
}

/// Waits until it has said something so often.
#[track_caller]
fn until_said(program: &mut Started, what: &str, times: usize) {
    let said = |program: &Started| program.text("stdout").matches(what).count() >= times;
    let so = becomes_true(LONG, || said(program) || !program.is_running());
    assert!(
        so && said(program),
        "not {what}: {} {}",
        program.text("stdout"),
        program.text("stderr")
    );
}

#[test]
fn a_rig_is_exact_at_changing_buffer_sizes_and_plays_on_when_the_server_is_back() {
    let Some(mut server) = Jackd::start(1024) else { return };
    let mut program = play(&rig(&server, 1024));
    until_said(&mut program, "\"event\":\"playing\"", 1);
    let expected = Expected { factor: 0.25, midi: false };
    let mut others = Others::new(&server, expected);
    others.connect(&server, "sandrack");
    let mut gaps = others.listen(RATE as usize);
    for frames in [2048, 512, 1024] {
        server.set_frames(frames);
        until_said(&mut program, &format!("blocks of {frames} frames"), 1);
        gaps += others.listen(RATE as usize);
    }
    let allowed = others.xruns() + 3;
    assert!(gaps as u64 <= allowed, "{gaps} pieces are missing, {allowed} may be");

    // As it is remembered what is connected to what.
    std::thread::sleep(Duration::from_millis(500));
    server.kill();
    until_said(&mut program, "\"running\":false", 1);
    until_said(&mut program, "the JACK server has ended", 1);
    drop(others);
    // Some time without it.
    std::thread::sleep(Duration::from_millis(2500));
    server.start_again();
    until_said(&mut program, "the driver is back: 48000 Hz, blocks of 1024 frames", 1);
    until_said(&mut program, "\"running\":true", 1);
    let mut others = Others::new(&server, expected);
    others.wait_until_connected(|| {});
    let gaps = others.listen(RATE as usize);
    let allowed = others.xruns();
    assert!(gaps as u64 <= allowed, "{gaps} pieces are missing, {allowed} may be");
    program.signal(Signal::INT);
    let finished = program.finish();
    finished.assert_success();
    for (said, times) in [("the JACK server has ended", 1), ("no JACK server named", 1)] {
        assert_eq!(finished.stdout.matches(said).count(), times, "{said}: {}", finished.stdout);
    }
    let ended = finished.stdout.lines().last().unwrap_or_default();
    assert!(ended.contains("\"event\":\"ended\"") && ended.contains("\"faults\":[]"), "{ended}");
}

#[test]
fn without_a_server_each_command_says_what_to_do() {
    let rig = "sandrack_rig = 1\n[driver]\nname = \"jack:sandrack-test-nobody\"\n";
    let gain = plugin("gain").path;
    let gain = gain.to_str().expect("a path in letters");
    let driver = "jack:sandrack-test-nobody";
    let commands: [&[&str]; 4] = [
        &["play", "rig.toml"],
        &["bench", "--driver", driver, "--quick"],
        &["edit", "--driver", driver, gain],
        &["play", "--driver", driver],
    ];
    for command in commands {
        let program = Program::new(command);
        std::fs::write(program.folder().join("rig.toml"), rig).expect("it is written");
        let finished = program.start().finish();
        assert!(!finished.status.success(), "{command:?}: {}", finished.stdout);
        let said = "no JACK server named 'sandrack-test-nobody' is running: start one";
        // Where libjack is missing, that is said instead.
        let known = finished.stderr.contains(said) || finished.stderr.contains("libjack");
        assert!(known, "{command:?}: {}", finished.stderr);
        assert!(!finished.stderr.contains("panicked"), "{command:?}: {}", finished.stderr);
    }
}

#[test]
fn a_rig_that_names_no_size_and_rate_takes_the_servers() {
    let Some(server) = Jackd::start(512) else { return };
    let text = format!("sandrack_rig = 1\n[driver]\nname = \"{}\"\n", server.driver());
    let program = Program::new(["play", "rig.toml", "--json", "--seconds", "1"]);
    std::fs::write(program.folder().join("rig.toml"), text).expect("it is written");
    let finished = program.start().finish();
    finished.assert_success();
    assert!(finished.stdout.contains("\"frames\":512"), "{}", finished.stdout);
    let now = sandrack_host::drivers::jack::look(Some(&server.name)).expect("it runs");
    assert_eq!(now.frames, 512, "nobody was to change it");
}

#[test]
fn the_song_goes_on_when_the_server_changes_its_buffer_size_and_when_it_comes_back() {
    let Some(mut server) = Jackd::start(2048) else { return };
    let mut options = PlayOptions::new().expect("this program has a file");
    options.supervisor.program = PROGRAM.into();
    options.supervisor.realtime = false;
    options.driver = Some(server.driver());
    let player = Player::open(Source::Rig(Rig::default()), options).expect("it plays");
    let frames = |player: &Player| player.view().driver.settings.frames;
    let beats = |player: &Player| player.view().transport.beats;
    player.send(Command::Tempo(240.0));
    player.send(Command::Transport(true));
    assert!(becomes_true(LONG, || beats(&player) > 1.0), "{:?}", player.view().messages);
    server.set_frames(256);
    assert!(becomes_true(LONG, || frames(&player) == 256), "{:?}", player.view().messages);
    let (begun, before) = (Instant::now(), beats(&player));
    std::thread::sleep(Duration::from_secs(2));
    let after = beats(&player);
    // Of a server that is late less may have been played, but not more: each of the blocks is an eighth
    // of those that it was opened with.
    let most = (begun.elapsed().as_secs_f64() + 0.5) * 4.0;
    assert!(after > before + 0.5 && after - before < most, "{before}, then {after}");

    server.kill();
    let runs = |player: &Player| player.view().driver.is_running;
    assert!(becomes_true(LONG, || !runs(&player)), "{:?}", player.view().messages);
    std::thread::sleep(Duration::from_millis(500));
    let (block, stopped) = (player.view().engine.block, beats(&player));
    // Nothing is made anew as long as there is nobody to play to.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!((player.view().engine.block, beats(&player)), (block, stopped));
    server.start_again();
    assert!(becomes_true(LONG, || runs(&player)), "{:?}", player.view().messages);
    assert!(becomes_true(LONG, || beats(&player) > stopped + 0.5), "{:?}", player.view().messages);
    player.close().expect("it ends");
}
