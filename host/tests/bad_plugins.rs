//! Files that are no plugins and plugins that fail: one line that says which and why, an exit code
//! that isn't 0, and nothing left behind.

mod common;

use common::program::{Finished, Program};
use common::system::ABORT;
use common::{LONG, example, hostile, plugin};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What to do with a plugin.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Use {
    Info,
    Render,
    Bench,
}

/// Runs the program on a plugin. A request that hangs is given up after two seconds.
fn with(how: Use, plugin: &str) -> Finished {
    within("2", how, plugin)
}

/// Runs the program on a plugin that is slow at the worst, on a machine that may be slow itself.
fn patiently(how: Use, plugin: &str) -> Finished {
    within("60", how, plugin)
}

fn within(seconds: &str, how: Use, plugin: &str) -> Finished {
    let mut program = Program::new(["--timeout", seconds]);
    let folder = program.folder().to_owned();
    let arguments: Vec<OsString> = match how {
        Use::Info => vec!["info".into(), plugin.into()],
        Use::Render => {
            write_wav(&folder.join("in.wav"), 48_000);
            vec![
                "render".into(),
                "in.wav".into(),
                "out.wav".into(),
                "--chain".into(),
                plugin.into(),
                "--frames".into(),
                "64".into(),
            ]
        }
        Use::Bench => {
            let shape = "bench --quick --no-capacity --frames 256 --plugins 2 --isolation plugin";
            let mut words: Vec<OsString> = shape.split(' ').map(OsString::from).collect();
            words.extend(["--plugin".into(), plugin.into()]);
            words
        }
    };
    program.command().args(arguments);
    let finished = program.run();
    if how == Use::Render && !finished.status.success() {
        assert!(!finished.file("out.wav").exists(), "{plugin}: an output in spite of an error");
    }
    finished
}

fn write_wav(path: &Path, frames: u32) {
    let samples: Vec<f32> = (0..2 * frames).map(|n| (n % 101) as f32 / 101.0 - 0.5).collect();
    let format = sandrack_host::wav::SampleFormat::Float32;
    let mut writer = sandrack_host::wav::WavWriter::create(path, 2, 48_000, format).unwrap();
    writer.write_interleaved(&samples).unwrap();
    writer.finish().unwrap();
}

/// That `info` and `render` refuse a plugin in one line with all of `parts`, side by side.
fn refused(cases: &[(String, &[&str])], uses: &[Use]) {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for (plugin, parts) in cases {
            scope.spawn(move || {
                for how in uses {
                    let file = plugin.split('#').next().unwrap();
                    let finished = with(*how, plugin);
                    finished.assert_error(parts).assert_error(&[file]);
                }
            });
        }
    });
    // Each takes two seconds at most for a plugin that hangs; the rest is the machine's.
    assert!(began.elapsed() < 4 * LONG);
}

const EVERYWHERE: &[Use] = &[Use::Info, Use::Render];

/// The beginning of a library of Linux.
fn elf(class: u8, machine: u16) -> Vec<u8> {
    let mut bytes = b"\x7fELF".to_vec();
    bytes.extend([class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0]);
    bytes.extend(machine.to_le_bytes());
    bytes.resize(200, 0);
    bytes
}

/// The beginning of a library of Windows.
fn pe(machine: u16) -> Vec<u8> {
    let mut bytes = vec![0; 200];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    bytes[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
    bytes
}

#[test]
fn what_is_not_a_plugin_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| -> String {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let (x86_64, aarch64, of_32_bits) = if cfg!(windows) {
        (pe(0x8664), pe(0xaa64), pe(0x14c))
    } else {
        (elf(2, 62), elf(2, 183), elf(1, 3))
    };
    let (ours, other, name) = match std::env::consts::ARCH {
        "x86_64" => (x86_64, aarch64, ["aarch64"]),
        _ => (aarch64, x86_64, ["x86_64"]),
    };
    let (foreign, system) = match cfg!(windows) {
        true => (elf(2, 62), ["Linux"]),
        false => (pe(0x8664), ["Windows"]),
    };
    let half = fs::read(example("no_symbol")).unwrap();
    let half = &half[..half.len() / 2];
    let sub = folder.path().join("folder.clap");
    fs::create_dir(&sub).unwrap();
    let cases: Vec<(String, &[&str])> = vec![
        (folder.path().join("missing.clap").display().to_string(), &["no such file"]),
        (file("empty.clap", b""), &["empty"]),
        (file("text.clap", b"This is a text.\n"), &["not a library"]),
        (sub.display().to_string(), &["folder"]),
        (file("other.clap", &other), &name),
        (file("old.clap", &of_32_bits), &["32-bit"]),
        (file("foreign.clap", &foreign), &system),
        (file("mac.clap", &[0xcf, 0xfa, 0xed, 0xfe, 7, 0, 0, 1]), &["macOS"]),
        (file("stub.clap", &ours[..4]), &[]),
        (file("short.clap", &ours), &["can't be loaded"]),
        (file("half.clap", half), &["can't be loaded"]),
    ];
    refused(&cases, EVERYWHERE);
}

// Windows has neither sockets nor pipes among files, and lets an administrator read what he may not.
#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_is_refused_with_the_reason() {
    if rustix::process::geteuid().is_root() {
        // Root may read anything; what can't be opened at all is a socket.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket.clap");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        refused(&[(path.display().to_string(), &[])], EVERYWHERE);
    } else {
        refused(&[("/proc/1/mem".to_owned(), &["ermission"])], EVERYWHERE);
    }
}

