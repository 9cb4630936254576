//! What a plugin was given before it failed is in a file, from which it fails again: in a fresh
//! process, in the same block, for a debugger, and shrunk.

mod common;

use common::offline::{Offline, PATIENT};
use common::program::{Finished, Program, children_of, files_in};
use common::{LONG, Noise, becomes_true, example, hostile, plugin};
use sandrack_engine::event::{Event, EventKind, NoteAddress};
use sandrack_host::flight::RecorderOptions;
use sandrack_host::flight::file::{Failure, Flight};
use sandrack_host::report::Isolation;
use sandrack_host::session::{PluginAt, RecoveryOptions, SessionEvent};
use sandrack_sandbox::crash::Call;
use sandrack_sandbox::format::PluginRef;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FRAMES: usize = 64;
/// The hostile plugins' parameter: the block in which they strike.
const BLOCK: u32 = 0;
const FIRST: PluginAt = PluginAt { track: 0, plugin: 0 };

fn hostile_vst3(what: &str) -> PluginRef {
    PluginRef { path: example("hostile_vst3"), id: Some(format!("Hostile {what}")) }
}

/// Plays a plugin until it has failed, and its recording is there.
struct Played {
    folder: tempfile::TempDir,
    file: PathBuf,
    /// Of the fault that the recording is of.
    record: Value,
}

/// When a plugin strikes: it is set to `strikes` blocks after its beginning (of VST3 as a part of the
/// range) before this block. Where that is over already, it strikes at once.
#[derive(Clone, Copy)]
struct When {
    set_before: u32,
    strikes: f64,
}

fn at_block(strikes: f64) -> When {
    When { set_before: 0, strikes }
}

fn play(plugin: &PluginRef, when: When, seconds: f64) -> Played {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let recorder = RecorderOptions {
        seconds,
        folder: Some(folder.path().into()),
        ..RecorderOptions::default()
    };
    let mut offline = Offline::tracks(&[vec![plugin.clone()]], Isolation::Plugin, FRAMES as u32);
    let options = RecoveryOptions { recorder: Some(recorder), ..RecoveryOptions::default() };
    let (running, session) = (&mut offline.running, &mut offline.session);
    running.live.enable_recovery(session, options);
    let never = session.info(0, 0).params.iter().find(|param| param.id == BLOCK);
    let never = never.expect("it has the parameter").max;
    running
        .live
        .set_param(session, &mut running.controller, FIRST, BLOCK, never)
        .expect("it can be set");
    let (mut noise, end) = (Noise(5), Instant::now() + LONG);
    let mut block = 0u32;
    let file = loop {
        assert!(Instant::now() < end, "no recording: {:?}", offline.running.live.faults());
        if block == when.set_before {
            let (running, session) = (&mut offline.running, &mut offline.session);
            running
                .live
                .set_param(session, &mut running.controller, FIRST, BLOCK, when.strikes)
                .expect("it can be set");
        }
        if block % 7 == 3 {
            let note = NoteAddress { key: (block % 128) as i16, channel: 0, port: 0, note_id: -1 };
            offline.send(0, 0, Event { time: 5, kind: EventKind::NoteOn { note, velocity: 0.5 } });
        }
        let input = noise.channels(2, FRAMES);
        let timeout = if block == 0 { PATIENT } else { Duration::from_millis(400) };
        offline.step(&input, timeout);
        block += 1;
        if when.strikes >= 100.0 {
            // As long as it takes that what was set is in a saved state.
            std::thread::sleep(Duration::from_millis(8));
        }
        let (running, session) = (&mut offline.running, &mut offline.session);
        let events = running.live.service(session, &mut running.controller).expect("a plan");
        let file = events.into_iter().find_map(|event| match event {
            SessionEvent::CrashFile { path, .. } => Some(path),
            _ => None,
        });
        if let Some(file) = file {
            break file;
        }
    };
    let faults = offline.running.live.faults().iter();
    let record = faults
        .map(|record| serde_json::to_value(record).expect("it is made for JSON"))
        .find(|record| record["file"].as_str() == file.to_str())
        .expect("a record that names the file");
    offline.quit();
    Played { folder, file, record }
}

