//! What differs on Windows: how processes end, are found and are described; folders and bundles; and
//! that every command of the program works there.
#![cfg(windows)]
#![allow(unsafe_code, reason = "asks the system about processes")]

mod common;

use common::bundle::bundle;
use common::offline::{Offline, PATIENT};
use common::program::{Program, Started, children_of, send};
use common::system::Signal;
use common::{LONG, becomes_true, example, hostile, plugin, supervisor};
use sandrack_host::flight::RecorderOptions;
use sandrack_host::plugins::test_library;
use sandrack_host::report::Isolation;
use sandrack_host::session::{PluginAt, RecoveryOptions, SessionEvent};
use sandrack_sandbox::calibrate::{Placement, measure};
use sandrack_sandbox::format::editor::{EditorOptions, Size};
use sandrack_sandbox::format::{Notice, PluginRef};
use serde_json::{Value, json};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};
use windows_sys::Win32::Foundation::{HWND, RECT};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessHandleCount};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    FindWindowExW, FindWindowW, GetClientRect, PostMessageW, SWP_NOMOVE, SWP_NOZORDER,
    SetWindowPos, WM_CLOSE,
};
use windows_sys::w;

/// A bench that goes on for longer than anybody waits.
fn long_bench(plugins: &str) -> Program {
    let arguments = "bench --quick --no-capacity --isolation plugin --frames 2048 --seconds 1";
    let loads: Vec<String> = (0..300).map(|load| load.to_string()).collect();
    let mut program = Program::new(arguments.split(' '));
    program.command().args(["--load-us", &loads.join(","), "--plugins", plugins]);
    program
}

fn has_workers(host: &Started, count: usize) -> bool {
    becomes_true(LONG, || children_of(host.id()).len() >= count)
}

#[test]
fn no_worker_outlives_a_host_that_is_killed() {
    let host = long_bench("4").start();
    let id = host.id();
    assert!(has_workers(&host, 4), "{:?}", children_of(id));
    host.signal(Signal::KILL);
    let gone = becomes_true(Duration::from_secs(20), || children_of(id).is_empty());
    assert!(gone, "left {:?}", children_of(id));
    host.finish().assert_no_trace(id);
}

#[test]
fn no_worker_outlives_a_session_and_no_handle_does() {
    let me = std::process::id();
    let handles = || {
        let mut count = 0;
        // SAFETY: fills a local.
        unsafe { GetProcessHandleCount(GetCurrentProcess(), &mut count) };
        count
    };
    let session = || {
        let mut offline = Offline::new(&[vec![plugin("gain"); 4]], Isolation::Plugin, 64, false);
        offline.step(&vec![vec![0.5; 64]; 2], PATIENT);
        offline.session.workers().iter().map(|worker| worker.id()).collect::<Vec<u32>>()
    };
    session();
    let before = handles();
    for _ in 0..3 {
        let mine = session();
        assert_eq!(mine.len(), 4);
        let left = || children_of(me).into_iter().filter(|id| mine.contains(id)).count();
        assert!(becomes_true(Duration::from_secs(20), || left() == 0));
    }
    // Other tests of this program have some of their own at the same time, and end, too.
    let back = becomes_true(LONG, || handles() <= before + 12);
    assert!(back, "{before} handles, then {}", handles());
}

#[test]
fn a_worker_that_is_ended_from_outside_is_told_from_one_that_exits() {
    let track = vec![plugin("gain"), plugin("gain")];
    let mut offline = Offline::new(&[track], Isolation::Plugin, 64, false);
    offline.step(&vec![vec![0.5; 64]; 2], PATIENT);
    send(offline.process_of(0), Signal::ABORT);
    assert!(becomes_true(LONG, || offline.session.gone_plugin().is_some()));
    let (who, how) = offline.session.gone_plugin().unwrap();
    assert!(who.contains("org.sandrack.test.gain") && how.contains("abort"), "{who}: {how}");
}