#[cfg(unix)]
#[test]
fn a_device_or_a_pipe_is_no_plugin_and_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.clap");
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, 0o600.into(), 0).unwrap();
    refused(&[(pipe.display().to_string(), &[]), ("/dev/zero".to_owned(), &[])], EVERYWHERE);
}

// Windows has no such names.
#[cfg(unix)]
#[test]
fn a_name_that_no_terminal_should_see_stays_on_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a\nb\x1b[31m\tc.clap");
    fs::write(&path, b"text").unwrap();
    let finished = with(Use::Info, &path.display().to_string());
    finished.assert_error(&["c.clap", "not a library"]);
    assert!(!finished.stderr.contains('\x1b'));
}

#[test]
fn libraries_whose_entry_fails_are_refused_with_the_reason() {
    let file = |name| example(name).display().to_string();
    let cases: Vec<(String, &[&str])> = vec![
        (file("no_symbol"), &["clap_entry"]),
        (file("no_factory"), &["factory"]),
        (file("bad_entry_fails"), &["can't be loaded"]),
        (file("bad_entry_hangs"), &["no answer to load", "2s"]),
        (file("bad_entry_aborts"), &[ABORT]),
        (file("bad_entry_exits"), &["exited with code 0"]),
        // An id makes no difference.
        (format!("{}#some.id", file("bad_entry_fails")), &["can't be loaded"]),
        (format!("{}#some.id", file("bad_entry_hangs")), &["no answer to load"]),
    ];
    refused(&cases, EVERYWHERE);
}

#[test]
fn an_id_that_is_not_there_is_refused_with_those_that_are() {
    let file = plugin("gain").path.display().to_string();
    let cases: Vec<(String, &[&str])> = vec![(
        format!("{file}#org.sandrack.test.gian"),
        &["no plugin 'org.sandrack.test.gian'", "org.sandrack.test.gain", "org.sandrack.test.burn"],
    )];
    refused(&cases, &[Use::Info, Use::Render, Use::Bench]);
}

#[test]
fn plugins_that_fail_to_start_are_refused_with_the_reason() {
    let cases: [(&str, &'static [&'static str]); 11] = [
        ("create-null", &["create"]),
        ("init-fails", &["init"]),
        ("init-panics", &[ABORT, "init"]),
        ("init-aborts", &[ABORT, "init"]),
        ("init-exits", &["exited with code 0", "init"]),
        ("init-hangs", &["no answer to load, create or init within 2s"]),
        ("activate-fails", &["activate"]),
        ("activate-aborts", &[ABORT, "activate"]),
        ("activate-exits", &["exited with code 0", "activate"]),
        ("activate-hangs", &["no answer to activate within 2s"]),
        ("start-fails", &["start_processing"]),
    ];
    let cases: Vec<(String, &[&str])> =
        cases.into_iter().map(|(what, parts)| (hostile(what).to_string(), parts)).collect();
    refused(&cases, EVERYWHERE);
}

#[test]
fn the_bench_refuses_plugins_as_the_other_commands_do() {
    let cases: Vec<(String, &[&str])> = vec![
        ("/nowhere/at-all.clap".into(), &["no such file"]),
        (hostile("init-aborts").to_string(), &[ABORT]),
        (hostile("activate-hangs").to_string(), &["no answer to activate"]),
        (example("bad_entry_exits").display().to_string(), &["exited with code 0"]),
    ];
    for case in cases {
        refused(&[case], &[Use::Bench]);
    }
}

#[test]
fn a_plugin_that_lies_about_its_ports_is_refused() {
    refused(&[(hostile("lies-audio-ports").to_string(), &[])], EVERYWHERE);
}

