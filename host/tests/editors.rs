//! Plugins' editors, as their users see them: on a display of the test's own.
//!
//! X11: windows are looked at, and clicked at, over the protocol.
#![cfg(unix)]

mod common;

use common::display::Display;
use common::program::{Program, children_of, files_in, send};
use common::system::Signal;
use common::{LONG, PROGRAM, becomes_true, example, hostile};
use sandrack_host::error::Error;
use sandrack_host::session::{Session, SessionConfig};
use sandrack_sandbox::error::Error as SandboxError;
use sandrack_sandbox::format::PluginRef;
use sandrack_sandbox::format::editor::EditorOptions;
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Of the test plugin's editor, before a mouse button, and once the restart is done that it asks for
/// then.
const CALM: u32 = 0x2060a0;
const RESTARTED: u32 = 0x40a060;

fn edit(display: &str, plugin: &PluginRef, more: &[&str]) -> Program {
    let plugin = plugin.to_string();
    let arguments = ["--no-realtime", "--timeout", "60", "edit", &plugin];
    Program::new(arguments.iter().chain(more)).env("DISPLAY", display)
}

#[test]
fn an_editor_is_shown_resized_from_both_sides_used_and_closed() {
    let Some(display) = Display::start() else { return };
    let program = edit(&display.name, &hostile("editor"), &[]).start();
    let id = program.id();
    let window = display.window("Sandrack Hostile editor");
    let child = display.children(window)[0];
    // It asks for this size itself, when its timer runs.
    for window in [window, child] {
        display.wait_for_size(window, (300, 180));
    }
    // Its user drags the window to a size that it can't have.
    display.drag(window, (457, 333));
    for window in [window, child] {
        display.wait_for_size(window, (450, 330));
    }
    let is = |color| becomes_true(LONG, || display.pixels(window).iter().all(|p| *p == color));
    assert!(is(CALM), "its child fills the window");
    // It learns of that from the descriptor that the worker watches.
    display.press(child);
    assert!(is(RESTARTED), "it repaints itself, and stays while its plugin is activated anew");
    display.close(window);
    let finished = program.finish();
    finished.assert_success().assert_no_trace(id);
    assert!(finished.stdout.contains("editor of 200 x 120"), "{}", finished.stdout);
    assert!(finished.stdout.contains("Hostile editor: restarted\n"), "{}", finished.stdout);
}

#[test]
fn an_editor_ends_with_its_time_and_with_ctrl_c() {
    let Some(display) = Display::start() else { return };
    edit(&display.name, &hostile("editor"), &["--seconds", "0.3"]).run().assert_success();
    let program = edit(&display.name, &hostile("editor"), &[]).start();
    let id = program.id();
    display.window("Sandrack Hostile editor");
    program.signal(Signal::INT);
    program.finish().assert_success().assert_no_trace(id);
}

#[test]
fn a_plugin_that_dies_with_its_editor_open_comes_back_with_it_until_it_has_died_too_often() {
    let Some(display) = Display::start() else { return };
    let arguments = ["--fault-log", "faults.jsonl", "--crash-dir", "crashes"];
    let program =
        edit(&display.name, &hostile("editor"), &arguments).env("SANDRACK_LOG", "off").start();
    let id = program.id();
    let mut last = None;
    // The fifth fault within half a minute is the last.
    for time in 1..=5 {
        let is_new = || children_of(id).first().is_some_and(|worker| Some(*worker) != last);
        assert!(becomes_true(LONG, is_new), "the worker is not there for the {time}th time");
        // The one that died took its window with it.
        display.window("Sandrack Hostile editor");
        let again = || program.text("stdout").matches("plays again").count() == time - 1;
        assert!(becomes_true(LONG, again), "{}", program.text("stdout"));
        let worker = children_of(id)[0];
        send(worker, Signal::ABORT);
        last = Some(worker);
    }
    let finished = program.finish();
    finished.assert_error(&["hostile.editor", "5 faults", "SIGABRT"]).assert_no_trace(id);
    let lines = std::fs::read_to_string(finished.file("faults.jsonl")).expect("it was written");
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    assert_eq!((of("dead").len(), of("restarted").len(), of("quarantined").len()), (5, 4, 1));
    for dead in of("dead") {
        assert_eq!((&dead["signal"], &dead["signal_name"]), (&6.into(), &"SIGABRT".into()));
        let file = dead["file"].as_str().expect("a recording");
        assert!(finished.file(file).is_file(), "{file}");
    }
}

