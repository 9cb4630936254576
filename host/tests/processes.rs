//! Workers come and go with their host, however it ends, and may do what they must and no more.
//!
//! Linux: it looks into /proc. `windows` does the same for Windows.
#![cfg(target_os = "linux")]

mod common;

use common::offline::{Offline, PATIENT};
use common::players::{rig, saved_rig, track};
use common::program::{Program, Started, children_of, files_in, send};
use common::system::Signal;
use common::{LONG, PROGRAM, becomes_true, hostile, plugin, supervisor_of, supervisor_with};
use sandrack_host::report::Isolation;
use sandrack_sandbox::protocol::{Activation, VERSION};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// A bench that goes on for longer than anybody waits.
fn long_bench(plugins: u32) -> Program {
    let plugins = plugins.to_string();
    // Many runs, and not a long one: as long as a run, an empty callback is measured first.
    let loads: Vec<String> = (0..300).map(|load| load.to_string()).collect();
    let arguments = "bench --quick --no-capacity --isolation plugin --frames 2048 --seconds 1";
    let mut program = Program::new(arguments.split(' '));
    program.command().args(["--load-us", &loads.join(","), "--plugins", &plugins]);
    program
}

/// Shared memory with a name that Sandrack could have given it.
fn named_shared_memory() -> Vec<String> {
    let mut names = files_in(Path::new("/dev/shm"));
    names.retain(|name| name.contains("sandrack") || name.contains("ipc"));
    names
}

/// Waits until so many workers have started, and all have said so: until then, each has a file
/// through which it finds its host.
fn has_workers(host: &Started, count: usize) -> bool {
    let temporary = host.folder().join("tmp");
    becomes_true(LONG, || workers_of(host.id()).len() == count && files_in(&temporary).is_empty())
}

/// Without the processes of the calibration.
fn workers_of(host: u32) -> Vec<u32> {
    let mut workers = children_of(host);
    workers.retain(|worker| {
        fs::read(format!("/proc/{worker}/cmdline"))
            .is_ok_and(|line| line.windows(17).any(|word| word == b"--sandrack-worker"))
    });
    workers
}

#[test]
fn no_worker_outlives_a_host_that_is_killed() {
    let before = named_shared_memory();
    let mut host = long_bench(8).start();
    let id = host.id();
    assert!(has_workers(&host, 8), "{:?}", workers_of(id));
    // Now it measures.
    std::thread::sleep(Duration::from_millis(500));
    assert!(host.is_running());
    let temporary = host.folder().join("tmp");
    assert_eq!(files_in(&temporary), [] as [&str; 0], "files while it runs");
    host.signal(Signal::KILL);
    assert!(
        becomes_true(Duration::from_secs(10), || children_of(id).is_empty()),
        "left {:?}",
        children_of(id)
    );
    let finished = host.finish();
    finished.assert_no_trace(id);
    assert_eq!(named_shared_memory(), before);
}

#[test]
fn no_worker_outlives_a_host_that_is_killed_while_it_starts_them() {
    for milliseconds in [0, 3, 10, 30, 100] {
        let host = long_bench(24).start();
        let id = host.id();
        assert!(becomes_true(LONG, || !workers_of(id).is_empty()));
        std::thread::sleep(Duration::from_millis(milliseconds));
        host.signal(Signal::KILL);
        assert!(
            becomes_true(Duration::from_secs(10), || children_of(id).is_empty()),
            "left {:?}",
            children_of(id)
        );
        drop(host);
    }
}

#[test]
fn no_worker_outlives_a_host_that_is_interrupted_or_terminated() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let host = long_bench(3).start();
        let id = host.id();
        assert!(has_workers(&host, 3));
        host.signal(signal);
        let finished = host.finish();
        assert!(!finished.status.success());
        finished.assert_no_trace(id);
    }
}

#[test]
fn no_worker_outlives_a_session() {
    let me = std::process::id();
    let track = vec![plugin("gain"), plugin("delay"), plugin("synth")];
    let mut offline = Offline::new(&[track], Isolation::Plugin, 64, false);
    offline.step(&vec![vec![0.5; 64]; 2], PATIENT);
    let mine: Vec<u32> = offline.session.workers().iter().map(|worker| worker.id()).collect();
    let left = |mine: &[u32]| {
        let all = children_of(me);
        mine.iter().filter(|worker| all.contains(worker)).count()
    };
    assert_eq!(left(&mine), 3);
    // Dropped, not quit: as after an error.
    drop(offline);
    assert!(becomes_true(Duration::from_secs(10), || left(&mine) == 0));
}

