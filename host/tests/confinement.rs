//! What plugins that try to reach beyond their worker come to, seen from outside: at each level, with
//! grants, and without confinement; as whoever runs the tests and, if that is root, as an ordinary user.
//!
//! Linux: what is tried is what Linux has; `windows` has the same for Windows.
#![cfg(target_os = "linux")]

mod common;

use common::program::{Finished, Program};
use common::{PROGRAM, example, hostile};
use std::collections::BTreeMap;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::Path;

/// Who tries.
#[derive(Clone, Copy, Debug, PartialEq)]
enum User {
    Own,
    /// `nobody`; for tests that run as root.
    Nobody,
}

impl User {
    fn all() -> &'static [Self] {
        match rustix::process::geteuid().is_root() {
            true => &[Self::Own, Self::Nobody],
            false => &[Self::Own],
        }
    }

    fn give(self, path: &Path) {
        if self == Self::Nobody {
            chown(path, Some(65534), Some(65534)).unwrap();
        }
    }
}

/// Lets the library `escapes` try all that it knows: what came of each.
fn escapes(user: User, options: &[&str]) -> (BTreeMap<String, String>, Finished) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Where anybody may read them.
    let (program, library) = (folder.path().join("sandrack"), folder.path().join("escapes.so"));
    fs::copy(PROGRAM, &program).unwrap();
    fs::copy(example("escapes"), &library).unwrap();
    let socket = folder.path().join("socket");
    let _local = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    let name = format!("sandrack-escapes-{}", folder.path().display());
    let _abstract =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();

    let memory = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    fs::set_permissions(memory.path(), fs::Permissions::from_mode(0o666)).unwrap();
    user.give(memory.path());

    let mut program = Program::of(&program, ["--show-worker-errors"]);
    let home = program.folder().join("home");
    fs::create_dir_all(home.join(".ssh")).unwrap();
    fs::write(home.join(".ssh/id"), "secret").unwrap();
    fs::write(home.join("victim"), "x").unwrap();
    for path in [".", "tmp", "home", "home/.ssh", "home/.ssh/id", "home/victim"] {
        user.give(&program.folder().join(path));
    }
    if user == User::Nobody {
        program.command().uid(65534).gid(65534);
    }
    for name in ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"] {
        program.command().env_remove(name);
    }
    program.command().env("HOME", &home).env("SANDRACK_ESCAPE_SOCKET", &socket);
    program.command().env("SANDRACK_ESCAPE_ABSTRACT", &name);
    program.command().env("SANDRACK_ESCAPE_MEMORY", memory.path());
    program.command().args(options).arg("info").arg(&library);
    let finished = program.run();
    let tried = finished.stderr.lines().filter_map(|line| {
        let (name, outcome) = line.strip_prefix("escape ")?.split_once(": ")?;
        Some((name.to_owned(), outcome.to_owned()))
    });
    (tried.collect(), finished)
}

#[test]
fn no_way_leads_out_of_a_worker() {
    for &user in User::all() {
        for options in [
            &["--confinement", "standard"][..],
            &["--confinement", "strict"],
            &[], // Standard is what nobody has to ask for.
        ] {
            let (tried, finished) = escapes(user, options);
            assert!(tried.len() > 60, "{user:?} {options:?}: {}", finished.stderr);
            let done: Vec<_> = tried.iter().filter(|(_, outcome)| *outcome == "done").collect();
            assert!(done.is_empty(), "{user:?} {options:?}: {done:?}: {}", finished.stderr);
            assert!(!finished.file("home/written").exists());
            assert!(finished.file("home/victim").exists());
        }
    }
}

#[test]
fn the_ways_out_are_there_without_confinement() {
    // Otherwise the test above would show nothing. (The rest needs rights that not every user has, or
    // parts that not every kernel has.)
    let open = [
        "read-home",
        "list-home",
        "write-home",
        "link-in",
        "symlink-in",
        "change-mode",
        "temporary",
        "shared-memory",
        "spoil-shared-memory",
        "remove-shared-memory",
        "list-shared-memory",
        "parent-environment",
        "parent-files",
        "other-processes",
        "socket-inet",
        "socket-netlink",
        "socket-datagram",
        "connect-path",
        "connect-symlink",
        "connect-abstract",
        "execute",
        "fork",
        "vfork-thread",
        "signal-parent",
        "signal-parent-thread",
        "open-parent",
        "limit-parent",
        "pin-parent",
        "class-of-parent",
        "nice-parent",
        "new-filter",
        "stay-hidden",
        "outlive-parent",
    ];
    for &user in User::all() {
        let (tried, finished) = escapes(user, &["--confinement", "off"]);
        let shut: Vec<_> = open.iter().filter(|name| tried[**name] != "done").collect();
        assert!(shut.is_empty(), "{user:?}: {shut:?}: {}", finished.stderr);
    }
}

#[test]
fn the_network_opens_no_local_socket() {
    for &user in User::all() {
        let (tried, finished) = escapes(user, &["--grant-network"]);
        assert_eq!(tried["socket-inet"], "done");
        for what in ["connect-path", "connect-symlink", "connect-abstract", "socket-datagram"] {
            assert_ne!(tried[what], "done", "{user:?} {what}: {}", finished.stderr);
        }
        for told in ["refused: connect to /", "refused: connect to @sandrack-escapes-"] {
            assert!(finished.stderr.contains(told), "{user:?} {told}: {}", finished.stderr);
        }
    }
}

/// Lets a plugin try; the program runs in a home of its own.
fn attempt(what: &str, options: &[&str]) -> Finished {
    let mut program = Program::new(["--show-worker-errors"]);
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
    for (what, told) in [
        ("opens-socket", "refused: socket (allowed by --grant-network)"),
        ("executes-itself", "refused: execve (allowed by --confinement off)"),
        ("reads-home", "/home/.ssh/id to read (allowed by --grant-files /"),
        ("writes-home", "/home/written to make it (allowed by --grant-files /"),
        ("changes-mode", "/home/.ssh/id (allowed by --confinement off)"),
        ("reads-parent", "/environ to read (allowed by --grant-files /proc/"),
    ] {
        let tried = attempt(what, &[]);
        assert!(tried.stderr.contains(told), "{what}: {}", tried.stderr);
        // In what is printed, too.
        let short = told.trim_start_matches("refused: ");
        let line = tried.stdout.lines().find(|line| line.starts_with("  refused     "));
        assert!(line.is_some_and(|line| line.contains(short)), "{what}: {}", tried.stdout);
    }
    assert!(!attempt("starts-thread", &[]).stderr.contains("refused"));
}

#[test]
fn what_is_told_to_allow_it_allows_it() {
    let mut program = Program::new(["info", "--json", &hostile("reads-home").to_string()]);
    let home = program.folder().join("home");
    fs::create_dir_all(home.join(".ssh")).unwrap();
    fs::write(home.join(".ssh/id"), "secret").unwrap();
    program.command().env("HOME", &home);
    let finished = program.run();
    let all: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(all[0]["confinement"]["level"], "standard");
    let refused = &all[0]["refused"][0];
    assert!(refused["what"].as_str().unwrap().ends_with(".ssh/id to read"), "{refused}");
    let grant = refused["grant"].as_str().unwrap().split_once(' ').unwrap();
    assert_eq!(grant.0, "--grant-files");
    assert!(grant.1.ends_with("/home/.ssh/id"));
    assert_done(&attempt("reads-home", &["--grant-files", "HOME/.ssh/id"]));
}
