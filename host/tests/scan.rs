//! `scan`, `list` and plugins by name, as a user has them: folders of plugins good and bad, several
//! runs of the program one after the other or side by side, one list that they share.
//!
//! Unix: it lays links across folders, which Windows lets few users do.
#![cfg(unix)]

mod common;

use common::program::{Finished, Program};
use common::{example, plugin};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Plugins in [`plugin`]'s library.
const GOOD: u64 = 8;

/// A folder for plugins, and a list of them that several runs share.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("plugins")).unwrap();
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join("plugins").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn install(&self, library: &Path, name: &str) -> PathBuf {
        fs::copy(library, self.at(name)).unwrap();
        self.at(name)
    }

    fn good(&self, name: &str) -> PathBuf {
        self.install(&plugin("gain").path, name)
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn program(&self, arguments: &[&str]) -> Program {
        let home = self.folder.path().join("home").display().to_string();
        Program::new(arguments)
            .env("SANDRACK_CACHE", &self.cache().display().to_string())
            .env("HOME", &home)
            .env("CLAP_PATH", "")
            .env("VST3_PATH", "")
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        self.program(arguments).run()
    }

    /// Scans the folder.
    fn scan(&self, more: &[&str]) -> Value {
        let folder = self.folder.path().join("plugins").display().to_string();
        let arguments = [&["scan", "--json", folder.as_str()], more].concat();
        let finished = self.run(&arguments);
        finished.assert_success();
        serde_json::from_str(&finished.stdout).expect("JSON")
    }

    fn list(&self, words: &[&str]) -> Vec<Value> {
        let finished = self.run(&[&["list", "--json"], words].concat());
        finished.assert_success();
        serde_json::from_str(&finished.stdout).expect("JSON")
    }
}

#[track_caller]
fn expect(scan: &Value, files: u64, listed: u64, plugins: u64, failed: &[(&str, &str)]) {
    assert_eq!(scan["files"], files, "{scan:#}");
    assert_eq!(scan["listed"], listed, "{scan:#}");
    assert_eq!(scan["plugins"], plugins, "{scan:#}");
    let found = scan["failed"].as_array().unwrap();
    assert_eq!(found.len(), failed.len(), "{scan:#}");
    for (one, (name, reason)) in found.iter().zip(failed) {
        let (path, said) = (one["path"].as_str().unwrap(), one["reason"].as_str().unwrap());
        assert!(path.ends_with(name), "{name}: {one:#}");
        assert!(said.contains(reason), "{reason}: {one:#}");
        assert!(!said.contains(path), "the path is said twice: {one:#}");
    }
}

/// Empties a library of all but its first bytes, and gives it the length and time it had.
fn replace_unnoticed(path: &Path) {
    let data = fs::metadata(path).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(64).unwrap();
    file.set_len(data.len()).unwrap();
    file.set_modified(data.modified().unwrap()).unwrap();
}

fn touch(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
}

#[test]
fn bad_plugins_are_listed_with_the_reason_and_stop_nothing() {
    let machine = Machine::new();
    machine.good("maker/deep/Good.clap");
    machine.install(&example("bad_entry_aborts"), "aborts.clap");
    machine.install(&example("bad_entry_exits"), "exits.clap");
    machine.install(&example("bad_entry_fails"), "fails.clap");
    machine.install(&example("bad_entry_hangs"), "hangs.clap");
    machine.install(&example("no_symbol"), "strange.clap");
    machine.install(&example("no_factory"), "strange.txt");
    fs::write(machine.at("text.clap"), "This is a text.\n").unwrap();
    fs::create_dir_all(machine.at("empty.vst3/Contents/x86_64-linux")).unwrap();
    symlink("/nowhere/at-all", machine.at("z-nowhere.clap")).unwrap();
    let failed = [
        ("aborts.clap", "SIGABRT"),
        ("empty.vst3", "no library in its Contents"),
        ("exits.clap", "exited with code 0"),
        ("fails.clap", "init() returned false"),
        ("hangs.clap", "did not answer within 3s"),
        ("strange.clap", "no clap_entry"),
        ("text.clap", "not a library"),
        ("z-nowhere.clap", "no such file"),
    ];
    expect(&machine.scan(&["--timeout", "3"]), 9, 9, GOOD, &failed);

    // None of them is tried again, and all are still said.
    expect(&machine.scan(&[]), 9, 0, GOOD, &failed);
    let text = machine.run(&["scan", &machine.at("").display().to_string()]);
    text.assert_success();
    assert!(text.stdout.contains("Found 8 plugins in 9 files (9 unchanged"), "{}", text.stdout);
    assert!(text.stdout.contains("8 files failed"), "{}", text.stdout);
    let listed = machine.run(&["list", "--failed", "SIGABRT"]);
    assert_eq!(listed.stdout.lines().count(), 1, "{}", listed.stdout);
    assert!(listed.stdout.contains("aborts.clap\tits worker was ended"), "{}", listed.stdout);

    // Until asked for; or until one changes.
    fs::remove_file(machine.at("hangs.clap")).unwrap();
    let left: Vec<_> = failed.iter().copied().filter(|(name, _)| *name != "hangs.clap").collect();
    expect(&machine.scan(&["--retry"]), 8, 7, GOOD, &left);
    machine.good("aborts.clap");
    expect(&machine.scan(&[]), 8, 1, 2 * GOOD, &left[1..]);
    expect(&machine.scan(&["--rescan"]), 8, 8, 2 * GOOD, &left[1..]);
}

