//! The hostile libraries and plugins do the harm they say, and no other.
//!
//! # Safety
//!
//! The `unsafe` code here calls extensions of live plugins, as `common` does, and maps
//! memory that it unmaps itself.
#![allow(unsafe_code, reason = "calls C interfaces and maps memory, see above")]

mod common;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap_sys::process::{CLAP_PROCESS_CONTINUE, CLAP_PROCESS_ERROR};
use common::{Block, Clap, Event, Plugin, example, param};

fn load() -> Clap {
    Clap::load(&example("hostile")).unwrap()
}

fn id(what: &str) -> String {
    format!("org.sandrack.hostile.{what}")
}

/// A started plugin that strikes in the third block.
fn start<'a>(clap: &'a Clap, what: &str) -> Plugin<'a> {
    let mut plugin = clap.create(&id(what)).unwrap();
    plugin.set(&[(0, 2.0)]);
    assert!(plugin.start());
    plugin
}

const FRAMES: usize = 16;

fn process(plugin: &mut Plugin) -> Block {
    plugin.process(&[vec![vec![0.5; FRAMES]; 2]], &[2], FRAMES, &[])
}

/// Processes two good blocks, then the one that isn't.
fn third_block(plugin: &mut Plugin) -> Block {
    for _ in 0..2 {
        let block = process(plugin);
        assert_eq!(block.status, CLAP_PROCESS_CONTINUE);
        assert_eq!(block.outputs, [[[0.5; FRAMES]; 2]]);
        assert!(block.events.is_empty());
    }
    process(plugin)
}

#[test]
fn all_documented_plugins_are_there_and_no_others() {
    let first_page = include_str!("../examples/hostile/lib.rs");
    let list = load().list();
    for (id, _) in &list {
        let what = id.strip_prefix("org.sandrack.hostile.").unwrap();
        assert!(first_page.contains(&format!("`{what}`")), "{what}");
    }
    let documented = first_page.lines().skip_while(|line| !line.contains("| when | WHAT |"));
    let names = documented.take_while(|line| line.starts_with("//! |")).flat_map(|line| {
        let words = line.rsplit('|').nth(1).unwrap_or("").split('`').skip(1).step_by(2);
        words.filter(|word| word.bytes().all(|b| b == b'-' || b.is_ascii_lowercase()))
    });
    for name in names.filter(|name| *name != "block") {
        assert!(list.iter().any(|(id, _)| *id == self::id(name)), "{name} is not there");
    }
}

#[test]
fn some_refuse_politely() {
    let clap = load();
    assert!(clap.create(&id("create-null")).is_none());
    assert!(clap.create(&id("init-fails")).is_none());
    assert!(!clap.create(&id("activate-fails")).unwrap().start());
    assert!(!clap.create(&id("start-fails")).unwrap().start());
}

#[test]
fn some_return_bad_audio_from_then_on() {
    let clap = load();
    type IsBad = fn(f32) -> bool;
    let tests: [(&str, IsBad); 3] =
        [("nan", f32::is_nan), ("inf", f32::is_infinite), ("denormal", f32::is_subnormal)];
    for (what, is_bad) in tests {
        let mut plugin = start(&clap, what);
        for block in [third_block(&mut plugin), process(&mut plugin)] {
            assert!(block.outputs[0].iter().flatten().all(|&s| is_bad(s)), "{what}");
        }
    }
}

#[test]
fn error_returns_an_error() {
    let clap = load();
    assert_eq!(third_block(&mut start(&clap, "error")).status, CLAP_PROCESS_ERROR);
}

#[test]
fn late_is_late_once() {
    let clap = load();
    let mut plugin = start(&clap, "late");
    let before = Instant::now();
    third_block(&mut plugin);
    assert!(before.elapsed() >= Duration::from_millis(20));
    let again = (0..10).map(|_| {
        let before = Instant::now();
        process(&mut plugin);
        before.elapsed()
    });
    assert!(again.min().unwrap() < Duration::from_millis(20));
}