#[test]
fn a_crash_is_recorded_with_its_place_and_happens_again() {
    let folder = tempfile::tempdir().unwrap();
    let recorder =
        RecorderOptions { folder: Some(folder.path().into()), ..RecorderOptions::default() };
    let options = RecoveryOptions { recorder: Some(recorder), ..RecoveryOptions::default() };
    let mut offline = Offline::tracks(&[vec![hostile("segfault")]], Isolation::Plugin, 64);
    let (running, session) = (&mut offline.running, &mut offline.session);
    running.live.enable_recovery(session, options);
    let (first, block) = (PluginAt { track: 0, plugin: 0 }, 0);
    running.live.set_param(session, &mut running.controller, first, block, 20.0).unwrap();
    let (end, mut timeout) = (Instant::now() + LONG, PATIENT);
    let file = loop {
        assert!(Instant::now() < end, "no recording: {:?}", offline.running.live.faults());
        offline.step(&vec![vec![0.5; 64]; 2], timeout);
        timeout = Duration::from_millis(400);
        let (running, session) = (&mut offline.running, &mut offline.session);
        let events = running.live.service(session, &mut running.controller).unwrap();
        let file = events.into_iter().find_map(|event| match event {
            SessionEvent::CrashFile { path, .. } => Some(path),
            _ => None,
        });
        if let Some(file) = file {
            break file;
        }
    };
    let records: Vec<Value> = offline.running.live.faults().iter().map(|r| json!(r)).collect();
    let record = records.iter().find(|r| r["file"].as_str() == file.to_str()).expect("a record");
    let text = |what: &str| record[what].as_str().unwrap_or_default();
    assert_eq!((text("call"), text("thread")), ("process", "audio"), "{record:#}");
    assert!(text("signal_name").contains("access violation"), "{record:#}");
    assert!(text("module").ends_with("hostile.dll"), "{record:#}");
    assert!(text("symbol").contains("crash::strike"), "{record:#}");
    offline.quit();

    let file = file.to_str().unwrap();
    let replay = Program::new(["--no-realtime", "--timeout", "60", "replay", file, "--json"]).run();
    replay.assert_success();
    let replay: Value = serde_json::from_str(&replay.stdout).unwrap();
    assert_eq!((&replay["reproduced"], &replay["same_block"]), (&json!(true), &json!(true)));
    assert_eq!(replay["replayed"]["details"]["symbol"], record["symbol"]);
}

#[test]
fn processes_wake_each_other_through_the_events_that_they_were_handed() {
    let program = Path::new(common::PROGRAM);
    let (floor, _) =
        measure(program, 8, Placement::AnyCore, 50, Duration::from_micros(200)).unwrap();
    assert!(floor.p50 > 0.0 && floor.p50 <= floor.p99, "{floor:?}");
    println!(
        "a hop of the bare floor: p50 {:.1} us, p99 {:.1} us",
        floor.p50 / 1e3,
        floor.p99 / 1e3
    );
}

#[test]
fn plugins_are_found_described_and_rendered_in_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    // Builds them.
    plugin("gain");
    let library = test_library().unwrap();
    let clap = folder.path().join("Test.clap");
    std::fs::copy(&library, &clap).unwrap();
    let vst3 = bundle(folder.path(), "Test", &library);
    assert!(vst3.join("Contents/x86_64-win/Test.vst3").is_file());

    let scan = Program::new(["scan", "--json"])
        .env("CLAP_PATH", &folder.path().display().to_string())
        .env("VST3_PATH", &folder.path().display().to_string())
        .run();
    scan.assert_success();
    let scan: Value = serde_json::from_str(&scan.stdout).unwrap();
    assert!(scan["plugins"].as_u64() >= Some(16), "{scan:#}");

    for path in [&clap, &vst3] {
        let info = Program::new(["info".as_ref(), path.as_os_str()]).run();
        info.assert_success();
        assert!(info.stdout.contains("Sandrack Test Gain"), "{}", info.stdout);
        let mut render = Program::new(["render", "in.wav", "out.wav", "--chain"]);
        render.command().arg(path);
        write_wav(&render.folder().join("in.wav"));
        let finished = render.run();
        finished.assert_success();
        assert!(finished.file("out.wav").is_file());
    }
}

#[test]
fn a_chain_in_workers_gives_the_same_bits_as_in_this_process() {
    let folder = tempfile::tempdir().unwrap();
    let gain = plugin("gain").to_string();
    let delay = bundle(folder.path(), "Test", &test_library().unwrap());
    let delay = format!("{}#Sandrack Test Delay", delay.display());
    let chain = [gain, delay, plugin("compressor").to_string()].join(",");
    let render = |isolation: &str| {
        let mut render = Program::new(["render", "in.wav", "out.wav", "--frames", "64"]);
        render.command().args(["--isolation", isolation, "--chain", &chain]);
        write_wav(&render.folder().join("in.wav"));
        let finished = render.run();
        finished.assert_success();
        std::fs::read(finished.file("out.wav")).unwrap()
    };
    let alone = render("none");
    assert!(alone.len() > 20_000 && alone[100..].iter().any(|byte| *byte != 0));
    for isolation in ["plugin", "group"] {
        assert!(render(isolation) == alone, "{isolation}");
    }
}

fn write_wav(path: &Path) {
    use sandrack_host::wav::{SampleFormat, WavWriter};
    let mut writer = WavWriter::create(path, 2, 48_000, SampleFormat::Float32).unwrap();
    writer.write_interleaved(&[0.25; 20_000]).unwrap();
    writer.finish().unwrap();
}