#[test]
fn a_song_for_a_plugin_without_notes_or_a_song_that_is_none_is_refused() {
    let song = edit("", &hostile("editor"), &["--midi", "a.mid"]);
    std::fs::write(song.folder().join("a.mid"), common::render::midi(&[])).unwrap();
    song.run().assert_error(&["--midi", "hostile.editor", "takes no notes"]);
    let song = edit("", &common::plugin("synth"), &["--midi", "a.mid"]);
    std::fs::write(song.folder().join("a.mid"), common::render::midi(&[&[]])).unwrap();
    song.run().assert_error(&["a.mid", "nothing to play"]);
}

#[test]
fn without_a_display_or_an_editor_it_is_said_so() {
    let nowhere = edit("", &hostile("editor"), &[]).run();
    nowhere.assert_error(&["hostile.editor", "DISPLAY is not set"]);
    edit(":47811", &hostile("editor"), &[]).run().assert_error(&["hostile.editor", ":47811"]);
    let Some(display) = Display::start() else { return };
    edit(&display.name, &hostile("nan"), &[]).run().assert_error(&["hostile.nan", "it has none"]);
    // Of VST3 it is not known before.
    let vst3 = |what: &str, reasons: &[&str]| {
        let plugin = PluginRef { path: example("hostile_vst3"), id: Some(what.into()) };
        edit(&display.name, &plugin, &[]).run().assert_error(reasons);
    };
    vst3("Odd silent", &["libhostile_vst3", "createView failed: it has no editor"]);
    vst3("Hostile view-aborts", &["Hostile view-aborts", "SIGABRT", "opening its editor"]);
}

/// An editor that hangs costs neither its plugin's audio nor anybody else's.
fn an_editor_that_hangs_leaves_the_audio(what: &str) {
    let options = SupervisorOptions {
        program: PROGRAM.into(),
        realtime: false,
        timeout: Duration::from_secs(4),
        show_errors: true,
        confinement: Default::default(),
    };
    let supervisor = Supervisor::new(options).expect("a supervisor");
    let config = SessionConfig { tracks: vec![vec![hostile(what)]], ..SessionConfig::default() };
    let mut session = Session::load(&supervisor, &config, &|| {}).expect("it loads");
    let mut running = session.connect(48_000, 64, 1, (2, 2)).expect("it runs");
    let hung = session.open_editor((0, 0), EditorOptions::default());
    let Err(Error::Sandbox(error @ SandboxError::Hung { .. })) = hung else {
        panic!("{what}: {hung:?}")
    };
    let text = error.to_string();
    assert!(text.contains(what) && text.contains("opening its editor"), "{text}");
    let mut noise = common::Noise(5);
    for _ in 0..100 {
        let input = noise.channels(2, 64);
        let mut output = vec![vec![0.0; 64]; 2];
        let inputs: Vec<&[f32]> = input.iter().map(Vec::as_slice).collect();
        let mut outputs: Vec<&mut [f32]> = output.iter_mut().map(Vec::as_mut_slice).collect();
        running.callback.process_offline(&inputs, &mut outputs, LONG);
    }
    let mut heard = 0;
    while let Ok(record) = running.controller.timing().pop() {
        if let sandrack_engine::timing::Record::Node(record) = record {
            assert!(record.outcome.is_heard(), "{what}: {:?}", record.outcome);
            heard += 1;
        }
    }
    assert_eq!(heard, 100, "{what}");
    assert!(session.gone_plugin().is_none(), "{what}");
    drop(running);
    session.quit();
}