#[test]
fn events_are_bad_or_many() {
    let clap = load();
    let header = |event: &Event| match event {
        Event::Note(note) => note.header,
        Event::Other(header) => *header,
        other => panic!("{other:?}"),
    };
    let headers: Vec<_> =
        third_block(&mut start(&clap, "bad-events")).events.iter().map(header).collect();
    assert!(headers.iter().any(|header| header.size == 0));
    assert!(headers.iter().any(|header| header.size == u32::MAX));
    assert!(headers.iter().any(|header| header.time == u32::MAX));
    assert!(!headers.is_sorted_by_key(|header| header.time));

    let flood: Vec<_> =
        third_block(&mut start(&clap, "event-flood")).events.iter().map(header).collect();
    assert_eq!(flood.len(), 65_536);
    assert!(flood.is_sorted_by_key(|header| header.time));
    assert!(flood.iter().all(|header| header.time < FRAMES as u32));
}

#[test]
fn the_block_counts_from_activation() {
    let clap = load();
    let mut plugin = start(&clap, "error");
    third_block(&mut plugin);
    plugin.stop();
    assert!(plugin.start());
    assert_eq!(third_block(&mut plugin).status, CLAP_PROCESS_ERROR);
    // Events of a block apply to that block.
    plugin.stop();
    assert!(plugin.start());
    let now = plugin.process(&[vec![vec![0.5; 16]; 2]], &[2], 16, &[param(0, 0, 0.0)]);
    assert_eq!(now.status, CLAP_PROCESS_ERROR);
}