#[test]
fn a_library_that_can_not_end_is_listed_all_the_same() {
    let machine = Machine::new();
    machine.install(&example("bad_exit_aborts"), "end.clap");
    expect(&machine.scan(&[]), 1, 1, 1, &[]);
    assert_eq!(machine.list(&["bad", "exit"])[0]["name"], "Sandrack Bad Exit");
}

#[test]
fn a_file_is_listed_again_only_when_its_size_or_time_changes() {
    let machine = Machine::new();
    let file = machine.good("Good.clap");
    fs::create_dir(machine.at("Folder.clap")).unwrap();
    let inner = machine.good("Folder.clap/main.so");
    expect(&machine.scan(&[]), 2, 2, 2 * GOOD, &[]);
    // There is no plugin in them any more: whoever lists them again finds none.
    replace_unnoticed(&file);
    replace_unnoticed(&inner);
    fs::copy(plugin("gain").path, machine.at("x.clap")).unwrap();
    expect(&machine.scan(&[]), 3, 1, 3 * GOOD, &[]);
    // Whoever asks for it learns that they are broken.
    let broken = [("Folder.clap", "can't be loaded"), ("Good.clap", "can't be loaded")];
    expect(&machine.scan(&["--rescan"]), 3, 3, GOOD, &broken);
}

#[test]
fn a_changed_file_is_listed_again_and_a_vanished_one_forgotten() {
    let machine = Machine::new();
    let (a, b) = (machine.good("a.clap"), machine.good("sub/b.clap"));
    expect(&machine.scan(&[]), 2, 2, 2 * GOOD, &[]);
    touch(&a);
    expect(&machine.scan(&[]), 2, 1, 2 * GOOD, &[]);
    fs::write(&b, "now a text").unwrap();
    expect(&machine.scan(&[]), 2, 1, GOOD, &[("b.clap", "not a library")]);
    // What is gone is not listed, scanned or not.
    fs::remove_file(&a).unwrap();
    assert!(machine.list(&[]).is_empty());
    expect(&machine.scan(&[]), 1, 0, 0, &[("b.clap", "not a library")]);
    let kept = fs::read_to_string(machine.cache().join("plugins.json")).unwrap();
    assert!(!kept.contains("a.clap") && kept.contains("b.clap"), "{kept}");
    // Of another folder nothing is forgotten.
    let other = Machine::new();
    other.good("c.clap");
    machine.run(&["scan", &other.at("").display().to_string()]).assert_success();
    assert_eq!(machine.list(&["--failed"]).len(), 1);
    assert_eq!(machine.list(&[]).len() as u64, GOOD);
}

#[test]
fn links_that_lead_back_are_followed_once() {
    let machine = Machine::new();
    machine.good("real/a.clap");
    symlink(machine.at(""), machine.at("real/back")).unwrap();
    symlink(machine.at("real"), machine.at("other")).unwrap();
    symlink(machine.at("real/a.clap"), machine.at("b.clap")).unwrap();
    symlink(machine.at("self"), machine.at("self")).unwrap();
    symlink("loop.clap", machine.at("loop.clap")).unwrap();
    let scan = machine.scan(&[]);
    assert_eq!(scan["files"], 2, "{scan:#}");
    assert_eq!(scan["plugins"], GOOD, "{scan:#}");
    assert!(scan["failed"][0]["path"].as_str().unwrap().ends_with("loop.clap"), "{scan:#}");
}

#[test]
fn links_that_lead_up_are_not_followed() {
    let machine = Machine::new();
    machine.good("mine/a.clap");
    machine.good("not-asked-for/b.clap");
    // To a folder above that which is searched, and to all that there is.
    symlink(machine.at(""), machine.at("mine/up")).unwrap();
    symlink("/", machine.at("mine/deep/all")).unwrap();
    let files = |root: &str| {
        let root = machine.at(root).display().to_string();
        let scan = machine.run(&["scan", "--json", &root]);
        scan.assert_success();
        let scan: Value = serde_json::from_str(&scan.stdout).expect("JSON");
        scan["files"].as_u64().expect("a number")
    };
    assert_eq!(files("mine"), 1);
    // A link that is named itself is meant.
    assert_eq!(files("mine/up"), 2);
}

