//! What plugins that try to reach beyond their worker come to, seen from outside: at each level, with
//! grants, and without confinement.
//!
//! Linux: what is tried is what Linux has; `windows` has the same for Windows.
#![cfg(target_os = "linux")]

mod common;

use common::hostile;
use common::program::{Finished, Program};
use std::fs;

/// Lets a plugin try; the program runs in a home of its own.
fn attempt(what: &str, options: &[&str]) -> Finished {
    let mut program = Program::new(["--show-worker-errors"]);
    if !options.contains(&"--confinement") {
        program.command().args(["--confinement", "standard"]);
    }
    let home = program.folder().join("home");
    fs::create_dir_all(home.join(".ssh")).unwrap();
    fs::write(home.join(".ssh/id"), "secret").unwrap();
    for name in ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"] {
        program.command().env_remove(name);
    }
    program.command().env("HOME", &home);
    let options = options.iter().map(|o| o.replace("HOME", &home.display().to_string()));
    program.command().args(options).args(["info", &hostile(what).to_string()]);
    let finished = program.run();
    finished.assert_success();
    finished
}

#[track_caller]
fn assert_refused(finished: &Finished) {
    assert!(finished.stderr.contains(": refused ("), "{}: {}", finished.shown, finished.stderr);
}

#[track_caller]
fn assert_done(finished: &Finished) {
    assert!(finished.stderr.contains(": done"), "{}: {}", finished.shown, finished.stderr);
}

/// What a plugin without confinement may do, and one with may not.
const ESCAPES: [&str; 9] = [
    "opens-socket",
    "reads-home",
    "writes-home",
    "executes",
    "executes-itself",
    "kills-parent",
    "reads-parent",
    "opens-files",
    "changes-mode",
];

#[test]
fn what_is_confined_reaches_nothing_beyond_its_worker() {
    for level in ["standard", "strict"] {
        for what in ESCAPES.into_iter().chain(["eats-memory"]) {
            let tried = attempt(what, &["--confinement", level]);
            assert_refused(&tried);
            assert!(!tried.file("home/written").exists(), "{what}");
        }
    }
}

#[test]
fn the_level_in_force_is_told() {
    let tried = attempt("reads-home", &[]);
    assert_refused(&tried);
    assert!(tried.stdout.contains("confined    standard: Landlock "), "{}", tried.stdout);
}

#[test]
fn without_confinement_all_of_it_is_possible() {
    for what in ESCAPES {
        if what == "executes-itself" || what == "opens-files" {
            continue; // It would be gone; how many files are allowed differs.
        }
        let tried = attempt(what, &["--confinement", "off"]);
        assert_done(&tried);
        assert!(tried.stdout.contains("confined    off"), "{}", tried.stdout);
    }
}

#[test]
fn what_plugins_need_is_possible_at_every_level() {
    for level in ["standard", "strict"] {
        for what in ["starts-thread", "writes-private"] {
            assert_done(&attempt(what, &["--confinement", level]));
        }
    }
    let tried = attempt("writes-private", &[]);
    let folders = fs::read_dir(tried.file("home/.local/share/sandrack/plugins")).unwrap();
    let all: Vec<_> = folders.flatten().map(|entry| entry.path()).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(fs::read(all[0].join("config/settings")).unwrap(), b"x");
}

#[test]
fn a_grant_allows_that_and_no_more() {
    assert_done(&attempt("reads-home", &["--grant-files", "HOME/.ssh"]));
    assert_refused(&attempt("writes-home", &["--grant-files", "HOME"]));
    let tried = attempt("writes-home", &["--grant-files", "HOME:rw"]);
    assert_done(&tried);
    assert!(tried.file("home/written").exists());
    assert_done(&attempt("opens-socket", &["--grant-network"]));
    assert_refused(&attempt("reads-home", &["--grant-network"]));
}

#[test]
fn what_is_refused_is_told_with_the_option_that_allows_it() {
    let socket = attempt("opens-socket", &[]);
    let told = "refused: socket (allowed by --grant-network)";
    assert!(socket.stderr.contains(told), "{}", socket.stderr);
    let executes = attempt("executes-itself", &[]);
    let told = "refused: execve (allowed by --confinement off)";
    assert!(executes.stderr.contains(told), "{}", executes.stderr);
    assert!(!attempt("starts-thread", &[]).stderr.contains("refused"));
}
