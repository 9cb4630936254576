//! VST3 libraries that are no plugins and plugins that fail, lie or break the rules: as with CLAP,
//! one line that says which and why, an end in time, nothing left behind; and where the fault is
//! none of the audio's, audio as if there were none.

mod common;

use common::program::{Finished, Program};
use common::system::{ABORT, SEGFAULT};
use common::{example, supervisor};
use sandrack_host::wav::{self, SampleFormat, Wav, WavWriter};
use sandrack_sandbox::format::StateContext;
use std::path::Path;

/// In which block plugins strike, and of how many frames a block is.
const BLOCK: usize = 5;
const FRAMES: usize = 64;

fn hostile(what: &str) -> String {
    format!("{}#Hostile {what}", example("hostile_vst3").display())
}

/// Runs the program on a plugin. A request that hangs is given up after so many seconds.
fn info(plugin: &str, seconds: &str) -> Finished {
    Program::new(["--timeout", seconds, "info", plugin]).run()
}

fn render(plugin: &str, seconds: &str) -> Finished {
    let mut program = Program::new(["--timeout", seconds, "render", "in.wav", "out.wav"])
        .env("SANDRACK_HOSTILE_BLOCK", &BLOCK.to_string());
    program.command().args(["--frames", &FRAMES.to_string(), "--chain", plugin]);
    write_wav(&program.folder().join("in.wav"));
    let finished = program.run();
    let written = finished.file("out.wav").exists();
    assert_eq!(finished.status.success(), written, "{plugin}: {}", finished.stderr);
    finished
}

fn write_wav(path: &Path) {
    let samples: Vec<f32> = (0..2 * 100 * FRAMES).map(|n| (n % 101) as f32 / 101.0 - 0.5).collect();
    let mut writer = WavWriter::create(path, 2, 48_000, SampleFormat::Float32).unwrap();
    writer.write_interleaved(&samples).unwrap();
    writer.finish().unwrap();
}

/// What a render was given, and what came out.
fn files(finished: &Finished) -> (Wav, Wav) {
    finished.assert_success();
    let read = |name| wav::read(&finished.file(name)).unwrap();
    (read("in.wav"), read("out.wav"))
}

/// What the program is asked to do.
#[derive(Clone, Copy)]
enum Use {
    Info,
    Render,
}

const BOTH: [Use; 2] = [Use::Info, Use::Render];

/// That the program refuses plugins in one line with all of the parts, side by side.
fn refused(cases: Vec<(String, &'static [&'static str])>, uses: &[Use]) {
    std::thread::scope(|scope| {
        for (plugin, parts) in &cases {
            scope.spawn(move || {
                let file = plugin.split('#').next().unwrap();
                for how in uses {
                    let finished = match how {
                        Use::Info => info(plugin, "2"),
                        Use::Render => render(plugin, "2"),
                    };
                    finished.assert_error(parts).assert_error(&[file]);
                }
            });
        }
    });
}

/// The same of hostile plugins.
fn hostile_refused<const N: usize>(cases: [(&str, &'static [&'static str]); N], uses: &[Use]) {
    refused(cases.into_iter().map(|(what, parts)| (hostile(what), parts)).collect(), uses);
}

#[test]
fn libraries_whose_entry_fails_are_refused_with_the_reason() {
    const ENTRY: &[&str] = &[if cfg!(windows) { "InitDll" } else { "ModuleEntry" }];
    let cases: [(&str, &'static [&'static str]); 6] = [
        ("bad_vst3_entry_fails", ENTRY),
        ("bad_vst3_entry_hangs", &["no answer to", "2s"]),
        ("bad_vst3_entry_aborts", &[ABORT]),
        ("bad_vst3_entry_exits", &["exited with code 0"]),
        ("no_vst3_factory", &["factory"]),
        ("vst3_factory_aborts", &[ABORT]),
    ];
    let cases = cases.map(|(name, parts)| (example(name).display().to_string(), parts));
    refused(cases.into(), &BOTH);
}

#[test]
fn plugins_that_fail_to_start_are_refused_with_the_reason() {
    hostile_refused(
        [
            ("create-fails", &["createInstance"]),
            ("create-null", &["createInstance"]),
            ("init-fails", &["initialize"]),
            ("init-aborts", &[ABORT, "init"]),
            ("init-exits", &["exited with code 0", "init"]),
            ("init-hangs", &["no answer to load, create or init within 2s"]),
            ("setup-fails", &["setupProcessing"]),
            ("activate-fails", &["setActive"]),
            ("activate-aborts", &[ABORT, "activate"]),
            ("activate-exits", &["exited with code 0", "activate"]),
            ("activate-hangs", &["no answer to activate within 2s"]),
            ("start-fails", &["refused"]),
            ("all-errors", &["initialize"]),
        ],
        &BOTH,
    );
}

#[test]
fn plugins_that_lie_about_their_buses_are_refused_with_the_reason() {
    hostile_refused([("million-buses", &["1000000 audio buses"])], &BOTH);
    render(&hostile("thousand-channels"), "60")
        .assert_error(&["1000 channels; more than 256 are not believed"]);
}

#[test]
fn plugins_that_fail_in_the_middle_of_a_file_are_refused_with_the_reason() {
    hostile_refused(
        [
            ("segfault", &[SEGFAULT, "nothing was written"]),
            ("abort", &[ABORT, "nothing was written"]),
            ("exit", &["exited with code 0", "nothing was written"]),
        ],
        &[Use::Render],
    );
    for (what, reason) in [
        ("hang", "did not return in time"),
        ("sleep", "did not return in time"),
        ("error", "reported an error"),
    ] {
        render(&hostile(what), "2").assert_error(&[what, reason, "nothing was written"]);
    }
}