#[test]
fn two_hosts_side_by_side_do_not_know_of_each_other() {
    let mut killed = long_bench(3).start();
    let short = "bench --quick --no-capacity --isolation plugin --frames 256 --plugins 4";
    let other = Program::new(short.split(' ')).start();
    let (killed_id, other_id) = (killed.id(), other.id());
    assert!(has_workers(&killed, 3));
    assert!(killed.is_running());
    killed.signal(Signal::KILL);
    let finished = other.finish();
    finished.assert_success().assert_no_trace(other_id);
    killed.finish().assert_no_trace(killed_id);
    assert!(finished.file("sandrack-bench.json").is_file());
}

/// Starts the program as a worker, by hand.
fn as_worker(arguments: &[&str], stdin: Stdio) {
    let mut command = std::process::Command::new(PROGRAM);
    command.args(arguments).stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut status = None;
    let ended = becomes_true(LONG, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let _ = child.kill();
    let _ = child.wait();
    assert!(ended, "{arguments:?} goes on for ever");
    assert!(!status.unwrap().success(), "{arguments:?} ended as if all were well");
}

#[test]
fn a_worker_of_another_version_refuses_to_start() {
    let me = std::process::id().to_string();
    as_worker(&["--sandrack-worker", "/tmp/nobody", &me, "0.0.0/0"], Stdio::null());
}

/// Threads of a process that are in the realtime class, and how long all of them have run, in ticks.
fn realtime_threads(process: u32) -> (usize, u64) {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let fields = tasks.filter_map(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        let fields = stat.rsplit_once(") ")?.1.split_ascii_whitespace();
        fields.map(|field| field.parse().ok()).collect::<Vec<Option<u64>>>().into()
    });
    // The third field of proc(5) is the first here: user time is 14, the policy 41.
    let count = |(realtime, ticks): (usize, u64), fields: Vec<Option<u64>>| {
        let field = |number: usize| fields.get(number - 3).copied().flatten().unwrap_or(0);
        (realtime + usize::from([1, 2].contains(&field(41))), ticks + field(14))
    };
    fields.fold((0, 0), count)
}

#[test]
fn a_plugin_that_spins_when_it_is_started_or_stopped_is_not_realtime_meanwhile() {
    for what in ["start-spins", "stop-spins"] {
        let supervisor = supervisor_with(true);
        let worker = supervisor.start_worker(what, None).unwrap();
        worker.begin(&[]).unwrap();
        let mut node = worker.load(&hostile(what)).unwrap();
        if supervisor.restrictions().not_realtime.is_some() {
            let said = "the realtime class is not permitted here";
            assert!(std::env::var_os("SANDRACK_CI").is_none_or(|ci| ci != "1"), "{said}");
            eprintln!("SKIPPED: {said}");
            return;
        }
        assert_eq!(realtime_threads(worker.id()).0, 1, "{what}: before");
        let asked = std::thread::spawn(move || {
            let _ = node.activate(Activation::new(48_000.0, 64)).and_then(|_| node.deactivate());
        });
        // It spins, and its thread is as any other.
        assert!(becomes_true(LONG, || realtime_threads(worker.id()).1 > 20), "{what}: spins");
        assert_eq!(realtime_threads(worker.id()).0, 0, "{what}: spinning");
        worker.end_now();
        asked.join().unwrap();
    }
}

#[test]
fn a_worker_program_of_another_build_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandrack");
    let mut program = fs::read(PROGRAM).unwrap();
    let same = VERSION.as_bytes();
    let places: Vec<usize> = program
        .windows(same.len())
        .enumerate()
        .filter_map(|(at, bytes)| (bytes == same).then_some(at))
        .collect();
    assert!(!places.is_empty(), "{VERSION} is in the program");
    let start = |program: &[u8]| {
        fs::write(&path, program).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        supervisor_of(&path, LONG).start_worker("gain", None).map(|_| ())
    };
    start(&program).expect("a copy is of the same build");
    for place in places {
        program[place + same.len() - 1] ^= 1;
    }
    let error = start(&program).expect_err("it is not what it was").to_string();
    assert!(error.contains("gain") && error.contains("another build"), "{error}");
}