#[test]
fn liars_lie() {
    use clap_sys::ext::audio_ports::{CLAP_EXT_AUDIO_PORTS, clap_plugin_audio_ports};
    use clap_sys::ext::params::{CLAP_EXT_PARAMS, clap_plugin_params};
    let clap = load();
    let plugin = clap.create(&id("lies-audio-ports")).unwrap();
    let ports: *const clap_plugin_audio_ports = plugin.extension(CLAP_EXT_AUDIO_PORTS);
    // SAFETY: see the file's text; the structures may be all zeros.
    unsafe {
        assert_eq!((*ports).count.unwrap()(plugin.raw(), true), 1_000_000);
        let mut info = std::mem::zeroed();
        let get = (*ports).get.unwrap();
        assert!(get(plugin.raw(), 0, false, &mut info));
        assert_eq!(info.channel_count, u32::MAX);
        assert!(!get(plugin.raw(), 1, false, &mut info));
    }

    let plugin = clap.create(&id("lies-params")).unwrap();
    let params: *const clap_plugin_params = plugin.extension(CLAP_EXT_PARAMS);
    // SAFETY: as above.
    unsafe {
        assert_eq!((*params).count.unwrap()(plugin.raw()), 4_000_000_000);
        let mut info: clap_sys::ext::params::clap_param_info = std::mem::zeroed();
        assert!((*params).get_info.unwrap()(plugin.raw(), 2, &mut info));
        assert!(info.min_value > info.max_value && info.default_value.is_nan());
        assert!(!info.name.contains(&0));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn scribble_ruins_shared_memory() {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
    const LEN: usize = 8192;
    let clap = load();
    let mut plugin = start(&clap, "scribble");
    // SAFETY: a new mapping, used only below.
    unsafe {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        let shared = mmap_anonymous(std::ptr::null_mut(), LEN, protection, flags).unwrap();
        third_block(&mut plugin);
        let bytes = std::slice::from_raw_parts(shared.cast::<u8>(), LEN);
        assert!(bytes.iter().filter(|&&byte| byte == 0).count() < LEN / 64);
        munmap(shared, LEN).unwrap();
    }
}

/// Runs [`victim`] in a process of its own.
fn sacrifice(library: &str, what: &str, block: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["victim", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env("SANDRACK_TEST_VICTIM", format!("{library} {what}"))
        .env("SANDRACK_HOSTILE_BLOCK", block)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The code that [`victim`] ends with when it comes through.
const SURVIVED: i32 = 42;

/// Not a test: what the others run where it may not survive.
#[test]
#[ignore = "run by other tests, in processes of their own"]
fn victim() {
    let Ok(task) = std::env::var("SANDRACK_TEST_VICTIM") else { return };
    let (library, what) = task.split_once(' ').unwrap();
    if let Some(clap) = Clap::load(&example(library)) {
        let mut plugin = clap.create(&id(what)).unwrap();
        assert!(plugin.start());
        third_block(&mut plugin);
        if what == "state-save-hangs" {
            use clap_sys::ext::state::{CLAP_EXT_STATE, clap_plugin_state};
            let state: *const clap_plugin_state = plugin.extension(CLAP_EXT_STATE);
            let stream = clap_sys::stream::clap_ostream { ctx: std::ptr::null_mut(), write: None };
            // SAFETY: see the file's text.
            unsafe { (*state).save.unwrap()(plugin.raw(), &stream) };
        }
    }
    std::process::exit(SURVIVED);
}

#[cfg(unix)]
#[test]
fn the_fatal_ones_are_fatal() {
    use std::os::unix::process::ExitStatusExt;
    const ABORTED: (Option<i32>, Option<i32>) = (None, Some(6));
    const SEGFAULT: (Option<i32>, Option<i32>) = (None, Some(11));
    const EXITED: (Option<i32>, Option<i32>) = (Some(0), None);
    const SAFE: (Option<i32>, Option<i32>) = (Some(SURVIVED), None);
    let tests = [
        ("hostile", "init-panics", "2", ABORTED),
        ("hostile", "init-aborts", "2", ABORTED),
        ("hostile", "init-exits", "2", EXITED),
        ("hostile", "activate-aborts", "2", ABORTED),
        ("hostile", "activate-exits", "2", EXITED),
        ("hostile", "segfault", "2", SEGFAULT),
        ("hostile", "abort", "2", ABORTED),
        ("hostile", "exit", "2", EXITED),
        ("hostile", "abort", "3", SAFE),
        ("bad_entry_fails", "", "2", SAFE),
        ("bad_entry_aborts", "", "2", ABORTED),
        ("bad_entry_exits", "", "2", EXITED),
        ("no_factory", "", "2", SAFE),
        ("no_symbol", "", "2", SAFE),
    ];
    for (library, what, block, expected) in tests {
        let status = sacrifice(library, what, block).wait().unwrap();
        assert_eq!((status.code(), status.signal()), expected, "{library} {what}");
    }
    // Who notices, and how, is the C library's affair.
    for what in ["stack-overflow", "heap-smash", "double-free"] {
        let status = sacrifice("hostile", what, "2").wait().unwrap();
        assert!([Some(6), Some(11)].contains(&status.signal()), "{what}: {status}");
    }
}

#[test]
fn the_hanging_ones_hang() {
    let tests = [
        ("hostile", "init-hangs"),
        ("hostile", "activate-hangs"),
        ("hostile", "hang"),
        ("hostile", "sleep"),
        ("hostile", "stop"),
        ("hostile", "state-save-hangs"),
        ("hostile", "start-hangs"),
        ("hostile", "handles-signals"),
        ("bad_entry_hangs", ""),
    ];
    let mut children: Vec<_> =
        tests.map(|(library, what)| sacrifice(library, what, "2")).into_iter().collect();
    std::thread::sleep(Duration::from_millis(700));
    let ended: Vec<_> = children.iter_mut().map(|child| child.try_wait().unwrap()).collect();
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for (status, test) in ended.iter().zip(tests) {
        assert!(status.is_none(), "{test:?}: {status:?}");
    }
}

/// `destroy-hangs` needs a victim that lets go of the plugin.
#[test]
fn destroy_hangs_hangs() {
    let (done, waiting) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let clap = load();
        drop(clap.create(&id("destroy-hangs")).unwrap());
        let _ = done.send(());
    });
    assert!(waiting.recv_timeout(Duration::from_millis(300)).is_err());
}