#[test]
fn the_other_commands_work() {
    // Opens none: another test may just be using one.
    let devices = Program::new(["devices", "--names"]).run();
    devices.assert_success();
    assert!(devices.stdout.contains("virtual"), "{}", devices.stdout);

    let calibrated = Program::new(["calibrate", "--json"]).run();
    calibrated.assert_success();
    let calibrated: Value = serde_json::from_str(&calibrated.stdout).unwrap();
    assert!(calibrated["any_core_us"]["p50"].as_f64() > Some(0.0), "{calibrated:#}");

    let words = "bench --quick --no-capacity --isolation plugin --frames 1024 --plugins 3 \
                 --load-us 20";
    let bench = Program::new(words.split(' ')).run();
    bench.assert_success();
    let json = std::fs::read_to_string(bench.file("sandrack-bench.json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["runs"].as_array().map(Vec::len), Some(1), "{json:#}");
}

#[test]
fn a_crash_names_the_exception() {
    let mut render = Program::new(["render", "in.wav", "out.wav", "--chain"]);
    render.command().arg(hostile("segfault").to_string()).args(["--frames", "64"]);
    write_wav(&render.folder().join("in.wav"));
    let finished = render.env("SANDRACK_HOSTILE_BLOCK", "5").run();
    finished.assert_error(&["access violation", "nothing was written"]);
}

/// What really confines a worker here, or that it is not loaded: never in between.
#[test]
fn a_level_is_in_force_or_the_plugin_is_refused() {
    let gain = plugin("gain").to_string();
    let info = Program::new(["--confinement", "standard", "info", &gain]).run();
    match info.status.success() {
        true => assert!(info.stdout.contains("low integrity"), "{}", info.stdout),
        false => {
            info.assert_error(&["can't be confined at level 'standard'", "integrity"]);
        }
    }
    // Its user's files can be read, whatever is done: strict can't be had.
    let strict = Program::new(["--confinement", "strict", "info", &gain]).run();
    strict.assert_error(&["can't be confined at level 'strict'", "can be read"]);
}

/// A window of whatever process, by its title.
fn window(title: &str) -> HWND {
    let title: Vec<u16> = title.encode_utf16().chain([0]).collect();
    // SAFETY: a string that ends with 0.
    unsafe { FindWindowW(null(), title.as_ptr()) }
}

/// Size of a window's inside.
fn inside(window: HWND) -> (i32, i32) {
    let mut rect = RECT::default();
    // SAFETY: fills a local.
    unsafe { GetClientRect(window, &mut rect) };
    (rect.right, rect.bottom)
}

#[test]
fn an_editor_has_a_window_is_resized_and_closed_by_its_user() {
    let supervisor = supervisor();
    let worker = supervisor.start_worker("the plugin", None).unwrap();
    let path = example("editor_win32");
    let node = worker.load(&PluginRef { path, id: None }).unwrap();
    let title = format!("Sandrack editor of {}", std::process::id());
    let options = EditorOptions { title: title.clone(), ..EditorOptions::default() };
    for _ in 0..2 {
        let info = node.open_editor(options.clone()).unwrap();
        assert_eq!(info.size, Some(Size { width: 300, height: 200 }));
        assert!(info.resizable);
        let outer = window(&title);
        assert!(!outer.is_null(), "no window");
        // SAFETY: a handle and a constant string.
        let inner = unsafe { FindWindowExW(outer, null_mut(), w!("STATIC"), null()) };
        assert!(!inner.is_null(), "nothing in the window");
        assert_eq!((inside(outer), inside(inner)), ((300, 200), (300, 200)));
        // As its user does it; the frame takes its part of that.
        // SAFETY: takes a handle and numbers.
        unsafe { SetWindowPos(outer, null_mut(), 0, 0, 500, 400, SWP_NOMOVE | SWP_NOZORDER) };
        let follows = || inside(inner) == inside(outer) && inside(inner).0 > 400;
        assert!(becomes_true(LONG, follows), "{:?} in {:?}", inside(inner), inside(outer));
        // SAFETY: takes a handle and numbers.
        unsafe { PostMessageW(outer, WM_CLOSE, 0, 0) };
        let closed = || {
            let _ = worker.sync();
            worker.take_notices().iter().any(|(_, notice)| *notice == Notice::EditorClosed)
        };
        assert!(becomes_true(LONG, closed), "nobody was told that it was closed");
        let gone = becomes_true(LONG, || window(&title).is_null());
        assert!(gone, "the window is still there");
    }
    node.open_editor(options).unwrap();
    node.close_editor().unwrap();
    // One that has just been opened is hidden at once, and taken apart when its plugin has settled.
    let gone = becomes_true(LONG, || window(&title).is_null());
    assert!(gone, "the window is still there");
    worker.quit();
}