#[test]
fn without_folders_the_standard_ones_and_those_of_the_environment_are_scanned() {
    let machine = Machine::new();
    for name in ["one/a.clap", "two/b.clap", "three/c.clap", "home/.clap/d.clap"] {
        machine.good(name);
    }
    let folders = |names: &[&str]| {
        let joined = std::env::join_paths(names.iter().map(|name| machine.at(name))).unwrap();
        joined.into_string().unwrap()
    };
    let finished = machine
        .program(&["scan"])
        .env("CLAP_PATH", &folders(&["one", "two", "not-there"]))
        .env("VST3_PATH", &folders(&["three", "one"]))
        .env("HOME", &machine.at("home").display().to_string())
        .run();
    finished.assert_success();
    let mine = machine.at("").display().to_string();
    let mut files: Vec<String> = machine
        .list(&["org.sandrack.test.gain"])
        .iter()
        .filter_map(|known| Some(known["path"].as_str()?.strip_prefix(&mine)?.to_owned()))
        .collect();
    files.sort();
    assert_eq!(files, ["home/.clap/d.clap", "one/a.clap", "three/c.clap", "two/b.clap"]);
}

#[test]
fn a_plugin_file_can_be_named_and_a_missing_folder_is_an_error() {
    let machine = Machine::new();
    let file = machine.good("plain.so").display().to_string();
    machine.run(&["scan", &file]).assert_success();
    assert_eq!(machine.list(&[]).len() as u64, GOOD);
    machine.run(&["scan", "/no/such/folder"]).assert_error(&["/no/such/folder", "No such file"]);
}

#[test]
fn scans_side_by_side_keep_what_each_other_found() {
    let machine = Machine::new();
    let names = ["a", "b", "c", "d"];
    for name in names {
        machine.good(&format!("{name}/{name}.clap"));
        machine.install(&example("bad_entry_aborts"), &format!("{name}/bad.clap"));
    }
    let scan = |name: &str| machine.program(&["scan", &machine.at(name).display().to_string()]);
    let started: Vec<_> = names.iter().chain(&names).map(|name| scan(name).start()).collect();
    for one in started {
        one.finish().assert_success();
    }
    assert_eq!(machine.list(&[]).len() as u64, 4 * GOOD);
    assert_eq!(machine.list(&["--failed"]).len(), 4);
    let left = common::program::files_in(&machine.cache());
    assert_eq!(left, ["plugins.json", "plugins.lock"]);
}