fn replay(file: &Path, more: &[&str]) -> Finished {
    let file = file.to_str().expect("a plain name");
    let first = ["--no-realtime", "--timeout", "60", "replay", file];
    Program::new(first.into_iter().chain(more.iter().copied())).run()
}

#[track_caller]
fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|e| {
        panic!("{}: {e}: {}{}", finished.shown, finished.stdout, finished.stderr)
    })
}

/// Crashes at block N, again in a fresh process at the same block, and shorter.
#[track_caller]
fn crashes_again(plugin: &PluginRef, strikes: f64, code: &str) {
    let symbol = "crash::strike";
    // 60 blocks, of which few are needed, and of the notes and parameters one.
    let played = play(plugin, When { set_before: 60, strikes }, 5.0);
    let record = &played.record;
    println!("{record:#}");
    assert_eq!((&record["kind"], &record["signal"]), (&"dead".into(), &11.into()));
    assert_eq!(record["call"], "process");
    assert_eq!(record["thread"], "audio");
    assert_eq!(record["signal_name"], "SIGSEGV");
    let block = record["block"].as_u64().expect("a number");
    assert!((61..63).contains(&block), "{block}");
    assert!(record["module"].as_str().is_some_and(|m| m.contains(code)), "{record:#}");
    assert!(record["symbol"].as_str().is_some_and(|s| s.contains(symbol)), "{record:#}");
    assert!(record["events"].as_array().is_some_and(|e| (1..=16).contains(&e.len())));
    assert_eq!(record["params"][0][0], BLOCK);

    let flight = Flight::read(&played.file).expect("it can be read");
    assert_eq!(flight.head.failure, Failure::Died { signal: Some(11), code: None });
    assert_eq!((flight.head.block, flight.head.details.call), (block, Some(Call::Process)));
    assert_eq!(flight.blocks.len() as u64, block);
    assert!(!flight.blocks.last().expect("blocks").ended);
    assert!(flight.blocks[..block as usize - 1].iter().all(|block| block.ended));
    // What it was given, to the last bit.
    let mut noise = Noise(5);
    for block in &flight.blocks {
        let given: Vec<u32> =
            noise.channels(2, FRAMES).iter().flatten().map(|s| s.to_bits()).collect();
        let recorded: Vec<u32> = block.audio.iter().map(|s| s.to_bits()).collect();
        assert_eq!(given.len(), recorded.len());
        let same = |(a, b): (&u32, &u32)| a == b || f32::from_bits(*a).is_subnormal();
        assert!(given.iter().zip(&recorded).all(same), "block {}", block.head.block);
    }

    let again = replay(&played.file, &["--json"]);
    let again = json(again.assert_success());
    assert_eq!((&again["reproduced"], &again["same_block"]), (&true.into(), &true.into()));
    assert_eq!(again["replayed"]["block"], block);
    assert_eq!(again["replayed"]["details"]["symbol"], record["symbol"]);
    let text = replay(&played.file, &[]);
    text.assert_success();
    for part in ["SIGSEGV", "in process", symbol, "reproduced, in the same block", "note on"] {
        assert!(text.stdout.contains(part), "no '{part}' in: {}", text.stdout);
    }

    let short = played.folder.path().join("short.sandrack");
    let output = short.to_str().expect("a plain name");
    let shrunk = replay(&played.file, &["--minimize", "--trials", "120", "-o", output, "--json"]);
    println!("{}", shrunk.stdout);
    let minimized = &json(shrunk.assert_success())["minimized"];
    let short_flight = Flight::read(&short).expect("it can be read");
    assert!((4..6).contains(&short_flight.blocks.len()), "{minimized}");
    assert_eq!(minimized["blocks"], short_flight.blocks.len());
    assert_eq!((minimized["done"].as_bool(), short_flight.events()), (Some(true), 1));
    assert!(short_flight.blocks.iter().flat_map(|block| &block.audio).all(|s| *s == 0.0));
    let again = replay(&short, &["--json"]);
    assert_eq!(json(again.assert_success())["same_block"], true);
}