#[test]
fn a_host_whose_program_is_replaced_while_it_plays_still_starts_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (program, other) = (folder.path().join("sandrack"), folder.path().join("new"));
    fs::copy(PROGRAM, &program).unwrap();
    // As installers do it: another file in the place of the old one.
    fs::write(&other, "#!/bin/false\n").unwrap();
    let rig = saved_rig(folder.path(), &rig(vec![track("keys", &[("level", "gain")])]));
    let arguments = ["--no-realtime", "play", "--seconds", "6", "--json", "--let-cores-sleep"];
    let mut play = Program::of(&program, arguments);
    play.command().arg(rig);
    let play = play.start();
    let of_play = || match workers_of(play.id())[..] {
        [worker] => Some(worker),
        _ => None,
    };
    assert!(becomes_true(LONG, || play.text("stdout").contains("\"playing\"")));
    let before = of_play().expect("a worker");
    fs::rename(&other, &program).unwrap();
    send(before, Signal::KILL);
    assert!(becomes_true(LONG, || of_play().is_some_and(|worker| worker != before)));
    let finished = play.finish();
    finished.assert_success();
    let last = finished.stdout.lines().last().unwrap_or_default();
    let ended: serde_json::Value = serde_json::from_str(last).expect("JSON");
    let state = &ended["plugins"][0]["state"];
    assert!(state == "running" || state == "late", "{}", finished.stdout);
}

#[test]
fn a_worker_started_with_nonsense_ends() {
    let me = std::process::id().to_string();
    for arguments in [
        &["--sandrack-worker"][..],
        &["--sandrack-worker", "a"],
        &["--sandrack-worker", "a", "b", "c"],
        &["--sandrack-worker", "a", "1", VERSION],
        &["--sandrack-worker", "a", &me, VERSION, "more"],
        &["--sandrack-worker", "/tmp/nobody-is-here", &me, VERSION],
        &["--sandrack-worker", "", &me, VERSION],
        &["--sandrack-floor"],
        &["--sandrack-floor", &me, "x", "y", "z"],
        &["--sandrack-floor", &me, "0", "any", "4096"],
    ] {
        as_worker(arguments, Stdio::null());
        as_worker(arguments, Stdio::piped());
    }
}

#[test]
fn an_ordinary_user_is_told_once_what_to_do_about_realtime() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Where anybody may read them.
    let copied = folder.path().join("sandrack");
    fs::copy(PROGRAM, &copied).unwrap();
    let library = plugin("burn").path;
    fs::copy(&library, folder.path().join(library.file_name().unwrap())).unwrap();
    for shape in ["--isolation plugin", "--isolation plugin,group,none"] {
        let arguments = format!("bench --quick --no-capacity --plugins 2 --frames 256 {shape}");
        let mut program = Program::of(&copied, arguments.split(' '));
        if rustix::process::geteuid().is_root() {
            for folder in [program.folder(), &program.folder().join("tmp")] {
                fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
            }
            program.command().uid(65534).gid(65534);
        }
        let finished = program.run();
        finished.assert_success();
        let json = fs::read_to_string(finished.file("sandrack-bench.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let told = finished.stderr.matches("no realtime priority").count();
        // A user who has the right (the group 'audio' may give it) is told nothing.
        let granted = json["machine"]["realtime_granted"].as_bool().unwrap();
        assert_eq!(told, usize::from(!granted), "{}", finished.stderr);
        if rustix::process::geteuid().is_root() {
            assert!(!granted, "nobody has a right to realtime priority");
        }
        assert!(finished.stderr.lines().count() <= 1, "{}", finished.stderr);
        assert!(!json["runs"].as_array().unwrap().is_empty());
    }
}

#[test]
fn realtime_that_is_not_asked_for_is_not_missed() {
    let arguments = "--no-realtime bench --quick --no-capacity --plugins 2 --frames 256 \
                     --isolation plugin";
    let finished = Program::new(arguments.split_whitespace()).run();
    finished.assert_success();
    assert_eq!(finished.stderr, "");
}

/// A shared mapping of a process: its name, and whether it may be written to.
fn shared_mappings(process: u32) -> Vec<(String, bool, String)> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    maps.lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let name = words.get(5)?.strip_prefix("/memfd:")?;
            // The inode tells memory of the same name apart.
            words[1]
                .contains('s')
                .then(|| (name.to_owned(), words[1].contains('w'), words[4].to_owned()))
        })
        .collect()
}