#[test]
fn audio_that_is_no_number_is_silence() {
    for what in ["nan", "inf", "denormal"] {
        let (input, output) = files(&render(&hostile(what), "60"));
        for (given, heard) in input.channels.iter().zip(&output.channels) {
            let struck = BLOCK * FRAMES;
            assert_eq!(given[..struck], heard[..struck], "{what}");
            assert!(heard[struck..].iter().all(|sample| sample.to_bits() == 0), "{what}");
        }
    }
}

#[test]
fn faults_that_are_none_of_the_audio_leave_it_as_it_is() {
    // Several at once, so that it takes less time; not all, so that no machine is out of breath.
    let faults = [
        ["late", "bad-events", "event-flood"],
        ["bad-params", "param-flood", "bad-silence"],
        ["moves-buffers", "releases", "keeps"],
        ["param-list-changes", "wrong-threads", "restart-flood"],
        ["destroy-aborts", "destroy-hangs", "negative-params"],
        ["lies-params", "state-load-hangs", "state-load-aborts"],
    ];
    for some in faults {
        std::thread::scope(|scope| {
            for what in some {
                scope.spawn(move || {
                    let finished = render(&hostile(what), "60");
                    let (input, output) = files(&finished);
                    assert_eq!(finished.stderr, "", "{what}");
                    assert_eq!(input.channels, output.channels, "{what}");
                });
            }
        });
    }
}

#[test]
fn what_a_plugin_does_not_have_is_described_as_not_there() {
    for what in ["negative-buses", "negative-params"] {
        let described = info(&hostile(what), "60");
        described.assert_success();
        assert_eq!(described.stderr, "");
        assert!(described.stdout.contains(what), "{}", described.stdout);
        render(&hostile(what), "60").assert_success();
    }
}

/// Neither is needed to describe a plugin and to hear it.
#[test]
fn plugins_whose_editor_or_state_fails_are_usable_without() {
    for some in [
        ["view-aborts", "view-hangs", "state-save-aborts"].as_slice(),
        &["state-save-hangs", "state-save-endless"],
    ] {
        std::thread::scope(|scope| {
            for what in some {
                scope.spawn(move || {
                    let described = info(&hostile(what), "60");
                    described.assert_success();
                    assert!(described.stdout.contains(what), "{}", described.stdout);
                    let finished = render(&hostile(what), "60");
                    let (input, output) = files(&finished);
                    assert_eq!(finished.stderr, "", "{what}");
                    assert_eq!(input.channels, output.channels, "{what}");
                });
            }
        });
    }
}

#[test]
fn a_component_that_hangs_while_its_controller_learns_its_state_is_given_up() {
    hostile_refused(
        [("split-state-hangs", &["no answer to load, create or init within 2s"])],
        &BOTH,
    );
    let finished = render(&hostile("split-state-fails"), "60");
    let (input, output) = files(&finished);
    assert_eq!(finished.stderr, "");
    assert_eq!(input.channels, output.channels);
}

#[test]
fn a_state_that_is_asked_for_and_fails_is_an_error() {
    let supervisor = supervisor();
    let worker = supervisor.start_worker("the plugin", None).unwrap();
    let node = worker.load(&hostile("state-save-aborts").parse().unwrap()).unwrap();
    let error = node.save_state(StateContext::Project).unwrap_err().to_string();
    assert!(error.contains(ABORT) && error.contains("state"), "{error}");
}

#[test]
fn a_plugin_that_lies_about_its_parameters_is_described_all_the_same() {
    let described = info(&hostile("lies-params"), "60");
    described.assert_success();
    assert!(described.stdout.contains("lies-params"), "{}", described.stdout);
    assert!(described.stdout.len() < 1_000_000, "{} bytes", described.stdout.len());
    assert_eq!(described.stderr, "");
}

#[test]
fn a_plugin_that_dies_of_a_state_is_told_from_one_that_refuses_it() {
    let supervisor = supervisor();
    let worker = supervisor.start_worker("the plugin", None).unwrap();
    let node = worker.load(&hostile("state-load-aborts").parse().unwrap()).unwrap();
    let state = node.save_state(StateContext::Project).unwrap();
    let error = node.load_state(state, StateContext::Project).unwrap_err().to_string();
    assert!(error.contains(ABORT) && error.contains("state.load"), "{error}");
}

#[test]
fn one_plugin_that_fails_among_others_does_not_hide_them() {
    let library = example("hostile_vst3").display().to_string();
    let listed = info(&library, "60");
    listed.assert_success();
    for what in ["Hostile create-null", "Hostile init-hangs", "Hostile segfault", "Odd double"] {
        assert!(listed.stdout.contains(what), "{}", listed.stdout);
    }
    assert!(!listed.stdout.contains("5352484F53544354"), "a controller is no plugin");
    let first_page = include_str!("../../plugins-test/examples/hostile_vst3/lib.rs");
    for line in listed.stdout.lines().filter(|line| line.contains("5352484F5354494C")) {
        let name = line.trim().split_once("  ").expect("id and name").1;
        let what = name.trim().replace("Hostile ", "");
        assert!(first_page.contains(&format!("`{what}`")), "{what} is not documented");
    }
}

#[test]
fn an_id_that_is_not_there_is_refused_with_those_that_are() {
    let library = example("hostile_vst3").display().to_string();
    let finished = info(&format!("{library}#Hostile nothing"), "60");
    finished.assert_error(&["no plugin 'Hostile nothing'", "5352484F5354494C", " more"]);
    assert!(finished.stderr.len() < 1000, "{}", finished.stderr);
}