#[test]
fn a_clap_plugin_crashes_again_in_the_same_block_and_in_a_shorter_recording() {
    crashes_again(&hostile("segfault"), 3.0, "libhostile.so");
}

#[test]
fn a_vst3_plugin_crashes_again_in_the_same_block_and_in_a_shorter_recording() {
    crashes_again(&hostile_vst3("segfault"), 3.0 / 1e6, "libhostile_vst3.so");
}

#[test]
fn one_that_hangs_hangs_again_and_says_where() {
    let played = play(&hostile("hang"), at_block(20.0), 5.0);
    assert_eq!(played.record["kind"], "killed", "{:#}", played.record);
    assert_eq!((&played.record["call"], &played.record["block"]), (&"process".into(), &21.into()));
    // Whether it has told where in the moment that it was given is a matter of luck on a busy machine.
    let again = replay(&played.file, &["--limit", "1", "--json"]);
    let again = json(again.assert_success());
    assert_eq!(again["replayed"]["failure"]["kind"], "hung");
    assert_eq!(again["same_block"], true);
    let text = replay(&played.file, &["--limit", "1"]).stdout;
    assert!(text.contains("it hung") && text.contains("strike"), "{text}");
}

#[test]
fn one_that_used_more_than_it_may_does_so_again() {
    let played = play(&hostile("thread-bomb"), at_block(20.0), 5.0);
    assert_eq!(played.record["kind"], "killed", "{:#}", played.record);
    let flight = Flight::read(&played.file).expect("it can be read");
    assert_eq!(flight.head.failure, Failure::Excess);
    let again = replay(&played.file, &["--json"]);
    let again = json(again.assert_success());
    assert_eq!(again["replayed"]["failure"]["kind"], "excess", "{again:#}");
    assert_eq!(again["reproduced"], true);
}

#[test]
fn of_several_in_a_process_only_the_one_that_failed_is_recorded() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tracks = [vec![plugin("gain"), hostile("segfault")], vec![plugin("gain")]];
    let mut offline = Offline::tracks(&tracks, Isolation::Group, FRAMES as u32);
    let recorder = RecorderOptions { folder: Some(folder.path().into()), ..Default::default() };
    let options = RecoveryOptions { recorder: Some(recorder), ..RecoveryOptions::default() };
    let (running, session) = (&mut offline.running, &mut offline.session);
    running.live.enable_recovery(session, options);
    offline.set(0, 1, BLOCK, 20.0);
    let (mut noise, end, mut events) = (Noise(5), Instant::now() + LONG, Vec::new());
    let is_back = |event: &SessionEvent| matches!(event, SessionEvent::Recovered { .. });
    let is_file = |event: &SessionEvent| matches!(event, SessionEvent::CrashFile { .. });
    while !(events.iter().filter(|e| is_back(e)).count() >= 3 && events.iter().any(is_file)) {
        assert!(Instant::now() < end, "{events:?}");
        let input = noise.channels(2, FRAMES);
        offline.step(&input, if events.is_empty() { PATIENT } else { Duration::from_millis(400) });
        let (running, session) = (&mut offline.running, &mut offline.session);
        events.extend(running.live.service(session, &mut running.controller).expect("a plan"));
        std::thread::sleep(Duration::from_millis(1));
    }
    let files = files_in(folder.path());
    assert!(files.iter().all(|name| name.contains("segfault")), "{files:?}");
    let died = |event: &SessionEvent| match event {
        SessionEvent::Died { at, cause } => Some((*at, cause.clone())),
        _ => None,
    };
    let died: Vec<_> = events.iter().filter_map(died).collect();
    assert!(died.len() >= 3, "{events:?}");
    for (at, cause) in died {
        let is_it = at == PluginAt { track: 0, plugin: 1 };
        assert_eq!(cause.contains("in it ran"), !is_it, "{at:?}: {cause}");
    }
    offline.quit();
}