#[test]
fn an_editor_that_hangs_when_it_is_made_or_shown_leaves_the_audio() {
    // Workers find the display in this program's environment, which can't change while other tests
    // run: so this very test is run once more, by itself.
    const NAME: &str = "an_editor_that_hangs_when_it_is_made_or_shown_leaves_the_audio";
    const WHAT: &str = "SANDRACK_TEST_HANGS";
    if let Ok(what) = std::env::var(WHAT) {
        an_editor_that_hangs_leaves_the_audio(&what);
        return;
    }
    // Also builds the plugins, once.
    hostile("editor");
    let Some(display) = Display::start() else { return };
    std::thread::scope(|scope| {
        for what in ["gui-create-hangs", "gui-show-hangs"] {
            let mut again = Command::new(std::env::current_exe().expect("this program"));
            again.args(["--exact", NAME, "--nocapture"]).env("DISPLAY", &display.name);
            scope.spawn(move || {
                let ended = again.env(WHAT, what).output().expect("it starts");
                let said = String::from_utf8_lossy(&ended.stderr).into_owned();
                assert!(ended.status.success(), "{what}: {said}");
            });
        }
    });
}

/// Files of real plugins with editors that draw without a graphics card.
fn real_plugins() -> Vec<PathBuf> {
    let folders =
        std::env::var_os("SANDRACK_TEST_PLUGINS").unwrap_or("/usr/lib/clap:/usr/lib/vst3".into());
    let names = ["DragonflyHallReverb", "DragonflyRoomReverb", "ZamDelay", "ZamComp"];
    let mut found: Vec<PathBuf> = std::env::split_paths(&folders)
        .flat_map(|folder| {
            let files = names.iter().flat_map(|name| {
                ["clap", "vst3"].map(|extension| folder.join(format!("{name}.{extension}")))
            });
            files.filter(|path| path.exists()).collect::<Vec<_>>()
        })
        .collect();
    found.sort();
    if found.is_empty() {
        let said = format!("none of {names:?} in {}", folders.display());
        assert!(std::env::var_os("SANDRACK_CI").is_none_or(|ci| ci != "1"), "{said}");
        eprintln!("SKIPPED: {said}; SANDRACK_TEST_PLUGINS names folders with some");
    }
    found
}

#[test]
fn editors_of_real_plugins_are_drawn_and_closed() {
    let Some(display) = Display::start() else { return };
    for file in real_plugins() {
        let shown = file.display().to_string();
        let program = edit(&display.name, &PluginRef { path: file, id: None }, &[]).start();
        let id = program.id();
        let window = display.window("- Sandrack");
        let colors = || display.pixels(window).into_iter().collect::<HashSet<u32>>().len();
        assert!(becomes_true(LONG, || colors() > 16), "{shown}: {} colors", colors());
        display.close(window);
        program.finish().assert_success().assert_no_trace(id);
        assert!(becomes_true(LONG, || display.size(window) == (0, 0)), "{shown}: still there");
    }
}

/// Width, height and the colours of a picture.
fn colors_of(path: &Path) -> (u32, u32, HashSet<u32>) {
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().expect("a PNG");
    let mut rgb = vec![0; reader.output_buffer_size().expect("it fits")];
    let info = reader.next_frame(&mut rgb).expect("a PNG");
    assert_eq!(info.color_type, png::ColorType::Rgb);
    let color = |pixel: &[u8]| u32::from_be_bytes([0, pixel[0], pixel[1], pixel[2]]);
    (info.width, info.height, rgb.chunks_exact(3).map(color).collect())
}

#[test]
fn a_check_looks_at_editors_and_keeps_their_pictures() {
    let Some(display) = Display::start() else { return };
    let mut check = Program::new(["--timeout", "60", "check", "--jobs", "3", "--pictures", "seen"]);
    check.command().arg(hostile("editor").to_string()).args(real_plugins());
    let mut started = check.env("DISPLAY", &display.name).start();
    // Whatever lies above them.
    while started.is_running() {
        display.cover_all();
        std::thread::sleep(Duration::from_millis(5));
    }
    let finished = started.finish();
    finished.assert_success();
    let pictures = files_in(&finished.file("seen"));
    assert_eq!(pictures.len(), 1 + real_plugins().len(), "{pictures:?}");
    for name in pictures {
        let (width, height, colors) = colors_of(&finished.file("seen").join(&name));
        if name.contains("hostile") {
            // It has the size that it asked for once it was open.
            assert_eq!((width, height, colors), (300, 180, HashSet::from([CALM])), "{name}");
        } else {
            assert!(colors.len() > 16, "{name}: {} colours", colors.len());
        }
    }
    let odd = "editor: its window stayed of one colour";
    assert_eq!(finished.stdout.matches(odd).count(), 1, "{}", finished.stdout);
}