#[test]
fn a_plugin_that_lies_about_its_parameters_is_described_all_the_same() {
    let lies = hostile("lies-params").to_string();
    let finished = patiently(Use::Info, &lies);
    finished.assert_success();
    assert!(finished.stdout.contains("org.sandrack.hostile.lies-params"), "{}", finished.stdout);
    assert!(finished.stdout.len() < 10_000_000, "{} bytes", finished.stdout.len());
    assert_eq!(finished.stderr, "");
    patiently(Use::Render, &lies).assert_success();
    let mut json = Program::new(["--timeout", "60", "info", "--json"]);
    json.command().arg(&lies);
    let json = json.run();
    json.assert_success();
    let value: serde_json::Value = serde_json::from_str(&json.stdout).expect("valid JSON");
    assert_eq!(value[0]["descriptor"]["id"], "org.sandrack.hostile.lies-params");
}

#[test]
fn plugins_that_break_the_rules_in_every_block_are_rendered_all_the_same() {
    for what in ["params-change", "wrong-threads", "refuses-all", "bad-events", "event-flood"] {
        let plugin = hostile(what).to_string();
        patiently(Use::Info, &plugin).assert_success();
        let finished = patiently(Use::Render, &plugin);
        finished.assert_success();
        assert!(finished.file("out.wav").exists(), "{what}");
    }
}

#[test]
fn a_plugin_that_counts_its_ports_anew_each_time_harms_nobody() {
    // What it says differs from call to call: there is nothing right to do with it, but it ends in
    // an output or in one line.
    let plugin = hostile("lies-port-counts").to_string();
    patiently(Use::Info, &plugin).assert_success();
    let finished = patiently(Use::Render, &plugin);
    if !finished.status.success() {
        finished.assert_error(&["lies-port-counts"]);
    }
}

#[test]
fn plugins_that_hang_at_the_end_are_used_all_the_same() {
    for what in ["destroy-hangs", "state-save-hangs"] {
        let plugin = hostile(what).to_string();
        patiently(Use::Info, &plugin).assert_success();
        let finished = patiently(Use::Render, &plugin);
        finished.assert_success();
        assert!(finished.file("out.wav").exists());
    }
}

#[test]
fn one_plugin_that_fails_among_others_does_not_hide_them() {
    let library = example("hostile").display().to_string();
    let listed = patiently(Use::Info, &library);
    listed.assert_success();
    for what in ["create-null", "init-hangs", "segfault"] {
        assert!(listed.stdout.contains(what), "{}", listed.stdout);
    }
    let all = Program::new(["--timeout", "1", "info", "--all", &library]).run();
    all.assert_success();
    for text in ["no answer to load", ABORT, "create", "org.sandrack.hostile.nan"] {
        assert!(all.stdout.contains(text), "{text}: {}", all.stdout);
    }
}

#[test]
fn a_library_of_many_plugins_says_so_where_one_is_needed() {
    // Without an id, the first: what a user gets must be said by `info`, and be the same again.
    let library: PathBuf = plugin("gain").path;
    let finished = patiently(Use::Render, &library.display().to_string());
    finished.assert_success();
}

#[test]
fn options_that_make_no_sense_are_refused_before_anything_starts() {
    let plugin = plugin("gain").to_string();
    for arguments in [
        vec!["--timeout", "0", "info", &plugin],
        vec!["--timeout", "-1", "info", &plugin],
        vec!["--timeout", "nan", "info", &plugin],
        vec!["bench", "--frames", "15"],
        vec!["bench", "--frames", "8193"],
        vec!["bench", "--rate", "0"],
        vec!["bench", "--plugins", "0"],
        vec!["bench", "--plugins", "5000"],
        vec!["bench", "--tracks", "4294967295", "--plugins", "4294967295"],
        vec!["bench", "--seconds", "nan"],
        vec!["bench", "--driver", "none"],
        vec!["bench", "--load-us", "-1"],
        vec!["render", "a.wav", "b.wav"],
        vec!["render", "a.wav", "b.wav", "--chain", &plugin, "--frames", "0"],
        vec!["render", "a.wav", "b.wav", "--chain", &plugin, "--tail", "inf"],
        vec!["render", "a.wav", "b.wav", "--chain", ""],
        vec!["info", ""],
        vec!["no-such-command"],
    ] {
        let finished = Program::new(&arguments).run();
        assert!(!finished.status.success(), "{arguments:?} succeeded");
        assert!(!finished.stderr.is_empty(), "{arguments:?}");
        assert!(!finished.stderr.contains("panicked"), "{arguments:?}: {}", finished.stderr);
    }
}

#[test]
fn help_begins_with_the_three_commands_that_are_used_most() {
    let finished = Program::new::<&str>([]).run();
    let text = format!("{}{}", finished.stdout, finished.stderr);
    let places: Vec<usize> = ["  bench", "  info", "  render", "  devices", "  calibrate"]
        .iter()
        .map(|word| text.find(word).unwrap_or_else(|| panic!("no{word} in {text}")))
        .collect();
    assert!(places.is_sorted(), "{text}");
}