#[test]
fn exit_abort_and_nan_are_told_apart() {
    for (what, kind, failure) in [
        ("exit", "dead", Failure::Died { signal: None, code: Some(0) }),
        ("abort", "dead", Failure::Died { signal: Some(6), code: None }),
        ("nan", "not-finite", Failure::NotFinite),
    ] {
        let played = play(&hostile(what), at_block(10.0), 5.0);
        assert_eq!(played.record["kind"], kind, "{what}: {:#}", played.record);
        assert_eq!(played.record["call"], "process", "{what}: {:#}", played.record);
        let flight = Flight::read(&played.file).expect("it can be read");
        assert_eq!((flight.head.failure, flight.head.block), (failure, 11), "{what}");
        if what == "abort" {
            // Not the function of the C library that ends it, but who called that.
            let symbol = played.record["symbol"].as_str().unwrap_or_default();
            assert!(symbol.contains("abort") || symbol.contains("strike"), "{symbol}");
        }
        let again = replay(&played.file, &["--json"]);
        assert_eq!(json(again.assert_success())["same_block"], true, "{what}");
    }
}

#[test]
fn of_a_longer_life_the_last_blocks_are_kept_and_of_parameters_the_last_values() {
    // 20 blocks are kept of some 200; the plugin counts all of them, and does not fail again.
    let played = play(&hostile("segfault"), at_block(200.0), 20.0 * FRAMES as f64 / 48_000.0);
    let flight = Flight::read(&played.file).expect("it can be read");
    assert_eq!(flight.blocks.len(), 20);
    assert_eq!(flight.blocks.last().map(|block| block.head.block), Some(201));
    // Saved while it played: the parameter is in it.
    assert!(flight.state.is_some() && flight.head.params.is_empty(), "{:?}", flight.head);
    let again = replay(&played.file, &["--json"]);
    assert_eq!(again.status.code(), Some(3), "{}", again.stderr);
    let again = json(&again);
    assert_eq!(
        (&again["reproduced"], &again["replayed"]["failure"]),
        (&false.into(), &Value::Null)
    );
}

#[test]
fn another_build_is_replayed_and_one_that_is_well_does_not_fail() {
    let played = play(&hostile("segfault"), at_block(10.0), 5.0);
    let copy = played.folder.path().join("another.clap");
    std::fs::copy(example("hostile"), &copy).expect("a copy");
    let copy = format!("{}#org.sandrack.hostile.segfault", copy.display());
    let again = replay(&played.file, &["--plugin", &copy, "--json"]);
    let again = json(again.assert_success());
    let module = again["replayed"]["details"]["module"].as_str().unwrap_or_default();
    assert!(module.ends_with("another.clap"), "{again:#}");
    // Another plugin is not the one that was recorded.
    let gain = plugin("gain").to_string();
    replay(&played.file, &["--plugin", &gain]).assert_error(&["gain", "was recorded"]);
}

#[test]
fn audio_goes_to_files() {
    let played = play(&hostile("segfault"), at_block(10.0), 5.0);
    let name = played.folder.path().join("audio");
    replay(&played.file, &["--wav", name.to_str().expect("a plain name")]).assert_success();
    let read = |ending: &str| {
        let path = played.folder.path().join(format!("audio{ending}"));
        sandrack_host::wav::read(&path).expect("a WAV file")
    };
    let (input, output) = (read("-in.wav"), read("-out.wav"));
    // The block that it did not come back from is heard going in, and never comes out.
    assert_eq!(input.channels[0].len(), 11 * FRAMES);
    assert_eq!(output.channels[0].len(), 10 * FRAMES);
    // What leaves a worker is scrubbed of denormals.
    let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-30;
    assert!(input.channels[1].iter().zip(&output.channels[1]).all(near));
}