#[test]
fn a_worker_maps_its_own_memory_and_what_it_must_read_and_no_more() {
    let tracks = [
        vec![plugin("gain"), plugin("delay"), plugin("mono")],
        vec![plugin("gain"), plugin("gain")],
    ];
    let mut offline = Offline::new(&tracks, Isolation::Plugin, 64, false);
    offline.step(&vec![vec![0.5; 64]; 2], PATIENT);
    offline.assert_all_well();
    let workers = offline.session.workers();
    assert_eq!(workers.len(), 5);
    let maps: Vec<_> = workers.iter().map(|worker| shared_mappings(worker.id())).collect();
    let count = |maps: &[(String, bool, String)], name: &str, writable: bool| {
        maps.iter().filter(|(n, w, _)| n == name && *w == writable).count()
    };
    // By worker: how many workers come before it in its track, and how many behind.
    for (maps, (before, behind)) in maps.iter().zip([(0, 1), (1, 1), (1, 0), (0, 1), (1, 0)]) {
        assert_eq!(count(maps, "sandrack-block", true), 0, "the block page is read-only");
        assert_eq!(count(maps, "sandrack-block", false), 1);
        assert_eq!(count(maps, "sandrack-inbox", true), 0, "the inbox is read-only");
        assert_eq!(count(maps, "sandrack-inbox", false), 1);
        assert_eq!(count(maps, "sandrack-outbox", true), 1, "its own outbox");
        assert_eq!(count(maps, "sandrack-outbox", false), before, "its predecessor's");
        assert_eq!(count(maps, "sandrack-bell", true), 1 + behind, "its own and its successor's");
        assert_eq!(count(maps, "sandrack-bell", false), 0);
        assert_eq!(count(maps, "sandrack-host-bell", true), 1);
        assert_eq!(count(maps, "sandrack-crash", true), 1, "its own crash page");
        assert_eq!(maps.len(), 6 + before + behind, "nothing else: {maps:?}");
        assert!(maps.iter().all(|(name, ..)| name.starts_with("sandrack-")));
    }
    // Whoever reads an outbox: only one process may write to it.
    for (_, _, inode) in maps.iter().flatten().filter(|(name, ..)| name == "sandrack-outbox") {
        let writers = maps.iter().flatten().filter(|(_, w, i)| i == inode && *w).count();
        assert_eq!(writers, 1);
    }
    for worker in &workers {
        let process = worker.id();
        let executable = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
        let executable = executable.lines().any(|line| {
            line.contains("memfd:sandrack") && line.split(' ').nth(1).unwrap().contains('x')
        });
        assert!(!executable, "shared memory that can be executed");
        // Closed once mapped: through a descriptor it could be opened anew, for writing. (Its crash page
        // it may write, and its signal handler copies the list of mappings there.)
        let open: Vec<String> = fs::read_dir(format!("/proc/{process}/fd"))
            .unwrap()
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .map(|target| target.display().to_string())
            .filter(|target| target.contains("memfd:sandrack"))
            .filter(|target| !target.contains("memfd:sandrack-crash"))
            .collect();
        assert!(open.is_empty(), "{open:?}");
    }
}

#[test]
fn a_worker_inherits_no_descriptor_of_its_host_and_no_terminal() {
    let marker = tempfile::tempfile().unwrap();
    // As careless code opens files: without close-on-exec.
    let kept = rustix::io::dup(&marker).unwrap();
    rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::empty()).unwrap();
    drop(kept);
    let mut offline = Offline::new(&[vec![plugin("gain")]], Isolation::Plugin, 64, false);
    offline.step(&vec![vec![0.5; 64]; 2], PATIENT);
    let worker = offline.process_of(0);
    let link = |fd: u32| fs::read_link(format!("/proc/{worker}/fd/{fd}")).unwrap();
    assert_eq!(link(0), Path::new("/dev/null"));
    assert_eq!(link(1), Path::new("/dev/null"));
    let open = fs::read_dir(format!("/proc/{worker}/fd")).unwrap().count();
    assert!(open < 20, "{open} descriptors in a worker");
}

#[test]
fn sessions_one_after_the_other_leave_no_descriptors_and_no_threads() {
    let me = format!("/proc/{}", std::process::id());
    let count = |what: &str| {
        let named = |entry: &fs::DirEntry| match what {
            "fd" => fs::read_link(entry.path())
                .is_ok_and(|target| target.to_string_lossy().contains("memfd:sandrack-outbox")),
            _ => fs::read_to_string(entry.path().join("comm"))
                .is_ok_and(|name| name.starts_with("worker accept")),
        };
        fs::read_dir(format!("{me}/{what}")).unwrap().flatten().filter(named).count()
    };
    for _ in 0..3 {
        let mut offline = Offline::new(&[vec![plugin("gain"); 4]], Isolation::Plugin, 64, false);
        offline.step(&vec![vec![0.5; 64]; 2], PATIENT);
    }
    // Other tests of this program have some of their own at the same time, and end, too.
    assert!(becomes_true(LONG, || count("fd") == 0 && count("task") == 0));
}