#[test]
fn a_list_that_is_broken_is_said_and_made_anew() {
    let machine = Machine::new();
    let file = machine.good("a.clap").display().to_string();
    machine.run(&["list"]).assert_error(&["sandrack scan"]);
    machine.run(&["info", "Sandrack Gain"]).assert_error(&["Sandrack Gain", "sandrack scan"]);
    machine.scan(&[]);
    let list = machine.cache().join("plugins.json");
    let good = fs::read(&list).unwrap();
    for (content, said) in [
        (&good[..good.len() / 2], "damaged"),
        (b"\0\0\0\0", "damaged"),
        (br#"{"version":99,"files":{"new":"things"}}"#, "version 99"),
    ] {
        fs::write(&list, content).unwrap();
        machine.run(&["list"]).assert_error(&["plugins.json", said, "sandrack scan"]);
        machine.run(&["info", "Sandrack Gain"]).assert_error(&["plugins.json", said]);
        // What is named by its file does not need the list.
        machine.run(&["info", &format!("{file}#org.sandrack.test.gain")]).assert_success();
        let finished = machine.run(&["scan", &file]);
        finished.assert_success();
        assert!(finished.stderr.contains(said), "{}", finished.stderr);
        assert_eq!(machine.list(&[]).len() as u64, GOOD);
    }
    // A list that can't be kept is said before anything is scanned.
    fs::remove_dir_all(machine.cache()).unwrap();
    fs::write(machine.cache(), "in the way").unwrap();
    machine.run(&["scan", &file]).assert_error(&["cache"]);
}

#[test]
fn plugins_are_listed_by_words_in_order_of_their_names() {
    let machine = Machine::new();
    let file = machine.good("a.clap").display().to_string();
    machine.scan(&[]);
    let all = machine.list(&[]);
    let names: Vec<String> =
        all.iter().map(|known| known["name"].as_str().unwrap().to_lowercase()).collect();
    assert!(names.is_sorted() && names.len() as u64 == GOOD, "{names:?}");
    assert_eq!(machine.list(&["instrument"]).len(), 1);
    assert_eq!(machine.list(&["CLAP", "sandrack", "EFFECT", "gain"]).len(), 1);
    assert_eq!(machine.list(&["vst3"]).len(), 0);
    let one = &machine.list(&["synth"])[0];
    assert_eq!(one["id"], "org.sandrack.test.synth");
    assert_eq!((&one["format"], &one["kind"]), (&"clap".into(), &"instrument".into()));

    let text = machine.run(&["list", "synth"]);
    text.assert_success();
    let cells: Vec<&str> = text.stdout.trim_end().split('\t').collect();
    let reference = format!("{file}#org.sandrack.test.synth");
    assert_eq!(cells[2..], ["instrument", "CLAP", &reference], "{}", text.stdout);
    let nothing = machine.run(&["list", "no-such-thing"]);
    nothing.assert_success();
    assert_eq!(nothing.stdout, "");
    assert!(nothing.stderr.contains("no-such-thing"));
}

#[test]
fn a_scanned_plugin_can_be_used_by_its_name() {
    let machine = Machine::new();
    machine.good("a.clap");
    machine.scan(&[]);
    let gain = &machine.list(&["org.sandrack.test.gain"])[0];
    let name = gain["name"].as_str().unwrap().to_uppercase();
    for name in [name.as_str(), "org.sandrack.test.gain"] {
        let finished = machine.run(&["info", "--json", name]);
        finished.assert_success();
        let said: Value = serde_json::from_str(&finished.stdout).unwrap();
        assert_eq!(said[0]["descriptor"]["id"], "org.sandrack.test.gain");
        assert_eq!(said[0]["path"], gain["path"]);
    }
    let near = format!("{}x", gain["name"].as_str().unwrap());
    machine.run(&["info", &near]).assert_error(&[&near, gain["name"].as_str().unwrap()]);
    machine.run(&["info", "Qwertyuiop"]).assert_error(&["Qwertyuiop", "no such file"]);
    machine.run(&["info", "./missing.clap"]).assert_error(&["./missing.clap: no such file"]);

    let program = machine.program(&["render", "in.wav", "out.wav", "--chain", &name]);
    let format = sandrack_host::wav::SampleFormat::Float32;
    let mut writer =
        sandrack_host::wav::WavWriter::create(&program.folder().join("in.wav"), 2, 48_000, format)
            .unwrap();
    writer.write_interleaved(&[0.25; 2000]).unwrap();
    writer.finish().unwrap();
    program.run().assert_success();

    // The same plugin as VST3 too: CLAP is preferred, and the other has an id of its own.
    machine.good("z.vst3");
    let scan = machine.scan(&[]);
    assert_eq!((&scan["clap"], &scan["vst3"]), (&GOOD.into(), &GOOD.into()), "{scan:#}");
    let format = |plugin: &str| {
        let finished = machine.run(&["info", "--json", plugin]);
        finished.assert_success();
        let said: Value = serde_json::from_str(&finished.stdout).unwrap();
        said[0]["format"].as_str().unwrap().to_owned()
    };
    assert_eq!(format(&name), "clap");
    let vst3 = machine.list(&["vst3", &name]);
    assert_eq!(vst3.len(), 1, "{vst3:?}");
    assert_eq!(format(vst3[0]["id"].as_str().unwrap()), "vst3");

    // Two files with the same plugin: which is meant must be said.
    machine.good("b.clap");
    machine.scan(&[]);
    machine.run(&["info", &name]).assert_error(&["3 plugins", "a.clap#org.sandrack.test.gain"]);
}

#[test]
fn what_info_says_as_json_is_complete() {
    let finished = Program::new(["info", "--json", &plugin("synth").to_string()]).run();
    finished.assert_success();
    let said: Value = serde_json::from_str(&finished.stdout).unwrap();
    let one = &said[0];
    assert_eq!(one["format"], "clap");
    assert!(one["path"].as_str().unwrap().contains("sandrack_plugins_test"));
    assert!(one["state_bytes"].as_u64().unwrap() > 0, "{one:#}");
    assert_eq!(one["latency"], 0);
    assert_eq!(one["error"], Value::Null);
    assert!(one["tail"].is_u64() || one["tail_is_endless"] == true, "{one:#}");
    for field in ["id", "name", "module", "min", "max", "default", "value", "text", "unit", "steps"]
    {
        assert!(!one["params"][0][field].is_null(), "{field}: {:#}", one["params"][0]);
    }
    // Every name that the documentation gives is there.
    let documented = include_str!("../../docs/json.md");
    let object = one.as_object().unwrap();
    for name in object.keys().chain(one["params"][0].as_object().unwrap().keys()) {
        assert!(documented.contains(&format!("`{name}`")), "{name} is not documented");
    }
}