#[test]
fn a_file_that_is_cut_off_damaged_or_none_says_so() {
    let played = play(&hostile("segfault"), at_block(10.0), 5.0);
    let good = std::fs::read(&played.file).expect("it can be read");
    let bad = played.folder.path().join("bad.sandrack");
    let refused = |bytes: &[u8], part: &str| {
        std::fs::write(&bad, bytes).expect("it can be written");
        replay(&bad, &[]).assert_error(&["bad.sandrack", part]);
    };
    refused(b"", "not a recording");
    refused(b"RIFF\0\0\0\0WAVE", "not a recording");
    refused(&good[..20], "cut off");
    refused(&good[..good.len() - 1], "cut off");
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 4;
    refused(&damaged, "damaged");
    damaged = good.clone();
    damaged[8] = 9;
    refused(&damaged, "layout 9");
    replay(Path::new("nowhere.sandrack"), &[]).assert_error(&["nowhere.sandrack"]);
    // Any bytes: an error, never more.
    let mut noise = Noise(3);
    for _ in 0..2000 {
        let mut bytes = good[..good.len().min(20_000)].to_vec();
        for _ in 0..1 + noise.below(8) {
            let at = noise.below(bytes.len() as u32) as usize;
            bytes[at] = noise.below(256) as u8;
        }
        let is_changed = bytes != good;
        assert_eq!(Flight::parse(&bytes).is_err(), is_changed);
        let checksum = crc32fast_of(&bytes[..bytes.len() - 4]);
        let end = bytes.len() - 4;
        bytes[end..].copy_from_slice(&checksum);
        let _ = Flight::parse(&bytes);
    }
}

fn crc32fast_of(bytes: &[u8]) -> [u8; 4] {
    crc32fast::hash(bytes).to_le_bytes()
}

#[test]
fn only_so_many_files_are_kept() {
    let played = play(&hostile("segfault"), at_block(10.0), 5.0);
    let flight = Flight::read(&played.file).expect("it can be read");
    let folder = played.folder.path().join("few");
    let paths: Vec<PathBuf> = (0..5)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(20));
            sandrack_host::flight::folder::keep(&flight, &folder, 3).expect("it can be written")
        })
        .collect();
    assert_eq!(files_in(&folder).len(), 3);
    assert!(paths[2..].iter().all(|path| path.is_file()), "{:?}", files_in(&folder));
}

#[test]
fn a_debugger_sees_the_block_in_which_it_crashes() {
    let gdb = std::process::Command::new("gdb").arg("--version").output();
    if !gdb.is_ok_and(|output| output.status.success()) {
        println!("gdb is not there: this test has shown nothing");
        assert!(std::env::var_os("SANDRACK_CI").is_none(), "CI has gdb");
        return;
    }
    let played = play(&hostile("segfault"), at_block(10.0), 5.0);
    let file = played.file.to_str().expect("a plain name");
    for confinement in ["off", "standard"] {
        let program = Program::new([
            "--no-realtime",
            "--confinement",
            confinement,
            "--confinement-missing",
            "allow",
            "replay",
            file,
            "--gdb",
        ])
        .start();
        let id = program.id();
        let waits = || program.text("stdout").contains("gdb -p ");
        assert!(becomes_true(LONG, waits), "{}{}", program.text("stdout"), program.text("stderr"));
        let worker = children_of(id)[0];
        assert!(program.text("stdout").contains(&format!("gdb -p {worker} -ex continue")));
        let gdb = std::process::Command::new("gdb")
            .args(["-batch", "-nx", "-p", &worker.to_string()])
            .args(["-ex", "continue", "-ex", "backtrace 3", "-ex", "kill"])
            .output()
            .expect("gdb starts");
        let said = String::from_utf8_lossy(&gdb.stdout);
        println!("{said}{}{}", String::from_utf8_lossy(&gdb.stderr), program.text("stdout"));
        assert!(said.contains("SIGSEGV"), "{confinement}: {said}");
        assert!(said.contains("strike"), "{confinement}: {said}");
        program.finish().assert_success().assert_no_trace(id);
    }
}
